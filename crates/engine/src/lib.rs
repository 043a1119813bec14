//! The inference and training engine for models on your own hardware: weights, KV cache, continuous batching,
//! constrained decoding, adapters and fine-tuning. It knows nothing of HTTP or tenants.

mod adapters;
mod batch;
mod blocks;
mod conversation;
mod device;
mod error;
mod families;
mod guesses;
mod host;
mod kernels;
mod linear;
mod local;
mod machine;
pub mod made;
mod model;
mod pool;
mod rope;
mod rules;
mod runner;
mod sampler;
mod shape;
mod signs;
mod spare;
mod speech;
pub mod spelling;
mod stops;
mod template;
mod text;
pub mod training;
mod vocabulary;
mod waiting;
mod weights;

pub use adapters::{Adapter, AdapterId, AdapterStatus, Begun, Limits, Read, Reading, Registering};
pub use batch::{Part, Ragged};
pub use blocks::Share;
pub use candle_core::DType as Numbers;
pub use candle_core::quantized::GgmlDType as Packing;
pub use conversation::{Conversation, Last, Opening};
pub use device::{DeviceModel, DevicePool, Processor};
pub use error::EngineError;
pub use guesses::{Draft, Guesses, Repeats};
pub use host::{Host, Told};
pub use local::{Chance, Drafting, Local, LocalSettings, Now};
pub use machine::{Machine, Memory};
pub use model::{Model, Tells};
pub use pool::{BLOCK, Keeps, Pool};
pub use rules::{Calls, Rule, RuleError, Rulebook, Says, Thinking, Tool};
pub use runner::{
    Beginning, Counts, End, Forgot, Happened, Later, Passage, Refused, Request, Room, Runner, TextId,
};
pub use sampler::{Drawn, Sampling};
pub use shape::{Mixture, Pairs, Rope, Shape, Stretch};
pub use signs::Signs;
pub use spare::Spare;
pub use speech::{Begin, Ending, Form, Manner, NewId, Offered, Speech};
pub use template::Template;
pub use vocabulary::{Telling, Vocabulary};
pub use waiting::Group;
pub use weights::{Beside, Habits, Judge, Purpose, Ranks, Source, Vectors};
