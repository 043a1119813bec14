//! The encoding of a batch of meter records in one row: a format byte, then each record behind its group and
//! length.
//!
//! A record is stored without its trace, which has its own column, and delta-encoded against its group's
//! template. The previous format had each record in full, behind a four-byte length.

use database::error::StoreError;
use domain::{MeterRecord, TraceId, WorkspaceId};
use ledger::delta::{read_varint, write_varint};
use uuid::Uuid;

use crate::limits::{PACKED_BYTES_MAX, PACKED_RECORDS_MAX};

const TABLE: &str = "record_batches";
/// Raised with every change of a stored type. So is the journal's version, since a record's bytes there are
/// what is encoded here; a test ties the two together.
const FORMAT: u8 = 2;
/// Full records, which may also end before the list of budgets that they draw on.
const FORMAT_OF_FULL_RECORDS: u8 = 1;
/// The group of a record that is stored in full.
const NO_GROUP: usize = 0;
const ID_BYTES: usize = 16;
const LENGTH_BYTES: usize = 4;
/// The maximum size of a group number and a length.
const HEAD_BYTES: usize = 8;

/// One record of a body, still encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    Full { tail: &'a [u8] },
    Delta { group: i64, difference: &'a [u8] },
}

impl Piece<'_> {
    /// Whether it may belong to one of the wanted groups; a full record has to be decoded to know.
    pub(crate) fn may_be_of(&self, is_wanted: impl Fn(i64) -> bool) -> bool {
        match self {
            Self::Full { .. } => true,
            Self::Delta { group, .. } => is_wanted(*group),
        }
    }
}

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

/// What a row's columns say of a record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Named {
    pub trace: TraceId,
    pub workspace: WorkspaceId,
    pub started_unix_ms: u64,
}

/// Packs records, in their order, into as many rows as their sizes need.
pub(crate) struct Packing {
    rows: Vec<Packed>,
    /// The capacity to allocate for a row.
    records: usize,
    bytes: usize,
}

impl Packing {
    /// For this many records of this total size.
    pub(crate) fn of(records: usize, bytes: usize) -> Self {
        let bytes = bytes + records * HEAD_BYTES;
        Self {
            rows: Vec::new(),
            records: records.min(PACKED_RECORDS_MAX),
            bytes: bytes.min(PACKED_BYTES_MAX),
        }
    }

    /// Adds a record, delta-encoded against its group.
    pub(crate) fn add(&mut self, named: Named, group: i64, difference: &[u8]) -> Result<(), StoreError> {
        let group = usize::try_from(group).map_err(|error| StoreError::corrupt(TABLE, error))?;
        if let Some(row) = self.rows.last_mut().filter(|row| row.has_room()) {
            row.append(named, group, difference);
            return Ok(());
        }
        let mut row = Packed::empty(named.trace, named.started_unix_ms, self.records, self.bytes);
        row.append(named, group, difference);
        self.rows.push(row);
        Ok(())
    }

    pub(crate) fn into_rows(self) -> Vec<Packed> {
        self.rows
    }
}

impl Packed {
    /// With capacity for this many records of this total size.
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
        self.count() < PACKED_RECORDS_MAX && self.body.len() < PACKED_BYTES_MAX
    }

    fn append(&mut self, named: Named, group: usize, encoded: &[u8]) {
        append(&mut self.body, group, encoded);
        self.traces.extend_from_slice(named.trace.as_bytes());
        self.name(named.workspace.as_bytes());
        self.cover(named.trace, named.trace, named.started_unix_ms, named.started_unix_ms);
    }

    /// Keeps the workspaces sorted and unique.
    fn name(&mut self, workspace: &[u8; ID_BYTES]) {
        if let Err(index) = self.workspaces.as_chunks::<ID_BYTES>().0.binary_search(workspace) {
            let start = index * ID_BYTES;
            self.workspaces.splice(start..start, *workspace);
        }
    }

    pub(crate) const fn count(&self) -> usize {
        self.traces.len() / ID_BYTES
    }

    /// Merges rows into one without decoding their records. `None` if there are none.
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
            match row.body.split_first() {
                Some((&FORMAT, encoded)) => merged.body.extend_from_slice(encoded),
                _ => {
                    for piece in pieces(&row.body)? {
                        if let Piece::Full { tail } = piece? {
                            append(&mut merged.body, NO_GROUP, tail);
                        }
                    }
                }
            }
        }
        Ok(Some(merged))
    }
}

fn append(body: &mut Vec<u8>, group: usize, encoded: &[u8]) {
    write_varint(body, group);
    write_varint(body, encoded.len());
    body.extend_from_slice(encoded);
}

pub(crate) fn traces(bytes: &[u8]) -> impl Iterator<Item = TraceId> {
    bytes.as_chunks::<ID_BYTES>().0.iter().map(|id| TraceId::from_uuid(Uuid::from_bytes(*id)))
}

/// Splits off the next record.
type Next<'a> = fn(&mut &'a [u8]) -> Option<Piece<'a>>;

/// The records of a body, in order; it ends with an error if the body does within a record.
pub(crate) struct Pieces<'a> {
    next: Next<'a>,
    rest: &'a [u8],
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Result<Piece<'a>, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let piece = (self.next)(&mut self.rest);
        if piece.is_none() {
            self.rest = &[];
        }
        Some(piece.ok_or_else(|| StoreError::corrupt(TABLE, "a body ends within a record")))
    }
}

pub(crate) fn pieces(body: &[u8]) -> Result<Pieces<'_>, StoreError> {
    match body.split_first() {
        Some((&FORMAT, rest)) => Ok(Pieces { next: next_piece, rest }),
        Some((&FORMAT_OF_FULL_RECORDS, rest)) => Ok(Pieces { next: next_full, rest }),
        Some((other, _)) => Err(StoreError::corrupt(TABLE, format!("format {other} is not known"))),
        None => Err(StoreError::corrupt(TABLE, "a body is empty")),
    }
}

fn next_piece<'a>(rest: &mut &'a [u8]) -> Option<Piece<'a>> {
    let (group, length) = (read_varint(rest)?, read_varint(rest)?);
    let (bytes, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(match group {
        NO_GROUP => Piece::Full { tail: bytes },
        _ => Piece::Delta { group: i64::try_from(group).ok()?, difference: bytes },
    })
}

fn next_full<'a>(rest: &mut &'a [u8]) -> Option<Piece<'a>> {
    let (length, after) = rest.split_first_chunk::<LENGTH_BYTES>()?;
    let (frame, after) = after.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    *rest = after;
    Some(Piece::Full { tail: frame.get(1 + ID_BYTES..)? })
}

/// The bytes of an encoded record after its trace.
pub(crate) fn tail_of(trace: TraceId, frame: &[u8]) -> Result<&[u8], StoreError> {
    let tail = frame.split_first().and_then(|(_, rest)| rest.strip_prefix(trace.as_bytes()));
    tail.ok_or_else(|| StoreError::corrupt(TABLE, "a record does not begin with its trace"))
}

pub(crate) fn unpack(trace: TraceId, tail: &[u8]) -> Result<MeterRecord, StoreError> {
    // An id is encoded as its length and its bytes.
    let length: [u8; 1] = [ID_BYTES.to_le_bytes()[0]];
    let frame = [&length, trace.as_bytes().as_slice(), tail].concat();
    // Records of earlier formats end before the cache's part, or before the list of budgets: what is absent
    // is empty.
    let earlier = |absent: &[u8]| postcard::from_bytes::<MeterRecord>(&[frame.as_slice(), absent].concat());
    let read = earlier(&[]).or_else(|_| earlier(&[0])).or_else(|_| earlier(&[0, 0]));
    read.map(MeterRecord::read_back).map_err(|error| StoreError::corrupt(TABLE, error))
}

#[cfg(test)]
pub(crate) mod tests {
    use domain::record::{PlanRecord, Rejected};
    use domain::{
        AttemptRecord, Charge, CredentialId, Dialect, FaultClass, KeyId, Nanos, Operation, Outcome, Price,
        Priced, Principal, ProjectId, Rates, Timeline, UnitRates, Units, Usage, UsageSource, WorkspaceId,
    };

    use ledger::delta::Template;

    use super::*;

    fn named(record: &MeterRecord) -> Named {
        Named { trace: record.trace, workspace: record.workspace, started_unix_ms: record.started_unix_ms }
    }

    fn frame(record: &MeterRecord) -> Vec<u8> {
        postcard::to_allocvec(record).unwrap()
    }

    fn template() -> Template {
        Template::new(tail_of(record(0).trace, &frame(&record(0))).unwrap().to_vec())
    }

    fn pack(records: &[MeterRecord]) -> Vec<Packed> {
        let template = template();
        let mut packing = Packing::of(records.len(), 100 * records.len());
        for record in records {
            let frame = frame(record);
            let difference = template.difference(tail_of(record.trace, &frame).unwrap());
            packing.add(named(record), 7, &difference).unwrap();
        }
        packing.into_rows()
    }

    /// In the previous format.
    fn full_body(records: &[MeterRecord]) -> Vec<u8> {
        let mut body = vec![FORMAT_OF_FULL_RECORDS];
        for mut frame in records.iter().map(frame) {
            assert_eq!(frame.pop(), Some(0), "no budgets");
            body.extend_from_slice(&u32::try_from(frame.len()).unwrap().to_le_bytes());
            body.extend_from_slice(&frame);
        }
        body
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

    pub(crate) fn record(number: u8) -> MeterRecord {
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
            caching: None,
            reason: None,
            extras: domain::record::Extras::default(),
        }
    }

    fn unpacked(row: &Packed) -> Vec<MeterRecord> {
        let pieces = pieces(&row.body).unwrap();
        let read = traces(&row.traces).zip(pieces).map(|(trace, piece)| match piece.unwrap() {
            Piece::Full { tail } => unpack(trace, tail).unwrap(),
            Piece::Delta { group, difference } => {
                assert_eq!(group, 7);
                unpack(trace, &template().apply(difference).unwrap()).unwrap()
            }
        });
        read.collect()
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
        assert!(packed[0].body.len() < 3 * 50, "{} bytes", packed[0].body.len());
    }

    #[test]
    fn rows_merge_into_the_row_of_all_their_records() {
        let records: Vec<_> = (0..10).map(record).collect();
        let rows = records.chunks(3).flat_map(pack).collect();
        assert_eq!(Packed::merge(rows).unwrap(), pack(&records).pop());
        assert_eq!(Packed::merge(Vec::new()).unwrap(), None);
    }

    #[test]
    fn a_row_of_the_format_before_is_read_and_merged() {
        let records: Vec<_> = (0..10).map(record).collect();
        let mut rows: Vec<_> = records.chunks(4).flat_map(pack).collect();
        rows[1].body = full_body(&records[4..8]);
        assert_eq!(unpacked(&rows[1]), records[4..8]);
        assert_eq!(unpacked(&Packed::merge(rows).unwrap().unwrap()), records);
    }

    #[test]
    fn a_record_that_ends_before_the_newest_fields_is_read() {
        let with = MeterRecord {
            caching: Some(domain::CacheRecord { marks: 2, ..domain::CacheRecord::default() }),
            ..record(1)
        };
        let (with_tail, frame) = (frame(&with), frame(&record(1)));
        assert_eq!(unpack(with.trace, tail_of(with.trace, &with_tail).unwrap()).unwrap(), with);
        for absent in 0..=3 {
            let earlier = &frame[..frame.len() - absent];
            assert_eq!(unpack(with.trace, tail_of(with.trace, earlier).unwrap()).unwrap(), record(1));
        }
        assert!(unpack(with.trace, tail_of(with.trace, &frame[..frame.len() - 4]).unwrap()).is_err());
    }

    #[test]
    fn a_reason_is_kept_with_the_record_and_told_against_its_groups() {
        let message = "The budget is used up.";
        let fault = domain::Fault::new(FaultClass::BudgetReached, "quota_exceeded", message);
        let with =
            |number| MeterRecord { reason: Some(domain::record::Reason::of(&fault)), ..record(number) };
        let records = [with(1), record(2), with(3)];
        assert_eq!(unpacked(&pack(&records)[0]), records);
        let cut =
            MeterRecord { outcome: Outcome::Completed, fault: Some(FaultClass::CreditsRequired), ..with(1) };
        assert_eq!(unpacked(&pack(&[cut])[0])[0].outcome, Outcome::Cut);
    }

    #[test]
    fn units_and_their_prices_are_kept_with_the_record() {
        let used = Usage { units: Units { images: 2, image_out: 900, ..Units::default() }, ..usage() };
        let units = UnitRates { image: Some(Price(7)), ..UnitRates::default() };
        let mut with = MeterRecord { usage: used, ..record(1) };
        with.attempts[0].usage = used;
        with.attempts[0].rates = Some(Rates { units, reasoning: None, ..Rates::default() });
        assert_eq!(unpacked(&pack(&[with.clone()])[0]), [with.clone()]);
        with.attempts[0].rates = Some(Rates { units, reasoning: Some(Price(3)), ..Rates::default() });
        assert_eq!(unpacked(&pack(&[with.clone()])[0]), [with.clone()]);
        with.attempts[0].usage.units.billed = 1_050_000;
        for reasoning in [None, Some(Price(3))] {
            let units = UnitRates { billed: Some(Price(3_000)), ..units };
            with.attempts[0].rates = Some(Rates { units, reasoning, ..Rates::default() });
            assert_eq!(unpacked(&pack(&[with.clone()])[0]), [with.clone()]);
        }
        // Video beside the provider's own units, and alone.
        for billed in [1_050_000, 0] {
            with.attempts[0].usage.units = Units { billed, video_ms: 8_000, ..Units::default() };
            let units = UnitRates { video_ms: Some(Price::of_second(100_000)), ..units };
            with.attempts[0].rates = Some(Rates { units, reasoning: None, ..Rates::default() });
            assert_eq!(unpacked(&pack(&[with.clone()])[0]), [with.clone()]);
        }
    }

    #[test]
    fn what_is_too_much_for_a_row_becomes_several() {
        let many = vec![record(1); PACKED_RECORDS_MAX + 1];
        let counts: Vec<_> = pack(&many).iter().map(Packed::count).collect();
        assert_eq!(counts, [PACKED_RECORDS_MAX, 1]);
        let large = vec![MeterRecord { environment: "x".repeat(PACKED_BYTES_MAX), ..record(1) }; 2];
        assert_eq!(pack(&large).len(), 2);
    }

    #[test]
    fn another_format_and_a_torn_body_are_refused() {
        for body in [pack(&[record(1)]).remove(0).body, full_body(&[record(1)])] {
            let mut torn = pieces(&body[..body.len() - 1]).unwrap();
            assert!(torn.next().unwrap().is_err());
            assert!(torn.next().is_none());
            assert!(pieces(&[&[9], &body[1..]].concat()).is_err());
        }
        assert!(pieces(&[]).is_err());
        assert!(unpack(record(1).trace, &[]).is_err());
        assert!(tail_of(record(1).trace, &frame(&record(2))).is_err());
    }

    /// The format on disk must not change under the same number. Whoever changes a stored type fails here,
    /// raises `FORMAT`, keeps reading the earlier format, and updates the figure. A new field at a record's
    /// end, which older programs skip, keeps the format.
    #[test]
    fn the_format_is_the_one_of_its_number() {
        let sum = |body: &[u8]| {
            body.iter().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)))
        };
        let before = full_body(&[record(1)]);
        assert_eq!((before.len(), sum(&before)), (332, 13_085_357_142_682_936_006));
        let body = pack(&[record(1)]).remove(0).body;
        assert_eq!((FORMAT, body.len(), sum(&body)), (2, 23, 12_649_534_193_307_800_825));
    }
}
