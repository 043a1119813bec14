//! What the gateway does for the prompt caches of providers: what a workspace lets it do, and what was done of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::profile::Profile;

/// How much is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CacheMode {
    Off,
    /// What would have been done is told with the request; its bytes stay.
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

/// What a workspace or a project says of it; `None` leaves it to the wider one, and at last to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct CachePolicy {
    /// On the operator's accounts.
    pub managed: Option<CacheMode>,
    /// On the customer's own credentials.
    pub byok: Option<CacheMode>,
}

impl CachePolicy {
    /// This one, and the wider one where it says nothing.
    #[must_use]
    pub fn or(self, wider: Self) -> Self {
        Self { managed: self.managed.or(wider.managed), byok: self.byok.or(wider.byok) }
    }

    /// What holds for a profile. A customer's own account is not written to unasked; a node caches by itself.
    #[must_use]
    pub fn mode(self, profile: Profile) -> CacheMode {
        match profile {
            Profile::ManagedProvider => self.managed.unwrap_or(CacheMode::Apply),
            Profile::Byok | Profile::Subscription => self.byok.unwrap_or(CacheMode::Suggest),
            Profile::Byoc => CacheMode::Off,
        }
    }
}

/// How a seller caches a model's prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheFacts {
    /// No shorter prefix is kept; `None` where nobody read how long.
    pub tokens_min: Option<u64>,
    pub lifetime: Duration,
    /// What a written token costs and what a read one saves, in per cent of the price of a fresh one.
    pub write_pct: Option<u64>,
    pub discount_pct: Option<u64>,
}

/// What was done for one exchange, or would have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CacheRecord {
    /// Else it is a suggestion.
    pub is_applied: bool,
    /// Marks that were put into the prompt.
    pub marks: u8,
    /// It was said which requests belong together.
    pub has_key: bool,
    /// Tokens of the prompt that had been sent before: an estimate of what a cache can have of it.
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
