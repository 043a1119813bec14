//! The inference node's HTTP service: any runtime behind OpenAI's and Anthropic's APIs. It provides the
//! service; the caller does the listening.

mod about;
mod accelerators;
mod adapters;
mod admit;
mod body;
mod books;
mod by_peer;
mod compute;
mod cut;
mod disk;
mod disk_cache;
mod echo;
mod energy;
mod generate;
mod hours;
mod hybrid;
mod identity;
mod joined;
mod journal;
mod json_body;
mod leaving;
mod limits;
mod mode;
mod peers;
mod refusal;
mod request_ids;
mod routes;
mod service;
mod sticky;
mod target;
mod train;
mod vectors;

pub use accelerators::{Accelerators, NVML};
pub use body::NodeBody;
pub use compute::read_workers;
pub use cut::NodeCut;
pub use echo::Echo;
pub use energy::EnergyMeter;
pub use hybrid::{LeftBecause, Topology, TopologySources};
pub use identity::NodeKey;
pub use joined::{Dialled, Gateways, Membership, Policy, Reporter, TunnelDialer, TunnelSignals};
pub use journal::{LeftTo, RuntimeEnd, RuntimeRecord};
pub use peers::{EjectedPeer, MeshReport, PeerAnswerBody, PeerLoad, PeerNetwork, PeerOutcome, PeerRequest};
pub use service::{Exit, NodeSettings, Service};
