//! Servers of the customer that decide about each request before it is sent, or about each answer, and how their
//! calls went.

use serde::{Deserialize, Serialize};

use crate::limits::RECORD_TEXT_BYTES_MAX;

/// One hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyHook {
    pub at: HookPoint,
    pub url: String,
    pub timeout_ms: u64,
    pub on_silence: OnSilence,
    /// Whether it is sent the text of the request or of the answer, and not only the facts.
    #[serde(default)]
    pub reads_content: bool,
}

crate::words! {
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum HookPoint by from_name {
        /// Before the request is sent.
        Pre = "pre",
        /// Before the answer is passed on, or at the end of a stream.
        Post = "post",
    }
}

crate::words! {
    /// What happens if the server does not answer in time, or not as agreed.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum OnSilence by from_name {
        Allow = "allow",
        Refuse = "refuse",
    }
}

crate::words! {
    /// How the call of a hook ended.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
    pub enum HookOutcome {
        Allowed = "allowed",
        Refused = "refused",
        /// It did not answer in time.
        Timeout = "timeout",
        /// No connection, or one that broke.
        Unreachable = "unreachable",
        /// Another status than 200 or 204, or no decision.
        Malformed = "malformed",
        /// Not called: it failed repeatedly, or too many of its calls are open.
        Skipped = "skipped",
        /// Not called: it reads content, and there is none that could be sent.
        Unreadable = "unreadable",
    }
}

/// One call of a hook, as a record has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookCall {
    pub at: HookPoint,
    /// `workspace` or `project`: whose policy has the hook.
    pub owner: String,
    /// Its place among the hooks of the policy.
    pub place: usize,
    pub outcome: HookOutcome,
    pub latency_ms: u64,
}

/// The server that was called, as a record has it: the policy may name another one by now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookServer {
    /// With its port, where the address states one.
    pub host: String,
    /// Whether it is sent the text, and not only the facts.
    pub reads_content: bool,
}

impl PolicyHook {
    /// The host of its address, with the port where that is stated.
    pub fn host(&self) -> &str {
        host_of(&self.url)
    }
}

/// The host of an address, with the port where that is stated, and without a user; empty where there is none.
pub fn host_of(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

impl HookServer {
    pub fn of(hook: &PolicyHook) -> Self {
        let host = hook.host();
        let host = host.get(..host.floor_char_boundary(RECORD_TEXT_BYTES_MAX)).unwrap_or(host);
        Self { host: host.to_owned(), reads_content: hook.reads_content }
    }
}

impl HookOutcome {
    /// Whether there was no decision, so that `on_silence` decides.
    pub const fn is_silence(self) -> bool {
        !matches!(self, Self::Allowed | Self::Refused)
    }
}
