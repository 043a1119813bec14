//! Dry runs: writes are executed and rolled back, so that every objection of the database is found and
//! nothing is stored.

use std::future::Future;

tokio::task_local! {
    static REHEARSAL: ();
}

/// Runs work whose every transaction is rolled back at its end, successful or not: the result is what would
/// have been written, and the version is the current one. It covers the work itself, not tasks that it
/// spawns.
pub async fn rehearse<F: Future>(work: F) -> F::Output {
    REHEARSAL.scope((), work).await
}

pub fn is_on() -> bool {
    REHEARSAL.try_with(|()| ()).is_ok()
}
