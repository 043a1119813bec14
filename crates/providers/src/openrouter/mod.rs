//! OpenRouter: OpenAI-compatible in all but its exports.

pub mod exports;
