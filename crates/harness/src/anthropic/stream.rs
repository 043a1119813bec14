//! The streamed Messages response: named events in Anthropic's exact order.

use serde_json::{Value, json};

use super::answer::{Block, Reply};
use super::error::Refusal;
use crate::emulator::frames::{self, Event};
use crate::emulator::{Behaviour, Part, PartRole, ToolMode, UsageMode};
use crate::members::{join, put};
use crate::openai::stream::fragments;
use crate::openai::tokens;

/// Real streams start with a provisional output count.
const FIRST_TOKENS: u64 = 1;
/// The most frequent cause of a broken stream.
const STREAM_ERROR_STATUS: u16 = 529;

/// Builds the events of one response.
struct Events<'a> {
    reply: &'a Reply,
    mode: UsageMode,
    events: Vec<Event>,
    sent_tokens: u64,
}

/// The complete response as byte parts, each with its place and its token count.
pub(crate) fn parts(reply: &Reply, behaviour: &Behaviour, request_id: &str) -> Vec<Part> {
    let mut events = Events { reply, mode: behaviour.usage, events: Vec::new(), sent_tokens: 0 };
    events.all(behaviour.tools == Some(ToolMode::Interleaved));
    if behaviour.no_done {
        events.events.pop();
    }
    if behaviour.doubled_done {
        events.stop();
    }
    frames::parts(events.events, behaviour, || Event {
        name: Some("error"),
        data: Refusal::scripted(STREAM_ERROR_STATUS, behaviour).body(request_id).to_string(),
        tokens: 0,
        role: PartRole::Error,
    })
}

impl Events<'_> {
    fn all(&mut self, interleaved: bool) {
        let mut message = self.reply.head();
        if self.mode != UsageMode::Missing {
            put(&mut message, "usage", self.reply.usage(self.mode, FIRST_TOKENS, false));
        }
        self.push("message_start", json!({"message": message}), 0, PartRole::Role);
        self.push("ping", json!({}), 0, PartRole::Frame);
        let blocks = &self.reply.blocks;
        let calls =
            blocks.iter().position(|block| matches!(block, Block::Call { .. })).unwrap_or(blocks.len());
        let apart = if interleaved { calls } else { blocks.len() };
        for (index, block) in blocks.iter().enumerate().take(apart) {
            self.start(index, block);
            deltas(block).iter().for_each(|delta| self.delta(index, delta));
            self.end(index);
        }
        if interleaved {
            self.interleave(apart);
        }
        self.finish();
        self.stop();
    }

    /// Alternates the fragments of parallel calls, which no real response does.
    fn interleave(&mut self, first: usize) {
        let calls: Vec<(usize, &Block)> = self.reply.blocks.iter().enumerate().skip(first).collect();
        let mut waiting: Vec<_> =
            calls.iter().map(|(index, block)| (*index, deltas(block).into_iter())).collect();
        for (index, block) in &calls {
            self.start(*index, block);
        }
        loop {
            let turn: Vec<(usize, Delta)> =
                waiting.iter_mut().filter_map(|(index, left)| Some((*index, left.next()?))).collect();
            if turn.is_empty() {
                break;
            }
            turn.iter().for_each(|(index, delta)| self.delta(*index, delta));
        }
        for (index, _) in calls {
            self.end(index);
        }
    }

    fn start(&mut self, index: usize, block: &Block) {
        let (block, tokens) = match block {
            Block::Thinking { .. } => (json!({"type": "thinking", "thinking": "", "signature": ""}), 0),
            Block::Redacted { data, tokens } => (json!({"type": "redacted_thinking", "data": data}), *tokens),
            Block::Text { .. } => (json!({"type": "text", "text": "", "citations": null}), 0),
            Block::Call { id, name, .. } => {
                (json!({"type": "tool_use", "id": id, "name": name, "input": {}}), tokens::count(name))
            }
        };
        self.push(
            "content_block_start",
            json!({"index": index, "content_block": block}),
            tokens,
            PartRole::Frame,
        );
    }

    fn delta(&mut self, index: usize, delta: &Delta) {
        let body = json!({"index": index, "delta": delta.body});
        self.push("content_block_delta", body, delta.tokens, delta.role);
    }

    fn end(&mut self, index: usize) {
        self.push("content_block_stop", json!({"index": index}), 0, PartRole::Frame);
    }

    /// The final event takes the tokens that a script counts beyond those generated.
    fn finish(&mut self) {
        let reply = self.reply;
        let delta = json!({
            "stop_reason": reply.stop_reason, "stop_sequence": reply.stop_sequence,
            "stop_details": reply.stop_details(), "container": null,
        });
        let mut body = json!({"delta": delta});
        if self.mode != UsageMode::Missing {
            put(&mut body, "usage", reply.usage_so_far(self.mode, reply.output_tokens, true));
        }
        self.push("message_delta", body, u64::MAX, PartRole::Finish);
    }

    fn stop(&mut self) {
        self.push("message_stop", json!({}), 0, PartRole::Done);
    }

    fn push(&mut self, name: &'static str, body: Value, tokens: u64, role: PartRole) {
        let tokens = tokens.min(self.reply.output_tokens.saturating_sub(self.sent_tokens));
        self.sent_tokens += tokens;
        let mut whole = json!({"type": name});
        join(&mut whole, body);
        self.events.push(Event { name: Some(name), data: whole.to_string(), tokens, role });
    }
}

/// One delta of a content block.
struct Delta {
    body: Value,
    tokens: u64,
    role: PartRole,
}

fn deltas(block: &Block) -> Vec<Delta> {
    let delta = |kind: &str, field: &str, piece: &str| Delta {
        body: json!({"type": kind, field: piece}),
        tokens: tokens::count(piece),
        role: PartRole::Content,
    };
    match block {
        Block::Thinking { pieces, signature, hidden_tokens } => {
            let thought = pieces.iter().map(|piece| delta("thinking_delta", "thinking", piece));
            let signed = Delta {
                body: json!({"type": "signature_delta", "signature": signature}),
                tokens: *hidden_tokens,
                role: PartRole::Frame,
            };
            thought.chain([signed]).collect()
        }
        Block::Redacted { .. } => Vec::new(),
        Block::Text { pieces } => pieces.iter().map(|piece| delta("text_delta", "text", piece)).collect(),
        Block::Call { input, .. } => {
            let written = input.to_string();
            let empty = std::iter::once(String::new());
            let pieces = empty.chain(fragments(&written));
            pieces.map(|piece| delta("input_json_delta", "partial_json", &piece)).collect()
        }
    }
}
