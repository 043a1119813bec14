//! Spawns tasks and threads so that each has a name, an owner that holds it, and an end.

mod apart;
mod beside;
mod blocking;
mod delays;
mod limits;
mod runtime_tasks;
mod set;
mod task;
mod thread;
mod writes;

use std::future::Future;

pub use apart::{on, runtime};
pub use beside::{Owner, Permit, Permits, beside};
pub use blocking::blocking;
pub use delays::{delays, watch_delay};
pub use runtime_tasks::RuntimeTasks;
pub use set::TaskSet;
pub use task::Task;
pub use thread::{Panicked, Thread};
pub use writes::Writes;

/// Runs a future on this core until it ends, or until the core does: the core's `LocalSet` owns it and drops
/// it. For connections, streams and whatever hyper spawns: there are many, they end with their peer, and
/// nobody ever waits for one. A handle or an entry in a set would cost each of them an allocation.
pub fn spawn_on_core<F>(future: F)
where
    F: Future + 'static,
    F::Output: 'static,
{
    drop(tokio::task::spawn_local(future));
}
