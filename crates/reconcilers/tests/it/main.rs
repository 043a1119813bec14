//! Invoices over whole months, too long for end-to-end tests: finalised, followed by late records, and
//! altered to check that verification notices.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the helpers of tests may fail as loudly as the tests"
)]

mod audit_queue;
mod books;
mod invoicing;
