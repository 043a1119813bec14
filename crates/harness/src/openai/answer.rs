//! Decides the content, finish reason and usage of a chat response, independent of its wire form.

use serde_json::{Value, json};

use super::flavour::Flavour;
use super::request::ChatRequest;
use super::tokens;
use super::usage::usage;
use crate::emulator::{Behaviour, ToolMode, UsageMode};
use crate::members::put;

/// Reasoning tokens of a reasoning model when the request sets no effort.
const REASONING_TOKENS: u64 = 16;
/// The response repeats at most this many tokens of the question.
const ECHO_TOKENS_MAX: usize = 64;
pub(crate) const FILLER: &[&str] = &[" the", " tide", " comes", " in", " and", " lifts", " every", " boat"];
pub(crate) const FILLER_UNICODE: &[&str] = &[" né", " 漢字", " 🙂", " Ωmega", " naïve", " 한국", " ß", " a"];

/// A complete response, before it is serialised.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) flavour: Flavour,
    pub(crate) id: String,
    pub(crate) created: u64,
    pub(crate) model: String,
    pub(crate) service_tier: String,
    pub(crate) searches: Option<u64>,
    pub(crate) choices: Vec<Choice>,
    pub(crate) prompt_tokens: u64,
    pub(crate) cached_tokens: u64,
    pub(crate) reasoning_tokens: u64,
    /// All generated tokens, hidden reasoning included, over all choices.
    pub(crate) completion_tokens: u64,
    pub(crate) logprobs: bool,
    pub(crate) media: Media,
}

/// How many of the tokens are sound or pictures.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Media {
    pub(crate) audio_in: u64,
    pub(crate) audio_out: u64,
    pub(crate) image_in: u64,
    pub(crate) image_out: u64,
    pub(crate) cached_audio: u64,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Choice {
    /// The text, one piece for each content event.
    pub(crate) pieces: Vec<String>,
    pub(crate) refusal: bool,
    pub(crate) calls: Vec<Call>,
    pub(crate) finish: String,
    /// Whether it ended at one of the request's stop sequences, which some vendors distinguish from a natural
    /// end.
    pub(crate) is_stopped: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) arguments: String,
    /// A custom tool takes free text, called `input`.
    pub(crate) custom: bool,
}

/// What the emulator knows about the call apart from the request.
pub(crate) struct Circumstances {
    pub(crate) number: u64,
    pub(crate) created: u64,
    pub(crate) prompt_tokens: u64,
    pub(crate) cached_tokens: u64,
}

pub(crate) fn compose(request: &ChatRequest, behaviour: &Behaviour, known: &Circumstances) -> Reply {
    let tokens_max = request.tokens_max.unwrap_or(u64::MAX);
    let reasoning_tokens = thought(request, behaviour).min(tokens_max);
    let visible_max = tokens_max - reasoning_tokens;
    let choices: Vec<Choice> = (0..request.choices)
        .map(|index| choice(request, behaviour, known.number, index, visible_max))
        .collect();
    let visible: u64 = choices.iter().map(Choice::tokens).sum();
    Reply {
        flavour: request.flavour,
        id: format!("chatcmpl-emulator{:012}", known.number),
        created: known.created,
        model: behaviour.model.clone().unwrap_or_else(|| request.model.clone()),
        service_tier: behaviour.tier.clone().unwrap_or_else(|| request.service_tier.clone()),
        searches: behaviour.searches,
        choices,
        prompt_tokens: behaviour.prompt_tokens.unwrap_or(known.prompt_tokens),
        cached_tokens: behaviour.cached_tokens.unwrap_or(known.cached_tokens),
        reasoning_tokens,
        completion_tokens: behaviour.completion_tokens.unwrap_or(visible + reasoning_tokens),
        logprobs: request.logprobs,
        media: Media::of(behaviour),
    }
}

impl Media {
    const fn of(behaviour: &Behaviour) -> Self {
        let Behaviour { audio_in, audio_out, image_in, image_out, cached_audio, .. } = *behaviour;
        Self { audio_in, audio_out, image_in, image_out, cached_audio }
    }
}

/// Reasoning tokens: the request decides whether the model reasons, the script how much.
fn thought(request: &ChatRequest, behaviour: &Behaviour) -> u64 {
    let is_idle = matches!(request.effort.as_deref(), Some("none" | "minimal"));
    if !request.reasons || is_idle {
        return 0;
    }
    behaviour.reasoning.unwrap_or(REASONING_TOKENS).min(request.thinking_tokens_max.unwrap_or(u64::MAX))
}

/// The reasoning text, where the vendor shows it in a chat response.
pub(crate) fn visible_thought(reply: &Reply) -> Option<String> {
    (matches!(reply.flavour, Flavour::Fireworks | Flavour::Mistral) && reply.reasoning_tokens > 0)
        .then(|| thinking(reply.reasoning_tokens))
}

/// Filler text of this many reasoning tokens.
pub(crate) fn thinking(tokens: u64) -> String {
    FILLER.iter().copied().cycle().take(usize::try_from(tokens).unwrap_or_default()).collect()
}

/// The buffered form.
pub(crate) fn whole(reply: &Reply, mode: UsageMode) -> Value {
    let choices = reply.choices.iter().enumerate().map(|(index, choice)| choice.whole(index, reply));
    let mut body = json!({
        "id": reply.id, "object": "chat.completion", "created": reply.created, "model": reply.model,
        "choices": choices.collect::<Vec<_>>(), "usage": usage(reply, mode, reply.completion_tokens),
        "service_tier": reply.service_tier, "system_fingerprint": "fp_emulator",
    });
    if let (UsageMode::Missing, Some(fields)) = (mode, body.as_object_mut()) {
        fields.remove("usage");
    }
    body
}

/// The log probabilities of a text; null when not requested.
pub(crate) fn logprobs(text: &str, requested: bool, refusal: bool) -> Value {
    if !requested {
        return Value::Null;
    }
    let list: Vec<Value> = tokens::split(text)
        .map(|token| json!({"token": token, "logprob": -0.25, "bytes": token.as_bytes(), "top_logprobs": []}))
        .collect();
    if refusal {
        json!({"content": null, "refusal": list})
    } else {
        json!({"content": list, "refusal": null})
    }
}

impl Choice {
    /// Visible tokens: of the text pieces, and of each call's name and arguments.
    pub(crate) fn tokens(&self) -> u64 {
        let text: u64 = self.pieces.iter().map(|piece| tokens::count(piece)).sum();
        let calls: u64 =
            self.calls.iter().map(|call| tokens::count(&call.name) + tokens::count(&call.arguments)).sum();
        text + calls
    }

    fn whole(&self, index: usize, reply: &Reply) -> Value {
        let text = self.pieces.concat();
        let logprobs = logprobs(&text, reply.logprobs, self.refusal);
        let silent = !self.calls.is_empty() && text.is_empty();
        let (content, refusal) = match (silent, self.refusal) {
            (true, _) => (Value::Null, Value::Null),
            (false, true) => (Value::Null, Value::from(text)),
            (false, false) => (Value::from(text), Value::Null),
        };
        let mut message =
            json!({"role": "assistant", "content": content, "refusal": refusal, "annotations": []});
        if !self.calls.is_empty() {
            put(&mut message, "tool_calls", self.calls.iter().map(Call::whole).collect::<Value>());
        }
        if let Some(thought) = visible_thought(reply) {
            put(&mut message, "reasoning_content", thought);
        }
        json!({"index": index, "message": message, "logprobs": logprobs, "finish_reason": self.finish})
    }
}

impl Call {
    pub(crate) fn kind(&self) -> (&'static str, &'static str) {
        if self.custom { ("custom", "input") } else { ("function", "arguments") }
    }

    fn whole(&self) -> Value {
        let (kind, field) = self.kind();
        json!({"id": self.id, "type": kind, kind: {"name": self.name, field: self.arguments}})
    }
}

fn choice(
    request: &ChatRequest,
    behaviour: &Behaviour,
    number: u64,
    index: usize,
    visible_max: u64,
) -> Choice {
    let calls = calls(request, behaviour, number, index);
    let (pieces, ended, is_stopped) = if calls.is_empty() {
        generate_text(request, behaviour, index, visible_max)
    } else {
        (Vec::new(), "tool_calls", false)
    };
    Choice {
        pieces,
        refusal: behaviour.refusal,
        calls,
        finish: behaviour.finish.clone().unwrap_or_else(|| ended.to_owned()),
        is_stopped,
    }
}

fn generate_text(
    request: &ChatRequest,
    behaviour: &Behaviour,
    index: usize,
    visible_max: u64,
) -> (Vec<String>, &'static str, bool) {
    let mut text = wording(request, behaviour);
    if index > 0 {
        text.push_str(&format!(" #{index}"));
    }
    let mut words: Vec<&str> = tokens::split(&text).collect();
    let filler = if behaviour.text.as_deref() == Some("unicode") { FILLER_UNICODE } else { FILLER };
    let wanted = behaviour.tokens.or(behaviour.chunks.map(|chunks| chunks as u64));
    if let Some(wanted) = wanted.and_then(|wanted| usize::try_from(wanted).ok()) {
        let more = wanted.saturating_sub(words.len());
        words.truncate(wanted);
        words.extend(filler.iter().cycle().take(more));
    }
    if behaviour.finish.as_deref() == Some("content_filter") {
        words.truncate(words.len().div_ceil(2));
    }
    let mut ended = "stop";
    let whole = words.concat();
    let stopped = before_stop(&whole, &request.stop);
    let mut is_stopped = stopped != whole;
    let mut words: Vec<&str> = tokens::split(&stopped).collect();
    if words.len() as u64 > visible_max {
        words.truncate(usize::try_from(visible_max).unwrap_or(usize::MAX));
        (ended, is_stopped) = ("length", false);
    }
    let mut pieces = group_words(&words, behaviour.chunks.unwrap_or(words.len()));
    if behaviour.giant > 0 {
        pieces.insert(pieces.len() / 2, "x".repeat(behaviour.giant));
    }
    (pieces, ended, is_stopped)
}

fn wording(request: &ChatRequest, behaviour: &Behaviour) -> String {
    if let Some(text) = &behaviour.text {
        return if text == "unicode" { "né 漢字 🙂".to_owned() } else { text.clone() };
    }
    let question = last_user_text(&request.messages);
    let echo: String = tokens::split(&question).take(ECHO_TOKENS_MAX).collect();
    match request.response_format.get("type").and_then(Value::as_str) {
        Some("json_object") => json!({"answer": echo}).to_string(),
        Some("json_schema") => {
            let schema = request.response_format.pointer("/json_schema/schema").unwrap_or(&Value::Null);
            sample(schema, schema).to_string()
        }
        _ => format!("You said: {echo}"),
    }
}

fn before_stop(text: &str, stops: &[String]) -> String {
    let at = stops.iter().filter(|stop| !stop.is_empty()).filter_map(|stop| text.find(stop.as_str())).min();
    at.and_then(|at| text.get(..at)).unwrap_or(text).to_owned()
}

/// Spreads tokens evenly over at most `groups` pieces.
pub(crate) fn group_words(words: &[&str], groups: usize) -> Vec<String> {
    let groups = groups.min(words.len());
    (0..groups)
        .filter_map(|group| words.get(group * words.len() / groups..(group + 1) * words.len() / groups))
        .map(<[&str]>::concat)
        .collect()
}

fn last_user_text(messages: &[Value]) -> String {
    let last = messages.iter().rev().find(|message| message.get("role") == Some(&Value::from("user")));
    match last.and_then(|message| message.get("content")) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str)).collect()
        }
        _ => String::new(),
    }
}

/// The tool calls of the response: those of the script; else the call that the request forces; else a tool
/// that the last user turn names.
fn calls(request: &ChatRequest, behaviour: &Behaviour, number: u64, choice: usize) -> Vec<Call> {
    let forced =
        matches!(behaviour.tools, Some(ToolMode::Single | ToolMode::Parallel | ToolMode::Interleaved));
    let named = |name: &String| request.tools.iter().find(|tool| tool_name(tool) == name);
    let forced_one =
        behaviour.call.as_ref().and_then(named).filter(|_| behaviour.tools == Some(ToolMode::Single));
    let wanted: Vec<&Value> = if let Some(tool) = forced_one {
        vec![tool]
    } else if forced {
        let count = if behaviour.tools == Some(ToolMode::Single) { 1 } else { 2 };
        request.tools.iter().cycle().take(count).collect()
    } else if behaviour.tools == Some(ToolMode::None) {
        Vec::new()
    } else {
        choose_tool(request, behaviour).into_iter().collect()
    };
    let invented = json!({"type": "function", "function": {"name": "get_weather", "parameters":
        {"type": "object", "properties": {"city": {"type": "string"}}}}});
    let twice = behaviour.tools != Some(ToolMode::Single);
    let wanted = match (wanted.is_empty() && forced, twice) {
        (true, true) => vec![&invented, &invented],
        (true, false) => vec![&invented],
        (false, _) => wanted,
    };
    let id = |index: usize| format!("call_{number:012}{choice:02}{index:02}");
    wanted.iter().enumerate().map(|(index, tool)| call(id(index), tool, behaviour)).collect()
}

fn choose_tool<'a>(request: &'a ChatRequest, behaviour: &Behaviour) -> Option<&'a Value> {
    let named = |name: &str| request.tools.iter().find(|tool| tool_name(tool) == name);
    if let Some(name) = &behaviour.call {
        let answered =
            request.messages.iter().any(|message| message.get("role") == Some(&Value::from("tool")));
        return named(name).filter(|_| !answered);
    }
    if let Some(name) =
        ["/function/name", "/custom/name"].iter().find_map(|path| request.tool_choice.pointer(path))
    {
        return named(name.as_str().unwrap_or_default());
    }
    match request.tool_choice.as_str() {
        Some("none") => None,
        Some("required") => request.tools.first(),
        _ => {
            let last = request.messages.last()?;
            let is_question = last.get("role") == Some(&Value::from("user"));
            let question = last_user_text(&request.messages);
            request.tools.iter().find(|tool| is_question && question.contains(tool_name(tool)))
        }
    }
}

fn tool_name(tool: &Value) -> &str {
    let name = tool.pointer("/function/name").or_else(|| tool.pointer("/custom/name"));
    name.and_then(Value::as_str).unwrap_or_default()
}

fn call(id: String, tool: &Value, behaviour: &Behaviour) -> Call {
    let custom = tool.get("type").and_then(Value::as_str) == Some("custom");
    let schema = tool.pointer("/function/parameters").unwrap_or(&Value::Null);
    let arguments = if custom { "free text".to_owned() } else { behaviour.arguments(schema).to_string() };
    Call { id, name: tool_name(tool).to_owned(), arguments, custom }
}

/// The simplest value that matches a JSON schema.
pub(crate) fn sample(schema: &Value, root: &Value) -> Value {
    if let Some(path) = schema.get("$ref").and_then(Value::as_str) {
        let target =
            path.strip_prefix('#').and_then(|path| root.pointer(path)).filter(|target| *target != schema);
        return target.map(|target| sample(target, root)).unwrap_or_default();
    }
    let first = |name: &str| schema.get(name).and_then(Value::as_array).and_then(|list| list.first());
    if let Some(value) = schema.get("const").or_else(|| first("enum")) {
        return value.clone();
    }
    if let Some(inner) = first("anyOf").or_else(|| first("oneOf")) {
        return sample(inner, root);
    }
    let kind = schema.get("type").and_then(Value::as_str).or_else(|| first("type").and_then(Value::as_str));
    match kind {
        Some("string") => Value::from("value"),
        Some("integer" | "number") => Value::from(1),
        Some("boolean") => Value::from(true),
        Some("array") => json!([]),
        Some("null") => Value::Null,
        _ => {
            let properties = schema.get("properties").and_then(Value::as_object);
            let fields =
                properties.into_iter().flatten().map(|(name, inner)| (name.clone(), sample(inner, root)));
            Value::Object(fields.collect())
        }
    }
}
