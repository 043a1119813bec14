//! Which blocks are on disk, and in which order they leave it: the least recently used first, and of those that were
//! used at once the end of a prefix before its beginning, without which the end could not be found.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use crate::block_file::BlockRef;
use crate::keys::BlockKey;

/// What a file takes on disk, by the usual size of a file system's blocks.
const DISK_BLOCK_BYTES: u64 = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IndexEntry {
    pub block: BlockRef,
    pub file_bytes: u64,
    /// When it was used last, by `Shared::tick`.
    pub used: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Index {
    entries: HashMap<BlockKey, IndexEntry>,
    order: BTreeSet<(u64, Reverse<u32>, BlockKey)>,
    /// How many blocks each scope has.
    scopes: HashMap<u128, usize>,
    bytes: u64,
}

impl IndexEntry {
    fn order(&self) -> (u64, Reverse<u32>, BlockKey) {
        (self.used, Reverse(self.block.depth), self.block.key)
    }
}

/// The room that a file of this size takes.
pub(crate) const fn room(file_bytes: u64) -> u64 {
    file_bytes.next_multiple_of(DISK_BLOCK_BYTES)
}

impl Index {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The room that all blocks take.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn last_used(&self) -> u64 {
        self.order.last().map_or(0, |(used, ..)| *used)
    }

    pub(crate) fn has_scope(&self, scope: u128) -> bool {
        self.scopes.contains_key(&scope)
    }

    pub(crate) fn insert(&mut self, entry: IndexEntry) {
        self.remove(entry.block.key);
        self.order.insert(entry.order());
        *self.scopes.entry(entry.block.scope).or_default() += 1;
        self.bytes += room(entry.file_bytes);
        self.entries.insert(entry.block.key, entry);
    }

    pub(crate) fn remove(&mut self, key: BlockKey) -> Option<IndexEntry> {
        let entry = self.entries.remove(&key)?;
        self.order.remove(&entry.order());
        self.bytes = self.bytes.saturating_sub(room(entry.file_bytes));
        if let Some(count) = self.scopes.get_mut(&entry.block.scope) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.scopes.remove(&entry.block.scope);
            }
        }
        Some(entry)
    }

    /// Notes the use of a block; `false` if there is none.
    pub(crate) fn touch(&mut self, key: BlockKey, used: u64) -> bool {
        let Some(entry) = self.entries.get_mut(&key) else { return false };
        if entry.used < used {
            self.order.remove(&entry.order());
            entry.used = used;
            self.order.insert(entry.order());
        }
        true
    }

    /// Removes the block that is evicted next.
    pub(crate) fn pop_oldest(&mut self) -> Option<IndexEntry> {
        let (.., key) = *self.order.first()?;
        self.remove(key)
    }

    /// Removes all blocks of a scope. Returns how many those were, and the bytes of their files.
    pub(crate) fn remove_scope(&mut self, scope: u128) -> (u64, u64) {
        let of_scope = self.entries.values().filter(|entry| entry.block.scope == scope);
        let keys: Vec<BlockKey> = of_scope.map(|entry| entry.block.key).collect();
        let removed = keys.into_iter().filter_map(|key| self.remove(key));
        removed.fold((0, 0), |(blocks, bytes), entry| (blocks + 1, bytes + entry.file_bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Keys;

    /// The blocks of a prefix of this scope.
    fn blocks(scope: u128, count: u32) -> Vec<BlockRef> {
        let keys = Keys::new(&[1; 32], "m");
        let tokens: Vec<u32> = (0..count).collect();
        let mut chain = keys.chain(scope, None, 0);
        let key = |depth: u32| chain.key(&keys, &tokens, 1, depth as usize).unwrap();
        (0..count).map(key).zip(0..).map(|(key, depth)| BlockRef { scope, key, depth }).collect()
    }

    fn filled(prefixes: &[(&[BlockRef], u64)]) -> Index {
        let mut index = Index::default();
        for (blocks, used) in prefixes {
            for block in *blocks {
                index.insert(IndexEntry { block: *block, file_bytes: 5000, used: *used });
            }
        }
        index
    }

    #[test]
    fn what_was_unused_for_longest_leaves_from_its_end_on() {
        let (ours, theirs) = (blocks(1, 3), blocks(2, 2));
        let mut index = filled(&[(&ours, 1), (&theirs, 2)]);
        assert_eq!((index.len(), index.bytes(), index.last_used()), (5, 5 * 8192, 2));
        assert!(index.touch(ours[0].key, 3));
        let leaves: Vec<BlockKey> =
            std::iter::from_fn(|| index.pop_oldest()).map(|entry| entry.block.key).collect();
        assert_eq!(leaves, [ours[2].key, ours[1].key, theirs[1].key, theirs[0].key, ours[0].key]);
        assert_eq!((index.len(), index.bytes(), index.has_scope(1)), (0, 0, false));
        assert!(!index.touch(ours[0].key, 4));
    }

    #[test]
    fn a_scope_is_removed_whole() {
        let (ours, theirs) = (blocks(1, 3), blocks(2, 2));
        let mut index = filled(&[(&ours, 1), (&theirs, 2)]);
        assert_eq!(index.remove_scope(1), (3, 15_000));
        assert_eq!(index.remove_scope(1), (0, 0));
        assert!(!index.has_scope(1) && index.has_scope(2));
        assert!(index.remove(ours[0].key).is_none() && index.remove(theirs[0].key).is_some());
        assert_eq!((index.len(), index.bytes()), (1, 8192));
    }
}
