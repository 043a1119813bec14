//! The one durable queue: what must happen after an act, or at a time, whichever process lives then.
//!
//! A job is asked for in the transaction of the act that wants it (`store::jobs`), and is taken by one worker at a time under
//! a lease that the worker renews. A worker that dies leaves its lease to run out, and the job is taken again: every job is
//! done at least once. What becomes of a job is decided in `machine`, without clock or chance of its own.

mod machine;
mod runner;

use std::sync::Arc;

use domain::ports::PortFuture;
use store::JobRow;

pub use machine::{Outcome, Policy, ending};
pub use runner::{Runner, Running};

/// What knows how to do jobs of one kind.
pub trait Handler: Send + Sync {
    fn kind(&self) -> &'static str;

    fn policy(&self) -> Policy;

    /// Does it once. It may have been done before, by a worker that died without saying so.
    fn run<'a>(&'a self, job: &'a JobRow) -> PortFuture<'a, Outcome>;
}

/// Handlers by their kind.
pub type Handlers = Vec<Arc<dyn Handler>>;
