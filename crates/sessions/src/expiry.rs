//! Deletes what is over: once a minute, in bounded steps.

use std::time::Duration;

use store::StoreError;
use tokio::time::sleep;

const EXPIRE_EVERY: Duration = Duration::from_secs(60);
/// How many rows are deleted at a time.
const EXPIRED_ROWS: u32 = 500;

/// Calls `expire` with the most rows that it may delete, until fewer are left; for ever. A failure waits for the next minute.
pub(crate) async fn expire_all<F>(expire: impl Fn(u32) -> F)
where
    F: Future<Output = Result<u64, StoreError>>,
{
    loop {
        sleep(EXPIRE_EVERY).await;
        while let Ok(removed) = expire(EXPIRED_ROWS).await {
            if removed < u64::from(EXPIRED_ROWS) {
                break;
            }
        }
    }
}
