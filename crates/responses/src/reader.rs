//! Reads a Responses answer, streamed or buffered, into events.

use std::borrow::Cow;
use std::collections::BTreeMap;

use conversation::answer::{ReadAnswer, StreamFault};
use domain::{Event, PartKind};
use json::members::{Members, json_of};

use super::ending::upstream;
use super::tools::flat_name;

#[derive(Debug, Default)]
pub struct Reader {
    is_started: bool,
    pub(super) is_done: bool,
    /// How many parts started.
    pub(super) parts: u32,
    /// The open text, refusal or reasoning; there is one at most.
    open: Option<(Key, u32)>,
    /// What was emitted of each output item.
    pub(super) items: BTreeMap<u64, Item>,
    pub(super) has_calls: bool,
    pub(super) has_refusal: bool,
}

/// A text within an item; the parts of a reasoning item form one text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    item: u64,
    slot: Slot,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Slot {
    Text(u64),
    Refusal(u64),
    Summary,
    Thought,
}

#[derive(Debug, Default)]
pub(super) struct Item {
    /// The item's id, which reasoning parts keep.
    id: Option<String>,
    call: Option<Call>,
    /// How many bytes of each text were emitted, so that a repetition adds only what is missing.
    sent: BTreeMap<Slot, usize>,
    /// How many citations were emitted for each text.
    cited: BTreeMap<u64, usize>,
    /// The part of a reasoning item that its latest text came from.
    paragraph: Option<u64>,
    is_done: bool,
}

#[derive(Debug)]
struct Call {
    part: u32,
    sent: usize,
    is_open: bool,
}

impl ReadAnswer for Reader {
    fn event(&mut self, name: &[u8], data: &[u8], out: &mut Vec<Event>) -> Result<(), StreamFault> {
        let data = data.trim_ascii();
        if self.is_done || data == b"[DONE]" {
            return Ok(());
        }
        let Some(event) = Members::of_answer(data) else { return Err(StreamFault::Broken("bad_json")) };
        let name = String::from_utf8_lossy(name);
        let kind = event.find_text("type").unwrap_or(name);
        match &*kind {
            "error" => return Err(upstream(data)),
            "response.created" | "response.queued" | "response.in_progress" => {
                let response = event.find_members("response");
                self.start(response.as_ref(), out);
            }
            "response.completed" | "response.incomplete" | "response.failed" | "response.cancelled" => {
                let response = event.find_members("response");
                let Some(response) = response else { return Err(StreamFault::Broken("not_a_response")) };
                self.finish(&response, out)?;
            }
            _ => match kind.strip_prefix("response.") {
                Some(kind) => self.content(kind, &event, out)?,
                // Errors of servers that send no type; other events of unknown type are ignored.
                None if event.find_object("error").is_some() => return Err(upstream(data)),
                None => {}
            },
        }
        Ok(())
    }

    fn end(&mut self, _out: &mut Vec<Event>) -> Result<(), StreamFault> {
        if self.is_done { Ok(()) } else { Err(StreamFault::Broken("ended_early")) }
    }

    fn read_buffered(&mut self, body: &[u8], out: &mut Vec<Event>) -> Result<(), StreamFault> {
        let Some(response) = Members::of_answer(body) else { return Err(StreamFault::Broken("bad_json")) };
        let is_response = response.find_array("output").is_some()
            || response.find_text("object").is_some_and(|object| object == "response");
        if !is_response {
            let is_error = response.find_object("error").is_some() || response.find_text("error").is_some();
            return Err(if is_error { upstream(body) } else { StreamFault::Broken("not_a_response") });
        }
        self.finish(&response, out)
    }
}

impl Reader {
    pub(super) fn start(&mut self, response: Option<&Members<'_>>, out: &mut Vec<Event>) {
        if std::mem::replace(&mut self.is_started, true) {
            return;
        }
        let text = |name| response.and_then(|response| response.find_text(name)).map(Cow::into_owned);
        out.push(Event::Start {
            id: text("id"),
            model: text("model"),
            created_unix_s: response.and_then(|response| response.find_count("created_at")),
        });
    }

    /// An event between the first and the last.
    fn content(&mut self, kind: &str, event: &Members<'_>, out: &mut Vec<Event>) -> Result<(), StreamFault> {
        let at = event.find_count("output_index").unwrap_or(0);
        let index = event.find_count("content_index").unwrap_or(0);
        let delta = || event.find_text("delta").unwrap_or_default();
        match kind {
            "output_item.added" => self.item_added(at, event, out),
            "output_item.done" => self.item_done(at, event.find_object("item"), out)?,
            "content_part.added" => self.read_content_part(at, index, event, out),
            "content_part.done" => {
                self.read_content_part(at, index, event, out);
                // A reasoning item's encrypted content comes after its last part, so the item stays open.
                if matches!(self.open, Some((Key { slot: Slot::Text(_) | Slot::Refusal(_), .. }, _))) {
                    self.end_text(out);
                }
            }
            "output_text.delta" => {
                self.push_text(Key { item: at, slot: Slot::Text(index) }, &delta(), out);
                self.logprobs(event, out);
            }
            "output_text.done" => {
                self.push_rest(Key { item: at, slot: Slot::Text(index) }, event.find_text("text"), out)
            }
            "output_text.annotation.added" => {
                if let Some(citation) = event.find_object("annotation") {
                    self.cite(at, index, citation, out);
                }
            }
            "refusal.delta" => self.push_text(Key { item: at, slot: Slot::Refusal(index) }, &delta(), out),
            "refusal.done" => {
                self.push_rest(Key { item: at, slot: Slot::Refusal(index) }, event.find_text("refusal"), out);
            }
            "reasoning_summary_text.delta" => {
                let part = event.find_count("summary_index").unwrap_or(0);
                self.think(Key { item: at, slot: Slot::Summary }, part, &delta(), out);
            }
            "reasoning_text.delta" => self.think(Key { item: at, slot: Slot::Thought }, index, &delta(), out),
            "function_call_arguments.delta" | "custom_tool_call_input.delta" => {
                self.argue(at, &delta(), out)?
            }
            "function_call_arguments.done" => {
                self.argue_rest(at, event.find_text("arguments").as_deref(), out)?
            }
            "custom_tool_call_input.done" => self.argue_rest(at, event.find_text("input").as_deref(), out)?,
            _ => {}
        }
        Ok(())
    }

    fn item_added(&mut self, at: u64, event: &Members<'_>, out: &mut Vec<Event>) {
        self.start(None, out);
        let Some(item) = event.find_members("item") else { return };
        self.items.entry(at).or_default().id = item.find_text("id").map(Cow::into_owned);
        self.begin_call(at, &item, out);
    }

    /// Starts a call, where the item is one and has not started yet.
    fn begin_call(&mut self, at: u64, item: &Members<'_>, out: &mut Vec<Event>) {
        let is_custom = match item.find_text("type").as_deref() {
            Some("function_call") => false,
            Some("custom_tool_call") => true,
            _ => return,
        };
        if self.items.get(&at).is_some_and(|item| item.call.is_some()) {
            return;
        }
        self.end_text(out);
        let name = item.find_text("name").unwrap_or_default();
        let name = match item.find_text("namespace") {
            Some(namespace) => flat_name(&namespace, &name),
            None => name.into_owned(),
        };
        let id = item.find_text("call_id").or_else(|| item.find_text("id")).unwrap_or_default().into_owned();
        let part = self.begin(PartKind::Call { id, name, is_custom }, out);
        self.items.entry(at).or_default().call = Some(Call { part, sent: 0, is_open: true });
        self.has_calls = true;
    }

    fn begin(&mut self, kind: PartKind, out: &mut Vec<Event>) -> u32 {
        self.start(None, out);
        let part = self.parts;
        self.parts += 1;
        out.push(Event::Begin { choice: 0, part, kind });
        part
    }

    /// The part that a text goes to. Texts come one after another: one that is resumed later becomes a new
    /// part.
    fn text_part(&mut self, key: Key, out: &mut Vec<Event>) -> u32 {
        match self.open {
            Some((open, part)) if open == key => return part,
            _ => self.end_text(out),
        }
        // No call may be open next to a text; the items of an answer come one after another.
        for call in self.items.values_mut().filter_map(|item| item.call.as_mut()).filter(|call| call.is_open)
        {
            call.is_open = false;
            out.push(Event::End { choice: 0, part: call.part });
        }
        let id = || self.items.get(&key.item).and_then(|item| item.id.clone());
        let kind = match key.slot {
            Slot::Text(_) => PartKind::Text,
            Slot::Refusal(_) => PartKind::Refusal,
            Slot::Summary => PartKind::Thought { is_summary: true, id: id() },
            Slot::Thought => PartKind::Thought { is_summary: false, id: id() },
        };
        self.has_refusal |= kind == PartKind::Refusal;
        let part = self.begin(kind, out);
        self.open = Some((key, part));
        self.items.entry(key.item).or_default().sent.entry(key.slot).or_default();
        part
    }

    pub(super) fn end_text(&mut self, out: &mut Vec<Event>) {
        if let Some((_, part)) = self.open.take() {
            out.push(Event::End { choice: 0, part });
        }
    }

    fn push_text(&mut self, key: Key, text: &str, out: &mut Vec<Event>) {
        let part = self.text_part(key, out);
        if text.is_empty() {
            return;
        }
        *self.items.entry(key.item).or_default().sent.entry(key.slot).or_default() += text.len();
        out.push(Event::Delta { choice: 0, part, text: text.to_owned() });
    }

    /// Emits what a complete text holds beyond what was emitted. An empty text still becomes a part.
    fn push_rest(&mut self, key: Key, whole: Option<Cow<'_, str>>, out: &mut Vec<Event>) {
        let Some(whole) = whole else { return };
        let sent = self.sent(key);
        match whole.get(sent.unwrap_or(0)..) {
            Some(rest) if !rest.is_empty() => self.push_text(key, rest, out),
            _ if sent.is_none() => drop(self.text_part(key, out)),
            _ => {}
        }
    }

    /// How much of a text was emitted; `None` where it has not started.
    fn sent(&self, key: Key) -> Option<usize> {
        self.items.get(&key.item)?.sent.get(&key.slot).copied()
    }

    /// Emits reasoning text; its parts are paragraphs of one text.
    fn think(&mut self, key: Key, paragraph: u64, text: &str, out: &mut Vec<Event>) {
        if text.is_empty() {
            return;
        }
        let before = self.items.entry(key.item).or_default().paragraph.replace(paragraph);
        if self.sent(key).is_some() && before.is_some_and(|before| before != paragraph) {
            self.push_text(key, "\n\n", out);
        }
        self.push_text(key, text, out);
    }

    fn read_content_part(&mut self, at: u64, index: u64, event: &Members<'_>, out: &mut Vec<Event>) {
        let Some(part) = event.find_members("part") else { return };
        self.message_part(at, index, &part, out);
    }

    fn message_part(&mut self, at: u64, index: u64, part: &Members<'_>, out: &mut Vec<Event>) {
        match part.find_text("type").as_deref() {
            Some("output_text") => {
                let key = Key { item: at, slot: Slot::Text(index) };
                let is_new = self.sent(key).is_none();
                self.push_rest(key, part.find_text("text"), out);
                if is_new {
                    self.logprobs(part, out);
                }
                let cited = self.items.get(&at).and_then(|item| item.cited.get(&index)).copied().unwrap_or(0);
                for citation in part.find_elements("annotations").into_iter().skip(cited) {
                    self.cite(at, index, citation, out);
                }
            }
            Some("refusal") => {
                self.push_rest(Key { item: at, slot: Slot::Refusal(index) }, part.find_text("refusal"), out);
            }
            _ => {}
        }
    }

    fn cite(&mut self, at: u64, index: u64, citation: &[u8], out: &mut Vec<Event>) {
        let part = self.text_part(Key { item: at, slot: Slot::Text(index) }, out);
        *self.items.entry(at).or_default().cited.entry(index).or_default() += 1;
        out.push(Event::Citation { choice: 0, part, json: json_of(citation) });
    }

    fn logprobs(&self, members: &Members<'_>, out: &mut Vec<Event>) {
        if !members.find_elements("logprobs").is_empty()
            && let Some(tokens) = members.find_array("logprobs")
        {
            out.push(Event::Logprobs { choice: 0, tokens: json_of(tokens) });
        }
    }

    fn argue(&mut self, at: u64, text: &str, out: &mut Vec<Event>) -> Result<(), StreamFault> {
        let call = self.items.get_mut(&at).and_then(|item| item.call.as_mut());
        match call {
            _ if text.is_empty() => Ok(()),
            Some(call) if call.is_open => {
                call.sent += text.len();
                out.push(Event::Delta { choice: 0, part: call.part, text: text.to_owned() });
                Ok(())
            }
            // Arguments of a call that was never opened, or has ended, would be lost.
            _ => Err(StreamFault::Broken("out_of_order")),
        }
    }

    fn argue_rest(&mut self, at: u64, whole: Option<&str>, out: &mut Vec<Event>) -> Result<(), StreamFault> {
        let call = self.items.get(&at).and_then(|item| item.call.as_ref());
        let Some(sent) = call.map(|call| call.sent) else { return Ok(()) };
        let rest = whole.and_then(|whole| whole.get(sent..)).unwrap_or_default();
        self.argue(at, rest, out)
    }

    /// A finished item: emits what was not emitted of it yet.
    pub(super) fn item_done(
        &mut self,
        at: u64,
        item: Option<&[u8]>,
        out: &mut Vec<Event>,
    ) -> Result<(), StreamFault> {
        self.start(None, out);
        let Some((bytes, item)) = item.and_then(|bytes| Some((bytes, Members::of_answer(bytes)?))) else {
            return Ok(());
        };
        if self.items.get(&at).is_some_and(|item| item.is_done) {
            return Ok(());
        }
        let kind = item.find_text("type").unwrap_or_default();
        match &*kind {
            "message" => {
                for (index, part) in (0..).zip(item.find_elements("content")) {
                    if let Some(part) = Members::of_answer(part) {
                        self.message_part(at, index, &part, out);
                    }
                }
            }
            "function_call" | "custom_tool_call" => {
                self.begin_call(at, &item, out);
                let member = if kind == "function_call" { "arguments" } else { "input" };
                self.argue_rest(at, item.find_text(member).as_deref(), out)?;
                self.end_call(at, out);
            }
            "reasoning" => self.thought_done(at, &item, out),
            "" => {}
            _ => {
                self.end_text(out);
                let part =
                    self.begin(PartKind::Foreign { kind: kind.into_owned(), json: json_of(bytes) }, out);
                out.push(Event::End { choice: 0, part });
            }
        }
        if self.open.is_some_and(|(key, _)| key.item == at) {
            self.end_text(out);
        }
        self.items.entry(at).or_default().is_done = true;
        Ok(())
    }

    pub(super) fn end_call(&mut self, at: u64, out: &mut Vec<Event>) {
        let call = self.items.get_mut(&at).and_then(|item| item.call.as_mut());
        if let Some(call) = call.filter(|call| call.is_open) {
            call.is_open = false;
            out.push(Event::End { choice: 0, part: call.part });
        }
    }

    fn thought_done(&mut self, at: u64, item: &Members<'_>, out: &mut Vec<Event>) {
        let entry = self.items.entry(at).or_default();
        if entry.id.is_none() {
            entry.id = item.find_text("id").map(Cow::into_owned);
        }
        for (member, slot) in [("summary", Slot::Summary), ("content", Slot::Thought)] {
            let key = Key { item: at, slot };
            if self.sent(key).is_some() {
                continue;
            }
            for (index, part) in (0..).zip(item.find_elements(member)) {
                let text = Members::of_answer(part).and_then(|part| part.find_text("text"));
                self.think(key, index, &text.unwrap_or_default(), out);
            }
        }
        if let Some(value) = item.find_text("encrypted_content") {
            let part = match self.open {
                Some((key, part)) if key.item == at => part,
                _ => self.text_part(Key { item: at, slot: Slot::Summary }, out),
            };
            out.push(Event::Signature { choice: 0, part, value: value.into_owned() });
        }
    }
}
