//! The sink of settled records: the store, behind a trait, since the store depends on the ledger.

use domain::ports::PortFuture;
use domain::{MeterRecord, TraceId};
use serde::Deserialize;

use crate::frame::RawEntry;

/// A position in one core's journal. Within an epoch (one run of the process) positions only increase;
/// positions of different epochs can't be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JournalPosition {
    /// Random, drawn when a run opens its journal.
    pub epoch: u64,
    pub segment: u64,
    pub offset: u64,
}

impl JournalPosition {
    /// Whether everything at `segment` up to `offset` of `epoch` was applied when this was the position.
    pub fn covers(&self, epoch: u64, segment: u64, offset: u64) -> bool {
        self.epoch == epoch && (self.segment, self.offset) >= (segment, offset)
    }
}

/// Settled records in journal order, each in the journal's encoding.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SettledRecords {
    bodies: Vec<u8>,
    /// The trace of each record, and the end of its body.
    traces: Vec<(TraceId, usize)>,
}

impl SettledRecords {
    /// Encodes records that are not in a journal.
    ///
    /// # Errors
    /// If one can't be encoded.
    pub fn of(records: &[MeterRecord]) -> Result<Self, SinkError> {
        let mut settled = Self::default();
        for record in records {
            let body = postcard::to_allocvec(record)
                .map_err(|error| SinkError(format!("a record can't be written: {error}")))?;
            settled.push(record.trace, &body);
        }
        Ok(settled)
    }

    /// The settled records among some journal entries.
    pub(crate) fn of_entries(entries: &[RawEntry<'_>]) -> Self {
        let bytes = entries.iter().map(|entry| entry.body.len()).sum();
        let mut settled =
            Self { bodies: Vec::with_capacity(bytes), traces: Vec::with_capacity(entries.len()) };
        for entry in entries {
            settled.push(entry.trace, entry.body);
        }
        settled
    }

    /// Adds a record in its encoding.
    pub fn push(&mut self, trace: TraceId, body: &[u8]) {
        self.bodies.extend_from_slice(body);
        self.traces.push((trace, self.bodies.len()));
    }

    pub const fn len(&self) -> usize {
        self.traces.len()
    }

    pub const fn is_empty(&self) -> bool {
        self.traces.is_empty()
    }

    /// The length of all bodies.
    pub const fn bytes(&self) -> usize {
        self.bodies.len()
    }

    /// Each trace with its record's encoding.
    pub fn encoded(&self) -> impl Iterator<Item = (TraceId, &[u8])> {
        let mut start = 0;
        self.traces.iter().filter_map(move |(trace, end)| {
            let body = self.bodies.get(start..*end)?;
            start = *end;
            Some((*trace, body))
        })
    }

    pub fn traces(&self) -> impl Iterator<Item = TraceId> {
        self.traces.iter().map(|(trace, _)| *trace)
    }

    /// Each body with its decoded record. One that can't be decoded is logged and skipped: its checksum held,
    /// so a retry would not help.
    pub fn decoded<'a, Text: Deserialize<'a>>(
        &'a self,
    ) -> impl Iterator<Item = (&'a [u8], MeterRecord<Text>)> {
        let mut start = 0;
        self.traces.iter().filter_map(move |(trace, end)| {
            let body = self.bodies.get(start..*end)?;
            start = *end;
            match postcard::from_bytes::<MeterRecord<Text>>(body) {
                Ok(record) => Some((body, record.read_back())),
                Err(error) => {
                    tracing::error!(%trace, %error, "a settled record could not be decoded");
                    None
                }
            }
        })
    }
}

/// Settled records, and the journal position that is reached with them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainBatch {
    pub core: u32,
    pub upto: JournalPosition,
    /// May be empty: then only the position moves.
    pub records: SettledRecords,
}

impl DrainBatch {
    /// In the place of a core, for records that no core's journal has: the sink looks each one up before it
    /// inserts it.
    pub const NO_JOURNAL: u32 = u32::MAX;

    /// Whether what its records draw on budgets was leased by this replica before.
    pub const fn is_leased(&self) -> bool {
        self.core != Self::NO_JOURNAL
    }
}

/// Why a batch was not applied; the drainer retries it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the store didn't accept a batch of meter records: {0}")]
pub struct SinkError(pub String);

/// Accepts settled records. Records and position are written in one transaction. A batch that follows the
/// last one acknowledged to this process has no duplicates; any other is checked trace by trace, so that a
/// record is stored once however often it is sent.
pub trait RecordSink: Send + Sync {
    fn apply<'a>(&'a self, batch: DrainBatch) -> PortFuture<'a, Result<(), SinkError>>;

    /// The position after the last batch that was applied for a core.
    fn position<'a>(&'a self, core: u32) -> PortFuture<'a, Result<Option<JournalPosition>, SinkError>>;
}

#[cfg(test)]
mod tests {
    use domain::Outcome;

    use super::*;
    use crate::entry::{KIND_SETTLED, tests as entries};

    #[test]
    fn records_read_back_owned_and_borrowed_and_what_is_no_record_is_left_out() {
        let records = [1, 2].map(|number| MeterRecord {
            trace: TraceId::new(number, [1; 10]),
            ..entries::state().settle(entries::ending())
        });
        let mut settled = SettledRecords::of(&records).unwrap();
        let whole = settled.clone();
        settled.push(TraceId::new(3, [1; 10]), b"no record");
        settled.push(records[0].trace, &postcard::to_allocvec(&records[0]).unwrap());
        let owned: Vec<MeterRecord> = settled.decoded().map(|(_, record)| record).collect();
        assert_eq!(owned, [records[0].clone(), records[1].clone(), records[0].clone()]);
        let borrowed =
            settled.decoded::<&str>().map(|(_, record)| (record.trace, record.provider, record.outcome));
        assert!(borrowed.eq(owned.iter().map(|record| (record.trace, "openai", Outcome::Deadline))));
        assert_eq!((settled.len(), whole.len(), settled.is_empty()), (4, 2, false));
        let bodies: Vec<_> = whole.decoded::<&str>().map(|(body, _)| body).collect();
        let raw = bodies.iter().zip(&records).map(|(body, record)| RawEntry {
            kind: KIND_SETTLED,
            trace: record.trace,
            body,
            end: 0,
        });
        assert_eq!(SettledRecords::of_entries(&raw.collect::<Vec<_>>()), whole);
    }
}
