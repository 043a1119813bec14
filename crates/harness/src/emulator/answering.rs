//! Turns a checked request and a behaviour into a response's head and steps.

use bytes::Bytes;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::format_description;

use super::behaviour::{At, Behaviour, CannedBody};
use super::body::Step;
use super::frames;
use super::play::{self, Part, PartRole};
use super::service::{Answer, json_answer, unix_seconds};
use super::squeeze;
use super::state::{Guard, Shared};
use crate::members::put;
use crate::openai::answer::{Circumstances, Reply, compose, whole};
use crate::openai::embeddings::{self, EmbeddingsRequest};
use crate::openai::error::ApiError;
use crate::openai::flavour::{CacheSpace, Flavour};
use crate::openai::request::ChatRequest;
use crate::openai::routes::OpenAiCall;
use crate::openai::{perf, stream, tokens};
use crate::{azure, mistral, together};

const HTML: &str =
    "<html><head><title>502 Bad Gateway</title></head><body><h1>Bad Gateway</h1></body></html>";

pub(crate) fn chat(
    call: &OpenAiCall<'_>,
    request: &mut ChatRequest,
    cache: &CacheSpace,
    behaviour: &Behaviour,
) -> Result<Answer, ApiError> {
    if let Some(answer) = special_as(call.flavour, call.guard, behaviour)? {
        return Ok(answer);
    }
    let reply = reply(call, request, cache, behaviour)?;
    bill(call.guard, &reply);
    if request.stream == behaviour.wrong_form {
        let mut body = whole(&reply, behaviour.usage);
        if request.perf_metrics {
            perf::write(&mut body, &reply);
        }
        match call.flavour {
            Flavour::Server(server) => server.change_whole(&mut body),
            Flavour::Azure => azure::change_whole(&mut body),
            Flavour::Mistral => mistral::change_whole(&mut body),
            Flavour::Together => together::change_whole(&mut body),
            Flavour::OpenAi | Flavour::Xai | Flavour::Fireworks => {}
        }
        let mut answer = buffered(&body, reply.completion_tokens, behaviour)?;
        answer.headers.extend(perf::headers(&reply));
        return Ok(answer);
    }
    streamed(stream::parts(&reply, request, behaviour), behaviour)
}

/// The model's response to a request, once its prompt was found to fit the context.
pub(crate) fn reply(
    call: &OpenAiCall<'_>,
    request: &mut ChatRequest,
    cache: &CacheSpace,
    behaviour: &Behaviour,
) -> Result<Reply, ApiError> {
    let mut prompt = tokens::prompt(&request.messages, &request.tools);
    if let Some(tokens) = cache.tokens_min {
        prompt.cache_tokens_min = tokens;
    }
    context(call.shared, request, prompt.tokens)?;
    let known = Circumstances {
        number: call.number(),
        created: unix_seconds(),
        prompt_tokens: prompt.tokens,
        cached_tokens: call.shared.remember(&cache.name, &request.model, &prompt),
    };
    Ok(compose(request, behaviour, &known))
}

/// Records the call's cost: it is billed from here on, whatever becomes of its response.
pub(crate) fn bill(guard: &Guard, reply: &Reply) {
    guard.note(|entry| {
        entry.billable = true;
        entry.prompt_tokens = reply.prompt_tokens;
        entry.cached_tokens = reply.cached_tokens;
    });
}

pub(crate) fn streamed(parts: Vec<Part>, behaviour: &Behaviour) -> Result<Answer, ApiError> {
    let mut headers = head("text/event-stream; charset=utf-8", behaviour);
    headers.push(("cache-control".to_owned(), "no-cache".to_owned()));
    played(parts, headers, behaviour)
}

/// The response that plays a stream's parts as scripted.
pub(crate) fn played(
    mut parts: Vec<Part>,
    headers: Vec<(String, String)>,
    behaviour: &Behaviour,
) -> Result<Answer, ApiError> {
    if behaviour.gzip {
        parts = squeeze::parts(parts).map_err(|error| broken(&error))?;
    }
    let roles: Vec<PartRole> = parts.iter().map(|part| part.role).collect();
    let steps = play::steps(&parts, behaviour, |at| frames::index(&roles, at));
    Ok(Answer { status: 200, headers, steps })
}

pub(crate) fn embeddings(
    call: &OpenAiCall<'_>,
    request: &EmbeddingsRequest,
    behaviour: &Behaviour,
) -> Result<Answer, ApiError> {
    if let Some(answer) = special_as(call.flavour, call.guard, behaviour)? {
        return Ok(answer);
    }
    call.guard.note(|entry| {
        entry.billable = true;
        entry.prompt_tokens = request.prompt_tokens;
    });
    let mut body = embeddings::answer(request);
    if call.flavour == Flavour::Mistral {
        put(&mut body, "id", format!("embd-{}", call.number()));
    }
    buffered(&body, 0, behaviour)
}

fn context(shared: &Shared, request: &mut ChatRequest, prompt_tokens: u64) -> Result<(), ApiError> {
    let model = shared.config.models.iter().find(|model| model.id == request.model);
    let limit = model.map_or(u64::MAX, |model| model.context_tokens_max);
    let completion = request.tokens_max.unwrap_or(0);
    if prompt_tokens.saturating_add(completion) <= limit {
        return Ok(());
    }
    if request.truncates && prompt_tokens < limit {
        request.tokens_max = Some(limit - prompt_tokens);
        return Ok(());
    }
    Err(ApiError::bad(format!(
        "This model's maximum context length is {limit} tokens. However, you requested {} tokens ({prompt_tokens} in \
         the messages, {completion} in the completion). Please reduce the length of the messages or completion.",
        prompt_tokens.saturating_add(completion)
    ))
    .at("messages", "context_length_exceeded"))
}

/// Responses that do not depend on the request.
pub(crate) fn special(guard: &Guard, behaviour: &Behaviour) -> Result<Option<Answer>, ApiError> {
    special_as(Flavour::OpenAi, guard, behaviour)
}

/// As [`special`], with errors in a vendor's format.
pub(crate) fn special_as(
    flavour: Flavour,
    guard: &Guard,
    behaviour: &Behaviour,
) -> Result<Option<Answer>, ApiError> {
    if behaviour.bomb > 0 {
        let mut headers = head("application/json", behaviour);
        headers.push(("content-encoding".to_owned(), "gzip".to_owned()));
        let steps = squeeze::bomb(behaviour.bomb).map_err(|error| broken(&error))?;
        return Ok(Some(Answer { status: 200, headers, steps }));
    }
    if let Some(to) = &behaviour.redirect {
        let mut headers = head("text/html", behaviour);
        headers.push(("location".to_owned(), to.clone()));
        headers.push(("content-length".to_owned(), "0".to_owned()));
        return Ok(Some(Answer { status: 302, headers, steps: Vec::new() }));
    }
    if !behaviour.is_canned() {
        return Ok(None);
    }
    let status = behaviour.status.unwrap_or(200);
    let error = canned_error(status, behaviour, flavour);
    guard.note(|entry| entry.error_code.clone_from(&error.code));
    Ok(Some(canned_answer(status, &error, behaviour, flavour)))
}

fn canned_answer(status: u16, error: &ApiError, behaviour: &Behaviour, flavour: Flavour) -> Answer {
    let body = match behaviour.body.unwrap_or_default() {
        CannedBody::Html => return plain(status, "text/html", HTML, behaviour),
        CannedBody::Empty => return plain(status, "text/plain", "", behaviour),
        CannedBody::Openai => error.body(flavour),
        CannedBody::Text => json!({"error": error.message}),
        CannedBody::Detail => {
            json!({"detail": [{"loc": ["body"], "msg": error.message, "type": error.kind}]})
        }
        CannedBody::Message => {
            json!({"object": "error", "message": error.message, "type": error.kind, "code": status})
        }
    };
    json_answer(status, retry_headers(behaviour), &body)
}

pub(crate) fn plain(status: u16, media: &str, body: impl Into<Bytes>, behaviour: &Behaviour) -> Answer {
    let (mut headers, bytes) = (head(media, behaviour), body.into());
    headers.push(("content-length".to_owned(), bytes.len().to_string()));
    let steps = if bytes.is_empty() { Vec::new() } else { vec![Step::Write { bytes, tokens: 0 }] };
    Answer { status, headers, steps }
}

/// The vendor's error for a status.
fn canned_error(status: u16, behaviour: &Behaviour, flavour: Flavour) -> ApiError {
    let quota = behaviour.code.as_deref() == Some("insufficient_quota");
    let mut error = match status {
        401 if flavour == Flavour::Mistral => mistral::wrong_key(),
        429 if flavour == Flavour::Mistral => mistral::rate_limited(),
        401 => ApiError::bad("Incorrect API key provided.").code("invalid_api_key"),
        404 => ApiError::bad("The requested resource does not exist.").code("model_not_found"),
        429 if quota => ApiError::out_of_quota(),
        429 => ApiError::rate_limited(0),
        503 => ApiError::new(
            503,
            "service_unavailable_error",
            "The server is overloaded. Please try again later.",
        )
        .code("server_is_overloaded"),
        400..500 => ApiError::bad("The request is invalid."),
        _ => ApiError::new(
            status,
            "server_error",
            "The server had an error while processing your request. Sorry about that!",
        ),
    };
    error.status = status;
    if let Some(code) = &behaviour.code {
        error.code = Some(code.clone());
    }
    if let Some(message) = &behaviour.message {
        error.message.clone_from(message);
    }
    error
}

pub(crate) fn buffered(body: &Value, tokens: u64, behaviour: &Behaviour) -> Result<Answer, ApiError> {
    let mut headers = head("application/json", behaviour);
    let whole = Part { bytes: Bytes::from(body.to_string()), tokens: 0, role: PartRole::Half };
    let whole = if behaviour.gzip {
        squeeze::parts(vec![whole]).map_err(|error| broken(&error))?.remove(0)
    } else {
        whole
    };
    headers.push(("content-length".to_owned(), whole.bytes.len().to_string()));
    let parts = play::halves(whole.bytes, tokens);
    let index = |at: At| match at {
        At::Event(event) => event.min(parts.len()),
        At::Middle | At::Finish | At::Usage => 1,
        At::Done => parts.len(),
    };
    let damaged = Behaviour { interval: 0, burst: behaviour.split == 0, ..behaviour.clone() };
    Ok(Answer { status: 200, headers, steps: play::steps(&parts, &damaged, index) })
}

pub(crate) fn head(media: &str, behaviour: &Behaviour) -> Vec<(String, String)> {
    let mut headers = vec![("content-type".to_owned(), media.to_owned())];
    if behaviour.gzip {
        headers.push(("content-encoding".to_owned(), "gzip".to_owned()));
    }
    headers.extend(retry_headers(behaviour));
    headers
}

pub(crate) fn retry_headers(behaviour: &Behaviour) -> Vec<(String, String)> {
    let mut headers: Vec<(String, String)> =
        behaviour.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let date = behaviour.retry_after_date.and_then(http_date);
    if let Some(value) = behaviour.retry_after.clone().or(date) {
        headers.push(("retry-after".to_owned(), value));
    }
    if let Some(ms) = behaviour.retry_after_ms {
        headers.push(("retry-after-ms".to_owned(), ms.to_string()));
    }
    headers
}

fn http_date(seconds_ahead: i64) -> Option<String> {
    let format = format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    let at = OffsetDateTime::now_utc().checked_add(time::Duration::seconds(seconds_ahead))?;
    at.format(format).ok()
}

fn broken(error: &std::io::Error) -> ApiError {
    ApiError::new(500, "emulator_error", format!("The emulator cannot compress: {error}"))
}
