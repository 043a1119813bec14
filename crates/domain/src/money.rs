//! Money as integers: a price is micro-USD per million units, so one unit times one price is exact in pico-USD.

use serde::{Deserialize, Serialize};

use crate::usage::Usage;

/// Billionths of a USD: what the ledger holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Nanos(pub i64);

impl Nanos {
    pub const ZERO: Self = Self(0);

    /// Adds without wrapping: a total at the edge of 64 bits stays there and is visibly wrong, never small.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Micro-USD, rounded once, half to even.
    #[must_use]
    pub fn micros(self) -> i64 {
        i64::try_from(round_half_even(i128::from(self.0), 1_000)).unwrap_or(i64::MAX)
    }
}

impl From<Price> for Nanos {
    /// A price for the thing itself, such as a month.
    fn from(price: Price) -> Self {
        Self(i64::try_from(i128::from(price.0) * 1_000).unwrap_or(i64::MAX))
    }
}

impl std::ops::Neg for Nanos {
    type Output = Self;

    fn neg(self) -> Self {
        Self(self.0.saturating_neg())
    }
}

impl std::iter::Sum for Nanos {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Self::plus)
    }
}

/// Micro-USD for a million units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Price(pub u64);

impl Price {
    /// What so many units cost: exact in pico-USD, rounded once to nano, half to even.
    #[must_use]
    pub fn of(self, units: u64) -> Nanos {
        line_nanos(units, self)
    }
}

/// The prices of one offer. A class without a price of its own falls back as its field says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rates {
    pub input: Price,
    pub output: Price,
    /// Cached reads; the input price where the seller names none.
    pub cached_read: Option<Price>,
    /// Cache writes kept five minutes (Anthropic) or by default; the input price where none is named.
    pub cache_write: Option<Price>,
    /// Cache writes kept an hour or longer; the `cache_write` price where none is named.
    pub cache_write_long: Option<Price>,
    /// Reasoning tokens; the output price where none is named.
    pub reasoning: Option<Price>,
}

impl Rates {
    /// What `usage` costs at these prices: each line exact in pico-USD and rounded once to nano, half to even.
    #[must_use]
    pub fn cost(&self, usage: &Usage) -> Nanos {
        self.priced(usage).map(|(_, units, price)| line_nanos(units, price)).sum()
    }

    /// The receipt: one line for each token class that was used.
    #[must_use]
    pub fn lines(&self, usage: &Usage) -> Vec<LineItem> {
        let line = |(class, units, price)| LineItem { class, units, price, nanos: line_nanos(units, price) };
        self.priced(usage).map(line).collect()
    }

    /// The token classes that were used, each with its units and its price.
    fn priced(&self, usage: &Usage) -> impl Iterator<Item = (&'static str, u64, Price)> {
        let write = self.cache_write.unwrap_or(self.input);
        let write_long = self.cache_write_long.unwrap_or(write);
        [
            ("input", usage.input, self.input),
            ("cached_read", usage.cached_read, self.cached_read.unwrap_or(self.input)),
            ("cache_write", usage.cache_write, write),
            ("cache_write_long", usage.cache_write_long, write_long),
            ("output", usage.output, self.output),
            ("reasoning", usage.reasoning, self.reasoning.unwrap_or(self.output)),
        ]
        .into_iter()
        .filter(|(_, units, _)| *units > 0)
    }
}

/// One line of a receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineItem {
    pub class: &'static str,
    pub units: u64,
    pub price: Price,
    pub nanos: Nanos,
}

/// `amount` with a markup in basis points (100 = 1 %), rounded half to even.
#[must_use]
pub fn with_markup(amount: Nanos, markup_bps: u32) -> Nanos {
    let marked = i128::from(amount.0) * (10_000 + i128::from(markup_bps));
    Nanos(i64::try_from(round_half_even(marked, 10_000)).unwrap_or(i64::MAX))
}

fn line_nanos(units: u64, price: Price) -> Nanos {
    let pico = i128::from(units) * i128::from(price.0);
    Nanos(i64::try_from(round_half_even(pico, 1_000)).unwrap_or(i64::MAX))
}

/// `value / divisor`, a tie going to the even neighbour. `divisor` is a positive constant of this module.
fn round_half_even(value: i128, divisor: i128) -> i128 {
    let quotient = value.div_euclid(divisor);
    let twice = value.rem_euclid(divisor) * 2;
    let up = twice > divisor || (twice == divisor && quotient % 2 != 0);
    quotient + i128::from(up)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_tie_goes_to_the_even_neighbour() {
        for (value, rounded) in [(2_500, 2), (3_500, 4), (2_501, 3), (2_499, 2), (-2_500, -2), (-3_500, -4)] {
            assert_eq!(round_half_even(value, 1_000), rounded, "{value}");
        }
    }

    #[test]
    fn cached_reads_have_their_own_price() {
        // gpt-4o-mini's shape: 0.15 USD in, 0.075 cached, 0.60 out for a million tokens.
        let rates = Rates {
            input: Price(150_000),
            output: Price(600_000),
            cached_read: Some(Price(75_000)),
            ..Rates::default()
        };
        let usage = Usage { input: 1_000, cached_read: 1_024, output: 10, ..Usage::default() };
        assert_eq!(rates.cost(&usage), Nanos(150_000 + 76_800 + 6_000));
    }

    #[test]
    fn markup_is_in_basis_points() {
        assert_eq!(with_markup(Nanos(1_000), 250), Nanos(1_025));
        assert_eq!(with_markup(Nanos(1_000), 0), Nanos(1_000));
    }

    proptest! {
        #[test]
        fn cost_is_the_sum_of_its_lines_and_never_negative(
            input in 0_u64..1 << 40, cached in 0_u64..1 << 40, output in 0_u64..1 << 40,
            price in 0_u64..100_000_000, out_price in 0_u64..100_000_000,
        ) {
            let rates = Rates { input: Price(price), output: Price(out_price), ..Rates::default() };
            let usage = Usage { input, cached_read: cached, output, ..Usage::default() };
            let sum: Nanos = rates.lines(&usage).iter().map(|l| l.nanos).sum();
            prop_assert_eq!(rates.cost(&usage), sum);
            prop_assert!(sum.0 >= 0);
        }

        #[test]
        fn rounding_is_off_by_at_most_half(value in -1_i128 << 90..1_i128 << 90) {
            let rounded = round_half_even(value, 1_000) * 1_000;
            prop_assert!((rounded - value).abs() <= 500);
        }
    }
}
