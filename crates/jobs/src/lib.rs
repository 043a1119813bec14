//! The durable job queue: work that must happen after an act, or at a time, in whichever process is alive
//! then.
//!
//! A job is enqueued in the transaction of the act that needs it (`store::jobs`), and one worker at a time
//! takes it under a lease that the worker renews. If a worker dies, its lease expires and the job is taken
//! again: every job is done at least once. The outcome of a job is decided in `machine`, which has no clock
//! or randomness of its own.

mod machine;
mod runner;

use std::sync::Arc;

use domain::ports::PortFuture;
use store::JobRow;

pub use machine::{Outcome, Policy, ending};
pub use runner::{Runner, WorkerHandle};

/// The handler of one kind of job.
pub trait Handler: Send + Sync {
    fn kind(&self) -> &'static str;

    fn policy(&self) -> Policy;

    /// Runs the job once. It may have been done before, by a worker that died without recording it.
    fn run<'a>(&'a self, job: &'a JobRow) -> PortFuture<'a, Outcome>;
}

/// The handlers of all kinds.
pub type Handlers = Vec<Arc<dyn Handler>>;
