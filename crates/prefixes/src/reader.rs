//! The thread that reads blocks, in portions, so that neither a step waits for the disk nor a long prefix is in memory
//! twice.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::block_file::{BlockRef, StoredBlock, file_bytes};
use crate::files::ReadFailure;
use crate::limits::{PORTION_BYTES_MAX, PORTIONS_MAX};
use crate::shared::{Shared, add};

/// Consecutive blocks that are to be read.
pub(crate) struct Fetch {
    pub blocks: Vec<BlockRef>,
    pub used: u64,
    pub portions: SyncSender<Portion>,
}

/// Consecutive blocks that were read.
#[derive(Debug)]
pub struct Portion {
    blocks: Vec<StoredBlock>,
    _place: Place,
}

/// How many portions are in memory.
#[derive(Debug, Default)]
pub(crate) struct Places {
    taken: Mutex<usize>,
    left: Condvar,
}

/// The place of a portion, which dropping it leaves.
#[derive(Debug)]
struct Place(Arc<Places>);

/// Blocks that are being read. Dropping it ends that.
#[derive(Debug)]
pub struct Fetching {
    pub(crate) portions: Receiver<Portion>,
}

/// What has come of a fetch.
#[derive(Debug)]
pub enum FetchPoll {
    /// Nothing more yet; the waker is called when there is.
    Pending,
    /// The next blocks.
    Blocks(Portion),
    /// Nothing more will come, be it that all was read or that the rest can't be.
    Over,
}

impl Fetching {
    pub fn poll(&self) -> FetchPoll {
        match self.portions.try_recv() {
            Ok(blocks) => FetchPoll::Blocks(blocks),
            Err(TryRecvError::Empty) => FetchPoll::Pending,
            Err(TryRecvError::Disconnected) => FetchPoll::Over,
        }
    }
}

impl Portion {
    pub fn blocks(&self) -> &[StoredBlock] {
        &self.blocks
    }
}

impl Places {
    fn taken(&self) -> MutexGuard<'_, usize> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is a place.
    fn take(self: &Arc<Self>) -> Place {
        let mut taken = self.taken();
        while *taken >= PORTIONS_MAX {
            taken = self.left.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        *taken += 1;
        Place(Arc::clone(self))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.0.taken();
        *taken = taken.saturating_sub(1);
        self.0.left.notify_one();
    }
}

/// Works until the cache is closed.
pub(crate) fn run(shared: &Shared, fetches: &Receiver<Fetch>) {
    while let Ok(fetch) = fetches.recv() {
        read(shared, fetch);
        if let Some(wake) = shared.waker.get() {
            wake();
        }
    }
}

fn read(shared: &Shared, fetch: Fetch) {
    let Fetch { blocks, used, portions } = fetch;
    let at_once = (PORTION_BYTES_MAX / shared.block.bytes.max(1)).max(1);
    for wanted in blocks.chunks(at_once) {
        let place = shared.places.take();
        let blocks: Vec<StoredBlock> =
            wanted.iter().map_while(|block| read_block(shared, block, used)).collect();
        let (count, is_whole) = (blocks.len(), blocks.len() == wanted.len());
        add(&shared.counts.hits, count);
        if portions.send(Portion { blocks, _place: place }).is_err() {
            return;
        }
        if !is_whole {
            return;
        }
        if let Some(wake) = shared.waker.get() {
            wake();
        }
    }
}

fn read_block(shared: &Shared, block: &BlockRef, used: u64) -> Option<StoredBlock> {
    let clock = &shared.world.clock;
    let (before, bytes) = (clock.monotonic_us(), file_bytes(shared.block.bytes));
    let opened = || {
        let file = shared.files.read(block, bytes, used)?;
        let secret = shared.files.secret(block.scope).map_err(|_| ReadFailure::Unreadable)?;
        let key = shared.keys.seal(&secret).ok_or(ReadFailure::Unreadable)?;
        StoredBlock::opened(file, &key, block).ok_or(ReadFailure::Unreadable)
    };
    match opened() {
        Ok(opened) => {
            shared.pace().read(clock.monotonic_us().saturating_sub(before));
            add(&shared.counts.read_bytes, bytes);
            Some(opened)
        }
        Err(failure) => {
            if failure == ReadFailure::Unreadable {
                shared.files.remove(block);
                shared.counts.rejected.fetch_add(1, Ordering::Relaxed);
            }
            shared.state().index.remove(block.key);
            None
        }
    }
}
