//! How long a connection may be silent or busy, and how much is linked and searched at once.

use std::time::Duration;

/// A statement that takes longer has lost its server: the connection is closed, so that nothing waits for it
/// again.
pub(crate) const STATEMENT_TIME_MAX: Duration = Duration::from_secs(20);
/// After this long without a notification the connection is tested: a server that vanished sends no close.
pub(crate) const LISTEN_SILENCE_MAX: Duration = Duration::from_secs(30);
/// How long the server has to answer that test, and to accept the listener.
pub(crate) const LISTEN_ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// How long a stopping process waits for its connections to close: a server that went silent never completes
/// it.
pub(crate) const GOODBYE_MAX: Duration = Duration::from_secs(3);
/// Acts on one object in one moment among which the last one is found.
pub(crate) const ACTS_AT_ONCE_MAX: u32 = 16;
/// Audit entries that are held in memory while they are linked.
pub(crate) const LINKED_AT_ONCE_MAX: usize = 1_000;
/// Audit entries that are read at once where only some of them are wanted.
pub(crate) const SEARCHED_AT_ONCE: usize = 2_000;
/// Audit entries that one page of a search reads: where few match, a page ends early and the next one goes on.
pub(crate) const SEARCHED_MAX: usize = 50_000;
/// Separate connections: following the configuration, leases and the drain take one each.
pub(crate) const CONNECTIONS_APART_MAX: u32 = 3;
