//! Serves one request on a node: decodes it like any other, runs it, and answers in the client's dialect.

use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use decode::{Call, Inbound, decode};
use dialects::{count_answer, render_error, request_id_header};
use domain::limits::ANSWER_BYTES_MAX;
use domain::runtime::{ClearedPrefixes, GenerateRequest, Runtime};
use domain::{Dialect, Event, Fault, FaultClass, Operation, TraceId};
use http::header::{ALLOW, CACHE_CONTROL, HeaderName};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use proof::Digest;
use runtime::{AnswerWriter, RuntimeAnswerOptions, read_runtime};
use serde::{Deserialize, Serialize};
use world::World;

use crate::adapters::AdapterRegistry;
use crate::body::{NodeBody, Running};
use crate::books::{RequestGuard, RequestRecorder};
use crate::journal::{Journal, RuntimeRecord, StartedRequest};
use crate::json_body::{check_json, json, json_response, read, typed_response};
use crate::limits::PAGE_ROWS_MAX;
use crate::routes::{Endpoint, find};
use crate::sticky::Sessions;
use crate::train::{Query, Training};
use crate::{about, admit, mode};

/// Marks usage that the runtime did not measure.
const USAGE: HeaderName = HeaderName::from_static("x-tidegate-usage");

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The code for paths that this version does not serve.
const LATER: &str = "not_of_this_version";

/// Status codes for fault codes whose class is too coarse.
const STATUS_OVERRIDES: [(&str, StatusCode); 5] = [
    (LATER, StatusCode::NOT_IMPLEMENTED),
    ("training_not_served", StatusCode::NOT_IMPLEMENTED),
    ("invalid_adapter", StatusCode::UNPROCESSABLE_ENTITY),
    ("adapter_limit", StatusCode::UNPROCESSABLE_ENTITY),
    ("invalid_scope", StatusCode::UNPROCESSABLE_ENTITY),
];

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
}

/// The ids of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestIds {
    pub trace: TraceId,
    /// The gateway's id of the request, if it came through one.
    pub request: Option<TraceId>,
}

/// A runtime behind an HTTP API, without a listener.
pub struct Service {
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) settings: NodeSettings,
    pub(crate) books: Arc<RequestRecorder>,
    adapter_registry: AdapterRegistry,
    sessions: Sessions,
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
        Ok(Arc::new(Self {
            runtime,
            settings,
            books,
            adapter_registry: shelf,
            sessions: Sessions::default(),
            training,
        }))
    }

    /// Registers the adapters of the directory and those registered before; returns those that failed, with
    /// the reason.
    pub async fn register_adapters(&self) -> Vec<(String, String)> {
        let mut left_out = self.adapter_registry.register_all(&*self.runtime).await;
        left_out.extend(self.training.register_left().await);
        left_out
    }

    /// Starts the shutdown: training stops within a step and resumes at the next start, and streams of its
    /// events end.
    pub fn close(&self) {
        self.training.close();
    }

    /// An id for a new request.
    #[must_use]
    pub fn mint(&self) -> TraceId {
        let world = &self.settings.world;
        TraceId::new(world.clock.unix_ms(), world.id_bytes())
    }

    /// Checks whether the caller may send requests, before the body is read.
    ///
    /// # Errors
    /// 401 or 403.
    pub fn admit(&self, head: &Parts, peer: IpAddr) -> Result<(), Box<Fault>> {
        admit::admit(&self.settings.keys, head, peer)
    }

    /// Answers an admitted request.
    pub async fn call(&self, request: Request<Bytes>, trace: TraceId) -> Response<NodeBody> {
        let (head, body) = request.into_parts();
        let path = head.uri.path().to_owned();
        let endpoint = find(&head.method, &path);
        let ids = RequestIds { trace, request: request_of(&head.headers) };
        let dialect = endpoint.dialect();
        let answer = match endpoint {
            Endpoint::Generate(dialect, operation) => {
                self.generate(dialect, operation, head, body, ids).await
            }
            Endpoint::Count(dialect) => self.count(dialect, head, body, trace).await,
            Endpoint::Embed => self.embed(head, body, ids).await,
            Endpoint::Rank => self.rank(head, body, ids).await,
            Endpoint::Models => about::models(&*self.runtime).await,
            Endpoint::Model(id) => about::model(&*self.runtime, id).await,
            Endpoint::Health => about::health(&*self.runtime),
            Endpoint::Capabilities => {
                about::capabilities(&*self.runtime, self.settings.runtime_name, self.training.offers())
            }
            Endpoint::Adapters(_) | Endpoint::Train(_) | Endpoint::Purge => {
                self.manage(endpoint, &head, &body).await
            }
            Endpoint::Unsupported(what) => Err(Box::new(
                Fault::new(FaultClass::Unsupported, LATER, format!("{what} are not of this version."))
                    .fix("GET /v1/capabilities says what this node serves."),
            )),
            Endpoint::Usage => self.usage(Query::of(head.uri.query())),
            Endpoint::Metrics => {
                let page = self.books.page()
                    + &self.adapter_registry.page(&*self.runtime).await
                    + &self.training.page();
                Ok(typed_response("text/plain; version=0.0.4", NodeBody::whole(page.into())))
            }
            Endpoint::Other(allowed) => Err(other_method(&path, allowed)),
            Endpoint::Nothing => Err(Box::new(
                Fault::new(FaultClass::NotFound, "unknown_path", "A node has nothing at this path.")
                    .fix("GET /v1/capabilities says what it serves."),
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

    /// Records the start of an answer.
    pub(crate) fn begin(
        &self,
        operation: Operation,
        (model, adapter): (&str, Option<&str>),
        ids: RequestIds,
        is_measured: bool,
    ) -> RequestGuard {
        let started = StartedRequest {
            id: ids.trace.to_string(),
            request: ids.request.map(|request| request.to_string()),
            unix_ms: self.settings.world.clock.unix_ms(),
            model: model.to_owned(),
            adapter: adapter.map(str::to_owned),
            operation: operation.as_str().to_owned(),
        };
        self.books.begin(started, is_measured)
    }

    /// Resolves the execution mode and the adapter of a request; returns whether a real model serves it, so
    /// that its usage is measured.
    pub(crate) fn settle(
        &self,
        modes: &HeaderMap,
        request: &mut GenerateRequest,
    ) -> Result<bool, Box<Fault>> {
        mode::settle(modes, request)?;
        let models = self.runtime.models();
        mode::take_adapter(&models, request);
        let named = request.parameters.adapter.take();
        request.parameters.adapter = self.sessions.settle(modes, named, mode::names_none(modes))?;
        Ok(models.iter().any(|known| known.id == request.model && known.is_model))
    }

    /// Parses a request; the last value is whether its usage is measured.
    fn read(
        &self,
        (dialect, operation): (Dialect, Operation),
        head: Parts,
        body: Bytes,
        trace: TraceId,
    ) -> Result<(Call, GenerateRequest, bool), Box<Fault>> {
        let (call, modes) = self.decode_request((dialect, operation), head, body, trace)?;
        let (grammar, operation) = (dialect.grammar(), call.operation());
        let mut request = read_runtime(grammar, operation, call.body(), call.request(), call.is_lenient())?;
        let is_measured = self.settle(&modes, &mut request)?;
        Ok((call, request, is_measured))
    }

    async fn generate(
        &self,
        dialect: Dialect,
        operation: Operation,
        head: Parts,
        body: Bytes,
        ids: RequestIds,
    ) -> Result<Response<NodeBody>, Box<Fault>> {
        let trace = ids.trace;
        let (call, request, is_measured) = self.read((dialect, operation), head, body, trace)?;
        let wish = RuntimeAnswerOptions {
            grammar: dialect.grammar(),
            operation,
            usage: call.request().include_usage,
            model: request.model.clone(),
            trace,
            created_unix_s: self.settings.world.clock.unix_ms() / 1_000,
            constraints: conversation::constraints::AnswerConstraints::of(&request.prompt),
        };
        let adapter = request.parameters.adapter.clone();
        let generation = self.runtime.generate(request).map_err(Box::new)?;
        let entry = self.begin(operation, (&wish.model, adapter.as_deref()), ids, is_measured);
        let mut running = Running::new(generation, entry);
        running.begin().await.map_err(Box::new)?;
        let writer = AnswerWriter::new(wish);
        let mut answer = if call.request().stream {
            let body = NodeBody::stream(running, writer);
            let mut answer = typed_response("text/event-stream; charset=utf-8", body);
            answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            answer
        } else {
            collect_answer(running, writer).await?
        };
        let headers = answer.headers_mut();
        mode::set_headers(headers, adapter.as_deref());
        if !is_measured {
            headers.insert(USAGE, HeaderValue::from_static("estimated"));
        }
        Ok(answer)
    }

    async fn count(
        &self,
        dialect: Dialect,
        head: Parts,
        body: Bytes,
        trace: TraceId,
    ) -> Result<Response<NodeBody>, Box<Fault>> {
        let (_, request, _) = self.read((dialect, Operation::Count), head, body, trace)?;
        let tokens = self.runtime.count_tokens(request).await.map_err(Box::new)?;
        Ok(json(count_answer(dialect.grammar(), tokens)))
    }

    /// Clears the cached prefixes of one `cache_salt`, or of requests without one.
    async fn purge(&self, body: &Bytes) -> Result<Response<NodeBody>, Box<Fault>> {
        let Purge { cache_salt } = if body.is_empty() { Purge::default() } else { read(body)? };
        let forgotten = self.runtime.clear_prefix_cache(cache_salt).await.map_err(Box::new)?;
        let ClearedPrefixes { tokens, blocks, bytes, held } = forgotten;
        let held = PurgedLater { answers: held.answers, blocks: held.blocks, bytes: held.bytes };
        json_response(StatusCode::OK, &Purged { object: "cache.purge", tokens, blocks, bytes, held })
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

/// The gateway's id of the request.
fn request_of(headers: &HeaderMap) -> Option<TraceId> {
    headers.get(REQUEST_ID)?.to_str().ok()?.parse().ok()
}

/// Waits for the complete answer. If the client disconnects, this future and the generation are dropped.
async fn collect_answer(
    mut running: Running,
    mut writer: AnswerWriter,
) -> Result<Response<NodeBody>, Box<Fault>> {
    let (mut events, mut bytes) = (Vec::new(), 0);
    loop {
        let event = poll_fn(|cx| running.poll_event(cx)).await.map_err(Box::new)?;
        if let Event::Delta { text, .. } = &event {
            bytes += text.len();
        }
        if bytes > ANSWER_BYTES_MAX {
            let message = "The answer is too long for a buffered response.";
            let fault = Fault::new(FaultClass::Upstream, "answer_too_large", message);
            return Err(Box::new(fault.fix("Ask for fewer tokens, or for a stream.")));
        }
        let is_last = event == Event::Done;
        events.push(event);
        if is_last {
            return Ok(json(writer.buffered(events)));
        }
    }
}

fn refuse(fault: &Fault, dialect: Dialect, trace: TraceId) -> Response<NodeBody> {
    let rendered = render_error(fault, dialect, trace);
    let mut answer = typed_response(rendered.content_type, NodeBody::whole(rendered.body));
    let overridden =
        STATUS_OVERRIDES.into_iter().find(|(code, _)| *code == fault.code).map(|(_, status)| status);
    let status = overridden.or_else(|| StatusCode::from_u16(rendered.status).ok());
    *answer.status_mut() = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in rendered.headers {
        answer.headers_mut().insert(name, value);
    }
    answer
}

fn other_method(path: &str, allowed: &'static str) -> Box<Fault> {
    let message = format!("{path} does not take this method.");
    let fault = Fault::new(FaultClass::MethodNotAllowed, "method_not_allowed", message);
    Box::new(fault.fix(format!("It takes {allowed}.")))
}
