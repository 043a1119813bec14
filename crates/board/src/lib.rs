//! Live state that `plan` reads and `execute` writes: breakers, rests, parkings, agreed limits,
//! retry budgets, load and latency.

mod breaker;
mod budget;
mod cell;
mod contexts;
mod keep_alive;
mod limits;
mod load;
mod nodes;
mod outlier;
mod pace;
mod permit;
mod place;
mod prefixes;
mod scope;
mod shared;
mod views;
mod windows;

pub use budget::RetryBudget;
pub use cell::{Cell, Gauge, Ticket};
pub use contexts::{CachedContext, ContextKey, ContextOutcome, ContextTable, ContextUse};
pub use keep_alive::{
    ExpiringPrefix, HeldPrompt, KeepAliveTable, RepeatedPrompt, ReturnRate, WatchedDue, WatchedGroup,
    WatchedKey,
};
pub use load::Load;
pub use outlier::{OpeningCause, RecentFailures};
pub use pace::{AgreedRate, Pacing};
pub use permit::SideRequestPermit;
pub use prefixes::{PrefixTable, prefix_at};
pub use scope::{BreakerLevel, OpenBreaker};
pub use shared::{Parking, ReportedLimits, Shared};
pub use views::{Pause, PauseCause, SharedBreaker};

use std::sync::Arc;

use domain::{AgreedLimits, NodeId, Principal, SubscriptionId, UsageWindow, WorkspaceId};
use placement::NodeLoad;

/// A seat, as far as the board has state for it.
#[derive(Debug, Clone, Copy)]
pub struct SeatKey<'a> {
    pub principal: Principal,
    /// The model's name at the provider.
    pub model: &'a str,
    /// The secret that would be used: what was recorded against an older one is forgotten.
    pub secret_version: u32,
    /// `None` for the operator's accounts.
    pub owner: Option<WorkspaceId>,
    pub provider: &'a str,
    pub base_url: &'a str,
    pub region: Option<&'a str>,
    /// What was agreed with the provider; `None` if nothing was that paces requests.
    pub limits: Option<&'a AgreedLimits>,
}

impl<'a> SeatKey<'a> {
    /// The host and port of its address.
    pub fn host(&self) -> &'a str {
        let authority = self.base_url.split_once("://").map_or(self.base_url, |(_, rest)| rest);
        authority.split('/').next().unwrap_or_default()
    }

    /// The limits, if any of them paces requests.
    pub fn pacing(limits: &'a AgreedLimits) -> Option<&'a AgreedLimits> {
        Some(limits).filter(|limits| pace::paces(limits))
    }
}

/// Whether a principal may be called for a model now. Every `us` is the monotonic
/// time from which it may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    Open,
    /// The breaker lets one attempt through to see whether the upstream is healthy again.
    HalfOpen,
    /// The provider named a time before which it refuses.
    RetryAt {
        us: u64,
    },
    /// The provider refused the credential itself; it is probed once in a while.
    Parked {
        us: u64,
    },
    /// The model failed too often with this principal.
    BreakerOpen {
        us: u64,
    },
    /// What it belongs to failed too often: its host, its region, or the credential with all models.
    Ejected {
        us: u64,
        level: BreakerLevel,
    },
    /// The provider limited it without naming a time: it is left alone for a moment where another can serve.
    Limited {
        us: u64,
    },
    /// What was agreed with the provider is used up until then.
    Paced {
        us: u64,
    },
}

impl Availability {
    /// Whether it can be called now without ignoring a wait.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Open | Self::HalfOpen)
    }

    /// Whether this is our own caution, which the last seat that is left is called in spite of.
    pub const fn is_caution(self) -> bool {
        matches!(self, Self::BreakerOpen { .. } | Self::Ejected { .. } | Self::Limited { .. })
    }

    /// From when it may be called again; zero if it may be called now.
    pub const fn until_us(self) -> u64 {
        match self {
            Self::Open | Self::HalfOpen => 0,
            Self::RetryAt { us }
            | Self::Parked { us }
            | Self::BreakerOpen { us }
            | Self::Ejected { us, .. }
            | Self::Limited { us }
            | Self::Paced { us } => us,
        }
    }
}

/// What `plan` reads from the board.
pub trait AvailabilityView {
    fn availability(&self, seat: &SeatKey<'_>, now_us: u64) -> Availability;

    /// How long its first byte took lately; `None` if that was not measured.
    fn first_byte_us(&self, _principal: Principal, _upstream_model: &str) -> Option<u64> {
        None
    }

    /// How busy and how fast a principal is with a model, as far as that is measured.
    fn load(&self, _principal: Principal, _upstream_model: &str, _now_us: u64) -> Load {
        Load::default()
    }

    /// How busy a node is, as far as that is known.
    fn node_load(&self, _node: NodeId, _now_us: u64) -> NodeLoad {
        NodeLoad::default()
    }

    /// The prompt prefixes of a workspace; `None` where none are remembered.
    fn prefix_table(&self, _workspace: WorkspaceId, _now_us: u64) -> Option<Arc<PrefixTable>> {
        None
    }

    /// Whether the commitment with this mark (`domain::Commitment::mark`) was found used up a moment ago.
    fn is_commitment_spent(&self, _principal: Principal, _mark: u64, _now_us: u64) -> bool {
        false
    }

    /// Until when a subscription's use is capped, if one of its windows is used up.
    fn used_up_until(&self, _: SubscriptionId, _: &[UsageWindow], _now_unix_ms: u64) -> Option<u64> {
        None
    }
}

/// A board on which nothing ever failed, for explanations away from the serving cores and for tests.
#[derive(Debug, Clone, Copy, Default)]
pub struct AllOpen;

impl AvailabilityView for AllOpen {
    fn availability(&self, _seat: &SeatKey<'_>, _now_us: u64) -> Availability {
        Availability::Open
    }
}

/// How one attempt ended, as far as the board learns from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The upstream answered; `first_byte_us` is how long its first byte took.
    Healthy { first_byte_us: u64 },
    /// The upstream answered, and its refusal says nothing about its health (a 400, a filter).
    Neutral,
    /// The upstream is unhealthy: a 5xx, a timeout, a broken connection or stream.
    Unhealthy,
    /// No connection to it could be opened, which concerns everyone who is served by that host.
    Unreachable,
    /// It refuses until then.
    Cooldown { until_us: u64 },
    /// It refuses for a limit, and names no time.
    Limited,
    /// It refuses the credential itself, or the account behind it has no money.
    Park { cause: domain::FaultClass },
    /// It refuses the credential in words that may concern this model alone: for
    /// other models it is still called.
    ParkModel { cause: domain::FaultClass },
}
