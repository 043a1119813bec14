//! Facts of the installation by name: the vault's records, and who made it.

use crate::StoreFuture;

pub trait Meta: Send + Sync {
    fn get(&self, name: String) -> StoreFuture<'_, Option<Vec<u8>>>;
    /// Every fact whose name begins so.
    fn starting_with(&self, prefix: String) -> StoreFuture<'_, Vec<(String, Vec<u8>)>>;
    /// Writes all of them at once, over what was there.
    fn put(&self, facts: Vec<(String, Vec<u8>)>) -> StoreFuture<'_, ()>;
    fn remove(&self, name: String) -> StoreFuture<'_, ()>;
}
