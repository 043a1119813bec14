//! Writes that are done and undone: everything that a database can object to is found, and nothing is kept.

use std::future::Future;

tokio::task_local! {
    static REHEARSAL: ();
}

/// Runs some work whose every transaction is rolled back at its end, however it went: what it would have written is answered,
/// and the version is the one that stands. It holds for the work itself, not for tasks that it spawns.
pub async fn rehearse<F: Future>(work: F) -> F::Output {
    REHEARSAL.scope((), work).await
}

pub(crate) fn is_on() -> bool {
    REHEARSAL.try_with(|()| ()).is_ok()
}
