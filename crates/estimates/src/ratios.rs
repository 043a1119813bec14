//! Bytes per token, learned for each model at each provider from exchanges whose tokens the provider
//! counted: a table that all cores read and write without a lock. What it confuses or forgets makes an
//! estimate worse, and nothing else.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use domain::limits::RATIOS_MAX;

/// The bytes per token of English prose and code, with vocabularies of 100 000 to 200 000 entries.
const FIRST: u64 = 4;
/// Beyond these, something other than the text was counted: images, hidden reasoning, a template
/// that is longer than its content.
const LEAST: u64 = 1;
const MOST: u64 = 8;
/// A shorter exchange says more about the template around the text than about the text.
const TOKENS_MIN: u64 = 16;
/// The weight of one exchange falls to one in this many.
const MEMORY: u64 = 16;

/// The slots that a model may be in.
const ASSOCIATIVITY: usize = 8;
const BUCKETS: usize = RATIOS_MAX / ASSOCIATIVITY;

/// Ratios are stored in this fraction of a byte.
const UNIT: u64 = 4_096;
const RATIO_BITS: u32 = 16;
const SEEN_BITS: u32 = 4;
const HALF_BITS: u32 = RATIO_BITS + SEEN_BITS;
const TAG_SHIFT: u32 = 2 * HALF_BITS;

/// The length of a text, and the tokens that the provider counted for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Observation {
    pub bytes: u64,
    pub tokens: u64,
}

/// The bytes per token of prompts or of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mean {
    parts: u64,
    /// The exchanges that it was learned from, up to `MEMORY`.
    seen: u64,
}

/// The ratios of one model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ratio {
    prompt: Mean,
    answer: Mean,
}

#[derive(Debug)]
pub struct Ratios {
    buckets: Box<[[AtomicU64; ASSOCIATIVITY]]>,
    /// Names may come from clients, who must not be able to tell which of them share a bucket.
    hasher: RandomState,
}

impl Default for Mean {
    fn default() -> Self {
        Self { parts: FIRST * UNIT, seen: 0 }
    }
}

impl Mean {
    fn learn(self, observed: Observation) -> Self {
        let is_text = observed.bytes >= observed.tokens.saturating_mul(LEAST)
            && observed.bytes <= observed.tokens.saturating_mul(MOST);
        if observed.tokens < TOKENS_MIN || !is_text {
            return self;
        }
        let parts = u128::from(observed.bytes) * u128::from(UNIT) / u128::from(observed.tokens);
        let parts = u64::try_from(parts).unwrap_or(MOST * UNIT);
        // The initial value counts as one exchange; later ones weigh more while there were few.
        let weight = (self.seen + 2).min(MEMORY);
        Self {
            parts: (self.parts * (weight - 1) + parts + weight / 2) / weight,
            seen: (self.seen + 1).min((1 << SEEN_BITS) - 1),
        }
    }

    fn tokens(self, bytes: u64) -> u64 {
        bytes.saturating_mul(UNIT).div_ceil(self.parts)
    }

    const fn half(self) -> u64 {
        self.parts << SEEN_BITS | self.seen
    }

    /// Clamps to a possible ratio whatever the slot contains, since cores write at the same time.
    fn of(half: u64) -> Self {
        let parts = (half >> SEEN_BITS) & ((1 << RATIO_BITS) - 1);
        Self { parts: parts.clamp(LEAST * UNIT, MOST * UNIT), seen: half & ((1 << SEEN_BITS) - 1) }
    }
}

impl Ratio {
    pub fn prompt_tokens(self, bytes: u64) -> u64 {
        self.prompt.tokens(bytes)
    }

    /// `None` where nothing was learned of this model's prompts.
    pub fn learned_prompt_tokens(self, bytes: u64) -> Option<u64> {
        (self.prompt.seen > 0).then(|| self.prompt_tokens(bytes))
    }

    pub fn answer_tokens(self, bytes: u64) -> u64 {
        self.answer.tokens(bytes)
    }

    const fn seen(self) -> u64 {
        self.prompt.seen + self.answer.seen
    }

    const fn slot(self, tag: u64) -> u64 {
        tag << TAG_SHIFT | self.prompt.half() << HALF_BITS | self.answer.half()
    }

    fn of(slot: u64) -> Self {
        Self { prompt: Mean::of(slot >> HALF_BITS), answer: Mean::of(slot) }
    }
}

impl Default for Ratios {
    fn default() -> Self {
        let empty = || std::array::from_fn(|_| AtomicU64::new(0));
        Self { buckets: (0..BUCKETS).map(|_| empty()).collect(), hasher: RandomState::new() }
    }
}

impl Ratios {
    pub fn of(&self, provider: &str, model: &str) -> Ratio {
        let (bucket, tag) = self.bucket_of(provider, model);
        find(bucket, tag).map_or_else(Ratio::default, |(_, ratio)| ratio)
    }

    /// Learns from one exchange. If two cores do so at once, one may be lost.
    pub fn record(&self, provider: &str, model: &str, prompt: Observation, answer: Observation) {
        let (bucket, tag) = self.bucket_of(provider, model);
        let (slot, before) = match find(bucket, tag) {
            Some((slot, ratio)) => (Some(slot), ratio),
            None => (None, Ratio::default()),
        };
        let now = Ratio { prompt: before.prompt.learn(prompt), answer: before.answer.learn(answer) };
        if now == before {
            return;
        }
        let seen = |slot: &&AtomicU64| match slot.load(Ordering::Relaxed) {
            0 => 0,
            known => 1 + Ratio::of(known).seen(),
        };
        if let Some(slot) = slot.or_else(|| bucket.iter().min_by_key(seen)) {
            slot.store(now.slot(tag), Ordering::Relaxed);
        }
    }

    fn bucket_of(&self, provider: &str, model: &str) -> (&[AtomicU64], u64) {
        let hash = self.hasher.hash_one((provider, model));
        let number = usize::try_from(hash % BUCKETS as u64);
        let bucket = number.ok().and_then(|number| self.buckets.get(number));
        (bucket.map_or(&[], <[AtomicU64; ASSOCIATIVITY]>::as_slice), hash >> TAG_SHIFT)
    }
}

fn find(bucket: &[AtomicU64], tag: u64) -> Option<(&AtomicU64, Ratio)> {
    bucket.iter().find_map(|slot| {
        let known = slot.load(Ordering::Relaxed);
        (known != 0 && known >> TAG_SHIFT == tag).then(|| (slot, Ratio::of(known)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn observation(bytes: u64, tokens: u64) -> Observation {
        Observation { bytes, tokens }
    }

    #[test]
    fn nothing_learned_is_four_bytes_a_token() {
        let ratio = Ratios::default().of("a", "m");
        assert_eq!([0, 1, 4, 5].map(|bytes| ratio.prompt_tokens(bytes)), [0, 1, 1, 2]);
        assert_eq!((ratio.answer_tokens(4_000), ratio.learned_prompt_tokens(4_000)), (1_000, None));
        assert_eq!(ratio.answer_tokens(u64::MAX), u64::MAX.div_ceil(FIRST * UNIT));
    }

    #[test]
    fn prompts_and_answers_of_each_model_are_learned_apart() {
        let ratios = Ratios::default();
        for _ in 0..200 {
            ratios.record("a", "m", observation(2_000, 1_000), observation(6_000, 1_000));
        }
        let ratio = ratios.of("a", "m");
        assert!((995..=1_005).contains(&ratio.prompt_tokens(2_000)), "{ratio:?}");
        assert_eq!(ratio.learned_prompt_tokens(2_000), Some(ratio.prompt_tokens(2_000)));
        assert!((995..=1_005).contains(&ratio.answer_tokens(6_000)), "{ratio:?}");
        for (provider, model) in [("a", "n"), ("b", "m"), ("am", "")] {
            assert_eq!(ratios.of(provider, model), Ratio::default());
        }
    }

    #[test]
    fn the_first_exchanges_weigh_most_and_what_changed_is_learned_anew() {
        let ratios = Ratios::default();
        let after = |bytes| {
            ratios.record("a", "m", observation(bytes, 1_000), Observation::default());
            ratios.of("a", "m").prompt.parts
        };
        assert_eq!(after(2_000), 3 * UNIT);
        assert_eq!(after(3_000), 3 * UNIT);
        for _ in 0..100 {
            after(2_000);
        }
        assert!(after(6_000) > 2 * UNIT + UNIT / 5);
        for _ in 0..100 {
            after(6_000);
        }
        assert!(after(6_000) > 6 * UNIT - UNIT / 50);
    }

    #[test]
    fn what_is_no_text_or_too_little_of_it_teaches_nothing() {
        let ratios = Ratios::default();
        for strange in [
            observation(0, 0),
            observation(0, 900),
            observation(50, 900),
            observation(9_000, 900),
            observation(40, 15),
            observation(9, 0),
        ] {
            ratios.record("a", "m", strange, strange);
            assert_eq!(ratios.of("a", "m"), Ratio::default(), "{strange:?}");
        }
        assert!(
            ratios.buckets.iter().flatten().all(|slot| slot.load(Ordering::Relaxed) == 0),
            "takes no room"
        );
    }

    #[test]
    fn a_full_bucket_forgets_of_what_it_knows_least() {
        let ratios = Ratios::default();
        for _ in 0..20 {
            ratios.record("a", "well known", observation(2_000, 1_000), Observation::default());
        }
        for number in 0..20 * RATIOS_MAX {
            ratios.record("b", &number.to_string(), observation(3_000, 1_000), Observation::default());
        }
        assert!(ratios.of("a", "well known").prompt.parts < 3 * UNIT);
    }

    proptest! {
        #[test]
        fn a_ratio_stays_in_its_range_and_reads_back(
            tag in 0_u64..1 << 24,
            heard in prop::collection::vec((any::<u64>(), any::<u64>(), 0_u64..9_000, 0_u64..2_000), 0..40),
        ) {
            let mut ratio = Ratio::default();
            for (wild, wilder, bytes, tokens) in heard {
                ratio.prompt = ratio.prompt.learn(observation(wild, wilder));
                ratio.answer = ratio.answer.learn(observation(bytes, tokens));
                for mean in [ratio.prompt, ratio.answer] {
                    prop_assert!((LEAST * UNIT..=MOST * UNIT).contains(&mean.parts));
                }
                prop_assert_eq!(Ratio::of(ratio.slot(tag)), ratio);
                prop_assert_eq!(ratio.slot(tag) >> TAG_SHIFT, tag);
            }
        }
    }
}
