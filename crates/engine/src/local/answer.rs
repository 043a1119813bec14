//! Turns the token events of a request's sequences into the events of its response: text, reasoning, tool
//! calls, logprobs and usage.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use domain::prompt::Json;
use domain::runtime::{GenerateRequest, Generation};
use domain::{Event, Fault, FaultClass, PartKind, Usage, UsageSource};
use prompts::{Begin, Detokenizer, Ending, ModelFormat, Offered, OutputParser, Vocabulary};
use serde::Serialize;
use tokio::sync::mpsc::Receiver;

use super::settings::Chance;
use crate::host::SequenceEvent;
use crate::request::{FinishReason, Refused};
use crate::sampler::SampledToken;

/// Why a request's adapter became unavailable.
pub(super) const ADAPTER_LEFT: &str =
    "The adapter was unloaded before the request started, or could not be read.";
/// The retry delay suggested when the queue is full.
const FULL_WAIT_MS: u64 = 1_000;

/// How the model's output is parsed.
#[derive(Debug, Clone, Default)]
pub(super) struct ParseOptions {
    pub manner: ModelFormat,
    pub offered: Arc<Offered>,
    /// The prompt ended inside a reasoning block.
    pub is_in_thought: bool,
    /// The prompt ended after a closed reasoning block: the template disabled reasoning.
    pub has_thought: bool,
    pub stops: Vec<String>,
}

impl ParseOptions {
    /// For raw completions, whose output is not parsed.
    pub(super) fn plain(request: &GenerateRequest) -> Self {
        Self { stops: request.prompt.sampling.stop.clone(), ..Self::default() }
    }
}

/// One of the `n` choices of a request.
struct Choice {
    number: u32,
    /// `None` once the choice is finished. Dropping the receiver cancels the sequence.
    receiver: Option<Receiver<SequenceEvent>>,
    speech: Option<OutputParser>,
    detokenizer: Detokenizer,
    tokens: u64,
    thought_tokens: u64,
    is_in_thought: bool,
}

pub(super) struct Answer {
    choices: Vec<Choice>,
    vocabulary: Arc<Vocabulary>,
    ready: VecDeque<Event>,
    prompt_tokens: u64,
    remembered: u64,
    has_logprobs: bool,
    has_started: bool,
    is_over: bool,
}

/// What the response depends on besides the token events.
pub(super) struct Making {
    pub prompt_tokens: usize,
    pub vocabulary: Arc<Vocabulary>,
    pub voice: ParseOptions,
    pub has_logprobs: bool,
    pub chance: Chance,
}

#[derive(Serialize)]
struct TokenLogprob {
    token: String,
    logprob: f32,
    bytes: Vec<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<Vec<TokenLogprob>>,
}

impl Answer {
    pub(super) fn new(receivers: Vec<Receiver<SequenceEvent>>, making: Making) -> Self {
        let Making { prompt_tokens, vocabulary, voice, has_logprobs, chance } = making;
        let choices = receivers.into_iter().zip(0..).map(|(receiver, number)| {
            let chance = Arc::clone(&chance);
            let begin = Begin {
                choice: number,
                manner: voice.manner,
                offered: Arc::clone(&voice.offered),
                is_in_thought: voice.is_in_thought,
                stops: voice.stops.clone(),
                new_id: Box::new(move || format!("call_{:016x}{:08x}", chance(), chance() >> 32)),
            };
            Choice {
                number,
                receiver: Some(receiver),
                speech: Some(OutputParser::new(begin)),
                detokenizer: Detokenizer::default(),
                tokens: 0,
                thought_tokens: 0,
                is_in_thought: voice.is_in_thought,
            }
        });
        Self {
            choices: choices.collect(),
            vocabulary,
            ready: VecDeque::new(),
            prompt_tokens: prompt_tokens as u64,
            remembered: 0,
            has_logprobs,
            has_started: false,
            is_over: false,
        }
    }

    fn usage(&self) -> Usage {
        let reasoning = self.choices.iter().map(|choice| choice.thought_tokens).sum();
        let all: u64 = self.choices.iter().map(|choice| choice.tokens).sum();
        Usage {
            input: if self.has_started { self.prompt_tokens - self.remembered } else { 0 },
            cached_read: self.remembered,
            output: all - reasoning,
            reasoning,
            source: UsageSource::Provider,
            ..Usage::default()
        }
    }

    fn take(&mut self, at: usize, event: SequenceEvent) -> Result<(), Fault> {
        match event {
            SequenceEvent::Refused(refused) => return Err(refusal(refused)),
            SequenceEvent::Scheduled { cached_tokens: remembered } => {
                if !std::mem::replace(&mut self.has_started, true) {
                    self.remembered = (remembered as u64).min(self.prompt_tokens);
                    // Some dialects report the prompt's usage at the start of the response.
                    self.ready.push_back(Event::Usage(self.usage()));
                    self.ready.push_back(Event::Start { id: None, model: None, created_unix_s: None });
                }
            }
            SequenceEvent::Token(drawn) => self.say(at, &drawn),
            // Only sent for passages.
            SequenceEvent::State(_) => {}
            SequenceEvent::End(FinishReason::Broken) => {
                return Err(lost(
                    "The model's output had values that aren't numbers (NaN), or the constraint exceeded its limits.",
                ));
            }
            SequenceEvent::End(FinishReason::NoAdapter) => {
                return Err(lost(ADAPTER_LEFT));
            }
            SequenceEvent::End(end) => {
                let ending = if end == FinishReason::Length { Ending::Length } else { Ending::Own };
                self.end(at, ending);
            }
        }
        Ok(())
    }

    fn say(&mut self, at: usize, drawn: &SampledToken) {
        let Some(choice) = self.choices.get_mut(at) else { return };
        if self.has_logprobs {
            let tokens = [token_logprob(&self.vocabulary, drawn)];
            let tokens = Json(serde_json::to_string(&tokens).unwrap_or_default());
            self.ready.push_back(Event::Logprobs { choice: choice.number, tokens });
        }
        choice.tokens += 1;
        choice.thought_tokens += u64::from(choice.is_in_thought);
        let text = choice.detokenizer.push(self.vocabulary.bytes(drawn.token));
        let mut events = Vec::new();
        let is_over = choice.speech.as_mut().is_some_and(|speech| speech.push(&text, &mut events));
        choice.note(&events);
        self.ready.extend(events);
        if is_over {
            self.end(at, Ending::Own);
        }
    }

    fn end(&mut self, at: usize, ending: Ending) {
        let Some(choice) = self.choices.get_mut(at) else { return };
        choice.receiver = None;
        let Some(mut speech) = choice.speech.take() else { return };
        let mut events = Vec::new();
        speech.push(&std::mem::take(&mut choice.detokenizer).end(), &mut events);
        speech.end(ending, &mut events);
        self.ready.extend(events);
    }
}

impl Choice {
    fn note(&mut self, events: &[Event]) {
        for event in events {
            match event {
                Event::Begin { kind, .. } => self.is_in_thought = matches!(kind, PartKind::Thought { .. }),
                Event::End { .. } => self.is_in_thought = false,
                _ => {}
            }
        }
    }
}

impl Generation for Answer {
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Event, Fault>>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(event)));
            }
            if self.is_over {
                return Poll::Ready(None);
            }
            if self.choices.iter().all(|choice| choice.receiver.is_none()) {
                let usage = self.usage();
                self.ready.extend([Event::Usage(usage), Event::Done]);
                self.is_over = true;
                continue;
            }
            let mut waits = true;
            for at in 0..self.choices.len() {
                let Some(receiver) = self.choices.get_mut(at).and_then(|choice| choice.receiver.as_mut())
                else {
                    continue;
                };
                let taken = match receiver.poll_recv(cx) {
                    Poll::Pending => continue,
                    Poll::Ready(Some(event)) => self.take(at, event),
                    Poll::Ready(None) => Err(lost("The model's thread ended.")),
                };
                waits = false;
                if let Err(fault) = taken {
                    self.is_over = true;
                    return Poll::Ready(Some(Err(fault)));
                }
            }
            // The events may not have produced output yet. Return `Pending` only if no receiver had any,
            // since only then is this task woken again.
            if waits {
                return Poll::Pending;
            }
        }
    }

    fn usage(self: Pin<&Self>) -> Usage {
        self.get_ref().usage()
    }
}

fn token_logprob(vocabulary: &Vocabulary, drawn: &SampledToken) -> TokenLogprob {
    let one = |token: u32, logprob: f32, top_logprobs| {
        let bytes = vocabulary.bytes(token).to_vec();
        TokenLogprob { token: String::from_utf8_lossy(&bytes).into_owned(), logprob, bytes, top_logprobs }
    };
    let others = drawn.others.iter().map(|(token, logprob)| one(*token, *logprob, None));
    one(drawn.token, drawn.logprob, Some(others.collect()))
}

pub(super) fn refusal(refused: Refused) -> Fault {
    match refused {
        Refused::Full => {
            let message = "The request queue of this model is full.";
            let fault = Fault::new(FaultClass::Limited, "queue_full", message);
            fault.retry_after_ms(FULL_WAIT_MS).fix("Send the request again in a moment.")
        }
        Refused::TooLong { tokens, most } => {
            let message = format!(
                "The prompt has {tokens} tokens, but the context window has {most}, including the answer."
            );
            let fault = Fault::new(FaultClass::ContextLength, "context_length_exceeded", message);
            fault.param("messages").fix("Shorten the prompt.")
        }
        Refused::NoAdapter => {
            let message = "The adapter that the request names isn't registered.";
            let fault = Fault::new(FaultClass::NotFound, "adapter_not_found", message);
            fault
                .param("model")
                .fix("List the adapters at /v1/adapters, or use the model without an adapter.")
        }
        Refused::AdapterNotResident => {
            let message = "An adapter in the answer's adapter timeline isn't loaded.";
            let fault = Fault::new(FaultClass::Conflict, "adapter_not_loaded", message);
            fault
                .param("metadata.hybrie.adapter_timeline")
                .fix("Load them first: POST /v1/adapters/warmup with their names and \"wait\": true.")
        }
        Refused::Empty => {
            let fault = Fault::new(FaultClass::BadRequest, "empty_prompt", "The prompt has no tokens.");
            fault.fix("Send a text.")
        }
    }
}

pub(super) fn lost(message: &'static str) -> Fault {
    Fault::new(FaultClass::Upstream, "engine_failed", message)
        .fix("Check the node's log, and send the request again.")
}
