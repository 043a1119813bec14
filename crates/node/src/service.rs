//! One request to a node: decoded like any other, generated, and answered in the client's grammar.

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use decode::{Call, Inbound, decode};
use dialects::chat::{Completion, decode_messages};
use dialects::render_error;
use dialects::{ModelRow, model_object, models_list};
use domain::limits::ANSWER_BYTES_MAX;
use domain::runtime::{Generation, Runtime, RuntimeEvent, RuntimeModel};
use domain::{Dialect, Fault, FaultClass, Operation, Secret, TraceId};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode};
use serde::Serialize;
use world::World;

use crate::admit;
use crate::body::NodeBody;
use crate::routes::{Does, find};

/// Says that the counts were not measured by the runtime.
const USAGE: HeaderName = HeaderName::from_static("x-tidegate-usage");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The prefix that keeps a request on this machine; there is nowhere else yet.
const LOCAL: &str = "local/";

/// How a node is opened.
pub struct NodeSettings {
    pub world: World,
    /// The keys that callers beyond the loopback need.
    pub keys: Vec<Secret>,
    /// The runtime's name, as `/v1/capabilities` says it.
    pub runtime_name: &'static str,
}

/// A runtime that speaks HTTP, but does not listen.
pub struct Service {
    runtime: Arc<dyn Runtime>,
    settings: NodeSettings,
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
    models: Vec<String>,
}

#[derive(Serialize)]
struct Capabilities {
    runtime: &'static str,
    version: &'static str,
    topology: &'static str,
    dialects: [&'static str; 1],
    streaming: bool,
    models: Vec<Capability>,
}

#[derive(Serialize)]
struct Capability {
    id: String,
    is_model: bool,
    usage: &'static str,
}

impl Service {
    #[must_use]
    pub fn new(runtime: Arc<dyn Runtime>, settings: NodeSettings) -> Arc<Self> {
        Arc::new(Self { runtime, settings })
    }

    /// The id of a new request.
    #[must_use]
    pub fn mint(&self) -> TraceId {
        let world = &self.settings.world;
        TraceId::new(world.clock.unix_ms(), world.id_bytes())
    }

    /// Whether the caller may ask; before its body is read.
    ///
    /// # Errors
    /// 401 or 403.
    pub fn admit(&self, head: &Parts, peer: IpAddr) -> Result<(), Box<Fault>> {
        admit::admit(&self.settings.keys, head, peer)
    }

    /// Answers a request whose caller was admitted.
    pub async fn call(&self, request: Request<Bytes>, trace: TraceId) -> Response<NodeBody> {
        let (head, body) = request.into_parts();
        let path = head.uri.path().to_owned();
        let answer = match find(&head.method, &path) {
            Does::Chat => self.chat(head, body, trace).await,
            Does::Models => Ok(json(models_list(
                Dialect::Chat,
                &self.runtime.models().into_iter().map(row).collect::<Vec<_>>(),
            ))),
            Does::Model(id) => self.model(id),
            Does::Health => self.health(),
            Does::Capabilities => self.capabilities(),
            Does::Other(allowed) => return other_method(&path, allowed, trace),
            Does::Nothing => Err(Box::new(
                Fault::new(FaultClass::NotFound, "unknown_path", "A node has nothing at this path.")
                    .fix("It serves /v1/chat/completions, /v1/models, /v1/health and /v1/capabilities."),
            )),
        };
        let mut answer = answer.unwrap_or_else(|fault| refuse(&fault, trace));
        if let Ok(id) = HeaderValue::try_from(trace.to_string()) {
            answer.headers_mut().insert(REQUEST_ID, id);
        }
        answer
    }

    async fn chat(&self, head: Parts, body: Bytes, trace: TraceId) -> Result<Response<NodeBody>, Box<Fault>> {
        let clock = &self.settings.world.clock;
        let (received_us, received_unix_ms) = (clock.monotonic_us(), clock.unix_ms());
        let (dialect, operation, headers) = (Dialect::Chat, Operation::Chat, head.headers);
        let inbound = Inbound {
            trace,
            dialect,
            operation,
            headers,
            addressed: None,
            body,
            form: None,
            received_us,
            received_unix_ms,
        };
        let call = decode(inbound, received_us)?;
        let mut request = decode_messages(call.body())?;
        if let Some(bare) = request.model.strip_prefix(LOCAL) {
            request.model = bare.to_owned();
        }
        let model = request.model.clone();
        let generation = self.runtime.generate(request).map_err(Box::new)?;
        let estimated = !self.runtime.models().iter().any(|known| known.id == model && known.is_model);
        let completion = Completion {
            id: format!("chatcmpl-{}", trace.as_uuid().simple()),
            created_unix_s: received_unix_ms / 1_000,
            model,
        };
        let mut answer = reply(&call, generation, completion).await?;
        if estimated {
            answer.headers_mut().insert(USAGE, HeaderValue::from_static("estimated"));
        }
        Ok(answer)
    }

    fn model(&self, id: &str) -> Result<Response<NodeBody>, Box<Fault>> {
        match self.runtime.models().into_iter().find(|model| model.id == id) {
            Some(model) => Ok(json(model_object(Dialect::Chat, &row(model)))),
            None => Err(Box::new(
                Fault::new(FaultClass::NotFound, "model_not_found", "This node has no such model.")
                    .param("model")
                    .fix("List its models at /v1/models."),
            )),
        }
    }

    fn health(&self) -> Result<Response<NodeBody>, Box<Fault>> {
        let models = self.runtime.models().into_iter().map(|model| model.id).collect();
        write(&Health { status: "ok", models })
    }

    fn capabilities(&self) -> Result<Response<NodeBody>, Box<Fault>> {
        let capability = |model: RuntimeModel| Capability {
            usage: if model.is_model { "measured" } else { "estimated" },
            id: model.id,
            is_model: model.is_model,
        };
        write(&Capabilities {
            runtime: self.settings.runtime_name,
            version: env!("CARGO_PKG_VERSION"),
            topology: "local",
            dialects: ["chat"],
            streaming: true,
            models: self.runtime.models().into_iter().map(capability).collect(),
        })
    }
}

async fn reply(
    call: &Call,
    generation: Pin<Box<dyn Generation + Send>>,
    completion: Completion,
) -> Result<Response<NodeBody>, Box<Fault>> {
    if call.request().stream {
        let body = NodeBody::stream(generation, completion, call.trace(), call.request().include_usage);
        let mut answer = typed("text/event-stream; charset=utf-8", body);
        answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        return Ok(answer);
    }
    whole(generation, &completion).await
}

async fn whole(
    mut generation: Pin<Box<dyn Generation + Send>>,
    completion: &Completion,
) -> Result<Response<NodeBody>, Box<Fault>> {
    let mut text = String::new();
    while let Some(event) = poll_fn(|cx| generation.as_mut().poll_next(cx)).await {
        match event.map_err(Box::new)? {
            RuntimeEvent::Text(more) if text.len() + more.len() > ANSWER_BYTES_MAX => {
                return Err(Box::new(
                    Fault::new(
                        FaultClass::Upstream,
                        "answer_too_large",
                        "The answer grew past what is kept whole.",
                    )
                    .fix("Ask for fewer tokens, or for a stream."),
                ));
            }
            RuntimeEvent::Text(more) => text.push_str(&more),
            RuntimeEvent::Finish { reason, usage } => {
                return Ok(json(completion.whole(&text, reason, &usage)));
            }
        }
    }
    Err(Box::new(Fault::new(
        FaultClass::StreamBroken,
        "generation_broken",
        "The runtime broke off its answer.",
    )))
}

fn row(model: RuntimeModel) -> ModelRow {
    ModelRow { id: model.id, owned_by: model.owned_by, created: model.created_unix_s }
}

fn write(value: &impl Serialize) -> Result<Response<NodeBody>, Box<Fault>> {
    let bytes = serde_json::to_vec(value).map_err(|_| Box::new(Fault::internal()))?;
    Ok(json(Bytes::from(bytes)))
}

fn json(bytes: Bytes) -> Response<NodeBody> {
    typed("application/json", NodeBody::whole(bytes))
}

fn typed(media_type: &'static str, body: NodeBody) -> Response<NodeBody> {
    let mut answer = Response::new(body);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    answer
}

fn refuse(fault: &Fault, trace: TraceId) -> Response<NodeBody> {
    let rendered = render_error(fault, Dialect::Chat, trace);
    let mut answer = typed(rendered.content_type, NodeBody::whole(rendered.body));
    *answer.status_mut() = StatusCode::from_u16(rendered.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in rendered.headers {
        answer.headers_mut().insert(name, value);
    }
    answer
}

fn other_method(path: &str, allowed: &'static str, trace: TraceId) -> Response<NodeBody> {
    let message = format!("{path} does not take this method.");
    let fault = Fault::new(FaultClass::MethodNotAllowed, "method_not_allowed", message)
        .fix(format!("It takes {allowed}."));
    let mut answer = refuse(&fault, trace);
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}
