//! A task as the answer to a call: its updates become progress notifications, log messages and the result.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, Stream};
use http_body_util::BodyExt as _;
use rmcp::model::{ErrorCode, ErrorData};
use serde_json::{Value, json};
use settle::ReplyBody;

use crate::level::Level;
use crate::messages::{answer, notification};
use crate::results;
use crate::sessions::{CallStream, Session};

/// How soon a client may come again after a stream broke off.
const RETRY_MS: u64 = 1_000;

/// An update of a task.
#[derive(Debug, PartialEq)]
pub(crate) enum TaskEvent {
    /// Its status, in a word.
    State(String),
    /// It has so many characters of text.
    Text(usize),
    /// All of it, at its end.
    Ended(Box<Value>),
    Alive,
}

/// Reads an update of a task.
pub(crate) struct TaskEvents {
    body: ReplyBody,
    buffer: BytesMut,
    chars: usize,
}

impl TaskEvents {
    pub(crate) fn new(body: ReplyBody) -> Self {
        Self { body, buffer: BytesMut::new(), chars: 0 }
    }

    /// `None` at the end; before it comes `Ended`, unless the task was deleted.
    pub(crate) async fn next(&mut self) -> Option<TaskEvent> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                if let Some(event) = read_line(&line, &mut self.chars) {
                    return Some(event);
                }
                continue;
            }
            let frame = self.body.frame().await?.ok()?;
            if let Ok(piece) = frame.into_data() {
                self.buffer.extend_from_slice(&piece);
            }
        }
    }

    /// The task once it has ended; `None` if it was deleted meanwhile.
    pub(crate) async fn end(mut self) -> Option<Value> {
        loop {
            if let TaskEvent::Ended(task) = self.next().await? {
                return Some(*task);
            }
        }
    }
}

/// The statuses of tasks that have ended: completed, failed, cancelled.
pub(crate) fn has_ended(task: &Value) -> bool {
    task.get("status").and_then(Value::as_u64).is_some_and(|status| status >= 10)
}

fn status_text(task: &Value) -> Option<String> {
    task.get("status_text").and_then(Value::as_str).map(str::to_owned)
}

fn read_line(line: &[u8], chars: &mut usize) -> Option<TaskEvent> {
    let message: Value = serde_json::from_slice(line).ok()?;
    if message.get("type").and_then(Value::as_str) == Some("heartbeat") {
        return Some(TaskEvent::Alive);
    }
    if message.get("event").and_then(Value::as_str) == Some("delta") {
        let text = message.pointer("/data/delta/response").and_then(Value::as_str)?;
        *chars += text.chars().count();
        return Some(TaskEvent::Text(*chars));
    }
    match message.get("data") {
        Some(data) => {
            if data.get("output").is_some() {
                *chars = 0;
            }
            status_text(data).map(TaskEvent::State)
        }
        None if has_ended(&message) => Some(TaskEvent::Ended(Box::new(message))),
        None => status_text(&message).map(TaskEvent::State),
    }
}

/// Where the stream of a call is.
struct Progress {
    session: Arc<Session>,
    stream: CallStream,
    events: TaskEvents,
    /// Of the last event.
    place: u64,
    waiting: VecDeque<Bytes>,
    has_ended: bool,
}

/// The events of a call's stream from a place on. Who comes again gets the state of then, and nothing that was sent before.
pub(crate) fn events(
    session: Arc<Session>,
    stream: CallStream,
    body: ReplyBody,
    after: Option<u64>,
) -> impl Stream<Item = Option<Bytes>> + 'static {
    let place = after.unwrap_or_default();
    let mut waiting = VecDeque::new();
    if after.is_none() && session.revision.primes_streams() {
        waiting.push_back(Bytes::from(format!("id: {}-0\nretry: {RETRY_MS}\ndata: \n\n", stream.number)));
    }
    let events = TaskEvents::new(body);
    let progress = Progress { session, stream, events, place, waiting, has_ended: false };
    stream::unfold(progress, |mut progress| async move {
        let piece = progress.next().await?;
        Some((Some(piece), progress))
    })
}

impl Progress {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(piece) = self.waiting.pop_front() {
                return Some(piece);
            }
            if self.has_ended {
                return None;
            }
            match self.events.next().await {
                Some(TaskEvent::Alive) => return Some(Bytes::from_static(b": alive\n\n")),
                Some(TaskEvent::State(word)) => {
                    self.log(&word);
                    self.notify(&word);
                }
                Some(TaskEvent::Text(chars)) => self.notify(&format!("{chars} characters")),
                Some(TaskEvent::Ended(task)) => self.conclude(Some(*task)),
                None => self.conclude(None),
            }
        }
    }

    fn notify(&mut self, message: &str) {
        let Some(token) = self.stream.token.clone() else { return };
        // It grows with each event, also after the client came again.
        let progress = self.place + 1;
        let params = json!({"progressToken": token, "progress": progress, "message": message});
        self.push(&notification("notifications/progress", &params));
    }

    fn log(&mut self, status: &str) {
        if self.session.logs(Level::Info) {
            let event = json!({"task_id": self.stream.task.to_string(), "status": status});
            let params = json!({"level": "info", "logger": "tasks", "data": event});
            self.push(&notification("notifications/message", &params));
        }
    }

    fn conclude(&mut self, task: Option<Value>) {
        self.has_ended = true;
        // A client that cancelled is sent no answer.
        if self.session.stream(self.stream.number).is_some_and(|stream| stream.is_cancelled) {
            return;
        }
        // One that ended before it was followed has no update but this.
        if let Some(status) = task.as_ref().filter(|_| self.place == 0).and_then(status_text) {
            self.log(&status);
            self.notify(&status);
        }
        let outcome = match task {
            Some(task) => Ok(results::of_task(task, self.session.revision)),
            None => Err(gone()),
        };
        self.push(&answer(&self.stream.request, outcome));
    }

    fn push(&mut self, message: &Value) {
        self.place += 1;
        let (number, place) = (self.stream.number, self.place);
        self.waiting
            .push_back(Bytes::from(format!("event: message\nid: {number}-{place}\ndata: {message}\n\n")));
    }
}

/// The task was deleted or purged while it was followed.
pub(crate) fn gone() -> ErrorData {
    ErrorData::new(ErrorCode::INTERNAL_ERROR, "The task is not stored any more.", None)
}

/// The stream and the place in it that an event's id names.
pub(crate) fn read_event_id(id: &str) -> Option<(u64, u64)> {
    let (number, place) = id.split_once('-')?;
    // No stream is that long, and another event can be counted after any that is named.
    let place = place.parse::<u32>().ok()?;
    Some((number.parse().ok()?, place.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_of_a_task_are_read() {
        let mut chars = 0;
        let mut read = |message: Value| read_line(message.to_string().as_bytes(), &mut chars);
        let state = |word: &str| Some(TaskEvent::State(word.to_owned()));
        assert_eq!(read(json!({"id": "tsk_1", "status": 2, "status_text": "queued"})), state("queued"));
        let changed = json!({"data": {"id": "tsk_1", "status_text": "running"}, "fields": ["status"]});
        assert_eq!(read(changed), state("running"));
        let delta = |text: &str| json!({"event": "delta", "data": {"delta": {"response": text}}});
        assert_eq!(read(delta("héllo")), Some(TaskEvent::Text(5)));
        assert_eq!(read(delta("!")), Some(TaskEvent::Text(6)));
        // It is tried again.
        assert_eq!(read(json!({"data": {"output": {"response": ""}}, "fields": ["output"]})), None);
        assert_eq!(read(delta("a")), Some(TaskEvent::Text(1)));
        assert_eq!(read(json!({"type": "heartbeat"})), Some(TaskEvent::Alive));
        let whole = json!({"id": "tsk_1", "status": 10, "status_text": "completed"});
        assert_eq!(read(whole.clone()), Some(TaskEvent::Ended(Box::new(whole))));
    }

    #[test]
    fn an_event_id_is_a_stream_and_a_place() {
        assert_eq!(read_event_id("3-17"), Some((3, 17)));
        for wrong in ["", "3", "3-", "-3", "a-1", "3-x", "3-18446744073709551615"] {
            assert_eq!(read_event_id(wrong), None, "{wrong}");
        }
    }
}
