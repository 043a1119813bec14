//! The metrics of each party, and their targets.

use serde::{Deserialize, Serialize};

use crate::parties::Party;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    CpuUsPerRequest,
    ServingUsPerRequest,
    RequestsPerSecond,
    CpuUsPerChunk,
    ChunksPerSecond,
    AddedP50Us,
    AddedP99Us,
    FirstByteP50Us,
    FirstByteP99Us,
    IdleMib,
    ServedMib,
    StreamKib,
    ReadyMs,
}

impl Metric {
    pub const ALL: [Self; 13] = [
        Self::CpuUsPerRequest,
        Self::ServingUsPerRequest,
        Self::RequestsPerSecond,
        Self::CpuUsPerChunk,
        Self::ChunksPerSecond,
        Self::AddedP50Us,
        Self::AddedP99Us,
        Self::FirstByteP50Us,
        Self::FirstByteP99Us,
        Self::IdleMib,
        Self::ServedMib,
        Self::StreamKib,
        Self::ReadyMs,
    ];

    pub fn label(self) -> &'static str {
        match self {
            Self::CpuUsPerRequest => "CPU per request, saturated (us)",
            Self::ServingUsPerRequest => "CPU of it on serving threads (us)",
            Self::RequestsPerSecond => "requests per second, one core",
            Self::CpuUsPerChunk => "CPU per streamed chunk (us)",
            Self::ChunksPerSecond => "chunks per second, one core",
            Self::AddedP50Us => "added latency p50 at 200/s (us)",
            Self::AddedP99Us => "added latency p99 at 200/s (us)",
            Self::FirstByteP50Us => "added to first byte p50 (us)",
            Self::FirstByteP99Us => "added to first byte p99 (us)",
            Self::IdleMib => "memory idle (MiB)",
            Self::ServedMib => "memory after a stream (MiB)",
            Self::StreamKib => "memory per open stream (KiB)",
            Self::ReadyMs => "ready after start (ms)",
        }
    }
}

/// A limit for one of our figures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub enum Limit {
    /// A multiple of the other party's figure, paired by round.
    RatioMax(f64),
    /// A difference to the other party's figure, in the metric's unit, paired by round.
    DifferenceMax(f64),
    Max(f64),
    /// No limit: the multiple of the other party's figure, paired by round, is published.
    Ratio,
}

/// The party whose figure is limited, and the party that it is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Target {
    pub metric: Metric,
    pub party: Party,
    pub other: Party,
    pub limit: Limit,
}

const fn ours(metric: Metric, limit: Limit) -> Target {
    Target { metric, party: Party::Us, other: Party::Nginx, limit }
}

const fn growth(metric: Metric, party: Party, ratio_max: f64) -> Target {
    times(metric, party, Party::Us, ratio_max)
}

const fn times(metric: Metric, party: Party, other: Party, ratio_max: f64) -> Target {
    Target { metric, party, other, limit: Limit::RatioMax(ratio_max) }
}

/// A figure without a limit.
const fn shown(metric: Metric, party: Party, other: Party) -> Target {
    Target { metric, party, other, limit: Limit::Ratio }
}

/// All rows of the published table: what a run doesn't measure stands there as not measured.
pub const TARGETS: [Target; 17] = [
    ours(Metric::CpuUsPerRequest, Limit::RatioMax(1.6)),
    ours(Metric::CpuUsPerChunk, Limit::RatioMax(1.1)),
    ours(Metric::AddedP99Us, Limit::DifferenceMax(1000.0)),
    ours(Metric::StreamKib, Limit::Max(40.0)),
    ours(Metric::IdleMib, Limit::Max(40.0)),
    ours(Metric::ReadyMs, Limit::Max(300.0)),
    growth(Metric::CpuUsPerRequest, Party::UsManyKeys, 1.05),
    growth(Metric::CpuUsPerRequest, Party::UsTwoWorkers, 1.1),
    // No growth at all, except for the variation between two runs.
    growth(Metric::ServingUsPerRequest, Party::UsPostgres, 1.05),
    times(Metric::CpuUsPerRequest, Party::Us4kTranslated, Party::Us4k, 2.0),
    growth(Metric::CpuUsPerRequest, Party::UsEverything, 1.08),
    times(Metric::CpuUsPerRequest, Party::UsCached, Party::Us, 0.6),
    growth(Metric::CpuUsPerRequest, Party::UsSession, 1.1),
    Target {
        metric: Metric::CpuUsPerRequest,
        party: Party::Us100kTranslated,
        other: Party::Us100k,
        limit: Limit::DifferenceMax(1000.0),
    },
    shown(Metric::CpuUsPerRequest, Party::UsContent, Party::Us),
    shown(Metric::CpuUsPerRequest, Party::UsPlain, Party::Nginx),
    shown(Metric::CpuUsPerChunk, Party::UsPlain, Party::Nginx),
];

/// One figure of one party in one round.
#[derive(Debug, Clone, Serialize)]
pub struct Sample {
    pub party: Party,
    pub round: usize,
    pub metric: Metric,
    pub value: f64,
    /// Cores used by other processes meanwhile: noise.
    pub foreign_cores: f64,
}

/// The median; for an even number, the mean of the two middle values.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = *values.get(values.len().checked_sub(1)? / 2)?;
    Some(f64::midpoint(lower, upper))
}

/// Rounds to three decimals, which is as precise as the measurements are.
pub fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn medians() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(vec![]), None);
    }
}
