//! Guesses of a smaller model with the same tokens. It reads along, and says what it would say; the larger one checks all of
//! that in one step.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Guesses, Repeats};
use crate::batch::{Part, Ragged};
use crate::pool::{BLOCK, Keeps, Pool};
use crate::runner::TextId;
use crate::{EngineError, Model};

/// What it reads of a text at once. Whoever has a longer prompt waits for no more than that in a step, and is guessed once
/// all of it is read.
const READ_MAX: usize = 256;

/// A model that guesses for another.
#[derive(Debug)]
pub struct Draft {
    model: Arc<Model>,
    pool: Pool,
    free: Vec<u32>,
    texts: HashMap<TextId, Held>,
}

/// What it has read of a text.
#[derive(Debug, Default)]
struct Held {
    tokens: Vec<u32>,
    blocks: Vec<u32>,
}

impl Draft {
    /// With so many bytes for what it reads; texts that find no room are not guessed.
    ///
    /// # Errors
    /// That is not enough for any text.
    pub fn new(model: Arc<Model>, keeps: Keeps, bytes: usize) -> Result<Self, EngineError> {
        let blocks = bytes / Pool::block_bytes(model.shape(), keeps);
        let Some(free) = u32::try_from(blocks).ok().filter(|blocks| *blocks > 0) else {
            return Err(EngineError::NoRoom { wanted: 1, free: 0 });
        };
        let pool = Pool::new(model.shape(), keeps, blocks);
        Ok(Self { model, pool, free: (0..free).collect(), texts: HashMap::new() })
    }

    /// The blocks that nothing is in.
    #[must_use]
    pub fn free_blocks(&self) -> usize {
        self.free.len()
    }

    /// What comes next of a text of which all is read but these tokens; nothing where there is no room, or the model fails.
    fn read(&mut self, held: &mut Held, tokens: &[u32]) -> Option<u32> {
        let end = held.tokens.len() + tokens.len();
        if end > self.model.shape().context {
            return None;
        }
        let wanted = end.div_ceil(BLOCK).saturating_sub(held.blocks.len());
        let from = self.free.len().checked_sub(wanted)?;
        held.blocks.extend(self.free.drain(from..));
        let part = Part {
            tokens: tokens.to_vec(),
            start: held.tokens.len(),
            blocks: held.blocks.clone(),
            told_from: tokens.len() - 1,
            adapter: None,
        };
        let scores = self.model.step(&Ragged { parts: vec![part] }, &mut self.pool).ok()?;
        held.tokens.extend_from_slice(tokens);
        let likeliest = (0u32..).zip(&scores).max_by(|(_, one), (_, other)| one.total_cmp(other));
        likeliest.map(|(token, _)| token)
    }

    fn follow(&mut self, held: &mut Held, all: &[u32], most: usize) -> Vec<u32> {
        let same = held.tokens.iter().zip(all).take_while(|(read, is)| read == is).count();
        // What it guessed wrongly it has not read; what it is to say something of it reads at last.
        held.tokens.truncate(same.min(all.len().saturating_sub(1)));
        let missing = all.get(held.tokens.len()..).unwrap_or_default();
        let (now, later) = missing.split_at(missing.len().min(READ_MAX));
        if now.is_empty() {
            return Vec::new();
        }
        let Some(mut next) = self.read(held, now) else { return Vec::new() };
        let mut guessed = Vec::new();
        if !later.is_empty() {
            return guessed;
        }
        while guessed.len() < most {
            guessed.push(next);
            match (guessed.len() < most).then(|| self.read(held, &[next])).flatten() {
                Some(token) => next = token,
                None => break,
            }
        }
        guessed
    }
}

impl Guesses for Draft {
    fn guess(&mut self, text: TextId, prompt: &[u32], said: &[u32], most: usize) -> Vec<u32> {
        // What was said before word for word needs no model to be guessed.
        let repeated = Repeats::surely(prompt, said, most);
        if !repeated.is_empty() || most == 0 {
            return repeated;
        }
        let mut held = self.texts.remove(&text).unwrap_or_default();
        let guessed = self.follow(&mut held, &[prompt, said].concat(), most);
        self.texts.insert(text, held);
        guessed
    }

    fn forget(&mut self, text: TextId) {
        if let Some(held) = self.texts.remove(&text) {
            self.free.extend(held.blocks);
        }
    }

    fn wipe(&mut self) {
        self.pool.wipe(&self.free);
    }
}
