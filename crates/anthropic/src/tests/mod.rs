//! Tests of the Anthropic reader and writer against each other, and of translation from other dialects.

mod answers;
#[path = "../../../dialects/tests/shared/any_prompt.rs"]
mod any_prompt;
mod prompts;
mod requests;
mod round_trips;
