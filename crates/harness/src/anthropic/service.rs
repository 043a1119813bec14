//! Serves one request under Anthropic's paths, from head to response.

use bytes::Bytes;
use http::Method;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::answering;
use super::batches::{self, Act};
use super::error::Refusal;
use super::request::{self, Betas, Edition};
use super::{files, models};
use crate::emulator::service::{Answer, Call, bearer, before_head, json_answer, media_but_json, moment};
use crate::emulator::state::lock;
use crate::emulator::{Behaviour, KeyState};

/// The base path under which every path is Anthropic's, so that no call can be mistaken for another
/// provider's.
pub(crate) const BASE: &str = "/anthropic";

const VERSIONS: &[&str] = &["2023-06-01", "2026-10-21"];
const VERSION: &str = "anthropic-version";
const BETA: &str = "anthropic-beta";
const KEY: &str = "x-api-key";
const AZURE_KEY: &str = "api-key";
const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;

enum Route {
    Messages,
    CountTokens,
    Models,
    Model(String),
    Batch(Act),
    File(files::Act),
}

/// Whether a request is for Anthropic: by its base path, by a path that only Anthropic has, or by its header.
pub(crate) fn serves(head: &Parts) -> bool {
    let path = head.uri.path();
    let below =
        |base: &str| path.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let is_shared = below("/v1/models") || below(files::PATH);
    below(BASE) || below("/v1/messages") || (is_shared && head.headers.contains_key(VERSION))
}

pub(crate) async fn answer(call: &Call<'_>, body: Incoming) -> Answer {
    let key = sent_key(&call.head.headers);
    call.guard.note(|entry| entry.key.clone_from(&key));
    let mut answer = match attempt(call, key.as_deref(), body).await {
        Ok(answer) => answer,
        Err(refusal) => refusal.answer(call),
    };
    let known = key.is_some_and(|key| call.shared.key_state(&key).is_some());
    answer.headers = [headers(call, known), answer.headers].concat();
    answer
}

async fn attempt(call: &Call<'_>, key: Option<&str>, body: Incoming) -> Result<Answer, Refusal> {
    let body = read(call, body).await?;
    forbidden_headers(call)?;
    let served = route(&call.head.method, call.head.uri.path())?;
    let key = authorise(call, key)?;
    let edition = edition(call)?;
    let served_models = &call.shared.config.claude_models;
    match served {
        Route::Models => {
            let page = models::page(served_models, call.head.uri.query().unwrap_or_default())?;
            Ok(json_answer(200, Vec::new(), &page))
        }
        Route::Model(id) => Ok(json_answer(200, Vec::new(), &models::one(served_models, &id)?)),
        Route::CountTokens => count_tokens(call, key, &fields(call, &body)?, edition).await,
        Route::Messages => messages(call, key, &fields(call, &body)?, edition).await,
        Route::Batch(act) => batch(call, key, &act, &body, edition).await,
        Route::File(act) => files::answer(call, key, &act, &body),
    }
}

/// Counts a prompt's tokens, whichever cloud's endpoint received the request.
pub(crate) async fn count_tokens(
    call: &Call<'_>,
    key: &str,
    fields: &Map<String, Value>,
    edition: Edition,
) -> Result<Answer, Refusal> {
    let config = &call.shared.config;
    let (model, tokens) =
        request::count_tokens(fields, edition, &config.claude_models, &config.accepted_fields)?;
    call.guard.note(|entry| entry.model = Some(model.id.clone()));
    let behaviour = behaviour(call, key, None)?;
    before_head(call.control, call.guard, &behaviour).await;
    match answering::special(call, &behaviour)? {
        Some(answer) => Ok(answer),
        None => Ok(json_answer(200, Vec::new(), &json!({"input_tokens": tokens}))),
    }
}

/// Answers a messages request, whichever cloud's endpoint received it.
pub(crate) async fn messages(
    call: &Call<'_>,
    key: &str,
    fields: &Map<String, Value>,
    edition: Edition,
) -> Result<Answer, Refusal> {
    let config = &call.shared.config;
    let fields = lock(&call.shared.threads).whole(key, fields)?;
    let request = request::messages(&fields, edition, &config.claude_models, &config.accepted_fields)?;
    let named = fields.get("messages").unwrap_or(&Value::Null);
    lock(&call.shared.message_files).check_named(key, named)?;
    call.guard.note(|entry| {
        entry.model = Some(request.model.id.clone());
        entry.stream = request.stream;
    });
    let behaviour = behaviour(call, key, request.script.as_deref())?;
    before_head(call.control, call.guard, &behaviour).await;
    answering::messages(call, key, &request, &behaviour)
}

/// Only creating a batch fails as a queued behaviour says; for results, the behaviour determines how they are
/// sent.
async fn batch(
    call: &Call<'_>,
    key: &str,
    act: &Act,
    body: &Bytes,
    edition: Edition,
) -> Result<Answer, Refusal> {
    if *act != Act::Create {
        return batches::answer(call, key, act, &Map::new(), edition);
    }
    let request = fields(call, body)?;
    let behaviour = behaviour(call, key, None)?;
    before_head(call.control, call.guard, &behaviour).await;
    match answering::special(call, &behaviour)? {
        Some(answer) => Ok(answer),
        None => batches::answer(call, key, act, &request, edition),
    }
}

fn route(method: &Method, path: &str) -> Result<Route, Refusal> {
    let path = path.strip_prefix(BASE).unwrap_or(path);
    let (wanted, route) = match path {
        "/v1/messages" => (Method::POST, Route::Messages),
        "/v1/messages/count_tokens" => (Method::POST, Route::CountTokens),
        "/v1/models" => (Method::GET, Route::Models),
        _ if path.strip_prefix(files::PATH).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) => {
            return files::route(method, path).map(Route::File);
        }
        _ if path
            .strip_prefix(batches::PATH)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) =>
        {
            return batches::route(method, path).map(Route::Batch);
        }
        _ => match path.strip_prefix("/v1/models/").filter(|id| !id.is_empty()) {
            Some(id) => (Method::GET, Route::Model(percent_decode_str(id).decode_utf8_lossy().into_owned())),
            None => return Err(Refusal::not_found("Not Found")),
        },
    };
    if *method == wanted {
        Ok(route)
    } else {
        Err(Refusal::new(405, "invalid_request_error", "Method Not Allowed"))
    }
}

pub(crate) async fn read(call: &Call<'_>, body: Incoming) -> Result<Bytes, Refusal> {
    let bytes_max = call.shared.config.body_bytes_max.min(BODY_BYTES_MAX);
    let too_large = || Refusal::new(413, "request_too_large", "Request exceeds the maximum size");
    // Somewhat more is read, since a client that still sends when the connection is closed may not read the answer.
    let body = Limited::new(body, 2 * bytes_max).collect().await.map_err(|_| too_large())?.to_bytes();
    if body.len() > bytes_max {
        return Err(too_large());
    }
    call.guard.note(|entry| entry.body = body.clone());
    Ok(body)
}

/// Of the two headers that can carry a key, Anthropic reads its own first.
fn sent_key(headers: &http::HeaderMap) -> Option<String> {
    let own = headers.get(KEY).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    own.or_else(|| bearer(headers))
}

/// Rejects headers that belong to a gateway or its clients, and any key that is not for Anthropic.
fn forbidden_headers(call: &Call<'_>) -> Result<(), Refusal> {
    let headers = &call.head.headers;
    let mut wrong = call.foreign_headers(&[KEY, AZURE_KEY], &[KEY, AZURE_KEY, "authorization"]);
    let known = |key: &str| call.shared.key_state(key).is_some();
    let azure = headers.get(AZURE_KEY).map(|value| value.to_str().unwrap_or_default());
    if azure.is_some_and(|key| !known(key)) {
        wrong.push(format!("header {AZURE_KEY}"));
    }
    let both = headers.contains_key(KEY) && headers.contains_key(AUTHORIZATION);
    if both && !bearer(headers).is_some_and(|key| known(&key)) {
        wrong.push("authorization that is none of the accepted keys beside another key".to_owned());
    }
    match call.betrayed(wrong) {
        Some(what) => Err(Refusal::bad(format!("{what}: must not be sent to this API"))),
        None => Ok(()),
    }
}

fn authorise<'k>(call: &Call<'_>, key: Option<&'k str>) -> Result<&'k str, Refusal> {
    let Some(key) = key else {
        if call.head.headers.contains_key(AUTHORIZATION) {
            call.violation("authorization that is no bearer key");
        }
        return Err(Refusal::new(401, "authentication_error", "x-api-key header is required"));
    };
    match call.shared.key_state(key) {
        Some(KeyState::Ok) => Ok(key),
        Some(KeyState::Revoked) => Err(Refusal::wrong_key()),
        Some(KeyState::Exhausted | KeyState::Suspended) => Err(Refusal::no_credit()),
        Some(KeyState::RateLimited { retry_after_ms }) => Err(Refusal::rate_limited(retry_after_ms)),
        None => {
            call.violation("a key that is none of the accepted keys");
            Err(Refusal::wrong_key())
        }
    }
}

pub(crate) fn edition(call: &Call<'_>) -> Result<Edition, Refusal> {
    let text = |name: &str| call.head.headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let Some(version) = text(VERSION) else {
        return Err(Refusal::at(VERSION, "header is required"));
    };
    if !VERSIONS.contains(&version) {
        return Err(Refusal::at(VERSION, format!("\"{version}\" is not a valid version")));
    }
    let header = text(BETA).unwrap_or_default();
    let betas = || header.split(',').map(str::trim).filter(|beta| !beta.is_empty());
    if let Some(name) = betas().find(|name| !is_beta(name)) {
        return Err(Refusal::bad(format!("Unexpected value(s) `{name}` for the `{BETA}` header.")));
    }
    Ok(Edition { newer: version != "2023-06-01", betas: Betas::of(betas()) })
}

/// Beta names end in a date, in one of two styles: `effort-2025-11-24`, `claude-code-20250219`.
fn is_beta(name: &str) -> bool {
    let digits =
        |text: &str, count: usize| text.len() == count && text.bytes().all(|digit| digit.is_ascii_digit());
    let words = match name.rsplit('-').collect::<Vec<_>>().as_slice() {
        [date, words @ ..] if digits(date, 8) => words.len(),
        [day, month, year, words @ ..] if digits(year, 4) && digits(month, 2) && digits(day, 2) => {
            words.len()
        }
        _ => 0,
    };
    let named = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    words > 0 && name.bytes().all(named)
}

pub(crate) fn fields(call: &Call<'_>, body: &Bytes) -> Result<Map<String, Value>, Refusal> {
    if let Some(media) = media_but_json(&call.head.headers) {
        return Err(Refusal::bad(format!("content-type: expected application/json, not '{media}'")));
    }
    request::object(body)
}

/// The queued behaviour takes precedence over the request's own script.
pub(super) fn behaviour(call: &Call<'_>, key: &str, script: Option<&str>) -> Result<Behaviour, Refusal> {
    match (call.shared.next_behaviour(key), script) {
        (Some(queued), _) => Ok(queued),
        (None, None) => Ok(Behaviour::ok()),
        (None, Some(script)) => {
            Behaviour::parse(script).map_err(|error| Refusal::at("metadata.user_id", error))
        }
    }
}

/// Headers that Anthropic adds to every response.
fn headers(call: &Call<'_>, known_key: bool) -> Vec<(String, String)> {
    let mut headers = vec![
        ("request-id".to_owned(), call.request_id.to_owned()),
        ("anthropic-organization-id".to_owned(), "org-emulator".to_owned()),
    ];
    if !known_key {
        return headers;
    }
    let reset = (OffsetDateTime::now_utc() + time::Duration::seconds(1)).replace_nanosecond(0).ok();
    let reset = reset.map(moment).unwrap_or_default();
    let left = 4_000_u64.saturating_sub(call.number % 4_000 + 1);
    for (what, limit, left) in [
        ("requests", 4_000, left),
        ("tokens", 2_400_000, 2_399_000),
        ("input-tokens", 2_000_000, 1_999_000),
        ("output-tokens", 400_000, 399_000),
    ] {
        let name = |part: &str| format!("anthropic-ratelimit-{what}-{part}");
        headers.push((name("limit"), limit.to_string()));
        headers.push((name("remaining"), left.to_string()));
        headers.push((name("reset"), reset.clone()));
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beta_ends_in_a_date() {
        for name in ["effort-2025-11-24", "claude-code-20250219", "prompt-caching-scope-2026-01-05"] {
            assert!(is_beta(name), "{name}");
        }
        for name in
            ["", "effort", "20250219", "2025-11-24", "effort-2025-11", "Effort-2025-11-24", "e-2025112"]
        {
            assert!(!is_beta(name), "{name}");
        }
    }
}
