//! The emulator's own HTTP interface under `/__emulator/`, for tests in other processes.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::behaviour::Behaviour;
use super::body::{Step, Steps};
use super::config::KeyState;
use super::journal::Entry;
use super::state::Shared;
use super::wire::Control;

pub(crate) async fn answer(
    shared: &Arc<Shared>,
    method: &Method,
    path: &str,
    body: Incoming,
) -> (u16, Value) {
    let Ok(body) = body.collect().await else { return fault("the body broke off") };
    let body = body.to_bytes();
    match (method.as_str(), path) {
        ("GET", "journal") => {
            let entries = shared.journal();
            (200, entries.iter().map(|entry| entry.to_json(shared.epoch)).collect())
        }
        ("GET", "totals") => (200, json!(shared.totals())),
        ("GET", "violations") => (200, json!(shared.violations())),
        ("GET", "connections") => (200, json!(shared.connections())),
        ("POST", "reset") => {
            shared.reset();
            (200, json!({"ok": true}))
        }
        ("POST", "script") => script(shared, &body),
        ("DELETE", "script") => {
            shared.clear_scripts();
            (200, json!({"ok": true}))
        }
        ("POST", "keys") => key(shared, &body),
        _ => (404, json!({"error": format!("no {method} {path} here")})),
    }
}

pub(crate) fn response(
    status: u16,
    body: &Value,
    shared: &Arc<Shared>,
    control: Arc<Control>,
    entry: Entry,
) -> Response<Steps> {
    let steps = vec![Step::Write { bytes: Bytes::from(body.to_string()), tokens: 0 }];
    let guard = shared.unrecorded(entry, Arc::clone(&control));
    let mut response = Response::new(Steps::new(steps, guard, control));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// `{"key": "k1" or null, "behaviours": [{..} or "short form", ..]}`
fn script(shared: &Shared, body: &Bytes) -> (u16, Value) {
    let Ok(sent) = serde_json::from_slice::<Value>(body) else { return fault("the body is not JSON") };
    let Some(list) = sent.get("behaviours").and_then(Value::as_array) else {
        return fault("`behaviours` must be an array");
    };
    let read: Result<Vec<Behaviour>, _> = list
        .iter()
        .map(|one| match one.as_str() {
            Some(short) => Behaviour::parse(short.strip_prefix("emu:").unwrap_or(short)),
            None => Behaviour::from_json(one.clone()),
        })
        .collect();
    match read {
        Ok(behaviours) => {
            let queued = behaviours.len();
            shared.script(sent.get("key").and_then(Value::as_str), behaviours);
            (200, json!({"queued": queued}))
        }
        Err(error) => fault(&error.to_string()),
    }
}

/// `{"key": "k1", "state": "ok" | "revoked" | "exhausted" | {"rate_limited": {"retry_after_ms": 500}} | null}`
fn key(shared: &Shared, body: &Bytes) -> (u16, Value) {
    let sent = serde_json::from_slice::<Value>(body).unwrap_or_default();
    let Some(key) = sent.get("key").and_then(Value::as_str) else { return fault("`key` must be a string") };
    match sent.get("state") {
        Some(Value::Null) => shared.forget_key(key),
        state => match serde_json::from_value::<KeyState>(state.cloned().unwrap_or_default()) {
            Ok(state) => shared.set_key(key, state),
            Err(error) => return fault(&error.to_string()),
        },
    }
    (200, json!({"ok": true}))
}

fn fault(message: &str) -> (u16, Value) {
    (400, json!({"error": message}))
}
