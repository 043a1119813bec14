//! Output items while they are written: a message that collects text parts, and items for reasoning and
//! calls.

use std::collections::BTreeMap;

use conversation::constraints::AnswerConstraints;
use domain::{Json, PartKind};
use serde::Serialize;
use serde_json::value::RawValue;

use super::annotations::own_annotation;
use super::frames::{EventWriter, Frame, Item, Part, raw};
use super::write_items::owned;

#[derive(Debug, Default)]
pub(super) struct Output {
    /// The basis of the item ids, which is unguessable.
    stem: String,
    constraints: AnswerConstraints,
    /// In the order in which they started; `None` while they are open.
    items: Vec<Option<Box<RawValue>>>,
    message: Option<Message>,
    /// Open calls and reasoning items, by part number.
    open: BTreeMap<u32, Open>,
    /// Logprobs of tokens whose text has not come yet.
    logprobs: Vec<Box<RawValue>>,
    pub has_refusal: bool,
}

/// Consecutive texts and refusals form one message.
#[derive(Debug)]
struct Message {
    index: usize,
    id: String,
    parts: Vec<Box<RawValue>>,
    open: Option<Text>,
}

#[derive(Debug)]
struct Text {
    part: u32,
    is_refusal: bool,
    text: String,
    annotations: Vec<Box<RawValue>>,
    logprobs: Vec<Box<RawValue>>,
}

#[derive(Debug)]
struct Open {
    index: usize,
    id: String,
    text: String,
    kind: OpenKind,
}

#[derive(Debug)]
enum OpenKind {
    Call { call_id: String, name: String, namespace: Option<String>, is_custom: bool },
    Thought { is_summary: bool, seal: Option<String> },
}

/// The item of OpenAI's own image generation, which has the picture that a model made.
const PICTURE: &str = "image_generation_call";

#[derive(Serialize)]
struct Picture<'a> {
    r#type: &'static str,
    id: &'a str,
    status: &'static str,
    result: &'a str,
}

impl Output {
    pub(super) fn new(stem: String, constraints: AnswerConstraints) -> Self {
        Self { stem, constraints, ..Self::default() }
    }

    /// The finished items.
    pub(super) fn finished_items(&self) -> Vec<&RawValue> {
        self.items.iter().flatten().map(AsRef::as_ref).collect()
    }

    pub(super) fn begin(&mut self, part: u32, kind: PartKind, events: &mut EventWriter, out: &mut Vec<u8>) {
        match kind {
            PartKind::Text => self.begin_text(part, false, events, out),
            PartKind::Refusal => self.begin_text(part, true, events, out),
            PartKind::Thought { is_summary, id } => {
                // Clients that requested summaries look for reasoning nowhere else.
                let is_summary = is_summary || self.constraints.summaries;
                let id = id.filter(|id| id.starts_with("rs_"));
                self.begin_item(part, id, OpenKind::Thought { is_summary, seal: None }, events, out);
            }
            PartKind::Redacted => {
                self.begin_item(part, None, OpenKind::Thought { is_summary: true, seal: None }, events, out);
            }
            PartKind::Call { id, name, is_custom } => {
                let (namespace, name) = self.declared_name(name);
                let kind = OpenKind::Call { call_id: id, name, namespace, is_custom };
                self.begin_item(part, None, kind, events, out);
            }
            PartKind::Image { base64, .. } => {
                let id = self.new_id("ig");
                let item = raw(&Picture { r#type: PICTURE, id: &id, status: "completed", result: &base64 });
                self.foreign(PICTURE, &Json(item.get().to_owned()), events, out);
            }
            PartKind::Foreign { kind, json } => self.foreign(&kind, &json, events, out),
        }
    }

    /// A tool's name as the client declared it, using the longest namespace that matches.
    fn declared_name(&self, name: String) -> (Option<String>, String) {
        let inner = |namespace: &'_ String| {
            name.strip_prefix(namespace.as_str())?.strip_prefix("__").map(str::to_owned)
        };
        let found =
            self.constraints.namespaces.iter().filter_map(|namespace| Some((namespace, inner(namespace)?)));
        match found.max_by_key(|(namespace, _)| namespace.len()) {
            Some((namespace, inner)) => (Some(namespace.clone()), inner),
            None => (None, name),
        }
    }

    /// Writes an item that only this format has; foreign items of other dialects are dropped.
    fn foreign(&mut self, kind: &str, json: &Json, events: &mut EventWriter, out: &mut Vec<u8>) {
        if !is_own_item(kind) {
            return;
        }
        let Some(item) = owned(json) else { return };
        self.end_message("completed", events, out);
        let index = Some(self.items.len());
        for r#type in ["response.output_item.added", "response.output_item.done"] {
            events.put(Frame { r#type, output_index: index, item: Some(&item), ..Frame::default() }, out);
        }
        self.items.push(Some(item));
    }

    fn new_id(&self, prefix: &str) -> String {
        format!("{prefix}_{}{:02x}", self.stem, self.items.len())
    }

    fn begin_text(&mut self, part: u32, is_refusal: bool, events: &mut EventWriter, out: &mut Vec<u8>) {
        self.end_text(events, out);
        self.has_refusal |= is_refusal;
        if self.message.is_none() {
            let (index, id) = (self.items.len(), self.new_id("msg"));
            let item = raw(&message_item(&id, "in_progress", &[]));
            self.items.push(None);
            let r#type = "response.output_item.added";
            events
                .put(Frame { r#type, output_index: Some(index), item: Some(&item), ..Frame::default() }, out);
            self.message = Some(Message { index, id, parts: Vec::new(), open: None });
        }
        let Some(message) = &mut self.message else { return };
        let text =
            Text { part, is_refusal, text: String::new(), annotations: Vec::new(), logprobs: Vec::new() };
        let frame = message.frame("response.content_part.added");
        events.put(Frame { part: Some(text.body()), ..frame }, out);
        message.open = Some(text);
    }

    pub(super) fn delta(&mut self, part: u32, text: &str, events: &mut EventWriter, out: &mut Vec<u8>) {
        if let Some(open) = self.open.get_mut(&part) {
            return open.delta(text, events, out);
        }
        let Some(message) = &mut self.message else { return };
        let Some(mut open) = message.open.take_if(|open| open.part == part) else { return };
        open.text.push_str(text);
        if open.is_refusal {
            let frame = message.frame("response.refusal.delta");
            events.put(Frame { delta: Some(text), ..frame }, out);
        } else {
            let logprobs = std::mem::take(&mut self.logprobs);
            let frame = message.frame("response.output_text.delta");
            events.put(Frame { delta: Some(text), logprobs: Some(&logprobs), ..frame }, out);
            open.logprobs.extend(logprobs);
        }
        message.open = Some(open);
    }

    pub(super) fn seal(&mut self, part: u32, value: String) {
        if let Some(Open { kind: OpenKind::Thought { seal, .. }, .. }) = self.open.get_mut(&part) {
            *seal = Some(value);
        }
    }

    /// Writes a citation, where the format can express it.
    pub(super) fn cite(&mut self, part: u32, json: &Json, events: &mut EventWriter, out: &mut Vec<u8>) {
        let Some(message) = &mut self.message else { return };
        let Some(mut open) = message.open.take_if(|open| open.part == part) else { return };
        if !open.is_refusal
            && let Some(annotation) = own_annotation(json)
        {
            let frame = message.frame("response.output_text.annotation.added");
            let annotation_index = Some(open.annotations.len());
            events.put(Frame { annotation_index, annotation: Some(&annotation), ..frame }, out);
            open.annotations.push(annotation);
        }
        message.open = Some(open);
    }

    /// Kept for the next text delta, or for the end of the current text.
    pub(super) fn logprobs(&mut self, tokens: &Json) {
        let tokens: Vec<Box<RawValue>> = serde_json::from_str(tokens.as_str()).unwrap_or_default();
        self.logprobs.extend(tokens);
    }

    pub(super) fn end(&mut self, part: u32, events: &mut EventWriter, out: &mut Vec<u8>) {
        match self.open.remove(&part) {
            Some(open) => self.end_item(open, "completed", events, out),
            None if self.message.as_ref().is_some_and(|message| message.is_at(part)) => {
                self.end_text(events, out)
            }
            None => {}
        }
    }

    /// Ends everything that is open.
    pub(super) fn end_all(&mut self, status: &'static str, events: &mut EventWriter, out: &mut Vec<u8>) {
        self.end_message(status, events, out);
        while let Some((_, open)) = self.open.pop_first() {
            self.end_item(open, status, events, out);
        }
    }

    fn end_text(&mut self, events: &mut EventWriter, out: &mut Vec<u8>) {
        let Some(message) = &mut self.message else { return };
        let Some(mut open) = message.open.take() else { return };
        if open.is_refusal {
            let frame = message.frame("response.refusal.done");
            events.put(Frame { refusal: Some(&open.text), ..frame }, out);
        } else {
            open.logprobs.append(&mut self.logprobs);
            let frame = message.frame("response.output_text.done");
            events.put(Frame { text: Some(&open.text), logprobs: Some(&open.logprobs), ..frame }, out);
        }
        let frame = message.frame("response.content_part.done");
        events.put(Frame { part: Some(open.body()), ..frame }, out);
        let part = raw(&open.body());
        message.parts.push(part);
    }

    pub(super) fn end_message(&mut self, status: &'static str, events: &mut EventWriter, out: &mut Vec<u8>) {
        self.end_text(events, out);
        let Some(message) = self.message.take() else { return };
        let item = raw(&message_item(&message.id, status, &message.parts));
        self.put_done(message.index, item, events, out);
    }

    fn put_done(&mut self, index: usize, item: Box<RawValue>, events: &mut EventWriter, out: &mut Vec<u8>) {
        let r#type = "response.output_item.done";
        events.put(Frame { r#type, output_index: Some(index), item: Some(&item), ..Frame::default() }, out);
        if let Some(slot) = self.items.get_mut(index) {
            *slot = Some(item);
        }
    }

    fn begin_item(
        &mut self,
        part: u32,
        id: Option<String>,
        kind: OpenKind,
        events: &mut EventWriter,
        out: &mut Vec<u8>,
    ) {
        self.end_message("completed", events, out);
        let prefix = match &kind {
            OpenKind::Call { is_custom: false, .. } => "fc",
            OpenKind::Call { is_custom: true, .. } => "ctc",
            OpenKind::Thought { .. } => "rs",
        };
        let id = id.unwrap_or_else(|| self.new_id(prefix));
        let open = Open { index: self.items.len(), id, text: String::new(), kind };
        self.items.push(None);
        let item = open.item("in_progress");
        let r#type = "response.output_item.added";
        events.put(
            Frame { r#type, output_index: Some(open.index), item: Some(&item), ..Frame::default() },
            out,
        );
        self.open.insert(part, open);
    }

    fn end_item(
        &mut self,
        mut open: Open,
        status: &'static str,
        events: &mut EventWriter,
        out: &mut Vec<u8>,
    ) {
        if let OpenKind::Call { is_custom: false, .. } = open.kind
            && open.text.trim().is_empty()
        {
            // Clients parse the arguments, so empty ones become an empty object.
            open.delta("{}", events, out);
        }
        open.done(events, out);
        let item = open.item(status);
        self.put_done(open.index, item, events, out);
    }
}

const fn message_item<'a>(id: &'a str, status: &'static str, content: &'a [Box<RawValue>]) -> Item<'a> {
    Item::Message { id, status, role: "assistant", content }
}

/// Item types that only this format has end in one of these.
fn is_own_item(kind: &str) -> bool {
    ["_call", "_call_output", "mcp_list_tools", "mcp_approval_request", "tool_search_output", "compaction"]
        .iter()
        .any(|end| kind.ends_with(end))
}

impl Message {
    /// An event about the open content part, or the next one.
    fn frame(&self, r#type: &'static str) -> Frame<'_> {
        Frame {
            r#type,
            item_id: Some(&self.id),
            output_index: Some(self.index),
            content_index: Some(self.parts.len()),
            ..Frame::default()
        }
    }

    fn is_at(&self, part: u32) -> bool {
        self.open.as_ref().is_some_and(|open| open.part == part)
    }
}

impl Text {
    fn body(&self) -> Part<'_> {
        if self.is_refusal {
            return Part::Refusal { refusal: &self.text };
        }
        Part::OutputText { text: &self.text, annotations: &self.annotations, logprobs: &self.logprobs }
    }
}

impl Open {
    fn frame(&self, r#type: &'static str) -> Frame<'_> {
        let mut frame =
            Frame { r#type, item_id: Some(&self.id), output_index: Some(self.index), ..Frame::default() };
        match self.kind {
            OpenKind::Thought { is_summary: true, .. } => frame.summary_index = Some(0),
            OpenKind::Thought { .. } => frame.content_index = Some(0),
            OpenKind::Call { .. } => {}
        }
        frame
    }

    fn delta(&mut self, text: &str, events: &mut EventWriter, out: &mut Vec<u8>) {
        let r#type = match self.kind {
            OpenKind::Call { is_custom: false, .. } => "response.function_call_arguments.delta",
            OpenKind::Call { is_custom: true, .. } => "response.custom_tool_call_input.delta",
            OpenKind::Thought { is_summary, .. } => {
                if self.text.is_empty() {
                    let r#type = part_event(
                        is_summary,
                        "response.reasoning_summary_part.added",
                        "response.content_part.added",
                    );
                    events.put(Frame { part: self.thought(), ..self.frame(r#type) }, out);
                }
                part_event(
                    is_summary,
                    "response.reasoning_summary_text.delta",
                    "response.reasoning_text.delta",
                )
            }
        };
        events.put(Frame { delta: Some(text), ..self.frame(r#type) }, out);
        self.text.push_str(text);
    }

    fn done(&self, events: &mut EventWriter, out: &mut Vec<u8>) {
        let text = self.text.as_str();
        match &self.kind {
            OpenKind::Call { name, is_custom: false, .. } => {
                let frame = self.frame("response.function_call_arguments.done");
                events.put(Frame { name: Some(name), arguments: Some(text), ..frame }, out);
            }
            OpenKind::Call { .. } => {
                let frame = self.frame("response.custom_tool_call_input.done");
                events.put(Frame { input: Some(text), ..frame }, out);
            }
            OpenKind::Thought { .. } if text.is_empty() => {}
            OpenKind::Thought { is_summary, .. } => {
                let r#type = part_event(
                    *is_summary,
                    "response.reasoning_summary_text.done",
                    "response.reasoning_text.done",
                );
                events.put(Frame { text: Some(text), ..self.frame(r#type) }, out);
                let r#type = part_event(
                    *is_summary,
                    "response.reasoning_summary_part.done",
                    "response.content_part.done",
                );
                events.put(Frame { part: self.thought(), ..self.frame(r#type) }, out);
            }
        }
    }

    fn thought(&self) -> Option<Part<'_>> {
        match self.kind {
            OpenKind::Thought { is_summary: true, .. } => Some(Part::SummaryText { text: &self.text }),
            OpenKind::Thought { .. } => Some(Part::ReasoningText { text: &self.text }),
            OpenKind::Call { .. } => None,
        }
    }

    fn item(&self, status: &'static str) -> Box<RawValue> {
        let id = self.id.as_str();
        match &self.kind {
            OpenKind::Call { call_id, name, namespace, is_custom } => {
                let namespace = namespace.as_deref();
                raw(&if *is_custom {
                    Item::CustomToolCall { id, status, call_id, name, namespace, input: &self.text }
                } else {
                    Item::FunctionCall { id, status, call_id, name, namespace, arguments: &self.text }
                })
            }
            OpenKind::Thought { is_summary, seal } => {
                let part: Vec<Part<'_>> =
                    self.thought().filter(|_| !self.text.is_empty()).into_iter().collect();
                let (summary, content): (&[Part<'_>], &[Part<'_>]) =
                    if *is_summary { (&part, &[]) } else { (&[], &part) };
                raw(&Item::Reasoning { id, summary, content, encrypted_content: seal.as_deref() })
            }
        }
    }
}

const fn part_event(is_summary: bool, summary: &'static str, content: &'static str) -> &'static str {
    if is_summary { summary } else { content }
}
