//! Training on your own hardware: a LoRA adapter for a frozen base model, or all weights of a small model. It
//! has forward and backward passes of its own, separate from the serving kernels: in single precision, over
//! whole sequences, and bit-identical when a run is repeated on the same machine.

#![expect(clippy::cast_possible_truncation, reason = "sums are made in double precision and kept in single")]

mod attention;
mod dataset;
mod error;
mod file;
mod head;
mod job;
mod layer;
mod limits;
mod matrix;
mod mixture;
mod network;
mod optimizer;
mod outlook;
mod packing;
mod result;
mod rows;
mod settings;
mod weight;

pub use dataset::{BadLine, BadLines, DatasetReader, Example};
pub use error::TrainerError;
pub use file::Precision;
pub use job::{Job, Progress, RunInputs, StepOutcome};
pub use network::{Batch, Network};
pub use outlook::TrainingEstimate;
pub use settings::{LoraConfig, Schedule, Settings, Target, Trains};
pub use weight::Slot;
