//! Why a candidate was not chosen: a stable code for programs, a sentence for people.

use board::{Availability, BreakerLevel};
use domain::{HostedTool, PolicyId, PolicyRule, Profile, Tier};

use crate::attempt::Seat;

/// One reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It has no offer of this model. Shown by an explanation, but not stored with a request.
    DoesNotOffer,
    /// Its cloud has the model, but its owner named no deployment of it.
    NotDeployed,
    /// The account is limited to other models.
    ModelNotListed,
    /// It serves another project, environment or workspace.
    OutOfScope,
    Disabled,
    Revoked,
    Invalid,
    Unverified,
    Expired,
    Cordoned,
    Draining,
    Unreachable,
    NotInBuild,
    /// Its provider is for emergencies of the managed pool alone: never on a customer's
    /// own credential, or alongside one.
    EmergencyOnly,
    EmergencyOff,
    EmergencyNotAllowed,
    EmergencyNotDue,
    ProfileNotTaken,
    NoAddress,
    Unpriced,
    /// The operator would pay an unknown price for the tier.
    TierUnpriced {
        tier: Tier,
    },
    /// The same for a hosted tool.
    ToolUnpriced {
        tool: HostedTool,
    },
    /// The same for the storage of a cached prompt.
    StorageUnpriced,
    /// The capability manifest denies what the request needs.
    NotSupported {
        fact: &'static str,
    },
    CredentialNotInRoute,
    ProviderNotInRoute,
    RegionNotAllowed,
    RegionUnknown,
    LabelMissing,
    /// The project's policy forbids it, or its workspace's.
    PolicyForbids {
        rule: PolicyRule,
        policy: PolicyId,
        /// Whose policy it is.
        owner: &'static str,
    },
    /// The client's hints keep the call away from it.
    HintsForbid {
        rule: PolicyRule,
    },
    /// The route would let the call fall back to it, and the client's hints forbid that.
    DegradeForbidden,
    /// A profile that comes before its own serves the call.
    ProfileNotChosen {
        chosen: Profile,
    },
    /// The route lists profiles, and not this one.
    ProfileNotInRoute,
    /// The request continues an answer that another seat made.
    NotItsMaker,
    /// Own credentials exist, and nothing lets the call leave them.
    ByokStrict,
    /// The route lets the call leave own credentials, but not for what prevents them from serving now.
    FallbackNotForThis,
    /// Its commitment is used up, and the route says where what exceeds it goes.
    CommittedExhausted,
    /// It takes only what exceeds the other credentials.
    OverflowOnly,
    /// The operator has not switched subscriptions on.
    SubscriptionsOff,
    /// The use that its owner allows in a window of time is used up.
    WindowUsedUp {
        wait_ms: u64,
    },
    RateLimited {
        wait_ms: u64,
    },
    /// So many requests are ahead at the node.
    NodeFull {
        wait_ms: u64,
    },
    Parked {
        wait_ms: u64,
    },
    BreakerOpen {
        wait_ms: u64,
    },
    /// The breaker of its host, its region, or of the credential with all models.
    Ejected {
        level: BreakerLevel,
        wait_ms: u64,
    },
    /// Its provider limited it without naming a time.
    Limited {
        wait_ms: u64,
    },
    /// What was agreed with its provider is used up.
    Paced {
        wait_ms: u64,
    },
}

/// A candidate that was not chosen. Its sentence is only built on demand.
#[derive(Debug, Clone)]
pub struct Rejection {
    pub seat: Seat,
    pub refusal: Refusal,
}

impl Refusal {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DoesNotOffer => "does_not_offer",
            Self::NotDeployed => "not_deployed",
            Self::ModelNotListed => "model_not_listed",
            Self::OutOfScope => "out_of_scope",
            Self::Disabled => "disabled",
            Self::Revoked => "revoked",
            Self::Invalid => "invalid",
            Self::Unverified => "unverified",
            Self::Expired => "expired",
            Self::Cordoned => "node_cordoned",
            Self::Draining => "draining",
            Self::Unreachable => "unreachable",
            Self::NotInBuild => "not_in_build",
            Self::EmergencyOnly => "emergency_only",
            Self::EmergencyOff => "emergency_off",
            Self::EmergencyNotAllowed => "emergency_not_allowed",
            Self::EmergencyNotDue => "emergency_not_due",
            Self::ProfileNotTaken => "profile_not_taken",
            Self::NoAddress => "no_address",
            Self::Unpriced => "unpriced",
            Self::TierUnpriced { .. } => "tier_unpriced",
            Self::ToolUnpriced { .. } => "tool_unpriced",
            Self::StorageUnpriced => "storage_unpriced",
            Self::NotSupported { .. } => "not_supported",
            Self::CredentialNotInRoute => "credential_not_in_route",
            Self::ProviderNotInRoute => "provider_not_in_route",
            Self::RegionNotAllowed => "region_not_allowed",
            Self::RegionUnknown => "region_unknown",
            Self::LabelMissing => "label_missing",
            Self::PolicyForbids { .. } => "policy_forbids",
            Self::HintsForbid { .. } => "hints_forbid",
            Self::DegradeForbidden => "degrade_forbidden",
            Self::ProfileNotChosen { .. } => "profile_not_chosen",
            Self::ProfileNotInRoute => "profile_not_in_route",
            Self::NotItsMaker => "not_its_maker",
            Self::ByokStrict => "byok_strict",
            Self::FallbackNotForThis => "fallback_not_for_this",
            Self::CommittedExhausted => "committed_exhausted",
            Self::OverflowOnly => "overflow_only",
            Self::SubscriptionsOff => "subscriptions_off",
            Self::WindowUsedUp { .. } => "window_used_up",
            Self::RateLimited { .. } => "rate_limited",
            Self::NodeFull { .. } => "node_full",
            Self::Parked { .. } => "parked",
            Self::BreakerOpen { .. } => "breaker_open",
            Self::Ejected { level: BreakerLevel::Host, .. } => "host_breaker_open",
            Self::Ejected { level: BreakerLevel::Region, .. } => "region_breaker_open",
            Self::Ejected { .. } => "credential_breaker_open",
            Self::Limited { .. } => "recently_limited",
            Self::Paced { .. } => "agreed_limit_reached",
        }
    }

    /// Why the board rules a candidate out, if it does.
    pub const fn of(standing: Availability, now_us: u64) -> Option<Self> {
        let wait_ms = standing.until_us().saturating_sub(now_us).div_ceil(1_000);
        Some(match standing {
            Availability::Open | Availability::HalfOpen => return None,
            Availability::RetryAt { .. } => Self::RateLimited { wait_ms },
            Availability::Parked { .. } => Self::Parked { wait_ms },
            Availability::BreakerOpen { .. } => Self::BreakerOpen { wait_ms },
            Availability::Ejected { level, .. } => Self::Ejected { level, wait_ms },
            Availability::Limited { .. } => Self::Limited { wait_ms },
            Availability::Paced { .. } => Self::Paced { wait_ms },
        })
    }

    /// How long a rate limit lasts that the provider named or that was agreed with it, if that is the reason.
    pub const fn rate_limited_ms(self) -> Option<u64> {
        match self {
            Self::RateLimited { wait_ms } | Self::Paced { wait_ms } | Self::NodeFull { wait_ms } => {
                Some(wait_ms)
            }
            _ => None,
        }
    }

    /// Whether it does not have the model, or is none that the call's route allows.
    pub const fn is_absence(self) -> bool {
        matches!(
            self,
            Self::DoesNotOffer
                | Self::NotDeployed
                | Self::ModelNotListed
                | Self::OutOfScope
                | Self::EmergencyOff
                | Self::EmergencyNotAllowed
                | Self::CredentialNotInRoute
                | Self::ProviderNotInRoute
                | Self::RegionNotAllowed
                | Self::RegionUnknown
                | Self::LabelMissing
                | Self::ProfileNotInRoute
        )
    }

    /// Whether it lacks capacity, and has not failed.
    pub const fn is_limit(self) -> bool {
        matches!(
            self,
            Self::RateLimited { .. } | Self::Paced { .. } | Self::Limited { .. } | Self::NodeFull { .. }
        )
    }

    /// How long our own caution lasts, if that is the reason. The last seat is called in spite of it.
    pub const fn caution_ms(self) -> Option<u64> {
        match self {
            Self::BreakerOpen { wait_ms }
            | Self::Ejected { wait_ms, .. }
            | Self::Limited { wait_ms }
            | Self::NodeFull { wait_ms } => Some(wait_ms),
            _ => None,
        }
    }

    /// The sentence after the candidate's name.
    pub fn detail(self) -> String {
        let fixed = match self {
            Self::DoesNotOffer => "has no offer of this model",
            Self::NotDeployed => "names no deployment of this model in its config",
            Self::ModelNotListed => "is limited to other models",
            Self::OutOfScope => "serves another project or environment",
            Self::Disabled => "is switched off",
            Self::Revoked => "is revoked",
            Self::Invalid => "was refused by its provider when it was last verified",
            Self::Unverified => "serves once its provider has accepted it, or once it is enabled",
            Self::Expired => "has expired",
            Self::Cordoned => "is cordoned and takes no new requests",
            Self::Draining => "is draining and takes no new requests",
            Self::Unreachable => "did not answer when it was last asked",
            Self::NotInBuild => "belongs to a provider that this build has no code for yet",
            Self::EmergencyOnly => "belongs to a provider that is kept for emergencies of the pool alone",
            Self::EmergencyOff => "is kept for emergencies, which the operator has not switched on",
            Self::EmergencyNotAllowed => {
                "is kept for emergencies, and the call's route does not allow them (emergency: allowed)"
            }
            Self::EmergencyNotDue => {
                "is kept for emergencies: it serves only after others of the pool were asked and failed, and a limit is no \
                 failure"
            }
            Self::ProfileNotTaken => "belongs to a provider that does not take this profile",
            Self::NoAddress => "has no base_url, and its provider has none of its own",
            Self::Unpriced => {
                "has no known price for this model, and its operator does not allow unpriced models"
            }
            Self::StorageUnpriced => "has no known price for storing a cached prompt of this model",
            Self::CredentialNotInRoute => "is not among the route's credential_ids",
            Self::ProviderNotInRoute => "belongs to a provider that is not among the route's providers",
            Self::RegionNotAllowed => "is in a region that the route does not allow",
            Self::RegionUnknown => "does not say its region, and the route allows certain regions only",
            Self::LabelMissing => "lacks one of the route's node_labels",
            Self::ProfileNotInRoute => "has a profile that the route does not list",
            Self::NotItsMaker => {
                "did not make the answer that the request goes on from, or does not keep the files that it names"
            }
            Self::SubscriptionsOff => "is a subscription, which the operator has not switched on",
            Self::ByokStrict => {
                "needs a fallback beyond the workspace's own credentials, which no route allows (byok_fallback: never)"
            }
            Self::FallbackNotForThis => {
                "is a fallback, and the route's fallback_on does not name what keeps the own credentials from serving"
            }
            Self::CommittedExhausted => "has used up its commitment, and the route has an overflow",
            Self::OverflowOnly => "takes only what exceeds the workspace's other credentials (overflow)",
            Self::DegradeForbidden => "is a fallback, which the request forbids (degrade_policy: forbid)",
            Self::TierUnpriced { tier } => {
                return format!("has no known price for the tier \"{}\" of this model", tier.as_str());
            }
            Self::ToolUnpriced { tool } => {
                return format!("has no known price for what its provider asks for \"{}\"", tool.as_str());
            }
            Self::NotSupported { .. }
            | Self::PolicyForbids { .. }
            | Self::HintsForbid { .. }
            | Self::ProfileNotChosen { .. } => return self.rule_detail(),
            Self::WindowUsedUp { .. }
            | Self::RateLimited { .. }
            | Self::NodeFull { .. }
            | Self::Parked { .. }
            | Self::BreakerOpen { .. }
            | Self::Ejected { .. }
            | Self::Limited { .. }
            | Self::Paced { .. } => return self.wait_detail(),
        };
        fixed.to_owned()
    }

    /// Whose rule, or better place, keeps the call away from a candidate.
    fn rule_detail(self) -> String {
        match self {
            Self::NotSupported { fact } => format!("can't do this by its provider's {fact}"),
            Self::ProfileNotChosen { chosen } => {
                format!("was not needed: {chosen} comes first and can serve this")
            }
            Self::PolicyForbids { rule, owner, .. } => {
                format!("is ruled out by the {owner}'s policy ({})", rule.as_str())
            }
            Self::HintsForbid { rule } => {
                format!("is ruled out by the request's hints ({})", hint_of(rule))
            }
            other => other.as_str().to_owned(),
        }
    }

    /// What the board says of a candidate that has to wait.
    fn wait_detail(self) -> String {
        match self {
            Self::WindowUsedUp { wait_ms } => {
                format!("has used up what its owner allows; {} left of the window", seconds(wait_ms))
            }
            Self::RateLimited { wait_ms } => {
                format!("was told by its provider to wait; {} left", seconds(wait_ms))
            }
            Self::NodeFull { wait_ms } => {
                format!("has requests ahead that take about {}", seconds(wait_ms))
            }
            Self::Parked { wait_ms } => {
                format!("was refused by its provider; it is tried again in {}", seconds(wait_ms))
            }
            Self::Ejected { level, wait_ms } => {
                let what = match level {
                    BreakerLevel::Host => "is at a host that failed too often: the host breaker is",
                    BreakerLevel::Region => "is in a region that failed too often: the region breaker is",
                    _ => "failed too often with several models: its breaker is",
                };
                format!("{what} open for {} more", seconds(wait_ms))
            }
            Self::Limited { wait_ms } => format!(
                "was limited by its provider, which named no time; it is left alone for {}",
                seconds(wait_ms)
            ),
            Self::Paced { wait_ms } => format!(
                "has used up what was agreed with its provider (`limits`); its next turn is in {}",
                seconds(wait_ms)
            ),
            Self::BreakerOpen { wait_ms } => {
                format!("failed too often with this model; it is tried again in {}", seconds(wait_ms))
            }
            other => other.as_str().to_owned(),
        }
    }
}

/// The hint that restricts what a policy's rule of this kind does.
const fn hint_of(rule: PolicyRule) -> &'static str {
    match rule {
        PolicyRule::Profiles => "execution_profiles",
        rule => rule.as_str(),
    }
}

/// Milliseconds as seconds for people, rounded up.
pub fn seconds(wait_ms: u64) -> String {
    format!("{} s", wait_ms.div_ceil(1_000))
}
