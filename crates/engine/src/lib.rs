//! Models that run on hardware of one's own: their weights, what they remember of a conversation, and the steps in which
//! many conversations are carried on at once. It knows no HTTP and no tenant.

mod batch;
mod blocks;
mod conversation;
mod error;
mod families;
mod host;
mod kernels;
mod linear;
pub mod made;
mod model;
mod pool;
mod rope;
mod runner;
mod sampler;
mod shape;
mod speech;
mod stops;
mod template;
mod vocabulary;
mod waiting;
mod weights;

pub use batch::{Part, Ragged};
pub use blocks::Share;
pub use candle_core::quantized::GgmlDType as Packing;
pub use conversation::{Conversation, Last, Opening};
pub use error::EngineError;
pub use host::{Host, Told};
pub use model::Model;
pub use pool::{BLOCK, Keeps, Pool};
pub use runner::{Counts, End, Happened, Refused, Request, Room, Runner, TextId};
pub use sampler::{Drawn, Sampling};
pub use shape::{Mixture, Pairs, Rope, Shape, Stretch};
pub use speech::{Begin, Ending, Form, Manner, NewId, Offered, Speech};
pub use template::Template;
pub use vocabulary::{Telling, Vocabulary};
pub use waiting::Group;
pub use weights::{Beside, Habits, Source};
