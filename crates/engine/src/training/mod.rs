//! Training on hardware of one's own: an adapter beside a model that stays as it is, or a small model whole. It has an
//! arithmetic of its own, apart from the one that serves: in single precision, over whole texts, forwards and backwards,
//! and the same to the bit when it is done again on the same machine.

#![expect(clippy::cast_possible_truncation, reason = "sums are made in double precision and kept in single")]

mod attention;
mod file;
mod head;
mod job;
mod layer;
mod matrix;
mod mixture;
mod network;
mod outlook;
mod packing;
mod result;
mod rows;
mod rule;
mod settings;
mod texts;
mod weight;

pub use file::Precision;
pub use job::{Beginning, Job, Progress, Went};
pub use network::{Batch, Network};
pub use outlook::Outlook;
pub use settings::{LowRank, Schedule, Settings, Target, Trains};
pub use texts::{BadLine, BadLines, Reading, Text};
pub use weight::Slot;
