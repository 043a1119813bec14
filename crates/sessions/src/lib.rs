//! What lasts beyond one request: content, sealed, and who made what providers keep. The keepers behind `domain::ports`.

mod answers;
#[cfg(test)]
mod bench;
mod memory;
mod objects;
mod packing;
mod responses;
mod turns;

pub use answers::{Answers, AnswersSettings};
pub use objects::{Chore, Objects};
pub use responses::{ResponseChore, Responses};
pub use turns::Turns;
