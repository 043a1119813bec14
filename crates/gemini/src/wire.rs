//! Gemini's wire types, as requests and responses are written: in camelCase, and without empty fields.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

/// The signature that Google documents for function calls that Gemini did not make, and its Base64 form, as
/// the field holds bytes.
const SKIP_SENTINEL: &str = "skip_thought_signature_validator";
pub(super) const SKIP_SENTINEL_BASE64: &str = "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I=";

pub(super) fn is_skip_sentinel(signature: &str) -> bool {
    signature == SKIP_SENTINEL || signature == SKIP_SENTINEL_BASE64
}

#[derive(Debug, Serialize)]
pub(super) struct Content<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    pub parts: Vec<Part<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Part<'a> {
    #[serde(flatten)]
    pub datum: Datum<'a>,
    #[serde(skip_serializing_if = "is_false")]
    pub thought: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thought_signature: Option<Cow<'a, str>>,
}

/// A part's data: its only member besides the annotations.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Datum<'a> {
    Text(Cow<'a, str>),
    InlineData(Blob<'a>),
    FileData(FileData<'a>),
    FunctionCall(FunctionCall<'a>),
    FunctionResponse(FunctionResponse<'a>),
    ExecutableCode(Cow<'a, RawValue>),
    CodeExecutionResult(Cow<'a, RawValue>),
    ToolCall(Cow<'a, RawValue>),
    ToolResponse(Cow<'a, RawValue>),
    /// Media of a response, as the upstream wrote them.
    #[serde(rename = "inlineData")]
    Inline(Cow<'a, RawValue>),
    #[serde(rename = "fileData")]
    File(Cow<'a, RawValue>),
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Blob<'a> {
    pub mime_type: &'a str,
    pub data: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<&'a str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FileData<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<&'a str>,
    pub file_uri: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<&'a str>,
}

#[derive(Debug, Serialize)]
pub(super) struct FunctionCall<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    pub id: Cow<'a, str>,
    pub name: Cow<'a, str>,
    pub args: Cow<'a, RawValue>,
}

#[derive(Debug, Serialize)]
pub(super) struct FunctionResponse<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    pub id: &'a str,
    pub name: &'a str,
    pub response: Box<RawValue>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part<'a>>,
}

impl<'a> Part<'a> {
    pub(super) const fn of(datum: Datum<'a>) -> Self {
        Self { datum, thought: false, thought_signature: None }
    }

    pub(super) const fn text(text: &'a str) -> Self {
        Self::of(Datum::Text(Cow::Borrowed(text)))
    }
}

impl<'a> Datum<'a> {
    /// A Gemini-specific part; `None` if the kind is another vendor's.
    pub(super) fn foreign(kind: &str, json: Cow<'a, RawValue>) -> Option<Self> {
        Some(match kind {
            "executableCode" => Self::ExecutableCode(json),
            "codeExecutionResult" => Self::CodeExecutionResult(json),
            "toolCall" => Self::ToolCall(json),
            "toolResponse" => Self::ToolResponse(json),
            "inlineData" => Self::Inline(json),
            "fileData" => Self::File(json),
            _ => return None,
        })
    }
}

/// The JSON text if it is an object.
pub(super) fn object(json: &str) -> Option<&RawValue> {
    serde_json::from_str::<&RawValue>(json).ok().filter(|raw| raw.get().starts_with('{'))
}

pub(super) const fn is_false(truth: &bool) -> bool {
    !*truth
}
