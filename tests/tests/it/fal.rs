//! fal: images in OpenAI's format, billed by the units that fal reports, through the pool and on an own key.

use harness::client::Answer;
use harness::{Behaviour, Entry, KeyState, UsageMode};
use serde_json::{Value, json};

use crate::WITHIN;
use crate::ask::{refused, trace_of};
use crate::gateway::{Gateway, OWN, POOL, id_of};

const IMAGES: &str = "/v1/images/generations";
const SCHNELL: &str = "fal-ai/flux-1/schnell";

async fn start() -> Gateway {
    Gateway::start().await
}

async fn pooled() -> Gateway {
    let gateway = start().await;
    let base_url = gateway.emulator.fal_url();
    let body = json!({"provider": "fal", "secret": POOL, "base_url": base_url, "markup_bps": 1_000});
    gateway.make("/v2/accounts", body).await;
    gateway
}

/// Adds the workspace's own credential; returns its id.
async fn own(gateway: &Gateway) -> String {
    let base_url = gateway.emulator.fal_url();
    id_of(
        &gateway
            .make("/v2/provider-credentials", json!({"provider": "fal", "secret": OWN, "base_url": base_url}))
            .await,
    )
}

fn wanted(more: Value) -> Value {
    crate::ask::with(json!({"model": SCHNELL, "prompt": "a tide"}), more)
}

async fn post(gateway: &Gateway, more: Value) -> Answer {
    gateway.client().post(IMAGES, &wanted(more)).await.unwrap()
}

async fn post_ok(gateway: &Gateway, more: Value) -> Answer {
    let answer = post(gateway, more).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer
}

async fn record_of(gateway: &Gateway, answer: &Answer) -> Value {
    gateway.settled(&trace_of(answer)).await
}

fn units(row: &Value) -> (u64, u64) {
    let count = |name: &str| row["units"][name].as_u64().unwrap_or_else(|| panic!("no {name}: {row}"));
    (count("images"), count("billed_micro_units"))
}

/// What the workspace owes and what the provider bills, in nano-USD, and whether the price is unknown.
fn money(row: &Value) -> (i64, i64, bool) {
    let nanos = |name: &str| row[name].as_i64().unwrap();
    (nanos("cost_nanos"), nanos("provider_cost_nanos"), row["unpriced"].as_bool().unwrap())
}

fn sent(gateway: &Gateway, key: &str) -> (String, Value) {
    let call = gateway.calls(key).pop().unwrap();
    (call.path.clone(), call.json())
}

#[tokio::test]
async fn a_managed_picture_is_billed_by_the_units_that_its_head_tells() {
    let gateway = pooled().await;
    let answer = post_ok(
        &gateway,
        json!({"n": 2, "size": "640x480", "seed": 7, "num_inference_steps": 4, "user": "u"}),
    )
    .await;
    assert_eq!(answer.header("agent-execution-profile"), Some("managed_provider"));
    assert_eq!(answer.header("agent-dropped-params"), Some("user"));
    let document = answer.json();
    let urls: Vec<&str> =
        document["data"].as_array().unwrap().iter().map(|datum| datum["url"].as_str().unwrap()).collect();
    assert_eq!(urls, ["https://v3.fal.media/files/tide/0.jpeg", "https://v3.fal.media/files/tide/1.jpeg"]);
    assert_eq!((&document["size"], &document["output_format"]), (&json!("640x480"), &json!("jpeg")));
    assert!(document["created"].as_u64().unwrap() > 1_700_000_000, "{document}");
    let (path, body) = sent(&gateway, POOL);
    assert_eq!(path, format!("/fal/{SCHNELL}"));
    let expected = json!({"prompt": "a tide", "num_images": 2, "image_size": {"width": 640, "height": 480}, "seed": 7, "num_inference_steps": 4});
    assert_eq!(body, expected);
    let row = record_of(&gateway, &answer).await;
    // 0.6144 megapixels at 3,000 micro-USD, plus the markup of a tenth.
    assert_eq!((units(&row), money(&row)), ((2, 614_400), (2_027_520, 1_843_200, false)), "{row}");
    assert_eq!(row["estimated"], false);
    let line = &row["attempts"][0]["receipt"][0];
    assert_eq!((&line["class"], &line["units"]), (&json!("billed_micro_units"), &json!(614_400)), "{line}");
    let usage = gateway.get("/v2/usage?group_by=modality").await;
    let sums = crate::gateway::row(&usage["data"], "modality", "image");
    assert_eq!((&sums["images"], &sums["billed_micro_units"]), (&json!(2), &json!(614_400)), "{usage}");
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn a_picture_comes_as_bytes_where_it_is_asked_for_so() {
    let gateway = pooled().await;
    let answer =
        post_ok(&gateway, json!({"response_format": "b64_json", "output_format": "png", "size": "auto"}))
            .await;
    let datum = &answer.json()["data"][0];
    assert!(datum["b64_json"].as_str().unwrap().starts_with("iVBORw0KGgo") && datum.get("url").is_none());
    let (_, body) = sent(&gateway, POOL);
    assert_eq!(body, json!({"prompt": "a tide", "sync_mode": true, "output_format": "png"}));
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn units_that_nobody_told_are_guessed_by_the_pixels_and_marked() {
    let gateway = pooled().await;
    let silent = Behaviour { usage: UsageMode::Missing, ..Behaviour::default() };
    gateway.emulator.script(POOL, [silent.clone(), silent]);
    let row = record_of(&gateway, &post_ok(&gateway, json!({"n": 2, "size": "1024x1024"})).await).await;
    assert_eq!((units(&row), money(&row).1), ((2, 2_000_000), 6_000_000), "{row}");
    assert_eq!(row["estimated"], true);
}

#[tokio::test]
async fn ones_own_key_pays_for_itself_and_a_revoked_one_is_told() {
    let gateway = pooled().await;
    own(&gateway).await;
    let answer = post_ok(&gateway, json!({})).await;
    assert_eq!(answer.header("agent-execution-profile"), Some("byok"));
    let row = record_of(&gateway, &answer).await;
    assert_eq!((units(&row), money(&row)), ((1, 786_432), (0, 2_359_296, false)), "{row}");
    gateway.emulator.set_key(OWN, KeyState::Revoked);
    let answer = post(&gateway, json!({})).await;
    refused(&answer, 502, "upstream_auth_failed");
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn what_an_app_refuses_is_told_in_the_clients_words_and_costs_nothing() {
    let gateway = pooled().await;
    let answer = post(&gateway, json!({"prompt": "something forbidden"})).await;
    let error = refused(&answer, 400, "content_filter");
    assert!(error["message"].as_str().unwrap().contains("content checker"), "{error}");
    let row = record_of(&gateway, &answer).await;
    assert_eq!((money(&row), row.get("units")), ((0, 0, false), None), "{row}");
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
        let mut streaming = gateway.client().stream(IMAGES, &body).await.unwrap();
        assert_eq!(streaming.header("content-type"), Some("text/event-stream; charset=utf-8"), "{model}");
        let (events, ended) = streaming.events().await;
        ended.unwrap();
        assert_eq!(events.len(), 2, "{events:?}");
        for event in &events {
            let event: Value = serde_json::from_str(event).unwrap();
            assert_eq!(event["type"], "image_generation.completed");
            assert!(event["b64_json"].as_str().unwrap().len() > 50, "{event}");
        }
        let key = if model == SCHNELL { POOL } else { OWN };
        let (called_path, body) = sent(&gateway, key);
        assert_eq!(
            (called_path.as_str(), &body["sync_mode"], body.get("stream")),
            (path, &json!(true), None)
        );
        let row = gateway.settled(&crate::ask::trace_of_stream(&streaming)).await;
        assert_eq!(units(&row), (2, 1_572_864), "{row}");
    }
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn a_verification_is_a_price_that_a_key_alone_is_told() {
    let gateway = start().await;
    let verify = format!("/v2/provider-credentials/{}/verify", own(&gateway).await);
    let verified = async || gateway.admin().post(&verify, &json!({})).await.unwrap().json();
    assert_eq!(verified().await["status"], "active");
    let call = gateway.emulator.journal().pop().unwrap();
    assert_eq!(call.path, "/fal/v1/models/pricing?endpoint_id=fal-ai%2Fflux-1%2Fschnell");
    assert!(!call.billable);
    gateway.emulator.set_key(OWN, KeyState::Revoked);
    let refused = verified().await;
    assert_eq!(refused["status"], "invalid", "{refused}");
    assert!(refused.to_string().contains("its id, a colon and its secret"), "{refused}");
    assert_eq!(gateway.emulator.violations(), []);
}

/// A credential whose requests go through fal's queue.
async fn with_queue(gateway: &Gateway) -> String {
    let config = json!({"queue_url": gateway.emulator.fal_queue_url()});
    let body = json!({
        "provider": "fal", "secret": OWN, "base_url": gateway.emulator.fal_url(), "config": config,
    });
    id_of(&gateway.make("/v2/provider-credentials", body).await)
}

/// The steps called with this key, in order.
fn steps(gateway: &Gateway) -> Vec<String> {
    let last = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let calls = gateway.emulator.journal().into_iter().filter(|call| call.path.starts_with("/fal-queue/"));
    calls.map(|call| format!("{} {}", call.method, last(&call.path))).collect()
}

fn lasting(latency: u64) -> Behaviour {
    Behaviour { latency, ..Behaviour::default() }
}

#[tokio::test]
async fn through_the_queue_it_is_looked_at_until_it_is_done() {
    let gateway = start().await;
    with_queue(&gateway).await;
    let answer = post_ok(&gateway, json!({"n": 2})).await;
    assert_eq!(answer.json()["data"].as_array().unwrap().len(), 2);
    let steps = steps(&gateway);
    assert_eq!(steps[..4], ["POST schnell", "GET status", "GET status", "GET status"], "{steps:?}");
    assert!(steps.len() == 5 && steps[4].starts_with("GET 0000"), "{steps:?}");
    let row = record_of(&gateway, &answer).await;
    assert_eq!((units(&row), money(&row)), ((2, 1_572_864), (0, 4_718_592, false)), "{row}");
    assert_eq!(row["attempts"].as_array().unwrap().len(), 1);

    let mut streaming = gateway.client().stream(IMAGES, &wanted(json!({"stream": true}))).await.unwrap();
    let (events, ended) = streaming.events().await;
    ended.unwrap();
    assert!(events.len() == 1 && events[0].contains("image_generation.completed"), "{events:?}");
    let refusal = post(&gateway, json!({"prompt": "something forbidden"})).await;
    refused(&refusal, 400, "content_filter");
    assert_eq!(gateway.emulator.fal_cancelled(), 0);
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn who_leaves_or_has_no_time_calls_it_off() {
    for stream in [false, true] {
        let gateway = start().await;
        with_queue(&gateway).await;
        gateway.emulator.script(OWN, [lasting(600_000)]);
        let body = wanted(json!({"stream": stream}));
        let client = gateway.client();
        let leaving = tokio::spawn(async move { client.post(IMAGES, &body).await });
        let is_seen = |entries: &[Entry]| entries.iter().any(|entry| entry.path.ends_with("/status"));
        gateway.emulator.wait_for(WITHIN, is_seen).await.unwrap();
        leaving.abort();
        let is_off = |entries: &[Entry]| {
            entries.iter().any(|entry| entry.path.ends_with("/cancel") && entry.status == Some(202))
        };
        gateway.emulator.wait_for(WITHIN, is_off).await.unwrap();
        assert_eq!(gateway.emulator.fal_cancelled(), 1, "stream {stream}");
    }
    let gateway = start().await;
    with_queue(&gateway).await;
    gateway.route(json!({"scope": {}, "deadline_ms": 1_500})).await;
    gateway.emulator.script(OWN, [lasting(600_000)]);
    let answer = post(&gateway, json!({})).await;
    assert_eq!(answer.status, 504, "{}", answer.text());
    let is_off =
        |entries: &[Entry]| entries.iter().any(|entry| entry.status == Some(202) && entry.method == "PUT");
    gateway.emulator.wait_for(WITHIN, is_off).await.unwrap();
    assert_eq!(gateway.emulator.fal_cancelled(), 1);
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn a_queue_leads_nobody_elsewhere() {
    let gateway = start().await;
    let id = with_queue(&gateway).await;
    // The key would be sent to another address, so the change requires the secret.
    let moved = json!({"config": {"queue_url": "https://queue.example"}});
    let answer = gateway.patched(&format!("/v2/provider-credentials/{id}"), moved).await;
    let error = answer.json();
    assert_eq!((answer.status, &error["code"]), (409, &json!("base_url_needs_secret")), "{error}");
    let inside = json!({"provider": "fal", "secret": OWN, "config": {"queue_url": "http://169.254.169.254"}});
    let answer = gateway.admin().post("/v2/provider-credentials", &inside).await.unwrap();
    assert!(answer.status == 400 && answer.text().contains("config.queue_url"), "{}", answer.text());
}

/// Each row of the table of errors in docs/clouds.md.
#[tokio::test]
async fn errors_are_told_as_the_table_says() {
    let gateway = start().await;
    own(&gateway).await;
    let scripted = |status| Behaviour { status: Some(status), ..Behaviour::default() };
    for (state, status, code, words) in [
        (KeyState::Revoked, 502, "upstream_auth_failed", "its id, a colon and its secret"),
        (KeyState::Exhausted, 402, "insufficient_quota", "Top up the account's balance"),
    ] {
        let gateway = start().await;
        own(&gateway).await;
        gateway.emulator.set_key(OWN, state);
        let answer = post(&gateway, json!({})).await;
        let error = refused(&answer, status, code);
        assert!(error["message"].as_str().unwrap().contains(words), "{error}");
        let row = record_of(&gateway, &answer).await;
        assert_eq!((money(&row), row.get("units")), ((0, 0, false), None), "{row}");
    }
    let locked = Behaviour {
        message: Some("User is locked. Reason: Admin lock. Please contact support@fal.ai".to_owned()),
        ..scripted(403)
    };
    for (behaviour, more, status, code, tries) in [
        (Some(locked), json!({}), 403, "upstream_permission_denied", 1),
        (None, json!({"model": "fal:fal-ai/nothing"}), 404, "model_not_found", 1),
        (None, json!({"negative_prompt": "x"}), 422, "upstream_bad_request", 1),
        (None, json!({"prompt": "something forbidden"}), 400, "content_filter", 1),
        (Some(scripted(500)), json!({}), 502, "upstream_error", 3),
        (Some(scripted(503)), json!({}), 503, "server_is_overloaded", 1),
        (Some(scripted(504)), json!({}), 504, "upstream_timeout", 1),
    ] {
        let before = gateway.calls(OWN).len();
        if let Some(behaviour) = behaviour {
            gateway.emulator.script(OWN, (0..3).map(|_| behaviour.clone()));
        }
        let answer = post(&gateway, more.clone()).await;
        println!("{status} {}: {}", answer.status, answer.text());
        let error = refused(&answer, status, code);
        println!("{error}");
        assert_eq!(gateway.calls(OWN).len() - before, tries, "{more}");
        gateway.emulator.clear_scripts();
        let row = record_of(&gateway, &answer).await;
        assert_eq!(money(&row).1, 0, "{row}");
    }
}
