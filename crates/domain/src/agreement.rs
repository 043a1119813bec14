//! The contract terms that the owner of a credential or an account declares: limits, retention, commitment,
//! compliance. No probe can find them out.

use crate::allowance::Period;
use crate::retention::Retention;

/// All declared terms. What is not declared is unknown, never "none".
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Agreement {
    pub limits: AgreedLimits,
    pub retention: Option<Retention>,
    pub commitment: Option<Commitment>,
    /// The compliance regimes that it may be used under, such as `hipaa`: sorted, without duplicates.
    pub compliance: Vec<String>,
}

impl Agreement {
    /// The names of the terms in which two agreements differ.
    pub fn changed(&self, other: &Self) -> Vec<&'static str> {
        let facts = [
            ("limits", self.limits != other.limits),
            ("retention", self.retention != other.retention),
            ("commitment", self.commitment != other.commitment),
            ("compliance", self.compliance != other.compliance),
        ];
        facts.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
    }
}

/// The rate limits that the provider granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AgreedLimits {
    pub requests_per_minute: Option<u64>,
    pub tokens_per_minute: Option<u64>,
    pub requests_per_day: Option<u64>,
    pub concurrent_requests: Option<u64>,
    /// Reserved (provisioned) throughput, in the provider's own units.
    pub reserved_units: Option<u64>,
    /// What each of them is worth, as its owner states it: no provider's unit is known here.
    pub tokens_per_minute_per_unit: Option<u64>,
}

impl AgreedLimits {
    /// Each limit with its name.
    pub const fn named(&self) -> [(&'static str, Option<u64>); 6] {
        [
            ("requests_per_minute", self.requests_per_minute),
            ("tokens_per_minute", self.tokens_per_minute),
            ("requests_per_day", self.requests_per_day),
            ("concurrent_requests", self.concurrent_requests),
            ("reserved_units", self.reserved_units),
            ("tokens_per_minute_per_unit", self.tokens_per_minute_per_unit),
        ]
    }

    /// The tokens a minute that requests are paced by: the limit, or what the reserved units are worth where that
    /// is less or no limit is stated.
    pub fn paced_tokens_per_minute(&self) -> Option<u64> {
        let reserved = self.reserved_units.zip(self.tokens_per_minute_per_unit);
        let worth = reserved.map(|(units, each)| units.saturating_mul(each));
        [self.tokens_per_minute, worth].into_iter().flatten().min()
    }
}

/// A minimum spend: owed to the provider whether it is used or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commitment {
    pub amount_micros: u64,
    pub period: CommitmentPeriod,
}

impl Commitment {
    /// Tells this commitment in its present period from the same in another one, and from one of another
    /// amount.
    pub const fn mark(&self, now_unix_ms: u64) -> u64 {
        self.amount_micros.wrapping_mul(31).wrapping_add(self.period.calendar().start(now_unix_ms))
    }
}

crate::words! {
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum CommitmentPeriod by named {
        Month = "month",
        Quarter = "quarter",
        Year = "year",
    }
}

impl CommitmentPeriod {
    /// The calendar periods that it consists of.
    pub const fn calendar(self) -> Period {
        match self {
            Self::Month => Period::Month,
            Self::Quarter => Period::Quarter,
            Self::Year => Period::Year,
        }
    }
}

crate::words! {
    /// Why a request went beyond the customer's own capacity. Neither is a failure.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub enum OverflowReason {
        /// The commitment is used up.
        CommittedExhausted = "committed_exhausted",
        /// The provider's limits are reached.
        RateLimited = "rate_limited",
    }
}
