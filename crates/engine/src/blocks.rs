//! The block allocator of the KV cache and its prefix cache: which sequences hold which blocks, and which
//! full blocks can be reused by a prompt with the same prefix.
//!
//! A full block is found by its content: its own tokens, the block before it, and the cache scope (`PrefixScope`).
//! Keys are compared in full, not by hash alone, so two different prefixes are never confused.

use std::collections::{BTreeMap, HashMap};

use kernels::BLOCK;

/// A prefix-cache scope (a "cache salt"). Sequences of one scope can reuse each other's cached prefixes if
/// they also have the same adapter generation, or no adapter. The caller decides what makes a scope: a model,
/// a workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CacheScope(pub u128);

/// What a cached prefix is bound to besides its tokens: the cache scope and the adapter generation.
/// Generations are unique within a runner, and 0 means no adapter. `reading` is the request's number for
/// embedding inputs, which only reuse prefixes of their own request; it is 0 for texts that are generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct PrefixScope {
    pub cache_scope: CacheScope,
    pub generation: u64,
    pub embedding_request: u64,
}

/// The lookup key of a full block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    after: After,
    tokens: [u32; BLOCK],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum After {
    Start(PrefixScope),
    /// The preceding cached block, as a serial number that is never reused, unlike block indices.
    Serial(u64),
}

#[derive(Debug, Clone, Copy)]
struct CacheEntry {
    key: Key,
    serial: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Block {
    /// Reference count: how many running sequences hold the block.
    held: u32,
    /// Whose data the block still contains, even if it can no longer be looked up; `None` once it was wiped.
    of: Option<PrefixScope>,
    cache_entry: Option<CacheEntry>,
    /// The tick at which its last holder released it: its key in `idle`.
    idle_since: u64,
}

/// The result of `BlockAllocator::forget`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ForgottenBlocks {
    /// Blocks that no sequence holds, for the caller to zero.
    pub blocks: Vec<u32>,
    /// How many of the blocks were in the prefix cache.
    pub found: usize,
    /// How many of the blocks running sequences still hold.
    pub held: usize,
}

#[derive(Debug)]
pub(crate) struct BlockAllocator {
    blocks: Vec<Block>,
    /// Free blocks without a prefix-cache entry.
    empty: Vec<u32>,
    /// Cached blocks that no sequence holds, in the order in which they are evicted (least recently used
    /// first).
    idle: BTreeMap<u64, u32>,
    known: HashMap<Key, u32>,
    serial: u64,
    clock: u64,
}

impl BlockAllocator {
    pub(crate) fn new(count: usize) -> Self {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        Self {
            blocks: vec![Block::default(); count as usize],
            empty: (0..count).rev().collect(),
            idle: BTreeMap::new(),
            known: HashMap::new(),
            serial: 0,
            clock: 0,
        }
    }

    /// The number of blocks that hold something cached or in use.
    pub(crate) fn filled(&self) -> usize {
        self.blocks.len().saturating_sub(self.empty.len())
    }

    /// The number of blocks that can be allocated, evicting cached ones if necessary.
    pub(crate) fn free(&self) -> usize {
        self.empty.len() + self.idle.len()
    }

    fn block(&mut self, block: u32) -> Option<&mut Block> {
        self.blocks.get_mut(block as usize)
    }

    /// Looks up the longest cached prefix and takes a reference to its blocks for the caller. At least one
    /// token is left uncached: it has to be computed to get an output for it.
    pub(crate) fn find(&mut self, under: PrefixScope, tokens: &[u32]) -> Vec<u32> {
        let most = tokens.len().saturating_sub(1) / BLOCK;
        let (mut found, mut after) = (Vec::new(), After::Start(under));
        for tokens in tokens.as_chunks::<BLOCK>().0.iter().take(most) {
            let key = Key { after, tokens: *tokens };
            let Some(block) = self.known.get(&key).copied() else { break };
            let Some(remembered) = self.blocks.get(block as usize).and_then(|block| block.cache_entry) else {
                break;
            };
            self.hold(block);
            after = After::Serial(remembered.serial);
            found.push(block);
        }
        found
    }

    fn hold(&mut self, block: u32) {
        let mut idle = None;
        if let Some(block) = self.block(block) {
            idle = (block.held == 0).then_some(block.idle_since);
            block.held += 1;
        }
        if let Some(since) = idle {
            self.idle.remove(&since);
        }
    }

    /// Allocates `count` blocks for a sequence, or none of them. Evicts the least recently used cached blocks
    /// if needed.
    pub(crate) fn allocate(&mut self, under: PrefixScope, count: usize) -> Option<Vec<u32>> {
        if count > self.free() {
            return None;
        }
        let mut taken = Vec::with_capacity(count);
        while taken.len() < count {
            let Some(block) = self.empty.pop().or_else(|| self.forget_oldest()) else { break };
            if let Some(block) = self.block(block) {
                (block.held, block.of) = (1, Some(under));
            }
            taken.push(block);
        }
        Some(taken)
    }

    fn forget_oldest(&mut self) -> Option<u32> {
        let (_, block) = self.idle.pop_first()?;
        let remembered = self.block(block)?.cache_entry.take();
        if let Some(remembered) = remembered {
            self.known.remove(&remembered.key);
        }
        Some(block)
    }

    /// Enters the full blocks of a sequence whose first `computed` tokens are in the KV cache into the prefix
    /// cache.
    pub(crate) fn cache_prefix(&mut self, under: PrefixScope, computed: &[u32], blocks: &[u32]) {
        let mut after = After::Start(under);
        for (tokens, block) in computed.as_chunks::<BLOCK>().0.iter().zip(blocks) {
            let key = Key { after, tokens: *tokens };
            let Some(at) = self.blocks.get(*block as usize) else { return };
            let serial = match (at.cache_entry, self.known.get(&key)) {
                (Some(remembered), _) => remembered.serial,
                // Two sequences computed the same block concurrently: the first one is cached, and the second
                // stays private.
                (None, Some(first)) => {
                    match self.blocks.get(*first as usize).and_then(|first| first.cache_entry) {
                        Some(first) => first.serial,
                        None => return,
                    }
                }
                (None, None) => {
                    self.serial += 1;
                    let remembered = CacheEntry { key, serial: self.serial };
                    self.known.insert(key, *block);
                    if let Some(block) = self.block(*block) {
                        block.cache_entry = Some(remembered);
                    }
                    self.serial
                }
            };
            after = After::Serial(serial);
        }
    }

    /// Releases a sequence's blocks. The end of a prefix is evicted before its beginning.
    pub(crate) fn release(&mut self, blocks: &[u32]) {
        self.give_back(blocks, false);
    }

    /// Releases the blocks of a sequence whose scope was forgotten while it ran. Returns the blocks that no
    /// sequence holds any more, for the caller to zero.
    pub(crate) fn release_to_wipe(&mut self, blocks: &[u32]) -> Vec<u32> {
        self.give_back(blocks, true)
    }

    fn give_back(&mut self, blocks: &[u32], wipes: bool) -> Vec<u32> {
        let mut wiped = Vec::new();
        for index in blocks.iter().rev() {
            self.clock += 1;
            let clock = self.clock;
            let Some(block) = self.block(*index) else { continue };
            block.held = block.held.saturating_sub(1);
            if block.held > 0 {
                continue;
            }
            block.idle_since = clock;
            match block.cache_entry {
                Some(_) => {
                    self.idle.insert(clock, *index);
                }
                None => {
                    self.empty.push(*index);
                    if wipes && let Some(block) = self.block(*index) {
                        block.of = None;
                        wiped.push(*index);
                    }
                }
            }
        }
        wiped
    }

    /// Drops every cache entry whose scope matches, including partly filled blocks that were never in the
    /// prefix cache. Running sequences keep their blocks; the caller must not enter those into the prefix
    /// cache again.
    pub(crate) fn forget(&mut self, is_meant: impl Fn(PrefixScope) -> bool) -> ForgottenBlocks {
        let mut wiping = ForgottenBlocks::default();
        for (index, block) in (0..).zip(&mut self.blocks) {
            if !block.of.is_some_and(&is_meant) {
                continue;
            }
            if let Some(remembered) = block.cache_entry.take() {
                self.known.remove(&remembered.key);
                wiping.found += 1;
                if block.held == 0 {
                    self.idle.remove(&block.idle_since);
                    self.empty.push(index);
                }
            }
            if block.held > 0 {
                wiping.held += 1;
            } else {
                block.of = None;
                wiping.blocks.push(index);
            }
        }
        wiping
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: PrefixScope = PrefixScope { cache_scope: CacheScope(1), generation: 0, embedding_request: 0 };
    const THEIRS: PrefixScope = PrefixScope { cache_scope: CacheScope(2), ..OURS };

    fn text(length: u32) -> Vec<u32> {
        (0..length).collect()
    }

    /// A sequence that was computed and has ended.
    fn past(blocks: &mut BlockAllocator, under: PrefixScope, tokens: &[u32]) -> Vec<u32> {
        let taken = blocks.allocate(under, tokens.len().div_ceil(BLOCK)).unwrap();
        blocks.cache_prefix(under, tokens, &taken);
        blocks.release(&taken);
        taken
    }

    #[test]
    fn a_beginning_is_found_and_one_token_is_left() {
        let mut blocks = BlockAllocator::new(10);
        let taken = past(&mut blocks, OURS, &text(48));
        assert_eq!(blocks.free(), 10);
        assert_eq!(blocks.find(OURS, &text(48)), taken[..2]);
        assert_eq!(blocks.find(OURS, &text(49)), taken);
        assert_eq!(blocks.free(), 7);
        let mut other = text(49);
        other[20] = 7;
        assert_eq!(blocks.find(OURS, &other), taken[..1]);
        assert!(blocks.find(THEIRS, &text(49)).is_empty());
        for generation in [1, 2] {
            assert!(blocks.find(PrefixScope { generation, ..OURS }, &text(49)).is_empty());
            assert!(blocks.find(PrefixScope { embedding_request: generation, ..OURS }, &text(49)).is_empty());
        }
        assert!(blocks.find(OURS, &text(49)[16..]).is_empty(), "it is found at its place alone");
    }

    #[test]
    fn what_was_unused_for_longest_makes_room_from_its_end_on() {
        let mut blocks = BlockAllocator::new(4);
        past(&mut blocks, OURS, &text(32));
        past(&mut blocks, THEIRS, &text(32));
        let held = blocks.allocate(OURS, 1).unwrap();
        assert_eq!(blocks.find(OURS, &text(33)).len(), 1);
        assert_eq!(blocks.find(THEIRS, &text(33)).len(), 2);
        assert_eq!(blocks.allocate(OURS, 1), None);
        blocks.release(&held);
        assert_eq!(blocks.allocate(OURS, 1), Some(held));
    }

    #[test]
    fn a_block_that_is_used_again_is_not_what_it_was() {
        let mut blocks = BlockAllocator::new(2);
        let first = past(&mut blocks, OURS, &text(32));
        let taken = blocks.allocate(THEIRS, 2).unwrap();
        assert_eq!(first.len(), taken.len());
        blocks.cache_prefix(THEIRS, &text(32), &taken);
        blocks.release(&taken);
        assert!(blocks.find(OURS, &text(33)).is_empty());
        assert_eq!(blocks.find(THEIRS, &text(33)).len(), 2);
    }

    #[test]
    fn what_is_computed_twice_is_found_once() {
        let mut blocks = BlockAllocator::new(4);
        let (one, other) = (blocks.allocate(OURS, 2).unwrap(), blocks.allocate(OURS, 2).unwrap());
        blocks.cache_prefix(OURS, &text(32), &one);
        blocks.cache_prefix(OURS, &text(32), &other);
        blocks.release(&one);
        blocks.release(&other);
        assert_eq!(blocks.find(OURS, &text(40)), one);
        assert_eq!(blocks.free(), 2);
    }

    #[test]
    fn a_share_is_forgotten_whole() {
        let mut blocks = BlockAllocator::new(6);
        past(&mut blocks, OURS, &text(32));
        past(&mut blocks, THEIRS, &text(32));
        let running = blocks.find(OURS, &text(20));
        let wiping = blocks.forget(|under| under == OURS);
        assert_eq!((wiping.blocks.len(), wiping.found, wiping.held), (1, 2, 1), "one is still somebody's");
        assert!(blocks.find(OURS, &text(33)).is_empty());
        assert_eq!(blocks.find(THEIRS, &text(33)).len(), 2);
        assert_eq!(blocks.forget(|under| under == OURS).held, 1, "it is as long as it is had");
        assert_eq!(blocks.release_to_wipe(&running), running);
        assert_eq!(blocks.free(), 4);
        assert!(blocks.find(OURS, &text(33)).is_empty());
        assert_eq!(blocks.forget(|under| under == OURS), ForgottenBlocks::default());
    }

    #[test]
    fn what_was_too_short_to_be_found_is_forgotten_as_well() {
        let mut blocks = BlockAllocator::new(6);
        past(&mut blocks, THEIRS, &text(20));
        let taken = past(&mut blocks, OURS, &text(20));
        let wiping = blocks.forget(|under| under == OURS);
        assert_eq!((wiping.blocks, wiping.found), (taken, 1));
        assert_eq!(blocks.find(THEIRS, &text(20)).len(), 1);
    }
}
