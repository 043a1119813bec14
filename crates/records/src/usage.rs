//! Usage sums over meter records, for `/v2/usage`, `/v2/analytics` and the billing snapshot.

use domain::{KeyId, Later, Mode, Nanos, ProjectId, QosClass, Units, WorkspaceId};
use filter::Term;

use crate::reuse::ReuseSums;
use crate::service::ServiceSums;

/// A span of time by the exchanges' start; the end is exclusive. Sums are stored per minute, so a window
/// covers every minute that it touches: its start is rounded down to a whole minute, its end up. Where
/// minutes are deleted, it covers every hour that it touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub start_unix_ms: u64,
    pub end_unix_ms: u64,
}

/// A dimension that rows can be grouped by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dimension {
    Provider,
    Model,
    Modality,
    Profile,
    Mode,
    Key,
    Project,
    Region,
    Environment,
    Status,
    Outcome,
    Operation,
    Tag,
    /// The workspace's own credential that answered or was tried last.
    Credential,
    /// The node that answered or was tried last.
    Node,
    /// The class that the request's hints stated.
    QosClass,
    /// The cache that what was reused came from.
    CacheTier,
    /// The operator's pooled account that answered or was tried last.
    Account,
    /// The code of the fault that the client was told.
    ErrorCode,
    /// The client's own user, by whole days and nothing else beside it.
    EndUser,
}

impl Dimension {
    pub const ALL: [Self; 20] = [
        Self::Provider,
        Self::Model,
        Self::Modality,
        Self::Profile,
        Self::Mode,
        Self::Key,
        Self::Project,
        Self::Region,
        Self::Environment,
        Self::Status,
        Self::Outcome,
        Self::Operation,
        Self::Tag,
        Self::Credential,
        Self::Node,
        Self::QosClass,
        Self::CacheTier,
        Self::Account,
        Self::ErrorCode,
        Self::EndUser,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Model => "model",
            Self::Modality => "modality",
            Self::Profile => "profile",
            Self::Mode => "mode",
            Self::Key => "key",
            Self::Project => "project",
            Self::Region => "region",
            Self::Environment => "environment",
            Self::Status => "status",
            Self::Outcome => "outcome",
            Self::Operation => "operation",
            Self::Tag => "tag",
            Self::Credential => "credential",
            Self::Node => "node",
            Self::QosClass => "qos_class",
            Self::CacheTier => "cache_tier",
            Self::Account => "account",
            Self::ErrorCode => "error_code",
            Self::EndUser => "end_user",
        }
    }

    /// The dimension that a query names, or `None`. `day`, `hour` and `minute` are intervals.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dimension| dimension.as_str() == name)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interval {
    /// The finest stored resolution: hours, where minutes are deleted.
    Minute,
    Hour,
    Day,
}

impl Interval {
    #[must_use]
    pub const fn ms(self) -> u64 {
        match self {
            Self::Minute => 60_000,
            Self::Hour => 3_600_000,
            Self::Day => 86_400_000,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UsageFilter {
    pub project: Option<ProjectId>,
    pub key: Option<KeyId>,
    pub model: Option<String>,
    pub provider: Option<String>,
    pub profile: Option<String>,
    pub mode: Option<Mode>,
    pub environment: Option<String>,
    pub tag: Option<String>,
    pub qos_class: Option<QosClass>,
    /// Terms on fields that are dimensions of the sums.
    pub terms: Vec<Term>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageQuery {
    pub workspace: WorkspaceId,
    pub window: Window,
    /// At most `USAGE_DIMENSIONS_MAX`; more are ignored.
    pub group_by: Vec<Dimension>,
    pub interval: Option<Interval>,
    pub filter: UsageFilter,
}

/// Counts and money. `requests` are terminal records of any outcome that reached an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UsageSums {
    pub requests: u64,
    /// The whole prompt: fresh, cached and written to a cache.
    pub input_tokens: u64,
    /// The whole completion, reasoning included.
    pub output_tokens: u64,
    pub cached_tokens: u64,
    pub cache_write_tokens: u64,
    pub reasoning_tokens: u64,
    pub cost: Nanos,
    pub provider_cost: Nanos,
    /// Of `requests`: no price was known.
    pub unpriced: u64,
    /// Of `requests`: the token counts are Tidegate's estimate.
    pub estimated: u64,
    /// Of `requests`: completed, but without any counts.
    pub unmetered: u64,
    /// Of `requests`: the outcome is not `completed`.
    pub failed: u64,
    /// Refused before any attempt; not among `requests`.
    pub unattempted: u64,
    /// Upstream attempts of all `requests`.
    pub attempts: u64,
    /// Cached tokens that the provider or node itself reported.
    pub realized_reused_tokens: u64,
    pub reuse: ReuseSums,
    pub service: ServiceSums,
    /// Billing units other than text tokens.
    pub units: Units,
}

impl UsageSums {
    /// Adds with saturation, like money.
    pub fn plus(&mut self, other: &Self) {
        let add = |to: &mut u64, more: u64| *to = to.saturating_add(more);
        add(&mut self.requests, other.requests);
        add(&mut self.input_tokens, other.input_tokens);
        add(&mut self.output_tokens, other.output_tokens);
        add(&mut self.cached_tokens, other.cached_tokens);
        add(&mut self.cache_write_tokens, other.cache_write_tokens);
        add(&mut self.reasoning_tokens, other.reasoning_tokens);
        self.cost = self.cost.plus(other.cost);
        self.provider_cost = self.provider_cost.plus(other.provider_cost);
        add(&mut self.unpriced, other.unpriced);
        add(&mut self.estimated, other.estimated);
        add(&mut self.unmetered, other.unmetered);
        add(&mut self.failed, other.failed);
        add(&mut self.unattempted, other.unattempted);
        add(&mut self.attempts, other.attempts);
        add(&mut self.realized_reused_tokens, other.realized_reused_tokens);
        self.reuse.plus(&other.reuse);
        self.service.plus(&other.service);
        self.units = self.units.plus(other.units);
    }

    /// What later versions sum, by number, where it is not zero.
    pub(crate) fn numbered(&self) -> Later {
        let mut numbered = self.reuse.numbered();
        numbered.extend(self.service.numbered());
        numbered
    }

    /// The inverse of `numbered`.
    pub(crate) fn read_numbered(&mut self, later: &Later) {
        self.reuse = ReuseSums::of_numbered(later);
        self.service = ServiceSums::of_numbered(later);
    }
}

/// From a histogram with eight steps per octave: a value is at most an eighth too high, never too low.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Percentiles {
    pub p50_us: u64,
    pub p95_us: u64,
    pub p99_us: u64,
}

/// One row of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRow {
    /// The start of the interval, if the query has one.
    pub bucket_unix_ms: Option<u64>,
    /// In the query's order; `None` if the exchange has no such value (no tag, no key).
    pub groups: Vec<(Dimension, Option<String>)>,
    pub sums: UsageSums,
    /// The workspace's total cost: what it owes the operator, and what its own providers bill it. The
    /// operator's cost of a managed request is not included.
    pub spend: Nanos,
    /// First byte to last byte, of completed requests; `None` if there are none.
    pub latency: Option<Percentiles>,
    /// Time to the first content byte, of completed streams.
    pub first_byte: Option<Percentiles>,
}

/// The histogram step of a value, with eight steps per octave; exact below sixteen.
pub(crate) fn step_of(value: u64) -> u32 {
    if value < 8 {
        return u32::try_from(value).unwrap_or(0);
    }
    let octave = value.ilog2();
    let within = (value >> (octave - 3)) & 7;
    (octave - 2) * 8 + u32::try_from(within).unwrap_or(0)
}

/// The largest value of a step.
pub(crate) fn step_end(step: u32) -> u64 {
    if step < 8 {
        return u64::from(step);
    }
    let (octave, within) = (step / 8 + 2, u64::from(step % 8));
    let width = 1_u64 << (octave - 3).min(60);
    (8 + within).saturating_mul(width).saturating_add(width - 1)
}

/// The percentiles of `(step, count)` pairs in ascending order of steps.
pub(crate) fn percentiles(steps: &[(u32, u64)]) -> Option<Percentiles> {
    let total: u64 = steps.iter().map(|(_, count)| count).sum();
    if total == 0 {
        return None;
    }
    let at = |percent: u64| {
        let rank = (total * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let found = steps.iter().find(|(_, count)| {
            seen += count;
            seen >= rank
        });
        found.map_or(0, |(step, _)| step_end(*step))
    };
    Some(Percentiles { p50_us: at(50), p95_us: at(95), p99_us: at(99) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_holds_what_is_put_into_it_and_is_at_most_an_eighth_wide() {
        for value in (0..5_000).chain((0..60).map(|bit| 1_u64 << bit)).chain([u64::MAX / 2]) {
            let end = step_end(step_of(value));
            assert!(end >= value, "{value} is in a step that ends at {end}");
            assert!(end - value <= value / 8, "{value} is told as {end}");
        }
        assert!((0..2_000_u64).map(step_of).is_sorted());
    }

    #[test]
    fn percentiles_are_of_ranks() {
        let steps: Vec<(u32, u64)> = (1..=100).map(|value| (value, 1)).collect();
        let found = percentiles(&steps).unwrap();
        assert_eq!((found.p50_us, found.p95_us, found.p99_us), (step_end(50), step_end(95), step_end(99)));
        assert_eq!(percentiles(&[]), None);
    }
}
