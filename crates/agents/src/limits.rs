//! Bounds of agents.

use std::time::Duration;

/// Steps of the model in a turn, where a definition states no number.
pub const STEPS: u32 = 16;
pub(crate) const STEPS_MAX: u32 = 64;
/// How long a turn may go on, without the time in which it waits for people.
pub const TIME: Duration = Duration::from_secs(600);
pub(crate) const TIME_MAX: Duration = Duration::from_secs(3_600);
/// The longest instructions.
pub(crate) const INSTRUCTIONS_BYTES_MAX: usize = 256 * 1024;
pub(crate) const DESCRIPTION_BYTES_MAX: usize = 16 * 1024;
pub(crate) const SCHEMA_BYTES_MAX: usize = 64 * 1024;
pub(crate) const NAME_BYTES_MAX: usize = 64;
pub(crate) const MODEL_BYTES_MAX: usize = 256;
/// Tools, MCP servers and agents that one definition names.
pub(crate) const TOOLS_MAX: usize = 128;
pub(crate) const HOOKS_MAX: usize = 8;
pub(crate) const URL_BYTES_MAX: usize = 2_048;
/// Earlier turns that a definition may have its model read.
pub(crate) const TURNS_MAX: u32 = 1_000;
/// Agents of one project.
pub(crate) const AGENTS_OF_PROJECT_MAX: u64 = 500;
/// Versions of one agent.
pub(crate) const VERSIONS_MAX: u64 = 1_000;
/// How deep agents call each other.
pub const SUB_AGENT_DEPTH_MAX: u32 = 3;
/// How often an answer that does not fit its schema is asked for.
pub const OUTPUT_TRIES_MAX: u32 = 2;
/// How long a call waits for the decision of a hook.
pub const HOOK_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request waits for a definition.
pub(crate) const READ_TIME_MAX: Duration = Duration::from_secs(5);
