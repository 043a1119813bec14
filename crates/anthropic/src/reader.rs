//! Reads responses of Anthropic's Messages API, streamed or buffered.

use conversation::answer::{ReadAnswer, StreamFault};
use domain::limits::{ANSWER_BYTES_MAX, ASSEMBLED_CALLS_MAX};
use domain::prompt::Json;
use domain::{Event, Finish, PartKind, Reason, Usage};
use json::{Cursor, JsonError, Kind, Value, find_member};

use super::pieces::{Block, EventParts, Message, Stop, error_fault, slice, upstream_fault};
use super::usage::UsageCounters;

const BAD_JSON: StreamFault = StreamFault::Broken("bad_json");

#[derive(Debug, Default)]
pub struct Reader {
    started: bool,
    /// Parts started so far.
    parts: u32,
    open: Vec<Open>,
    /// The response has some content, not only its start.
    has_content: bool,
    usage: UsageCounters,
    /// The last usage report that was emitted.
    last_usage: Option<Usage>,
    /// Bytes buffered for blocks that are emitted complete.
    held: usize,
    finished: bool,
    done: bool,
}

/// A block that has started and not ended.
#[derive(Debug)]
struct Open {
    /// The upstream's index of the block.
    index: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Text, thinking or redacted thinking, by its part.
    Part(u32),
    /// A tool call. `input` is what came with the block's start, for upstreams that send arguments there.
    Call { part: u32, input: Option<String>, has_delta: bool },
    /// A vendor-specific block, emitted once it is complete.
    Foreign { kind: String, json: String, input: String },
}

impl ReadAnswer for Reader {
    fn event(&mut self, name: &[u8], data: &[u8], out: &mut Vec<Event>) -> Result<(), StreamFault> {
        let text = std::str::from_utf8(data).map_err(|_| BAD_JSON)?.trim_ascii();
        // For example `[DONE]`, which ends OpenAI streams.
        if !text.starts_with('{') {
            return Ok(());
        }
        let mut parts = EventParts::read(text)?;
        if parts.kind.is_empty() {
            parts.kind = String::from_utf8_lossy(name).into_owned();
        }
        self.take(&parts, text, out)
    }

    fn end(&mut self, out: &mut Vec<Event>) -> Result<(), StreamFault> {
        if self.done {
            return Ok(());
        }
        if !self.finished {
            return Err(StreamFault::Broken(if self.started { "ended_early" } else { "empty" }));
        }
        self.finish_all(out);
        Ok(())
    }

    fn read_buffered(&mut self, body: &[u8], out: &mut Vec<Event>) -> Result<(), StreamFault> {
        let text = std::str::from_utf8(body).map_err(|_| BAD_JSON)?;
        let mut message = Message::default();
        let mut has_error = false;
        let mut cursor = Cursor::new(body)?;
        if cursor.kind()? != Kind::Object {
            return Err(upstream_fault(body));
        }
        cursor.object(|cursor, member| {
            let name = member.key.decode();
            has_error |= name == "error" && cursor.kind()? != Kind::Null;
            message.read(&name, cursor, text)
        })?;
        cursor.end()?;
        let Some(content) = message.content.filter(|_| !has_error) else { return Err(upstream_fault(body)) };
        self.start(&message, out);
        self.read_usage(message.usage)?;
        Cursor::new(content.as_bytes())?.array(|cursor, index| {
            let block = Block::read(cursor, content)?;
            self.begin(index as u64, &block, out);
            self.end_block(index as u64, out);
            Ok::<(), JsonError>(())
        })?;
        self.stop(&message.stop, out);
        self.finish_all(out);
        Ok(())
    }
}

impl Reader {
    fn take(&mut self, event: &EventParts<'_>, text: &str, out: &mut Vec<Event>) -> Result<(), StreamFault> {
        match &*event.kind {
            "error" => return Err(error_fault(text.as_bytes())),
            // After the response has ended, only its usage can change.
            "content_block_start" | "content_block_delta" if self.finished => {}
            "message_start" => {
                let message = event.message.map(Message::of).transpose()?.unwrap_or_default();
                self.start(&message, out);
                self.read_usage(message.usage)?;
                self.push_usage(out);
            }
            "content_block_start" => {
                let mut block = Block::default();
                if let Some(raw) = event.block {
                    block = Block::read(&mut Cursor::new(raw.as_bytes())?, raw)?;
                }
                self.start(&Message::default(), out);
                self.begin(event.index, &block, out);
                self.held += block.raw.len();
                if self.open.len() > ASSEMBLED_CALLS_MAX || self.held > ANSWER_BYTES_MAX {
                    return Err(StreamFault::Broken("oversized"));
                }
            }
            "content_block_delta" => {
                self.start(&Message::default(), out);
                self.delta(event.index, event.delta.unwrap_or("{}"), out)?;
            }
            "content_block_stop" => self.end_block(event.index, out),
            "message_delta" => self.message_delta(event, out)?,
            "message_stop" => {
                self.start(&Message::default(), out);
                self.finish_all(out);
            }
            // Pings, and event types that a later API version adds.
            _ => {}
        }
        Ok(())
    }

    fn start(&mut self, message: &Message<'_>, out: &mut Vec<Event>) {
        if !std::mem::replace(&mut self.started, true) {
            let (id, model) = (message.id.clone(), message.model.clone());
            out.push(Event::Start { id, model, created_unix_s: None });
        }
    }

    fn read_usage(&mut self, usage: Option<&str>) -> Result<(), JsonError> {
        usage.map_or(Ok(()), |usage| self.usage.read(&mut Cursor::new(usage.as_bytes())?))
    }

    fn push_usage(&mut self, out: &mut Vec<Event>) {
        let may_be_zero = self.finished && !self.has_content;
        let usage = self.usage.usage(may_be_zero).filter(|usage| self.last_usage != Some(*usage));
        if usage.is_some() {
            self.last_usage = usage;
        }
        out.extend(usage.map(Event::Usage));
    }

    fn begin(&mut self, index: u64, block: &Block<'_>, out: &mut Vec<Event>) {
        // Ends a block whose upstream never did. Only tool calls may be open concurrently.
        self.end_block(index, out);
        let kind = match &*block.kind {
            "text" => PartKind::Text,
            "thinking" => PartKind::Thought { is_summary: false, id: None },
            "redacted_thinking" => PartKind::Redacted,
            "tool_use" => PartKind::Call { id: block.id.clone(), name: block.name.clone(), is_custom: false },
            // Not a block at all.
            _ if block.raw.is_empty() => return,
            _ => {
                let state = State::Foreign {
                    kind: block.kind.clone(),
                    json: block.raw.to_owned(),
                    input: String::new(),
                };
                self.open.push(Open { index, state });
                return;
            }
        };
        let is_call = matches!(kind, PartKind::Call { .. });
        let part = self.begin_part(kind, out);
        if !block.text.is_empty() && !is_call {
            self.push_delta(part, block.text.clone(), out);
        }
        if !block.seal.is_empty() && !is_call {
            out.push(Event::Signature { choice: 0, part, value: block.seal.clone() });
        }
        let citations = block.citations.iter().cloned();
        out.extend(citations.map(|json| Event::Citation { choice: 0, part, json }));
        let state = if is_call {
            let input = block.input.filter(|input| !is_empty_object(input)).map(str::to_owned);
            State::Call { part, input, has_delta: false }
        } else {
            State::Part(part)
        };
        self.open.push(Open { index, state });
    }

    fn begin_part(&mut self, kind: PartKind, out: &mut Vec<Event>) -> u32 {
        if !matches!(kind, PartKind::Call { .. }) {
            self.end_open(out);
        } else {
            self.end_where(|open| matches!(open.state, State::Part(_)), out);
        }
        self.has_content |= !matches!(kind, PartKind::Text | PartKind::Thought { .. });
        let part = self.parts;
        self.parts += 1;
        out.push(Event::Begin { choice: 0, part, kind });
        part
    }

    fn push_delta(&mut self, part: u32, text: String, out: &mut Vec<Event>) {
        self.has_content = true;
        out.push(Event::Delta { choice: 0, part, text });
    }

    fn delta(&mut self, index: u64, delta: &str, out: &mut Vec<Event>) -> Result<(), StreamFault> {
        let mut kind = String::new();
        let mut payload = None;
        let mut citation = None;
        Cursor::new(delta.as_bytes())?.object(|cursor, member| {
            let name = member.key.decode();
            match (&*name, cursor.value()?) {
                ("type", Value::String(text)) => kind = text.decode().into_owned(),
                ("text" | "thinking" | "partial_json" | "signature", Value::String(text)) => {
                    payload = Some(text.decode().into_owned());
                }
                ("citation", Value::Object(span)) => citation = slice(delta, span),
                _ => {}
            }
            Ok::<(), JsonError>(())
        })?;
        if !self.open.iter().any(|open| open.index == index) {
            self.begin_unannounced(index, &kind, out);
        }
        let Some(open) = self.open.iter_mut().find(|open| open.index == index) else { return Ok(()) };
        match (&mut open.state, &*kind) {
            (State::Part(part), "text_delta" | "thinking_delta") => {
                let part = *part;
                if let Some(text) = payload.filter(|text| !text.is_empty()) {
                    self.push_delta(part, text, out);
                }
            }
            (State::Part(part), "signature_delta") => {
                let part = *part;
                out.extend(payload.map(|value| Event::Signature { choice: 0, part, value }));
            }
            (State::Part(part), "citations_delta") => {
                let part = *part;
                let json = citation.map(|raw| Json(raw.to_owned()));
                out.extend(json.map(|json| Event::Citation { choice: 0, part, json }));
            }
            (State::Call { part, has_delta, .. }, "input_json_delta") => {
                if let Some(text) = payload.filter(|text| !text.is_empty()) {
                    *has_delta = true;
                    let part = *part;
                    self.push_delta(part, text, out);
                }
            }
            (State::Foreign { input, .. }, "input_json_delta") => {
                let more = payload.unwrap_or_default();
                self.held += more.len();
                input.push_str(&more);
                if self.held > ANSWER_BYTES_MAX {
                    return Err(StreamFault::Broken("oversized"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Starts a block from a delta that came without a `content_block_start`: the delta's type gives the
    /// block's kind.
    fn begin_unannounced(&mut self, index: u64, delta: &str, out: &mut Vec<Event>) {
        let kind = match delta {
            "text_delta" => "text",
            "thinking_delta" => "thinking",
            _ => return,
        };
        self.begin(index, &Block { kind: kind.to_owned(), ..Block::default() }, out);
    }

    fn end_block(&mut self, index: u64, out: &mut Vec<Event>) {
        self.end_where(|open| open.index == index, out);
    }

    fn end_open(&mut self, out: &mut Vec<Event>) {
        self.end_where(|_| true, out);
    }

    fn end_where(&mut self, ends: impl Fn(&Open) -> bool, out: &mut Vec<Event>) {
        while let Some(at) = self.open.iter().position(&ends) {
            match self.open.remove(at).state {
                State::Part(part) => out.push(Event::End { choice: 0, part }),
                State::Call { part, input, has_delta } => {
                    if !has_delta {
                        self.push_delta(part, input.unwrap_or_else(|| "{}".to_owned()), out);
                    }
                    out.push(Event::End { choice: 0, part });
                }
                State::Foreign { kind, json, input } => {
                    let json = Json(with_input(json, &input));
                    let part = self.begin_part(PartKind::Foreign { kind, json }, out);
                    out.push(Event::End { choice: 0, part });
                }
            }
        }
    }

    fn message_delta(&mut self, event: &EventParts<'_>, out: &mut Vec<Event>) -> Result<(), StreamFault> {
        self.start(&Message::default(), out);
        let mut stop = Stop::default();
        if let Some(delta) = event.delta {
            Cursor::new(delta.as_bytes())?.object(|cursor, member| {
                let value = cursor.value()?;
                stop.read(&member.key.decode(), value, delta)
            })?;
        }
        self.read_usage(event.usage)?;
        if stop.reason.is_some() {
            self.stop(&stop, out);
        }
        self.push_usage(out);
        Ok(())
    }

    /// Emits the finish reason, once.
    fn stop(&mut self, stop: &Stop, out: &mut Vec<Event>) {
        self.end_open(out);
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        let reason = self.reason(stop.reason.as_deref().unwrap_or_default());
        let (sequence, explanation) = (stop.sequence.clone(), stop.explanation.clone());
        let finish = Finish { reason, raw: stop.reason.clone(), sequence, explanation };
        out.push(Event::Finish { choice: 0, finish });
    }

    /// An unknown stop reason counts as a normal stop if the response has content, and as an error otherwise.
    fn reason(&self, word: &str) -> Reason {
        match word {
            "end_turn" => Reason::Stop,
            "max_tokens" => Reason::Length,
            "stop_sequence" => Reason::StopSequence,
            "tool_use" => Reason::Calls,
            "pause_turn" | "compaction" => Reason::Pause,
            "refusal" => Reason::Refusal,
            "model_context_window_exceeded" => Reason::ContextLength,
            _ if self.has_content => Reason::Stop,
            _ => Reason::Error,
        }
    }

    fn finish_all(&mut self, out: &mut Vec<Event>) {
        if !self.finished {
            self.stop(&Stop::default(), out);
        }
        self.push_usage(out);
        self.done = true;
        out.push(Event::Done);
    }
}

fn is_empty_object(raw: &str) -> bool {
    raw.bytes().all(|byte| matches!(byte, b'{' | b'}' | b' ' | b'\n' | b'\r' | b'\t'))
}

/// Inserts input that was streamed in pieces into its block, as if it had been sent in one.
fn with_input(json: String, input: &str) -> String {
    let is_json = json::validate(input.as_bytes()).is_ok();
    match find_member(json.as_bytes(), "input") {
        Ok(Some(span)) if is_json => {
            let (before, after) = (json.get(..span.start), json.get(span.end..));
            format!("{}{input}{}", before.unwrap_or_default(), after.unwrap_or_default())
        }
        _ => json,
    }
}
