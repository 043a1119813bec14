//! Estimates usage that no upstream reported: with the model's own tokenizer where that is public, else from
//! the bytes per token seen before. Text is tokenised only when an exchange is settled without a report.

use std::rc::Rc;

use conversation::prompt_text::{UsageEstimator, each_text};
use domain::limits::BODY_BYTES_MAX;
use domain::{Operation, Units, Usage, UsageSource, Vocabulary};
use estimates::{Observation, Tally};
use plan::Attempt;

use crate::answer::Exchange;

/// Tokens around each message, and before the answer, as the tokenizers' publisher says to count them.
const MESSAGE_TOKENS: u64 = 4;
const ANSWER_TOKENS: u64 = 3;
/// For speech: 150 words of six characters are a minute, which takes some 1,250 audio tokens.
const AUDIO_TOKENS_OF_TEN_CHARACTERS: u64 = 14;
/// Audio of 128 kbit/s.
const SOUND_BYTES_PER_S: u64 = 16_000;
const SOUND_MS_PER_TOKEN: u64 = 100;

/// Estimates the usage of one attempt, for the writer of its answer.
pub(crate) struct AttemptUsageEstimator {
    pub exchange: Rc<Exchange>,
    pub attempt: Rc<Attempt>,
}

impl std::fmt::Debug for AttemptUsageEstimator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AttemptUsageEstimator").finish_non_exhaustive()
    }
}

impl UsageEstimator for AttemptUsageEstimator {
    fn usage(&self, text: &str, content_bytes: u64) -> Usage {
        self.exchange.estimate(&self.attempt, text, content_bytes)
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
    pub(crate) fn estimate(&self, attempt: &Attempt, text: &str, content_bytes: u64) -> Usage {
        let quick = self.quick_estimate(attempt, content_bytes);
        let Some(vocabulary) = self.vocabulary(attempt) else { return quick };
        Usage {
            input: self.prompt_tokens(vocabulary).unwrap_or(quick.input),
            output: answer_tokens(vocabulary, text, content_bytes).unwrap_or(quick.output),
            ..quick
        }
    }

    /// The most bytes that a form can have: the limit for bodies, if its length was not announced.
    pub(crate) fn form_bytes_max(&self) -> u64 {
        let held = self.call.request().form.as_ref().map_or(0, |form| form.held_bytes);
        let most = BODY_BYTES_MAX as u64;
        let Some(upload) = self.call.upload() else { return held };
        let left = upload.left().unwrap_or(most);
        held.saturating_add(upload.taken()).saturating_add(left).min(most)
    }

    /// Estimates from bytes alone, cheap enough for each piece of a stream.
    pub(crate) fn quick_estimate(&self, attempt: &Attempt, content_bytes: u64) -> Usage {
        if self.call.operation().is_media()
            && let Some(usage) = self.counted_in_units(attempt)
        {
            return usage;
        }
        let ratio = self.deps.estimates.ratios().of(attempt.provider(), attempt.upstream_model());
        Usage {
            input: ratio.prompt_tokens(self.call.request().prompt_bytes),
            output: ratio.answer_tokens(content_bytes),
            units: self.of_sound(),
            source: UsageSource::Estimate,
            ..Usage::default()
        }
    }

    /// Usage that needs no estimate, since it is not sold by the token: the characters of text that is read
    /// aloud, and nothing for images or rankings that did not arrive. `None` where tokens have a price.
    fn counted_in_units(&self, attempt: &Attempt) -> Option<Usage> {
        let rates = attempt.rates_for(0);
        match self.call.operation() {
            Operation::Speech if rates.is_none_or(|rates| !rates.are_of_tokens()) => {
                let units = Units { characters: self.characters(), ..Units::default() };
                Some(Usage { units, source: UsageSource::Provider, ..Usage::default() })
            }
            operation
                if (operation.makes_pictures() || operation == Operation::Rerank)
                    && rates.is_some_and(|rates| !rates.are_of_tokens()) =>
            {
                Some(Usage::default())
            }
            _ => None,
        }
    }

    /// Audio of unknown length: of speech by the characters of its text, and of a recording by its bytes, at
    /// the density that most have.
    fn of_sound(&self) -> Units {
        match self.call.operation() {
            Operation::Speech => {
                let characters = self.characters();
                let audio_out = characters.saturating_mul(AUDIO_TOKENS_OF_TEN_CHARACTERS).div_ceil(10);
                Units { characters, audio_out, ..Units::default() }
            }
            operation if operation.is_transcription() => self.heard_at(SOUND_BYTES_PER_S),
            _ => Units::default(),
        }
    }

    /// The characters that are read aloud; zero for all but speech.
    fn characters(&self) -> u64 {
        self.call.request().units.characters
    }

    /// How long a recording is at so many bytes per second.
    pub(crate) fn heard_at(&self, bytes_per_s: u64) -> Units {
        let audio_ms = self.form_bytes_max().saturating_mul(1_000) / bytes_per_s.max(1);
        Units { audio_in: audio_ms / SOUND_MS_PER_TOKEN, audio_ms, ..Units::default() }
    }

    /// `None` if this is not a conversation, or if the request is no longer held.
    fn prompt_tokens(&self, vocabulary: Vocabulary) -> Option<u64> {
        if !matches!(self.call.operation(), Operation::Chat | Operation::Run | Operation::Count) {
            return None;
        }
        let mut tally = Tally::new(vocabulary)?;
        let read;
        let prompt = match self.prompt.get() {
            Some(prompt) => &**prompt,
            None => {
                let body = self.body.borrow();
                let grammar = self.call.dialect().grammar();
                read = dialects::read_prompt(grammar, &body, self.call.request()).ok()?;
                &read
            }
        };
        each_text(prompt, &mut |text| tally.add(text));
        let messages = (prompt.instructions.len() + prompt.turns.len()) as u64;
        tally.add_tokens(messages * MESSAGE_TOKENS + ANSWER_TOKENS);
        tally.tokens()
    }

    /// Learns this model's bytes per token from an answer whose tokens its provider counted to the end.
    pub(crate) fn learn(&self, attempt: &Attempt, usage: &Usage, content_bytes: u64) {
        let request = self.call.request();
        let is_text = matches!(
            self.call.operation(),
            Operation::Chat | Operation::Run | Operation::Complete | Operation::Embed
        );
        // If the answer continues a stored one, the prompt is longer than what was sent.
        if usage.source != UsageSource::Provider || !is_text || request.stored.is_some() {
            return;
        }
        let prompt = Observation { bytes: request.prompt_bytes, tokens: usage.prompt_total() };
        // Reasoning may be counted and not shown.
        let bytes = if usage.reasoning == 0 { content_bytes } else { 0 };
        let answer = Observation { bytes, tokens: usage.output };
        self.deps.estimates.ratios().record(attempt.provider(), attempt.upstream_model(), prompt, answer);
    }
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
