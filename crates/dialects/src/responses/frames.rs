//! Events and objects of an answer, as they are written.

use domain::Usage;
use serde::Serialize;
use serde_json::value::RawValue;

use super::usage::UsageBody;

/// One event; what it does not say is left out.
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

/// The response as a whole. Fields that repeat the request, which is not known here, say the API's defaults: SDKs need
/// them to be there, and read none of them.
#[derive(Serialize)]
pub(super) struct ResponseBody<'a> {
    pub id: &'a str,
    pub object: &'static str,
    pub created_at: u64,
    pub status: &'static str,
    pub background: bool,
    pub error: Option<ErrorBody<'a>>,
    pub incomplete_details: Option<Incomplete>,
    pub instructions: Option<()>,
    pub max_output_tokens: Option<()>,
    pub model: &'a str,
    pub output: Vec<&'a RawValue>,
    pub parallel_tool_calls: bool,
    pub previous_response_id: Option<()>,
    pub reasoning: NoReasoning,
    pub temperature: Option<()>,
    pub text: PlainText,
    pub tool_choice: &'static str,
    pub tools: [(); 0],
    pub top_p: Option<()>,
    pub truncation: &'static str,
    pub usage: Option<UsageBody>,
    pub user: Option<()>,
    pub metadata: Empty,
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

#[derive(Serialize, Default)]
pub(super) struct NoReasoning {
    effort: Option<()>,
    summary: Option<()>,
}

#[derive(Serialize, Default)]
pub(super) struct PlainText {
    format: PlainFormat,
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

/// A part of a message or of a thought.
#[derive(Serialize, Clone, Copy)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Part<'a> {
    OutputText { text: &'a str, annotations: &'a [Box<RawValue>], logprobs: &'a [Box<RawValue>] },
    Refusal { refusal: &'a str },
    SummaryText { text: &'a str },
    ReasoningText { text: &'a str },
}

/// An item of the output.
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

/// JSON of our own types, to be put into several others.
pub(super) fn raw(value: &impl Serialize) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// How an answer stands, or ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    InProgress,
    Completed,
    Incomplete(&'static str),
    Failed { code: &'static str, message: String },
}

/// What an answer says of itself, beside its output.
#[derive(Debug, Default, Clone)]
pub(super) struct Head {
    pub id: String,
    pub model: String,
    pub created_unix_s: u64,
    pub usage: Option<Usage>,
}

impl Standing {
    /// The event that tells it.
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
        ResponseBody {
            id: &head.id,
            object: "response",
            created_at: head.created_unix_s,
            status,
            background: false,
            error,
            incomplete_details,
            instructions: None,
            max_output_tokens: None,
            model: &head.model,
            output,
            parallel_tool_calls: true,
            previous_response_id: None,
            reasoning: NoReasoning::default(),
            temperature: None,
            text: PlainText::default(),
            tool_choice: "auto",
            tools: [],
            top_p: None,
            truncation: "disabled",
            usage: head.usage.as_ref().filter(|_| *self != Self::InProgress).map(UsageBody::from),
            user: None,
            metadata: Empty {},
        }
    }
}

/// Puts events out, each with its number.
#[derive(Debug, Default)]
pub(super) struct Pen {
    pub sequence: u64,
    /// A whole answer is being put together, of which no event is seen.
    pub is_silent: bool,
}

impl Pen {
    pub(super) fn put(&mut self, mut frame: Frame<'_>, out: &mut Vec<u8>) {
        if self.is_silent {
            return;
        }
        frame.sequence_number = self.sequence;
        let begun = out.len();
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(frame.r#type.as_bytes());
        out.extend_from_slice(b"\ndata: ");
        if serde_json::to_writer(&mut *out, &frame).is_err() {
            // Nothing in these types can't be said in JSON; half an event would be worse than none.
            out.truncate(begun);
            return;
        }
        out.extend_from_slice(b"\n\n");
        self.sequence += 1;
    }
}
