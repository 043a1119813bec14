//! A chat as its clients read it: its messages, what it waits for, and whether it is busy.

use domain::{RunTask, SessionId, TaskContents, TaskId, TaskStatus};
use runs::{TaskRequest, moment};
use serde_json::{Map, Value, json};

use crate::chat::{Call, Chat, EndStatus, Turn, arguments};

/// A chat with the turns that have not ended.
pub struct ChatView<'a> {
    pub id: SessionId,
    pub created_unix_ms: u64,
    pub chat: &'a Chat,
    /// The tasks of its turns, oldest first.
    pub tasks: &'a [(RunTask, TaskContents)],
}

/// The kinds of things that a turn makes, which share the end of their ids with its task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    User,
    Assistant,
    Run,
    /// A call, by its number.
    Call(usize),
    Interrupt(usize),
}

impl Part {
    /// The id of a part of a task's turn.
    pub fn id(self, task: TaskId) -> String {
        let text = task.to_string();
        let stem = text.split_once('_').map_or(text.as_str(), |(_, stem)| stem);
        match self {
            Self::User => format!("msg_{stem}"),
            Self::Assistant => format!("ans_{stem}"),
            Self::Run => format!("run_{stem}"),
            Self::Call(number) => format!("inv_{stem}_{number}"),
            Self::Interrupt(number) => format!("int_{stem}_{number}"),
        }
    }

    /// The task and the part that an id names.
    pub fn read(id: &str) -> Option<(TaskId, Self)> {
        let (kind, rest) = id.split_once('_')?;
        let (stem, number) = match rest.split_once('_') {
            Some((stem, number)) => (stem, Some(number.parse::<usize>().ok()?)),
            None => (rest, None),
        };
        let task = format!("tsk_{stem}").parse().ok()?;
        let part = match (kind, number) {
            ("msg", None) => Self::User,
            ("ans", None) => Self::Assistant,
            ("run", None) => Self::Run,
            ("inv", Some(number)) => Self::Call(number),
            ("int", Some(number)) => Self::Interrupt(number),
            _ => return None,
        };
        Some((task, part))
    }
}

/// The state of a turn, in the words of runs.
fn state_of(task: Option<&RunTask>, turn: Option<&Turn>) -> &'static str {
    if let Some(ended) = turn.and_then(|turn| turn.ended.as_ref()) {
        return match ended.status {
            EndStatus::Ready => "completed",
            EndStatus::Failed => "failed",
            EndStatus::Cancelled => "canceled",
        };
    }
    match task.map(|task| task.status) {
        Some(TaskStatus::Completed) => "completed",
        Some(TaskStatus::Failed) => "failed",
        None | Some(TaskStatus::Cancelled) => "canceled",
        Some(_) if turn.is_some_and(|turn| turn.waits_for().any(|call| !call.is_clients)) => "input_required",
        Some(_) if turn.is_some() => "working",
        Some(_) => "submitted",
    }
}

fn tool_type(call: &Call, is_clients: bool) -> &'static str {
    match () {
        () if is_clients => "client",
        () if call.name.starts_with("agent_") => "agent",
        () if call.name.contains("__") => "mcp",
        () => "http",
    }
}

impl ChatView<'_> {
    fn task(&self, id: TaskId) -> Option<&RunTask> {
        self.tasks.iter().map(|(task, _)| task).find(|task| task.id == id)
    }

    /// Turns that have not ended, oldest first.
    fn open(&self) -> impl Iterator<Item = &RunTask> {
        let is_open = |task: &&RunTask| {
            !task.status.has_ended() && self.chat.turn(task.id).is_none_or(|turn| turn.ended.is_none())
        };
        self.tasks.iter().map(|(task, _)| task).filter(is_open)
    }

    /// Whether more comes of a turn without anybody's doing.
    pub fn is_busy_with(&self, task: TaskId) -> bool {
        let waits = || self.chat.turn(task).is_some_and(|turn| turn.waits_for().next().is_some());
        self.open().any(|open| open.id == task) && !waits()
    }

    pub fn status(&self) -> &'static str {
        let Some(first) = self.open().next() else { return "idle" };
        let waits = self.chat.turn(first.id).is_some_and(|turn| turn.waits_for().next().is_some());
        if waits { "awaiting_input" } else { "busy" }
    }

    /// The turn that runs, or the last one.
    fn run(&self) -> Value {
        let open = self.open().next().map(|task| task.id);
        let last = self.chat.turns.last().map(|turn| turn.task);
        let Some(id) = open.or(last) else { return Value::Null };
        let (task, turn) = (self.task(id), self.chat.turn(id));
        let ended = turn.and_then(|turn| turn.ended.as_ref());
        json!({
            "id": Part::Run.id(id),
            "chat_id": self.id.to_string(),
            "task_id": id.to_string(),
            "user_message_id": Part::User.id(id),
            "state": state_of(task, turn),
            "error": ended.and_then(|ended| ended.error.clone()),
            "output": ended.map(|ended| ended.output.clone()),
            "finished_at": ended.map(|ended| moment(ended.unix_ms)),
        })
    }

    fn interrupts(&self) -> Vec<Value> {
        let Some(turn) = self.open().next().and_then(|task| self.chat.turn(task.id)) else {
            return Vec::new();
        };
        let calls = turn.calls();
        let waiting = turn.waits_for().filter_map(|waiting| {
            let number = calls.iter().position(|call| call.id == waiting.id)?;
            let call = calls.get(number)?;
            let invocation = Part::Call(number).id(turn.task);
            Some(json!({
                "id": Part::Interrupt(number).id(turn.task),
                "run_id": Part::Run.id(turn.task),
                "chat_id": self.id.to_string(),
                "reason": if waiting.is_clients { "client_tool" } else { "tool_approval" },
                "source": "agent",
                "resource_id": invocation,
                "resource_type": "tool_invocation",
                "status": "pending",
                "resolution": null,
                "meta": {
                    "tool_invocation_id": invocation, "tool_name": call.name,
                    "arguments": arguments(&call.arguments).unwrap_or_default(),
                },
            }))
        });
        waiting.collect()
    }

    /// In short, for polling.
    pub fn short(&self) -> Value {
        let run = self.run();
        json!({"id": self.id.to_string(), "status": self.status(), "state": run.get("state"), "active_run": run})
    }

    /// All of it but its messages.
    pub fn document(&self) -> Value {
        let output = self
            .chat
            .turns
            .iter()
            .rev()
            .find_map(|turn| turn.ended.as_ref())
            .map(|ended| ended.output.clone());
        let agent = self.chat.turns.last().map(|turn| turn.agent.clone());
        json!({
            "id": self.id.to_string(),
            "created_at": moment(self.created_unix_ms),
            "status": self.status(),
            "agent": agent,
            "active_run": self.run(),
            "pending_interrupts": self.interrupts(),
            "output": output,
            "visibility": "private",
        })
    }

    /// Its messages, oldest first.
    pub fn messages(&self) -> Vec<Value> {
        let mut messages: Vec<Value> = Vec::with_capacity(2 * self.chat.turns.len() + 2);
        for turn in &self.chat.turns {
            messages.extend(self.of_turn(turn));
        }
        for (task, contents) in self.tasks {
            // A turn that was not begun is known by its task, unless it was cancelled so long ago that its input is gone.
            if self.chat.turn(task.id).is_none() && !task.status.has_ended() {
                messages.extend(self.of_task(task, contents));
            }
        }
        for (place, message) in messages.iter_mut().enumerate() {
            if let Some(message) = message.as_object_mut() {
                message.insert("order".to_owned(), json!(place));
            }
        }
        messages
    }

    /// The messages of one turn.
    pub fn messages_of(&self, task: TaskId) -> Vec<Value> {
        let own = [Part::User.id(task), Part::Assistant.id(task)];
        let is_own = |message: &Value| message.get("id").is_some_and(|id| own.iter().any(|own| id == own));
        self.messages().into_iter().filter(is_own).collect()
    }

    fn message(
        &self,
        part: Part,
        task: TaskId,
        role: &str,
        status: &str,
        unix_ms: u64,
    ) -> Map<String, Value> {
        let message = json!({
            "id": part.id(task), "chat_id": self.id.to_string(), "task_id": task.to_string(),
            "agent_run_id": Part::Run.id(task), "role": role, "status": status, "created_at": moment(unix_ms),
            "content": [], "visibility": "private",
        });
        message.as_object().cloned().unwrap_or_default()
    }

    fn of_turn(&self, turn: &Turn) -> [Value; 2] {
        let (id, started) = (turn.task, turn.started_unix_ms);
        let mut user = self.message(Part::User, id, "user", "ready", started);
        user.insert("content".to_owned(), texts(turn.texts("user").iter().map(String::as_str)));
        let status = match state_of(self.task(id), Some(turn)) {
            "completed" => "ready",
            "failed" => "failed",
            "canceled" => "cancelled",
            _ => "pending",
        };
        let mut answer = self.message(Part::Assistant, id, "assistant", status, started);
        let texts_so_far = turn.texts("assistant");
        let mut content = texts(texts_so_far.iter().map(String::as_str));
        let error = turn.ended.as_ref().and_then(|ended| ended.error.clone());
        if let (Some(error), Some(content)) = (&error, content.as_array_mut()) {
            content.push(json!({"type": "text", "text": "", "error": error}));
        }
        answer.insert("content".to_owned(), content);
        answer.insert("error".to_owned(), json!(error));
        answer.insert("tool_invocations".to_owned(), json!(self.invocations(turn)));
        [Value::Object(user), Value::Object(answer)]
    }

    fn of_task(&self, task: &RunTask, contents: &TaskContents) -> [Value; 2] {
        let request = TaskRequest::read(contents);
        let words = request.as_ref().map(|request| text_of_input(&request.input)).unwrap_or_default();
        let mut user = self.message(Part::User, task.id, "user", "queued", task.created_unix_ms);
        user.insert("content".to_owned(), texts([words].into_iter()));
        let mut answer = self.message(Part::Assistant, task.id, "assistant", "pending", task.created_unix_ms);
        answer.insert("tool_invocations".to_owned(), json!([]));
        [Value::Object(user), Value::Object(answer)]
    }

    fn invocations(&self, turn: &Turn) -> Vec<Value> {
        let is_open =
            self.task(turn.task).is_some_and(|task| !task.status.has_ended()) && turn.ended.is_none();
        let view = turn.calls().into_iter().enumerate().map(|(number, call)| {
            let result = turn.result(&call.id);
            let waiting = turn.waiting.iter().find(|waiting| waiting.id == call.id);
            let is_clients = waiting.is_some_and(|waiting| waiting.is_clients);
            let waits = turn.waits_for().any(|waiting| waiting.id == call.id);
            let is_refused = turn.decision(&call.id).is_some_and(|(is_allowed, _)| !is_allowed);
            let status = match () {
                () if result.is_some() && is_refused => "cancelled",
                () if result.is_some() => "completed",
                () if !is_open => "cancelled",
                () if waits && is_clients => "awaiting_input",
                () if waits => "awaiting_approval",
                () => "in_progress",
            };
            json!({
                "id": Part::Call(number).id(turn.task),
                "chat_message_id": Part::Assistant.id(turn.task),
                "tool_invocation_id": call.id,
                "type": tool_type(&call, is_clients),
                "display_name": call.name,
                "function": {"name": call.name, "arguments": arguments(&call.arguments).unwrap_or_default()},
                "status": status,
                "result": result,
            })
        });
        view.collect()
    }
}

/// The text of a message as its client sent it.
pub fn text_of_input(input: &Value) -> &str {
    input.get("text").and_then(Value::as_str).unwrap_or_default()
}

fn texts<'a>(texts: impl Iterator<Item = &'a str>) -> Value {
    texts.map(|text| json!({"type": "text", "text": text})).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_a_part_of_a_turn() {
        let task = TaskId::new(7, [3; 10]);
        for part in [Part::User, Part::Assistant, Part::Run, Part::Call(0), Part::Interrupt(12)] {
            assert_eq!(Part::read(&part.id(task)), Some((task, part)), "{part:?}");
        }
        for wrong in
            ["", "msg", "msg_x", "inv_x_1", &task.to_string(), &Part::User.id(task).replace("msg", "inv")]
        {
            assert_eq!(Part::read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_chat_without_turns_is_idle() {
        let chat = Chat::default();
        let id = SessionId::new(1, [1; 10]);
        let view = ChatView { id, created_unix_ms: 1, chat: &chat, tasks: &[] };
        let document = view.document();
        assert_eq!((&document["status"], &document["active_run"]), (&json!("idle"), &Value::Null));
        assert!(view.messages().is_empty());
    }
}
