//! The prefix cache on disk: what a sequence finds there is read beside the steps, and what it fills is written there.

use std::sync::Arc;

use domain::runtime::DiskCacheCounts;
use kernels::{BLOCK, StepOutput};
use prefixes::{DiskCache, FetchPoll, Fetching, StoredBlock};
use weights::adapters::Seal;

use super::Scheduler;
use crate::backend::BackendCache;
use crate::request::StepEvent;
use crate::sequence::Sequence;

impl Scheduler {
    /// Adds a prefix cache on disk, whose blocks have the format of this KV cache; no adapter may be registered yet. A
    /// KV cache of an accelerator can't be copied, and stores nothing.
    pub fn with_disk(mut self, disk: DiskCache) -> Self {
        self.disk = Some(Arc::new(disk));
        self.seal_for_disk();
        self
    }

    /// An adapter is known to the disk by the digest of its files, which has to be the same after a restart.
    pub(super) fn seal_for_disk(&mut self) {
        if let Some(disk) = &self.disk {
            self.adapter_registry.seal_by(Seal::new(disk.digester()));
        }
    }

    /// What the prefix cache on disk has done, if there is one.
    pub fn disk_counts(&self) -> Option<DiskCacheCounts> {
        self.disk.as_deref().map(DiskCache::counts)
    }

    pub(crate) fn disk(&self) -> Option<Arc<DiskCache>> {
        self.disk.clone()
    }

    /// Whether every running sequence waits for the disk, so that no step computes anything before it has read.
    pub fn waits_for_disk(&self) -> bool {
        !self.running.is_empty() && self.running.iter().all(|text| text.fetching.is_some())
    }

    /// Starts to read what follows the cached prefix of a sequence that is being admitted.
    pub(super) fn fetch(&self, text: &mut Sequence) -> Option<Fetching> {
        let disk = self.disk.as_deref()?;
        if text.step_output != StepOutput::Logits || text.is_forgotten || text.ended.is_some() {
            return None;
        }
        // The last token has to be computed to get an output for it.
        let mut tokens = text.cacheable_tokens(text.length().saturating_sub(1));
        tokens.truncate((text.blocks.len() + self.blocks.free()) * BLOCK);
        let from = text.blocks.len();
        disk.fetch(text.chain_on(disk), &tokens, from)
    }

    /// Takes what was read, and starts the sequences that have all of it.
    pub(super) fn take_fetched(&mut self, happened: &mut Vec<StepEvent>) {
        for at in 0..self.running.len() {
            let Some(fetching) = self.running.get_mut(at).and_then(|text| text.fetching.take()) else {
                continue;
            };
            if self.restore(at, &fetching) {
                if let Some(text) = self.running.get_mut(at) {
                    text.fetching = Some(fetching);
                }
                continue;
            }
            // Sequences that have ended are not fetched for, so that it goes on.
            let mut text = self.running.remove(at);
            self.start(&mut text, happened);
            self.running.insert(at, text);
        }
    }

    /// Copies what was read into blocks of the sequence. `false` once no more will come.
    fn restore(&mut self, at: usize, fetching: &Fetching) -> bool {
        loop {
            let is_wanted = self.running.get(at).is_some_and(|text| !text.is_forgotten);
            match fetching.poll() {
                _ if !is_wanted => return false,
                FetchPoll::Pending => return true,
                FetchPoll::Over => return false,
                FetchPoll::Blocks(read) => {
                    if !self.restore_blocks(at, read.blocks()) {
                        return false;
                    }
                }
            }
        }
    }

    /// `false` if there was no room for all of them.
    fn restore_blocks(&mut self, at: usize, read: &[StoredBlock]) -> bool {
        let Some(text) = self.running.get_mut(at) else { return false };
        let (scope, before) = (text.prefix_scope(), text.blocks.len());
        for stored in read {
            let Some(block) = self.blocks.allocate(scope, 1).and_then(|blocks| blocks.first().copied())
            else {
                break;
            };
            if !self.pool.restore_block(block, stored.numbers()) {
                self.blocks.release(&[block]);
                break;
            }
            text.blocks.push(block);
        }
        text.computed = text.blocks.len() * BLOCK;
        self.blocks.cache_prefix(scope, &text.cacheable_tokens(text.computed), &text.blocks);
        text.blocks.len() == before + read.len()
    }
}

impl Sequence {
    fn chain_on(&mut self, disk: &DiskCache) -> &mut prefixes::Chain {
        let adapter = self.adapter.as_ref().map(|adapter| adapter.digest);
        let scope = self.request.cache_scope.0;
        self.chain.get_or_insert_with(|| disk.chain(scope, adapter))
    }

    /// Has the full blocks of these tokens, its first ones, written to the disk.
    pub(super) fn store(&mut self, disk: Option<&DiskCache>, pool: &BackendCache, tokens: &[u32]) {
        let Some(disk) = disk else { return };
        self.chain_on(disk);
        let (Some(chain), blocks) = (&mut self.chain, &self.blocks) else { return };
        let copy = |at: usize, bytes: &mut Vec<u8>| {
            if let Some(block) = blocks.get(at) {
                pool.copy_block(*block, bytes);
            }
        };
        disk.store(chain, tokens, copy);
    }
}
