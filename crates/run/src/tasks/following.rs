//! Follows a task: the whole of it first, then the text so far and what changes, then the whole again once it has ended. Who comes
//! late or comes again gets the whole state, so that nothing is missed and no position has to be remembered.
//!
//! The text of a running task is in the deltas alone, from its first word on: inference.sh's Python client puts the deltas that it
//! got over the output of the task that ended, and knows no way to take text back.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use domain::{FoundTask, ObjectOwner, RunTask, TaskContents, TaskId, TaskStatus};
use futures_util::stream::{self, Stream};
use http::header::{ACCEPT, HeaderMap};
use line::{Core, TaskProgress};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

const EVENTS: &str = "text/event-stream";
const LINES: &str = "application/x-ndjson";
/// Less than half of what clients wait for.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(10);
/// How often the store is read where another process works on the task, or none yet.
const POLL_EVERY: Duration = Duration::from_millis(300);

/// How a stream is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Lines,
    Events,
}

impl Format {
    /// The form that a client accepts; lines if it does not say.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        Self::wanted(headers).unwrap_or(Self::Lines)
    }

    /// The form that a client names; `None` where it names no stream.
    pub(crate) fn wanted(headers: &HeaderMap) -> Option<Self> {
        let accepted = headers.get(ACCEPT).and_then(|accepted| accepted.to_str().ok())?;
        if accepted.contains(LINES) {
            return Some(Self::Lines);
        }
        accepted.contains(EVENTS).then_some(Self::Events)
    }

    /// The form that a client names, or of the events that streams usually are where only its body asks for a stream.
    pub(crate) fn wanted_by(headers: &HeaderMap, is_requested: bool) -> Option<Self> {
        Self::wanted(headers).or(is_requested.then_some(Self::Events))
    }

    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::Lines => LINES,
            Self::Events => EVENTS,
        }
    }

    pub(crate) fn write(self, message: &Value) -> Bytes {
        Bytes::from(match self {
            Self::Lines => format!("{message}\n"),
            Self::Events => format!("data: {message}\n\n"),
        })
    }

    pub(crate) const fn heartbeat(self) -> &'static [u8] {
        match self {
            Self::Lines => b"{\"type\":\"heartbeat\"}\n",
            Self::Events => b": heartbeat\n\n",
        }
    }
}

/// The task as its reader sees it now: with what this process has of it, if it works on it.
pub(crate) fn seen(core: &Core, task: &RunTask, contents: &TaskContents) -> Value {
    let live = core.live_tasks.follow(task.id);
    let progress = live.as_ref().map(|live| live.borrow().clone()).filter(|_| !task.status.has_ended());
    let mut document = runs::document(task, contents);
    if let (Some(progress), Some(fields)) = (progress, document.as_object_mut()) {
        let status = if task.status == TaskStatus::Cancelling { task.status } else { progress.status };
        fields.insert("status".to_owned(), json!(status.code()));
        fields.insert("status_text".to_owned(), json!(status.as_str()));
        if !progress.text.is_empty() {
            fields.insert("output".to_owned(), json!({"response": progress.text}));
        }
    }
    document
}

/// The task once it has ended; `None` where it has not within this time, or is gone.
pub(crate) async fn ended(
    core: &Core,
    owner: ObjectOwner,
    id: TaskId,
    wait_max: Duration,
) -> Option<(RunTask, TaskContents)> {
    let until = Instant::now() + wait_max;
    while Instant::now() < until {
        match core.tasks.find(owner, id).await {
            FoundTask::Known(known) if known.0.status.has_ended() => return Some(*known),
            FoundTask::Unknown => return None,
            FoundTask::Known(_) | FoundTask::StoreUnavailable => {}
        }
        match core.live_tasks.follow(id) {
            // Its last change is that it has ended, and that is stored by then.
            Some(mut live) => {
                let _ = tokio::time::timeout(POLL_EVERY, live.changed()).await;
            }
            None => tokio::select! {
                () = core.live_tasks.started() => {}
                () = sleep(POLL_EVERY) => {}
            },
        }
    }
    None
}

/// Where a follower is.
struct Follower {
    core: Rc<Core>,
    owner: ObjectOwner,
    id: TaskId,
    format: Format,
    /// `None` breaks the stream off.
    waiting: VecDeque<Option<Bytes>>,
    live: Option<watch::Receiver<TaskProgress>>,
    /// What its client knows.
    status: Option<TaskStatus>,
    text: String,
    sequence: u64,
    has_ended: bool,
    heartbeat_at: Instant,
}

/// The stream of a task that exists.
pub(crate) fn follow(
    core: Rc<Core>,
    owner: ObjectOwner,
    id: TaskId,
    format: Format,
) -> impl Stream<Item = Option<Bytes>> + 'static {
    let follower = Follower {
        core,
        owner,
        id,
        format,
        waiting: VecDeque::new(),
        live: None,
        status: None,
        text: String::new(),
        sequence: 0,
        has_ended: false,
        heartbeat_at: Instant::now() + HEARTBEAT_EVERY,
    };
    stream::unfold(follower, |mut follower| async move {
        let piece = follower.next().await?;
        Some((piece, follower))
    })
}

impl Follower {
    async fn next(&mut self) -> Option<Option<Bytes>> {
        loop {
            if let Some(piece) = self.waiting.pop_front() {
                self.heartbeat_at = Instant::now() + HEARTBEAT_EVERY;
                return Some(piece);
            }
            if self.has_ended {
                return None;
            }
            if self.status.is_none() {
                self.look().await;
                continue;
            }
            if !self.wait().await {
                self.heartbeat_at = Instant::now() + HEARTBEAT_EVERY;
                return Some(Some(Bytes::from_static(self.format.heartbeat())));
            }
        }
    }

    /// Waits for something new; `false` where a heartbeat is due first.
    async fn wait(&mut self) -> bool {
        let due = sleep_until(self.heartbeat_at);
        if let Some(live) = &mut self.live {
            tokio::select! {
                changed = live.changed() => {
                    if changed.is_err() {
                        self.live = None;
                    }
                }
                () = due => return false,
            }
            self.tell_progress();
            if self.live.is_none() && !self.has_ended {
                self.look().await;
            }
            return true;
        }
        tokio::select! {
            () = self.core.live_tasks.started() => {}
            () = sleep(POLL_EVERY) => {}
            () = due => return false,
        }
        self.live = self.core.live_tasks.follow(self.id);
        if self.live.is_some() {
            self.tell_progress();
        } else {
            self.look().await;
        }
        true
    }

    /// Reads the task from the store, and tells all of it if its client knows nothing or it has ended.
    async fn look(&mut self) {
        let found = self.core.tasks.find(self.owner, self.id).await;
        let (task, contents) = match found {
            FoundTask::Known(known) => *known,
            // It was deleted or purged meanwhile.
            FoundTask::Unknown => {
                self.has_ended = true;
                return;
            }
            FoundTask::StoreUnavailable => {
                sleep(POLL_EVERY).await;
                return;
            }
        };
        let is_first = self.status.is_none();
        if task.status.has_ended() {
            let document = runs::document(&task, &contents);
            let text = document.pointer("/output/response").and_then(Value::as_str);
            if text.is_some_and(|text| !text.starts_with(&self.text)) {
                return self.break_off();
            }
            self.has_ended = true;
            self.say(&document);
            return;
        }
        if is_first {
            self.live = self.core.live_tasks.follow(self.id);
            let mut document = seen(&self.core, &task, &contents);
            if let Some(output) = document.get_mut("output") {
                *output = Value::Null;
            }
            self.say(&document);
            self.status = document
                .get("status")
                .and_then(Value::as_u64)
                .and_then(|code| TaskStatus::by_code(u8::try_from(code).unwrap_or_default()))
                .or(Some(task.status));
            if self.live.is_some() {
                return self.tell_progress();
            }
        }
        if self.status != Some(task.status) {
            self.status = Some(task.status);
            let document = runs::document(&task, &contents);
            self.say(&partial(&document, &["status", "status_text", "updated_at", "events", "logs"]));
        }
        self.tell_stored(&contents);
    }

    /// What another process stored of the text so far.
    fn tell_stored(&mut self, contents: &TaskContents) {
        let stored = contents.partial.as_ref().and_then(|text| serde_json::from_slice::<Value>(text).ok());
        let text = stored.as_ref().and_then(|stored| stored.get("response")).and_then(Value::as_str);
        if let Some(text) = text {
            let text = text.to_owned();
            self.tell_text(&text);
        }
    }

    fn tell_progress(&mut self) {
        let Some(live) = &mut self.live else { return };
        let progress = live.borrow_and_update().clone();
        if progress.has_ended {
            self.live = None;
        }
        if self.status != Some(progress.status) {
            self.status = Some(progress.status);
            let (code, text) = (progress.status.code(), progress.status.as_str());
            let fields = ["status", "status_text"];
            self.say(&json!({"data": {"id": self.id.to_string(), "status": code, "status_text": text}, "fields": fields}));
        }
        self.tell_text(&progress.text);
    }

    fn tell_text(&mut self, text: &str) {
        // A further try that says the same again, or a store that is behind.
        if self.text.starts_with(text) {
            return;
        }
        let Some(new) = text.strip_prefix(self.text.as_str()) else {
            return self.break_off();
        };
        self.sequence += 1;
        let data =
            json!({"resource_id": self.id.to_string(), "seq": self.sequence, "delta": {"response": new}});
        self.say(&json!({"event": "delta", "data": data}));
        self.text.push_str(new);
    }

    /// The text that its client has is of a try that failed, and another one says something else: who follows the task again starts
    /// from nothing.
    fn break_off(&mut self) {
        self.waiting.push_back(None);
        self.has_ended = true;
    }

    fn say(&mut self, message: &Value) {
        self.waiting.push_back(Some(self.format.write(message)));
    }
}

/// Some fields of a task, as clients merge them into what they know.
fn partial(document: &Value, fields: &[&str]) -> Value {
    let mut data = serde_json::Map::new();
    for name in ["id"].iter().chain(fields) {
        if let Some(value) = document.get(*name) {
            data.insert((*name).to_owned(), value.clone());
        }
    }
    json!({"data": data, "fields": fields})
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_stream_has_the_form_that_is_accepted() {
        for (accepted, wanted) in [
            (Some("application/x-ndjson"), Some(Format::Lines)),
            (Some("text/event-stream"), Some(Format::Events)),
            (Some("text/event-stream, application/x-ndjson"), Some(Format::Lines)),
            (Some("*/*"), None),
            (None, None),
        ] {
            let accepted = accepted.map(|accepted| (ACCEPT, HeaderValue::from_static(accepted)));
            let headers: HeaderMap = accepted.into_iter().collect();
            assert_eq!(Format::wanted(&headers), wanted, "{headers:?}");
            assert_eq!(Format::wanted_by(&headers, true), wanted.or(Some(Format::Events)), "{headers:?}");
            assert_eq!(Format::wanted_by(&headers, false), wanted, "{headers:?}");
        }
        assert_eq!(Format::Lines.write(&json!({"a": 1})), "{\"a\":1}\n");
        assert_eq!(Format::Events.write(&json!({"a": 1})), "data: {\"a\":1}\n\n");
    }

    #[test]
    fn a_partial_message_names_what_it_has() {
        let document = json!({"id": "tsk_1", "status": 7, "input": "x"});
        let expected = json!({"data": {"id": "tsk_1", "status": 7}, "fields": ["status"]});
        assert_eq!(partial(&document, &["status"]), expected);
    }
}
