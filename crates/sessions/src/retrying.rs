//! Writes that are made again while the store is away.

use std::time::Duration;

use store::StoreError;

use crate::limits::WRITE_PAUSE_MAX;

/// The result of the first try that the store answers, or of the last of `tries`; the pause doubles each time.
pub(crate) async fn retrying<T, F>(
    (tries, mut pause): (u32, Duration),
    mut work: impl FnMut() -> F,
) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    for _ in 1..tries {
        match work().await {
            Err(error) if error.is_transient() => tokio::time::sleep(pause).await,
            done => return done,
        }
        pause = WRITE_PAUSE_MAX.min(pause * 2);
    }
    work().await
}
