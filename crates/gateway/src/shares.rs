//! Who sends what a serving thread is behind with: counted while it is behind, and not otherwise.

use domain::{IdMap, WorkspaceId};

use crate::limits::SHARES_COUNTED_MAX;

/// Arrivals are counted anew after this.
const WINDOW_US: u64 = 1_000_000;
/// With fewer arrivals, a share says nothing.
const ARRIVALS_MIN: u32 = 20;

/// The arrivals of one window by workspace.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    from_us: u64,
    all: u32,
    arrivals: IdMap<WorkspaceId, u32>,
}

impl Shares {
    /// Counts an arrival. `true` if more than two thirds of them are of this workspace, and there are others.
    pub(crate) fn takes_most(&mut self, workspace: WorkspaceId, now_us: u64) -> bool {
        if now_us.saturating_sub(self.from_us) > WINDOW_US || self.arrivals.len() >= SHARES_COUNTED_MAX {
            *self = Self { from_us: now_us, ..Self::default() };
        }
        self.all = self.all.saturating_add(1);
        let own = self.arrivals.entry(workspace).or_default();
        *own = own.saturating_add(1);
        let is_most = u64::from(*own) * 3 > u64::from(self.all) * 2;
        is_most && self.all >= ARRIVALS_MIN && self.arrivals.len() > 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace(number: u8) -> WorkspaceId {
        WorkspaceId::new(1, [number; 10])
    }

    #[test]
    fn a_tenant_at_a_hundred_times_its_share_is_refused_and_its_neighbours_are_not() {
        let mut shares = Shares::default();
        let (mut noisy, mut others) = (0, 0);
        for number in 0..1_000_u64 {
            let now_us = number * 1_000;
            noisy += u32::from(shares.takes_most(workspace(1), now_us));
            if number % 100 == 0 {
                others += u32::from(shares.takes_most(workspace(2), now_us));
            }
        }
        assert!(noisy > 950 && others == 0, "{noisy} and {others} refused");
    }

    #[test]
    fn who_is_alone_or_one_of_two_takes_nothing_from_anyone() {
        let (mut alone, mut even) = (Shares::default(), Shares::default());
        for number in 0..500_u64 {
            assert!(!alone.takes_most(workspace(1), number));
            assert!(!even.takes_most(workspace(1), number), "{number}");
            assert!(!even.takes_most(workspace(2), number), "{number}");
        }
    }
}
