//! Requests that continue a session, and their answers: what came before is put into the request in its own format, and what the
//! answer adds to the conversation is read on its way to the client.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use decode::Inbound;
use dialects::{ContinuedRequest, StreamedItems, answer_items, continue_request};
use domain::limits::BODY_BYTES_MAX;
use domain::{Dialect, Fault, Grammar, TraceId};
use framing::sse::EventSplitter;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use settle::{BodyEditor, ReplyBody};

use crate::Core;

/// Says of an answer that is no stream whether it was appended.
const STORED: HeaderName = HeaderName::from_static("agent-session-stored");

/// Whether items were appended, once that is known.
pub type Appending = Pin<Box<dyn Future<Output = bool>>>;

/// Appends the items of an answer.
pub type AppendItems = Box<dyn FnOnce(Vec<String>) -> Appending>;

/// Whether requests of a dialect can be continued: it has a format of its own, whose streams are events.
pub fn continues(dialect: Dialect) -> bool {
    let grammar = dialect.grammar();
    grammar.dialect() == dialect && !dialects::face(grammar).facts().has_frames
}

/// Puts a history before the turns of a request, and returns those as items.
///
/// # Errors
/// The request is invalid, or something can't be carried over.
pub fn continue_in(inbound: &mut Inbound, history: &[String]) -> Result<Vec<String>, Box<Fault>> {
    decode::check_content_type(&inbound.headers)?;
    let (grammar, addressed) = (inbound.dialect.grammar(), inbound.addressed.as_deref());
    let ContinuedRequest { body, items } = continue_request(grammar, &inbound.body, addressed, history)?;
    if body.len() > BODY_BYTES_MAX {
        return Err(decode::too_large(BODY_BYTES_MAX));
    }
    inbound.body = body;
    Ok(items)
}

/// Says in an answer's head whether it was appended.
pub fn name_stored(headers: &mut HeaderMap, is_stored: bool) {
    headers.insert(STORED, HeaderValue::from_static(if is_stored { "true" } else { "false" }));
}

/// Has an answer appended before its client has the end of it. A refusal is passed on as it is.
pub async fn append_answer(
    core: &Core,
    (dialect, trace): (Dialect, TraceId),
    response: Response<ReplyBody>,
    append: AppendItems,
) -> Response<ReplyBody> {
    if response.status() != StatusCode::OK {
        return response;
    }
    let grammar = dialect.grammar();
    if is_stream(response.headers()) {
        return response.map(|body| body.edited(Box::new(HistoryEditor::new(grammar, append))));
    }
    let (mut head, body) = response.into_parts();
    // It was complete before it was returned.
    let Ok(read) = body.collect().await else {
        return crate::refuse(core, dialect, &Fault::internal(), trace);
    };
    let bytes = read.to_bytes();
    let is_stored = match answer_items(grammar, &bytes) {
        Some(items) => append(items).await,
        None => false,
    };
    name_stored(&mut head.headers, is_stored);
    settle::whole(head.status, head.headers, bytes)
}

fn is_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("text/event-stream"))
}

/// Reads a stream on its way. What ends the answer is held back until that is appended: its client may leave then.
struct HistoryEditor {
    splitter: EventSplitter,
    /// The beginning of an event.
    partial: BytesMut,
    /// The end of the answer, and what follows it.
    held: BytesMut,
    is_over: bool,
    /// `None` once the answer was read.
    reading: Option<(StreamedItems, AppendItems)>,
    storing: Option<Appending>,
}

domain::brief_debug!(HistoryEditor);

impl HistoryEditor {
    fn new(grammar: Grammar, append: AppendItems) -> Self {
        Self {
            splitter: EventSplitter::new(),
            partial: BytesMut::new(),
            held: BytesMut::new(),
            is_over: false,
            reading: Some((StreamedItems::new(grammar), append)),
            storing: None,
        }
    }

    /// Takes one whole event, and returns whether it is to be held back.
    fn holds(&mut self, event: &[u8]) -> bool {
        if let Some((items, _)) = &mut self.reading {
            self.is_over |= items.push(event);
        }
        self.is_over
    }
}

impl BodyEditor for HistoryEditor {
    fn edit(&mut self, piece: Bytes) -> Bytes {
        let mut sent = BytesMut::with_capacity(self.partial.len() + piece.len());
        let mut rest = piece.as_ref();
        while let Some(end) = self.splitter.find_end(rest) {
            let (event, after) = rest.split_at_checked(end).unwrap_or((rest, &[]));
            let mut whole = std::mem::take(&mut self.partial);
            whole.extend_from_slice(event);
            if self.holds(&whole) { &mut self.held } else { &mut sent }.extend_from_slice(&whole);
            rest = after;
        }
        self.partial.extend_from_slice(rest);
        sent.freeze()
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        if let Some((mut items, append)) = self.reading.take() {
            if !self.partial.is_empty() {
                items.push(&self.partial);
            }
            if let Some(answer) = items.finish() {
                self.storing = Some(append(answer));
            }
        }
        if let Some(storing) = &mut self.storing {
            ready!(storing.as_mut().poll(cx));
            self.storing = None;
        }
        let mut last = std::mem::take(&mut self.held);
        last.extend_from_slice(&self.partial.split());
        Poll::Ready(last.freeze())
    }
}
