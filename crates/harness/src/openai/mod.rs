//! The OpenAI wire as the real provider speaks it: what it refuses, what it answers, how it counts.

pub(crate) mod answer;
pub(crate) mod checks;
pub(crate) mod embeddings;
pub(crate) mod error;
pub(crate) mod messages;
pub(crate) mod models;
pub(crate) mod request;
pub(crate) mod stream;
pub(crate) mod tokens;
