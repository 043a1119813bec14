//! State that outlives a request, behind the ports of `domain::ports`: sealed content (idempotent answers,
//! turns with tool calls, tasks, and what requests said where their projects keep it), and which credential made the objects that providers store.

mod answers;
mod batches;
#[cfg(test)]
mod bench;
mod carried;
mod contents;
mod expiry;
mod limits;
mod lookups;
mod memory;
mod objects;
mod opened;
mod packing;
mod responses;
mod retrying;
mod run_tasks;
mod shape;
mod spooled;
mod state;
mod task_spool;
mod transcripts;
mod turns;

pub use answers::{Answers, AnswersSettings};
pub use batches::{BatchJobs, Batches};
pub use contents::{Contents, KeptContent, open_content};
pub use lookups::SessionLookups;
pub use objects::{Chore, Objects};
pub use opened::{OpenedTurn, open_answer, open_turn, whole_response};
pub use responses::{ResponseChore, Responses};
pub use run_tasks::{RunTasks, SpoolSettings};
pub use state::AgentState;
pub use transcripts::{open_state, seal_state};
pub use turns::Turns;
