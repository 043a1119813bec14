//! `/tasks`: runs of apps, stored in the project that made them: waited for, followed, cancelled, made again, rated, listed and
//! deleted.

mod acting;
mod chat_stream;
mod following;
mod keeping;
mod listing;
mod queueing;
mod working;

pub use acting::{TaskCallRequest, task};
pub use working::work;
pub(crate) use working::{Tried, failed_by, failed_or_again};

pub(crate) use acting::stream;
pub(crate) use following::Format;
pub(crate) use keeping::{FinishedRun, keep_finished, usage_event};
pub(crate) use queueing::{Queued, nothing_kept, queue, queue_turn, store_away};
