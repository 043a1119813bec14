//! Waiting for another process: what it does can only be asked again, and a moment at which to kill it has to pass.

use std::time::{Duration, Instant, UNIX_EPOCH};

use crate::WITHIN;

/// Conditions in another process are asked this often; whoever asks has a deadline.
const POLL: Duration = Duration::from_millis(10);

/// Until a condition is asked again.
pub async fn a_moment() {
    tokio::time::sleep(POLL).await;
}

/// Asks until a condition holds. Where it never does, the test ends with what was missing.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    found(what, async || holds().await.then_some(())).await;
}

/// Asks until something is there, and returns it. Where it never comes, the test ends with what was missing.
pub async fn found<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + WITHIN;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(Instant::now() < deadline, "waited {WITHIN:?} in vain: {what}");
        a_moment().await;
    }
}

/// Until so much of the day (UTC) is left that it does not end in the middle of a test, nor the month with it. Nearly always
/// that is at once.
pub async fn a_day_with_room() {
    const DAY_S: u64 = 24 * 60 * 60;
    const ROOM_S: u64 = 60;
    let second = || UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs() % DAY_S);
    while second() + ROOM_S > DAY_S {
        a_moment().await;
    }
}

/// Between two tries or requests of somebody who keeps a pace.
pub async fn a_pause(pause: Duration) {
    tokio::time::sleep(pause).await;
}

/// Until a moment that chance has chosen: the moment is what such a test varies, so there is nothing to wait for.
pub async fn until_a_random_moment(after: Duration) {
    tokio::time::sleep(after).await;
}
