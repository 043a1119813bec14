//! The interface through which a runtime's LoRA adapters are managed. An adapter is a small set of weights
//! beside a model's own; requests that name it are answered with both.

use std::path::PathBuf;
use std::pin::Pin;

use crate::limits::ADAPTER_NAME_BYTES_MAX;

use crate::fault::Fault;

/// An asynchronous operation of a runtime.
pub type RuntimeFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, Fault>> + Send + 'a>>;

/// Whether a name needs no escaping in a URL path, in a file name, or after a model's name.
pub fn is_plain_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    (1..=ADAPTER_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_plain) && !name.starts_with('.')
}

/// An adapter to register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAdapter {
    pub id: String,
    /// The directory that holds its files.
    pub directory: PathBuf,
    /// Replaces an adapter of the same name; if false, an existing one is an error.
    pub replaces: bool,
    /// Keeps the adapter loaded: it is never evicted.
    pub is_pinned: bool,
}

/// A registered adapter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterState {
    pub id: String,
    /// Incremented by every registration, under whatever name.
    pub generation: u64,
    pub rank: usize,
    pub bytes: u64,
    pub is_resident: bool,
    pub is_pinned: bool,
    /// The number of running generations that use it.
    pub in_use: usize,
    /// Why the last attempt to load it failed.
    pub failed: Option<String>,
}

/// The limits for adapters: how many are registered or loaded, how large, and of which rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdapterLimits {
    pub registered_max: usize,
    pub resident_max: usize,
    pub resident_bytes_max: u64,
    pub rank_max: usize,
}

pub trait Adapters: Send + Sync {
    fn limits(&self) -> AdapterLimits;

    /// All registered adapters, by name.
    fn list(&self) -> RuntimeFuture<'_, Vec<AdapterState>>;

    /// Registers an adapter and returns its generation. Running generations keep the adapter that is replaced
    /// until they end.
    fn register(&self, new: NewAdapter) -> RuntimeFuture<'_, u64>;

    /// Loads an adapter into memory. Without `waits`, the future may end before it is loaded.
    fn load(&self, id: String, waits: bool) -> RuntimeFuture<'_, ()>;

    /// Sets whether an adapter stays loaded.
    fn pin(&self, id: String, is_pinned: bool) -> RuntimeFuture<'_, ()>;

    /// Removes an adapter. Running generations keep it; requests that wait for it to load fail.
    fn unload(&self, id: String) -> RuntimeFuture<'_, ()>;
}
