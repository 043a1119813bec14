//! Turns a checked request and a behaviour into a response's head and steps.

use super::answer::compose;
use super::cache;
use super::error::Refusal;
use super::request::MessagesRequest;
use super::stream;
use crate::emulator::Behaviour;
use crate::emulator::answering::{self, buffered, retry_headers, streamed};
use crate::emulator::service::{Answer, Call, json_answer};
use crate::emulator::state::lock;

pub(crate) fn messages(
    call: &Call<'_>,
    key: &str,
    request: &MessagesRequest,
    behaviour: &Behaviour,
) -> Result<Answer, Refusal> {
    if let Some(answer) = special(call, behaviour)? {
        return Ok(answer);
    }
    let model = &request.model;
    let mut counted = call.shared.claude_cache(key, &model.id, |cached| {
        cache::count(&request.segments, model.cache_tokens_min, cached)
    });
    if behaviour.prompt_tokens.is_some() || behaviour.cached_tokens.is_some() {
        let read = behaviour.cached_tokens.unwrap_or(counted.read);
        let total = behaviour.prompt_tokens.unwrap_or(counted.total());
        counted = cache::Counted { input: total.saturating_sub(read), read, ..cache::Counted::default() };
    }
    let reply = compose(request, behaviour, call.number, counted);
    if let Some(fields) = &request.thread {
        lock(&call.shared.threads).keep(key, fields.clone(), &reply);
    }
    call.guard.note(|entry| {
        entry.billable = true;
        entry.prompt_tokens = counted.total();
        entry.cached_tokens = counted.read;
    });
    if request.stream == behaviour.wrong_form {
        let body = reply.whole(behaviour.usage);
        return Ok(buffered(&body, reply.output_tokens, behaviour)?);
    }
    Ok(streamed(stream::parts(&reply, behaviour, call.request_id), behaviour)?)
}

/// Responses that do not depend on the request.
pub(crate) fn special(call: &Call<'_>, behaviour: &Behaviour) -> Result<Option<Answer>, Refusal> {
    match behaviour.own_status() {
        Some(status) => {
            let refusal = Refusal::scripted(status, behaviour);
            call.guard.note(|entry| entry.error_code = Some(refusal.kind.clone()));
            Ok(Some(json_answer(status, retry_headers(behaviour), &refusal.body(call.request_id))))
        }
        None => Ok(answering::special(call.guard, behaviour)?),
    }
}
