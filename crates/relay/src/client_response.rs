//! `ClientResponse`, the input of settle: the response head, the pieces to poll, and the tab with the outcome to
//! close it with.

use std::task::{Context, Poll};

use bytes::Bytes;
use dialects::ErrorAnswer;
use domain::{Dialect, Fault, FaultClass, Outcome, TraceId, Usage};
use execute::{Answer, AnswerBody, AnswerParts, Deps, Exchange, Failed, Served};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use ledger::Tab;

use crate::headers::{ATTEMPTS, REQUEST_ID, alias_release, fill, served_headers};
use crate::stream::Stream;
use crate::target::{target_met, target_missed};

const BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
/// The rule of the policy that refused a request.
const POLICY_RULE: HeaderName = HeaderName::from_static("agent-policy-rule");

/// One step of the response body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    Data(Bytes),
    /// The last piece of a complete answer.
    Last(Bytes),
    /// The last piece of a failed answer, in a dialect whose error event is a proper end.
    Failed(Bytes),
    /// The answer is complete.
    End,
    /// The answer broke off: the connection must not end cleanly.
    Abort,
}

/// How an exchange ended, with the tab to close.
pub struct Conclusion {
    pub tab: Tab,
    pub outcome: Outcome,
    /// The status that the client got.
    pub status: u16,
    pub fault: Option<Box<Fault>>,
    /// The usage of the attempt that answered.
    pub usage: Usage,
    pub bytes_out: u64,
    pub fallback_used: bool,
}

pub(crate) struct Ending {
    pub outcome: Outcome,
    pub fault: Option<Box<Fault>>,
    pub usage: Usage,
}

#[expect(
    clippy::large_enum_variant,
    reason = "most answers are whole, and a box for each costs more than it saves"
)]
enum Body {
    /// `end` is the tab, its outcome and the body's length, until they are taken.
    Whole {
        bytes: Option<Bytes>,
        end: Option<(Tab, Ending, u64)>,
    },
    Stream(Box<Stream>),
}

/// An answer on its way to the client, or an error in its place. If it is dropped before `conclude`, its tab
/// closes itself as cancelled.
pub struct ClientResponse {
    status: StatusCode,
    headers: HeaderMap,
    body: Body,
    fallback_used: bool,
}

/// Builds the client's response from an answer. A buffered one is complete; a stream is not read before it is
/// polled.
pub fn relay(answer: Answer, deps: &Deps) -> ClientResponse {
    let parts = answer.into_parts();
    let mut headers = fill(parts.header_map, parts.exchange.trace(), Some(&parts.served));
    for (name, value) in parts.upstream_headers {
        headers.insert(name, value);
    }
    // Some SDKs expect the request id under another header name.
    let id_name = dialects::request_id_header(parts.exchange.dialect());
    if let Some(id) = headers.get(REQUEST_ID).filter(|_| id_name != REQUEST_ID).cloned() {
        headers.insert(id_name, id);
    }
    let mut tab = parts.tab;
    note_checks(&parts.exchange, &mut tab);
    // Our rate limit headers replace the provider's, since ours are the limits that the client may reach
    // first.
    for (name, value) in tab_headers(&tab, parts.exchange.dialect()) {
        headers.insert(name, value);
    }
    let now_us = deps.world.clock.monotonic_us();
    let call = &parts.exchange.call;
    let is_met = call.meets_target(now_us.saturating_sub(call.received_us()));
    tab.began(is_met);
    headers.extend(target_met(is_met));
    let body = match parts.body {
        AnswerBody::Whole { bytes, usage, open } => {
            let media_type = open.media_type();
            headers.insert(CONTENT_TYPE, media_type.unwrap_or(HeaderValue::from_static("application/json")));
            tab.timeline_mut().first_byte_us = now_us.saturating_sub(parts.exchange.call.received_us());
            open.close(&mut tab, &usage, now_us);
            let length = bytes.len() as u64;
            let ending = Ending { outcome: Outcome::Completed, fault: None, usage };
            Body::Whole { bytes: Some(bytes), end: Some((tab, ending, length)) }
        }
        AnswerBody::Own(bytes) => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            let length = bytes.len() as u64;
            let ending = Ending { outcome: Outcome::Completed, fault: None, usage: Usage::default() };
            Body::Whole { bytes: Some(bytes), end: Some((tab, ending, length)) }
        }
        AnswerBody::Stream(stream) => {
            let as_array = parts.exchange.call.request().as_array;
            let media_type = dialects::stream_type(parts.exchange.dialect(), as_array);
            // A stream that is passed through unchanged keeps its own type.
            let own = stream.media_type();
            headers.insert(CONTENT_TYPE, own.unwrap_or(HeaderValue::from_static(media_type)));
            headers.insert(BUFFERING, HeaderValue::from_static("no"));
            Body::Stream(Box::new(Stream::new(parts.exchange, tab, stream)))
        }
    };
    ClientResponse { status: StatusCode::OK, headers, body, fallback_used: parts.served.fallback_used }
}

/// Stores what the checks of policies found so far.
pub(crate) fn note_checks(exchange: &Exchange, tab: &mut Tab) {
    if let Some(screening) = exchange.call.screening() {
        tab.screened(screening.found.borrow().clone(), screening.hook_calls.borrow().clone());
    }
}

/// The error response where no attempt succeeded, with the upstream's headers unless we set the same ones.
pub fn deliver_failed(failed: Failed) -> ClientResponse {
    let Failed { fault, blocked, upstream_headers, tab, served, trace, dialect, has_target } = failed;
    let answer = blocked.unwrap_or_else(|| dialects::render_error(&fault, dialect, trace));
    let mut response = deliver(tab, fault, answer, served.as_ref(), dialect, trace);
    for (name, value) in upstream_headers {
        response.headers.entry(name).or_insert(value);
    }
    response.with_header(target_missed(has_target))
}

/// An error after admission, in the client's dialect, with the tab that it closes. `served` is the last
/// attempt's seat.
pub fn deliver_fault(
    tab: Tab,
    fault: Box<Fault>,
    served: Option<&Served>,
    dialect: Dialect,
    trace: TraceId,
) -> ClientResponse {
    let answer = dialects::render_error(&fault, dialect, trace);
    deliver(tab, fault, answer, served, dialect, trace)
}

/// The error in the place of a buffered answer that a hook of a policy refuses. What was used is owed: the upstream has
/// answered.
pub fn deliver_refused(answer: Answer, fault: Box<Fault>, deps: &Deps) -> ClientResponse {
    let AnswerParts { exchange, mut tab, served, body, .. } = answer.into_parts();
    note_checks(&exchange, &mut tab);
    let usage = match body {
        AnswerBody::Whole { usage, open, .. } => {
            open.close(&mut tab, &usage, deps.world.clock.monotonic_us());
            usage
        }
        AnswerBody::Own(_) | AnswerBody::Stream(_) => Usage::default(),
    };
    let mut response = deliver_fault(tab, fault, Some(&served), exchange.dialect(), exchange.trace());
    if let Body::Whole { end: Some((_, ending, _)), .. } = &mut response.body {
        (ending.outcome, ending.usage) = (Outcome::Completed, usage);
    }
    response.with_header(target_missed(exchange.call.has_target()))
}

fn deliver(
    tab: Tab,
    fault: Box<Fault>,
    answer: ErrorAnswer,
    served: Option<&Served>,
    dialect: Dialect,
    trace: TraceId,
) -> ClientResponse {
    let mut headers = served_headers(trace, served);
    if served.is_none() {
        headers.insert(ATTEMPTS, HeaderValue::from_static("0"));
    }
    if let Some(rule) = fault.policy_rule() {
        headers.insert(POLICY_RULE, HeaderValue::from_static(rule.as_str()));
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    for (name, value) in tab_headers(&tab, dialect) {
        headers.insert(name, value);
    }
    // Replaced, not appended: both contain the request id.
    for (name, value) in answer.headers {
        headers.insert(name, value);
    }
    let outcome = if fault.class == FaultClass::Deadline { Outcome::Deadline } else { Outcome::Failed };
    let length = answer.body.len() as u64;
    let ending = Ending { outcome, fault: Some(fault), usage: Usage::default() };
    ClientResponse {
        status: StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        headers,
        body: Body::Whole { bytes: Some(answer.body), end: Some((tab, ending, length)) },
        fallback_used: served.is_some_and(|served| served.fallback_used),
    }
}

/// The response to a request that an earlier answer is given again to, with the earlier answer's own headers: nothing is
/// sent or used.
pub fn deliver_again(tab: Tab, earlier: HeaderMap, body: Bytes, dialect: Dialect) -> ClientResponse {
    let mut headers = fill(earlier, tab.trace(), None);
    headers.insert(ATTEMPTS, HeaderValue::from_static("0"));
    let id_name = dialects::request_id_header(dialect);
    if let Some(id) = headers.get(REQUEST_ID).filter(|_| id_name != REQUEST_ID).cloned() {
        headers.insert(id_name, id);
    }
    for (name, value) in tab_headers(&tab, dialect) {
        headers.insert(name, value);
    }
    let length = body.len() as u64;
    let ending = Ending { outcome: Outcome::Completed, fault: None, usage: Usage::default() };
    ClientResponse {
        status: StatusCode::OK,
        headers,
        body: Body::Whole { bytes: Some(body), end: Some((tab, ending, length)) },
        fallback_used: false,
    }
}

/// The response to a request that the gateway answers by itself: nothing is sent or used.
pub fn deliver_own(tab: Tab, body: Bytes, dialect: Dialect) -> ClientResponse {
    let headers = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    deliver_again(tab, headers.into_iter().collect(), body, dialect)
}

/// The headers of what the tab knows: the client's rate limits in its dialect, and the release of its alias.
pub fn tab_headers(tab: &Tab, dialect: Dialect) -> Vec<(HeaderName, HeaderValue)> {
    let limits = tab.rate_limit_status().map(|standings| dialects::rate_limit_headers(dialect, &standings));
    let mut headers = limits.unwrap_or_default();
    headers.extend(tab.alias().and_then(|pick| alias_release(&pick)));
    headers
}

impl ClientResponse {
    /// The response with a further header.
    pub fn with_header(mut self, header: Option<(HeaderName, HeaderValue)>) -> Self {
        self.headers.extend(header);
        self
    }

    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// The fault, where the response is a complete error.
    pub fn fault(&self) -> Option<&Fault> {
        match &self.body {
            Body::Whole { end: Some((_, ending, _)), .. } => ending.fault.as_deref(),
            _ => None,
        }
    }

    /// The response headers; empty the second time.
    pub fn take_headers(&mut self) -> HeaderMap {
        std::mem::take(&mut self.headers)
    }

    /// The whole body of a buffered answer or an error. After that nothing is left to poll, and `conclude`
    /// may be called at once. `None` for a stream.
    pub fn take_whole(&mut self) -> Option<Bytes> {
        match &mut self.body {
            Body::Whole { bytes, .. } => bytes.take(),
            Body::Stream(_) => None,
        }
    }

    /// The next piece. The upstream is only read when this is called.
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Piece> {
        match &mut self.body {
            Body::Whole { bytes, .. } => Poll::Ready(bytes.take().map_or(Piece::End, Piece::Last)),
            Body::Stream(stream) => stream.poll_piece(cx),
        }
    }

    /// What a stream used, once its last piece is there.
    pub fn ended_usage(&self) -> Option<Usage> {
        match &self.body {
            Body::Whole { .. } => None,
            Body::Stream(stream) => stream.ended_usage(),
        }
    }

    /// Ends the exchange: cuts the upstream off, records on the board and in the tab how the open attempt
    /// ended, and returns the tab. `Some` exactly once; before the last piece it means that the client went
    /// away. `None` also while a retry holds the tab: dropped with this response, it closes itself as
    /// cancelled.
    pub fn conclude(&mut self) -> Option<Conclusion> {
        let (tab, ending, bytes_out) = match &mut self.body {
            Body::Whole { end, .. } => end.take()?,
            Body::Stream(stream) => stream.conclude()?,
        };
        Some(Conclusion {
            tab,
            outcome: ending.outcome,
            status: self.status.as_u16(),
            fault: ending.fault,
            usage: ending.usage,
            bytes_out,
            fallback_used: self.fallback_used,
        })
    }
}

domain::brief_debug!(ClientResponse, status);
