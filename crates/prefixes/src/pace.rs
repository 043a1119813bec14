//! Whether a prefix is faster read than computed, by what both took lately.

/// Measurements that are kept of each.
const KEPT: usize = 8;
/// Reading may be estimated this much slower than computing: where both take no time worth measuring, a cache hit still
/// leaves the processor to others.
const SLACK_NS: u64 = 10_000_000;
/// Of the prefixes that would be computed, one in so many is read, so that a disk that was slow is measured again.
const TRIED: u32 = 16;

#[derive(Debug, Default)]
pub(crate) struct Pace {
    block_read_ns: Lately,
    token_computed_ns: Lately,
    passed_over: u32,
}

/// The last measurements. The fastest of them counts: the others waited for something beside the disk or the kernels.
#[derive(Debug, Default)]
struct Lately {
    measured: [Option<u64>; KEPT],
    next: usize,
}

impl Lately {
    fn add(&mut self, ns: u64) {
        if let Some(place) = self.measured.get_mut(self.next) {
            *place = Some(ns);
        }
        self.next = (self.next + 1) % KEPT;
    }

    fn fastest(&self) -> Option<u64> {
        self.measured.iter().flatten().min().copied()
    }
}

impl Pace {
    pub(crate) fn read(&mut self, us: u64) {
        self.block_read_ns.add(us.saturating_mul(1_000));
    }

    pub(crate) fn computed(&mut self, tokens: usize, us: u64) {
        self.token_computed_ns.add(us.saturating_mul(1_000) / (tokens as u64).max(1));
    }

    pub(crate) fn is_worth(&mut self, blocks: usize, block_tokens: usize) -> bool {
        let (Some(read), Some(computed)) = (self.block_read_ns.fastest(), self.token_computed_ns.fastest())
        else {
            return true;
        };
        let blocks = blocks as u64;
        let (reading, tokens) = (read.saturating_mul(blocks), blocks.saturating_mul(block_tokens as u64));
        if reading <= computed.saturating_mul(tokens).saturating_add(SLACK_NS) {
            return true;
        }
        self.passed_over = (self.passed_over + 1) % TRIED;
        self.passed_over == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_disk_is_passed_over_and_tried_again() {
        let mut pace = Pace::default();
        assert!(pace.is_worth(100, 16), "nothing is known");
        pace.read(50_000);
        assert!(pace.is_worth(100, 16));
        pace.computed(512, 512 * 1_000);
        // 50 ms for a block, which is computed in 16 ms.
        let worth: Vec<bool> = (0..32).map(|_| pace.is_worth(100, 16)).collect();
        assert_eq!(worth.iter().filter(|worth| **worth).count(), 2);
        // One that waited for something else does not count, and one that was fast once does not for ever.
        pace.read(500);
        pace.read(90_000);
        assert!(pace.is_worth(100, 16));
        (0..KEPT).for_each(|_| pace.read(90_000));
        assert!(!pace.is_worth(100, 16));
        // 26 ms against 16 and the slack.
        (0..KEPT).for_each(|_| pace.read(26_000));
        assert!(pace.is_worth(1, 16) && !pace.is_worth(2, 16));
    }
}
