//! What the binary queues and waits for, and what `doctor` accepts.

use std::time::Duration;

/// How far the database's clock may be from this machine's: as much as leases and sessions allow for.
pub(crate) const CLOCK_APART_MS_MAX: u64 = 500;
/// Calls that may wait for the system's own core; further callers wait.
pub(crate) const SYSTEM_JOBS_MAX: usize = 64;
/// Pieces of a viewed file that are buffered before they are read (backpressure).
pub(crate) const SYSTEM_PIECES_MAX: usize = 8;
/// Bytes of what `reconcile` sends: a gateway takes 32 MiB, in which line ends are escaped.
pub(crate) const RECONCILED_BYTES_MAX: usize = 30 << 20;
/// How long `reconcile` waits for an answer: a gateway reads up to five million records for it.
pub(crate) const RECONCILE_TIME_MAX: Duration = Duration::from_secs(20 * 60);
/// How long a syslog server may take to connect, to read and to close.
pub(crate) const SYSLOG_TIME_MAX: Duration = Duration::from_secs(10);
/// Differences that `reconcile` prints: a screen.
pub(crate) const DIFFERENCES_PRINTED_MAX: usize = 20;
/// The most that the bounds of files may be set to: a petabyte.
pub const FILE_STORE_BYTES_MAX: u64 = 1 << 50;
/// How late a runtime may be without a warning of `doctor`: revocations and the drain have a second.
pub(crate) const RUNTIME_DELAY_MAX: Duration = Duration::from_millis(500);
/// How long `doctor` waits for a program in a sandbox that has nothing to do, and how much of what it says is read.
pub(crate) const SANDBOX_TRY_TIME_MAX: Duration = Duration::from_secs(10);
pub(crate) const SANDBOX_WORDS_MAX: u64 = 4_096;
/// Requests of peers that wait to be taken up by the node, and pieces of an answer that its peer has not taken.
#[cfg(feature = "peers")]
pub(crate) const PEER_REQUESTS_WAITING_MAX: usize = 256;
#[cfg(feature = "peers")]
pub(crate) const PEER_PIECES_MAX: usize = 8;
/// Orders of `tidegate node fetch` that a node works on at the same time, the size of one, and events that wait to be read.
#[cfg(feature = "peers")]
pub(crate) const FETCH_ORDERS_MAX: usize = 8;
#[cfg(feature = "peers")]
pub(crate) const FETCH_ORDER_BYTES_MAX: u64 = 4 << 20;
#[cfg(feature = "peers")]
pub(crate) const FETCH_REPORTS_MAX: usize = 256;
/// How long a request waits for the adapter that is fetched for it, and how long none is fetched again that could not be used.
#[cfg(feature = "peers")]
pub(crate) const ADAPTER_WAIT_TIME_MAX: Duration = Duration::from_secs(60);
#[cfg(feature = "peers")]
pub(crate) const ADAPTER_FAILED_FOR: Duration = Duration::from_secs(60);
/// Adapters that are fetched, or were and failed lately, at the same time.
#[cfg(feature = "peers")]
pub(crate) const ADAPTERS_COMING_MAX: usize = 64;
/// How long the connections to peers may take to close.
#[cfg(feature = "peers")]
pub(crate) const PEERS_CLOSE_TIME_MAX: Duration = Duration::from_secs(2);
/// The longest life that a configuration of a data plane may have.
pub(crate) const DATA_PLANE_LIFE_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Gateways that one list names: as many as a node has tunnels to.
pub(crate) const TUNNEL_URLS_MAX: usize = 16;
/// How long a node may be given a certificate or serve alone: a year.
pub const NODE_LIFE_MS_MAX: u64 = 31_536_000_000;
/// How long the demo node of `tidegate up` may take until it listens, and until it ended.
pub(crate) const DEMO_START_TIME_MAX: Duration = Duration::from_secs(30);
pub(crate) const DEMO_STOP_TIME_MAX: Duration = Duration::from_secs(10);
/// How often a thread that a test holds up polls for the end of that.
pub(crate) const HELD_POLL_EVERY: Duration = Duration::from_millis(20);
