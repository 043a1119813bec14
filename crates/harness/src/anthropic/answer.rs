//! Decides the content, stop reason and usage of a Messages response, independent of its wire form.

use serde_json::{Value, json};

use super::cache::Counted;
use super::request::MessagesRequest;
use super::sign::Seal;
use crate::emulator::{Behaviour, ToolMode, UsageMode};
use crate::members::put;
use crate::openai::answer::{FILLER, FILLER_UNICODE, group_words, sample};
use crate::openai::tokens;

/// Thinking tokens of a response whose script sets no number.
const THINKING_TOKENS: u64 = 16;
/// The response repeats at most this many tokens of the question.
const ECHO_TOKENS_MAX: usize = 64;

/// A complete response, before it is serialised.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) id: String,
    pub(crate) model: String,
    pub(crate) blocks: Vec<Block>,
    pub(crate) stop_reason: String,
    pub(crate) stop_sequence: Option<String>,
    pub(crate) counted: Counted,
    pub(crate) thinking_tokens: u64,
    /// All generated tokens, thinking included.
    pub(crate) output_tokens: u64,
    inference_geo: Value,
    service_tier: String,
    searches: Option<u64>,
}

/// One content block, with its text or input in the pieces in which it is streamed.
#[derive(Debug, Clone)]
pub(crate) enum Block {
    /// Thinking; where its text is omitted, there are no pieces, but the tokens count all the same.
    Thinking {
        pieces: Vec<String>,
        signature: String,
        hidden_tokens: u64,
    },
    Redacted {
        data: String,
        tokens: u64,
    },
    Text {
        pieces: Vec<String>,
    },
    Call {
        id: String,
        name: String,
        input: Value,
    },
}

/// The generated text, and why it ended there.
struct Speech {
    pieces: Vec<String>,
    stop_reason: &'static str,
    stop_sequence: Option<String>,
}

pub(crate) fn compose(
    request: &MessagesRequest,
    behaviour: &Behaviour,
    number: u64,
    counted: Counted,
) -> Reply {
    let thinking_tokens = thought(request, behaviour);
    let mut blocks = thinking(request, behaviour, number, thinking_tokens);
    let calls = calls(request, behaviour, number);
    let mut speech = if calls.is_empty() || behaviour.text.is_some() {
        generate_text(request, behaviour, request.tokens_max - thinking_tokens)
    } else {
        Speech { pieces: Vec::new(), stop_reason: "end_turn", stop_sequence: None }
    };
    if !speech.pieces.is_empty() {
        blocks.push(Block::Text { pieces: std::mem::take(&mut speech.pieces) });
    }
    let complete = speech.stop_reason == "end_turn";
    let calls = if complete && !behaviour.refusal { calls } else { Vec::new() };
    let ended = match (behaviour.refusal, calls.is_empty()) {
        (true, _) => "refusal",
        (false, false) => "tool_use",
        (false, true) => speech.stop_reason,
    };
    blocks.extend(calls);
    let output_tokens = thinking_tokens + blocks.iter().map(Block::visible_tokens).sum::<u64>();
    Reply {
        id: format!("msg_emulator{number:016}"),
        model: behaviour.model.clone().unwrap_or_else(|| request.model.id.clone()),
        blocks,
        stop_reason: behaviour.finish.clone().unwrap_or_else(|| ended.to_owned()),
        stop_sequence: speech.stop_sequence,
        counted,
        thinking_tokens,
        output_tokens: behaviour.completion_tokens.unwrap_or(output_tokens),
        inference_geo: request.inference_geo.clone(),
        service_tier: behaviour.tier.clone().unwrap_or_else(|| "standard".to_owned()),
        searches: behaviour.searches,
    }
}

impl Reply {
    /// The usage object of a buffered response, or of a stream's start with the tokens generated so far.
    pub(crate) fn usage(&self, mode: UsageMode, output_tokens: u64, whole: bool) -> Value {
        let mut usage = self.usage_so_far(mode, output_tokens, whole);
        let report = |tokens: u64| if mode == UsageMode::Zero { 0 } else { tokens };
        put(
            &mut usage,
            "cache_creation",
            json!({
                "ephemeral_5m_input_tokens": report(self.counted.written_5m),
                "ephemeral_1h_input_tokens": report(self.counted.written_1h),
            }),
        );
        put(&mut usage, "service_tier", self.service_tier.as_str());
        if let Some(searches) = self.searches {
            let used = json!({"web_search_requests": searches, "web_fetch_requests": 0});
            put(&mut usage, "server_tool_use", used);
        }
        put(&mut usage, "inference_geo", self.inference_geo.clone());
        usage
    }

    /// The usage object of a stream's end, which does not break cache writes down by TTL.
    pub(crate) fn usage_so_far(&self, mode: UsageMode, output_tokens: u64, whole: bool) -> Value {
        let report = |tokens: u64| if mode == UsageMode::Zero { 0 } else { tokens };
        let mut usage = json!({
            "input_tokens": report(self.counted.input),
            "cache_creation_input_tokens": report(self.counted.write_tokens()),
            "cache_read_input_tokens": report(self.counted.read), "output_tokens": report(output_tokens),
            "server_tool_use": null,
        });
        if whole {
            let thinking_tokens = report(self.thinking_tokens.min(output_tokens));
            put(&mut usage, "output_tokens_details", json!({"thinking_tokens": thinking_tokens}));
        }
        usage
    }

    /// The details that a refusal carries with its stop reason.
    pub(crate) fn stop_details(&self) -> Value {
        if self.stop_reason != "refusal" {
            return Value::Null;
        }
        json!({
            "type": "refusal", "category": "general_harms", "explanation": "The emulator was told to refuse.",
        })
    }

    /// The buffered form.
    pub(crate) fn whole(&self, mode: UsageMode) -> Value {
        let mut body = self.head();
        put(&mut body, "content", self.blocks.iter().map(Block::whole).collect::<Value>());
        put(&mut body, "stop_reason", self.stop_reason.as_str());
        put(&mut body, "stop_sequence", self.stop_sequence.clone());
        put(&mut body, "stop_details", self.stop_details());
        if mode != UsageMode::Missing {
            put(&mut body, "usage", self.usage(mode, self.output_tokens, true));
        }
        body
    }

    /// The message without content, as at the start of a stream.
    pub(crate) fn head(&self) -> Value {
        json!({
            "id": self.id, "type": "message", "role": "assistant", "model": self.model, "content": [],
            "stop_reason": null, "stop_sequence": null, "stop_details": null, "container": null,
        })
    }
}

impl Block {
    /// Tokens other than thinking: of text, and of a call's name and input.
    fn visible_tokens(&self) -> u64 {
        match self {
            Self::Text { pieces } => pieces.iter().map(|piece| tokens::count(piece)).sum(),
            Self::Call { name, input, .. } => tokens::count(name) + tokens::count(&input.to_string()),
            Self::Thinking { .. } | Self::Redacted { .. } => 0,
        }
    }

    fn whole(&self) -> Value {
        match self {
            Self::Thinking { pieces, signature, .. } => {
                json!({"type": "thinking", "thinking": pieces.concat(), "signature": signature})
            }
            Self::Redacted { data, .. } => json!({"type": "redacted_thinking", "data": data}),
            Self::Text { pieces } => json!({"type": "text", "text": pieces.concat(), "citations": null}),
            Self::Call { id, name, input } => {
                json!({"type": "tool_use", "id": id, "name": name, "input": input})
            }
        }
    }
}

/// Thinking tokens: the request decides whether there is thinking, the script how much.
fn thought(request: &MessagesRequest, behaviour: &Behaviour) -> u64 {
    if !request.thinking.on {
        return 0;
    }
    let wanted = behaviour.reasoning.unwrap_or(THINKING_TOKENS);
    wanted.min(request.thinking.budget_tokens.unwrap_or(u64::MAX)).min(request.tokens_max)
}

/// Thinking as text, followed by redacted thinking where the script demands it.
fn thinking(request: &MessagesRequest, behaviour: &Behaviour, number: u64, tokens: u64) -> Vec<Block> {
    if tokens == 0 {
        return Vec::new();
    }
    let count = if behaviour.redacted { 2 } else { 1 };
    let opaque_tokens = if behaviour.redacted { tokens / 2 } else { 0 };
    let open_tokens = tokens - opaque_tokens;
    let length = usize::try_from(open_tokens).unwrap_or(usize::MAX);
    let pieces: Vec<String> = if request.thinking.omitted {
        Vec::new()
    } else {
        FILLER.iter().cycle().take(length).map(|word| (*word).to_owned()).collect()
    };
    let hidden_tokens = if request.thinking.omitted { open_tokens } else { 0 };
    let signature = Seal::new(number, 0, count, &pieces.concat()).encode();
    let mut blocks = vec![Block::Thinking { pieces, signature, hidden_tokens }];
    if behaviour.redacted {
        let data = Seal::new(number, 1, count, "").encode();
        blocks.push(Block::Redacted { data, tokens: opaque_tokens });
    }
    blocks
}

fn generate_text(request: &MessagesRequest, behaviour: &Behaviour, tokens_max: u64) -> Speech {
    let text = wording(request, behaviour);
    let mut words: Vec<&str> = tokens::split(&text).collect();
    let filler = if behaviour.text.as_deref() == Some("unicode") { FILLER_UNICODE } else { FILLER };
    let wanted = behaviour.tokens.or(behaviour.chunks.map(|chunks| chunks as u64));
    if let Some(wanted) = wanted.and_then(|wanted| usize::try_from(wanted).ok()) {
        let more = wanted.saturating_sub(words.len());
        words.truncate(wanted);
        words.extend(filler.iter().cycle().take(more));
    }
    if behaviour.refusal {
        words.truncate(words.len().div_ceil(2));
    }
    let text = words.concat();
    let stop = request.stops.iter().filter_map(|stop| Some((text.find(stop.as_str())?, stop))).min();
    let text = stop.and_then(|(at, _)| text.get(..at)).unwrap_or(&text);
    let mut words: Vec<&str> = tokens::split(text).collect();
    let mut speech = match stop {
        Some((_, stop)) => {
            Speech { pieces: Vec::new(), stop_reason: "stop_sequence", stop_sequence: Some(stop.clone()) }
        }
        None => Speech { pieces: Vec::new(), stop_reason: "end_turn", stop_sequence: None },
    };
    // `max_tokens: 0` only fills the cache; it ends as any other limit does.
    if words.len() as u64 > tokens_max || tokens_max == 0 {
        words.truncate(usize::try_from(tokens_max).unwrap_or(usize::MAX));
        speech = Speech { pieces: Vec::new(), stop_reason: "max_tokens", stop_sequence: None };
    }
    speech.pieces = group_words(&words, behaviour.chunks.unwrap_or(words.len()));
    if behaviour.giant > 0 {
        speech.pieces.insert(speech.pieces.len() / 2, "x".repeat(behaviour.giant));
    }
    speech
}

fn wording(request: &MessagesRequest, behaviour: &Behaviour) -> String {
    match (&behaviour.text, &request.schema) {
        (Some(text), _) if text == "unicode" => "né 漢字 🙂".to_owned(),
        (Some(text), _) => text.clone(),
        (None, Some(schema)) => sample(schema, schema).to_string(),
        (None, None) => {
            let echo: String = tokens::split(&request.question).take(ECHO_TOKENS_MAX).collect();
            format!("You said: {echo}")
        }
    }
}

/// The tool calls of the response: those of the script; else the call that the request forces; else a tool
/// that the last user turn names.
fn calls(request: &MessagesRequest, behaviour: &Behaviour, number: u64) -> Vec<Block> {
    let invented = json!({"name": "get_weather", "input_schema":
        {"type": "object", "properties": {"city": {"type": "string"}}}});
    let wanted: Vec<&Value> = match behaviour.tools {
        Some(ToolMode::None) => Vec::new(),
        None => choose_tool(request, behaviour).into_iter().collect(),
        Some(mode) => {
            let single = mode == ToolMode::Single
                || request.tool_choice.get("disable_parallel_tool_use") == Some(&Value::Bool(true));
            let own: Vec<&Value> = custom(request).collect();
            let known = if own.is_empty() { vec![&invented] } else { own };
            known.into_iter().cycle().take(if single { 1 } else { 2 }).collect()
        }
    };
    if request.tokens_max == 0 {
        return Vec::new();
    }
    let id = |index: usize| format!("toolu_{number:012}{index:02}");
    wanted.iter().enumerate().map(|(index, tool)| call(id(index), tool, behaviour)).collect()
}

/// The client-side tools.
fn custom(request: &MessagesRequest) -> impl Iterator<Item = &Value> {
    request.tools.iter().filter(|tool| tool.get("input_schema").is_some())
}

fn choose_tool<'a>(request: &'a MessagesRequest, behaviour: &Behaviour) -> Option<&'a Value> {
    if let Some(wanted) = &behaviour.call {
        return custom(request).find(|tool| name(tool) == wanted && !request.answered);
    }
    let kind = request.tool_choice.get("type").and_then(Value::as_str);
    match (kind, request.tool_choice.get("name").and_then(Value::as_str)) {
        (Some("none"), _) => None,
        (Some("any"), _) => custom(request).next(),
        (_, Some(wanted)) => custom(request).find(|tool| name(tool) == wanted),
        _ => custom(request).find(|tool| request.asked && request.question.contains(name(tool))),
    }
}

fn name(tool: &Value) -> &str {
    tool.get("name").and_then(Value::as_str).unwrap_or_default()
}

fn call(id: String, tool: &Value, behaviour: &Behaviour) -> Block {
    let schema = tool.get("input_schema").unwrap_or(&Value::Null);
    Block::Call { id, name: name(tool).to_owned(), input: behaviour.arguments(schema) }
}
