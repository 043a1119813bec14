//! State shared by all connections of one emulator: keys, scripts, the prefix cache and the journal.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::watch;

use super::behaviour::Behaviour;
use super::config::{Config, KeyState};
use super::journal::{ConnectionEntry, Entry, Epoch, Outcome, Totals, Violation};
use super::wire::Control;
use crate::anthropic::batches::MessageBatches;
use crate::anthropic::cache::{Cached, CachedNow};
use crate::anthropic::files::MessageFiles;
use crate::anthropic::threads::Threads;
use crate::bedrock::jobs::Jobs;
use crate::bedrock::storage::Storage;
use crate::directory;
use crate::fal;
use crate::gemini;
use crate::openai::batches::Batches;
use crate::openai::files::Files;
use crate::openai::flavour::{Flavour, Served};
use crate::openai::responses::seal::Sealer;
use crate::openai::responses::store::Store;
use crate::openai::tokens::Prompt;
use crate::openai::videos::Videos;
use crate::vertex::videos::Operations;

pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) epoch: Epoch,
    pub(crate) changed: watch::Sender<u64>,
    /// Whether responses that are held may be sent.
    pub(crate) are_released: watch::Sender<bool>,
    pub(crate) connections: Mutex<Vec<Arc<Control>>>,
    /// The responses stored by `/v1/responses`, and the sealer of the reasoning items that clients hold.
    pub(crate) responses: Mutex<Store>,
    pub(crate) sealer: Sealer,
    pub(crate) files: Mutex<Files>,
    pub(crate) batches: Mutex<Batches>,
    /// The videos stored by `/v1/videos`.
    pub(crate) videos: Mutex<Videos>,
    pub(crate) message_batches: Mutex<MessageBatches>,
    pub(crate) message_files: Mutex<MessageFiles>,
    pub(crate) threads: Mutex<Threads>,
    pub(crate) jobs: Mutex<Jobs>,
    pub(crate) storage: Mutex<Storage>,
    /// Vertex AI's long-running operations, which generate videos.
    pub(crate) operations: Mutex<Operations>,
    requests: AtomicU64,
    pub(crate) gemini: gemini::State,
    pub(crate) directory: directory::State,
    pub(crate) fal: fal::State,
    inner: Mutex<Inner>,
}

/// Tracks one request; if dropped before the response ended, the client has disconnected.
pub(crate) struct Guard {
    shared: Arc<Shared>,
    record: Arc<Mutex<Entry>>,
    control: Arc<Control>,
    generation: u64,
    settled: AtomicBool,
}

struct Inner {
    keys: BTreeMap<String, KeyState>,
    scripts: HashMap<String, VecDeque<Behaviour>>,
    script_for_all: VecDeque<Behaviour>,
    /// Hashes of cached prefixes, by key and model.
    seen: HashMap<(String, String), HashSet<u64>>,
    /// Prefixes that Anthropic's paths have cached, by key and model.
    claude_cached: HashMap<(String, String), Cached>,
    entries: VecDeque<Arc<Mutex<Entry>>>,
    totals: Totals,
    violations: Vec<Violation>,
    /// Incremented by each reset, so that a request from before it is not counted afterwards.
    generation: u64,
}

/// A poisoned lock still holds a journal worth reading: the panic has already failed its own test.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The name of the queue of a key's deletions.
pub(crate) fn deletions(key: &str) -> String {
    format!("DELETE {key}")
}

impl Shared {
    pub(crate) fn new(config: Config) -> Self {
        let inner = Inner::new(&config, 0);
        Self {
            epoch: Epoch::now(),
            changed: watch::Sender::new(0),
            are_released: watch::Sender::new(false),
            connections: Mutex::default(),
            responses: Mutex::default(),
            sealer: Sealer::new(),
            files: Mutex::default(),
            batches: Mutex::default(),
            videos: Mutex::default(),
            message_batches: Mutex::default(),
            message_files: Mutex::default(),
            threads: Mutex::default(),
            jobs: Mutex::default(),
            storage: Mutex::default(),
            operations: Mutex::default(),
            requests: AtomicU64::new(0),
            gemini: gemini::State::new(),
            directory: directory::State::new(),
            fal: fal::State::default(),
            inner: Mutex::new(inner),
            config,
        }
    }

    pub(crate) fn reset(&self) {
        let mut inner = lock(&self.inner);
        *inner = Inner::new(&self.config, inner.generation + 1);
        drop(inner);
        self.are_released.send_replace(false);
        *lock(&self.responses) = Store::default();
        *lock(&self.files) = Files::default();
        *lock(&self.batches) = Batches::default();
        *lock(&self.videos) = Videos::default();
        *lock(&self.message_batches) = MessageBatches::default();
        *lock(&self.message_files) = MessageFiles::default();
        *lock(&self.threads) = Threads::default();
        *lock(&self.jobs) = Jobs::default();
        *lock(&self.storage) = Storage::default();
        *lock(&self.operations) = Operations::default();
        self.gemini.reset();
        self.directory.reset();
        self.fal.reset();
        lock(&self.connections).retain(|control| control.is_open());
        self.notify();
    }

    pub(crate) fn served(&self, flavour: Flavour) -> Served<'_> {
        Served { flavour, models: &self.config.models, also: &self.config.accepted_fields }
    }

    pub(crate) fn notify(&self) {
        self.changed.send_modify(|version| *version = version.wrapping_add(1));
    }

    pub(crate) fn next_request(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Records a request in the journal and returns the guard that tracks it.
    pub(crate) fn open(self: &Arc<Self>, entry: Entry, control: Arc<Control>) -> Guard {
        let record = Arc::new(Mutex::new(entry));
        let mut inner = lock(&self.inner);
        inner.totals.request();
        inner.entries.push_back(Arc::clone(&record));
        while inner.entries.len() > self.config.entries_max {
            inner.entries.pop_front();
        }
        let generation = inner.generation;
        drop(inner);
        self.notify();
        Guard { shared: Arc::clone(self), record, control, generation, settled: AtomicBool::new(false) }
    }

    /// A guard for the emulator's own interface, whose requests the journal does not record.
    pub(crate) fn unrecorded(self: &Arc<Self>, entry: Entry, control: Arc<Control>) -> Guard {
        Guard {
            shared: Arc::clone(self),
            record: Arc::new(Mutex::new(entry)),
            control,
            generation: 0,
            settled: AtomicBool::new(true),
        }
    }

    pub(crate) fn violation(&self, violation: Violation) {
        lock(&self.inner).violations.push(violation);
    }

    pub(crate) fn violations(&self) -> Vec<Violation> {
        lock(&self.inner).violations.clone()
    }

    pub(crate) fn totals(&self) -> Totals {
        lock(&self.inner).totals.clone()
    }

    pub(crate) fn journal(&self) -> Vec<Entry> {
        let records: Vec<_> = lock(&self.inner).entries.iter().cloned().collect();
        records.iter().map(|record| lock(record).clone()).collect()
    }

    pub(crate) fn connections(&self) -> Vec<ConnectionEntry> {
        lock(&self.connections).iter().map(|control| control.entry()).collect()
    }

    pub(crate) fn key_state(&self, key: &str) -> Option<KeyState> {
        lock(&self.inner).keys.get(key).copied()
    }

    /// The key that satisfies a condition, such as one that another credential maps to.
    pub(crate) fn find_key(&self, is_it: impl Fn(&str) -> bool) -> Option<String> {
        lock(&self.inner).keys.keys().find(|key| is_it(key)).cloned()
    }

    pub(crate) fn set_key(&self, key: &str, state: KeyState) {
        lock(&self.inner).keys.insert(key.to_owned(), state);
    }

    pub(crate) fn forget_key(&self, key: &str) {
        lock(&self.inner).keys.remove(key);
    }

    /// Queues behaviours for one key, or for all keys.
    pub(crate) fn script(&self, key: Option<&str>, behaviours: impl IntoIterator<Item = Behaviour>) {
        let mut inner = lock(&self.inner);
        match key {
            Some(key) => inner.scripts.entry(key.to_owned()).or_default().extend(behaviours),
            None => inner.script_for_all.extend(behaviours),
        }
    }

    pub(crate) fn clear_scripts(&self) {
        let mut inner = lock(&self.inner);
        inner.scripts.clear();
        inner.script_for_all.clear();
    }

    /// Takes the next queued behaviour: from the key's own queue first, then from the shared queue.
    pub(crate) fn next_behaviour(&self, key: &str) -> Option<Behaviour> {
        let mut inner = lock(&self.inner);
        let own = inner.scripts.get_mut(key).and_then(take);
        own.or_else(|| take(&mut inner.script_for_all))
    }

    /// The same for a deletion, which takes none that is meant for other calls.
    pub(crate) fn next_of_deletions(&self, key: &str) -> Option<Behaviour> {
        lock(&self.inner).scripts.get_mut(&deletions(key)).and_then(take)
    }

    /// The number of prompt tokens that the key has cached; afterwards the whole prompt is cached.
    pub(crate) fn remember(&self, key: &str, model: &str, prompt: &Prompt) -> u64 {
        let mut inner = lock(&self.inner);
        let seen = inner.seen.entry((key.to_owned(), model.to_owned())).or_default();
        let cached = prompt.cached_tokens(|mark| seen.contains(&mark));
        seen.extend(&prompt.marks);
        cached
    }

    /// Lends what a key has cached for a model of Anthropic's.
    pub(crate) fn claude_cache<T>(
        &self,
        key: &str,
        model: &str,
        count: impl FnOnce(CachedNow<'_>) -> T,
    ) -> T {
        let mut inner = lock(&self.inner);
        let cached = inner.claude_cached.entry((key.to_owned(), model.to_owned())).or_default();
        count(cached.at(Instant::now(), self.config.claude_cache_lifetime))
    }
}

impl Inner {
    fn new(config: &Config, generation: u64) -> Self {
        Self {
            keys: config.keys.iter().cloned().collect(),
            scripts: HashMap::new(),
            script_for_all: VecDeque::new(),
            seen: HashMap::new(),
            claude_cached: HashMap::new(),
            entries: VecDeque::new(),
            totals: Totals::default(),
            violations: Vec::new(),
            generation,
        }
    }
}

impl Guard {
    /// Waits until responses that are held may be sent.
    pub(crate) async fn released(&self) {
        // The sender lives as long as the guard, so there is no error.
        let _ = self.shared.are_released.subscribe().wait_for(|is_released| *is_released).await;
    }

    /// The request's number in the journal.
    pub(crate) fn number(&self) -> u64 {
        lock(&self.record).id
    }

    /// The request's journal record, for work that continues after the response.
    pub(crate) fn record(&self) -> Arc<Mutex<Entry>> {
        Arc::clone(&self.record)
    }

    pub(crate) fn note(&self, change: impl FnOnce(&mut Entry)) {
        change(&mut lock(&self.record));
        self.shared.notify();
    }

    pub(crate) fn wrote(&self, bytes: usize, tokens: u64) {
        let now = Instant::now();
        self.note(|entry| {
            entry.bytes_written += bytes as u64;
            entry.said_tokens += tokens;
            entry.last_write = Some(now);
            if tokens > 0 && entry.first_content.is_none() {
                entry.first_content = Some(now);
            }
        });
    }

    /// Records that the response ended as scripted.
    pub(crate) fn finish(&self) {
        self.settle(|entry| {
            entry.finished = true;
            let refused = entry.status.is_some_and(|status| status >= 300);
            entry.outcome = if refused { Outcome::Rejected } else { Outcome::Answered };
        });
    }

    /// Records that the script breaks the response off here.
    pub(crate) fn cut(&self) {
        self.settle(|entry| entry.outcome = Outcome::Cut);
    }

    fn settle(&self, change: impl FnOnce(&mut Entry)) {
        if self.settled.swap(true, Ordering::SeqCst) {
            return;
        }
        let mut entry = lock(&self.record);
        entry.ended = Some(Instant::now());
        change(&mut entry);
        let entry = entry.clone();
        let mut inner = lock(&self.shared.inner);
        if inner.generation == self.generation {
            let known = entry.key.as_ref().is_some_and(|key| inner.keys.contains_key(key));
            inner.totals.add(&entry, known);
        }
        drop(inner);
        self.shared.notify();
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let by_script = self.control.is_aborted();
        self.settle(|entry| {
            if by_script {
                entry.outcome = Outcome::Cut;
            } else {
                entry.outcome = Outcome::Cancelled;
                entry.cancelled = entry.ended;
            }
        });
    }
}

/// The behaviour at the front of a queue, which stays there as long as it has calls to serve.
fn take(queue: &mut VecDeque<Behaviour>) -> Option<Behaviour> {
    let front = queue.front_mut()?;
    let behaviour = front.clone();
    match front.times {
        Some(0) => {}
        Some(times) if times > 1 => front.times = Some(times - 1),
        _ => drop(queue.pop_front()),
    }
    Some(behaviour)
}
