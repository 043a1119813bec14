//! Counts a request's input tokens, and extracts the question to answer.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::content::{Content, Modality, Part};
use super::models::Abilities;
use super::request::{GenerateRequest, Tool, ToolConfig};
use crate::openai::request::ChatRequest;
use crate::openai::tokens::{MEDIA_TOKENS, MESSAGE_TOKENS, PRIMING_TOKENS, Prompt};

/// A prompt's token count, by modality.
pub(crate) struct Counted {
    pub(crate) prompt: Prompt,
    media: BTreeMap<Modality, u64>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ModalityTokens {
    modality: Modality,
    token_count: u64,
}

/// Counts in the order in which the real cache keys: tools, system instruction, turns.
pub(crate) fn count(tools: &[Tool], instruction: Option<&Content>, contents: &[Content]) -> Counted {
    let mut counted = prefix(tools, instruction, contents);
    counted.prompt.tokens += PRIMING_TOKENS;
    counted
}

/// As `count`, without the tokens added once to every prompt: the size of a cached content.
pub(crate) fn prefix(tools: &[Tool], instruction: Option<&Content>, contents: &[Content]) -> Counted {
    let mut counted = Counted { prompt: Prompt::new(), media: BTreeMap::new() };
    for tool in tools {
        for declared in &tool.function_declarations {
            counted.prompt.text(&declared.name);
            counted.prompt.text(declared.description.as_deref().unwrap_or_default());
            counted.prompt.text(&declared.schema().to_string());
        }
        tool.server_side.keys().for_each(|name| counted.prompt.text(name));
    }
    for content in instruction.into_iter().chain(contents) {
        for _ in 0..MESSAGE_TOKENS {
            counted.prompt.push(content.role.as_deref().unwrap_or("user"));
        }
        content.parts.iter().for_each(|part| counted.part(part));
    }
    counted
}

/// A count by modality: the rest of it is text.
pub(crate) fn tokens_by_modality(all: u64, audio: u64, image: u64) -> Vec<ModalityTokens> {
    let audio = audio.min(all);
    let image = image.min(all - audio);
    [(Modality::Text, all - audio - image), (Modality::Audio, audio), (Modality::Image, image)]
        .into_iter()
        .filter(|(_, token_count)| *token_count > 0)
        .map(|(modality, token_count)| ModalityTokens { modality, token_count })
        .collect()
}

impl Counted {
    pub(crate) fn details(&self) -> Vec<ModalityTokens> {
        let media: u64 = self.media.values().sum();
        let text = (Modality::Text, self.prompt.tokens.saturating_sub(media));
        let all = std::iter::once(text).chain(self.media.iter().map(|(modality, count)| (*modality, *count)));
        all.map(|(modality, token_count)| ModalityTokens { modality, token_count }).collect()
    }

    fn part(&mut self, part: &Part) {
        if let Some(text) = &part.text {
            self.prompt.text(text);
        }
        if let Some(call) = &part.function_call {
            self.prompt.text(&call.name);
            self.prompt.text(&Value::Object(call.args.clone()).to_string());
        }
        if let Some(result) = &part.function_response {
            self.prompt.text(&result.name);
            self.prompt.text(&Value::Object(result.response.clone().unwrap_or_default()).to_string());
        }
        if let Some(media) = part.media() {
            let content = media.data.as_deref().or(media.file_uri.as_deref()).unwrap_or_default();
            for _ in 0..MEDIA_TOKENS {
                self.prompt.push(content);
            }
            *self.media.entry(media.modality()).or_default() += MEDIA_TOKENS;
        }
        for (name, value) in &part.others {
            self.prompt.text(&format!("{name}{value}"));
        }
    }
}

/// The request as a chat request, from which the shared generator makes responses.
pub(crate) fn question(
    request: &GenerateRequest,
    contents: &[Content],
    (tools, tool_config): (&[Tool], Option<&ToolConfig>),
    model: &str,
    abilities: Abilities,
) -> ChatRequest {
    let config = &request.generation_config;
    let thinking = config.thinking_config.clone().unwrap_or_default();
    let idle = thinking.thinking_budget == Some(0);
    let (tools, tool_choice) = choice(tool_config, tools);
    let positive = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok());
    let choices = positive(config.candidate_count).and_then(|count| usize::try_from(count).ok());
    ChatRequest {
        model: model.to_owned(),
        reasons: abilities.thinks,
        thinking_tokens_max: thinking.thinking_budget.and_then(|budget| u64::try_from(budget).ok()),
        messages: contents.iter().flat_map(messages).collect(),
        tools,
        tool_choice,
        response_format: response_format(request),
        choices: choices.unwrap_or(1),
        tokens_max: positive(config.max_output_tokens),
        effort: idle.then(|| "none".to_owned()),
        stop: config.stop_sequences.clone(),
        ..ChatRequest::default()
    }
}

fn messages(content: &Content) -> Vec<Value> {
    let mut messages: Vec<Value> = content.responses().map(|_| json!({"role": "tool"})).collect();
    let text = content.text();
    if messages.is_empty() || !text.is_empty() {
        let role = if content.is_model() { "assistant" } else { "user" };
        messages.push(json!({"role": role, "content": text}));
    }
    messages
}

fn choice(config: Option<&ToolConfig>, tools: &[Tool]) -> (Vec<Value>, Value) {
    let config = config.map(|config| &config.function_calling_config);
    let allowed = config.map(|config| config.allowed_function_names.as_slice()).unwrap_or_default();
    let declared = tools.iter().flat_map(|tool| &tool.function_declarations);
    let open = declared.filter(|declared| allowed.is_empty() || allowed.contains(&declared.name));
    let tools = open.map(|declared| {
        json!({"type": "function", "function": {"name": declared.name, "parameters": declared.schema()}})
    });
    let choice = match config.and_then(|config| config.mode.as_deref()) {
        Some("ANY") => Value::from("required"),
        Some("NONE") => Value::from("none"),
        _ => Value::Null,
    };
    (tools.collect(), choice)
}

fn response_format(request: &GenerateRequest) -> Value {
    let config = &request.generation_config;
    match (config.wants_json(), config.schema()) {
        (true, Some(schema)) => json!({"type": "json_schema", "json_schema": {"schema": schema}}),
        (true, None) => json!({"type": "json_object"}),
        (false, _) => Value::Null,
    }
}
