//! Deterministic simulation of the ledger: production types, stepped manually in a failing environment.

mod books;
mod centre;
mod leases;

pub use books::{MemorySink, SMALL_SEGMENT_BYTES, SimulatedBooks, now};
pub use centre::SimulatedCentre;
pub use leases::{LeaseReport, LeaseRun};
