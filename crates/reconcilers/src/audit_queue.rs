//! A non-blocking audit sink for the request path: entries are queued, and one task writes them to the store.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::ports::{AuditEntry, AuditSink};
use domain::{AuditId, IdMap, SecretOwner};
use store::{AuditRow, Store};
use tasks::Task;
use tokio::sync::mpsc;
use world::World;

use crate::limits::{AUDIT_BATCH_MAX, AUDIT_QUEUED_MAX};

/// How often counts of openings are written and failed writes retried.
const FLUSH_EVERY: Duration = Duration::from_secs(1);
const SHARDS: usize = 16;

/// The shard index for the next thread.
static NEXT_SHARD: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static SHARD: usize = NEXT_SHARD.fetch_add(1, Ordering::Relaxed) % SHARDS;
}

type Openings = Mutex<IdMap<SecretOwner, u64>>;

struct Shared {
    /// Sharded by thread, so that cores don't contend.
    openings: Vec<Openings>,
    dropped: AtomicU64,
}

/// Implements `AuditSink` over a store.
pub struct AuditQueue {
    entries: mpsc::Sender<AuditRow>,
    shared: Arc<Shared>,
    world: World,
    task: Task,
}

impl AuditQueue {
    /// Starts the writer task on the current runtime.
    pub fn start(store: Store, world: World) -> Arc<Self> {
        let (entries, receiver) = mpsc::channel(AUDIT_QUEUED_MAX);
        let shared = Arc::new(Shared {
            openings: (0..SHARDS).map(|_| Openings::default()).collect(),
            dropped: AtomicU64::new(0),
        });
        let writer = Writer { store, world: world.clone(), shared: Arc::clone(&shared), waiting: Vec::new() };
        let task = Task::spawn_until_signal("audit", |stopped| writer.run(receiver, stopped));
        Arc::new(Self { entries, shared, world, task })
    }

    /// Writes what is queued and ends the task.
    pub async fn stop(&self) {
        if let Err(error) = self.task.end().await {
            tracing::error!(%error, "the audit's writer ended with an error");
        }
    }
}

impl AuditSink for AuditQueue {
    fn record(&self, entry: AuditEntry) {
        let unix_ms = self.world.clock.unix_ms();
        let row = AuditRow::new(AuditId::new(unix_ms, self.world.id_bytes()), unix_ms, entry);
        if self.entries.try_send(row).is_err() {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn secret_opened(&self, of: SecretOwner) {
        // A thread that is ending has lost its thread-local; it uses the first shard.
        let shard = SHARD.try_with(|shard| *shard).unwrap_or(0);
        if let Some(openings) = self.shared.openings.get(shard) {
            *openings.lock().unwrap_or_else(PoisonError::into_inner).entry(of).or_default() += 1;
        }
    }
}

domain::brief_debug!(AuditQueue as "AuditQueue");

struct Writer {
    store: Store,
    world: World,
    shared: Arc<Shared>,
    waiting: Vec<AuditRow>,
}

impl Writer {
    async fn run(
        mut self,
        mut entries: mpsc::Receiver<AuditRow>,
        mut stopped: tokio::sync::watch::Receiver<bool>,
    ) {
        let mut ticks = tokio::time::interval(FLUSH_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let room = AUDIT_BATCH_MAX.saturating_sub(self.waiting.len());
            tokio::select! {
                _ = stopped.changed() => break,
                _ = ticks.tick() => {}
                taken = entries.recv_many(&mut self.waiting, room), if room > 0 => if taken == 0 { break },
            }
            self.flush().await;
        }
        while let Ok(row) = entries.try_recv() {
            self.waiting.push(row);
        }
        self.flush().await;
    }

    async fn flush(&mut self) {
        self.tell_dropped();
        if !self.waiting.is_empty() {
            match self.store.audit().append(self.waiting.clone()).await {
                Ok(()) => self.waiting.clear(),
                Err(error) => tracing::error!(%error, waiting = self.waiting.len(), "audit entries wait"),
            }
        }
        let openings = self.take_openings();
        if !openings.is_empty()
            && let Err(error) = self.store.audit().count_openings(openings.clone()).await
        {
            tracing::error!(%error, "the counts of openings wait");
            self.give_back(openings);
        }
    }

    fn tell_dropped(&mut self) {
        let dropped = self.shared.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let entry = AuditEntry {
                workspace: None,
                actor: "system".into(),
                action: "audit.overflow",
                object: String::new(),
                detail: format!("{dropped} entries came faster than they could be written and were dropped"),
                trace: None,
            };
            let unix_ms = self.world.clock.unix_ms();
            self.waiting.push(AuditRow::new(AuditId::new(unix_ms, self.world.id_bytes()), unix_ms, entry));
        }
    }

    /// The counts so far. The shards keep their room, so that the next opening allocates nothing.
    fn take_openings(&self) -> Vec<(SecretOwner, u64)> {
        let drain = |openings: &Openings| -> Vec<_> {
            openings.lock().unwrap_or_else(PoisonError::into_inner).drain().collect()
        };
        self.shared.openings.iter().flat_map(drain).collect()
    }

    fn give_back(&self, openings: Vec<(SecretOwner, u64)>) {
        if let Some(shard) = self.shared.openings.first() {
            let mut counts = shard.lock().unwrap_or_else(PoisonError::into_inner);
            for (of, count) in openings {
                *counts.entry(of).or_default() += count;
            }
        }
    }
}
