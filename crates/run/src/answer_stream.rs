//! Edits a streamed answer of the responses grammar: the events before it, and the last, which is held back until the
//! answer is stored.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use framing::sse::{EventSplitter, read_event};
use http::Response;
use http::header::{CONTENT_TYPE, HeaderMap};
use http_body_util::BodyExt;
use serde_json::{Map, Value};
use settle::{BodyEditor, ReplyBody};

/// Events that come before anything of the answer.
const AHEAD: [&[u8]; 3] = [b"response.created", b"response.in_progress", b"response.queued"];
/// The last events.
const ENDS: [&[u8]; 4] = [b"response.completed", b"response.incomplete", b"response.failed", b"error"];

/// Whether an answer was stored, once that is known.
pub(crate) type Storing = Pin<Box<dyn Future<Output = bool>>>;

/// What becomes of the events.
pub(crate) trait EditAnswer {
    /// Takes the response of an event that comes before the answer; `false` where the stream is not to be edited.
    fn ahead(&mut self, response: &mut Map<String, Value>) -> bool;
    /// The answer has begun.
    fn started(&mut self) {}
    /// Takes the last event, and says what it waits for.
    fn ended(&mut self, name: &str, data: &mut Map<String, Value>) -> Option<Storing>;
    /// Says in the last event's response whether it was stored.
    fn stored(&self, response: &mut Map<String, Value>, is_stored: bool);
}

/// Whether a response is a stream of events.
pub(crate) fn is_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("text/event-stream"))
}

/// The document of a response that is none; `null` where it is no JSON.
pub(crate) async fn document_of(response: Response<ReplyBody>) -> Value {
    let read = response.into_body().collect().await.ok();
    read.and_then(|read| serde_json::from_slice(&read.to_bytes()).ok()).unwrap_or_default()
}

/// Whether a last event ends an answer, and not a failure.
pub(crate) fn is_answer(name: &str) -> bool {
    matches!(name, "response.completed" | "response.incomplete")
}

/// The last event, which waits for its answer to be stored.
struct End {
    name: String,
    data: Map<String, Value>,
    storing: Option<Storing>,
}

pub(crate) struct AnswerEditor<E> {
    edit: E,
    splitter: EventSplitter,
    /// The beginning of an event.
    partial: BytesMut,
    has_started: bool,
    /// The rest is sent as it comes.
    is_plain: bool,
    end: Option<End>,
}

impl<E> fmt::Debug for AnswerEditor<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerEditor").finish_non_exhaustive()
    }
}

impl<E: EditAnswer> AnswerEditor<E> {
    pub(crate) fn new(edit: E) -> Self {
        let (splitter, partial) = (EventSplitter::new(), BytesMut::new());
        Self { edit, splitter, partial, has_started: false, is_plain: false, end: None }
    }

    /// Takes one whole event; what is sent of it now goes to `sent`.
    fn take(&mut self, event: &[u8], sent: &mut BytesMut) {
        let read = read_event(event);
        let is_end = ENDS.contains(&read.name);
        if !is_end && !AHEAD.contains(&read.name) {
            if !std::mem::replace(&mut self.has_started, true) {
                self.edit.started();
            }
            return sent.extend_from_slice(event);
        }
        let Ok(Value::Object(mut data)) = serde_json::from_slice(&read.data.json(event)) else {
            return sent.extend_from_slice(event);
        };
        let name = String::from_utf8_lossy(read.name).into_owned();
        if is_end {
            let storing = self.edit.ended(&name, &mut data);
            self.end = Some(End { name, data, storing });
            return;
        }
        if let Some(Value::Object(response)) = data.get_mut("response") {
            self.is_plain = !self.edit.ahead(response);
        }
        if self.is_plain {
            sent.extend_from_slice(event);
        } else {
            sent.extend_from_slice(&rendered(&name, data));
        }
    }
}

impl<E: EditAnswer> BodyEditor for AnswerEditor<E> {
    fn edit(&mut self, piece: Bytes) -> Bytes {
        if self.is_plain {
            return piece;
        }
        let mut sent = BytesMut::with_capacity(self.partial.len() + piece.len());
        let mut rest = piece.as_ref();
        while !self.is_plain
            && let Some(end) = self.splitter.find_end(rest)
        {
            let (event, after) = rest.split_at_checked(end).unwrap_or((rest, &[]));
            if self.partial.is_empty() {
                self.take(event, &mut sent);
            } else {
                let mut whole = std::mem::take(&mut self.partial);
                whole.extend_from_slice(event);
                self.take(&whole, &mut sent);
            }
            rest = after;
        }
        if self.is_plain { &mut sent } else { &mut self.partial }.extend_from_slice(rest);
        sent.freeze()
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        let Some(end) = &mut self.end else { return Poll::Ready(self.partial.split().freeze()) };
        if let Some(storing) = &mut end.storing {
            let is_stored = ready!(storing.as_mut().poll(cx));
            end.storing = None;
            if let Some(Value::Object(response)) = end.data.get_mut("response") {
                self.edit.stored(response, is_stored);
            }
        }
        let mut last = BytesMut::from(&*rendered(&end.name, std::mem::take(&mut end.data)));
        last.extend_from_slice(&self.partial);
        Poll::Ready(last.freeze())
    }
}

fn rendered(name: &str, data: Map<String, Value>) -> Vec<u8> {
    format!("event: {name}\ndata: {}\n\n", Value::Object(data)).into_bytes()
}
