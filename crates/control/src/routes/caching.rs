//! Prompt caching at providers: the policy field of workspaces and projects that says what the gateway may
//! do, and the report of what it did for an exchange.

use api::failure::invalid;
use domain::{CacheMode, CachePolicy, CacheRecord, Fault, MeterRecord, Profile, UsageSource};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Each one of `off`, `suggest` and `apply`; an absent one is inherited from the wider scope.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Caching")]
pub struct CachingForm {
    /// On the operator's accounts; by default `apply`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    managed: Option<String>,
    /// On the workspace's own credentials; by default `suggest`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    byok: Option<String>,
}

impl CachingForm {
    pub fn read(&self) -> Result<CachePolicy, Box<Fault>> {
        Ok(CachePolicy {
            managed: mode("caching.managed", self.managed.as_deref())?,
            byok: mode("caching.byok", self.byok.as_deref())?,
        })
    }

    #[must_use]
    pub fn of(policy: CachePolicy) -> Self {
        let word = |mode: Option<CacheMode>| mode.map(|mode| mode.as_str().to_owned());
        Self { managed: word(policy.managed), byok: word(policy.byok) }
    }
}

fn mode(field: &str, word: Option<&str>) -> Result<Option<CacheMode>, Box<Fault>> {
    let read = |word: &str| {
        let fix = "Use off, suggest or apply, or leave it out.";
        CacheMode::of(word)
            .ok_or_else(|| invalid(field.to_owned(), format!("{field} can't be \"{word}\"."), fix))
    };
    word.map(read).transpose()
}

/// What was done to use the provider's prompt cache, or would have been.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CachingOfRequest")]
pub struct CachingView {
    /// `applied` or `suggested`.
    state: &'static str,
    /// Cache marks that were inserted into the prompt, or would have been.
    breakpoints: u8,
    /// Requests with the same prefix got a common cache key, or would have.
    key: bool,
    /// Tokens that are saved: by the provider's count of cached tokens, or for a suggestion by our estimate. Absent if the
    /// provider did not report it.
    saved_tokens: Option<u64>,
    /// `provider_reported`, `runtime_confirmed`, `router_inferred` or `unknown`.
    evidence: &'static str,
}

/// The evidence for the counts: the provider's or the node's own report, or else the gateway's estimate.
#[must_use]
pub const fn evidence(source: UsageSource, profile: Option<Profile>) -> &'static str {
    match (source, profile) {
        (UsageSource::Provider, Some(Profile::Byoc)) => "runtime_confirmed",
        (UsageSource::Provider, _) => "provider_reported",
        (UsageSource::Estimate, _) => "router_inferred",
        (UsageSource::None, _) => "unknown",
    }
}

#[must_use]
pub fn show(record: &MeterRecord) -> Option<CachingView> {
    let CacheRecord { is_applied, marks, has_key, reusable_tokens } = record.caching?;
    let (saved_tokens, evidence) = match (is_applied, record.usage.source) {
        (true, source @ UsageSource::Provider) => {
            (Some(record.usage.cached_read), evidence(source, record.profile()))
        }
        (true, UsageSource::Estimate | UsageSource::None) => (None, "unknown"),
        (false, _) => (Some(reusable_tokens.saturating_sub(record.usage.cached_read)), "router_inferred"),
    };
    // Automatic caching at the provider already covers all reusable tokens: nothing to suggest.
    if !is_applied && marks == 0 && saved_tokens == Some(0) {
        return None;
    }
    let state = if is_applied { "applied" } else { "suggested" };
    Some(CachingView { state, breakpoints: marks, key: has_key, saved_tokens, evidence })
}
