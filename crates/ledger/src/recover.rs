//! Crash recovery: brings what an earlier run left in its journal into the books, before anything is served.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::{MeterRecord, Outcome, TraceId};
use world::{Disk, DiskFile, World};

use crate::entry::{Ending, Entry, KIND_CHECKPOINT, KIND_SETTLED, KIND_STATE, TabState};
use crate::frame::{FORMAT_VERSION, Frames, HEADER_BYTES, RawEntry, SegmentHeader, parse_records};
use crate::limits::RECOVERY_BATCH_RECORDS_MAX;
use crate::shared::{mark_free, read_header, segment_files};
use crate::sink::{DrainBatch, JournalPosition, RecordSink, SettledRecords, SinkError};

/// How many recovered segments each core keeps for reuse; their blocks are allocated already.
const KEPT_SEGMENTS: usize = 2;
/// Past every entry of a segment, and still within a database's signed 64 bits.
const AFTER_ALL: u64 = i64::MAX.unsigned_abs();

/// The result of a recovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecoveryReport {
    pub segments: u64,
    pub entries: u64,
    /// Settled records that the sink did not have yet.
    pub applied: u64,
    /// Settled records that it had.
    pub skipped: u64,
    /// Tabs of the dead process that were closed as interrupted.
    pub interrupted: u64,
    /// Entries whose checksum holds but whose body this version can't decode.
    pub undecodable: u64,
}

/// Why the books can't be brought up to date; nothing may be served then.
#[derive(Debug)]
pub enum RecoveryError {
    Disk {
        path: PathBuf,
        source: io::Error,
    },
    Sink(SinkError),
    /// Another version of the program wrote it.
    Format {
        path: PathBuf,
        version: u32,
    },
}

impl std::fmt::Display for RecoveryError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Disk { path, .. } => {
                write!(f, "the journal at {} could not be read or freed", path.display())
            }
            Self::Sink(_) => f.write_str("the journal could not be brought into the store"),
            Self::Format { path, version } => write!(
                f,
                "{} has journal format {version}, and this program reads format {FORMAT_VERSION}: \
                 start the version that wrote it once and stop it gracefully, then upgrade",
                path.display()
            ),
        }
    }
}

impl std::error::Error for RecoveryError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Disk { source, .. } => Some(source),
            Self::Sink(error) => Some(error),
            Self::Format { .. } => None,
        }
    }
}

/// Applies what the dead process had settled but not drained, closes its open tabs as interrupted, and frees
/// its segments. Runs at start, before the process is ready. If it is killed at any point, the next run does
/// the rest: what is applied twice is the same record under the same trace.
///
/// # Errors
/// Any error of the disk or the sink, or a journal written by another version.
pub async fn recover(
    dir: &Path,
    world: &World,
    sink: &dyn RecordSink,
) -> Result<RecoveryReport, RecoveryError> {
    let disk = &*world.disk;
    let mut report = RecoveryReport::default();
    let entries = at(dir, disk.create_dir_all(dir).and_then(|()| disk.list(dir)))?;
    for path in entries {
        let number = path.file_name().and_then(|name| name.to_str()?.strip_prefix("core-")?.parse().ok());
        if let Some(core) = number {
            recover_core(disk, &path, core, sink, &mut report).await?;
        }
    }
    Ok(report)
}

/// A segment that the dead process left.
struct LeftoverSegment {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    header: SegmentHeader,
}

impl LeftoverSegment {
    fn position(&self, offset: u64) -> JournalPosition {
        JournalPosition { epoch: self.header.epoch, segment: self.header.number, offset }
    }
}

/// The location of an entry.
#[derive(Clone, Copy)]
struct EntryLocation {
    segment: usize,
    offset: u64,
    bytes: usize,
}

/// A tab without a terminal record.
#[derive(Clone, Copy)]
struct OpenTab {
    state: EntryLocation,
    checkpoint: Option<EntryLocation>,
}

async fn recover_core(
    disk: &dyn Disk,
    dir: &Path,
    core: u32,
    sink: &dyn RecordSink,
    report: &mut RecoveryReport,
) -> Result<(), RecoveryError> {
    let segments = left_segments(disk, dir)?;
    let Some(last) = segments.last() else { return Ok(()) };
    let applied = sink.position(core).await.map_err(RecoveryError::Sink)?.unwrap_or_default();
    let mut replay =
        Replay { core, sink, applied, open: HashMap::new(), settled: SettledRecords::default(), report };
    for (index, segment) in segments.iter().enumerate() {
        replay.segment(index, segment).await?;
    }
    let ends = last.position(AFTER_ALL);
    // Not `covers`: a position in a segment whose header was lost with the power says nothing of open tabs
    // before it.
    if applied != ends {
        replay.close_open_tabs(&segments, ends).await?;
    }
    report.segments += segments.len() as u64;
    free(disk, core, &segments)
}

struct Replay<'a> {
    core: u32,
    sink: &'a dyn RecordSink,
    applied: JournalPosition,
    open: HashMap<TraceId, OpenTab>,
    settled: SettledRecords,
    report: &'a mut RecoveryReport,
}

impl Replay<'_> {
    /// One segment at a time, so that memory is bounded by a segment and the open tabs.
    async fn segment(&mut self, index: usize, segment: &LeftoverSegment) -> Result<(), RecoveryError> {
        let bytes = at(&segment.path, read_whole(&*segment.file))?;
        let mut start = HEADER_BYTES as u64;
        for raw in frames_of(&bytes, &segment.header) {
            let end = (HEADER_BYTES + raw.end) as u64;
            let location = EntryLocation { segment: index, offset: start, bytes: index_of(end - start) };
            start = end;
            self.report.entries += 1;
            self.entry(&raw, location, segment.position(end));
            if self.settled.len() >= RECOVERY_BATCH_RECORDS_MAX {
                self.apply_settled(segment.position(end)).await?;
            }
        }
        self.apply_settled(segment.position(start)).await
    }

    fn entry(&mut self, raw: &RawEntry<'_>, location: EntryLocation, end: JournalPosition) {
        match raw.kind {
            KIND_STATE => {
                self.open.insert(raw.trace, OpenTab { state: location, checkpoint: None });
            }
            KIND_CHECKPOINT => {
                if let Some(tab) = self.open.get_mut(&raw.trace) {
                    tab.checkpoint = Some(location);
                }
            }
            KIND_SETTLED => {
                self.open.remove(&raw.trace);
                if self.applied.covers(end.epoch, end.segment, end.offset) {
                    self.report.skipped += 1;
                } else if Entry::decode(raw).is_some() {
                    self.settled.push(raw.trace, raw.body);
                } else {
                    self.undecodable(raw.trace);
                }
            }
            _ => self.undecodable(raw.trace),
        }
    }

    fn undecodable(&mut self, trace: TraceId) {
        tracing::error!(%trace, "a whole journal entry can't be decoded");
        self.report.undecodable += 1;
    }

    async fn apply_settled(&mut self, upto: JournalPosition) -> Result<(), RecoveryError> {
        let records = std::mem::take(&mut self.settled);
        self.report.applied += records.len() as u64;
        self.apply(upto, records).await
    }

    async fn apply(&self, upto: JournalPosition, records: SettledRecords) -> Result<(), RecoveryError> {
        if records.is_empty() {
            return Ok(());
        }
        let batch = DrainBatch { core: self.core, upto, records };
        self.sink.apply(batch).await.map_err(RecoveryError::Sink)
    }

    async fn close_open_tabs(
        &mut self,
        segments: &[LeftoverSegment],
        ends: JournalPosition,
    ) -> Result<(), RecoveryError> {
        let mut open: Vec<_> = std::mem::take(&mut self.open).into_iter().collect();
        open.sort_by_key(|(trace, _)| *trace);
        // Until the last batch the position stays short of the end: if this process dies, its successor
        // closes the rest.
        let before_end = JournalPosition { offset: ends.offset - 1, ..ends };
        let (mut left, mut closed) = (open.len(), Vec::new());
        for (trace, tab) in open {
            left -= 1;
            match read_tab(segments, tab)? {
                // Whoever goes on with its batch begins it again under its id, and books it then.
                Some(record) if record.extras.side_call.is_some_and(|call| call.is_batch_item()) => {}
                Some(record) => closed.push(record),
                None => self.undecodable(trace),
            }
            if closed.len() >= RECOVERY_BATCH_RECORDS_MAX || left == 0 {
                self.report.interrupted += closed.len() as u64;
                let records = SettledRecords::of(&closed).map_err(RecoveryError::Sink)?;
                self.apply(if left == 0 { ends } else { before_end }, records).await?;
                closed.clear();
            }
        }
        Ok(())
    }
}

/// An open tab of the dead process as a record: built only from its last state and checkpoint, without the
/// current time, so that repeating it gives the same record.
fn read_tab(segments: &[LeftoverSegment], tab: OpenTab) -> Result<Option<MeterRecord>, RecoveryError> {
    let Some(Entry::State(mut state)) = read_entry(segments, tab.state)? else { return Ok(None) };
    if let Some(location) = tab.checkpoint
        && let Some(Entry::Checkpoint(checkpoint)) = read_entry(segments, location)?
    {
        state.checkpoint = *checkpoint;
    }
    Ok(Some(interrupted(*state)))
}

fn interrupted(state: TabState) -> MeterRecord {
    let timeline = state.checkpoint.timeline;
    let last_known_us = [timeline.first_byte_us, timeline.upstream_head_us, timeline.planned_us]
        .into_iter()
        .chain(state.attempts.iter().map(|attempt| attempt.record.started_us + attempt.record.duration_us))
        .max()
        .unwrap_or_default();
    let bytes_out = state.checkpoint.bytes_out;
    let ending = Ending {
        outcome: Outcome::Interrupted,
        // Zero if the client was sent nothing.
        status: if bytes_out > 0 { 200 } else { 0 },
        fault: None,
        fault_code: Some("interrupted".to_owned()),
        reason: None,
        usage: state.last_known_usage(),
        bytes_out,
        fallback_used: false,
        finished_us: last_known_us,
    };
    state.settle(ending)
}

fn read_entry(segments: &[LeftoverSegment], location: EntryLocation) -> Result<Option<Entry>, RecoveryError> {
    let Some(segment) = segments.get(location.segment) else { return Ok(None) };
    let mut bytes = vec![0; location.bytes];
    let count = at(&segment.path, segment.file.read_at(&mut bytes, location.offset))?;
    bytes.truncate(count);
    Ok(parse_records(&bytes, segment.header.seed()).next().and_then(|raw| Entry::decode(&raw)))
}

/// The live segments of a core in the order in which they were written. A file without a complete header was
/// never started, or its first write was lost with everything after it.
fn left_segments(disk: &dyn Disk, dir: &Path) -> Result<Vec<LeftoverSegment>, RecoveryError> {
    let mut segments = Vec::new();
    for path in at(dir, segment_files(disk, dir))? {
        let file: Arc<dyn DiskFile> = at(&path, disk.open(&path))?.into();
        let Some(header) = at(&path, read_header(&*file))?.filter(|header| !header.free) else { continue };
        if header.version != FORMAT_VERSION {
            return Err(RecoveryError::Format { path, version: header.version });
        }
        segments.push(LeftoverSegment { path, file, header });
    }
    segments.sort_by_key(|segment| segment.header.number);
    Ok(segments)
}

/// Oldest first, so that no tab's state outlives the entry that settled it.
fn free(disk: &dyn Disk, core: u32, segments: &[LeftoverSegment]) -> Result<(), RecoveryError> {
    let removed = segments.len().saturating_sub(KEPT_SEGMENTS);
    for (index, segment) in segments.iter().enumerate() {
        let SegmentHeader { number, epoch, .. } = segment.header;
        let freed = if index < removed {
            disk.remove(&segment.path)
        } else {
            mark_free(&*segment.file, core, number, epoch)
        };
        at(&segment.path, freed)?;
    }
    Ok(())
}

fn frames_of<'a>(bytes: &'a [u8], header: &SegmentHeader) -> Frames<'a> {
    parse_records(bytes.get(HEADER_BYTES..).unwrap_or_default(), header.seed())
}

fn read_whole(file: &dyn DiskFile) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; index_of(file.len()?)];
    let count = file.read_at(&mut bytes, 0)?;
    bytes.truncate(count);
    Ok(bytes)
}

fn index_of(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

fn at<T>(path: &Path, result: io::Result<T>) -> Result<T, RecoveryError> {
    result.map_err(|source| RecoveryError::Disk { path: path.to_owned(), source })
}
