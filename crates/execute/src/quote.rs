//! What a call would cost at an attempt: the arithmetic of the ceiling, with an estimate of the prompt's tokens.

use admit::{Call, Caller};
use domain::{Charge, Nanos, Operation, Priced, Profile, Usage};
use ledger::{charge, least_reserved};
use operations::Subject;
use plan::Attempt;

use crate::Deps;
use crate::ceiling::{expected_input, most_used};
use crate::estimate::prompt_tokens;

/// A price that was computed before anything was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quote {
    /// The prompt's tokens as estimated, and the most that an answer can have.
    pub usage: Usage,
    /// What its payer would pay: the operator's price on an account, the provider's on a credential.
    pub total: Nanos,
    /// The part of it for the prompt.
    pub input: Nanos,
    /// The charge that budgets must have room for before it is sent.
    pub reserved: Charge,
}

/// The most that a call would cost at an attempt; `None` if that is unpriced, or not known before the end.
pub fn quote(
    call: &Call,
    caller: &Caller,
    resolved_model: &str,
    attempt: &Attempt,
    deps: &Deps,
) -> Option<Quote> {
    if is_open_ended(call) {
        return None;
    }
    let model = attempt.fallback_model().map_or(resolved_model, |model| model);
    let most = most_used(call, caller, model, call.body().len() as u64);
    let usage = Usage { input: estimated_input(call, caller, attempt, deps).min(most.input), ..most };
    let charged = |usage: &Usage, prompt_tokens| {
        let rates = attempt.rates_on(call.request().terms, prompt_tokens);
        charge(attempt.profile(), rates, attempt.markup_bps(), usage)
    };
    let whole = charged(&usage, usage.input);
    if whole.priced == Priced::Unpriced {
        return None;
    }
    let prompt = charged(&Usage { input: usage.input, ..Usage::default() }, usage.input);
    let expected = expected_input(call, caller, attempt, deps, (call.body(), None));
    let least = least_reserved(most, expected, call.request().stream);
    let paid = |charge: Charge| match attempt.profile() {
        Profile::ManagedProvider => charge.cost,
        Profile::Byok | Profile::Subscription | Profile::Byoc => charge.provider_cost,
    };
    Some(Quote { usage, total: paid(whole), input: paid(prompt), reserved: charged(&least, most.input) })
}

/// Whether what it makes is used up after its answer, by an amount that nothing in it bounds.
fn is_open_ended(call: &Call) -> bool {
    let makes = !call.names_stored() || call.derives_from_stored();
    matches!(call.spec().facts().subject, Subject::StoredObject(_))
        && makes
        && !matches!(call.operation(), Operation::File | Operation::CachedContent)
}

fn estimated_input(call: &Call, caller: &Caller, attempt: &Attempt, deps: &Deps) -> u64 {
    let counted = caller
        .snapshot()
        .catalogue()
        .vocabulary(attempt.upstream_model())
        .and_then(|vocabulary| prompt_tokens(call, call.body(), None, vocabulary));
    let ratio = || deps.estimates.ratios().of(attempt.provider(), attempt.upstream_model());
    counted.unwrap_or_else(|| ratio().prompt_tokens(call.request().prompt_bytes))
}
