//! Evidence that others can check without trusting this installation: signed hash chains of the audit, and receipts of purges.

mod audit;
pub mod exports;
mod held;
pub mod holds;
pub mod purge;

pub use audit::{Auditor, NoProof};
pub use held::{Held, HeldOf, held};
