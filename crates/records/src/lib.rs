//! The store of meter records: settled requests packed into rows, their sums by minute, hour and day, what is asked of them,
//! and the leases of limits and budgets that they are drawn from.

mod audit_notes;
mod batch;
pub mod diagnostics;
mod end_users;
mod groups;
mod histogram;
pub mod limits;
pub mod node_hours;
mod packed;
pub mod postgres;
pub mod reconciliations;
pub mod requests;
pub mod reuse;
pub mod scores;
pub mod service;
pub mod sql;
pub mod sqlite;
mod tally;
pub mod task_sums;
pub mod upkeep;
pub mod usage;
