//! The registered adapters, by name. Not all of them are in memory: an idle one is evicted when a waiting
//! request needs another, and is read from its files again later. A sequence keeps its adapter to the end,
//! even if the name is unregistered or replaced.
//!
//! Nothing is read here. `readings` hands out what has to be read, and `settle` takes the result from
//! whichever thread read it, so that no step waits for a disk.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use kernels::{Adapter, Architecture};
use weights::adapters::{self, Limits, Seal};
use weights::{AvailableMemory, WeightsError};

use crate::EngineError;
use crate::limits::ADAPTER_NAME_BYTES_MAX;

/// The name of an adapter.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AdapterId(Arc<str>);

/// Options of a registration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RegisterOptions {
    /// Replaces an adapter of the same name; without this, that is an error.
    pub replaces: bool,
    /// Is never evicted from memory.
    pub is_pinned: bool,
}

/// The state of an adapter, for status reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterStatus {
    pub id: AdapterId,
    pub generation: u64,
    pub rank: usize,
    pub bytes: u64,
    pub is_resident: bool,
    pub is_pinned: bool,
    /// The sequences that use it.
    pub in_use: usize,
    /// The error of the last attempt to read it.
    pub failed: Option<String>,
}

/// A read that is to be done, on any thread.
#[derive(Debug)]
pub struct AdapterRead {
    id: AdapterId,
    directory: PathBuf,
    shape: Arc<Architecture>,
    limits: Limits,
    seal: Seal,
    available_memory: AvailableMemory,
    purpose: Purpose,
}

/// The result of a `Reading`.
#[derive(Debug)]
pub struct AdapterReadResult {
    id: AdapterId,
    directory: PathBuf,
    purpose: Purpose,
    adapter: Result<Adapter, WeightsError>,
}

#[derive(Debug, Clone, Copy)]
enum Purpose {
    Register(RegisterOptions),
    /// Reload of an evicted adapter, of this generation.
    Return(u64),
}

/// The answer to a request for an adapter in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Residency {
    Here,
    Coming,
    /// The adapters in use leave no memory for it now.
    NoRoom,
    /// It is not registered, could not be read, or will never fit beside the pinned ones.
    Never,
}

#[derive(Debug)]
pub(crate) struct AdapterRegistry {
    shape: Arc<Architecture>,
    limits: Limits,
    seal: Seal,
    available_memory: AvailableMemory,
    entries: BTreeMap<AdapterId, Entry>,
    /// Adapters that were unregistered or replaced, as long as sequences use them.
    retired: Vec<Weak<Adapter>>,
    readings: Vec<AdapterRead>,
    generation: u64,
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    directory: PathBuf,
    generation: u64,
    rank: usize,
    bytes: u64,
    digest: u128,
    state: LoadState,
    is_pinned: bool,
    used: u64,
    failed: Option<String>,
}

#[derive(Debug)]
enum LoadState {
    Absent,
    Loading,
    Loaded(Arc<Adapter>),
    /// It could not be read; those that wait for it have yet to be notified.
    Failed,
}

impl From<&str> for AdapterId {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl std::fmt::Display for AdapterId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl AdapterRead {
    /// Reads the files; blocks on the disk.
    pub fn read(self) -> AdapterReadResult {
        let Self { id, directory, shape, limits, seal, available_memory, purpose } = self;
        let adapter = adapters::read(&directory, &shape, &limits, (&seal, &available_memory));
        AdapterReadResult { id, directory, purpose, adapter }
    }
}

impl AdapterReadResult {
    /// The adapter that was read.
    pub(crate) const fn id(&self) -> &AdapterId {
        &self.id
    }
}

impl Entry {
    fn in_use(&self) -> usize {
        match &self.state {
            LoadState::Loaded(adapter) => Arc::strong_count(adapter) - 1,
            _ => 0,
        }
    }

    const fn takes_room(&self) -> bool {
        matches!(self.state, LoadState::Loaded(_) | LoadState::Loading)
    }

    fn may_leave(&self) -> bool {
        matches!(self.state, LoadState::Loaded(_)) && !self.is_pinned && self.in_use() == 0
    }
}

impl AdapterRegistry {
    pub(crate) fn new(shape: &Architecture, limits: Limits) -> Self {
        Self {
            shape: Arc::new(shape.clone()),
            limits,
            seal: Seal::default(),
            available_memory: AvailableMemory::default(),
            entries: BTreeMap::new(),
            retired: Vec::new(),
            readings: Vec::new(),
            generation: 0,
            clock: 0,
        }
    }

    pub(crate) const fn limits(&self) -> Limits {
        self.limits
    }

    /// Sets the memory budget that adapters are loaded within.
    pub(crate) fn keep_within(&mut self, available_memory: AvailableMemory) {
        self.available_memory = available_memory;
    }

    /// Sets how the files of adapters are digested.
    pub(crate) fn seal_by(&mut self, seal: Seal) {
        self.seal = seal;
    }

    pub(crate) fn has(&self, id: &AdapterId) -> bool {
        self.entries.contains_key(id)
    }

    /// The read that has to be done to register an adapter.
    pub(crate) fn reading(
        &self,
        id: AdapterId,
        directory: &Path,
        registering: RegisterOptions,
    ) -> Result<AdapterRead, EngineError> {
        self.check(&id, registering)?;
        Ok(self.to_be_read(id, directory.to_owned(), Purpose::Register(registering)))
    }

    fn to_be_read(&self, id: AdapterId, directory: PathBuf, purpose: Purpose) -> AdapterRead {
        let (shape, seal, available_memory) =
            (Arc::clone(&self.shape), self.seal.clone(), self.available_memory.clone());
        AdapterRead { id, directory, shape, limits: self.limits, seal, available_memory, purpose }
    }

    fn check(&self, id: &AdapterId, registering: RegisterOptions) -> Result<(), EngineError> {
        let limit = |what, wanted: usize, most: usize| {
            Err(EngineError::from(WeightsError::AdapterLimit {
                what,
                wanted: wanted as u64,
                most: most as u64,
            }))
        };
        let is_known = self.has(id);
        if is_known && !registering.replaces {
            return Err(EngineError::AdapterKnown(id.to_string()));
        }
        if id.0.is_empty() || id.0.len() > ADAPTER_NAME_BYTES_MAX {
            return limit("bytes of an adapter's name", id.0.len(), ADAPTER_NAME_BYTES_MAX);
        }
        if !is_known && self.entries.len() >= self.limits.registered {
            return limit("adapters", self.entries.len() + 1, self.limits.registered);
        }
        Ok(())
    }

    /// Takes the result of a read. Returns the adapter's generation, and the one it replaced, if any.
    pub(crate) fn settle(&mut self, read: AdapterReadResult) -> Result<(u64, Option<u64>), EngineError> {
        let AdapterReadResult { id, directory, purpose, adapter } = read;
        match purpose {
            Purpose::Register(registering) => self.register(id, directory, registering, adapter?),
            Purpose::Return(generation) => {
                self.settle_return(&id, generation, adapter).map(|here| (here, None))
            }
        }
    }

    fn register(
        &mut self,
        id: AdapterId,
        directory: PathBuf,
        registering: RegisterOptions,
        mut adapter: Adapter,
    ) -> Result<(u64, Option<u64>), EngineError> {
        // Other registrations may have come in meanwhile.
        self.check(&id, registering)?;
        let residency = self.make_room(&id, adapter.bytes());
        if registering.is_pinned && residency != Residency::Here {
            let what = "bytes of adapters that are in use or pinned";
            let wanted = self.bytes(Some(&id)) + adapter.bytes();
            return Err(WeightsError::AdapterLimit { what, wanted, most: self.limits.resident_bytes }.into());
        }
        let gone = self.entries.remove(&id).map(|entry| self.retire(&entry));
        self.generation += 1;
        self.clock += 1;
        adapter.generation = self.generation;
        let (rank, bytes) = (adapter.rank(), adapter.bytes());
        let Adapter { digest, generation, .. } = adapter;
        let state = if residency == Residency::Here {
            LoadState::Loaded(Arc::new(adapter))
        } else {
            LoadState::Absent
        };
        let (is_pinned, used) = (registering.is_pinned, self.clock);
        let entry =
            Entry { directory, generation, rank, bytes, digest, state, is_pinned, used, failed: None };
        self.entries.insert(id, entry);
        Ok((generation, gone))
    }

    /// An evicted adapter was read again; accepted only if its files are unchanged.
    fn settle_return(
        &mut self,
        id: &AdapterId,
        generation: u64,
        adapter: Result<Adapter, WeightsError>,
    ) -> Result<u64, EngineError> {
        let is_it =
            |entry: &&mut Entry| entry.generation == generation && matches!(entry.state, LoadState::Loading);
        // The name was unregistered or replaced meanwhile.
        let Some(entry) = self.entries.get_mut(id).filter(is_it) else {
            return Err(EngineError::NoAdapter(id.to_string()));
        };
        let what = "its files have changed since it was registered".to_owned();
        let same = adapter.and_then(|adapter| {
            if adapter.digest == entry.digest {
                Ok(adapter)
            } else {
                Err(WeightsError::Broken { path: entry.directory.clone(), what })
            }
        });
        match same {
            Ok(mut adapter) => {
                self.clock += 1;
                adapter.generation = generation;
                (entry.state, entry.used, entry.failed) =
                    (LoadState::Loaded(Arc::new(adapter)), self.clock, None);
                Ok(generation)
            }
            Err(error) => {
                (entry.state, entry.failed) = (LoadState::Failed, Some(error.to_string()));
                Err(error.into())
            }
        }
    }

    /// Unregisters a name; sequences that use the adapter keep it. Returns its generation.
    pub(crate) fn unload(&mut self, id: &AdapterId) -> Result<u64, EngineError> {
        let entry = self.entries.remove(id).ok_or_else(|| EngineError::NoAdapter(id.to_string()))?;
        Ok(self.retire(&entry))
    }

    fn retire(&mut self, entry: &Entry) -> u64 {
        self.retired.retain(|adapter| adapter.strong_count() > 0);
        if let LoadState::Loaded(adapter) = &entry.state {
            self.retired.push(Arc::downgrade(adapter));
        }
        entry.generation
    }

    pub(crate) fn pin(&mut self, id: &AdapterId, is_pinned: bool) -> Result<(), EngineError> {
        let entry = self.entries.get_mut(id).ok_or_else(|| EngineError::NoAdapter(id.to_string()))?;
        entry.is_pinned = is_pinned;
        Ok(())
    }

    /// Requests that an adapter be in memory. Idle ones are evicted for it only if `may_push` is set.
    pub(crate) fn want(&mut self, id: &AdapterId, may_push: bool) -> Residency {
        let Some(entry) = self.entries.get(id) else { return Residency::Never };
        match entry.state {
            LoadState::Loaded(_) => return Residency::Here,
            LoadState::Loading => return Residency::Coming,
            LoadState::Failed => return Residency::Never,
            LoadState::Absent => {}
        }
        let (bytes, generation, directory) = (entry.bytes, entry.generation, entry.directory.clone());
        let residency = if self.fits(bytes, &[], id) {
            Residency::Here
        } else if may_push {
            self.make_room(id, bytes)
        } else {
            Residency::NoRoom
        };
        if residency != Residency::Here {
            return residency;
        }
        let reading = self.to_be_read(id.clone(), directory, Purpose::Return(generation));
        self.readings.push(reading);
        if let Some(entry) = self.entries.get_mut(id) {
            entry.state = LoadState::Loading;
        }
        Residency::Coming
    }

    pub(crate) fn is_here(&self, id: &AdapterId) -> bool {
        self.entries.get(id).is_some_and(|entry| matches!(entry.state, LoadState::Loaded(_)))
    }

    /// Whether any is being read.
    pub(crate) fn is_bringing(&self) -> bool {
        self.entries.values().any(|entry| matches!(entry.state, LoadState::Loading))
    }

    /// Hands an adapter that is in memory to a sequence.
    pub(crate) fn give(&mut self, id: &AdapterId) -> Option<Arc<Adapter>> {
        let entry = self.entries.get_mut(id)?;
        let LoadState::Loaded(adapter) = &entry.state else { return None };
        self.clock += 1;
        entry.used = self.clock;
        Some(Arc::clone(adapter))
    }

    /// Whether it will not become available: it is not registered, or can't be read or held.
    pub(crate) fn is_lost(&self, id: &AdapterId) -> bool {
        self.entries.get(id).is_none_or(|entry| matches!(entry.state, LoadState::Failed))
    }

    /// Marks an adapter as failed because it will never fit.
    pub(crate) fn lose(&mut self, id: &AdapterId) {
        let failed = self.limit_error(id).to_string();
        if let Some(entry) = self.entries.get_mut(id) {
            (entry.state, entry.failed) = (LoadState::Failed, Some(failed));
        }
    }

    pub(crate) fn limit_error(&self, id: &AdapterId) -> WeightsError {
        let own = self.entries.get(id).map_or(0, |entry| entry.bytes);
        WeightsError::AdapterLimit {
            what: "bytes of adapters that are in use or pinned",
            wanted: self.bytes(Some(id)) + own,
            most: self.limits.resident_bytes,
        }
    }

    /// Resets failed adapters once all that waited have been notified: the next request tries again.
    pub(crate) fn forgive(&mut self) {
        for entry in self.entries.values_mut().filter(|entry| matches!(entry.state, LoadState::Failed)) {
            entry.state = LoadState::Absent;
        }
    }

    /// Takes the reads that are pending.
    pub(crate) fn readings(&mut self) -> Vec<AdapterRead> {
        std::mem::take(&mut self.readings)
    }

    pub(crate) fn read_later(&mut self, reading: AdapterRead) {
        self.readings.push(reading);
    }

    pub(crate) fn status(&self) -> Vec<AdapterStatus> {
        let each = |(id, entry): (&AdapterId, &Entry)| AdapterStatus {
            id: id.clone(),
            generation: entry.generation,
            rank: entry.rank,
            bytes: entry.bytes,
            is_resident: matches!(entry.state, LoadState::Loaded(_)),
            is_pinned: entry.is_pinned,
            in_use: entry.in_use(),
            failed: entry.failed.clone(),
        };
        self.entries.iter().map(each).collect()
    }

    /// The bytes of all adapters that are in memory or being read, except one.
    fn bytes(&self, without: Option<&AdapterId>) -> u64 {
        let entries = self.entries.iter().filter(|(id, entry)| Some(*id) != without && entry.takes_room());
        let retired = self.retired.iter().filter_map(Weak::upgrade).map(|adapter| adapter.bytes());
        entries.map(|(_, entry)| entry.bytes).sum::<u64>() + retired.sum::<u64>()
    }

    /// Whether an adapter of this size fits once the ones in `left` are evicted.
    fn fits(&self, bytes: u64, left: &[AdapterId], own: &AdapterId) -> bool {
        let stays = |id: &AdapterId, entry: &Entry| entry.takes_room() && !left.contains(id) && id != own;
        let stay = self.entries.iter().filter(|(id, entry)| stays(id, entry));
        let retired: Vec<_> = self.retired.iter().filter_map(Weak::upgrade).collect();
        let (mut count, mut all) =
            (retired.len(), retired.iter().map(|adapter| adapter.bytes()).sum::<u64>());
        // An adapter that is being replaced still counts while sequences use it.
        if let Some(own) = self.entries.get(own).filter(|own| own.in_use() > 0) {
            (count, all) = (count + 1, all + own.bytes);
        }
        for (_, entry) in stay {
            (count, all) = (count + 1, all + entry.bytes);
        }
        count < self.limits.resident && all.saturating_add(bytes) <= self.limits.resident_bytes
    }

    /// Evicts idle adapters, least recently used first, if that makes room for one of this size.
    fn make_room(&mut self, own: &AdapterId, bytes: u64) -> Residency {
        let others = || self.entries.iter().filter(|(id, _)| *id != own);
        let mut idle: Vec<_> = others().filter(|(_, entry)| entry.may_leave()).collect();
        idle.sort_by_key(|(_, entry)| entry.used);
        let idle: Vec<AdapterId> = idle.into_iter().map(|(id, _)| id.clone()).collect();
        let enough =
            (0..=idle.len()).find(|count| self.fits(bytes, idle.get(..*count).unwrap_or_default(), own));
        let Some(count) = enough else {
            let pinned = others().filter(|(_, entry)| entry.is_pinned && entry.takes_room());
            let (count, all) = pinned.fold((0, 0), |(count, all), (_, entry)| (count + 1, all + entry.bytes));
            let is_never =
                count >= self.limits.resident || bytes.saturating_add(all) > self.limits.resident_bytes;
            return if is_never { Residency::Never } else { Residency::NoRoom };
        };
        for id in idle.iter().take(count) {
            if let Some(entry) = self.entries.get_mut(id) {
                entry.state = LoadState::Absent;
            }
        }
        Residency::Here
    }
}
