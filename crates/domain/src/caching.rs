//! Help for providers' prompt caches: what a workspace allows the gateway to do, and the record of what it
//! did.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::profile::Profile;

/// How far the gateway goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CacheMode {
    Off,
    /// Reports with the request what would have been done; leaves its bytes unchanged.
    Suggest,
    Apply,
}

impl CacheMode {
    pub const ALL: [Self; 3] = [Self::Off, Self::Suggest, Self::Apply];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Suggest => "suggest",
            Self::Apply => "apply",
        }
    }

    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == word)
    }
}

/// The setting of a workspace or project; `None` inherits the wider one, and in the end our default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct CachePolicy {
    /// For the operator's accounts.
    pub managed: Option<CacheMode>,
    /// For the customer's own credentials.
    pub byok: Option<CacheMode>,
}

impl CachePolicy {
    /// This policy, filled in from `wider` where it is unset.
    #[must_use]
    pub fn or(self, wider: Self) -> Self {
        Self { managed: self.managed.or(wider.managed), byok: self.byok.or(wider.byok) }
    }

    /// The mode for a profile. Requests on a customer's own credential are not modified unless the customer
    /// allows it; a node does its own caching.
    #[must_use]
    pub fn mode(self, profile: Profile) -> CacheMode {
        match profile {
            Profile::ManagedProvider => self.managed.unwrap_or(CacheMode::Apply),
            Profile::Byok | Profile::Subscription => self.byok.unwrap_or(CacheMode::Suggest),
            Profile::Byoc => CacheMode::Off,
        }
    }
}

/// How a provider caches a model's prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheFacts {
    /// The shortest prefix that is cached; `None` if unknown.
    pub tokens_min: Option<u64>,
    pub lifetime: Duration,
    /// The price of a written token and the saving on a read one, in per cent of the price of an uncached
    /// token.
    pub write_pct: Option<u64>,
    pub discount_pct: Option<u64>,
}

/// What was done for one exchange, or would have been done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CacheRecord {
    /// If false, this is a suggestion.
    pub is_applied: bool,
    /// Cache marks inserted into the prompt.
    pub marks: u8,
    /// A cache key was set, which tells the provider which requests share a prefix.
    pub has_key: bool,
    /// Prompt tokens that had been sent before: an estimate of what a cache can save.
    pub reusable_tokens: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_comes_before_its_workspace_and_both_before_us() {
        let none = CachePolicy::default();
        assert_eq!(none.mode(Profile::ManagedProvider), CacheMode::Apply);
        assert_eq!(none.mode(Profile::Byok), CacheMode::Suggest);
        let project = CachePolicy { byok: Some(CacheMode::Off), ..none };
        let workspace = CachePolicy { managed: Some(CacheMode::Off), byok: Some(CacheMode::Apply) };
        let both = project.or(workspace);
        assert_eq!(
            (both.mode(Profile::ManagedProvider), both.mode(Profile::Byok)),
            (CacheMode::Off, CacheMode::Off)
        );
        assert_eq!(none.or(workspace).mode(Profile::Byok), CacheMode::Apply);
        assert_eq!(both.mode(Profile::Byoc), CacheMode::Off);
    }

    #[test]
    fn words_are_read_as_they_are_written() {
        for mode in CacheMode::ALL {
            assert_eq!(CacheMode::of(mode.as_str()), Some(mode));
        }
        assert_eq!(CacheMode::of("on"), None);
    }
}
