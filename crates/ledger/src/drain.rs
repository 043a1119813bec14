//! The drainer: tails the cores' journals, passes settled records to the store, and recycles segments that
//! are no longer needed.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use domain::TraceId;
use domain::limits::{DRAIN_EVERY, JOURNAL_RECORD_BYTES_MAX};
use tokio::sync::Mutex;

use crate::damage::{self, JournalDamage};
use crate::entry::{KIND_SETTLED, KIND_STATE};
use crate::frame::{
    FRAME_HEAD_BYTES, HEADER_BYTES, PAYLOAD_HEAD_BYTES, parse_records, salvage_records, seed,
};
use crate::limits::DRAIN_RETRY_MAX;
use crate::shared::{CoreShared, JournalShared, LiveSegment};
use crate::sink::{DrainBatch, JournalPosition, RecordSink, SettledRecords, SinkError};

/// The read size, which also bounds a batch: large, since each batch is a commit.
const READ_BYTES: usize = 2 * 1024 * 1024;

/// The result of one pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DrainStep {
    pub records: u64,
    pub segments_recycled: u64,
    /// Bytes of a published segment that could not be parsed: the disk returned something other than what was
    /// written.
    pub damaged_bytes: u64,
}

/// Why a pass ended early; what was not applied is read again.
#[derive(Debug, thiserror::Error)]
pub enum DrainError {
    #[error(transparent)]
    Sink(SinkError),
    #[error("the journal could not be read back")]
    Disk(#[source] io::Error),
}

/// The drainer's position in one core's journal.
#[derive(Default)]
struct Cursor {
    /// The number of the segment being read; everything before it is applied.
    segment: u64,
    offset: u64,
    /// Tabs without a terminal record so far, and the segment with their last full state.
    open: BTreeMap<TraceId, u64>,
    /// The read buffer, reused so that no pass has to zero a fresh one.
    window: Vec<u8>,
}

/// One parsed piece of a segment: nothing of it counts before the sink has accepted it.
#[derive(Default)]
struct Piece {
    records: SettledRecords,
    /// `true` if the entry is a tab's state, `false` if it settles the tab.
    tabs: Vec<(TraceId, bool)>,
    bytes: u64,
    damaged_bytes: u64,
}

/// Applies every core's settled records to the sink within little more than `DRAIN_EVERY`. It runs on the
/// runtime that computes nothing for tenants, where blocking reads of cached files do no harm.
pub struct Drainer {
    shared: Arc<JournalShared>,
    sink: Arc<dyn RecordSink>,
    cursors: Mutex<HashMap<u32, Cursor>>,
    stopped: AtomicBool,
    /// The monotonic time at which the passes since the last success began to fail; `NEVER` if the last one
    /// succeeded.
    failing_since_us: AtomicU64,
}

const NEVER: u64 = u64::MAX;

impl Drainer {
    pub fn new(shared: Arc<JournalShared>, sink: Arc<dyn RecordSink>) -> Arc<Self> {
        Arc::new(Self {
            shared,
            sink,
            cursors: Mutex::new(HashMap::new()),
            stopped: AtomicBool::new(false),
            failing_since_us: AtomicU64::new(NEVER),
        })
    }

    /// Drains until `stop`: sleeps while nothing is written, retries with backoff while the sink fails.
    pub async fn run(&self) {
        let mut backoff = DRAIN_EVERY;
        while !self.stopped.load(Ordering::Acquire) {
            self.shared.await_write().await;
            // Collects a batch; writes in the meantime wake nothing.
            tokio::time::sleep(backoff).await;
            match self.drain_once().await {
                Ok(_) => backoff = DRAIN_EVERY,
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "draining the journal; it is tried again"
                    );
                    backoff = (backoff * 2).min(DRAIN_RETRY_MAX);
                    self.shared.wake_drainer();
                }
            }
        }
    }

    /// Ends `run` after the current pass.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.shared.wake_drainer();
    }

    /// Applies everything that is written by now: for shutdown, after the journals are closed.
    ///
    /// # Errors
    /// Any error of the sink or the disk; what was not applied is in the journal and is recovered at the next
    /// start.
    pub async fn drain_all(&self) -> Result<DrainStep, DrainError> {
        self.drain_once().await
    }

    /// One pass over all cores, to the end of what each had written when the pass reached it.
    pub async fn drain_once(&self) -> Result<DrainStep, DrainError> {
        let began_us = self.shared.monotonic_us();
        let done = self.pass().await;
        match &done {
            Ok(_) => self.failing_since_us.store(NEVER, Ordering::Relaxed),
            Err(_) => _ = self.failing_since_us.fetch_min(began_us, Ordering::Relaxed),
        }
        done
    }

    /// How long draining has been failing: zero if the last pass succeeded.
    pub fn failing_for(&self) -> Duration {
        match self.failing_since_us.load(Ordering::Relaxed) {
            NEVER => Duration::ZERO,
            since_us => Duration::from_micros(self.shared.monotonic_us().saturating_sub(since_us)),
        }
    }

    async fn pass(&self) -> Result<DrainStep, DrainError> {
        let mut cursors = self.cursors.lock().await;
        let mut step = DrainStep::default();
        for core in self.shared.cores() {
            let cursor = cursors.entry(core.number).or_default();
            self.drain_core(&core, cursor, &mut step).await?;
        }
        Ok(step)
    }

    async fn drain_core(
        &self,
        core: &CoreShared,
        cursor: &mut Cursor,
        step: &mut DrainStep,
    ) -> Result<(), DrainError> {
        for segment in core.live_segments() {
            if segment.number < cursor.segment {
                continue;
            }
            if segment.number > cursor.segment {
                cursor.segment = segment.number;
                cursor.offset = HEADER_BYTES as u64;
            }
            // Loaded before `written`, so that the end of a sealed segment is final.
            let sealed = segment.sealed.load(Ordering::Acquire);
            let written = segment.written.load(Ordering::Acquire);
            while cursor.offset < written {
                let piece = read_piece(&segment, cursor.offset, written, &mut cursor.window);
                let piece = piece.map_err(DrainError::Disk)?;
                if piece.damaged_bytes > 0 {
                    self.note_damage(core, &segment, cursor.offset).map_err(DrainError::Disk)?;
                }
                self.apply(core, cursor, &segment, piece, step).await?;
            }
            if !sealed && !core.closed.load(Ordering::Acquire) {
                break;
            }
        }
        self.recycle(core, cursor, step).map_err(DrainError::Disk)
    }

    async fn apply(
        &self,
        core: &CoreShared,
        cursor: &mut Cursor,
        segment: &LiveSegment,
        piece: Piece,
        step: &mut DrainStep,
    ) -> Result<(), DrainError> {
        let offset = cursor.offset + piece.bytes;
        let count = piece.records.len() as u64;
        if count > 0 {
            let upto = JournalPosition { epoch: segment.epoch, segment: segment.number, offset };
            let batch = DrainBatch { core: core.number, upto, records: piece.records };
            self.sink.apply(batch).await.map_err(DrainError::Sink)?;
        }
        cursor.offset = offset;
        if count > 0 {
            core.drained_to(segment.number, offset, count);
        }
        for (trace, open) in piece.tabs {
            if open {
                cursor.open.insert(trace, segment.number);
            } else {
                cursor.open.remove(&trace);
            }
        }
        step.records += count;
        step.damaged_bytes += piece.damaged_bytes;
        Ok(())
    }

    /// Notes, once a segment, that it can't be read back; it is kept aside when it would be recycled.
    fn note_damage(&self, core: &CoreShared, segment: &LiveSegment, offset: u64) -> io::Result<()> {
        if segment.is_damaged.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        tracing::error!(
            core = core.number,
            segment = segment.number,
            offset,
            "the journal reads back damaged; what is behind the damage is read on"
        );
        let damage = JournalDamage {
            core: core.number,
            epoch: segment.epoch,
            found_unix_ms: self.shared.unix_ms(),
            damaged: vec![segment.number],
            entries_missing: 1,
            ..JournalDamage::default()
        };
        self.shared.count_damage(&damage);
        let journal = core.dir.parent().unwrap_or(&core.dir);
        damage::note(self.shared.disk(), journal, &damage, Some(segment.number))
    }

    /// Frees segments that are read to their end and that no open tab needs, oldest first, so that no tab's
    /// state outlives its terminal record.
    fn recycle(&self, core: &CoreShared, cursor: &Cursor, step: &mut DrainStep) -> io::Result<()> {
        let needed = cursor.open.values().min().copied().unwrap_or(u64::MAX);
        for segment in core.live_segments() {
            let sealed = segment.sealed.load(Ordering::Acquire) || core.closed.load(Ordering::Acquire);
            let drained = segment.number < cursor.segment
                || (segment.number == cursor.segment
                    && cursor.offset >= segment.written.load(Ordering::Acquire));
            if !sealed || !drained || segment.number >= needed {
                return Ok(());
            }
            // What was read from later segments may be in the page cache only: if a power loss takes a tab's
            // newer state, recovery needs the older one.
            core.sync()?;
            core.recycle_oldest(self.shared.disk(), segment.number, self.shared.keep_bytes_min())?;
            step.segments_recycled += 1;
        }
        Ok(())
    }
}

domain::brief_debug!(Drainer);

fn read_piece(segment: &LiveSegment, offset: u64, written: u64, window: &mut Vec<u8>) -> io::Result<Piece> {
    let available = usize::try_from(written - offset).unwrap_or(usize::MAX);
    let longest = FRAME_HEAD_BYTES + JOURNAL_RECORD_BYTES_MAX;
    // A window that holds the longest frame always holds at least one complete frame.
    let length = available.min(READ_BYTES.max(longest));
    if window.len() < length {
        window.resize(length, 0);
    }
    let buffer = window.get_mut(..length).unwrap_or_default();
    let count = segment.file.read_at(buffer, offset)?;
    let bytes = buffer.get(..count).unwrap_or_default();
    let mut piece = Piece::default();
    let mut frames = parse_records(bytes, seed(segment.epoch, segment.number));
    let mut settled = Vec::new();
    for raw in frames.by_ref() {
        match raw.kind {
            KIND_STATE => piece.tabs.push((raw.trace, true)),
            KIND_SETTLED => {
                piece.tabs.push((raw.trace, false));
                settled.push(raw);
            }
            _ => {}
        }
    }
    piece.records = SettledRecords::of_entries(&settled);
    piece.bytes = frames.position() as u64;
    if piece.bytes == 0 {
        // The next frame behind the damage is in this window, or begins too close to its end to be whole in it.
        let mut behind = salvage_records(bytes, seed(segment.epoch, segment.number));
        let next =
            behind.next().map(|first| first.end - FRAME_HEAD_BYTES - PAYLOAD_HEAD_BYTES - first.body.len());
        let whole = if length == available { length } else { length - longest + 1 };
        piece.damaged_bytes = next.unwrap_or(whole) as u64;
        piece.bytes = piece.damaged_bytes;
    }
    Ok(piece)
}
