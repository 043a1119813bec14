//! The unwrapped workspace keys and the anti-rollback minimums in memory: read without a lock, replaced shard
//! by shard.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hash};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use aws_lc_rs::aead::LessSafeKey;
use aws_lc_rs::hkdf;
use domain::{IdHasher, IdMap, WorkspaceId};

use crate::seal;

const SHARDS: usize = 64;

/// A map keyed by ids, for many readers and rare writers: a write copies one shard.
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

    /// Applies one change to each listed entry, which is `None` if it is new.
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
        // A shard's own map uses the lowest and the highest bits.
        let hash = BuildHasherDefault::<IdHasher>::default().hash_one(key) >> 32;
        usize::try_from(hash % SHARDS as u64).unwrap_or(0)
    }
}

/// A workspace's unwrapped key.
pub(crate) struct WorkspaceKey {
    pub secrets: LessSafeKey,
    /// Stored answers and turns are many, and large: each has its own key, derived from this.
    pub kept: hkdf::Prk,
}

impl WorkspaceKey {
    pub(crate) fn new(bytes: &[u8]) -> Result<Self, seal::Refused> {
        let kept = hkdf::Salt::new(hkdf::HKDF_SHA256, b"tidegate/answers/1").extract(bytes);
        Ok(Self { secrets: seal::key(bytes)?, kept })
    }
}

#[derive(Clone)]
struct RingKey {
    id: String,
    key: Arc<WorkspaceKey>,
    /// Set once it was deleted from the store: until then it opens secrets for requests planned before.
    until_us: Option<u64>,
}

/// The keys of one workspace in the order of their creation; the last one seals.
type WorkspaceKeys = Arc<Vec<RingKey>>;

#[derive(Default)]
pub(crate) struct Ring {
    keys: Shards<WorkspaceId, WorkspaceKeys>,
}

impl Ring {
    pub(crate) fn key(
        &self,
        workspace: WorkspaceId,
        key_id: &str,
        now_us: impl Fn() -> u64,
    ) -> Option<Arc<WorkspaceKey>> {
        let find = |keys: &WorkspaceKeys| {
            let held = keys.iter().find(|held| held.id == key_id)?;
            held.until_us.is_none_or(|until_us| now_us() < until_us).then(|| Arc::clone(&held.key))
        };
        self.keys.read(&workspace, find).flatten()
    }

    /// The key that seals new secrets.
    pub(crate) fn current(&self, workspace: WorkspaceId) -> Option<(String, Arc<WorkspaceKey>)> {
        let find = |keys: &WorkspaceKeys| {
            let last = keys.iter().rfind(|held| held.until_us.is_none())?;
            Some((last.id.clone(), Arc::clone(&last.key)))
        };
        self.keys.read(&workspace, find).flatten()
    }

    /// Adds keys that are not known yet.
    pub(crate) fn add(&self, added: Vec<(WorkspaceId, (String, WorkspaceKey))>) {
        self.keys.change(added, |known, (id, key)| {
            let mut keys = known.unwrap_or_default();
            if keys.iter().all(|held| held.id != id) {
                Arc::make_mut(&mut keys).push(RingKey { id, key: Arc::new(key), until_us: None });
            }
            keys
        });
    }

    /// Lets keys that are no longer in the store expire at `until_us`, and removes those that have expired.
    pub(crate) fn keep_only(&self, listed: HashMap<WorkspaceId, Vec<String>>, now_us: u64, until_us: u64) {
        let is_news = |workspace: &WorkspaceId, ids: &[String]| {
            let differs = |keys: &WorkspaceKeys| {
                keys.iter().any(|held| held.until_us.is_some() || !ids.contains(&held.id))
            };
            self.keys.read(workspace, differs) == Some(true)
        };
        let changes = listed.into_iter().filter(|(workspace, ids)| is_news(workspace, ids)).collect();
        self.keys.change(changes, |known, ids: Vec<String>| {
            let mut keys = Vec::clone(&known.unwrap_or_default());
            keys.retain(|held| held.until_us.is_none_or(|until_us| now_us < until_us));
            for held in keys.iter_mut().filter(|held| !ids.contains(&held.id)) {
                held.until_us = held.until_us.or(Some(until_us));
            }
            Arc::new(keys)
        });
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ring(hidden)")
    }
}
