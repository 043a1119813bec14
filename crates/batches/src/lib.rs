//! The SQL of batches that the gateway works through itself: their states, their items, and the sealed content of these.

mod exported;
mod listing;
mod rows;
mod sql;

pub use exported::{ExportedBatch, ExportedItem};
pub use listing::{ListedBatch, ProviderBatch, WorkspaceBatch};
pub use rows::{Batches, EndedItemRow, FinishedItem, ItemContent, ItemPart, NewItem, OpenItem};
pub use sql::{StoredBatches, stored};
