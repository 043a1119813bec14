//! Budgets with their periods and alerts, a workspace's prepaid credit, and the rate limits of keys, projects
//! and users.

use database::act::{Act, Written};
use database::error::StoreFuture;
use domain::{AuditId, Budget, BudgetId, Counts, Limits, Nanos, OnReached, Period, Subject, WorkspaceId};

use crate::resource::Resource;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetRow {
    pub id: BudgetId,
    pub workspace: WorkspaceId,
    pub name: String,
    pub subject: Subject,
    pub limit: Nanos,
    pub period: Period,
    pub on_reached: OnReached,
    pub counts: Counts,
    /// Alert thresholds in percent, ascending.
    pub alerts: Vec<u32>,
    pub created_unix_ms: u64,
    /// Ignored on writing.
    pub version: u64,
}

impl BudgetRow {
    /// The form that requests are checked against.
    pub fn compile(&self) -> Budget {
        Budget {
            id: self.id,
            workspace: self.workspace,
            name: self.name.as_str().into(),
            subject: self.subject.clone(),
            limit: self.limit,
            period: self.period,
            on_reached: self.on_reached,
            counts: self.counts,
        }
    }
}

/// A budget's balance in one period. `limit = spent + reserved + free` as long as it is not overspent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BudgetStanding {
    pub period_unix_ms: u64,
    pub spent: Nanos,
    /// Held by gateways: reserved for running requests, or leased ahead for the next ones.
    pub reserved: Nanos,
}

/// A threshold that was crossed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetAlert {
    pub budget: BudgetId,
    pub workspace: WorkspaceId,
    pub period_unix_ms: u64,
    pub percent: u32,
    pub crossed_unix_ms: u64,
    pub spent: Nanos,
    pub limit: Nanos,
}

/// One addition to a workspace's credit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreditRow {
    pub id: AuditId,
    pub workspace: WorkspaceId,
    pub amount: Nanos,
    pub note: String,
    pub actor: String,
    pub created_unix_ms: u64,
}

/// Whose rate limits: those of one subject, or the default for each end user separately.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LimitsOf {
    Subject(Subject),
    EveryEndUser,
}

/// A new budget comes with what was already spent in the current period before it existed. A change writes name, limit,
/// what happens when it is reached, and alerts. The list is without the workspace's credit.
pub trait Budgets: Resource<BudgetRow> {
    /// In the period that starts at `period_unix_ms`.
    fn standing(&self, id: BudgetId, period_unix_ms: u64) -> StoreFuture<'_, BudgetStanding>;
    /// Alerts of the period that starts at `period_unix_ms`.
    fn alerts(&self, id: BudgetId, period_unix_ms: u64) -> StoreFuture<'_, Vec<BudgetAlert>>;
    /// Notes an alert for each commitment that will not be used up by the end of its period, once that is near.
    fn note_under_used(&self, now_unix_ms: u64) -> StoreFuture<'_, ()>;
    /// Alerts not yet reported, oldest first. Each is returned once and is emitted as an event by the same
    /// call.
    fn claim_alerts(&self, count: u32, now_unix_ms: u64) -> StoreFuture<'_, Vec<BudgetAlert>>;

    /// The workspace's credit, as a budget whose period never resets; `None` if nothing was ever prepaid.
    fn credit(&self, workspace: WorkspaceId) -> StoreFuture<'_, Option<BudgetRow>>;
    /// Adds to the credit; a negative amount deducts. `budget` becomes its id if this is the first.
    fn add_credit(
        &self,
        workspace: WorkspaceId,
        budget: BudgetId,
        amount: Nanos,
        note: String,
        act: Act,
    ) -> StoreFuture<'_, Written<CreditRow>>;
    /// The sum of all additions before a moment, less deductions.
    fn credit_before(&self, workspace: WorkspaceId, before_unix_ms: u64) -> StoreFuture<'_, Nanos>;
    /// Newest first.
    fn credits(&self, workspace: WorkspaceId, count: u32) -> StoreFuture<'_, Vec<CreditRow>>;

    fn limits(&self, workspace: WorkspaceId, of: LimitsOf) -> StoreFuture<'_, Limits>;
    /// Empty limits remove the row.
    fn set_limits(
        &self,
        workspace: WorkspaceId,
        of: LimitsOf,
        limits: Limits,
        act: Act,
    ) -> StoreFuture<'_, Written<()>>;
}
