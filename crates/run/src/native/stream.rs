//! A streamed answer of `/v2/responses`: the events of the responses grammar under our id, of which the last has the
//! outcome. It is held back until the answer is stored.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use admit::Caller;
use bytes::{Bytes, BytesMut};
use domain::{Qos, ResponseId};
use framing::sse::{EventSplitter, read_event};
use http::header::HeaderMap;
use line::Core;
use serde_json::{Map, Value, json};
use settle::BodyEditor;

use super::outcome::{Outcome, describe};
use super::stored::{self, Part};

/// Events that come before anything of the answer.
const AHEAD: [&[u8]; 3] = [b"response.created", b"response.in_progress", b"response.queued"];
/// The last events.
const ENDS: [&[u8]; 4] = [b"response.completed", b"response.incomplete", b"response.failed", b"error"];

/// What the last event is told of.
pub(super) struct Streamed {
    pub core: Rc<Core>,
    pub caller: Caller,
    pub id: ResponseId,
    pub qos: Qos,
    /// The head of the response.
    pub headers: HeaderMap,
    pub received_us: u64,
}

/// The last event, which waits for its answer to be stored.
struct End {
    name: String,
    data: Map<String, Value>,
    storing: Option<Pin<Box<dyn Future<Output = bool>>>>,
}

pub(super) struct StreamEditor {
    about: Streamed,
    splitter: EventSplitter,
    /// The beginning of an event.
    partial: BytesMut,
    ttft_ms: Option<u64>,
    end: Option<End>,
}

impl fmt::Debug for StreamEditor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamEditor").field("id", &self.about.id).finish_non_exhaustive()
    }
}

impl StreamEditor {
    pub(super) fn new(about: Streamed) -> Self {
        Self { about, splitter: EventSplitter::new(), partial: BytesMut::new(), ttft_ms: None, end: None }
    }

    fn elapsed_ms(&self) -> u64 {
        self.about.core.deps.world.clock.monotonic_us().saturating_sub(self.about.received_us) / 1_000
    }

    /// Takes one whole event; what is sent of it now goes to `sent`.
    fn take(&mut self, event: &[u8], sent: &mut BytesMut) {
        let read = read_event(event);
        let is_end = ENDS.contains(&read.name);
        if !is_end && !AHEAD.contains(&read.name) {
            self.ttft_ms = self.ttft_ms.or_else(|| Some(self.elapsed_ms()));
            return sent.extend_from_slice(event);
        }
        let Ok(Value::Object(mut data)) = serde_json::from_slice(&read.data.json(event)) else {
            return sent.extend_from_slice(event);
        };
        if let Some(Value::Object(response)) = data.get_mut("response") {
            response.insert("id".to_owned(), json!(self.about.id.to_string()));
        }
        let name = String::from_utf8_lossy(read.name).into_owned();
        if is_end {
            self.end = Some(self.ended(name, data));
        } else {
            sent.extend_from_slice(&rendered(&name, data));
        }
    }

    /// The last event with its outcome. A complete answer is stored.
    fn ended(&self, name: String, mut data: Map<String, Value>) -> End {
        let (about, latency_ms) = (&self.about, self.elapsed_ms());
        let is_answer = matches!(name.as_str(), "response.completed" | "response.incomplete");
        let outcome = if is_answer {
            let ttft_ms = self.ttft_ms.unwrap_or(latency_ms);
            Outcome::answered(about.qos, &about.headers, (ttft_ms, latency_ms))
        } else {
            let error = data.get("response").and_then(|response| response.get("error"));
            let code = error.unwrap_or(&Value::Null).get("code").or_else(|| data.get("code"));
            let code = code.and_then(Value::as_str).unwrap_or_default().to_owned();
            Outcome::broken(about.qos, &about.headers, &code, (self.ttft_ms, latency_ms))
        };
        let mut storing: Option<Pin<Box<dyn Future<Output = bool>>>> = None;
        match data.get_mut("response") {
            Some(Value::Object(response)) => {
                describe(response, about.id, &about.headers, &outcome, is_answer);
                if is_answer {
                    let (core, caller) = (Rc::clone(&about.core), about.caller.clone());
                    let (id, answer) = (about.id, Value::Object(response.clone()));
                    storing = Some(Box::pin(async move {
                        stored::keep_named(&core, &caller, id, Part::Answer, &answer).await
                    }));
                }
            }
            _ => drop(data.insert("qos_outcome".to_owned(), json!(outcome))),
        }
        End { name, data, storing }
    }
}

impl BodyEditor for StreamEditor {
    fn edit(&mut self, piece: Bytes) -> Bytes {
        let mut sent = BytesMut::with_capacity(self.partial.len() + piece.len());
        let mut rest = piece.as_ref();
        while let Some(end) = self.splitter.find_end(rest) {
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
        self.partial.extend_from_slice(rest);
        sent.freeze()
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        let Some(end) = &mut self.end else { return Poll::Ready(self.partial.split().freeze()) };
        if let Some(storing) = &mut end.storing {
            let is_stored = ready!(storing.as_mut().poll(cx));
            end.storing = None;
            if let Some(Value::Object(response)) = end.data.get_mut("response") {
                response.insert("stored".to_owned(), json!(is_stored));
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
