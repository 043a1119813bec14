//! Sums of reuse: the counts and money of the waterfall, how many requests have which evidence, and what the response
//! cache served.

use domain::{InputCost, Later, MeterRecord, Nanos, ReuseEvidence};

/// Sums beside `input_tokens` and `realized_reused_tokens`, which have their own place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReuseSums {
    pub eligible_tokens: u64,
    pub candidate_tokens: u64,
    /// Of the prompts, in the provider's prices.
    pub cost: InputCost,
    /// Requests with a prompt, by the evidence of what was reused.
    pub evidence: [u64; ReuseEvidence::ALL.len()],
    /// Requests whose estimates were raised to the provider's report.
    pub raised: u64,
    /// Requests with a prompt that nobody looked at.
    pub unseen: u64,
    /// Requests that the response cache answered, with the tokens and the money of the answers it gave again.
    pub hits: u64,
    pub hit_input_tokens: u64,
    pub hit_output_tokens: u64,
    pub hit_saved: Nanos,
}

/// The numbers of the sums among the later units of a row, where earlier versions skip what they don't know.
const ELIGIBLE: u8 = 64;
const CANDIDATE: u8 = 65;
const GROSS: u8 = 66;
const PROCESSED: u8 = 67;
const WRITE_PREMIUM: u8 = 68;
const RAISED: u8 = 69;
const UNSEEN: u8 = 70;
const HITS: u8 = 71;
const HIT_INPUT: u8 = 72;
const HIT_OUTPUT: u8 = 73;
const HIT_SAVED: u8 = 74;
const EVIDENCE: u8 = 80;

impl ReuseSums {
    pub(crate) fn of<Text>(record: &MeterRecord<Text>) -> Self {
        let served = record.caching.and_then(|caching| caching.served);
        if let Some(served) = served {
            return Self {
                hits: 1,
                hit_input_tokens: served.input_tokens,
                hit_output_tokens: served.output_tokens,
                hit_saved: served.saved,
                ..Self::default()
            };
        }
        let fall = record.waterfall();
        let mut sums = Self { cost: record.input_cost(), ..Self::default() };
        if fall.input == 0 {
            return sums;
        }
        let evidence = record.reuse_evidence();
        for (counted, level) in sums.evidence.iter_mut().zip(ReuseEvidence::ALL) {
            *counted = u64::from(level == evidence);
        }
        Self {
            eligible_tokens: fall.eligible,
            candidate_tokens: fall.candidate,
            raised: u64::from(fall.is_raised && !fall.is_unseen),
            unseen: u64::from(fall.is_unseen),
            ..sums
        }
    }

    pub(crate) fn plus(&mut self, other: &Self) {
        let add = |to: &mut u64, more: u64| *to = to.saturating_add(more);
        add(&mut self.eligible_tokens, other.eligible_tokens);
        add(&mut self.candidate_tokens, other.candidate_tokens);
        self.cost = self.cost.plus(other.cost);
        for (counted, more) in self.evidence.iter_mut().zip(other.evidence) {
            add(counted, more);
        }
        add(&mut self.raised, other.raised);
        add(&mut self.unseen, other.unseen);
        add(&mut self.hits, other.hits);
        add(&mut self.hit_input_tokens, other.hit_input_tokens);
        add(&mut self.hit_output_tokens, other.hit_output_tokens);
        self.hit_saved = self.hit_saved.plus(other.hit_saved);
    }

    /// The weakest evidence among the requests; `None` if there was no prompt.
    pub fn weakest_evidence(&self) -> Option<ReuseEvidence> {
        let counted = ReuseEvidence::ALL.into_iter().zip(self.evidence);
        counted.filter(|(_, count)| *count > 0).map(|(level, _)| level).max()
    }

    /// The sums that are not zero, by number.
    pub(crate) fn numbered(&self) -> Later {
        let nanos = |nanos: Nanos| u64::try_from(nanos.0).unwrap_or(0);
        let sums = [
            (ELIGIBLE, self.eligible_tokens),
            (CANDIDATE, self.candidate_tokens),
            (GROSS, nanos(self.cost.gross)),
            (PROCESSED, nanos(self.cost.processed)),
            (WRITE_PREMIUM, nanos(self.cost.write_premium)),
            (RAISED, self.raised),
            (UNSEEN, self.unseen),
            (HITS, self.hits),
            (HIT_INPUT, self.hit_input_tokens),
            (HIT_OUTPUT, self.hit_output_tokens),
            (HIT_SAVED, nanos(self.hit_saved)),
        ];
        let evidence = (EVIDENCE..).zip(self.evidence);
        sums.into_iter().chain(evidence).filter(|(_, sum)| *sum > 0).collect()
    }

    /// What was realized was eligible and came before, which rows of earlier versions don't say.
    pub(crate) fn raise(&mut self, realized_tokens: u64) {
        self.candidate_tokens = self.candidate_tokens.max(realized_tokens);
        self.eligible_tokens = self.eligible_tokens.max(self.candidate_tokens);
    }

    /// The inverse of `numbered`; rows of earlier versions have none of these sums.
    pub(crate) fn of_numbered(later: &Later) -> Self {
        let find = |number: u8| later.iter().find(|(of, _)| *of == number).map_or(0, |(_, sum)| *sum);
        let nanos = |number: u8| Nanos(i64::try_from(find(number)).unwrap_or(i64::MAX));
        let mut evidence = [0; ReuseEvidence::ALL.len()];
        for (number, counted) in (EVIDENCE..).zip(&mut evidence) {
            *counted = find(number);
        }
        Self {
            eligible_tokens: find(ELIGIBLE),
            candidate_tokens: find(CANDIDATE),
            cost: InputCost {
                gross: nanos(GROSS),
                processed: nanos(PROCESSED),
                write_premium: nanos(WRITE_PREMIUM),
            },
            evidence,
            raised: find(RAISED),
            unseen: find(UNSEEN),
            hits: find(HITS),
            hit_input_tokens: find(HIT_INPUT),
            hit_output_tokens: find(HIT_OUTPUT),
            hit_saved: nanos(HIT_SAVED),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_read_back_and_what_an_earlier_version_realized_was_a_candidate() {
        let sums = ReuseSums {
            eligible_tokens: 900,
            candidate_tokens: 800,
            cost: InputCost { gross: Nanos(7), processed: Nanos(9), write_premium: Nanos(3) },
            evidence: [3, 0, 1, 0, 2],
            raised: 1,
            unseen: 2,
            hits: 5,
            hit_input_tokens: 60,
            hit_output_tokens: 70,
            hit_saved: Nanos(80),
        };
        assert_eq!(ReuseSums::of_numbered(&sums.numbered()), sums);
        assert_eq!(sums.weakest_evidence(), Some(ReuseEvidence::Unknown));
        assert!(ReuseSums::default().numbered().is_empty());
        let mut before = ReuseSums::of_numbered(&Later::new());
        before.raise(700);
        assert_eq!((before.eligible_tokens, before.candidate_tokens), (700, 700));
        assert_eq!(before.weakest_evidence(), None);
    }
}
