//! Veo on Vertex AI: videos that run as long-running operations and are presented in OpenAI's format, with
//! their seconds booked once, whichever client polled or if none did.

use std::time::Instant;

use harness::Behaviour;
use harness::client::{Answer, Client};
use harness::directory::google::PROJECT;
use http::Method;
use serde_json::{Value, json};

use crate::WITHIN;
use crate::ask::{refused, trace_of, with};
use crate::command::workspace;
use crate::gateway::{Gateway, OWN, config, id_of, sums};
use crate::sdk::drive;
use crate::wait::a_moment;

const VIDEOS: &str = "/v1/videos";
const LOCATION: &str = "us-central1";
const VEO: &str = "google/veo-3.0-generate-001";
const SECOND_BYTES: usize = 64 * 1024;
/// An operator's own price: 400,000 micro-USD per second.
const PRICES: &str = "
[[model]]
name = \"google/veo-3.0-generate-001\"
modality = \"video\"
[[model.offer]]
provider = \"vertex_ai\"
upstream_model = \"veo-3.0-generate-001\"
rates = { per_video_second = 400_000 }
";
/// The price of an eight-second video, in nano-USD.
const NANOS: i64 = 8 * 400_000_000;

struct Fixture {
    gateway: Gateway,
}

async fn fixture() -> Fixture {
    let gateway = Gateway::priced(config(), PRICES).await;
    let fixture = Fixture { gateway };
    fixture.credential(json!({})).await;
    fixture
}

impl Fixture {
    async fn credential(&self, more: Value) -> String {
        let file = self.gateway.emulator.service_account(OWN);
        let config = with(json!({"location": LOCATION, "token_url": file["token_uri"]}), more);
        let base_url = self.gateway.emulator.origin();
        let body = json!({"provider": "vertex", "auth": "service_account", "secret": file, "base_url": base_url, "config": config});
        id_of(&self.gateway.make("/v2/provider-credentials", body).await)
    }

    async fn post(&self, more: Value) -> Answer {
        let body = with(json!({"model": VEO, "prompt": "sea ", "seconds": "8"}), more);
        self.gateway.client().post(VIDEOS, &body).await.unwrap()
    }

    async fn made(&self, more: Value) -> Answer {
        let answer = self.post(more).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer
    }

    async fn create_video(&self, more: Value) -> String {
        let id = self.made(more).await.json()["id"].as_str().unwrap().to_owned();
        assert!(id.starts_with("video_tg_"), "{id}");
        id
    }

    async fn get(&self, below: &str) -> Answer {
        self.gateway.client().get(&format!("{VIDEOS}/{below}")).await.unwrap()
    }

    /// Polls until the video is done or failed; returns the last answer.
    async fn seen_to_the_end(&self, id: &str) -> Value {
        let deadline = Instant::now() + WITHIN;
        loop {
            let answer = self.get(id).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            let video = answer.json();
            if !["queued", "in_progress"].contains(&video["status"].as_str().unwrap()) {
                return video;
            }
            assert!(Instant::now() < deadline, "{video}");
            a_moment().await;
        }
    }

    async fn remove(&self, id: &str) -> Answer {
        let path = format!("{VIDEOS}/{id}");
        self.gateway.client().call(Method::DELETE, &path, &[], "").await.unwrap()
    }

    /// The records of videos, which no API key requested, once there are this many; there must never be more.
    async fn wait_for_records(&self, number: usize) -> Vec<Value> {
        let deadline = Instant::now() + 4 * WITHIN;
        loop {
            let mut rows = self.gateway.requests(200).await;
            rows.retain(|row| row["operation"] == "video" && row["key_id"].is_null());
            assert!(rows.len() <= number, "{} of {number}", rows.len());
            if rows.len() == number {
                let mut whole = Vec::new();
                for row in rows {
                    whole.push(self.gateway.settled(row["id"].as_str().unwrap()).await);
                }
                return whole;
            }
            assert!(Instant::now() < deadline, "{} of {number} are in the books", rows.len());
            a_moment().await;
        }
    }

    fn polls(&self) -> usize {
        let journal = self.gateway.emulator.journal().into_iter();
        journal.filter(|entry| entry.path.ends_with(":fetchPredictOperation")).count()
    }

    fn is_clean(&self) {
        assert_eq!(self.gateway.emulator.violations(), []);
    }
}

/// Milliseconds, what the operator is owed and what the provider bills, in nano-USD, and whether the price is
/// unknown.
fn money(row: &Value) -> (u64, i64, i64, bool) {
    let nanos = |name: &str| row[name].as_i64().unwrap();
    let ms = row["units"]["video_ms"].as_u64().unwrap_or_default();
    (ms, nanos("cost_nanos"), nanos("provider_cost_nanos"), row["unpriced"].as_bool().unwrap())
}

async fn listed(client: &Client) -> Value {
    client.get(VIDEOS).await.unwrap().json()["data"].clone()
}

fn address(verb: &str) -> String {
    let models = format!("/v1/projects/{PROJECT}/locations/{LOCATION}/publishers/google/models");
    format!("{models}/veo-3.0-generate-001:{verb}")
}

#[tokio::test]
async fn a_film_is_begun_seen_taken_booked_and_forgotten() {
    let fixture = &fixture().await;
    let more =
        json!({"size": "1080x1920", "negativePrompt": "rain", "seed": 7, "generateAudio": true, "user": "u"});
    let answer = fixture.made(more).await;
    assert_eq!(answer.header("agent-dropped-params"), Some("user"));
    let started = answer.json();
    let fields =
        (&started["object"], &started["status"], &started["seconds"], &started["size"], &started["model"]);
    let expected = ("video", "queued", "8", "1080x1920", "veo-3.0-generate-001");
    let expected =
        (&json!(expected.0), &json!(expected.1), &json!(expected.2), &json!(expected.3), &json!(expected.4));
    assert_eq!(fields, expected, "{started}");
    assert!(started["created_at"].as_u64().unwrap() > 1_700_000_000, "{started}");
    let sent = fixture.gateway.calls(OWN).into_iter().find(|call| call.path == address("predictLongRunning"));
    let parameters = json!({
        "sampleCount": 1, "durationSeconds": 8, "aspectRatio": "9:16", "resolution": "1080p",
        "negativePrompt": "rain", "seed": 7, "generateAudio": true,
    });
    let expected = json!({"instances": [{"prompt": "sea "}], "parameters": parameters});
    assert_eq!(sent.unwrap().json(), expected);
    let record = fixture.gateway.settled(&trace_of(&answer)).await;
    assert_eq!(money(&record), (0, 0, 0, false), "{record}");

    let id = started["id"].as_str().unwrap();
    let video = fixture.seen_to_the_end(id).await;
    assert_eq!(
        (&video["id"], &video["status"], &video["progress"]),
        (&json!(id), &json!("completed"), &json!(100))
    );
    assert_eq!((&video["seconds"], &video["created_at"]), (&json!("8"), &started["created_at"]));
    let content = fixture.get(&format!("{id}/content")).await;
    assert_eq!((content.status, content.header("content-type")), (200, Some("video/mp4")));
    assert_eq!(content.body, b"sea ".repeat(2 * SECOND_BYTES));
    let small = fixture.get(&format!("{id}/content?variant=thumbnail")).await;
    assert_eq!(refused(&small, 400, "unsupported_value")["param"], "variant");

    let rows = fixture.wait_for_records(1).await;
    assert_eq!(money(&rows[0]), (8_000, 0, NANOS, false), "{}", rows[0]);
    let row = (&rows[0]["resolved_model"], &rows[0]["provider"], &rows[0]["outcome"]);
    assert_eq!(row, (&json!(VEO), &json!("vertex_ai"), &json!("completed")));
    let sums = sums(&fixture.gateway.get("/v2/usage").await);
    let summed = (&sums["video_ms"], &sums["provider_cost_micros"]);
    assert_eq!(summed, (&json!(8_000), &json!(3_200_000)), "{sums}");

    assert_eq!(listed(&fixture.gateway.client()).await[0]["id"], id);
    let gone = fixture.remove(id).await;
    assert_eq!(gone.json(), json!({"id": id, "object": "video.deleted", "deleted": true}));
    for path in [id.to_owned(), format!("{id}/content")] {
        refused(&fixture.get(&path).await, 404, "video_not_found");
    }
    refused(&fixture.remove(id).await, 404, "video_not_found");
    assert_eq!(listed(&fixture.gateway.client()).await, json!([]));
    fixture.wait_for_records(1).await;
    fixture.is_clean();
}

#[tokio::test]
async fn the_official_sdk_makes_films_of_another_cloud() {
    let python = workspace().join(".venv/bin/python");
    assert!(python.exists(), "run scripts/python-env.sh first");
    let fixture = &fixture().await;
    let driven = drive(python, workspace().join("tests/sdk/veo.py"), &fixture.gateway).await;
    assert_eq!(driven.held, 4);
    let rows = fixture.wait_for_records(4).await;
    assert_eq!(rows.iter().map(|row| money(row).0).sum::<u64>(), (8 + 4 + 4 + 6) * 1_000);
    fixture.is_clean();
}

#[tokio::test]
async fn a_film_is_booked_once_though_its_client_never_looks_and_the_gateway_is_killed() {
    let fixture = &mut fixture().await;
    let video = fixture.create_video(json!({})).await;
    fixture.gateway.crash().await;
    let deadline = Instant::now() + 2 * WITHIN;
    while fixture.polls() == 0 {
        assert!(Instant::now() < deadline, "nobody looks");
        a_moment().await;
    }
    fixture.gateway.crash().await;
    let rows = fixture.wait_for_records(1).await;
    assert_eq!(money(&rows[0]), (8_000, 0, NANOS, false), "{}", rows[0]);
    fixture.gateway.crash().await;
    assert_eq!(fixture.seen_to_the_end(&video).await["status"], "completed");
    fixture.wait_for_records(1).await;
    assert_eq!(sums(&fixture.gateway.get("/v2/usage").await)["video_ms"], json!(8_000));
}

#[tokio::test]
async fn what_failed_costs_nothing_and_says_why() {
    let fixture = &fixture().await;
    for (prompt, code, words) in
        [("all filtered", "moderation_blocked", "usage guidelines"), ("broken off", "internal", "try again")]
    {
        let id = fixture.create_video(json!({"prompt": prompt})).await;
        let video = fixture.seen_to_the_end(&id).await;
        assert_eq!((&video["status"], &video["error"]["code"]), (&json!("failed"), &json!(code)), "{video}");
        assert!(video["error"]["message"].as_str().unwrap().contains(words), "{video}");
        let content = fixture.get(&format!("{id}/content")).await;
        assert!(content.status == 400 && content.text().contains(words), "{}", content.text());
        assert_eq!(fixture.remove(&id).await.status, 200);
    }
    let forbidden = refused(&fixture.post(json!({"prompt": "forbidden"})).await, 400, "content_filter");
    assert!(forbidden["message"].as_str().unwrap().contains("Responsible AI"), "{forbidden}");
    // Only a video made afterwards is in the books.
    fixture.create_video(json!({"seconds": "4"})).await;
    assert_eq!(money(&fixture.wait_for_records(1).await[0]).0, 4_000);
    fixture.is_clean();
}

#[tokio::test]
async fn what_has_not_ended_is_neither_taken_nor_deleted_and_is_booked_though_it_is_deleted_then() {
    let fixture = &fixture().await;
    let id = fixture.create_video(json!({})).await;
    let early = fixture.get(&format!("{id}/content")).await;
    assert!(early.status == 400 && early.text().contains("not ready"), "{}", early.text());
    let other = fixture.create_video(json!({"seconds": "6"})).await;
    refused(&fixture.remove(&other).await, 400, "video_not_ended");
    // The second poll sees the video's end, whether a client or the gateway polled first.
    assert_eq!(fixture.remove(&other).await.status, 200);
    refused(&fixture.get(&other).await, 404, "video_not_found");
    let mut booked: Vec<u64> = fixture.wait_for_records(2).await.iter().map(|row| money(row).0).collect();
    booked.sort_unstable();
    assert_eq!(booked, [6_000, 8_000]);
    let path = format!("{VIDEOS}/{id}/remix");
    let remix = fixture.gateway.client().post(&path, &json!({"prompt": "an ebb"})).await.unwrap();
    let error = refused(&remix, 400, "unsupported_operation");
    assert!(error["message"].as_str().unwrap().contains("no video of another"), "{error}");
    fixture.is_clean();
}

#[tokio::test]
async fn what_there_are_no_words_for_is_refused_by_name() {
    let fixture = &fixture().await;
    let before = fixture.gateway.calls(OWN).len();
    for (more, param, code) in [
        (json!({"size": "1792x1024"}), "size", "unsupported_value"),
        (json!({"seconds": "4.5"}), "seconds", "invalid_value"),
        (json!({"storageUri": "gs://sea"}), "storageUri", "unsupported_parameter"),
        (json!({"quality": "high"}), "quality", "unsupported_parameter"),
        (json!({"input_reference": {"file_id": "file-tg_1"}}), "input_reference", "unsupported_value"),
    ] {
        let answer = fixture.post(more).await;
        assert_eq!(refused(&answer, 400, code)["param"], param, "{}", answer.text());
    }
    for model in ["vertex:gemini-2.5-pro", "vertex:imagen-4.0-generate-001", "vertex:claude-opus-5"] {
        assert_eq!(fixture.post(json!({"model": model})).await.status, 400, "{model}");
    }
    assert_eq!(fixture.gateway.calls(OWN).len(), before, "nothing was sent");
    let long = fixture.post(json!({"seconds": "12"})).await;
    assert!(long.status == 400 && long.text().contains("durationSeconds"), "{}", long.text());
    let lenient = fixture.gateway.client().header("agent-lenient", "true");
    let body = json!({"model": VEO, "prompt": "sea ", "quality": "high", "size": "1792x1024"});
    let answer = lenient.post(VIDEOS, &body).await.unwrap();
    assert_eq!(answer.header("agent-dropped-params"), Some("size, quality"), "{}", answer.text());
    assert_eq!(answer.json()["size"], "1280x720");
    fixture.wait_for_records(1).await;
    fixture.is_clean();
}

#[tokio::test]
async fn nobody_sees_what_another_project_made() {
    let fixture = &fixture().await;
    let id = fixture.create_video(json!({})).await;
    fixture.wait_for_records(1).await;
    let project = id_of(&fixture.gateway.make("/v2/projects", json!({"name": "other"})).await);
    let (key, _) =
        fixture.gateway.key(json!({"name": "k", "project_id": project, "scopes": ["inference"]})).await;
    let other = fixture.gateway.with_key(&key);
    let calls_before = fixture.gateway.emulator.journal().len();
    for (method, below) in [("GET", ""), ("GET", "/content"), ("DELETE", "")] {
        let path = format!("{VIDEOS}/{id}{below}");
        refused(&other.call(method.parse().unwrap(), &path, &[], "").await.unwrap(), 404, "video_not_found");
    }
    assert_eq!(fixture.gateway.emulator.journal().len(), calls_before, "something was asked");
    assert_eq!(listed(&other).await, json!([]));
    assert_eq!(fixture.get(&id).await.status, 200);
}

#[tokio::test]
async fn an_account_that_may_not_makes_none_and_what_is_gone_is_not_found() {
    let fixture = &fixture().await;
    let id = fixture.create_video(json!({})).await;
    fixture.wait_for_records(1).await;
    fixture.gateway.emulator.script(OWN, [Behaviour { status: Some(404), ..Behaviour::default() }]);
    let gone = refused(&fixture.get(&id).await, 404, "video_not_found");
    assert!(gone["message"].as_str().unwrap().contains(&id), "{gone}");
    fixture.gateway.emulator.deny(OWN);
    let denied = fixture.post(json!({})).await;
    let error = denied.json()["error"].clone();
    assert!(denied.status >= 400 && error["message"].as_str().unwrap().contains("Permission"), "{error}");
}
