//! The in-memory cache of turns: found by their tool call ids, bounded by bytes, with LRU eviction.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use vault::ContentRef;

/// Overhead of a turn besides its content, and of each of its calls.
const TURN_BYTES: usize = 512;
const CALL_BYTES: usize = 192;

pub(crate) type Digest = [u8; 32];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CachedTurn {
    pub content_ref: ContentRef,
    pub calls: Vec<Digest>,
    pub content: Bytes,
    pub until_unix_ms: u64,
    /// It is found here once it is stored.
    pub is_awaited: bool,
}

impl CachedTurn {
    pub(crate) fn bytes(&self) -> usize {
        TURN_BYTES + self.calls.len() * CALL_BYTES + self.content.len()
    }
}

/// Both clocks: a turn's end is in wall time, the age of a cache entry in monotonic time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub unix_ms: u64,
    pub us: u64,
}

pub(crate) struct TurnCache {
    bytes_max: usize,
    bytes: usize,
    turns: HashMap<Digest, CacheEntry>,
    by_call: HashMap<Digest, Digest>,
    /// The turns in order of their last use; the keys are unique.
    by_use: BTreeMap<u64, Digest>,
    uses: u64,
}

struct CacheEntry {
    turn: Arc<CachedTurn>,
    used: u64,
    fresh_until_us: u64,
}

impl TurnCache {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            bytes: 0,
            turns: HashMap::new(),
            by_call: HashMap::new(),
            by_use: BTreeMap::new(),
            uses: 0,
        }
    }

    /// Storing a turn again renews its trust period. If two turns have a call with the same id, the newer one
    /// is found.
    pub(crate) fn put(&mut self, turn: Arc<CachedTurn>, believed_until_us: u64) {
        let digest = turn.content_ref.digest;
        self.remove(&digest);
        if turn.bytes() > self.bytes_max {
            return;
        }
        for call in &turn.calls {
            let other = self.by_call.get(call).and_then(|other| self.turns.get(other));
            if other.is_none_or(|other| other.turn.until_unix_ms <= turn.until_unix_ms) {
                self.by_call.insert(*call, digest);
            }
        }
        self.bytes += turn.bytes();
        self.uses += 1;
        self.by_use.insert(self.uses, digest);
        self.turns.insert(digest, CacheEntry { turn, used: self.uses, fresh_until_us: believed_until_us });
        while self.bytes > self.bytes_max
            && let Some((_, oldest)) = self.by_use.first_key_value()
        {
            let oldest = *oldest;
            self.remove(&oldest);
        }
    }

    /// The turn of a call, and whether it may be used without checking the store.
    pub(crate) fn find(&mut self, call: &Digest, now: Now) -> Option<(Arc<CachedTurn>, bool)> {
        let digest = *self.by_call.get(call)?;
        let held = self.turns.get_mut(&digest)?;
        if held.turn.until_unix_ms <= now.unix_ms {
            self.remove(&digest);
            return None;
        }
        self.by_use.remove(&held.used);
        self.uses += 1;
        held.used = self.uses;
        self.by_use.insert(self.uses, digest);
        Some((Arc::clone(&held.turn), now.us < held.fresh_until_us))
    }

    pub(crate) fn remove(&mut self, digest: &Digest) {
        let Some(CacheEntry { turn, used, .. }) = self.turns.remove(digest) else { return };
        self.bytes -= turn.bytes();
        self.by_use.remove(&used);
        for call in &turn.calls {
            if self.by_call.get(call) == Some(digest) {
                self.by_call.remove(call);
            }
        }
    }

    pub(crate) fn forget(&mut self, is_over: impl Fn(&CachedTurn) -> bool) {
        let over = self.turns.values().filter(|held| is_over(&held.turn));
        let over: Vec<_> = over.map(|held| held.turn.content_ref.digest).collect();
        for digest in &over {
            self.remove(digest);
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::{ContentKind, ProjectId, TraceId, WorkspaceId};
    use proptest::prelude::*;

    use super::*;

    fn turn(number: u8, calls: &[u8], length: usize) -> Arc<CachedTurn> {
        let content_ref = ContentRef {
            kept: ContentKind::Turn,
            workspace: WorkspaceId::new(1, [number % 2; 10]),
            project: ProjectId::new(1, [1; 10]),
            digest: [number; 32],
            request: TraceId::new(1, [number; 10]),
        };
        let calls = calls.iter().map(|call| [*call; 32]).collect();
        let content = Bytes::from(vec![number; length]);
        Arc::new(CachedTurn {
            content_ref,
            calls,
            content,
            until_unix_ms: 1_000 + u64::from(number),
            is_awaited: false,
        })
    }

    const NOW: Now = Now { unix_ms: 0, us: 0 };

    fn find(memory: &mut TurnCache, call: u8, now: Now) -> Option<(u8, bool)> {
        memory.find(&[call; 32], now).map(|(turn, is_believed)| (turn.content_ref.digest[0], is_believed))
    }

    #[test]
    fn a_turn_is_found_by_each_call_until_its_end_and_believed_for_a_while() {
        let mut memory = TurnCache::new(10_000);
        memory.put(turn(1, &[10, 11], 5), 50);
        assert_eq!(find(&mut memory, 10, NOW), Some((1, true)));
        assert_eq!(find(&mut memory, 11, Now { us: 49, ..NOW }), Some((1, true)));
        assert_eq!(find(&mut memory, 11, Now { us: 50, ..NOW }), Some((1, false)));
        memory.put(turn(1, &[10, 11], 5), 90);
        assert_eq!(find(&mut memory, 11, Now { us: 50, ..NOW }), Some((1, true)));
        assert_eq!(find(&mut memory, 11, Now { unix_ms: 1_001, us: 0 }), None);
        assert_eq!((find(&mut memory, 10, NOW), memory.bytes), (None, 0), "it went at once");
    }

    #[test]
    fn a_call_leads_to_the_newest_turn_whichever_came_first() {
        for order in [[1, 2], [2, 1]] {
            let mut memory = TurnCache::new(10_000);
            for number in order {
                memory.put(turn(number, &[10, 20 + number], 5), 50);
            }
            assert_eq!(find(&mut memory, 10, NOW), Some((2, true)), "{order:?}");
            assert_eq!(find(&mut memory, 21, NOW), Some((1, true)), "{order:?}");
            memory.remove(&[1; 32]);
            assert_eq!(
                find(&mut memory, 10, NOW),
                Some((2, true)),
                "it is not the older one's to take along"
            );
        }
    }

    #[test]
    fn what_is_larger_than_everything_is_not_taken() {
        let mut memory = TurnCache::new(2_000);
        memory.put(turn(1, &[10], 5), 50);
        memory.put(turn(2, &[11], 2_000), 50);
        assert_eq!((find(&mut memory, 10, NOW), find(&mut memory, 11, NOW)), (Some((1, true)), None));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Put(u8, usize),
        Find(u8),
        Forget(u8),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0_u8..20, 0_usize..1_500).prop_map(|(number, length)| Step::Put(number, length)),
            4 => (0_u8..20).prop_map(Step::Find),
            1 => (0_u8..2).prop_map(Step::Forget),
        ];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        /// Compared with a model: a list ordered by last use.
        #[test]
        fn what_was_used_last_stays_and_the_bound_holds(steps in steps()) {
            const BYTES_MAX: usize = 6_000;
            let mut memory = TurnCache::new(BYTES_MAX);
            let mut model: Vec<Arc<CachedTurn>> = Vec::new();
            for step in steps {
                match step {
                    Step::Put(number, length) => {
                        let turn = turn(number, &[number], length);
                        memory.put(Arc::clone(&turn), 1);
                        model.retain(|other| other.content_ref != turn.content_ref);
                        model.push(turn);
                        while model.iter().map(|turn| turn.bytes()).sum::<usize>() > BYTES_MAX {
                            model.remove(0);
                        }
                    }
                    Step::Find(number) => {
                        let wanted = model.iter().position(|turn| turn.content_ref.digest == [number; 32]);
                        let wanted = wanted.map(|at| model.remove(at));
                        let found = memory.find(&[number; 32], NOW).map(|(turn, _)| turn);
                        prop_assert_eq!(&found, &wanted);
                        model.extend(wanted);
                    }
                    Step::Forget(of) => {
                        let workspace = turn(of, &[], 0).content_ref.workspace;
                        memory.forget(|turn| turn.content_ref.workspace == workspace);
                        model.retain(|turn| turn.content_ref.workspace != workspace);
                    }
                }
                let bytes = memory.turns.values().map(|held| held.turn.bytes()).sum::<usize>();
                prop_assert!(bytes == memory.bytes && bytes <= BYTES_MAX);
                prop_assert_eq!(memory.turns.len(), model.len());
                prop_assert_eq!((memory.by_use.len(), memory.by_call.len()), (model.len(), model.len()));
            }
        }
    }
}
