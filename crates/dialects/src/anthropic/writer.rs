//! Writes answers of this grammar, streamed or whole.

use std::collections::VecDeque;

use domain::prompt::Json;
use domain::{Event, Fault, FaultClass, Finish, PartKind, Reason, TraceId, Usage};
use serde::Serialize;

use super::answer::{
    Content, Delta, Head, MessageDelta, Said, StopDetails, Stopped, error_event, frame, stop_reason,
};
use super::error_body;
use super::usage::Report;
use super::whole;
use crate::answer::{Progress, Wish, WriteAnswer, ping};

/// Blocks go out one at a time, numbered without a gap: what else is said meanwhile waits.
#[derive(Debug)]
pub(crate) struct Writer {
    wish: Wish,
    /// Blocks that began and are not wholly written: the first goes out as it comes.
    blocks: VecDeque<Block>,
    /// The number that the next block gets.
    next: u32,
    shape: Shape,
    /// Others told already how the answer ended.
    is_stopped: bool,
    finish: Option<Finish>,
    usage: Option<Usage>,
}

/// What the blocks were, so far as the end of the answer depends on it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Shape {
    pub has_call: bool,
    pub has_refusal: bool,
}

#[derive(Debug)]
struct Block {
    part: u32,
    kind: PartKind,
    /// Its number, once its beginning went out.
    number: Option<u32>,
    /// What was said of it and not yet written.
    text: String,
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

    fn begin(&mut self, part: u32, kind: PartKind, out: &mut Vec<u8>) {
        self.shape.note(&kind);
        self.blocks.push_back(Block::new(part, kind));
        self.advance(out);
    }

    fn on_block(&mut self, part: u32, note: impl FnOnce(&mut Block), out: &mut Vec<u8>) {
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

    fn end_all(&mut self, out: &mut Vec<u8>) {
        self.blocks.iter_mut().for_each(|block| block.ended = true);
        self.advance(out);
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.end_all(out);
        let has_failed = !self.is_stopped && !self.stop(out);
        if !has_failed {
            out.extend_from_slice(b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
        }
    }

    /// Tells how the answer ended; `false` where it failed, which is told instead.
    fn stop(&mut self, out: &mut Vec<u8>) -> bool {
        let finish = self.finish.take().unwrap_or(Finish::of(Reason::Stop));
        if let (Reason::Error, Some(trace)) = (finish.reason, self.wish.trace) {
            // The grammar has no word for it but this event.
            let message = "The provider ended the answer without saying why.";
            let fault = Fault::new(FaultClass::Upstream, "upstream_error", message);
            self.error(&fault.fix("Send the request again."), trace, out);
            return false;
        }
        let delta = MessageDelta {
            r#type: "message_delta",
            delta: Stopped {
                stop_reason: stop_reason(&finish, self.shape),
                stop_sequence: finish.sequence.as_deref(),
                stop_details: StopDetails::of(&finish, self.shape),
            },
            usage: Report::of(&self.usage.unwrap_or_default()).of_delta(),
        };
        frame("message_delta", &delta, out);
        true
    }
}

impl WriteAnswer for Writer {
    fn resume(&mut self, progress: &Progress) {
        self.next = progress.parts;
        self.is_stopped = progress.finished.contains(&0);
        self.usage = progress.usage;
        for (_, part, kind) in progress.open.iter().filter(|(choice, _, _)| *choice == 0) {
            self.shape.note(kind);
            let mut block = Block::new(*part, kind.clone());
            block.number = Some(*part);
            self.blocks.push_back(block);
        }
    }

    fn event(&mut self, event: Event, out: &mut Vec<u8>) {
        match event {
            Event::Start { id, model, .. } => {
                let head = Head::of(id.as_deref(), model.as_deref(), &self.wish);
                frame("message_start", &head.started(Report::of(&self.usage.unwrap_or_default())), out);
                out.extend_from_slice(ping(domain::Grammar::Anthropic));
            }
            Event::Begin { choice: 0, part, kind } => self.begin(part, kind, out),
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
        error_event(&error_body(fault, trace), out);
    }

    fn whole(&mut self, events: Vec<Event>) -> Vec<u8> {
        whole::write(&self.wish, events)
    }
}

impl Shape {
    pub(super) fn note(&mut self, kind: &PartKind) {
        self.has_call |= matches!(kind, PartKind::Call { .. });
        self.has_refusal |= matches!(kind, PartKind::Refusal);
    }
}

impl Block {
    const fn new(part: u32, kind: PartKind) -> Self {
        Self {
            part,
            kind,
            number: None,
            text: String::new(),
            seal: None,
            citations: Vec::new(),
            ended: false,
        }
    }

    /// Writes what is there. A block that says nothing never begins.
    fn write(&mut self, next: &mut u32, wish: &Wish, out: &mut Vec<u8>) {
        if self.number.is_none() {
            let Some(content) = self.content(wish, *next) else { return };
            frame(
                "content_block_start",
                &Started { r#type: "content_block_start", index: *next, content_block: content },
                out,
            );
            self.number = Some(*next);
            *next += 1;
        }
        let Some(index) = self.number else { return };
        self.write_text(index, out);
        for json in self.citations.drain(..).filter(|_| wish.is_own) {
            frame("content_block_delta", &Said::of(index, Delta::citation(&json)), out);
        }
        if !self.ended {
            return;
        }
        if let (PartKind::Thought { .. }, Some(seal)) = (&self.kind, self.seal.take().filter(|_| wish.is_own))
        {
            frame("content_block_delta", &Said::of(index, Delta::Signature { signature: &seal }), out);
        }
        frame("content_block_stop", &Ended { r#type: "content_block_stop", index }, out);
    }

    fn write_text(&mut self, index: u32, out: &mut Vec<u8>) {
        let is_custom = matches!(self.kind, PartKind::Call { is_custom: true, .. });
        if self.text.is_empty() || (is_custom && !self.ended) {
            return;
        }
        let text = std::mem::take(&mut self.text);
        let object;
        let delta = match &self.kind {
            PartKind::Text | PartKind::Refusal => Delta::Text { text: &text },
            PartKind::Thought { .. } => Delta::Thinking { thinking: &text },
            PartKind::Call { is_custom: false, .. } => Delta::Input { partial_json: &text },
            PartKind::Call { .. } => {
                object = whole::text_input(&text);
                Delta::Input { partial_json: &object }
            }
            PartKind::Redacted | PartKind::Foreign { .. } => return,
        };
        frame("content_block_delta", &Said::of(index, delta), out);
    }

    /// What it begins with, once it says anything that this grammar can.
    fn content<'a>(&'a self, wish: &Wish, number: u32) -> Option<Content<'a>> {
        let is_said = !self.text.is_empty() || (wish.is_own && !self.citations.is_empty());
        match &self.kind {
            PartKind::Text | PartKind::Refusal => is_said.then_some(Content::text("")),
            PartKind::Thought { .. } => {
                let is_sealed = self.ended && wish.is_own && self.seal.is_some();
                (is_said || is_sealed).then_some(Content::thinking("", ""))
            }
            PartKind::Redacted => {
                let seal = self.seal.as_deref().filter(|_| self.ended && wish.is_own)?;
                Some(Content::redacted(seal))
            }
            PartKind::Call { id, name, .. } => Some(Content::call(id, name, "{}", number, wish)),
            PartKind::Foreign { json, .. } => (self.ended && wish.is_own).then_some(Content::foreign(json)),
        }
    }
}

#[derive(Serialize)]
struct Started<'a> {
    r#type: &'static str,
    index: u32,
    content_block: Content<'a>,
}

#[derive(Serialize)]
struct Ended {
    r#type: &'static str,
    index: u32,
}
