//! A bound on bytes per second, shared by all transfers of a process.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::sleep;
use world::World;

/// A token bucket that may fall behind by what is in flight. Without a rate it doesn't wait.
#[derive(Debug)]
pub struct Bandwidth {
    world: World,
    bytes_per_s: Option<u64>,
    /// When everything that was taken so far is paid for.
    free_us: Mutex<u64>,
}

impl Bandwidth {
    pub fn new(world: &World, bytes_per_s: Option<u64>) -> Self {
        let bytes_per_s = bytes_per_s.filter(|rate| *rate > 0);
        Self { world: world.clone(), bytes_per_s, free_us: Mutex::new(0) }
    }

    /// Waits until so many bytes may be moved.
    pub(crate) async fn take(&self, bytes: usize) {
        let wait_us = self.book(bytes as u64, self.world.clock.monotonic_us());
        if wait_us > 0 {
            sleep(Duration::from_micros(wait_us)).await;
        }
    }

    /// Books bytes, and returns how long they have to wait.
    fn book(&self, bytes: u64, now_us: u64) -> u64 {
        let Some(rate) = self.bytes_per_s else { return 0 };
        let mut free_us = self.free_us.lock().unwrap_or_else(PoisonError::into_inner);
        let begins_us = (*free_us).max(now_us);
        *free_us = begins_us.saturating_add(bytes.saturating_mul(1_000_000) / rate);
        begins_us - now_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_transfers_together_keep_to_the_rate() {
        let bandwidth = Bandwidth::new(&World::system(), Some(1_000));
        assert_eq!(bandwidth.book(500, 10), 0);
        assert_eq!(bandwidth.book(500, 10), 500_000);
        assert_eq!(bandwidth.book(100, 10), 1_000_000);
        assert_eq!(bandwidth.book(1, 5_000_000), 0, "what was not used is not saved up");
        assert_eq!(Bandwidth::new(&World::system(), None).book(u64::MAX, 10), 0);
    }
}
