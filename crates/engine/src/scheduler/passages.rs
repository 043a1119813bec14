//! Inputs of embedding and reranking requests: sequences that are only prefilled, and return the hidden state
//! of their last token. They are scheduled like all others, in chunks. Only the common prefix of a request's
//! inputs is cached, until the request ends.

use kernels::{BLOCK, StepOutput};

use super::{ScheduledChunk, Scheduler};
use crate::blocks::CacheScope;
use crate::request::{EmbeddingInput, FinishReason, Refused, Request, SequenceId, StepEvent};
use crate::sampler::Sampling;
use crate::sequence::Sequence;

impl Scheduler {
    /// Queues an input to be computed to its end.
    ///
    /// # Errors
    /// The request can't be taken, now or at all.
    pub fn read(&mut self, input: EmbeddingInput) -> Result<SequenceId, Refused> {
        let EmbeddingInput { tokens: prompt, group, adapter, shared_prefix } = input;
        let (tokens, most) = (prompt.len(), self.longest());
        if tokens > most {
            return Err(Refused::TooLong { tokens, most });
        }
        let (sampling, ends) = (Sampling::default(), Vec::new());
        // Other requests never find its blocks; the scope decides what is wiped when it is forgotten.
        let share = CacheScope(group.0);
        let request = Request {
            prompt,
            sampling,
            max_tokens: 0,
            stop_tokens: ends,
            constraint: None,
            cache_scope: share,
            group,
            adapter,
            adapter_switches: Vec::new(),
        };
        let shared_prefix = shared_prefix.filter(|shared_prefix| shared_prefix.embedding_request > 0);
        self.take(request, |text| Sequence { step_output: StepOutput::HiddenState, shared_prefix, ..text })
    }

    /// Drops and zeroes the common prefix of a request's inputs.
    pub fn end_reading(&mut self, reading: u64) {
        self.wipe_blocks(|under| under.embedding_request > 0 && under.embedding_request == reading);
    }

    /// What the step returns for each part: logits or hidden state.
    pub(super) fn step_outputs(&self, turns: &[ScheduledChunk]) -> Vec<StepOutput> {
        let of = |turn: &ScheduledChunk| {
            self.running.iter().find(|text| text.id == turn.id).map(|text| text.step_output)
        };
        turns.iter().map(|turn| of(turn).unwrap_or_default()).collect()
    }

    /// The width of an output row.
    pub(super) fn width(&self, output: StepOutput) -> usize {
        match output {
            StepOutput::Logits => self.model.shape().vocabulary,
            StepOutput::HiddenState => self.model.shape().hidden,
        }
    }

    /// Applies a step's output to a sequence that is only prefilled.
    pub(super) fn read_on(
        &mut self,
        at: usize,
        turn: &ScheduledChunk,
        state: &[f32],
        happened: &mut Vec<StepEvent>,
    ) {
        let Some(text) = self.running.get_mut(at) else { return };
        let before = std::mem::replace(&mut text.computed, turn.chunk.end());
        self.waiting.serve(text.request.group, turn.chunk.tokens.len());
        let common = text.shared_prefix.map_or(0, |prefix| prefix.tokens);
        if before / BLOCK < common.min(text.computed) / BLOCK && !text.is_forgotten {
            let computed = text.request.prompt.get(..common.min(text.computed)).unwrap_or_default();
            self.blocks.cache_prefix(text.prefix_scope(), computed, &text.blocks);
        }
        if !turn.has_output() {
            return;
        }
        let text = self.running.remove(at);
        self.end(&text);
        let end = if state.iter().all(|number| number.is_finite()) {
            FinishReason::Stop
        } else {
            FinishReason::Broken
        };
        if end == FinishReason::Stop {
            happened.push(StepEvent::State { sequence: text.id, state: state.to_vec() });
        }
        happened.push(StepEvent::End { sequence: text.id, end });
    }
}
