//! What was used where nobody has counted it: by the model's own tokenizer where that is public, else by what its texts
//! took before. Texts are counted when an exchange is settled without a report, and at no other time.

use std::rc::Rc;

use dialects::{Guess, each_text, is_counted};
use domain::limits::BODY_BYTES_MAX;
use domain::{Operation, Units, Usage, UsageSource, Vocabulary};
use estimates::{Tally, Told};
use plan::Attempt;

use crate::answer::Exchange;

/// Tokens that stand around each message, and before the answer, as the tokenizers' maker tells to count them.
const MESSAGE_TOKENS: u64 = 4;
const ANSWER_TOKENS: u64 = 3;
/// Of speech: 150 words of six characters are a minute, which takes some 1,250 tokens of sound.
const AUDIO_TOKENS_OF_TEN_CHARACTERS: u64 = 14;
/// Sound of 128 kbit/s.
const SOUND_BYTES_PER_S: u64 = 16_000;
const SOUND_MS_PER_TOKEN: u64 = 100;

/// Estimates one try of an exchange, for the writer of its answer.
pub(crate) struct Guesser {
    pub exchange: Rc<Exchange>,
    pub attempt: Rc<Attempt>,
}

impl std::fmt::Debug for Guesser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guesser").finish_non_exhaustive()
    }
}

impl Guess for Guesser {
    fn usage(&self, text: &str, content_bytes: u64) -> Usage {
        self.exchange.estimate(&self.attempt, text, content_bytes)
    }

    fn elapsed_ms(&self) -> u64 {
        self.exchange.now_us().saturating_sub(self.exchange.call.received_us()) / 1_000
    }
}

impl Exchange {
    /// The public tokenizer of the model that is asked.
    pub(crate) fn vocabulary(&self, attempt: &Attempt) -> Option<Vocabulary> {
        self.caller.snapshot().catalogue().vocabulary(attempt.upstream_model())
    }

    /// Counts, where it can be done. `text` is what is kept of the answer.
    pub(crate) fn estimate(&self, attempt: &Attempt, text: &str, content_bytes: u64) -> Usage {
        let quick = self.quick_estimate(attempt, content_bytes);
        let Some(vocabulary) = self.vocabulary(attempt) else { return quick };
        Usage {
            input: self.prompt_tokens(vocabulary).unwrap_or(quick.input),
            output: answer_tokens(vocabulary, text, content_bytes).unwrap_or(quick.output),
            ..quick
        }
    }

    /// The most that a form is long: all of it, where its end was not announced.
    pub(crate) fn form_bytes_max(&self) -> u64 {
        let held = self.call.request().form.as_ref().map_or(0, |form| form.held_bytes);
        let most = BODY_BYTES_MAX as u64;
        let Some(upload) = self.call.upload() else { return held };
        let left = upload.left().unwrap_or(most);
        held.saturating_add(upload.taken()).saturating_add(left).min(most)
    }

    /// By bytes alone: what can be asked at each piece of a stream.
    pub(crate) fn quick_estimate(&self, attempt: &Attempt, content_bytes: u64) -> Usage {
        if self.call.operation().is_media()
            && let Some(usage) = self.counted_in_units(attempt)
        {
            return usage;
        }
        let ratio = self.hands.estimates.ratios().of(attempt.provider(), attempt.upstream_model());
        Usage {
            input: ratio.prompt_tokens(self.call.request().prompt_bytes),
            output: ratio.answer_tokens(content_bytes),
            units: self.of_sound(),
            source: UsageSource::Estimate,
            ..Usage::default()
        }
    }

    /// What needs no estimate, for it is not sold by the token: the characters of a text that was read aloud, and no
    /// picture that nobody has seen. `None` where tokens have a price.
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

    /// Sound that nobody told the length of: what is heard of a text that is read aloud, and how long a recording is by its
    /// bytes alone, of which most are as dense as this.
    fn of_sound(&self) -> Units {
        match self.call.operation() {
            Operation::Speech => {
                let characters = self.characters();
                let audio_out = characters.saturating_mul(AUDIO_TOKENS_OF_TEN_CHARACTERS).div_ceil(10);
                Units { characters, audio_out, ..Units::default() }
            }
            operation if operation.listens() => self.heard_at(SOUND_BYTES_PER_S),
            _ => Units::default(),
        }
    }

    /// What is counted in the request itself, beside what was reported of the answer.
    pub(crate) fn with_characters(&self, usage: Usage) -> Usage {
        Usage { units: Units { characters: self.characters(), ..usage.units }, ..usage }
    }

    /// Those that are read aloud: none of what is no speech.
    fn characters(&self) -> u64 {
        self.call.request().units.characters
    }

    /// How long a recording is, where a second of it takes so many bytes.
    pub(crate) fn heard_at(&self, bytes_per_s: u64) -> Units {
        let audio_ms = self.form_bytes_max().saturating_mul(1_000) / bytes_per_s.max(1);
        Units { audio_in: audio_ms / SOUND_MS_PER_TOKEN, audio_ms, ..Units::default() }
    }

    /// `None` of what is no conversation, and where the request is no longer there.
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

    /// Learns what a token takes at this model, from an answer whose tokens its provider counted to the end.
    pub(crate) fn learn(&self, attempt: &Attempt, usage: &Usage, content_bytes: u64) {
        let request = self.call.request();
        let is_text = matches!(
            self.call.operation(),
            Operation::Chat | Operation::Run | Operation::Complete | Operation::Embed
        );
        // Of an answer that goes on from a stored one, the prompt is longer than what was sent.
        if usage.source != UsageSource::Provider || !is_text || request.stored.is_some() {
            return;
        }
        let prompt = Told { bytes: request.prompt_bytes, tokens: usage.prompt_total() };
        // Thoughts may be counted and not shown.
        let bytes = if usage.reasoning == 0 { content_bytes } else { 0 };
        let answer = Told { bytes, tokens: usage.output };
        self.hands.estimates.ratios().learn(attempt.provider(), attempt.upstream_model(), prompt, answer);
    }
}

/// Counts of the upstream where there are any; else an estimate, marked as one. A node may mark its own so.
pub(crate) fn known_usage(
    reported: Option<Usage>,
    content_bytes: u64,
    is_estimated: bool,
    estimate: impl FnOnce() -> Usage,
) -> Usage {
    match reported.filter(|usage| is_counted(Some(usage), content_bytes)) {
        Some(usage) if is_estimated => Usage { source: UsageSource::Estimate, ..usage },
        Some(usage) => usage,
        None => estimate(),
    }
}

/// `None` where its table is not at hand, or nothing of the answer's text was kept.
fn answer_tokens(vocabulary: Vocabulary, text: &str, content_bytes: u64) -> Option<u64> {
    if content_bytes == 0 {
        return Some(0);
    }
    let mut tally = Tally::new(vocabulary)?;
    tally.add(text);
    tally.add_unread(content_bytes.saturating_sub(text.len() as u64));
    tally.tokens()
}
