//! Videos of fal's apps: submitted to fal's queue, presented in OpenAI's format, downloaded from the file
//! host, and booked once at fal's billed units, whichever client polled or if none did.

use harness::client::Answer;
use harness::{Behaviour, Entry, UsageMode};
use serde_json::{Value, json};

use crate::ask::{has, refused, trace_of, with};
use crate::gateway::{CREDENTIALS, Gateway, OWN, config, sums};
use crate::videos::{SECOND_BYTES, VIDEOS, booked_videos, id, look, remove, seen_to_the_end};

const KLING: &str = "fal-ai/kling-video/v2.5-turbo/pro/text-to-video";
const VEO: &str = "fal-ai/veo3";
/// An operator's own prices: 70,000 micro-USD per second for one model, 400,000 per unit for the other.
const PRICES: &str = r#"
[[model]]
name = "fal-ai/kling-video/v2.5-turbo/pro/text-to-video"
modality = "video"
[[model.offer]]
provider = "fal"
upstream_model = "fal-ai/kling-video/v2.5-turbo/pro/text-to-video"
rates = { per_video_second = 70_000 }
[[model]]
name = "fal-ai/veo3"
modality = "video"
offer = [{ provider = "fal", upstream_model = "fal-ai/veo3", rates = { per_billed_unit = 400_000 } }]
"#;

async fn fixture() -> Gateway {
    let gateway = Gateway::priced(config(), PRICES).await;
    let config = json!({"queue_url": gateway.emulator.fal_queue_url()});
    let base_url = gateway.emulator.fal_url();
    let body = json!({"provider": "fal", "secret": OWN, "base_url": base_url, "config": config});
    gateway.make(CREDENTIALS, body).await;
    gateway
}

async fn post(gateway: &Gateway, more: Value) -> Answer {
    let body = with(json!({"model": KLING, "prompt": "sea ", "seconds": "5"}), more);
    gateway.post(VIDEOS, &body).await
}

async fn create_video(gateway: &Gateway, more: Value) -> String {
    id(&post(gateway, more).await.must_be(200))
}

/// Milliseconds, units, what the provider bills in nano-USD, and whether the price is unknown. The workspace
/// must owe nothing.
fn money(row: &Value) -> (u64, u64, i64, bool) {
    let count = |name: &str| row["units"][name].as_u64().unwrap_or_default();
    assert_eq!(row["cost_nanos"], json!(0), "{row}");
    let nanos = row["provider_cost_nanos"].as_i64().unwrap();
    (count("video_ms"), count("billed_micro_units"), nanos, row["unpriced"].as_bool().unwrap())
}

#[tokio::test]
async fn a_film_is_queued_seen_taken_booked_and_forgotten() {
    let gateway = &fixture().await;
    let own = json!({"negative_prompt": "rain", "cfg_scale": 0.5});
    let more = with(own.clone(), json!({"size": "720x1280", "user": "u"}));
    let answer = post(gateway, more).await.must_be(200);
    assert_eq!(answer.header("agent-dropped-params"), Some("user"));
    let created = answer.json();
    has(&created, json!({"object": "video", "status": "queued", "seconds": "5", "size": "720x1280"}));
    assert_eq!(created["model"], KLING, "{created}");
    assert!(created["created_at"].as_u64().unwrap() > 1_700_000_000, "{created}");
    let sent = gateway.calls(OWN).remove(0);
    assert_eq!(sent.path, format!("/fal-queue/{KLING}"));
    let expected = json!({"prompt": "sea ", "duration": "5", "aspect_ratio": "9:16"});
    assert_eq!(sent.json(), with(expected, own));
    let row = gateway.settled(&trace_of(&answer)).await;
    assert_eq!(money(&row), (0, 0, 0, false), "{row}");

    let id = created["id"].as_str().unwrap();
    let video = seen_to_the_end(gateway, id).await.json();
    has(&video, json!({"id": id, "status": "completed", "seconds": "5", "progress": 100}));
    assert_eq!(video["billed_micro_units"], 5_000_000, "{video}");
    let content = look(gateway, &format!("{id}/content")).await;
    assert_eq!((content.status, content.header("content-type")), (200, Some("video/mp4")));
    let second: Vec<u8> = b"sea ".iter().copied().cycle().take(SECOND_BYTES).collect();
    assert!(content.body == second.repeat(5), "{} bytes", content.body.len());
    let files = |entry: &Entry| entry.path.starts_with("/fal/files/");
    let fetched = gateway.emulator.journal().into_iter().filter(files).collect::<Vec<_>>();
    assert!(fetched.len() == 1 && fetched[0].key.is_none(), "no key is shown for a file");
    let small = look(gateway, &format!("{id}/content?variant=thumbnail")).await;
    assert_eq!(refused(&small, 400, "unsupported_value")["param"], "variant");

    let row = booked_videos(gateway, 1).await.remove(0);
    assert_eq!(money(&row), (5_000, 5_000_000, 5 * 70_000_000, false), "{row}");
    has(&row, json!({"resolved_model": KLING, "provider": "fal", "outcome": "completed"}));
    let sums = sums(&gateway.get("/v2/usage").await);
    has(&sums, json!({"video_ms": 5_000, "provider_cost_micros": 350_000}));

    let gone = remove(gateway, id).await;
    assert_eq!(gone.json(), json!({"id": id, "object": "video.deleted", "deleted": true}));
    for path in [id.to_owned(), format!("{id}/content")] {
        refused(&look(gateway, &path).await, 404, "video_not_found");
    }
    booked_videos(gateway, 1).await;
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn a_film_is_booked_once_by_its_units_though_nobody_looks_and_the_gateway_is_killed() {
    let gateway = &mut fixture().await;
    let more = json!({"model": VEO, "seconds": 6, "size": "1920x1080", "generate_audio": false});
    let id = create_video(gateway, more).await;
    let expected = json!({"prompt": "sea ", "duration": "6s", "aspect_ratio": "16:9", "resolution": "1080p"});
    assert_eq!(gateway.calls(OWN).remove(0).json(), with(expected, json!({"generate_audio": false})));
    gateway.crash().await;
    let row = booked_videos(gateway, 1).await.remove(0);
    assert_eq!(money(&row), (6_000, 6_000_000, 6 * 400_000_000, false), "{row}");
    gateway.crash().await;
    assert_eq!(seen_to_the_end(gateway, &id).await.json()["status"], "completed");
    booked_videos(gateway, 1).await;
    assert_eq!(sums(&gateway.get("/v2/usage").await)["video_ms"], json!(6_000));
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn what_is_not_told_is_unpriced() {
    let gateway = &fixture().await;
    gateway.emulator.script(OWN, [Behaviour::ok().usage(UsageMode::Missing)]);
    create_video(gateway, json!({"model": VEO, "seconds": 8})).await;
    let row = booked_videos(gateway, 1).await.remove(0);
    assert_eq!(money(&row), (8_000, 0, 0, true), "{row}");
    // Neither the request nor the app's answer states the length.
    has(&post(gateway, json!({"seconds": null})).await.must_be(200).json(), json!({"seconds": null}));
    let charges: Vec<_> = booked_videos(gateway, 2).await.iter().map(money).collect();
    assert!(charges.contains(&(0, 5_000_000, 0, true)), "{charges:?}");
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn what_failed_or_is_called_off_costs_nothing_and_says_why() {
    let gateway = &fixture().await;
    for (prompt, code, words) in [
        ("something forbidden", "moderation_blocked", "content checker"),
        ("broken off", "unknown", "Internal Server Error"),
    ] {
        let id = create_video(gateway, json!({"prompt": prompt})).await;
        let video = seen_to_the_end(gateway, &id).await.json();
        has(&video, json!({"status": "failed", "/error/code": code}));
        assert!(video["error"]["message"].as_str().unwrap().contains(words), "{video}");
        let content = look(gateway, &format!("{id}/content")).await;
        assert!(content.status == 400 && content.text().contains(words), "{}", content.text());
        assert_eq!(remove(gateway, &id).await.status, 200);
    }
    // Who deletes one that is not made calls it off.
    gateway.emulator.script(OWN, [Behaviour { latency: 600_000, ..Behaviour::default() }]);
    let id = create_video(gateway, json!({})).await;
    let early = look(gateway, &format!("{id}/content")).await;
    assert!(early.status == 400 && early.text().contains("not ready"), "{}", early.text());
    assert_eq!(remove(gateway, &id).await.json()["deleted"], true);
    let is_off = |entry: &&Entry| {
        entry.method == "PUT" && entry.path.ends_with("/cancel") && entry.status == Some(202)
    };
    assert_eq!(gateway.emulator.journal().iter().filter(is_off).count(), 1);
    assert_eq!(gateway.emulator.fal_cancelled(), 1);
    refused(&look(gateway, &id).await, 404, "video_not_found");
    // Only a video made afterwards is in the books.
    create_video(gateway, json!({"seconds": "10"})).await;
    assert_eq!(money(&booked_videos(gateway, 1).await[0]).0, 10_000);
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn what_there_are_no_words_for_is_refused_by_name_and_a_file_leads_nobody_elsewhere() {
    let gateway = &fixture().await;
    let before = gateway.calls(OWN).len();
    for (more, param, code) in [
        (json!({"size": "1920x1080"}), "size", "unsupported_value"),
        (json!({"seconds": "4.5"}), "seconds", "invalid_value"),
        (json!({"webhook_url": "https://sea.example"}), "webhook_url", "unsupported_parameter"),
        (json!({"input_reference": {"file_id": "file-tg_1"}}), "input_reference", "unsupported_value"),
    ] {
        let answer = post(gateway, more).await;
        assert_eq!(refused(&answer, 400, code)["param"], param, "{}", answer.text());
    }
    assert_eq!(gateway.calls(OWN).len(), before, "nothing was sent");
    let long = post(gateway, json!({"seconds": "7"})).await;
    assert!(long.status == 422 && long.text().contains("duration"), "{}", long.text());
    refused(&post(gateway, json!({"model": "fal:fal-ai/nothing"})).await, 404, "model_not_found");
    let id = create_video(gateway, json!({})).await;
    let remix = gateway.post(&format!("{VIDEOS}/{id}/remix"), &json!({"prompt": "an ebb"})).await;
    refused(&remix, 400, "unsupported_operation");
    booked_videos(gateway, 1).await;
    for (prompt, words) in [
        ("laid elsewhere", "belong to the provider"),
        ("moved elsewhere", "never follows"),
        ("long gone", "status 403"),
    ] {
        let id = create_video(gateway, json!({"prompt": prompt})).await;
        assert_eq!(seen_to_the_end(gateway, &id).await.json()["status"], "completed");
        let content = look(gateway, &format!("{id}/content")).await;
        assert!(content.status == 502 && content.text().contains(words), "{}", content.text());
    }
    booked_videos(gateway, 4).await;
    // An error of the file host does not count against the account.
    assert_eq!(post(gateway, json!({})).await.status, 200);
    assert_eq!(gateway.emulator.violations(), []);
}
