//! The operator's charges in addition to tokens, as data: a monthly base, fees by profile, and control-plane
//! acts.

use domain::{Nanos, Price, Profile};
use serde::{Deserialize, Serialize};

/// A fee per counted unit, above an included amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Fee {
    /// Micro-USD per million units.
    pub price: Price,
    pub included: u64,
}

/// The platform fee of one profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ProfileFees {
    pub requests: Fee,
    /// Prompt and completion together.
    pub tokens: Fee,
}

/// Charges nothing by default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tariff {
    pub name: String,
    /// Micro-USD per month.
    pub monthly_base: Price,
    pub managed_provider: ProfileFees,
    pub byok: ProfileFees,
    pub subscription: ProfileFees,
    pub byoc: ProfileFees,
    pub acts: Fee,
}

impl Fee {
    /// The count above the included amount.
    pub const fn chargeable(&self, count: u64) -> u64 {
        count.saturating_sub(self.included)
    }

    /// For a month's total count, never for parts of it: the included amount applies once.
    pub fn of(&self, count: u64) -> Nanos {
        self.price.of(self.chargeable(count))
    }

    pub const fn is_free(&self) -> bool {
        self.price.0 == 0
    }
}

impl ProfileFees {
    pub fn of(&self, requests: u64, tokens: u64) -> Nanos {
        self.requests.of(requests).plus(self.tokens.of(tokens))
    }
}

impl Tariff {
    pub const fn fees(&self, profile: Profile) -> &ProfileFees {
        match profile {
            Profile::ManagedProvider => &self.managed_provider,
            Profile::Byok => &self.byok,
            Profile::Subscription => &self.subscription,
            Profile::Byoc => &self.byoc,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_included_costs_nothing_and_the_rest_its_price() {
        let fee = Fee { price: Price(200_000_000), included: 1_000 };
        for (count, nanos) in [(0, 0), (1_000, 0), (1_001, 200_000), (2_000, 200_000_000)] {
            assert_eq!(fee.of(count), Nanos(nanos), "{count}");
        }
        assert_eq!(Tariff::default().fees(Profile::Byok).of(u64::MAX, u64::MAX), Nanos::ZERO);
    }

    proptest! {
        #[test]
        fn a_fee_never_falls_as_the_count_rises(
            price in 0_u64..1 << 40, included in 0_u64..1 << 30, count in 0_u64..1 << 31, more in 0_u64..1 << 20,
        ) {
            let fee = Fee { price: Price(price), included };
            prop_assert!(fee.of(count + more) >= fee.of(count));
            prop_assert!(fee.of(count).0 >= 0);
        }
    }
}
