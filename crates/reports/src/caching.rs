//! Prompt caching at providers: the policy field of workspaces and projects that says what the gateway may
//! do, and the report of what it did for an exchange.

use api::failure::invalid;
use domain::limits::{
    RECORD_TEXT_BYTES_MAX, RESPONSE_CACHE_TTL_S_MAX, SEMANTIC_CACHE_SIMILARITY_BPS_MAX,
    SEMANTIC_CACHE_SIMILARITY_BPS_MIN,
};
use domain::{CacheMode, CachePolicy, CacheRecord, Fault, MeterRecord, ResponseCacheMode, UsageSource};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Each one of `off`, `suggest` and `apply`; an absent one is inherited from the wider scope.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Caching")]
pub struct CachingForm {
    /// On the operator's accounts; by default `apply`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["off", "suggest", "apply", null]))]
    managed: Option<String>,
    /// On the workspace's own credentials; by default `suggest`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["off", "suggest", "apply", null]))]
    byok: Option<String>,
    /// Whether a prefix that the gateway has marked is read again shortly before its provider's cache drops it, if
    /// earlier prefixes show that this pays; by default false. Only where the mode is `apply`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keep_alive: Option<bool>,
    /// Our own cache of whole answers; by default off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    responses: Option<ResponsesForm>,
}

/// Whether an answer is kept and given again to the same request.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ResponseCache")]
pub struct ResponsesForm {
    /// `exact`, `semantic` or `off`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["exact", "semantic", "off", null]))]
    mode: Option<String>,
    /// How many seconds an answer is kept; by default an hour.
    #[schemars(range(min = 1, max = RESPONSE_CACHE_TTL_S_MAX))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ttl_s: Option<u32>,
    /// How `semantic` compares texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    semantic: Option<SemanticForm>,
}

/// How texts are compared, so that an answer can be given to a request that means the same.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SemanticCache")]
pub struct SemanticForm {
    /// The embedding model, or an alias of one, by whose vectors texts are compared.
    #[schemars(length(min = 1, max = RECORD_TEXT_BYTES_MAX))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    /// The least similarity of a hit: the cosine of both vectors in basis points; by default 9,500.
    #[schemars(range(min = SEMANTIC_CACHE_SIMILARITY_BPS_MIN, max = SEMANTIC_CACHE_SIMILARITY_BPS_MAX))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    min_similarity_bps: Option<u16>,
}

impl CachingForm {
    /// The setting, with the generation of the one that it replaces.
    pub fn read(&self, before: &CachePolicy) -> Result<CachePolicy, Box<Fault>> {
        let mut policy = CachePolicy {
            managed: mode("caching.managed", self.managed.as_deref())?,
            byok: mode("caching.byok", self.byok.as_deref())?,
            keep_alive: self.keep_alive,
            generation: before.generation,
            ..CachePolicy::default()
        };
        if let Some(responses) = &self.responses {
            responses.read_into(&mut policy)?;
        }
        Ok(policy)
    }

    pub fn of(policy: &CachePolicy) -> Self {
        let word = |mode: Option<CacheMode>| mode.map(|mode| mode.as_str().to_owned());
        let responses = ResponsesForm::of(policy);
        Self {
            managed: word(policy.managed),
            byok: word(policy.byok),
            keep_alive: policy.keep_alive,
            responses: (responses != ResponsesForm::default()).then_some(responses),
        }
    }
}

impl ResponsesForm {
    fn of(policy: &CachePolicy) -> Self {
        let semantic = SemanticForm {
            model: policy.semantic_model.as_deref().map(str::to_owned),
            min_similarity_bps: policy.semantic_similarity_bps_min,
        };
        Self {
            mode: policy.responses.map(|mode| mode.as_str().to_owned()),
            ttl_s: policy.responses_ttl_s,
            semantic: (semantic != SemanticForm::default()).then_some(semantic),
        }
    }

    fn read_into(&self, policy: &mut CachePolicy) -> Result<(), Box<Fault>> {
        let wrong = |word: &str| {
            let field = "caching.responses.mode";
            let fix = "Use exact, semantic or off, or leave it out.";
            invalid(field, format!("{field} can't be \"{word}\"."), fix)
        };
        let mode = self.mode.as_deref();
        policy.responses =
            mode.map(|word| ResponseCacheMode::of(word).ok_or_else(|| wrong(word))).transpose()?;
        if self.ttl_s.is_some_and(|ttl_s| !(1..=RESPONSE_CACHE_TTL_S_MAX).contains(&ttl_s)) {
            let field = "caching.responses.ttl_s";
            let fix = format!("Use 1 to {RESPONSE_CACHE_TTL_S_MAX} seconds.");
            return Err(invalid(field, format!("{field} is out of range."), fix));
        }
        policy.responses_ttl_s = self.ttl_s;
        if let Some(semantic) = &self.semantic {
            semantic.read_into(policy)?;
        }
        if policy.responses == Some(ResponseCacheMode::Semantic) && policy.semantic_model.is_none() {
            let field = "caching.responses.semantic.model";
            let fix = "Name the embedding model by which texts are compared.";
            return Err(invalid(field, "The mode semantic needs a model.", fix));
        }
        Ok(())
    }
}

impl SemanticForm {
    fn read_into(&self, policy: &mut CachePolicy) -> Result<(), Box<Fault>> {
        let is_name = |model: &str| (1..=RECORD_TEXT_BYTES_MAX).contains(&model.len());
        if self.model.as_deref().is_some_and(|model| !is_name(model)) {
            let field = "caching.responses.semantic.model";
            let fix = format!("Use a name of 1 to {RECORD_TEXT_BYTES_MAX} bytes.");
            return Err(invalid(field, format!("{field} isn't a name of a model."), fix));
        }
        let is_bound =
            |bps: &u16| (SEMANTIC_CACHE_SIMILARITY_BPS_MIN..=SEMANTIC_CACHE_SIMILARITY_BPS_MAX).contains(bps);
        if self.min_similarity_bps.is_some_and(|bps| !is_bound(&bps)) {
            let field = "caching.responses.semantic.min_similarity_bps";
            let fix = format!(
                "Use {SEMANTIC_CACHE_SIMILARITY_BPS_MIN} to {SEMANTIC_CACHE_SIMILARITY_BPS_MAX} basis points."
            );
            return Err(invalid(field, format!("{field} is out of range."), fix));
        }
        policy.semantic_model = self.model.as_deref().map(Into::into);
        policy.semantic_similarity_bps_min = self.min_similarity_bps;
        Ok(())
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
    /// A beginning that the gateway had the provider cache by name was sent in the place of the prompt's own, or would be
    /// worth it.
    context_cache: bool,
    /// How often in a row the gateway had the prefix read before this request, so that it was still in the cache.
    refreshes: u8,
    /// Tokens that are saved: by the provider's count of cached tokens, or for a suggestion by our estimate. Absent if the
    /// provider did not report it.
    saved_tokens: Option<u64>,
    /// `provider_reported`, `runtime_confirmed`, `router_inferred` or `unknown`.
    evidence: &'static str,
}

pub fn show(record: &MeterRecord) -> Option<CachingView> {
    let caching = record.caching.filter(CacheRecord::has_help)?;
    let CacheRecord { is_applied, marks, has_key, has_context, refreshes, reusable_tokens, .. } = caching;
    let (saved_tokens, evidence) = match (is_applied, record.usage.source) {
        (true, UsageSource::Provider) => (Some(record.usage.cached_read), record.reuse_evidence().as_str()),
        (true, UsageSource::Estimate | UsageSource::None) => (None, "unknown"),
        (false, _) => (Some(reusable_tokens.saturating_sub(record.usage.cached_read)), "router_inferred"),
    };
    // Automatic caching at the provider already covers all reusable tokens: nothing to suggest.
    if !is_applied && marks == 0 && saved_tokens == Some(0) {
        return None;
    }
    let state = if is_applied { "applied" } else { "suggested" };
    Some(CachingView {
        state,
        breakpoints: marks,
        key: has_key,
        context_cache: has_context,
        refreshes,
        saved_tokens,
        evidence,
    })
}
