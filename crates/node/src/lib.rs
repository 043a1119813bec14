//! The inference node's HTTP service: any runtime behind OpenAI's and Anthropic's APIs. It provides the
//! service; the caller does the listening.

mod about;
mod adapters;
mod admit;
mod body;
mod books;
mod disk;
mod echo;
mod joined;
mod journal;
mod json_body;
mod limits;
mod mode;
mod routes;
mod service;
mod sticky;
mod train;
mod vectors;

pub use body::{NodeBody, NodeCut};
pub use echo::Echo;
pub use joined::{Membership, Reporter};
pub use journal::{RuntimeEnd, RuntimeRecord};
pub use service::{NodeSettings, Service};
