//! Waits for a task, or follows it: the task, then its status and its text as they change, each as an answer to the same request.

use std::collections::VecDeque;

use bytes::Bytes;
use domain::TaskId;
use futures_util::stream::{self, Stream};
use run::TurnRecord;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use crate::calls::Calls;
use crate::errors::RpcError;
use crate::limits::{HEARTBEAT_EVERY, WAIT_TIME_MAX};
use crate::rpc;
use crate::task::{Accepted, State, View, answer_text, artifacts, document, status, text_artifact};
use crate::turns::{TurnFollower, TurnUpdate};

/// What ends the wait for a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// It has ended.
    Ended,
    /// It has ended, or waits for input.
    Interrupted,
}

impl Until {
    fn is_reached(self, state: State) -> bool {
        state.has_ended() || (self == Self::Interrupted && state == State::InputRequired)
    }
}

/// The task once the wait for it ends, or as it is when that takes too long.
///
/// # Errors
/// It is not stored any more.
pub(crate) async fn settled(
    calls: &Calls<'_>,
    id: TaskId,
    until: Until,
    deadline: Instant,
) -> Result<TurnRecord, RpcError> {
    let mut follower = TurnFollower::new(calls, id);
    loop {
        let Ok(update) = timeout_at(deadline, follower.next()).await else { return calls.turn(id).await };
        match update {
            TurnUpdate::Record(record) if until.is_reached(State::of(&record)) => return Ok(*record),
            TurnUpdate::Record(_) if Instant::now() >= deadline => return calls.turn(id).await,
            TurnUpdate::Record(_) | TurnUpdate::Text(_) => {}
            TurnUpdate::Gone => return Err(RpcError::task_not_found(&id.to_string())),
        }
    }
}

/// Where the stream of a task is.
struct Following {
    follower: TurnFollower,
    until: Until,
    view: View,
    accepted: Accepted,
    /// Of the request that the events answer.
    id: Value,
    request: String,
    waiting: VecDeque<Bytes>,
    /// What its client knows.
    status: Option<Value>,
    text: String,
    has_ended: bool,
    deadline: Instant,
}

/// The events of a task that exists.
pub(crate) fn events(
    calls: &Calls<'_>,
    task: TaskId,
    (view, accepted, until): (View, Accepted, Until),
    id: Value,
) -> impl Stream<Item = Option<Bytes>> + 'static {
    let following = Following {
        follower: TurnFollower::new(calls, task),
        until,
        view,
        accepted,
        id,
        request: calls.trace.to_string(),
        waiting: VecDeque::new(),
        status: None,
        text: String::new(),
        has_ended: false,
        deadline: Instant::now() + WAIT_TIME_MAX,
    };
    stream::unfold(following, |mut following| async move {
        let piece = following.next().await?;
        Some((Some(piece), following))
    })
}

impl Following {
    async fn next(&mut self) -> Option<Bytes> {
        let heartbeat_at = Instant::now() + HEARTBEAT_EVERY;
        loop {
            if let Some(piece) = self.waiting.pop_front() {
                return Some(piece);
            }
            let now = Instant::now();
            if self.has_ended || now >= self.deadline {
                return None;
            }
            if now >= heartbeat_at {
                return Some(Bytes::from_static(b": alive\n\n"));
            }
            match self.follower.next().await {
                TurnUpdate::Record(record) => self.take(&record),
                TurnUpdate::Text(text) => self.take_text(&text),
                TurnUpdate::Gone => {
                    self.has_ended = true;
                    let gone = RpcError::task_not_found("of this stream");
                    self.push(&rpc::answer(&self.id, Err(&gone), &self.request));
                }
            }
        }
    }

    fn take(&mut self, record: &TurnRecord) {
        let state = State::of(record);
        let is_first = self.status.is_none();
        if is_first {
            self.result(&json!({"task": document(record, self.view)}));
        }
        let is_reached = self.until.is_reached(state);
        if state == State::Completed && !is_first {
            self.conclude_text(record);
        }
        let status = status(record);
        // Of the same state, a status is new where it waits for other calls.
        let is_known = self.status.as_ref().is_some_and(|known| {
            known.get("state") == status.get("state") && known.get("message") == status.get("message")
        });
        if !is_known && (!is_first || is_reached) {
            let (task, context) = (record.task.id.to_string(), record.chat.to_string());
            self.result(&json!({"statusUpdate": {"taskId": task, "contextId": context, "status": status}}));
        }
        self.status = Some(status);
        self.has_ended = is_reached;
    }

    /// Text that came is appended to the answer.
    fn take_text(&mut self, text: &str) {
        let is_followed = self.status.is_some() && self.accepted.text;
        if is_followed {
            let is_appended = !self.text.is_empty();
            self.artifact(&text_artifact(text), (is_appended, false));
        }
        self.text.push_str(text);
    }

    /// The answer as it is in the end, where the text that came is another one: that of earlier steps, or of a try that failed.
    fn conclude_text(&mut self, record: &TurnRecord) {
        let answer = answer_text(record).unwrap_or_default();
        let is_same = !self.text.is_empty() && answer == self.text;
        for artifact in artifacts(record, self.accepted) {
            let is_text = artifact.get("artifactId").and_then(Value::as_str) == Some(crate::task::ANSWER);
            if is_text && is_same {
                self.artifact(&text_artifact(""), (true, true));
            } else {
                self.artifact(&artifact, (false, true));
            }
        }
    }

    fn artifact(&mut self, artifact: &Value, (append, last_chunk): (bool, bool)) {
        let (task, context) = (self.follower.id().to_string(), self.follower.chat());
        let context = context.map(|chat| chat.to_string()).unwrap_or_default();
        self.result(&json!({"artifactUpdate": {
            "taskId": task, "contextId": context, "artifact": artifact, "append": append, "lastChunk": last_chunk,
        }}));
    }

    fn result(&mut self, result: &Value) {
        self.push(&rpc::answer(&self.id, Ok(result), &self.request));
    }

    fn push(&mut self, message: &Value) {
        self.waiting.push_back(Bytes::from(format!("data: {message}\n\n")));
    }
}
