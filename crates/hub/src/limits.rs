//! How much a hub may make us read, keep and wait: its answers are not ours, and a mirror may be anybody's.

use std::time::Duration;

/// A model's list of files, as JSON.
pub(crate) const LIST_BYTES_MAX: usize = 16 * 1024 * 1024;
pub(crate) const LIST_FILES_MAX: usize = 10_000;
/// Files that are fetched for one model; the largest models lie in a few hundred.
pub(crate) const MODEL_FILES_MAX: usize = 512;
/// One file of weights.
pub(crate) const WEIGHTS_BYTES_MAX: u64 = 1 << 40;
/// One file of words: a configuration, a tokeniser, a template.
pub(crate) const WORDS_BYTES_MAX: u64 = 64 * 1024 * 1024;
pub(crate) const FILE_NAME_BYTES_MAX: usize = 200;
pub(crate) const FILE_DEPTH_MAX: usize = 3;
/// An owner's name, a model's, a revision, a tag.
pub(crate) const NAME_BYTES_MAX: usize = 96;
/// A configuration or a manifest that is read back from disk.
pub(crate) const CONFIG_BYTES_MAX: u64 = 4 * 1024 * 1024;
pub(crate) const REDIRECTS_MAX: usize = 5;
/// Files on their way at one time.
pub(crate) const AT_A_TIME: usize = 2;
/// Tries in a row that brought nothing; one that brought a byte starts the count again.
pub(crate) const TRIES_MAX: u32 = 6;
pub(crate) const FIRST_WAIT: Duration = Duration::from_millis(250);
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(30);
/// The longest that a hub may ask us to wait.
pub(crate) const ASKED_WAIT_MAX: Duration = Duration::from_secs(120);
/// Until the head of an answer, and between two pieces of a body.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Left free on the disk beside what is fetched.
pub(crate) const DISK_SPARE_BYTES: u64 = 64 * 1024 * 1024;
