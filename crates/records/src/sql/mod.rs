//! SQL shared by both databases: usage by minute, hour and day, its upkeep, and leases of limits and budgets.

pub(crate) mod hours;
pub mod leases;
pub(crate) mod upkeep;
pub(crate) mod usage;
