//! A task as its clients read it, whatever app it ran and whoever served it.

use bytes::Bytes;
use domain::{RunTask, TaskContents};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::macros::format_description;

/// Fields of inputs that name files.
pub const FILE_FIELDS: [&str; 9] =
    ["document", "documents", "files", "attachments", "image", "images", "mask", "audio", "video"];

/// What a task was made of, as it is stored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskRequest {
    pub input: Value,
    /// What is told of its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub metadata: Value,
    /// Headers that its exchanges have as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// When its client wants it to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_at_unix_ms: Option<u64>,
    /// The task that it makes again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<String>,
    /// The turn of an agent that it makes, in place of a run of an app.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub turn: Value,
    /// Its output names stored files by addresses that begin so, where files are not a part of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files_at: Option<String>,
}

/// What came out of a task, as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskResult {
    pub output: Value,
    pub error: Option<String>,
    /// The problem document of an error.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub problem: Value,
    /// The model that the app resolved to.
    pub app_id: Option<String>,
    /// Served on the customer's own nodes.
    pub is_private: bool,
    pub usage_events: Vec<Value>,
    #[serde(default)]
    pub messages: Vec<Value>,
}

impl TaskRequest {
    pub fn read(contents: &TaskContents) -> Option<Self> {
        serde_json::from_slice(contents.request.as_ref()?).ok()
    }

    /// The session that it belongs to, which the gateway's own headers name.
    pub fn session(&self) -> Option<&str> {
        let (_, session) = self.headers.iter().find(|(name, _)| name == "agent-session-ref")?;
        session.split('/').next()
    }

    /// Whether its input names files, which are loaded before it runs.
    pub fn names_files(&self) -> bool {
        FILE_FIELDS.iter().any(|name| self.input.get(*name).is_some_and(|value| !value.is_null()))
    }
}

impl TaskResult {
    pub fn read(contents: &TaskContents) -> Option<Self> {
        serde_json::from_slice(contents.result.as_ref()?).ok()
    }

    /// Of a task that ended without an output.
    pub fn failed(error: String, problem: Value) -> Self {
        let (output, usage_events, messages) = (Value::Null, Vec::new(), Vec::new());
        Self { output, error: Some(error), problem, app_id: None, is_private: false, usage_events, messages }
    }
}

/// Content as it is stored.
pub fn stored_text<T: Serialize>(content: &T) -> Bytes {
    // Serialising these types can't fail.
    serde_json::to_vec(content).unwrap_or_default().into()
}

/// A moment as clients read it.
pub fn moment(unix_ms: u64) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000);
    time.ok().and_then(|time| time.format(format).ok()).unwrap_or_default()
}

/// The task. Fields that it has no use for are there and empty, since clients read them.
pub fn document(task: &RunTask, contents: &TaskContents) -> Value {
    let request = TaskRequest::read(contents);
    let result = TaskResult::read(contents);
    let id = task.id.to_string();
    let is_private = result.as_ref().is_some_and(|result| result.is_private);
    let partial = || contents.partial.as_ref().and_then(|partial| serde_json::from_slice(partial).ok());
    let events = task.events.iter();
    let logs = task.logs.iter();
    let of_request = |read: fn(&TaskRequest) -> Value| request.as_ref().map_or(Value::Null, read);
    let mut document = json!({
        "id": id,
        "short_id": id.get(id.len().saturating_sub(8)..).unwrap_or_default(),
        "created_at": moment(task.created_unix_ms),
        "updated_at": moment(task.updated_unix_ms),
        "status": task.status.code(),
        "status_text": task.status.as_str(),
        "app": task.app,
        "app_id": result.as_ref().and_then(|result| result.app_id.as_deref()).unwrap_or(&task.app),
        "app_version_id": null,
        "function": "run",
        "infra": if is_private { "private" } else { "cloud" },
        "workers": [],
        "engine_id": null,
        "worker_id": null,
        "session_id": of_request(|request| json!(request.session())),
        "input": of_request(|request| request.input.clone()),
        "output": result.as_ref().map(|result| result.output.clone()).or_else(partial).unwrap_or_default(),
        "error": result.as_ref().and_then(|result| result.error.clone()),
        "rating": task.rating,
        "events": events.map(|event| json!({"event_time": moment(event.unix_ms), "status": event.status})).collect::<Vec<_>>(),
        "logs": logs.map(|line| json!({"log_type": 1, "time": moment(line.unix_ms), "content": line.text})).collect::<Vec<_>>(),
        "usage_events": result.as_ref().map(|result| result.usage_events.clone()).unwrap_or_default(),
        // The worker of flows puts it there.
        "flow_run_id": of_request(|request| request.metadata.get("flow_run_id").cloned().unwrap_or_default()),
        "chat_id": task.chat.map(|chat| chat.to_string()),
        "webhook": of_request(|request| json!(request.webhook)),
        "run_at": of_request(|request| json!(request.run_at_unix_ms.map(moment))),
        "metadata": of_request(|request| request.metadata.clone()),
        "priority": task.priority.as_str(),
        "retry_of": of_request(|request| json!(request.retry_of)),
        "ttl_seconds": task.ttl_ms.map(|ttl_ms| ttl_ms / 1_000),
        "expires_at": moment(task.until_unix_ms),
        "user_id": null,
        "team_id": null,
        "visibility": "private",
    });
    let problem = result.map(|result| result.problem).filter(|problem| !problem.is_null());
    if let (Some(problem), Some(fields)) = (problem, document.as_object_mut()) {
        fields.insert("problem".to_owned(), problem);
    }
    document
}

/// The short form for polling.
pub fn short(document: &Value) -> Value {
    const FIELDS: [&str; 8] = [
        "id",
        "short_id",
        "status",
        "status_text",
        "created_at",
        "updated_at",
        "queue_position",
        "estimated_start_at",
    ];
    let there = FIELDS.iter().filter_map(|name| Some(((*name).to_owned(), document.get(*name)?.clone())));
    Value::Object(there.collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use domain::{
        KeyId, ObjectOwner, ProjectId, TaskEvent, TaskId, TaskLogLine, TaskPriority, TaskStatus, WorkspaceId,
    };

    use super::*;

    fn task() -> RunTask {
        RunTask {
            id: TaskId::new(1_700_000_000_123, [7; 10]),
            owner: ObjectOwner {
                workspace: WorkspaceId::new(1, [1; 10]),
                project: ProjectId::new(1, [2; 10]),
            },
            key: KeyId::new(1, [3; 10]),
            app: "m".into(),
            status: TaskStatus::Completed,
            priority: TaskPriority::Normal,
            tries: 1,
            created_unix_ms: 1_700_000_000_123,
            updated_unix_ms: 1_700_000_001_000,
            due_unix_ms: 1_700_000_000_123,
            ended_unix_ms: Some(1_700_000_001_000),
            until_unix_ms: 1_700_086_401_000,
            ttl_ms: None,
            cancelled_unix_ms: None,
            events: vec![TaskEvent::new(1_700_000_000_123, TaskStatus::Received)],
            logs: vec![TaskLogLine { unix_ms: 1_700_000_000_500, text: "one line".into() }],
            rating: None,
            notifies: false,
            chat: None,
        }
    }

    #[test]
    fn a_task_says_what_ran_and_when() {
        let request = TaskRequest { input: json!({"prompt": "p"}), ..TaskRequest::default() };
        let result = TaskResult {
            output: json!({"response": "said"}),
            error: None,
            problem: Value::Null,
            app_id: Some("p/m".into()),
            is_private: true,
            usage_events: vec![json!({"quantity": 12})],
            messages: Vec::new(),
        };
        let contents = TaskContents {
            request: Some(stored_text(&request)),
            result: Some(stored_text(&result)),
            partial: None,
        };
        let read = document(&task(), &contents);
        assert_eq!(read["id"], task().id.to_string());
        assert_eq!(
            (&read["created_at"], &read["updated_at"]),
            (&json!("2023-11-14T22:13:20.123Z"), &json!("2023-11-14T22:13:21.000Z"))
        );
        assert_eq!(
            (&read["status"], &read["app_id"], &read["infra"]),
            (&json!(10), &json!("p/m"), &json!("private"))
        );
        assert_eq!(
            (&read["output"], &read["input"]),
            (&json!({"response": "said"}), &json!({"prompt": "p"}))
        );
        assert_eq!(read["logs"][0]["content"], "one line");
        for empty in ["error", "session_id", "webhook", "flow_run_id", "run_at"] {
            assert!(read.as_object().unwrap().contains_key(empty) && read[empty].is_null(), "{empty}");
        }
        assert!(read.get("problem").is_none());
        assert_eq!(short(&read)["status"], 10);
        assert!(short(&read).get("input").is_none());
    }

    #[test]
    fn a_task_whose_content_was_purged_is_there_without_it() {
        let read = document(&task(), &TaskContents::default());
        assert_eq!(
            (&read["input"], &read["output"], &read["app_id"]),
            (&Value::Null, &Value::Null, &json!("m"))
        );
    }

    #[test]
    fn a_running_task_shows_what_it_has_so_far() {
        let partial = Some(Bytes::from_static(b"{\"response\":\"so far\"}"));
        let running = RunTask { status: TaskStatus::Running, ended_unix_ms: None, ..task() };
        let read = document(&running, &TaskContents { partial, ..TaskContents::default() });
        assert_eq!((&read["output"]["response"], &read["status"]), (&json!("so far"), &json!(7)));
    }
}
