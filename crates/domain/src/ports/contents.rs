//! Requests with their answers, where a project keeps them.

use bytes::Bytes;

use crate::dialect::Dialect;
use crate::ids::TraceId;
use crate::operation::Operation;
use crate::retention::TraceMode;
use crate::stored_object::ObjectOwner;

/// A body, as far as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeptBody {
    pub media_type: String,
    pub bytes: Bytes,
    /// Of all of it.
    pub length: u64,
}

/// What one request said, and what it was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestContent {
    pub owner: ObjectOwner,
    pub request: TraceId,
    pub started_unix_ms: u64,
    pub mode: TraceMode,
    /// How long it is kept.
    pub days: u32,
    pub dialect: Dialect,
    pub operation: Operation,
    pub sent: KeptBody,
    pub answer: KeptBody,
    pub status: u16,
    /// The answer came to its end.
    pub is_whole: bool,
}

/// Keeps the content of requests.
pub trait ContentStore: Send + Sync {
    /// Keeps it soon. Never waits: what there is no room for is not kept.
    fn keep(&self, content: RequestContent);
}

/// For processes that keep none.
#[derive(Debug, Default)]
pub struct NoContents;

impl ContentStore for NoContents {
    fn keep(&self, _content: RequestContent) {}
}
