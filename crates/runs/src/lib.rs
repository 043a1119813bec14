//! The SQL of tasks: runs of apps with where they are in the queue, and the sealed content of each.

mod claiming;
mod document;
mod exported;
mod listing;
mod rows;
mod sql;
mod writing;

pub use document::{TaskRequest, TaskResult, document, moment, short, stored_text};
pub use exported::ExportedTask;
pub use rows::{ClaimedTask, HeldTask, TaskClaim, TaskContent, TaskPart, TaskWrite, Written, opened};
pub use sql::{StoredTasks, stored};
