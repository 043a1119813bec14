//! How much is looked at, and how much is listed.

/// Traces that one report looks at.
pub const TRACES_MAX: usize = 20_000;
/// Findings of a report, those of the most money first.
pub const FINDINGS_MAX: usize = 50;
/// Ids of requests that a finding names.
pub const EXAMPLES_MAX: usize = 10;
