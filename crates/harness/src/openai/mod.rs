//! The OpenAI wire as the real provider speaks it: what it refuses, what it answers, how it counts.

pub(crate) mod answer;
pub(crate) mod audio;
pub(crate) mod batches;
pub(crate) mod checks;
pub(crate) mod completions;
pub(crate) mod embeddings;
pub(crate) mod error;
pub(crate) mod files;
pub mod flavour;
pub(crate) mod forms;
pub(crate) mod media;
pub(crate) mod messages;
pub(crate) mod models;
pub(crate) mod moderations;
pub(crate) mod perf;
pub(crate) mod pictures;
pub(crate) mod realtime;
pub(crate) mod request;
pub(crate) mod responses;
pub(crate) mod routes;
pub mod server;
pub(crate) mod stream;
pub(crate) mod tokens;
pub(crate) mod usage;
pub(crate) mod videos;
