//! Finalised invoices: written once, never changed.

use database::handle::Database;
use domain::InvoiceId;
use ledger::Invoice;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvoiceRow {
    pub id: InvoiceId,
    pub invoice: Invoice,
    pub finalised_unix_ms: u64,
}

#[derive(Clone, Copy)]
pub struct Invoices<'a>(pub &'a Database);
