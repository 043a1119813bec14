//! When a beginning of prompts is worth a cache of its own, and for how long: what reads from it save, against its creation
//! and its storage. Pure.

use board::ContextUse;
use domain::Rates;
use domain::limits::CONTEXT_CACHE_TTLS_S;

const HOUR_S: u128 = 3_600;

/// The prices of an attempt, in one unit: per token, and per token and hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ContextPrices {
    /// What creating it costs, which is billed as a prompt.
    input: u64,
    /// What reading a token from it saves.
    discount: u64,
    storage: u64,
}

/// A cache that pays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ContextWorth {
    /// What it is expected to save for each hour, net.
    pub per_hour: u128,
    pub ttl_s: u64,
}

impl ContextPrices {
    /// `None` where a price is unknown, or nothing is cheaper from a cache.
    pub(crate) fn of(rates: Rates) -> Option<Self> {
        let discount = rates.input.0.checked_sub(rates.cached_read?.0).filter(|saved| *saved > 0)?;
        Some(Self { input: rates.input.0, discount, storage: rates.units.cache_token_hour?.0 })
    }

    /// The time for which a cache of a beginning pays best, if it pays at all. It is taken to be used as often in that time as
    /// it was in as much time before now; what its provider had of it by itself, it would have had again.
    pub(crate) fn worth(self, tokens: u64, uses: &[ContextUse], now_s: u64) -> Option<ContextWorth> {
        CONTEXT_CACHE_TTLS_S.into_iter().filter_map(|ttl_s| self.worth_for(tokens, uses, now_s, ttl_s)).max()
    }

    fn worth_for(self, tokens: u64, uses: &[ContextUse], now_s: u64, ttl_s: u64) -> Option<ContextWorth> {
        let is_lately = |once: &&ContextUse| now_s.saturating_sub(once.at_s) < ttl_s;
        let missed: u128 = uses.iter().filter(is_lately).map(|once| u128::from(once.missed_tokens)).sum();
        let saved = missed * u128::from(self.discount);
        // Storage is billed in whole token-hours.
        let token_hours = (u128::from(tokens) * u128::from(ttl_s)).div_ceil(HOUR_S);
        let cost = u128::from(tokens) * u128::from(self.input) + token_hours * u128::from(self.storage);
        let net = saved.checked_sub(cost).filter(|net| *net > 0)?;
        Some(ContextWorth { per_hour: net * HOUR_S / u128::from(ttl_s.max(1)), ttl_s })
    }
}

#[cfg(test)]
mod tests {
    use domain::{Price, UnitRates};
    use proptest::prelude::*;

    use super::*;

    /// USD for a million tokens: 0.30 fresh, 0.03 cached, 1 stored for an hour.
    const FLASH: ContextPrices = ContextPrices { input: 300_000, discount: 270_000, storage: 1_000_000 };
    const TOKENS: u64 = 10_000;

    fn uses(at_s: &[u64]) -> Vec<ContextUse> {
        at_s.iter().map(|at_s| ContextUse { at_s: *at_s, tokens: TOKENS, missed_tokens: TOKENS }).collect()
    }

    fn ttl(at_s: &[u64], now_s: u64) -> Option<u64> {
        FLASH.worth(TOKENS, &uses(at_s), now_s).map(|worth| worth.ttl_s)
    }

    #[test]
    fn a_beginning_is_cached_where_reads_save_more_than_creation_and_storage_cost() {
        // Five minutes cost 0.30 + 0.0833 for a million tokens, and each read saves 0.27.
        assert_eq!((ttl(&[], 10_000), ttl(&[9_999], 10_000)), (None, None));
        assert_eq!(ttl(&[9_990, 9_999], 10_000), Some(300));
        // Too long ago for five minutes, and too few for fifteen, which cost 0.55.
        assert_eq!(ttl(&[9_300, 9_999], 10_000), None);
        assert_eq!(ttl(&[9_150, 9_400, 9_650], 10_000), Some(900));
        // Twelve times in an hour: 3.24 against 1.30.
        let hourly: Vec<u64> = (0..12).map(|number| 10_000 - 290 - number * 300).collect();
        assert_eq!(ttl(&hourly, 10_000), Some(3_600));
    }

    #[test]
    fn what_the_provider_cached_by_itself_saves_nothing() {
        let hits: Vec<_> =
            uses(&[9_990; 30]).iter().map(|once| ContextUse { missed_tokens: 0, ..*once }).collect();
        assert_eq!(FLASH.worth(TOKENS, &hits, 10_000), None);
        let half: Vec<_> =
            uses(&[9_990; 2]).iter().map(|once| ContextUse { missed_tokens: TOKENS / 2, ..*once }).collect();
        assert_eq!(FLASH.worth(TOKENS, &half, 10_000), None);
    }

    #[test]
    fn nothing_is_cached_without_all_three_prices() {
        let rates = Rates {
            input: Price(300_000),
            cached_read: Some(Price(30_000)),
            units: UnitRates { cache_token_hour: Some(Price(1_000_000)), ..UnitRates::default() },
            ..Rates::default()
        };
        assert_eq!(ContextPrices::of(rates), Some(FLASH));
        assert_eq!(ContextPrices::of(Rates { units: UnitRates::default(), ..rates }), None);
        assert_eq!(ContextPrices::of(Rates { cached_read: None, ..rates }), None);
        assert_eq!(ContextPrices::of(Rates { cached_read: Some(Price(300_000)), ..rates }), None);
    }

    proptest! {
        /// Whatever came: where the same comes again, the cache has saved more than it cost.
        #[test]
        fn what_is_made_pays_if_the_next_time_is_as_the_last(
            prices in (1_u64..10_000_000, 0_u64..10_000_000, 0_u64..10_000_000),
            tokens in 1_u64..2_000_000,
            past in prop::collection::vec((0_u64..4_000, 0_u64..2_000_000), 0..32),
        ) {
            let (input, read, storage) = prices;
            let prices = ContextPrices { input, discount: input.saturating_sub(read), storage };
            let uses: Vec<_> = past
                .iter()
                .map(|(ago, missed)| ContextUse { at_s: 10_000 - ago, tokens, missed_tokens: (*missed).min(tokens) })
                .collect();
            if let Some(worth) = prices.worth(tokens, &uses, 10_000) {
                let again = uses.iter().filter(|once| 10_000 - once.at_s < worth.ttl_s);
                let saved: u128 = again
                    .map(|once| u128::from(once.missed_tokens) * u128::from(prices.discount))
                    .sum();
                let stored = u128::from(tokens) * u128::from(worth.ttl_s) * u128::from(storage) / HOUR_S;
                prop_assert!(saved > u128::from(tokens) * u128::from(input) + stored);
            }
        }
    }
}
