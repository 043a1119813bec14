//! The store of meter records: settled requests packed into rows, their sums by minute, hour and day, what is asked of them,
//! and the leases of limits and budgets that they are drawn from.

mod audit_notes;
mod batch;
mod groups;
pub mod limits;
mod packed;
pub mod postgres;
pub mod requests;
pub mod reuse;
pub mod sql;
pub mod sqlite;
mod tally;
pub mod upkeep;
pub mod usage;
