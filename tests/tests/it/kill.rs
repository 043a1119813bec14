//! The process is killed at random moments, again and again; every upstream call must be in the books exactly
//! once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::limits::{CHECKPOINT_BYTES, CHECKPOINT_EVERY, STREAM_PIECE_BYTES};
use harness::client::Client;
use harness::day;
use harness::pace::cpu_time;
use harness::setting::number;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::WITHIN;
use crate::ask::{CHAT, MINI, has, question, scripted, trace_of_stream, with};
use crate::command::Cli;
use crate::gateway::{Gateway, OWN, OWN_SECOND, config};
use crate::wait::{a_moment, until, until_a_random_moment};

pub const CLIENTS: usize = 8;
/// What half of the starts may take of the processors until they are ready, in the build that all tests use: the time beside the clients of this
/// test would be theirs, too.
const READY_CPU_MAX: Duration = Duration::from_millis(600);
/// How long after the gateway sent something a client may see it.
const LATE: Duration = Duration::from_millis(300);

/// A random generator that can be replayed from its seed.
pub struct Chance(pub u64);

impl Chance {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    pub fn millis(&mut self, bound: u64) -> Duration {
        Duration::from_micros(self.below(bound * 1_000))
    }
}

/// State shared by the clients.
pub struct Traffic {
    origin: watch::Receiver<String>,
    over: AtomicBool,
    next: AtomicU64,
    /// Calls whose complete answer arrived.
    pub answered: std::sync::Mutex<BTreeSet<u64>>,
}

impl Traffic {
    /// Starts clients, which call wherever the origin leads.
    pub fn start(origin: watch::Receiver<String>, key: &str) -> (Arc<Self>, Vec<JoinHandle<()>>) {
        let traffic = Arc::new(Self {
            origin,
            over: AtomicBool::default(),
            next: AtomicU64::default(),
            answered: std::sync::Mutex::default(),
        });
        let clients =
            (0..CLIENTS).map(|_| tokio::spawn(keep_calling(Arc::clone(&traffic), key.to_owned()))).collect();
        (traffic, clients)
    }

    pub async fn end(&self, clients: Vec<JoinHandle<()>>) {
        self.over.store(true, Ordering::Relaxed);
        for client in clients {
            client.await.unwrap();
        }
    }
}

/// One call's body: its number goes upstream as metadata and into the books as a tag.
fn body(number: u64) -> Value {
    let script = [
        "",
        "",
        "interval=2,chunks=30",
        "interval=1,chunks=60",
        "latency=30",
        "usage=every,chunks=40,interval=1",
    ];
    let script = script[usize::try_from(number).unwrap() % script.len()];
    let stream = !number.is_multiple_of(3);
    let metadata = json!({"call": number.to_string(), "emulate": script});
    with(question(MINI), json!({"stream": stream, "metadata": metadata}))
}

async fn keep_calling(traffic: Arc<Traffic>, key: String) {
    while !traffic.over.load(Ordering::Relaxed) {
        let number = traffic.next.fetch_add(1, Ordering::Relaxed);
        let origin = traffic.origin.borrow().clone();
        let tag = URL_SAFE_NO_PAD.encode(json!({"tag": number.to_string()}).to_string());
        let client = Client::new(origin).bearer(&key).header("agent-hints", tag).within(WITHIN);
        match client.post(CHAT, &body(number)).await {
            Ok(answer) if answer.status == 200 => {
                let whole =
                    !body(number)["stream"].as_bool().unwrap() || answer.text().ends_with("data: [DONE]\n\n");
                assert!(whole, "an answer ended as if all were well: {}", answer.text());
                traffic.answered.lock().unwrap().insert(number);
            }
            Ok(answer) => assert_eq!(answer.status, 503, "{number}: {}", answer.text()),
            // The process is down: retry soon.
            Err(_) => a_moment().await,
        }
    }
}

/// Rotates the credential until the process dies.
fn rotate(gateway: &Gateway, credential: &str) -> JoinHandle<()> {
    let (admin, path) = (gateway.admin(), format!("/v2/provider-credentials/{credential}/rotate"));
    tokio::spawn(async move {
        for secret in [OWN, OWN_SECOND].iter().cycle() {
            if admin.post(&path, &json!({"secret": secret})).await.is_err() {
                break;
            }
        }
    })
}

/// Lets traffic flow for a while and kills: under traffic, during a drain, during a rotation, or several
/// times during startup.
async fn kill_once(gateway: &mut Gateway, chance: &mut Chance, credential: &str) {
    let phase = chance.below(4);
    until_a_random_moment(chance.millis(250)).await;
    match phase {
        0 => {}
        1 => {
            gateway.process().terminate().unwrap();
            until_a_random_moment(chance.millis(40)).await;
        }
        2 => {
            let rotation = rotate(gateway, credential);
            until_a_random_moment(chance.millis(80)).await;
            gateway.process().kill9().unwrap();
            rotation.await.unwrap();
        }
        _ => {
            gateway.process().kill9().unwrap();
            gateway.launch();
            until_a_random_moment(chance.millis(150)).await;
        }
    }
    gateway.process().kill9().unwrap();
}

#[tokio::test]
async fn kill_at_random_and_every_upstream_call_is_booked_once() {
    let (kills, seed) = (number("TIDEGATE_KILLS").unwrap_or(20), day::seed());
    println!("{kills} kills");
    let mut chance = Chance(seed);
    let mut emulator = config();
    emulator.entries_max = 10_000_000;
    let mut gateway = Gateway::with(emulator, &[("TIDEGATE_LOG", "warn")]).await;
    let credential = gateway.credential("openai", OWN).await;
    let (published, origin) = watch::channel(gateway.origin.clone());
    let (traffic, clients) = Traffic::start(origin, &gateway.founded.api_key);
    let (mut starts, mut cpu) = (Vec::new(), Vec::new());
    for _ in 0..kills {
        kill_once(&mut gateway, &mut chance, &credential).await;
        starts.push(gateway.start_again().await);
        cpu.push(cpu_time(gateway.pid()));
        published.send(gateway.origin.clone()).unwrap();
    }
    let reached = gateway.emulator.journal().len();
    gateway.emulator.wait_for(WITHIN, |journal| journal.len() > reached + CLIENTS).await.unwrap();
    traffic.end(clients).await;
    starts.sort();
    cpu.sort();
    println!(
        "{} calls, {reached} upstream; ready after {:?} (median), {:?} (worst), and {:?} of CPU (median)",
        traffic.next.load(Ordering::Relaxed),
        starts[starts.len() / 2],
        starts.last(),
        cpu[cpu.len() / 2]
    );
    assert!(cpu[cpu.len() / 2] <= READY_CPU_MAX, "{cpu:?}");
    let rows = all_settled(&gateway).await;
    booked_once(&gateway, &rows);
    counts_are_the_providers(&gateway, &rows);
    outcomes_are_true(&gateway, &rows, &traffic.answered.lock().unwrap());
    ledger_agrees(&mut gateway, rows.len()).await;
}

/// Checks that everything that a client received is in the books; reads the list once it no longer grows.
pub async fn all_settled(gateway: &Gateway) -> Vec<Value> {
    let mut rows = gateway.requests(1_000).await;
    let mut since = Instant::now();
    while since.elapsed() < Duration::from_millis(500) {
        a_moment().await;
        let again = gateway.get("/v2/usage").await["data"][0]["requests"].as_u64().unwrap_or(0);
        if again > rows.len() as u64 {
            rows = gateway.requests(1_000).await;
            since = Instant::now();
        }
    }
    rows
}

pub fn booked_once(gateway: &Gateway, rows: &[Value]) {
    let ids: BTreeSet<&str> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), rows.len(), "a request is in the books twice");
    let mut record: BTreeMap<String, (String, u64)> = BTreeMap::new();
    for row in rows {
        let how = (row["outcome"].as_str().unwrap().to_owned(), row["attempts"].as_u64().unwrap());
        let earlier = record.insert(row["tag"].as_str().unwrap().to_owned(), how);
        assert_eq!(earlier, None, "a call is in the books twice: {row}");
    }
    let upstream = counted(gateway);
    for (number, (outcome, attempts)) in &record {
        let calls = upstream.get(number).map_or(0, Vec::len) as u64;
        // An intent is written before its call leaves: a kill between the two books one attempt that no
        // upstream saw.
        assert!(
            calls <= *attempts && *attempts <= calls + u64::from(outcome == "interrupted"),
            "call {number}, {outcome}: {calls} upstream, {attempts} in the books"
        );
    }
    let unbooked: Vec<_> = upstream.keys().filter(|number| !record.contains_key(*number)).collect();
    assert!(unbooked.is_empty(), "upstream and not in the books: {unbooked:?}");
    println!("{} upstream calls in {} records", upstream.values().map(Vec::len).sum::<usize>(), rows.len());
}

/// The tokens of the prompt and of the answer of each call upstream, by the call's number.
fn counted(gateway: &Gateway) -> BTreeMap<String, Vec<(u64, u64)>> {
    let mut counted: BTreeMap<String, Vec<(u64, u64)>> = BTreeMap::new();
    for entry in gateway.emulator.journal() {
        let sent: Value = serde_json::from_slice(&entry.body).unwrap_or_default();
        // A body that the kill cut short has no number, and no provider would have read it.
        if let Some(number) = sent["metadata"]["call"].as_str() {
            counted.entry(number.to_owned()).or_default().push((entry.prompt_tokens, entry.said_tokens));
        }
    }
    counted
}

/// The booked usage of a completed call equals the provider's own counts.
pub fn counts_are_the_providers(gateway: &Gateway, rows: &[Value]) {
    let counted = counted(gateway);
    for row in rows.iter().filter(|row| row["outcome"] == "completed") {
        let tag = row["tag"].as_str().unwrap();
        let record = (row["input_tokens"].as_u64().unwrap(), row["output_tokens"].as_u64().unwrap());
        assert_eq!(counted[tag].last(), Some(&record), "{row}");
    }
}

pub fn outcomes_are_true(gateway: &Gateway, rows: &[Value], answered: &BTreeSet<u64>) {
    let mut interrupted = 0;
    for row in rows {
        let number: u64 = row["tag"].as_str().unwrap().parse().unwrap();
        let outcome = row["outcome"].as_str().unwrap();
        if outcome == "interrupted" {
            interrupted += 1;
            assert!(row["attempts"].as_u64() > Some(0), "{row}");
        }
        // The last byte of an answer is sent only after its record is written.
        assert!(!answered.contains(&number) || outcome == "completed", "{row}");
    }
    let record: BTreeSet<u64> = rows.iter().filter_map(|row| row["tag"].as_str()?.parse().ok()).collect();
    let lost: Vec<_> = answered.difference(&record).collect();
    assert!(lost.is_empty(), "answered and not in the books: {lost:?}");
    assert!(interrupted > 0, "no kill hit a running call: the test tests nothing");
    println!("{} answered, {interrupted} interrupted", answered.len());
    assert_eq!(gateway.emulator.violations(), []);
}

async fn ledger_agrees(gateway: &mut Gateway, records: usize) {
    gateway.stop().await;
    let data = gateway.data().display().to_string();
    let report = Cli::new().run(&["ledger", "verify", "--data-dir", &data, "--json"]).json();
    has(&report, json!({"ok": true, "records": records}));
}

/// What a client had received of a stream: the bytes of its events so far, the token count in the last of
/// them, and its arrival time.
#[derive(Clone, Copy)]
struct Received {
    bytes: u64,
    tokens: u64,
    at: Instant,
}

#[tokio::test]
async fn a_kill_in_a_stream_leaves_what_was_said_up_to_the_last_checkpoint_in_the_books() {
    // One stream that is checkpointed by bytes, and one by time.
    for (script, events) in [("chunks=4000,interval=1", 1_200), ("chunks=400,interval=20", 130)] {
        cut_after(&format!("emu:{script},usage=every"), events).await;
    }
}

async fn cut_after(script: &str, events: usize) {
    let mut gateway = Gateway::with_own().await;
    let body = json!({"stream": true, "stream_options": {"include_usage": true}, "user": script});
    let mut stream = gateway.client().stream(CHAT, &with(question(MINI), body)).await.unwrap();
    let trace = trace_of_stream(&stream);
    let mut received: Vec<Received> = Vec::new();
    while received.len() < events {
        let event = stream.event().await.unwrap().unwrap();
        let chunk: Value = serde_json::from_str(&event).unwrap();
        let tokens = chunk["usage"]["completion_tokens"].as_u64().unwrap_or(0);
        let bytes =
            received.last().map_or(0, |last| last.bytes) + "data: \n\n".len() as u64 + event.len() as u64;
        received.push(Received { bytes, tokens, at: Instant::now() });
    }
    gateway.crash().await;
    let (_, end) = stream.events().await;
    assert!(end.is_err(), "the client saw a clean end");
    let request = gateway.settled(&trace).await;
    has(&request, json!({"outcome": "interrupted", "mode": "byok"}));
    let generated = gateway.emulator.journal()[0].said_tokens;
    let record = request["output_tokens"].as_u64().unwrap();
    assert!(record <= generated, "{record} of {generated} tokens: {request}");
    // Each piece that is due when it is sent has a checkpoint behind it: of what the client had, only what
    // came within one checkpoint interval of the end may be missing.
    let last = *received.last().unwrap();
    let is_due = |one: &&Received| {
        one.bytes + CHECKPOINT_BYTES + STREAM_PIECE_BYTES as u64 <= last.bytes
            || one.at + CHECKPOINT_EVERY + LATE <= last.at
    };
    let known = received.iter().filter(is_due).map(|one| one.tokens).max().unwrap_or(0);
    assert!(known > 0, "{script}: nothing was due, so the test tests nothing");
    assert!(record >= known, "{script}: {record} tokens, {known} were due of {generated}: {request}");
    gateway.chat_ok(&question(MINI)).await;
}

#[tokio::test]
async fn a_drain_finishes_what_runs_and_takes_nothing_new() {
    let mut gateway = Gateway::with_own().await;
    let script = json!({"stream": true, "user": "emu:chunks=60,interval=10"});
    let mut stream = gateway.client().stream(CHAT, &with(question(MINI), script)).await.unwrap();
    let trace = trace_of_stream(&stream);
    stream.event().await.unwrap().unwrap();
    gateway.process().terminate().unwrap();
    let deadline = Instant::now() + WITHIN;
    // New requests are refused, by a closed port or with a 503, while the stream continues.
    while let Ok(answer) = gateway.client().post(CHAT, &question(MINI)).await {
        assert!(Instant::now() < deadline, "new requests are still served: {}", answer.status);
        if answer.status == 503 {
            break;
        }
    }
    let (events, end) = stream.events().await;
    assert!(end.is_ok() && events.last().map(String::as_str) == Some("[DONE]"), "{:?}", events.last());
    let status = gateway.process().wait(WITHIN).await.unwrap();
    assert!(status.success(), "{status}");
    gateway.start_again().await;
    assert_eq!(gateway.settled(&trace).await["outcome"], "completed");
}

#[tokio::test]
async fn a_second_signal_ends_what_a_drain_waits_for() {
    let mut gateway = Gateway::with_own().await;
    let endless = with(scripted(MINI, "chunks=4000,interval=20"), json!({"stream": true}));
    let mut stream = gateway.client().stream(CHAT, &endless).await.unwrap();
    stream.event().await.unwrap();
    let trace = trace_of_stream(&stream);
    gateway.process().terminate().unwrap();
    until("the drain", async || gateway.process().stderr().contains("A second signal ends them.")).await;
    stream.event().await.unwrap();
    assert!(gateway.process().exited().unwrap().is_none(), "it waits for the stream");
    gateway.process().terminate().unwrap();
    let status = gateway.process().wait(WITHIN).await.unwrap();
    assert!(status.success(), "{status}: {}", gateway.process().stderr());
    // The interrupted stream is in the books all the same.
    gateway.start_again().await;
    assert_ne!(gateway.settled(&trace).await["outcome"], "completed");
}

#[tokio::test]
async fn a_stop_waits_neither_for_a_held_up_thread_nor_for_its_connections() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("held");
    let held = file.display().to_string();
    let mut gateway = Gateway::with(config(), &[("TIDEGATE_HELD_CONTROL", &held)]).await;
    std::fs::write(&file, "").unwrap();
    until("the control plane's thread to be held up", async || {
        const DELAY: &str = "tidegate_runtime_delay_microseconds{runtime=\"control\"} ";
        let page = gateway.client().get("/metrics").await.unwrap().text();
        let delay = page.lines().find_map(|line| line.strip_prefix(DELAY)?.parse::<u64>().ok());
        delay.is_some_and(|delay| delay > 1_000_000)
    })
    .await;
    gateway.process().terminate().unwrap();
    // Of the ten minutes that a part has it takes the ten seconds after which a thread counts as held up.
    let status = gateway.process().wait(Duration::from_secs(60)).await.unwrap();
    assert!(status.success(), "{status}: {}", gateway.process().stderr());
}
