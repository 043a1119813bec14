//! Waiting for another process: its state can only be polled, and a random moment at which to kill it has to
//! pass.

use std::time::{Duration, Instant, UNIX_EPOCH};

use crate::WITHIN;

/// The poll interval; the caller sets the deadline.
const POLL: Duration = Duration::from_millis(10);

/// Waits one poll interval.
pub async fn a_moment() {
    tokio::time::sleep(POLL).await;
}

/// Polls until a condition holds. If it never does, the test fails and names what was missing.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    found(what, async || holds().await.then_some(())).await;
}

/// Polls until a value is there, and returns it. If it never comes, the test fails and names what was
/// missing.
pub async fn found<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    found_within(WITHIN, what, look).await
}

/// As `found`, for what takes longer.
pub async fn found_within<T>(within: Duration, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(Instant::now() < deadline, "waited {within:?} in vain: {what}");
        a_moment().await;
    }
}

/// As `until`, for what takes longer.
pub async fn until_within(within: Duration, what: &str, mut holds: impl AsyncFnMut() -> bool) {
    found_within(within, what, async || holds().await.then_some(())).await;
}

/// Waits until enough of the day (UTC) is left that neither it nor the month ends during a test. This is
/// nearly always immediate.
pub async fn a_day_with_room() {
    room(24 * 60 * 60, 60).await;
}

/// Waits until enough of the hour is left for a few requests.
pub async fn an_hour_with_room() {
    room(60 * 60, 30).await;
}

/// Waits until enough of the minute is left for requests that are answered immediately.
pub async fn a_minute_with_room() {
    room(60, 5).await;
}

/// Waits until at least `room_s` seconds of the current period are left.
async fn room(period_s: u64, room_s: u64) {
    let second = || UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs() % period_s);
    while second() + room_s > period_s {
        a_moment().await;
    }
}

/// The pause between two attempts or requests of a paced client.
pub async fn a_pause(pause: Duration) {
    tokio::time::sleep(pause).await;
}

/// Waits for a randomly chosen time: the moment itself is what such a test varies, so there is no condition
/// to poll.
pub async fn until_a_random_moment(after: Duration) {
    tokio::time::sleep(after).await;
}

/// Time in which nothing comes: what such a test is about, so that there is no condition to poll.
pub async fn a_silence(of: Duration) {
    tokio::time::sleep(of).await;
}

/// A moment that does not come while the tests run.
pub fn in_an_hour() -> String {
    let date = std::process::Command::new("date").args(["-u", "-d", "+1 hour", "+%FT%TZ"]).output().unwrap();
    String::from_utf8(date.stdout).unwrap().trim().to_owned()
}
