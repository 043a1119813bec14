//! Offline verification: hashes, hash chains and Ed25519 signatures. Pure, so that a verifier needs only this
//! crate and a file.

pub mod audit;
mod digest;
pub mod document;
mod signature;

pub use digest::{Digest, from_hex, to_hex};
pub use signature::{KeyError, PublicKey, Signature, SigningKey};
