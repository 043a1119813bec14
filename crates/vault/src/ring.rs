//! The workspace keys that are ready in memory, and the floors: read without a lock, replaced by shard when one comes.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hash};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use aws_lc_rs::aead::LessSafeKey;
use domain::{IdHasher, IdMap, WorkspaceId};

const SHARDS: usize = 64;

/// A map by ids of ours, for many readers and rare writers: a write copies one shard.
pub(crate) struct Shards<K, V> {
    shards: Vec<ArcSwap<IdMap<K, V>>>,
    /// Serialises writers; readers never take it.
    writing: Mutex<()>,
}

impl<K: Hash + Eq + Clone, V: Clone> Default for Shards<K, V> {
    fn default() -> Self {
        let shards = (0..SHARDS).map(|_| ArcSwap::from_pointee(IdMap::default())).collect();
        Self { shards, writing: Mutex::new(()) }
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Shards<K, V> {
    pub(crate) fn read<Q, R>(&self, key: &Q, of: impl FnOnce(&V) -> R) -> Option<R>
    where
        K: std::borrow::Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.shard(key)?.load().get(key).map(of)
    }

    /// Applies one change to each entry that is named, which is `None` where it is new.
    pub(crate) fn change<T>(&self, changes: Vec<(K, T)>, apply: impl Fn(Option<V>, T) -> V) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut touched: HashMap<usize, IdMap<K, V>> = HashMap::new();
        for (key, change) in changes {
            let number = self.number(&key);
            let Some(shard) = self.shards.get(number) else { continue };
            let map = touched.entry(number).or_insert_with(|| IdMap::clone(&shard.load()));
            let old = map.remove(&key);
            map.insert(key, apply(old, change));
        }
        for (number, map) in touched {
            if let Some(shard) = self.shards.get(number) {
                shard.store(Arc::new(map));
            }
        }
    }

    fn shard<Q: Hash + ?Sized>(&self, key: &Q) -> Option<&ArcSwap<IdMap<K, V>>> {
        self.shards.get(self.number(key))
    }

    fn number<Q: Hash + ?Sized>(&self, key: &Q) -> usize {
        // The map of a shard goes by the lowest and the highest bits.
        let hash = BuildHasherDefault::<IdHasher>::default().hash_one(key) >> 32;
        usize::try_from(hash % SHARDS as u64).unwrap_or(0)
    }
}

/// The keys of one workspace in the order in which they were made; the last is the one that seals.
type WorkspaceKeys = Arc<Vec<(String, Arc<LessSafeKey>)>>;

#[derive(Default)]
pub(crate) struct Ring {
    keys: Shards<WorkspaceId, WorkspaceKeys>,
}

impl Ring {
    pub(crate) fn key(&self, workspace: WorkspaceId, key_id: &str) -> Option<Arc<LessSafeKey>> {
        let find = |keys: &WorkspaceKeys| {
            keys.iter().find(|(known, _)| known == key_id).map(|(_, key)| Arc::clone(key))
        };
        self.keys.read(&workspace, find).flatten()
    }

    /// The key that seals what is new.
    pub(crate) fn current(&self, workspace: WorkspaceId) -> Option<(String, Arc<LessSafeKey>)> {
        self.keys.read(&workspace, |keys| keys.last().cloned()).flatten()
    }

    /// Adds keys that are not known yet.
    pub(crate) fn add(&self, added: Vec<(WorkspaceId, (String, LessSafeKey))>) {
        self.keys.change(added, |known, (key_id, key)| {
            let mut keys = known.unwrap_or_default();
            if keys.iter().all(|(id, _)| *id != key_id) {
                Arc::make_mut(&mut keys).push((key_id, Arc::new(key)));
            }
            keys
        });
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ring(hidden)")
    }
}
