//! What state costs: an append to a session, a purge of a session of many events, and an export of what a workspace keeps. `make prove-state` does
//! it with more events and an optimised build, and holds their times to what is promised; the test holds those of few to looser bounds.

use std::time::{Duration, Instant};

use harness::client::Client;
use harness::setting::number;
use serde_json::{Value, json};

use crate::gateway::{Gateway, id_of};
use crate::wait::a_moment;

/// `TIDEGATE_STATE_EVENTS` sets more: `make prove-state` takes ten thousand.
const EVENTS: u64 = 300;
/// The most that one append takes.
const AT_ONCE: u64 = 100;
/// How many of the appends are of one event.
const ALONE: u64 = 100;
const EVENT_BYTES: usize = 4_096;
const WITHIN: Duration = Duration::from_secs(120);
/// In the proof, and of few events with the build that all tests use.
const APPEND_P50_MAX: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(50)];
const PURGE_MAX: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(5)];
const EXPORT_BYTES_PER_S_MIN: [f64; 2] = [20e6, 0.2e6];

fn events() -> (u64, bool) {
    let wanted = number("TIDEGATE_STATE_EVENTS");
    (wanted.unwrap_or(EVENTS), wanted.is_some())
}

fn event(number: u64) -> Value {
    // Content that no compression makes small.
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let letters = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'a' + u8::try_from(state % 26).unwrap_or_default())
    });
    json!({"event_type": "user_message", "content": letters.take(EVENT_BYTES).collect::<String>()})
}

/// Appends so many events to a new session, the first of them one by one; returns its id and the times of those.
async fn session_of(client: &Client, number: u64) -> (String, Vec<Duration>) {
    let session = client.post("/v2/sessions", &json!({})).await.unwrap().json();
    let (id, branch) = (id_of(&session), session["default_branch_id"].as_str().unwrap().to_owned());
    let path = format!("/v2/sessions/{id}/branches/{branch}/events");
    let (mut version, mut times) = (0, Vec::new());
    while version < number {
        let count = if version < ALONE { 1 } else { AT_ONCE.min(number - version) };
        let events: Vec<Value> = (version..version + count).map(event).collect();
        let body = json!({"expected_version": version, "events": events});
        let start = Instant::now();
        let answer = client.post(&path, &body).await.unwrap();
        if count == 1 {
            times.push(start.elapsed());
        }
        answer.must_be(201);
        version += count;
    }
    (id, times)
}

/// Whose answers are compared with the document of the API only where nothing is measured: that takes longer than some of them.
fn measuring(client: Client, is_proof: bool) -> Client {
    if is_proof { client.other_version() } else { client }
}

/// Waits until an object says that it is completed.
async fn completed(client: &Client, path: &str) -> Value {
    let start = Instant::now();
    loop {
        let object = client.get(path).await.unwrap().json();
        if object["status"] == "completed" {
            return object;
        }
        assert!(object["status"] != "failed" && start.elapsed() < WITHIN, "{object}");
        a_moment().await;
    }
}

#[tokio::test]
async fn a_session_of_many_events_is_appended_to_exported_and_purged() {
    let (number, is_proof) = events();
    let gateway = Gateway::start().await;
    let (client, admin) = (measuring(gateway.client(), is_proof), measuring(gateway.admin(), is_proof));
    let (session, mut times) = session_of(&client, number).await;
    times.sort_unstable();
    let append = times[times.len() / 2];
    println!("an append of one event of {EVENT_BYTES} bytes: {append:?} (p50 of {})", times.len());
    let start = Instant::now();
    let export = admin.post("/v2/data-exports", &json!({})).await.unwrap().json();
    let export = completed(&admin, &format!("/v2/data-exports/{}", id_of(&export))).await;
    let took = start.elapsed();
    let files = export["files"].as_array().unwrap();
    let is_of = |file: &&Value| file["name"].as_str().is_some_and(|name| name.starts_with("session_events"));
    let lines: u64 = files.iter().filter(is_of).map(|file| file["lines"].as_u64().unwrap()).sum();
    assert_eq!(lines, number, "{export}");
    let bytes: u64 = files.iter().map(|file| file["bytes"].as_u64().unwrap()).sum();
    #[expect(clippy::cast_precision_loss, reason = "it is a rate to look at")]
    let rate = bytes as f64 / took.as_secs_f64();
    println!("an export of {bytes} bytes: {took:?}, {:.1} MB/s", rate / 1e6);
    let start = Instant::now();
    let job = admin.post("/v2/purge-jobs", &json!({"session_id": session})).await.unwrap().json();
    let path = format!("/v2/purge-jobs/{}", id_of(&job));
    completed(&admin, &path).await;
    let purge = start.elapsed();
    println!("a purge of a session of {number} events: {purge:?}");
    let receipt = gateway.get(&format!("{path}/receipt")).await;
    let lines = receipt["processors"].as_array().unwrap();
    let of_state: Vec<&Value> = lines.iter().filter(|line| line["place"] == "agent_state").collect();
    let before: u64 = of_state.iter().filter_map(|line| line["before"].as_u64()).sum();
    assert!(before >= number && of_state.iter().all(|line| line["after"] == 0), "{receipt}");
    assert_eq!(client.get(&format!("/v2/sessions/{session}")).await.unwrap().status, 404);
    let edition = usize::from(!is_proof);
    assert!(append <= APPEND_P50_MAX[edition], "an append took {append:?}");
    assert!(purge <= PURGE_MAX[edition], "the purge took {purge:?}");
    assert!(rate >= EXPORT_BYTES_PER_S_MIN[edition], "the export made {rate} bytes a second");
}
