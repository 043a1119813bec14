//! Rate limits and budgets: what is limited, for whom (workspace, project, key or end user), and over which
//! period.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::calendar::Civil;
use crate::ids::{BudgetId, CredentialId, KeyId, ProjectId, WorkspaceId};
use crate::money::Nanos;
use crate::profile::{Principal, Profile};
use crate::record::Charge;

const DAY_MS: u64 = 86_400_000;
const MINUTE_MS: u64 = 60_000;
/// 1 January 1970 was a Thursday, and weeks start on Monday.
const FIRST_MONDAY_MS: u64 = 4 * DAY_MS;

/// Whose use is limited, within a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    Workspace,
    Project(ProjectId),
    Key(KeyId),
    /// An end user, under the name that the client gave it.
    EndUser(Arc<str>),
}

impl Subject {
    /// The word for this kind of subject in rows and responses.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Workspace => "workspace",
            Self::Project(_) => "project",
            Self::Key(_) => "key",
            Self::EndUser(_) => "end_user",
        }
    }
}

/// Rate limits. A limit that is `None` does not apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Limits {
    pub requests_per_minute: Option<u64>,
    pub tokens_per_minute: Option<u64>,
    /// Concurrent requests, streaming or not.
    pub concurrent_streams: Option<u64>,
}

impl Limits {
    pub const fn is_empty(&self) -> bool {
        self.requests_per_minute.is_none()
            && self.tokens_per_minute.is_none()
            && self.concurrent_streams.is_none()
    }
}

crate::words! {
    /// The period that a budget applies to. All periods start at midnight UTC.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub enum Period {
        Day = "day",
        /// Starts on Monday.
        Week = "week",
        Month = "month",
        /// Three months. Quarters and years are of commitments, not of budgets.
        Quarter = "quarter",
        Year = "year",
        /// Never resets: prepaid credit.
        Ever = "ever",
    }
}

impl Period {
    /// The start of the period that contains `unix_ms`.
    pub const fn start(self, unix_ms: u64) -> u64 {
        match self {
            Self::Day => unix_ms - unix_ms % DAY_MS,
            Self::Week => match unix_ms.checked_sub(FIRST_MONDAY_MS) {
                Some(since) => unix_ms - since % (7 * DAY_MS),
                None => 0,
            },
            Self::Month => {
                let days = unix_ms / DAY_MS;
                (days - (Civil::of(days * 86_400).day - 1)) * DAY_MS
            }
            Self::Quarter => {
                let months_in = (Civil::of(unix_ms / 1_000).month - 1) % 3;
                start_of_month_before(unix_ms, months_in)
            }
            Self::Year => start_of_month_before(unix_ms, Civil::of(unix_ms / 1_000).month - 1),
            Self::Ever => 0,
        }
    }

    /// The end of the period that starts at `start_unix_ms`; `None` if it has none.
    pub const fn end(self, start_unix_ms: u64) -> Option<u64> {
        match self {
            Self::Day => Some(start_unix_ms + DAY_MS),
            Self::Week => Some(start_unix_ms + 7 * DAY_MS - start_unix_ms_before_first_monday(start_unix_ms)),
            // 32 days on is always within the next month.
            Self::Month => Some(Self::Month.start(start_unix_ms + 32 * DAY_MS)),
            Self::Quarter => Some(Self::Month.start(start_unix_ms + (3 * 31 + 1) * DAY_MS)),
            Self::Year => Some(Self::Month.start(start_unix_ms + 370 * DAY_MS)),
            Self::Ever => None,
        }
    }
}

/// The start of the month that is so many months before the one that contains `unix_ms`.
const fn start_of_month_before(unix_ms: u64, months: u64) -> u64 {
    let mut start = Period::Month.start(unix_ms);
    let mut left = months;
    while left > 0 && start > 0 {
        start = Period::Month.start(start - 1);
        left -= 1;
    }
    start
}

/// The week that contains the start of 1970 is cut to its last days; this is how much of it is missing.
const fn start_unix_ms_before_first_monday(start_unix_ms: u64) -> u64 {
    if start_unix_ms == 0 { 7 * DAY_MS - FIRST_MONDAY_MS } else { 0 }
}

impl FromStr for Period {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Day, Self::Week, Self::Month, Self::Ever]
            .into_iter()
            .find(|period| period.as_str() == text)
            .ok_or(())
    }
}

crate::words! {
    /// What happens when a budget is used up.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub enum OnReached {
        /// Requests are refused and streams are cut.
        Pause = "pause",
        /// Nothing stops; the budget only counts and warns.
        Allow = "allow",
    }
}

impl FromStr for OnReached {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Pause, Self::Allow].into_iter().find(|choice| choice.as_str() == text).ok_or(())
    }
}

crate::words! {
    /// Which costs a budget counts.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
    pub enum Counts {
        /// All that the workspace pays: what it owes the operator, and what providers bill to its own
        /// credentials.
        All = "all",
        /// Only what the workspace owes the operator.
        Owed = "owed",
        /// What a provider bills to the credential whose commitment it is. No budget that is written counts so.
        Committed = "committed",
    }
}

impl Counts {
    /// The part of one attempt's charge that counts.
    pub const fn of(self, profile: Profile, charge: &Charge) -> Nanos {
        match (self, profile) {
            // What a pooled account costs concerns the operator alone; the workspace pays `cost` for it.
            (Self::Owed, _) | (Self::All, Profile::ManagedProvider | Profile::Byoc) => charge.cost,
            (Self::All, Profile::Byok | Profile::Subscription) => charge.cost.plus(charge.provider_cost),
            (Self::Committed, _) => charge.provider_cost,
        }
    }
}

impl FromStr for Counts {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::All, Self::Owed].into_iter().find(|choice| choice.as_str() == text).ok_or(())
    }
}

/// A spending limit that requests are checked against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    pub id: BudgetId,
    pub workspace: WorkspaceId,
    pub name: Arc<str>,
    pub subject: Subject,
    pub limit: Nanos,
    pub period: Period,
    pub on_reached: OnReached,
    pub counts: Counts,
}

impl Budget {
    /// Whether this is prepaid credit rather than a limit that the workspace set itself.
    pub fn is_credit(&self) -> bool {
        self.period == Period::Ever
    }
}

impl BudgetId {
    /// The budget that is a credential's commitment.
    pub const fn of_commitment(credential: CredentialId) -> Self {
        Self::from_uuid(*credential.as_uuid())
    }

    /// Whether it is the commitment of this principal.
    pub fn is_commitment_of(&self, principal: Principal) -> bool {
        matches!(principal, Principal::Credential(id) if id.as_bytes() == self.as_bytes())
    }
}

/// All rate limits and budgets of one workspace.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Terms {
    pub limits: HashMap<Subject, Limits>,
    /// Apply to each end user separately.
    pub end_user_limits: Limits,
    pub budgets: HashMap<Subject, Vec<Arc<Budget>>>,
    /// The commitments of the workspace's credentials, each as a budget.
    pub commitments: Vec<Arc<Budget>>,
}

impl Terms {
    pub fn is_empty(&self) -> bool {
        self.limits.is_empty()
            && self.end_user_limits.is_empty()
            && self.budgets.is_empty()
            && self.commitments.is_empty()
    }

    /// Whether any limit or budget depends on the end user.
    pub fn depends_on_end_user(&self) -> bool {
        !self.end_user_limits.is_empty()
            || self.budgets.keys().any(|subject| matches!(subject, Subject::EndUser(_)))
    }
}

/// An exchange's claim on a budget, fixed at admission: it counts in that budget and period, once, however
/// budgets and clocks change later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetClaim {
    pub budget: BudgetId,
    /// The start of the budget's period.
    pub period_unix_ms: u64,
    pub counts: Counts,
}

/// What goes beyond a commitment is counted apart from what fills it, as a period that begins this much later.
const BEYOND_MS: u64 = 1;

impl BudgetClaim {
    /// The same beyond the commitment.
    pub const fn beyond(self) -> Self {
        Self { period_unix_ms: beyond_period(self.period_unix_ms), ..self }
    }
}

/// The period in which it is counted what goes beyond the commitment of a period.
pub const fn beyond_period(period_unix_ms: u64) -> u64 {
    period_unix_ms + BEYOND_MS
}

/// The period of a commitment, from the one in which it is counted what goes beyond it.
pub const fn period_of_beyond(period_unix_ms: u64) -> Option<u64> {
    if period_unix_ms % DAY_MS == BEYOND_MS { Some(period_unix_ms - BEYOND_MS) } else { None }
}

impl Drawn {
    /// Whether it is beyond a commitment: the request found the commitment used up, and nowhere else to go.
    pub const fn is_beyond(&self) -> bool {
        period_of_beyond(self.period_unix_ms).is_some()
    }
}

/// What an exchange cost in one budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drawn {
    pub budget: BudgetId,
    pub period_unix_ms: u64,
    pub amount: Nanos,
}

/// How much of one rate limit is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimitState {
    pub limit: u64,
    pub remaining: u64,
    /// Time until the limit is fully available again.
    pub reset_ms: u64,
}

/// The rate limits reported to the client: of each kind the one closest to exhaustion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RateLimitStates {
    pub requests: Option<RateLimitState>,
    pub tokens: Option<RateLimitState>,
}

/// One minute, the window of the rate limits.
pub const RATE_WINDOW_US: u64 = MINUTE_MS * 1_000;
