//! When a cached prefix is worth reading once more before it expires: what it saves if it comes back, as often as such
//! prefixes did, against the refresh itself. Pure.

use board::ReturnRate;
use domain::Rates;

/// The prices of an attempt for a token, in one unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RefreshPrices {
    input: u64,
    cached_read: u64,
    output: u64,
}

/// What a refresh reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RefreshSize {
    /// The tokens that the provider has in its cache.
    pub cached: u64,
    /// The tokens beyond these, since a provider takes nothing less.
    pub rest: u64,
}

impl RefreshPrices {
    /// `None` where a price is unknown, or nothing is cheaper from the cache.
    pub(crate) fn of(rates: Rates) -> Option<Self> {
        let (input, cached_read) = (rates.input.0, rates.cached_read?.0);
        (cached_read < input).then_some(Self { input, cached_read, output: rates.output.0 })
    }

    /// A prefix that comes back after it expired costs as much as a fresh one, at least: its next request has to write it
    /// once more, which is left out, so that the rule is on the safe side.
    pub(crate) fn pays(self, size: RefreshSize, rate: ReturnRate) -> bool {
        let saved = u128::from(size.cached) * u128::from(self.input - self.cached_read);
        saved * u128::from(rate.returned) > self.cost(size) * u128::from(rate.watched)
    }

    /// Reads the prefix and the rest, and writes one token.
    fn cost(self, size: RefreshSize) -> u128 {
        u128::from(size.cached) * u128::from(self.cached_read)
            + u128::from(size.rest) * u128::from(self.input)
            + u128::from(self.output)
    }
}

#[cfg(test)]
mod tests {
    use domain::Price;
    use proptest::prelude::*;

    use super::*;

    /// USD for a million tokens: 3 fresh, 0.30 cached, 15 of output.
    const SONNET: RefreshPrices =
        RefreshPrices { input: 3_000_000, cached_read: 300_000, output: 15_000_000 };
    const PROMPT: RefreshSize = RefreshSize { cached: 10_000, rest: 0 };

    fn rate(returned: u32, watched: u32) -> ReturnRate {
        ReturnRate { returned, watched }
    }

    #[test]
    fn a_prefix_is_refreshed_where_returns_save_more_than_refreshes_cost() {
        // Reading costs 0.003 USD and 0.000015 for the token, and a return saves 0.027: one in nine must come back.
        for (returned, watched, pays) in
            [(0, 100, false), (11, 100, false), (12, 100, true), (1, 9, false), (1, 8, true), (8, 8, true)]
        {
            assert_eq!(SONNET.pays(PROMPT, rate(returned, watched)), pays, "{returned} of {watched}");
        }
        // A long rest is read at the full price.
        assert!(SONNET.pays(RefreshSize { rest: 7_900, ..PROMPT }, rate(8, 8)));
        assert!(!SONNET.pays(RefreshSize { rest: 8_000, ..PROMPT }, rate(8, 8)));
        assert!(!SONNET.pays(RefreshSize { cached: 0, rest: 0 }, rate(8, 8)), "nothing is cached");
    }

    #[test]
    fn nothing_is_refreshed_without_its_prices() {
        let rates = Rates {
            input: Price(3_000_000),
            output: Price(15_000_000),
            cached_read: Some(Price(300_000)),
            ..Rates::default()
        };
        assert_eq!(RefreshPrices::of(rates), Some(SONNET));
        assert_eq!(RefreshPrices::of(Rates { cached_read: None, ..rates }), None);
        assert_eq!(RefreshPrices::of(Rates { cached_read: Some(Price(3_000_000)), ..rates }), None);
    }

    proptest! {
        /// Over all prefixes of which the rate speaks, refreshing saves more than it costs.
        #[test]
        fn what_is_refreshed_pays_if_prefixes_return_as_they_did(
            prices in (1_u64..100_000_000, 0_u64..100_000_000, 0_u64..100_000_000),
            size in (0_u64..2_000_000, 0_u64..100_000),
            counts in (0_u32..600, 0_u32..600),
        ) {
            let (input, cached_read, output) = prices;
            prop_assume!(cached_read < input);
            let prices = RefreshPrices { input, cached_read, output };
            let size = RefreshSize { cached: size.0, rest: size.1 };
            let rate = rate(counts.0.min(counts.1), counts.0.max(counts.1));
            let without = u128::from(rate.returned) * u128::from(size.cached) * u128::from(input);
            let with = u128::from(rate.returned) * u128::from(size.cached) * u128::from(cached_read)
                + u128::from(rate.watched) * prices.cost(size);
            prop_assert_eq!(prices.pays(size, rate), with < without);
        }
    }
}
