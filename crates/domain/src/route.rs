//! Routes: a workspace's rules for which profiles, credentials and fallbacks serve which requests.

use serde::{Deserialize, Serialize};

use crate::conditions::RouteConditions;
use crate::fault::FaultClass;
use crate::ids::{CredentialId, KeyId, ProjectId};
use crate::profile::Profile;
use crate::strategy::Strategy;

/// When a route applies: every field that is set must match. All unset is the workspace's default.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct RouteScope {
    pub tag: Option<String>,
    pub key_id: Option<KeyId>,
    pub project_id: Option<ProjectId>,
    pub alias: Option<String>,
    /// A model pattern: exact (`openai/gpt-4o`) unless it ends in `*` or `/` (`openai/gpt-4o*`, `openai/`).
    /// The longest match wins.
    pub model: Option<String>,
    pub modality: Option<String>,
    /// The pinned provider, or else the publisher's own.
    pub provider: Option<String>,
    pub environment: Option<String>,
}

crate::words! {
    /// What happens after one of the customer's own credentials has failed.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub enum ByokFallback by from_word {
        #[default]
        Never = "never",
        Managed = "managed",
    }
}

crate::words! {
    /// The error classes a route may name in `fallback_on`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum FallbackClass {
        Auth = "auth",
        Quota = "quota",
        RateLimit = "rate_limit",
        Overloaded = "overloaded",
        Upstream = "upstream",
        Timeout = "timeout",
        /// Nothing that the route allows has the model, and the request goes to the next route that matches, or to none.
        ModelMissing = "model_missing",
    }
}

impl FallbackClass {
    /// The class that a fault belongs to, or `None` where the same request would fail anywhere.
    pub const fn of(class: FaultClass) -> Option<Self> {
        match class {
            FaultClass::UpstreamAuth | FaultClass::UpstreamPermission => Some(Self::Auth),
            FaultClass::UpstreamQuota => Some(Self::Quota),
            FaultClass::RateLimit => Some(Self::RateLimit),
            FaultClass::Overloaded => Some(Self::Overloaded),
            FaultClass::Upstream | FaultClass::StreamBroken | FaultClass::UpstreamNotFound => {
                Some(Self::Upstream)
            }
            FaultClass::Timeout => Some(Self::Timeout),
            _ => None,
        }
    }
}

crate::words! {
    /// The failures after which a route's requests may go on with another model.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum ModelFallbackClass by named {
        /// The prompt is longer than the model's context.
        ContextLength = "context_length",
        /// The provider's policy refuses the content.
        ContentPolicy = "content_policy",
        /// All that could serve the model failed in a way that may pass: errors, overload, silence, and rate limits, which are no
        /// outage to the schedule of attempts. Routes call it `outage`.
        #[serde(rename = "outage")]
        Transient = "outage",
    }
}

impl ModelFallbackClass {
    /// The class that a fault belongs to, or `None` where no other model helps, or where it is not clear that one
    /// would: a refused credential is to be repaired.
    pub const fn of(class: FaultClass) -> Option<Self> {
        match class {
            FaultClass::ContextLength => Some(Self::ContextLength),
            FaultClass::ContentPolicy => Some(Self::ContentPolicy),
            FaultClass::RateLimit
            | FaultClass::Overloaded
            | FaultClass::Upstream
            | FaultClass::StreamBroken
            | FaultClass::Timeout => Some(Self::Transient),
            _ => None,
        }
    }
}

/// Another model that a route's requests go on with, and after what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFallback {
    pub on: Vec<ModelFallbackClass>,
    /// A model's name, none of an alias.
    pub model: String,
}

impl RouteSpec {
    /// Whether what exceeds the customer's own capacity has somewhere to go.
    pub const fn has_overflow(&self) -> bool {
        self.overflow_managed || self.overflow_own.is_some()
    }

    /// Whether it names whose seats may serve, so that another one would not be asked.
    pub const fn names_seats(&self) -> bool {
        !self.providers.is_empty() || !self.credential_ids.is_empty()
    }

    /// Whether something else than what serves first may serve after a failure.
    pub fn degrades(&self) -> bool {
        self.byok_fallback != ByokFallback::Never
            || self.emergency_allowed
            || !self.model_fallbacks.is_empty()
    }

    /// The same route without that. What exceeds capacity still overflows: that follows no failure.
    pub fn without_degrading(&self) -> Self {
        Self {
            byok_fallback: ByokFallback::Never,
            emergency_allowed: false,
            model_fallbacks: Vec::new(),
            ..self.clone()
        }
    }
}

/// What a route prescribes for the requests that it matches.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RouteSpec {
    pub scope: RouteScope,
    /// Facts of the request that must hold, too. They make a route stronger than one of the same scope without them.
    pub when: RouteConditions,
    pub strategy: Strategy,
    /// In order of preference; empty leaves the broker's default order.
    pub profiles: Vec<Profile>,
    /// Providers in order of preference; empty puts the publisher's own first.
    pub providers: Vec<String>,
    /// Only these credentials, in this order; empty allows every one in scope.
    pub credential_ids: Vec<CredentialId>,
    pub regions: Vec<String>,
    pub node_labels: Vec<String>,
    pub byok_fallback: ByokFallback,
    /// Empty means every class for which a fallback can help.
    pub fallback_on: Vec<FallbackClass>,
    /// In the order in which they are considered; empty keeps each request with its own model.
    pub model_fallbacks: Vec<ModelFallback>,
    /// `overflow: managed`: load beyond the customer's own capacity goes to the pooled accounts. A failure
    /// never triggers it.
    pub overflow_managed: bool,
    /// `overflow: own:<credential>`: the same, to this credential, which is then used for nothing else.
    pub overflow_own: Option<CredentialId>,
    /// `emergency: allowed`: when all pooled accounts have failed, an account reserved for emergencies may
    /// serve.
    pub emergency_allowed: bool,
    /// `hosted_tools: drop`: tools of a provider's own that the target lacks are dropped and reported.
    pub drops_hosted_tools: bool,
    pub head_wait_ms: Option<u64>,
    pub first_byte_timeout_ms: Option<u64>,
    pub idle_timeout_ms: Option<u64>,
    pub deadline_ms: Option<u64>,
    /// After which silence a second attempt is made on the next seat of the same profile, and the first that
    /// answers serves.
    pub hedge_after_ms: Option<u64>,
    /// The most that the priority of its requests can be.
    pub priority: Option<u8>,
}
