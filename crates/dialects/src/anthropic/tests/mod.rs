//! Tests of the Anthropic reader and writer against each other, and of translation from other dialects.

mod answers;
pub(crate) mod any;
mod prompts;
mod requests;
mod round_trips;
