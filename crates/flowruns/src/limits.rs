//! Bounds of what a project keeps of flows.

/// Flows of one project.
pub const FLOWS_OF_PROJECT_MAX: u64 = 1_000;
/// Versions of one flow; the oldest go first.
pub(crate) const VERSIONS_MAX: u64 = 200;
/// Runs of one project that have not ended.
pub const RUNS_OPEN_MAX: u64 = 10_000;
/// Events that wait in one run.
pub(crate) const EVENTS_OF_RUN_MAX: u64 = 10_000;
