//! Builds the request for one seat's provider: the client's own bytes or a translation,
//! with help for its prompt cache.

use std::rc::Rc;

use admit::Caller;
use bytes::Bytes;
use conversation::turns::TurnSignatures;
use decode::Call;
use domain::{CacheRecord, Fault, MissingFeatures, Prompt};
use plan::{Attempt, Seat};
use providers::{CacheHelp, ModelRequest, Outgoing, Provider, Target};

use crate::caching::CacheHints;
use crate::context_cache::ContextCare;
use crate::context_release;
use crate::exchange::{Exchange, HeldRequest};
use crate::keep_alive::KeepAliveCare;

/// A request, with what was done in it for the provider's cache.
pub(crate) struct Written {
    pub outgoing: Outgoing,
    pub caching: Option<CacheRecord>,
    pub context: Option<Box<ContextCare>>,
    pub keep_alive: Option<Box<KeepAliveCare>>,
}

pub(crate) fn write(
    exchange: &Exchange,
    held: &mut HeldRequest,
    attempt: &Attempt,
    provider: &dyn Provider,
    prompt: Option<&Prompt>,
) -> Result<Written, Box<Fault>> {
    let call = &exchange.call;
    let HeldRequest { body, are_prefixes_recorded, is_plain, .. } = held;
    let mut care = CacheHints::of(exchange, attempt, provider, are_prefixes_recorded);
    let inserts = match &mut care {
        Some(care) if prompt.is_none() => care.inserts_for_call(body),
        _ => Vec::new(),
    };
    let caller = &exchange.caller;
    let ask = ModelRequest { inserts: &inserts, prompt, ..request_for(call, caller, attempt, body) };
    let mut outgoing = generate(caller, attempt, provider, &ask)?;
    let help = outgoing.grammar.and_then(|grammar| provider.cache_help(grammar));
    if help == Some(CacheHelp::Named) && !exchange.keeps_contexts(attempt.profile()) {
        context_release::release(exchange, attempt);
    }
    let Some(mut care) = care else {
        return Ok(Written { outgoing, caching: None, context: None, keep_alive: None });
    };
    if let (Some(_), Some(grammar)) = (prompt, outgoing.grammar) {
        let written = joined(std::mem::take(&mut outgoing.body));
        let inserts = care.inserts_for_body(grammar, &written);
        outgoing.body = dialects::insert(&written, &inserts);
    }
    outgoing.headers.extend(care.header(&outgoing.headers));
    let context = if *is_plain { None } else { put_context(&mut care, &mut outgoing) };
    Ok(Written { outgoing, caching: care.record(), context, keep_alive: care.take_keep_alive() })
}

/// Puts a cache by name in the place of the prompt's beginning, where there is one.
fn put_context(care: &mut CacheHints<'_>, outgoing: &mut Outgoing) -> Option<Box<ContextCare>> {
    let grammar = outgoing.grammar.filter(|grammar| care.seeks_context(*grammar))?;
    let written = joined(std::mem::take(&mut outgoing.body));
    let found = care.find_context(grammar, &written);
    let (body, care) = found.map_or((None, None), |found| (found.body, Some(found.care)));
    outgoing.body = vec![body.unwrap_or(written)];
    care.map(Box::new)
}

/// What this seat's provider is to be sent for a call, before caches and translations add to it.
fn request_for<'a>(call: &'a Call, caller: &Caller, attempt: &Attempt, body: &'a Bytes) -> ModelRequest<'a> {
    ModelRequest {
        operation: call.operation(),
        grammar: call.dialect().grammar(),
        request: call.request(),
        body,
        native_headers: call.native_headers(),
        is_lenient: call.is_lenient(),
        drops_hosted_tools: attempt.drops_hosted_tools(),
        shared_by: match attempt.seat() {
            Seat::Managed(_) => Some(caller.workspace().id),
            Seat::Byok(_) | Seat::Byoc(_) => None,
        },
        inserts: &[],
        prompt: None,
    }
}

fn generate(
    caller: &Caller,
    attempt: &Attempt,
    provider: &dyn Provider,
    ask: &ModelRequest<'_>,
) -> Result<Outgoing, Box<Fault>> {
    let catalogue = caller.snapshot().catalogue();
    let target = Target {
        base_url: attempt.base_url(),
        upstream_model: attempt.upstream_model(),
        hosting: attempt.seat().hosting(),
        abilities: &|| catalogue.abilities(attempt.provider(), attempt.known_model()),
        quirks: quirks(attempt.seat()),
    };
    provider.generate(&target, ask)
}

/// The client's parameters that this seat's provider would not be sent.
///
/// # Errors
/// What the provider can't be asked for.
pub(crate) fn would_drop(
    call: &Call,
    body: &Bytes,
    caller: &Caller,
    attempt: &Attempt,
    is_spoken: bool,
) -> Result<Vec<String>, Box<Fault>> {
    let prompt = if is_spoken { None } else { read_prompt(call, body, attempt)? };
    let ask = ModelRequest { prompt: prompt.as_ref(), ..request_for(call, caller, attempt, body) };
    Ok(generate(caller, attempt, providers::provider(attempt.provider()), &ask)?.dropped)
}

/// The request in the dialect-neutral form; `None` if it is not a conversation.
fn read_prompt(call: &Call, body: &Bytes, attempt: &Attempt) -> Result<Option<Prompt>, Box<Fault>> {
    let facts = call.spec().facts();
    if !facts.is_conversation {
        return Ok(None);
    }
    let mut prompt = dialects::read_prompt(call.dialect().grammar(), body, call.request())?;
    prompt.drops_hosted_tools = attempt.drops_hosted_tools();
    if facts.only_counts {
        dialects::forget_answer(&mut prompt);
    }
    Ok(Some(prompt))
}

/// Joins the pieces of a body.
fn joined(mut pieces: Vec<Bytes>) -> Bytes {
    match pieces.len() {
        1 => pieces.swap_remove(0),
        _ => Bytes::from(pieces.concat()),
    }
}

/// The request in the dialect-neutral form, with the turn state that this provider must see again. `None` if
/// it is not a conversation.
pub(crate) async fn prompt_for(
    exchange: &Exchange,
    held: &mut HeldRequest,
    attempt: &Attempt,
) -> Result<Option<Rc<Prompt>>, Box<Fault>> {
    let (call, caller) = (&exchange.call, &exchange.caller);
    let mut prompt = match &held.prompt {
        Some(prompt) => Rc::clone(prompt),
        None => match read_prompt(call, &held.body, attempt)? {
            Some(prompt) => Rc::clone(held.prompt.insert(Rc::new(prompt))),
            None => return Ok(None),
        },
    };
    let calls = conversation::turns::unsigned_calls(&prompt);
    if calls.is_empty() {
        return Ok(Some(prompt));
    }
    let found = exchange.deps.turns.find(caller.workspace().id, caller.project().id, calls).await;
    let states = found.iter().flatten().filter_map(|content| TurnSignatures::decode(content));
    let own = states
        .filter(|state| state.provider == attempt.provider() && state.model == attempt.upstream_model());
    let own: Vec<_> = own.collect();
    if !own.is_empty() {
        conversation::turns::restore_signatures(Rc::make_mut(&mut prompt), &own);
    }
    Ok(Some(prompt))
}

/// What the server is known not to accept. Pooled accounts are not probed.
fn quirks(seat: &Seat) -> MissingFeatures {
    match seat {
        Seat::Byok(credential) => credential.quirks,
        Seat::Byoc(node) => node.quirks,
        Seat::Managed(_) => MissingFeatures::default(),
    }
}
