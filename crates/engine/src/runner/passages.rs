//! Texts that are only read: what is told of one is what the model made of it, at its end. They have their turns like all
//! others, piece by piece, and nothing of them is remembered but what all of one request begin with, until that is over.

use super::{End, Happened, Refused, Request, Runner, TextId, Turn};
use crate::adapters::AdapterId;
use crate::blocks::Share;
use crate::model::Tells;
use crate::pool::BLOCK;
use crate::sampler::Sampling;
use crate::text::Text;
use crate::waiting::Group;

/// A text that is only read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passage {
    pub tokens: Vec<u32>,
    pub group: Group,
    /// What it is read with beside the model.
    pub adapter: Option<AdapterId>,
    /// What others that are read for the same request begin with, too.
    pub beginning: Option<Beginning>,
}

/// A beginning that passages have in common: full blocks of it are left by the first one that is read, and found by others
/// until the reading is said to be over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beginning {
    /// The request's number, which none had before. Nought is nobody's.
    pub reading: u64,
    /// How long it is.
    pub tokens: usize,
}

impl Runner {
    /// Has a text read to its end.
    ///
    /// # Errors
    /// It can't be taken, now or at all.
    pub fn read(&mut self, passage: Passage) -> Result<TextId, Refused> {
        let Passage { tokens: prompt, group, adapter, beginning } = passage;
        let (tokens, most) = (prompt.len(), self.longest());
        if tokens > most {
            return Err(Refused::TooLong { tokens, most });
        }
        let (sampling, ends) = (Sampling::default(), Vec::new());
        // None of another request finds anything of it; its share says what is wiped when that one is forgotten.
        let share = Share(group.0);
        let request = Request {
            prompt,
            sampling,
            max_tokens: 0,
            ends,
            rule: None,
            share,
            group,
            adapter,
            later: Vec::new(),
        };
        let beginning = beginning.filter(|beginning| beginning.reading > 0);
        self.take(request, |text| Text { tells: Tells::State, beginning, ..text })
    }

    /// Forgets what the passages of a request had in common, and wipes it.
    pub fn end_reading(&mut self, reading: u64) {
        self.wipe_blocks(|under| under.reading > 0 && under.reading == reading);
    }

    /// What is told of each that has a turn.
    pub(super) fn tells(&self, turns: &[Turn]) -> Vec<Tells> {
        let of = |turn: &Turn| self.running.iter().find(|text| text.id == turn.id).map(|text| text.tells);
        turns.iter().map(|turn| of(turn).unwrap_or_default()).collect()
    }

    /// How many numbers a token is told in.
    pub(super) fn width(&self, tells: Tells) -> usize {
        match tells {
            Tells::Scores => self.model.shape().vocabulary,
            Tells::State => self.model.shape().hidden,
        }
    }

    /// What a step did for a text that is only read.
    pub(super) fn read_on(&mut self, at: usize, turn: &Turn, state: &[f32], happened: &mut Vec<Happened>) {
        let Some(text) = self.running.get_mut(at) else { return };
        let before = std::mem::replace(&mut text.computed, turn.part.end());
        self.waiting.serve(text.request.group, turn.part.tokens.len());
        let common = text.beginning.map_or(0, |beginning| beginning.tokens);
        if before / BLOCK < common.min(text.computed) / BLOCK && !text.is_forgotten {
            let computed = text.request.prompt.get(..common.min(text.computed)).unwrap_or_default();
            self.blocks.remember(text.under(), computed, &text.blocks);
        }
        if !turn.is_told() {
            return;
        }
        let text = self.running.remove(at);
        self.end(&text);
        let end = if state.iter().all(|number| number.is_finite()) { End::Stop } else { End::Broken };
        if end == End::Stop {
            happened.push(Happened::State { text: text.id, state: state.to_vec() });
        }
        happened.push(Happened::End { text: text.id, end });
    }
}
