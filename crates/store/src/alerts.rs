//! Alert rules: measures of a workspace's requests over the last minutes, and the threshold above which they alert.

use database::error::StoreFuture;
use domain::{AlertRuleId, KeyId, ProjectId, WorkspaceId};

use crate::events::EventRow;
use crate::resource::Resource;

/// The job that measures all rules.
pub const MEASURE: &str = "alerts.measure";
/// How often it does.
pub const MEASURE_EVERY_MS: u64 = 60_000;

domain::words! {
    /// What a rule measures.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum AlertMetric by from_word {
        /// Micro-USD: what the workspace owes, and what its own providers bill it.
        Spend = "spend_micros",
        Requests = "requests",
        /// Requests that were refused before any attempt.
        Refused = "refused_requests",
        /// The share of requests that failed, in percent; refusals are not among them.
        ErrorPercent = "error_percent",
        /// The 95th percentile of the time to the last byte, in milliseconds.
        Latency = "latency_p95_ms",
        /// The 95th percentile of the time to the first byte of streams, in milliseconds.
        FirstByte = "first_byte_p95_ms",
    }
}

impl AlertMetric {
    /// Whether a few requests say nothing about it.
    pub const fn needs_requests(self) -> bool {
        matches!(self, Self::ErrorPercent | Self::Latency | Self::FirstByte)
    }
}

/// One above the limit is refused as `too_many_alert_rules`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertRuleRow {
    pub id: AlertRuleId,
    pub workspace: WorkspaceId,
    pub name: String,
    pub metric: AlertMetric,
    /// The requests that are measured; all where nothing is set.
    pub project: Option<ProjectId>,
    pub key: Option<KeyId>,
    pub model: Option<String>,
    pub provider: Option<String>,
    pub window_minutes: u32,
    /// It alerts above this, in the unit of its metric.
    pub threshold: u64,
    /// For metrics that need requests: with fewer in the window it doesn't alert.
    pub requests_min: u64,
    pub is_enabled: bool,
    /// Kept beside the row: a rule that is measured is not changed by that.
    pub state: AlertState,
    pub created_unix_ms: u64,
    /// Ignored on writing.
    pub version: u64,
}

/// What the last measurement found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AlertState {
    /// Since when the value is above the threshold.
    pub firing_since_unix_ms: Option<u64>,
    /// When it last began to fire, also after it was resolved or changed.
    pub fired_unix_ms: Option<u64>,
    /// `None` where too few requests were measured.
    pub value: Option<u64>,
    pub measured_unix_ms: Option<u64>,
}

pub trait AlertRules: Resource<AlertRuleRow> {
    /// The enabled rules of all workspaces, by id.
    fn enabled(&self, after: Option<AlertRuleId>, rows_max: u32) -> StoreFuture<'_, Vec<AlertRuleRow>>;
    /// Stores what a measurement found, with the event that it causes. Nothing happens where the rule changed or is gone since
    /// it was read.
    fn record(&self, rule: AlertRuleRow, state: AlertState, event: Option<EventRow>) -> StoreFuture<'_, ()>;
}
