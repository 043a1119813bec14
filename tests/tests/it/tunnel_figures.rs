//! What a request through a tunnel costs beside one to the node's address, in CPU of both processes, and in time. `make prove-tunnels` sends more
//! through an optimised build, and holds both to what is promised; the test holds the CPU of few requests to a looser bound, and no time,
//! which the rest of the machine decides.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use harness::pace::cpu_time;
use harness::process::{Launch, Process, free_address, tidegate};
use harness::setting::number;
use serde_json::json;

use crate::WITHIN;
use crate::ask::CHAT;
use crate::command::Cli;
use crate::gateway::{Gateway, config};
use crate::hot_path::is_whole;
use crate::wait::until;

/// Requests of each kind; `TIDEGATE_TUNNELLED` sets more.
const COMPARED: usize = 200;
/// They are sent in turns of so many, so that what else the machine does meets both.
const TURN: usize = 50;
const EXTRA_MAX: Duration = Duration::from_micros(300);
/// Of the CPU of a direct one: in the proof, and of few requests through a build with our own checks.
const PERCENT_MAX: [u128; 2] = [115, 150];

/// A gateway, its one node with the built-in echo, and what has been measured of them.
struct Way {
    gateway: Gateway,
    node: Process,
    _data: tempfile::TempDir,
    times: Vec<Duration>,
    cpu: Duration,
}

impl Way {
    async fn open(is_tunnel: bool) -> Self {
        let gateway = Gateway::with(config(), &[("TIDEGATE_NODE_HEARTBEAT_MS", "1000")]).await;
        let (data, address) = (tempfile::tempdir().unwrap(), free_address().unwrap());
        let dir = data.path().join("node").display().to_string();
        let url = format!("http://{address}");
        let place = if is_tunnel { vec!["--tunnel"] } else { vec!["--address", &url] };
        let token = gateway.invite("attic");
        let join = ["node", "join", "--control", &gateway.origin, "--token", &token, "--data-dir", &dir];
        Cli::new().run(&[&join[..], &place].concat()).ok();
        let launch = Launch::new(tidegate().unwrap()).args(["node", "--model", "echo", "--data-dir", &dir]);
        let mut node = launch.args(["--listen", &address.to_string()]).start().unwrap();
        node.wait_text("listens on", WITHIN).await.unwrap();
        let way = Self { gateway, node, _data: data, times: Vec::new(), cpu: Duration::ZERO };
        until("the node is ready", async || way.gateway.chat(&chat()).await.status == 200).await;
        way
    }

    fn cpu_time(&self) -> Duration {
        cpu_time(self.gateway.pid()) + cpu_time(self.node.pid())
    }

    fn measure(&mut self, times: usize) {
        let before = self.cpu_time();
        self.times.extend(send(self.gateway.address(), &self.gateway.founded.api_key, times));
        self.cpu += self.cpu_time() - before;
    }

    fn median(&mut self) -> Duration {
        self.times.sort_unstable();
        self.times[self.times.len() / 2]
    }
}

fn chat() -> serde_json::Value {
    json!({"model": "echo", "messages": [{"role": "user", "content": "How high is the tide?"}]})
}

/// Sends so many requests, one after the other, on one connection; returns how long each took.
fn send(address: SocketAddr, key: &str, times: usize) -> Vec<Duration> {
    let mut wire = TcpStream::connect(address).unwrap();
    wire.set_read_timeout(Some(WITHIN)).unwrap();
    wire.set_nodelay(true).unwrap();
    let body = chat().to_string();
    let request = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut buffer = [0; 16 * 1024];
    let mut took = Vec::with_capacity(times);
    for _ in 0..times {
        let began = Instant::now();
        wire.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        while !is_whole(&answer) {
            let count = wire.read(&mut buffer).unwrap();
            assert!(count > 0, "closed after {}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&buffer[..count]);
        }
        took.push(began.elapsed());
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    }
    took
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_through_a_tunnel_costs_little_more_than_a_direct_one() {
    let wanted = number("TIDEGATE_TUNNELLED");
    let (number, is_proof) = (wanted.unwrap_or(COMPARED), wanted.is_some());
    let (mut direct, mut tunnel) = (Way::open(false).await, Way::open(true).await);
    tokio::task::block_in_place(|| {
        for _ in 0..number.div_ceil(TURN) {
            direct.measure(TURN);
            tunnel.measure(TURN);
        }
    });
    let nodes = tunnel.gateway.get("/v2/byoc/nodes").await;
    let spares = nodes["data"][0]["tunnel"]["spare_connections"].as_u64();
    assert!(spares.is_some_and(|spares| spares > 0), "all went through the tunnel: {nodes}");
    let each = u32::try_from(direct.times.len()).unwrap();
    let (near, far) = (direct.median(), tunnel.median());
    let percent = tunnel.cpu.as_nanos() * 100 / direct.cpu.as_nanos().max(1);
    println!(
        "{each} requests each: median {near:?} direct and {far:?} through the tunnel; CPU of gateway and node {:?} and {:?} each: {percent} %",
        direct.cpu / each,
        tunnel.cpu / each
    );
    assert!(percent <= PERCENT_MAX[usize::from(!is_proof)], "{percent} %");
    assert!(!is_proof || far <= near + EXTRA_MAX, "{far:?} after {near:?}");
}
