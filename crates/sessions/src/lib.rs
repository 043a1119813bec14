//! State that outlives a request, behind the ports of `domain::ports`: sealed content (idempotent answers,
//! turns with tool calls, tasks), and which credential made the objects that providers store.

mod answers;
#[cfg(test)]
mod bench;
mod limits;
mod memory;
mod objects;
mod packing;
mod responses;
mod turns;

pub use answers::{Answers, AnswersSettings};
pub use objects::{Chore, Objects};
pub use responses::{ResponseChore, Responses};
pub use turns::Turns;
