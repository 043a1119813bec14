//! Limits on what a hub can make us read, store and wait for: its answers are untrusted, and a mirror may be
//! anybody's.

use std::time::Duration;

/// Size of a model's file list (JSON).
pub(crate) const LIST_BYTES_MAX: usize = 16 * 1024 * 1024;
pub(crate) const LIST_FILES_MAX: usize = 10_000;
/// Files that are downloaded for one model; the largest models have a few hundred.
pub(crate) const MODEL_FILES_MAX: usize = 512;
/// Size of one weights file.
pub(crate) const WEIGHTS_BYTES_MAX: u64 = 1 << 40;
/// Size of one other file: configuration, tokenizer, chat template.
pub(crate) const WORDS_BYTES_MAX: u64 = 64 * 1024 * 1024;
pub(crate) const FILE_NAME_BYTES_MAX: usize = 200;
pub(crate) const FILE_DEPTH_MAX: usize = 3;
/// Length of an owner's or model's name, a revision or a tag.
pub(crate) const NAME_BYTES_MAX: usize = 96;
/// Size of a configuration or manifest that is read back from disk.
pub(crate) const CONFIG_BYTES_MAX: u64 = 4 * 1024 * 1024;
pub(crate) const REDIRECTS_MAX: usize = 5;
/// Concurrent downloads.
pub(crate) const AT_A_TIME: usize = 2;
/// Consecutive tries without progress; a try that received a byte resets the count.
pub(crate) const TRIES_MAX: u32 = 6;
pub(crate) const FIRST_WAIT: Duration = Duration::from_millis(250);
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(30);
/// The longest pause requested by a hub that is honoured.
pub(crate) const RETRY_AFTER_MAX: Duration = Duration::from_secs(120);
/// Time until the head of an answer, and between two pieces of a body.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Disk space that a download must leave free.
pub(crate) const DISK_RESERVE_BYTES: u64 = 64 * 1024 * 1024;

/// The part of a GGUF file that is read for its metadata; vocabularies are in it too.
pub(crate) const GGUF_HEAD_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Metadata pairs that are read of it; models have some dozens.
pub(crate) const GGUF_PAIRS_MAX: u64 = 4_096;
/// Length of a metadata key; a longer one is invalid.
pub(crate) const GGUF_TEXT_BYTES_MAX: u64 = 64 * 1024;
