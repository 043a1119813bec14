//! Tells the worker of flows, and the runs that it drives, that something happened in this process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::FlowRunId;
use tokio::sync::Notify;

/// What is driven here, with how it is told.
#[derive(Debug, Default)]
pub struct FlowSignals {
    arrivals: Notify,
    held: Mutex<HashMap<FlowRunId, Arc<Notify>>>,
}

/// A run that is driven here, until this is dropped.
pub(crate) struct HeldSignal {
    all: Arc<FlowSignals>,
    id: FlowRunId,
    touched: Arc<Notify>,
}

impl FlowSignals {
    /// A run arrived that waits for a worker.
    pub fn arrived(&self) {
        self.arrivals.notify_one();
    }

    /// Something happened to a run: whoever drives it looks at it again.
    pub fn touch(&self, id: FlowRunId) {
        let held = self.held().get(&id).map(Arc::clone);
        match held {
            Some(touched) => touched.notify_one(),
            None => self.arrived(),
        }
    }

    pub(crate) async fn arrival(&self) {
        self.arrivals.notified().await;
    }

    pub(crate) fn hold(self: &Arc<Self>, id: FlowRunId) -> HeldSignal {
        let touched = Arc::new(Notify::new());
        self.held().insert(id, Arc::clone(&touched));
        HeldSignal { all: Arc::clone(self), id, touched }
    }

    fn held(&self) -> MutexGuard<'_, HashMap<FlowRunId, Arc<Notify>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HeldSignal {
    pub(crate) async fn touched(&self) {
        self.touched.notified().await;
    }
}

impl Drop for HeldSignal {
    fn drop(&mut self) {
        let mut held = self.all.held();
        if held.get(&self.id).is_some_and(|touched| Arc::ptr_eq(touched, &self.touched)) {
            held.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn a_run_is_told_and_the_worker_where_nobody_drives_it() {
        let signals = Arc::new(FlowSignals::default());
        let id = FlowRunId::new(1, [1; 10]);
        let held = signals.hold(id);
        signals.touch(id);
        assert!(held.touched().now_or_never().is_some() && signals.arrival().now_or_never().is_none());
        drop(held);
        signals.touch(id);
        assert!(signals.arrival().now_or_never().is_some());
    }
}
