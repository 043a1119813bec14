//! How much is read, written and waited for at a time, beside the limits in `domain::limits`.

use std::time::Duration;

/// What a file has of pieces beyond those of full size: each request that sends a part may end with a short one.
pub(crate) const SHORT_PIECES_MAX: u64 = 1_000;
/// An answer of a bucket: a piece with its seal, or a page of a list.
pub(crate) const BUCKET_ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Requests to the bucket that wait for the thread that sends them.
pub(crate) const BUCKET_JOBS_MAX: usize = 256;
/// How long one request to the bucket may take.
pub(crate) const BUCKET_REQUEST_TIME_MAX: Duration = Duration::from_secs(30);
/// How long a request to the bucket is tried again.
pub(crate) const BUCKET_RETRIES_TIME_MAX: Duration = Duration::from_secs(20);
pub(crate) const BUCKET_RETRIES_MAX: usize = 3;
/// How long a caller waits for a piece to be stored or read.
pub(crate) const PIECE_TIME_MAX: Duration = Duration::from_secs(60);
/// How long a token lets its holder begin to send content.
pub(crate) const UPLOAD_TIME: Duration = Duration::from_secs(3_600);
/// An object that no row names is deleted once it is as old: a row is written right after its object.
pub(crate) const ORPHAN_AGE_MS: u64 = 3_600_000;
