//! Work that blocks a thread, done beside the core that waits for it.

use tokio::task::JoinError;

/// Runs `work` on a thread for blocking work, and returns its result. It runs to its end though the caller
/// leaves, so it must have one.
///
/// # Errors
/// It panicked.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    tokio::task::spawn_blocking(work).await
}
