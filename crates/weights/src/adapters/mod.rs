//! LoRA adapters on disk, in PEFT's format: low-rank updates of a base model's projections.

mod config;
mod initial;
mod limits;
mod names;
mod read;

pub use initial::InitialAdapter;
pub use limits::Limits;
pub use read::{Seal, open, read};
