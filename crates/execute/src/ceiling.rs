//! The most that an answer can use, which is reserved before the request is sent.

use admit::{Call, Caller};
use bytes::Bytes;
use conversation::batch::BatchModels;
use conversation::prompt_text::{each_text, is_text_alone};
use domain::limits::BODY_BYTES_MAX;
use domain::{Price, Prompt, Rates, Usage};
use operations::{CallSize, ModelLimits, RequestSource};
use plan::Attempt;
use snapshot::Snapshot;

use crate::Deps;
use crate::estimate::prompt_tokens;
use crate::exchange::Exchange;
use crate::limits::{COUNT_MARGIN_PERCENT, LEARNED_MARGIN_PERCENT, MARGIN_TOKENS};

/// The most that an answer of this attempt can use.
pub(crate) fn ceiling(exchange: &Exchange, attempt: &Attempt, body: &[u8]) -> Usage {
    most_used(&exchange.call, &exchange.caller, exchange.model_of(attempt), body.len() as u64)
}

/// The most that an answer to this call can use, with a body of so many bytes.
pub(crate) fn most_used(call: &Call, caller: &Caller, resolved_model: &str, body_bytes: u64) -> Usage {
    let model = caller.snapshot().catalogue().model(resolved_model);
    let limits = model.map(|model| ModelLimits::known(model.context_tokens, model.output_tokens_max));
    call.spec().ceiling(&size_of(call, body_bytes), limits.unwrap_or_default())
}

/// The most that the request in a line of a batch's file can use, and its model: `model`, if all lines have one. `None` for no request.
pub fn most_used_by_line(
    (line, endpoint): (&Bytes, &str),
    (snapshot, provider, model): (&Snapshot, &str, Option<&str>),
) -> Option<(String, Usage)> {
    let (operation, grammar) = dialects::batch_operation(endpoint);
    let spec = operations::of(operation);
    let (request, body_bytes) = if dialects::file_batch_operation(endpoint).is_some() {
        let body = dialects::batch_input_body(line)?;
        (spec.read_request(RequestSource { grammar, body: &body, addressed: None }).ok()?, body.len() as u64)
    } else {
        (dialects::face(grammar).read_batch_request(line)?, 0)
    };
    let model = model.unwrap_or(&request.model);
    let limits = snapshot.catalogue().named_at(provider, model);
    let limits = limits.map(|model| ModelLimits::known(model.context_tokens, model.output_tokens_max));
    let size = CallSize {
        request: &request,
        body_bytes,
        is_arriving: false,
        form_bytes_max: body_bytes,
        received_unix_ms: 0,
    };
    Some((model.to_owned(), spec.ceiling(&size, limits.unwrap_or_default())))
}

/// The tokens that a prompt of text is expected to have at most, with a margin: counted by the model's public tokenizer, or by
/// the bytes per token learned for it. `None` where neither says anything, nor of what is not text or not in the request: there
/// the ceiling counts.
pub(crate) fn expected_input(
    call: &Call,
    caller: &Caller,
    attempt: &Attempt,
    deps: &Deps,
    (body, prompt): (&Bytes, Option<&Prompt>),
) -> Option<u64> {
    let request = call.request();
    if !call.spec().facts().is_conversation || request.stored.is_some() || !request.files.is_empty() {
        return None;
    }
    let read;
    let prompt = match prompt {
        Some(prompt) => prompt,
        None => {
            read = dialects::read_prompt(call.dialect().grammar(), body, request).ok()?;
            &read
        }
    };
    if !is_text_alone(prompt) {
        return None;
    }
    let counted = caller
        .snapshot()
        .catalogue()
        .vocabulary(attempt.upstream_model())
        .and_then(|vocabulary| prompt_tokens(call, body, Some(prompt), vocabulary))
        .map(|tokens| (tokens, COUNT_MARGIN_PERCENT));
    let learned = || {
        let mut bytes = 0;
        each_text(prompt, &mut |text| bytes += text.len() as u64);
        let ratio = deps.estimates.ratios().of(attempt.provider(), attempt.upstream_model());
        ratio.learned_prompt_tokens(bytes).map(|tokens| (tokens, LEARNED_MARGIN_PERCENT))
    };
    let (tokens, percent) = counted.or_else(learned)?;
    Some(tokens.saturating_add(tokens.saturating_mul(percent) / 100).saturating_add(MARGIN_TOKENS))
}

/// The prices of a new batch: at the provider's discount, and of several models those of the dearest. `None` where the provider
/// publishes no discount.
pub(crate) fn batch_rates(exchange: &Exchange, attempt: &Attempt, batch: &BatchModels) -> Option<Rates> {
    let (snapshot, provider) = (exchange.caller.snapshot(), attempt.provider());
    let names = batch.models.iter().filter_map(|model| model.upstream_name.as_deref());
    let others = names
        .filter(|name| *name != attempt.upstream_model())
        .filter_map(|name| batch_price(snapshot, (provider, attempt.seat().pricing()), name, 0).1);
    let percent = snapshot.catalogue().batch_percent(provider, attempt.upstream_model());
    let own = attempt.rates().zip(percent).map(|(rates, percent)| rates.percent(percent));
    own.into_iter().chain(others).reduce(dearest)
}

/// Prices of which those of text are as high as both.
pub(crate) fn dearest(one: Rates, other: Rates) -> Rates {
    Rates {
        input: Price(one.input.0.max(other.input.0)),
        output: Price(one.output.0.max(other.output.0)),
        ..one
    }
}

/// A model's public name, and the price of a batched request to it: its owner's, or else the catalogue's.
pub fn batch_price(
    snapshot: &Snapshot,
    (provider, pricing): (&str, &[(String, Rates)]),
    upstream_model: &str,
    prompt_tokens: u64,
) -> (String, Option<Rates>) {
    let catalogue = snapshot.catalogue();
    let known = catalogue.named_at(provider, upstream_model);
    let name = known.map_or_else(|| format!("{provider}/{upstream_model}"), |model| model.full.to_string());
    let own = pricing.iter().find(|(own, _)| *own == name || own == upstream_model);
    let rates = own.map(|(_, rates)| *rates).or_else(|| known?.offer(provider)?.rates_for(prompt_tokens));
    // Where the provider publishes no batch discount, the price is unknown.
    let percent = catalogue.batch_percent(provider, upstream_model);
    (name, rates.zip(percent).map(|(rates, percent)| rates.percent(percent)))
}

impl Exchange {
    /// What bounds its usage.
    pub(crate) fn size(&self, body: &[u8]) -> CallSize<'_> {
        size_of(&self.call, body.len() as u64)
    }
}

fn size_of(call: &Call, body_bytes: u64) -> CallSize<'_> {
    CallSize {
        request: call.request(),
        body_bytes,
        is_arriving: call.upload().is_some(),
        form_bytes_max: form_bytes_max(call),
        received_unix_ms: call.received_unix_ms(),
    }
}

/// The most bytes that a form can have: the limit for bodies, if its length was not announced.
fn form_bytes_max(call: &Call) -> u64 {
    let held = call.request().form().map_or(0, |form| form.held_bytes);
    let most = BODY_BYTES_MAX as u64;
    let Some(upload) = call.upload() else { return held };
    let left = upload.left().unwrap_or(most);
    held.saturating_add(upload.taken()).saturating_add(left).min(most)
}
