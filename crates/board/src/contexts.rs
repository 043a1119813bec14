//! Beginnings of prompts that a provider caches by name for the gateway, or may be worth it: how often each came lately,
//! and what the provider did not have of it; in memory alone, for each workspace apart. Whoever looks one up finds it by a
//! hash, and compares the digest of all that is in the cache before it goes on from there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::limits::{CONTEXT_CACHES_MAX, CONTEXT_REFUSALS_MAX, CONTEXT_USES_MAX, CONTEXTS_WATCHED_MAX};
use domain::{Principal, ProjectId};

/// A beginning of prompts as one principal reads it for one model and project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContextKey(pub u64);

/// One use of a beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContextUse {
    pub at_s: u64,
    /// Its length.
    pub tokens: u64,
    /// The tokens of it that did not come from a cache.
    pub missed_tokens: u64,
}

/// A beginning that its provider has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedContext {
    /// The provider's id.
    pub id: Arc<str>,
    /// Of everything that is in it, and of whom it belongs to.
    pub digest: [u8; 32],
    pub tokens: u64,
    pub until_unix_ms: u64,
    pub project: ProjectId,
    pub maker: Principal,
}

/// How the creation of a cache ended.
#[derive(Debug, Clone)]
pub enum ContextOutcome {
    Made(CachedContext),
    /// It is not tried again before this time.
    Failed {
        until_unix_ms: u64,
    },
}

/// All beginnings of one workspace's prompts.
#[derive(Debug, Default)]
pub struct ContextTable(Mutex<HashMap<ContextKey, Entry>>);

#[derive(Debug, Default)]
struct Entry {
    uses: Vec<ContextUse>,
    state: State,
    /// Requests in a row that were refused beside the cache, each perhaps for what else it says.
    refusals: u32,
}

#[derive(Debug, Default)]
enum State {
    /// Uses are counted.
    #[default]
    Watched,
    Creating,
    Cached(CachedContext),
    /// It could not be created, or its provider did not take it.
    Resting {
        until_unix_ms: u64,
    },
}

impl State {
    /// As it is now: what is over is forgotten.
    fn at(&mut self, now_unix_ms: u64) -> &mut Self {
        let (Self::Cached(CachedContext { until_unix_ms, .. }) | Self::Resting { until_unix_ms }) = self
        else {
            return self;
        };
        if *until_unix_ms <= now_unix_ms {
            *self = Self::Watched;
        }
        self
    }
}

impl ContextTable {
    /// The cache of the first of these beginnings that has one, and which of them that is.
    pub fn find(
        &self,
        keys: impl Iterator<Item = ContextKey>,
        now_unix_ms: u64,
    ) -> Option<(usize, CachedContext)> {
        let mut entries = self.entries();
        keys.enumerate().find_map(|(number, key)| match entries.get_mut(&key)?.state.at(now_unix_ms) {
            State::Cached(cached) => Some((number, cached.clone())),
            _ => None,
        })
    }

    /// The uses of a beginning that may be cached; none of one that is, or rests.
    pub fn uses(&self, key: ContextKey, now_unix_ms: u64) -> Vec<ContextUse> {
        let mut entries = self.entries();
        let Some(entry) = entries.get_mut(&key) else { return Vec::new() };
        match entry.state.at(now_unix_ms) {
            State::Watched => entry.uses.clone(),
            State::Creating | State::Cached(_) | State::Resting { .. } => Vec::new(),
        }
    }

    /// Records a use of each.
    pub fn note(&self, uses: impl Iterator<Item = (ContextKey, ContextUse)>) {
        let mut entries = self.entries();
        for (key, once) in uses {
            if !entries.contains_key(&key) && entries.len() >= CONTEXTS_WATCHED_MAX {
                forget_oldest(&mut entries);
            }
            let entry = entries.entry(key).or_default();
            if entry.uses.len() >= CONTEXT_USES_MAX {
                entry.uses.remove(0);
            }
            entry.uses.push(once);
        }
    }

    /// Takes on the creation of a cache; `false` if another does that, or the workspace has as many as it may.
    pub fn begin(&self, key: ContextKey, now_unix_ms: u64) -> bool {
        let mut entries = self.entries();
        let is_held =
            |entry: &mut Entry| matches!(entry.state.at(now_unix_ms), State::Creating | State::Cached(_));
        if entries.values_mut().filter_map(|entry| is_held(entry).then_some(())).count() >= CONTEXT_CACHES_MAX
        {
            return false;
        }
        match entries.get_mut(&key) {
            Some(entry) if matches!(entry.state, State::Watched) => {
                entry.state = State::Creating;
                true
            }
            _ => false,
        }
    }

    /// The creation ended.
    pub fn end(&self, key: ContextKey, outcome: ContextOutcome) {
        if let Some(entry) = self.entries().get_mut(&key) {
            entry.uses.clear();
            entry.refusals = 0;
            entry.state = match outcome {
                ContextOutcome::Made(cached) => State::Cached(cached),
                ContextOutcome::Failed { until_unix_ms } => State::Resting { until_unix_ms },
            };
        }
    }

    /// A request that went on from a cache was refused: since its provider does not have it any more (`is_gone`), or for
    /// whatever else. Nothing replaces a cache that is given up before it would have ended, so that no provider that loses
    /// caches is paid for one after the other.
    pub fn refused(&self, key: ContextKey, id: &str, is_gone: bool) {
        if let Some(entry) = self.entries().get_mut(&key)
            && let State::Cached(cached) = &entry.state
            && *cached.id == *id
        {
            entry.refusals += 1;
            if is_gone || entry.refusals >= CONTEXT_REFUSALS_MAX {
                entry.state = State::Resting { until_unix_ms: cached.until_unix_ms };
            }
        }
    }

    /// A request that went on from a cache was answered.
    pub fn accepted(&self, key: ContextKey) {
        if let Some(entry) = self.entries().get_mut(&key) {
            entry.refusals = 0;
        }
    }

    /// Takes out the caches of a project at one principal, which are to be used no more; returns the provider's ids.
    pub fn take(&self, project: ProjectId, maker: Principal) -> Vec<Arc<str>> {
        let mut taken = Vec::new();
        for entry in self.entries().values_mut() {
            if let State::Cached(cached) = &entry.state
                && (cached.project, cached.maker) == (project, maker)
            {
                taken.push(Arc::clone(&cached.id));
                *entry = Entry::default();
            }
        }
        taken
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<ContextKey, Entry>> {
        // Entries are changed whole, so a panic elsewhere does not corrupt the map.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets the quarter that was used longest ago, but for those that are paid for.
fn forget_oldest(entries: &mut HashMap<ContextKey, Entry>) {
    let used = |entry: &Entry| entry.uses.last().map_or(0, |once| once.at_s);
    let is_free = |entry: &Entry| !matches!(entry.state, State::Creating | State::Cached(_));
    let mut times: Vec<u64> = entries.values().filter(|entry| is_free(entry)).map(used).collect();
    times.sort_unstable();
    let oldest = times.get(times.len() / 4).copied().unwrap_or_default();
    entries.retain(|_, entry| !is_free(entry) || used(entry) > oldest);
}

#[cfg(test)]
mod tests {
    use domain::AccountId;

    use super::*;

    fn once(at_s: u64) -> ContextUse {
        ContextUse { at_s, tokens: 9, missed_tokens: 5 }
    }

    fn cached(id: &str, until_unix_ms: u64) -> CachedContext {
        let (project, maker) = (project(1), maker());
        CachedContext { id: id.into(), digest: [1; 32], tokens: 5_000, until_unix_ms, project, maker }
    }

    fn maker() -> Principal {
        Principal::Account(AccountId::new(1, [1; 10]))
    }

    fn project(number: u64) -> ProjectId {
        ProjectId::new(number, [1; 10])
    }

    fn found(table: &ContextTable, keys: &[u64], now_unix_ms: u64) -> Option<(usize, String)> {
        let found = table.find(keys.iter().map(|key| ContextKey(*key)), now_unix_ms);
        found.map(|(number, cached)| (number, cached.id.to_string()))
    }

    #[test]
    fn a_beginning_is_watched_created_used_and_watched_again() {
        let (table, key) = (ContextTable::default(), ContextKey(7));
        assert!(!table.begin(key, 0), "nobody used it yet");
        table.note([(key, once(1))].into_iter());
        table.note([(key, once(2))].into_iter());
        assert_eq!(table.uses(key, 0), [once(1), once(2)]);
        assert!(table.begin(key, 0));
        assert!(!table.begin(key, 0), "one creates it");
        assert!(table.uses(key, 0).is_empty() && found(&table, &[7], 0).is_none());
        table.end(key, ContextOutcome::Made(cached("a", 100)));
        assert_eq!(found(&table, &[9, 7], 99), Some((1, "a".to_owned())));
        assert_eq!(found(&table, &[7], 100), None, "it is over");
        assert!(table.begin(key, 100), "and may be created again");
    }

    #[test]
    fn what_is_gone_rests_until_it_would_have_ended() {
        let (table, key) = (ContextTable::default(), ContextKey(7));
        table.note([(key, once(1))].into_iter());
        assert!(table.begin(key, 0));
        table.end(key, ContextOutcome::Made(cached("a", 100)));
        table.refused(key, "another", true);
        assert!(found(&table, &[7], 50).is_some());
        table.refused(key, "a", true);
        assert!(found(&table, &[7], 50).is_none() && !table.begin(key, 99) && table.begin(key, 100));
        table.end(key, ContextOutcome::Failed { until_unix_ms: 200 });
        assert!(!table.begin(key, 199) && table.begin(key, 200));
    }

    #[test]
    fn a_cache_survives_requests_that_are_wrong_themselves() {
        let (table, key) = (ContextTable::default(), ContextKey(7));
        table.note([(key, once(1))].into_iter());
        assert!(table.begin(key, 0));
        table.end(key, ContextOutcome::Made(cached("a", 100)));
        for _ in 0..5 {
            (1..CONTEXT_REFUSALS_MAX).for_each(|_| table.refused(key, "a", false));
            assert!(found(&table, &[7], 50).is_some());
            table.accepted(key);
        }
        (0..CONTEXT_REFUSALS_MAX).for_each(|_| table.refused(key, "a", false));
        assert!(found(&table, &[7], 50).is_none(), "all of them may be wrong for the cache alone");
    }

    #[test]
    fn what_is_no_longer_wanted_is_taken_out_to_be_deleted() {
        let (table, key) = (ContextTable::default(), ContextKey(7));
        table.note([(key, once(1))].into_iter());
        assert!(table.begin(key, 0));
        table.end(key, ContextOutcome::Made(cached("a", 100)));
        assert!(table.take(project(2), maker()).is_empty(), "another project's");
        assert_eq!(table.take(project(1), maker()), ["a".into()]);
        assert!(table.take(project(1), maker()).is_empty() && found(&table, &[7], 50).is_none());
    }

    #[test]
    fn a_full_table_forgets_what_was_away_longest_and_is_not_paid_for() {
        let table = ContextTable::default();
        table.note([(ContextKey(0), once(0))].into_iter());
        assert!(table.begin(ContextKey(0), 0));
        table.end(ContextKey(0), ContextOutcome::Made(cached("a", 1_000)));
        for number in 1..2 * CONTEXTS_WATCHED_MAX as u64 {
            table.note([(ContextKey(number), once(number))].into_iter());
        }
        assert!(table.entries().len() <= CONTEXTS_WATCHED_MAX);
        assert!(found(&table, &[0], 0).is_some(), "it is paid for");
        let newest = 2 * CONTEXTS_WATCHED_MAX as u64 - 1;
        assert_eq!((table.uses(ContextKey(1), 0).len(), table.uses(ContextKey(newest), 0).len()), (0, 1));
    }

    #[test]
    fn a_workspace_has_no_more_caches_than_it_may() {
        let table = ContextTable::default();
        let most = CONTEXT_CACHES_MAX as u64;
        for number in 0..=most {
            table.note([(ContextKey(number), once(1))].into_iter());
            assert_eq!(table.begin(ContextKey(number), 0), number < most, "{number}");
        }
        table.end(ContextKey(0), ContextOutcome::Failed { until_unix_ms: 5 });
        assert!(table.begin(ContextKey(most), 0));
    }
}
