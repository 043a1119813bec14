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

domain::words! {
    /// A dimension that rows can be grouped by. `day`, `hour` and `minute` are intervals.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub enum Dimension by from_name {
        Provider = "provider",
        Model = "model",
        Modality = "modality",
        Profile = "profile",
        Mode = "mode",
        Key = "key",
        Project = "project",
        Region = "region",
        Environment = "environment",
        Status = "status",
        Outcome = "outcome",
        Operation = "operation",
        Tag = "tag",
        /// The workspace's own credential that answered or was tried last.
        Credential = "credential",
        /// The node that answered or was tried last.
        Node = "node",
        /// The class that the request's hints stated.
        QosClass = "qos_class",
        /// The cache that served the reused tokens.
        CacheTier = "cache_tier",
        /// The operator's pooled account that answered or was tried last.
        Account = "account",
        /// The code of the fault that the client was told.
        ErrorCode = "error_code",
        /// The agent whose turn it was made in.
        Agent = "agent",
        /// The adapter with which a node answered.
        Adapter = "adapter",
        /// The task that it was made for, counted from the records and nothing else beside it.
        Task = "task",
        /// The client's own user, by whole days and nothing else beside it.
        EndUser = "end_user",
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
    /// All requests: with an attempt, and refused before one.
    pub const fn total_requests(&self) -> u64 {
        self.requests.saturating_add(self.unattempted)
    }

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
