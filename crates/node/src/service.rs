//! Serves one request on a node: decodes it like any other, runs it, and answers in the client's dialect.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use decode::{Call, Inbound, decode};
use dialects::request_id_header;
use domain::runtime::{ClearedPrefixes, Runtime};
use domain::{Dialect, Fault, FaultClass, Operation, TraceId};
use egress::Client;
use http::header::ALLOW;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use proof::Digest;
use serde::{Deserialize, Serialize};
use workers::Fleet;
use world::World;

use crate::adapters::AdapterRegistry;
use crate::body::NodeBody;
use crate::books::RequestRecorder;
use crate::compute::WorkerOperation;
use crate::hybrid::{Hops, Topology};
use crate::joined::Policy;
use crate::journal::{Journal, RuntimeRecord};
use crate::json_body::{check_json, json_response, read, typed_response};
use crate::limits::PAGE_ROWS_MAX;
use crate::peers::PeerNetwork;
use crate::refusal::{LATER, refuse};
use crate::request_ids::{FromThisMachine, RequestIds};
use crate::routes::{Endpoint, find};
use crate::sticky::Sessions;
use crate::train::{Query, Training};
use crate::{about, admit, compute, disk_cache};

/// How a node's service is configured.
pub struct NodeSettings {
    pub world: World,
    /// Digests of the keys that callers from other machines need.
    pub keys: Vec<Digest>,
    /// The runtime's name in `/v1/capabilities`.
    pub runtime_name: &'static str,
    /// The directory of the journal; `None` stores nothing.
    pub data_dir: Option<PathBuf>,
    /// The directory of adapters.
    pub adapters: Option<PathBuf>,
    /// Where requests may be answered.
    pub topology: Topology,
}

/// How requests leave for backends, on one serving thread; closed if nothing leaves.
#[derive(Debug, Clone)]
pub struct Exit(Option<Client>);

/// A runtime behind an HTTP API, without a listener.
pub struct Service {
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) settings: NodeSettings,
    pub(crate) books: Arc<RequestRecorder>,
    pub(crate) sessions: Sessions,
    pub(crate) hops: Hops,
    /// Of a node that has joined.
    policy: OnceLock<Arc<Policy>>,
    /// Of a node that has peers.
    pub(crate) mesh: OnceLock<Arc<dyn PeerNetwork>>,
    /// The device that computes; of a node that has a model.
    pub(crate) device: OnceLock<String>,
    /// Of a node that starts workers.
    workers: OnceLock<Arc<Fleet>>,
    adapter_registry: AdapterRegistry,
    training: Training,
}

/// Whose cached prefixes to clear.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Purge {
    cache_salt: Option<String>,
}

#[derive(Serialize)]
struct Purged {
    object: &'static str,
    tokens: u64,
    blocks: u64,
    bytes: u64,
    /// What running generations use until they end.
    held: PurgedLater,
    /// What was removed from the disk, if the prefix cache has files.
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_blocks: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_bytes: Option<u64>,
}

#[derive(Serialize)]
struct PurgedLater {
    answers: u64,
    blocks: u64,
    bytes: u64,
}

/// A page of journal records.
#[derive(Serialize)]
struct Page {
    data: Vec<RuntimeRecord>,
}

impl Service {
    /// # Errors
    /// The journal, the list of adapters or the training jobs can't be opened.
    pub fn new(runtime: Arc<dyn Runtime>, settings: NodeSettings) -> io::Result<Arc<Self>> {
        let journal = settings.data_dir.as_deref().map(Journal::open).transpose()?;
        let books = Arc::new(RequestRecorder::new(settings.world.clone(), journal));
        let shelf = AdapterRegistry::open(settings.adapters.as_deref(), settings.data_dir.as_deref())?;
        let training = Training::open(
            &runtime,
            (settings.data_dir.as_deref(), settings.adapters.as_deref()),
            &settings.world,
        )?;
        let hops = Hops::new(settings.world.id_bytes());
        Ok(Arc::new(Self {
            hops,
            runtime,
            settings,
            books,
            adapter_registry: shelf,
            sessions: Sessions::default(),
            training,
            policy: OnceLock::new(),
            mesh: OnceLock::new(),
            device: OnceLock::new(),
            workers: OnceLock::new(),
        }))
    }

    /// Serves by what the control plane says, from now on.
    pub fn follow(&self, policy: Arc<Policy>) {
        // It is set once, when the node starts.
        let _ = self.policy.set(policy);
    }

    /// Starts workers with this fleet, from now on.
    pub fn employ(&self, fleet: Arc<Fleet>) {
        // It is set once, when the node starts.
        let _ = self.workers.set(fleet);
    }

    pub(crate) fn policy(&self) -> Option<&Policy> {
        self.policy.get().map(|policy| &**policy)
    }

    /// Registers the adapters of the directory and those registered before; returns those that failed, with
    /// the reason.
    pub async fn register_adapters(&self) -> Vec<(String, String)> {
        let mut left_out = self.adapter_registry.register_all(&*self.runtime).await;
        left_out.extend(self.training.register_left().await);
        left_out
    }

    /// Registers an adapter that has come to the directory since.
    ///
    /// # Errors
    /// Says why the runtime does not take it.
    pub async fn register_adapter(&self, name: &str) -> Result<(), String> {
        self.adapter_registry.register_one(&*self.runtime, name).await
    }

    /// The directories of the registered adapters, by name.
    pub fn adapter_directories(&self) -> Vec<(String, PathBuf)> {
        self.adapter_registry.directories()
    }

    /// Names the device that computes.
    pub fn computes_on(&self, device: &str) {
        // It is set once, when the node starts.
        let _ = self.device.set(device.to_owned());
    }

    /// Starts the shutdown: training stops within a step and resumes at the next start, and streams of its
    /// events end.
    pub fn close(&self) {
        self.training.close();
    }

    /// An id for a new request.
    pub fn mint(&self) -> TraceId {
        let world = &self.settings.world;
        TraceId::new(world.clock.unix_ms(), world.id_bytes())
    }

    /// Checks whether the caller may send requests, before the body is read.
    ///
    /// # Errors
    /// 401 or 403.
    pub fn admit(&self, head: &mut Parts, peer: IpAddr) -> Result<(), Box<Fault>> {
        // A service that started a worker has no key of this node: it signs its calls.
        if let Some(fleet) = self.workers.get()
            && let Endpoint::Workers(WorkerOperation::Callback(_)) = find(&head.method, head.uri.path())
        {
            return fleet.admit_callback(&head.headers);
        }
        admit::admit(&self.settings.keys, head, peer)?;
        if peer.is_loopback() {
            head.extensions.insert(FromThisMachine);
        }
        Ok(())
    }

    /// What requests to backends are sent with, on the serving thread that calls this.
    ///
    /// # Errors
    /// The TLS root certificates can't be read.
    pub fn exit(&self) -> io::Result<Exit> {
        self.settings.topology.client().map(Exit)
    }

    /// Answers an admitted request here.
    pub async fn call(&self, request: Request<Bytes>, trace: TraceId) -> Response<NodeBody> {
        let (head, body) = request.into_parts();
        self.answer_request(head, body, trace, None).await
    }

    /// Answers an admitted request. A peer may do it, and through the exit a backend.
    pub async fn call_with(
        &self,
        request: Request<Bytes>,
        trace: TraceId,
        Exit(client): &Exit,
    ) -> Response<NodeBody> {
        let (head, body) = request.into_parts();
        match self.by_peer(&head, &body, trace).await {
            Some(answer) => answer,
            None => self.answer_request(head, body, trace, client.as_ref()).await,
        }
    }

    async fn answer_request(
        &self,
        head: Parts,
        body: Bytes,
        trace: TraceId,
        client: Option<&Client>,
    ) -> Response<NodeBody> {
        let path = head.uri.path().to_owned();
        let endpoint = find(&head.method, &path);
        let ids = RequestIds::of(trace, &head);
        let dialect = endpoint.dialect();
        let answer = match endpoint {
            _ if let Err(fault) = self.check_policy(endpoint) => Err(fault),
            Endpoint::Generate(dialect, operation) => {
                self.generate((dialect, operation), head, body, ids, client).await
            }
            Endpoint::Count(dialect) => self.count(dialect, head, body, ids, client).await,
            Endpoint::Embed => self.embed(head, body, ids, client).await,
            Endpoint::Rank => self.rank(head, body, ids, client).await,
            Endpoint::Models => about::models(&*self.runtime, &self.settings.topology).await,
            Endpoint::Model(id) => about::model(&*self.runtime, &self.settings.topology, id).await,
            Endpoint::Health => about::health(&*self.runtime, &self.settings.topology, self.policy()),
            Endpoint::Capabilities => about::capabilities(
                &*self.runtime,
                &self.settings.topology,
                self.settings.runtime_name,
                self.training.offers(),
            ),
            Endpoint::Adapters(_) | Endpoint::Train(_) | Endpoint::Purge | Endpoint::Workers(_) => {
                self.manage(endpoint, &head, &body).await
            }
            Endpoint::Peers(operation) => self.peers(operation, &head, &body).await,
            Endpoint::Unsupported(what) => Err(Box::new(
                Fault::new(FaultClass::Unsupported, LATER, format!("{what} are not of this version."))
                    .fix("GET /v1/capabilities lists what this node serves."),
            )),
            Endpoint::Usage => self.usage(Query::of(head.uri.query())),
            Endpoint::Metrics => {
                let page = self.books.page()
                    + &self.adapter_registry.page(&*self.runtime).await
                    + &self.training.page()
                    + &disk_cache::page(self.runtime.disk_cache());
                Ok(typed_response("text/plain; version=0.0.4", NodeBody::whole(page.into())))
            }
            Endpoint::Other(allowed) => Err(other_method(&path, allowed)),
            Endpoint::Nothing => Err(Box::new(
                Fault::new(FaultClass::NotFound, "unknown_path", "A node doesn't serve this path.")
                    .fix("GET /v1/capabilities lists what it serves."),
            )),
        };
        let mut answer = answer.unwrap_or_else(|fault| {
            if matches!(endpoint, Endpoint::Generate(..) | Endpoint::Embed | Endpoint::Rank) {
                self.books.refuse();
            }
            refuse(&fault, dialect, trace)
        });
        if let Endpoint::Other(allowed) = endpoint {
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
        }
        if let Ok(id) = HeaderValue::try_from(trace.to_string()) {
            answer.headers_mut().insert(request_id_header(dialect), id);
        }
        answer
    }

    /// Whether the node may still work without its control plane; it describes itself and its adapters as long as it runs.
    fn check_policy(&self, endpoint: Endpoint<'_>) -> Result<(), Box<Fault>> {
        let is_work = matches!(
            endpoint,
            Endpoint::Generate(..)
                | Endpoint::Count(_)
                | Endpoint::Embed
                | Endpoint::Rank
                | Endpoint::Train(_)
        );
        self.policy().filter(|_| is_work).map_or(Ok(()), Policy::check)
    }

    /// Management requests that change the node's state: JSON, except for file uploads, which are multipart
    /// forms.
    async fn manage(
        &self,
        endpoint: Endpoint<'_>,
        head: &Parts,
        body: &Bytes,
    ) -> Result<Response<NodeBody>, Box<Fault>> {
        if !endpoint.takes_a_form() {
            check_json(&head.headers, body)?;
        }
        match endpoint {
            Endpoint::Adapters(operation) => {
                self.adapter_registry.answer(operation, &*self.runtime, body).await
            }
            Endpoint::Train(operation) => self.training.answer(operation, head, body).await,
            Endpoint::Workers(operation) => compute::answer(self.workers.get(), operation, head, body).await,
            _ => self.purge(body).await,
        }
    }

    /// Decodes a request; also returns its headers.
    pub(crate) fn decode_request(
        &self,
        (dialect, operation): (Dialect, Operation),
        head: Parts,
        body: Bytes,
        trace: TraceId,
    ) -> Result<(Call, HeaderMap), Box<Fault>> {
        let clock = &self.settings.world.clock;
        let (received_us, received_unix_ms) = (clock.monotonic_us(), clock.unix_ms());
        let modes = head.headers.clone();
        let inbound = Inbound {
            trace,
            dialect,
            operation,
            headers: head.headers,
            addressed: None,
            body,
            form: None,
            received_us,
            received_unix_ms,
        };
        Ok((decode(inbound, received_us)?, modes))
    }

    /// Clears the cached prefixes of one `cache_salt`, or of requests without one.
    async fn purge(&self, body: &Bytes) -> Result<Response<NodeBody>, Box<Fault>> {
        let Purge { cache_salt } = if body.is_empty() { Purge::default() } else { read(body)? };
        let forgotten = self.runtime.clear_prefix_cache(cache_salt).await.map_err(Box::new)?;
        let ClearedPrefixes { tokens, blocks, bytes, held, disk } = forgotten;
        let held = PurgedLater { answers: held.answers, blocks: held.blocks, bytes: held.bytes };
        let (disk_blocks, disk_bytes) = (disk.map(|disk| disk.blocks), disk.map(|disk| disk.bytes));
        let purged = Purged { object: "cache.purge", tokens, blocks, bytes, held, disk_blocks, disk_bytes };
        json_response(StatusCode::OK, &purged)
    }

    /// A page of the journal, after the last record of the page before.
    fn usage(&self, mut query: Query<'_>) -> Result<Response<NodeBody>, Box<Fault>> {
        let limit = query.limit(PAGE_ROWS_MAX, PAGE_ROWS_MAX)?;
        let after = query.number("after")?.unwrap_or(0);
        let Some(journal) = &self.books.journal else {
            return json_response(StatusCode::OK, &Page { data: Vec::new() });
        };
        let data = journal.after(after, limit);
        json_response(StatusCode::OK, &Page { data: data.map_err(|_| Box::new(Fault::internal()))? })
    }
}

fn other_method(path: &str, allowed: &'static str) -> Box<Fault> {
    let message = format!("{path} doesn't accept this method.");
    let fault = Fault::new(FaultClass::MethodNotAllowed, "method_not_allowed", message);
    Box::new(fault.fix(format!("It takes {allowed}.")))
}
