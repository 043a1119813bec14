//! Estimates usage that no upstream reported: with the model's own tokenizer where that is public, else from
//! the bytes per token seen before. Text is tokenised only when an exchange is settled without a report.

use std::rc::Rc;

use admit::Call;
use bytes::Bytes;
use conversation::prompt_text::{UsageEstimator, each_text};
use domain::{Prompt, Usage, UsageSource, Vocabulary};
use estimates::{Observation, Tally};
use plan::Attempt;

use crate::exchange::{Exchange, HeldRequest};

/// Tokens around each message, and before the answer, as the tokenizers' publisher says to count them.
const MESSAGE_TOKENS: u64 = 4;
const ANSWER_TOKENS: u64 = 3;

/// Estimates the usage of one attempt, for the writer of its answer.
pub(crate) struct AttemptUsageEstimator {
    pub exchange: Rc<Exchange>,
    pub attempt: Rc<Attempt>,
    /// An answer is written for its client only where the request was translated.
    pub held: HeldRequest,
}

domain::brief_debug!(AttemptUsageEstimator);

impl UsageEstimator for AttemptUsageEstimator {
    fn usage(&self, text: &str, content_bytes: u64) -> Usage {
        self.exchange.estimate(&self.held, &self.attempt, text, content_bytes)
    }

    fn elapsed_ms(&self) -> u64 {
        self.exchange.now_us().saturating_sub(self.exchange.call.received_us()) / 1_000
    }
}

impl Exchange {
    /// The public tokenizer of the upstream's model.
    pub(crate) fn vocabulary(&self, attempt: &Attempt) -> Option<Vocabulary> {
        self.caller.snapshot().catalogue().vocabulary(attempt.upstream_model())
    }

    /// Counts tokens where that is possible, else estimates them. `text` is what was held of the answer.
    pub(crate) fn estimate(
        &self,
        held: &HeldRequest,
        attempt: &Attempt,
        text: &str,
        content_bytes: u64,
    ) -> Usage {
        let quick = self.quick_estimate(held, attempt, content_bytes);
        let Some(vocabulary) = self.vocabulary(attempt) else { return quick };
        Usage {
            input: prompt_tokens(&self.call, &held.body, held.prompt.as_deref(), vocabulary)
                .unwrap_or(quick.input),
            output: answer_tokens(vocabulary, text, content_bytes).unwrap_or(quick.output),
            ..quick
        }
    }

    /// Estimates from bytes alone, cheap enough for each piece of a stream.
    pub(crate) fn quick_estimate(&self, held: &HeldRequest, attempt: &Attempt, content_bytes: u64) -> Usage {
        let spec = self.call.spec();
        let sells_tokens = || attempt.rates_for(0).map(|rates| rates.are_of_tokens());
        if !spec.facts().counts_tokens
            && let Some(usage) = spec.counted_in_units(self.call.request(), sells_tokens())
        {
            return usage;
        }
        let ratio = self.deps.estimates.ratios().of(attempt.provider(), attempt.upstream_model());
        Usage {
            input: ratio.prompt_tokens(self.call.request().prompt_bytes),
            output: ratio.answer_tokens(content_bytes),
            units: spec.estimated_units(&self.size(&held.body)),
            source: UsageSource::Estimate,
            ..Usage::default()
        }
    }

    /// Learns this model's bytes per token from an answer whose tokens its provider counted to the end.
    pub(crate) fn learn(&self, attempt: &Attempt, usage: &Usage, content_bytes: u64) {
        let request = self.call.request();
        let teaches = self.call.spec().facts().teaches_ratios;
        // If the answer continues a stored one, the prompt is longer than what was sent.
        if usage.source != UsageSource::Provider || !teaches || request.stored.is_some() {
            return;
        }
        let prompt = Observation { bytes: request.prompt_bytes, tokens: usage.prompt_total() };
        // Reasoning may be counted and not shown.
        let bytes = if usage.reasoning == 0 { content_bytes } else { 0 };
        let answer = Observation { bytes, tokens: usage.output };
        self.deps.estimates.ratios().record(attempt.provider(), attempt.upstream_model(), prompt, answer);
    }
}

/// `None` if this is not a conversation, or if the request is no longer held.
pub(crate) fn prompt_tokens(
    call: &Call,
    body: &Bytes,
    prompt: Option<&Prompt>,
    vocabulary: Vocabulary,
) -> Option<u64> {
    if !call.spec().facts().is_conversation {
        return None;
    }
    let mut tally = Tally::new(vocabulary)?;
    let read;
    let prompt = match prompt {
        Some(prompt) => prompt,
        None => {
            read = dialects::read_prompt(call.dialect().grammar(), body, call.request()).ok()?;
            &read
        }
    };
    each_text(prompt, &mut |text| tally.add(text));
    let messages = (prompt.instructions.len() + prompt.turns.len()) as u64;
    tally.add_tokens(messages * MESSAGE_TOKENS + ANSWER_TOKENS);
    tally.tokens()
}

/// `None` if the tokenizer's table is not loaded, or if none of the answer's text was held.
fn answer_tokens(vocabulary: Vocabulary, text: &str, content_bytes: u64) -> Option<u64> {
    if content_bytes == 0 {
        return Some(0);
    }
    let mut tally = Tally::new(vocabulary)?;
    tally.add(text);
    tally.add_unread(content_bytes.saturating_sub(text.len() as u64));
    tally.tokens()
}
