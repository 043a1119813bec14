//! What a runtime can be asked about adapters: few numbers beside a model's own, by which it answers otherwise for whoever
//! names them.

use std::path::PathBuf;
use std::pin::Pin;

use crate::fault::Fault;

/// Something that a runtime does meanwhile.
pub type Doing<'a, T> = Pin<Box<dyn Future<Output = Result<T, Fault>> + Send + 'a>>;

/// A name's length.
pub const NAME_BYTES_MAX: usize = 128;

/// A name that reads the same in a path, a file's name and behind a model's.
#[must_use]
pub fn is_plain_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_plain) && !name.starts_with('.')
}

/// One that is to be known by a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAdapter {
    pub id: String,
    /// Where its files are.
    pub directory: PathBuf,
    /// Another of that name makes place for it; otherwise that is an error.
    pub replaces: bool,
    /// It stays in memory.
    pub is_pinned: bool,
}

/// One that is known by a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterState {
    pub id: String,
    /// Counted up by every one that came under any name.
    pub generation: u64,
    pub rank: usize,
    pub bytes: u64,
    pub is_resident: bool,
    pub is_pinned: bool,
    /// The answers that have it.
    pub in_use: usize,
    /// Why it could not be read when it was wanted last.
    pub failed: Option<String>,
}

/// How much of adapters there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdapterRoom {
    pub registered_max: usize,
    pub resident_max: usize,
    pub resident_bytes_max: u64,
    pub rank_max: usize,
}

pub trait Adapters: Send + Sync {
    fn room(&self) -> AdapterRoom;

    /// All of them, by name.
    fn list(&self) -> Doing<'_, Vec<AdapterState>>;

    /// Has one known, and tells its generation. Answers that have one that it replaces keep that to their end.
    fn register(&self, new: NewAdapter) -> Doing<'_, u64>;

    /// Has one brought into memory; where nobody `waits` it may not be there yet.
    fn load(&self, id: String, waits: bool) -> Doing<'_, ()>;

    /// Whether one stays in memory.
    fn pin(&self, id: String, is_pinned: bool) -> Doing<'_, ()>;

    /// Forgets one. Answers that have it keep it; those that wait for it fail.
    fn unload(&self, id: String) -> Doing<'_, ()>;
}
