//! One core's journal: entries go to a buffer, and one positioned write per turn of the event loop makes them
//! survive the process.

use std::cell::{OnceCell, RefCell, RefMut};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::path::Path;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use domain::{Fault, FaultClass, Nanos, TraceId};
use tasks::Task;
use tokio::sync::Notify;
use world::World;

use crate::entry::{KIND_CHECKPOINT, KIND_SETTLED, KIND_STATE, SettledView, StreamCheckpoint, TabState};
use crate::frame::{self, FORMAT_VERSION, FRAME_HEAD_BYTES, HEADER_BYTES, SegmentHeader};
use crate::limits::READY_SEGMENTS_MAX;
use crate::settings::{Durability, JournalSettings};
use crate::shared::{CoreShared, Counts, JournalShared, LiveSegment, Prepared};
use crate::tab::{Opening, Tab};

/// The delay before a failed write is retried.
const RETRY_WRITE_EVERY: Duration = Duration::from_millis(100);
/// The delay before a segment is prepared again after the disk had no space for one.
const RETRY_PREPARE_US: u64 = 250_000;
/// The retry delay that a client gets when it is refused for lack of disk space.
const STORAGE_RETRY_AFTER_MS: u64 = 1_000;
/// A buffer that a burst grew past this is freed once it is written.
const BUFFER_KEPT_BYTES: usize = 1024 * 1024;

/// A list of waiters that a burst grew past this is freed.
const WAITERS_KEPT: usize = 1_024;

/// Where an entry was appended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Appended {
    pub segment: u64,
    /// Bytes appended to this journal up to the entry's end: what a waiter waits for.
    pub end: u64,
}

/// The journal of one core. It never leaves that core's thread.
pub struct Journal {
    world: World,
    settings: JournalSettings,
    shared: Arc<JournalShared>,
    core: Arc<CoreShared>,
    epoch: u64,
    inner: RefCell<Inner>,
    appended: Rc<Notify>,
    flusher: OnceCell<Task>,
}

/// A terminal record on its way to the disk.
pub struct PendingWrite {
    journal: Rc<Journal>,
    flushes_before: u64,
    cost: Nanos,
}

impl PendingWrite {
    /// What the exchange costs its workspace, as a budget of all costs counts it.
    pub const fn cost(&self) -> Nanos {
        self.cost
    }

    /// Ready once the turn that appended it has ended: then it survives the process. Does not wait while the
    /// disk refuses writes, since the journal retries. An answer whose last byte waits for this is not
    /// recovered as interrupted after a kill.
    pub fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let mut inner = self.journal.inner.borrow_mut();
        if inner.flushes > self.flushes_before || self.journal.core.write_failing.load(Ordering::Relaxed) {
            return Poll::Ready(());
        }
        inner.waiters.push(cx.waker().clone());
        Poll::Pending
    }
}

domain::brief_debug!(PendingWrite);

/// Bytes of one segment that are not written yet.
struct Chunk {
    segment: Arc<LiveSegment>,
    seed: u32,
    /// The offset of `bytes` in the file.
    offset: u64,
    bytes: Vec<u8>,
    /// `Inner::end` and `Inner::counts` at the end of `bytes`.
    end: u64,
    counts: Counts,
}

impl Chunk {
    fn room(&self) -> u64 {
        self.segment.capacity.saturating_sub(self.offset + self.bytes.len() as u64)
    }
}

struct Inner {
    /// The last is the current one and the only one that grows.
    chunks: VecDeque<Chunk>,
    /// Segments for when the current one is full.
    next: VecDeque<Prepared>,
    next_number: u64,
    /// Terminal frames that found no space in spite of the reserve.
    backlog: VecDeque<Vec<u8>>,
    end: u64,
    /// What was appended in this epoch.
    counts: Counts,
    written: u64,
    /// Attempted writes, successful or not.
    flushes: u64,
    write_failures: u64,
    /// Bytes reserved for the terminal records of open tabs.
    reserved: u64,
    /// The largest reserve of one tab: how much the end of a segment may waste.
    reserve_largest: u64,
    open_tabs: u64,
    prepare_again_us: u64,
    waiters: Vec<Waker>,
    /// Where an entry is encoded before its segment is known.
    scratch: Vec<u8>,
}

impl Journal {
    /// Opens the journal of a core under `dir`, with the flusher as a task of the current `LocalSet` unless
    /// `settings.background` is off. Segments of an earlier run must have been recovered; any that were not
    /// stay as they are.
    pub fn open(
        dir: &Path,
        core: u32,
        world: World,
        settings: JournalSettings,
        shared: Arc<JournalShared>,
    ) -> io::Result<Rc<Self>> {
        let (core, next_number) = shared.register_core(dir, core)?;
        // 63 bits, which fit a database's signed integers.
        let epoch = world.random.next_u64() >> 1;
        let inner = Inner {
            chunks: VecDeque::new(),
            next: VecDeque::new(),
            next_number,
            backlog: VecDeque::new(),
            end: 0,
            counts: Counts::default(),
            written: 0,
            flushes: 0,
            write_failures: 0,
            reserved: 0,
            reserve_largest: 0,
            open_tabs: 0,
            prepare_again_us: 0,
            waiters: Vec::new(),
            scratch: Vec::new(),
        };
        let journal = Rc::new(Self {
            world,
            settings,
            shared,
            core,
            epoch,
            inner: RefCell::new(inner),
            appended: Rc::new(Notify::new()),
            flusher: OnceCell::new(),
        });
        journal.begin_first_segment()?;
        if settings.background {
            let flush = flush_each_turn(Rc::downgrade(&journal), Rc::clone(&journal.appended));
            let _first = journal.flusher.set(Task::spawn_local("journal-flush", flush));
        }
        Ok(journal)
    }

    /// Opens a tab, and reserves space for its terminal record.
    ///
    /// # Errors
    /// 503 `storage_full` while the disk is full or refuses writes.
    pub fn open_tab(self: &Rc<Self>, opening: Opening) -> Result<Tab, Box<Fault>> {
        Tab::open(self, opening)
    }

    /// Writes what was appended. Called once per turn by the flusher, at shutdown, and manually in a
    /// simulation.
    ///
    /// # Errors
    /// Any error of the disk; nothing is lost, the next call writes the same bytes again.
    pub fn flush_now(&self) -> io::Result<()> {
        let (result, waiters) = {
            let mut inner = self.inner.borrow_mut();
            self.place_backlog(&mut inner);
            let written_before = inner.written;
            let mut result = self.write_chunks(&mut inner);
            if inner.written > written_before {
                self.shared.wrote();
            }
            if result.is_ok() && !inner.backlog.is_empty() {
                result = Err(io::ErrorKind::StorageFull.into());
            }
            inner.flushes += 1;
            inner.write_failures += u64::from(result.is_err());
            self.core.write_failing.store(result.is_err(), Ordering::Relaxed);
            (result, std::mem::take(&mut inner.waiters))
        };
        self.wake(waiters);
        result
    }

    /// Writes and syncs everything. If no tab is open, none will be opened again either, and the drainer may
    /// free the last segment; otherwise that waits for the last tab, or for the recovery at the next start.
    pub fn close(&self) -> io::Result<()> {
        let flushed = self.flush_now();
        if flushed.is_ok() && self.open_tabs() == 0 {
            self.core.closed.store(true, Ordering::Release);
        }
        self.shared.wake_drainer();
        flushed.and(self.core.sync())
    }

    pub fn open_tabs(&self) -> u64 {
        self.inner.borrow().open_tabs
    }

    /// Bytes reserved for the terminal records of open tabs; zero when idle.
    pub fn reserved_bytes(&self) -> u64 {
        self.inner.borrow().reserved
    }

    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The number of the segment that entries go to.
    pub fn current_segment(&self) -> u64 {
        self.inner.borrow().chunks.back().map_or(0, |chunk| chunk.segment.number)
    }

    /// For the metrics of this core: how often any core's journal was found damaged, and how many records are known to be
    /// missing. The first core reports it for all.
    pub fn damage_counts(&self) -> (u64, u64) {
        if self.core.number == 0 { self.shared.damage_counts() } else { (0, 0) }
    }

    /// Whether new tabs are refused because the disk refuses writes.
    pub fn is_failing(&self) -> bool {
        self.core.is_failing()
    }

    pub(crate) fn monotonic_us(&self) -> u64 {
        self.world.clock.monotonic_us()
    }

    /// Reserves `bytes` for a future terminal record.
    pub(crate) fn reserve(&self, bytes: u64) -> Result<(), Box<Fault>> {
        if self.core.closed.load(Ordering::Relaxed) {
            return Err(shutting_down());
        }
        if self.core.is_failing() {
            return Err(storage_full());
        }
        let mut inner = self.inner.borrow_mut();
        if inner.end <= HEADER_BYTES as u64 {
            // The first tab of this run: a full-size segment should be ready before the small first one is
            // full.
            self.shared.wake_preparer();
        }
        if !self.has_room(&mut inner, bytes) {
            return Err(storage_full());
        }
        inner.reserved += bytes;
        inner.reserve_largest = inner.reserve_largest.max(bytes);
        inner.open_tabs += 1;
        Ok(())
    }

    /// Raises an open tab's reserve, because its terminal record grew. Never refused: attempts check the
    /// space, and the backlog takes the little that may exceed it.
    pub(crate) fn grow_reserve(&self, bytes: u64, tab_total: u64) {
        let mut inner = self.inner.borrow_mut();
        inner.reserved += bytes;
        inner.reserve_largest = inner.reserve_largest.max(tab_total);
    }

    /// Whether `bytes` fit in addition to everything reserved for terminal records.
    pub(crate) fn has_capacity(&self, bytes: u64) -> bool {
        let mut inner = self.inner.borrow_mut();
        inner.backlog.is_empty() && self.has_room(&mut inner, bytes)
    }

    /// Appends the state of an open tab.
    pub(crate) fn append_state(&self, state: &TabState<Arc<str>>) -> Result<Appended, Box<Fault>> {
        let mut inner = self.inner.borrow_mut();
        let frame = encoded(&mut inner, KIND_STATE, state.trace, state)?;
        self.append_refusable(inner, frame).ok_or_else(storage_full)
    }

    /// Appends a checkpoint if there is space; whether there was.
    pub(crate) fn append_checkpoint(&self, trace: TraceId, checkpoint: &StreamCheckpoint) -> bool {
        let mut inner = self.inner.borrow_mut();
        encoded(&mut inner, KIND_CHECKPOINT, trace, checkpoint)
            .is_ok_and(|frame| self.append_refusable(inner, frame).is_some())
    }

    fn append_refusable(&self, mut inner: RefMut<'_, Inner>, mut frame: Vec<u8>) -> Option<Appended> {
        let allowed = inner.backlog.is_empty() && self.has_room(&mut inner, frame.len() as u64);
        let appended = if allowed { self.place(&mut inner, &mut frame) } else { None };
        inner.scratch = frame;
        drop(inner);
        self.appended.notify_one();
        appended
    }

    /// Appends a terminal record and releases its tab's reserve.
    pub(crate) fn append_settled(
        self: &Rc<Self>,
        trace: TraceId,
        record: &SettledView<'_, Arc<str>>,
        (reserved, cost): (u64, Nanos),
    ) -> PendingWrite {
        let mut inner = self.inner.borrow_mut();
        inner.reserved = inner.reserved.saturating_sub(reserved);
        inner.open_tabs = inner.open_tabs.saturating_sub(1);
        let booked = PendingWrite { journal: Rc::clone(self), flushes_before: inner.flushes, cost };
        let Ok(mut frame) = encoded(&mut inner, KIND_SETTLED, trace, record) else { return booked };
        let placed = inner.backlog.is_empty() && self.place(&mut inner, &mut frame).is_some();
        if placed {
            inner.scratch = frame;
        } else {
            inner.backlog.push_back(frame);
            self.core.write_failing.store(true, Ordering::Relaxed);
        }
        drop(inner);
        self.appended.notify_one();
        booked
    }

    /// Resolves once everything up to `end` is as durable as the settings require.
    pub(crate) async fn durable(&self, end: u64) -> Result<(), Box<Fault>> {
        let failures_before =
            (self.inner.borrow().write_failures, self.core.sync_failures.load(Ordering::Acquire));
        poll_fn(|context| {
            let mut inner = self.inner.borrow_mut();
            if self.durable_end(&inner) >= end {
                return Poll::Ready(Ok(()));
            }
            let failures = (inner.write_failures, self.core.sync_failures.load(Ordering::Acquire));
            if failures != failures_before {
                return Poll::Ready(Err(storage_full()));
            }
            inner.waiters.push(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    fn durable_end(&self, inner: &Inner) -> u64 {
        match self.settings.durability {
            Durability::Written => inner.written,
            Durability::Synced => self.core.synced_end.load(Ordering::Acquire),
        }
    }

    fn wake_waiters(&self) {
        let waiters = std::mem::take(&mut self.inner.borrow_mut().waiters);
        self.wake(waiters);
    }

    /// Wakes all waiters and keeps the list's memory for the next turn. Not under the borrow, since a waker
    /// may run anything.
    fn wake(&self, mut waiters: Vec<Waker>) {
        waiters.drain(..).for_each(Waker::wake);
        let mut inner = self.inner.borrow_mut();
        if inner.waiters.capacity() == 0 && waiters.capacity() <= WAITERS_KEPT {
            inner.waiters = waiters;
        }
    }

    fn begin_first_segment(&self) -> io::Result<()> {
        let mut inner = self.inner.borrow_mut();
        let prepared = match self.core.take_free() {
            Some(prepared) => prepared,
            None => self.shared.prepare(&self.core, self.settings.first_segment_bytes)?,
        };
        self.begin_segment(&mut inner, prepared);
        drop(inner);
        self.flush_now()
    }

    /// Whether `bytes` fit in addition to the reserve; gets further segments for that.
    fn has_room(&self, inner: &mut Inner, bytes: u64) -> bool {
        let wanted = inner.reserved + bytes + inner.reserve_largest.max(bytes);
        let current = inner.chunks.back().map_or(0, Chunk::room);
        let mut room = current;
        for next in &inner.next {
            room += next.usable_bytes();
        }
        while room < wanted && inner.next.len() < READY_SEGMENTS_MAX {
            let Some(next) = self.find_segment(inner) else { return false };
            room += next.usable_bytes();
            inner.next.push_back(next);
        }
        room >= wanted
    }

    /// A recycled or prepared segment, else a small one that is allocated synchronously.
    fn find_segment(&self, inner: &mut Inner) -> Option<Prepared> {
        if let Some(prepared) = self.core.take_free() {
            self.shared.wake_preparer();
            return Some(prepared);
        }
        let now = self.world.clock.monotonic_us();
        if now < inner.prepare_again_us {
            return None;
        }
        match self.shared.prepare(&self.core, self.settings.first_segment_bytes) {
            Ok(prepared) => {
                self.shared.wake_preparer();
                Some(prepared)
            }
            Err(error) => {
                inner.prepare_again_us = now + RETRY_PREPARE_US;
                tracing::error!(core = self.core.number, %error, "no room for another journal segment");
                None
            }
        }
    }

    fn begin_segment(&self, inner: &mut Inner, prepared: Prepared) {
        let number = inner.next_number;
        inner.next_number += 1;
        let header = SegmentHeader {
            version: FORMAT_VERSION,
            core: self.core.number,
            number,
            epoch: self.epoch,
            free: false,
        };
        inner.end += HEADER_BYTES as u64;
        let segment = Arc::new(LiveSegment::begin(number, self.epoch, inner.counts, prepared));
        self.core.push_live(Arc::clone(&segment));
        let bytes = header.encode().to_vec();
        let (end, counts) = (inner.end, inner.counts);
        inner.chunks.push_back(Chunk { segment, seed: header.seed(), offset: 0, bytes, end, counts });
    }

    /// Puts a frame into the current segment, or into the next if it doesn't fit; `None` if there is no next.
    fn place(&self, inner: &mut Inner, frame: &mut [u8]) -> Option<Appended> {
        let bytes = frame.len() as u64;
        if inner.chunks.back().is_none_or(|chunk| chunk.room() < bytes) {
            let next = inner.next.pop_front().or_else(|| self.find_segment(inner))?;
            if next.usable_bytes() < bytes {
                inner.next.push_front(next);
                return None;
            }
            self.begin_segment(inner, next);
        }
        inner.end += bytes;
        inner.counts.entries += 1;
        inner.counts.settled += u64::from(frame.get(FRAME_HEAD_BYTES) == Some(&KIND_SETTLED));
        let (end, counts) = (inner.end, inner.counts);
        let chunk = inner.chunks.back_mut()?;
        frame::seal(frame, chunk.seed);
        chunk.bytes.extend_from_slice(frame);
        (chunk.end, chunk.counts) = (end, counts);
        Some(Appended { segment: chunk.segment.number, end })
    }

    fn place_backlog(&self, inner: &mut Inner) {
        while let Some(mut frame) = inner.backlog.pop_front() {
            if self.place(inner, &mut frame).is_none() {
                inner.backlog.push_front(frame);
                return;
            }
        }
    }

    fn write_chunks(&self, inner: &mut Inner) -> io::Result<()> {
        while let Some(chunk) = inner.chunks.front_mut() {
            if !chunk.bytes.is_empty() {
                chunk.segment.file.write_at(&chunk.bytes, chunk.offset)?;
                chunk.offset += chunk.bytes.len() as u64;
                chunk.segment.wrote(chunk.offset, chunk.counts);
                chunk.bytes.clear();
                chunk.bytes.shrink_to(BUFFER_KEPT_BYTES);
                inner.written = chunk.end;
                self.core.written_end.store(chunk.end, Ordering::Release);
            }
            if inner.chunks.len() == 1 {
                return Ok(());
            }
            if let Some(done) = inner.chunks.pop_front() {
                done.segment.sealed.store(true, Ordering::Release);
            }
        }
        Ok(())
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // Tabs hold their journal, so none is open.
        match self.flush_now() {
            Ok(()) => self.core.closed.store(true, Ordering::Release),
            Err(error) => {
                tracing::error!(core = self.core.number, %error, "the journal could not be written at its end");
            }
        }
        // Wakes the flusher, which finds the journal gone and ends.
        self.appended.notify_one();
    }
}

domain::brief_debug!(Journal, |it| core = it.core.number);

/// Builds the frame in the scratch buffer; the caller puts the buffer back.
fn encoded<T: serde::Serialize>(
    inner: &mut Inner,
    kind: u8,
    trace: TraceId,
    body: &T,
) -> Result<Vec<u8>, Box<Fault>> {
    let mut frame = std::mem::take(&mut inner.scratch);
    frame.clear();
    match frame::append_frame(&mut frame, kind, trace, body) {
        Ok(()) => Ok(frame),
        Err(error) => {
            tracing::error!(%trace, ?error, "a journal entry could not be encoded");
            Err(Box::new(Fault::internal()))
        }
    }
}

fn storage_full() -> Box<Fault> {
    Box::new(
        Fault::new(FaultClass::Unavailable, "storage_full", "The gateway can't write its journal: the disk is full or fails.")
            .fix("Send the request again in a second; the operator of this gateway must free space in its data directory.")
            .retry_after_ms(STORAGE_RETRY_AFTER_MS),
    )
}

fn shutting_down() -> Box<Fault> {
    Box::new(
        Fault::new(FaultClass::Unavailable, "shutting_down", "The gateway is shutting down.")
            .fix("Send the request again in a second.")
            .retry_after_ms(STORAGE_RETRY_AFTER_MS),
    )
}

/// The flusher: woken by the first append of a turn, it lets the rest of the turn run and writes for all of
/// it.
async fn flush_each_turn(journal: Weak<Journal>, appended: Rc<Notify>) {
    let Some(core) = journal.upgrade().map(|journal| Arc::clone(&journal.core)) else { return };
    let mut failing = false;
    loop {
        tokio::select! {
            () = appended.notified() => tokio::task::yield_now().await,
            () = core.synced.notified() => {
                let Some(journal) = journal.upgrade() else { return };
                journal.wake_waiters();
                continue;
            }
        }
        let Some(journal) = journal.upgrade() else { return };
        let result = journal.flush_now();
        drop(journal);
        if let Err(error) = result {
            if !failing {
                tracing::error!(core = core.number, %error, "the journal can't be written; new requests are refused");
            }
            tokio::time::sleep(RETRY_WRITE_EVERY).await;
            appended.notify_one();
            failing = true;
        } else {
            failing = false;
        }
    }
}
