//! Model aliases: names of a workspace's or project's own, each of which points at one immutable release of targets.

use std::fmt;

use crate::ids::AliasReleaseId;
use crate::policy::ParameterRule;

/// The word with which `AliasPick` begins.
const WORD: &str = "alias:";

crate::words! {
    /// How a release chooses among its targets.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub enum AliasSplit by from_word {
        /// Each caller is assigned to a target, in proportion to the weights.
        #[default]
        Weighted = "weighted",
        /// The first target that something serves.
        Ordered = "ordered",
    }
}

/// A model that a release may resolve to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AliasTarget {
    /// Any name of a model, with or without a pinned seller; never an alias.
    pub model: String,
    pub weight: u32,
}

/// What a release says. It never changes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AliasReleaseSpec {
    pub split: AliasSplit,
    pub targets: Vec<AliasTarget>,
    /// Ranges and defaults of the parameters of requests that get this release.
    pub parameters: Vec<ParameterRule>,
    pub note: String,
}

/// What a canary must keep to. A bound that is not set is not checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CanaryGates {
    /// The highest share of requests that may fail, in hundredths of a per cent.
    pub error_bps_max: Option<u32>,
    pub latency_p95_ms_max: Option<u64>,
    pub first_byte_p95_ms_max: Option<u64>,
    /// The canary is not judged before this many requests.
    pub requests_min: u32,
    /// How far back requests count.
    pub window_s: u32,
}

impl CanaryGates {
    /// Whether there is anything to check.
    pub const fn is_any_set(&self) -> bool {
        self.error_bps_max.is_some()
            || self.latency_p95_ms_max.is_some()
            || self.first_byte_p95_ms_max.is_some()
    }
}

/// A release that gets a share of an alias's callers, to be promoted or withdrawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Canary {
    pub release: AliasReleaseId,
    pub percent: u8,
    pub gates: CanaryGates,
    pub started_unix_ms: u64,
}

crate::words! {
    /// Why the release of a request was chosen.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub enum ReleaseChoice {
        Active = "active",
        Canary = "canary",
        /// The request names the release.
        Pinned = "pinned",
    }
}

/// How an alias was resolved, as a record keeps it: in place of the word for the rule of resolution, which is
/// text, so that every version can read the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AliasPick<'a> {
    pub alias: &'a str,
    pub release: AliasReleaseId,
    pub choice: ReleaseChoice,
    /// From 1, in the order of the release.
    pub target: usize,
    pub targets: usize,
}

impl<'a> AliasPick<'a> {
    /// `None` where the model's name was none of an alias.
    pub fn read(resolution: &'a str) -> Option<Self> {
        let (alias, rest) = resolution.strip_prefix(WORD)?.split_once('@')?;
        let (release, rest) = rest.split_once(':')?;
        let (choice, place) = rest.split_once(':')?;
        let (target, targets) = place.split_once('/')?;
        Some(Self {
            alias,
            release: release.parse().ok()?,
            choice: ReleaseChoice::ALL.into_iter().find(|one| one.as_str() == choice)?,
            target: target.parse().ok()?,
            targets: targets.parse().ok()?,
        })
    }
}

impl fmt::Display for AliasPick<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { alias, release, choice, target, targets } = self;
        write!(f, "{WORD}{alias}@{release}:{}:{target}/{targets}", choice.as_str())
    }
}

/// The parts of a name that may pin a release: `alias`, `alias@alr_…` or `alr_…`.
pub fn pinned(name: &str) -> Option<(Option<&str>, AliasReleaseId)> {
    let (alias, release) = match name.split_once('@') {
        Some((alias, release)) => (Some(alias), release),
        None => (None, name),
    };
    Some((alias, release.parse().ok()?))
}
