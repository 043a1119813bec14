//! Going on with another model of the route after a stated failure, before anything of an answer is there.

use std::rc::Rc;
use std::sync::Arc;

use admit::{Call, Caller};
use bytes::Bytes;
use domain::{FallbackClass, FaultClass, ModelFallbackClass, Prompt};
use plan::{Attempt, PlannedFallback, next_model, rejected_model};

use crate::Deps;
use crate::context_use::tokens_of;
use crate::exchange::Exchange;
use crate::failover::FailoverState;
use crate::limits::ESTIMATE_EXCESS_PERCENT;
use crate::retry_loop::RetryLoop;

/// The other models of an exchange, and what is known of the failures of its current one. The journey and the
/// simulator both act on them.
pub struct ModelFallbacks {
    /// Those that were not left behind.
    rest: Vec<PlannedFallback>,
    fallback_on: Vec<FallbackClass>,
    /// Every failure of the current model so far was one that may pass.
    is_transient: bool,
    last: Option<FaultClass>,
    /// The failure for which the model before the current one was left.
    left_for: Option<FaultClass>,
    /// The request can't be translated for the current model.
    is_untranslatable: bool,
}

/// A prompt that is longer than a model's context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong {
    pub prompt_tokens: u64,
    pub context_tokens: u64,
}

impl TooLong {
    pub fn sentence(self) -> String {
        let Self { prompt_tokens, context_tokens } = self;
        format!(
            "the prompt has about {prompt_tokens} tokens, but the model's context window has {context_tokens}"
        )
    }
}

impl ModelFallbacks {
    /// `None` without another model, as for nearly every exchange.
    pub fn of(rest: Vec<PlannedFallback>, fallback_on: &[FallbackClass]) -> Option<Box<Self>> {
        if rest.is_empty() {
            return None;
        }
        Some(Box::new(Self {
            rest,
            fallback_on: fallback_on.to_vec(),
            is_transient: true,
            last: None,
            left_for: None,
            is_untranslatable: false,
        }))
    }

    /// An attempt of the current model failed, or a seat of it could not be called.
    pub fn note(&mut self, class: FaultClass) {
        self.is_transient &= ModelFallbackClass::of(class) == Some(ModelFallbackClass::Transient);
        self.last = Some(class);
    }

    /// Nothing could be sent to the current model. If the request can't be translated for one that it went on with, the next one
    /// of the same cause may take it; otherwise nothing more is tried.
    pub(crate) fn refuse(&mut self, class: FaultClass) {
        match self.left_for.filter(|_| class == FaultClass::Unsupported) {
            Some(left_for) => {
                (self.is_transient, self.last, self.is_untranslatable) = (true, Some(left_for), true);
            }
            None => self.rest.clear(),
        }
    }

    /// Whether a later model takes what this one can't for this reason.
    pub fn has(&self, on: ModelFallbackClass) -> bool {
        self.rest.iter().any(|one| one.on.contains(&on) && !one.attempts.is_empty())
    }

    /// The failure for which the current model may be left.
    pub fn cause(&self) -> Option<FaultClass> {
        let class = self.last?;
        let is_transient = ModelFallbackClass::of(class) == Some(ModelFallbackClass::Transient);
        (!is_transient || self.is_transient).then_some(class)
    }

    /// Leaves the current model after so many attempts, for the next that is for this failure: what it is, and the
    /// position among its seats. Nothing is known of its failures yet.
    pub fn leave(
        &mut self,
        class: FaultClass,
        tries: u32,
    ) -> Option<(ModelFallbackClass, PlannedFallback, FailoverState)> {
        let (on, next) = next_model(&mut self.rest, class, &self.fallback_on)?;
        (self.is_transient, self.last, self.is_untranslatable) = (true, None, false);
        self.left_for = Some(class);
        let failover = FailoverState::starting_at(self.fallback_on.clone(), &next.attempts).after(tries);
        Some((on, next, failover))
    }
}

impl Exchange {
    /// The full name of the attempt's model.
    pub(crate) fn model_of<'a>(&'a self, attempt: &'a Attempt) -> &'a Arc<str> {
        attempt.fallback_model().unwrap_or(&self.resolved_model)
    }
}

impl RetryLoop {
    /// Leaves models whose context the prompt exceeds, where a later one is for that: nothing is sent to them.
    pub(crate) fn leave_too_small(&mut self) {
        let on = ModelFallbackClass::ContextLength;
        while self.fallbacks.as_ref().is_some_and(|fallbacks| fallbacks.has(on)) {
            let exchange = Rc::clone(&self.exchange);
            let Some(attempt) = self.attempts.first() else { return };
            let (model, body) = (exchange.model_of(attempt), &self.held.body);
            let prompt = self.held.prompt.as_deref();
            let too_long =
                too_long(&exchange.call, &exchange.caller, model, attempt, (body, prompt), &exchange.deps);
            let Some(too_long) = too_long else { return };
            if !self.change_model(FaultClass::ContextLength, &too_long.sentence()) {
                return;
            }
        }
    }

    /// Goes on with another model after the current one failed, if the route has one for that and the request may be
    /// sent again.
    pub(crate) fn leave_model(&mut self) -> bool {
        let Some(class) = self.fallbacks.as_ref().and_then(|fallbacks| fallbacks.cause()) else {
            return false;
        };
        let exchange = &self.exchange;
        let failure = self.reported_failure.as_ref();
        if exchange.is_body_consumed() || failure.is_some_and(|failure| exchange.may_have_made(failure)) {
            return false;
        }
        let is_untranslatable = self.fallbacks.as_ref().is_some_and(|one| one.is_untranslatable);
        let why = match ModelFallbackClass::of(class) {
            _ if is_untranslatable => "the request can't be translated for it",
            Some(ModelFallbackClass::ContextLength) => "its provider says that the prompt is too long",
            Some(ModelFallbackClass::ContentPolicy) => "its provider refuses the content",
            _ => "all that could serve it failed",
        };
        if !self.change_model(class, why) {
            return false;
        }
        self.leave_too_small();
        true
    }

    fn change_model(&mut self, class: FaultClass, why: &str) -> bool {
        let Some(fallbacks) = &mut self.fallbacks else { return false };
        let Some(left) = self.attempts.get(self.failover.index()).or_else(|| self.attempts.first()) else {
            return false;
        };
        let Some((on, next, failover)) = fallbacks.leave(class, self.failover.tries()) else { return false };
        let from = self.exchange.model_of(left);
        let row = rejected_model(left.seat(), on, from, &next.model, why);
        self.tab.record_model_fallback(next.model, row);
        self.failover = failover;
        self.attempts = next.attempts.into_iter().map(Rc::new).collect();
        self.is_fitness_known = false;
        self.has_spilled = false;
        true
    }
}

/// Whether a prompt is longer than the context of an attempt's model: counted by its public tokenizer, else
/// estimated, and then only if it is longer by far. What can't be known beforehand, its provider says.
pub fn too_long(
    call: &Call,
    caller: &Caller,
    model: &str,
    attempt: &Attempt,
    (body, prompt): (&Bytes, Option<&Prompt>),
    deps: &Deps,
) -> Option<TooLong> {
    let catalogue = caller.snapshot().catalogue();
    let context_tokens = catalogue.model(model)?.context_tokens?;
    let prompt_bytes = call.request().prompt_bytes;
    // A token has a byte at least.
    if !call.spec().facts().is_conversation || prompt_bytes <= context_tokens {
        return None;
    }
    let (prompt_tokens, is_counted) = tokens_of(call, caller, attempt, (body, prompt), deps);
    let most = if is_counted {
        context_tokens
    } else {
        context_tokens.saturating_mul(100 + ESTIMATE_EXCESS_PERCENT) / 100
    };
    (prompt_tokens > most).then_some(TooLong { prompt_tokens, context_tokens })
}
