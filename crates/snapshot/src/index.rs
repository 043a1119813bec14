//! A sharded map: a new version of it copies only the shards that changed.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

const SHARDS: usize = 256;

/// Hashes a 128-bit key that is random already (a keyed digest, an id). Not for text that others choose.
#[derive(Default, Clone)]
pub(crate) struct Fold(u64);

impl Hasher for Fold {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(5) ^ u64::from(*byte);
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "both halves of the product are used")]
    fn write_u128(&mut self, key: u128) {
        const ODD: u128 = 0x9E37_79B9_7F4A_7C15;
        let low = (key & u128::from(u64::MAX)) * ODD;
        let mixed = low ^ (key >> 64).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        self.0 = (mixed ^ (mixed >> 64)) as u64;
    }
}

type Shard<V> = HashMap<u128, V, BuildHasherDefault<Fold>>;

#[derive(Clone)]
pub(crate) struct Index<V> {
    shards: Vec<Arc<Shard<V>>>,
}

impl<V: Clone> Index<V> {
    pub(crate) fn new() -> Self {
        let empty = Arc::new(Shard::default());
        Self { shards: (0..SHARDS).map(|_| Arc::clone(&empty)).collect() }
    }

    pub(crate) fn get(&self, key: u128) -> Option<&V> {
        self.shards.get(shard_of(key))?.get(&key)
    }

    pub(crate) fn insert(&mut self, key: u128, value: V) -> Option<V> {
        Arc::make_mut(self.shards.get_mut(shard_of(key))?).insert(key, value)
    }

    pub(crate) fn remove(&mut self, key: u128) -> Option<V> {
        let shard = self.shards.get_mut(shard_of(key))?;
        if !shard.contains_key(&key) {
            return None;
        }
        Arc::make_mut(shard).remove(&key)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.shards.iter().flat_map(|shard| shard.values())
    }

    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.len()).sum()
    }
}

/// The low byte is random in a UUIDv7 and in a digest.
const fn shard_of(key: u128) -> usize {
    (key & 0xFF) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_copies_one_shard_and_leaves_the_older_version_as_it_was() {
        let mut first = Index::new();
        for key in 0..10_000_u128 {
            first.insert(key << 3, key);
        }
        let mut second = first.clone();
        second.insert(8, 99);
        second.remove(16);
        assert_eq!((first.get(8), second.get(8)), (Some(&1), Some(&99)));
        assert_eq!((first.get(16), second.get(16)), (Some(&2), None));
        assert_eq!((first.len(), second.len()), (10_000, 9_999));
        let copied = first.shards.iter().zip(&second.shards).filter(|(a, b)| !Arc::ptr_eq(a, b)).count();
        assert_eq!(copied, 2);
    }

    #[test]
    fn keys_of_one_shard_spread_over_its_buckets() {
        let mut low_bits = std::collections::HashSet::new();
        for key in 0..128_u128 {
            let mut hasher = Fold::default();
            hasher.write_u128((key << 64 | key << 8) | 7);
            low_bits.insert(hasher.finish() & 0x7F);
        }
        assert!(low_bits.len() > 60, "{}", low_bits.len());
    }
}
