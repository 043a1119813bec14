//! One forward pass (a "step") over a ragged batch: token runs of several sequences, concatenated without
//! padding.

use std::sync::Arc;

use crate::adapter::Adapter;
use crate::error::KernelError;
use crate::kv_cache::BLOCK;
use crate::shape::Architecture;

/// A run of tokens of one sequence. Whole prompts, prefill chunks, single decode tokens and draft tokens to
/// be verified all have this form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SequenceChunk {
    pub tokens: Vec<u32>,
    /// The position of the first token in its sequence; everything before it was computed by earlier steps.
    pub start: usize,
    /// The sequence's block table, long enough for the tokens of this step as well.
    pub blocks: Vec<u32>,
    /// Index of the first of these tokens for which the step returns an output row; `tokens.len()` if it
    /// returns none.
    pub output_from: usize,
    /// The LoRA adapter of this run; a run has only one.
    pub adapter: Option<Arc<Adapter>>,
}

impl SequenceChunk {
    /// The sequence length in the KV cache after this step.
    pub const fn end(&self) -> usize {
        self.start + self.tokens.len()
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StepBatch {
    pub chunks: Vec<SequenceChunk>,
}

impl StepBatch {
    /// The number of tokens in the step: the rows of its matrices.
    pub fn rows(&self) -> usize {
        self.chunks.iter().map(|part| part.tokens.len()).sum()
    }

    /// Checks that positions, blocks, token ids and adapters are within range.
    pub fn check(&self, shape: &Architecture) -> Result<(), KernelError> {
        for part in &self.chunks {
            if part.end() > shape.context {
                return Err(KernelError::Step("a place beyond the context"));
            }
            if part.end() > part.blocks.len() * BLOCK {
                return Err(KernelError::Step("a text without room in the pool"));
            }
            if part.tokens.iter().any(|token| *token as usize >= shape.vocabulary) {
                return Err(KernelError::Step("a token that is not in the vocabulary"));
            }
            if part.adapter.as_ref().is_some_and(|adapter| !adapter.fits(shape)) {
                return Err(KernelError::Step("an adapter of another model"));
            }
        }
        Ok(())
    }

    /// For each row, the index of its part and its position in that part's sequence.
    pub fn positions(&self) -> Vec<(usize, usize)> {
        let each = |(index, part): (usize, &SequenceChunk)| {
            let start = part.start;
            (0..part.tokens.len()).map(move |row| (index, start + row)).collect::<Vec<_>>()
        };
        self.chunks.iter().enumerate().flat_map(each).collect()
    }

    /// The rows whose output (logits or hidden state) the step returns.
    pub fn output_rows(&self) -> Vec<usize> {
        let mut rows = Vec::new();
        let mut first = 0;
        for part in &self.chunks {
            rows.extend(first + part.output_from.min(part.tokens.len())..first + part.tokens.len());
            first += part.tokens.len();
        }
        rows
    }
}
