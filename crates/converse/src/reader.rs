//! Reads responses of Bedrock's Converse API, streamed or buffered.

use conversation::answer::{ReadAnswer, StreamFault};
use domain::limits::ASSEMBLED_CALLS_MAX;
use domain::{Event, Finish, PartKind, Reason, Usage};
use json::{JsonError, find_member};

use super::error::read_error;
use super::pieces::{Answer, Block, ContentDelta, each, read_numbered, read_text};
use super::usage::UsageCounters;

#[derive(Debug, Default)]
pub struct Reader {
    started: bool,
    /// Parts started so far.
    parts: u32,
    open: Vec<Open>,
    /// The response has some content, not only its start.
    has_content: bool,
    has_call: bool,
    usage: UsageCounters,
    /// The last usage report that was emitted.
    last_usage: Option<Usage>,
    finished: bool,
    done: bool,
}

/// A part that has started and not ended.
#[derive(Debug)]
struct Open {
    /// The upstream's index of its block.
    index: u64,
    part: u32,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Thought,
    Redacted,
    /// A tool call, and whether any of its arguments were emitted.
    Call(bool),
}

impl ReadAnswer for Reader {
    fn event(&mut self, name: &[u8], data: &[u8], out: &mut Vec<Event>) -> Result<(), StreamFault> {
        match name {
            b"messageStart" => self.start(out),
            // After the response has ended, only its usage can change.
            b"contentBlockStart" | b"contentBlockDelta" | b"messageStop" if self.finished => {}
            b"contentBlockStart" => {
                let (index, start) = read_numbered(data, "start")?;
                let block = start.map_or(Ok(None), |span| Block::read(span.of(data)))?;
                self.start(out);
                self.begin(index, block, out);
                if self.open.len() > ASSEMBLED_CALLS_MAX {
                    return Err(StreamFault::Broken("oversized"));
                }
            }
            b"contentBlockDelta" => {
                let (index, delta) = read_numbered(data, "delta")?;
                let piece =
                    delta.map_or(Ok(ContentDelta::Other), |span| ContentDelta::read(span.of(data)))?;
                self.start(out);
                self.push_piece(index, piece, out);
            }
            b"contentBlockStop" => {
                let (index, _) = read_numbered(data, "")?;
                self.end_where(|open| open.index == index, out);
            }
            b"messageStop" => {
                let word = read_text(data, "stopReason")?;
                self.start(out);
                self.stop(word, out);
            }
            b"metadata" => self.metadata(data, out)?,
            // Event types that a later API version adds.
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<Event>) -> Result<(), StreamFault> {
        if self.done {
            return Ok(());
        }
        if !self.finished {
            return Err(StreamFault::Broken(if self.started { "ended_early" } else { "empty" }));
        }
        self.finish(out);
        Ok(())
    }

    fn read_buffered(&mut self, body: &[u8], out: &mut Vec<Event>) -> Result<(), StreamFault> {
        let answer = Answer::read(body)?;
        let Some(content) = answer.content else { return Err(no_answer(body)) };
        self.start(out);
        if let Some(tier) = answer.tier {
            self.usage.read_tier(tier.of(body))?;
        }
        if let Some(usage) = answer.usage {
            self.usage.read(usage.of(body))?;
        }
        let mut index = 0;
        each(content.of(body), |block| {
            self.begin(index, Block::read(block)?, out);
            self.end_where(|_| true, out);
            index += 1;
            Ok::<(), JsonError>(())
        })?;
        self.stop(answer.stop, out);
        self.finish(out);
        Ok(())
    }
}

/// The fault for a body without a message: an error sent with a success status, or something else entirely.
fn no_answer(body: &[u8]) -> StreamFault {
    let has = |name| find_member(body, name).is_ok_and(|found| found.is_some());
    if !["message", "Message", "__type", "error"].into_iter().any(has) {
        return StreamFault::Broken("not_an_answer");
    }
    let (report, class) = read_error(None, None, body);
    StreamFault::Upstream(report, class)
}

impl Reader {
    fn start(&mut self, out: &mut Vec<Event>) {
        if !std::mem::replace(&mut self.started, true) {
            // Converse sends neither an id nor a model.
            out.push(Event::Start { id: None, model: None, created_unix_s: None });
        }
    }

    fn begin(&mut self, index: u64, block: Option<Block>, out: &mut Vec<Event>) {
        self.end_where(|open| open.index == index, out);
        match block {
            None => {}
            Some(Block::Deltas(pieces)) => {
                for piece in pieces {
                    self.push_piece(index, piece, out);
                }
            }
            Some(Block::Call { id, name, input }) => {
                let kind = PartKind::Call { id, name, is_custom: false };
                let part = self.begin_part(index, Kind::Call(false), kind, out);
                self.has_call = true;
                if let Some(input) = input {
                    self.push_delta(part, input, out);
                }
            }
            Some(Block::Foreign { kind, json }) => {
                self.end_where(|_| true, out);
                self.has_content = true;
                let part = self.parts;
                self.parts += 1;
                out.push(Event::Begin { choice: 0, part, kind: PartKind::Foreign { kind, json } });
                out.push(Event::End { choice: 0, part });
            }
        }
    }

    /// Text and reasoning blocks have no start event: their first delta starts them.
    fn push_piece(&mut self, index: u64, piece: ContentDelta, out: &mut Vec<Event>) {
        match piece {
            ContentDelta::Text(text) if !text.is_empty() => {
                let part = self.part_of(index, Kind::Text, out);
                self.push_delta(part, text, out);
            }
            ContentDelta::Thought(text) if !text.is_empty() => {
                let part = self.part_of(index, Kind::Thought, out);
                self.push_delta(part, text, out);
            }
            ContentDelta::Seal(value) => {
                let part = self.part_of(index, Kind::Thought, out);
                out.push(Event::Signature { choice: 0, part, value });
            }
            ContentDelta::Redacted(value) => {
                let part = self.part_of(index, Kind::Redacted, out);
                out.push(Event::Signature { choice: 0, part, value });
            }
            ContentDelta::Input(text) if !text.is_empty() => {
                let call = self.find(index, |kind| matches!(kind, Kind::Call(_)));
                if let Some(part) = call {
                    self.push_delta(part, text, out);
                }
            }
            ContentDelta::Citation(json) => {
                let text = self.find(index, |kind| kind == Kind::Text);
                out.extend(text.map(|part| Event::Citation { choice: 0, part, json }));
            }
            _ => {}
        }
    }

    fn find(&self, index: u64, is_kind: impl Fn(Kind) -> bool) -> Option<u32> {
        let found = self.open.iter().find(|open| open.index == index && is_kind(open.kind));
        found.map(|open| open.part)
    }

    /// The open part of the block, or a new one if the block's part is of another kind.
    fn part_of(&mut self, index: u64, kind: Kind, out: &mut Vec<Event>) -> u32 {
        if let Some(part) = self.find(index, |open| open == kind) {
            return part;
        }
        self.end_where(|open| open.index == index, out);
        let part_kind = match kind {
            Kind::Thought => PartKind::Thought { is_summary: false, id: None },
            Kind::Redacted => PartKind::Redacted,
            Kind::Text | Kind::Call(_) => PartKind::Text,
        };
        self.begin_part(index, kind, part_kind, out)
    }

    /// Starts a part and ends the others. Only tool calls may be open concurrently.
    fn begin_part(&mut self, index: u64, kind: Kind, part_kind: PartKind, out: &mut Vec<Event>) -> u32 {
        let is_call = matches!(kind, Kind::Call(_));
        self.end_where(|open| !is_call || !matches!(open.kind, Kind::Call(_)), out);
        self.has_content |= matches!(kind, Kind::Call(_) | Kind::Redacted);
        let part = self.parts;
        self.parts += 1;
        self.open.push(Open { index, part, kind });
        out.push(Event::Begin { choice: 0, part, kind: part_kind });
        part
    }

    fn push_delta(&mut self, part: u32, text: String, out: &mut Vec<Event>) {
        self.has_content = true;
        for open in self.open.iter_mut().filter(|open| open.part == part) {
            if let Kind::Call(has_delta) = &mut open.kind {
                *has_delta = true;
            }
        }
        out.push(Event::Delta { choice: 0, part, text });
    }

    fn end_where(&mut self, ends: impl Fn(&Open) -> bool, out: &mut Vec<Event>) {
        let (ended, open) = std::mem::take(&mut self.open).into_iter().partition(ends);
        self.open = open;
        let ended: Vec<Open> = ended;
        for Open { part, kind, .. } in ended {
            if kind == Kind::Call(false) {
                // A call without arguments gets an empty object.
                out.push(Event::Delta { choice: 0, part, text: "{}".to_owned() });
            }
            out.push(Event::End { choice: 0, part });
        }
    }

    /// Emits the finish reason, once.
    fn stop(&mut self, word: Option<String>, out: &mut Vec<Event>) {
        self.end_where(|_| true, out);
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        let reason = self.reason(word.as_deref().unwrap_or_default());
        let finish = Finish { raw: word, ..Finish::of(reason) };
        out.push(Event::Finish { choice: 0, finish });
    }

    /// An unknown stop reason counts as a normal stop if the response has content, and as an error otherwise.
    fn reason(&self, word: &str) -> Reason {
        match word {
            "end_turn" => Reason::Stop,
            "tool_use" => Reason::Calls,
            "max_tokens" => Reason::Length,
            "stop_sequence" => Reason::StopSequence,
            "guardrail_intervened" | "content_filtered" => Reason::ContentFilter,
            "malformed_model_output" | "malformed_tool_use" => Reason::MalformedCall,
            "model_context_window_exceeded" => Reason::ContextLength,
            _ if self.has_call => Reason::Calls,
            _ if self.has_content => Reason::Stop,
            _ => Reason::Error,
        }
    }

    /// Reads the event after `messageStop`, which holds the usage and the service tier.
    fn metadata(&mut self, data: &[u8], out: &mut Vec<Event>) -> Result<(), StreamFault> {
        if let (_, Some(tier)) = read_numbered(data, "serviceTier")? {
            self.usage.read_tier(tier.of(data))?;
        }
        if let (_, Some(usage)) = read_numbered(data, "usage")? {
            self.usage.read(usage.of(data))?;
        }
        self.start(out);
        if self.finished {
            self.finish(out);
        } else {
            self.push_usage(out);
        }
        Ok(())
    }

    fn push_usage(&mut self, out: &mut Vec<Event>) {
        let may_be_zero = self.finished && !self.has_content;
        let usage = self.usage.usage(may_be_zero).filter(|usage| self.last_usage != Some(*usage));
        if usage.is_some() {
            self.last_usage = usage;
        }
        out.extend(usage.map(Event::Usage));
    }

    fn finish(&mut self, out: &mut Vec<Event>) {
        self.push_usage(out);
        self.done = true;
        out.push(Event::Done);
    }
}
