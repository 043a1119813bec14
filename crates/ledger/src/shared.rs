//! Journal state shared by all cores: published segments, the fsync thread, and the thread that preallocates
//! segments.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use domain::limits::JOURNAL_SYNC_EVERY;
use tasks::Thread;
use tokio::sync::Notify;
use world::{Clock, Disk, DiskFile, World};

use crate::damage::{self, JournalDamage};
use crate::frame::{HEADER_BYTES, SegmentHeader};
use crate::limits::FREE_SEGMENTS_MAX;
use crate::mark::{Found, Mark, MarkFile};
use crate::settings::{Durability, JournalSettings};

/// Zeros are written in steps, so that a serving core's write never queues behind a whole segment.
const PREPARE_STEP_BYTES: usize = 256 * 1024;
const PREPARE_STEP_PAUSE: Duration = Duration::from_millis(1);
/// How many prepared or recycled segments each core should have waiting.
const FREE_SEGMENTS_MIN: usize = 1;
/// The background retry delay after the disk refused.
const RETRY_PREPARE_EVERY: Duration = Duration::from_millis(250);
const SEGMENT_SUFFIX: &str = "seg";

/// A segment that a core is writing or has written, and that is not recycled yet.
pub struct LiveSegment {
    pub number: u64,
    pub epoch: u64,
    pub capacity: u64,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
    /// Bytes covered by completed writes; readers read this far.
    pub(crate) written: AtomicU64,
    synced: AtomicU64,
    /// No byte will follow.
    pub(crate) sealed: AtomicBool,
    /// What this epoch appended before the segment, and up to `written`.
    before: Counts,
    entries: AtomicU64,
    settled: AtomicU64,
    /// Something in it can't be read back.
    pub(crate) is_damaged: AtomicBool,
}

/// Entries of an epoch, and the settled records among them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub entries: u64,
    pub settled: u64,
}

/// How far the sink has the settled records of an epoch, and how many these are.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Drained {
    pub segment: u64,
    pub offset: u64,
    pub settled: u64,
}

impl LiveSegment {
    pub(crate) fn begin(number: u64, epoch: u64, before: Counts, prepared: Prepared) -> Self {
        Self {
            number,
            epoch,
            capacity: prepared.capacity,
            path: prepared.path,
            file: prepared.file,
            written: AtomicU64::new(0),
            synced: AtomicU64::new(0),
            sealed: AtomicBool::new(false),
            before,
            entries: AtomicU64::new(before.entries),
            settled: AtomicU64::new(before.settled),
            is_damaged: AtomicBool::new(false),
        }
    }

    /// Bytes were written up to here, and entries up to these counts. The counts are published last and read first, so that
    /// nobody counts an entry beyond `written`.
    pub(crate) fn wrote(&self, written: u64, counts: Counts) {
        self.written.store(written, Ordering::Release);
        self.entries.store(counts.entries, Ordering::Release);
        self.settled.store(counts.settled, Ordering::Release);
    }

    fn counts(&self) -> Counts {
        Counts {
            entries: self.entries.load(Ordering::Acquire),
            settled: self.settled.load(Ordering::Acquire),
        }
    }
}

/// A segment that is ready for use.
pub(crate) struct Prepared {
    pub path: PathBuf,
    pub file: Arc<dyn DiskFile>,
    pub capacity: u64,
}

impl Prepared {
    pub(crate) const fn usable_bytes(&self) -> u64 {
        self.capacity.saturating_sub(HEADER_BYTES as u64)
    }
}

/// The part of one core's journal that other threads see.
pub(crate) struct CoreShared {
    pub number: u32,
    pub dir: PathBuf,
    live: Mutex<VecDeque<Arc<LiveSegment>>>,
    free: Mutex<VecDeque<Prepared>>,
    mark: Mutex<MarkFile>,
    drained: Mutex<Drained>,
    next_file: AtomicU64,
    /// How many bytes ever appended are written, and how many are synced.
    pub written_end: AtomicU64,
    pub synced_end: AtomicU64,
    pub synced: Notify,
    pub sync_failures: AtomicU64,
    pub sync_failing: AtomicBool,
    pub write_failing: AtomicBool,
    pub closed: AtomicBool,
}

impl CoreShared {
    pub(crate) fn is_failing(&self) -> bool {
        self.write_failing.load(Ordering::Relaxed) || self.sync_failing.load(Ordering::Relaxed)
    }

    pub(crate) fn push_live(&self, segment: Arc<LiveSegment>) {
        lock(&self.live).push_back(segment);
    }

    pub(crate) fn live_segments(&self) -> Vec<Arc<LiveSegment>> {
        lock(&self.live).iter().cloned().collect()
    }

    pub(crate) fn take_free(&self) -> Option<Prepared> {
        lock(&self.free).pop_front()
    }

    fn wants_free(&self) -> bool {
        lock(&self.free).len() < FREE_SEGMENTS_MIN
    }

    /// Syncs every segment with unsynced bytes, oldest first.
    pub(crate) fn sync(&self) -> io::Result<()> {
        let end = self.written_end.load(Ordering::Acquire);
        let live = self.live_segments();
        // Before the sync, which then covers all that it names.
        let mark = self.mark_of(&live);
        for segment in live {
            let written = segment.written.load(Ordering::Acquire);
            if segment.synced.load(Ordering::Acquire) < written {
                segment.file.sync_data()?;
                segment.synced.store(written, Ordering::Release);
            }
        }
        self.synced_end.fetch_max(end, Ordering::AcqRel);
        if let Some(mark) = mark
            && let Err(error) = self.put_mark(mark)
        {
            // The old one names less than there is.
            tracing::debug!(core = self.number, %error, "the journal's mark can't be written");
        }
        Ok(())
    }

    /// What must be found of these segments after a kill; `None` before the first is written.
    fn mark_of(&self, live: &[Arc<LiveSegment>]) -> Option<Mark> {
        let drained = *lock(&self.drained);
        let oldest = live.first()?;
        let mut mark = Mark {
            epoch: oldest.epoch,
            oldest: oldest.number,
            drained: drained.settled,
            drained_to: (drained.segment, drained.offset),
            ..Mark::default()
        };
        for segment in live {
            let counts = segment.counts();
            let written = segment.written.load(Ordering::Acquire);
            if written == 0 {
                break;
            }
            (mark.current, mark.end) = (segment.number, written);
            (mark.entries, mark.settled) =
                (counts.entries.saturating_sub(oldest.before.entries), counts.settled);
        }
        (mark.current > 0).then_some(mark)
    }

    /// Waits for the disk only where a segment was begun, which is rare.
    fn put_mark(&self, mark: Mark) -> io::Result<()> {
        let mut file = lock(&self.mark);
        match file.found {
            // The oldest may have been recycled since it was listed.
            Found::Mark(last) if last == mark || (last.epoch == mark.epoch && last.oldest > mark.oldest) => {
                Ok(())
            }
            Found::Mark(last) if last.epoch == mark.epoch && last.current == mark.current => {
                file.put(mark, false)
            }
            _ => file.put(mark, true),
        }
    }

    /// The sink has everything up to here; the mark then no longer counts it as the journal's alone.
    pub(crate) fn drained_to(&self, segment: u64, offset: u64, records: u64) {
        let drained = {
            let mut drained = lock(&self.drained);
            *drained = Drained { segment, offset, settled: drained.settled + records };
            *drained
        };
        let mut file = lock(&self.mark);
        if let Found::Mark(mark) = file.found
            && lock(&self.live).front().is_some_and(|oldest| oldest.epoch == mark.epoch)
        {
            let mark = Mark { drained: drained.settled, drained_to: (segment, offset), ..mark };
            if let Err(error) = file.put(mark, false) {
                tracing::debug!(core = self.number, %error, "the journal's mark can't be written");
            }
        }
    }

    /// The oldest segment is no longer needed. On disk before the segment is overwritten, which would otherwise be missing.
    fn unmark_oldest(&self, oldest: &LiveSegment) -> io::Result<()> {
        let later: Vec<_> = self.live_segments().into_iter().skip(1).collect();
        let mut file = lock(&self.mark);
        let Found::Mark(last) = file.found else { return Ok(()) };
        if last.epoch != oldest.epoch {
            return Ok(());
        }
        let drained = *lock(&self.drained);
        let next = later.first().map_or_else(|| oldest.counts(), |next| next.before);
        let in_oldest = next.entries.saturating_sub(oldest.before.entries);
        let is_past = last.current <= oldest.number;
        let mark = Mark {
            oldest: oldest.number + 1,
            entries: if is_past { 0 } else { last.entries.saturating_sub(in_oldest) },
            drained: drained.settled,
            drained_to: (drained.segment, drained.offset),
            ..last
        };
        file.put(mark, true)
    }

    /// Marks the oldest live segment as free and makes it available for reuse, or removes it if enough are. A damaged one is
    /// kept aside.
    pub(crate) fn recycle_oldest(&self, disk: &dyn Disk, number: u64, keep_bytes_min: u64) -> io::Result<()> {
        let oldest = lock(&self.live).front().filter(|segment| segment.number == number).cloned();
        let Some(segment) = oldest else { return Ok(()) };
        self.unmark_oldest(&segment)?;
        if segment.is_damaged.load(Ordering::Acquire) {
            damage::keep_aside(disk, &self.dir, &segment.path, segment.epoch)?;
            lock(&self.live).pop_front();
            return Ok(());
        }
        mark_free(&*segment.file, self.number, segment.number, segment.epoch)?;
        lock(&self.live).pop_front();
        let mut free = lock(&self.free);
        if free.len() < FREE_SEGMENTS_MAX && segment.capacity >= keep_bytes_min {
            let (path, file) = (segment.path.clone(), Arc::clone(&segment.file));
            free.push_back(Prepared { path, file, capacity: segment.capacity });
            return Ok(());
        }
        drop(free);
        disk.remove(&segment.path)
    }

    fn next_path(&self) -> PathBuf {
        self.dir.join(format!("{:08}.{SEGMENT_SUFFIX}", self.next_file.fetch_add(1, Ordering::Relaxed)))
    }
}

/// Marks a segment as free in its header, and waits until that is on disk: only then may another segment with
/// later entries of the same tabs be overwritten.
pub(crate) fn mark_free(file: &dyn DiskFile, core: u32, number: u64, epoch: u64) -> io::Result<()> {
    let header = SegmentHeader { version: crate::frame::FORMAT_VERSION, core, number, epoch, free: true };
    file.write_at(&header.encode(), 0)?;
    file.sync_data()
}

/// The directory of one core's segments.
pub(crate) fn core_dir(dir: &Path, core: u32) -> PathBuf {
    dir.join(format!("core-{core}"))
}

/// The segment files of a directory, by name.
pub(crate) fn segment_files(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = disk.list(dir)?;
    files.retain(|path| path.extension().is_some_and(|suffix| suffix == SEGMENT_SUFFIX));
    Ok(files)
}

pub(crate) fn read_header(file: &dyn DiskFile) -> io::Result<Option<SegmentHeader>> {
    let mut bytes = [0; HEADER_BYTES];
    let count = file.read_at(&mut bytes, 0)?;
    Ok(SegmentHeader::decode(bytes.get(..count).unwrap_or_default()))
}

struct Inner {
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    settings: JournalSettings,
    cores: Mutex<Vec<Arc<CoreShared>>>,
    stop: AtomicBool,
    sync_wanted: AtomicBool,
    prepare_wanted: AtomicBool,
    drain_wanted: AtomicBool,
    written: Notify,
    damaged: AtomicU64,
    records_missing: AtomicU64,
    sync_thread: OnceLock<std::thread::Thread>,
    prepare_thread: OnceLock<std::thread::Thread>,
}

/// One per process: pass it to every core's journal and to the drainer.
pub struct JournalShared {
    inner: Arc<Inner>,
    threads: Mutex<Vec<Thread>>,
}

impl JournalShared {
    /// Starts the two threads, unless `settings.background` is off.
    ///
    /// # Errors
    /// If the operating system can't start a thread.
    pub fn start(world: &World, settings: JournalSettings) -> io::Result<Arc<Self>> {
        let inner = Arc::new(Inner {
            disk: Arc::clone(&world.disk),
            clock: Arc::clone(&world.clock),
            settings,
            cores: Mutex::new(Vec::new()),
            stop: AtomicBool::new(false),
            sync_wanted: AtomicBool::new(false),
            prepare_wanted: AtomicBool::new(false),
            drain_wanted: AtomicBool::new(false),
            written: Notify::new(),
            damaged: AtomicU64::new(0),
            records_missing: AtomicU64::new(0),
            sync_thread: OnceLock::new(),
            prepare_thread: OnceLock::new(),
        });
        let shared = Arc::new(Self { inner, threads: Mutex::new(Vec::new()) });
        if settings.background {
            shared.spawn("journal-sync", Inner::sync_until_stopped, |inner| &inner.sync_thread)?;
            shared.spawn("journal-prepare", Inner::prepare_until_stopped, |inner| &inner.prepare_thread)?;
        }
        Ok(shared)
    }

    /// Ends the threads after a last sync. Also done on drop.
    pub fn stop(&self) {
        self.inner.stop.store(true, Ordering::Release);
        for thread in [self.inner.sync_thread.get(), self.inner.prepare_thread.get()].into_iter().flatten() {
            thread.unpark();
        }
        for thread in lock(&self.threads).drain(..) {
            if thread.join().is_err() {
                tracing::error!("a journal thread ended with a panic");
            }
        }
    }

    /// Whether any core refuses new tabs because of the disk.
    pub fn is_failing(&self) -> bool {
        self.cores().iter().any(|core| core.is_failing())
    }

    /// Counts a damaged journal, for the metrics.
    pub fn count_damage(&self, damage: &JournalDamage) {
        self.inner.damaged.fetch_add(1, Ordering::Relaxed);
        self.inner.records_missing.fetch_add(damage.records_missing, Ordering::Relaxed);
    }

    /// How often damage was found, and how many records are known to be missing.
    pub fn damage_counts(&self) -> (u64, u64) {
        (self.inner.damaged.load(Ordering::Relaxed), self.inner.records_missing.load(Ordering::Relaxed))
    }

    /// Syncs all cores now: manually what the sync thread does.
    ///
    /// # Errors
    /// Any error of the disk; those waiting for the sync get an error.
    pub fn sync_now(&self) -> io::Result<()> {
        self.inner.sync_all()
    }

    /// Prepares segments for cores that have none waiting: manually what the preparing thread does.
    pub fn prepare_now(&self) -> io::Result<()> {
        self.inner.prepare_all()
    }

    pub(crate) fn cores(&self) -> Vec<Arc<CoreShared>> {
        lock(&self.inner.cores).clone()
    }

    pub(crate) fn monotonic_us(&self) -> u64 {
        self.inner.clock.monotonic_us()
    }

    pub(crate) fn unix_ms(&self) -> u64 {
        self.inner.clock.unix_ms()
    }

    pub(crate) fn disk(&self) -> &dyn Disk {
        &*self.inner.disk
    }

    /// Smaller segments are not worth reusing once the background thread prepares full-size ones.
    pub(crate) fn keep_bytes_min(&self) -> u64 {
        if self.inner.settings.background { self.inner.settings.segment_bytes } else { 0 }
    }

    /// Takes over an earlier run's segments: free ones are reused, live ones are left to the next recovery.
    pub(crate) fn register_core(&self, dir: &Path, number: u32) -> io::Result<(Arc<CoreShared>, u64)> {
        let disk = self.disk();
        let mark = MarkFile::open(disk, dir, number)?;
        let dir = core_dir(dir, number);
        disk.create_dir_all(&dir)?;
        let (mut free, mut next_number, mut next_file) = (VecDeque::new(), 1, 0);
        for path in segment_files(disk, &dir)? {
            next_file = next_file.max(file_number(&path) + 1);
            let file: Arc<dyn DiskFile> = disk.open(&path)?.into();
            let header = read_header(&*file)?;
            if let Some(header) = header {
                next_number = next_number.max(header.number.saturating_add(1));
            }
            if header.is_some_and(|header| !header.free) {
                tracing::warn!(path = %path.display(), "a journal segment of an earlier run was not recovered");
                continue;
            }
            let capacity = file.len()?;
            // A smaller one is left from an interrupted preparation.
            if capacity >= self.inner.settings.first_segment_bytes && free.len() < FREE_SEGMENTS_MAX {
                free.push_back(Prepared { path, file, capacity });
            } else {
                disk.remove(&path)?;
            }
        }
        let core = Arc::new(CoreShared {
            number,
            dir,
            live: Mutex::new(VecDeque::new()),
            free: Mutex::new(free),
            mark: Mutex::new(mark),
            drained: Mutex::default(),
            next_file: AtomicU64::new(next_file),
            written_end: AtomicU64::new(0),
            synced_end: AtomicU64::new(0),
            synced: Notify::new(),
            sync_failures: AtomicU64::new(0),
            sync_failing: AtomicBool::new(false),
            write_failing: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        });
        lock(&self.inner.cores).push(Arc::clone(&core));
        Ok((core, next_number))
    }

    /// Preallocates a segment's blocks, without pauses.
    pub(crate) fn prepare(&self, core: &CoreShared, bytes: u64) -> io::Result<Prepared> {
        self.inner.prepare(core, bytes, Duration::ZERO)
    }

    /// Requests a sync and a drain after a write. Two atomic swaps if both are awake already.
    pub(crate) fn wrote(&self) {
        if !self.inner.sync_wanted.swap(true, Ordering::AcqRel)
            && let Some(thread) = self.inner.sync_thread.get()
        {
            thread.unpark();
        }
        self.wake_drainer();
    }

    pub(crate) fn wake_drainer(&self) {
        if !self.inner.drain_wanted.swap(true, Ordering::AcqRel) {
            self.inner.written.notify_one();
        }
    }

    /// Resolves when something was written since the last call.
    pub(crate) async fn await_write(&self) {
        while !self.inner.drain_wanted.swap(false, Ordering::AcqRel) {
            self.inner.written.notified().await;
        }
    }

    pub(crate) fn wake_preparer(&self) {
        if !self.inner.prepare_wanted.swap(true, Ordering::AcqRel)
            && let Some(thread) = self.inner.prepare_thread.get()
        {
            thread.unpark();
        }
    }

    fn spawn(
        &self,
        name: &str,
        body: fn(&Inner),
        handle: fn(&Inner) -> &OnceLock<std::thread::Thread>,
    ) -> io::Result<()> {
        let inner = Arc::clone(&self.inner);
        let thread = Thread::spawn(name, move || body(&inner))?;
        // Set once, here; the thread itself checks its flag before it parks.
        let _first = handle(&self.inner).set(thread.thread().clone());
        lock(&self.threads).push(thread);
        Ok(())
    }
}

impl Drop for JournalShared {
    fn drop(&mut self) {
        self.stop();
    }
}

domain::brief_debug!(JournalShared);

impl Inner {
    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Parks until something was written, collects for a moment unless attempts wait for the sync, syncs, and
    /// parks again.
    fn sync_until_stopped(&self) {
        // The rest of the bound is for waking up and for the sync to start.
        let collect = JOURNAL_SYNC_EVERY * 4 / 5;
        let (mut failing, mut began_us) = (false, 0);
        loop {
            let mut waited_us = self.clock.monotonic_us().saturating_sub(began_us);
            while !self.sync_wanted.swap(false, Ordering::AcqRel) {
                if self.is_stopped() {
                    return;
                }
                std::thread::park();
                waited_us = 0;
            }
            if self.settings.durability == Durability::Written && !self.is_stopped() {
                // What was written during the last sync has waited since then.
                std::thread::sleep(collect.saturating_sub(Duration::from_micros(waited_us)));
                self.sync_wanted.store(false, Ordering::Release);
            }
            began_us = self.clock.monotonic_us();
            match self.sync_all() {
                Ok(()) => failing = false,
                Err(error) => {
                    if !failing {
                        tracing::error!(%error, "the journal can't be synced; new requests are refused");
                    }
                    failing = true;
                    if !self.is_stopped() {
                        std::thread::park_timeout(RETRY_PREPARE_EVERY);
                        self.sync_wanted.store(true, Ordering::Release);
                    }
                }
            }
        }
    }

    fn sync_all(&self) -> io::Result<()> {
        let cores = lock(&self.cores).clone();
        let mut result = Ok(());
        for core in cores {
            let synced = core.sync();
            core.sync_failing.store(synced.is_err(), Ordering::Relaxed);
            if synced.is_err() {
                core.sync_failures.fetch_add(1, Ordering::AcqRel);
            }
            if self.settings.durability == Durability::Synced {
                // Only in this mode does anything wait for it, and waking a core needlessly costs it a turn.
                core.synced.notify_one();
            }
            result = result.and(synced);
        }
        result
    }

    /// Parks until a core runs low on segments.
    fn prepare_until_stopped(&self) {
        let mut failing = false;
        loop {
            while !self.prepare_wanted.swap(false, Ordering::AcqRel) {
                if self.is_stopped() {
                    return;
                }
                std::thread::park();
            }
            match self.prepare_all() {
                Ok(()) => failing = false,
                Err(error) => {
                    if !failing {
                        tracing::error!(%error, "no journal segment could be prepared");
                    }
                    failing = true;
                    if !self.is_stopped() {
                        std::thread::park_timeout(RETRY_PREPARE_EVERY);
                        self.prepare_wanted.store(true, Ordering::Release);
                    }
                }
            }
        }
    }

    fn prepare_all(&self) -> io::Result<()> {
        let cores = lock(&self.cores).clone();
        for core in cores {
            while core.wants_free() && !self.is_stopped() && !core.closed.load(Ordering::Acquire) {
                let pause = if self.settings.background { PREPARE_STEP_PAUSE } else { Duration::ZERO };
                let prepared = self.prepare(&core, self.settings.segment_bytes, pause)?;
                // Its blocks are allocated and on disk before a serving core relies on them.
                prepared.file.sync_data()?;
                lock(&core.free).push_back(prepared);
            }
        }
        Ok(())
    }

    fn prepare(&self, core: &CoreShared, bytes: u64, pause: Duration) -> io::Result<Prepared> {
        let path = core.next_path();
        let file: Arc<dyn DiskFile> = self.disk.open(&path)?.into();
        match fill(&*file, bytes, pause) {
            Ok(()) => Ok(Prepared { path, file, capacity: bytes }),
            Err(error) => {
                drop(file);
                // The original error is what matters; a leftover file is found and removed at the next start.
                let _removed = self.disk.remove(&path);
                Err(error)
            }
        }
    }
}

fn fill(file: &dyn DiskFile, bytes: u64, pause: Duration) -> io::Result<()> {
    let zeros = vec![0; PREPARE_STEP_BYTES];
    let mut offset = 0;
    while offset < bytes {
        let step =
            usize::try_from(bytes - offset).map_or(PREPARE_STEP_BYTES, |rest| rest.min(PREPARE_STEP_BYTES));
        file.write_at(zeros.get(..step).unwrap_or(&zeros), offset)?;
        offset += step as u64;
        if !pause.is_zero() {
            std::thread::sleep(pause);
        }
    }
    Ok(())
}

fn file_number(path: &Path) -> u64 {
    path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok()).unwrap_or(0)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
