//! Tariffs by the month from which they hold, and which workspace has which.

use domain::WorkspaceId;
use ledger::Tariff;

use crate::{Act, StoreFuture, Written};

/// The tariff of every workspace that was given no other.
pub const USUAL: &str = "default";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TariffVersion {
    pub tariff: Tariff,
    /// The month's first moment.
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
    /// Writes a version; one of the same name and month is written over, and what was finalised by it stays.
    fn put(&self, version: TariffVersion, act: Act) -> StoreFuture<'_, Written<TariffVersion>>;
    /// Every version of every name: there are few.
    fn list(&self) -> StoreFuture<'_, Vec<TariffVersion>>;
    /// Refused as `no_such_tariff` where the name has no version.
    fn assign(&self, assignment: Assignment, act: Act) -> StoreFuture<'_, Written<Assignment>>;
    fn assignments(&self) -> StoreFuture<'_, Vec<Assignment>>;
    /// What holds for a workspace in the month that begins then: of nothing said, nothing is charged.
    fn in_force(&self, workspace: WorkspaceId, month_start_unix_ms: u64) -> StoreFuture<'_, Tariff>;
}
