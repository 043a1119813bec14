//! What settle is handed: a head, pieces to pull, and the tab with how to close it.

use std::task::{Context, Poll};

use bytes::Bytes;
use dialects::ErrorAnswer;
use domain::{Dialect, Fault, FaultClass, Outcome, TraceId, Usage};
use execute::{Answer, AnswerBody, Failed, Hands, Served};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use ledger::Tab;

use crate::headers::{ATTEMPTS, REQUEST_ID, fill, served_headers};
use crate::stream::Stream;

const BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// One step of an answer's body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    Data(Bytes),
    /// The last: the answer is whole with it.
    Last(Bytes),
    /// The last: the answer failed, and its grammar has an end that says so.
    Failed(Bytes),
    /// The answer is whole.
    End,
    /// The answer broke off: the connection must not be ended cleanly.
    Abort,
}

/// How an exchange ended, with the tab to close so.
pub struct Conclusion {
    pub tab: Tab,
    pub outcome: Outcome,
    /// What the client was sent.
    pub status: u16,
    pub fault: Option<Box<Fault>>,
    /// Of the attempt that answered.
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
    /// With the tab, how it ends and how long it is, until these are taken.
    Whole {
        bytes: Option<Bytes>,
        end: Option<(Tab, Ending, u64)>,
    },
    Stream(Box<Stream>),
}

/// An answer on its way to the client, or an error in its place. Dropped before `conclude`, its tab closes itself as
/// cancelled.
pub struct Delivery {
    status: StatusCode,
    headers: HeaderMap,
    body: Body,
    fallback_used: bool,
}

/// Shapes an answer for the client. A buffered one is ready; of a stream nothing is read before it is asked for.
#[must_use]
pub fn relay(answer: Answer, hands: &Hands) -> Delivery {
    let parts = answer.into_parts();
    let mut headers = fill(parts.room, parts.exchange.trace(), Some(&parts.served));
    for (name, value) in parts.upstream_headers {
        headers.insert(name, value);
    }
    // Some SDKs look for it under a name of their own.
    let id_name = dialects::request_id_header(parts.exchange.dialect());
    if let Some(id) = headers.get(REQUEST_ID).filter(|_| id_name != REQUEST_ID).cloned() {
        headers.insert(id_name, id);
    }
    let mut tab = parts.tab;
    // Of a provider's own figures and ours, ours are those that the client may reach first.
    for (name, value) in standings(&tab, parts.exchange.dialect()) {
        headers.insert(name, value);
    }
    let now_us = hands.world.clock.monotonic_us();
    let body = match parts.body {
        AnswerBody::Whole { bytes, usage, open } => {
            let media_type = open.media_type();
            headers.insert(CONTENT_TYPE, media_type.unwrap_or(HeaderValue::from_static("application/json")));
            tab.timeline_mut().first_byte_us = now_us.saturating_sub(parts.exchange.call.received_us());
            open.closes(&mut tab, &usage, now_us);
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
        AnswerBody::Stream(feed) => {
            let as_array = parts.exchange.call.request().as_array;
            let media_type = dialects::stream_type(parts.exchange.dialect(), as_array);
            // What is passed on as it is has its own.
            let own = feed.media_type();
            headers.insert(CONTENT_TYPE, own.unwrap_or(HeaderValue::from_static(media_type)));
            headers.insert(BUFFERING, HeaderValue::from_static("no"));
            Body::Stream(Box::new(Stream::new(parts.exchange, tab, feed)))
        }
    };
    Delivery { status: StatusCode::OK, headers, body, fallback_used: parts.served.fallback_used }
}

/// What is told where no attempt answered, with what the upstream said beside its refusal, but for what we say
/// ourselves.
#[must_use]
pub fn deliver_failed(failed: Failed) -> Delivery {
    let Failed { fault, blocked, upstream_headers, tab, served, trace, dialect } = failed;
    let answer = blocked.unwrap_or_else(|| dialects::render_error(&fault, dialect, trace));
    let mut delivery = deliver(tab, fault, answer, served.as_ref(), dialect, trace);
    for (name, value) in upstream_headers {
        delivery.headers.entry(name).or_insert(value);
    }
    delivery
}

/// An error after admission, in the client's grammar, with the tab that it closes. `served` is the last that was tried.
#[must_use]
pub fn deliver_fault(
    tab: Tab,
    fault: Box<Fault>,
    served: Option<&Served>,
    dialect: Dialect,
    trace: TraceId,
) -> Delivery {
    let answer = dialects::render_error(&fault, dialect, trace);
    deliver(tab, fault, answer, served, dialect, trace)
}

fn deliver(
    tab: Tab,
    fault: Box<Fault>,
    answer: ErrorAnswer,
    served: Option<&Served>,
    dialect: Dialect,
    trace: TraceId,
) -> Delivery {
    let mut headers = served_headers(trace, served);
    if served.is_none() {
        headers.insert(ATTEMPTS, HeaderValue::from(0));
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    for (name, value) in standings(&tab, dialect) {
        headers.insert(name, value);
    }
    // Inserted, not extended: the request id is in both.
    for (name, value) in answer.headers {
        headers.insert(name, value);
    }
    let outcome = if fault.class == FaultClass::Deadline { Outcome::Deadline } else { Outcome::Failed };
    let length = answer.body.len() as u64;
    let ending = Ending { outcome, fault: Some(fault), usage: Usage::default() };
    Delivery {
        status: StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        headers,
        body: Body::Whole { bytes: Some(answer.body), end: Some((tab, ending, length)) },
        fallback_used: served.is_some_and(|served| served.fallback_used),
    }
}

/// How near the client is to its rate limits, in its own words.
#[must_use]
pub fn standings(tab: &Tab, dialect: Dialect) -> Vec<(HeaderName, HeaderValue)> {
    tab.standings().map(|standings| dialects::standing_headers(dialect, &standings)).unwrap_or_default()
}

impl Delivery {
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// What went wrong, where the whole of it is told already.
    #[must_use]
    pub fn fault(&self) -> Option<&Fault> {
        match &self.body {
            Body::Whole { end: Some((_, ending, _)), .. } => ending.fault.as_deref(),
            _ => None,
        }
    }

    /// The head's headers; empty the second time.
    pub fn take_headers(&mut self) -> HeaderMap {
        std::mem::take(&mut self.headers)
    }

    /// The whole body of a buffered answer or an error. Then nothing is left to poll, and `conclude` may be called at
    /// once. `None` for a stream.
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

    /// Ends the exchange: cuts the upstream off, tells board and tab how the open attempt ended, and hands the tab out.
    /// `Some` exactly once; before the last piece it means that the client went away. `None` also while a retry holds
    /// the tab: dropped with this delivery, it closes itself as cancelled.
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

impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Delivery").field("status", &self.status).finish_non_exhaustive()
    }
}
