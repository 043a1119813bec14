//! The bounds of the split data plane.

use std::time::Duration;

/// How long a data plane serves with a configuration that its control plane does not confirm, unless the settings say otherwise.
pub const LIFE_DEFAULT: Duration = Duration::from_secs(24 * 60 * 60);
/// How long the control plane waits for news before it confirms that there are none.
pub const POLL_TIME_MAX: Duration = Duration::from_secs(5);
/// How long a data plane waits for any answer.
pub(crate) const CALL_TIME_MAX: Duration = Duration::from_secs(30);
/// The longest answer that it reads.
pub const DOCUMENT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How many calls to the control plane may wait for their turn.
pub(crate) const CALLS_WAITING_MAX: usize = 64;
/// The pause after a first failed call; it doubles up to the longest one.
pub(crate) const AGAIN_FIRST: Duration = Duration::from_millis(250);
pub(crate) const AGAIN_MAX: Duration = Duration::from_secs(5);
/// That a configuration holds is stored at most this often, where nothing else changes.
pub(crate) const CONFIRMED_EVERY_MS: u64 = 30_000;
/// How often a data plane looks for evidence to deliver.
pub(crate) const EVIDENCE_EVERY: Duration = Duration::from_secs(5);
/// Receipts in one delivery.
pub const EVIDENCE_AT_ONCE_MAX: usize = 32;
/// How often a data plane that holds a lease asks whether somebody waits for it.
pub(crate) const RECALL_EVERY: Duration = Duration::from_secs(1);
/// How long records are kept here after they were delivered, for a control plane that is restored from a backup.
pub const DELIVERED_KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// The most bytes of them.
pub(crate) const DELIVERED_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// How often records that need not be kept any longer are deleted.
pub(crate) const FORGET_EVERY: Duration = Duration::from_secs(60);
/// How many of the last batches are read back at the start: each may have been stored here without counting here yet.
pub(crate) const UNSETTLED_BATCHES_MAX: u64 = 64;
/// The workspaces that one data plane serves at most.
pub const WORKSPACES_MAX: usize = 64;
/// Bounds on what is remembered of sent documents: data planes, documents of each, and rows of a document.
pub(crate) const SENT_PLANES_MAX: usize = 256;
pub(crate) const SENT_DOCUMENTS_MAX: usize = 2;
pub(crate) const SENT_ROWS_MAX: usize = 50_000;
/// The most versions that a control plane passes at once to be ahead of a data plane: more than any backup lacks, and too few for
/// a data plane that lies to use the numbers up.
pub(crate) const VERSIONS_PASSED_MAX: u64 = 10_000_000;
