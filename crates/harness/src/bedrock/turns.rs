//! Checks the order of turns, and translates a Converse request for the shared response generator.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::additional;
use super::answer::signature;
use super::documents;
use super::error::Refusal;
use super::models::Served;
use super::tools;
use crate::openai::request::ChatRequest;

/// The maximum of a whole request, for every vendor's models.
const CACHE_POINTS_MAX: usize = 4;

/// A request that passed every check.
pub(super) struct CheckedRequest {
    pub(super) chat: ChatRequest,
    /// Whether the request has a cache point.
    pub(super) has_cache_point: bool,
    /// The script in the request's metadata.
    pub(super) script: Option<String>,
}

pub(super) fn read(fields: &Map<String, Value>, served: &Served) -> Result<CheckedRequest, Refusal> {
    let messages = list(fields.get("messages"));
    check(messages, fields.contains_key("toolConfig"))?;
    let system = list(fields.get("system"));
    let config = fields.get("toolConfig");
    let tools = list(config.and_then(|config| config.get("tools")));
    tools::check(tools, config.and_then(|config| config.get("toolChoice")))?;
    documents::check(messages)?;
    let thinking = additional::check(fields, served)?;
    let mut chat: Vec<Value> = system
        .iter()
        .filter_map(|block| block.get("text"))
        .map(|text| json!({"role": "system", "content": text}))
        .collect();
    chat.extend(messages.iter().flat_map(chat_messages));
    let inference = |name: &str| fields.get("inferenceConfig").and_then(|config| config.get(name));
    let blocks = messages.iter().flat_map(|message| list(message.get("content")));
    let has_point = |block: &Value| block.get("cachePoint").is_some();
    let schema = fields
        .get("outputConfig")
        .and_then(|config| config.pointer("/textFormat/structure/jsonSchema/schema"));
    let schema = schema.and_then(Value::as_str).and_then(|text| serde_json::from_str::<Value>(text).ok());
    let tokens_max = inference("maxTokens").and_then(Value::as_u64);
    if tokens_max.is_some_and(|tokens| tokens > served.output_tokens_max) {
        return Err(Refusal::invalid(format!(
            "The maximum tokens you requested exceeds the model limit of {}. Try again with a maximum tokens value that is lower \
             than {}.",
            served.output_tokens_max, served.output_tokens_max
        )));
    }
    let chat = ChatRequest {
        model: served.id.to_owned(),
        reasons: thinking.on,
        thinking_tokens_max: thinking.budget_tokens,
        messages: chat,
        tools: tools.iter().filter_map(tool).collect(),
        tool_choice: choice(config.and_then(|config| config.get("toolChoice"))),
        response_format: schema
            .map(|schema| json!({"type": "json_schema", "json_schema": {"schema": schema}}))
            .unwrap_or_default(),
        choices: 1,
        tokens_max,
        stop: list(inference("stopSequences")).iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        ..ChatRequest::default()
    };
    let script =
        fields.get("requestMetadata").and_then(|metadata| metadata.get("emulate")).and_then(Value::as_str);
    let points = blocks.chain(system).chain(tools).filter(|block| has_point(block)).count();
    if points > CACHE_POINTS_MAX {
        return Err(Refusal::at(
            "cachePoint",
            format!(
                "A maximum of {CACHE_POINTS_MAX} blocks with cache_control may be provided. Found {points}."
            ),
        ));
    }
    Ok(CheckedRequest { chat, has_cache_point: points > 0, script: script.map(str::to_owned) })
}

fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn check(messages: &[Value], has_tools: bool) -> Result<(), Refusal> {
    let mut called: BTreeSet<&str> = BTreeSet::new();
    let mut before = None;
    for (at, message) in messages.iter().enumerate() {
        let role = message.get("role").and_then(Value::as_str);
        if at == 0 && role != Some("user") {
            return Err(Refusal::invalid(
                "A conversation must start with a user message. Try again with a conversation that starts with a user message.",
            ));
        }
        if role == before {
            return Err(Refusal::invalid(
                "A conversation must alternate between user and assistant roles. Make sure the conversation alternates between user and assistant roles and try again.",
            ));
        }
        before = role;
        let content = list(message.get("content"));
        if content.is_empty() {
            return Err(Refusal::invalid(format!(
                "The content field in the Message object at messages.{at} is empty. Add a ContentBlock object to the content field and try again."
            )));
        }
        check_blocks(at, content, role == Some("assistant"))?;
        results(at, content, &called)?;
        called = content
            .iter()
            .filter_map(|block| block.pointer("/toolUse/toolUseId").and_then(Value::as_str))
            .collect();
        let is_tool = |block: &Value| block.get("toolUse").is_some() || block.get("toolResult").is_some();
        if !has_tools && content.iter().any(is_tool) {
            return Err(Refusal::invalid(
                "The toolConfig field must be defined when using toolUse and toolResult content blocks.",
            ));
        }
    }
    match before {
        None => Err(Refusal::invalid("The messages field is empty. Add a message and try again.")),
        Some(_) => Ok(()),
    }
}

fn check_blocks(at: usize, content: &[Value], is_assistant: bool) -> Result<(), Refusal> {
    for (index, block) in content.iter().enumerate() {
        let path = format!("messages.{at}.content.{index}");
        if block.get("text").and_then(Value::as_str).is_some_and(|text| text.trim().is_empty()) {
            return Err(Refusal::invalid(format!(
                "The text field in the ContentBlock object at {path} is blank. Add text to the text field, and try again."
            )));
        }
        let of_assistant = ["toolUse", "reasoningContent"].iter().find(|name| block.get(**name).is_some());
        let of_user = ["toolResult", "image", "document", "video", "audio"]
            .iter()
            .find(|name| block.get(**name).is_some());
        if let Some(name) = of_assistant.filter(|_| !is_assistant).or(of_user.filter(|_| is_assistant)) {
            return Err(Refusal::at(&path, format!("{name} is not allowed in this role")));
        }
        let thought = block.pointer("/reasoningContent/reasoningText");
        let field = |name: &str| thought.and_then(|thought| thought.get(name)).and_then(Value::as_str);
        if field("text").is_some_and(|text| field("signature") != Some(&signature(text))) {
            return Err(Refusal::at(&path, "Invalid `signature` in `thinking` block"));
        }
        if block.pointer("/toolUse/input").is_some_and(|input| !input.is_object()) {
            return Err(Refusal::invalid(format!(
                "The format of the value at {path}.toolUse.input is invalid. Provide a json object for the field and try again."
            )));
        }
    }
    Ok(())
}

/// Each tool call needs its result in the next turn, and there must be no others.
fn results(at: usize, content: &[Value], called: &BTreeSet<&str>) -> Result<(), Refusal> {
    let ids =
        content.iter().filter_map(|block| block.pointer("/toolResult/toolUseId").and_then(Value::as_str));
    let answered: Vec<&str> = ids.collect();
    let distinct: BTreeSet<&str> = answered.iter().copied().collect();
    if answered.len() > called.len() {
        return Err(Refusal::invalid(format!(
            "The number of toolResult blocks at messages.{at}.content exceeds the number of toolUse blocks of previous turn."
        )));
    }
    if distinct != *called {
        let missing: Vec<&str> = called.difference(&distinct).copied().collect();
        return Err(Refusal::invalid(format!(
            "Expected toolResult blocks at messages.{at}.content for the following Ids: {}",
            missing.join(", ")
        )));
    }
    Ok(())
}

/// A turn as chat messages for the shared response generator.
fn chat_messages(message: &Value) -> Vec<Value> {
    let content = list(message.get("content"));
    let mut turns: Vec<Value> = Vec::new();
    for result in content.iter().filter_map(|block| block.get("toolResult")) {
        turns.push(json!({"role": "tool", "content": result.get("content").map(Value::to_string)}));
    }
    let parts: Vec<Value> = content
        .iter()
        .filter(|block| block.get("toolResult").is_none() && block.get("cachePoint").is_none())
        .map(|block| match block.get("text") {
            Some(text) => json!({"type": "text", "text": text}),
            None => block.clone(),
        })
        .collect();
    if turns.is_empty() || !parts.is_empty() {
        turns.push(json!({"role": message.get("role"), "content": parts}));
    }
    turns
}

fn tool(tool: &Value) -> Option<Value> {
    let spec = tool.get("toolSpec")?;
    let parameters = spec.pointer("/inputSchema/json");
    Some(json!({"type": "function", "function": {"name": spec.get("name"), "parameters": parameters}}))
}

fn choice(choice: Option<&Value>) -> Value {
    let Some(choice) = choice else { return Value::Null };
    match choice.pointer("/tool/name") {
        Some(name) => json!({"type": "function", "function": {"name": name}}),
        None if choice.get("any").is_some() => Value::from("required"),
        None => Value::from("auto"),
    }
}
