//! What nodes cost their owners: the cost that an owner states, the hours and the energy that a node counts, and how its tokens
//! compare with providers' prices. Pure, on whole numbers. Nothing here is charged to anybody.

mod compare;
mod cost;
mod hours;
pub mod limits;

pub use compare::{Comparison, LongWork, Work, compare, per_million, split};
pub use cost::{HardwareCost, HardwareSpent, Power, WrongCost};
pub use hours::{Counters, Counts, Gained, HOUR_MS, Seen, gained, spread};
