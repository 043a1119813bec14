//! The decoder on the CPU: its kernels with a thread pool of their own, the KV cache, LoRA, and the forward pass
//! over a batch. It reads no files.

mod adapter;
mod attend;
mod batch;
mod batch_adapters;
mod elementwise;
mod embedding;
mod error;
mod exponent;
mod kv_cache;
mod lanes;
mod limits;
mod linear;
mod lora;
mod model;
mod norm;
mod numbers;
mod product;
mod quantised;
mod rope;
mod scores;
mod shape;
mod thread_pool;
mod turn;

pub use adapter::{Adapter, Site};
pub use batch::{SequenceChunk, StepBatch};
pub use embedding::Rows;
pub use error::KernelError;
pub use kv_cache::{BLOCK, KvCache, KvDtype};
pub use linear::Linear;
pub use lora::{LoraProjection, Up, are_numbers, panels};
pub use model::{Dense, Layer, Model, Pair, StepOutput, choose, mixed};
pub use norm::{norm, norm_rows};
pub use product::{FloatType, Matrix};
pub use quantised::QuantisedMatrix;
pub use rope::{Angles, RotaryEmbedding, frequencies, stretched_context, usual_attention};
pub use scores::{argmax, sum_exp};
pub use shape::{Architecture, Mixture, Pairs, Rope, RopeScaling};
pub use thread_pool::made;
pub use turn::turn;
