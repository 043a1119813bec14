//! The SQL of tasks: runs of apps with where they are in the queue, and the sealed content of each; and what apps of each kind take
//! and answer.

mod claiming;
mod document;
mod document_input;
mod exported;
mod kind;
mod limits;
mod listing;
mod made_files;
mod rows;
pub mod schemas;
mod sql;
mod timings;
mod writing;

pub use document::{FILE_FIELDS, TaskRequest, TaskResult, document, moment, short, stored_text};
pub use document_input::DocumentInput;
pub use exported::ExportedTask;
pub use kind::Kind;
pub use limits::{INPUT_FILES_MAX, INPUT_TEXTS_MAX};
pub use made_files::{files_in, mark_deleted, name_of_made, named_file, pointers_of};
pub use rows::{ClaimedTask, HeldTask, TaskClaim, TaskContent, TaskPart, TaskWrite, Written, opened};
pub use sql::{StoredTasks, stored};
pub use timings::{logs, timings};
pub use writing::kept_ms;
