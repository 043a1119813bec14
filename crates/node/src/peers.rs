//! The mesh of a node's peers, as its service sees it: a trait, and what passes through it. Only the binary joins the two.

use std::net::SocketAddr;
use std::pin::Pin;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use serde::Serialize;
use serde_json::Value;

use crate::cut::NodeCut;

/// The body of a peer's answer.
pub type PeerAnswerBody = Pin<Box<dyn Body<Data = Bytes, Error = NodeCut> + Send>>;

/// A request that a peer might serve.
pub struct PeerRequest {
    pub model: String,
    pub adapter: Option<String>,
    /// This node has the model and the adapter.
    pub is_here: bool,
    /// This node has the model, with or without the adapter.
    pub has_model: bool,
    /// The body, parsed.
    pub body: Value,
    pub request: Request<Bytes>,
}

/// Who serves a request.
pub enum PeerOutcome {
    /// This node.
    Here,
    Served {
        peer: String,
        answer: Response<PeerAnswerBody>,
    },
    /// Nobody: this node can't, and the peers that could did not. Each with the reason.
    Failed(Vec<(String, String)>),
}

/// What a node tells its peers and its gateway about its load.
#[derive(Debug, Clone, Default)]
pub struct PeerLoad {
    /// Models, and `model:adapter` for registered adapters.
    pub models: Vec<String>,
    pub adapters_loaded: Vec<String>,
    pub running: u64,
    pub waiting: u64,
    /// How long a token of an answer takes, measured over the last answers.
    pub token_us: Option<u64>,
    /// The device that computes, if there is one.
    pub device: Option<String>,
    /// Models that are real ones.
    pub real_models: Vec<String>,
}

/// What a node reports of its mesh to the gateway.
#[derive(Debug, Clone, Default, Serialize)]
pub struct MeshReport {
    /// Where peers reach this node.
    pub addresses: Vec<SocketAddr>,
    /// The peers that are ejected here.
    pub ejected: Vec<EjectedPeer>,
}

/// A peer that was caught lying.
#[derive(Debug, Clone, Serialize)]
pub struct EjectedPeer {
    pub name: String,
    pub public_key: String,
    pub why: String,
    pub until_unix_ms: u64,
}

/// The mesh of a node.
pub trait PeerNetwork: Send + Sync {
    /// Chooses who serves a request, and passes it on.
    fn route(&self, request: PeerRequest) -> Pin<Box<dyn Future<Output = PeerOutcome> + Send + '_>>;

    /// The peers, as `GET /v1/peers` shows them.
    fn peers(&self) -> Vec<Value>;

    /// The fetches from peers in progress, as `GET /v1/peers` shows them.
    fn fetches(&self) -> Vec<Value>;

    /// This node and the peers, as `GET /v1/compute/peers` shows them.
    fn compute<'a>(&'a self, load: PeerLoad) -> Pin<Box<dyn Future<Output = Vec<Value>> + Send + 'a>>;

    /// Removes a member that was added by request; says whether there was one.
    ///
    /// # Errors
    /// Says why it can't be removed.
    fn unregister(&self, id: &str) -> Result<bool, String>;

    /// Adds a member, and returns it as it was taken.
    ///
    /// # Errors
    /// Says what is wrong with it.
    fn register(&self, node: Value) -> Result<Value, String>;

    fn report(&self) -> MeshReport;

    /// Takes the list of the gateway that this node joined, if its signature holds.
    ///
    /// # Errors
    /// Says why it isn't taken.
    fn take_list(&self, list: &Value, node_id: &str, signer: Option<proof::PublicKey>) -> Result<(), String>;
}

/// What is done with the mesh over HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PeerOperation<'p> {
    List,
    Register,
    /// Who is there, with which models, adapters, load and device.
    Compute,
    /// As `Register`, at the path where clients add a peer of compute.
    AddCompute,
    /// Removes what was registered.
    RemoveCompute(&'p str),
}
