//! The runtime as a service: any engine behind the client's grammar. It offers a service and never listens.

mod about;
mod adapters;
mod admit;
mod body;
mod books;
mod disk;
mod echo;
mod joined;
mod journal;
mod mode;
mod routes;
mod said;
mod service;
mod sticky;
mod train;
mod vectors;

pub use body::{NodeBody, NodeCut};
pub use echo::Echo;
pub use joined::{Membership, Reporter};
pub use journal::{RuntimeEnd, RuntimeRecord};
pub use service::{NodeSettings, Service};
