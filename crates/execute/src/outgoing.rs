//! Builds the request for one seat's provider: the client's own bytes or a translation,
//! with help for its prompt cache.

use std::rc::Rc;

use bytes::Bytes;
use conversation::turns::TurnSignatures;
use domain::{Abilities, CacheRecord, Fault, MissingFeatures, Prompt};
use plan::{Attempt, Seat};
use providers::{ModelRequest, Outgoing, Provider, Target};

use crate::caching::CacheHints;
use crate::exchange::{Exchange, HeldRequest};

/// Writes the request, and returns what was done in it for the provider's cache.
pub(crate) fn write(
    exchange: &Exchange,
    held: &mut HeldRequest,
    attempt: &Attempt,
    provider: &dyn Provider,
    prompt: Option<&Prompt>,
) -> Result<(Outgoing, Option<CacheRecord>), Box<Fault>> {
    let call = &exchange.call;
    let HeldRequest { body, are_prefixes_recorded, .. } = held;
    let mut care = CacheHints::of(exchange, attempt, provider, are_prefixes_recorded);
    let inserts = match &mut care {
        Some(care) if prompt.is_none() => care.inserts_for_call(body),
        _ => Vec::new(),
    };
    let ask = ModelRequest {
        operation: call.operation(),
        grammar: call.dialect().grammar(),
        request: call.request(),
        body,
        native_headers: call.native_headers(),
        is_lenient: call.is_lenient(),
        shared_by: match attempt.seat() {
            Seat::Managed(_) => Some(exchange.caller.workspace().id),
            Seat::Byok(_) | Seat::Byoc(_) => None,
        },
        inserts: &inserts,
        prompt,
    };
    let target = Target {
        base_url: attempt.base_url(),
        upstream_model: attempt.upstream_model(),
        hosting: attempt.seat().hosting(),
        abilities: &|| abilities(exchange, attempt),
        quirks: quirks(attempt.seat()),
    };
    let mut outgoing = provider.generate(&target, &ask)?;
    let Some(mut care) = care else { return Ok((outgoing, None)) };
    if let (Some(_), Some(grammar)) = (prompt, outgoing.grammar) {
        let written = joined(std::mem::take(&mut outgoing.body));
        let inserts = care.inserts_for_body(grammar, &written);
        outgoing.body = dialects::insert(&written, &inserts);
    }
    outgoing.headers.extend(care.header(&outgoing.headers));
    Ok((outgoing, care.record()))
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
    if !call.spec().facts().is_conversation {
        return Ok(None);
    }
    let mut prompt = match &held.prompt {
        Some(prompt) => Rc::clone(prompt),
        None => {
            let mut prompt = dialects::read_prompt(call.dialect().grammar(), &held.body, call.request())?;
            if call.spec().facts().only_counts {
                dialects::forget_answer(&mut prompt);
            }
            Rc::clone(held.prompt.insert(Rc::new(prompt)))
        }
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

/// What is known about the model at its provider.
fn abilities(exchange: &Exchange, attempt: &Attempt) -> Abilities {
    exchange.caller.snapshot().catalogue().abilities(attempt.provider(), attempt.known_model())
}

/// What the server is known not to accept. Pooled accounts are not probed.
fn quirks(seat: &Seat) -> MissingFeatures {
    match seat {
        Seat::Byok(credential) => credential.quirks,
        Seat::Byoc(node) => node.quirks,
        Seat::Managed(_) => MissingFeatures::default(),
    }
}
