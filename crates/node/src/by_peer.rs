//! Requests that another node of the workspace serves, those of peers that this node serves, and the paths of the mesh.

use std::sync::Arc;

use bytes::Bytes;
use domain::adapters::RuntimeFuture;
use domain::runtime::GenerateRequest;
use domain::{Fault, FaultClass, Operation, TraceId};
use http::header::HeaderName;
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode};
use runtime::read_runtime;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::about;
use crate::body::NodeBody;
use crate::json_body::{check_json, json_response, read};
use crate::mode;
use crate::peers::{PeerLoad, PeerNetwork, PeerOperation, PeerOutcome, PeerRequest};
use crate::refusal::refuse;
use crate::routes::{Endpoint, find};
use crate::service::Service;
use crate::sticky;

/// The peer that served a request.
const PEER: HeaderName = HeaderName::from_static("x-tidegate-peer");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Registration {
    node: Value,
}

/// A peer as clients add one; what it is called by elsewhere is read and not used.
#[derive(Deserialize)]
struct ComputePeer {
    name: String,
    public_key: Option<String>,
    #[serde(default)]
    addresses: Vec<String>,
}

#[derive(Serialize)]
struct ComputeList {
    object: &'static str,
    peers: Vec<Value>,
}

#[derive(Serialize)]
struct PeerList {
    object: &'static str,
    data: Vec<Value>,
    /// What is being fetched from them.
    fetches: Vec<Value>,
}

impl Service {
    /// Lets peers serve requests, from now on.
    pub fn join_mesh(&self, network: Arc<dyn PeerNetwork>) {
        // A node joins one mesh, as it starts.
        let _ = self.mesh.set(network);
    }

    /// Serves a peer's request on this machine. What manages the node is not for peers.
    pub async fn call_for_peer(&self, request: Request<Bytes>, trace: TraceId) -> Response<NodeBody> {
        let endpoint = find(request.method(), request.uri().path());
        let is_for_peers = matches!(
            endpoint,
            Endpoint::Generate(..) | Endpoint::Count(_) | Endpoint::Embed | Endpoint::Rank | Endpoint::Models
        );
        if is_for_peers {
            return self.call(request, trace).await;
        }
        let fault =
            Fault::new(FaultClass::NotFound, "unknown_path", "A node doesn't serve this path to its peers.");
        refuse(&fault, endpoint.dialect(), trace)
    }

    /// What this node tells its peers.
    pub async fn peer_load(&self) -> PeerLoad {
        let load = self.runtime.load();
        let mut described = PeerLoad {
            running: self.books.open(),
            waiting: load.waiting,
            token_us: self.books.rates().answer_us(Some(1)),
            // If the runtime can't list its models now, it can't serve requests for them either.
            models: about::names(&*self.runtime).await.unwrap_or_default(),
            device: self.device.get().cloned(),
            real_models: self
                .runtime
                .models()
                .into_iter()
                .filter(|model| model.is_model)
                .map(|model| model.id)
                .collect(),
            ..PeerLoad::default()
        };
        if let Some(adapters) = self.runtime.adapters() {
            let states = adapters.list().await.unwrap_or_default();
            for model in self.runtime.models() {
                let resident = states.iter().filter(|state| state.is_resident);
                described.adapters_loaded.extend(resident.map(|state| format!("{}:{}", model.id, state.id)));
            }
        }
        described
    }

    /// The tokens of a request's prompt, if a real model of this node counts them.
    pub fn count_prompt(&self, request: Request<Bytes>) -> Option<RuntimeFuture<'_, u64>> {
        let (head, body) = request.into_parts();
        let Endpoint::Generate(dialect, operation) = find(&head.method, head.uri.path()) else { return None };
        let (call, headers) = self.decode_request((dialect, operation), head, body, self.mint()).ok()?;
        let grammar = dialect.grammar();
        let read = read_runtime(grammar, Operation::Count, call.body(), call.request(), call.is_lenient());
        let mut request = read.ok()?;
        mode::settle(&headers, &mut request).ok()?;
        let models = self.runtime.models();
        mode::take_adapter(&models, &mut request);
        models.iter().find(|known| known.id == request.model && known.is_model)?;
        Some(self.runtime.count_tokens(request))
    }

    /// The answer of a peer, if one serves this request.
    pub(crate) async fn by_peer(
        &self,
        head: &Parts,
        body: &Bytes,
        trace: TraceId,
    ) -> Option<Response<NodeBody>> {
        let mesh = self.mesh.get()?;
        let endpoint = find(&head.method, head.uri.path());
        let (Endpoint::Generate(..) | Endpoint::Embed | Endpoint::Rank) = endpoint else { return None };
        let wanted = self.wanted(head, body).await?;
        match mesh.route(wanted).await {
            PeerOutcome::Here => None,
            PeerOutcome::Served { peer, answer } => {
                let mut answer = answer.map(NodeBody::of_peer);
                if let Ok(name) = HeaderValue::try_from(format!("peer:{peer}")) {
                    answer.headers_mut().insert(mode::SELECTED_BACKEND, name);
                }
                if let Ok(name) = HeaderValue::try_from(peer) {
                    answer.headers_mut().insert(PEER, name);
                }
                Some(answer)
            }
            PeerOutcome::Failed(reasons) => {
                self.books.refuse();
                let reasons: Vec<String> = reasons
                    .into_iter()
                    .map(|(peer, why)| format!("{peer}: {}.", why.trim_end_matches('.')))
                    .collect();
                let message = format!(
                    "This node does not have the model, and its peers did not serve it. {}",
                    reasons.join(" ")
                );
                let fault = Fault::new(FaultClass::Unavailable, "peers_failed", message).param("model");
                let fault = fault.fix("Send it again later; GET /v1/peers shows the state of each.");
                Some(refuse(&fault, endpoint.dialect(), trace))
            }
        }
    }

    /// What a request wants, if it leaves open who serves it. One that names a mode does not, nor does one of a session that began
    /// here. What can't be read is refused by this node.
    async fn wanted(&self, head: &Parts, body: &Bytes) -> Option<PeerRequest> {
        let value: Value = serde_json::from_slice(body).ok()?;
        let mut request =
            GenerateRequest { model: value.get("model")?.as_str()?.to_owned(), ..GenerateRequest::default() };
        let in_body =
            value.get("metadata").and_then(|notes| notes.get("hybrie")?.get("adapter_id")?.as_str());
        request.parameters.adapter = in_body.map(str::to_owned);
        if mode::settle(&head.headers, &mut request).ok()?.is_some() {
            return None;
        }
        let models = self.runtime.models();
        mode::take_adapter(&models, &mut request);
        let (model, adapter) =
            (request.model, request.parameters.adapter.filter(|adapter| adapter != "none"));
        let has_model = models.iter().any(|known| known.id == model);
        if has_model && head.headers.contains_key(sticky::SESSION) {
            return None;
        }
        let is_here = has_model && self.has_adapter(adapter.as_deref()).await;
        let mut request = Request::new(body.clone());
        request.method_mut().clone_from(&head.method);
        request.uri_mut().clone_from(&head.uri);
        request.headers_mut().clone_from(&head.headers);
        Some(PeerRequest { model, adapter, is_here, has_model, body: value, request })
    }

    async fn has_adapter(&self, adapter: Option<&str>) -> bool {
        let Some(adapter) = adapter else { return true };
        let Some(adapters) = self.runtime.adapters() else { return false };
        adapters.list().await.is_ok_and(|states| states.iter().any(|state| state.id == adapter))
    }

    /// The paths of the mesh.
    pub(crate) async fn peers(
        &self,
        operation: PeerOperation<'_>,
        head: &Parts,
        body: &Bytes,
    ) -> Result<Response<NodeBody>, Box<Fault>> {
        if operation == PeerOperation::Compute {
            return json_response(
                StatusCode::OK,
                &ComputeList { object: "list", peers: self.compute().await },
            );
        }
        let mesh = self.mesh.get().ok_or_else(no_mesh)?;
        match operation {
            PeerOperation::Compute | PeerOperation::List => {
                let list = PeerList { object: "list", data: mesh.peers(), fetches: mesh.fetches() };
                json_response(StatusCode::OK, &list)
            }
            PeerOperation::Register => {
                check_json(&head.headers, body)?;
                let Registration { node } = read(body)?;
                let added = mesh.register(node).map_err(|why| invalid_peer(&why, "node"))?;
                json_response(StatusCode::CREATED, &added)
            }
            PeerOperation::AddCompute => {
                check_json(&head.headers, body)?;
                let ComputePeer { name, public_key, addresses } = read(body)?;
                let public_key = public_key.ok_or_else(|| {
                    invalid_peer(
                        "Peers are called by their keys, and not by grpc_peer or realtime_peer_url",
                        "public_key",
                    )
                })?;
                let node = json!({"name": name, "public_key": public_key, "addresses": addresses});
                let peer = mesh.register(node).map_err(|why| invalid_peer(&why, "public_key"))?;
                json_response(StatusCode::CREATED, &json!({"peer": peer}))
            }
            PeerOperation::RemoveCompute(id) => {
                let is_removed = mesh.unregister(id).map_err(|why| invalid_peer(&why, "id"))?;
                if is_removed {
                    return json_response(StatusCode::OK, &json!({"id": id, "removed": true}));
                }
                let message = "No peer of this id was added by request.";
                let fault = Fault::new(FaultClass::NotFound, "not_found", message).param("id");
                Err(Box::new(
                    fault.fix("GET /v1/peers says which list names each peer: its file, or the gateway."),
                ))
            }
        }
    }

    /// Who computes: this node, and its peers if it has some.
    async fn compute(&self) -> Vec<Value> {
        let load = self.peer_load().await;
        match self.mesh.get() {
            Some(mesh) => mesh.compute(load).await,
            None => vec![json!({
                "object": "compute.peer", "id": null, "name": "self", "self": true, "reachable": true, "registered": false,
                "grpc_peer": null, "realtime_peer_url": null, "instance_id": null, "models": load.models,
                "adapters_loaded": load.adapters_loaded, "device": load.device,
                "load": {"running": load.running, "waiting": load.waiting},
            })],
        }
    }
}

fn invalid_peer(why: &str, field: &'static str) -> Box<Fault> {
    let fault = Fault::new(FaultClass::BadRequest, "invalid_peer", format!("{why}.")).param(field);
    Box::new(
        fault.fix("Send public_key, name and addresses, as `tidegate node identity` shows them on the peer."),
    )
}

fn no_mesh() -> Box<Fault> {
    let fault = Fault::new(FaultClass::Unsupported, "no_mesh", "This node is in no mesh of peers.");
    Box::new(fault.fix("Start it with --peer-listen, and with --peers or joined to a gateway."))
}
