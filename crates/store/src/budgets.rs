//! Budgets, their periods and alerts, a workspace's credit, and the rates of its keys, projects and users.

use domain::{AuditId, Budget, BudgetId, Counts, Limits, Nanos, OnReached, Period, Subject, WorkspaceId};

use crate::{Act, Listed, Page, StoreFuture, Written};

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
    /// Percents that are told of, rising.
    pub alerts: Vec<u32>,
    pub created_unix_ms: u64,
    /// Ignored on writing.
    pub version: u64,
}

impl BudgetRow {
    /// As requests are held to it.
    #[must_use]
    pub fn compiled(&self) -> Budget {
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

/// How a budget stands in one period. `limit = spent + reserved + free` as long as no more was spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BudgetStanding {
    pub period_unix_ms: u64,
    pub spent: Nanos,
    /// Held by gateways: reserved by requests, or kept for the next ones.
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

/// Something that was added to a workspace's credit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreditRow {
    pub id: AuditId,
    pub workspace: WorkspaceId,
    pub amount: Nanos,
    pub note: String,
    pub actor: String,
    pub created_unix_ms: u64,
}

/// Whose rates: a subject's own, or each end user's by itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LimitsOf {
    Subject(Subject),
    EveryEndUser,
}

pub trait Budgets: Send + Sync {
    /// With what was spent in its period before it was made.
    fn create(&self, row: BudgetRow, spent: Nanos, act: Act) -> StoreFuture<'_, Written<BudgetRow>>;
    fn get(&self, workspace: WorkspaceId, id: BudgetId) -> StoreFuture<'_, BudgetRow>;
    /// Without the workspace's credit.
    fn list(
        &self,
        workspace: WorkspaceId,
        page: Page<BudgetId>,
    ) -> StoreFuture<'_, Listed<BudgetRow, BudgetId>>;
    /// Writes name, limit, what happens at its end, and alerts; whose it is and for how long stays.
    fn replace(&self, row: BudgetRow, expected: Option<u64>, act: Act)
    -> StoreFuture<'_, Written<BudgetRow>>;
    fn delete(
        &self,
        workspace: WorkspaceId,
        id: BudgetId,
        expected: Option<u64>,
        act: Act,
    ) -> StoreFuture<'_, Written<()>>;
    /// In the period that began then.
    fn standing(&self, id: BudgetId, period_unix_ms: u64) -> StoreFuture<'_, BudgetStanding>;
    /// Those of the period that began then.
    fn alerts(&self, id: BudgetId, period_unix_ms: u64) -> StoreFuture<'_, Vec<BudgetAlert>>;
    /// Alerts that nobody told of yet, oldest first; each is given out once, and becomes an event as it is.
    fn claim_alerts(&self, count: u32, now_unix_ms: u64) -> StoreFuture<'_, Vec<BudgetAlert>>;

    /// The workspace's credit as a budget that never begins anew; `None` where nothing was ever paid ahead.
    fn credit(&self, workspace: WorkspaceId) -> StoreFuture<'_, Option<BudgetRow>>;
    /// Adds to it, or takes away with a negative amount; `budget` names it where this is the first.
    fn add_credit(
        &self,
        workspace: WorkspaceId,
        budget: BudgetId,
        amount: Nanos,
        note: String,
        act: Act,
    ) -> StoreFuture<'_, Written<CreditRow>>;
    /// All that was added before a moment, less what was taken away.
    fn credited(&self, workspace: WorkspaceId, before_unix_ms: u64) -> StoreFuture<'_, Nanos>;
    /// Newest first.
    fn credits(&self, workspace: WorkspaceId, count: u32) -> StoreFuture<'_, Vec<CreditRow>>;

    fn limits(&self, workspace: WorkspaceId, of: LimitsOf) -> StoreFuture<'_, Limits>;
    /// Empty ones are taken away.
    fn set_limits(
        &self,
        workspace: WorkspaceId,
        of: LimitsOf,
        limits: Limits,
        act: Act,
    ) -> StoreFuture<'_, Written<()>>;
}
