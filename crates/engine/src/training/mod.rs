//! Training on hardware of one's own: an adapter beside a model that stays as it is, or a small model whole. It has an
//! arithmetic of its own, apart from the one that serves: in single precision, over whole texts, forwards and backwards,
//! and the same to the bit when it is done again on the same machine.

mod attention;
mod head;
mod layer;
mod matrix;
mod mixture;
mod network;
mod rows;
mod settings;
mod weight;

pub use network::{Batch, Network};
pub use settings::{LowRank, Schedule, Settings, Target, Trains};
pub use weight::Slot;
