//! Many texts carried on at once. In each step every text that is being told gets its next token, and what room is left
//! goes to prompts, so that neither waits for the other.

mod adapted;
mod passages;
#[cfg(test)]
mod tests;

use domain::runtime::RuntimeLoad;

use crate::EngineError;
use crate::adapters::{AdapterId, Limits, Shelf};
use crate::batch::{Part, Ragged};
use crate::blocks::{Blocks, Share, Under, Wiping};
use crate::guesses::{Guesses, Repeats};
use crate::machine::{Machine, Memory};
use crate::model::Tells;
use crate::pool::{BLOCK, Keeps, Pool};
use crate::rules::{Ahead, Masks, Rule};
use crate::sampler::{Drawn, Sampling};
use crate::text::{Scores, Text};
use crate::waiting::{Group, Waiting};

pub use self::passages::{Beginning, Passage};

/// So many tokens of a text are computed before anybody's prompt: what was drawn, and what a rule put behind it.
const AT_ONCE: usize = 32;

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
    /// How many tokens of a text are guessed in a step; nought guesses nothing.
    pub guesses: usize,
}

/// A text to be carried on.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    pub prompt: Vec<u32>,
    pub sampling: Sampling,
    pub max_tokens: usize,
    /// Tokens that end a text.
    pub ends: Vec<u32>,
    /// What the text has to be. It ends where nothing more may come.
    pub rule: Option<Rule>,
    pub share: Share,
    pub group: Group,
    /// What it is said with beside the model. Which one the name means is settled when it has its turn, and stays so.
    pub adapter: Option<AdapterId>,
    /// What it goes on with, in order. These, and the one before them, have to be in memory when it is asked.
    pub later: Vec<Later>,
}

/// Another adapter, or none, from a token of the answer on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Later {
    /// The first token that is drawn with it; that of the answer's beginning is nought, and is no later one.
    pub from: usize,
    pub adapter: Option<AdapterId>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
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
    /// One of those that it has one after the other is not in memory.
    AdapterAway,
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
    /// What the model made of a text that is only read; its end is told next.
    State {
        text: TextId,
        state: Vec<f32>,
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
    /// The model said nothing that is a number, or the text's rule grew beyond its bounds.
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
    /// Tokens that were guessed, and those of them that came true.
    pub guessed: u64,
    pub came_true: u64,
}

/// What came of forgetting, in blocks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forgot {
    /// Those that could be found before.
    pub found: usize,
    /// Those that nothing is left in.
    pub wiped: usize,
    /// Those that texts which go on still have, and how many texts these are.
    pub held: usize,
    pub texts: usize,
}

/// What a text has of a step.
#[derive(Debug)]
struct Turn {
    id: TextId,
    part: Part,
    /// How many of the part's last tokens are guesses.
    guesses: usize,
}

/// Carries texts on, one step after the other. It is one thread's.
#[derive(Debug)]
pub struct Runner {
    model: Machine,
    pool: Memory,
    blocks: Blocks,
    room: Room,
    /// In the order in which they got their turn.
    running: Vec<Text>,
    waiting: Waiting<Text>,
    next: u64,
    counts: Counts,
    masks: Masks,
    guesses: Box<dyn Guesses>,
    shelf: Shelf,
    /// The adapter that is waited for and finds no room, and how many texts with others were let in meanwhile.
    starved: Option<(AdapterId, u32)>,
}

impl Turn {
    fn guesses(&self) -> &[u32] {
        let first = self.part.tokens.len() - self.guesses;
        self.part.tokens.get(first..).unwrap_or_default()
    }

    const fn is_told(&self) -> bool {
        self.part.told_from < self.part.tokens.len()
    }
}

impl Runner {
    /// # Errors
    /// The room is not enough for a single block.
    pub fn new(model: impl Into<Machine>, room: Room) -> Result<Self, EngineError> {
        let model = model.into();
        let blocks = room.bytes / Pool::block_bytes(model.shape(), room.keeps);
        if blocks == 0 || room.tokens == 0 || room.texts == 0 {
            return Err(EngineError::NoRoom { wanted: 1, free: 0 });
        }
        let pool = model.memory(room.keeps, blocks)?;
        let (running, waiting) = (Vec::new(), Waiting::new());
        let shelf = Shelf::new(model.shape(), Limits::default());
        Ok(Self {
            model,
            pool,
            blocks: Blocks::new(blocks),
            room,
            running,
            waiting,
            next: 0,
            counts: Counts::default(),
            masks: Masks::default(),
            guesses: Box::new(Repeats),
            shelf,
            starved: None,
        })
    }

    /// Has somebody else guess.
    #[must_use]
    pub fn guessing_by(self, guesses: Box<dyn Guesses>) -> Self {
        Self { guesses, ..self }
    }

    /// The longest text, prompt and answer together, that can be carried on here.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.model.shape().context.min(self.pool.blocks() * BLOCK)
    }

    /// What a block of remembered tokens takes.
    #[must_use]
    pub fn block_bytes(&self) -> usize {
        Pool::block_bytes(self.model.shape(), self.room.keeps)
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
    pub(crate) fn standing(&self) -> RuntimeLoad {
        let bytes = |blocks: usize| blocks.saturating_mul(self.block_bytes()) as u64;
        RuntimeLoad {
            running: self.running.len() as u64,
            waiting: self.waiting.len() as u64,
            cache_bytes: bytes(self.blocks.filled()),
            cache_bytes_max: bytes(self.pool.blocks()),
        }
    }

    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.running.is_empty() && self.waiting.len() == 0
    }

    /// # Errors
    /// It can't be taken, now or at all.
    pub fn submit(&mut self, mut request: Request) -> Result<TextId, Refused> {
        let (tokens, most) = (request.prompt.len(), self.longest());
        // Something is to be said of it.
        if tokens >= most {
            return Err(Refused::TooLong { tokens, most });
        }
        request.max_tokens = request.max_tokens.min(most - tokens);
        self.take(request, |text| text)
    }

    fn take(&mut self, request: Request, made: impl FnOnce(Text) -> Text) -> Result<TextId, Refused> {
        if request.prompt.is_empty() {
            return Err(Refused::Empty);
        }
        if request.adapter.as_ref().is_some_and(|adapter| !self.shelf.has(adapter)) {
            return Err(Refused::NoAdapter);
        }
        if self.waiting.len() >= self.room.waiting {
            return Err(Refused::Full);
        }
        let (adapter, later) = self.in_turn(&request)?;
        self.next += 1;
        let (id, group) = (TextId(self.next), request.group);
        let text = Text { adapter, later, ..Text::new(id, request) };
        self.waiting.push(group, made(text));
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
        self.guesses.forget(text.id);
        self.give(&text.blocks, text.is_forgotten);
        if text.is_forgotten {
            self.guesses.wipe();
        }
        if !self.running.iter().any(|running| running.request.group == text.request.group) {
            self.waiting.leave(text.request.group);
        }
    }

    /// Forgets what is remembered of a share, and wipes it. Texts that were asked before go on; nothing of them is
    /// remembered, then or later, and what they have is wiped when they end.
    pub fn forget(&mut self, share: Share) -> Forgot {
        self.wipe(|under| under.share == share)
    }

    fn wipe(&mut self, is_meant: impl Fn(Under) -> bool) -> Forgot {
        self.guesses.wipe();
        self.wipe_blocks(is_meant)
    }

    fn wipe_blocks(&mut self, is_meant: impl Fn(Under) -> bool) -> Forgot {
        let Wiping { blocks, found, held } = self.blocks.forget(&is_meant);
        self.pool.wipe(&blocks);
        let meant = |text: &&mut Text| is_meant(text.under());
        self.waiting.all_mut().filter(meant).for_each(|text| text.is_forgotten = true);
        let mut texts = 0;
        for text in self.running.iter_mut().filter(meant) {
            text.is_forgotten = true;
            texts += 1;
        }
        Forgot { found, wiped: blocks.len(), held, texts }
    }

    /// Takes blocks back from a text.
    fn give(&mut self, blocks: &[u32], is_forgotten: bool) {
        if is_forgotten {
            let wiped = self.blocks.give_to_wipe(blocks);
            self.pool.wipe(&wiped);
        } else {
            self.blocks.give(blocks);
        }
    }

    /// One step of all that runs.
    ///
    /// # Errors
    /// The model can't compute; what runs is lost.
    pub fn step(&mut self) -> Result<Vec<Happened>, EngineError> {
        let mut happened = Vec::new();
        self.let_in(&mut happened);
        let mut turns = self.compose();
        if turns.is_empty() {
            return Ok(happened);
        }
        self.guess(&mut turns);
        let ahead = self.ahead(&turns);
        let tells = self.tells(&turns);
        let (model, pool) = (&self.model, &mut self.pool);
        let (turns, parts): (Vec<(TextId, usize)>, Vec<Part>) =
            turns.into_iter().map(|turn| ((turn.id, turn.guesses), turn.part)).unzip();
        let batch = Ragged { parts };
        let (scores, mut ahead) = self.masks.beside(ahead, || model.step_telling(&batch, &tells, pool));
        let scores = scores?;
        self.counts.steps += 1;
        self.counts.rows += batch.rows() as u64;
        let mut rows = scores.as_slice();
        for (((id, guesses), part), tells) in turns.into_iter().zip(batch.parts).zip(tells) {
            let turn = Turn { id, part, guesses };
            let told = turn.part.tokens.len().saturating_sub(turn.part.told_from);
            let of_turn = rows.split_at_checked(told * self.width(tells));
            let (of_turn, rest) = of_turn.unwrap_or_default();
            rows = rest;
            let at = ahead.iter().position(|ahead| ahead.text == id);
            let of_rule = at.map(|at| ahead.swap_remove(at));
            self.carry_on(&turn, of_turn, of_rule, &mut happened);
        }
        Ok(happened)
    }

    /// What is asked of the rules of those that are told.
    fn ahead(&mut self, turns: &[Turn]) -> Vec<Ahead> {
        let mut all = Vec::new();
        for turn in turns.iter().filter(|turn| turn.is_told()) {
            let Some(text) = self.running.iter_mut().find(|text| text.id == turn.id) else { continue };
            let Some(following) = text.following.take() else { continue };
            let (guesses, ends) = (turn.guesses().to_vec(), text.request.ends.clone());
            all.push(Ahead { text: turn.id, following, guesses, ends, allowed: Vec::new() });
        }
        all
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
            if text.tells == Tells::Scores || text.beginning.is_some() {
                text.blocks = self.blocks.find(text.under(), &text.findable(text.length()));
            }
            text.computed = text.blocks.len() * BLOCK;
            if self.blocks.free() == 0 {
                self.set_back(text);
                break;
            }
            if !text.has_begun {
                text.has_begun = true;
                happened.push(Happened::Begun { text: text.id, remembered: text.computed });
                self.counts.remembered += text.computed as u64;
                let untold = std::mem::take(&mut text.untold).into_iter();
                happened.extend(untold.map(|drawn| Happened::Token { text: text.id, drawn }));
            }
            if let Some(end) = text.ended {
                self.end(&text);
                happened.push(Happened::End { text: text.id, end });
                continue;
            }
            self.running.push(text);
        }
        self.send_for_adapters(false);
    }

    /// Takes a text's room from it: what it said stays, and is computed anew when it is its turn again.
    fn set_back(&mut self, mut text: Text) {
        self.give(&std::mem::take(&mut text.blocks), text.is_forgotten);
        text.computed = 0;
        self.waiting.push_back_first(text.request.group, text);
    }

    /// Who takes part in the next step, and with what.
    fn compose(&mut self) -> Vec<Turn> {
        let mut turns: Vec<Turn> = Vec::new();
        let mut left = self.room.tokens;
        let is_told = |text: &Text| !text.said.is_empty() && text.missing() <= AT_ONCE;
        // Those that are being told first, and a token of each before a second one of any.
        for is_prompt in [false, true] {
            let mut at = 0;
            while let Some(text) = self.running.get(at).filter(|_| left > 0) {
                if is_told(text) == is_prompt || turns.iter().any(|turn| turn.id == text.id) {
                    at += 1;
                    continue;
                }
                let behind =
                    self.running.iter().skip(at + 1).filter(|text| !is_prompt && is_told(text)).count();
                let (id, missing) = (text.id, text.missing());
                let (adapter, until) = text.worn_at(text.computed);
                let count = missing.min(left.saturating_sub(behind).max(1)).min(until - text.computed);
                // Whoever came last makes room, be it this one.
                while !self.has_room(id, count) {
                    let Some(last) = self.running.pop() else { return turns };
                    turns.retain(|turn| turn.id != last.id);
                    self.counts.set_back += 1;
                    self.set_back(last);
                }
                let Some(text) = self.running.get(at).filter(|text| text.id == id) else { continue };
                let (tokens, start) = (text.tokens(count), text.computed);
                let told_from = if count == missing { count - 1 } else { count };
                let blocks = text.blocks.clone();
                let part = Part { tokens, start, blocks, told_from, adapter };
                turns.push(Turn { id, part, guesses: 0 });
                left -= count;
                at += 1;
            }
        }
        turns
    }

    /// Puts guesses behind those that are told, as far as there is room that nobody else has use for.
    fn guess(&mut self, turns: &mut [Turn]) {
        let taken: usize = turns.iter().map(|turn| turn.part.tokens.len()).sum();
        let mut left = self.room.tokens.saturating_sub(taken);
        for turn in turns.iter_mut().filter(|turn| turn.is_told()) {
            let Some(text) = self.running.iter_mut().find(|text| text.id == turn.id) else { continue };
            let to_come = text.request.max_tokens.saturating_sub(text.said.len() + 1);
            // A part is computed with one adapter.
            let alike = text.worn_at(turn.part.start).1 - turn.part.end();
            let most = text.lately.next(text.said.len()).min(self.room.guesses);
            let most = most.min(left).min(to_come).min(alike);
            if most == 0 {
                continue;
            }
            let mut guessed = self.guesses.guess(text.id, &text.request.prompt, &text.said, most);
            guessed.truncate(most);
            let end = turn.part.end() + guessed.len();
            let wanted = end.div_ceil(BLOCK).saturating_sub(text.blocks.len());
            let Some(blocks) = self.blocks.take(text.under(), wanted) else { continue };
            text.blocks.extend(blocks);
            turn.part.blocks.clone_from(&text.blocks);
            left -= guessed.len();
            turn.guesses = guessed.len();
            turn.part.tokens.extend(guessed);
        }
    }

    /// Sees to it that a text has blocks for so many tokens more; one that is gone needs none.
    fn has_room(&mut self, id: TextId, more: usize) -> bool {
        let Some(text) = self.running.iter_mut().find(|text| text.id == id) else { return true };
        let wanted = (text.computed + more).div_ceil(BLOCK).saturating_sub(text.blocks.len());
        match self.blocks.take(text.under(), wanted) {
            Some(blocks) => {
                text.blocks.extend(blocks);
                true
            }
            None => false,
        }
    }

    /// What a step did for a text.
    fn carry_on(&mut self, turn: &Turn, rows: &[f32], ahead: Option<Ahead>, happened: &mut Vec<Happened>) {
        let Some(at) = self.running.iter().position(|text| text.id == turn.id) else { return };
        let Some(text) = self.running.get_mut(at) else { return };
        let (mut told, mut end) = (Vec::new(), None);
        if text.tells == Tells::State {
            return self.read_on(at, turn, rows, happened);
        }
        let full = text.computed / BLOCK;
        text.computed = turn.part.end() - turn.guesses;
        if turn.is_told() {
            let allowed = ahead.map(|ahead| {
                text.following = Some(ahead.following);
                ahead.allowed
            });
            let (width, allowed) = (self.model.shape().vocabulary, allowed.unwrap_or_default());
            let is_lost = text.request.rule.is_some() && text.following.is_none();
            let scores = Scores { rows, width, guesses: turn.guesses(), allowed: &allowed };
            let (came_true, ended) =
                if is_lost { (0, Some(End::Broken)) } else { text.tell(&scores, &mut told) };
            text.computed += came_true;
            text.lately.learn(turn.guesses, came_true, text.said.len(), self.room.guesses);
            self.counts.guessed += turn.guesses as u64;
            self.counts.came_true += came_true as u64;
            end = ended;
        }
        self.waiting.serve(text.request.group, turn.part.tokens.len());
        if text.computed / BLOCK > full && !text.is_forgotten {
            self.blocks.remember(text.under(), &text.findable(text.computed), &text.blocks);
        }
        // What was taken for guesses that were wrong.
        let needed = text.computed.div_ceil(BLOCK).min(text.blocks.len());
        let (spare, is_forgotten) = (text.blocks.split_off(needed), text.is_forgotten);
        self.give(&spare, is_forgotten);
        let id = turn.id;
        happened.extend(told.into_iter().map(|drawn| Happened::Token { text: id, drawn }));
        if let Some(end) = end {
            let text = self.running.remove(at);
            self.end(&text);
            happened.push(Happened::End { text: id, end });
        }
    }
}
