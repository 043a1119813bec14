//! Serves one request from head to response: journal, checks, script, response.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap};
use http::{HeaderName, HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

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

/// The slices of a body that is sent with pauses.
const SLICES: usize = 40;
/// Headers that belong to the gateway or its clients and must never reach a provider.
#[rustfmt::skip]
const FORBIDDEN: &[&str] = &[
    "cookie", "proxy-authorization", "x-api-key", "api-key", "x-goog-api-key", "x-forwarded-for", "forwarded",
    "x-real-ip",
];
const FORBIDDEN_PREFIXES: &[&str] = &["agent-", "x-tidegate-"];

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
    let answer = if directory::serves(&head) {
        directory::answer(&call, body).await
    } else if vertex::serves(&head) {
        vertex::answer(&call, body).await
    } else if bedrock::serves_keys(&head) {
        bedrock::answer_keys(&call, body).await
    } else if bedrock::serves(&head) {
        bedrock::answer(&call, body).await
    } else if bedrock::mantle::serves(&head) {
        bedrock::mantle::answer(&call, body).await
    } else if fal::serves(&head) {
        fal::answer(&call, body).await
    } else if azure::foundry::serves(&head) {
        azure::foundry::answer(&call, body).await
    } else if anthropic::service::serves(&head) {
        anthropic::service::answer(&call, body).await
    } else if gemini::service::serves(&head) {
        gemini::service::answer(&call, body).await
    } else {
        openai(&call, body, started).await
    };
    Ok(response(answer, guard, control))
}

async fn openai(call: &Call<'_>, body: Incoming, started: Instant) -> Answer {
    let (flavour, _) = Flavour::of(call.head.uri.path(), call.shared.config.flavour);
    let mut answer = match attempt(call, body).await {
        Ok(answer) => answer,
        Err(error) => error_answer(call.guard, &error, flavour),
    };
    // A token's key is known once the token has been checked.
    let mut key = None;
    call.guard.note(|entry| key.clone_from(&entry.key));
    let ratelimit = key.filter(|key| call.shared.key_state(key).is_some()).map(|_| call.number);
    answer.headers = [headers(flavour, call.request_id, started, ratelimit), answer.headers].concat();
    answer
}

impl Call<'_> {
    /// The content type that was sent; empty where there is none.
    pub(crate) fn content_type(&self) -> &str {
        content_type(&self.head.headers)
    }

    /// Whether it posts a form's fields.
    pub(crate) fn is_form(&self) -> bool {
        self.head.method == Method::POST
            && self.content_type().starts_with("application/x-www-form-urlencoded")
    }

    /// The host that the client used.
    pub(crate) fn host(&self) -> &str {
        let sent = self.head.headers.get(HOST).and_then(|host| host.to_str().ok());
        sent.or_else(|| self.head.uri.authority().map(http::uri::Authority::as_str)).unwrap_or_default()
    }

    /// Records something that a gateway must never send.
    pub(crate) fn violation(&self, what: impl Into<String>) {
        let (request_id, path) = (self.request_id.to_owned(), self.head.uri.path().to_owned());
        self.shared.violation(Violation { request_id, path, what: what.into() });
    }

    /// Headers that belong to a gateway or its clients, but for the provider's `own`, and headers that come
    /// twice although they may come `once`.
    pub(crate) fn foreign_headers(&self, own: &[&str], once: &[&str]) -> Vec<String> {
        let headers = &self.head.headers;
        let is_foreign = |name: &&str| {
            let is_listed = FORBIDDEN.contains(name) && !own.contains(name);
            is_listed || FORBIDDEN_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        };
        let foreign = headers.keys().map(HeaderName::as_str).filter(is_foreign);
        let twice = once.iter().filter(|name| headers.get_all(**name).iter().count() > 1);
        foreign
            .map(|name| format!("header {name}"))
            .chain(twice.map(|name| format!("header {name} sent twice")))
            .collect()
    }

    /// Records all of these violations, and returns the first.
    pub(crate) fn betrayed(&self, wrong: Vec<String>) -> Option<String> {
        wrong.iter().for_each(|what| self.violation(what));
        wrong.into_iter().next()
    }
}

/// The response to a rejected request, in the vendor's error format.
pub(crate) fn error_answer(guard: &Guard, error: &ApiError, flavour: Flavour) -> Answer {
    guard.note(|entry| entry.error_code = error.code.clone());
    json_answer(error.status, error.headers.clone(), &error.body(flavour))
}

pub(crate) fn json_answer(status: u16, headers: Vec<(String, String)>, body: &Value) -> Answer {
    let answer = whole(status, "application/json", Bytes::from(body.to_string()));
    Answer { headers: [headers, answer.headers].concat(), ..answer }
}

/// A whole body of this media type.
pub(crate) fn whole(status: u16, media: &str, bytes: Bytes) -> Answer {
    let headers = vec![
        ("content-type".to_owned(), media.to_owned()),
        ("content-length".to_owned(), bytes.len().to_string()),
    ];
    Answer { status, headers, steps: vec![Step::Write { bytes, tokens: 0 }] }
}

/// A body in slices with a pause of so many milliseconds after each; whole where there is none.
pub(crate) fn sliced(media: &str, content: &Bytes, pause_ms: u64) -> Answer {
    let mut answer = whole(200, media, content.clone());
    if pause_ms > 0 {
        let pause = Duration::from_millis(pause_ms);
        let slices = content.chunks(content.len().div_ceil(SLICES).max(1)).flat_map(|bytes| {
            [Step::Write { bytes: content.slice_ref(bytes), tokens: 0 }, Step::Flush, Step::Wait(pause)]
        });
        answer.steps = slices.collect();
    }
    answer
}

async fn attempt(call: &Call<'_>, body: Incoming) -> Result<Answer, ApiError> {
    let Call { shared, control, guard, head, .. } = *call;
    let body = read(shared, guard, body).await?;
    let (flavour, path) = Flavour::of(head.uri.path(), shared.config.flavour);
    forbidden_headers(call, flavour)?;
    let site = match flavour {
        Flavour::Azure => Some(azure::site(path, head.uri.query())?),
        _ => None,
    };
    let is_current = site.as_ref().is_some_and(|site| site.is_current);
    let path = site.as_ref().map_or(path, |site| &site.path);
    let route = routes::route(flavour, &head.method, path)?;
    let key = authorise(call, flavour, is_current)?;
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

fn forbidden_headers(call: &Call<'_>, flavour: Flavour) -> Result<(), ApiError> {
    let own: &[&str] = if flavour == Flavour::Azure { &[azure::KEY] } else { &[] };
    let first = call.betrayed(call.foreign_headers(own, &["authorization"]));
    let name = first.as_deref().and_then(|what| what.split(' ').nth(1));
    name.map_or(Ok(()), |name| Err(ApiError::forbidden_header(name)))
}

fn authorise(call: &Call<'_>, flavour: Flavour, is_current: bool) -> Result<String, ApiError> {
    let Call { shared, guard, .. } = *call;
    let headers = &call.head.headers;
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
            return accept_key(call, key, wrong);
        }
        // Azure's current paths also accept the key as a bearer token, as OpenAI does.
        let sent = own.or_else(|| if is_current { bearer(headers) } else { None });
        guard.note(|entry| entry.key.clone_from(&sent));
        return match sent {
            Some(key) => accept_key(call, key, wrong),
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
        call.violation("authorization that is no bearer key");
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
    accept_key(call, key, wrong)
}

fn accept_key(call: &Call<'_>, key: String, wrong: impl Fn(&str) -> ApiError) -> Result<String, ApiError> {
    match call.shared.key_state(&key) {
        Some(KeyState::Ok) => Ok(key),
        Some(KeyState::Revoked) => Err(wrong(&key)),
        Some(KeyState::Suspended) => Err(ApiError::suspended()),
        Some(KeyState::Exhausted) => Err(ApiError::out_of_quota()),
        Some(KeyState::RateLimited { retry_after_ms }) => Err(ApiError::rate_limited(retry_after_ms)),
        None => {
            call.violation("authorization that is none of the accepted keys");
            Err(wrong(&key))
        }
    }
}

pub(crate) fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim().to_owned())
}

pub(crate) fn content_type(headers: &HeaderMap) -> &str {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// The media type that was sent where it is not JSON's.
pub(crate) fn media_but_json(headers: &HeaderMap) -> Option<&str> {
    let media = content_type(headers).split(';').next().unwrap_or_default().trim();
    (!media.eq_ignore_ascii_case("application/json")).then_some(media)
}

/// The pairs of a query, as they were sent.
pub(crate) fn query_pairs(uri: &Uri) -> impl Iterator<Item = (&str, &str)> {
    uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='))
}

/// A moment as most vendors write it.
pub(crate) fn moment(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_default()
}

pub(crate) fn fields(headers: &HeaderMap, body: &Bytes) -> Result<serde_json::Map<String, Value>, ApiError> {
    if let Some(media) = media_but_json(headers) {
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
    Behaviour::parse(script).map_err(|error| ApiError::bad(error.to_string()).at("user", "emulator_script"))
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
