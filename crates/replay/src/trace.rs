//! The shape of a stored request, and what was measured of it and of its replay.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::agreement::Agreement;

const MINUTE_MS: u64 = 60_000;

/// What the requests of a set are: one candidate can't serve several kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplayKind {
    /// Conversations, in whichever format.
    #[default]
    Chat,
    /// Texts that are continued.
    Complete,
    Embed,
}

impl ReplayKind {
    pub const ALL: [Self; 3] = [Self::Chat, Self::Complete, Self::Embed];
    pub const WORDS: [&str; 3] = ["chat", "complete", "embed"];

    pub const fn as_str(self) -> &'static str {
        let [chat, complete, embed] = Self::WORDS;
        match self {
            Self::Chat => chat,
            Self::Complete => complete,
            Self::Embed => embed,
        }
    }
}

/// One request of a set: everything of it but its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// The id of the stored request.
    pub request: String,
    /// After the first one of the set.
    pub arrival_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub session: Option<String>,
    pub project: String,
    /// Requests of one family begin with the same text.
    pub family: String,
    /// As it was asked for.
    pub model: String,
    /// As it was resolved.
    pub served_model: String,
    pub prompt_tokens: u64,
    /// Of them, those that an earlier request began with as well.
    pub prefix_tokens: u64,
    pub output_tokens: u64,
    pub stream: bool,
    pub baseline: Measured,
}

/// What was measured of one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Measured {
    /// Of streams.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub first_token_us: Option<u64>,
    pub total_us: u64,
    pub is_error: bool,
    /// What its payer pays; `None` where no price is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cost_nanos: Option<i64>,
    pub prompt_tokens: u64,
    pub output_tokens: u64,
}

/// A request as it was served, and as the candidate served it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    pub baseline: Measured,
    pub candidate: Measured,
    /// How much the two answers have in common, where both are known.
    pub agreement: Option<Agreement>,
}

/// The tokens of a set's busiest minute, by when requests arrived.
pub fn busiest_tokens_per_minute<'a>(traces: impl IntoIterator<Item = &'a Trace>) -> u64 {
    let mut minutes: BTreeMap<u64, u64> = BTreeMap::new();
    for trace in traces {
        let tokens = trace.prompt_tokens.saturating_add(trace.output_tokens);
        let minute = minutes.entry(trace.arrival_ms / MINUTE_MS).or_default();
        *minute = minute.saturating_add(tokens);
    }
    minutes.into_values().max().unwrap_or(0)
}
