//! How much of a prompt a cache could have served, how much it did serve, and what that saved: the reuse
//! waterfall `input ≥ eligible ≥ candidate ≥ realized`.

use serde::{Deserialize, Serialize};

use crate::money::{Nanos, Rates, with_markup};
use crate::profile::Profile;
use crate::usage::{Usage, UsageSource};

/// What is known of a prompt before it is answered. The parts are measured in bytes: the provider's own count of the
/// prompt's tokens turns them into tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PromptReuse {
    /// The prompt: tools, instructions and turns.
    pub prompt_bytes: u64,
    /// Its longest prefix that was sent before, within the lifetime of the provider's cache.
    pub seen_bytes: u64,
    /// The shortest prefix that the provider caches; zero if any.
    pub tokens_min: u64,
    /// The provider caches in steps of this many tokens; zero if the step is unknown.
    pub tokens_step: u64,
    /// The provider does not tell what came from its cache: that it tells nothing proves nothing.
    #[serde(default)]
    pub is_unreported: bool,
}

/// An answer that came from our own cache, and what it would have used at its provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CachedAnswer {
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// What the workspace would have paid.
    pub saved: Nanos,
}

impl CachedAnswer {
    /// An answer that used this much when it was made, at the prices that it would have now.
    pub fn of(profile: Profile, rates: Option<&Rates>, markup_bps: u32, usage: &Usage) -> Self {
        let cost =
            rates.filter(|rates| rates.has_price_for(usage)).map_or(Nanos::ZERO, |rates| rates.cost(usage));
        let saved = match profile {
            Profile::ManagedProvider => with_markup(cost, markup_bps),
            Profile::Byok | Profile::Subscription => cost,
            Profile::Byoc => Nanos::ZERO,
        };
        Self { input_tokens: usage.prompt_total(), output_tokens: usage.completion_total(), saved }
    }
}

crate::words! {
    /// How a count came about; the order is from most to least trusted.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum ReuseEvidence {
        ProviderReported = "provider_reported",
        /// By a node, of its own memory.
        RuntimeConfirmed = "runtime_confirmed",
        /// From what the gateway saw of other requests.
        RouterInferred = "router_inferred",
        /// From traces without content.
        TraceEstimated = "trace_estimated",
        Unknown = "unknown",
    }
}

impl ReuseEvidence {
    /// The evidence for a count of tokens: the provider's or the node's own report, or else our estimate.
    pub const fn of(source: UsageSource, profile: Option<Profile>) -> Self {
        match (source, profile) {
            (UsageSource::Provider, Some(Profile::Byoc)) => Self::RuntimeConfirmed,
            (UsageSource::Provider, _) => Self::ProviderReported,
            (UsageSource::Estimate, _) => Self::RouterInferred,
            (UsageSource::None, _) => Self::Unknown,
        }
    }
}

crate::words! {
    /// Where what was reused had been kept.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub enum CacheTier by from_name {
        /// In our own response cache.
        Response = "response",
        Provider = "provider",
        /// On a node, which does not say in which of its memories.
        Runtime = "unknown",
    }
}

/// The tokens of one prompt. Each count is part of the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Waterfall {
    pub input: u64,
    /// What the provider's cache takes of a prompt of this length.
    pub eligible: u64,
    /// What was sent before, within the cache's lifetime.
    pub candidate: u64,
    /// What the provider or node says came from its cache.
    pub realized: u64,
    /// Nobody looked at the prompt: what was eligible or a candidate is known only as far as it was realized.
    pub is_unseen: bool,
    /// The provider reused more than we thought it could, and the estimates were raised to its report.
    pub is_raised: bool,
}

impl Waterfall {
    /// The counts of a prompt. What was realized is the provider's word, or else zero; it overrules the estimates.
    pub fn of(usage: &Usage, reuse: Option<&PromptReuse>) -> Self {
        let input = usage.prompt_total();
        let realized = if usage.source == UsageSource::Provider { usage.cached_read } else { 0 };
        let (may, seen) = reuse.map_or((realized, realized), |reuse| reuse.tokens_of(input));
        let eligible = may.max(realized);
        // What came before is part of the prompt, so the cache takes no more of it than of the whole.
        let candidate = seen.max(realized);
        Self {
            input,
            eligible,
            candidate,
            realized,
            is_unseen: reuse.is_none(),
            is_raised: realized > may || realized > seen,
        }
    }

    /// What could have come from the cache and did not.
    pub const fn missed(&self) -> u64 {
        self.candidate.saturating_sub(self.realized)
    }
}

impl PromptReuse {
    /// Of a prompt with so many tokens: those that the cache takes, and those that came before.
    fn tokens_of(&self, input: u64) -> (u64, u64) {
        let step = self.tokens_step.max(1);
        let cached = |tokens: u64| if tokens < self.tokens_min { 0 } else { tokens / step * step };
        let part = u128::from(input) * u128::from(self.seen_bytes.min(self.prompt_bytes));
        let seen = part.checked_div(u128::from(self.prompt_bytes)).unwrap_or(0);
        (cached(input), cached(u64::try_from(seen).unwrap_or(input)))
    }
}

/// What the prompts cost at their provider: `gross - credit = processed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InputCost {
    /// If all of it had been at the price of fresh input.
    pub gross: Nanos,
    /// What it did cost, as on the receipt.
    pub processed: Nanos,
    /// The part of `processed` that writing to caches cost beyond fresh input.
    pub write_premium: Nanos,
}

impl InputCost {
    /// What reuse saved, less what writing to the cache cost for it. Negative where more was written than read.
    pub const fn reuse_credit(&self) -> Nanos {
        Nanos(self.gross.0.saturating_sub(self.processed.0))
    }

    pub const fn plus(self, other: Self) -> Self {
        Self {
            gross: self.gross.plus(other.gross),
            processed: self.processed.plus(other.processed),
            write_premium: self.write_premium.plus(other.write_premium),
        }
    }

    /// Of one attempt. Nothing where it has no price, as on a node.
    pub fn of(profile: Profile, rates: Option<&Rates>, usage: &Usage) -> Self {
        match rates.filter(|rates| profile != Profile::Byoc && rates.has_price_for(usage)) {
            Some(rates) => rates.input_cost(usage),
            None => Self::default(),
        }
    }
}
