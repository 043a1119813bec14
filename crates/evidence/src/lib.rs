//! Evidence that others can check without trusting this installation: signed hash chains of the audit, and receipts of purges.

mod audit;
mod emergency;
pub mod exports;
#[cfg(test)]
mod fixture;
pub mod floor;
mod held;
pub mod holds;
mod openings;
pub mod purge;

pub use audit::{Auditor, NoProof};
pub use emergency::audit_emergency;
pub use held::{Held, HeldOf, held};
pub use openings::audit_openings;
