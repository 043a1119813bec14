//! What others can check without believing us: the audit's chains, signed.

mod audit;

pub use audit::{Auditor, NoProof};
