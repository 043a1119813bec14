//! The ledger under simulation: production types, driven by hand over a world that fails.

mod books;
mod leases;

pub use books::{MemorySink, SMALL_SEGMENT_BYTES, SimulatedBooks, now};
pub use leases::{LeaseReport, LeaseRun};
