//! What is known of one request, without a word of its content.

use domain::money::with_markup;
use domain::{Nanos, Profile, Rates};

domain::words! {
    /// How a trace was recorded, by whoever did it.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
    pub enum Privacy by from_name {
        #[default]
        Metadata = "metadata",
        Tokenized = "tokenized",
        EncryptedFullFidelity = "encrypted_full_fidelity",
        Synthetic = "synthetic",
    }
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trace {
    pub id: String,
    pub privacy: Privacy,
    /// Requests of one family begin with the same prefix; `None` shares it with no other.
    pub family: Option<String>,
    pub session: Option<String>,
    pub branch: Option<String>,
    /// Requests that were sent at the same time.
    pub concurrency_group: Option<String>,
    pub arrival_ms: u64,
    /// What served it: a model's full name.
    pub target: String,
    /// Only of streams: otherwise the first token comes with the last.
    pub ttft_ms: Option<u64>,
    pub latency_ms: u64,
    pub input_tokens: u64,
    /// The part of the input that was sent before.
    pub candidate_tokens: u64,
    /// The part of the candidate that came from a cache.
    pub realized_tokens: u64,
    pub output_tokens: u64,
    pub attempts: u64,
    /// The prices of its tokens, where they are known.
    pub rates: Option<Rates>,
    /// What the operator adds to them.
    pub markup_bps: u32,
    /// What the books know beside: of own records alone.
    pub booked: Option<Booked>,
}

/// What a meter record says beyond a trace.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Booked {
    pub project: String,
    pub key: Option<String>,
    pub profile: Option<Profile>,
    /// What a cache takes of a prompt of this length.
    pub eligible_tokens: u64,
    /// The gateway marked the prompt for its provider's cache, or did whatever else helps it.
    pub is_helped: bool,
    /// The request offered tools; `None` if the record does not say.
    pub has_tools: Option<bool>,
    /// The attempts before the last.
    pub retries: Vec<Retry>,
}

/// An attempt that another one followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    pub by: WhoRetried,
    /// What its provider bills for it.
    pub paid: Nanos,
    /// How long the request was held up by it.
    pub waited_ms: u64,
    /// It was refused for its number, not for a failure.
    pub is_rate_limited: bool,
}

/// Whose attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WhoRetried {
    pub provider: String,
    /// The workspace's own credential; `None` for what is the operator's, whose id is not for the workspace.
    pub credential: Option<String>,
}

impl Trace {
    /// The family that its prefix belongs to; by itself it is its own.
    pub(crate) fn family_key(&self) -> (bool, &str) {
        match &self.family {
            Some(family) => (true, family),
            None => (false, &self.id),
        }
    }

    /// The candidate and the realized part, each within the one before it.
    pub(crate) fn candidate(&self) -> u64 {
        self.candidate_tokens.min(self.input_tokens)
    }

    pub(crate) fn missed(&self) -> u64 {
        self.candidate().saturating_sub(self.realized_tokens)
    }

    /// What so many of its input tokens would have cost less from the cache.
    pub(crate) fn saving(&self, tokens: u64) -> Nanos {
        let Some(rates) = &self.rates else { return Nanos::ZERO };
        let cached = rates.cached_read.unwrap_or(rates.input);
        let saved = rates.input.of(tokens).0.saturating_sub(cached.of(tokens).0).max(0);
        with_markup(Nanos(saved), self.markup_bps)
    }
}
