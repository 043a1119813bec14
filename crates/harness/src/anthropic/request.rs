//! Parses a Messages request body as strictly as Anthropic does.

use serde_json::{Map, Value};

use super::blocks::{self, Home, Rules};
use super::cache::Segment;
use super::checks::{self, Field, Need::*, Shape::*, join};
use super::error::Refusal;
use super::models::{self, ClaudeModel};
use super::thinking::{self, Thinking};
use super::turns::{self, Turn};
use super::{prompt, schema, tools};

/// Beta features by name without the date, one bit each in the order of [`BETA`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Betas(u8);

/// How a request's headers determine the parsing of its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Edition {
    /// The API version that removed sampling parameters.
    pub(crate) newer: bool,
    /// The requested beta features, whose fields are accepted.
    pub(crate) betas: Betas,
}

/// A request that passed every check.
#[derive(Debug, Clone)]
pub(crate) struct MessagesRequest {
    pub(crate) model: ClaudeModel,
    pub(crate) stream: bool,
    pub(crate) tokens_max: u64,
    pub(crate) stops: Vec<String>,
    pub(crate) thinking: Thinking,
    pub(crate) schema: Option<Value>,
    pub(crate) tools: Vec<Value>,
    pub(crate) tool_choice: Value,
    /// The text of the last user turn that has any.
    pub(crate) question: String,
    /// Whether the last turn holds such text, not only tool results.
    pub(crate) asked: bool,
    /// Whether the conversation holds a tool result.
    pub(crate) answered: bool,
    pub(crate) inference_geo: Value,
    pub(crate) segments: Vec<Segment>,
    pub(crate) script: Option<String>,
    /// All of it, where a thread keeps it.
    pub(crate) thread: Option<Map<String, Value>>,
}

/// Fields that both endpoints (messages and token counting) accept.
#[rustfmt::skip]
const PROMPT: &[Field] = &[
    ("model", Text, Required), ("messages", List, Required), ("cache_control", Object, Nullable),
    ("output_config", Object, Optional), ("speed", OneOf(&["standard", "fast"]), Nullable),
    ("system", TextOrList, Optional), ("thinking", Object, Optional), ("tool_choice", Object, Optional),
    ("tools", List, Optional),
];
#[rustfmt::skip]
const ANSWER: &[Field] = &[
    ("max_tokens", Integer(0), Required), ("container", TextOrObject, Nullable),
    ("diagnostics", Object, Nullable), ("inference_geo", Text, Nullable), ("metadata", Object, Optional),
    ("service_tier", OneOf(&["auto", "standard_only"]), Optional), ("stop_sequences", List, Optional),
    ("stream", Flag, Optional),
];
const SAMPLING: &[Field] = &[
    ("temperature", Decimal(0.0, 1.0), Optional),
    ("top_k", Integer(0), Optional),
    ("top_p", Decimal(0.0, 1.0), Optional),
];
/// Each field that needs a beta feature, with the beta's name (the types and the documentation of Anthropic's
/// SDK).
const BETA: &[(&str, Field)] = &[
    ("user-profiles-billing", ("billing_policy", Any, Nullable)),
    ("compact", ("compaction", Object, Nullable)),
    ("context-management", ("context_management", Object, Nullable)),
    ("fallback-credit", ("fallback_credit_token", Text, Nullable)),
    ("server-side-fallback", ("fallbacks", List, Nullable)),
    ("mcp-client", ("mcp_servers", List, Nullable)),
    ("message-threads", ("thread", Any, Nullable)),
];
/// The names of all fields that a request may have.
pub(crate) fn field_names() -> impl Iterator<Item = &'static str> {
    let tables = [PROMPT, ANSWER, SAMPLING].into_iter().flatten().map(|(name, _, _)| *name);
    tables.chain(BETA.iter().map(|(_, (name, _, _))| *name))
}

const OUTPUT_CONFIG: &[Field] =
    &[("effort", OneOf(&["low", "medium", "high", "xhigh", "max"]), Nullable), ("format", Object, Nullable)];
const FORMAT: &[Field] = &[("type", OneOf(&["json_schema"]), Required), ("schema", Object, Required)];
const METADATA: &[Field] = &[("user_id", Text, Nullable)];
const DIAGNOSTICS: &[Field] = &[("previous_message_id", Text, Nullable)];
const USER_ID_CHARS_MAX: usize = 256;

pub(crate) fn object(body: &[u8]) -> Result<Map<String, Value>, Refusal> {
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| Refusal::bad(format!("The request body is not valid JSON: {error}")))?;
    match value {
        Value::Object(fields) => Ok(fields),
        _ => Err(Refusal::bad("Input should be a valid dictionary or object to extract fields from")),
    }
}

/// Checks a request for a message.
pub(crate) fn messages(
    fields: &Map<String, Value>,
    edition: Edition,
    models: &[ClaudeModel],
    also: &[String],
) -> Result<MessagesRequest, Refusal> {
    let table = [PROMPT, ANSWER, if edition.newer { &[] } else { SAMPLING }];
    known_fields(fields, &table, edition, also)?;
    let model = model(fields, models)?;
    check_nested(fields, model, also)?;
    let tokens_max = fields.get("max_tokens").and_then(Value::as_u64).unwrap_or_default();
    if tokens_max > model.output_tokens_max {
        return Err(Refusal::bad(format!(
            "max_tokens: {tokens_max} > {}, which is the maximum allowed number of output tokens for {}",
            model.output_tokens_max, model.id
        )));
    }
    let turns = conversation(fields, edition, model, also)?;
    let thinking = thinking::read(fields, model.thinks, also)?;
    sampling(fields, model, thinking)?;
    thinking::check_replay(&turns, thinking)?;
    let segments = prompt::read(fields, also)?;
    context(model, prompt::total(&segments), tokens_max)?;
    let (question, asked) = question(&turns);
    let answered = turns.iter().flat_map(|turn| &turn.blocks).any(|block| block.kind == "tool_result");
    let list = |name: &str| fields.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    Ok(MessagesRequest {
        model: model.clone(),
        stream: fields.get("stream") == Some(&Value::Bool(true)),
        tokens_max,
        stops: list("stop_sequences").iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        thinking,
        schema: fields.get("output_config").and_then(|config| config.pointer("/format/schema")).cloned(),
        tools: list("tools"),
        tool_choice: fields.get("tool_choice").cloned().unwrap_or_default(),
        question,
        asked,
        answered,
        inference_geo: fields.get("inference_geo").cloned().unwrap_or_default(),
        segments,
        script: script(fields),
        thread: fields.get("thread").filter(|thread| thread.is_object()).map(|_| fields.clone()),
    })
}

/// Checks a token-counting request, and counts.
pub(crate) fn count_tokens<'a>(
    fields: &Map<String, Value>,
    edition: Edition,
    models: &'a [ClaudeModel],
    also: &[String],
) -> Result<(&'a ClaudeModel, u64), Refusal> {
    known_fields(fields, &[PROMPT], edition, also)?;
    let model = model(fields, models)?;
    check_nested(fields, model, also)?;
    let turns = conversation(fields, edition, model, also)?;
    thinking::check_replay(&turns, thinking::read(fields, model.thinks, also)?)?;
    let segments = prompt::read(fields, also)?;
    Ok((model, prompt::total(&segments)))
}

fn known_fields(
    fields: &Map<String, Value>,
    tables: &[&[Field]],
    edition: Edition,
    also: &[String],
) -> Result<(), Refusal> {
    let mut table = tables.concat();
    table.extend(edition.betas.fields());
    checks::fields("", fields, &table, also)
}

impl Betas {
    pub(crate) const NONE: Self = Self(0);

    /// Parses the betas of a header; each name ends in its date.
    pub(crate) fn of<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let undated = |beta: &'a str| beta.get(..beta.len().checked_sub("-2026-01-01".len())?);
        let bit = |name: &str| BETA.iter().position(|(beta, _)| *beta == name);
        Self(names.filter_map(undated).filter_map(bit).fold(0, |bits, bit| bits | 1 << bit))
    }

    fn fields(self) -> impl Iterator<Item = Field> {
        BETA.iter().enumerate().filter(move |(bit, _)| self.0 >> bit & 1 == 1).map(|(_, (_, field))| *field)
    }
}

fn model<'a>(fields: &Map<String, Value>, models: &'a [ClaudeModel]) -> Result<&'a ClaudeModel, Refusal> {
    match fields.get("model").and_then(Value::as_str) {
        None | Some("") => Err(Refusal::at("model", "String should have at least 1 character")),
        Some(id) => models::find(models, id),
    }
}

/// Checks everything below the top level except the conversation.
fn check_nested(fields: &Map<String, Value>, model: &ClaudeModel, also: &[String]) -> Result<(), Refusal> {
    let inner = |name: &str| fields.get(name).and_then(Value::as_object);
    for (name, table) in
        [("metadata", METADATA), ("diagnostics", DIAGNOSTICS), ("output_config", OUTPUT_CONFIG)]
    {
        inner(name).map_or(Ok(()), |object| checks::fields(name, object, table, also))?;
    }
    let effort = inner("output_config").and_then(|config| config.get("effort")).and_then(Value::as_str);
    effort.map_or(Ok(()), |effort| models::effort(model, effort))?;
    let user_id = inner("metadata").and_then(|metadata| metadata.get("user_id")).and_then(Value::as_str);
    if user_id.is_some_and(|id| id.chars().count() > USER_ID_CHARS_MAX) {
        return Err(Refusal::at(
            "metadata.user_id",
            format!("String should have at most {USER_ID_CHARS_MAX} characters"),
        ));
    }
    if let Some(Value::Object(format)) = inner("output_config").and_then(|config| config.get("format")) {
        let path = "output_config.format";
        checks::fields(path, format, FORMAT, also)?;
        schema::check(&join(path, "schema"), format.get("schema").unwrap_or(&Value::Null))?;
    }
    for (at, stop) in fields.get("stop_sequences").and_then(Value::as_array).into_iter().flatten().enumerate()
    {
        checks::shape(&format!("stop_sequences.{at}"), Text, stop)?;
        if stop.as_str().unwrap_or_default().trim().is_empty() {
            return Err(Refusal::bad("stop_sequences: each stop sequence must contain non-whitespace"));
        }
    }
    tools::check(fields, also)
}

fn conversation<'a>(
    fields: &'a Map<String, Value>,
    edition: Edition,
    model: &ClaudeModel,
    also: &[String],
) -> Result<Vec<Turn<'a>>, Refusal> {
    let rules = Rules { also, newer: edition.newer };
    if let Some(Value::Array(list)) = fields.get("system") {
        blocks::check("system", list, Home::System, &rules)?;
    }
    let messages = fields.get("messages").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let turns = turns::read(messages, &rules)?;
    turns::roles(&turns, model.strict)?;
    turns::ending(&turns, model.strict)?;
    Ok(turns)
}

fn sampling(fields: &Map<String, Value>, model: &ClaudeModel, thinking: Thinking) -> Result<(), Refusal> {
    let number = |name: &str| fields.get(name).and_then(Value::as_f64);
    let is_one = |value: f64| (value - 1.0).abs() < f64::EPSILON;
    if number("temperature").is_some() && number("top_p").is_some() {
        return Err(Refusal::bad(
            "`temperature` and `top_p` cannot both be specified for this model. Please use only one.",
        ));
    }
    if model.strict {
        let unusual = ["temperature", "top_p"]
            .into_iter()
            .find(|name| number(name).is_some_and(|value| !is_one(value)));
        let refused = unusual.or_else(|| fields.contains_key("top_k").then_some("top_k"));
        if let Some(name) = refused {
            return Err(Refusal::bad(format!("`{name}` is not supported by this model.")));
        }
    }
    if !thinking.on {
        return Ok(());
    }
    if number("temperature").is_some_and(|value| !is_one(value)) {
        return Err(Refusal::bad("`temperature` may only be set to 1 when thinking is enabled."));
    }
    if number("top_p").is_some_and(|value| value < 0.95) {
        return Err(Refusal::bad(
            "`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled.",
        ));
    }
    if fields.contains_key("top_k") {
        return Err(Refusal::bad("`top_k` must be unset when thinking is enabled."));
    }
    Ok(())
}

fn context(model: &ClaudeModel, prompt_tokens: u64, tokens_max: u64) -> Result<(), Refusal> {
    let limit = model.context_tokens_max;
    if prompt_tokens > limit {
        return Err(Refusal::bad(format!("prompt is too long: {prompt_tokens} tokens > {limit} maximum")));
    }
    if prompt_tokens + tokens_max > limit {
        return Err(Refusal::bad(format!(
            "input length and `max_tokens` exceed context limit: {prompt_tokens} + {tokens_max} > {limit}, decrease \
             input length or `max_tokens` and try again"
        )));
    }
    Ok(())
}

/// The text of the last user turn that has any, and whether that is the last turn.
fn question(turns: &[Turn<'_>]) -> (String, bool) {
    let words = |turn: &Turn<'_>| turn.blocks.iter().map(|block| block.text).collect::<String>();
    let users = turns.iter().rev().filter(|turn| turn.role == "user").map(words);
    let asked = turns.last().is_some_and(|turn| turn.role == "user" && !words(turn).is_empty());
    let question = users.into_iter().find(|words| !words.is_empty()).unwrap_or_default();
    (question, asked)
}

/// The script that a request carries: a `metadata.user_id` that starts with `emu:`.
fn script(fields: &Map<String, Value>) -> Option<String> {
    let user_id = fields.get("metadata")?.get("user_id")?.as_str()?;
    user_id.strip_prefix("emu:").map(str::to_owned)
}
