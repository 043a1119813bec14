//! Nodes as peers: machines in network namespaces that find each other, serve what one of them has, lose the network and find it
//! again, and fetch files from each other though one lies and one dies; and a list of peers that a gateway signs.

use std::net::Ipv4Addr;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use harness::client::{Answer, Client};
use harness::network::{Machine, Network, PortMapping};
use harness::process::{Launch, Process, tidegate, workspace};
use serde_json::{Value, json};

use crate::WITHIN;
use crate::ask::{CHAT, client_of, fails, has, records, said, says, with};
use crate::command::Cli;
use crate::first_request::{echo, node};
use crate::gateway::{Gateway, config, id_of, row};
use crate::wait::{found, until};

pub const MODEL: &str = "tidegate-demo";
pub const HTTP: u16 = 8080;
pub const QUIC: u16 = 7000;
pub const MIB: usize = 1 << 20;
/// What a node is started with that serves the built-in model.
pub const SERVES: [&str; 4] = ["--name", MODEL, "--kv-memory", "64"];
/// The name of what nodes fetch from each other.
pub const SHARED: &str = "publisher/big";
/// As the nodes cut files.
const CHUNK: usize = 4 * MIB;

/// A node's machine and its files.
pub struct Peer {
    pub name: &'static str,
    pub machine: Machine,
    /// Where the test reaches it.
    own: Ipv4Addr,
    root: tempfile::TempDir,
    pub public_key: String,
    pub client: Client,
}

impl Peer {
    pub fn new(network: &mut Network, name: &'static str) -> Self {
        let machine = network.machine().unwrap();
        let own = machine.address;
        Self::on(machine, own, name)
    }

    /// A peer behind its own router, which the test reaches over another cable.
    pub fn behind_router(network: &mut Network, name: &'static str, mapping: PortMapping) -> Self {
        let machine = network.machine_behind_router(mapping).unwrap();
        let own = network.own_cable(&machine).unwrap();
        Self::on(machine, own, name)
    }

    fn on(machine: Machine, own: Ipv4Addr, name: &'static str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("node").display().to_string();
        let key = Cli::new().run(&["node", "key", "--data-dir", &data]).ok();
        let public_key = Cli::new().run(&["node", "identity", "--data-dir", &data]).ok().trim().to_owned();
        let client = Client::new(format!("http://{own}:{HTTP}")).bearer(key.trim()).within(WITHIN);
        Self { name, machine, own, root, public_key, client }
    }

    pub fn data(&self) -> String {
        self.root.path().join("node").display().to_string()
    }

    pub fn models(&self) -> PathBuf {
        self.root.path().join("models")
    }

    pub fn launch(&self, arguments: &[&str]) -> Launch {
        let launch = self.machine.launch(&tidegate().unwrap()).args(arguments.iter().copied());
        launch.args(["--data-dir", &self.data(), "--models-dir", &self.models().display().to_string()])
    }

    pub async fn start(&self, model: &str, list: &Path, more: &[&str]) -> Process {
        self.start_with(model, list, more, &[]).await
    }

    pub async fn start_with(
        &self,
        model: &str,
        list: &Path,
        more: &[&str],
        environment: &[(&str, &str)],
    ) -> Process {
        let (http, quic) = (format!("{}:{HTTP}", self.own), format!("{}:{QUIC}", self.machine.address));
        let launch = self.launch(&["node", "--model", model, "--listen", &http, "--peer-listen", &quic]);
        let launch = launch.args(["--peers", &list.display().to_string()]).args(more.iter().copied());
        let launch = environment.iter().fold(launch, |launch, (name, value)| launch.env(*name, *value));
        let mut node = launch.start().unwrap();
        node.wait_text("listens on", WITHIN).await.unwrap();
        node
    }

    pub async fn sees(&self, other: &Self) -> Value {
        seen(&self.client, other.name).await
    }

    pub async fn is_refused_by(&self, other: &Self) {
        let has_error = |row: &Value| !row["last_error"].is_null();
        let row = found("a refusal", async || Some(self.sees(other).await).filter(has_error)).await;
        has(&row, json!({"connected": false}));
    }

    pub async fn meets(&self, other: &Self) {
        until(&format!("{} meets {}", self.name, other.name), async || {
            let row = self.sees(other).await;
            row["connected"] == true && !row["load"].is_null()
        })
        .await;
    }

    /// A stream that the peer `far` computes says this.
    pub async fn streams_from_far(&self, text: &str) {
        let streamed = self.client.post(CHAT, &with(chat(MODEL), json!({"stream": true}))).await.unwrap();
        assert_eq!(streamed.header("x-tidegate-peer"), Some("far"), "{}", streamed.text());
        assert_eq!(said(&streamed), text);
    }

    pub async fn ask(&self, model: &str) -> Answer {
        self.client.post(CHAT, &chat(model)).await.unwrap()
    }
}

/// Machines of one network, with these names.
pub fn machines<const COUNT: usize>(names: [&'static str; COUNT]) -> (Network, [Peer; COUNT]) {
    let mut network = Network::new().unwrap();
    let peers = names.map(|name| Peer::new(&mut network, name));
    (network, peers)
}

pub fn chat(model: &str) -> Value {
    json!({"model": model, "temperature": 0, "max_tokens": 12, "messages": [{"role": "user", "content": "What is Tidegate?"}]})
}

pub fn demo() -> String {
    workspace().join("builtin/model").display().to_string()
}

/// A file of peers that names these.
pub fn list_of(peers: &[&Peer]) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("peers.toml");
    let entry = |peer: &&Peer| {
        let address = format!("{}:{QUIC}", peer.machine.address);
        format!(
            "[[peer]]\nname = \"{}\"\npublic_key = \"{}\"\naddresses = [\"{address}\"]\n",
            peer.name, peer.public_key
        )
    };
    std::fs::write(&path, peers.iter().map(entry).collect::<String>()).unwrap();
    (directory, path)
}

#[tokio::test]
async fn peers_serve_what_one_has_and_find_each_other_again_after_a_partition() {
    let (_network, [near, far, third, stranger]) = machines(["near", "far", "third", "stranger"]);
    let (_directory, list) = list_of(&[&near, &far, &third]);
    let mut process = near.start("echo", &list, &[]).await;
    let _far = far.start(&demo(), &list, &SERVES).await;
    let _third = third.start("echo", &list, &[]).await;
    for (one, other) in [(&near, &far), (&near, &third), (&third, &far)] {
        one.meets(other).await;
    }
    let row = near.sees(&far).await;
    has(&row, json!({"models": [MODEL], "id": far.public_key}));
    assert!(row["rtt_ms"].as_f64().unwrap() < 1_000.0, "{row}");

    let answer = near.ask(MODEL).await;
    let text = said(&answer);
    assert_eq!(answer.header("x-tidegate-peer"), Some("far"));
    assert_eq!(answer.header("x-hybrie-selected-backend"), Some("peer:far"));
    let stream = with(chat(MODEL), json!({"stream": true, "stream_options": {"include_usage": true}}));
    assert_eq!(said(&near.client.post(CHAT, &stream).await.unwrap()), text);
    assert_eq!(records(&far.client, 2).await.len(), 2, "the one that computes books");
    assert_eq!(near.client.get("/v1/usage").await.unwrap().json()["data"], json!([]));
    let here = near.ask("echo").await;
    assert_eq!((here.status, here.header("x-tidegate-peer")), (200, None), "what is here stays");
    // So does a request that says local.
    near.ask(&format!("local/{MODEL}")).await.must_be(404);
    near.ask("nobody/has-it").await.must_be(404);

    // A key in no list is refused, though it knows where everybody is.
    let _stranger = stranger.start("echo", &list, &[]).await;
    process.wait_text("unknown or ejected key was refused", WITHIN).await.unwrap();
    stranger.is_refused_by(&near).await;

    far.machine.pull_cable().unwrap();
    until("the partition shows", async || near.sees(&far).await["connected"] == false).await;
    let lost = near.ask(MODEL).await;
    fails(&lost, 503, "peers_failed");
    says(lost.json()["error"]["message"].as_str().unwrap(), &["far: it can't be reached"]);
    third.ask("echo").await.must_be(200);
    far.machine.plug_cable().unwrap();
    near.meets(&far).await;
    assert_eq!(said(&near.ask(MODEL).await), text, "as before, without a restart");
}

#[tokio::test]
async fn a_member_is_added_by_request_with_the_nodes_key_alone() {
    let (_network, [near, far]) = machines(["near", "far"]);
    let (_directory, list) = list_of(&[&near]);
    let (_none, nobody) = list_of(&[]);
    let (_alone, base_url) = echo().await;
    fails(&client_of(&base_url).get("/v1/peers").await.unwrap(), 501, "no_mesh");
    let _far = far.start("echo", &list, &[]).await;
    let process = near.start("echo", &nobody, &[]).await;
    let member = json!({"node": {"name": "far", "public_key": far.public_key, "addresses": [format!("{}:{QUIC}", far.machine.address)]}});
    let path = "/v1/peers/register";
    let without = Client::new(format!("http://{}:{HTTP}", near.machine.address)).within(WITHIN);
    without.post(path, &member).await.unwrap().must_be(401);
    let mut wrong = member.clone();
    wrong["node"]["addresses"] = json!(["0.0.0.0:7000"]);
    fails(&near.client.post(path, &wrong).await.unwrap(), 400, "invalid_peer");
    has(&near.client.post(path, &member).await.unwrap().must_be(201).json(), json!({"name": "far"}));
    near.meets(&far).await;
    drop(process);
    let _again = near.start("echo", &nobody, &[]).await;
    near.meets(&far).await;
    has(&near.sees(&far).await, json!({"source": "registered"}));
}

/// Weights of this size that are the same everywhere.
pub fn weights(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at / 13).to_le_bytes()[0] ^ (at >> 16).to_le_bytes()[0]).collect()
}

/// A model with these weights on a node's shelf.
pub fn shelve(models: &Path, weights: &[u8]) -> PathBuf {
    shelve_all(models, &[("config.json", b"{}"), ("model.safetensors", weights)]);
    models.join("publisher--big/model.safetensors")
}

/// A model of these files on a node's shelf.
pub fn shelve_all(models: &Path, files: &[(&str, &[u8])]) {
    let (directory, zeros) = (models.join("publisher--big"), "0".repeat(64));
    std::fs::create_dir_all(&directory).unwrap();
    let store = |(name, bytes): &(&str, &[u8])| {
        std::fs::write(directory.join(name), bytes).unwrap();
        json!({"name": name, "bytes": bytes.len(), "sha256": zeros, "checksum": format!("sha256:{zeros}")})
    };
    let stored: Vec<Value> = files.iter().map(store).collect();
    let bytes: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
    let manifest = json!({
        "version": 1, "name": SHARED, "repository": SHARED, "revision": "r1", "source": "https://hub.example",
        "pulled_at": "2026-01-01T00:00:00Z", "bytes": bytes, "files": stored,
    });
    std::fs::write(directory.join("manifest.json"), manifest.to_string()).unwrap();
}

/// Bits rot on the disk: length and time stay.
pub fn rot(path: &Path) {
    let known = std::fs::metadata(path).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    for at in (0..known.len()).step_by(CHUNK) {
        file.write_all_at(b"rotten", at).unwrap();
    }
    file.set_modified(known.modified().unwrap()).unwrap();
}

#[tokio::test]
async fn a_model_comes_whole_from_peers_of_which_one_dies_and_one_lies() {
    let mib = if std::env::var_os("TIDEGATE_PEERS_FULL").is_some() { 200 } else { 64 };
    let weights = weights(mib * MIB);
    let (_network, [honest, liar, dying, fetcher]) = machines(["honest", "liar", "dying", "fetcher"]);
    let (_directory, list) = list_of(&[&honest, &liar, &dying, &fetcher]);
    let rotten = [&honest, &liar, &dying].map(|peer| shelve(&peer.models(), &weights))[1].clone();
    // Slow enough that there is a middle.
    let slow = ["--peer-bandwidth", "12"];
    let _honest = honest.start("echo", &list, &slow).await;
    let _liar = liar.start("echo", &list, &slow).await;
    let mut mortal = dying.start("echo", &list, &slow).await;
    let peers = list.display().to_string();
    let fetch = || fetcher.launch(&["node", "fetch", SHARED, "--peers", &peers]).start().unwrap();

    // The first fetch is killed, too.
    let mut first = fetch();
    first.wait_text(" % ", WITHIN).await.unwrap();
    first.kill9().unwrap();
    rot(&rotten);
    let mut second = fetch();
    let begun = second.wait_text("of which ", WITHIN).await.unwrap();
    assert!(!begun.starts_with("0 B "), "it goes on where the first stopped: {begun}");
    second.wait_text("liar is ejected: chunk ", WITHIN).await.unwrap();
    mortal.kill9().unwrap();
    second.wait_text("dying is left out", WITHIN).await.unwrap();
    says(&second.wait_text(" is here: ", WITHIN).await.unwrap(), &["from honest"]);
    let came = std::fs::read(fetcher.models().join("publisher--big/model.safetensors")).unwrap();
    assert!(came == weights, "the files differ");
    let models = fetcher.models().display().to_string();
    says(&Cli::new().run(&["models", "local", "--models-dir", &models, "--json"]).ok(), &[SHARED]);

    // The ejection outlives the process that saw the lie, and its node holds to it.
    let _node = fetcher.start("echo", &list, &[]).await;
    fetcher.meets(&honest).await;
    let row = fetcher.sees(&liar).await;
    says(row["ejected"]["why"].as_str().unwrap(), &["was promised"]);
    has(&row, json!({"connected": false}));
}

/// A node on loopback that has joined a gateway.
struct Joined {
    data: String,
    name: &'static str,
    _root: tempfile::TempDir,
}

impl Joined {
    fn new(gateway: &Gateway, name: &'static str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("node").display().to_string();
        let token = gateway.invite(name);
        let join = ["node", "join", "--control", &gateway.origin, "--token", &token, "--data-dir", &data];
        Cli::new().run(&join).ok();
        Self { data, name, _root: root }
    }

    async fn start(&self, model: &[&str]) -> (Process, Client) {
        let more = ["--data-dir", &self.data, "--peer-listen", "127.0.0.1:0"];
        let (node, base_url) = node(&[&more[..], model].concat()).await;
        (node, client_of(&base_url))
    }
}

/// A row of `GET /v1/peers`.
pub async fn seen(client: &Client, name: &str) -> Value {
    let listed = client.get("/v1/peers").await.unwrap().json();
    listed["data"].as_array().unwrap().iter().find(|row| row["name"] == name).cloned().unwrap_or(Value::Null)
}

#[tokio::test]
async fn the_gateways_list_makes_peers_and_who_is_revoked_is_one_no_more() {
    let gateway = Gateway::with(config(), &[("TIDEGATE_NODE_HEARTBEAT_MS", "300")]).await;
    let (near, far) = (Joined::new(&gateway, "near"), Joined::new(&gateway, "far"));
    let (_near, client) = near.start(&["--model", "echo"]).await;
    let (far_process, _) = far.start(&["--model", &demo(), "--name", MODEL, "--kv-memory", "64"]).await;
    until("the list arrives", async || seen(&client, far.name).await["connected"] == true).await;
    has(&seen(&client, far.name).await, json!({"source": "gateway"}));
    until("far serves", async || {
        let answer = client.post(CHAT, &chat(MODEL)).await.unwrap();
        answer.status == 200 && answer.header("x-tidegate-peer") == Some("far")
    })
    .await;

    // The list is signed: what was changed on disk isn't taken up.
    let list = Path::new(&near.data).join("peer-list.json");
    says(&std::fs::read_to_string(&list).unwrap(), &["signature"]);
    let nodes = gateway.get("/v2/byoc/nodes").await["data"].clone();
    let mesh = &row(&nodes, "name", near.name)["joined"]["said"]["mesh"];
    assert!(mesh["addresses"][0].as_str().unwrap().starts_with("127.0.0.1:"), "{nodes}");

    let id = id_of(row(&nodes, "name", far.name));
    gateway.cli().run(&["nodes", "revoke", &id, "--yes"]).ok();
    until("the revoked node is gone", async || seen(&client, far.name).await.is_null()).await;
    // Nobody has the model any more.
    client.post(CHAT, &chat(MODEL)).await.unwrap().must_be(404);
    drop(far_process);
}
