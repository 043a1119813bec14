//! Models that run on hardware of one's own: their weights, what they remember of a conversation, and the steps in which
//! many conversations are carried on at once. It knows no HTTP and no tenant.

mod adapters;
mod batch;
mod blocks;
mod error;
mod families;
mod guesses;
mod host;
mod kernels;
mod linear;
pub mod made;
mod model;
mod pool;
mod rope;
mod rules;
mod runner;
mod sampler;
mod shape;
pub mod spelling;
mod stops;
mod template;
mod text;
pub mod training;
mod vocabulary;
mod waiting;
mod weights;

pub use adapters::{Adapter, AdapterId, AdapterStatus, Limits, Read, Reading, Registering};
pub use batch::{Part, Ragged};
pub use blocks::Share;
pub use candle_core::DType as Numbers;
pub use candle_core::quantized::GgmlDType as Packing;
pub use error::EngineError;
pub use guesses::{Guesses, Repeats};
pub use host::{Host, Told};
pub use model::Model;
pub use pool::{BLOCK, Keeps, Pool};
pub use rules::{Calls, Form, Rule, RuleError, Rulebook, Says, Thinking, Tool};
pub use runner::{Counts, End, Happened, Refused, Request, Room, Runner, TextId};
pub use sampler::{Drawn, Sampling};
pub use shape::{Mixture, Pairs, Rope, Shape, Stretch};
pub use template::Template;
pub use vocabulary::{Telling, Vocabulary};
pub use waiting::Group;
pub use weights::Source;
