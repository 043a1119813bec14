//! Writes responses of Bedrock's Converse API, streamed or buffered.

use std::borrow::Cow;

use conversation::answer::{AnswerOptions, Progress, WriteAnswer};
use conversation::blocks;
use conversation::blocks::{Blocks, unexplained_end};
use conversation::calls::text_input;
use domain::{Event, Fault, Finish, PartKind, Reason, TraceId, Usage};

use super::answer::{
    Block, BlockEvent, Call, ContentDelta, Delta, Metadata, Metrics, ReasoningDelta, Report, Start, Stop,
    Stopped, put, put_exception, raw, stop_reason,
};
use super::refused::{error_body, exception};
use super::whole;
use crate::limits::FRAME_TEXT_BYTES_MAX;

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
        if !self.is_stopped {
            let finish = self.finish.take().unwrap_or(Finish::of(Reason::Stop));
            if let (Reason::Error, Some(trace)) = (finish.reason, self.wish.trace) {
                // Converse has no stop reason for a failure, only exceptions.
                return self.error(&unexplained_end(), trace, out);
            }
            let stop_reason = stop_reason(&finish, self.blocks.shape, self.wish.is_same_dialect);
            put("messageStop", &Stopped { stop_reason }, out);
        }
        let usage = Report::of(&self.usage.unwrap_or_default());
        put("metadata", &Metadata { usage, metrics: Metrics::of(&self.wish) }, out);
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
            Event::Start { .. } => put("messageStart", &serde_json::json!({"role": "assistant"}), out),
            Event::Finish { choice: 0, finish } => self.finish = Some(finish),
            Event::Usage(usage) => self.usage = Some(usage),
            Event::Done => self.finish(out),
            // A response has a single choice and no log probabilities.
            _ => {}
        }
    }

    fn error(&mut self, fault: &Fault, trace: TraceId, out: &mut Vec<u8>) {
        put_exception(exception(fault.class), &error_body(fault, trace), out);
    }

    fn write_buffered(&mut self, events: Vec<Event>) -> Vec<u8> {
        whole::write(&self.wish, events)
    }
}

/// Writes what is there of a block. An empty block never starts.
fn write_block(block: &mut blocks::Block, next: &mut u32, wish: &AnswerOptions, out: &mut Vec<u8>) {
    if block.number.is_none() {
        if !has_output(block, wish) {
            return;
        }
        block.number = Some(*next);
        *next += 1;
        begin(block, wish, out);
    }
    let Some(index) = block.number else { return };
    write_text(block, index, out);
    for json in block.citations.drain(..).filter(|_| wish.is_same_dialect) {
        raw(&json).into_iter().for_each(|json| put_delta(index, ContentDelta::Citation(json), out));
    }
    if !block.ended {
        return;
    }
    if let Some(seal) = block.seal.take().filter(|_| wish.is_same_dialect) {
        let delta = match block.kind {
            PartKind::Redacted => ReasoningDelta::RedactedContent(&seal),
            _ => ReasoningDelta::Signature(&seal),
        };
        put_delta(index, ContentDelta::ReasoningContent(delta), out);
    }
    if matches!(block.kind, PartKind::Call { .. }) && !block.has_written_text {
        // Clients parse the concatenated pieces of the arguments as JSON, so there must be at least one.
        put_delta(index, ContentDelta::ToolUse { input: "{}" }, out);
    }
    put("contentBlockStop", &BlockEvent { payload: Stop {}, content_block_index: index }, out);
}

/// Whether the block has any content yet that Converse can express.
fn has_output(block: &blocks::Block, wish: &AnswerOptions) -> bool {
    let is_sealed = block.ended && wish.is_same_dialect && block.seal.is_some();
    match &block.kind {
        PartKind::Text | PartKind::Refusal => {
            !block.text.is_empty() || (wish.is_same_dialect && !block.citations.is_empty())
        }
        PartKind::Thought { .. } => !block.text.is_empty() || is_sealed,
        PartKind::Redacted => is_sealed,
        PartKind::Call { .. } => true,
        PartKind::Image { .. } | PartKind::Foreign { .. } => false,
    }
}

/// Writes the start of a tool call. Text and reasoning blocks have no start event: their first delta starts
/// them.
fn begin(block: &blocks::Block, wish: &AnswerOptions, out: &mut Vec<u8>) {
    let (PartKind::Call { id, name, .. }, Some(index)) = (&block.kind, block.number) else { return };
    let call = Call { tool_use_id: call_id(id, index, wish), name, input: None };
    let start = Start { start: Block::ToolUse(call) };
    put("contentBlockStart", &BlockEvent { payload: start, content_block_index: index }, out);
}

fn write_text(block: &mut blocks::Block, index: u32, out: &mut Vec<u8>) {
    let is_custom = matches!(block.kind, PartKind::Call { is_custom: true, .. });
    if block.text.is_empty() || (is_custom && !block.ended) {
        return;
    }
    let mut text = std::mem::take(&mut block.text);
    if is_custom {
        text = text_input(&text);
    }
    block.has_written_text = true;
    for piece in pieces(&text) {
        let delta = match &block.kind {
            PartKind::Text | PartKind::Refusal => ContentDelta::Text(piece),
            PartKind::Thought { .. } => ContentDelta::ReasoningContent(ReasoningDelta::Text(piece)),
            PartKind::Call { .. } => ContentDelta::ToolUse { input: piece },
            PartKind::Image { .. } | PartKind::Redacted | PartKind::Foreign { .. } => return,
        };
        put_delta(index, delta, out);
    }
}

fn put_delta(index: u32, delta: ContentDelta<'_>, out: &mut Vec<u8>) {
    put("contentBlockDelta", &BlockEvent { payload: Delta { delta }, content_block_index: index }, out);
}

/// Splits text into pieces that fit into frames.
fn pieces(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let end = text.floor_char_boundary(FRAME_TEXT_BYTES_MAX);
        let (piece, rest) = text.split_at_checked(end).filter(|(piece, _)| !piece.is_empty())?;
        text = rest;
        Some(piece)
    })
}

/// A tool call without an id from the upstream gets one derived from this exchange.
pub(super) fn call_id<'a>(id: &'a str, number: u32, wish: &AnswerOptions) -> Cow<'a, str> {
    match wish.trace {
        _ if !id.is_empty() => Cow::Borrowed(id),
        Some(trace) => Cow::Owned(format!("tooluse_{trace}_{number}")),
        None => Cow::Owned(format!("tooluse_{number}")),
    }
}

impl Metrics {
    pub(super) fn of(wish: &AnswerOptions) -> Self {
        Self { latency_ms: wish.estimator.as_ref().map_or(0, |estimator| estimator.elapsed_ms()) }
    }
}
