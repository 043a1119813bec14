//! A node of the fleet on its machine.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use harness::client::{Answer, Client};
use harness::network::{Machine, Network};
use harness::process::{Launch, Process, tidegate};
use serde_json::Value;

use crate::WITHIN;
use crate::ask::CHAT;
use crate::gateway::Gateway;
use crate::peers::seen;
use crate::wait::found;

/// A node on its machine.
pub struct Node {
    pub name: &'static str,
    /// Nothing but the test reaches its listener: requests come through the tunnel that it opens.
    dials: bool,
    pub machine: Machine,
    /// Its address on the cable that only the test has.
    own: Ipv4Addr,
    root: tempfile::TempDir,
    key: String,
    pub id: String,
    /// What it runs.
    pub model: Vec<String>,
    process: Option<Process>,
}

impl Node {
    pub async fn new(network: &mut Network, name: &'static str, dials: bool, runs: &[&str]) -> Self {
        let machine = network.machine().unwrap();
        let own = network.own_cable(&machine).unwrap();
        let model = runs.iter().map(|text| (*text).to_owned()).collect();
        let root = tempfile::tempdir().unwrap();
        let (key, id) = (String::new(), String::new());
        let mut node = Self { name, dials, machine, own, root, key, id, model, process: None };
        node.key = node.run(&["node", "key"]).await;
        node
    }

    pub fn data(&self) -> PathBuf {
        self.root.path().join("node")
    }

    pub fn models(&self) -> PathBuf {
        self.root.path().join("models")
    }

    pub fn launch(&self, arguments: &[&str]) -> Launch {
        let launch = self.machine.launch(&tidegate().unwrap()).args(arguments.iter().copied());
        launch.args(["--data-dir", &self.data().display().to_string()])
    }

    /// Runs a command on the machine; what it printed.
    pub async fn run(&self, arguments: &[&str]) -> String {
        let mut process = self.launch(arguments).start().unwrap();
        let ended = process.wait(WITHIN).await.unwrap();
        assert!(ended.success(), "{}: {arguments:?}: {}", self.name, process.stderr());
        process.stdout().trim().to_owned()
    }

    pub async fn join(&mut self, gateway: &Gateway) {
        let token = gateway.invite(self.name);
        let address = format!("http://{}:8080", self.machine.address);
        let place: &[&str] = if self.dials { &["--tunnel"] } else { &["--address", &address] };
        let join = ["node", "join", "--control", &gateway.origin, "--token", &token];
        self.id = self.run(&[&join[..], place].concat()).await;
    }

    pub async fn start(&mut self) {
        let listen = if self.dials { self.own } else { Ipv4Addr::UNSPECIFIED };
        let (http, quic) = (format!("{listen}:8080"), format!("{}:7000", self.machine.address));
        let launch = self.launch(&["node", "--listen", &http, "--peer-listen", &quic]);
        let launch = launch.args(["--models-dir", &self.models().display().to_string()]);
        // Small enough that a flood fills it.
        let launch = launch.args(["--kv-memory", "3", "--waiting", "1"]).args(self.model.clone());
        let mut process = launch.start().unwrap();
        process.wait_text("listens on", WITHIN).await.unwrap();
        self.process = Some(process);
    }

    pub fn kill(&mut self) {
        self.process.take().unwrap().kill9().unwrap();
    }

    /// A client on the machine itself.
    pub fn client(&self) -> Client {
        Client::new(format!("http://{}:8080", self.own)).bearer(&self.key).within(WITHIN)
    }

    /// Waits while its queue is full, as it may be when another node has just failed, and checks that it then answers a local client.
    pub async fn serves_its_own(&self, body: &Value) {
        let has_room = |answer: &Answer| answer.status != 429;
        let ask = async || Some(self.client().post(CHAT, body).await.unwrap()).filter(has_room);
        found("room in the node's queue", ask).await.must_be(200);
    }

    /// Its journal, as it lists it itself.
    pub async fn journal(&self) -> Vec<Value> {
        let (client, mut rows) = (self.client(), Vec::<Value>::new());
        loop {
            let after = rows.last().map_or(0, |row| row["sequence"].as_u64().unwrap());
            let page = client.get(&format!("/v1/usage?after={after}")).await.unwrap().json();
            match page["data"].as_array().unwrap().as_slice() {
                [] => return rows,
                more => rows.extend_from_slice(more),
            }
        }
    }

    /// Its row of another node, by `GET /v1/peers`.
    pub async fn sees(&self, other: &str) -> Value {
        seen(&self.client(), other).await
    }

    pub async fn sees_sent_bytes(&self, to: &str) -> u64 {
        self.sees(to).await["bytes_out"].as_u64().unwrap_or(0)
    }
}
