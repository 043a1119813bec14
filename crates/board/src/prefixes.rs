//! Which prompt prefixes were seen before, and how often: a small table for each workspace,
//! which all cores read and write without a lock. It holds fingerprints alone; what it forgets
//! or confuses costs a cache mark.

use std::hash::{BuildHasher, BuildHasherDefault};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use domain::limits::{PREFIX_WORKSPACES_MAX, PREFIXES_REMEMBERED_MAX};
use domain::{IdHasher, IdMap, Principal, WorkspaceId};
use placement::PrefixHolders;

use crate::contexts::ContextTable;
use crate::keep_alive::KeepAliveTable;
use crate::limits::PREFIX_TABLES_HELD_MAX;

/// The slots that a fingerprint may be in.
const ASSOCIATIVITY: usize = 8;
const BUCKETS: usize = PREFIXES_REMEMBERED_MAX / ASSOCIATIVITY;
const SECOND_US: u64 = 1_000_000;

const COUNT_BITS: u32 = 8;
const SECOND_BITS: u32 = 24;
const TAG_SHIFT: u32 = COUNT_BITS + SECOND_BITS;

/// The prefixes of one workspace.
#[derive(Debug)]
pub struct PrefixTable {
    buckets: Box<[[AtomicU64; ASSOCIATIVITY]]>,
    /// When a core last fetched it.
    used_us: AtomicU64,
    contexts: ContextTable,
    keep_alive: KeepAliveTable,
    /// Made where a workspace has several nodes.
    at_nodes: OnceLock<PrefixHolders>,
}

/// The content of one slot; zero is an empty one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sight {
    tag: u64,
    count: u8,
    second: u64,
}

impl Sight {
    const fn of(slot: u64) -> Option<Self> {
        if slot == 0 {
            return None;
        }
        let count = (slot & ((1 << COUNT_BITS) - 1)) as u8;
        let second = (slot >> COUNT_BITS) & ((1 << SECOND_BITS) - 1);
        Some(Self { tag: slot >> TAG_SHIFT, count, second })
    }

    const fn slot(self) -> u64 {
        self.tag << TAG_SHIFT | self.second << COUNT_BITS | self.count as u64
    }

    /// Seconds wrap around twice a year; nothing as old as that is looked up.
    const fn age_s(self, now_s: u64) -> u64 {
        now_s.wrapping_sub(self.second) & ((1 << SECOND_BITS) - 1)
    }
}

impl Default for PrefixTable {
    fn default() -> Self {
        let empty = || std::array::from_fn(|_| AtomicU64::new(0));
        Self {
            buckets: (0..BUCKETS).map(|_| empty()).collect(),
            used_us: AtomicU64::new(0),
            contexts: ContextTable::default(),
            keep_alive: KeepAliveTable::default(),
            at_nodes: OnceLock::new(),
        }
    }
}

impl PrefixTable {
    /// How often a prefix was seen, each time within its lifetime of the time before.
    pub fn count(&self, fingerprint: u64, lifetime: Duration, now_us: u64) -> u8 {
        let (bucket, tag) = self.locate(fingerprint);
        let found = bucket.iter().find_map(|slot| sight(slot).filter(|sight| sight.tag == tag));
        let is_alive = |sight: &Sight| sight.age_s(now_us / SECOND_US) <= lifetime.as_secs();
        found.filter(is_alive).map_or(0, |sight| sight.count)
    }

    /// Records that a prefix was seen. If two cores do so at once, one may not be counted.
    pub fn note(&self, fingerprint: u64, lifetime: Duration, now_us: u64) {
        let before = self.count(fingerprint, lifetime, now_us);
        let (bucket, tag) = self.locate(fingerprint);
        let second = (now_us / SECOND_US) & ((1 << SECOND_BITS) - 1);
        let now = Sight { tag, count: before.saturating_add(1), second };
        let own = bucket.iter().find(|slot| sight(slot).is_some_and(|sight| sight.tag == tag));
        let age = |slot: &&AtomicU64| sight(slot).map_or(u64::MAX, |sight| sight.age_s(now_us / SECOND_US));
        if let Some(slot) = own.or_else(|| bucket.iter().max_by_key(age)) {
            slot.store(now.slot(), Ordering::Relaxed);
        }
    }

    /// Its provider has a prefix for another lifetime, since the gateway had it read: it was not seen once more.
    pub fn refresh(&self, fingerprint: u64, lifetime: Duration, now_us: u64) {
        let (bucket, tag) = self.locate(fingerprint);
        let is_own =
            |sight: &Sight| sight.tag == tag && sight.age_s(now_us / SECOND_US) <= lifetime.as_secs();
        let second = (now_us / SECOND_US) & ((1 << SECOND_BITS) - 1);
        if let Some((slot, sight)) = bucket.iter().find_map(|slot| Some((slot, sight(slot).filter(is_own)?)))
        {
            slot.store(Sight { second, ..sight }.slot(), Ordering::Relaxed);
        }
    }

    /// Which nodes were sent which prefixes.
    pub fn at_nodes(&self) -> &PrefixHolders {
        self.at_nodes.get_or_init(PrefixHolders::default)
    }

    /// The prefixes that are kept in their provider's cache.
    pub const fn keep_alive(&self) -> &KeepAliveTable {
        &self.keep_alive
    }

    /// The beginnings that are cached by name, or may be.
    pub const fn contexts(&self) -> &ContextTable {
        &self.contexts
    }

    fn locate(&self, fingerprint: u64) -> (&[AtomicU64], u64) {
        let number = usize::try_from(fingerprint % BUCKETS as u64);
        let bucket = number.ok().and_then(|number| self.buckets.get(number));
        (bucket.map_or(&[], <[AtomicU64; ASSOCIATIVITY]>::as_slice), fingerprint >> TAG_SHIFT)
    }
}

/// The fingerprint of a prefix that one principal was sent for one model, as distinct from any other.
pub fn prefix_at(fingerprint: u64, principal: Principal, upstream_model: &str) -> u64 {
    fingerprint ^ BuildHasherDefault::<IdHasher>::default().hash_one((principal, upstream_model))
}

fn sight(slot: &AtomicU64) -> Option<Sight> {
    Sight::of(slot.load(Ordering::Relaxed))
}

/// The tables of all workspaces. A core comes here for one that it does not hold yet.
#[derive(Debug, Default)]
pub struct Prefixes {
    tables: Mutex<IdMap<WorkspaceId, Arc<PrefixTable>>>,
}

impl Prefixes {
    fn of(&self, workspace: WorkspaceId, now_us: u64) -> Arc<PrefixTable> {
        // A table is inserted whole, so a panic elsewhere does not corrupt the map.
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if tables.len() >= PREFIX_WORKSPACES_MAX && !tables.contains_key(&workspace) {
            let used_us = |table: &Arc<PrefixTable>| table.used_us.load(Ordering::Relaxed);
            let mut uses: Vec<_> = tables.values().map(used_us).collect();
            uses.sort_unstable();
            let oldest = uses.get(PREFIX_WORKSPACES_MAX / 4).copied().unwrap_or_default();
            tables.retain(|_, table| used_us(table) > oldest);
        }
        let table = tables.entry(workspace).or_default();
        table.used_us.store(now_us, Ordering::Relaxed);
        Arc::clone(table)
    }
}

impl Prefixes {
    /// The table of a workspace, if there is one.
    pub(crate) fn known(&self, workspace: WorkspaceId) -> Option<Arc<PrefixTable>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).get(&workspace).map(Arc::clone)
    }
}

/// The tables that a core fetched lately.
#[derive(Debug, Default)]
pub(crate) struct PrefixTableCache(IdMap<WorkspaceId, Arc<PrefixTable>>);

impl PrefixTableCache {
    pub(crate) fn of(&mut self, all: &Prefixes, workspace: WorkspaceId, now_us: u64) -> Arc<PrefixTable> {
        if let Some(table) = self.0.get(&workspace) {
            return Arc::clone(table);
        }
        if self.0.len() >= PREFIX_TABLES_HELD_MAX {
            self.0.clear();
        }
        let table = all.of(workspace, now_us);
        self.0.insert(workspace, Arc::clone(&table));
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIFETIME: Duration = Duration::from_secs(300);

    fn workspace(number: u64) -> WorkspaceId {
        let [a, b, c, d, ..] = number.to_le_bytes();
        WorkspaceId::new(1, [0, 0, 0, 0, 0, 0, d, c, b, a])
    }

    #[test]
    fn what_came_within_its_lifetime_is_counted() {
        let table = PrefixTable::default();
        for (at_s, before) in [(0, 0), (1, 1), (300, 2), (601, 0), (602, 1)] {
            let now_us = 7_000_000 + at_s * SECOND_US;
            assert_eq!(table.count(77 << 40, LIFETIME, now_us), before, "{at_s}");
            table.note(77 << 40, LIFETIME, now_us);
        }
        assert_eq!(table.count(78 << 40, LIFETIME, 7_000_000), 0);
    }

    #[test]
    fn a_refresh_lengthens_a_life_and_counts_as_no_sight() {
        let table = PrefixTable::default();
        let at = |second: u64| 7_000_000 + second * SECOND_US;
        table.refresh(77 << 40, LIFETIME, at(0));
        assert_eq!(table.count(77 << 40, LIFETIME, at(0)), 0, "nobody sent it");
        table.note(77 << 40, LIFETIME, at(0));
        table.refresh(77 << 40, LIFETIME, at(290));
        assert_eq!(table.count(77 << 40, LIFETIME, at(590)), 1);
        table.refresh(77 << 40, LIFETIME, at(591));
        assert_eq!(table.count(77 << 40, LIFETIME, at(592)), 0, "it had expired before");
    }

    #[test]
    fn a_full_bucket_forgets_what_was_away_longest() {
        let table = PrefixTable::default();
        let prefix = |number: u64| number << TAG_SHIFT | 5;
        for number in 0..=ASSOCIATIVITY as u64 {
            table.note(prefix(number), LIFETIME, number * SECOND_US);
        }
        let kept: Vec<_> = (0..=ASSOCIATIVITY as u64)
            .map(|number| table.count(prefix(number), LIFETIME, 9 * SECOND_US))
            .collect();
        assert_eq!(kept, [0, 1, 1, 1, 1, 1, 1, 1, 1]);
    }

    #[test]
    fn workspaces_remember_apart_and_no_more_of_them_than_there_is_room_for() {
        let (all, mut core, mut other) =
            (Prefixes::default(), PrefixTableCache::default(), PrefixTableCache::default());
        core.of(&all, workspace(1), 0).note(9, LIFETIME, 0);
        assert_eq!(other.of(&all, workspace(1), 0).count(9, LIFETIME, 0), 1, "cores remember together");
        assert_eq!(core.of(&all, workspace(2), 0).count(9, LIFETIME, 0), 0);
        for number in 3..3 * PREFIX_WORKSPACES_MAX as u64 {
            drop(core.of(&all, workspace(number), number));
        }
        assert!(
            all.tables.lock().unwrap().len() <= PREFIX_WORKSPACES_MAX
                && core.0.len() <= PREFIX_TABLES_HELD_MAX
        );
        assert_eq!(
            PrefixTableCache::default().of(&all, workspace(1), 0).count(9, LIFETIME, 0),
            0,
            "long away"
        );
    }

    proptest! {
        #[test]
        fn a_slot_reads_back(tag in 0_u64..=u64::from(u32::MAX), count in 1_u8.., second in 0_u64..1 << SECOND_BITS) {
            let sight = Sight { tag, count, second };
            prop_assert_eq!(Sight::of(sight.slot()), Some(sight));
        }
    }
}
