//! Joins a node's service with the mesh: each is behind a trait of the other's.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::header::HeaderName;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame};
use node::{
    EjectedPeer, MeshReport, NodeCut, PeerAnswerBody, PeerLoad, PeerNetwork, PeerOutcome, PeerRequest,
    Service,
};
use peers::{
    FileDigests, Library, Member, Mesh, PeerBody, PeerFuture, PeerService, PeerState, PeerView, PrefixSketch,
    PromptBlocks, Routed, Wanted,
};
use proof::{Digest, PublicKey};
use serde_json::{Value, json};

use super::bridge::Bridge;
use super::coming::ComingAdapters;

const MODE: HeaderName = HeaderName::from_static("x-hybrie-execution-mode");
const HOPS: &str = "x-hybrie-hops";
const ADAPTER: &str = "x-hybrie-adapter-id";

/// What a node does for its peers.
pub struct NodeForPeers {
    service: Arc<Service>,
    bridge: Bridge,
    library: Arc<Library>,
    prefixes: PrefixSketch,
    pub digests: FileDigests,
    /// The model that this node serves: its name for requests, and its files.
    served: Option<(String, PathBuf)>,
}

/// What the mesh does for a node.
pub struct MeshNetwork {
    pub mesh: Arc<Mesh>,
    pub node: Arc<NodeForPeers>,
    /// No request goes to a peer.
    pub is_kept: bool,
    /// Adapters that are fetched when a request names them; `None` fetches none.
    pub coming: Option<ComingAdapters>,
}

impl NodeForPeers {
    pub fn new(
        service: Arc<Service>,
        bridge: Bridge,
        library: Arc<Library>,
        served: Option<(String, PathBuf)>,
    ) -> Self {
        let (prefixes, digests) = (PrefixSketch::default(), FileDigests::default());
        Self { service, bridge, library, prefixes, digests, served }
    }

    /// The digest of the files behind each name. That of a model with an adapter is of both.
    fn digests(&self, load: &PeerLoad) -> BTreeMap<String, Option<Digest>> {
        let served = self.served.as_ref().filter(|(name, _)| load.real_models.contains(name));
        let Some((model, path)) = served else { return BTreeMap::new() };
        let base = self.digests.of(path);
        let mut digests = BTreeMap::from([(model.clone(), base)]);
        let directories: BTreeMap<String, PathBuf> = self.service.adapter_directories().into_iter().collect();
        for name in &load.models {
            let Some(adapter) = name.strip_prefix(model).and_then(|rest| rest.strip_prefix(':')) else {
                continue;
            };
            let own = directories.get(adapter).and_then(|directory| self.digests.of(directory));
            let both = base.zip(own).map(|(base, own)| Digest::of(&[&base.0, &own.0]));
            digests.insert(name.clone(), both);
        }
        digests
    }

    fn state_of(&self, load: PeerLoad) -> PeerState {
        let digests = self.digests(&load);
        let PeerLoad { models, adapters_loaded, running, waiting, token_us, device, .. } = load;
        let tokens_per_s = token_us.filter(|us| *us > 0).map_or(0.0, |us| 1_000_000.0 / us as f64);
        PeerState {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            models,
            adapters_loaded,
            running,
            waiting,
            tokens_per_s,
            prefixes: self.prefixes.to_text(),
            shares: self.library.shares(),
            digests,
            device,
        }
    }
}

impl PeerService for NodeForPeers {
    fn answer(&self, mut request: Request<Bytes>) -> PeerFuture<'_, Response<PeerBody>> {
        Box::pin(async move {
            let prompt = prompt_of(&request);
            // It is served here or not at all: peers don't send requests round in circles.
            request.headers_mut().insert(MODE, HeaderValue::from_static("local"));
            // Beside hops, the mode would be another node's guard, and these are counted no further.
            request.headers_mut().remove(HOPS);
            let answer = self.bridge.serve(request).await;
            if let Some(prompt) = prompt.filter(|_| answer.status() == StatusCode::OK) {
                self.prefixes.insert(&prompt);
            }
            answer
        })
    }

    fn state(&self) -> PeerFuture<'_, PeerState> {
        Box::pin(async { self.state_of(self.service.peer_load().await) })
    }

    fn count_prompt(&self, request: Request<Bytes>) -> PeerFuture<'_, Option<u64>> {
        let counting = self.service.count_prompt(request);
        Box::pin(async { counting?.await.ok() })
    }
}

/// The blocks of a request's prompt, under the name that the peer used that sent it.
fn prompt_of(request: &Request<Bytes>) -> Option<PromptBlocks> {
    let body: Value = serde_json::from_slice(request.body()).ok()?;
    let model = body.get("model")?.as_str()?.to_owned();
    let in_body = body.get("metadata").and_then(|notes| notes.get("hybrie")?.get("adapter_id")?.as_str());
    let adapter = request.headers().get(ADAPTER).and_then(|name| name.to_str().ok()).or(in_body);
    let adapter = adapter.filter(|adapter| *adapter != "none").map(str::to_owned);
    Some(PromptBlocks::of(&Wanted { model, adapter, prompt: PromptBlocks::default() }.name(), &body))
}

impl PeerNetwork for MeshNetwork {
    fn route(&self, request: PeerRequest) -> Pin<Box<dyn Future<Output = PeerOutcome> + Send + '_>> {
        Box::pin(async move {
            let PeerRequest { model, adapter, is_here, has_model, body, request } = request;
            let mut wanted = Wanted { model, adapter, prompt: PromptBlocks::default() };
            wanted.prompt = PromptBlocks::of(&wanted.name(), &body);
            let routed = if self.is_kept {
                Routed::Local
            } else {
                let own = if is_here {
                    Some(self.node.state_of(self.node.service.peer_load().await))
                } else {
                    None
                };
                self.mesh.route(&wanted, own.as_ref(), &request).await
            };
            let lacking = wanted.adapter.as_deref().filter(|_| has_model && !is_here);
            if let (Some(coming), Some(adapter)) = (&self.coming, lacking) {
                // A peer that has it answers while it comes.
                let is_served = matches!(routed, Routed::Served { .. });
                if coming.bring(adapter) && !is_served && coming.wait(adapter).await {
                    return PeerOutcome::Here;
                }
            }
            match routed {
                Routed::Local => {
                    if is_here {
                        self.node.prefixes.insert(&wanted.prompt);
                    }
                    PeerOutcome::Here
                }
                Routed::Served { peer, answer } => {
                    let answer = answer.map(|body| Box::pin(Relayed(body)) as PeerAnswerBody);
                    PeerOutcome::Served { peer, answer }
                }
                Routed::Failed(reasons) => PeerOutcome::Failed(reasons),
            }
        })
    }

    fn peers(&self) -> Vec<Value> {
        self.mesh.peers().into_iter().map(peer_row).collect()
    }

    fn fetches(&self) -> Vec<Value> {
        self.mesh.fetches().iter().filter_map(|fetch| serde_json::to_value(fetch).ok()).collect()
    }

    fn compute<'a>(&'a self, load: PeerLoad) -> Pin<Box<dyn Future<Output = Vec<Value>> + Send + 'a>> {
        Box::pin(async move {
            let own = self.node.state_of(load);
            let key = self.mesh.public_key().to_string();
            let mut rows = vec![compute_row(&key, "self", true, false, Some(own), &[])];
            rows.extend(self.mesh.peers().into_iter().map(|peer| {
                let is_reachable = peer.is_connected && peer.ejection.is_none();
                let (key, member) = (peer.member.public_key.to_string(), peer.member);
                compute_row(&key, &member.name, is_reachable, true, peer.state, &member.models)
            }));
            rows
        })
    }

    fn unregister(&self, id: &str) -> Result<bool, String> {
        let Ok(key) = id.parse::<PublicKey>() else { return Ok(false) };
        self.mesh.roster().unregister(&key).map_err(|error| error.to_string())
    }

    fn register(&self, node: Value) -> Result<Value, String> {
        let member: Member = serde_json::from_value(node).map_err(|error| error.to_string())?;
        self.mesh.roster().register(member.clone()).map_err(|error| error.to_string())?;
        serde_json::to_value(member).map_err(|error| error.to_string())
    }

    fn report(&self) -> MeshReport {
        let ejected = self.mesh.ejected().into_iter().map(|ejection| EjectedPeer {
            name: ejection.name,
            public_key: ejection.public_key.to_string(),
            why: ejection.why,
            until_unix_ms: ejection.until_unix_ms,
        });
        MeshReport { addresses: self.mesh.addresses(), ejected: ejected.collect() }
    }

    fn take_list(&self, list: &Value, node_id: &str, signer: Option<PublicKey>) -> Result<(), String> {
        let text = serde_json::to_vec(list).map_err(|error| error.to_string())?;
        self.mesh.roster().take_signed(&text, node_id, signer).map_err(|error| error.to_string())
    }
}

fn load_of(state: &PeerState) -> Value {
    json!({
        "running": state.running,
        "waiting": state.waiting,
        "tokens_per_s": (state.tokens_per_s * 10.0).round() / 10.0,
    })
}

/// A node, as `GET /v1/compute/peers` shows it. The fields of other products' peers are there for their clients, and empty.
fn compute_row(
    key: &str,
    name: &str,
    is_reachable: bool,
    is_registered: bool,
    state: Option<PeerState>,
    models_listed: &[String],
) -> Value {
    let load = state.as_ref().map(load_of);
    let state = state.unwrap_or_default();
    let adapters: Vec<&String> = state
        .models
        .iter()
        .filter(|name| state.models.iter().any(|model| is_adapter_of(name, model)))
        .collect();
    let models: Vec<&String> = state.models.iter().filter(|name| !adapters.contains(name)).collect();
    json!({
        "object": "compute.peer",
        "id": key,
        "name": name,
        "self": !is_registered,
        "reachable": is_reachable,
        "registered": is_registered,
        "grpc_peer": null,
        "realtime_peer_url": null,
        "instance_id": null,
        "version": state.version,
        "models": if models.is_empty() { json!(models_listed) } else { json!(models) },
        "adapters": adapters,
        "adapters_loaded": state.adapters_loaded,
        "digests": state.digests,
        "device": state.device,
        "load": load,
    })
}

/// Whether this is the name of a model with an adapter of that model.
fn is_adapter_of(name: &str, model: &str) -> bool {
    name.strip_prefix(model).is_some_and(|rest| rest.starts_with(':'))
}

/// A peer, as `GET /v1/peers` shows it.
fn peer_row(peer: PeerView) -> Value {
    let load = peer.state.as_ref().map(load_of);
    let state = peer.state.unwrap_or_default();
    let models = if state.models.is_empty() { peer.member.models } else { state.models };
    json!({
        "object": "peer",
        "id": peer.member.public_key,
        "name": peer.member.name,
        "addresses": peer.member.addresses,
        "source": peer.source,
        "connected": peer.is_connected,
        "rtt_ms": peer.rtt.map(|rtt| (rtt.as_secs_f64() * 100_000.0).round() / 100.0),
        "relayed": peer.is_relayed,
        "version": state.version,
        "models": models,
        "digests": state.digests,
        "shares": state.shares,
        "load": load,
        "ejected": peer.ejection.map(|ejection| json!({"why": ejection.why, "until_unix_ms": ejection.until_unix_ms})),
        "last_error": peer.last_error,
        "bytes_in": peer.bytes_received,
        "bytes_out": peer.bytes_sent,
        "chunks_in": peer.chunks_received,
    })
}

/// A peer's body as one of this node's.
struct Relayed(PeerBody);

impl Body for Relayed {
    type Data = Bytes;
    type Error = NodeCut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, NodeCut>>> {
        let polled = Pin::new(&mut self.0).poll_frame(context);
        polled.map(|frame| frame.map(|read| read.map_err(|_| NodeCut)))
    }
}
