//! The production journal, drainer and recovery in a deterministic simulation, stepped manually over a disk
//! that fails.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use domain::ports::PortFuture;
use domain::{MeterRecord, TraceId};
use world::{FaultDisk, ManualClock, SeededRandom, World};

use crate::drain::{DrainError, DrainStep, Drainer};
use crate::journal::Journal;
use crate::recover::{RecoveryError, RecoveryReport, recover};
use crate::settings::{Durability, JournalSettings};
use crate::shared::JournalShared;
use crate::sink::{DrainBatch, JournalPosition, RecordSink, SinkError};

/// The output of a future that is ready at once; `None` if it would wait.
pub fn now<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

#[derive(Debug, Default)]
struct SinkState {
    records: BTreeMap<TraceId, MeterRecord>,
    positions: BTreeMap<u32, JournalPosition>,
    /// Those that `take_fresh` has not returned yet.
    fresh: Vec<TraceId>,
    ignored: u64,
    fail_next: u32,
}

/// An in-memory store: it survives every crash, applies records and position atomically, and ignores known
/// traces.
#[derive(Debug, Default)]
pub struct MemorySink(Mutex<SinkState>);

impl MemorySink {
    pub fn record(&self, trace: TraceId) -> Option<MeterRecord> {
        self.lock().records.get(&trace).cloned()
    }

    pub fn records(&self) -> Vec<MeterRecord> {
        self.lock().records.values().cloned().collect()
    }

    /// The records that were applied since the last call.
    pub fn take_fresh(&self) -> Vec<MeterRecord> {
        let mut kept = self.lock();
        let fresh = std::mem::take(&mut kept.fresh);
        fresh.iter().filter_map(|trace| kept.records.get(trace).cloned()).collect()
    }

    pub fn len(&self) -> usize {
        self.lock().records.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Duplicate records that were ignored.
    pub fn ignored_count(&self) -> u64 {
        self.lock().ignored
    }

    /// Refuses the next `batches` batches.
    pub fn fail_next(&self, batches: u32) {
        self.lock().fail_next = batches;
    }

    fn lock(&self) -> MutexGuard<'_, SinkState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, batch: &DrainBatch) -> Result<(), SinkError> {
        let mut kept = self.lock();
        if kept.fail_next > 0 {
            kept.fail_next -= 1;
            return Err(SinkError("planned".to_owned()));
        }
        let mut ignored = 0;
        let mut fresh = Vec::new();
        for (_, record) in batch.records.decoded::<String>() {
            let trace = record.trace;
            match kept.records.entry(record.trace) {
                Entry::Occupied(_) => ignored += 1,
                Entry::Vacant(slot) => {
                    slot.insert(record);
                    fresh.push(trace);
                }
            }
        }
        kept.ignored += ignored;
        kept.fresh.append(&mut fresh);
        kept.positions.insert(batch.core, batch.upto);
        Ok(())
    }
}

impl RecordSink for MemorySink {
    fn apply<'a>(&'a self, batch: DrainBatch) -> PortFuture<'a, Result<(), SinkError>> {
        Box::pin(std::future::ready(self.take(&batch)))
    }

    fn position<'a>(&'a self, core: u32) -> PortFuture<'a, Result<Option<JournalPosition>, SinkError>> {
        let position = self.lock().positions.get(&core).copied();
        Box::pin(std::future::ready(Ok(position)))
    }
}

/// One running process: what is lost in a crash.
struct Process {
    shared: Arc<JournalShared>,
    journal: Rc<Journal>,
    drainer: Arc<Drainer>,
}

/// One core's books in a simulated environment. The disk, the clock and the sink survive crashes.
pub struct SimulatedBooks {
    pub disk: FaultDisk,
    pub clock: Arc<ManualClock>,
    pub world: World,
    pub sink: Arc<MemorySink>,
    settings: JournalSettings,
    dir: PathBuf,
    process: Option<Process>,
}

/// Small enough that a short run starts, recycles and reuses segments.
pub const SMALL_SEGMENT_BYTES: u64 = 8 * 1024;

impl SimulatedBooks {
    pub fn new(seed: u64, durability: Durability) -> Self {
        let disk = FaultDisk::new();
        let clock = Arc::new(ManualClock::at(1_700_000_000_000));
        let world = World {
            clock: Arc::<ManualClock>::clone(&clock),
            random: Arc::new(SeededRandom::new(seed)),
            disk: Arc::new(disk.clone()),
        };
        let settings = JournalSettings {
            durability,
            segment_bytes: SMALL_SEGMENT_BYTES,
            first_segment_bytes: SMALL_SEGMENT_BYTES,
            background: false,
        };
        Self {
            disk,
            clock,
            world,
            sink: Arc::new(MemorySink::default()),
            settings,
            dir: PathBuf::from("/data/journal"),
            process: None,
        }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Recovers and opens, as the product does before it is ready.
    ///
    /// # Errors
    /// Any error of the disk, planned failures included.
    pub fn start(&mut self) -> Result<RecoveryReport, RecoveryError> {
        self.process = None;
        let report =
            now(recover(&self.dir, &self.world, &*self.sink)).unwrap_or(Ok(RecoveryReport::default()))?;
        let at_dir = |source| RecoveryError::Disk { path: self.dir.clone(), source };
        let shared = JournalShared::start(&self.world, self.settings).map_err(at_dir)?;
        let journal = Journal::open(&self.dir, 0, self.world.clone(), self.settings, Arc::clone(&shared));
        let journal = journal.map_err(at_dir)?;
        let sink: Arc<dyn RecordSink> = Arc::<MemorySink>::clone(&self.sink);
        let drainer = Drainer::new(Arc::clone(&shared), sink);
        self.process = Some(Process { shared, journal, drainer });
        Ok(report)
    }

    /// `None` between a crash and the next start.
    pub fn journal(&self) -> Option<&Rc<Journal>> {
        self.process.as_ref().map(|process| &process.journal)
    }

    /// The end of a turn of the event loop: what was appended is written, and synced if the settings require
    /// it.
    pub fn turn(&self) -> io::Result<()> {
        let Some(process) = &self.process else { return Ok(()) };
        process.journal.flush_now()?;
        match self.settings.durability {
            Durability::Written => Ok(()),
            Durability::Synced => process.shared.sync_now(),
        }
    }

    /// The background sync, at a moment that the simulation chooses.
    pub fn sync(&self) -> io::Result<()> {
        self.process.as_ref().map_or(Ok(()), |process| process.shared.sync_now())
    }

    /// The background preparation of segments.
    pub fn prepare(&self) -> io::Result<()> {
        self.process.as_ref().map_or(Ok(()), |process| process.shared.prepare_now())
    }

    /// One pass of the drainer.
    pub fn drain(&self) -> Result<DrainStep, DrainError> {
        let Some(process) = &self.process else { return Ok(DrainStep::default()) };
        now(process.drainer.drain_once()).unwrap_or(Ok(DrainStep::default()))
    }

    /// How long the sink has refused everything.
    pub fn failing_for(&self) -> Duration {
        self.process.as_ref().map_or(Duration::ZERO, |process| process.drainer.failing_for())
    }

    /// Kills the process at once: what it wrote is in the page cache. Drop any tabs still held only after
    /// this, since a dead process drops nothing.
    pub fn kill(&mut self) {
        self.disk.die();
        self.process = None;
    }

    /// Call after `kill` and after dropping its tabs: the machine is still up.
    pub fn revive(&mut self) {
        self.process = None;
        self.disk.restart();
    }

    /// Power loss: of the unsynced sectors, those survive for whose running number `survives` is true.
    pub fn lose_power(&mut self, survives: impl FnMut(u64) -> bool) {
        self.process = None;
        self.disk.lose_power(survives);
    }

    /// A graceful shutdown: everything written, synced and drained.
    pub fn stop(&mut self) -> Result<(), DrainError> {
        let Some(process) = self.process.take() else { return Ok(()) };
        process.journal.close().map_err(DrainError::Disk)?;
        now(process.drainer.drain_all()).unwrap_or(Ok(DrainStep::default()))?;
        Ok(())
    }
}

domain::brief_debug!(SimulatedBooks, |it| running = it.process.is_some());
