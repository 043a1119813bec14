//! Texts that are only read: what is told of one is what the model made of it, at its end. They have their turns like all
//! others, piece by piece, and nothing of them is remembered.

use super::{End, Happened, Refused, Request, Runner, TextId, Turn};
use crate::adapters::AdapterId;
use crate::blocks::Share;
use crate::model::Tells;
use crate::sampler::Sampling;
use crate::waiting::Group;

/// A text that is only read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passage {
    pub tokens: Vec<u32>,
    pub group: Group,
    /// What it is read with beside the model.
    pub adapter: Option<AdapterId>,
}

impl Runner {
    /// Has a text read to its end.
    ///
    /// # Errors
    /// It can't be taken, now or at all.
    pub fn read(&mut self, passage: Passage) -> Result<TextId, Refused> {
        let Passage { tokens: prompt, group, adapter } = passage;
        let (tokens, most) = (prompt.len(), self.longest());
        if tokens > most {
            return Err(Refused::TooLong { tokens, most });
        }
        let (sampling, ends) = (Sampling::default(), Vec::new());
        // Nothing of it is found again; its share says what is wiped when that one is forgotten.
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
        self.take(request, Tells::State)
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
        text.computed = turn.part.end();
        self.waiting.serve(text.request.group, turn.part.tokens.len());
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
