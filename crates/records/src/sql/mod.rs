//! SQL shared by both databases: usage by minute, hour and day, its upkeep, leases of limits and budgets, sums of batches and
//! sessions, and reports on reuse.

pub(crate) mod batch_costs;
pub mod budget_holds;
pub(crate) mod diagnostics;
pub(crate) mod hours;
pub mod leases;
pub(crate) mod session_sums;
pub(crate) mod upkeep;
pub(crate) mod usage;
