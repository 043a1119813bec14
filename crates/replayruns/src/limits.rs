//! What replay runs take and keep at most.

use std::time::Duration;

/// Requests of one run: an hour's work at a few a second.
pub(crate) const REPLAY_REQUESTS_MAX: u32 = 5_000;
/// Unless a run says otherwise.
pub(crate) const REPLAY_REQUESTS_DEFAULT: u32 = 1_000;
/// Records that are read to draw a set from, newest first.
pub(crate) const REPLAY_MATCHED_MAX: usize = 50_000;
/// Pages of them: where few match, a page may have few.
pub(crate) const REPLAY_PAGES_MAX: usize = 500;
/// How far back a set may reach.
pub(crate) const REPLAY_DAYS_MAX: u32 = 90;
/// Requests that a run sends at once, unless it says otherwise.
pub(crate) const REPLAY_AT_ONCE_DEFAULT: u32 = 8;
pub(crate) const REPLAY_AT_ONCE_MAX: u32 = 64;
/// How long a run may take by its arrivals: the newest of what it is compared with is a day old then.
pub(crate) const REPLAY_SPAN_MS_MAX: u64 = 24 * 3_600_000;
/// The thousandfold of the recorded speed.
pub(crate) const REPLAY_SPEED_MAX: f64 = 1_000.0;
/// How far ahead a run may be scheduled.
pub(crate) const REPLAY_AHEAD_MS_MAX: u64 = 30 * 24 * 3_600_000;
/// How long a report holds, unless a run says otherwise.
pub(crate) const REPORT_DAYS_DEFAULT: u32 = 14;
pub(crate) const REPORT_DAYS_MAX: u32 = 90;
/// Runs that are kept of each workspace, the newest.
pub(crate) const REPLAY_RUNS_KEPT: u32 = 100;
/// One request of a run; then it counts as failed.
pub(crate) const REPLAY_ITEM_TIME_MAX: Duration = Duration::from_secs(300);
/// How long a run waits for the meter records of its last answers, which come about a second later.
pub(crate) const REPLAY_RECORDS_WAIT_MAX: Duration = Duration::from_secs(60);
/// How often a request is sent again whose gateway was killed meanwhile.
pub(crate) const REPLAY_TRIES_MAX: u32 = 5;
/// Models of which a change of routes is checked, those with the most requests.
pub(crate) const GATED_MODELS_MAX: usize = 100;
/// Requests of each that are planned under both rules.
pub(crate) const GATED_REQUESTS_MAX: u32 = 200;
/// Pages of records that are read for them: where few match, a page may have few.
pub(crate) const GATED_PAGES_MAX: usize = 20;
/// Bytes of the reason for an override: a few sentences.
pub(crate) const OVERRIDE_REASON_BYTES_MAX: usize = 1_000;
/// The reason of a failure, as it is stored.
pub(crate) const REPLAY_ERROR_BYTES_MAX: usize = 500;
/// Moves that a refusal names.
pub(crate) const GATED_MOVES_NAMED_MAX: usize = 3;
/// One comparison of two answers by a model; then it is left out.
pub(crate) const COMPARISON_TIME_MAX: Duration = Duration::from_secs(120);
/// How long one that a limit postpones waits before its next try.
pub(crate) const COMPARISON_WAIT_MAX: Duration = Duration::from_secs(10);
