//! LoRA adapters on disk, in PEFT's format: low-rank updates of a base model's projections.

mod begun;
mod config;
mod limits;
mod names;
mod read;

pub use begun::InitialAdapter;
pub use limits::Limits;
pub use read::{Seal, open, read};
