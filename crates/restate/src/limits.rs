//! How long the server is waited for, and how much it may send at once.

use std::time::Duration;

/// How long one request to the server may take.
pub(crate) const REQUEST_TIME_MAX: Duration = Duration::from_secs(10);
/// How long whoever starts a run waits to learn whether the server answers.
pub(crate) const READY_TIME_MAX: Duration = Duration::from_secs(2);
/// Connections of the server.
pub(crate) const CONNECTIONS_MAX: usize = 256;
/// Runs that are sent to it at the same time.
pub(crate) const SENDS_AT_ONCE_MAX: usize = 16;
/// How long nothing is heard of a run that the server has, before it is sent again: the server may have lost it.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(600);
/// Silent runs that are sent again in one go.
pub(crate) const SILENT_SENT_MAX: u32 = 100;
