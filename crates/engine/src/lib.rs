//! Serves models on your own hardware: continuous batching, constrained decoding, speculative decoding, adapters
//! by name, accelerators, and training beside requests. It knows nothing of HTTP or tenants.

mod adapters;
mod backend;
mod blocks;
mod constraints;
mod device;
mod error;
mod fair_queue;
mod host;
mod limits;
mod local;
mod request;
mod sampler;
mod scheduler;
mod sequence;
mod speculation;

pub use adapters::{AdapterId, AdapterRead, AdapterReadResult, AdapterStatus, RegisterOptions};
pub use backend::{Backend, BackendCache};
pub use blocks::CacheScope;
pub use candle_core::DType as Numbers;
pub use constraints::{
    Calls, Constraint, ConstraintCompiler, ConstraintError, ConstraintSpec, Thinking, Tool,
};
pub use device::{DeviceModel, DevicePool, Processor};
pub use error::EngineError;
pub use fair_queue::Group;
pub use host::{Host, SequenceEvent};
pub use local::{Chance, Drafting, Local, LocalSettings, Now};
pub use request::{
    AdapterSwitch, EmbeddingInput, FinishReason, Refused, Request, SequenceId, SharedPrefix, StepEvent,
};
pub use sampler::{SampledToken, Sampling};
pub use scheduler::{Counts, ForgottenScope, Scheduler, SchedulerLimits};
pub use speculation::{DraftModel, Drafter, PromptLookup};
