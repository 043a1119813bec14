//! The SQL of flows: what projects declare, version by version; their runs, with how far each step is; and the sealed content of both.

mod cancelling;
mod claiming;
mod dispatching;
mod flows;
mod limits;
mod purging;
mod reading;
mod rows;
mod runs;

pub use flows::{FlowRow, FlowVersion, StoredFlows};
pub use limits::{FLOWS_OF_PROJECT_MAX, RUNS_OPEN_MAX};
pub use rows::{
    EventRow, FlowContent, FlowEngine, HeldRun, LoadedRun, NewRun, RunClaim, RunEnd, RunLease, RunRow,
    RunState, RunStatus, StepRow, StepStatus, StepWrite, Wish, part,
};
pub use runs::StoredRuns;
