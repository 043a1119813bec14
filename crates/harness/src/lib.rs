//! Test doubles and tools for the test suites: a strict provider emulator, a model hub, a secret scanner, and
//! drivers for the built program.

mod anthropic;
mod azure;
pub mod bedrock;
pub mod canary;
pub mod client;
mod contract;
pub mod datagrams;
pub mod day;
pub mod directory;
pub mod emulator;
pub mod fal;
mod gemini;
pub mod hub;
mod known;
mod loopback;
pub mod mcp;
mod members;
mod mistral;
pub mod model_server;
pub mod network;
pub mod oauth;
mod openai;
pub mod pace;
mod ports;
pub mod postgres;
pub mod process;
pub mod raw;
pub mod relay;
pub mod restate;
pub mod setting;
pub mod sse;
pub mod tls_front;
mod together;
mod vertex;

pub use anthropic::models::ClaudeModel;
pub use emulator::{
    At, Behaviour, Config, Emulator, Entry, KeyState, LineEnd, Model, Outcome, ToolMode, UsageMode,
};
pub use known::{KnownField, known_fields};
pub use openai::flavour::Flavour;
pub use openai::server::Server;
