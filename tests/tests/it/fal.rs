//! fal: images in OpenAI's format, billed by the units that fal reports, through the pool and on an own key.

use harness::client::Answer;
use harness::{Behaviour, Entry, KeyState, UsageMode};
use serde_json::{Value, json};

use crate::WITHIN;
use crate::ask::{events_of, has, problem, refused, refused_with, trace_of, with};
use crate::gateway::{CREDENTIALS, Gateway, OWN, POOL, money};

const IMAGES: &str = "/v1/images/generations";
const SCHNELL: &str = "fal-ai/flux-1/schnell";

/// The workspace's own credential, whose requests go through fal's queue or not.
pub fn at_fal(gateway: &Gateway, is_queued: bool) -> Value {
    let config = if is_queued { json!({"queue_url": gateway.emulator.fal_queue_url()}) } else { json!({}) };
    json!({"provider": "fal", "secret": OWN, "base_url": gateway.emulator.fal_url(), "config": config})
}

async fn pooled() -> Gateway {
    let gateway = Gateway::start().await;
    let base_url = gateway.emulator.fal_url();
    let body = json!({"provider": "fal", "secret": POOL, "base_url": base_url, "markup_bps": 1_000});
    gateway.make("/v2/accounts", body).await;
    gateway
}

/// Adds the workspace's own credential; returns its path.
async fn own(gateway: &Gateway) -> String {
    gateway.own(at_fal(gateway, false)).await
}

/// A gateway whose requests go through the queue.
async fn queued() -> Gateway {
    let gateway = Gateway::start().await;
    gateway.own(at_fal(&gateway, true)).await;
    gateway
}

fn wanted(more: Value) -> Value {
    with(json!({"model": SCHNELL, "prompt": "a tide"}), more)
}

async fn post(gateway: &Gateway, more: Value) -> Answer {
    gateway.post(IMAGES, &wanted(more)).await
}

async fn record_of(gateway: &Gateway, answer: &Answer) -> Value {
    gateway.settled(&trace_of(answer)).await
}

fn units(row: &Value) -> (u64, u64) {
    let count = |name: &str| row["units"][name].as_u64().unwrap_or_else(|| panic!("no {name}: {row}"));
    (count("images"), count("billed_micro_units"))
}

fn sent(gateway: &Gateway, key: &str) -> (String, Value) {
    let call = gateway.last(key);
    (call.path.clone(), call.json())
}

#[tokio::test]
async fn a_picture_is_billed_by_the_units_that_its_head_tells_and_ones_own_key_pays_for_itself() {
    let gateway = pooled().await;
    let extra = json!({"seed": 7, "num_inference_steps": 4});
    let more = with(extra.clone(), json!({"n": 2, "size": "640x480", "user": "u"}));
    let answer = post(&gateway, more).await.must_be(200);
    assert_eq!(answer.header("agent-execution-profile"), Some("managed_provider"));
    assert_eq!(answer.header("agent-dropped-params"), Some("user"));
    let document = answer.json();
    let urls: Vec<_> = document["data"].as_array().unwrap().iter().map(|datum| &datum["url"]).collect();
    assert_eq!(urls, ["https://v3.fal.media/files/tide/0.jpeg", "https://v3.fal.media/files/tide/1.jpeg"]);
    has(&document, json!({"size": "640x480", "output_format": "jpeg"}));
    assert!(document["created"].as_u64().unwrap() > 1_700_000_000, "{document}");
    let (path, body) = sent(&gateway, POOL);
    assert_eq!(path, format!("/fal/{SCHNELL}"));
    let size = json!({"width": 640, "height": 480});
    assert_eq!(body, with(extra, json!({"prompt": "a tide", "num_images": 2, "image_size": size})));
    let row = record_of(&gateway, &answer).await;
    // 0.6144 megapixels at 3,000 micro-USD, plus the markup of a tenth.
    assert_eq!((units(&row), money(&row)), ((2, 614_400), (2_027_520, 1_843_200, false)), "{row}");
    assert_eq!(row["estimated"], false);
    has(&row["attempts"][0]["receipt"][0], json!({"class": "billed_micro_units", "units": 614_400}));
    let usage = gateway.get("/v2/usage?group_by=modality").await;
    let sums = crate::gateway::row(&usage["data"], "modality", "image");
    has(sums, json!({"images": 2, "billed_micro_units": 614_400}));
    let form = json!({"response_format": "b64_json", "output_format": "png", "size": "auto"});
    let answer = post(&gateway, form).await.must_be(200);
    let datum = &answer.json()["data"][0];
    assert!(datum["b64_json"].as_str().unwrap().starts_with("iVBORw0KGgo") && datum.get("url").is_none());
    let expected = json!({"prompt": "a tide", "sync_mode": true, "output_format": "png"});
    assert_eq!(gateway.last(POOL).json(), expected);
    // Units that nobody told are guessed by the pixels, and marked.
    gateway.emulator.script(POOL, [Behaviour::ok().usage(UsageMode::Missing).always()]);
    let answer = post(&gateway, json!({"n": 2, "size": "1024x1024"})).await.must_be(200);
    gateway.emulator.clear_scripts();
    let row = record_of(&gateway, &answer).await;
    assert_eq!((units(&row), money(&row).1), ((2, 2_000_000), 6_000_000), "{row}");
    assert_eq!(row["estimated"], true);
    let answer = post(&gateway, json!({"prompt": "something forbidden"})).await;
    refused_with(&answer, 400, "content_filter", "content checker");
    let row = record_of(&gateway, &answer).await;
    assert_eq!((money(&row), row.get("units")), ((0, 0, false), None), "{row}");
    own(&gateway).await;
    let answer = post(&gateway, json!({})).await.must_be(200);
    assert_eq!(answer.header("agent-execution-profile"), Some("byok"));
    let row = record_of(&gateway, &answer).await;
    assert_eq!((units(&row), money(&row)), ((1, 786_432), (0, 2_359_296, false)), "{row}");
    gateway.emulator.set_key(OWN, KeyState::Revoked);
    refused(&post(&gateway, json!({})).await, 502, "upstream_auth_failed");
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn a_stream_is_told_as_one_whether_the_app_streams_or_not() {
    let gateway = pooled().await;
    for (model, path) in [
        ("fal-ai/flux-1/schnell", "/fal/fal-ai/flux-1/schnell"),
        ("fal:fal-ai/flux/schnell", "/fal/fal-ai/flux/schnell/stream"),
    ] {
        // An unpriced model is served only on an own credential.
        if model != SCHNELL {
            own(&gateway).await;
        }
        let body = wanted(json!({"model": model, "stream": true, "n": 2, "partial_images": 1}));
        let answer = gateway.post(IMAGES, &body).await.must_be(200);
        assert_eq!(answer.header("content-type"), Some("text/event-stream; charset=utf-8"), "{model}");
        let events = events_of(&answer);
        assert_eq!(events.len(), 2, "{events:?}");
        for event in &events {
            assert_eq!(event["type"], "image_generation.completed");
            assert!(event["b64_json"].as_str().unwrap().len() > 50, "{event}");
        }
        let (called_path, body) = sent(&gateway, if model == SCHNELL { POOL } else { OWN });
        assert_eq!((called_path.as_str(), body.get("stream")), (path, None));
        assert_eq!(body["sync_mode"], true);
        assert_eq!(units(&record_of(&gateway, &answer).await), (2, 1_572_864));
    }
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn a_verification_is_a_price_that_a_key_alone_is_told() {
    let gateway = Gateway::start().await;
    let path = own(&gateway).await;
    has(&gateway.verified(&path).await, json!({"status": "active"}));
    let call = gateway.emulator.journal().pop().unwrap();
    assert_eq!(call.path, "/fal/v1/models/pricing?endpoint_id=fal-ai%2Fflux-1%2Fschnell");
    assert!(!call.billable);
    gateway.emulator.set_key(OWN, KeyState::Revoked);
    let view = gateway.verified(&path).await;
    assert_eq!(view["status"], "invalid", "{view}");
    assert!(view.to_string().contains("its id, a colon and its secret"), "{view}");
    assert_eq!(gateway.emulator.violations(), []);
}

/// The steps called with this key, in order.
fn steps(gateway: &Gateway) -> Vec<String> {
    let last = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let calls = gateway.emulator.journal().into_iter().filter(|call| call.path.starts_with("/fal-queue/"));
    calls.map(|call| format!("{} {}", call.method, last(&call.path))).collect()
}

fn lasting() -> Behaviour {
    Behaviour { latency: 600_000, ..Behaviour::default() }
}

fn is_off(journal: &[Entry]) -> bool {
    journal.iter().any(|entry| entry.path.ends_with("/cancel") && entry.status == Some(202))
}

#[tokio::test]
async fn through_the_queue_it_is_looked_at_until_it_is_done() {
    let gateway = queued().await;
    let answer = post(&gateway, json!({"n": 2})).await.must_be(200);
    assert_eq!(answer.json()["data"].as_array().unwrap().len(), 2);
    let steps = steps(&gateway);
    assert_eq!(steps[..4], ["POST schnell", "GET status", "GET status", "GET status"], "{steps:?}");
    assert!(steps.len() == 5 && steps[4].starts_with("GET 0000"), "{steps:?}");
    let row = record_of(&gateway, &answer).await;
    assert_eq!((units(&row), money(&row)), ((2, 1_572_864), (0, 4_718_592, false)), "{row}");
    assert_eq!(row["attempts"].as_array().unwrap().len(), 1);

    let events = events_of(&post(&gateway, json!({"stream": true})).await.must_be(200));
    assert_eq!(events.len(), 1, "{events:?}");
    has(&events[0], json!({"type": "image_generation.completed"}));
    refused(&post(&gateway, json!({"prompt": "something forbidden"})).await, 400, "content_filter");
    assert_eq!(gateway.emulator.fal_cancelled(), 0);
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn who_leaves_or_has_no_time_calls_it_off() {
    for stream in [false, true] {
        let gateway = queued().await;
        gateway.emulator.script(OWN, [lasting()]);
        let body = wanted(json!({"stream": stream}));
        let client = gateway.client();
        let leaving = tokio::spawn(async move { client.post(IMAGES, &body).await });
        let is_seen = |entries: &[Entry]| entries.iter().any(|entry| entry.path.ends_with("/status"));
        gateway.emulator.wait_for(WITHIN, is_seen).await.unwrap();
        leaving.abort();
        gateway.emulator.wait_for(WITHIN, is_off).await.unwrap();
        assert_eq!(gateway.emulator.fal_cancelled(), 1, "stream {stream}");
    }
    let gateway = queued().await;
    gateway.route(json!({"scope": {}, "deadline_ms": 1_500})).await;
    gateway.emulator.script(OWN, [lasting()]);
    post(&gateway, json!({})).await.must_be(504);
    gateway.emulator.wait_for(WITHIN, is_off).await.unwrap();
    assert_eq!(gateway.emulator.fal_cancelled(), 1);
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn a_queue_leads_nobody_elsewhere() {
    let gateway = Gateway::start().await;
    let path = gateway.own(at_fal(&gateway, true)).await;
    // The key would be sent to another address, so the change requires the secret.
    let moved = json!({"config": {"queue_url": "https://queue.example"}});
    problem(&gateway.patched(&path, moved).await, 409, "base_url_needs_secret");
    let inside = json!({"provider": "fal", "secret": OWN, "config": {"queue_url": "http://169.254.169.254"}});
    let answer = gateway.admin().post(CREDENTIALS, &inside).await.unwrap();
    assert!(answer.status == 400 && answer.text().contains("config.queue_url"), "{}", answer.text());
}

/// Each row of the table of errors in docs/clouds.md.
#[tokio::test]
async fn errors_are_told_as_the_table_says() {
    for (state, status, code, words) in [
        (KeyState::Revoked, 502, "upstream_auth_failed", "its id, a colon and its secret"),
        (KeyState::Exhausted, 402, "insufficient_quota", "Top up the account's balance"),
    ] {
        let gateway = Gateway::start().await;
        own(&gateway).await;
        gateway.emulator.set_key(OWN, state);
        let answer = post(&gateway, json!({})).await;
        refused_with(&answer, status, code, words);
        let row = record_of(&gateway, &answer).await;
        assert_eq!((money(&row), row.get("units")), ((0, 0, false), None), "{row}");
    }
    let gateway = Gateway::start().await;
    own(&gateway).await;
    let reason = "User is locked. Reason: Admin lock. Please contact support@fal.ai";
    let locked = Behaviour::status(403).message(reason);
    for (behaviour, more, status, code, tries) in [
        (Some(locked), json!({}), 403, "upstream_permission_denied", 1),
        (None, json!({"model": "fal:fal-ai/nothing"}), 404, "model_not_found", 1),
        (None, json!({"negative_prompt": "x"}), 422, "upstream_bad_request", 1),
        (None, json!({"prompt": "something forbidden"}), 400, "content_filter", 1),
        (Some(Behaviour::status(500)), json!({}), 502, "upstream_error", 3),
        (Some(Behaviour::status(503)), json!({}), 503, "server_is_overloaded", 1),
        (Some(Behaviour::status(504)), json!({}), 504, "upstream_timeout", 1),
    ] {
        let before = gateway.calls(OWN).len();
        if let Some(behaviour) = behaviour {
            gateway.emulator.script(OWN, (0..3).map(|_| behaviour.clone()));
        }
        let answer = post(&gateway, more.clone()).await;
        refused(&answer, status, code);
        assert_eq!(gateway.calls(OWN).len() - before, tries, "{more}");
        gateway.emulator.clear_scripts();
        let row = record_of(&gateway, &answer).await;
        assert_eq!(money(&row).1, 0, "{row}");
    }
}
