//! What is computed in one step: pieces of several texts, one behind the other.

use std::sync::Arc;

use crate::pool::BLOCK;
use crate::{Adapter, EngineError, Shape};

/// A piece of one text. Prompts, pieces of prompts, single new tokens and guesses that are checked are all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub tokens: Vec<u32>,
    /// The place of the first token in its text; what is before it was computed in steps before.
    pub start: usize,
    /// Where in the pool the text is remembered, enough for what comes with this step.
    pub blocks: Vec<u32>,
    /// From which of these tokens on the next one is to be told; as many as there are tokens where of none.
    pub told_from: usize,
    /// What it is computed with beside the model; the same for all of a text.
    pub adapter: Option<Arc<Adapter>>,
}

impl Part {
    /// Where the text ends after this step.
    #[must_use]
    pub const fn end(&self) -> usize {
        self.start + self.tokens.len()
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ragged {
    pub parts: Vec<Part>,
}

impl Ragged {
    /// All tokens of the step.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.parts.iter().map(|part| part.tokens.len()).sum()
    }

    /// Whether all that it names is there.
    pub(crate) fn check(&self, shape: &Shape) -> Result<(), EngineError> {
        for part in &self.parts {
            if part.end() > shape.context {
                return Err(EngineError::Step("a place beyond the context"));
            }
            if part.end() > part.blocks.len() * BLOCK {
                return Err(EngineError::Step("a text without room in the pool"));
            }
            if part.tokens.iter().any(|token| *token as usize >= shape.vocabulary) {
                return Err(EngineError::Step("a token that is not in the vocabulary"));
            }
            if part.adapter.as_ref().is_some_and(|adapter| !adapter.fits(shape)) {
                return Err(EngineError::Step("an adapter of another model"));
            }
        }
        Ok(())
    }

    /// Each row's part, and its place in that part's text.
    pub(crate) fn places(&self) -> Vec<(usize, usize)> {
        let each = |(index, part): (usize, &Part)| {
            let start = part.start;
            (0..part.tokens.len()).map(move |row| (index, start + row)).collect::<Vec<_>>()
        };
        self.parts.iter().enumerate().flat_map(each).collect()
    }

    /// The rows of which the next token is to be told.
    pub(crate) fn told(&self) -> Vec<usize> {
        let mut told = Vec::new();
        let mut first = 0;
        for part in &self.parts {
            told.extend(first + part.told_from.min(part.tokens.len())..first + part.tokens.len());
            first += part.tokens.len();
        }
        told
    }
}
