//! Models and adapters on disk: reads safetensors, GGUF and PEFT's adapters, and writes synthetic models in the
//! same formats.

pub mod adapters;
mod assets;
mod config;
mod digest;
mod error;
mod families;
pub mod limits;
mod model;
mod packed;
mod piece;
mod plain;
mod purpose;
mod raw;
mod source;
mod spare;
pub mod synthetic;

pub use assets::{GenerationDefaults, ModelAssets};
pub use error::WeightsError;
pub use model::load_model;
pub use piece::{Raw, TensorName};
pub use purpose::{Purpose, Ranks, RerankHead, Vectors};
pub use source::Source;
pub use spare::AvailableMemory;
