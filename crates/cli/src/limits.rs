//! What the command line reads, waits for and prints at most.

use std::time::Duration;

/// Size of a gateway's answer; an export of a large workspace is the largest.
pub(crate) const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Time for an answer; some routes wait for a node or a provider.
pub(crate) const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);
/// How long a stream that is followed says nothing; the gateway's heartbeats come three times as often.
pub(crate) const STREAM_SILENCE_MAX: Duration = Duration::from_secs(30);
/// The pause before a stream that broke off is followed again, at first and at most.
pub(crate) const FOLLOW_WAIT: Duration = Duration::from_millis(300);
pub(crate) const FOLLOW_WAIT_MAX: Duration = Duration::from_secs(10);
/// A part of a file that is uploaded, the tries after one that failed, and the pause before the first of them.
pub(crate) const UPLOAD_PART_BYTES: u64 = 8 * 1024 * 1024;
pub(crate) const UPLOAD_TRIES_MAX: u32 = 5;
pub(crate) const UPLOAD_WAIT: Duration = Duration::from_secs(1);
/// Pages of records that one poll of `tail` takes in; what is beyond it comes with the next.
pub(crate) const TAIL_PAGES_MAX: usize = 10;
/// Rows that `tail` remembers, so that it prints none twice; up to twice as many at times.
pub(crate) const TAIL_SEEN_MAX: usize = 100_000;
/// Rows that `top` shows: what fits on a terminal.
pub(crate) const TOP_ROWS_MAX: usize = 20;
/// Models of a pattern that are named.
pub(crate) const COVERED_LISTED_MAX: usize = 8;
/// A file that is sent in an app's input, and how long an app may run: videos take their time.
pub(crate) const APP_FILE_BYTES_MAX: usize = 20 * 1024 * 1024;
pub(crate) const APP_TIME_MAX: Duration = Duration::from_secs(600);
/// Levels of objects in an object whose fields have a line each; what is deeper stays JSON.
pub(crate) const LEVELS_MAX: usize = 2;
/// Letters by which a name may differ from the one that was meant.
pub(crate) const EDITS_FORGIVEN: usize = 2;
/// Names that are tried for the new key of a tool.
pub(crate) const NEW_KEY_NAMES_MAX: u32 = 20;
