//! Ownership of responses that providers store, found by a keyed hash of the provider's id.

use database::handle::Database;
use domain::ports::StoredResponse;
use domain::{ProjectId, WorkspaceId};
use records::sql::budget_holds::BudgetHolds;

use crate::jobs::NewJob;

/// `response.is_booked` is true if its own request bills its usage, or another one did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredResponseRow {
    /// The keyed hash of workspace, project and id.
    pub digest: [u8; 32],
    pub workspace: WorkspaceId,
    pub project: ProjectId,
    /// What its provider calls it.
    pub provider_id: String,
    pub response: StoredResponse,
    pub until_unix_ms: u64,
    /// Enqueued in the same transaction, if the response was not known.
    pub job: Option<NewJob>,
    /// What it takes over of budgets, if it was not known.
    pub holds: BudgetHolds,
}

#[derive(Clone, Copy)]
pub struct StoredResponses<'a>(pub &'a Database);
