//! Draft-model speculation: a smaller model with the same vocabulary proposes tokens greedily, and the larger
//! model verifies all of them in one step.

use std::collections::HashMap;
use std::sync::Arc;

use kernels::{BLOCK, KvCache, KvDtype, Model, SequenceChunk, StepBatch};

use super::{Drafter, PromptLookup};
use crate::EngineError;
use crate::limits::DRAFT_PREFILL_TOKENS_MAX;
use crate::request::SequenceId;

/// The draft model, with a KV cache of its own.
#[derive(Debug)]
pub struct DraftModel {
    model: Arc<Model>,
    pool: KvCache,
    free: Vec<u32>,
    texts: HashMap<SequenceId, DraftCache>,
}

/// What is in the draft model's KV cache of a sequence.
#[derive(Debug, Default)]
struct DraftCache {
    tokens: Vec<u32>,
    blocks: Vec<u32>,
}

impl DraftModel {
    /// Takes a KV cache of `bytes` bytes. Sequences that do not fit get no draft tokens.
    ///
    /// # Errors
    /// The cache is too small for a single block.
    pub fn new(model: Arc<Model>, keeps: KvDtype, bytes: usize) -> Result<Self, EngineError> {
        let blocks = bytes / KvCache::block_bytes(model.shape(), keeps);
        let Some(free) = u32::try_from(blocks).ok().filter(|blocks| *blocks > 0) else {
            return Err(EngineError::NoRoom { wanted: 1, free: 0 });
        };
        let pool = KvCache::new(model.shape(), keeps, blocks);
        Ok(Self { model, pool, free: (0..free).collect(), texts: HashMap::new() })
    }

    /// The number of free blocks.
    pub fn free_blocks(&self) -> usize {
        self.free.len()
    }

    /// Computes these tokens, which complete the sequence, and returns the likeliest next one. `None` if the
    /// cache is full, the context ends or the model fails.
    fn read(&mut self, held: &mut DraftCache, tokens: &[u32]) -> Option<u32> {
        let end = held.tokens.len() + tokens.len();
        if end > self.model.shape().context {
            return None;
        }
        let wanted = end.div_ceil(BLOCK).saturating_sub(held.blocks.len());
        let from = self.free.len().checked_sub(wanted)?;
        held.blocks.extend(self.free.drain(from..));
        let part = SequenceChunk {
            tokens: tokens.to_vec(),
            start: held.tokens.len(),
            blocks: held.blocks.clone(),
            output_from: tokens.len() - 1,
            adapter: None,
        };
        let scores = self.model.step(&StepBatch { chunks: vec![part] }, &mut self.pool).ok()?;
        held.tokens.extend_from_slice(tokens);
        let likeliest = (0u32..).zip(&scores).max_by(|(_, one), (_, other)| one.total_cmp(other));
        likeliest.map(|(token, _)| token)
    }

    fn follow(&mut self, held: &mut DraftCache, all: &[u32], most: usize) -> Vec<u32> {
        let same = held.tokens.iter().zip(all).take_while(|(read, is)| read == is).count();
        // Rejected draft tokens are dropped from the cache; the last token is always computed again, for its
        // logits.
        held.tokens.truncate(same.min(all.len().saturating_sub(1)));
        let missing = all.get(held.tokens.len()..).unwrap_or_default();
        let (now, later) = missing.split_at(missing.len().min(DRAFT_PREFILL_TOKENS_MAX));
        if now.is_empty() {
            return Vec::new();
        }
        let Some(mut next) = self.read(held, now) else { return Vec::new() };
        let mut drafts = Vec::new();
        if !later.is_empty() {
            return drafts;
        }
        while drafts.len() < most {
            drafts.push(next);
            match (drafts.len() < most).then(|| self.read(held, &[next])).flatten() {
                Some(token) => next = token,
                None => break,
            }
        }
        drafts
    }
}

impl Drafter for DraftModel {
    fn propose(&mut self, text: SequenceId, prompt: &[u32], generated: &[u32], most: usize) -> Vec<u32> {
        // A long verbatim repetition is drafted without the model.
        let repeated = PromptLookup::surely(prompt, generated, most);
        if !repeated.is_empty() || most == 0 {
            return repeated;
        }
        let mut held = self.texts.remove(&text).unwrap_or_default();
        let drafts = self.follow(&mut held, &[prompt, generated].concat(), most);
        self.texts.insert(text, held);
        drafts
    }

    fn forget(&mut self, text: SequenceId) {
        if let Some(held) = self.texts.remove(&text) {
            self.free.extend(held.blocks);
        }
    }

    fn wipe(&mut self) {
        self.pool.wipe(&self.free);
    }
}
