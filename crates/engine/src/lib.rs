//! The inference and training engine for models on your own hardware: weights, KV cache, continuous batching,
//! constrained decoding, adapters and fine-tuning. It knows nothing of HTTP or tenants.

mod adapters;
mod backend;
mod batch;
mod blocks;
mod constraints;
mod device;
mod error;
mod fair_queue;
mod families;
mod host;
mod kernels;
mod kv_cache;
mod linear;
mod local;
mod model;
mod rope;
mod sampler;
mod scheduler;
mod sequence;
mod shape;
mod spare;
mod speculation;
pub mod synthetic;
pub mod training;
mod weights;

pub use adapters::{
    Adapter, AdapterId, AdapterRead, AdapterReadResult, AdapterStatus, InitialAdapter, Limits,
    RegisterOptions,
};
pub use backend::{Backend, BackendCache};
pub use batch::{SequenceChunk, StepBatch};
pub use blocks::CacheScope;
pub use candle_core::DType as Numbers;
pub use candle_core::quantized::GgmlDType as Packing;
pub use constraints::{
    Calls, Constraint, ConstraintCompiler, ConstraintError, ConstraintSpec, Thinking, Tool,
};
pub use device::{DeviceModel, DevicePool, Processor};
pub use error::EngineError;
pub use fair_queue::Group;
pub use host::{Host, SequenceEvent};
pub use kv_cache::{BLOCK, KvCache, KvDtype};
pub use local::{Chance, Drafting, Local, LocalSettings, Now};
pub use model::{Model, StepOutput};
pub use sampler::{SampledToken, Sampling};
pub use scheduler::{
    AdapterSwitch, Counts, EmbeddingInput, FinishReason, ForgottenScope, Refused, Request, Scheduler,
    SchedulerLimits, SequenceId, SharedPrefix, StepEvent,
};
pub use shape::{Architecture, Mixture, Pairs, Rope, RopeScaling};
pub use spare::AvailableMemory;
pub use speculation::{DraftModel, Drafter, PromptLookup};
pub use weights::{GenerationDefaults, ModelAssets, Purpose, Ranks, RerankHead, Source, Vectors};
