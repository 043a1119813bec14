//! Tariffs, versioned by the month from which they apply, and their assignment to workspaces.

use database::handle::Database;
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

#[derive(Clone, Copy)]
pub struct Tariffs<'a>(pub &'a Database);
