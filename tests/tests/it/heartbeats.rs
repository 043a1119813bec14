//! What the heartbeats of many nodes cost the gateway. Each is taken, every node stays ready, and CPU time and memory stay below their bounds;
//! `make prove-heartbeats` does the same with ten thousand nodes at the usual interval and an optimised build.

use std::sync::Arc;
use std::time::{Duration, Instant};

use harness::client::Client;
use harness::pace::cpu_time;
use harness::process::resources;
use harness::setting::number;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::WITHIN;
use crate::gateway::{Gateway, config};
use crate::played_runtime::PlayedRuntime;
use crate::wait::a_moment;

/// `TIDEGATE_NODES` sets more.
const NODES: usize = 64;
/// Nodes join and beat on so many tasks, each of which stands for an equal share of them.
const LANES: usize = 32;
/// How often each node beats, in milliseconds: in the small edition, and as nodes do.
const BEAT_MS: [u64; 2] = [1_000, 30_000];
/// Rounds of heartbeats that are measured.
const ROUNDS: usize = 3;
/// The cores and the memory that ten thousand nodes may take.
const CORES_MAX: f64 = 1.0;
const MIB_MAX: u64 = 1024;
/// What a heartbeat may cost: a core's share of ten thousand nodes, and in the build that all tests use.
const BEAT_CPU_MAX: [Duration; 2] = [Duration::from_millis(3), Duration::from_millis(15)];

fn heartbeat(round: usize) -> Value {
    json!({
        "models": ["qwen3-8b"], "version": "1.0.0", "runtime": "engine", "device": "cuda:0",
        "load": {"running": round, "waiting": 0, "cache_bytes": 1 << 30, "cache_bytes_max": 1_u64 << 34},
    })
}

/// Sends a heartbeat for each of these nodes in turn, `every` after the one before; returns how long each took.
async fn beat(clients: Vec<Client>, every: Duration, rounds: usize) -> Vec<Duration> {
    let mut due = interval(every);
    due.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut took = Vec::with_capacity(rounds * clients.len());
    for round in 0..rounds {
        for client in &clients {
            due.tick().await;
            let began = Instant::now();
            client.post("/v2/byoc/nodes/heartbeat", &heartbeat(round)).await.unwrap().must_be(200);
            took.push(began.elapsed());
        }
    }
    took
}

/// The nodes by status.
async fn ready(gateway: &Gateway) -> (usize, usize) {
    let (mut ready, mut all, mut cursor) = (0, 0, String::new());
    loop {
        let page = gateway.get(&format!("/v2/byoc/nodes?limit=200{cursor}")).await;
        let nodes = page["data"].as_array().unwrap();
        all += nodes.len();
        ready += nodes.iter().filter(|node| node["status"] == "ready").count();
        let Some(next) = page["next_cursor"].as_str() else { return (ready, all) };
        cursor = format!("&cursor={next}");
    }
}

async fn rounds(lanes: &[Vec<Client>], every: Duration, rounds: usize) -> Vec<Duration> {
    let mut beating = JoinSet::new();
    for lane in lanes {
        let pause = every / u32::try_from(lane.len()).unwrap();
        beating.spawn(beat(lane.clone(), pause, rounds));
    }
    beating.join_all().await.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_nodes_beat_and_stay_ready() {
    let wanted = number::<usize>("TIDEGATE_NODES");
    let (nodes, is_proof) = (wanted.unwrap_or(NODES).max(LANES), wanted.is_some());
    let every_ms = BEAT_MS[usize::from(is_proof)];
    let beat_ms = every_ms.to_string();
    let gateway = Arc::new(Gateway::with(config(), &[("TIDEGATE_NODE_HEARTBEAT_MS", &beat_ms)]).await);
    let runtime = Arc::new(PlayedRuntime::start().await);
    let (mut joining, before) = (JoinSet::new(), Instant::now());
    for lane in 0..LANES {
        let (gateway, runtime) = (Arc::clone(&gateway), Arc::clone(&runtime));
        joining.spawn(async move {
            let mut clients = Vec::new();
            for node in (lane..nodes).step_by(LANES) {
                clients.push(gateway.played(&format!("node-{node}"), &runtime.base_url).await.1);
            }
            clients
        });
    }
    let lanes = joining.join_all().await;
    let joined = before.elapsed();
    let every = Duration::from_millis(every_ms);
    // The first heartbeats make each node known, and have it polled at its address.
    let first = rounds(&lanes, every, 1).await;
    let deadline = Instant::now() + WITHIN + every;
    while ready(&gateway).await.0 < nodes {
        assert!(Instant::now() < deadline, "{:?} are ready", ready(&gateway).await);
        rounds(&lanes, every / 2, 1).await;
        a_moment().await;
    }
    let (cpu, began) = (cpu_time(gateway.pid()), Instant::now());
    let mut took = rounds(&lanes, every, ROUNDS).await;
    let (wall, cpu) = (began.elapsed(), cpu_time(gateway.pid()) - cpu);
    assert_eq!(ready(&gateway).await, (nodes, nodes));
    assert_eq!((first.len(), took.len()), (nodes, nodes * ROUNDS));
    took.sort_unstable();
    let at = |percent: usize| took[(took.len() - 1) * percent / 100];
    let (resident, _) = resources(gateway.pid()).unwrap();
    let (cores, mib) = (cpu.as_secs_f64() / wall.as_secs_f64(), resident / (1024 * 1024));
    println!("{nodes} nodes joined in {joined:?}, and beat every {every_ms} ms");
    println!("{} heartbeats in {wall:?}: p50 {:?}, p99 {:?}", took.len(), at(50), at(99));
    let each = cpu / u32::try_from(took.len()).unwrap();
    println!("the gateway used {cores:.2} cores ({each:?} a heartbeat) and {mib} MiB");
    assert!(each <= BEAT_CPU_MAX[usize::from(!is_proof)], "{each:?} a heartbeat");
    assert!(cores <= CORES_MAX, "{cores:.2} cores");
    assert!(mib <= MIB_MAX, "{mib} MiB");
}
