//! Waiting for another process: what it does can only be asked again, and a moment at which to kill it has to pass.

use std::time::Duration;

/// Conditions in another process are asked this often; whoever asks has a deadline.
const POLL: Duration = Duration::from_millis(10);

/// Until a condition is asked again.
pub async fn a_moment() {
    tokio::time::sleep(POLL).await;
}

/// Between two tries or requests of somebody who keeps a pace.
pub async fn a_pause(pause: Duration) {
    tokio::time::sleep(pause).await;
}

/// Until a moment that chance has chosen: the moment is what such a test varies, so there is nothing to wait for.
pub async fn until_a_random_moment(after: Duration) {
    tokio::time::sleep(after).await;
}
