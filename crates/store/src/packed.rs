//! Meter records packed together, as a batch's row holds them: a format, then each record behind its length.

use domain::{MeterRecord, TraceId};
use uuid::Uuid;

use crate::StoreError;

const TABLE: &str = "record_batches";
/// Raised with every change of a type that is kept here, as the journal's version is, whose bytes of a record go in as they
/// are; a test holds the two together.
const FORMAT: u8 = 2;
/// Records ended before the budgets that they draw on.
const FORMAT_WITHOUT_DRAWN: u8 = 1;
const ID_BYTES: usize = 16;
const LENGTH_BYTES: usize = 4;
const RECORDS_MAX: usize = 2_000;
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// The records of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packed {
    pub first_trace: TraceId,
    pub last_trace: TraceId,
    pub first_started_unix_ms: u64,
    pub last_started_unix_ms: u64,
    pub workspaces: Vec<u8>,
    pub traces: Vec<u8>,
    pub body: Vec<u8>,
}

/// Rows that records are packed into in their order: as many as their sizes need.
pub(crate) struct Packing {
    rows: Vec<Packed>,
    /// What a row is made for.
    records: usize,
    bytes: usize,
}

impl Packing {
    /// For so many records, of so many bytes together.
    pub(crate) fn of(records: usize, bytes: usize) -> Self {
        let bytes = bytes + records * LENGTH_BYTES;
        Self { rows: Vec::new(), records: records.min(RECORDS_MAX), bytes: bytes.min(BODY_BYTES_MAX) }
    }

    /// A record, and its bytes.
    pub(crate) fn add(&mut self, record: &MeterRecord<&str>, frame: &[u8]) -> Result<(), StoreError> {
        if let Some(row) = self.rows.last_mut().filter(|row| row.has_room()) {
            return row.append(record, frame);
        }
        let mut row = Packed::empty(record.trace, record.started_unix_ms, self.records, self.bytes);
        row.append(record, frame)?;
        self.rows.push(row);
        Ok(())
    }

    pub(crate) fn into_rows(self) -> Vec<Packed> {
        self.rows
    }
}

impl Packed {
    /// With room for so many records of so many bytes.
    fn empty(trace: TraceId, started_unix_ms: u64, records: usize, bytes: usize) -> Self {
        let mut body = Vec::with_capacity(1 + bytes);
        body.push(FORMAT);
        Self {
            first_trace: trace,
            last_trace: trace,
            first_started_unix_ms: started_unix_ms,
            last_started_unix_ms: started_unix_ms,
            workspaces: Vec::new(),
            traces: Vec::with_capacity(records * ID_BYTES),
            body,
        }
    }

    fn cover(&mut self, first_trace: TraceId, last_trace: TraceId, first_unix_ms: u64, last_unix_ms: u64) {
        self.first_trace = self.first_trace.min(first_trace);
        self.last_trace = self.last_trace.max(last_trace);
        self.first_started_unix_ms = self.first_started_unix_ms.min(first_unix_ms);
        self.last_started_unix_ms = self.last_started_unix_ms.max(last_unix_ms);
    }

    fn has_room(&self) -> bool {
        self.count() < RECORDS_MAX && self.body.len() < BODY_BYTES_MAX
    }

    fn append(&mut self, record: &MeterRecord<&str>, frame: &[u8]) -> Result<(), StoreError> {
        let length = u32::try_from(frame.len()).map_err(|error| StoreError::corrupt(TABLE, error))?;
        self.body.extend_from_slice(&length.to_le_bytes());
        self.body.extend_from_slice(frame);
        self.traces.extend_from_slice(record.trace.as_bytes());
        self.name(record.workspace.as_bytes());
        self.cover(record.trace, record.trace, record.started_unix_ms, record.started_unix_ms);
        Ok(())
    }

    /// Workspaces are kept in their order, each once.
    fn name(&mut self, workspace: &[u8; ID_BYTES]) {
        if let Err(place) = self.workspaces.as_chunks::<ID_BYTES>().0.binary_search(workspace) {
            let start = place * ID_BYTES;
            self.workspaces.splice(start..start, *workspace);
        }
    }

    pub(crate) const fn count(&self) -> usize {
        self.traces.len() / ID_BYTES
    }

    /// The rows as one, without reading their records. `None` where there is none.
    pub(crate) fn merge(rows: Vec<Self>) -> Result<Option<Self>, StoreError> {
        let Some(first) = rows.first() else { return Ok(None) };
        let records = rows.iter().map(Self::count).sum();
        let bytes = rows.iter().map(|row| row.body.len()).sum();
        let mut merged = Self::empty(first.first_trace, first.first_started_unix_ms, records, bytes);
        for row in rows {
            merged.cover(
                row.first_trace,
                row.last_trace,
                row.first_started_unix_ms,
                row.last_started_unix_ms,
            );
            row.workspaces.as_chunks().0.iter().for_each(|workspace| merged.name(workspace));
            merged.traces.extend_from_slice(&row.traces);
            merged.body.extend_from_slice(framed(&row.body)?);
        }
        Ok(Some(merged))
    }
}

pub(crate) fn traces(bytes: &[u8]) -> impl Iterator<Item = TraceId> {
    bytes.as_chunks::<ID_BYTES>().0.iter().map(|id| TraceId::from_uuid(Uuid::from_bytes(*id)))
}

/// The records of a body, not decoded yet.
pub(crate) fn frames(body: &[u8]) -> Result<Vec<&[u8]>, StoreError> {
    let mut rest = framed(body)?;
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let cut = rest.split_first_chunk::<LENGTH_BYTES>().and_then(|(length, rest)| {
            rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
        });
        let Some((frame, after)) = cut else {
            return Err(StoreError::corrupt(TABLE, "a body ends within a record"));
        };
        frames.push(frame);
        rest = after;
    }
    Ok(frames)
}

pub(crate) fn unpack(frame: &[u8]) -> Result<MeterRecord, StoreError> {
    // A record of the earlier format ends before its list of budgets, which is then empty.
    let earlier = |_| postcard::from_bytes(&[frame, &[0]].concat());
    postcard::from_bytes(frame).or_else(earlier).map_err(|error| StoreError::corrupt(TABLE, error))
}

fn framed(body: &[u8]) -> Result<&[u8], StoreError> {
    match body.split_first() {
        Some((&(FORMAT | FORMAT_WITHOUT_DRAWN), rest)) => Ok(rest),
        Some((other, _)) => Err(StoreError::corrupt(TABLE, format!("format {other} is not known"))),
        None => Err(StoreError::corrupt(TABLE, "a body is empty")),
    }
}

#[cfg(test)]
mod tests {
    use domain::record::{PlanRecord, Rejected};
    use domain::{
        AttemptRecord, Charge, CredentialId, Dialect, FaultClass, KeyId, Nanos, Operation, Outcome, Price,
        Priced, Principal, ProjectId, Rates, Timeline, Usage, UsageSource, WorkspaceId,
    };
    use ledger::SettledRecords;

    use super::*;

    fn pack(records: &[MeterRecord]) -> Vec<Packed> {
        let settled = SettledRecords::of(records).unwrap();
        let mut packing = Packing::of(settled.len(), settled.bytes());
        for (frame, record) in settled.decoded() {
            packing.add(&record, frame).unwrap();
        }
        packing.into_rows()
    }

    fn usage() -> Usage {
        Usage { input: 300, cached_read: 1, output: 20, source: UsageSource::Provider, ..Usage::default() }
    }

    fn attempt(principal: Principal) -> AttemptRecord {
        AttemptRecord {
            number: 1,
            principal,
            provider: "openai".into(),
            upstream_model: "gpt-4o".into(),
            region: Some("eu".into()),
            started_us: 9,
            duration_us: 10,
            status: Some(200),
            fault: Some(FaultClass::Timeout),
            upstream_request_id: Some("req".into()),
            usage: usage(),
            rates: Some(Rates {
                input: Price(1),
                output: Price(2),
                reasoning: Some(Price(3)),
                ..Rates::default()
            }),
            markup_bps: 11,
            charge: Charge { priced: Priced::Priced, cost: Nanos(-1), provider_cost: Nanos(1_000) },
        }
    }

    fn record(number: u8) -> MeterRecord {
        let principal = Principal::Credential(CredentialId::new(7, [8; 10]));
        let rejected = Rejected {
            principal,
            provider: "nebius".into(),
            reason: "expired".into(),
            detail: "since June".into(),
        };
        MeterRecord {
            trace: TraceId::new(1, [number; 10]),
            workspace: WorkspaceId::new(2, [number % 2; 10]),
            project: ProjectId::new(3, [3; 10]),
            key: Some(KeyId::new(4, [4; 10])),
            environment: "production".into(),
            started_unix_ms: 1_000 - u64::from(number),
            finished_unix_ms: 1_001,
            operation: Operation::Chat,
            dialect: Dialect::Run,
            stream: true,
            requested_model: "gpt-4o".into(),
            resolved_model: "openai/gpt-4o".into(),
            outcome: Outcome::Deadline,
            status: 504,
            fault: Some(FaultClass::Deadline),
            fault_code: Some("deadline".into()),
            principal: Some(principal),
            provider: "openai".into(),
            fallback_used: true,
            tag: Some("tag".into()),
            usage: usage(),
            charge: Charge { priced: Priced::Unpriced, ..Charge::default() },
            attempts: vec![attempt(principal)],
            plan: PlanRecord {
                resolution: "catalogue".into(),
                route: "rte".into(),
                candidates: vec![principal],
                rejected: vec![rejected],
                snapshot_version: 6,
            },
            timeline: Timeline { decoded_us: 1, settled_us: 15_016, ..Timeline::default() },
            bytes_out: 14,
            drawn: Vec::new(),
        }
    }

    fn unpacked(row: &Packed) -> Vec<MeterRecord> {
        let records: Vec<_> =
            frames(&row.body).unwrap().into_iter().map(|frame| unpack(frame).unwrap()).collect();
        let named: Vec<_> = records.iter().map(|record| record.trace).collect();
        assert_eq!(traces(&row.traces).collect::<Vec<_>>(), named);
        records
    }

    #[test]
    fn a_row_reads_back_what_was_packed_and_knows_its_ranges() {
        let records: Vec<_> = [5, 2, 9].map(record).into();
        let packed = pack(&records);
        assert_eq!((packed.len(), packed[0].count()), (1, 3));
        assert_eq!(unpacked(&packed[0]), records);
        assert_eq!((packed[0].first_trace, packed[0].last_trace), (records[1].trace, records[2].trace));
        assert_eq!((packed[0].first_started_unix_ms, packed[0].last_started_unix_ms), (991, 998));
        assert_eq!(packed[0].workspaces.len(), 2 * ID_BYTES);
    }

    #[test]
    fn rows_merge_into_the_row_of_all_their_records() {
        let records: Vec<_> = (0..10).map(record).collect();
        let rows = records.chunks(3).flat_map(pack).collect();
        assert_eq!(Packed::merge(rows).unwrap(), pack(&records).pop());
        assert_eq!(Packed::merge(Vec::new()).unwrap(), None);
    }

    #[test]
    fn what_is_too_much_for_a_row_becomes_several() {
        let many = vec![record(1); RECORDS_MAX + 1];
        let counts: Vec<_> = pack(&many).iter().map(Packed::count).collect();
        assert_eq!(counts, [RECORDS_MAX, 1]);
        let large = vec![MeterRecord { environment: "x".repeat(BODY_BYTES_MAX), ..record(1) }; 2];
        assert_eq!(pack(&large).len(), 2);
    }

    #[test]
    fn another_format_and_a_torn_body_are_refused() {
        let body = pack(&[record(1)]).remove(0).body;
        assert!(frames(&body[..body.len() - 1]).is_err());
        assert!(frames(&[&[FORMAT + 1], &body[1..]].concat()).is_err());
        assert!(frames(&[]).is_err());
        assert!(unpack(&[]).is_err());
    }

    #[test]
    fn a_record_of_the_earlier_format_draws_on_nothing() {
        let body = pack(&[record(1), record(2)]).remove(0).body;
        let mut earlier = vec![FORMAT_WITHOUT_DRAWN];
        for frame in frames(&body).unwrap() {
            let frame = &frame[..frame.len() - 1];
            earlier.extend_from_slice(&u32::try_from(frame.len()).unwrap().to_le_bytes());
            earlier.extend_from_slice(frame);
        }
        let read: Vec<_> =
            frames(&earlier).unwrap().into_iter().map(|frame| unpack(frame).unwrap()).collect();
        assert_eq!(read, [record(1), record(2)]);
    }

    /// What is on disks must not change under the same format: whoever changes a type that is kept here sees this,
    /// raises `FORMAT`, keeps reading the earlier one, and writes the new figure.
    #[test]
    fn the_format_is_the_one_of_its_number() {
        let body = pack(&[record(1)]).remove(0).body;
        let sum = body.iter().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
        assert_eq!((FORMAT, body.len(), sum), (2, 331, 9_300_690_180_457_750_044));
    }
}
