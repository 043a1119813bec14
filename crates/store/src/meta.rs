//! Facts of the installation by name: the vault's records, and how the database was founded.

use crate::StoreFuture;

pub trait Meta: Send + Sync {
    fn get(&self, name: String) -> StoreFuture<'_, Option<Vec<u8>>>;
    /// Every fact whose name starts with `prefix`.
    fn starting_with(&self, prefix: String) -> StoreFuture<'_, Vec<(String, Vec<u8>)>>;
    /// Upserts all of them in one transaction.
    fn put(&self, facts: Vec<(String, Vec<u8>)>) -> StoreFuture<'_, ()>;
    fn remove(&self, name: String) -> StoreFuture<'_, ()>;
}
