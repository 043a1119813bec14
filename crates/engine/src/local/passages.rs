//! The passages of an embedding or reranking request: sequences that are prefilled for their final hidden
//! state, a few at a time. If all share a prefix, the first one runs alone, and the others find the prefix in
//! the cache.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use domain::inference_task::InferenceTask;
use domain::runtime::RawPrompt;
use domain::{Fault, FaultClass, Usage, UsageSource};
use kernels::BLOCK;
use prompts::{PromptError, Vocabulary};
use tokio::sync::mpsc::Receiver;

use super::answer::{ADAPTER_LEFT, lost, refusal};
use crate::adapters::AdapterId;
use crate::fair_queue::Group;
use crate::host::{Asking, Reading, SequenceEvent};
use crate::request::{EmbeddingInput, FinishReason, Refused, SharedPrefix};

/// Passages of one request that run at once: enough to fill steps, few enough to leave room for other
/// requests.
const AT_ONCE: usize = 16;
/// The fewest tokens a shared prefix must save for the first passage to run alone, since that takes a step of
/// its own.
const WORTH: usize = 2 * BLOCK;

/// The host, and the request's parameters.
pub(super) struct Readers {
    pub asking: Asking,
    pub vocabulary: Arc<Vocabulary>,
    pub group: Group,
    pub adapter: Option<AdapterId>,
    /// Maximum length of a passage in tokens.
    pub longest: usize,
    /// The size of the model's vocabulary.
    pub known: usize,
    /// The request parameter that the passages came in, for error messages.
    pub param: &'static str,
}

/// An input of the request.
pub(super) enum EncodeInput {
    Tokens(Vec<u32>),
    /// Gets the special tokens that the tokenizer puts around a text.
    Text(String),
    /// A template filled with user text. Only the template's own special tokens count.
    Filled(Filled),
}

/// A text, and the ranges of it that are user text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Filled {
    pub text: String,
    pub theirs: Vec<Range<usize>>,
}

/// Computes the result from the passages' hidden states.
pub(super) type Then<T> = Box<dyn FnOnce(Vec<Vec<f32>>) -> T + Send>;

pub(super) struct EncodeBatch<T> {
    readers: Readers,
    /// Passages not submitted yet, with their index.
    waiting: VecDeque<(usize, Vec<u32>)>,
    open: Vec<Open>,
    states: Vec<Vec<f32>>,
    /// The common prefix: its cache group and its length in tokens, if it is long enough.
    common: Option<(Reading, usize)>,
    /// The first passage runs alone, and is not finished yet.
    is_led: bool,
    /// Prompt tokens of the passages that were scheduled, and how many of them came from the prefix cache.
    tokens: u64,
    remembered: u64,
    then: Option<Then<T>>,
}

struct Open {
    index: usize,
    tokens: Vec<u32>,
    receiver: Receiver<SequenceEvent>,
}

/// What an event means for a passage.
enum Next {
    More,
    Over,
    /// The queue was full; submitted again when another passage of the request has finished.
    Later,
}

impl From<RawPrompt> for EncodeInput {
    fn from(text: RawPrompt) -> Self {
        match text {
            RawPrompt::Tokens(tokens) => Self::Tokens(tokens),
            RawPrompt::Text(text) => Self::Text(text),
        }
    }
}

impl<T> EncodeBatch<T> {
    /// Tokenizes all inputs before any is submitted, so that one that is too long is reported at once. This
    /// takes time and belongs on a preparer thread; it stops when the client is gone.
    pub(super) fn new(
        readers: Readers,
        texts: impl Iterator<Item = EncodeInput>,
        then: Then<T>,
        is_wanted: &dyn Fn() -> bool,
    ) -> Result<Self, Fault> {
        let mut waiting = VecDeque::new();
        for (index, text) in texts.enumerate() {
            if !is_wanted() {
                return Err(lost("The request was cancelled."));
            }
            waiting.push_back((index, readers.tokens(index, text)?));
        }
        let (states, open) = (vec![Vec::new(); waiting.len()], Vec::new());
        let (common, is_led, tokens, remembered, then) = (None, false, 0, 0, Some(then));
        let mut passages = Self { readers, waiting, open, states, common, is_led, tokens, remembered, then };
        passages.compare();
        Ok(passages)
    }

    /// Finds the common prefix of all passages, in whole blocks.
    fn compare(&mut self) {
        let mut each = self.waiting.iter().map(|(_, tokens)| tokens.as_slice());
        let Some(first) = each.next() else { return };
        let alike = |other: &[u32]| first.iter().zip(other).take_while(|(one, other)| one == other).count();
        // At least one token of each passage has to be left to compute.
        let least = each.clone().fold(first.len(), |least, other| least.min(other.len())).saturating_sub(1);
        let common = each.map(alike).fold(least, usize::min) / BLOCK * BLOCK;
        if common * self.waiting.len().saturating_sub(1) >= WORTH {
            self.common = Some((self.readers.asking.reading(), common));
            self.is_led = true;
        }
    }

    /// Submits more passages, up to the limit.
    fn fill(&mut self) {
        let at_once = if self.is_led { 1 } else { AT_ONCE };
        while self.open.len() < at_once {
            let Some((index, tokens)) = self.waiting.pop_front() else { return };
            let (group, adapter) = (self.readers.group, self.readers.adapter.clone());
            let common = self.common.as_ref();
            let shared_prefix = common.map(|(reading, tokens)| SharedPrefix {
                embedding_request: reading.number(),
                tokens: *tokens,
            });
            let receiver = self.readers.asking.read(EmbeddingInput {
                tokens: tokens.clone(),
                group,
                adapter,
                shared_prefix,
            });
            self.open.push(Open { index, tokens, receiver });
        }
    }

    /// Handles an event of a passage.
    fn take(&mut self, at: usize, event: Option<SequenceEvent>) -> Result<Next, Fault> {
        let is_alone = self.open.len() == 1;
        let Some(open) = self.open.get_mut(at) else { return Ok(Next::More) };
        match event {
            None => Err(lost("The model's thread ended.")),
            Some(SequenceEvent::Scheduled { cached_tokens: remembered }) => {
                self.tokens += open.tokens.len() as u64;
                self.remembered += remembered as u64;
                Ok(Next::More)
            }
            Some(SequenceEvent::State(state)) => {
                if let Some(slot) = self.states.get_mut(open.index) {
                    *slot = state;
                }
                Ok(Next::More)
            }
            Some(SequenceEvent::Token(_)) => Ok(Next::More),
            Some(SequenceEvent::End(FinishReason::Stop | FinishReason::Length)) => Ok(Next::Over),
            Some(SequenceEvent::End(FinishReason::Broken)) => {
                Err(lost("The model's output had values that aren't numbers (NaN)."))
            }
            Some(SequenceEvent::End(FinishReason::NoAdapter)) => Err(lost(ADAPTER_LEFT)),
            // Other passages of this request are queued or running: this one is submitted again when one of
            // them has finished.
            Some(SequenceEvent::Refused(Refused::Full)) if !is_alone => Ok(Next::Later),
            Some(SequenceEvent::Refused(refused)) => Err(refusal(refused)),
        }
    }

    /// Handles the pending events. Returns `true` if there were none.
    fn listen(&mut self, cx: &mut Context<'_>) -> Result<bool, Fault> {
        let (mut waits, mut at, mut has_ended) = (true, 0, self.open.is_empty());
        while let Some(open) = self.open.get_mut(at) {
            let Poll::Ready(event) = open.receiver.poll_recv(cx) else {
                at += 1;
                continue;
            };
            waits = false;
            match self.take(at, event)? {
                Next::More => {}
                Next::Over => {
                    self.open.swap_remove(at);
                    (has_ended, self.is_led) = (true, false);
                }
                Next::Later => {
                    let open = self.open.swap_remove(at);
                    self.waiting.push_front((open.index, open.tokens));
                }
            }
        }
        if has_ended {
            self.fill();
        }
        Ok(waits && !has_ended)
    }
}

impl Readers {
    fn tokens(&self, index: usize, text: EncodeInput) -> Result<Vec<u32>, Fault> {
        let tokens = match text {
            EncodeInput::Tokens(tokens) => Ok(tokens),
            EncodeInput::Text(text) => self.vocabulary.tokens_with_bos_eos(&text, self.longest),
            EncodeInput::Filled(Filled { text, theirs }) => {
                let is_text = |range: Range<usize>| {
                    theirs.iter().any(|theirs| theirs.start < range.end && range.start < theirs.end)
                };
                self.vocabulary.tokens_with_text(&text, self.longest, is_text)
            }
        };
        let tokens = tokens.map_err(|error| self.unreadable(index, &error))?;
        self.check(index, &tokens)?;
        Ok(tokens)
    }

    fn at(&self, index: usize) -> String {
        format!("{}[{index}]", self.param)
    }

    fn unreadable(&self, index: usize, error: &PromptError) -> Fault {
        if let PromptError::TooLong { most } = error {
            return self.too_long(index, format!("more tokens than the {most} of the context window"));
        }
        let fault = Fault::new(FaultClass::BadRequest, "unreadable_text", error.to_string());
        fault.param(self.at(index)).fix("Send text in UTF-8.")
    }

    fn too_long(&self, index: usize, what: impl fmt::Display) -> Fault {
        let at = self.at(index);
        let message = format!("\"{at}\" has {what}.");
        let fault = Fault::new(FaultClass::ContextLength, "context_length_exceeded", message);
        fault.param(at).fix("Split it into shorter texts.")
    }

    fn check(&self, index: usize, tokens: &[u32]) -> Result<(), Fault> {
        let at = self.at(index);
        if tokens.is_empty() {
            let message = format!("\"{at}\" has no tokens.");
            let fault = Fault::new(FaultClass::BadRequest, "empty_prompt", message);
            return Err(fault.param(at).fix("Send a text, or leave it out."));
        }
        if tokens.len() > self.longest {
            let what = format!("{} tokens, but the context window has {}", tokens.len(), self.longest);
            return Err(self.too_long(index, what));
        }
        if let Some(wrong) = tokens.iter().position(|token| *token as usize >= self.known) {
            let message = format!("\"{at}[{wrong}]\" isn't a token of this model.");
            let fault = Fault::new(FaultClass::BadRequest, "invalid_value", message);
            let fix = format!("Send numbers below {}, or the text itself.", self.known);
            return Err(fault.param(format!("{at}[{wrong}]")).fix(fix));
        }
        Ok(())
    }
}

impl<T> InferenceTask for EncodeBatch<T> {
    type TaskOutput = T;

    fn poll_output(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, Fault>> {
        loop {
            if self.open.is_empty() && self.waiting.is_empty() {
                let states = std::mem::take(&mut self.states);
                return match self.then.take() {
                    Some(then) => Poll::Ready(Ok(then(states))),
                    None => Poll::Ready(Err(Fault::internal())),
                };
            }
            if self.listen(cx)? {
                return Poll::Pending;
            }
        }
    }

    fn usage(self: Pin<&Self>) -> Usage {
        let input = self.tokens.saturating_sub(self.remembered);
        let source = UsageSource::Provider;
        Usage { input, cached_read: self.remembered, source, ..Usage::default() }
    }
}
