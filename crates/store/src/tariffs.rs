//! Tariffs, versioned by the month from which they apply, and their assignment to workspaces.

use database::act::{Act, Written};
use database::error::StoreFuture;
use domain::WorkspaceId;
use ledger::Tariff;

/// The tariff of every workspace without an assignment.
pub const USUAL: &str = "default";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TariffVersion {
    pub tariff: Tariff,
    /// The first moment of the month.
    pub effective_unix_ms: u64,
    pub created_unix_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    pub workspace: WorkspaceId,
    pub tariff: String,
    pub effective_unix_ms: u64,
}

pub trait Tariffs: Send + Sync {
    /// Upserts a version by name and month; invoices already finalised with it don't change.
    fn put(&self, version: TariffVersion, act: Act) -> StoreFuture<'_, Written<TariffVersion>>;
    /// Every version of every tariff: there are few.
    fn list(&self) -> StoreFuture<'_, Vec<TariffVersion>>;
    /// Refused as `no_such_tariff` if there is no version with that name.
    fn assign(&self, assignment: Assignment, act: Act) -> StoreFuture<'_, Written<Assignment>>;
    fn assignments(&self) -> StoreFuture<'_, Vec<Assignment>>;
    /// The tariff of a workspace in the month that starts then; without any, one that charges nothing.
    fn in_force(&self, workspace: WorkspaceId, month_start_unix_ms: u64) -> StoreFuture<'_, Tariff>;
}
