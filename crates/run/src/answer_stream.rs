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
use serde_json::{Map, Value, json};
use settle::{BodyEditor, ReplyBody};

/// Events that come before anything of the answer.
const AHEAD: [&[u8]; 3] = [b"response.created", b"response.in_progress", b"response.queued"];
/// The last events.
const ENDS: [&[u8]; 4] = [b"response.completed", b"response.incomplete", b"response.failed", b"error"];

/// The events of an item that is whole at once.
const FIRST_EVENTS: [&str; 2] = ["response.output_item.added", "response.output_item.done"];

/// Whether an answer was stored, once that is known.
pub(crate) type Storing = Pin<Box<dyn Future<Output = bool>>>;

/// What becomes of the events.
pub(crate) trait EditAnswer {
    /// Takes the response of an event that comes before the answer; `false` where the stream is not to be edited.
    fn ahead(&mut self, response: &mut Map<String, Value>) -> bool;
    /// The answer has begun.
    fn started(&mut self) {}
    /// The item that is put before those of the answer.
    fn first_item(&mut self) -> Option<Map<String, Value>> {
        None
    }
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
    /// An item was put before those of the answer, which moved by one.
    is_moved: bool,
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
        Self { edit, splitter, partial, has_started: false, is_moved: false, is_plain: false, end: None }
    }

    /// Takes one whole event; what is sent of it now goes to `sent`.
    fn take(&mut self, event: &[u8], sent: &mut BytesMut) {
        let read = read_event(event);
        let is_end = ENDS.contains(&read.name);
        if !is_end && !AHEAD.contains(&read.name) {
            let first = if std::mem::replace(&mut self.has_started, true) {
                None
            } else {
                self.edit.started();
                self.edit.first_item()
            };
            if first.is_none() && !self.is_moved {
                return sent.extend_from_slice(event);
            }
            let Ok(Value::Object(mut data)) = serde_json::from_slice(&read.data.json(event)) else {
                return sent.extend_from_slice(event);
            };
            self.move_by(first, &mut data, sent);
            return sent.extend_from_slice(&rendered(&String::from_utf8_lossy(read.name), data));
        }
        let Ok(Value::Object(mut data)) = serde_json::from_slice(&read.data.json(event)) else {
            return sent.extend_from_slice(event);
        };
        let name = String::from_utf8_lossy(read.name).into_owned();
        if is_end {
            let is_first = is_answer(&name) && !self.has_started;
            let first = if is_first { self.edit.first_item() } else { None };
            self.move_by(first, &mut data, sent);
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

impl<E> AnswerEditor<E> {
    /// Sends the events of an item that comes before an event, which moves as all after it do.
    fn move_by(
        &mut self,
        first: Option<Map<String, Value>>,
        event: &mut Map<String, Value>,
        sent: &mut BytesMut,
    ) {
        if let Some(item) = first {
            self.is_moved = true;
            let number = event.get("sequence_number").and_then(Value::as_u64).unwrap_or_default();
            for (name, number) in FIRST_EVENTS.iter().zip(number..) {
                let data = json!({"type": name, "sequence_number": number, "output_index": 0, "item": item});
                if let Value::Object(data) = data {
                    sent.extend_from_slice(&rendered(name, data));
                }
            }
        }
        if !self.is_moved {
            return;
        }
        for (name, by) in [("sequence_number", FIRST_EVENTS.len() as u64), ("output_index", 1)] {
            if let Some(number) = event.get_mut(name) {
                *number = json!(number.as_u64().unwrap_or_default().saturating_add(by));
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    struct First(Option<Map<String, Value>>);

    impl EditAnswer for First {
        fn ahead(&mut self, _response: &mut Map<String, Value>) -> bool {
            true
        }

        fn first_item(&mut self) -> Option<Map<String, Value>> {
            self.0.clone()
        }

        fn ended(&mut self, _name: &str, _data: &mut Map<String, Value>) -> Option<Storing> {
            None
        }

        fn stored(&self, _response: &mut Map<String, Value>, _is_stored: bool) {}
    }

    /// The events that a client gets, each by its name and its numbers.
    fn edited(item: Option<Map<String, Value>>, events: &[(&str, Value)]) -> Vec<String> {
        let mut editor = AnswerEditor::new(First(item));
        let whole: String =
            events.iter().map(|(name, data)| format!("event: {name}\ndata: {data}\n\n")).collect();
        let mut sent = BytesMut::new();
        // In pieces, as they may come.
        for piece in whole.as_bytes().chunks(7) {
            sent.extend_from_slice(&editor.edit(Bytes::copy_from_slice(piece)));
        }
        let Poll::Ready(end) = editor.poll_end(&mut Context::from_waker(std::task::Waker::noop())) else {
            panic!("nothing is waited for")
        };
        sent.extend_from_slice(&end);
        let text = String::from_utf8(sent.to_vec()).unwrap();
        let shown = |event: &str| {
            let (name, data) = event.split_once('\n').unwrap();
            let data: Value = serde_json::from_str(data.trim_start_matches("data: ")).unwrap();
            format!(
                "{} {} {}",
                name.trim_start_matches("event: response."),
                data["sequence_number"],
                data["output_index"]
            )
        };
        text.split("\n\n").filter(|event| !event.is_empty()).map(shown).collect()
    }

    #[test]
    fn an_item_comes_before_those_of_the_answer_which_move() {
        let item = json!({"type": "compaction"}).as_object().cloned();
        let events = [
            ("response.created", json!({"sequence_number": 0, "response": {}})),
            ("response.output_item.added", json!({"sequence_number": 1, "output_index": 0})),
            ("response.output_text.delta", json!({"sequence_number": 2, "output_index": 0})),
            ("response.completed", json!({"sequence_number": 3, "response": {}})),
        ];
        assert_eq!(
            edited(item.clone(), &events),
            [
                "created 0 null",
                "output_item.added 1 0",
                "output_item.done 2 0",
                "output_item.added 3 1",
                "output_text.delta 4 1",
                "completed 5 null"
            ]
        );
        let [created, .., completed] = events.clone();
        assert_eq!(
            edited(item.clone(), &[created.clone(), completed]),
            ["created 0 null", "output_item.added 3 0", "output_item.done 4 0", "completed 5 null"]
        );
        let failed = ("response.failed", json!({"sequence_number": 1, "response": {}}));
        assert_eq!(edited(item, &[created, failed]), ["created 0 null", "failed 1 null"]);
        assert_eq!(edited(None, &events)[1..3], ["output_item.added 1 0", "output_text.delta 2 0"]);
    }
}
