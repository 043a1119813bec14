//! Tells the worker of flows, and the runs that it drives, that something happened in this process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::ports::PortFuture;
use domain::{Fault, FaultClass, FlowRunId};
use flowruns::FlowEngine;
use tokio::sync::Notify;

/// An engine beside the queue, as far as those who start runs know it.
pub trait EngineDoor: Send + Sync {
    /// The engine of new runs.
    fn engine(&self) -> FlowEngine;
    /// Whether it answers.
    fn is_open(&self) -> PortFuture<'_, bool>;
}

/// The runs that this process drives, and how each is woken.
#[derive(Default)]
pub struct FlowSignals {
    /// Where new runs go, in place of the queue.
    door: Option<Arc<dyn EngineDoor>>,
    arrivals: Notify,
    /// Of an engine beside the queue.
    arrivals_elsewhere: Notify,
    held: Mutex<HashMap<FlowRunId, Arc<Notify>>>,
}

/// A run that is driven here, until this is dropped.
pub(crate) struct HeldSignal {
    all: Arc<FlowSignals>,
    id: FlowRunId,
    touched: Arc<Notify>,
}

impl FlowSignals {
    /// New runs go to this engine.
    pub fn to(door: Arc<dyn EngineDoor>) -> Self {
        Self { door: Some(door), ..Self::default() }
    }

    /// The engine of a run that starts now.
    ///
    /// # Errors
    /// 503: it does not answer, so the run would wait for it.
    pub async fn engine(&self) -> Result<FlowEngine, Box<Fault>> {
        let Some(door) = &self.door else { return Ok(FlowEngine::Queue) };
        if door.is_open().await {
            return Ok(door.engine());
        }
        let message = "The engine that runs flows does not answer.";
        let fault = Fault::new(FaultClass::Unavailable, "flow_engine_unavailable", message);
        Err(Box::new(
            fault
                .fix("Start the run again later; runs that have started go on by themselves.")
                .retry_after_ms(1_000),
        ))
    }

    /// A run arrived that waits for a worker.
    pub fn arrived(&self) {
        self.arrivals.notify_one();
        self.arrivals_elsewhere.notify_one();
    }

    /// Something happened to a run: whoever drives it looks at it again.
    pub fn touch(&self, id: FlowRunId) {
        let held = self.held().get(&id).map(Arc::clone);
        match held {
            Some(touched) => touched.notify_one(),
            None => self.arrived(),
        }
    }

    pub async fn arrival(&self, engine: FlowEngine) {
        match engine {
            FlowEngine::Queue => self.arrivals.notified().await,
            FlowEngine::Restate => self.arrivals_elsewhere.notified().await,
        }
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
    fn a_run_is_woken_or_the_worker_where_nobody_drives_it() {
        let signals = Arc::new(FlowSignals::default());
        let id = FlowRunId::new(1, [1; 10]);
        let held = signals.hold(id);
        signals.touch(id);
        assert!(
            held.touched().now_or_never().is_some()
                && signals.arrival(FlowEngine::Queue).now_or_never().is_none()
        );
        drop(held);
        signals.touch(id);
        assert!(signals.arrival(FlowEngine::Queue).now_or_never().is_some());
    }
}
