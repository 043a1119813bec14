//! Invoices over whole months, which no journey can wait for: finalised, followed by late records, altered and found out.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the helpers of tests may fail as loudly as the tests"
)]

mod books;
mod invoicing;
