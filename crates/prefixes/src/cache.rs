//! The cache as its owner uses it, on the thread that decodes: nothing here waits for the disk once it is open.

#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, sync_channel};

use domain::Secret;
use domain::runtime::{ClearedDisk, DiskCacheCounts};
use tasks::Thread;
use world::World;

use crate::block_file::{BlockRef, Unsealed, file_bytes};
use crate::error::DiskCacheError;
use crate::files::Files;
use crate::index::room;
use crate::keys::{BlockKey, Chain, Keys};
use crate::limits::{FETCHES_MAX, WAITING_BYTES_MAX};
use crate::reader::{Fetch, Fetching};
use crate::shared::{BlockShape, NewBlock, Purge, Shared, add};
use crate::{reader, writer};

/// How a cache is opened.
#[derive(Debug, Clone)]
pub struct DiskCacheSettings {
    pub directory: PathBuf,
    pub bytes_max: u64,
    /// The node's key. Blocks that were stored under another one are not found.
    pub key: Arc<Secret>,
    pub world: World,
}

/// A prefix cache on disk, with a thread that reads and one that writes. Dropping it ends them, after what waits was
/// written. Every `Fetching` has to be dropped before it.
pub struct DiskCache {
    shared: Arc<Shared>,
    fetches: Option<SyncSender<Fetch>>,
    threads: Vec<Thread>,
}

/// Whether a block is taken to be written.
enum Taken {
    Known,
    Yes,
    Full,
}

impl std::fmt::Debug for DiskCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("DiskCache").field(&self.shared.files.directory()).finish()
    }
}

impl DiskCache {
    /// Opens a directory with what earlier processes left there. `made_by` is everything that the numbers in a block
    /// depend on beside tokens, adapter and scope: another one finds none of them.
    ///
    /// # Errors
    /// The directory can't be used, or has no room for a block.
    pub fn open(
        settings: DiskCacheSettings,
        made_by: &str,
        block: BlockShape,
    ) -> Result<Self, DiskCacheError> {
        let DiskCacheSettings { directory, bytes_max, key, world } = settings;
        let needed = room(file_bytes(block.bytes) as u64);
        if bytes_max < needed {
            return Err(DiskCacheError::TooSmall { most: bytes_max, needed });
        }
        let files = Files::open(&directory)?;
        let index = files.scan().map_err(|source| DiskCacheError::Directory { path: directory, source })?;
        let keys = Keys::new(key.expose(), made_by);
        let shared = Arc::new(Shared::new((files, keys, world), block, bytes_max, index));
        shared.make_room(0);
        let (fetches, waiting) = sync_channel(FETCHES_MAX);
        let mut cache = Self { shared: Arc::clone(&shared), fetches: Some(fetches), threads: Vec::new() };
        let written = Arc::clone(&shared);
        let mut start = |thread: io::Result<Thread>| {
            thread.map(|thread| cache.threads.push(thread)).map_err(DiskCacheError::Thread)
        };
        start(Thread::spawn("prefixes-writer", move || writer::run(&written)))?;
        start(Thread::spawn("prefixes-reader", move || reader::run(&shared, &waiting)))?;
        Ok(cache)
    }

    /// Sets what is called, from another thread, when something was read. Only the first one counts.
    pub fn set_waker(&self, wake: impl Fn() + Send + Sync + 'static) {
        let _ = self.shared.waker.set(Box::new(wake));
    }

    pub fn counts(&self) -> DiskCacheCounts {
        self.shared.counts()
    }

    /// The scope of a salt: the same after a restart, and unlike that of any other node.
    pub fn scope(&self, salt: Option<&str>) -> u128 {
        self.shared.keys.scope(salt)
    }

    /// Digests the files of adapters for `chain`: the same after a restart.
    pub fn digester(&self) -> impl Fn(&[&[u8]]) -> u128 + Send + Sync + use<> {
        self.shared.keys.digester()
    }

    /// The keys of a sequence that is to run now, with the digest of its adapter.
    pub fn chain(&self, scope: u128, adapter: Option<u128>) -> Chain {
        self.shared.keys.chain(scope, adapter, self.shared.tick())
    }

    /// Microseconds since some moment, to measure a step with.
    pub fn now_us(&self) -> u64 {
        self.shared.world.clock.monotonic_us()
    }

    /// Notes how long the computation of a prompt's tokens took.
    pub fn note_computed(&self, tokens: usize, us: u64) {
        if tokens >= self.shared.block.tokens {
            self.shared.pace().computed(tokens, us);
        }
    }

    fn key(&self, chain: &mut Chain, tokens: &[u32], at: usize) -> Option<BlockKey> {
        chain.key(&self.shared.keys, tokens, self.shared.block.tokens, at)
    }

    /// Starts to read the full blocks of these tokens from the block `from` on, as far as they are on disk. `None` if
    /// none is, or if the tokens are computed faster.
    pub fn fetch(&self, chain: &mut Chain, tokens: &[u32], from: usize) -> Option<Fetching> {
        let counts = &self.shared.counts;
        let most = tokens.len() / self.shared.block.tokens;
        let mut blocks = Vec::new();
        for (at, depth) in (from..most).zip(u32::try_from(from).ok()?..) {
            let key = self.key(chain, tokens, at)?;
            if !self.shared.state().index.touch(key, chain.used) {
                break;
            }
            blocks.push(BlockRef { scope: chain.scope, key, depth });
        }
        add(&counts.absent, most.saturating_sub(from + blocks.len()));
        if blocks.is_empty() {
            return None;
        }
        let count = blocks.len();
        if !self.shared.pace().is_worth(count, self.shared.block.tokens) {
            add(&counts.passed_over, count);
            return None;
        }
        // One portion waits while the next is read.
        let (sender, portions) = sync_channel(1);
        let fetch = Fetch { blocks, used: chain.used, portions: sender };
        match self.fetches.as_ref()?.try_send(fetch) {
            Ok(()) => Some(Fetching { portions }),
            Err(_) => {
                add(&counts.passed_over, count);
                None
            }
        }
    }

    /// Has the full blocks of these tokens written that are not on disk yet. `copy` appends the numbers of a block, by
    /// its place in the sequence. What finds no room is offered again by the sequence's next call.
    pub fn store(&self, chain: &mut Chain, tokens: &[u32], mut copy: impl FnMut(usize, &mut Vec<u8>)) {
        while self.shared.is_writing.load(Ordering::Relaxed) {
            let at = chain.stored;
            let (Some(key), Ok(depth)) = (self.key(chain, tokens, at), u32::try_from(at)) else { return };
            match self.take(key, chain.used) {
                Taken::Known => {}
                Taken::Full => return add(&self.shared.counts.dropped, 1),
                Taken::Yes => {
                    let block = BlockRef { scope: chain.scope, key, depth };
                    let numbers = Unsealed::copied(self.shared.block.bytes, |bytes| copy(at, bytes));
                    self.push(block, chain.used, numbers);
                }
            }
            chain.stored += 1;
        }
    }

    fn take(&self, key: BlockKey, used: u64) -> Taken {
        let mut state = self.shared.state();
        if state.index.touch(key, used) || state.coming.contains(&key) {
            return Taken::Known;
        }
        let bytes = state.coming_bytes + self.shared.block.bytes;
        if bytes > WAITING_BYTES_MAX && state.coming_bytes > 0 {
            return Taken::Full;
        }
        state.coming_bytes = bytes;
        state.coming.insert(key);
        Taken::Yes
    }

    fn push(&self, block: BlockRef, used: u64, numbers: Option<Unsealed>) {
        let mut state = self.shared.state();
        match numbers {
            // It was given up if the disk failed meanwhile.
            Some(numbers) if state.coming.contains(&block.key) => {
                state.waiting.push_back(NewBlock { block, used, numbers });
                self.shared.work.notify_one();
            }
            _ => {
                if state.coming.remove(&block.key) {
                    state.coming_bytes = state.coming_bytes.saturating_sub(self.shared.block.bytes);
                }
            }
        }
    }

    /// Removes all blocks of a scope, of every model. None is found from now on; `done` is called, on another thread,
    /// once their files are gone, or can't be removed.
    pub fn purge(&self, scope: u128, done: impl FnOnce(io::Result<ClearedDisk>) + Send + 'static) {
        let mut guard = self.shared.state();
        let state = &mut *guard;
        let (blocks, bytes) = state.index.remove_scope(scope);
        let before = state.waiting.len();
        let (waiting, coming) = (&mut state.waiting, &mut state.coming);
        waiting.retain(|new| new.block.scope != scope || !coming.remove(&new.block.key));
        let dropped = before - waiting.len();
        state.coming_bytes = state.coming_bytes.saturating_sub(dropped * self.shared.block.bytes);
        let cleared = ClearedDisk { blocks, bytes };
        state.purges.push_back(Purge { scope, cleared, done: Box::new(done) });
        self.shared.work.notify_one();
    }
}

impl Drop for DiskCache {
    fn drop(&mut self) {
        self.fetches = None;
        self.shared.state().is_closing = true;
        self.shared.work.notify_one();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
