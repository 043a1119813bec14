//! What tasks cost: how many are made a second, how long those of a long queue wait, and what a run that its client waits for
//! costs beside a chat request. `make prove-tasks` and `make prove-runs` make more of them in an optimised build, and hold them to what is
//! promised; the tests hold the CPU of few of them to looser bounds.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use harness::Behaviour;
use harness::pace::cpu_time;
use harness::setting::number;
use serde_json::{Value, json};

use crate::WITHIN;
use crate::ask::{CHAT, MINI, question};
use crate::gateway::{Gateway, OWN, config};
use crate::hot_path::is_whole;
use crate::wait::a_moment;

/// `TIDEGATE_QUEUED` sets more: `make prove-tasks` and `make prove-runs` take ten thousand.
const QUEUED: usize = 100;
/// Connections on which tasks and runs arrive.
const CONNECTIONS: usize = 8;
/// Of each kind, where a run is compared with a chat request.
const COMPARED: usize = 1_000;
/// In the proof: how many tasks are made in a second, at least.
const PER_SECOND_MIN: f64 = 1_000.0;
/// What a task may cost the gateway: in the proof, and in the build that all tests use.
const TASK_CPU_MAX: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(20)];
/// Of the CPU of a chat request: in the proof, and in the build that all tests use, where 322 were found.
const RUN_PERCENT_MAX: [u128; 2] = [130, 400];
/// In so many turns is each measured.
const TURNS: usize = 10;
/// Rows of the plot of latencies.
const ROWS: usize = 20;

fn queued() -> (usize, bool) {
    let wanted = number("TIDEGATE_QUEUED");
    (wanted.unwrap_or(QUEUED), wanted.is_some())
}

fn run(prompt: &str, wait: bool) -> Value {
    json!({"app": MINI, "input": {"prompt": prompt}, "wait": wait})
}

/// Sends so many requests, one after the other, on one connection.
fn send(address: SocketAddr, key: &str, path: &str, body: &Value, times: usize) {
    let mut wire = TcpStream::connect(address).unwrap();
    wire.set_read_timeout(Some(WITHIN)).unwrap();
    wire.set_nodelay(true).unwrap();
    let body = body.to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut buffer = [0; 16 * 1024];
    for _ in 0..times {
        wire.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        while !is_whole(&answer) {
            let count = wire.read(&mut buffer).unwrap();
            assert!(count > 0, "closed after {}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&buffer[..count]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    }
}

/// The same on several connections at once.
fn send_at_once(gateway: &Gateway, connections: usize, path: &str, body: &Value, times: usize) {
    let (address, key) = (gateway.address(), &gateway.founded.api_key);
    std::thread::scope(|scope| {
        for _ in 0..connections {
            scope.spawn(|| send(address, key, path, body, times / connections));
        }
    });
}

/// Milliseconds of a day.
fn of_day(moment: &Value) -> u64 {
    let text = moment.as_str().unwrap();
    let number = |from: usize, to: usize| text[from..to].parse::<u64>().unwrap();
    ((number(11, 13) * 60 + number(14, 16)) * 60 + number(17, 19)) * 1_000 + number(20, 23)
}

/// When each task arrived, and how long it took to its end, in the order of arrival.
async fn latencies(gateway: &Gateway) -> Vec<(u64, u64)> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = gateway.client().get(&format!("/tasks?limit=100{cursor}")).await.unwrap().json();
        for task in page["data"]["items"].as_array().unwrap() {
            assert_eq!(task["status"], 10, "{task}");
            let (arrived, ended) = (of_day(&task["created_at"]), of_day(&task["updated_at"]));
            let took = if ended < arrived { ended + 86_400_000 - arrived } else { ended - arrived };
            found.push((arrived, took));
        }
        match page["data"]["next_cursor"].as_str() {
            Some(next) if !next.is_empty() => cursor = format!("&cursor={next}"),
            _ => break,
        }
    }
    found.reverse();
    found
}

fn plot(latencies: &[(u64, u64)]) {
    let longest = latencies.iter().map(|(_, took)| *took).max().unwrap_or(1).max(1);
    println!("from arrival to end, in the order of arrival:\n    tasks       p50       p99");
    let each = latencies.len().div_ceil(ROWS);
    for (row, some) in latencies.chunks(each).enumerate() {
        let mut times: Vec<u64> = some.iter().map(|(_, took)| *took).collect();
        times.sort_unstable();
        let at = |percent: usize| times[(times.len() - 1) * percent / 100];
        let bar = "#".repeat(usize::try_from(at(50) * 60 / longest).unwrap());
        println!("{:>9} {:>6} ms {:>6} ms {bar}", row * each + some.len(), at(50), at(99));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_queue_is_drained() {
    let (number, is_proof) = queued();
    let number = number / CONNECTIONS * CONNECTIONS;
    let more = [("TIDEGATE_TASKS_AT_ONCE_OF_WORKSPACE", "256")];
    let gateway = Gateway::over_postgres("q", config(), &more).await;
    gateway.credential("openai", OWN).await;
    gateway.emulator.script(OWN, [Behaviour::ok().always()]);
    let (before, began) = (cpu_time(gateway.pid()), Instant::now());
    let body = run("hello there", false);
    tokio::task::block_in_place(|| send_at_once(&gateway, CONNECTIONS, "/v1/run", &body, number));
    let arrived = began.elapsed();
    let waiting = async |status: u64| {
        let query = json!({"limit": 1, "filters": [{"field": "status", "operator": "eq", "value": status}]});
        let page = gateway.client().post("/tasks/list", &query).await.unwrap().must_be(200);
        !page.json()["data"]["items"].as_array().unwrap().is_empty()
    };
    let within = 4 * WITHIN + Duration::from_millis(20) * u32::try_from(number).unwrap();
    while waiting(2).await || waiting(3).await || waiting(4).await || waiting(7).await {
        assert!(began.elapsed() < within, "{number} tasks take longer than {within:?}");
        a_moment().await;
    }
    let took = began.elapsed();
    let cpu = (cpu_time(gateway.pid()) - before) / u32::try_from(number).unwrap();
    #[expect(clippy::cast_precision_loss, reason = "it is a rate to look at")]
    let rate = number as f64 / took.as_secs_f64();
    println!(
        "{number} tasks arrived in {arrived:?} and had ended after {took:?}: {rate:.0}/s, {cpu:?} of the gateway's CPU each"
    );
    let latencies = latencies(&gateway).await;
    assert_eq!(latencies.len(), number);
    plot(&latencies);
    assert!(cpu <= TASK_CPU_MAX[usize::from(!is_proof)], "a task costs {cpu:?}");
    assert!(!is_proof || rate >= PER_SECOND_MIN, "{rate:.0} tasks a second");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_waited_for_costs_little_more_than_a_chat_request() {
    let (number, is_proof) = queued();
    let number = if is_proof { number } else { COMPARED };
    let gateway = Gateway::with_own().await;
    gateway.emulator.script(OWN, [Behaviour::ok().always()]);
    let cost = |connections: usize, path: &str, body: &Value, number: usize| {
        let before = cpu_time(gateway.pid());
        send_at_once(&gateway, connections, path, body, number);
        (cpu_time(gateway.pid()) - before) / u32::try_from(number / connections * connections).unwrap()
    };
    let (asks, runs) = (question(MINI), run("hello there", true));
    let mut percent = 0;
    for connections in [1, CONNECTIONS] {
        let (chat, waited) = tokio::task::block_in_place(|| {
            cost(connections, CHAT, &asks, number / 10);
            cost(connections, "/v1/run", &runs, number / 10);
            // By turns, because a processor's speed changes from one second to the next.
            let turns = (0..TURNS).map(|_| {
                let chat = cost(connections, CHAT, &asks, number / TURNS);
                (chat, cost(connections, "/v1/run", &runs, number / TURNS))
            });
            let (chats, waits): (Vec<_>, Vec<_>) = turns.unzip();
            let mean = |times: &[Duration]| times.iter().sum::<Duration>() / u32::try_from(TURNS).unwrap();
            (mean(&chats), mean(&waits))
        });
        percent = waited.as_nanos() * 100 / chat.as_nanos();
        println!(
            "CPU of the gateway on {connections} connections: {chat:?} for a chat request, {waited:?} for a run: {percent} %"
        );
    }
    let percent_max = RUN_PERCENT_MAX[usize::from(!is_proof)];
    assert!(percent <= percent_max, "a run costs {percent} % of a chat request");
}
