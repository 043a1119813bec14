//! SQL shared by both databases: usage by minute, hour and day, its upkeep, leases of limits and budgets, costs of batches, and
//! reports on reuse.

pub(crate) mod batch_costs;
pub(crate) mod diagnostics;
pub(crate) mod hours;
pub mod leases;
pub(crate) mod upkeep;
pub(crate) mod usage;
