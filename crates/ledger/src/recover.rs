//! Crash recovery: brings what an earlier run left in its journal into the books, before anything is served.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::{MeterRecord, Outcome, TraceId};
use world::{Disk, DiskFile, World};

use crate::damage::{self, JournalDamage};
use crate::entry::{Ending, Entry, KIND_CHECKPOINT, KIND_SETTLED, KIND_STATE, TabState};
use crate::frame::{
    FORMAT_VERSION, FRAME_HEAD_BYTES, HEADER_BYTES, PAYLOAD_HEAD_BYTES, RawEntry, Salvage, SegmentHeader,
    parse_records, salvage_records,
};
use crate::limits::RECOVERY_BATCH_RECORDS_MAX;
use crate::mark::{Found, Mark, MarkFile, marks_dir};
use crate::shared::{core_dir, mark_free, read_header, segment_files};
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
    /// Cores whose journal lacks something that was written, or can't be read whole.
    pub damaged: u64,
    /// Entries that are known to be missing, and the settled records among them that the sink doesn't have either.
    pub entries_missing: u64,
    pub records_missing: u64,
}

/// Why the books can't be brought up to date; nothing may be served then.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    #[error("the journal at {} could not be read or freed", path.display())]
    Disk { path: PathBuf, source: io::Error },
    #[error("the journal could not be brought into the store")]
    Sink(#[source] SinkError),
    /// Another version of the program wrote it.
    #[error(
        "{} has journal format {version}, and this program reads format {FORMAT_VERSION}: start the version that wrote \
         it once and stop it gracefully, then upgrade",
        path.display()
    )]
    Format { path: PathBuf, version: u32 },
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
    let mut cores = BTreeSet::new();
    // A core whose directory is gone has its mark.
    for dir in [dir, &marks_dir(dir)] {
        let entries = at(dir, disk.create_dir_all(dir).and_then(|()| disk.list(dir)))?;
        cores.extend(
            entries
                .iter()
                .filter_map(|path| path.file_name()?.to_str()?.strip_prefix("core-")?.parse::<u32>().ok()),
        );
    }
    for core in cores {
        recover_core(world, dir, core, sink, &mut report).await?;
    }
    Ok(report)
}

/// A segment that the dead process left.
struct LeftoverSegment {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    header: SegmentHeader,
    is_damaged: bool,
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
    world: &World,
    journal: &Path,
    core: u32,
    sink: &dyn RecordSink,
    report: &mut RecoveryReport,
) -> Result<(), RecoveryError> {
    let (disk, dir) = (&*world.disk, core_dir(journal, core));
    at(&dir, disk.create_dir_all(&dir))?;
    let mut mark = at(&dir, MarkFile::open(disk, journal, core))?;
    let mut left = left_segments(disk, &dir)?;
    let mut census = Census::of(mark.found);
    left.find_headless(&mut census)?;
    let mut segments = left.segments;
    let applied = sink.position(core).await.map_err(RecoveryError::Sink)?.unwrap_or_default();
    let settled = SettledRecords::default();
    let mut replay = Replay { core, sink, applied, open: HashMap::new(), settled, report, census };
    for (index, segment) in segments.iter_mut().enumerate() {
        replay.segment(index, segment).await?;
    }
    // Not `covers`: a position in a segment whose header was lost with the power says nothing of open tabs
    // before it.
    if let Some(ends) = segments.last().map(|last| last.position(AFTER_ALL)).filter(|ends| applied != *ends) {
        replay.close_open_tabs(&segments, ends).await?;
    }
    let census = replay.census;
    report.segments += segments.len() as u64;
    if let Some(damage) = census.damage(core, world.clock.unix_ms(), &mut segments) {
        report.damaged += 1;
        report.entries_missing += damage.entries_missing;
        report.records_missing += damage.records_missing;
        // Before anything is moved or forgotten: the next start would find less.
        at(journal, damage::note(disk, journal, &damage, None))?;
        for path in &left.unreadable {
            at(path, damage::keep_aside(disk, &dir, path, damage.epoch))?;
        }
    }
    if census.is_unreadable || census.mark.is_some_and(|mark| !mark.is_of_none()) {
        at(&dir, mark.put(census.mark.unwrap_or_default().of_none(), true))?;
    }
    free(disk, (core, &dir), &segments)
}

/// What was found of a journal, compared with its mark.
struct Census {
    /// `None` if there is none: then nothing is known to be missing.
    mark: Option<Mark>,
    is_unreadable: bool,
    /// The numbers of needed segments of which nothing was found.
    gone: Vec<u64>,
    entries: u64,
    pending: u64,
}

impl Census {
    fn of(found: Found) -> Self {
        let (mark, is_unreadable) = match found {
            Found::Mark(mark) => (Some(mark), false),
            Found::Nothing => (None, false),
            Found::Unreadable => (None, true),
        };
        Self { mark, is_unreadable, gone: Vec::new(), entries: 0, pending: 0 }
    }

    /// Whether a break in this segment is damage. Without a mark it may be a copy that was made while the segment was written.
    fn judges(&self, header: &SegmentHeader) -> bool {
        self.is_unreadable || self.mark.is_some_and(|mark| mark.epoch == header.epoch)
    }

    fn count(&mut self, header: &SegmentHeader, end: u64, kind: u8) {
        if let Some(mark) = self.mark.filter(|mark| mark.counts(header, end)) {
            self.entries += 1;
            let is_drained = (header.number, end) <= mark.drained_to;
            self.pending += u64::from(kind == KIND_SETTLED && !is_drained);
        }
    }

    /// What is wrong, if anything is; the segments that are to be kept aside are then marked as damaged.
    fn damage(
        &self,
        core: u32,
        found_unix_ms: u64,
        segments: &mut [LeftoverSegment],
    ) -> Option<JournalDamage> {
        let mark = self.mark.unwrap_or_default();
        let entries_missing = mark.entries.saturating_sub(self.entries);
        let records_missing = mark.pending().saturating_sub(self.pending);
        let has_broken = segments.iter().any(|segment| segment.is_damaged);
        let is_short = entries_missing > 0 || records_missing > 0;
        if !is_short && !has_broken && self.gone.is_empty() && !self.is_unreadable {
            return None;
        }
        if is_short && !has_broken && self.gone.is_empty() {
            // The end of any of them may be what is lost.
            for segment in segments.iter_mut().filter(|segment| mark.needs(&segment.header)) {
                segment.is_damaged = true;
            }
        }
        let damaged = segments.iter().filter(|segment| segment.is_damaged);
        let epoch = self.mark.map(|mark| mark.epoch).or_else(|| Some(segments.last()?.header.epoch));
        Some(JournalDamage {
            core,
            epoch: epoch.unwrap_or_default(),
            found_unix_ms,
            damaged: damaged.map(|segment| segment.header.number).collect(),
            gone: self.gone.clone(),
            entries_missing,
            records_missing,
        })
    }
}

struct Replay<'a> {
    core: u32,
    sink: &'a dyn RecordSink,
    applied: JournalPosition,
    open: HashMap<TraceId, OpenTab>,
    settled: SettledRecords,
    report: &'a mut RecoveryReport,
    census: Census,
}

impl Replay<'_> {
    /// One segment at a time, so that memory is bounded by a segment and the open tabs.
    async fn segment(&mut self, index: usize, segment: &mut LeftoverSegment) -> Result<(), RecoveryError> {
        let bytes = at(&segment.path, read_whole(&*segment.file))?;
        let mut reached = HEADER_BYTES as u64;
        let mut entries = entries_of(&bytes, &segment.header);
        for raw in entries.by_ref() {
            reached = (HEADER_BYTES + raw.end) as u64;
            let length = FRAME_HEAD_BYTES + PAYLOAD_HEAD_BYTES + raw.body.len();
            let location = EntryLocation { segment: index, offset: reached - length as u64, bytes: length };
            self.report.entries += 1;
            self.census.count(&segment.header, reached, raw.kind);
            self.entry(&raw, location, segment.position(reached));
            if self.settled.len() >= RECOVERY_BATCH_RECORDS_MAX {
                self.apply_settled(segment.position(reached)).await?;
            }
        }
        if entries.gaps() > 0 {
            segment.is_damaged |= self.census.judges(&segment.header);
            tracing::warn!(
                path = %segment.path.display(),
                gaps = entries.gaps(),
                "a journal segment has entries behind bytes that are none"
            );
        }
        self.apply_settled(segment.position(reached)).await
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

/// The files of a core.
struct Leftovers {
    /// The header with the greatest number, of free segments too.
    newest: Option<SegmentHeader>,
    /// Its live segments in the order in which they were written.
    segments: Vec<LeftoverSegment>,
    /// Files without a complete header: never started, or the first write was lost with everything after it, or damaged.
    headless: Vec<(PathBuf, Arc<dyn DiskFile>)>,
    /// Those of them that hold something, and no entry of a segment that is needed.
    unreadable: Vec<PathBuf>,
}

fn left_segments(disk: &dyn Disk, dir: &Path) -> Result<Leftovers, RecoveryError> {
    let mut left =
        Leftovers { newest: None, segments: Vec::new(), headless: Vec::new(), unreadable: Vec::new() };
    for path in at(dir, segment_files(disk, dir))? {
        let file: Arc<dyn DiskFile> = at(&path, disk.open(&path))?.into();
        let header = at(&path, read_header(&*file))?;
        left.newest = left.newest.into_iter().chain(header).max_by_key(|header| header.number);
        match header {
            None => left.headless.push((path, file)),
            Some(header) if header.free => {}
            Some(header) if header.version != FORMAT_VERSION => {
                return Err(RecoveryError::Format { path, version: header.version });
            }
            Some(header) => left.segments.push(LeftoverSegment { path, file, header, is_damaged: false }),
        }
    }
    left.segments.sort_by_key(|segment| segment.header.number);
    Ok(left)
}

impl Leftovers {
    /// Looks for the needed segments whose header is damaged: their checksums say which they are.
    fn find_headless(&mut self, census: &mut Census) -> Result<(), RecoveryError> {
        // A version that writes no marks may have gone on with the journal and freed what the mark names.
        let goes_on =
            |mark: Mark| self.newest.is_some_and(|it| it.epoch != mark.epoch && it.number > mark.current);
        census.mark = census.mark.filter(|mark| !goes_on(*mark));
        let Some(mark) = census.mark else { return Ok(()) };
        let found: BTreeSet<u64> =
            self.segments.iter().filter(|one| mark.needs(&one.header)).map(|one| one.header.number).collect();
        census.gone = (mark.oldest..=mark.current).filter(|number| !found.contains(number)).collect();
        if census.gone.is_empty() {
            return Ok(());
        }
        for (path, file) in std::mem::take(&mut self.headless) {
            let bytes = at(&path, read_whole(&*file))?;
            if bytes.iter().all(|byte| *byte == 0) {
                continue;
            }
            let header_of = |number: &u64| SegmentHeader {
                version: FORMAT_VERSION,
                core: 0,
                number: *number,
                epoch: mark.epoch,
                free: false,
            };
            let mut headers = census.gone.iter().map(header_of);
            match headers.find(|header| entries_of(&bytes, header).next().is_some()) {
                Some(header) => {
                    census.gone.retain(|number| *number != header.number);
                    self.segments.push(LeftoverSegment { path, file, header, is_damaged: true });
                }
                None => self.unreadable.push(path),
            }
        }
        self.segments.sort_by_key(|segment| segment.header.number);
        Ok(())
    }
}

/// Oldest first, so that no tab's state outlives the entry that settled it.
fn free(
    disk: &dyn Disk,
    (core, dir): (u32, &Path),
    segments: &[LeftoverSegment],
) -> Result<(), RecoveryError> {
    let removed = segments.len().saturating_sub(KEPT_SEGMENTS);
    for (index, segment) in segments.iter().enumerate() {
        let SegmentHeader { number, epoch, .. } = segment.header;
        let freed = if segment.is_damaged {
            damage::keep_aside(disk, dir, &segment.path, epoch)
        } else if index < removed {
            disk.remove(&segment.path)
        } else {
            mark_free(&*segment.file, core, number, epoch)
        };
        at(&segment.path, freed)?;
    }
    Ok(())
}

fn entries_of<'a>(bytes: &'a [u8], header: &SegmentHeader) -> Salvage<'a> {
    salvage_records(bytes.get(HEADER_BYTES..).unwrap_or_default(), header.seed())
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
