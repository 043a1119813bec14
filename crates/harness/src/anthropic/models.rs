//! The served Claude models: `GET /v1/models`, `GET /v1/models/{id}`, and the features of each model.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::error::Refusal;
use crate::emulator::setters;

/// A fixed creation time keeps the list the same from run to run.
const CREATED: &str = "2026-02-24T00:00:00Z";
const PAGE_DEFAULT: usize = 20;
const PAGE_MAX: usize = 1000;

/// One served Claude model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaudeModel {
    pub id: String,
    /// The maximum of the prompt, and of the prompt plus `max_tokens`.
    pub context_tokens_max: u64,
    pub output_tokens_max: u64,
    /// Shorter prefixes are not cached.
    pub cache_tokens_min: u64,
    /// Rejects sampling parameters and a prefilled assistant turn, and takes the role `system` between turns, as the
    /// newest models do.
    pub strict: bool,
    pub(crate) thinks: Thinks,
    /// The effort levels that it accepts; empty if it has no effort setting.
    pub(crate) efforts: &'static [&'static str],
}

/// Which thinking modes a model accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Thinks {
    Never,
    /// A token budget only.
    Budget,
    /// Adaptive thinking, or the budget that it replaces.
    Either,
    /// Adaptive thinking only.
    Adaptive,
}

const EFFORTS: &[&str] = &["low", "medium", "high", "max"];
const EFFORTS_NEWEST: &[&str] = &["low", "medium", "high", "xhigh", "max"];

setters! { ClaudeModel {
    true: strict;
    [context_tokens_max cache_tokens_min] tokens: u64 => tokens;
} }

impl ClaudeModel {
    /// A model with a context of 200,000 tokens and a minimum cached prefix of 1,024.
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            context_tokens_max: 200_000,
            output_tokens_max: 64_000,
            cache_tokens_min: 1024,
            strict: false,
            thinks: Thinks::Either,
            efforts: EFFORTS,
        }
    }

    /// A model of the generation with budgeted thinking and without effort.
    fn budgeted(id: &str) -> Self {
        Self { thinks: Thinks::Budget, efforts: &[], ..Self::new(id) }
    }

    /// A model of the generation with adaptive thinking.
    fn adaptive(id: &str) -> Self {
        Self {
            thinks: Thinks::Adaptive,
            efforts: EFFORTS_NEWEST,
            output_tokens_max: 128_000,
            ..Self::new(id).strict()
        }
    }

    pub(crate) fn all() -> Vec<Self> {
        vec![
            Self::adaptive("claude-opus-5").cache_tokens_min(512),
            Self::adaptive("claude-sonnet-5"),
            Self::new("claude-opus-4-6").cache_tokens_min(4096),
            Self { output_tokens_max: 128_000, ..Self::new("claude-sonnet-4-6") },
            Self::budgeted("claude-sonnet-4-5"),
            Self::budgeted("claude-haiku-4-5").cache_tokens_min(4096),
            Self::budgeted("claude-haiku-4-5-20251001").cache_tokens_min(4096),
        ]
    }

    fn row(&self) -> Value {
        let supports = |is_so: bool| json!({"supported": is_so});
        let (has, has_not) = (supports(true), supports(false));
        let each =
            EFFORTS_NEWEST.iter().map(|name| ((*name).to_owned(), supports(self.efforts.contains(name))));
        let all = ("supported".to_owned(), Value::Bool(!self.efforts.is_empty()));
        let effort = Value::Object(std::iter::once(all).chain(each).collect());
        json!({
            "type": "model", "id": self.id, "display_name": self.id, "created_at": CREATED,
            "lifecycle": "active", "max_input_tokens": self.context_tokens_max,
            "max_tokens": self.output_tokens_max,
            "capabilities": {
                "batch": has_not, "citations": has_not, "code_execution": has_not,
                "context_management": has_not, "effort": effort, "image_input": has, "pdf_input": has,
                "server_tools": {"supported": false, "code_execution": has_not, "web_search": has_not},
                "structured_outputs": has,
                "thinking": {
                    "supported": self.thinks != Thinks::Never,
                    "types": {
                        "enabled": supports(self.thinks.takes("enabled")), "disabled": has,
                        "adaptive": supports(self.thinks.takes("adaptive")),
                        "between_tools": supports(self.thinks.takes("between_tools")),
                    },
                },
            },
        })
    }
}

impl Thinks {
    /// Whether `thinking` may have this type; every model accepts `disabled`.
    pub(crate) fn takes(self, kind: &str) -> bool {
        match kind {
            "enabled" => matches!(self, Self::Budget | Self::Either),
            "adaptive" | "between_tools" => matches!(self, Self::Adaptive | Self::Either),
            _ => true,
        }
    }
}

pub(crate) fn find<'a>(models: &'a [ClaudeModel], id: &str) -> Result<&'a ClaudeModel, Refusal> {
    models.iter().find(|model| model.id == id).ok_or_else(|| Refusal::model_not_found(id))
}

/// Rejects an effort level that the model does not accept.
pub(crate) fn effort(model: &ClaudeModel, effort: &str) -> Result<(), Refusal> {
    if model.efforts.contains(&effort) {
        return Ok(());
    }
    if model.efforts.is_empty() {
        return Err(Refusal::bad("This model does not support the effort parameter."));
    }
    let known = model.efforts.join(", ");
    Err(Refusal::bad(format!(
        "This model does not support effort level '{effort}'. Supported levels: {known}."
    )))
}

pub(crate) fn one(models: &[ClaudeModel], id: &str) -> Result<Value, Refusal> {
    find(models, id).map(ClaudeModel::row)
}

/// The page of the list that the query requests.
pub(crate) fn page(models: &[ClaudeModel], query: &str) -> Result<Value, Refusal> {
    let mut rows: Vec<&ClaudeModel> = models.iter().collect();
    let mut limit = PAGE_DEFAULT;
    let mut backwards = false;
    for (name, value) in pairs(query) {
        let found = rows.iter().position(|model| model.id == value);
        match (name, found) {
            ("limit", _) => limit = page_limit(&value)?,
            ("after_id", Some(at)) => drop(rows.drain(..=at)),
            ("before_id", Some(at)) => {
                rows.truncate(at);
                backwards = true;
            }
            ("after_id" | "before_id", None) => {
                return Err(Refusal::at(name, format!("Invalid cursor: {value}")));
            }
            _ => return Err(Refusal::at(name, "Extra inputs are not permitted")),
        }
    }
    let has_more = rows.len() > limit;
    if backwards {
        rows.drain(..rows.len().saturating_sub(limit));
    } else {
        rows.truncate(limit);
    }
    Ok(json!({
        "data": rows.iter().map(|model| model.row()).collect::<Vec<_>>(), "has_more": has_more,
        "first_id": rows.first().map(|model| &model.id), "last_id": rows.last().map(|model| &model.id),
    }))
}

fn page_limit(value: &str) -> Result<usize, Refusal> {
    let limit = value
        .parse()
        .map_err(|_| Refusal::at("limit", "Input should be a valid integer, unable to parse"))?;
    match limit {
        1..=PAGE_MAX => Ok(limit),
        0 => Err(Refusal::at("limit", "Input should be greater than or equal to 1")),
        _ => Err(Refusal::at("limit", format!("Input should be less than or equal to {PAGE_MAX}"))),
    }
}

fn pairs(query: &str) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name, percent_encoding::percent_decode_str(value).decode_utf8_lossy()))
}
