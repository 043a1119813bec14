//! The unwrapped workspace keys and the anti-rollback minimums in memory: read without a lock, replaced shard
//! by shard.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hash};
use std::sync::atomic::{AtomicU64, Ordering};
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

    /// The keys of all entries of which this holds.
    fn keys_where(&self, holds: impl Fn(&V) -> bool) -> Vec<K> {
        let of_shard = |shard: &ArcSwap<IdMap<K, V>>| -> Vec<K> {
            shard.load().iter().filter(|(_, value)| holds(value)).map(|(key, _)| key.clone()).collect()
        };
        self.shards.iter().flat_map(of_shard).collect()
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

pub(crate) struct Ring {
    keys: Shards<WorkspaceId, WorkspaceKeys>,
    /// When the first of the keys that were deleted from the store expires.
    next_until_us: AtomicU64,
}

impl Default for Ring {
    fn default() -> Self {
        Self { keys: Shards::default(), next_until_us: AtomicU64::new(u64::MAX) }
    }
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
        let changes: Vec<_> = listed.into_iter().filter(|(workspace, ids)| is_news(workspace, ids)).collect();
        let is_changed = !changes.is_empty();
        self.keys.change(changes, |known, ids: Vec<String>| {
            let mut keys = Vec::clone(&known.unwrap_or_default());
            keys.retain(|held| held.until_us.is_none_or(|until_us| now_us < until_us));
            for held in keys.iter_mut().filter(|held| !ids.contains(&held.id)) {
                held.until_us = held.until_us.or(Some(until_us));
            }
            Arc::new(keys)
        });
        // After the change, so that whoever resets the time meanwhile sees the keys.
        if is_changed {
            self.next_until_us.fetch_min(until_us, Ordering::AcqRel);
        }
    }

    /// Wipes the keys that have expired, whether or not their workspaces change.
    pub(crate) fn wipe_expired(&self, now_us: u64) {
        if now_us < self.next_until_us.load(Ordering::Acquire) {
            return;
        }
        self.next_until_us.store(u64::MAX, Ordering::Release);
        let expires = |keys: &WorkspaceKeys| keys.iter().any(|held| held.until_us.is_some());
        let changes = self.keys.keys_where(expires).into_iter().map(|workspace| (workspace, ())).collect();
        let next_until_us = &self.next_until_us;
        self.keys.change(changes, |known, ()| {
            let mut keys = Vec::clone(&known.unwrap_or_default());
            keys.retain(|held| held.until_us.is_none_or(|until_us| now_us < until_us));
            for until_us in keys.iter().filter_map(|held| held.until_us) {
                next_until_us.fetch_min(until_us, Ordering::AcqRel);
            }
            Arc::new(keys)
        });
    }
}

domain::brief_debug!(Ring as "Ring(hidden)");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expired_key_is_wiped_though_its_workspace_does_not_change() {
        let (ring, workspace) = (Ring::default(), WorkspaceId::new(1, [1; 10]));
        let key = |byte: u8| WorkspaceKey::new(&[byte; 32]).unwrap_or_else(|_| panic!("it is a key"));
        ring.add(vec![(workspace, ("old".into(), key(1))), (workspace, ("new".into(), key(2)))]);
        let old = Arc::downgrade(&ring.key(workspace, "old", || 0).unwrap());
        ring.wipe_expired(1_000);
        ring.keep_only(HashMap::from([(workspace, vec!["new".to_owned()])]), 10, 100);
        for (now_us, is_there) in [(10, true), (99, true), (100, false), (200, false)] {
            ring.wipe_expired(now_us);
            assert_eq!(old.upgrade().is_some(), is_there, "{now_us}");
            assert!(ring.key(workspace, "new", || now_us).is_some());
        }
    }
}
