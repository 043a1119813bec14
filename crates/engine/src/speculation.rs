//! Speculative decoding: draft tokens that the model verifies in one step. Each one accepted saves a step; a
//! rejected one changes nothing in the output and costs only compute.

mod draft;

pub use draft::DraftModel;

use crate::scheduler::SequenceId;

/// Longest n-gram that prompt lookup matches.
const LONGEST: usize = 3;
/// The lowest acceptance rate (3 of 10). Below it a sequence gets no draft tokens for a while.
const ENOUGH: (usize, usize) = (3, 10);
/// How many draft tokens are verified before the acceptance rate is judged.
const JUDGED: usize = 12;
/// How many tokens are generated without drafts before drafting is tried again.
const REST: usize = 48;
const FIRST: usize = 4;

/// A drafter: proposes tokens for the model to verify.
pub trait Drafter: std::fmt::Debug + Send {
    /// Proposes at most `most` tokens to follow this prompt and the tokens generated so far.
    fn propose(&mut self, text: SequenceId, prompt: &[u32], said: &[u32], most: usize) -> Vec<u32>;

    /// Frees the drafter's state of a sequence that has ended.
    fn forget(&mut self, text: SequenceId);

    /// Zeroes what the drafter still stores of ended sequences.
    fn wipe(&mut self) {}
}

/// Prompt lookup: proposes the tokens that followed the same n-gram earlier in the sequence.
#[derive(Debug, Default)]
pub struct PromptLookup;

impl PromptLookup {
    /// Proposes tokens only if a full n-gram of `LONGEST` tokens matches.
    pub(crate) fn surely(prompt: &[u32], said: &[u32], most: usize) -> Vec<u32> {
        Self::behind(prompt, said, most, LONGEST)
    }

    /// The tokens that followed the most recent of the longest matches, if at least `least` tokens match.
    fn behind(prompt: &[u32], said: &[u32], most: usize, least: usize) -> Vec<u32> {
        let all = Both { prompt, said };
        let length = prompt.len() + said.len();
        let mut best = (0, 0);
        // The most recent among the longest matches.
        for end in (1..length).rev() {
            let most = LONGEST.min(end);
            let agree = (1..=most).take_while(|back| all.at(end - back) == all.at(length - back)).count();
            if agree > best.0 {
                best = (agree, end);
            }
            if agree == LONGEST {
                break;
            }
        }
        let (agree, end) = best;
        let mut guessed: Vec<u32> = Vec::new();
        if agree < least {
            return guessed;
        }
        // A repetition is assumed to go on: past the end of the sequence, the proposal itself is read.
        for at in end..end + most {
            match all.at(at).or_else(|| guessed.get(at.checked_sub(length)?).copied()) {
                Some(token) => guessed.push(token),
                None => break,
            }
        }
        guessed
    }
}

impl Drafter for PromptLookup {
    fn propose(&mut self, _: SequenceId, prompt: &[u32], said: &[u32], most: usize) -> Vec<u32> {
        Self::behind(prompt, said, most, 1)
    }

    fn forget(&mut self, _: SequenceId) {}
}

struct Both<'a> {
    prompt: &'a [u32],
    said: &'a [u32],
}

impl Both<'_> {
    fn at(&self, place: usize) -> Option<u32> {
        let said = || self.said.get(place.checked_sub(self.prompt.len())?);
        self.prompt.get(place).or_else(said).copied()
    }
}

/// A sequence's recent acceptance rate, from which the number of draft tokens of its next step follows.
#[derive(Debug)]
pub(crate) struct AcceptanceRate {
    guessed: usize,
    came_true: usize,
    next: usize,
    /// The generated length below which nothing is drafted.
    until: usize,
}

impl AcceptanceRate {
    pub(crate) const fn new() -> Self {
        Self { guessed: 0, came_true: 0, next: FIRST, until: 0 }
    }

    /// How many tokens to draft for a sequence with this many generated tokens.
    pub(crate) const fn next(&self, said: usize) -> usize {
        if said < self.until { 0 } else { self.next }
    }

    pub(crate) fn learn(&mut self, guessed: usize, came_true: usize, said: usize, most: usize) {
        if guessed == 0 {
            return;
        }
        self.guessed += guessed;
        self.came_true += came_true;
        self.next = if came_true == guessed { (self.next * 2).min(most) } else { (came_true + 1).min(most) };
        if self.guessed < JUDGED {
            return;
        }
        if self.came_true * ENOUGH.1 < self.guessed * ENOUGH.0 {
            *self = Self { until: said + REST, ..Self::new() };
        } else {
            self.guessed /= 2;
            self.came_true /= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guess(prompt: &[u32], said: &[u32], most: usize) -> Vec<u32> {
        let mut runner = PromptLookup;
        runner.propose(SequenceId::default(), prompt, said, most)
    }

    #[test]
    fn what_was_said_once_is_guessed() {
        assert_eq!(guess(&[1, 2, 3, 4, 5, 6], &[9, 2, 3], 2), [4, 5]);
        assert_eq!(guess(&[1, 2, 3, 4], &[1, 2, 3], 9), [4, 1, 2, 3, 4, 1, 2, 3, 4], "round and round");
        assert_eq!(guess(&[1, 2, 7, 5, 1, 2, 8, 9], &[1, 2], 1), [8], "the last of two");
        assert_eq!(guess(&[1, 2, 3, 7, 9, 2, 3, 8], &[1, 2, 3], 1), [7], "the longer of two");
        assert_eq!(guess(&[4, 4, 4], &[4], 3), [4, 4, 4]);
        assert!(guess(&[1, 2, 3], &[4], 5).is_empty());
        assert!(guess(&[], &[], 5).is_empty() && guess(&[1], &[], 5).is_empty());
    }

    #[test]
    fn who_guesses_badly_rests_and_tries_again() {
        let mut lately = AcceptanceRate::new();
        assert_eq!(lately.next(0), FIRST);
        lately.learn(4, 4, 5, 12);
        lately.learn(8, 8, 14, 12);
        assert_eq!(lately.next(14), 12);
        for said in 15..40 {
            let guessed = lately.next(said);
            lately.learn(guessed, 0, said, 12);
        }
        assert_eq!(lately.next(40), 0);
        assert_eq!(lately.next(40 + REST), FIRST);
    }
}
