//! The parties of a data path: who saw a request, what of it, where, under whose key, and how long they retain it.

use domain::RetentionBasis;

domain::words! {
    /// The role of a party in the request.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    pub enum PartyRole {
        Gateway = "gateway",
        Hook = "hook",
        Provider = "provider",
        Node = "node",
        Storage = "storage",
    }
}

domain::words! {
    /// The parts of the request and its answer that a party saw.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    pub enum Saw {
        Metadata = "metadata",
        Content = "content",
    }
}

/// How long a party retains what it saw.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Retention {
    /// `None` if it is not known, or if it is stated as a moment alone.
    pub days: Option<u64>,
    pub until_unix_ms: Option<u64>,
    pub basis: RetentionBasis,
    /// Where that was agreed or read, or which setting of ours it is.
    pub source: Option<String>,
}

pub const DAY_MS: u64 = 86_400_000;

impl Retention {
    pub const UNKNOWN: Self =
        Self { days: None, until_unix_ms: None, basis: RetentionBasis::Unknown, source: None };

    /// As long as these days after a moment.
    pub fn days(days: Option<u64>, from_unix_ms: u64, basis: RetentionBasis, source: Option<String>) -> Self {
        let ends = |days: u64| from_unix_ms.checked_add(days.checked_mul(DAY_MS)?);
        Self { days, until_unix_ms: days.and_then(ends), basis, source }
    }

    /// What we keep until a moment, or until its owner deletes it.
    pub fn ours(until_unix_ms: Option<u64>, source: &str) -> Self {
        Self { days: None, until_unix_ms, basis: RetentionBasis::Ours, source: Some(source.to_owned()) }
    }
}

/// Who saw a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Party {
    /// `tidegate`, a provider, a node's id, or the host of a hook.
    pub name: String,
    pub role: PartyRole,
    /// Why it was shown the request, or what it stores of it.
    pub purpose: &'static str,
    /// `None` if it is not known.
    pub saw: Option<Saw>,
    /// The region, as it was stated.
    pub place: Option<String>,
    /// Where it is called, as it is configured now.
    pub host: Option<String>,
    /// Whose credential it was called with, or whose key seals it.
    pub key: Option<String>,
    /// The number of the attempt that it was shown the request in.
    pub attempt: Option<u32>,
    pub seen_unix_ms: u64,
    pub retention: Retention,
}

/// The later of two ends; what is not known may be later than any.
pub fn later((one, other): (Option<u64>, Option<u64>)) -> Option<u64> {
    Some(one?.max(other?))
}
