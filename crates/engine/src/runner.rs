//! Many texts carried on at once. In each step every text that is being told gets its next token, and what room is left
//! goes to prompts, so that neither waits for the other.

mod adapted;

use std::sync::Arc;

use crate::adapters::{Adapter, AdapterId, Limits, Shelf};
use crate::batch::{Part, Ragged};
use crate::blocks::{Blocks, Share, Under};
use crate::pool::{BLOCK, Keeps, Pool};
use crate::sampler::{Drawn, Sampling};
use crate::waiting::{Group, Waiting};
use crate::{EngineError, Model};

/// What a runner may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// For keys and values.
    pub bytes: usize,
    pub keeps: Keeps,
    /// The tokens of one step.
    pub tokens: usize,
    /// The texts of one step.
    pub texts: usize,
    /// The texts that may wait beside them.
    pub waiting: usize,
}

/// A text to be carried on.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    pub prompt: Vec<u32>,
    pub sampling: Sampling,
    pub max_tokens: usize,
    /// Tokens that end a text.
    pub ends: Vec<u32>,
    pub share: Share,
    pub group: Group,
    /// What it is said with beside the model. Which one the name means is settled when it has its turn, and stays so.
    pub adapter: Option<AdapterId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TextId(u64);

/// Why a request is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// As many wait as may.
    Full,
    /// The prompt leaves no place for an answer.
    TooLong {
        tokens: usize,
        most: usize,
    },
    Empty,
    /// Nobody registered the adapter that it names.
    NoAdapter,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Happened {
    /// It has its first turn; so much of its prompt does not have to be computed.
    Begun {
        text: TextId,
        remembered: usize,
    },
    Token {
        text: TextId,
        drawn: Drawn,
    },
    End {
        text: TextId,
        end: End,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It came to an end of its own.
    Stop,
    Length,
    /// The model said nothing that is a number.
    Broken,
    /// The adapter that it named went away before it had its turn, or could not be read.
    NoAdapter,
}

/// What was done so far; a step that did nothing had nothing to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub steps: u64,
    /// Rows that went through the model.
    pub rows: u64,
    /// Tokens of prompts that were remembered instead.
    pub remembered: u64,
    /// Texts that had to give up their room for a while.
    pub set_back: u64,
}

#[derive(Debug)]
struct Text {
    id: TextId,
    request: Request,
    /// What was said, behind the prompt.
    said: Vec<u32>,
    blocks: Vec<u32>,
    /// How much of prompt and answer is in the pool.
    computed: usize,
    has_begun: bool,
    /// What it is said with, once it had its turn.
    adapter: Option<Arc<Adapter>>,
}

/// Carries texts on, one step after the other. It is one thread's.
#[derive(Debug)]
pub struct Runner {
    model: Arc<Model>,
    pool: Pool,
    blocks: Blocks,
    room: Room,
    /// In the order in which they got their turn.
    running: Vec<Text>,
    waiting: Waiting<Text>,
    next: u64,
    counts: Counts,
    shelf: Shelf,
    /// The adapter that is waited for and finds no room, and how many texts with others were let in meanwhile.
    starved: Option<(AdapterId, u32)>,
}

impl Text {
    fn length(&self) -> usize {
        self.request.prompt.len() + self.said.len()
    }

    /// What comes next of it, so many tokens at most.
    fn tokens(&self, most: usize) -> Vec<u32> {
        let all = self.request.prompt.iter().chain(&self.said);
        all.skip(self.computed).take(most).copied().collect()
    }

    fn under(&self) -> Under {
        let generation = self.adapter.as_ref().map_or(0, |adapter| adapter.generation());
        Under { share: self.request.share, generation }
    }

    fn all(&self) -> Vec<u32> {
        [self.request.prompt.as_slice(), &self.said].concat()
    }
}

impl Runner {
    /// # Errors
    /// The room is not enough for a single block.
    pub fn new(model: Arc<Model>, room: Room) -> Result<Self, EngineError> {
        let blocks = room.bytes / Pool::block_bytes(model.shape(), room.keeps);
        if blocks == 0 || room.tokens == 0 || room.texts == 0 {
            return Err(EngineError::NoRoom { wanted: 1, free: 0 });
        }
        let pool = Pool::new(model.shape(), room.keeps, blocks);
        let (running, waiting) = (Vec::new(), Waiting::new());
        let (counts, shelf) = (Counts::default(), Shelf::new(model.shape(), Limits::default()));
        let blocks = Blocks::new(blocks);
        Ok(Self { model, pool, blocks, room, running, waiting, next: 0, counts, shelf, starved: None })
    }

    /// The longest text, prompt and answer together, that can be carried on here.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.model.shape().context.min(self.pool.blocks() * BLOCK)
    }

    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// Blocks that can be had: all of them where nothing runs.
    #[must_use]
    pub fn free_blocks(&self) -> usize {
        self.blocks.free()
    }

    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.running.is_empty() && self.waiting.len() == 0
    }

    /// # Errors
    /// It can't be taken, now or at all.
    pub fn submit(&mut self, mut request: Request) -> Result<TextId, Refused> {
        let (tokens, most) = (request.prompt.len(), self.longest());
        if tokens == 0 {
            return Err(Refused::Empty);
        }
        if tokens >= most {
            return Err(Refused::TooLong { tokens, most });
        }
        if request.adapter.as_ref().is_some_and(|adapter| !self.shelf.has(adapter)) {
            return Err(Refused::NoAdapter);
        }
        if self.waiting.len() >= self.room.waiting {
            return Err(Refused::Full);
        }
        request.max_tokens = request.max_tokens.min(most - tokens);
        self.next += 1;
        let (id, group) = (TextId(self.next), request.group);
        let (said, blocks) = (Vec::new(), Vec::new());
        let text = Text { id, request, said, blocks, computed: 0, has_begun: false, adapter: None };
        self.waiting.push(group, text);
        Ok(id)
    }

    /// Ends a text. What it had is free before the next step.
    pub fn cancel(&mut self, text: TextId) {
        if let Some(at) = self.running.iter().position(|running| running.id == text) {
            let text = self.running.remove(at);
            self.end(&text);
        } else if let Some(text) = self.waiting.remove(|waiting| waiting.id == text) {
            self.end(&text);
        }
    }

    fn end(&mut self, text: &Text) {
        self.blocks.give(&text.blocks);
        if !self.running.iter().any(|running| running.request.group == text.request.group) {
            self.waiting.leave(text.request.group);
        }
    }

    /// Forgets what is remembered of a share, and wipes it.
    pub fn forget(&mut self, share: Share) -> usize {
        self.wipe(|under| under.share == share)
    }

    fn wipe(&mut self, is_meant: impl Fn(Under) -> bool) -> usize {
        let wiped = self.blocks.forget(is_meant);
        self.pool.wipe(&wiped);
        wiped.len()
    }

    /// One step of all that runs.
    ///
    /// # Errors
    /// The model can't compute; what runs is lost.
    pub fn step(&mut self) -> Result<Vec<Happened>, EngineError> {
        let mut happened = Vec::new();
        self.let_in(&mut happened);
        let parts = self.compose();
        if parts.is_empty() {
            return Ok(happened);
        }
        let (ids, parts): (Vec<TextId>, Vec<Part>) = parts.into_iter().unzip();
        let batch = Ragged { parts };
        let scores = self.model.step(&batch, &mut self.pool)?;
        self.counts.steps += 1;
        self.counts.rows += batch.rows() as u64;
        let mut scores = scores.chunks_exact(self.model.shape().vocabulary);
        for (id, part) in ids.into_iter().zip(&batch.parts) {
            let told = (part.told_from < part.tokens.len()).then(|| scores.next()).flatten();
            self.carry_on(id, part, told, &mut happened);
        }
        Ok(happened)
    }

    /// Gives texts that wait their turn, as long as there are turns and room for a first piece. Those whose adapter is not
    /// in memory are gone past, and it is sent for.
    fn let_in(&mut self, happened: &mut Vec<Happened>) {
        self.end_without_adapter(happened);
        while self.running.len() < self.room.texts {
            let Some(mut text) = self.next_ready() else {
                self.send_for_adapters(true);
                return;
            };
            text.blocks = self.blocks.find(text.under(), &text.all());
            text.computed = text.blocks.len() * BLOCK;
            if self.blocks.free() == 0 {
                self.set_back(text);
                break;
            }
            if !text.has_begun {
                text.has_begun = true;
                happened.push(Happened::Begun { text: text.id, remembered: text.computed });
                self.counts.remembered += text.computed as u64;
            }
            self.running.push(text);
        }
        self.send_for_adapters(false);
    }

    /// Takes a text's room from it: what it said stays, and is computed anew when it is its turn again.
    fn set_back(&mut self, mut text: Text) {
        self.blocks.give(&text.blocks);
        text.blocks.clear();
        text.computed = 0;
        self.waiting.push_back_first(text.request.group, text);
    }

    /// Who takes part in the next step, and with what.
    fn compose(&mut self) -> Vec<(TextId, Part)> {
        let mut parts: Vec<(TextId, Part)> = Vec::new();
        let mut left = self.room.tokens;
        // Those that are being told first: one token each.
        for is_prompt in [false, true] {
            let mut at = 0;
            while let Some(text) = self.running.get(at).filter(|_| left > 0) {
                let missing = text.length() - text.computed;
                if (missing > 1) != is_prompt || parts.iter().any(|(id, _)| *id == text.id) {
                    at += 1;
                    continue;
                }
                let (id, count) = (text.id, missing.min(left));
                // Whoever came last makes room, be it this one.
                while !self.has_room(id, count) {
                    let Some(last) = self.running.pop() else { return parts };
                    parts.retain(|(id, _)| *id != last.id);
                    self.counts.set_back += 1;
                    self.set_back(last);
                }
                let Some(text) = self.running.get(at).filter(|text| text.id == id) else { continue };
                let (tokens, start) = (text.tokens(count), text.computed);
                let told_from = if count == missing { count - 1 } else { count };
                let (blocks, adapter) = (text.blocks.clone(), text.adapter.clone());
                parts.push((id, Part { tokens, start, blocks, told_from, adapter }));
                left -= count;
                at += 1;
            }
        }
        parts
    }

    /// Sees to it that a text has blocks for so many tokens more; one that is gone needs none.
    fn has_room(&mut self, id: TextId, more: usize) -> bool {
        let Some(text) = self.running.iter_mut().find(|text| text.id == id) else { return true };
        let wanted = (text.computed + more).div_ceil(BLOCK).saturating_sub(text.blocks.len());
        match self.blocks.take(wanted) {
            Some(blocks) => {
                text.blocks.extend(blocks);
                true
            }
            None => false,
        }
    }

    /// What a step did for a text.
    fn carry_on(&mut self, id: TextId, part: &Part, told: Option<&[f32]>, happened: &mut Vec<Happened>) {
        let Some(at) = self.running.iter().position(|text| text.id == id) else { return };
        let Some(text) = self.running.get_mut(at) else { return };
        let full = text.computed / BLOCK;
        text.computed = part.end();
        self.waiting.serve(text.request.group, part.tokens.len());
        if text.computed / BLOCK > full {
            let mut computed = text.all();
            computed.truncate(text.computed);
            self.blocks.remember(text.under(), &computed, &text.blocks);
        }
        let Some(scores) = told else { return };
        let end = match text.request.sampling.draw(scores, (&text.request.prompt, &text.said), None) {
            None => Some(End::Broken),
            Some(drawn) => {
                let token = drawn.token;
                text.said.push(token);
                happened.push(Happened::Token { text: id, drawn });
                let is_end = text.request.ends.contains(&token);
                let is_full = text.said.len() >= text.request.max_tokens;
                is_end.then_some(End::Stop).or(is_full.then_some(End::Length))
            }
        };
        if let Some(end) = end {
            let text = self.running.remove(at);
            self.end(&text);
            happened.push(Happened::End { text: id, end });
        }
    }
}
