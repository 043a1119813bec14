//! Sends a request to the backends that take it, one after the other, until one answers.

use conversation::request::RequestPart;
use conversation::upstream_error::read_error;
use dialects::AnswerPath;
use domain::limits::{ANSWER_BYTES_MAX, FIRST_BYTE_TIME_MAX, REFUSAL_TIME_MAX};
use domain::{Fault, FaultClass, TraceId, Usage};
use egress::{Answer, Client, Request, TargetKind};
use http::header::{CACHE_CONTROL, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use tokio::time::timeout;

use super::backend::{Backend, Forwarded, gateway_headers};
use super::hops::looped;
use super::relay::{RelayedBody, broken_words};
use super::topology::Hybrid;
use super::trigger::LeftBecause;
use crate::body::NodeBody;
use crate::books::{RequestGuard, RequestOutcome};
use crate::journal::LeftTo;
use crate::json_body::{json, typed_response};
use crate::limits::{BACKEND_ANSWER_TIME_MAX, BACKEND_ERROR_BYTES_MAX};
use crate::mode::{Mode, Selected, USAGE, set_headers};
use crate::refusal::refuse;

/// Headers of a gateway's answer: its id of the request, and the profile that served it.
const GATEWAY_REQUEST: &str = "agent-trace-id";
const PROFILE: &str = "agent-execution-profile";

/// A request that may leave, and where to.
pub(crate) struct Departure<'a> {
    pub client: &'a Client,
    pub hybrid: &'a Hybrid,
    pub forwarded: Forwarded<'a>,
    /// The model's name here.
    pub model: &'a str,
    pub mode: Mode,
    pub trace: TraceId,
}

/// A request that this node serves, and what was tried before.
#[derive(Default)]
pub(crate) struct Staying {
    /// Its journal entry, if there is one already.
    pub entry: Option<RequestGuard>,
    /// The backends did not answer: they are not tried again.
    pub nobody: Option<NoBackend>,
    /// What the runtime used before it failed.
    pub usage: Usage,
}

/// No backend answered.
pub(crate) struct Returned {
    entry: Option<RequestGuard>,
    nobody: NoBackend,
}

/// What each backend did instead of an answer.
pub(crate) struct NoBackend {
    reasons: Vec<String>,
    is_loop: bool,
}

/// How an attempt at a backend failed, so that the next is tried.
struct Failed {
    why: String,
    is_loop: bool,
}

enum Arrived {
    Whole(Box<(Response<NodeBody>, Usage)>),
    Stream(Box<RelayedBody>),
    /// The backend refuses the request as another would, too.
    Refused(Box<Fault>),
}

/// The head of an answer: what is read of it beside the body.
#[derive(Default)]
struct GatewayHead {
    headers: HeaderMap,
    /// A node answered that estimates its usage, and says so.
    is_estimated: bool,
}

impl From<String> for Failed {
    fn from(why: String) -> Self {
        Self { why, is_loop: false }
    }
}

impl GatewayHead {
    fn text(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The gateway's id of the request.
    fn request(&self) -> Option<TraceId> {
        self.text(GATEWAY_REQUEST)?.parse().ok()
    }

    fn profile(&self) -> Option<&str> {
        self.text(PROFILE)
    }
}

impl Returned {
    /// The error of a request that only a backend could have answered.
    pub(crate) fn fault(self, here: Option<&Fault>) -> Box<Fault> {
        if let Some(entry) = self.entry {
            entry.end(RequestOutcome::Failed, &Usage::default());
        }
        self.nobody.fault(here)
    }

    /// The request is served by this node.
    pub(crate) fn stay(mut self) -> Staying {
        if let Some(entry) = &mut self.entry {
            entry.stay();
        }
        Staying { entry: self.entry, nobody: Some(self.nobody), ..Staying::default() }
    }
}

impl NoBackend {
    /// The error of a request that neither this node nor a backend answered.
    pub(crate) fn fault(self, here: Option<&Fault>) -> Box<Fault> {
        let there = self.reasons.join(" ");
        if self.is_loop {
            return looped(there);
        }
        let message = match here {
            Some(here) => format!("This node: {} {there}", here.message),
            None => there,
        };
        let fault = Fault::new(FaultClass::Upstream, "backends_failed", message);
        Box::new(fault.fix("Send it again later, or correct the backends of this node."))
    }
}

impl Departure<'_> {
    /// Whether a backend takes the request.
    pub(crate) fn is_possible(&self) -> bool {
        self.candidates().next().is_some()
    }

    fn candidates(&self) -> impl Iterator<Item = (&Backend, &str)> {
        let backends = self.hybrid.backends.iter();
        let taking = backends.filter(|backend| backend.takes(self.model, self.forwarded.adapter));
        taking.filter_map(|backend| Some((backend, backend.name_of(self.model)?)))
    }

    /// Forwards the request. Nothing was sent to the client before. Without an entry it is in no journal.
    pub(crate) async fn send(
        &self,
        because: Option<LeftBecause>,
        mut entry: Option<RequestGuard>,
    ) -> Result<Response<NodeBody>, Returned> {
        let (mut reasons, mut is_loop) = (Vec::new(), false);
        for (backend, name) in self.candidates() {
            if let Some(entry) = &mut entry {
                entry.leave(LeftTo { backend: backend.id.clone(), because, profile: None });
            }
            match self.attempt(backend, name).await {
                Ok((head, arrived)) => {
                    if let Some(entry) = &mut entry {
                        // Its requests are known where the records of this node go.
                        let request = if backend.is_joined { head.request() } else { None };
                        entry.answered_by(request, head.profile(), !head.is_estimated);
                    }
                    return Ok(self.answer(backend, because, head, arrived, entry));
                }
                Err(failed) => {
                    tracing::warn!(backend = backend.id, why = failed.why, "a backend did not answer");
                    is_loop |= failed.is_loop;
                    reasons.push(format!("The backend {}: {}", backend.id, sentence(failed.why)));
                }
            }
        }
        Err(Returned { entry, nobody: NoBackend { reasons, is_loop } })
    }

    fn answer(
        &self,
        backend: &Backend,
        because: Option<LeftBecause>,
        head: GatewayHead,
        arrived: Arrived,
        mut entry: Option<RequestGuard>,
    ) -> Response<NodeBody> {
        let mut note = |ended, usage| {
            if let Some(entry) = &mut entry {
                entry.note(ended, usage);
            }
        };
        let mut answer = match arrived {
            Arrived::Whole(whole) => {
                let (answer, usage) = *whole;
                note(RequestOutcome::Completed, usage);
                answer
            }
            Arrived::Stream(mut body) => {
                if let Some(entry) = entry {
                    body.record(entry);
                }
                let mut answer = typed_response("text/event-stream; charset=utf-8", NodeBody::relayed(body));
                answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
                answer
            }
            Arrived::Refused(fault) => {
                note(RequestOutcome::Failed, Usage::default());
                refuse(&fault, self.forwarded.call.dialect(), self.trace)
            }
        };
        answer.headers_mut().extend(head.headers);
        if head.is_estimated {
            answer.headers_mut().insert(USAGE, HeaderValue::from_static("estimated"));
        }
        let adapter = self.forwarded.adapter;
        set_headers(
            answer.headers_mut(),
            &Selected { mode: self.mode, backend: Some(&backend.id), adapter, because },
        );
        answer
    }

    async fn attempt(&self, backend: &Backend, name: &str) -> Result<(GatewayHead, Arrived), Failed> {
        let request = backend.request(name, &self.forwarded)?;
        let is_stream = self.forwarded.call.request().stream;
        let bound = if is_stream { FIRST_BYTE_TIME_MAX } else { BACKEND_ANSWER_TIME_MAX };
        let exchange = timeout(bound, self.exchange(backend, &request, is_stream)).await;
        exchange.unwrap_or_else(|_| Err(format!("it did not answer within {} s", bound.as_secs()).into()))
    }

    async fn exchange(
        &self,
        backend: &Backend,
        request: &Request,
        is_stream: bool,
    ) -> Result<(GatewayHead, Arrived), Failed> {
        let answer = self.client.send(request, TargetKind::System).await.map_err(|error| error.message)?;
        if !answer.status.is_success() {
            return refused(backend, answer)
                .await
                .map(|fault| (GatewayHead::default(), Arrived::Refused(fault)));
        }
        if answer.headers.get("content-encoding").is_some_and(|encoding| encoding != b"identity") {
            return Err("it compressed its answer unasked".to_owned().into());
        }
        let headers = if backend.is_gateway { answer.headers.to_map() } else { HeaderMap::new() };
        let is_estimated = answer.headers.text(USAGE.as_str()) == Some("estimated");
        let head = GatewayHead { headers: gateway_headers(headers.iter()).collect(), is_estimated };
        let (call, path) = (self.forwarded.call, self.path());
        let prompt_bytes = path.prompt_bytes;
        if is_stream {
            let stream = call.spec().answer_stream(path);
            let mut body =
                RelayedBody::new(backend.id.clone(), answer.body, stream, prompt_bytes, self.trace);
            body.open().await?;
            return Ok((head, Arrived::Stream(Box::new(body))));
        }
        let body = answer.body.read_to_end(ANSWER_BYTES_MAX).await.map_err(|error| error.message)?;
        let read = call.spec().buffered_answer(&path, body).map_err(|fault| broken_words(&fault))?;
        let usage =
            read.facts.usage.unwrap_or_else(|| chat::estimate(prompt_bytes, read.facts.content_bytes));
        Ok((head, Arrived::Whole(Box::new((json(read.body), usage)))))
    }

    /// How the answer is read: client and backend speak the same dialect.
    fn path(&self) -> AnswerPath {
        let (call, request) = (self.forwarded.call, self.forwarded.call.request());
        let grammar = call.dialect().grammar();
        let mut path = AnswerPath::chat(grammar, grammar);
        path.operation = call.operation();
        path.options.usage = request.include_usage;
        path.prompt_bytes = request.prompt_bytes;
        if let RequestPart::Vectors(form) = &request.part {
            path.vectors = *form;
        }
        path
    }
}

/// What a backend's error means: the request is refused as wrong, which another backend would do, too; or this
/// backend failed.
async fn refused(backend: &Backend, answer: Answer) -> Result<Box<Fault>, Failed> {
    let status = answer.status;
    let body = timeout(REFUSAL_TIME_MAX, answer.body.read_to_end(BACKEND_ERROR_BYTES_MAX)).await;
    let body = body.ok().and_then(Result::ok).unwrap_or_default();
    let mut report = read_error(&body);
    let message = report.message.clone().unwrap_or_else(|| "It does not say why.".to_owned());
    if is_final(status) {
        let message = format!("The backend {} refuses the request: {message}", backend.id);
        report.status = Some(status.as_u16());
        report.provider.clone_from(&backend.id);
        let mut fault = Fault::new(FaultClass::BadRequest, "backend_refused", message);
        if let Some(param) = report.param.clone() {
            fault = fault.param(param);
        }
        return Ok(Box::new(fault.upstream(report)));
    }
    Err(Failed {
        why: format!("it answered {status}. {message}"),
        is_loop: status == StatusCode::LOOP_DETECTED,
    })
}

/// Whether a status says that the request itself is wrong.
fn is_final(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_REQUEST
            | StatusCode::NOT_ACCEPTABLE
            | StatusCode::CONFLICT
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::UNSUPPORTED_MEDIA_TYPE
            | StatusCode::UNPROCESSABLE_ENTITY
    )
}

fn sentence(mut text: String) -> String {
    if !text.ends_with(['.', '!', '?']) {
        text.push('.');
    }
    text
}
