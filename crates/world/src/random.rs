//! Randomness as an argument: unguessable for ids and secrets, seeded for simulation.

use std::cell::RefCell;
use std::sync::Mutex;

/// Random bytes.
pub trait Random: Send + Sync {
    fn fill(&self, bytes: &mut [u8]);

    fn next_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// A number below `bound`; zero for a bound of zero.
    fn below(&self, bound: u64) -> u64 {
        // The bias of a remainder is below 2^-32 for every bound we use (jitter, weights).
        if bound == 0 { 0 } else { self.next_u64() % bound }
    }
}

const POOL_BYTES: usize = 1024;

struct Pool {
    bytes: [u8; POOL_BYTES],
    used: usize,
}

thread_local! {
    /// The library's generator is drawn from in blocks: an id costs a copy, not a call into it.
    static POOL: RefCell<Pool> = const { RefCell::new(Pool { bytes: [0; POOL_BYTES], used: POOL_BYTES }) };
}

/// The cryptographic generator of the TLS library.
#[derive(Debug, Clone, Copy)]
pub struct SystemRandom;

impl SystemRandom {
    fn refill(bytes: &mut [u8]) {
        if aws_lc_rs::rand::fill(bytes).is_err() {
            // Without randomness no id is unique and no seal is safe, so the process can't continue.
            std::process::abort();
        }
    }
}

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) {
        if bytes.len() > 64 {
            return Self::refill(bytes);
        }
        POOL.with_borrow_mut(|pool| {
            if pool.used + bytes.len() > POOL_BYTES {
                Self::refill(&mut pool.bytes);
                pool.used = 0;
            }
            let end = pool.used + bytes.len();
            if let Some(fresh) = pool.bytes.get_mut(pool.used..end) {
                bytes.copy_from_slice(fresh);
                fresh.fill(0);
            }
            pool.used = end;
        });
    }
}

/// The same seed gives the same bytes (SplitMix64): for simulation and tests, never for secrets.
#[derive(Debug)]
pub struct SeededRandom(Mutex<u64>);

impl SeededRandom {
    pub const fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }
}

impl Random for SeededRandom {
    fn fill(&self, bytes: &mut [u8]) {
        let mut state = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for chunk in bytes.chunks_mut(8) {
            *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = *state;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^= z >> 31;
            for (to, from) in chunk.iter_mut().zip(z.to_le_bytes()) {
                *to = from;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_bytes_differ_between_draws() {
        let draws: Vec<u64> = (0..1_000).map(|_| SystemRandom.next_u64()).collect();
        let unique: std::collections::HashSet<_> = draws.iter().collect();
        assert_eq!(unique.len(), draws.len());
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        let (a, b) = (SeededRandom::new(9), SeededRandom::new(9));
        assert_eq!(a.next_u64(), b.next_u64());
        assert_ne!(a.next_u64(), SeededRandom::new(10).next_u64());
    }
}
