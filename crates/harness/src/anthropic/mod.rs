//! An emulator of Anthropic's API: its checks, its responses, its token counts.

pub(crate) mod answer;
pub(crate) mod answering;
pub(crate) mod batches;
pub(crate) mod blocks;
pub(crate) mod cache;
pub(crate) mod checks;
pub(crate) mod error;
pub(crate) mod files;
pub(crate) mod models;
pub(crate) mod prompt;
pub(crate) mod request;
pub(crate) mod schema;
pub(crate) mod service;
pub(crate) mod sign;
pub(crate) mod stream;
pub(crate) mod thinking;
pub(crate) mod threads;
pub(crate) mod tools;
pub(crate) mod turns;
