//! The built-in catalogue: the data files as they are shipped.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the lint knows test functions, not the helpers of an integration test"
)]

mod capabilities;
mod config;
mod distance;
mod load;
mod models;
mod releases;
mod rows;
mod stated;
mod tokenizers;

/// The providers whose native features are all in the manifest.
const FIRST_CLASS: [&str; 5] = ["openai", "anthropic", "xai", "gemini", "fireworks_ai"];

/// A catalogue of one provider without models.
const ONE_PROVIDER: &str = r#"
[[provider]]
slug = "alpha"
display_name = "Alpha"
byok = true
"#;

fn shipped() -> catalogue::Catalogue {
    catalogue::Catalogue::embedded().unwrap()
}
