//! The prefix cache on disk: KV cache blocks in sealed files, found by a chain of keyed hashes over the tokens before
//! them. It survives restarts, is bounded, and is read and written beside the thread that decodes.

mod block_file;
mod cache;
mod error;
mod files;
mod index;
mod keys;
mod limits;
mod pace;
mod reader;
mod shared;
mod writer;

pub use block_file::StoredBlock;
pub use cache::{DiskCache, DiskCacheSettings};
pub use error::DiskCacheError;
pub use keys::Chain;
pub use reader::{FetchPoll, Fetching, Portion};
pub use shared::BlockShape;
