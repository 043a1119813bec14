//! A sequence in the scheduler: its state, and how a step's output advances it.

use std::sync::Arc;

use kernels::{Adapter, StepOutput};
use prefixes::{Chain, Fetching};

use crate::blocks::PrefixScope;
use crate::constraints::{ConstraintState, TokenMask};
use crate::request::{FinishReason, Request, SequenceId, SharedPrefix};
use crate::sampler::SampledToken;
use crate::speculation::AcceptanceRate;

#[derive(Debug)]
pub(crate) struct Sequence {
    pub id: SequenceId,
    pub request: Request,
    /// The generated tokens.
    pub generated: Vec<u32>,
    pub blocks: Vec<u32>,
    /// How many tokens of prompt and answer are in the KV cache.
    pub computed: usize,
    pub has_started: bool,
    /// Its position in the grammar constraint; `None` while the mask thread has it.
    pub constraint_state: Option<ConstraintState>,
    pub acceptance_rate: AcceptanceRate,
    /// Forced tokens from before the first step, which are yet to be reported.
    pub unreported: Vec<SampledToken>,
    /// Set if those forced tokens alone ended it.
    pub ended: Option<FinishReason>,
    /// Its adapter, set when the sequence is first scheduled.
    pub adapter: Option<Arc<Adapter>>,
    /// Its adapter switches, with the positions of the first tokens that are computed with them.
    pub adapter_switches: Vec<(usize, Option<Arc<Adapter>>)>,
    /// What its steps return: logits, or the final hidden state for embedding inputs.
    pub step_output: StepOutput,
    /// The prefix that it shares with other embedding inputs of its request.
    pub shared_prefix: Option<SharedPrefix>,
    /// Its cache scope was forgotten after submission: it goes on, but leaves nothing in the prefix cache.
    pub is_forgotten: bool,
    /// Its blocks in the prefix cache on disk.
    pub chain: Option<Chain>,
    /// What of its prefix is being read from the disk. It takes part in no step meanwhile.
    pub fetching: Option<Fetching>,
}

/// A step's output for a sequence: a row of logits for its last token and for each draft token.
pub(crate) struct SequenceLogits<'a> {
    pub rows: &'a [f32],
    pub width: usize,
    pub draft_tokens: &'a [u32],
    pub token_masks: &'a [Option<TokenMask>],
}

impl Sequence {
    pub(crate) fn new(id: SequenceId, request: Request) -> Self {
        let following = request.constraint.as_ref().map(|rule| rule.follow());
        let mut text = Self {
            id,
            request,
            generated: Vec::new(),
            blocks: Vec::new(),
            computed: 0,
            has_started: false,
            constraint_state: following,
            acceptance_rate: AcceptanceRate::new(),
            unreported: Vec::new(),
            ended: None,
            adapter: None,
            adapter_switches: Vec::new(),
            step_output: StepOutput::Logits,
            shared_prefix: None,
            is_forgotten: false,
            chain: None,
            fetching: None,
        };
        let mut unreported = Vec::new();
        text.ended = text.append_forced(&mut unreported);
        text.unreported = unreported;
        text
    }

    /// What its cached prefixes are bound to.
    pub(crate) fn prefix_scope(&self) -> PrefixScope {
        let generation = self.adapter.as_ref().map_or(0, |adapter| adapter.generation);
        let reading = self.shared_prefix.map_or(0, |prefix| prefix.embedding_request);
        PrefixScope { cache_scope: self.request.cache_scope, generation, embedding_request: reading }
    }

    pub(crate) fn length(&self) -> usize {
        self.request.prompt.len() + self.generated.len()
    }

    /// How many of its tokens are not in the KV cache yet.
    pub(crate) fn uncomputed(&self) -> usize {
        self.length() - self.computed
    }

    /// The next tokens to compute, at most `most`.
    pub(crate) fn tokens(&self, most: usize) -> Vec<u32> {
        let all = self.request.prompt.iter().chain(&self.generated);
        all.skip(self.computed).take(most).copied().collect()
    }

    /// Its first tokens, as far as they may be shared through the prefix cache: up to the first adapter
    /// switch.
    pub(crate) fn cacheable_tokens(&self, most: usize) -> Vec<u32> {
        let alike = self.adapter_switches.first().map_or(most, |(from, _)| most.min(*from));
        self.request.prompt.iter().chain(&self.generated).take(alike).copied().collect()
    }

    /// The adapter for a position, and the position at which the next one takes over.
    pub(crate) fn adapter_at(&self, position: usize) -> (Option<Arc<Adapter>>, usize) {
        let before = self.adapter_switches.partition_point(|(from, _)| *from <= position);
        let until = self.adapter_switches.get(before).map_or(usize::MAX, |(from, _)| *from);
        let last = before.checked_sub(1).and_then(|last| self.adapter_switches.get(last));
        (last.map_or(&self.adapter, |(_, adapter)| adapter).clone(), until)
    }

    /// Samples the next token, and goes on as long as the draft tokens agree. Returns how many of them were
    /// accepted.
    pub(crate) fn sample_and_verify(
        &mut self,
        scores: &SequenceLogits<'_>,
        sampled: &mut Vec<SampledToken>,
    ) -> (usize, Option<FinishReason>) {
        let mut accepted = 0;
        while let Some(row) = scores.rows.chunks_exact(scores.width).nth(accepted) {
            let allowed = match (&self.constraint_state, scores.token_masks.get(accepted)) {
                (None, _) => None,
                (Some(_), Some(Some(allowed))) => Some(allowed.words()),
                (Some(_), _) => return (accepted, Some(FinishReason::Broken)),
            };
            let Some(drawn) =
                self.request.sampling.draw(row, (&self.request.prompt, &self.generated), allowed)
            else {
                return (accepted, Some(FinishReason::Broken));
            };
            let before = self.generated.len();
            let end = self.append_sampled(drawn, sampled);
            let appended = self.generated.get(before..).unwrap_or_default();
            let drafts = scores.draft_tokens.get(accepted..).unwrap_or_default();
            let agree = appended.iter().zip(drafts).take_while(|(token, draft)| token == draft).count();
            accepted += agree;
            if end.is_some() || agree < appended.len() {
                return (accepted, end);
            }
        }
        (accepted, None)
    }

    /// Appends a sampled token, and the tokens that the constraint forces after it.
    fn append_sampled(
        &mut self,
        drawn: SampledToken,
        sampled: &mut Vec<SampledToken>,
    ) -> Option<FinishReason> {
        let token = drawn.token;
        self.generated.push(token);
        sampled.push(drawn);
        if self.request.stop_tokens.contains(&token) {
            return Some(FinishReason::Stop);
        }
        if let Some(following) = &mut self.constraint_state {
            if !following.take(token) {
                return Some(FinishReason::Broken);
            }
            if following.is_over() {
                return Some(FinishReason::Stop);
            }
        }
        if self.is_full() { Some(FinishReason::Length) } else { self.append_forced(sampled) }
    }

    /// Appends the tokens that the constraint leaves no choice about, with probability 1.
    fn append_forced(&mut self, sampled: &mut Vec<SampledToken>) -> Option<FinishReason> {
        let following = self.constraint_state.as_mut()?;
        let forced = following.forced_tokens();
        let (is_broken, is_over) = (following.is_broken(), following.is_over());
        if is_broken {
            return Some(FinishReason::Broken);
        }
        let left = self.request.max_tokens.saturating_sub(self.generated.len());
        let is_cut = forced.len() > left;
        for token in forced.into_iter().take(left) {
            let wants_logprobs = self.request.sampling.logprobs.is_some_and(|count| count > 0);
            let others = if wants_logprobs { vec![(token, 0.0)] } else { Vec::new() };
            self.generated.push(token);
            sampled.push(SampledToken { token, logprob: 0.0, others });
        }
        if is_over && !is_cut {
            return Some(FinishReason::Stop);
        }
        self.is_full().then_some(FinishReason::Length)
    }

    fn is_full(&self) -> bool {
        self.generated.len() >= self.request.max_tokens
    }
}
