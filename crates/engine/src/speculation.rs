//! Speculative decoding: draft tokens that the model verifies in one step. Each one accepted saves a step; a
//! rejected one changes nothing in the output and costs only compute.

mod draft;

pub use draft::DraftModel;

use crate::request::SequenceId;

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
    fn propose(&mut self, text: SequenceId, prompt: &[u32], generated: &[u32], most: usize) -> Vec<u32>;

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
    pub(crate) fn surely(prompt: &[u32], generated: &[u32], most: usize) -> Vec<u32> {
        Self::behind(prompt, generated, most, LONGEST)
    }

    /// The tokens that followed the most recent of the longest matches, if at least `least` tokens match.
    fn behind(prompt: &[u32], generated: &[u32], most: usize, least: usize) -> Vec<u32> {
        let all = Both { prompt, generated };
        let length = prompt.len() + generated.len();
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
        let mut drafts: Vec<u32> = Vec::new();
        if agree < least {
            return drafts;
        }
        // A repetition is assumed to go on: past the end of the sequence, the proposal itself is read.
        for at in end..end + most {
            match all.at(at).or_else(|| drafts.get(at.checked_sub(length)?).copied()) {
                Some(token) => drafts.push(token),
                None => break,
            }
        }
        drafts
    }
}

impl Drafter for PromptLookup {
    fn propose(&mut self, _: SequenceId, prompt: &[u32], generated: &[u32], most: usize) -> Vec<u32> {
        Self::behind(prompt, generated, most, 1)
    }

    fn forget(&mut self, _: SequenceId) {}
}

struct Both<'a> {
    prompt: &'a [u32],
    generated: &'a [u32],
}

impl Both<'_> {
    fn at(&self, position: usize) -> Option<u32> {
        let generated = || self.generated.get(position.checked_sub(self.prompt.len())?);
        self.prompt.get(position).or_else(generated).copied()
    }
}

/// A sequence's recent acceptance rate, from which the number of draft tokens of its next step follows.
#[derive(Debug)]
pub(crate) struct AcceptanceRate {
    drafted: usize,
    accepted: usize,
    next: usize,
    /// The generated length below which nothing is drafted.
    until: usize,
}

impl AcceptanceRate {
    pub(crate) const fn new() -> Self {
        Self { drafted: 0, accepted: 0, next: FIRST, until: 0 }
    }

    /// How many tokens to draft for a sequence with this many generated tokens.
    pub(crate) const fn next(&self, generated: usize) -> usize {
        if generated < self.until { 0 } else { self.next }
    }

    pub(crate) fn learn(&mut self, drafted: usize, accepted: usize, generated: usize, most: usize) {
        if drafted == 0 {
            return;
        }
        self.drafted += drafted;
        self.accepted += accepted;
        self.next = if accepted == drafted { (self.next * 2).min(most) } else { (accepted + 1).min(most) };
        if self.drafted < JUDGED {
            return;
        }
        if self.accepted * ENOUGH.1 < self.drafted * ENOUGH.0 {
            *self = Self { until: generated + REST, ..Self::new() };
        } else {
            self.drafted /= 2;
            self.accepted /= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(prompt: &[u32], generated: &[u32], most: usize) -> Vec<u32> {
        let mut runner = PromptLookup;
        runner.propose(SequenceId::default(), prompt, generated, most)
    }

    #[test]
    fn what_was_said_once_is_guessed() {
        assert_eq!(draft(&[1, 2, 3, 4, 5, 6], &[9, 2, 3], 2), [4, 5]);
        assert_eq!(draft(&[1, 2, 3, 4], &[1, 2, 3], 9), [4, 1, 2, 3, 4, 1, 2, 3, 4], "round and round");
        assert_eq!(draft(&[1, 2, 7, 5, 1, 2, 8, 9], &[1, 2], 1), [8], "the last of two");
        assert_eq!(draft(&[1, 2, 3, 7, 9, 2, 3, 8], &[1, 2, 3], 1), [7], "the longer of two");
        assert_eq!(draft(&[4, 4, 4], &[4], 3), [4, 4, 4]);
        assert!(draft(&[1, 2, 3], &[4], 5).is_empty());
        assert!(draft(&[], &[], 5).is_empty() && draft(&[1], &[], 5).is_empty());
    }

    #[test]
    fn who_guesses_badly_rests_and_tries_again() {
        let mut lately = AcceptanceRate::new();
        assert_eq!(lately.next(0), FIRST);
        lately.learn(4, 4, 5, 12);
        lately.learn(8, 8, 14, 12);
        assert_eq!(lately.next(14), 12);
        for generated in 15..40 {
            let drafted = lately.next(generated);
            lately.learn(drafted, 0, generated, 12);
        }
        assert_eq!(lately.next(40), 0);
        assert_eq!(lately.next(40 + REST), FIRST);
    }
}
