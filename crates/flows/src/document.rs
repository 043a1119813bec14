//! The documents of flows as people write them, in JSON or YAML.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::limits::DOCUMENT_BYTES_MAX;

const SCHEMA: &str = include_str!("schema.json");

/// A flow as it is written.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Document {
    pub name: String,
    #[serde(default)]
    pub description: String,
    /// The JSON Schema of what a run is given.
    #[serde(default)]
    pub input: Option<Value>,
    #[serde(default)]
    pub budget_nano_usd: Option<i64>,
    #[serde(default)]
    pub fail_on_error: Option<bool>,
    #[serde(default)]
    pub parallel: Option<u32>,
    pub steps: Map<String, Value>,
    #[serde(default)]
    pub output: Value,
}

/// What a step has whatever it does.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct StepDocument {
    #[serde(default)]
    pub needs: Vec<String>,
    #[serde(default)]
    pub when: Option<String>,
    #[serde(default)]
    pub retry: Retry,
    #[serde(default)]
    pub timeout_seconds: Option<u64>,
    #[serde(default)]
    pub on_error: OnError,
    /// The JSON Schema of what it makes.
    #[serde(default)]
    pub output: Option<Value>,
    #[serde(default)]
    pub compensate: Option<LeafDocument>,
    #[serde(flatten)]
    pub kind: StepKind,
}

/// How often a step is tried again that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub struct Retry {
    #[serde(default)]
    pub times: u32,
    #[serde(default)]
    pub delay_seconds: u64,
}

/// Whether what needs a step that fails goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    #[default]
    Fail,
    Continue,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum StepKind {
    Gate {
        condition: String,
    },
    Branch {
        cases: Map<String, Value>,
    },
    Selector {
        cases: Vec<Case>,
        #[serde(default)]
        default: Value,
    },
    Merge {
        #[serde(default)]
        mode: MergeMode,
    },
    Map {
        over: String,
        #[serde(default)]
        parallel: Option<u32>,
        step: LeafDocument,
    },
    Loop {
        limit: u32,
        #[serde(default)]
        until: Option<String>,
        step: LeafDocument,
    },
    Wait(WaitDocument),
    Approval {
        #[serde(default)]
        message: Value,
    },
    #[serde(untagged)]
    Leaf(LeafDocument),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MergeMode {
    #[default]
    All,
    First,
}

/// A value of a selector, with when it is taken.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Case {
    pub when: String,
    pub value: Value,
}

/// What a step waits for: a time, or an event.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct WaitDocument {
    #[serde(default)]
    pub seconds: Option<u64>,
    /// An expression: milliseconds since 1970.
    #[serde(default)]
    pub until_unix_ms: Option<String>,
    #[serde(default)]
    pub event: Option<String>,
}

/// What can be done in a map, a loop and a compensation as well.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum LeafDocument {
    App {
        app: String,
        #[serde(default)]
        input: Value,
    },
    Model {
        model: String,
        #[serde(default)]
        input: Value,
    },
    Tool {
        tool: String,
        #[serde(default)]
        input: Value,
    },
    Http {
        url: String,
        #[serde(default)]
        method: Option<String>,
        #[serde(default)]
        headers: Value,
        #[serde(default)]
        query: Value,
        #[serde(default)]
        body: Value,
    },
    Expression {
        expression: String,
    },
    Constant {
        value: Value,
    },
    Flow {
        flow: String,
        #[serde(default)]
        version: Option<u64>,
        #[serde(default)]
        input: Value,
    },
}

/// Why a text is no document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable(pub String);

/// The published JSON Schema of documents.
pub fn schema() -> Value {
    serde_json::from_str(SCHEMA).unwrap_or_default()
}

/// Reads a document: JSON where it begins as an object does, else YAML.
///
/// # Errors
/// It is neither, or too long.
pub fn read(text: &str) -> Result<Value, Unreadable> {
    if text.len() > DOCUMENT_BYTES_MAX {
        return Err(Unreadable(format!("A document has at most {DOCUMENT_BYTES_MAX} bytes.")));
    }
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).map_err(|error| Unreadable(format!("This isn't JSON: {error}.")));
    }
    serde_saphyr::from_str(text).map_err(|error| {
        let text = error.to_string();
        Unreadable(format!("This isn't YAML: {}", text.lines().next().unwrap_or_default()))
    })
}
