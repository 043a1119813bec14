//! Writes answers of this grammar, streamed or whole.

use std::borrow::Cow;
use std::collections::VecDeque;

use domain::prompt::Json;
use domain::{Event, Fault, FaultClass, Finish, PartKind, Reason, TraceId, Usage};

use super::refused::{error_body, exception};
use super::said::{
    Block, Call, Delta, Metadata, Metrics, OfBlock, Report, Said, SaidThought, Shape, Start, Stop, Stopped,
    put, put_exception, raw, stop_reason,
};
use super::whole;
use crate::answer::{Progress, Wish, WriteAnswer};

/// What one frame says at most of a text: escaped it is still far below what a frame may hold.
const PIECE_BYTES_MAX: usize = 1024 * 1024;

/// Blocks go out one at a time, numbered without a gap: what else is said meanwhile waits.
#[derive(Debug)]
pub(crate) struct Writer {
    wish: Wish,
    /// Blocks that began and are not wholly written: the first goes out as it comes.
    blocks: VecDeque<Pending>,
    /// The number that the next block gets.
    next: u32,
    shape: Shape,
    /// Others told already how the answer ended.
    is_stopped: bool,
    finish: Option<Finish>,
    usage: Option<Usage>,
}

#[derive(Debug)]
struct Pending {
    part: u32,
    kind: PartKind,
    /// Its number, once something of it went out.
    number: Option<u32>,
    /// What was said of it and not yet written.
    text: String,
    /// Some of a call's arguments were written.
    has_said: bool,
    seal: Option<String>,
    citations: Vec<Json>,
    ended: bool,
}

impl Writer {
    pub(crate) fn new(wish: Wish) -> Self {
        Self {
            wish,
            blocks: VecDeque::new(),
            next: 0,
            shape: Shape::default(),
            is_stopped: false,
            finish: None,
            usage: None,
        }
    }

    fn on_block(&mut self, part: u32, note: impl FnOnce(&mut Pending), out: &mut Vec<u8>) {
        // The open ones are few: the one that is written, and calls beside it.
        let Some(block) = self.blocks.iter_mut().find(|block| block.part == part && !block.ended) else {
            return;
        };
        note(block);
        self.advance(out);
    }

    /// Writes what can be written: all of the blocks that ended, in order, and what there is of the first open one.
    fn advance(&mut self, out: &mut Vec<u8>) {
        while let Some(block) = self.blocks.front_mut() {
            block.write(&mut self.next, &self.wish, out);
            if !block.ended {
                return;
            }
            self.blocks.pop_front();
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.blocks.iter_mut().for_each(|block| block.ended = true);
        self.advance(out);
        if !self.is_stopped {
            let finish = self.finish.take().unwrap_or(Finish::of(Reason::Stop));
            if let (Reason::Error, Some(trace)) = (finish.reason, self.wish.trace) {
                // The grammar has no word for it but an exception.
                let message = "The provider ended the answer without saying why.";
                let fault = Fault::new(FaultClass::Upstream, "upstream_error", message);
                return self.error(&fault.fix("Send the request again."), trace, out);
            }
            let stop_reason = stop_reason(&finish, self.shape, self.wish.is_own);
            put("messageStop", &Stopped { stop_reason }, out);
        }
        let usage = Report::of(&self.usage.unwrap_or_default());
        put("metadata", &Metadata { usage, metrics: Metrics::of(&self.wish) }, out);
    }
}

impl WriteAnswer for Writer {
    fn resume(&mut self, progress: &Progress) {
        self.next = progress.parts;
        self.is_stopped = progress.finished.contains(&0);
        self.usage = progress.usage;
        for (_, part, kind) in progress.open.iter().filter(|(choice, _, _)| *choice == 0) {
            self.shape.has_call |= matches!(kind, PartKind::Call { .. });
            self.blocks.push_back(Pending {
                number: Some(*part),
                has_said: true,
                ..Pending::new(*part, kind.clone())
            });
        }
    }

    fn event(&mut self, event: Event, out: &mut Vec<u8>) {
        match event {
            Event::Start { .. } => put("messageStart", &serde_json::json!({"role": "assistant"}), out),
            Event::Begin { choice: 0, part, kind } => {
                self.shape.has_call |= matches!(kind, PartKind::Call { .. });
                self.blocks.push_back(Pending::new(part, kind));
                self.advance(out);
            }
            Event::Delta { choice: 0, part, text } => {
                self.on_block(part, |block| block.text.push_str(&text), out);
            }
            Event::Signature { choice: 0, part, value } => {
                self.on_block(part, |block| block.seal = Some(value), out);
            }
            Event::Citation { choice: 0, part, json } => {
                self.on_block(part, |block| block.citations.push(json), out);
            }
            Event::End { choice: 0, part } => self.on_block(part, |block| block.ended = true, out),
            Event::Finish { choice: 0, finish } => self.finish = Some(finish),
            Event::Usage(usage) => self.usage = Some(usage),
            Event::Done => self.finish(out),
            // There is one answer in this grammar, and nothing is said of its tokens.
            _ => {}
        }
    }

    fn error(&mut self, fault: &Fault, trace: TraceId, out: &mut Vec<u8>) {
        put_exception(exception(fault.class), &error_body(fault, trace), out);
    }

    fn whole(&mut self, events: Vec<Event>) -> Vec<u8> {
        whole::write(&self.wish, events)
    }
}

impl Pending {
    const fn new(part: u32, kind: PartKind) -> Self {
        Self {
            part,
            kind,
            number: None,
            text: String::new(),
            has_said: false,
            seal: None,
            citations: Vec::new(),
            ended: false,
        }
    }

    /// Writes what is there. A block that says nothing never begins.
    fn write(&mut self, next: &mut u32, wish: &Wish, out: &mut Vec<u8>) {
        if self.number.is_none() {
            if !self.says(wish) {
                return;
            }
            self.number = Some(*next);
            *next += 1;
            self.begin(wish, out);
        }
        let Some(index) = self.number else { return };
        self.write_text(index, out);
        for json in self.citations.drain(..).filter(|_| wish.is_own) {
            raw(&json).into_iter().for_each(|json| say(index, Said::Citation(json), out));
        }
        if !self.ended {
            return;
        }
        if let Some(seal) = self.seal.take().filter(|_| wish.is_own) {
            let said = match self.kind {
                PartKind::Redacted => SaidThought::RedactedContent(&seal),
                _ => SaidThought::Signature(&seal),
            };
            say(index, Said::ReasoningContent(said), out);
        }
        if matches!(self.kind, PartKind::Call { .. }) && !self.has_said {
            // Clients read the pieces of the arguments as JSON.
            say(index, Said::ToolUse { input: "{}" }, out);
        }
        put("contentBlockStop", &OfBlock { said: Stop {}, content_block_index: index }, out);
    }

    /// Whether it says anything, yet, that this grammar can.
    fn says(&self, wish: &Wish) -> bool {
        let is_sealed = self.ended && wish.is_own && self.seal.is_some();
        match &self.kind {
            PartKind::Text | PartKind::Refusal => {
                !self.text.is_empty() || (wish.is_own && !self.citations.is_empty())
            }
            PartKind::Thought { .. } => !self.text.is_empty() || is_sealed,
            PartKind::Redacted => is_sealed,
            PartKind::Call { .. } => true,
            PartKind::Foreign { .. } => false,
        }
    }

    /// Texts and thoughts are begun by what they say first.
    fn begin(&self, wish: &Wish, out: &mut Vec<u8>) {
        let (PartKind::Call { id, name, .. }, Some(index)) = (&self.kind, self.number) else { return };
        let call = Call { tool_use_id: call_id(id, index, wish), name, input: None };
        let said = Start { start: Block::ToolUse(call) };
        put("contentBlockStart", &OfBlock { said, content_block_index: index }, out);
    }

    fn write_text(&mut self, index: u32, out: &mut Vec<u8>) {
        let is_custom = matches!(self.kind, PartKind::Call { is_custom: true, .. });
        if self.text.is_empty() || (is_custom && !self.ended) {
            return;
        }
        let mut text = std::mem::take(&mut self.text);
        if is_custom {
            text = whole::named_text("input", &text);
        }
        self.has_said = true;
        for piece in pieces(&text) {
            let said = match &self.kind {
                PartKind::Text | PartKind::Refusal => Said::Text(piece),
                PartKind::Thought { .. } => Said::ReasoningContent(SaidThought::Text(piece)),
                PartKind::Call { .. } => Said::ToolUse { input: piece },
                PartKind::Redacted | PartKind::Foreign { .. } => return,
            };
            say(index, said, out);
        }
    }
}

fn say(index: u32, said: Said<'_>, out: &mut Vec<u8>) {
    put("contentBlockDelta", &OfBlock { said: Delta { delta: said }, content_block_index: index }, out);
}

/// A text in pieces that frames hold.
fn pieces(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let end = text.floor_char_boundary(PIECE_BYTES_MAX);
        let (piece, rest) = text.split_at_checked(end).filter(|(piece, _)| !piece.is_empty())?;
        text = rest;
        Some(piece)
    })
}

/// A call that its upstream gave no id gets one of this exchange.
pub(super) fn call_id<'a>(id: &'a str, number: u32, wish: &Wish) -> Cow<'a, str> {
    match wish.trace {
        _ if !id.is_empty() => Cow::Borrowed(id),
        Some(trace) => Cow::Owned(format!("tooluse_{trace}_{number}")),
        None => Cow::Owned(format!("tooluse_{number}")),
    }
}

impl Metrics {
    pub(super) fn of(wish: &Wish) -> Self {
        Self { latency_ms: wish.guess.as_ref().map_or(0, |guess| guess.elapsed_ms()) }
    }
}
