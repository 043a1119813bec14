//! State that outlives a request, behind the ports of `domain::ports`: sealed content (idempotent answers,
//! turns with tool calls, tasks), and which credential made the objects that providers store.

mod answers;
mod batches;
#[cfg(test)]
mod bench;
mod expiry;
mod limits;
mod lookups;
mod memory;
mod objects;
mod packing;
mod responses;
mod state;
mod transcripts;
mod turns;

pub use answers::{Answers, AnswersSettings};
pub use batches::{BatchJobs, Batches};
pub use lookups::SessionLookups;
pub use objects::{Chore, Objects};
pub use responses::{ResponseChore, Responses};
pub use state::AgentState;
pub use transcripts::{open_state, seal_state};
pub use turns::Turns;
