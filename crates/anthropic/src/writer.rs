//! Writes responses of Anthropic's Messages API, streamed or buffered.

use conversation::answer::{AnswerOptions, Progress, WriteAnswer};
use conversation::blocks::{Block, Blocks, unexplained_end};
use conversation::calls::text_input;
use domain::{Event, Fault, Finish, PartKind, Reason, TraceId, Usage};
use serde::Serialize;

use super::answer::{
    Content, ContentBlockDelta, Delta, Head, MessageDelta, StopDetails, Stopped, error_event, frame,
    stop_reason,
};
use super::usage::Report;
use super::{error_body, whole};

/// An event that keeps an idle stream open.
pub const PING: &[u8] = b"event: ping\ndata: {\"type\": \"ping\"}\n\n";

#[derive(Debug)]
pub struct Writer {
    wish: AnswerOptions,
    blocks: Blocks,
    /// The finish reason was already sent, by whatever wrote the start of this stream.
    is_stopped: bool,
    finish: Option<Finish>,
    usage: Option<Usage>,
}

impl Writer {
    pub fn new(wish: AnswerOptions) -> Self {
        Self { wish, blocks: Blocks::default(), is_stopped: false, finish: None, usage: None }
    }

    fn advance(&mut self, out: &mut Vec<u8>) {
        self.blocks.advance(|block, next| write_block(block, next, &self.wish, out));
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.blocks.end_all();
        self.advance(out);
        let has_failed = !self.is_stopped && !self.stop(out);
        if !has_failed {
            out.extend_from_slice(b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
        }
    }

    /// Writes the stop reason. Returns `false` if the response failed, and writes an error event instead.
    fn stop(&mut self, out: &mut Vec<u8>) -> bool {
        let finish = self.finish.take().unwrap_or(Finish::of(Reason::Stop));
        if let (Reason::Error, Some(trace)) = (finish.reason, self.wish.trace) {
            // Anthropic has no stop reason for a failure, only the `error` event.
            self.error(&unexplained_end(), trace, out);
            return false;
        }
        let delta = MessageDelta {
            r#type: "message_delta",
            delta: Stopped {
                stop_reason: stop_reason(&finish, self.blocks.shape),
                stop_sequence: finish.sequence.as_deref(),
                stop_details: StopDetails::of(&finish, self.blocks.shape),
            },
            usage: Report::of(&self.usage.unwrap_or_default()).of_delta(),
        };
        frame("message_delta", &delta, out);
        true
    }
}

impl WriteAnswer for Writer {
    fn resume(&mut self, progress: &Progress) {
        self.blocks.resume(progress);
        self.is_stopped = progress.finished.contains(&0);
        self.usage = progress.usage;
    }

    fn event(&mut self, event: Event, out: &mut Vec<u8>) {
        let Some(event) = self.blocks.take(event) else { return self.advance(out) };
        match event {
            Event::Start { id, model, .. } => {
                let head = Head::of(id.as_deref(), model.as_deref(), &self.wish);
                frame("message_start", &head.message_start(Report::of(&self.usage.unwrap_or_default())), out);
                out.extend_from_slice(PING);
            }
            Event::Finish { choice: 0, finish } => self.finish = Some(finish),
            Event::Usage(usage) => self.usage = Some(usage),
            Event::Done => self.finish(out),
            // A message has a single choice and no log probabilities.
            _ => {}
        }
    }

    fn error(&mut self, fault: &Fault, trace: TraceId, out: &mut Vec<u8>) {
        error_event(&error_body(fault, trace), out);
    }

    fn write_buffered(&mut self, events: Vec<Event>) -> Vec<u8> {
        whole::write(&self.wish, events)
    }
}

/// Writes what is there of a block. An empty block never starts.
fn write_block(block: &mut Block, next: &mut u32, wish: &AnswerOptions, out: &mut Vec<u8>) {
    if block.number.is_none() {
        let Some(content) = content_of(block, wish, *next) else { return };
        frame(
            "content_block_start",
            &Started { r#type: "content_block_start", index: *next, content_block: content },
            out,
        );
        block.number = Some(*next);
        *next += 1;
    }
    let Some(index) = block.number else { return };
    write_text(block, index, out);
    for json in block.citations.drain(..).filter(|_| wish.is_same_dialect) {
        frame("content_block_delta", &ContentBlockDelta::of(index, Delta::citation(&json)), out);
    }
    if !block.ended {
        return;
    }
    if let (PartKind::Thought { .. }, Some(seal)) =
        (&block.kind, block.seal.take().filter(|_| wish.is_same_dialect))
    {
        frame(
            "content_block_delta",
            &ContentBlockDelta::of(index, Delta::Signature { signature: &seal }),
            out,
        );
    }
    frame("content_block_stop", &Ended { r#type: "content_block_stop", index }, out);
}

fn write_text(block: &mut Block, index: u32, out: &mut Vec<u8>) {
    let is_custom = matches!(block.kind, PartKind::Call { is_custom: true, .. });
    if block.text.is_empty() || (is_custom && !block.ended) {
        return;
    }
    let text = std::mem::take(&mut block.text);
    let object;
    let delta = match &block.kind {
        PartKind::Text | PartKind::Refusal => Delta::Text { text: &text },
        PartKind::Thought { .. } => Delta::Thinking { thinking: &text },
        PartKind::Call { is_custom: false, .. } => Delta::Input { partial_json: &text },
        PartKind::Call { .. } => {
            object = text_input(&text);
            Delta::Input { partial_json: &object }
        }
        PartKind::Image { .. } | PartKind::Redacted | PartKind::Foreign { .. } => return,
    };
    frame("content_block_delta", &ContentBlockDelta::of(index, delta), out);
}

/// The content that the block starts with, or `None` until it has some that this dialect can show.
fn content_of<'a>(block: &'a Block, wish: &AnswerOptions, number: u32) -> Option<Content<'a>> {
    let has_content = !block.text.is_empty() || (wish.is_same_dialect && !block.citations.is_empty());
    match &block.kind {
        PartKind::Text | PartKind::Refusal => has_content.then_some(Content::text("")),
        PartKind::Thought { .. } => {
            let is_sealed = block.ended && wish.is_same_dialect && block.seal.is_some();
            (has_content || is_sealed).then_some(Content::thinking("", ""))
        }
        PartKind::Redacted => {
            let seal = block.seal.as_deref().filter(|_| block.ended && wish.is_same_dialect)?;
            Some(Content::redacted(seal))
        }
        PartKind::Call { id, name, .. } => Some(Content::call(id, name, "{}", number, wish)),
        PartKind::Image { .. } => None,
        PartKind::Foreign { json, .. } => {
            (block.ended && wish.is_same_dialect).then_some(Content::foreign(json))
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
