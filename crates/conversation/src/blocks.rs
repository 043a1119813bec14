//! Content blocks of an answer, for dialects that number them and send them one after another.

use std::collections::VecDeque;

use domain::prompt::Json;
use domain::{Event, Fault, FaultClass, PartKind};

use crate::answer::Progress;

#[derive(Debug)]
pub struct Block {
    part: u32,
    pub kind: PartKind,
    /// Its index, once something of it was sent.
    pub number: Option<u32>,
    /// Text that has arrived and is not written yet.
    pub text: String,
    /// Some of its text was written.
    pub has_written_text: bool,
    pub seal: Option<String>,
    pub citations: Vec<Json>,
    pub ended: bool,
}

/// What the answer's stop reason depends on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shape {
    pub has_call: bool,
    pub has_refusal: bool,
}

/// The blocks of a stream. They are sent one at a time, numbered without gaps; deltas for later blocks wait.
#[derive(Debug, Default)]
pub struct Blocks {
    /// Blocks that started and are not fully written. The first one is sent as it arrives.
    open: VecDeque<Block>,
    /// The index of the next block.
    next: u32,
    pub shape: Shape,
}

impl Block {
    const fn new(part: u32, kind: PartKind) -> Self {
        Self {
            part,
            kind,
            number: None,
            text: String::new(),
            has_written_text: false,
            seal: None,
            citations: Vec::new(),
            ended: false,
        }
    }

    fn note(&mut self, update: BlockUpdate) {
        match update {
            BlockUpdate::Text(text) => self.text.push_str(&text),
            BlockUpdate::Seal(value) => self.seal = Some(value),
            BlockUpdate::Citation(json) => self.citations.push(json),
            BlockUpdate::End => self.ended = true,
        }
    }
}

impl Shape {
    fn note(&mut self, kind: &PartKind) {
        self.has_call |= matches!(kind, PartKind::Call { .. });
        self.has_refusal |= matches!(kind, PartKind::Refusal);
    }
}

impl Blocks {
    /// Takes over an answer whose start was forwarded from the upstream.
    pub fn resume(&mut self, progress: &Progress) {
        self.next = progress.parts;
        for (_, part, kind) in progress.open.iter().filter(|(choice, _, _)| *choice == 0) {
            self.shape.note(kind);
            let block = Block::new(*part, kind.clone());
            self.open.push_back(Block { number: Some(*part), has_written_text: true, ..block });
        }
    }

    /// Takes an event about a block; returns any other.
    pub fn take(&mut self, event: Event) -> Option<Event> {
        match about(event) {
            About::New(part, kind) => {
                self.shape.note(&kind);
                self.open.push_back(Block::new(part, kind));
                None
            }
            // Few blocks are open: the one that is being written, and parallel calls.
            About::Known(part, update) => {
                let block = self.open.iter_mut().find(|block| block.part == part && !block.ended)?;
                block.note(update);
                None
            }
            About::Other(event) => Some(event),
        }
    }

    pub fn end_all(&mut self) {
        self.open.iter_mut().for_each(|block| block.ended = true);
    }

    /// Writes what can be written: all ended blocks in order, and what has arrived of the first open one. A
    /// block that starts takes the next index.
    pub fn advance(&mut self, mut write: impl FnMut(&mut Block, &mut u32)) {
        while let Some(block) = self.open.front_mut() {
            write(block, &mut self.next);
            if !block.ended {
                return;
            }
            self.open.pop_front();
        }
    }
}

/// All blocks of a buffered answer and their `Shape`; events that belong to no block go to `rest`.
pub fn gather(events: Vec<Event>, mut rest: impl FnMut(Event)) -> (Vec<Block>, Shape) {
    let (mut blocks, mut shape) = (Vec::<Block>::new(), Shape::default());
    for event in events {
        match about(event) {
            About::New(part, kind) => {
                shape.note(&kind);
                blocks.push(Block::new(part, kind));
            }
            // Most events belong to the part that started last.
            About::Known(part, update) => {
                if let Some(block) = blocks.iter_mut().rev().find(|block| block.part == part) {
                    block.note(update);
                }
            }
            About::Other(event) => rest(event),
        }
    }
    (blocks, shape)
}

/// The error sent when a provider ended an answer as failed, in dialects that have no stop reason for it.
pub fn unexplained_end() -> Box<Fault> {
    let message = "The provider ended the answer without saying why.";
    Box::new(Fault::new(FaultClass::Upstream, "upstream_error", message).fix("Send the request again."))
}

enum About {
    New(u32, PartKind),
    Known(u32, BlockUpdate),
    Other(Event),
}

enum BlockUpdate {
    Text(String),
    Seal(String),
    Citation(Json),
    End,
}

/// These dialects have one choice only.
fn about(event: Event) -> About {
    match event {
        Event::Begin { choice: 0, part, kind } => About::New(part, kind),
        Event::Delta { choice: 0, part, text } => About::Known(part, BlockUpdate::Text(text)),
        Event::Signature { choice: 0, part, value } => About::Known(part, BlockUpdate::Seal(value)),
        Event::Citation { choice: 0, part, json } => About::Known(part, BlockUpdate::Citation(json)),
        Event::End { choice: 0, part } => About::Known(part, BlockUpdate::End),
        other => About::Other(other),
    }
}
