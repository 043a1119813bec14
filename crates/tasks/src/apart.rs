//! Runtimes with a thread each, so that none waits for computations of another.

use std::io;
use std::pin::pin;

use tokio::runtime::{Builder, Handle, Runtime};

/// A runtime with one thread of this name. To drop it waits for whatever still blocks or computes there: end it by
/// `shutdown_background`.
///
/// # Errors
/// The operating system can't start a thread.
pub fn runtime(name: &'static str) -> io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(1).thread_name(name).enable_all().build()
}

/// Polls a future as if on that runtime: the tasks, timers and sockets that it makes belong there.
pub async fn on<F: Future>(runtime: &Handle, work: F) -> F::Output {
    let mut work = pin!(work);
    std::future::poll_fn(|cx| {
        let _entered = runtime.enter();
        work.as_mut().poll(cx)
    })
    .await
}
