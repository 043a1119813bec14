//! Permits for requests of the gateway's own: a process makes so many of a kind at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// How many run now.
#[derive(Debug, Default)]
pub(crate) struct Permits<const MOST: u32>(Arc<AtomicU32>);

/// One of them, until it is dropped.
#[derive(Debug)]
pub struct SideRequestPermit(Arc<AtomicU32>);

impl<const MOST: u32> Permits<MOST> {
    /// `None` where as many run as may.
    pub(crate) fn take(&self) -> Option<SideRequestPermit> {
        let more = |running: u32| (running < MOST).then_some(running + 1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(SideRequestPermit(Arc::clone(&self.0)))
    }
}

impl Drop for SideRequestPermit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use domain::limits::{CONTEXT_CREATIONS_MAX, KEEP_ALIVE_RUNNING_MAX};

    use super::*;
    use crate::Shared;

    fn check(most: u32, begin: impl Fn() -> Option<SideRequestPermit>) {
        let running: Vec<_> = (0..most).filter_map(|_| begin()).collect();
        assert_eq!(u32::try_from(running.len()), Ok(most));
        assert!(begin().is_none());
        drop(running);
        assert!(begin().is_some());
    }

    #[test]
    fn few_of_each_kind_run_at_a_time() {
        let shared = Shared::default();
        let creation = shared.begin_context_creation();
        check(KEEP_ALIVE_RUNNING_MAX, || shared.begin_refresh());
        drop(creation);
        let refresh = shared.begin_refresh();
        check(CONTEXT_CREATIONS_MAX, || shared.begin_context_creation());
        drop(refresh);
    }
}
