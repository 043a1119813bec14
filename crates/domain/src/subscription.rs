//! A vendor's subscription as its owner states it: the plan, what it saves, and how much of it may be used in which
//! window of time.

use serde::{Deserialize, Serialize};

const HOUR_MS: u64 = 3_600_000;

/// What makes a credential one of a subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// The name it was added under: the vendor's product, or the provider itself.
    pub product: String,
    /// The vendor's plan, in its owner's words.
    pub plan: Option<String>,
    /// What a request costs less than by the provider's list, in per cent.
    pub discount_pct: u8,
    pub windows: Vec<UsageWindow>,
}

/// A cap on use within a span of time. The spans follow each other without a gap, from `starts_unix_ms` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageWindow {
    pub hours: u32,
    pub starts_unix_ms: u64,
    pub requests: Option<u64>,
    pub tokens: Option<u64>,
}

/// What was used of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WindowUse {
    pub requests: u64,
    pub tokens: u64,
}

impl UsageWindow {
    const fn length_ms(&self) -> u64 {
        let length = (self.hours as u64).saturating_mul(HOUR_MS);
        if length == 0 { HOUR_MS } else { length }
    }

    /// When the span that holds this moment began; the stated start if that is still to come.
    pub const fn start(&self, now_unix_ms: u64) -> u64 {
        let since = now_unix_ms.saturating_sub(self.starts_unix_ms);
        self.starts_unix_ms.saturating_add(since - since % self.length_ms())
    }

    /// When it ends, and use is counted from zero again.
    pub const fn end(&self, now_unix_ms: u64) -> u64 {
        self.start(now_unix_ms).saturating_add(self.length_ms())
    }

    /// Whether nothing of it is left.
    pub fn is_used_up(&self, used: WindowUse) -> bool {
        self.requests.is_some_and(|most| used.requests >= most)
            || self.tokens.is_some_and(|most| used.tokens >= most)
    }
}

impl WindowUse {
    pub const fn plus(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            tokens: self.tokens.saturating_add(other.tokens),
        }
    }

    /// Of two counts of the same use, the more complete one.
    pub fn or_more(self, other: Self) -> Self {
        Self { requests: self.requests.max(other.requests), tokens: self.tokens.max(other.tokens) }
    }
}
