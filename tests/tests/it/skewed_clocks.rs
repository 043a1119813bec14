//! A joined node whose clock is hours from the gateway's, and is set while it runs: it serves, is known to be wrong, and serves on
//! alone for as long as it may by the gateway's time.

use std::path::Path;

use harness::client::Client;
use harness::process::{Launch, Process, free_address, tidegate};
use serde_json::{Value, json};

use crate::WITHIN;
use crate::ask::{CHAT, has, question, records};
use crate::clock::Clock;
use crate::command::Cli;
use crate::gateway::{Gateway, config};
use crate::wait::{found, until};

const HOURS_MS: i64 = 5 * 3_600_000;
/// A machine whose clock can be set.
struct Machine {
    root: tempfile::TempDir,
    clock: Clock,
    address: String,
}

impl Machine {
    fn new() -> Self {
        let address = free_address().unwrap().to_string();
        Self { root: tempfile::tempdir().unwrap(), clock: Clock::new(), address }
    }

    fn path(&self, name: &str) -> String {
        self.root.path().join(name).display().to_string()
    }

    async fn start(&self) -> Process {
        let launch = Launch::new(tidegate().unwrap()).args(["node", "--model", "echo"]);
        let launch = launch.args(["--data-dir", &self.path("node"), "--listen", &self.address]);
        let environment = self.clock.environment().into_iter();
        let launch = environment.fold(launch, |launch, (name, value)| launch.env(name, value));
        let mut node = launch.start().unwrap();
        node.wait_text("listens on", WITHIN).await.unwrap();
        node
    }

    fn client(&self) -> Client {
        Client::new(format!("http://{}", self.address)).within(WITHIN)
    }

    async fn health(&self) -> Value {
        self.client().get("/v1/health").await.unwrap().json()["policy"].clone()
    }
}

fn join(gateway: &Gateway, machine: &Machine) -> String {
    let token = gateway.cli().run(&["nodes", "invite", "attic", "--json"]).json()["token"].clone();
    let address = format!("http://{}", machine.address);
    let join = ["node", "join", "--control", &gateway.origin, "--token", token.as_str().unwrap()];
    let place = ["--data-dir", &machine.path("node"), "--address", &address];
    Cli::new().run(&[&join[..], &place].concat()).ok().trim().to_owned()
}

/// The node's row, once it shows about this skew and is ready.
async fn until_skewed(gateway: &Gateway, id: &str, ahead_ms: i64) {
    until(&format!("a ready node that is {ahead_ms} ms ahead"), async || {
        let node = gateway.get(&format!("/v2/byoc/nodes/{id}")).await;
        let skew_ms = node["joined"]["said"]["clock_skew_ms"].as_i64();
        node["status"] == "ready" && skew_ms.is_some_and(|skew_ms| (skew_ms - ahead_ms).abs() < 30_000)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_clock_is_hours_off_serves_and_is_bounded_by_the_gateways_time() {
    let environment = [("TIDEGATE_NODE_HEARTBEAT_MS", "300"), ("TIDEGATE_NODE_ALONE_MS", "12000")];
    let mut gateway = Gateway::with(config(), &environment).await;
    let machine = Machine::new();
    let id = join(&gateway, &machine);
    machine.clock.set_ahead(HOURS_MS);
    let mut node = machine.start().await;
    let mut served = 0;
    // Its clock is set while it runs, too.
    for ahead_ms in [HOURS_MS, -HOURS_MS] {
        machine.clock.set_ahead(ahead_ms);
        until_skewed(&gateway, &id, ahead_ms).await;
        has(&machine.health().await, json!({"is_clock_skewed": true, "is_expired": false}));
        let is_served = async || gateway.chat(&question("echo")).await.status == 200;
        until("an answer through the gateway", is_served).await;
        machine.client().post(CHAT, &question("echo")).await.unwrap().must_be(200);
        served += 2;
    }
    let kept = records(&machine.client(), served).await;
    let listed = found("each record once", async || {
        let page = gateway.get(&format!("/v2/byoc/nodes/{id}/usage?limit=200")).await;
        Some(page["data"].as_array().unwrap().clone()).filter(|rows| rows.len() == kept.len())
    })
    .await;
    let ids = |rows: &[Value], name: &str| rows.iter().map(|row| row[name].clone()).collect::<Vec<_>>();
    let (mut here, mut there) = (ids(&kept, "id"), ids(&listed, "event_id"));
    here.sort_by_key(Value::to_string);
    there.sort_by_key(Value::to_string);
    assert_eq!(here, there);

    // The gateway is gone: the node serves on, also after a restart, until its time is over.
    gateway.stop().await;
    node.kill9().unwrap();
    let _node = machine.start().await;
    let ask = async || machine.client().post(CHAT, &question("echo")).await.unwrap();
    // Hours behind, it would serve on for hours; ahead, it would have ended.
    ask().await.must_be(200);
    let expired = async || Some(ask().await).filter(|answer| answer.status == 503);
    let expired = found("the end of its time", expired).await;
    assert_eq!(expired.json()["error"]["code"], "policy_expired", "{}", expired.text());
    assert!(Path::new(&machine.path("node/certificate.json")).exists());
}
