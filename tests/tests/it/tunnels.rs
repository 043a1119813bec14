//! Nodes behind NAT: they dial, and the gateway's requests come through that tunnel. Real gateways and real nodes with the
//! built-in model, whose listeners the gateway is never told of.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use harness::client::{Client, Streaming};
use harness::pace::{Pace, Threads};
use harness::postgres::Server;
use harness::process::{Launch, Process, free_address, tidegate, workspace};
use proof::SigningKey;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::WITHIN;
use crate::ask::{CHAT, fails, has, problem, records, said, says, trace_of, until_posted, with};
use crate::command::{Cli, Done};
use crate::gateway::{Gateway, config};
use crate::isolation::second_workspace;
use crate::joining::Wire;
use crate::wait::{found, until};

pub const MODEL: &str = "tidegate-demo";
const TUNNEL: &str = "/v2/byoc/nodes/tunnel";
/// How soon a revoked node must be without a tunnel.
const REVOKED_WITHIN: Duration = Duration::from_secs(1);

/// The machine of a node.
pub struct Machine {
    root: tempfile::TempDir,
    /// Where its node listens: behind NAT, that is known to the test alone.
    pub address: SocketAddr,
}

impl Machine {
    pub fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap(), address: free_address().unwrap() }
    }

    pub fn data(&self) -> PathBuf {
        self.root.path().join("node")
    }

    pub fn join(&self, control: &str, token: &str, more: &[&str]) -> Done {
        let data = self.data().display().to_string();
        let of = ["node", "join", "--control", control, "--token", token, "--data-dir", &data];
        Cli::new().run(&[&of[..], more].concat())
    }

    pub fn file(&self, name: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.data().join(name)).unwrap()).unwrap()
    }

    pub fn credential(&self) -> String {
        self.file("joined.json")["credential"].as_str().unwrap().to_owned()
    }

    pub fn certificate(&self) -> Map<String, Value> {
        self.file("certificate.json")["certificate"].as_object().unwrap().clone()
    }

    pub fn key(&self) -> SigningKey {
        let text = std::fs::read_to_string(self.data().join("node.key")).unwrap();
        SigningKey::from_seed(&proof::from_hex::<32>(text.trim()).unwrap()).unwrap()
    }

    pub async fn start(&self, more: &[&str]) -> Process {
        let (data, model) = (self.data().display().to_string(), workspace().join("builtin/model"));
        let launch = Launch::new(tidegate().unwrap())
            .args(["node", "--model", &model.display().to_string(), "--name", MODEL, "--kv-memory", "64"])
            .args(["--data-dir", &data, "--listen", &self.address.to_string()])
            .args(more.iter().copied());
        let mut node = launch.start().unwrap();
        node.wait_text("listens on", WITHIN).await.unwrap();
        node
    }

    /// A client on the machine itself.
    pub fn client(&self) -> Client {
        Client::new(format!("http://{}", self.address)).within(WITHIN)
    }
}

/// Nodes beat often.
pub const BEATS: (&str, &str) = ("TIDEGATE_NODE_HEARTBEAT_MS", "300");

pub async fn gateway(more: &[(&str, &str)]) -> Gateway {
    Gateway::with(config(), &[&[BEATS], more].concat()).await
}

/// A machine whose node joined with a tunnel, and the node's id.
pub fn joined(gateway: &Gateway, control: &str, name: &str) -> (Machine, String) {
    let machine = Machine::new();
    let id = machine.join(control, &gateway.invite(name), &["--tunnel"]).ok().trim().to_owned();
    (machine, id)
}

/// The same, of which the gateway has had an answer.
async fn serving(gateway: &Gateway, control: &str) -> (Machine, String, Process) {
    let (machine, id) = joined(gateway, control, "attic");
    let node = machine.start(&[]).await;
    until_ready(gateway, &id).await;
    take_every_field(gateway, &id).await;
    until_answered(gateway).await;
    (machine, id, node)
}

fn has_tunnel(node: &Value) -> bool {
    node["status"] == "ready" && node["tunnel"].is_object()
}

pub async fn until_ready(gateway: &Gateway, id: &str) -> Value {
    gateway.until_node(id, "ready with a tunnel", has_tunnel).await
}

pub async fn until_cut(gateway: &Gateway, id: &str) {
    gateway.until_node(id, "without a tunnel", |node| node["tunnel"].is_null()).await;
}

pub fn ask() -> Value {
    json!({"model": MODEL, "temperature": 0, "messages": [{"role": "user", "content": "What is BYOK?"}]})
}

pub fn endless() -> Value {
    json!({"model": MODEL, "stream": true, "ignore_eos": true, "messages": ask()["messages"]})
}

/// Whether all of an answer arrived, and not a part of it.
pub async fn ends_whole(running: &mut Streaming) -> bool {
    let (events, end) = running.events().await;
    end.is_ok() && events.last().is_some_and(|last| last == "[DONE]")
}

/// Has the gateway pass fields on that only runtimes know, such as the one that makes an answer endless.
pub async fn take_every_field(gateway: &Gateway, id: &str) {
    gateway.patch(&format!("/v2/byoc/nodes/{id}"), every_field()).await;
}

fn every_field() -> Value {
    json!({"stated_facts": {"unknown_fields": true}})
}

/// The answer of a gateway that may not have read the node's state yet.
pub async fn until_answered(gateway: &Gateway) -> harness::client::Answer {
    until_posted(&gateway.client(), CHAT, &ask(), 200).await
}

/// A stream whose first event was read. On a busy machine three heartbeats of 300 ms are late at times, and the node is away until the
/// next one.
async fn begin(gateway: &Gateway, request: &Value) -> Streaming {
    let mut stream = found("a node that is not away", async || {
        Some(gateway.client().stream(CHAT, request).await.unwrap()).filter(|stream| stream.status != 503)
    })
    .await;
    assert_eq!(stream.status, 200, "{:?}", stream.headers);
    assert!(stream.event().await.unwrap().is_some());
    stream
}

async fn usage(gateway: &Gateway, id: &str) -> Vec<Value> {
    let page = gateway.get(&format!("/v2/byoc/nodes/{id}/usage?limit=200")).await;
    page["data"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_nothing_reaches_serves_through_its_tunnel() {
    let gateway = gateway(&[]).await;
    let (machine, id) = joined(&gateway, &gateway.origin, "attic");
    assert_eq!(machine.file("joined.json")["tunnel"], true);
    let _node = machine.start(&[]).await;
    let there = until_ready(&gateway, &id).await;
    assert_eq!(there["base_url"], format!("tunnel://{id}/v1"), "{there}");
    let tunnel = &there["tunnel"];
    assert!(tunnel["since"].is_string() && tunnel["round_trip_us"].as_u64() > Some(0), "{tunnel}");
    has(tunnel, json!({"protocol": 1, "version": env!("CARGO_PKG_VERSION")}));
    let skewed = |node: &Value| node["joined"]["said"]["clock_skew_ms"].as_i64();
    let told = gateway.until_node(&id, "its skew", |node| skewed(node).is_some()).await;
    assert!(skewed(&told).unwrap().abs() < 1_000, "{told}");
    for show in [&["nodes", "show", &id][..], &["nodes", "list"]] {
        says(&gateway.cli().run(show).ok(), &["tunnel", " round trip "]);
    }

    let whole = until_answered(&gateway).await;
    assert_eq!(whole.header("agent-node-id"), Some(id.as_str()));
    let direct = machine.client().post(CHAT, &ask()).await.unwrap();
    assert_eq!(said(&whole), said(&direct), "it is the same as at its listener");
    let streamed = gateway.client().post(CHAT, &with(ask(), json!({"stream": true}))).await.unwrap();
    says(&streamed.text(), &["data: [DONE]"]);
    // What the gateway asks of a runtime takes the same way.
    assert_eq!(gateway.cli().run(&["nodes", "runtime", "attic", "--json"]).json()["runtime"], "engine");
    let kept =
        found("three records", async || Some(usage(&gateway, &id).await).filter(|rows| rows.len() == 3))
            .await;
    assert!(kept.iter().any(|row| row["request_id"] == trace_of(&whole)), "{kept:?}");
    // Its owner changes it like any other node.
    let labelled = gateway.patch(&format!("/v2/byoc/nodes/{id}"), json!({"labels": ["attic"]})).await;
    assert_eq!((&labelled["labels"], &labelled["base_url"]), (&json!(["attic"]), &there["base_url"]));
    let health = machine.client().get("/v1/health").await.unwrap().json();
    has(&health["policy"], json!({"is_expired": false, "is_clock_skewed": false}));
    let certificate = machine.certificate();
    assert_eq!(certificate["node_key"], machine.key().public().to_string());
    assert!(proof::document::verify(&certificate, None).is_ok(), "{certificate:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_ends_the_generation_and_holds_up_no_other() {
    let gateway = gateway(&[]).await;
    let (machine, id, _node) = serving(&gateway, &gateway.origin).await;
    let stream = begin(&gateway, &endless()).await;
    // It is not read, and others are answered.
    for _ in 0..3 {
        assert_eq!(gateway.client().post(CHAT, &ask()).await.unwrap().status, 200);
    }
    let before = records(&machine.client(), 4).await.len();
    stream.hang_up();
    let kept = records(&machine.client(), before + 1).await;
    assert_eq!(kept.last().unwrap()["end"], "left", "{kept:?}");
    gateway.until_node(&id, "idle", |node| node["tunnel"]["streams"] == 0).await;
    another_workspace_gets_nothing(&gateway, &machine, &id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_on_both_sides_lose_no_record_and_count_none_twice() {
    let mut gateway = gateway(&[]).await;
    let wire = Wire::to(&gateway).await;
    let (machine, id, mut node) = serving(&gateway, &wire.url()).await;
    let mut running = begin(&gateway, &endless()).await;
    node.kill9().unwrap();
    while let Ok(Some(_)) = running.event().await {}
    until_cut(&gateway, &id).await;
    let mut node = machine.start(&[]).await;
    until_ready(&gateway, &id).await;
    until_answered(&gateway).await;
    gateway.crash().await;
    wire.lead_to(&gateway);
    until_ready(&gateway, &id).await;
    until_answered(&gateway).await;
    let wanted = records(&machine.client(), 4).await;
    let kept = found("all records", async || {
        Some(usage(&gateway, &id).await).filter(|rows| rows.len() >= wanted.len())
    })
    .await;
    let ids = |rows: &[Value], field: &str| rows.iter().map(|row| row[field].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&kept, "event_id"), ids(&wanted, "id"), "each once, in order");
    assert!(kept.iter().any(|row| row["end"] == "lost"), "{kept:?}");
    // An orderly end waits for what runs.
    let mut stream = begin(&gateway, &with(endless(), json!({"temperature": 0, "max_tokens": 64}))).await;
    node.terminate().unwrap();
    assert!(ends_whole(&mut stream).await);
    assert!(node.wait(WITHIN).await.unwrap().success(), "{}", node.stderr());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_ends_lets_what_runs_finish_and_the_node_finds_the_next() {
    let mut gateway = gateway(&[]).await;
    let wire = Wire::to(&gateway).await;
    let (_machine, id, _node) = serving(&gateway, &wire.url()).await;
    let mut stream = begin(&gateway, &with(endless(), json!({"max_tokens": 64}))).await;
    gateway.process().terminate().unwrap();
    assert!(ends_whole(&mut stream).await);
    let ended = gateway.process().wait(WITHIN).await.unwrap();
    assert!(ended.success(), "{ended}");
    gateway.start_again().await;
    wire.lead_to(&gateway);
    until_ready(&gateway, &id).await;
    until_answered(&gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_node_is_cut_within_a_second() {
    let gateway = gateway(&[]).await;
    let (machine, id, mut node) = serving(&gateway, &gateway.origin).await;
    let mut running = begin(&gateway, &endless()).await;
    let revoked = gateway.turn(&id, "revoke").await;
    let pace = Pace::start(&[gateway.control(), gateway.serving()]);
    has(&revoked, json!({"status": "revoked"}));
    while let Ok(Some(_)) = running.event().await {}
    until_cut(&gateway, &id).await;
    let took = pace.elapsed();
    assert!(took < REVOKED_WITHIN, "{took:?}");
    assert_ne!(gateway.client().post(CHAT, &ask()).await.unwrap().status, 200);
    node.wait_text("no tunnel is opened any more", WITHIN).await.unwrap();
    let refused = gateway.with_key(&machine.credential()).post(TUNNEL, &json!({})).await.unwrap();
    problem(&refused, 401, "node_credential_revoked");
    assert_eq!(machine.client().post(CHAT, &ask()).await.unwrap().status, 200, "its own clients are served");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_revoked_at_another_gateway_is_cut_within_a_second() {
    let server = Server::shared().await.unwrap();
    let url = server.database(&format!("tunnels_{}", std::process::id())).await.unwrap();
    let gateway = Gateway::on_database(&url, &[BEATS]).await;
    let (second, origin) = gateway.replica().await;
    let at_second = |key: &str| Client::new(origin.clone()).bearer(key).within(WITHIN);
    let (admin, client) = (at_second(&gateway.founded.admin_key), at_second(&gateway.founded.api_key));
    let (machine, id) = joined(&gateway, &origin, "attic");
    let mut node = machine.start(&[]).await;
    let path = format!("/v2/byoc/nodes/{id}");
    let there = async || admin.get(&path).await.unwrap().json();
    found("ready at the second gateway", async || Some(there().await).filter(has_tunnel)).await;
    assert!(gateway.shown_node(&id).await["tunnel"].is_null(), "it has a tunnel to one gateway");
    until_posted(&client, CHAT, &ask(), 200).await;
    // In force at the second gateway when it has answered.
    let merged = [("content-type", "application/merge-patch+json")];
    admin.call(http::Method::PATCH, &path, &merged, every_field().to_string()).await.unwrap().must_be(200);
    let mut running = client.stream(CHAT, &endless()).await.unwrap();
    assert!(running.status == 200 && running.event().await.unwrap().is_some());
    let [control, serving] = ["control", "serve-"].map(|name| Threads::of(second.pid(), name));
    let pace = Pace::start(&[gateway.control(), control, serving]);
    gateway.admin().post(&format!("{path}/revoke"), &json!({})).await.unwrap().must_be(200);
    // The demo model fills its context in a quarter of a second, so that one answer follows another until one is cut.
    while running.status == 200 && ends_whole(&mut running).await {
        running = client.stream(CHAT, &endless()).await.unwrap();
    }
    found("no tunnel", async || Some(there().await).filter(|node| node["tunnel"].is_null())).await;
    let took = pace.elapsed();
    assert!(took < REVOKED_WITHIN, "{took:?}");
    node.wait_text("no tunnel is opened any more", WITHIN).await.unwrap();
    let refused = at_second(&machine.credential()).post(TUNNEL, &json!({})).await.unwrap();
    problem(&refused, 401, "node_credential_revoked");
}

async fn another_workspace_gets_nothing(gateway: &Gateway, machine: &Machine, id: &str) {
    let before = records(&machine.client(), 1).await.len();
    let others = second_workspace(gateway).await;
    let stranger = gateway.with_key(&others.admin_key);
    let body = json!({"name": "borrowed", "base_url": format!("tunnel://{id}/v1"), "models": [MODEL]});
    let added = stranger.post("/v2/byoc/nodes", &body).await.unwrap().must_be(201).json();
    has(&added, json!({"status": "unreachable", "tunnel": null}));
    let refused = gateway.with_key(&others.api_key).post(CHAT, &ask()).await.unwrap();
    assert_ne!(refused.status, 200, "{}", refused.text());
    assert_eq!(records(&machine.client(), before).await.len(), before, "nothing came to the node");
}

/// A node's side of the handshake, as a test wants it.
pub struct Dialled {
    wire: TcpStream,
    head: String,
    early: Vec<u8>,
}

impl Dialled {
    async fn at(gateway: &Gateway, credential: &str, headers: &str) -> Self {
        let mut wire = TcpStream::connect(gateway.address()).await.unwrap();
        let head = format!(
            "POST {TUNNEL} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {credential}\r\ncontent-length: 0\r\n{headers}\r\n"
        );
        wire.write_all(head.as_bytes()).await.unwrap();
        let mut dialled = Self { wire, head: String::new(), early: Vec::new() };
        dialled.head = dialled.until(b"\r\n\r\n").await;
        dialled
    }

    /// What comes up to and including this.
    async fn until(&mut self, end: &[u8]) -> String {
        loop {
            if let Some(at) = self.early.windows(end.len()).position(|part| part == end) {
                let rest = self.early.split_off(at + end.len());
                return String::from_utf8(std::mem::replace(&mut self.early, rest)).unwrap();
            }
            let count = self.wire.read_buf(&mut self.early).await.unwrap();
            assert!(count > 0, "closed behind {}", String::from_utf8_lossy(&self.early));
        }
    }

    pub async fn challenge(gateway: &Gateway, credential: &str) -> (Self, String) {
        let mut dialled = Self::at(gateway, credential, UPGRADE).await;
        assert!(dialled.head.starts_with("HTTP/1.1 101"), "{}", dialled.head);
        let challenge: Value = serde_json::from_str(&dialled.until(b"\n").await).unwrap();
        (dialled, challenge["nonce"].as_str().unwrap().to_owned())
    }

    /// Answers the challenge; the verdict.
    pub async fn say(&mut self, hello: &[u8]) -> Value {
        self.wire.write_all(hello).await.unwrap();
        serde_json::from_str(&self.until(b"\n").await).unwrap()
    }

    /// The connection, behind what was read of it already.
    pub fn into_parts(self) -> (Vec<u8>, TcpStream) {
        (self.early, self.wire)
    }

    /// Whether the gateway ends it.
    async fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        tokio::time::timeout(WITHIN, self.wire.read_to_end(&mut rest)).await.is_ok()
    }
}

const UPGRADE: &str = "connection: upgrade\r\nupgrade: tidegate-tunnel\r\ntidegate-tunnel-versions: 1\r\n";

pub fn hello(certificate: &Map<String, Value>, key: &SigningKey, nonce: &str, id: &str) -> Vec<u8> {
    let signature = key.sign(format!("tidegate tunnel 1\n{nonce}\n{id}\n").as_bytes()).to_string();
    let mut line = json!({"certificate": certificate, "signature": signature, "version": "1"}).to_string();
    line.push('\n');
    line.into_bytes()
}

/// One that proves what it is and then speaks no HTTP/2 has no tunnel either.
async fn speak_no_http2(
    gateway: &Gateway,
    (machine, id): (&Machine, &str),
    certificate: &Map<String, Value>,
) {
    let (credential, key) = (machine.credential(), machine.key());
    for greeting in
        [&b"HTTP/1.1 200 OK\r\n\r\n"[..], &[0xff; 64], &[0, 0, 5, 4, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5]]
    {
        let (mut dialled, nonce) = Dialled::challenge(gateway, &credential).await;
        let verdict = dialled.say(&hello(certificate, &key, &nonce, id)).await;
        assert_eq!(verdict["object"], "tunnel_open", "{verdict}");
        dialled.wire.write_all(greeting).await.unwrap();
        assert!(dialled.is_closed().await);
        assert!(gateway.shown_node(id).await["tunnel"].is_null());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_prove_what_it_is_gets_no_tunnel() {
    let gateway = gateway(&[]).await;
    let (machine, id) = joined(&gateway, &gateway.origin, "attic");
    let (other, _) = joined(&gateway, &gateway.origin, "cellar");
    let (credential, stranger) = (machine.credential(), other.credential());
    let mut node = machine.start(&[]).await;
    let mut cellar = other.start(&[]).await;
    until_ready(&gateway, &id).await;
    until("certificates", async || other.data().join("certificate.json").exists()).await;
    let (certificate, key) = (machine.certificate(), machine.key());
    node.kill9().unwrap();
    cellar.kill9().unwrap();
    until_cut(&gateway, &id).await;

    problem(&gateway.with_key(&credential).post(TUNNEL, &json!({})).await.unwrap(), 400, "tunnel_required");
    let unknown = gateway.with_key("tgn_mine").post(TUNNEL, &json!({})).await.unwrap();
    problem(&unknown, 401, "unknown_node_credential");
    let mut later = Dialled::at(&gateway, &credential, &UPGRADE.replace(": 1", ": 7, 9")).await;
    assert!(later.head.starts_with("HTTP/1.1 409"), "{}", later.head);
    says(&later.until(b"}").await, &["tunnel_version", "7, 9", "Update the older"]);

    let refused = |verdict: Value, why: &str| {
        has(&verdict, json!({"object": "tunnel_refused"}));
        says(verdict["detail"].as_str().unwrap(), &[why]);
    };
    let (mut dialled, nonce) = Dialled::challenge(&gateway, &credential).await;
    refused(dialled.say(&hello(&certificate, &other.key(), &nonce, &id)).await, "not signed with the key");
    let (mut dialled, second) = Dialled::challenge(&gateway, &credential).await;
    assert_ne!(second, nonce);
    refused(dialled.say(&hello(&certificate, &key, &nonce, &id)).await, "not signed with the key");
    assert!(dialled.is_closed().await);
    let mut longer = certificate.clone();
    longer.insert("expires_unix_ms".into(), json!(u64::MAX));
    let own = proof::document::sign(certificate.clone(), &key).unwrap();
    let well = |nonce: &str| hello(&certificate, &key, nonce, &id);
    let refuses = async |credential: &str, said: &dyn Fn(&str) -> Vec<u8>, why: &str| {
        let (mut dialled, nonce) = Dialled::challenge(&gateway, credential).await;
        refused(dialled.say(&said(&nonce)).await, why);
    };
    refuses(&stranger, &well, "of another node").await;
    refuses(&credential, &|nonce| hello(&longer, &key, nonce, &id), "does not hold").await;
    refuses(&credential, &|nonce| hello(&own, &key, nonce, &id), "the trusted one is").await;
    refuses(&credential, &|_| b"{\"certificate\": []}\n".to_vec(), "can't be read").await;
    refuses(&credential, &|_| vec![b'a'; 40 * 1024], "too long").await;
    let more = |nonce: &str| [well(nonce), b"PRI * HTTP/2.0\r\n".to_vec()].concat();
    refuses(&credential, &more, "before its hello was answered").await;
    // Silence ends, too.
    refuses(&credential, &|_| Vec::new(), "silent").await;
    assert!(gateway.shown_node(&id).await["tunnel"].is_null());

    speak_no_http2(&gateway, (&machine, &id), &certificate).await;
    let _node = machine.start(&[]).await;
    until_ready(&gateway, &id).await;
    until_answered(&gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_keeps_its_first_key() {
    let gateway = gateway(&[]).await;
    let (machine, id) = joined(&gateway, &gateway.origin, "attic");
    let reporting = gateway.with_key(&machine.credential());
    let path = "/v2/byoc/nodes/certificate";
    let request = |key: &SigningKey, signer: &SigningKey| {
        let text = format!("tidegate node certificate 1\n{id}\n{}\n", key.public());
        json!({"public_key": key.public().to_string(), "signature": signer.sign(text.as_bytes()).to_string()})
    };
    let (key, other) = (machine.key(), SigningKey::from_seed(&[3; 32]).unwrap());
    let given = reporting.post(path, &request(&key, &key)).await.unwrap();
    has(&given.must_be(200).json(), json!({"node_id": id}));
    problem(&reporting.post(path, &request(&other, &other)).await.unwrap(), 409, "other_node_key");
    problem(&reporting.post(path, &request(&key, &other)).await.unwrap(), 403, "node_key_unproven");
    let beat = json!({"models": ["echo"], "public_key": other.public().to_string()});
    let heard = reporting.post("/v2/byoc/nodes/heartbeat", &beat).await.unwrap().json();
    assert!(heard["unix_ms"].as_u64().is_some(), "{heard}");
    assert_eq!(reporting.post(path, &request(&key, &key)).await.unwrap().status, 200, "the first stays");
    // A node that joined before there were keys sends its key with a heartbeat.
    let older = json!({"token": gateway.invite("cellar"), "base_url": "http://127.0.0.1:9/v1"});
    let older = gateway.browser().post("/v2/byoc/nodes/join", &older).await.unwrap().json();
    let credential = older["credential"].as_str().unwrap();
    let reporting = gateway.with_key(credential);
    let mut missing = Dialled::at(&gateway, credential, UPGRADE).await;
    assert!(missing.head.starts_with("HTTP/1.1 409"), "{}", missing.head);
    assert!(missing.until(b"}").await.contains("node_key_missing"));
    problem(&reporting.post(path, &request(&key, &key)).await.unwrap(), 403, "node_key_unproven");
    assert_eq!(reporting.post("/v2/byoc/nodes/heartbeat", &beat).await.unwrap().status, 200);
    assert_eq!(Dialled::challenge(&gateway, credential).await.1.len(), 64);
    changes_to_a_tunnel_by_its_option(&gateway).await;
}

/// A node that joined with an address changes to a tunnel, and one that has not joined has none.
async fn changes_to_a_tunnel_by_its_option(gateway: &Gateway) {
    let (refused, machine) = (Machine::new(), Machine::new());
    let data = refused.data().display().to_string();
    let alone = ["node", "--model", "echo", "--tunnel", "--data-dir", &data];
    says(&Cli::new().run(&alone).failed(2), &["has not joined"]);
    // Nobody listens at that address.
    let address = format!("http://{}", free_address().unwrap());
    let id = machine.join(&gateway.origin, &gateway.invite("barn"), &["--address", &address]).ok();
    let _node = machine.start(&["--tunnel"]).await;
    until_ready(gateway, id.trim()).await;
    until_answered(gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_renewed_and_tunnels_with_them() {
    let gateway = gateway(&[("TIDEGATE_NODE_CERTIFICATE_MS", "4000")]).await;
    let (machine, id) = joined(&gateway, &gateway.origin, "attic");
    let _node = machine.start(&[]).await;
    let first = until_ready(&gateway, &id).await["tunnel"]["since"].clone();
    until_answered(&gateway).await;
    let issued = machine.certificate()["issued_unix_ms"].as_u64();
    let mut seen = vec![first];
    // Each certificate is dead before the second tunnel after it, and no request meets a gap.
    while seen.len() < 4 {
        gateway.client().post(CHAT, &ask()).await.unwrap().must_be(200);
        let since = gateway.shown_node(&id).await["tunnel"]["since"].clone();
        assert!(since.is_string(), "there is always one");
        if !seen.contains(&since) {
            seen.push(since);
        }
    }
    assert!(machine.certificate()["issued_unix_ms"].as_u64() > issued);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_alone_for_too_long_refuses_until_it_has_heard() {
    let mut gateway =
        gateway(&[("TIDEGATE_NODE_ALONE_MS", "3000"), ("TIDEGATE_NODE_CERTIFICATE_MS", "2000")]).await;
    let wire = Wire::to(&gateway).await;
    let (machine, id, mut node) = serving(&gateway, &wire.url()).await;
    gateway.process().kill9().unwrap();
    assert_eq!(machine.client().post(CHAT, &ask()).await.unwrap().status, 200, "it serves on alone");
    let refused = found("a refusal", async || {
        Some(machine.client().post(CHAT, &ask()).await.unwrap()).filter(|answer| answer.status != 200)
    })
    .await;
    fails(&refused, 503, "policy_expired");
    has(&machine.client().get("/v1/health").await.unwrap().json()["policy"], json!({"is_expired": true}));
    // A restart gives it no time.
    node.kill9().unwrap();
    let _node = machine.start(&[]).await;
    assert_eq!(machine.client().post(CHAT, &ask()).await.unwrap().status, 503);
    gateway.start_again().await;
    wire.lead_to(&gateway);
    until_ready(&gateway, &id).await;
    until_posted(&machine.client(), CHAT, &ask(), 200).await;
    until_answered(&gateway).await;
}
