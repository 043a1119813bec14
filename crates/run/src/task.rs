//! The task object of a run's response: the same shape, whatever served it.

use std::borrow::Cow;

use domain::{TaskId, TraceId, Usage};
use http::header::{HeaderMap, HeaderName};
use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use time::macros::format_description;

use crate::apps::UsageKind;

const VERSION: HeaderName = HeaderName::from_static("x-api-version");
/// Status codes of a task.
const RECEIVED: u8 = 1;
const RUNNING: u8 = 7;
const COMPLETED: u8 = 10;

/// A task. Fields that this release has no use for are present but empty, since clients read them.
#[derive(Debug, Serialize)]
pub(crate) struct Task<'a> {
    id: String,
    short_id: String,
    created_at: String,
    updated_at: String,
    status: u8,
    app: &'a str,
    app_id: &'a str,
    app_version_id: Option<()>,
    function: &'static str,
    infra: &'static str,
    workers: [(); 0],
    engine_id: Option<()>,
    worker_id: Option<()>,
    session_id: Option<()>,
    input: &'a Value,
    output: &'a Value,
    error: Option<()>,
    rating: Option<()>,
    events: [Event; 3],
    logs: [(); 0],
    usage_events: [UsageEvent<'a>; 1],
    flow_run_id: Option<()>,
    chat_id: Option<()>,
    webhook: Option<()>,
    run_at: Option<()>,
    user_id: Option<()>,
    team_id: Option<()>,
    visibility: &'static str,
}

#[derive(Debug, Serialize)]
struct Event {
    event_time: String,
    status: u8,
}

#[derive(Debug, Serialize)]
struct UsageEvent<'a> {
    tier: &'static str,
    r#type: &'static str,
    model: &'a str,
    quantity: &'a Value,
    unit: &'static str,
    /// Whether the quantity is an estimate, where the upstream reported none.
    estimated: bool,
}

/// A finished run.
#[derive(Debug)]
pub(crate) struct FinishedRun<'a> {
    pub trace: TraceId,
    pub app: &'a str,
    /// The model that `app` resolved to.
    pub resolved: &'a str,
    pub input: &'a Value,
    pub output: &'a Value,
    /// Served on the customer's own nodes.
    pub is_private: bool,
    /// As booked.
    pub usage: Usage,
    pub usage_kind: &'a UsageKind,
    pub received_unix_ms: u64,
    pub started_unix_ms: u64,
    pub ended_unix_ms: u64,
}

impl<'a> Task<'a> {
    /// The task as it is shown and stored.
    pub(crate) fn to_json(&self) -> Value {
        // Serialising these types can't fail.
        serde_json::to_value(self).unwrap_or_default()
    }

    pub(crate) fn completed(ran: &FinishedRun<'a>) -> Self {
        // The trace's UUID under the prefix of tasks, so that a request and its task share one id.
        let id = TaskId::from_uuid(*ran.trace.as_uuid()).to_string();
        let short_id = id.get(id.len().saturating_sub(8)..).unwrap_or_default().to_owned();
        let tier = if ran.is_private { "private" } else { "cloud" };
        let event = |unix_ms, status| Event { event_time: moment(unix_ms), status };
        Self {
            id,
            short_id,
            created_at: moment(ran.received_unix_ms),
            updated_at: moment(ran.ended_unix_ms),
            status: COMPLETED,
            app: ran.app,
            app_id: ran.resolved,
            app_version_id: None,
            function: "run",
            infra: tier,
            workers: [],
            engine_id: None,
            worker_id: None,
            session_id: None,
            input: ran.input,
            output: ran.output,
            error: None,
            rating: None,
            events: [
                event(ran.received_unix_ms, RECEIVED),
                event(ran.started_unix_ms, RUNNING),
                event(ran.ended_unix_ms, COMPLETED),
            ],
            logs: [],
            usage_events: [UsageEvent {
                tier,
                r#type: ran.usage_kind.r#type,
                model: ran.resolved,
                quantity: &ran.usage_kind.quantity,
                unit: ran.usage_kind.unit,
                estimated: ran.usage.is_estimated(),
            }],
            flow_run_id: None,
            chat_id: None,
            webhook: None,
            run_at: None,
            user_id: None,
            team_id: None,
            visibility: "private",
        }
    }
}

/// The response envelope, which clients choose with `X-API-Version`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Envelope {
    Newest,
    /// Version 2: the task alone.
    Bare,
    /// Version 1.
    Success,
}

#[derive(Serialize)]
struct NewestBody<'a> {
    data: &'a Value,
    messages: &'a [Message],
}

#[derive(Serialize)]
struct SuccessBody<'a> {
    success: bool,
    status: u16,
    data: &'a Value,
}

/// A message besides the task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Message {
    pub level: &'static str,
    pub code: &'static str,
    pub message: Cow<'static, str>,
    pub meta: Option<Value>,
}

impl Message {
    pub(crate) fn warning(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { level: "warning", code, message: message.into(), meta: None }
    }
}

impl Envelope {
    pub(crate) fn from_headers(headers: &HeaderMap) -> Self {
        Self::of(headers.get(VERSION).and_then(|version| version.to_str().ok()))
    }

    /// An unknown version gets the newest envelope.
    pub(crate) fn of(version: Option<&str>) -> Self {
        match version.map(str::trim) {
            Some("1") => Self::Success,
            Some("2") => Self::Bare,
            _ => Self::Newest,
        }
    }

    pub(crate) fn wrap(self, task: &Value, messages: &[Message]) -> Vec<u8> {
        let written = match self {
            Self::Newest => serde_json::to_vec(&NewestBody { data: task, messages }),
            Self::Bare => serde_json::to_vec(task),
            Self::Success => serde_json::to_vec(&SuccessBody { success: true, status: 200, data: task }),
        };
        // Serialising these types can't fail.
        written.unwrap_or_default()
    }
}

pub(crate) fn moment(unix_ms: u64) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000);
    time.ok().and_then(|time| time.format(format).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use domain::UsageSource;
    use serde_json::json;

    use super::*;

    fn wrapped(envelope: Envelope) -> Value {
        let (input, output) = (json!({"prompt": "p"}), json!({"response": "said"}));
        let usage_kind = UsageKind { r#type: "text", quantity: json!(12), unit: "tokens" };
        let task = Task::completed(&FinishedRun {
            trace: TraceId::new(1_700_000_000_123, [7; 10]),
            app: "m",
            resolved: "p/m",
            input: &input,
            output: &output,
            usage_kind: &usage_kind,
            is_private: true,
            usage: Usage { input: 8, output: 4, source: UsageSource::Estimate, ..Usage::default() },
            received_unix_ms: 1_700_000_000_123,
            started_unix_ms: 1_700_000_000_124,
            ended_unix_ms: 1_700_000_001_000,
        });
        serde_json::from_slice(&envelope.wrap(&task.to_json(), &[])).unwrap()
    }

    #[test]
    fn each_version_gets_its_envelope() {
        let bare = wrapped(Envelope::of(Some("2")));
        assert_eq!(wrapped(Envelope::of(None)), json!({"data": bare, "messages": []}));
        assert_eq!(wrapped(Envelope::of(Some("9"))), json!({"data": bare, "messages": []}));
        assert_eq!(wrapped(Envelope::of(Some(" 1"))), json!({"success": true, "status": 200, "data": bare}));
    }

    #[test]
    fn a_task_says_what_ran_and_when() {
        let task = wrapped(Envelope::Bare);
        let trace = TraceId::new(1_700_000_000_123, [7; 10]).to_string();
        assert_eq!(task["id"], trace.replace("trc_", "tsk_"));
        assert_eq!(task["short_id"], trace[trace.len() - 8..]);
        assert_eq!(task["created_at"], "2023-11-14T22:13:20.123Z");
        assert_eq!(task["updated_at"], "2023-11-14T22:13:21.000Z");
        assert_eq!(task["status"], 10);
        assert_eq!((&task["app"], &task["app_id"]), (&json!("m"), &json!("p/m")));
        assert_eq!(task["output"], json!({"response": "said"}));
        assert_eq!(task["events"].as_array().unwrap().len(), 3);
        assert_eq!(
            task["usage_events"],
            json!([{"tier": "private", "type": "text", "model": "p/m", "quantity": 12, "unit": "tokens", "estimated": true}])
        );
        assert_eq!(task["logs"], json!([]));
        for empty in ["error", "session_id", "webhook", "flow_run_id"] {
            assert!(task.as_object().unwrap().contains_key(empty) && task[empty].is_null(), "{empty}");
        }
    }
}
