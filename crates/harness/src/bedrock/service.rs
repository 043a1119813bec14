//! Serves one request under Bedrock's paths, from head to response.

use bytes::Bytes;
use http::Method;
use http::request::Parts;
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

use super::answer::MeteredReply;
use super::error::Refusal;
use super::models::{self, Served};
use super::turns::CheckedRequest;
use super::{BASE, embeddings, fields, invoked, jobs, sign, turns};
use crate::emulator::answering::{self, buffered, head, played, retry_headers};
use crate::emulator::service::{
    Answer, Call, bearer, before_head, behaviour, json_answer, read, unix_seconds,
};
use crate::emulator::{Behaviour, KeyState};
use crate::openai::answer::{Circumstances, Reply, compose};
use crate::openai::request::object;
use crate::openai::tokens::{self, CACHE_STEP_TOKENS, CACHE_TOKENS_MIN};

const STREAM: &str = "application/vnd.amazon.eventstream";

enum Route {
    List,
    Converse { model: String, stream: bool },
    Count { model: String },
    Invoke { model: String },
    Job(jobs::Act),
}

pub(crate) fn serves(head: &Parts) -> bool {
    head.uri.path().strip_prefix(BASE).is_some_and(|rest| rest.starts_with('/'))
}

pub(crate) async fn answer(call: &Call<'_>, body: Incoming) -> Answer {
    call.guard.note(|entry| entry.key = None);
    let mut answer = match attempt(call, body).await {
        Ok(answer) => answer,
        Err(refusal) => {
            call.guard.note(|entry| entry.error_code = Some(refusal.kind.clone()));
            json_answer(refusal.status, refusal.headers(), &refusal.body())
        }
    };
    answer.headers.insert(0, ("x-amzn-requestid".to_owned(), call.request_id.to_owned()));
    answer
}

async fn attempt(call: &Call<'_>, body: Incoming) -> Result<Answer, Refusal> {
    let body = read(call.shared, call.guard, body).await?;
    forbidden_headers(call)?;
    let key = authenticate(call, &body, "bedrock")?;
    let route = route(&call.head.method, call.head.uri.path())?;
    check_policy(call, &key, &route)?;
    match route {
        Route::List => Ok(json_answer(200, Vec::new(), &models::list())),
        Route::Converse { model, stream } => converse(call, &key, &body, &model, stream).await,
        Route::Count { model } => count(call, &body, &model),
        Route::Invoke { model } => invoke(call, &key, &body, &model).await,
        Route::Job(act) => job(call, &key, &body, &act),
    }
}

pub(super) fn forbidden_headers(call: &Call<'_>) -> Result<(), Refusal> {
    let first = call.betrayed(call.foreign_headers(&[], &["authorization"]));
    first.map_or(Ok(()), |what| Err(Refusal::invalid(format!("{what} must not be sent here"))))
}

/// Authenticates a request, by a Bedrock API key or by its signature for the service, and returns the
/// emulator key.
pub(super) fn authenticate(call: &Call<'_>, body: &Bytes, service: &str) -> Result<String, Refusal> {
    let key = match bearer(&call.head.headers) {
        Some(key) if call.shared.key_state(&key).is_some_and(|state| state != KeyState::Revoked) => key,
        Some(_) => {
            return Err(Refusal::denied("Authentication failed: Please make sure your API Key is valid."));
        }
        None => sign::verify(call.shared, call.head, body, service)?,
    };
    call.guard.note(|entry| entry.key = Some(key.clone()));
    match call.shared.key_state(&key) {
        Some(KeyState::Ok) => Ok(key),
        Some(KeyState::Exhausted) => Err(Refusal::daily()),
        Some(KeyState::Suspended) => Err(Refusal::unpaid()),
        Some(KeyState::RateLimited { .. }) => Err(Refusal::throttled()),
        Some(KeyState::Revoked) | None => Err(Refusal::unknown_token()),
    }
}

/// Whether a policy allows the signer this operation.
fn check_policy(call: &Call<'_>, key: &str, route: &Route) -> Result<(), Refusal> {
    if !call.shared.directory.is_denied(key) {
        return Ok(());
    }
    let (action, resource) = match route {
        Route::List => ("ListFoundationModels", "*".to_owned()),
        Route::Job(act) => (act.action(), "*".to_owned()),
        Route::Count { model } => {
            ("CountTokens", format!("arn:aws:bedrock:us-east-1::foundation-model/{model}"))
        }
        Route::Invoke { model } | Route::Converse { model, .. } => {
            ("InvokeModel", format!("arn:aws:bedrock:us-east-1::foundation-model/{model}"))
        }
    };
    Err(Refusal::denied(format!(
        "User: arn:aws:iam::123456789012:user/emulator is not authorized to perform: bedrock:{action} on resource: {resource} \
         because no identity-based policy allows the bedrock:{action} action"
    )))
}

fn route(method: &Method, path: &str) -> Result<Route, Refusal> {
    let unknown = || Refusal::new(404, "UnknownOperationException", "Unknown operation");
    let path = path.strip_prefix(BASE).unwrap_or(path);
    if let Some(act) = jobs::route(method, path) {
        return Ok(Route::Job(act));
    }
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let model = |written: &str| percent_decode_str(written).decode_utf8_lossy().into_owned();
    match (method.as_str(), &*parts) {
        ("GET", ["foundation-models"]) => Ok(Route::List),
        ("POST", ["model", id, "converse"]) => Ok(Route::Converse { model: model(id), stream: false }),
        ("POST", ["model", id, "count-tokens"]) => Ok(Route::Count { model: model(id) }),
        ("POST", ["model", id, "invoke"]) => Ok(Route::Invoke { model: model(id) }),
        ("POST", ["model", id, "converse-stream"]) => Ok(Route::Converse { model: model(id), stream: true }),
        _ => Err(unknown()),
    }
}

fn fields(call: &Call<'_>, body: &Bytes) -> Result<Map<String, Value>, Refusal> {
    let fields = read_object(call, body)?;
    fields::check(&fields)?;
    Ok(fields)
}

fn read_object(call: &Call<'_>, body: &Bytes) -> Result<Map<String, Value>, Refusal> {
    if call.content_type().split(';').next().map(str::trim) != Some("application/json") {
        return Err(Refusal::new(415, "UnsupportedMediaTypeException", "The content type is not supported."));
    }
    object(body).map_err(|_| Refusal::new(400, "SerializationException", "The body is no JSON object."))
}

/// Counts a conversation's input tokens without generating. `CountTokens` accepts no inference profiles, and
/// only Anthropic's models.
fn count(call: &Call<'_>, body: &Bytes, model: &str) -> Result<Answer, Refusal> {
    let served = models::base(model)
        .filter(|served| served.is_counted())
        .ok_or_else(|| Refusal::invalid("The provided model doesn't support counting tokens."))?;
    call.guard.note(|entry| entry.model = Some(served.id.to_owned()));
    let mut fields = read_object(call, body)?;
    let input = match fields.remove("input") {
        Some(Value::Object(mut input)) if fields.is_empty() => match input.remove("converse") {
            Some(Value::Object(conversation)) if input.is_empty() => conversation,
            _ => {
                return Err(Refusal::at(
                    "input",
                    "exactly one member is to be given, converse or invokeModel",
                ));
            }
        },
        _ => return Err(Refusal::at("input", "it is to be given, and nothing beside it")),
    };
    let known = ["messages", "system", "toolConfig", "additionalModelRequestFields"];
    if let Some(name) = input.keys().find(|name| !known.contains(&name.as_str())) {
        return Err(Refusal::at(name, "extra inputs are not permitted"));
    }
    fields::check(&input)?;
    let request = turns::read(&input, served)?;
    let prompt = tokens::prompt(&request.chat.messages, &request.chat.tools);
    Ok(json_answer(200, Vec::new(), &json!({"inputTokens": prompt.tokens})))
}

/// A batch operation. Only creating a job has a body.
fn job(call: &Call<'_>, key: &str, body: &Bytes, act: &jobs::Act) -> Result<Answer, Refusal> {
    let fields = match act {
        jobs::Act::Create => read_object(call, body)?,
        _ => Map::new(),
    };
    Ok(json_answer(200, Vec::new(), &jobs::answer(call, key, act, fields)?))
}

/// The buffered response to a conversation.
pub(super) fn buffered_reply(
    call: &Call<'_>,
    key: &str,
    served: &Served,
    request: &CheckedRequest,
    behaviour: &Behaviour,
) -> Result<Value, Refusal> {
    let (reply, written_tokens) = reply(call, key, served, request, behaviour)?;
    Ok(MeteredReply { reply: &reply, written_tokens, mode: behaviour.usage }.whole())
}

/// Invokes a model without Converse support, in its vendor's own format.
async fn invoke(call: &Call<'_>, key: &str, body: &Bytes, model: &str) -> Result<Answer, Refusal> {
    let fields = read_object(call, body)?;
    let made = invoked::make(model, &fields).unwrap_or_else(|| embeddings::make(model, &fields))?;
    let behaviour = behaviour(call.shared, key, None)?;
    before_head(call.control, call.guard, &behaviour).await;
    if let Some(answer) = special(call, &behaviour)? {
        return Ok(answer);
    }
    call.guard.note(|entry| {
        entry.model = Some(model.to_owned());
        entry.billable = made.is_billable;
        entry.prompt_tokens = made.tokens;
    });
    let mut answer = buffered(&made.body, 0, &behaviour)?;
    // Models that count no tokens have no such header.
    if made.tokens == 0 {
        return Ok(answer);
    }
    answer.headers.push(("x-amzn-bedrock-input-token-count".to_owned(), made.tokens.to_string()));
    Ok(answer)
}

async fn converse(
    call: &Call<'_>,
    key: &str,
    body: &Bytes,
    model: &str,
    stream: bool,
) -> Result<Answer, Refusal> {
    let served = models::find(model)?;
    call.guard.note(|entry| {
        entry.model = Some(served.id.to_owned());
        entry.stream = stream;
    });
    let request = turns::read(&fields(call, body)?, served)?;
    let behaviour = behaviour(call.shared, key, request.script.as_deref())?;
    before_head(call.control, call.guard, &behaviour).await;
    if let Some(answer) = special(call, &behaviour)? {
        return Ok(answer);
    }
    let (reply, written_tokens) = reply(call, key, served, &request, &behaviour)?;
    call.guard.note(|entry| {
        entry.billable = true;
        entry.prompt_tokens = reply.prompt_tokens;
        entry.cached_tokens = reply.cached_tokens;
    });
    let response = MeteredReply { reply: &reply, written_tokens, mode: behaviour.usage };
    if stream == behaviour.wrong_form {
        Ok(buffered(&response.whole(), reply.completion_tokens, &behaviour)?)
    } else {
        Ok(played(response.parts(&behaviour), head(STREAM, &behaviour), &behaviour)?)
    }
}

/// Responses that do not depend on the request.
fn special(call: &Call<'_>, behaviour: &Behaviour) -> Result<Option<Answer>, Refusal> {
    match behaviour.own_status() {
        Some(status) => {
            let refusal = Refusal::scripted(status, behaviour);
            call.guard.note(|entry| entry.error_code = Some(refusal.kind.clone()));
            let headers = [refusal.headers(), retry_headers(behaviour)].concat();
            Ok(Some(json_answer(status, headers, &refusal.body())))
        }
        None => Ok(answering::special(call.guard, behaviour)?),
    }
}

/// The response, and how much of the prompt was written to the cache. Without a cache point nothing is
/// cached.
fn reply(
    call: &Call<'_>,
    key: &str,
    served: &Served,
    request: &CheckedRequest,
    behaviour: &Behaviour,
) -> Result<(Reply, u64), Refusal> {
    let prompt = tokens::prompt(&request.chat.messages, &request.chat.tools);
    if prompt.tokens > served.context_tokens_max {
        return Err(Refusal::invalid("Input is too long for requested model."));
    }
    let cached_tokens = if request.has_cache_point {
        call.shared.remember(&format!("{key} {BASE}"), served.id, &prompt)
    } else {
        0
    };
    let is_kept = request.has_cache_point && prompt.tokens >= CACHE_TOKENS_MIN;
    let kept = if is_kept { prompt.tokens / CACHE_STEP_TOKENS * CACHE_STEP_TOKENS } else { 0 };
    let known = Circumstances {
        number: call.number,
        created: unix_seconds(),
        prompt_tokens: prompt.tokens,
        cached_tokens,
    };
    Ok((compose(&request.chat, behaviour, &known), kept.saturating_sub(cached_tokens)))
}
