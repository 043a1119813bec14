//! Where settled records go: the store, behind a trait, since the store is above the ledger.

use domain::MeterRecord;
use domain::ports::PortFuture;

/// A place in one core's journal. Within an epoch (one run of the process) positions only grow; positions of different
/// epochs can't be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JournalPosition {
    /// Random, drawn when a run opens its journal.
    pub epoch: u64,
    pub segment: u64,
    pub offset: u64,
}

impl JournalPosition {
    /// Whether everything at `segment` up to `offset` of `epoch` was applied when this was the position.
    #[must_use]
    pub fn covers(&self, epoch: u64, segment: u64, offset: u64) -> bool {
        self.epoch == epoch && (self.segment, self.offset) >= (segment, offset)
    }
}

/// Settled records in journal order, and how far the journal is applied with them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainBatch {
    pub core: u32,
    pub upto: JournalPosition,
    /// May be empty: then only the position moves.
    pub records: Vec<MeterRecord>,
}

/// Why a batch was not applied; the drainer tries it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkError(pub String);

impl std::fmt::Display for SinkError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the store did not take a batch of meter records: {}", self.0)
    }
}

impl std::error::Error for SinkError {}

/// Takes settled records. Records and position go in one transaction. A batch that follows the last one which this
/// process was told is kept holds nothing applied before; any other is checked trace by trace, so that a record is kept once
/// however often it is offered.
pub trait RecordSink: Send + Sync {
    fn apply<'a>(&'a self, batch: DrainBatch) -> PortFuture<'a, Result<(), SinkError>>;

    /// The position of the last batch that was applied for a core.
    fn position<'a>(&'a self, core: u32) -> PortFuture<'a, Result<Option<JournalPosition>, SinkError>>;
}
