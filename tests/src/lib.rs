//! End-to-end tests of the built binary.

/// What only tiers whose nodes have models compile.
#[cfg(feature = "models")]
pub use {engine, kernels, prompts, weights};
