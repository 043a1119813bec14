//! Veo on Vertex AI: videos that run as long-running operations and are presented in OpenAI's format, with
//! their seconds booked once, whichever client polled or if none did.

use harness::client::Answer;
use harness::directory::google::PROJECT;
use harness::{Behaviour, Entry};
use serde_json::{Value, json};

use crate::WITHIN;
use crate::ask::{has, refused, refused_with, trace_of, with};
use crate::gateway::{Gateway, OWN, config, id_of, sums};
use crate::vertex::service_account;
use crate::videos::{SECOND_BYTES, VIDEOS, all, booked_videos, id, look, remove, seen_to_the_end};

const LOCATION: &str = "us-central1";
const VEO: &str = "google/veo-3.0-generate-001";
/// An operator's own price: 400,000 micro-USD per second.
const PRICES: &str = r#"
[[model]]
name = "google/veo-3.0-generate-001"
modality = "video"
[[model.offer]]
provider = "vertex_ai"
upstream_model = "veo-3.0-generate-001"
rates = { per_video_second = 400_000 }
"#;
/// The price of an eight-second video, in nano-USD.
const NANOS: i64 = 8 * 400_000_000;

async fn fixture() -> Gateway {
    let gateway = Gateway::priced(config(), PRICES).await;
    gateway.own(service_account(&gateway, OWN, LOCATION, json!({}))).await;
    gateway
}

async fn post(gateway: &Gateway, more: Value) -> Answer {
    let body = with(json!({"model": VEO, "prompt": "sea ", "seconds": "8"}), more);
    gateway.post(VIDEOS, &body).await
}

async fn create_video(gateway: &Gateway, more: Value) -> String {
    id(&post(gateway, more).await.must_be(200))
}

/// Milliseconds, what the operator is owed and what the provider bills, in nano-USD, and whether the price is
/// unknown.
fn money(row: &Value) -> (u64, i64, i64, bool) {
    let nanos = |name: &str| row[name].as_i64().unwrap();
    let ms = row["units"]["video_ms"].as_u64().unwrap_or_default();
    (ms, nanos("cost_nanos"), nanos("provider_cost_nanos"), row["unpriced"].as_bool().unwrap())
}

fn address(verb: &str) -> String {
    let models = format!("/v1/projects/{PROJECT}/locations/{LOCATION}/publishers/google/models");
    format!("{models}/veo-3.0-generate-001:{verb}")
}

#[tokio::test]
async fn a_film_is_begun_seen_taken_booked_and_forgotten() {
    let gateway = &fixture().await;
    let own = json!({"negativePrompt": "rain", "seed": 7, "generateAudio": true});
    let more = with(own.clone(), json!({"size": "1080x1920", "user": "u"}));
    let answer = post(gateway, more).await.must_be(200);
    assert_eq!(answer.header("agent-dropped-params"), Some("user"));
    let started = answer.json();
    has(&started, json!({"object": "video", "status": "queued", "seconds": "8", "size": "1080x1920"}));
    assert_eq!(started["model"], "veo-3.0-generate-001", "{started}");
    assert!(started["created_at"].as_u64().unwrap() > 1_700_000_000, "{started}");
    let sent = gateway.calls(OWN).into_iter().find(|call| call.path == address("predictLongRunning"));
    let more = json!({"sampleCount": 1, "durationSeconds": 8, "aspectRatio": "9:16", "resolution": "1080p"});
    let expected = json!({"instances": [{"prompt": "sea "}], "parameters": with(own, more)});
    assert_eq!(sent.unwrap().json(), expected);
    let record = gateway.settled(&trace_of(&answer)).await;
    assert_eq!(money(&record), (0, 0, 0, false), "{record}");

    let id = started["id"].as_str().unwrap();
    let video = seen_to_the_end(gateway, id).await.json();
    has(&video, json!({"id": id, "status": "completed", "progress": 100, "seconds": "8"}));
    has(&video, json!({"created_at": started["created_at"]}));
    let content = look(gateway, &format!("{id}/content")).await;
    assert_eq!((content.status, content.header("content-type")), (200, Some("video/mp4")));
    assert_eq!(content.body, b"sea ".repeat(2 * SECOND_BYTES));
    let small = look(gateway, &format!("{id}/content?variant=thumbnail")).await;
    assert_eq!(refused(&small, 400, "unsupported_value")["param"], "variant");

    let row = booked_videos(gateway, 1).await.remove(0);
    assert_eq!(money(&row), (8_000, 0, NANOS, false), "{row}");
    has(&row, json!({"resolved_model": VEO, "provider": "vertex_ai", "outcome": "completed"}));
    let sums = sums(&gateway.get("/v2/usage").await);
    has(&sums, json!({"video_ms": 8_000, "provider_cost_micros": 3_200_000}));

    assert_eq!(all(&gateway.client()).await[0]["id"], id);
    let gone = remove(gateway, id).await;
    assert_eq!(gone.json(), json!({"id": id, "object": "video.deleted", "deleted": true}));
    for path in [id.to_owned(), format!("{id}/content")] {
        refused(&look(gateway, &path).await, 404, "video_not_found");
    }
    refused(&remove(gateway, id).await, 404, "video_not_found");
    assert_eq!(all(&gateway.client()).await, json!([]));
    booked_videos(gateway, 1).await;
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn the_official_sdk_makes_films_of_another_cloud() {
    let gateway = &fixture().await;
    assert_eq!(gateway.drive("veo.py").await, 4);
    let rows = booked_videos(gateway, 4).await;
    assert_eq!(rows.iter().map(|row| money(row).0).sum::<u64>(), (8 + 4 + 4 + 6) * 1_000);
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn a_film_is_booked_once_though_its_client_never_looks_and_the_gateway_is_killed() {
    let gateway = &mut fixture().await;
    let video = create_video(gateway, json!({})).await;
    gateway.crash().await;
    let is_polled =
        |journal: &[Entry]| journal.iter().any(|entry| entry.path.ends_with(":fetchPredictOperation"));
    gateway.emulator.wait_for(2 * WITHIN, is_polled).await.unwrap();
    gateway.crash().await;
    let row = booked_videos(gateway, 1).await.remove(0);
    assert_eq!(money(&row), (8_000, 0, NANOS, false), "{row}");
    gateway.crash().await;
    assert_eq!(seen_to_the_end(gateway, &video).await.json()["status"], "completed");
    booked_videos(gateway, 1).await;
    assert_eq!(sums(&gateway.get("/v2/usage").await)["video_ms"], json!(8_000));
}

#[tokio::test]
async fn what_failed_costs_nothing_and_says_why() {
    let gateway = &fixture().await;
    for (prompt, code, words) in
        [("all filtered", "moderation_blocked", "usage guidelines"), ("broken off", "internal", "try again")]
    {
        let id = create_video(gateway, json!({"prompt": prompt})).await;
        let video = seen_to_the_end(gateway, &id).await.json();
        has(&video, json!({"status": "failed", "/error/code": code}));
        assert!(video["error"]["message"].as_str().unwrap().contains(words), "{video}");
        let content = look(gateway, &format!("{id}/content")).await;
        assert!(content.status == 400 && content.text().contains(words), "{}", content.text());
        assert_eq!(remove(gateway, &id).await.status, 200);
    }
    let answer = post(gateway, json!({"prompt": "forbidden"})).await;
    refused_with(&answer, 400, "content_filter", "Responsible AI");
    // Only a video made afterwards is in the books.
    create_video(gateway, json!({"seconds": "4"})).await;
    assert_eq!(money(&booked_videos(gateway, 1).await[0]).0, 4_000);
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn what_has_not_ended_is_neither_taken_nor_deleted_and_is_booked_though_it_is_deleted_then() {
    let gateway = &fixture().await;
    let id = create_video(gateway, json!({})).await;
    let early = look(gateway, &format!("{id}/content")).await;
    assert!(early.status == 400 && early.text().contains("not ready"), "{}", early.text());
    let other = create_video(gateway, json!({"seconds": "6"})).await;
    refused(&remove(gateway, &other).await, 400, "video_not_ended");
    // The second poll sees the video's end, whether a client or the gateway polled first.
    assert_eq!(remove(gateway, &other).await.status, 200);
    refused(&look(gateway, &other).await, 404, "video_not_found");
    let mut booked: Vec<u64> = booked_videos(gateway, 2).await.iter().map(|row| money(row).0).collect();
    booked.sort_unstable();
    assert_eq!(booked, [6_000, 8_000]);
    let remix = gateway.post(&format!("{VIDEOS}/{id}/remix"), &json!({"prompt": "an ebb"})).await;
    refused_with(&remix, 400, "unsupported_operation", "no video of another");
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn what_there_are_no_words_for_is_refused_by_name() {
    let gateway = &fixture().await;
    let before = gateway.calls(OWN).len();
    for (more, param, code) in [
        (json!({"size": "1792x1024"}), "size", "unsupported_value"),
        (json!({"seconds": "4.5"}), "seconds", "invalid_value"),
        (json!({"storageUri": "gs://sea"}), "storageUri", "unsupported_parameter"),
        (json!({"quality": "high"}), "quality", "unsupported_parameter"),
        (json!({"input_reference": {"file_id": "file-tg_1"}}), "input_reference", "unsupported_value"),
    ] {
        let answer = post(gateway, more).await;
        assert_eq!(refused(&answer, 400, code)["param"], param, "{}", answer.text());
    }
    for model in ["vertex:gemini-2.5-pro", "vertex:imagen-4.0-generate-001", "vertex:claude-opus-5"] {
        assert_eq!(post(gateway, json!({"model": model})).await.status, 400, "{model}");
    }
    assert_eq!(gateway.calls(OWN).len(), before, "nothing was sent");
    let long = post(gateway, json!({"seconds": "12"})).await;
    assert!(long.status == 400 && long.text().contains("durationSeconds"), "{}", long.text());
    let lenient = gateway.client().header("agent-lenient", "true");
    let body = json!({"model": VEO, "prompt": "sea ", "quality": "high", "size": "1792x1024"});
    let answer = lenient.post(VIDEOS, &body).await.unwrap();
    assert_eq!(answer.header("agent-dropped-params"), Some("size, quality"), "{}", answer.text());
    assert_eq!(answer.json()["size"], "1280x720");
    booked_videos(gateway, 1).await;
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn nobody_sees_what_another_project_made_nor_what_is_gone() {
    let gateway = &fixture().await;
    let id = create_video(gateway, json!({})).await;
    booked_videos(gateway, 1).await;
    let project = id_of(&gateway.make("/v2/projects", json!({"name": "other"})).await);
    let (key, _) = gateway.key(json!({"name": "k", "project_id": project, "scopes": ["inference"]})).await;
    let other = gateway.with_key(&key);
    let calls_before = gateway.emulator.journal().len();
    for (method, below) in [("GET", ""), ("GET", "/content"), ("DELETE", "")] {
        let path = format!("{VIDEOS}/{id}{below}");
        refused(&other.call(method.parse().unwrap(), &path, &[], "").await.unwrap(), 404, "video_not_found");
    }
    assert_eq!(gateway.emulator.journal().len(), calls_before, "something was asked");
    assert_eq!(all(&other).await, json!([]));
    assert_eq!(look(gateway, &id).await.status, 200);
    // What is gone at the provider is not found, and an account that may not makes none.
    gateway.emulator.script(OWN, [Behaviour::status(404)]);
    refused_with(&look(gateway, &id).await, 404, "video_not_found", &id);
    gateway.emulator.deny(OWN);
    let denied = post(gateway, json!({})).await;
    let error = denied.json()["error"].clone();
    assert!(denied.status >= 400 && error["message"].as_str().unwrap().contains("Permission"), "{error}");
}
