//! The blocks of an answer, for grammars in which it is numbered blocks, one after the other.

use std::collections::VecDeque;

use domain::prompt::Json;
use domain::{Event, Fault, FaultClass, PartKind};

use crate::answer::Progress;

#[derive(Debug)]
pub(crate) struct Block {
    part: u32,
    pub kind: PartKind,
    /// Its number, once something of it went out.
    pub number: Option<u32>,
    /// What was said of it and not yet written.
    pub text: String,
    /// Something was said of it and written.
    pub has_said: bool,
    pub seal: Option<String>,
    pub citations: Vec<Json>,
    pub ended: bool,
}

/// What the blocks were, so far as the end of the answer depends on it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Shape {
    pub has_call: bool,
    pub has_refusal: bool,
}

/// Of a stream. Blocks go out one at a time, numbered without a gap: what else is said meanwhile waits.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    /// Blocks that began and are not wholly written: the first goes out as it comes.
    open: VecDeque<Block>,
    /// The number that the next block gets.
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
            has_said: false,
            seal: None,
            citations: Vec::new(),
            ended: false,
        }
    }

    fn note(&mut self, told: Told) {
        match told {
            Told::Text(text) => self.text.push_str(&text),
            Told::Seal(value) => self.seal = Some(value),
            Told::Citation(json) => self.citations.push(json),
            Told::End => self.ended = true,
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
    /// Others wrote the beginning of the answer.
    pub(crate) fn resume(&mut self, progress: &Progress) {
        self.next = progress.parts;
        for (_, part, kind) in progress.open.iter().filter(|(choice, _, _)| *choice == 0) {
            self.shape.note(kind);
            let block = Block::new(*part, kind.clone());
            self.open.push_back(Block { number: Some(*part), has_said: true, ..block });
        }
    }

    /// Takes what is told of a block; anything else is given back.
    pub(crate) fn take(&mut self, event: Event) -> Option<Event> {
        match about(event) {
            About::New(part, kind) => {
                self.shape.note(&kind);
                self.open.push_back(Block::new(part, kind));
                None
            }
            // The open ones are few: the one that is written, and calls beside it.
            About::Known(part, told) => {
                let block = self.open.iter_mut().find(|block| block.part == part && !block.ended)?;
                block.note(told);
                None
            }
            About::Other(event) => Some(event),
        }
    }

    pub(crate) fn end_all(&mut self) {
        self.open.iter_mut().for_each(|block| block.ended = true);
    }

    /// Writes what can be written: all of the blocks that ended, in order, and what there is of the first open one. A
    /// block that begins takes the next number.
    pub(crate) fn advance(&mut self, mut write: impl FnMut(&mut Block, &mut u32)) {
        while let Some(block) = self.open.front_mut() {
            write(block, &mut self.next);
            if !block.ended {
                return;
            }
            self.open.pop_front();
        }
    }
}

/// All blocks of a whole answer, and what they were; what is told of none of them goes to `rest`.
pub(crate) fn gather(events: Vec<Event>, mut rest: impl FnMut(Event)) -> (Vec<Block>, Shape) {
    let (mut blocks, mut shape) = (Vec::<Block>::new(), Shape::default());
    for event in events {
        match about(event) {
            About::New(part, kind) => {
                shape.note(&kind);
                blocks.push(Block::new(part, kind));
            }
            // What is said is mostly said of the part that began last.
            About::Known(part, told) => {
                if let Some(block) = blocks.iter_mut().rev().find(|block| block.part == part) {
                    block.note(told);
                }
            }
            About::Other(event) => rest(event),
        }
    }
    (blocks, shape)
}

/// What is said when a provider ended an answer as failed, in grammars that have no other word for it.
pub(crate) fn unexplained_end() -> Box<Fault> {
    let message = "The provider ended the answer without saying why.";
    Box::new(Fault::new(FaultClass::Upstream, "upstream_error", message).fix("Send the request again."))
}

enum About {
    New(u32, PartKind),
    Known(u32, Told),
    Other(Event),
}

enum Told {
    Text(String),
    Seal(String),
    Citation(Json),
    End,
}

/// There is one answer in these grammars.
fn about(event: Event) -> About {
    match event {
        Event::Begin { choice: 0, part, kind } => About::New(part, kind),
        Event::Delta { choice: 0, part, text } => About::Known(part, Told::Text(text)),
        Event::Signature { choice: 0, part, value } => About::Known(part, Told::Seal(value)),
        Event::Citation { choice: 0, part, json } => About::Known(part, Told::Citation(json)),
        Event::End { choice: 0, part } => About::Known(part, Told::End),
        other => About::Other(other),
    }
}
