//! Passages that are read for one request, a few at a time: what the model makes of each is gathered until all are read.
//! What all of them begin with is read once: the first one goes before the others, which find it.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use domain::reckoning::Reckoning;
use domain::runtime::Continues;
use domain::{Fault, FaultClass, Usage, UsageSource};
use tokio::sync::mpsc::UnboundedReceiver;

use super::answer::{ADAPTER_LEFT, lost, refusal};
use crate::adapters::AdapterId;
use crate::host::{Asking, Reading, Told};
use crate::pool::BLOCK;
use crate::runner::{Beginning, End, Passage, Refused};
use crate::waiting::Group;
use crate::{EngineError, Vocabulary};

/// So many of one request are read beside each other: enough to fill steps, and few enough that others have their turns.
const AT_ONCE: usize = 16;
/// So many tokens must not have to be read again for the first one to be read alone: a step of its own is not for nothing.
const WORTH: usize = 2 * BLOCK;

/// Who reads, and for whom.
pub(super) struct Readers {
    pub asking: Asking,
    pub vocabulary: Arc<Vocabulary>,
    pub group: Group,
    pub adapter: Option<AdapterId>,
    /// How many tokens one may have.
    pub longest: usize,
    /// How many tokens the model knows.
    pub known: usize,
    /// What a client calls the list that they came in.
    pub param: &'static str,
}

/// What is to be read.
pub(super) enum Given {
    Tokens(Vec<u32>),
    /// It gets the signs before and behind it that the model's tokenizer sets.
    Text(String),
    /// A form with somebody's texts in it. Signs are the form's alone.
    Filled(Filled),
}

/// A text, and which parts of it somebody wrote.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Filled {
    pub text: String,
    pub theirs: Vec<Range<usize>>,
}

/// Makes something of what the model made of each passage.
pub(super) type Then<T> = Box<dyn FnOnce(Vec<Vec<f32>>) -> T + Send>;

pub(super) struct Passages<T> {
    readers: Readers,
    /// What waits to be read, with its place.
    waiting: VecDeque<(usize, Vec<u32>)>,
    open: Vec<Open>,
    states: Vec<Vec<f32>>,
    /// What all begin with, where there is enough of it.
    common: Option<(Reading, usize)>,
    /// The one that goes before the others is not over yet.
    is_led: bool,
    /// The tokens of those that had their turn, and those of them that were remembered.
    tokens: u64,
    remembered: u64,
    then: Option<Then<T>>,
}

struct Open {
    place: usize,
    tokens: Vec<u32>,
    told: UnboundedReceiver<Told>,
}

/// What comes of what was told of a passage.
enum Next {
    More,
    Over,
    /// It found no place, and waits until another of the request is over.
    Later,
}

impl From<Continues> for Given {
    fn from(text: Continues) -> Self {
        match text {
            Continues::Tokens(tokens) => Self::Tokens(tokens),
            Continues::Text(text) => Self::Text(text),
        }
    }
}

impl<T> Passages<T> {
    /// Makes tokens of all texts before any is read: who sent one that is too long is told at once. Takes its time, so that it
    /// is for a thread that serves nobody; it stops where nobody waits for it any more.
    pub(super) fn new(
        readers: Readers,
        texts: impl Iterator<Item = Given>,
        then: Then<T>,
        is_wanted: &dyn Fn() -> bool,
    ) -> Result<Self, Fault> {
        let mut waiting = VecDeque::new();
        for (place, text) in texts.enumerate() {
            if !is_wanted() {
                return Err(lost("Nobody waits for the answer."));
            }
            waiting.push_back((place, readers.tokens(place, text)?));
        }
        let (states, open) = (vec![Vec::new(); waiting.len()], Vec::new());
        let (common, is_led, tokens, remembered, then) = (None, false, 0, 0, Some(then));
        let mut passages = Self { readers, waiting, open, states, common, is_led, tokens, remembered, then };
        passages.compare();
        Ok(passages)
    }

    /// Looks for what all begin with.
    fn compare(&mut self) {
        let mut each = self.waiting.iter().map(|(_, tokens)| tokens.as_slice());
        let Some(first) = each.next() else { return };
        let alike = |other: &[u32]| first.iter().zip(other).take_while(|(one, other)| one == other).count();
        // Of each, something is left to be read.
        let least = each.clone().fold(first.len(), |least, other| least.min(other.len())).saturating_sub(1);
        let common = each.map(alike).fold(least, usize::min) / BLOCK * BLOCK;
        if common * self.waiting.len().saturating_sub(1) >= WORTH {
            self.common = Some((self.readers.asking.reading(), common));
            self.is_led = true;
        }
    }

    /// Has more of them read, as far as they may be.
    fn fill(&mut self) {
        let at_once = if self.is_led { 1 } else { AT_ONCE };
        while self.open.len() < at_once {
            let Some((place, tokens)) = self.waiting.pop_front() else { return };
            let (group, adapter) = (self.readers.group, self.readers.adapter.clone());
            let common = self.common.as_ref();
            let beginning =
                common.map(|(reading, tokens)| Beginning { reading: reading.number(), tokens: *tokens });
            let told =
                self.readers.asking.read(Passage { tokens: tokens.clone(), group, adapter, beginning });
            self.open.push(Open { place, tokens, told });
        }
    }

    /// Takes what was told of one.
    fn take(&mut self, at: usize, told: Option<Told>) -> Result<Next, Fault> {
        let is_alone = self.open.len() == 1;
        let Some(open) = self.open.get_mut(at) else { return Ok(Next::More) };
        match told {
            None => Err(lost("The model's thread ended.")),
            Some(Told::Begun { remembered }) => {
                self.tokens += open.tokens.len() as u64;
                self.remembered += remembered as u64;
                Ok(Next::More)
            }
            Some(Told::State(state)) => {
                if let Some(place) = self.states.get_mut(open.place) {
                    *place = state;
                }
                Ok(Next::More)
            }
            Some(Told::Token(_)) => Ok(Next::More),
            Some(Told::End(End::Stop | End::Length)) => Ok(Next::Over),
            Some(Told::End(End::Broken)) => Err(lost("The model made nothing of a text that is a number.")),
            Some(Told::End(End::NoAdapter)) => Err(lost(ADAPTER_LEFT)),
            // Others of this request have their places: it comes back when one of those is over.
            Some(Told::Refused(Refused::Full)) if !is_alone => Ok(Next::Later),
            Some(Told::Refused(refused)) => Err(refusal(refused)),
        }
    }

    /// Takes what was told meanwhile. `true` where nothing was.
    fn listen(&mut self, cx: &mut Context<'_>) -> Result<bool, Fault> {
        let (mut waits, mut at, mut has_ended) = (true, 0, self.open.is_empty());
        while let Some(open) = self.open.get_mut(at) {
            let Poll::Ready(told) = open.told.poll_recv(cx) else {
                at += 1;
                continue;
            };
            waits = false;
            match self.take(at, told)? {
                Next::More => {}
                Next::Over => {
                    self.open.swap_remove(at);
                    (has_ended, self.is_led) = (true, false);
                }
                Next::Later => {
                    let open = self.open.swap_remove(at);
                    self.waiting.push_front((open.place, open.tokens));
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
    fn tokens(&self, place: usize, text: Given) -> Result<Vec<u32>, Fault> {
        let tokens = match text {
            Given::Tokens(tokens) => Ok(tokens),
            Given::Text(text) => self.vocabulary.signed(&text, self.longest),
            Given::Filled(Filled { text, theirs }) => {
                let is_text = |sign: Range<usize>| {
                    theirs.iter().any(|theirs| theirs.start < sign.end && sign.start < theirs.end)
                };
                self.vocabulary.tokens_with_text(&text, self.longest, is_text)
            }
        };
        let tokens = tokens.map_err(|error| self.unreadable(place, &error))?;
        self.check(place, &tokens)?;
        Ok(tokens)
    }

    fn at(&self, place: usize) -> String {
        format!("{}[{place}]", self.param)
    }

    fn unreadable(&self, place: usize, error: &EngineError) -> Fault {
        if let EngineError::TooLong { most } = error {
            return self.too_long(place, format!("more tokens than the {most} that a text can have here"));
        }
        let fault = Fault::new(FaultClass::BadRequest, "unreadable_text", error.to_string());
        fault.param(self.at(place)).fix("Send text in UTF-8.")
    }

    fn too_long(&self, place: usize, what: impl fmt::Display) -> Fault {
        let at = self.at(place);
        let message = format!("\"{at}\" has {what}.");
        let fault = Fault::new(FaultClass::ContextLength, "context_length_exceeded", message);
        fault.param(at).fix("Send it in pieces.")
    }

    fn check(&self, place: usize, tokens: &[u32]) -> Result<(), Fault> {
        let at = self.at(place);
        if tokens.is_empty() {
            let message = format!("\"{at}\" has no token.");
            let fault = Fault::new(FaultClass::BadRequest, "empty_prompt", message);
            return Err(fault.param(at).fix("Send a text, or leave it out."));
        }
        if tokens.len() > self.longest {
            let what = format!("{} tokens, and a text can have {} here", tokens.len(), self.longest);
            return Err(self.too_long(place, what));
        }
        if let Some(wrong) = tokens.iter().position(|token| *token as usize >= self.known) {
            let message = format!("\"{at}[{wrong}]\" is no token of this model.");
            let fault = Fault::new(FaultClass::BadRequest, "invalid_value", message);
            let fix = format!("Send numbers below {}, or the text itself.", self.known);
            return Err(fault.param(format!("{at}[{wrong}]")).fix(fix));
        }
        Ok(())
    }
}

impl<T> Reckoning for Passages<T> {
    type Told = T;

    fn poll_told(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, Fault>> {
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

    fn used(self: Pin<&Self>) -> Usage {
        let input = self.tokens.saturating_sub(self.remembered);
        let source = UsageSource::Provider;
        Usage { input, cached_read: self.remembered, source, ..Usage::default() }
    }
}
