//! Finalised invoices: written once, never changed.

use database::act::Act;
use database::error::StoreFuture;
use database::page::{Listed, Page};
use domain::{InvoiceId, WorkspaceId};
use ledger::Invoice;
use ledger::invoice::Period;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvoiceRow {
    pub id: InvoiceId,
    pub invoice: Invoice,
    pub finalised_unix_ms: u64,
}

pub trait Invoices: Send + Sync {
    /// Stores an invoice, emits its event, and returns whether it was the first for its workspace and month:
    /// a second one changes nothing.
    fn finalise(&self, row: InvoiceRow, act: Act) -> StoreFuture<'_, bool>;
    fn get(&self, workspace: WorkspaceId, id: InvoiceId) -> StoreFuture<'_, Option<InvoiceRow>>;
    /// Across all workspaces: for the verification of the books.
    fn find(&self, id: InvoiceId) -> StoreFuture<'_, Option<InvoiceRow>>;
    /// Newest first.
    fn list(
        &self,
        workspace: WorkspaceId,
        page: Page<InvoiceId>,
    ) -> StoreFuture<'_, Listed<InvoiceRow, InvoiceId>>;
    /// The number of changes that a workspace made through `/v2` in a month.
    fn acts(&self, period: Period) -> StoreFuture<'_, u64>;
}
