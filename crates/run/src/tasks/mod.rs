//! `/tasks`: runs of apps, stored in the project that made them: waited for, followed, cancelled, made again, rated, listed and
//! deleted.

mod acting;
mod files;
mod following;
mod keeping;
mod listing;
mod queueing;
mod working;

pub use acting::{TaskCallRequest, task};
pub use working::work;
pub(crate) use working::{Tried, document_of, failed_by, failed_or_again};

pub(crate) use acting::stream;
pub(crate) use following::{Format, ended};
pub(crate) use keeping::{FinishedRun, keep_finished, ttl_seconds, usage_event};
pub(crate) use queueing::{NextTurn, Queued, check_run_at, nothing_kept, queue, queue_checked, queue_turn};
