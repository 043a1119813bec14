//! The scheduler: continuous batching with chunked prefill. Each step decodes the next token of every running
//! sequence and spends the rest of its token budget on prompts, so that neither waits for the other.

mod adapted;
mod on_disk;
mod passages;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use domain::runtime::RuntimeLoad;
use kernels::{BLOCK, KvCache, KvDtype, SequenceChunk, StepBatch, StepOutput};
use prefixes::DiskCache;
use weights::adapters::Limits;

use crate::EngineError;
use crate::adapters::{AdapterId, AdapterRegistry};
use crate::backend::{Backend, BackendCache};
use crate::blocks::{BlockAllocator, CacheScope, ForgottenBlocks, PrefixScope};
use crate::constraints::{MaskRequest, MaskWorker};
use crate::fair_queue::FairQueue;
use crate::request::{FinishReason, Refused, Request, SequenceId, StepEvent};
use crate::sequence::{Sequence, SequenceLogits};
use crate::speculation::{Drafter, PromptLookup};

/// A running sequence with at most this many uncomputed tokens counts as decoding and goes before prefill:
/// the token just sampled, and tokens forced by its grammar constraint.
const AT_ONCE: usize = 32;

/// The resources that a runner may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchedulerLimits {
    /// Memory of the KV cache.
    pub bytes: usize,
    pub kv_dtype: KvDtype,
    /// Token budget of a step.
    pub step_tokens: usize,
    /// Sequences that may run at once.
    pub sequences: usize,
    /// Sequences that may wait in the queue besides those.
    pub waiting: usize,
    /// The most draft tokens of a sequence in a step; 0 disables speculative decoding.
    pub draft_tokens: usize,
}

/// Counters since the start. A step without work is not counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub steps: u64,
    /// Rows (tokens) computed by the model.
    pub rows: u64,
    /// Prompt tokens found in the prefix cache.
    pub cached_tokens: u64,
    /// Preemptions: sequences that lost their KV blocks and will be recomputed.
    pub preemptions: u64,
    /// Draft tokens verified, and those of them that were accepted.
    pub drafted_tokens: u64,
    pub accepted_tokens: u64,
}

/// The result of forgetting a cache scope, in blocks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ForgottenScope {
    /// Blocks that were in the prefix cache.
    pub cached_blocks: usize,
    /// Blocks that were zeroed.
    pub wiped: usize,
    /// Blocks that running sequences still hold, and how many sequences those are.
    pub held_blocks: usize,
    pub held_sequences: usize,
}

/// A sequence's share of a step.
#[derive(Debug)]
struct ScheduledChunk {
    id: SequenceId,
    chunk: SequenceChunk,
    /// How many of the part's last tokens are draft tokens.
    draft_count: usize,
}

/// Schedules sequences and runs the model, one step after the other, on a single thread.
#[derive(Debug)]
pub struct Scheduler {
    model: Backend,
    pool: BackendCache,
    blocks: BlockAllocator,
    scheduler_limits: SchedulerLimits,
    /// In the order of admission.
    running: Vec<Sequence>,
    waiting: FairQueue<Sequence>,
    next: u64,
    counts: Counts,
    masks: MaskWorker,
    drafter: Box<dyn Drafter>,
    adapter_registry: AdapterRegistry,
    /// The adapter that waits for memory, and how many sequences with other adapters were admitted meanwhile.
    starved: Option<(AdapterId, u32)>,
    /// The prefix cache on disk. The last field: it is dropped after the sequences that read from it.
    disk: Option<Arc<DiskCache>>,
}

impl ScheduledChunk {
    fn draft_tokens(&self) -> &[u32] {
        let first = self.chunk.tokens.len() - self.draft_count;
        self.chunk.tokens.get(first..).unwrap_or_default()
    }

    const fn has_output(&self) -> bool {
        self.chunk.output_from < self.chunk.tokens.len()
    }
}

impl Scheduler {
    /// # Errors
    /// The memory is too small for a single block.
    pub fn new(model: impl Into<Backend>, scheduler_limits: SchedulerLimits) -> Result<Self, EngineError> {
        let model = model.into();
        let blocks = scheduler_limits.bytes / KvCache::block_bytes(model.shape(), scheduler_limits.kv_dtype);
        if blocks == 0 || scheduler_limits.step_tokens == 0 || scheduler_limits.sequences == 0 {
            return Err(EngineError::NoRoom { wanted: 1, free: 0 });
        }
        let pool = model.allocate_cache(scheduler_limits.kv_dtype, blocks)?;
        let (running, waiting) = (Vec::new(), FairQueue::new());
        let shelf = AdapterRegistry::new(model.shape(), Limits::default());
        Ok(Self {
            model,
            pool,
            blocks: BlockAllocator::new(blocks),
            scheduler_limits,
            running,
            waiting,
            next: 0,
            counts: Counts::default(),
            masks: MaskWorker::default(),
            drafter: Box::new(PromptLookup),
            adapter_registry: shelf,
            starved: None,
            disk: None,
        })
    }

    /// Replaces the drafter.
    pub fn with_drafter(self, drafter: Box<dyn Drafter>) -> Self {
        Self { drafter, ..self }
    }

    /// The longest sequence, prompt and answer together, that fits.
    pub fn longest(&self) -> usize {
        self.model.shape().context.min(self.pool.blocks() * BLOCK)
    }

    /// The bytes of a KV block.
    pub fn block_bytes(&self) -> usize {
        KvCache::block_bytes(self.model.shape(), self.scheduler_limits.kv_dtype)
    }

    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// Blocks that can be allocated: all of them if nothing runs.
    pub fn free_blocks(&self) -> usize {
        self.blocks.free()
    }

    pub(crate) fn load(&self) -> RuntimeLoad {
        let bytes = |blocks: usize| blocks.saturating_mul(self.block_bytes()) as u64;
        RuntimeLoad {
            running: self.running.len() as u64,
            waiting: self.waiting.len() as u64,
            cache_bytes: bytes(self.blocks.filled()),
            cache_bytes_max: bytes(self.pool.blocks()),
            cache_held_bytes: bytes(self.pool.blocks().saturating_sub(self.blocks.free())),
        }
    }

    pub fn is_idle(&self) -> bool {
        self.running.is_empty() && self.waiting.len() == 0
    }

    /// # Errors
    /// The request can't be taken, now or at all.
    pub fn submit(&mut self, mut request: Request) -> Result<SequenceId, Refused> {
        let (tokens, most) = (request.prompt.len(), self.longest());
        // At least one token has to be generated.
        if tokens >= most {
            return Err(Refused::TooLong { tokens, most });
        }
        request.max_tokens = request.max_tokens.min(most - tokens);
        self.take(request, |text| text)
    }

    fn take(
        &mut self,
        request: Request,
        made: impl FnOnce(Sequence) -> Sequence,
    ) -> Result<SequenceId, Refused> {
        if request.prompt.is_empty() {
            return Err(Refused::Empty);
        }
        if request.adapter.as_ref().is_some_and(|adapter| !self.adapter_registry.has(adapter)) {
            return Err(Refused::NoAdapter);
        }
        if self.waiting.len() >= self.scheduler_limits.waiting {
            return Err(Refused::Full);
        }
        let (adapter, later) = self.in_turn(&request)?;
        self.next += 1;
        let (id, group) = (SequenceId(self.next), request.group);
        let text = Sequence { adapter, adapter_switches: later, ..Sequence::new(id, request) };
        self.waiting.push(group, made(text));
        Ok(id)
    }

    /// Ends a sequence. Its blocks are free before the next step.
    pub fn cancel(&mut self, text: SequenceId) {
        if let Some(at) = self.running.iter().position(|running| running.id == text) {
            let text = self.running.remove(at);
            self.end(&text);
        } else if let Some(text) = self.waiting.remove(|waiting| waiting.id == text) {
            self.end(&text);
        }
    }

    fn end(&mut self, text: &Sequence) {
        self.drafter.forget(text.id);
        self.release_blocks(&text.blocks, text.is_forgotten);
        if text.is_forgotten {
            self.drafter.wipe();
        }
        if !self.running.iter().any(|running| running.request.group == text.request.group) {
            self.waiting.leave(text.request.group);
        }
    }

    /// Drops and zeroes the prefix cache of a scope. Sequences submitted before go on, but nothing of them is
    /// cached any more, and their blocks are zeroed when they end.
    pub fn forget(&mut self, share: CacheScope) -> ForgottenScope {
        self.wipe(|under| under.cache_scope == share)
    }

    fn wipe(&mut self, is_meant: impl Fn(PrefixScope) -> bool) -> ForgottenScope {
        self.drafter.wipe();
        self.wipe_blocks(is_meant)
    }

    fn wipe_blocks(&mut self, is_meant: impl Fn(PrefixScope) -> bool) -> ForgottenScope {
        let ForgottenBlocks { blocks, found, held } = self.blocks.forget(&is_meant);
        self.pool.wipe(&blocks);
        let meant = |text: &&mut Sequence| is_meant(text.prefix_scope());
        self.waiting.all_mut().filter(meant).for_each(|text| text.is_forgotten = true);
        let mut texts = 0;
        for text in self.running.iter_mut().filter(meant) {
            text.is_forgotten = true;
            texts += 1;
        }
        ForgottenScope { cached_blocks: found, wiped: blocks.len(), held_blocks: held, held_sequences: texts }
    }

    /// Releases a sequence's blocks.
    fn release_blocks(&mut self, blocks: &[u32], is_forgotten: bool) {
        if is_forgotten {
            let wiped = self.blocks.release_to_wipe(blocks);
            self.pool.wipe(&wiped);
        } else {
            self.blocks.release(blocks);
        }
    }

    /// Runs one step over the running sequences.
    ///
    /// # Errors
    /// The model can't compute; the running sequences are lost.
    pub fn step(&mut self) -> Result<Vec<StepEvent>, EngineError> {
        let mut happened = Vec::new();
        self.take_fetched(&mut happened);
        self.admit(&mut happened);
        let mut turns = self.compose();
        if turns.is_empty() {
            return Ok(happened);
        }
        self.append_drafts(&mut turns);
        let ahead = self.take_mask_requests(&turns);
        let outputs = self.step_outputs(&turns);
        let (model, pool) = (&self.model, &mut self.pool);
        let (turns, parts): (Vec<(SequenceId, usize)>, Vec<SequenceChunk>) =
            turns.into_iter().map(|turn| ((turn.id, turn.draft_count), turn.chunk)).unzip();
        let batch = StepBatch { chunks: parts };
        let disk = self.disk.as_deref().map(|disk| (disk, disk.now_us()));
        let (scores, mut ahead) =
            self.masks.run_alongside(ahead, || model.step_with_outputs(&batch, &outputs, pool));
        let scores = scores?;
        if let Some((disk, before)) = disk {
            disk.note_computed(batch.rows(), disk.now_us().saturating_sub(before));
        }
        self.counts.steps += 1;
        self.counts.rows += batch.rows() as u64;
        let mut rows = scores.as_slice();
        for (((id, draft_count), part), output) in turns.into_iter().zip(batch.chunks).zip(outputs) {
            let turn = ScheduledChunk { id, chunk: part, draft_count };
            let row_count = turn.chunk.tokens.len().saturating_sub(turn.chunk.output_from);
            let of_turn = rows.split_at_checked(row_count * self.width(output));
            let (of_turn, rest) = of_turn.unwrap_or_default();
            rows = rest;
            let at = ahead.iter().position(|ahead| ahead.sequence == id);
            let of_rule = at.map(|at| ahead.swap_remove(at));
            self.apply_output(&turn, of_turn, of_rule, &mut happened);
        }
        Ok(happened)
    }

    /// Collects the constraints whose token masks this step needs.
    fn take_mask_requests(&mut self, turns: &[ScheduledChunk]) -> Vec<MaskRequest> {
        let mut all = Vec::new();
        for turn in turns.iter().filter(|turn| turn.has_output()) {
            let Some(text) = self.running.iter_mut().find(|text| text.id == turn.id) else { continue };
            let Some(following) = text.constraint_state.take() else { continue };
            let (draft_tokens, ends) = (turn.draft_tokens().to_vec(), text.request.stop_tokens.clone());
            all.push(MaskRequest {
                sequence: turn.id,
                following,
                draft_tokens,
                stop_tokens: ends,
                masks: Vec::new(),
            });
        }
        all
    }

    /// Admits waiting sequences while there are slots and at least one free block. Sequences whose adapter is
    /// not in memory are skipped, and the adapter is requested.
    fn admit(&mut self, happened: &mut Vec<StepEvent>) {
        self.end_without_adapter(happened);
        while self.running.len() < self.scheduler_limits.sequences {
            let Some(mut text) = self.next_ready() else {
                self.send_for_adapters(true);
                return;
            };
            if text.step_output == StepOutput::Logits || text.shared_prefix.is_some() {
                text.blocks = self.blocks.find(text.prefix_scope(), &text.cacheable_tokens(text.length()));
            }
            text.computed = text.blocks.len() * BLOCK;
            if self.blocks.free() == 0 {
                self.preempt(text);
                break;
            }
            text.fetching = self.fetch(&mut text);
            if text.fetching.is_some() || self.start(&mut text, happened) {
                self.running.push(text);
            }
        }
        self.send_for_adapters(false);
    }

    /// Reports that a sequence was scheduled, the first time. `false` if it has ended with that.
    fn start(&mut self, text: &mut Sequence, happened: &mut Vec<StepEvent>) -> bool {
        if !text.has_started {
            text.has_started = true;
            happened.push(StepEvent::Scheduled { sequence: text.id, cached_tokens: text.computed });
            self.counts.cached_tokens += text.computed as u64;
            let unreported = std::mem::take(&mut text.unreported).into_iter();
            happened.extend(unreported.map(|drawn| StepEvent::Token { sequence: text.id, drawn }));
        }
        let Some(end) = text.ended else { return true };
        self.end(text);
        happened.push(StepEvent::End { sequence: text.id, end });
        false
    }

    /// Preempts a sequence: its blocks are released, and what it has generated is recomputed when it runs
    /// again.
    fn preempt(&mut self, mut text: Sequence) {
        self.release_blocks(&std::mem::take(&mut text.blocks), text.is_forgotten);
        (text.computed, text.fetching) = (0, None);
        self.waiting.push_back_first(text.request.group, text);
    }

    /// Composes the next step: which sequences take part, and with which tokens.
    fn compose(&mut self) -> Vec<ScheduledChunk> {
        let mut turns: Vec<ScheduledChunk> = Vec::new();
        let mut left = self.scheduler_limits.step_tokens;
        let is_decoding = |text: &Sequence| !text.generated.is_empty() && text.uncomputed() <= AT_ONCE;
        // Decoding before prefill; each decoding sequence gets one token before any gets a second one.
        for is_prompt in [false, true] {
            let mut at = 0;
            while let Some(text) = self.running.get(at).filter(|_| left > 0) {
                let is_not_now = is_decoding(text) == is_prompt || text.fetching.is_some();
                if is_not_now || turns.iter().any(|turn| turn.id == text.id) {
                    at += 1;
                    continue;
                }
                let behind =
                    self.running.iter().skip(at + 1).filter(|text| !is_prompt && is_decoding(text)).count();
                let (id, missing) = (text.id, text.uncomputed());
                let (adapter, until) = text.adapter_at(text.computed);
                let count = missing.min(left.saturating_sub(behind).max(1)).min(until - text.computed);
                // The sequence admitted last is preempted first, even if it is this one.
                while !self.allocate_blocks(id, count) {
                    let Some(last) = self.running.pop() else { return turns };
                    turns.retain(|turn| turn.id != last.id);
                    self.counts.preemptions += 1;
                    self.preempt(last);
                }
                let Some(text) = self.running.get(at).filter(|text| text.id == id) else { continue };
                let (tokens, start) = (text.tokens(count), text.computed);
                let output_from = if count == missing { count - 1 } else { count };
                let blocks = text.blocks.clone();
                let part = SequenceChunk { tokens, start, blocks, output_from, adapter };
                turns.push(ScheduledChunk { id, chunk: part, draft_count: 0 });
                left -= count;
                at += 1;
            }
        }
        turns
    }

    /// Appends draft tokens to the decoding sequences, from the token budget that is left over.
    fn append_drafts(&mut self, turns: &mut [ScheduledChunk]) {
        let taken: usize = turns.iter().map(|turn| turn.chunk.tokens.len()).sum();
        let mut left = self.scheduler_limits.step_tokens.saturating_sub(taken);
        for turn in turns.iter_mut().filter(|turn| turn.has_output()) {
            let Some(text) = self.running.iter_mut().find(|text| text.id == turn.id) else { continue };
            let to_come = text.request.max_tokens.saturating_sub(text.generated.len() + 1);
            // A part is computed with one adapter.
            let alike = text.adapter_at(turn.chunk.start).1 - turn.chunk.end();
            let most =
                text.acceptance_rate.next(text.generated.len()).min(self.scheduler_limits.draft_tokens);
            let most = most.min(left).min(to_come).min(alike);
            if most == 0 {
                continue;
            }
            let mut drafts = self.drafter.propose(text.id, &text.request.prompt, &text.generated, most);
            drafts.truncate(most);
            let end = turn.chunk.end() + drafts.len();
            let wanted = end.div_ceil(BLOCK).saturating_sub(text.blocks.len());
            let Some(blocks) = self.blocks.allocate(text.prefix_scope(), wanted) else { continue };
            text.blocks.extend(blocks);
            turn.chunk.blocks.clone_from(&text.blocks);
            left -= drafts.len();
            turn.draft_count = drafts.len();
            turn.chunk.tokens.extend(drafts);
        }
    }

    /// Allocates blocks for so many more tokens of a sequence. `true` if the sequence is gone.
    fn allocate_blocks(&mut self, id: SequenceId, more: usize) -> bool {
        let Some(text) = self.running.iter_mut().find(|text| text.id == id) else { return true };
        let wanted = (text.computed + more).div_ceil(BLOCK).saturating_sub(text.blocks.len());
        match self.blocks.allocate(text.prefix_scope(), wanted) {
            Some(blocks) => {
                text.blocks.extend(blocks);
                true
            }
            None => false,
        }
    }

    /// Applies a step's output to a sequence.
    fn apply_output(
        &mut self,
        turn: &ScheduledChunk,
        rows: &[f32],
        ahead: Option<MaskRequest>,
        happened: &mut Vec<StepEvent>,
    ) {
        let Some(at) = self.running.iter().position(|text| text.id == turn.id) else { return };
        let Some(text) = self.running.get_mut(at) else { return };
        let (mut sampled, mut end) = (Vec::new(), None);
        if text.step_output == StepOutput::HiddenState {
            return self.read_on(at, turn, rows, happened);
        }
        let full = text.computed / BLOCK;
        text.computed = turn.chunk.end() - turn.draft_count;
        if turn.has_output() {
            let allowed = ahead.map(|ahead| {
                text.constraint_state = Some(ahead.following);
                ahead.masks
            });
            let (width, allowed) = (self.model.shape().vocabulary, allowed.unwrap_or_default());
            let is_lost = text.request.constraint.is_some() && text.constraint_state.is_none();
            let scores =
                SequenceLogits { rows, width, draft_tokens: turn.draft_tokens(), token_masks: &allowed };
            let (accepted, ended) = if is_lost {
                (0, Some(FinishReason::Broken))
            } else {
                text.sample_and_verify(&scores, &mut sampled)
            };
            text.computed += accepted;
            text.acceptance_rate.learn(
                turn.draft_count,
                accepted,
                text.generated.len(),
                self.scheduler_limits.draft_tokens,
            );
            self.counts.drafted_tokens += turn.draft_count as u64;
            self.counts.accepted_tokens += accepted as u64;
            end = ended;
        }
        self.waiting.serve(text.request.group, turn.chunk.tokens.len());
        if text.computed / BLOCK > full && !text.is_forgotten {
            let tokens = text.cacheable_tokens(text.computed);
            self.blocks.cache_prefix(text.prefix_scope(), &tokens, &text.blocks);
            text.store(self.disk.as_deref(), &self.pool, &tokens);
        }
        // Blocks that were allocated for draft tokens that were rejected.
        let needed = text.computed.div_ceil(BLOCK).min(text.blocks.len());
        let (surplus, is_forgotten) = (text.blocks.split_off(needed), text.is_forgotten);
        self.release_blocks(&surplus, is_forgotten);
        let id = turn.id;
        happened.extend(sampled.into_iter().map(|drawn| StepEvent::Token { sequence: id, drawn }));
        if let Some(end) = end {
            let text = self.running.remove(at);
            self.end(&text);
            happened.push(StepEvent::End { sequence: id, end });
        }
    }
}
