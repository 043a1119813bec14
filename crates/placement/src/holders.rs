//! Which nodes were sent which prompt prefixes lately: fingerprints alone, in a table that cores read and write without a
//! lock. What it forgets or confuses costs one prefill.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::hashing::mix;
use crate::limits::{BUCKETS, HELD_S, HOLDERS_MAX, SLOTS};

const NODE_BITS: u32 = 24;
const TIME_BITS: u32 = 14;
const NODE_MASK: u64 = (1 << NODE_BITS) - 1;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;
/// Times are kept in steps of this many seconds, which wrap around after nine hours.
const STEP_S: u64 = 2;

/// The prefixes of one workspace's prompts, and the nodes that were sent them.
#[derive(Debug)]
pub struct PrefixHolders {
    buckets: Box<[[AtomicU64; SLOTS]]>,
}

impl Default for PrefixHolders {
    fn default() -> Self {
        let empty = || std::array::from_fn(|_| AtomicU64::new(0));
        Self { buckets: (0..BUCKETS).map(|_| empty()).collect() }
    }
}

/// A slot: a part of the fingerprint, a part of the node's hash, and when it was sent it. Zero is an empty one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    tag: u64,
    node: u64,
    step: u64,
}

impl Held {
    const fn of(slot: u64) -> Option<Self> {
        if slot == 0 {
            return None;
        }
        let (tag, node) = (slot >> (NODE_BITS + TIME_BITS), (slot >> TIME_BITS) & NODE_MASK);
        Some(Self { tag, node, step: slot & TIME_MASK })
    }

    const fn slot(self) -> u64 {
        // A tag and a node of zero at time zero would read as an empty slot; it is only forgotten.
        self.tag << (NODE_BITS + TIME_BITS) | self.node << TIME_BITS | self.step
    }

    const fn age_s(self, now_s: u64) -> u64 {
        ((now_s / STEP_S).wrapping_sub(self.step) & TIME_MASK) * STEP_S
    }
}

impl PrefixHolders {
    /// A node, by a hash of its id and of the model, was sent this prefix.
    pub fn note(&self, fingerprint: u64, node: u64, now_s: u64) {
        let (bucket, tag) = self.locate(fingerprint);
        let now = Held { tag, node: node & NODE_MASK, step: (now_s / STEP_S) & TIME_MASK };
        let is_own = |slot: &&AtomicU64| {
            Held::of(slot.load(Ordering::Relaxed))
                .is_some_and(|held| held.tag == tag && held.node == now.node)
        };
        let age = |slot: &&AtomicU64| {
            Held::of(slot.load(Ordering::Relaxed)).map_or(u64::MAX, |held| held.age_s(now_s))
        };
        if let Some(slot) = bucket.iter().find(is_own).or_else(|| bucket.iter().max_by_key(age)) {
            slot.store(now.slot(), Ordering::Relaxed);
        }
    }

    fn holders(&self, fingerprint: u64, now_s: u64) -> impl Iterator<Item = u64> {
        let (bucket, tag) = self.locate(fingerprint);
        let held = bucket.iter().filter_map(|slot| Held::of(slot.load(Ordering::Relaxed)));
        held.filter(move |held| held.tag == tag && held.age_s(now_s) <= HELD_S).map(|held| held.node)
    }

    fn locate(&self, fingerprint: u64) -> (&[AtomicU64], u64) {
        let mixed = mix(fingerprint);
        let number = usize::try_from(mixed % BUCKETS as u64);
        let bucket = number.ok().and_then(|number| self.buckets.get(number));
        (bucket.map_or(&[], <[AtomicU64; SLOTS]>::as_slice), mixed >> (NODE_BITS + TIME_BITS))
    }
}

/// How much of one prompt which nodes have cached, by what they were sent.
#[derive(Debug, Clone, Copy, Default)]
pub struct CachedAt {
    held: [(u64, u64); HOLDERS_MAX],
    len: usize,
}

impl CachedAt {
    /// The prefixes with their lengths, the shortest first.
    pub fn of(ends: &[(u64, u64)], holders: &PrefixHolders, now_s: u64) -> Self {
        let mut cached = Self::default();
        for (fingerprint, length) in ends.iter().rev() {
            for node in holders.holders(*fingerprint, now_s) {
                cached.put(node, *length);
            }
        }
        cached
    }

    /// The longest comes first, so that a node that is there has more.
    fn put(&mut self, node: u64, length: u64) {
        let is_known = self.held.iter().take(self.len).any(|(known, _)| *known == node);
        if !is_known && let Some(slot) = self.held.get_mut(self.len) {
            *slot = (node, length);
            self.len += 1;
        }
    }

    /// The length of the longest prefix that the node, by the same hash, was sent; zero if none.
    pub fn length(&self, node: u64) -> u64 {
        let found = self.held.iter().take(self.len).find(|(known, _)| *known == node & NODE_MASK);
        found.map_or(0, |(_, length)| *length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_longest_prefix_of_each_node_is_found() {
        let holders = PrefixHolders::default();
        for (fingerprint, node) in [(1, 10), (1, 11), (2, 11), (3, 12)] {
            holders.note(fingerprint, node, 5_000);
        }
        let cached = CachedAt::of(&[(1, 100), (2, 250), (9, 900)], &holders, 5_010);
        assert_eq!([10, 11, 12, 13].map(|node| cached.length(node)), [100, 250, 0, 0]);
    }

    #[test]
    fn what_was_sent_long_ago_is_not_taken_to_be_cached() {
        let holders = PrefixHolders::default();
        holders.note(1, 10, 5_000);
        let length = |now_s| CachedAt::of(&[(1, 7)], &holders, now_s).length(10);
        assert_eq!((length(5_000 + HELD_S), length(5_000 + HELD_S + 2 * STEP_S)), (7, 0));
    }

    #[test]
    fn a_full_bucket_forgets_what_was_sent_first() {
        let holders = PrefixHolders::default();
        for node in 0..=SLOTS as u64 {
            holders.note(1, 100 + node, 5_000 + node * STEP_S);
        }
        let cached = CachedAt::of(&[(1, 7)], &holders, 5_100);
        assert_eq!((cached.length(100), cached.length(101)), (0, 7));
    }

    proptest! {
        #[test]
        fn a_slot_reads_back(tag in 1_u64..1 << 26, node in 0_u64..=NODE_MASK, step in 0_u64..=TIME_MASK) {
            let held = Held { tag, node, step };
            prop_assert_eq!(Held::of(held.slot()), Some(held));
        }
    }
}
