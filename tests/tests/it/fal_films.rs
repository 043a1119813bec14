//! Videos of fal's apps: submitted to fal's queue, presented in OpenAI's format, downloaded from the file
//! host, and booked once at fal's billed units, whichever client polled or if none did.

use std::time::Instant;

use harness::client::Answer;
use harness::{Behaviour, Entry, UsageMode};
use http::Method;
use serde_json::{Value, json};

use crate::WITHIN;
use crate::ask::{refused, trace_of, with};
use crate::gateway::{Gateway, OWN, config, sums};
use crate::wait::a_moment;

const VIDEOS: &str = "/v1/videos";
const KLING: &str = "fal-ai/kling-video/v2.5-turbo/pro/text-to-video";
const VEO: &str = "fal-ai/veo3";
const SECOND_BYTES: usize = 64 * 1024;
/// An operator's own prices: 70,000 micro-USD per second for one model, 400,000 per unit for the other.
const PRICES: &str = "
[[model]]
name = \"fal-ai/kling-video/v2.5-turbo/pro/text-to-video\"
modality = \"video\"
[[model.offer]]
provider = \"fal\"
upstream_model = \"fal-ai/kling-video/v2.5-turbo/pro/text-to-video\"
rates = { per_video_second = 70_000 }

[[model]]
name = \"fal-ai/veo3\"
modality = \"video\"
[[model.offer]]
provider = \"fal\"
upstream_model = \"fal-ai/veo3\"
rates = { per_billed_unit = 400_000 }
";

struct Fixture {
    gateway: Gateway,
}

async fn fixture() -> Fixture {
    let gateway = Gateway::priced(config(), PRICES).await;
    let config = json!({"queue_url": gateway.emulator.fal_queue_url()});
    let base_url = gateway.emulator.fal_url();
    let body = json!({"provider": "fal", "secret": OWN, "base_url": base_url, "config": config});
    gateway.make("/v2/provider-credentials", body).await;
    Fixture { gateway }
}

impl Fixture {
    async fn post(&self, more: Value) -> Answer {
        let body = with(json!({"model": KLING, "prompt": "sea ", "seconds": "5"}), more);
        self.gateway.client().post(VIDEOS, &body).await.unwrap()
    }

    async fn post_ok(&self, more: Value) -> Answer {
        let answer = self.post(more).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer
    }

    async fn create_video(&self, more: Value) -> String {
        let id = self.post_ok(more).await.json()["id"].as_str().unwrap().to_owned();
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
        self.gateway.client().call(Method::DELETE, &format!("{VIDEOS}/{id}"), &[], "").await.unwrap()
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

    fn is_clean(&self) {
        assert_eq!(self.gateway.emulator.violations(), []);
    }
}

/// Milliseconds, units, what the provider bills in nano-USD, and whether the price is unknown. The workspace
/// must owe nothing.
fn money(row: &Value) -> (u64, u64, i64, bool) {
    let count = |name: &str| row["units"][name].as_u64().unwrap_or_default();
    assert_eq!(row["cost_nanos"], json!(0), "{row}");
    let nanos = row["provider_cost_nanos"].as_i64().unwrap();
    (count("video_ms"), count("billed_micro_units"), nanos, row["unpriced"].as_bool().unwrap())
}

fn is_off(entry: &Entry) -> bool {
    entry.method == "PUT" && entry.path.ends_with("/cancel") && entry.status == Some(202)
}

#[tokio::test]
async fn a_film_is_queued_seen_taken_booked_and_forgotten() {
    let fixture = &fixture().await;
    let more = json!({"size": "720x1280", "negative_prompt": "rain", "cfg_scale": 0.5, "user": "u"});
    let answer = fixture.post_ok(more).await;
    assert_eq!(answer.header("agent-dropped-params"), Some("user"));
    let created = answer.json();
    let fields =
        [&created["object"], &created["status"], &created["seconds"], &created["size"], &created["model"]];
    assert_eq!(fields, ["video", "queued", "5", "720x1280", KLING], "{created}");
    assert!(created["created_at"].as_u64().unwrap() > 1_700_000_000, "{created}");
    let sent = fixture.gateway.calls(OWN).into_iter().find(|call| call.method == "POST").unwrap();
    assert_eq!(sent.path, format!("/fal-queue/{KLING}"));
    let expected = json!({
        "prompt": "sea ", "duration": "5", "aspect_ratio": "9:16", "negative_prompt": "rain", "cfg_scale": 0.5,
    });
    assert_eq!(sent.json(), expected);
    let row = fixture.gateway.settled(&trace_of(&answer)).await;
    assert_eq!(money(&row), (0, 0, 0, false), "{row}");

    let id = created["id"].as_str().unwrap();
    let video = fixture.seen_to_the_end(id).await;
    assert_eq!([&video["id"], &video["status"], &video["seconds"]], [id, "completed", "5"], "{video}");
    assert_eq!((&video["progress"], &video["billed_micro_units"]), (&json!(100), &json!(5_000_000)));
    let content = fixture.get(&format!("{id}/content")).await;
    assert_eq!((content.status, content.header("content-type")), (200, Some("video/mp4")));
    let second: Vec<u8> = b"sea ".iter().copied().cycle().take(SECOND_BYTES).collect();
    assert!(content.body == second.repeat(5), "{} bytes", content.body.len());
    let files = |entry: &Entry| entry.path.starts_with("/fal/files/");
    let fetched = fixture.gateway.emulator.journal().into_iter().filter(files).collect::<Vec<_>>();
    assert!(fetched.len() == 1 && fetched[0].key.is_none(), "no key is shown for a file");
    let small = fixture.get(&format!("{id}/content?variant=thumbnail")).await;
    assert_eq!(refused(&small, 400, "unsupported_value")["param"], "variant");

    let rows = fixture.wait_for_records(1).await;
    assert_eq!(money(&rows[0]), (5_000, 5_000_000, 5 * 70_000_000, false), "{}", rows[0]);
    let row = [&rows[0]["resolved_model"], &rows[0]["provider"], &rows[0]["outcome"]];
    assert_eq!(row, [KLING, "fal", "completed"]);
    let sums = sums(&fixture.gateway.get("/v2/usage").await);
    assert_eq!(
        (&sums["video_ms"], &sums["provider_cost_micros"]),
        (&json!(5_000), &json!(350_000)),
        "{sums}"
    );

    let gone = fixture.remove(id).await;
    assert_eq!(gone.json(), json!({"id": id, "object": "video.deleted", "deleted": true}));
    for path in [id.to_owned(), format!("{id}/content")] {
        refused(&fixture.get(&path).await, 404, "video_not_found");
    }
    fixture.wait_for_records(1).await;
    fixture.is_clean();
}

#[tokio::test]
async fn a_film_is_booked_once_by_its_units_though_nobody_looks_and_the_gateway_is_killed() {
    let fixture = &mut fixture().await;
    let more = json!({"model": VEO, "seconds": 6, "size": "1920x1080", "generate_audio": false});
    let id = fixture.create_video(more).await;
    let sent = fixture.gateway.calls(OWN).into_iter().find(|call| call.method == "POST").unwrap().json();
    let expected = json!({
        "prompt": "sea ", "duration": "6s", "aspect_ratio": "16:9", "resolution": "1080p", "generate_audio": false,
    });
    assert_eq!(sent, expected);
    fixture.gateway.crash().await;
    let rows = fixture.wait_for_records(1).await;
    assert_eq!(money(&rows[0]), (6_000, 6_000_000, 6 * 400_000_000, false), "{}", rows[0]);
    fixture.gateway.crash().await;
    assert_eq!(fixture.seen_to_the_end(&id).await["status"], "completed");
    fixture.wait_for_records(1).await;
    assert_eq!(sums(&fixture.gateway.get("/v2/usage").await)["video_ms"], json!(6_000));
    fixture.is_clean();
}

#[tokio::test]
async fn what_is_not_told_is_unpriced() {
    let fixture = &fixture().await;
    let silent = Behaviour { usage: UsageMode::Missing, ..Behaviour::default() };
    fixture.gateway.emulator.script(OWN, [silent]);
    fixture.create_video(json!({"model": VEO, "seconds": 8})).await;
    let rows = fixture.wait_for_records(1).await;
    assert_eq!(money(&rows[0]), (8_000, 0, 0, true), "{}", rows[0]);
    // Neither the request nor the app's answer states the length.
    let body = json!({"model": KLING, "prompt": "sea "});
    let answer = fixture.gateway.client().post(VIDEOS, &body).await.unwrap();
    assert_eq!((answer.status, &answer.json()["seconds"]), (200, &Value::Null), "{}", answer.text());
    let rows = fixture.wait_for_records(2).await;
    let charges: Vec<_> = rows.iter().map(money).collect();
    assert!(charges.contains(&(0, 5_000_000, 0, true)), "{charges:?}");
    fixture.is_clean();
}

#[tokio::test]
async fn what_failed_costs_nothing_and_says_why() {
    let fixture = &fixture().await;
    for (prompt, code, words) in [
        ("something forbidden", "moderation_blocked", "content checker"),
        ("broken off", "unknown", "Internal Server Error"),
    ] {
        let id = fixture.create_video(json!({"prompt": prompt})).await;
        let video = fixture.seen_to_the_end(&id).await;
        assert_eq!([&video["status"], &video["error"]["code"]], ["failed", code], "{video}");
        assert!(video["error"]["message"].as_str().unwrap().contains(words), "{video}");
        let content = fixture.get(&format!("{id}/content")).await;
        assert!(content.status == 400 && content.text().contains(words), "{}", content.text());
        assert_eq!(fixture.remove(&id).await.status, 200);
    }
    // Only a video made afterwards is in the books.
    fixture.create_video(json!({"seconds": "10"})).await;
    assert_eq!(money(&fixture.wait_for_records(1).await[0]).0, 10_000);
    fixture.is_clean();
}

#[tokio::test]
async fn who_deletes_a_film_that_is_not_made_calls_it_off() {
    let fixture = &fixture().await;
    fixture.gateway.emulator.script(OWN, [Behaviour { latency: 600_000, ..Behaviour::default() }]);
    let id = fixture.create_video(json!({})).await;
    let early = fixture.get(&format!("{id}/content")).await;
    assert!(early.status == 400 && early.text().contains("not ready"), "{}", early.text());
    assert_eq!(fixture.remove(&id).await.json()["deleted"], true);
    assert_eq!(fixture.gateway.emulator.journal().iter().filter(|entry| is_off(entry)).count(), 1);
    assert_eq!(fixture.gateway.emulator.fal_cancelled(), 1);
    refused(&fixture.get(&id).await, 404, "video_not_found");
    // Only a video made afterwards is in the books.
    fixture.create_video(json!({"seconds": "10"})).await;
    assert_eq!(money(&fixture.wait_for_records(1).await[0]).0, 10_000);
    fixture.is_clean();
}

#[tokio::test]
async fn a_file_leads_nobody_elsewhere() {
    let fixture = &fixture().await;
    for (prompt, words) in [
        ("laid elsewhere", "belong to the provider"),
        ("moved elsewhere", "never follows"),
        ("long gone", "status 403"),
    ] {
        let id = fixture.create_video(json!({"prompt": prompt})).await;
        assert_eq!(fixture.seen_to_the_end(&id).await["status"], "completed");
        let content = fixture.get(&format!("{id}/content")).await;
        assert!(content.status == 502 && content.text().contains(words), "{}", content.text());
    }
    fixture.wait_for_records(3).await;
    // An error of the file host does not count against the account.
    assert_eq!(fixture.post(json!({})).await.status, 200);
    fixture.is_clean();
}

#[tokio::test]
async fn what_there_are_no_words_for_is_refused_by_name() {
    let fixture = &fixture().await;
    let before = fixture.gateway.calls(OWN).len();
    for (more, param, code) in [
        (json!({"size": "1920x1080"}), "size", "unsupported_value"),
        (json!({"seconds": "4.5"}), "seconds", "invalid_value"),
        (json!({"webhook_url": "https://sea.example"}), "webhook_url", "unsupported_parameter"),
        (json!({"input_reference": {"file_id": "file-tg_1"}}), "input_reference", "unsupported_value"),
    ] {
        let answer = fixture.post(more).await;
        assert_eq!(refused(&answer, 400, code)["param"], param, "{}", answer.text());
    }
    assert_eq!(fixture.gateway.calls(OWN).len(), before, "nothing was sent");
    let long = fixture.post(json!({"seconds": "7"})).await;
    assert!(long.status == 422 && long.text().contains("duration"), "{}", long.text());
    refused(&fixture.post(json!({"model": "fal:fal-ai/nothing"})).await, 404, "model_not_found");
    let id = fixture.create_video(json!({})).await;
    let path = format!("{VIDEOS}/{id}/remix");
    let remix = fixture.gateway.client().post(&path, &json!({"prompt": "an ebb"})).await.unwrap();
    refused(&remix, 400, "unsupported_operation");
    fixture.wait_for_records(1).await;
    fixture.is_clean();
}
