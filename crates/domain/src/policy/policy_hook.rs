//! Servers of the customer that are asked about each request before it is sent, or about each answer.

use serde::{Deserialize, Serialize};

/// One hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyHook {
    pub at: HookPoint,
    pub url: String,
    pub timeout_ms: u64,
    pub on_silence: OnSilence,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookPoint {
    /// Before the request is sent.
    Pre,
    /// Before the answer is passed on.
    Post,
}

/// What happens if the server does not answer in time, or not as agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnSilence {
    Allow,
    Refuse,
}
