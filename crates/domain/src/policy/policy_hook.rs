//! Servers of the customer that decide about each request before it is sent, or about each answer, and how their
//! calls went.

use serde::{Deserialize, Serialize};

/// One hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyHook {
    pub at: HookPoint,
    pub url: String,
    pub timeout_ms: u64,
    pub on_silence: OnSilence,
    /// It is sent the text of the request or of the answer, and not only the facts.
    #[serde(default)]
    pub reads_content: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookPoint {
    /// Before the request is sent.
    Pre,
    /// Before the answer is passed on, or at the end of a stream.
    Post,
}

/// What happens if the server does not answer in time, or not as agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnSilence {
    Allow,
    Refuse,
}

/// How the call of a hook ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HookOutcome {
    Allowed,
    Refused,
    /// It did not answer in time.
    Timeout,
    /// No connection, or one that broke.
    Unreachable,
    /// Another status than 200 or 204, or no decision.
    Malformed,
    /// Not called: it failed repeatedly, or too many of its calls are open.
    Skipped,
    /// Not called: it reads content, and there is none that could be sent.
    Unreadable,
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

impl HookPoint {
    pub const ALL: [Self; 2] = [Self::Pre, Self::Post];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pre => "pre",
            Self::Post => "post",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == name)
    }
}

impl OnSilence {
    pub const ALL: [Self; 2] = [Self::Allow, Self::Refuse];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Refuse => "refuse",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == name)
    }
}

impl HookOutcome {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Malformed => "malformed",
            Self::Skipped => "skipped",
            Self::Unreadable => "unreadable",
        }
    }

    /// Whether there was no decision, so that `on_silence` decides.
    #[must_use]
    pub const fn is_silence(self) -> bool {
        !matches!(self, Self::Allowed | Self::Refused)
    }
}
