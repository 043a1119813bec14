//! fal: apps with paths of their own, called synchronously, as a stream, or through a queue that is polled
//! until the request is done; and the apps' prices, readable with any key.

mod apps;
mod error;
mod files;
mod pictures;
mod queue;
mod sounds;
mod videos;

use bytes::Bytes;
use http::Method;
use http::header::AUTHORIZATION;
use http::request::Parts;
use hyper::body::Incoming;
use serde_json::{Map, Value, json};

use crate::emulator::KeyState;
use crate::emulator::answering::{self, retry_headers};
use crate::emulator::service::{self, Answer, Call, before_head, behaviour, json_answer};
use crate::emulator::{Behaviour, UsageMode};
use apps::App;
use error::Refusal;
use files::FILES;
pub(crate) use queue::State;

/// The base path of synchronous calls.
pub const BASE: &str = "/fal";
/// The base path of the queue.
pub const QUEUE: &str = "/fal-queue";
const PRICING: &str = "/v1/models/pricing";
const SCHEME: &str = "Key ";
const UNITS: &str = "x-fal-billable-units";

pub(crate) fn serves(head: &Parts) -> bool {
    let below = |base: &str| head.uri.path().strip_prefix(base).is_some_and(|rest| rest.starts_with('/'));
    below(BASE) || below(QUEUE)
}

pub(crate) async fn answer(call: &Call<'_>, body: Incoming) -> Answer {
    call.guard.note(|entry| entry.key = None);
    let found = match service::read(call.shared, call.guard, body).await {
        Ok(body) => serve(call, &body).await,
        Err(_) => Err(Refusal::new(413, "Request body too large")),
    };
    let mut answer = found.unwrap_or_else(|refusal| {
        call.guard.note(|entry| entry.error_code = refusal.kind.clone());
        json_answer(refusal.status, refusal.headers(), &refusal.body())
    });
    answer.headers.push(("x-fal-request-id".to_owned(), call.request_id.to_owned()));
    answer
}

async fn serve(call: &Call<'_>, body: &Bytes) -> Result<Answer, Refusal> {
    forbidden_headers(call)?;
    let path = call.head.uri.path();
    if let Some(named) = path.strip_prefix(BASE).and_then(|path| path.strip_prefix(FILES)) {
        return files::serve(call, named);
    }
    let key = authorise(call)?;
    let method = &call.head.method;
    if let Some(path) = path.strip_prefix(QUEUE) {
        return queue::serve(call, &key, path, body).await;
    }
    let path = path.strip_prefix(BASE).unwrap_or_default();
    if path == PRICING && *method == Method::GET {
        return pricing(call);
    }
    if *method != Method::POST {
        return Err(Refusal::new(405, "Method Not Allowed"));
    }
    let (named, stream) = match path.strip_suffix("/stream") {
        Some(named) => (named, true),
        None => (path, false),
    };
    let app = App::find(named.trim_start_matches('/'))?;
    let request = app.read(&fields(call, body)?)?;
    call.guard.note(|entry| {
        entry.model = Some(app.id.to_owned());
        entry.stream = stream;
    });
    let behaviour = behaviour(call.shared, &key, None)?;
    before_head(call.control, call.guard, &behaviour).await;
    if let Some(answer) = special(call, &behaviour)? {
        return Ok(answer);
    }
    request.check()?;
    call.guard.note(|entry| entry.billable = true);
    if stream {
        return request.streamed(app, &behaviour, &origin(call, BASE));
    }
    let mut answer = answering::buffered(&request.answer(&origin(call, BASE)), 0, &behaviour)?;
    answer.headers.extend(request.units(&behaviour));
    Ok(answer)
}

impl apps::AppRequest {
    /// The header with the billed units.
    fn units(&self, behaviour: &Behaviour) -> Option<(String, String)> {
        let quantity = format!("{}", self.billed_units());
        (behaviour.usage != UsageMode::Missing).then(|| (UNITS.to_owned(), quantity))
    }
}

/// The URL of a path below the emulator, with the host that its client used.
fn origin(call: &Call<'_>, below: &str) -> String {
    let scheme = if call.control.is_tls() { "https" } else { "http" };
    format!("{scheme}://{}{below}", call.host())
}

/// The prices of apps.
fn pricing(call: &Call<'_>) -> Result<Answer, Refusal> {
    let query = call.head.uri.query().unwrap_or_default();
    let named = query.strip_prefix("endpoint_id=").unwrap_or_default();
    let named = percent_encoding::percent_decode_str(named).decode_utf8_lossy();
    let app = App::find(&named)?;
    let price = json!({"endpoint_id": app.id, "unit_price": 0.003, "unit": "megapixels", "currency": "USD"});
    let page = json!({"prices": [price], "next_cursor": null, "has_more": false});
    Ok(json_answer(200, Vec::new(), &page))
}

fn fields(call: &Call<'_>, body: &Bytes) -> Result<Map<String, Value>, Refusal> {
    if call.content_type().split(';').next().map(str::trim) != Some("application/json") {
        return Err(Refusal::wrong(&["body"], "model_attributes_type", "Input should be a valid dictionary"));
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(fields)) => Ok(fields),
        _ => Err(Refusal::wrong(&["body"], "json_invalid", "JSON decode error")),
    }
}

fn forbidden_headers(call: &Call<'_>) -> Result<(), Refusal> {
    match call.betrayed(call.foreign_headers(&[], &[])) {
        None => Ok(()),
        Some(what) => {
            let name = what.trim_start_matches("header ");
            Err(Refusal::new(400, &format!("Header {name} is not allowed")))
        }
    }
}

/// The key, which fal sends under an authorization scheme of its own.
fn authorise(call: &Call<'_>) -> Result<String, Refusal> {
    let sent = call.head.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(sent) = sent else { return Err(Refusal::no_key()) };
    let Some(key) = sent.strip_prefix(SCHEME) else {
        call.violation("authorization that is no key of this scheme");
        return Err(Refusal::no_key());
    };
    call.guard.note(|entry| entry.key = Some(key.to_owned()));
    match call.shared.key_state(key) {
        Some(KeyState::Ok) => Ok(key.to_owned()),
        Some(KeyState::Revoked) => Err(Refusal::wrong_key()),
        Some(KeyState::Exhausted | KeyState::Suspended) => Err(Refusal::locked()),
        Some(KeyState::RateLimited { retry_after_ms }) => Err(Refusal::limited(retry_after_ms)),
        None => {
            call.violation("authorization that is none of the accepted keys");
            Err(Refusal::wrong_key())
        }
    }
}

/// Responses that do not depend on the request.
fn special(call: &Call<'_>, behaviour: &Behaviour) -> Result<Option<Answer>, Refusal> {
    match behaviour.own_status() {
        Some(status) => {
            let refusal = Refusal::scripted(status, behaviour);
            call.guard.note(|entry| entry.error_code = refusal.kind.clone());
            let headers = [refusal.headers(), retry_headers(behaviour)].concat();
            Ok(Some(json_answer(status, headers, &refusal.body())))
        }
        None => Ok(answering::special(call.guard, behaviour)?),
    }
}
