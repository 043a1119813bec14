//! One HTTP request of the proxy, as its stream tells it: which messages are answered, with what, and when the choice is made.
//!
//! The choice is made when the whole body is there, where the proxy lets it be: in the mode `FULL_DUPLEX_STREAMED`, which
//! gateways use for pools, the answer to the headers waits for it, and the body is sent back unchanged; in the modes `BUFFERED`
//! and `BUFFERED_PARTIAL` the choice is the answer to the body. In the others the headers have to be answered first, and the load
//! alone decides.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;

use crate::endpoint::Visit;
use crate::framing::GrpcStatus;
use crate::limits::{BODY_BYTES_MAX, CHUNK_BYTES_MAX, HELD_BYTES_MAX};
use crate::pool::{Allowed, Choice, Pool, Refused, Wish};
use crate::prefix::{self, Question};
use crate::wire::{
    BodyMode, BodyMutation, CommonResponse, HeaderMutation, HeaderValue, HeaderValueOption, HttpBody,
    HttpHeaders, HttpStatus, ImmediateResponse, Metadata, OVERWRITE, PartResponse, ProcessingRequest,
    ProcessingResponse, Reply, Sent, Struct, TrailersResponse, Value, ValueKind,
};

/// The header and the entry with the endpoints, and the namespace of the latter.
const DESTINATION: &str = "x-gateway-destination-endpoint";
const DESTINATION_NAMESPACE: &str = "envoy.lb";
/// The entry with the endpoint that served, in the same namespace.
const SERVED: &str = "x-gateway-destination-endpoint-served";
const SUBSET: &str = "x-gateway-destination-endpoint-subset";
const SUBSET_NAMESPACE: &str = "envoy.lb.subset_hint";
/// The header that names the objective of a request.
const OBJECTIVE: &str = "x-gateway-inference-objective";

/// What is held of bodies, of all streams together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Budget(Rc<Cell<usize>>);

/// A share of the budget, returned when it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    budget: Budget,
    bytes: usize,
}

impl Budget {
    pub(crate) fn begin(&self) -> Held {
        Held { budget: self.clone(), bytes: 0 }
    }
}

impl Held {
    /// Changes how much is held; `false` if that is more than there is.
    pub(crate) fn set(&mut self, bytes: usize) -> bool {
        let others = self.budget.0.get().saturating_sub(self.bytes);
        let fits = others.saturating_add(bytes) <= HELD_BYTES_MAX;
        if fits || bytes <= self.bytes {
            self.budget.0.set(others.saturating_add(bytes));
            self.bytes = bytes;
        }
        fits
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// What follows on a message.
#[derive(Debug, PartialEq)]
pub(crate) enum Next {
    /// These answers, and the stream goes on.
    Answers(Vec<ProcessingResponse>),
    /// The client is answered instead of a server, and the stream is over.
    Last(Box<ProcessingResponse>),
}

/// Where the request is.
enum Phase {
    /// Nothing came yet.
    Empty,
    /// The headers came, and the body decides.
    Deciding { wish: Wish, pieces: Vec<Bytes>, bytes: usize, held: Held },
    /// An endpoint was chosen, or none has to be.
    Decided,
}

pub(crate) struct Exchange {
    pool: Rc<Pool>,
    sheddable: Rc<[String]>,
    budget: Budget,
    phase: Phase,
    request_mode: BodyMode,
    response_mode: BodyMode,
    question: Question,
    visit: Option<Visit>,
    is_success: bool,
    /// Nothing is answered in this mode.
    is_observing: bool,
}

impl Exchange {
    pub(crate) fn new(pool: Rc<Pool>, sheddable: Rc<[String]>, budget: Budget) -> Self {
        Self {
            pool,
            sheddable,
            budget,
            phase: Phase::Empty,
            // What the protocol of endpoint pickers uses, where the proxy doesn't say.
            request_mode: BodyMode::FullDuplexStreamed,
            response_mode: BodyMode::FullDuplexStreamed,
            question: Question::default(),
            visit: None,
            is_success: false,
            is_observing: false,
        }
    }

    /// Whether more of the request has to come before an endpoint is chosen.
    pub(crate) const fn is_waiting(&self) -> bool {
        !matches!(self.phase, Phase::Decided)
    }

    /// # Errors
    /// The message is out of order, or says nothing that is known.
    pub(crate) fn take(&mut self, message: ProcessingRequest) -> Result<Next, GrpcStatus> {
        let ProcessingRequest { request, metadata_context, observability_mode, protocol_config } = message;
        if let Some(config) = protocol_config {
            self.request_mode = config.request_body_mode();
            self.response_mode = config.response_body_mode();
        }
        self.is_observing |= observability_mode;
        let Some(request) = request else {
            return Err(GrpcStatus::unsupported("this endpoint picker doesn't know this kind of message"));
        };
        if self.is_observing {
            self.phase = Phase::Decided;
            return Ok(Next::Answers(Vec::new()));
        }
        let metadata = metadata_context.unwrap_or_default();
        match request {
            Sent::RequestHeaders(headers) => self.request_headers(&headers, &metadata),
            Sent::RequestBody(piece) => self.request_body(piece),
            Sent::RequestTrailers(_) => self.request_trailers(),
            Sent::ResponseHeaders(headers) => {
                self.response_headers(&headers, &metadata);
                Ok(answer(Reply::ResponseHeaders(unchanged())))
            }
            Sent::ResponseBody(piece) => Ok(self.response_body(piece)),
            Sent::ResponseTrailers(_) => {
                self.end();
                Ok(answer(Reply::ResponseTrailers(TrailersResponse {})))
            }
        }
    }

    fn request_headers(&mut self, headers: &HttpHeaders, metadata: &Metadata) -> Result<Next, GrpcStatus> {
        if !matches!(self.phase, Phase::Empty) {
            return Err(GrpcStatus::invalid("a stream is for one request, and its headers came already"));
        }
        let objective = headers.headers.as_ref().and_then(|headers| headers.text(OBJECTIVE));
        let wish = Wish {
            subset: metadata.entry(SUBSET_NAMESPACE, SUBSET).map(read_subset),
            is_sheddable: objective.is_some_and(|name| self.sheddable.iter().any(|one| one == name)),
        };
        let has_body_later = match self.request_mode {
            BodyMode::FullDuplexStreamed | BodyMode::Buffered | BodyMode::BufferedPartial => {
                !headers.end_of_stream
            }
            BodyMode::None | BodyMode::Streamed | BodyMode::Grpc => false,
        };
        if has_body_later {
            self.phase = Phase::Deciding { wish, pieces: Vec::new(), bytes: 0, held: self.budget.begin() };
            let waits = self.request_mode == BodyMode::FullDuplexStreamed;
            return Ok(if waits {
                Next::Answers(Vec::new())
            } else {
                answer(Reply::RequestHeaders(unchanged()))
            });
        }
        Ok(match self.choose(&wish, &[]) {
            Ok(endpoints) => answer_with(Reply::RequestHeaders(mutated(&endpoints)), &endpoints),
            Err(refused) => refusal(refused),
        })
    }

    fn request_body(&mut self, piece: HttpBody) -> Result<Next, GrpcStatus> {
        let is_last = piece.end_of_stream || piece.end_of_stream_without_message;
        let Phase::Deciding { pieces, bytes, held, .. } = &mut self.phase else {
            return match self.phase {
                Phase::Empty => Err(GrpcStatus::invalid("a body came before the headers of its request")),
                _ => Ok(returned(self.request_mode, piece, Reply::RequestBody)),
            };
        };
        if self.request_mode != BodyMode::FullDuplexStreamed {
            // The whole body in one message.
            return Ok(self.decide(&[piece], |endpoints, _| {
                vec![with_endpoints(Reply::RequestBody(mutated(endpoints)), endpoints)]
            }));
        }
        *bytes = bytes.saturating_add(piece.body.len());
        pieces.push(piece.body);
        if !is_last && *bytes <= BODY_BYTES_MAX && held.set(*bytes) {
            return Ok(Next::Answers(Vec::new()));
        }
        let end = HttpBody {
            body: Bytes::new(),
            end_of_stream: piece.end_of_stream,
            end_of_stream_without_message: piece.end_of_stream_without_message,
            grpc_message_compressed: false,
        };
        Ok(self.decide(&[end], headers_then_body))
    }

    fn request_trailers(&mut self) -> Result<Next, GrpcStatus> {
        let trailers = || plain(Reply::RequestTrailers(TrailersResponse {}));
        match self.phase {
            Phase::Empty => Err(GrpcStatus::invalid("trailers came before the headers of their request")),
            Phase::Decided => Ok(Next::Answers(vec![trailers()])),
            Phase::Deciding { .. } => {
                let duplex = self.request_mode == BodyMode::FullDuplexStreamed;
                let decided = self.decide(&[], |endpoints, pieces| {
                    // In the other modes headers can't be changed any more: the entry of the metadata names the endpoint.
                    if duplex { headers_then_body(endpoints, pieces) } else { Vec::new() }
                });
                Ok(match decided {
                    Next::Answers(mut answers) => {
                        answers.push(trailers());
                        Next::Answers(answers)
                    }
                    last @ Next::Last(_) => last,
                })
            }
        }
    }

    /// Chooses by what came of the body, with its last pieces.
    fn decide(
        &mut self,
        last: &[HttpBody],
        answers: impl FnOnce(&str, Vec<HttpBody>) -> Vec<ProcessingResponse>,
    ) -> Next {
        let Phase::Deciding { wish, pieces, .. } = std::mem::replace(&mut self.phase, Phase::Decided) else {
            return Next::Answers(Vec::new());
        };
        let mut all: Vec<HttpBody> =
            pieces.into_iter().map(|body| HttpBody { body, ..HttpBody::default() }).collect();
        all.extend(last.iter().cloned());
        let body = joined(&all);
        match self.choose(&wish, &body) {
            Ok(endpoints) => Next::Answers(answers(&endpoints, all)),
            Err(refused) => refusal(refused),
        }
    }

    fn choose(&mut self, wish: &Wish, body: &[u8]) -> Result<String, Refused> {
        self.phase = Phase::Decided;
        // A body that was cut off is no document.
        self.question = if body.len() > BODY_BYTES_MAX { Question::default() } else { prefix::read(body) };
        let Choice { visit, endpoints } = self.pool.choose(wish, &self.question).inspect_err(|refused| {
            tracing::debug!(?refused, "a request was refused");
        })?;
        tracing::debug!(endpoint = %endpoints, prompt_bytes = self.question.prompt_bytes, "chosen");
        self.visit = Some(visit);
        Ok(endpoints)
    }

    fn response_headers(&mut self, headers: &HttpHeaders, metadata: &Metadata) {
        let served = metadata.entry(DESTINATION_NAMESPACE, SERVED).and_then(Value::as_text);
        let served = served.and_then(|text| text.parse::<SocketAddr>().ok());
        let chosen = self.visit.as_ref().map(|visit| visit.endpoint().address);
        if let Some(served) = served.filter(|served| chosen.is_some_and(|chosen| chosen != *served)) {
            self.visit = self.pool.served_elsewhere(served, &self.question);
        }
        let status = headers.headers.as_ref().and_then(|headers| headers.text(":status"));
        self.is_success = status.is_some_and(|status| status.starts_with('2'));
        // Where a body follows, its first piece is the first token.
        if headers.end_of_stream || self.response_mode == BodyMode::None {
            self.answered();
        }
        if headers.end_of_stream {
            self.end();
        }
    }

    fn response_body(&mut self, piece: HttpBody) -> Next {
        self.answered();
        if piece.end_of_stream || piece.end_of_stream_without_message {
            self.end();
        }
        returned(self.response_mode, piece, Reply::ResponseBody)
    }

    fn answered(&mut self) {
        let now_us = self.pool.world.clock.monotonic_us();
        if let Some(visit) = &mut self.visit {
            visit.answered(self.is_success, now_us);
        }
    }

    fn end(&mut self) {
        self.answered();
        if let Some(visit) = self.visit.take() {
            visit.ended(self.is_success, self.pool.world.clock.monotonic_us());
        }
    }
}

fn joined(pieces: &[HttpBody]) -> Bytes {
    match pieces {
        [one] => one.body.clone(),
        _ => pieces.iter().map(|piece| &piece.body[..]).collect::<Vec<_>>().concat().into(),
    }
}

fn read_subset(entry: &Value) -> Vec<Allowed> {
    let texts: Vec<&str> = match &entry.kind {
        Some(ValueKind::Text(text)) => vec![text],
        Some(ValueKind::List(list)) => list.values.iter().filter_map(Value::as_text).collect(),
        _ => Vec::new(),
    };
    texts.into_iter().flat_map(|text| text.split(',')).filter_map(Allowed::read).collect()
}

const fn unchanged() -> PartResponse {
    PartResponse { response: None }
}

fn mutated(endpoints: &str) -> PartResponse {
    let header = HeaderValue {
        key: DESTINATION.to_owned(),
        raw_value: Bytes::copy_from_slice(endpoints.as_bytes()),
        ..HeaderValue::default()
    };
    let option = HeaderValueOption { header: Some(header), append_action: OVERWRITE };
    let mutation = HeaderMutation { set_headers: vec![option] };
    let response =
        CommonResponse { header_mutation: Some(mutation), clear_route_cache: true, body_mutation: None };
    PartResponse { response: Some(response) }
}

const fn plain(reply: Reply) -> ProcessingResponse {
    ProcessingResponse { response: Some(reply), dynamic_metadata: None }
}

fn with_endpoints(reply: Reply, endpoints: &str) -> ProcessingResponse {
    let metadata = Struct::nested(DESTINATION_NAMESPACE, DESTINATION, endpoints);
    ProcessingResponse { response: Some(reply), dynamic_metadata: Some(metadata) }
}

fn answer(reply: Reply) -> Next {
    Next::Answers(vec![plain(reply)])
}

fn answer_with(reply: Reply, endpoints: &str) -> Next {
    Next::Answers(vec![with_endpoints(reply, endpoints)])
}

/// The answer to the headers, and the body as it came.
fn headers_then_body(endpoints: &str, pieces: Vec<HttpBody>) -> Vec<ProcessingResponse> {
    let headers = with_endpoints(Reply::RequestHeaders(mutated(endpoints)), endpoints);
    let body = pieces.into_iter().flat_map(|piece| echoes(piece, Reply::RequestBody));
    std::iter::once(headers).chain(body).collect()
}

/// The answer to a piece of a body that stays as it is.
fn returned(mode: BodyMode, piece: HttpBody, reply: fn(PartResponse) -> Reply) -> Next {
    match mode {
        BodyMode::FullDuplexStreamed => Next::Answers(echoes(piece, reply)),
        // One message of the client's, which may be empty.
        BodyMode::Grpc => answer(reply(echo(piece))),
        _ => answer(reply(unchanged())),
    }
}

fn echo(piece: HttpBody) -> PartResponse {
    let mutation = BodyMutation { streamed_response: Some(piece) };
    PartResponse {
        response: Some(CommonResponse { body_mutation: Some(mutation), ..CommonResponse::default() }),
    }
}

/// A piece of a body, as what is sent on: a proxy that streams in both directions sends on only what comes back. A piece
/// without bytes matters only at the end.
fn echoes(piece: HttpBody, reply: fn(PartResponse) -> Reply) -> Vec<ProcessingResponse> {
    let mut last = piece;
    let mut pieces = Vec::new();
    while last.body.len() > CHUNK_BYTES_MAX {
        pieces.push(HttpBody { body: last.body.split_to(CHUNK_BYTES_MAX), ..HttpBody::default() });
    }
    if !last.body.is_empty() || last.end_of_stream || last.end_of_stream_without_message {
        pieces.push(last);
    }
    pieces.into_iter().map(|piece| plain(reply(echo(piece)))).collect()
}

fn refusal(refused: Refused) -> Next {
    let (code, body, details) = match refused {
        Refused::NoneReady => {
            (503, "No endpoint of this pool is ready. Try again later.\n", "no_endpoint_ready")
        }
        Refused::Busy => (
            429,
            "All endpoints of this pool are busy, and this request may be shed. Try again later.\n",
            "request_shed",
        ),
    };
    let response = ImmediateResponse {
        status: Some(HttpStatus { code }),
        body: Bytes::from_static(body.as_bytes()),
        details: details.to_owned(),
    };
    Next::Last(Box::new(plain(Reply::Immediate(response))))
}

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod tests;
