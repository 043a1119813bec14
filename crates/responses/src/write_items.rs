//! Writes turns as input items.

use std::borrow::Cow;

use conversation::features::Feature;
use conversation::losses::DroppedFields;
use domain::prompt::{
    self, CacheMark, Content, Instruction, Role, Source, Thought, ToolCall, ToolResult, Turn, ValuePath,
};
use domain::{Abilities, Grammar, Json};
use serde::Serialize;
use serde_json::value::RawValue;

use super::annotations::own_annotation;
use super::write::{Breakpoint, input_text, raw};

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Item<'a> {
    Message {
        role: &'static str,
        content: Words<'a>,
    },
    FunctionCall {
        call_id: &'a str,
        name: &'a str,
        arguments: &'a str,
    },
    CustomToolCall {
        call_id: &'a str,
        name: &'a str,
        input: &'a str,
    },
    FunctionCallOutput {
        call_id: &'a str,
        output: Words<'a>,
    },
    CustomToolCallOutput {
        call_id: &'a str,
        output: Words<'a>,
    },
    Reasoning {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a str>,
        summary: Vec<Part<'a>>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        content: Vec<Part<'a>>,
        encrypted_content: &'a str,
    },
}

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Words<'a> {
    Text(Cow<'a, str>),
    Parts(Vec<Part<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Part<'a> {
    InputText {
        text: Cow<'a, str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        prompt_cache_breakpoint: Option<Breakpoint>,
    },
    OutputText {
        text: &'a str,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        annotations: Vec<Box<RawValue>>,
    },
    Refusal {
        refusal: &'a str,
    },
    InputImage {
        #[serde(skip_serializing_if = "Option::is_none")]
        image_url: Option<Cow<'a, str>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        file_id: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        detail: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        prompt_cache_breakpoint: Option<Breakpoint>,
    },
    InputFile {
        #[serde(skip_serializing_if = "Option::is_none")]
        file_data: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        file_url: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        file_id: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        filename: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        prompt_cache_breakpoint: Option<Breakpoint>,
    },
    SummaryText {
        text: &'a str,
    },
    ReasoningText {
        text: &'a str,
    },
}

/// The items so far, and the message that is being assembled.
pub(super) struct Items<'a> {
    abilities: Abilities,
    items: Vec<Item<'a>>,
    parts: Vec<Part<'a>>,
}

impl<'a> Items<'a> {
    pub(super) const fn new(abilities: &Abilities) -> Self {
        Self { abilities: *abilities, items: Vec::new(), parts: Vec::new() }
    }

    pub(super) fn into_items(self) -> Vec<Item<'a>> {
        self.items
    }

    pub(super) fn instruct(&mut self, instruction: &'a Instruction, losses: &mut DroppedFields) {
        let role = if instruction.is_developer { Role::Developer } else { Role::System };
        let mark = self.mark(instruction.cache, &ValuePath::default(), losses);
        self.parts.push(input_text(&instruction.text, mark));
        self.end_message(role);
    }

    pub(super) fn push_turn(&mut self, turn: &'a Turn, losses: &mut DroppedFields) {
        if turn.name.is_some() {
            losses.drop_feature(Feature::ParticipantName);
        }
        let before = (self.items.len(), turn.parts.is_empty());
        for part in &turn.parts {
            self.part(turn.role, part, losses);
        }
        self.end_message(turn.role);
        // An empty turn is still written, since roles alternate around it.
        if before == (self.items.len(), true) && turn.role != Role::Tool {
            let content = Words::Text(Cow::Borrowed(""));
            self.items.push(Item::Message { role: self.role(turn.role), content });
        }
    }

    fn part(&mut self, role: Role, part: &'a prompt::Part, losses: &mut DroppedFields) {
        match &part.content {
            Content::ToolCall(call) => {
                self.no_mark(part, losses);
                self.end_message(role);
                self.items.push(call_item(call));
            }
            Content::ToolResult(result) => {
                self.end_message(role);
                let item = self.result_item(result, part, losses);
                self.items.push(item);
            }
            Content::Thought(thought) => {
                self.no_mark(part, losses);
                self.end_message(role);
                match thought_item(thought) {
                    Some(item) => self.items.push(item),
                    None => losses.drop_feature(Feature::Thought),
                }
            }
            Content::Foreign { kind, .. } => losses.drop_foreign(kind),
            _ if role == Role::Assistant => {
                self.no_mark(part, losses);
                let written = answer_part(&part.content, losses);
                self.parts.extend(written);
            }
            _ => {
                let mark = self.mark(part.cache, &part.path, losses);
                let written = input_part(part, mark, losses);
                self.parts.extend(written);
            }
        }
    }

    /// Writes the assembled message, if there is one.
    fn end_message(&mut self, role: Role) {
        if !self.parts.is_empty() {
            let content = words(std::mem::take(&mut self.parts));
            self.items.push(Item::Message { role: self.role(role), content });
        }
    }

    const fn role(&self, role: Role) -> &'static str {
        match role {
            Role::User | Role::Tool => "user",
            Role::Assistant => "assistant",
            Role::Developer if self.abilities.developer_role => "developer",
            Role::System | Role::Developer => "system",
        }
    }

    fn mark(
        &self,
        mark: Option<CacheMark>,
        path: &ValuePath,
        losses: &mut DroppedFields,
    ) -> Option<Breakpoint> {
        let mark = mark?;
        if !self.abilities.cache_marks {
            losses.drop_in(Feature::CacheMark, path);
            return None;
        }
        Some(Breakpoint::of(mark))
    }

    /// Only the client's own input may carry a cache breakpoint.
    fn no_mark(&self, part: &prompt::Part, losses: &mut DroppedFields) {
        if part.cache.is_some() {
            losses.drop_in(Feature::CacheMark, &part.path);
        }
    }

    fn result_item(
        &self,
        result: &'a ToolResult,
        whole: &prompt::Part,
        losses: &mut DroppedFields,
    ) -> Item<'a> {
        let mut parts = Vec::new();
        if result.is_error {
            // The API has no error flag, so the text says it.
            parts.push(input_text("Error: ", None));
        }
        let last = result.parts.len().saturating_sub(1);
        for (at, part) in result.parts.iter().enumerate() {
            let marked = if part.cache.is_none() && at == last { whole } else { part };
            let mark = self.mark(marked.cache, &marked.path, losses);
            parts.extend(input_part(part, mark, losses));
        }
        let (call_id, output) = (result.id.as_str(), words(parts));
        if result.is_custom {
            Item::CustomToolCallOutput { call_id, output }
        } else {
            Item::FunctionCallOutput { call_id, output }
        }
    }
}

/// A single text is written as a string, which is equivalent to a list of it.
fn words(mut parts: Vec<Part<'_>>) -> Words<'_> {
    match parts.as_mut_slice() {
        [] => Words::Text(Cow::Borrowed("")),
        [Part::InputText { text, prompt_cache_breakpoint: None }] => Words::Text(std::mem::take(text)),
        _ => Words::Parts(parts),
    }
}

fn call_item(call: &ToolCall) -> Item<'_> {
    let ToolCall { id, name, arguments, .. } = call;
    if call.is_custom {
        Item::CustomToolCall { call_id: id, name, input: arguments }
    } else {
        Item::FunctionCall { call_id: id, name, arguments }
    }
}

/// A reasoning item, where it is signed by OpenAI: no other signature is accepted.
fn thought_item(thought: &Thought) -> Option<Item<'_>> {
    let seal = thought.signature.as_ref().filter(|signature| signature.grammar == Grammar::Responses)?;
    let text = Some(thought.text.as_str()).filter(|text| !text.is_empty());
    let summary = text.filter(|_| thought.is_summary).map(|text| Part::SummaryText { text });
    let content = text.filter(|_| !thought.is_summary).map(|text| Part::ReasoningText { text });
    Some(Item::Reasoning {
        id: thought.id.as_deref(),
        summary: summary.into_iter().collect(),
        content: content.into_iter().collect(),
        encrypted_content: &seal.value,
    })
}

/// A content part of an assistant message.
fn answer_part<'a>(content: &'a Content, losses: &mut DroppedFields) -> Option<Part<'a>> {
    match content {
        Content::Text { text, citations } => {
            let annotations: Vec<Box<RawValue>> = citations.iter().filter_map(own_annotation).collect();
            if annotations.len() < citations.len() {
                losses.drop_feature(Feature::Citations);
            }
            Some(Part::OutputText { text, annotations })
        }
        Content::Refusal { text } => Some(Part::Refusal { refusal: text }),
        _ => {
            losses.drop_unknown("media in an answer of the assistant", true);
            None
        }
    }
}

/// A content part of the client's input.
fn input_part<'a>(
    part: &'a prompt::Part,
    mark: Option<Breakpoint>,
    losses: &mut DroppedFields,
) -> Option<Part<'a>> {
    match &part.content {
        Content::Text { text, .. } | Content::Refusal { text } => Some(input_text(text, mark)),
        Content::Image { source, detail } => Some(image(source, detail.as_deref(), mark)),
        Content::Document { source, name, context, cite } => {
            if context.is_some() {
                losses.drop_feature(Feature::DocumentContext);
            }
            if *cite {
                losses.drop_feature(Feature::Citations);
            }
            Some(file(source, name.as_deref(), mark))
        }
        Content::Audio { .. } => {
            losses.drop_in(Feature::Audio, &part.path);
            None
        }
        Content::Video { .. } => {
            losses.drop_feature(Feature::Video);
            None
        }
        Content::ToolCall(_) | Content::ToolResult(_) | Content::Thought(_) | Content::Foreign { .. } => {
            losses.drop_unknown("an item within a tool's result", true);
            None
        }
    }
}

fn image<'a>(source: &'a Source, detail: Option<&'a str>, mark: Option<Breakpoint>) -> Part<'a> {
    let (image_url, file_id) = match source {
        Source::Inline { media_type, base64 } => (Some(Cow::Owned(data_url(media_type, base64))), None),
        Source::Url { url, .. } | Source::Text(url) => (Some(Cow::Borrowed(url.as_str())), None),
        Source::File { id, .. } => (None, Some(id.as_str())),
    };
    Part::InputImage { image_url, file_id, detail, prompt_cache_breakpoint: mark }
}

fn file<'a>(source: &'a Source, filename: Option<&'a str>, mark: Option<Breakpoint>) -> Part<'a> {
    let (file_data, file_url, file_id) = match source {
        Source::Inline { media_type, base64 } => (Some(data_url(media_type, base64)), None, None),
        // Text is written as text, not as a file.
        Source::Text(text) => return input_text(text, mark),
        Source::Url { url, .. } => (None, Some(url.as_str()), None),
        Source::File { id, .. } => (None, None, Some(id.as_str())),
    };
    Part::InputFile { file_data, file_url, file_id, filename, prompt_cache_breakpoint: mark }
}

fn data_url(media_type: &str, base64: &str) -> String {
    format!("data:{media_type};base64,{base64}")
}

/// Raw JSON that outlives its prompt.
pub(super) fn owned(json: &Json) -> Option<Box<RawValue>> {
    raw(json).map(ToOwned::to_owned)
}
