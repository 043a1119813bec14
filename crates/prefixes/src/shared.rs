//! What the cache's owner and its two threads share: the index, what waits for the threads, and the counts.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use domain::runtime::{ClearedDisk, DiskCacheCounts};
use world::World;

use crate::block_file::{BlockRef, Unsealed};
use crate::files::Files;
use crate::index::Index;
use crate::keys::{BlockKey, Keys};
use crate::pace::Pace;
use crate::reader::Places;

/// What every block of a model has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockShape {
    pub tokens: usize,
    pub bytes: usize,
}

pub(crate) struct Shared {
    pub files: Files,
    pub keys: Keys,
    pub world: World,
    pub block: BlockShape,
    pub bytes_max: u64,
    pub pace: Mutex<Pace>,
    pub places: Arc<Places>,
    pub counts: Counts,
    /// Blocks are written. Cleared for good when the disk is full or fails.
    pub is_writing: AtomicBool,
    /// Called when something was read.
    pub waker: OnceLock<Box<dyn Fn() + Send + Sync>>,
    state: Mutex<State>,
    /// Notified when there is work for the writer.
    pub work: Condvar,
}

#[derive(Default)]
pub(crate) struct State {
    pub index: Index,
    /// Blocks that wait to be written, with the one that is being written.
    pub coming: HashSet<BlockKey>,
    pub coming_bytes: usize,
    pub waiting: VecDeque<NewBlock>,
    pub purges: VecDeque<Purge>,
    pub is_closing: bool,
    ticked: u64,
}

pub(crate) struct NewBlock {
    pub block: BlockRef,
    pub used: u64,
    pub numbers: Unsealed,
}

/// A scope that the index has no more, whose files are to be removed.
pub(crate) struct Purge {
    pub scope: u128,
    pub cleared: ClearedDisk,
    pub done: PurgeDone,
}

pub(crate) type PurgeDone = Box<dyn FnOnce(io::Result<ClearedDisk>) + Send>;

#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub hits: AtomicU64,
    pub absent: AtomicU64,
    pub passed_over: AtomicU64,
    pub rejected: AtomicU64,
    pub dropped: AtomicU64,
    pub read_bytes: AtomicU64,
    pub written_bytes: AtomicU64,
}

pub(crate) fn add(count: &AtomicU64, more: usize) {
    count.fetch_add(more as u64, Ordering::Relaxed);
}

impl Shared {
    pub(crate) fn new(
        (files, keys, world): (Files, Keys, World),
        block: BlockShape,
        bytes_max: u64,
        index: Index,
    ) -> Self {
        let state = State { ticked: index.last_used(), index, ..State::default() };
        Self {
            files,
            keys,
            world,
            block,
            bytes_max,
            pace: Mutex::default(),
            places: Arc::default(),
            counts: Counts::default(),
            is_writing: AtomicBool::new(true),
            waker: OnceLock::new(),
            state: Mutex::new(state),
            work: Condvar::new(),
        }
    }

    /// Never held while a file is read, written or removed.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new time of use: nanoseconds since 1970 as the clock has them, or one more than the last. It is what files
    /// have as their time of change, so that the order of eviction survives a restart.
    pub(crate) fn tick(&self) -> u64 {
        let now = self.world.clock.unix_ms().saturating_mul(1_000_000);
        let mut state = self.state();
        state.ticked = now.max(state.ticked + 1);
        state.ticked
    }

    /// Evicts what is used least until this many bytes more have room.
    pub(crate) fn make_room(&self, bytes: u64) {
        loop {
            let mut state = self.state();
            if state.index.bytes().saturating_add(bytes) <= self.bytes_max {
                return;
            }
            let Some(oldest) = state.index.pop_oldest() else { return };
            let was_last = !state.index.has_scope(oldest.block.scope);
            drop(state);
            self.files.remove(&oldest.block);
            if was_last {
                // What is left is an empty folder and its secret, which the next start removes.
                let _ = self.files.remove_scope(oldest.block.scope);
            }
        }
    }

    pub(crate) fn counts(&self) -> DiskCacheCounts {
        let (stored_blocks, stored_bytes) = {
            let state = self.state();
            (state.index.len() as u64, state.index.bytes())
        };
        let Counts { hits, absent, passed_over, rejected, dropped, read_bytes, written_bytes } = &self.counts;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        DiskCacheCounts {
            hits: read(hits),
            absent: read(absent),
            passed_over: read(passed_over),
            rejected: read(rejected),
            dropped: read(dropped),
            read_bytes: read(read_bytes),
            written_bytes: read(written_bytes),
            stored_blocks,
            stored_bytes,
            stored_bytes_max: self.bytes_max,
            is_writing: self.is_writing.load(Ordering::Relaxed),
        }
    }
}
