//! The JSON of Responses events and objects, as types to serialise.

use domain::Usage;
use domain::prompt::Echo;
use json::members::Members;
use serde::Serialize;
use serde_json::value::RawValue;

use super::usage::UsageBody;
use super::write_items::owned;

/// One event; absent fields are omitted.
#[derive(Serialize, Default)]
pub(super) struct Frame<'a> {
    pub r#type: &'static str,
    pub sequence_number: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<ResponseBody<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotation_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<Part<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotation: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delta: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<&'a [Box<RawValue>]>,
}

/// The response object. Fields that repeat the request have the request's value, or else the API's default,
/// since SDKs require them to be present.
#[derive(Serialize)]
pub(super) struct ResponseBody<'a> {
    pub id: &'a str,
    pub object: &'static str,
    pub created_at: u64,
    pub status: &'static str,
    pub background: bool,
    pub error: Option<ErrorBody<'a>>,
    pub incomplete_details: Option<Incomplete>,
    pub instructions: Option<&'a RawValue>,
    pub max_output_tokens: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tool_calls: Option<&'a RawValue>,
    pub model: &'a str,
    pub output: Vec<&'a RawValue>,
    pub parallel_tool_calls: Echoed<'a, bool>,
    pub previous_response_id: Option<()>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_cache_key: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_cache_retention: Option<&'a RawValue>,
    pub reasoning: Reasoning<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub safety_identifier: Option<&'a RawValue>,
    /// False where the client did not send it: nothing is stored unless requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<Echoed<'a, bool>>,
    pub temperature: Option<&'a RawValue>,
    pub text: Text<'a>,
    pub tool_choice: Echoed<'a, &'static str>,
    pub tools: Echoed<'a, [(); 0]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_logprobs: Option<&'a RawValue>,
    pub top_p: Option<&'a RawValue>,
    pub truncation: Echoed<'a, &'static str>,
    pub usage: Option<UsageBody>,
    pub user: Option<&'a RawValue>,
    pub metadata: Echoed<'a, Empty>,
}

/// The request's value, or a default.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Echoed<'a, T> {
    Requested(&'a RawValue),
    Default(T),
}

#[derive(Serialize)]
pub(super) struct ErrorBody<'a> {
    pub code: &'a str,
    pub message: &'a str,
}

#[derive(Serialize)]
pub(super) struct Incomplete {
    pub reason: &'static str,
}

#[derive(Serialize)]
pub(super) struct Reasoning<'a> {
    effort: Option<&'a RawValue>,
    summary: Option<&'a RawValue>,
}

#[derive(Serialize)]
pub(super) struct Text<'a> {
    format: Echoed<'a, PlainFormat>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verbosity: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct PlainFormat {
    r#type: &'static str,
}

impl Default for PlainFormat {
    fn default() -> Self {
        Self { r#type: "text" }
    }
}

#[derive(Serialize, Default)]
pub(super) struct Empty {}

/// A content part of a message or a reasoning item.
#[derive(Serialize, Clone, Copy)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Part<'a> {
    OutputText { text: &'a str, annotations: &'a [Box<RawValue>], logprobs: &'a [Box<RawValue>] },
    Refusal { refusal: &'a str },
    SummaryText { text: &'a str },
    ReasoningText { text: &'a str },
}

/// An output item.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Item<'a> {
    Message {
        id: &'a str,
        status: &'static str,
        role: &'static str,
        content: &'a [Box<RawValue>],
    },
    FunctionCall {
        id: &'a str,
        status: &'static str,
        call_id: &'a str,
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        namespace: Option<&'a str>,
        arguments: &'a str,
    },
    CustomToolCall {
        id: &'a str,
        status: &'static str,
        call_id: &'a str,
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        namespace: Option<&'a str>,
        input: &'a str,
    },
    Reasoning {
        id: &'a str,
        summary: &'a [Part<'a>],
        #[serde(skip_serializing_if = "<[Part<'_>]>::is_empty")]
        content: &'a [Part<'a>],
        #[serde(skip_serializing_if = "Option::is_none")]
        encrypted_content: Option<&'a str>,
    },
}

/// JSON of our own types, serialised once to be embedded in several others.
pub(super) fn raw(value: &impl Serialize) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// The status of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    InProgress,
    Completed,
    Incomplete(&'static str),
    Failed { code: &'static str, message: String },
}

/// The answer's fields other than its output.
#[derive(Debug, Default, Clone)]
pub(super) struct Head {
    pub id: String,
    pub model: String,
    pub created_unix_s: u64,
    pub usage: Option<Usage>,
    pub repeated: Repeated,
}

/// Request fields that the answer repeats.
#[derive(Debug, Default, Clone)]
pub(super) struct Repeated {
    /// Members of the request by name, and members of its objects by path.
    fields: Vec<(&'static str, Box<RawValue>)>,
    /// Whether the answer includes `store`. An answer from a Responses upstream states it itself.
    has_store: bool,
}

/// Members of the request's objects that the answer repeats one by one.
const INNER: &[(&str, &[(&str, &str)])] = &[
    ("reasoning", &[("effort", "reasoning.effort"), ("summary", "reasoning.summary")]),
    ("text", &[("format", "text.format"), ("verbosity", "text.verbosity")]),
];

impl Repeated {
    pub(super) fn of(echo: &Echo, has_store: bool) -> Self {
        let mut fields = Vec::new();
        for (name, json) in echo.iter() {
            let inner = INNER.iter().find(|(outer, _)| *outer == name);
            let Some((_, inner)) = inner else {
                fields.extend(owned(json).map(|json| (name, json)));
                continue;
            };
            let Some(members) = Members::of_answer(json.as_str().as_bytes()) else { continue };
            let names: Vec<&'static str> = inner.iter().map(|(member, _)| *member).collect();
            for (member, json) in members.echo(&names).iter() {
                let path = inner.iter().find(|(known, _)| *known == member).map(|(_, path)| *path);
                fields.extend(path.zip(owned(json)));
            }
        }
        Self { fields, has_store }
    }

    fn get(&self, name: &str) -> Option<&RawValue> {
        self.fields.iter().find(|(known, _)| *known == name).map(|(_, json)| &**json)
    }

    fn or<T>(&self, name: &str, default: T) -> Echoed<'_, T> {
        self.get(name).map_or(Echoed::Default(default), Echoed::Requested)
    }
}

impl Standing {
    /// The type of the event for this status.
    pub(super) const fn event(&self) -> &'static str {
        match self {
            Self::InProgress => "response.in_progress",
            Self::Completed => "response.completed",
            Self::Incomplete(_) => "response.incomplete",
            Self::Failed { .. } => "response.failed",
        }
    }

    pub(super) fn response<'a>(&'a self, head: &'a Head, output: Vec<&'a RawValue>) -> ResponseBody<'a> {
        let (status, error, incomplete_details) = match self {
            Self::InProgress => ("in_progress", None, None),
            Self::Completed => ("completed", None, None),
            Self::Incomplete(reason) => ("incomplete", None, Some(Incomplete { reason })),
            Self::Failed { code, message } => ("failed", Some(ErrorBody { code, message }), None),
        };
        let repeated = &head.repeated;
        ResponseBody {
            id: &head.id,
            object: "response",
            created_at: head.created_unix_s,
            status,
            background: false,
            error,
            incomplete_details,
            instructions: repeated.get("instructions"),
            max_output_tokens: repeated.get("max_output_tokens"),
            max_tool_calls: repeated.get("max_tool_calls"),
            model: &head.model,
            output,
            parallel_tool_calls: repeated.or("parallel_tool_calls", true),
            previous_response_id: None,
            prompt_cache_key: repeated.get("prompt_cache_key"),
            prompt_cache_retention: repeated.get("prompt_cache_retention"),
            reasoning: Reasoning {
                effort: repeated.get("reasoning.effort"),
                summary: repeated.get("reasoning.summary"),
            },
            safety_identifier: repeated.get("safety_identifier"),
            store: repeated.has_store.then(|| repeated.or("store", false)),
            temperature: repeated.get("temperature"),
            text: Text {
                format: repeated.or("text.format", PlainFormat::default()),
                verbosity: repeated.get("text.verbosity"),
            },
            tool_choice: repeated.or("tool_choice", "auto"),
            tools: repeated.or("tools", []),
            top_logprobs: repeated.get("top_logprobs"),
            top_p: repeated.get("top_p"),
            truncation: repeated.or("truncation", "disabled"),
            usage: head.usage.as_ref().filter(|_| *self != Self::InProgress).map(UsageBody::from),
            user: repeated.get("user"),
            metadata: repeated.or("metadata", Empty {}),
        }
    }
}

/// Writes events with their sequence numbers.
#[derive(Debug, Default)]
pub(super) struct EventWriter {
    pub sequence: u64,
    /// A buffered response is assembled, and no event is written.
    pub is_silent: bool,
}

impl EventWriter {
    pub(super) fn put(&mut self, mut frame: Frame<'_>, out: &mut Vec<u8>) {
        if self.is_silent {
            return;
        }
        frame.sequence_number = self.sequence;
        let started = out.len();
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(frame.r#type.as_bytes());
        out.extend_from_slice(b"\ndata: ");
        if serde_json::to_writer(&mut *out, &frame).is_err() {
            // These types always serialise; half an event would be worse than none.
            out.truncate(started);
            return;
        }
        out.extend_from_slice(b"\n\n");
        self.sequence += 1;
    }
}
