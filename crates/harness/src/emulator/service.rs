//! Serves one request from head to response: journal, checks, script, response.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap};
use http::{HeaderName, HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::Value;

use super::admin;
use super::behaviour::Behaviour;
use super::body::{Step, Steps};
use super::config::KeyState;
use super::journal::{Entry, Outcome, Violation};
use super::state::{Guard, Shared};
use super::wire::Control;
use crate::anthropic;
use crate::azure;
use crate::bedrock;
use crate::directory;
use crate::fal;
use crate::gemini;
use crate::mistral;
use crate::openai::error::ApiError;
use crate::openai::flavour::Flavour;
use crate::openai::request;
use crate::openai::routes::{self, OpenAiCall};
use crate::vertex;

/// The emulator's response, before it becomes an HTTP response.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) steps: Vec<Step>,
}

/// One request as a provider's own module sees it.
pub(crate) struct Call<'a> {
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) control: &'a Control,
    pub(crate) guard: &'a Guard,
    pub(crate) head: &'a http::request::Parts,
    pub(crate) number: u64,
    pub(crate) request_id: &'a str,
}

/// Headers that belong to the gateway or its clients and must never reach a provider.
#[rustfmt::skip]
pub(crate) const FORBIDDEN: &[&str] = &[
    "cookie", "proxy-authorization", "x-api-key", "api-key", "x-goog-api-key", "x-forwarded-for", "forwarded",
    "x-real-ip",
];
pub(crate) const FORBIDDEN_PREFIXES: &[&str] = &["agent-", "x-tidegate-"];

pub(crate) async fn serve(
    shared: Arc<Shared>,
    control: Arc<Control>,
    request: Request<Incoming>,
) -> Result<Response<Steps>, std::convert::Infallible> {
    let started = Instant::now();
    let number = shared.next_request();
    let (head, body) = request.into_parts();
    let entry = entry(number, &head, &control);
    control.request(&entry.version);
    if let Some(path) = head.uri.path().strip_prefix("/__emulator/") {
        let (status, body) = admin::answer(&shared, &head.method, path, body).await;
        return Ok(admin::response(status, &body, &shared, control, entry));
    }
    let request_id = entry.request_id.clone();
    let guard = shared.open(entry, Arc::clone(&control));
    let call = Call {
        shared: &shared,
        control: &control,
        guard: &guard,
        head: &head,
        number,
        request_id: &request_id,
    };
    // Each provider handles its own paths, headers and errors; everything else belongs to OpenAI.
    if directory::serves(&head) {
        let answer = directory::answer(&call, body).await;
        return Ok(response(answer, guard, control));
    }
    if vertex::serves(&head) {
        let answer = vertex::answer(&call, body).await;
        return Ok(response(answer, guard, control));
    }
    if bedrock::serves_keys(&head) {
        let answer = bedrock::answer_keys(&call, body).await;
        return Ok(response(answer, guard, control));
    }
    if bedrock::serves(&head) {
        let answer = bedrock::answer(&call, body).await;
        return Ok(response(answer, guard, control));
    }
    if bedrock::mantle::serves(&head) {
        let answer = bedrock::mantle::answer(&call, body).await;
        return Ok(response(answer, guard, control));
    }
    if fal::serves(&head) {
        let answer = fal::answer(&call, body).await;
        return Ok(response(answer, guard, control));
    }
    if azure::foundry::serves(&head) {
        let answer = azure::foundry::answer(&call, body).await;
        return Ok(response(answer, guard, control));
    }
    if anthropic::service::serves(&head) {
        let answer = anthropic::service::answer(&call, body).await;
        return Ok(response(answer, guard, control));
    }
    if gemini::service::serves(&head) {
        let answer = gemini::service::answer(&call, body).await;
        return Ok(response(answer, guard, control));
    }
    let (flavour, _) = Flavour::of(head.uri.path(), shared.config.flavour);
    let mut answer = match answer(&shared, &control, &guard, &head, body).await {
        Ok(answer) => answer,
        Err(error) => error_answer(&guard, &error, flavour),
    };
    // A token's key is known once the token has been checked.
    let mut key = None;
    guard.note(|entry| key.clone_from(&entry.key));
    let ratelimit = key.filter(|key| shared.key_state(key).is_some()).map(|_| number);
    answer.headers = [headers(flavour, &request_id, started, ratelimit), answer.headers].concat();
    Ok(response(answer, guard, control))
}

/// The response to a rejected request, in the vendor's error format.
pub(crate) fn error_answer(guard: &Guard, error: &ApiError, flavour: Flavour) -> Answer {
    guard.note(|entry| entry.error_code = error.code.clone());
    json_answer(error.status, error.headers.clone(), &error.body(flavour))
}

pub(crate) fn json_answer(status: u16, mut headers: Vec<(String, String)>, body: &Value) -> Answer {
    headers.push(("content-type".to_owned(), "application/json".to_owned()));
    let bytes = Bytes::from(body.to_string());
    headers.push(("content-length".to_owned(), bytes.len().to_string()));
    Answer { status, headers, steps: vec![Step::Write { bytes, tokens: 0 }] }
}

async fn answer(
    shared: &Arc<Shared>,
    control: &Arc<Control>,
    guard: &Guard,
    head: &http::request::Parts,
    body: Incoming,
) -> Result<Answer, ApiError> {
    let body = read(shared, guard, body).await?;
    let path = head.uri.path();
    let (flavour, path) = Flavour::of(path, shared.config.flavour);
    forbidden_headers(shared, guard, &head.headers, head.uri.path(), flavour)?;
    let site = match flavour {
        Flavour::Azure => Some(azure::site(path, head.uri.query())?),
        _ => None,
    };
    let is_current = site.as_ref().is_some_and(|site| site.is_current);
    let path = site.as_ref().map_or(path, |site| &site.path);
    let route = routes::route(flavour, &head.method, path)?;
    let key = authorise(shared, guard, &head.headers, path, flavour, is_current)?;
    let body = site.as_ref().map_or_else(|| Ok(body.clone()), |site| site.body(&body))?;
    let call = OpenAiCall { shared, control, guard, head, body: &body, key: &key, flavour };
    routes::answer(&call, route).await
}

pub(crate) async fn read(shared: &Arc<Shared>, guard: &Guard, body: Incoming) -> Result<Bytes, ApiError> {
    let limited = Limited::new(body, shared.config.body_bytes_max);
    let body = limited.collect().await.map_err(|_| {
        ApiError::new(413, "invalid_request_error", "Request body too large or broken off.")
            .code("request_too_large")
    })?;
    let body = body.to_bytes();
    guard.note(|entry| entry.body = body.clone());
    Ok(body)
}

fn forbidden_headers(
    shared: &Shared,
    guard: &Guard,
    headers: &HeaderMap,
    path: &str,
    flavour: Flavour,
) -> Result<(), ApiError> {
    let mut first = None;
    let own = |name: &str| flavour == Flavour::Azure && name == azure::KEY;
    for name in headers.keys().map(HeaderName::as_str).filter(|name| !own(name)) {
        let forbidden =
            FORBIDDEN.contains(&name) || FORBIDDEN_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        if forbidden {
            violation(shared, guard, path, format!("header {name}"));
            first = first.or(Some(name));
        }
    }
    if headers.get_all(AUTHORIZATION).iter().count() > 1 {
        violation(shared, guard, path, "header authorization sent twice".to_owned());
        first = first.or(Some("authorization"));
    }
    first.map_or(Ok(()), |name| Err(ApiError::forbidden_header(name)))
}

fn authorise(
    shared: &Shared,
    guard: &Guard,
    headers: &HeaderMap,
    path: &str,
    flavour: Flavour,
    is_current: bool,
) -> Result<String, ApiError> {
    // xAI answers 400 to a wrong key.
    let wrong = |key: &str| match flavour {
        Flavour::Xai => ApiError { status: 400, ..ApiError::wrong_key(key) },
        Flavour::Azure => azure::wrong_key(),
        Flavour::Mistral => mistral::wrong_key(),
        Flavour::OpenAi | Flavour::Fireworks | Flavour::Together | Flavour::Server(_) => {
            ApiError::wrong_key(key)
        }
    };
    if flavour == Flavour::Azure {
        let own = headers.get(azure::KEY).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let token = bearer(headers).filter(|_| own.is_none());
        if let Some(key) =
            token.and_then(|token| directory::is_for(shared, &token, azure::services(is_current)))
        {
            guard.note(|entry| entry.key = Some(key.clone()));
            if shared.directory.is_denied(&key) {
                return Err(azure::no_role());
            }
            return accept_key(shared, guard, path, key, wrong);
        }
        // Azure's current paths also accept the key as a bearer token, as OpenAI does.
        let sent = own.or_else(|| if is_current { bearer(headers) } else { None });
        guard.note(|entry| entry.key.clone_from(&sent));
        return match sent {
            Some(key) => accept_key(shared, guard, path, key, wrong),
            None => Err(wrong("")),
        };
    }
    let none = || match flavour {
        Flavour::Mistral => mistral::wrong_key(),
        _ => ApiError::no_key(),
    };
    if !headers.contains_key(AUTHORIZATION) {
        return Err(none());
    }
    let Some(key) = bearer(headers) else {
        violation(shared, guard, path, "authorization that is no bearer key".to_owned());
        return Err(none());
    };
    let key = match directory::is_for(shared, &key, &[directory::vendor::AUDIENCE]) {
        Some(own) => {
            guard.note(|entry| entry.key = Some(own.clone()));
            own
        }
        None if shared.directory.was_issued(&key) => return Err(wrong(&key)),
        None => key,
    };
    accept_key(shared, guard, path, key, wrong)
}

fn accept_key(
    shared: &Shared,
    guard: &Guard,
    path: &str,
    key: String,
    wrong: impl Fn(&str) -> ApiError,
) -> Result<String, ApiError> {
    match shared.key_state(&key) {
        Some(KeyState::Ok) => Ok(key),
        Some(KeyState::Revoked) => Err(wrong(&key)),
        Some(KeyState::Suspended) => Err(ApiError::suspended()),
        Some(KeyState::Exhausted) => Err(ApiError::out_of_quota()),
        Some(KeyState::RateLimited { retry_after_ms }) => Err(ApiError::rate_limited(retry_after_ms)),
        None => {
            violation(shared, guard, path, "authorization that is none of the accepted keys".to_owned());
            Err(wrong(&key))
        }
    }
}

pub(crate) fn violation(shared: &Shared, guard: &Guard, path: &str, what: String) {
    let mut request_id = String::new();
    guard.note(|entry| request_id.clone_from(&entry.request_id));
    shared.violation(Violation { request_id, path: path.to_owned(), what });
}

pub(crate) fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim().to_owned())
}

pub(crate) fn fields(headers: &HeaderMap, body: &Bytes) -> Result<serde_json::Map<String, Value>, ApiError> {
    let sent = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media = sent.split(';').next().unwrap_or_default().trim();
    if !media.eq_ignore_ascii_case("application/json") {
        return Err(ApiError::bad(format!(
            "Unsupported content type: '{media}'. This API method only accepts 'application/json' requests."
        ))
        .code("unsupported_content_type"));
    }
    request::object(body)
}

/// The queued behaviour takes precedence over the request's own script.
pub(crate) fn behaviour(shared: &Shared, key: &str, script: Option<&str>) -> Result<Behaviour, ApiError> {
    if let Some(queued) = shared.next_behaviour(key) {
        return Ok(queued);
    }
    let Some(script) = script else { return Ok(Behaviour::ok()) };
    Behaviour::parse(script)
        .map_err(|error| ApiError::bad(error.to_string()).param("user").code("emulator_script"))
}

pub(crate) async fn before_head(control: &Control, guard: &Guard, behaviour: &Behaviour) {
    if behaviour.held {
        guard.released().await;
    }
    if behaviour.latency > 0 {
        tokio::time::sleep(Duration::from_millis(behaviour.latency)).await;
    }
    if behaviour.reset {
        guard.cut();
        control.abort();
        std::future::pending::<()>().await;
    }
}

fn entry(number: u64, head: &http::request::Parts, control: &Control) -> Entry {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    Entry {
        id: number,
        request_id: format!("req_emulator{number:016}"),
        method: head.method.to_string(),
        path: head.uri.path_and_query().map(ToString::to_string).unwrap_or_else(|| absolute(&head.uri)),
        headers: head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        key: bearer(&head.headers),
        body: Bytes::new(),
        connection: control.id,
        version: format!("{:?}", head.version),
        tls: control.is_tls(),
        status: None,
        error_code: None,
        model: None,
        stream: false,
        prompt_tokens: 0,
        cached_tokens: 0,
        said_tokens: 0,
        bytes_written: 0,
        outcome: Outcome::InProgress,
        finished: false,
        received: Instant::now(),
        head: None,
        first_content: None,
        last_write: None,
        ended: None,
        cancelled: None,
        billable: false,
    }
}

fn absolute(uri: &Uri) -> String {
    uri.to_string()
}

fn response(answer: Answer, guard: Guard, control: Arc<Control>) -> Response<Steps> {
    guard.note(|entry| {
        entry.status = Some(answer.status);
        entry.head = Some(Instant::now());
    });
    let mut response = Response::new(Steps::new(answer.steps, guard, control));
    *response.status_mut() = http::StatusCode::from_u16(answer.status).unwrap_or_default();
    for (name, value) in &answer.headers {
        insert(response.headers_mut(), name, value);
    }
    response
}

/// Headers that the provider adds to every response.
fn headers(
    flavour: Flavour,
    request_id: &str,
    started: Instant,
    ratelimit: Option<u64>,
) -> Vec<(String, String)> {
    let spent = started.elapsed().as_millis().to_string();
    let mut headers = vec![("x-request-id", request_id.to_owned())];
    if flavour == Flavour::OpenAi {
        headers.extend([
            ("openai-processing-ms", spent),
            ("openai-version", "2020-10-01".to_owned()),
            ("openai-organization", "org-emulator".to_owned()),
        ]);
    }
    if let Some(number) = ratelimit {
        let left = 10_000_u64.saturating_sub(number % 10_000 + 1).to_string();
        headers.extend([
            ("x-ratelimit-limit-requests", "10000".to_owned()),
            ("x-ratelimit-remaining-requests", left),
            ("x-ratelimit-reset-requests", "6ms".to_owned()),
            ("x-ratelimit-limit-tokens", "2000000".to_owned()),
            ("x-ratelimit-remaining-tokens", "1999000".to_owned()),
            ("x-ratelimit-reset-tokens", "6m0s".to_owned()),
        ]);
    }
    headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Invalid headers are skipped: scripts may name anything.
fn insert(headers: &mut HeaderMap, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
        headers.insert(name, value);
    }
}

/// Seconds since the Unix epoch.
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
