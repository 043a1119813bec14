//! Videos: created, polled until they are done, downloaded as a stream, and their seconds booked once,
//! whichever client polled or if none did.

use std::time::Instant;

use harness::client::{Answer, Client};
use harness::{Behaviour, Entry, Flavour, Model, Server};
use http::Method;
use serde_json::{Value, json};

use crate::WITHIN;
use crate::ask::{has, refused, refused_with, trace_of, trace_of_stream, with};
use crate::audio::without_growth;
use crate::command::workspace;
use crate::forms::{FORM, MIB, form, noise};
use crate::gateway::{CREDENTIALS, Gateway, OWN, OWN_SECOND, POOL, config, id_of, money, python, sums};
use crate::sdk::drive_at;
use crate::wait::{a_moment, until};

pub const VIDEOS: &str = "/v1/videos";
const SORA: &str = "openai/sora-2";
pub const SECOND_BYTES: usize = 64 * 1024;
/// An operator's own price: 100,000 micro-USD per second.
const PRICES: &str = r#"
[[model]]
name = "openai/sora-2"
modality = "video"
offer = [{ provider = "openai", upstream_model = "sora-2", rates = { per_video_second = 100_000 } }]
"#;

async fn bare() -> Gateway {
    let served = config().model(Model::video("sora-2"));
    Gateway::priced(served, PRICES).await
}

async fn fixture() -> Gateway {
    let gateway = bare().await;
    gateway.credential("openai", OWN).await;
    gateway
}

async fn made(gateway: &Gateway, body: Value) -> Answer {
    gateway.post(VIDEOS, &body).await.must_be(200)
}

fn video_request(prompt: &str) -> Value {
    json!({"model": SORA, "prompt": prompt, "seconds": "8", "size": "1280x720"})
}

pub fn id(answer: &Answer) -> String {
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    assert!(id.starts_with("video_tg_"), "{id}");
    id
}

/// What is at this path below that of all videos.
pub async fn look(gateway: &Gateway, below: &str) -> Answer {
    gateway.client().get(&format!("{VIDEOS}/{below}")).await.unwrap()
}

/// Polls until the video is done or failed; returns the last answer.
pub async fn seen_to_the_end(gateway: &Gateway, id: &str) -> Answer {
    let deadline = Instant::now() + WITHIN;
    loop {
        let answer = look(gateway, id).await.must_be(200);
        match answer.json()["status"].as_str().unwrap() {
            "queued" | "in_progress" => a_moment().await,
            _ => return answer,
        }
        assert!(Instant::now() < deadline, "{}", answer.text());
    }
}

pub async fn remove(gateway: &Gateway, id: &str) -> Answer {
    gateway.client().call(Method::DELETE, &format!("{VIDEOS}/{id}"), &[], "").await.unwrap()
}

pub async fn all(client: &Client) -> Value {
    client.get(VIDEOS).await.unwrap().json()["data"].clone()
}

/// The records of videos, which no API key requested, once there are this many; there must never be more.
pub async fn booked_videos(gateway: &Gateway, number: usize) -> Vec<Value> {
    let deadline = Instant::now() + 4 * WITHIN;
    loop {
        let rows = gateway.requests(200).await.into_iter();
        let rows: Vec<_> =
            rows.filter(|row| row["operation"] == "video" && row["key_id"].is_null()).collect();
        assert!(rows.len() <= number, "{} of {number}", rows.len());
        if rows.len() == number {
            return gateway.whole(rows).await;
        }
        assert!(Instant::now() < deadline, "{} of {number} are in the books", rows.len());
        a_moment().await;
    }
}

fn video_ms(row: &Value) -> Option<u64> {
    row["units"]["video_ms"].as_u64().filter(|ms| *ms > 0)
}

/// How often the provider was polled for a video's status.
fn polls(journal: &[Entry]) -> usize {
    let is_poll = |entry: &&Entry| entry.method == "GET" && entry.path.starts_with("/v1/videos/");
    journal.iter().filter(is_poll).count()
}

async fn polled(gateway: &Gateway, times: usize) {
    gateway.emulator.wait_for(2 * WITHIN, |journal| polls(journal) >= times).await.unwrap();
}

#[tokio::test]
async fn the_official_sdk_makes_videos_at_the_provider_and_through_the_gateway() {
    let gateway = &fixture().await;
    let script = workspace().join("tests/sdk/videos.py");
    let direct = drive_at(python(), script, &gateway.emulator.base_url(), OWN, OWN).await;
    assert_eq!((direct.held, gateway.drive("videos.py").await), (7, 7));
    // Five were created, one of which has been deleted since; one failed, and two were refused.
    let rows = booked_videos(gateway, 5).await;
    let seconds: u64 = rows.iter().filter_map(video_ms).sum();
    assert_eq!(seconds, (8 + 4 + 4 + 4 + 4) * 1_000);
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn a_video_is_booked_once_though_its_client_never_looks() {
    let gateway = &fixture().await;
    let answer = made(gateway, video_request("a high tide")).await;
    let sent = with(video_request("a high tide"), json!({"model": "sora-2"}));
    assert_eq!(gateway.last(OWN).json(), sent);
    let row = gateway.settled(&trace_of(&answer)).await;
    has(&row, json!({"operation": "video"}));
    assert_eq!((video_ms(&row), money(&row)), (None, (0, 0, false)));
    let row = booked_videos(gateway, 1).await.remove(0);
    assert_eq!((video_ms(&row), money(&row)), (Some(8_000), (0, 800_000_000, false)), "{row}");
    has(&row, json!({"resolved_model": SORA, "provider": "openai", "outcome": "completed"}));
    has(&row["attempts"][0]["receipt"][0], json!({"class": "video_ms", "units": 8_000}));
    // A client's polls cost nothing, and the gateway no longer needs to poll.
    for _ in 0..3 {
        let row = gateway.settled(&trace_of(&seen_to_the_end(gateway, &id(&answer)).await)).await;
        assert_eq!((video_ms(&row), money(&row)), (None, (0, 0, false)), "{row}");
    }
    booked_videos(gateway, 1).await;
    let sums = sums(&gateway.get("/v2/usage").await);
    has(&sums, json!({"video_ms": 8_000, "provider_cost_micros": 800_000, "unpriced_requests": 0}));
    assert_eq!(gateway.emulator.violations(), []);
}

/// The process dies between the video's creation and its completion, twice.
#[tokio::test]
async fn a_video_is_booked_once_by_a_gateway_that_was_killed() {
    let gateway = &mut fixture().await;
    let video = id(&made(gateway, video_request("a high tide")).await);
    assert_eq!(polls(&gateway.emulator.journal()), 0);
    gateway.crash().await;
    polled(gateway, 1).await;
    gateway.crash().await;
    let row = booked_videos(gateway, 1).await.remove(0);
    assert_eq!((video_ms(&row), money(&row).1), (Some(8_000), 800_000_000), "{row}");
    gateway.crash().await;
    assert_eq!(seen_to_the_end(gateway, &video).await.json()["status"], "completed");
    booked_videos(gateway, 1).await;
    assert_eq!(sums(&gateway.get("/v2/usage").await)["video_ms"], json!(8_000));
}

#[tokio::test]
async fn a_video_goes_on_while_it_comes_and_is_held_by_nobody() {
    let gateway = &fixture().await;
    let id = id(&made(gateway, json!({"model": SORA, "prompt": "sea ", "seconds": "12"})).await);
    let content = format!("{id}/content");
    look(gateway, &content).await.must_be(400);
    seen_to_the_end(gateway, &id).await;
    gateway.emulator.script(OWN, [Behaviour { interval: 60, ..Behaviour::default() }]);
    let path = format!("{VIDEOS}/{content}");
    let mut streaming = gateway.client().open(Method::GET, &path, &[], Default::default()).await.unwrap();
    assert_eq!((streaming.status, streaming.header("content-type")), (200, Some("video/mp4")));
    let first = streaming.chunk().await.unwrap().unwrap();
    assert!(first.len() < 12 * SECOND_BYTES, "all {} bytes at once", first.len());
    let rest = streaming.rest().await.unwrap();
    assert!(first.starts_with(b"sea sea "));
    assert_eq!(first.len() + rest.len(), 12 * SECOND_BYTES);
    let row = gateway.settled(&trace_of_stream(&streaming)).await;
    assert_eq!((row["operation"].as_str(), video_ms(&row)), (Some("video"), None), "{row}");
    let small = look(gateway, &format!("{content}?variant=thumbnail")).await;
    assert_eq!((small.status, small.header("content-type")), (200, Some("image/webp")));
    let other = look(gateway, &format!("{content}?variant=smell")).await.must_be(400);
    has(&other.json(), json!({"/error/param": "variant"}));
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn what_failed_costs_nothing_and_what_is_deleted_is_booked_and_gone() {
    let gateway = &fixture().await;
    let failed = id(&made(gateway, video_request("what nobody may see")).await);
    let end = seen_to_the_end(gateway, &failed).await.json();
    has(&end, json!({"status": "failed", "/error/code": "moderation_blocked"}));
    // Deleted as soon as it is done, before any other poll could see it.
    let gone = id(&made(gateway, video_request("an ebb")).await);
    until("the video can be deleted", async || remove(gateway, &gone).await.status == 200).await;
    refused(&look(gateway, &gone).await, 404, "video_not_found");
    refused(&remove(gateway, &gone).await, 404, "video_not_found");
    refused(&look(gateway, &format!("{gone}/content")).await, 404, "video_not_found");
    let listed = all(&gateway.client()).await;
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    has(&listed[0], json!({"id": failed, "status": "failed", "prompt": null}));
    let row = booked_videos(gateway, 1).await.remove(0);
    assert_eq!((video_ms(&row), money(&row).1), (Some(8_000), 800_000_000), "{row}");
    assert_eq!(remove(gateway, &failed).await.status, 200);
    assert_eq!(all(&gateway.client()).await, json!([]));
    booked_videos(gateway, 1).await;
}

#[tokio::test]
async fn a_video_that_its_provider_no_longer_has_is_not_found_and_is_not_booked() {
    let gateway = &fixture().await;
    let id = id(&made(gateway, video_request("an ebb")).await);
    gateway.emulator.reset();
    for below in ["", "/content"] {
        refused_with(&look(gateway, &format!("{id}{below}")).await, 404, "video_not_found", &id);
    }
    refused(&remove(gateway, &id).await, 404, "video_not_found");
    // The gateway polls once more for its books, and then never again.
    polled(gateway, 4).await;
    booked_videos(gateway, 0).await;
}

#[tokio::test]
async fn nobody_sees_what_another_project_made() {
    let gateway = &fixture().await;
    let id = id(&made(gateway, video_request("a high tide")).await);
    booked_videos(gateway, 1).await;
    let project = id_of(&gateway.make("/v2/projects", json!({"name": "other"})).await);
    let (key, _) = gateway.key(json!({"name": "k", "project_id": project, "scopes": ["inference"]})).await;
    let other = gateway.with_key(&key);
    let calls_before = gateway.emulator.journal().len();
    let json = [("content-type", "application/json")];
    for (method, below) in [("GET", ""), ("GET", "/content"), ("DELETE", ""), ("POST", "/remix")] {
        let body = if method == "POST" { r#"{"prompt":"x"}"# } else { "" };
        let ask = async |client: &Client, id: &str| {
            let path = format!("{VIDEOS}/{id}{below}");
            let answer = client.call(method.parse().unwrap(), &path, &json, body).await.unwrap();
            refused(&answer, 404, "video_not_found");
        };
        ask(&other, &id).await;
        // A provider's own id, or an id of another kind of object, is unknown here.
        for unknown in ["video_of_nobody", "video_tg_00000000000000000000000000000000"] {
            ask(&gateway.client(), unknown).await;
        }
        ask(&gateway.client(), &id.replace("video_tg_", "file-tg_")).await;
    }
    refused(&gateway.client().get(&format!("/v1/files/{id}")).await.unwrap(), 404, "file_not_found");
    assert_eq!(gateway.emulator.journal().len(), calls_before, "something was asked");
    assert_eq!(all(&other).await, json!([]));
    assert_eq!(all(&gateway.client()).await[0]["id"], id.as_str());
    assert_eq!(look(gateway, &id).await.status, 200);
}

#[tokio::test]
async fn a_video_like_another_is_made_where_that_one_lies() {
    let gateway = &fixture().await;
    let first = id(&made(gateway, video_request("a high tide")).await);
    let path = format!("{VIDEOS}/{first}/remix");
    let body = json!({"prompt": "an ebb"});
    gateway.post(&path, &body).await.must_be(400);
    seen_to_the_end(gateway, &first).await;
    // Another credential that could do it receives no request.
    gateway.credential("openai", OWN_SECOND).await;
    let answer = gateway.post(&path, &body).await.must_be(200);
    let second = id(&answer);
    assert_eq!(answer.json()["remixed_from_video_id"], first.as_str());
    assert_eq!(gateway.calls(OWN_SECOND).len(), 0);
    assert_eq!(gateway.last(OWN).json(), body);
    for row in booked_videos(gateway, 2).await {
        assert_eq!((video_ms(&row), money(&row)), (Some(8_000), (0, 800_000_000, false)), "{row}");
    }
    let listed = all(&gateway.client()).await;
    has(&listed, json!({"/0/id": second, "/1/id": first, "/0/remixed_from_video_id": first}));
    let wrong = gateway.post(&path, &json!({})).await;
    assert_eq!(refused(&wrong, 400, "missing_required_parameter")["param"], "prompt");
}

#[tokio::test]
async fn a_picture_goes_with_it_in_a_form_that_is_not_held() {
    let gateway = &fixture().await;
    let post =
        async |body: Vec<u8>| gateway.client().call(Method::POST, VIDEOS, &[FORM], body).await.unwrap();
    let send = async |picture: &[u8]| {
        let reference = ("input_reference", picture);
        let body = form(&[("model", SORA.as_bytes()), ("prompt", b"tide"), ("seconds", b"4"), reference]);
        let prompt = format!("tide [{}]", crc32fast::hash(picture));
        has(&post(body).await.must_be(200).json(), json!({"prompt": prompt, "seconds": "4"}));
    };
    send(b"warm").await;
    let picture = noise(24 * MIB);
    without_growth(gateway.pid(), send(&picture)).await;
    let rows = booked_videos(gateway, 2).await;
    assert!(rows.iter().all(|row| video_ms(row) == Some(4_000)), "{rows:?}");
    let bare = post(form(&[("prompt", b"x")])).await;
    assert_eq!(refused(&bare, 400, "missing_required_parameter")["param"], "model");
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn deployments_and_servers_of_ones_own_make_videos() {
    let gateway = &bare().await;
    let config = json!({"deployments": {SORA: "my-sora-2"}});
    let azure = gateway.emulator.base_url_of(Flavour::Azure);
    let body = json!({"provider": "azure", "secret": OWN, "base_url": azure, "config": config});
    gateway.make(CREDENTIALS, body).await;
    let deployed = id(&made(gateway, video_request("a high tide")).await);
    assert_eq!(gateway.last(OWN).path, "/azure/openai/v1/videos");
    seen_to_the_end(gateway, &deployed).await;
    let content = look(gateway, &format!("{deployed}/content")).await;
    assert_eq!((content.status, content.body.len()), (200, 8 * SECOND_BYTES));
    let row = booked_videos(gateway, 1).await.remove(0);
    assert_eq!((video_ms(&row), money(&row)), (Some(8_000), (0, 0, true)), "no price is known");

    let server = gateway.emulator.base_url_of(Flavour::Server(Server::Lenient));
    let pricing = json!({"sora-2": {"input": 0, "output": 0, "per_video_second": 20_000}});
    let body = json!({"provider": "openai_compatible", "secret": OWN_SECOND, "base_url": server});
    gateway.make(CREDENTIALS, with(body, json!({"pricing": pricing}))).await;
    let own = json!({"model": "openai_compatible:sora-2", "prompt": "a high tide", "seconds": "12"});
    made(gateway, own).await;
    assert_eq!(gateway.calls(OWN_SECOND).len(), 1);
    let rows = booked_videos(gateway, 2).await;
    let row = rows.iter().find(|row| video_ms(row) == Some(12_000)).unwrap();
    assert_eq!(money(row), (0, 240_000_000, false), "{row}");
}

/// What a budget has spent, and what is held of it.
async fn standing(gateway: &Gateway, budget: &str) -> (u64, u64) {
    let read = gateway.get(&format!("/v2/budgets/{budget}")).await;
    let micros = |name: &str| read[name].as_u64().unwrap_or_else(|| panic!("{name}: {read}"));
    (micros("spent_micros"), micros("reserved_micros"))
}

/// What a video of an account of the operator's will cost is held of its workspace's budgets until it has ended.
#[tokio::test]
async fn an_account_makes_videos_whose_price_is_held_until_they_end() {
    let gateway = &mut bare().await;
    gateway.account("openai", POOL).await;
    let budget = json!({"workspace": true, "period": "month", "limit_micros": 1_000_000});
    let budget = id_of(&gateway.make("/v2/budgets", budget).await);
    let short = json!({"model": SORA, "prompt": "an ebb", "seconds": "4"});
    let failed = id(&made(gateway, video_request("what nobody may see")).await);
    let (spent, held) = standing(gateway, &budget).await;
    assert_eq!((spent, (800_000..=810_000).contains(&held)), (0, true), "{held}");
    refused(&gateway.post(VIDEOS, &short).await, 429, "quota_exceeded");
    assert_eq!(seen_to_the_end(gateway, &failed).await.json()["status"], "failed");
    until("a failed video holds nothing", async || standing(gateway, &budget).await.1 < 800_000).await;

    let video = id(&made(gateway, video_request("a high tide")).await);
    gateway.crash().await;
    let (spent, held) = standing(gateway, &budget).await;
    assert!(spent + held >= 800_000, "{spent} and {held}");
    let row = booked_videos(gateway, 1).await.remove(0);
    assert_eq!((video_ms(&row), money(&row).0), (Some(8_000), 800_000_000), "{row}");
    assert_eq!(row["profile"], "managed_provider", "{row}");
    until("it holds nothing once it is booked", async || {
        let (spent, held) = standing(gateway, &budget).await;
        spent == 800_000 && held < 200_000
    })
    .await;
    let content = look(gateway, &format!("{video}/content")).await;
    assert_eq!((content.status, content.body.len()), (200, 8 * SECOND_BYTES));
    refused(&gateway.post(VIDEOS, &short).await, 429, "quota_exceeded");
    // What has no length has no price.
    let endless = gateway.post(VIDEOS, &json!({"model": SORA, "prompt": "x"})).await;
    assert_eq!(refused(&endless, 400, "video_length_missing")["param"], "seconds");
    let remix = format!("{VIDEOS}/{video}/remix");
    refused(&gateway.post(&remix, &json!({"prompt": "x"})).await, 400, "video_length_missing");
    assert_eq!(gateway.calls(POOL).len(), 2);
    assert_eq!(gateway.emulator.violations(), []);
}

/// Everything that a client sees of a video, from its request to its deletion; ids and times have no value.
async fn seen_of_a_video(gateway: &Gateway) -> Vec<Value> {
    let mut seen = Vec::new();
    let answer = made(gateway, video_request("a high tide")).await;
    let video = id(&answer);
    let end = seen_to_the_end(gateway, &video).await;
    for below in ["content", "content?variant=thumbnail"] {
        let answer = look(gateway, &format!("{video}/{below}")).await;
        seen.push(json!([answer.status, answer.header("content-type"), answer.body.len()]));
    }
    let listed = all(&gateway.client()).await;
    let removed = remove(gateway, &video).await;
    let again = look(gateway, &video).await;
    let wrong = gateway.post(VIDEOS, &json!({"model": SORA, "prompt": "x", "seconds": "5"})).await;
    for answer in [&answer, &end, &removed, &again, &wrong] {
        let body = answer.text().replace(&trace_of(answer), "TRACE");
        let body: Value = serde_json::from_str(&body).unwrap();
        seen.push(json!([answer.status, answer.header("content-type"), body]));
    }
    seen.push(listed);
    let text = json!(seen).to_string().replace(&video, "VIDEO");
    let mut seen: Vec<Value> = serde_json::from_str(&text).unwrap();
    seen.iter_mut().for_each(without_times);
    seen
}

/// Sets what differs from one run to the next to nothing.
fn without_times(value: &mut Value) {
    match value {
        Value::Object(fields) => fields.iter_mut().for_each(|(name, value)| match name.as_str() {
            "created_at" | "completed_at" | "expires_at" | "request_id" => *value = Value::Null,
            _ => without_times(value),
        }),
        Value::Array(values) => values.iter_mut().for_each(without_times),
        _ => {}
    }
}

#[tokio::test]
async fn videos_look_the_same_whoever_serves_them() {
    let pool = bare().await;
    pool.account("openai", POOL).await;
    let (own, pooled) = (seen_of_a_video(&fixture().await).await, seen_of_a_video(&pool).await);
    assert_eq!(own, pooled);
    assert_eq!(own[0], json!([200, "video/mp4", 8 * SECOND_BYTES]));
}

#[tokio::test]
async fn who_makes_none_is_not_asked_and_money_of_others_is_not_spent() {
    // Without a price per second, nothing can be held for it.
    let prices = PRICES.replace("per_video_second = 100_000", "per_billed_unit = 100_000");
    let gateway = &Gateway::priced(config().model(Model::video("sora-2")), &prices).await;
    gateway.account("openai", POOL).await;
    let pooled = gateway.post(VIDEOS, &video_request("a high tide")).await;
    assert_eq!(refused(&pooled, 400, "video_needs_own_credential")["param"], "model");
    assert_eq!(gateway.calls(POOL).len(), 0);
    gateway.credential("openai", OWN).await;
    made(gateway, video_request("a high tide")).await;
    assert_eq!((gateway.calls(POOL).len(), gateway.calls(OWN).len()), (0, 1));

    gateway.credential("xai", OWN_SECOND).await;
    let other = json!({"model": "xai:some-video", "prompt": "x"});
    let answer = gateway.post(VIDEOS, &other).await;
    refused_with(&answer, 400, "unsupported_operation", "no way to make videos");
    for (wrong, param) in [
        (json!({"model": SORA, "seconds": "8"}), "prompt"),
        (json!({"prompt": "x"}), "model"),
        (json!({"model": SORA, "prompt": ["x"]}), "prompt"),
        (json!({"model": SORA, "prompt": "x", "seconds": "5"}), "seconds"),
    ] {
        let answer = gateway.post(VIDEOS, &wrong).await.must_be(400);
        assert_eq!(answer.json()["error"]["param"], param, "{wrong}");
        assert_eq!(answer.json()["error"]["type"], "invalid_request_error");
    }
    let chat = json!({"model": "openai/gpt-4o-mini", "prompt": "x"});
    refused(&gateway.post(VIDEOS, &chat).await, 400, "model_modality");
    assert_eq!(gateway.calls(OWN_SECOND).len(), 0);
    booked_videos(gateway, 1).await;
}

#[tokio::test]
async fn a_policy_keeps_videos_from_being_made_and_remade() {
    let gateway = &fixture().await;
    let first = id(&made(gateway, video_request("a high tide")).await);
    seen_to_the_end(gateway, &first).await;
    let policy = json!({"project_id": gateway.founded.project_id, "allowed_providers": ["anthropic"]});
    gateway.make("/v2/policies", policy).await;
    let calls_before = gateway.calls(OWN).len();
    let remix = format!("{VIDEOS}/{first}/remix");
    for (path, body) in [(VIDEOS, video_request("an ebb")), (&remix, json!({"prompt": "an ebb"}))] {
        refused(&gateway.post(path, &body).await, 403, "policy_forbids");
    }
    assert_eq!(gateway.calls(OWN).len(), calls_before);
    // A video that was created before can still be retrieved and deleted.
    assert_eq!(look(gateway, &first).await.status, 200);
    assert_eq!(remove(gateway, &first).await.status, 200);
    booked_videos(gateway, 1).await;
}

#[tokio::test]
async fn a_lost_answer_makes_no_second_video() {
    let gateway = &fixture().await;
    gateway.credential("openai", OWN_SECOND).await;
    let cut = [Behaviour::status(500)];
    gateway.emulator.script(OWN, cut.clone());
    gateway.emulator.script(OWN_SECOND, cut);
    let answer = gateway.post(VIDEOS, &video_request("a high tide")).await;
    assert!(answer.status >= 500, "{}", answer.text());
    assert_eq!(gateway.calls(OWN).len() + gateway.calls(OWN_SECOND).len(), 1);
    // The same idempotency key returns the same video.
    gateway.emulator.clear_scripts();
    let keyed = [("content-type", "application/json"), ("idempotency-key", "one video")];
    let mut ids = Vec::new();
    for _ in 0..2 {
        let body = video_request("an ebb").to_string();
        ids.push(id(&gateway.client().call(Method::POST, VIDEOS, &keyed, body).await.unwrap()));
    }
    assert_eq!(ids[0], ids[1]);
    booked_videos(gateway, 1).await;
}
