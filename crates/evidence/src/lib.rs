//! Evidence that others can check without trusting this installation: signed hash chains of the audit.

mod audit;

pub use audit::{Auditor, NoProof};
