//! Conversation turns in Gemini's wire format, in requests and in responses.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Content {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) parts: Vec<Part>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) role: Option<String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Part {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) thought: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) function_call: Option<FunctionCall>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) thought_signature: Option<String>,
    #[serde(skip_serializing)]
    pub(crate) function_response: Option<FunctionResponse>,
    #[serde(skip_serializing)]
    pub(crate) inline_data: Option<Media>,
    #[serde(skip_serializing)]
    pub(crate) file_data: Option<Media>,
    /// Output of Gemini's server-side tools; the emulator has none and only counts it.
    #[serde(flatten, skip_serializing)]
    pub(crate) others: Map<String, Value>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct FunctionCall {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    pub(crate) name: String,
    pub(crate) args: Map<String, Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct FunctionResponse {
    pub(crate) id: Option<String>,
    pub(crate) name: String,
    pub(crate) response: Option<Map<String, Value>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Media {
    pub(crate) mime_type: String,
    pub(crate) data: Option<String>,
    pub(crate) file_uri: Option<String>,
}

/// The modalities that token counts distinguish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Modality {
    Text,
    Image,
    Video,
    Audio,
    Document,
}

impl Content {
    pub(crate) fn of_model(parts: Vec<Part>) -> Self {
        Self { parts, role: Some("model".to_owned()) }
    }

    pub(crate) fn is_model(&self) -> bool {
        self.role.as_deref() == Some("model")
    }

    pub(crate) fn calls(&self) -> impl Iterator<Item = &FunctionCall> {
        self.parts.iter().filter_map(|part| part.function_call.as_ref())
    }

    pub(crate) fn responses(&self) -> impl Iterator<Item = &FunctionResponse> {
        self.parts.iter().filter_map(|part| part.function_response.as_ref())
    }

    /// The visible text, without thoughts.
    pub(crate) fn text(&self) -> String {
        let aloud = self.parts.iter().filter(|part| part.thought != Some(true));
        aloud.filter_map(|part| part.text.as_deref()).collect()
    }
}

impl Part {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self { text: Some(text.into()), ..Self::default() }
    }

    pub(crate) fn thought(text: impl Into<String>) -> Self {
        Self { thought: Some(true), ..Self::text(text) }
    }

    pub(crate) fn media(&self) -> Option<&Media> {
        self.inline_data.as_ref().or(self.file_data.as_ref())
    }

    /// Whether any of the data fields is set.
    pub(crate) fn has_data(&self) -> bool {
        let server_side = ["executableCode", "codeExecutionResult", "toolCall", "toolResponse"];
        self.text.is_some()
            || self.function_call.is_some()
            || self.function_response.is_some()
            || self.media().is_some()
            || server_side.iter().any(|name| self.others.contains_key(*name))
    }
}

impl Media {
    pub(crate) fn modality(&self) -> Modality {
        match self.mime_type.split('/').next().unwrap_or_default() {
            "image" => Modality::Image,
            "video" => Modality::Video,
            "audio" => Modality::Audio,
            "text" => Modality::Text,
            _ => Modality::Document,
        }
    }
}
