//! A turn as a task of the protocol: its state, its artifacts and its history.

use agents::{Call, EndStatus, Part, Turn, WaitingCall, arguments, text_of_input};
use domain::{RunTask, TaskStatus};
use run::{AGENT_APP, TurnRecord};
use runs::moment;
use serde_json::{Map, Value, json};

use crate::card::{JSON, TEXT};
use crate::limits::HISTORY_MESSAGES_MAX;

/// Where the metadata of a turn has the message's own id and metadata.
pub(crate) const KEPT: &str = "a2a";
pub(crate) const ANSWER: &str = "answer";
const OUTPUT: &str = "output";

domain::words! {
    /// The states that a turn can be in.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum State {
        Submitted = "TASK_STATE_SUBMITTED",
        Working = "TASK_STATE_WORKING",
        InputRequired = "TASK_STATE_INPUT_REQUIRED",
        Completed = "TASK_STATE_COMPLETED",
        Failed = "TASK_STATE_FAILED",
        Canceled = "TASK_STATE_CANCELED",
    }
}

impl State {
    /// `None` for a state that no turn is ever in.
    pub(crate) fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    pub(crate) const fn has_ended(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Canceled)
    }

    /// Of a turn whose task has ended.
    pub(crate) const fn of_ended(status: TaskStatus) -> Option<Self> {
        match status {
            TaskStatus::Completed => Some(Self::Completed),
            TaskStatus::Failed => Some(Self::Failed),
            TaskStatus::Cancelled => Some(Self::Canceled),
            _ => None,
        }
    }

    pub(crate) fn of(record: &TurnRecord) -> Self {
        if let Some(state) = Self::of_ended(record.task.status) {
            return state;
        }
        let Some(turn) = &record.turn else {
            let is_taken = !matches!(record.task.status, TaskStatus::Received | TaskStatus::Queued);
            return if is_taken { Self::Working } else { Self::Submitted };
        };
        match turn.ended.as_ref().map(|ended| ended.status) {
            Some(EndStatus::Ready) => Self::Completed,
            Some(EndStatus::Failed) => Self::Failed,
            Some(EndStatus::Cancelled) => Self::Canceled,
            None if record.task.status != TaskStatus::Cancelling && turn.waits_for().next().is_some() => {
                Self::InputRequired
            }
            None => Self::Working,
        }
    }
}

/// Which artifacts a client takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub text: bool,
    pub json: bool,
}

impl Accepted {
    pub(crate) const ALL: Self = Self { text: true, json: true };
}

/// What of a task its client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct View {
    /// The newest messages of its history; `None` for all.
    pub history: Option<usize>,
    /// `None` for no artifacts at all.
    pub artifacts: Option<Accepted>,
}

/// When a task's status last changed.
pub(crate) fn status_unix_ms(task: &RunTask) -> u64 {
    task.ended_unix_ms.unwrap_or(task.updated_unix_ms)
}

/// A call that waits, and the id by which it is answered.
pub(crate) struct PendingCall {
    pub id: String,
    pub call: Call,
    /// The client executes it; else it waits for approval.
    pub is_clients: bool,
}

pub(crate) fn pending(turn: &Turn) -> Vec<PendingCall> {
    let calls = turn.calls();
    let pending = turn.waits_for().filter_map(|WaitingCall { id, is_clients }| {
        let place = calls.iter().position(|call| call.id == *id)?;
        let call = calls.get(place)?.clone();
        Some(PendingCall { id: Part::Call(place).id(turn.task), call, is_clients: *is_clients })
    });
    pending.collect()
}

/// The task as its client reads it.
pub(crate) fn document(record: &TurnRecord, view: View) -> Value {
    let mut document = json!({
        "id": record.task.id.to_string(),
        "contextId": record.chat.to_string(),
        "status": status(record),
    });
    let Some(fields) = document.as_object_mut() else { return document };
    if let Some(accepted) = view.artifacts {
        fields.insert("artifacts".to_owned(), artifacts(record, accepted).into());
    }
    let mut history = history(record);
    let kept = view.history.unwrap_or(HISTORY_MESSAGES_MAX).min(HISTORY_MESSAGES_MAX);
    let history = history.split_off(history.len().saturating_sub(kept));
    if !history.is_empty() {
        fields.insert("history".to_owned(), history.into());
    }
    fields.insert("metadata".to_owned(), json!({"agent": record.task.app.trim_start_matches(AGENT_APP)}));
    document
}

pub(crate) fn status(record: &TurnRecord) -> Value {
    let state = State::of(record);
    let mut status = json!({"state": state.as_str(), "timestamp": moment(status_unix_ms(&record.task))});
    let parts = match state {
        State::InputRequired => record.turn.as_ref().map(waiting_parts),
        State::Failed => error_of(record).map(|error| json!([{"text": error}])),
        _ => None,
    };
    if let (Some(parts), Some(fields)) = (parts, status.as_object_mut()) {
        fields.insert("message".to_owned(), message(record, "status", "ROLE_AGENT", &parts));
    }
    status
}

fn waiting_parts(turn: &Turn) -> Value {
    let pending = pending(turn);
    let how = "Send a message with this taskId and a data part for each call: {\"call_id\": …, \"decision\": \"approve\"} or \"reject\" \
         for one of kind approval, {\"call_id\": …, \"decision\": \"result\", \"result\": …} for one of kind result.";
    let names: Vec<_> = pending.iter().map(|pending| pending.call.name.as_str()).collect();
    let text = format!("The agent waits for: {}. {how}", names.join(", "));
    let calls = pending.iter().map(|pending| {
        json!({
            "call_id": pending.id,
            "name": pending.call.name,
            "arguments": arguments(&pending.call.arguments).unwrap_or_default(),
            "kind": if pending.is_clients { "result" } else { "approval" },
        })
    });
    json!([{"text": text}, {"data": {"pending_calls": calls.collect::<Vec<_>>()}, "mediaType": JSON}])
}

fn error_of(record: &TurnRecord) -> Option<String> {
    let of_turn = record.turn.as_ref().and_then(|turn| turn.ended.as_ref()?.error.clone());
    of_turn.or_else(|| record.result.as_ref()?.error.clone())
}

/// What a turn answered with, as text and as a value.
fn answer(record: &TurnRecord) -> Option<(String, Value)> {
    let ended = record.turn.as_ref().and_then(|turn| Some((turn, turn.ended.as_ref()?)));
    if let Some((turn, ended)) = ended {
        let text = || turn.texts("assistant").pop().unwrap_or_default();
        return (ended.status == EndStatus::Ready).then(|| (text(), ended.output.clone()));
    }
    let result = record.result.as_ref().filter(|result| result.error.is_none())?;
    let text = result.output.get("response").and_then(Value::as_str)?;
    Some((text.to_owned(), result.output.get("output").cloned().unwrap_or_default()))
}

/// The text of the answer, once it is there.
pub(crate) fn answer_text(record: &TurnRecord) -> Option<String> {
    answer(record).map(|(text, _)| text)
}

pub(crate) fn text_artifact(text: &str) -> Value {
    json!({"artifactId": ANSWER, "name": ANSWER, "parts": [{"text": text, "mediaType": TEXT}]})
}

pub(crate) fn artifacts(record: &TurnRecord, accepted: Accepted) -> Vec<Value> {
    let Some((text, output)) = answer(record) else { return Vec::new() };
    let mut artifacts = Vec::new();
    if accepted.text {
        artifacts.push(text_artifact(&text));
    }
    if accepted.json && !output.is_null() {
        let parts = json!([{"data": output, "mediaType": JSON}]);
        artifacts.push(json!({"artifactId": OUTPUT, "name": OUTPUT, "parts": parts}));
    }
    artifacts
}

fn message(record: &TurnRecord, suffix: &str, role: &str, parts: &Value) -> Value {
    let (task, chat) = (record.task.id.to_string(), record.chat.to_string());
    json!({
        "messageId": format!("{}-{suffix}", Part::Assistant.id(record.task.id)),
        "contextId": chat, "taskId": task, "role": role, "parts": parts,
    })
}

/// What was said: the message, what the agent answered before its result, and what its client sent for calls.
fn history(record: &TurnRecord) -> Vec<Value> {
    let mut history = Vec::new();
    let kept = record.request.as_ref().and_then(|request| request.metadata.get(KEPT));
    let kept = kept.and_then(Value::as_object).cloned().unwrap_or_default();
    let input = record.request.as_ref().map(|request| text_of_input(&request.input)).unwrap_or_default();
    let stored = record.turn.as_ref().and_then(|turn| turn.texts("user").into_iter().next());
    let text = Some(input).filter(|text| !text.is_empty()).map(str::to_owned).or(stored).unwrap_or_default();
    history.push(first_message(record, &kept, &text));
    let Some(turn) = &record.turn else { return history };
    let of = |item: &Value, name: &str| item.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let is_clients = |id: &str| turn.client_calls.contains(id);
    let last = turn.items.len().saturating_sub(1);
    let is_answered = State::of(record) == State::Completed;
    for (place, item) in turn.items.iter().enumerate() {
        let call = of(item, "call_id");
        if of(item, "type") == "function_call_output" && is_clients(&call) {
            let data = json!({"decision": "result", "result": of(item, "output")});
            history.push(message(record, &place.to_string(), "ROLE_USER", &json!([{"data": data}])));
        }
        // The result itself is an artifact.
        if of(item, "role") == "assistant" && !(is_answered && place == last) {
            let text: String = Turn { items: vec![item.clone()], ..turn.clone() }.texts("assistant").concat();
            if !text.is_empty() {
                history.push(message(record, &place.to_string(), "ROLE_AGENT", &json!([{"text": text}])));
            }
        }
    }
    history
}

fn first_message(record: &TurnRecord, kept: &Map<String, Value>, text: &str) -> Value {
    let mut first = message(record, "message", "ROLE_USER", &json!([{"text": text}]));
    if let Some(fields) = first.as_object_mut() {
        let id = kept.get("message_id").cloned();
        fields.insert("messageId".to_owned(), id.unwrap_or_else(|| json!(Part::User.id(record.task.id))));
        if let Some(metadata) = kept.get("metadata").filter(|metadata| metadata.is_object()) {
            fields.insert("metadata".to_owned(), metadata.clone());
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use agents::{Ended, result_item};
    use domain::{KeyId, ObjectOwner, ProjectId, SessionId, TaskId, WorkspaceId};

    use super::*;

    fn record(status: TaskStatus, turn: Option<Turn>) -> TurnRecord {
        let owner =
            ObjectOwner { workspace: WorkspaceId::new(1, [1; 10]), project: ProjectId::new(1, [2; 10]) };
        let id = TaskId::new(7, [3; 10]);
        let task = RunTask {
            status,
            ..RunTask::queued((id, owner, KeyId::new(1, [3; 10])), "agent:helper@2".to_owned(), (7, 9))
        };
        TurnRecord { task, chat: SessionId::new(1, [4; 10]), request: None, result: None, turn }
    }

    fn turn(items: Vec<Value>) -> Turn {
        Turn { items, ..Turn::new(TaskId::new(7, [3; 10]), "helper@2".to_owned(), 7) }
    }

    const VIEW: View = View { history: None, artifacts: Some(Accepted::ALL) };

    #[test]
    fn a_turn_that_waits_lists_its_calls() {
        let call = json!({"type": "function_call", "call_id": "c", "name": "beep", "arguments": "{\"n\":2}"});
        let waiting = vec![WaitingCall { id: "c".to_owned(), is_clients: true }];
        let mut waits = turn(vec![json!({"role": "user", "content": "hi"}), call]);
        waits.waiting = waiting;
        waits.client_calls.insert("c".to_owned());
        let waiting = record(TaskStatus::Queued, Some(waits.clone()));
        let task = document(&waiting, VIEW);
        assert_eq!(task["status"]["state"], "TASK_STATE_INPUT_REQUIRED");
        let pending = &task["status"]["message"]["parts"][1]["data"]["pending_calls"][0];
        assert_eq!(
            (&pending["name"], &pending["arguments"], &pending["kind"]),
            (&json!("beep"), &json!({"n": 2}), &json!("result"))
        );
        assert_eq!(pending["call_id"], Part::Call(0).id(TaskId::new(7, [3; 10])));
        waits.items.push(result_item("c", "beeped"));
        let task = document(&record(TaskStatus::Queued, Some(waits)), VIEW);
        assert_eq!(task["status"]["state"], "TASK_STATE_WORKING");
        assert_eq!(task["history"][1]["parts"][0]["data"]["result"], "beeped");
        // A turn that is being cancelled takes no answer any more.
        assert_eq!(
            State::of(&TurnRecord { task: record(TaskStatus::Cancelling, None).task, ..waiting }),
            State::Working
        );
    }

    #[test]
    fn a_turn_that_ended_has_its_answer_as_artifacts() {
        let mut done = turn(vec![
            json!({"role": "user", "content": "hi"}),
            json!({"role": "assistant", "content": "{\"a\":1}"}),
        ]);
        let output = json!({"a": 1});
        done.ended =
            Some(Ended { status: EndStatus::Ready, error: None, output: output.clone(), unix_ms: 8 });
        let done = record(TaskStatus::Running, Some(done));
        let task = document(&done, VIEW);
        assert_eq!(
            (&task["status"]["state"], &task["artifacts"][1]["parts"][0]["data"]),
            (&json!("TASK_STATE_COMPLETED"), &output)
        );
        assert_eq!(task["artifacts"][0]["parts"][0]["text"], "{\"a\":1}");
        assert_eq!(task["history"].as_array().map(Vec::len), Some(1), "{task}");
        let bare = document(&done, View { history: Some(0), artifacts: None });
        assert!(bare.get("history").is_none() && bare.get("artifacts").is_none());
        assert_eq!(artifacts(&done, Accepted { text: false, json: true }).len(), 1);
    }

    #[test]
    fn a_turn_without_a_session_is_known_by_its_task() {
        for (status, state) in [
            (TaskStatus::Queued, State::Submitted),
            (TaskStatus::Running, State::Working),
            (TaskStatus::Cancelled, State::Canceled),
            (TaskStatus::Failed, State::Failed),
        ] {
            assert_eq!(State::of(&record(status, None)), state);
        }
        assert_eq!(State::by_name("TASK_STATE_WORKING"), Some(State::Working));
        assert_eq!(State::by_name("TASK_STATE_AUTH_REQUIRED"), None);
    }
}
