//! Nodes that register themselves: single-use join tokens, missed heartbeats, an unreachable address, a
//! revoked credential, and usage reports that are counted once. Runs a real gateway and real nodes on the
//! echo model.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use domain::limits::JOINED_POLLED_AT_ONCE;
use harness::client::Answer;
use harness::process::{Launch, Process, free_address, tidegate};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use crate::WITHIN;
use crate::ask::{CHAT, client_of, has, problem, records, says, trace_of, until_posted};
use crate::audit::entries;
use crate::canary::holds;
use crate::command::{Cli, Done};
use crate::gateway::{Gateway, config, stored_bytes};
use crate::tunnels::Machine;
use crate::wait::{found, until};

const HEARTBEAT: &str = "/v2/byoc/nodes/heartbeat";
const RECORDS: &str = "/v2/byoc/nodes/records";
const TOKENS: &str = "/v2/byoc/nodes/join-tokens";

/// Machines that others reach at an address, with the echo model.
impl Machine {
    fn join_here(&self, control: &str, token: &str) -> Done {
        self.join_as(control, token, self.address)
    }

    /// Joins and announces this address.
    fn join_as(&self, control: &str, token: &str, address: SocketAddr) -> Done {
        self.join(control, token, &["--address", &format!("http://{address}")])
    }

    /// Asks the node itself.
    async fn chat_ok(&self) {
        self.client().post(CHAT, &chat_request()).await.unwrap().must_be(200);
    }

    async fn start_echo(&self) -> Process {
        self.start_echo_at(self.address).await
    }

    async fn start_echo_at(&self, address: SocketAddr) -> Process {
        let data = self.data().display().to_string();
        let launch = Launch::new(tidegate().unwrap()).args(["node", "--model", "echo", "--data-dir", &data]);
        let mut node = launch.args(["--listen", &address.to_string()]).start().unwrap();
        node.wait_text("listens on", WITHIN).await.unwrap();
        node
    }
}

/// A server that accepts connections and never answers.
struct Mute {
    address: SocketAddr,
    held: Arc<Mutex<Held>>,
}

/// Connections that nobody answers, and the most that were open at once.
#[derive(Default)]
struct Held {
    open: Vec<std::net::TcpStream>,
    most: usize,
}

impl Mute {
    async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mute = Self { address: listener.local_addr().unwrap(), held: Arc::default() };
        let held = Arc::clone(&mute.held);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut held = held.lock().unwrap();
                held.open.retain_mut(is_open);
                held.open.push(stream.into_std().unwrap());
                held.most = held.most.max(held.open.len());
            }
        });
        mute
    }

    fn most_at_once(&self) -> usize {
        self.held.lock().unwrap().most
    }
}

/// Whether the other side has left it open. It does not block, as it was accepted.
fn is_open(stream: &mut std::net::TcpStream) -> bool {
    loop {
        match stream.read(&mut [0; 4_096]) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
        }
    }
}

/// A proxy between a node and its control plane, whose address may change with each start.
pub struct Wire {
    address: SocketAddr,
    leads_to: Arc<Mutex<SocketAddr>>,
}

impl Wire {
    pub async fn to(gateway: &Gateway) -> Self {
        let wire = Self::loose().await;
        wire.lead_to(gateway);
        wire
    }

    /// One that leads nowhere yet.
    pub async fn loose() -> Self {
        Self::at(Ipv4Addr::LOCALHOST).await
    }

    /// The same, at this address.
    pub async fn at(address: Ipv4Addr) -> Self {
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
        let wire = Self { address: listener.local_addr().unwrap(), leads_to: Arc::new(Mutex::new(nowhere)) };
        let leads_to = Arc::clone(&wire.leads_to);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let there = *leads_to.lock().unwrap();
                tokio::spawn(async move {
                    if let Ok(mut far) = TcpStream::connect(there).await {
                        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    }
                });
            }
        });
        wire
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn lead_to(&self, gateway: &Gateway) {
        self.lead(gateway.address());
    }

    pub fn lead(&self, address: SocketAddr) {
        *self.leads_to.lock().unwrap() = address;
    }
}

/// A gateway whose nodes send frequent heartbeats.
async fn gateway() -> Gateway {
    Gateway::with(config(), &[("TIDEGATE_NODE_HEARTBEAT_MS", "300")]).await
}

async fn joined(gateway: &Gateway, name: &str, control: &str) -> (Machine, String) {
    let machine = Machine::new();
    let id = machine.join_here(control, &gateway.invite(name)).ok().trim().to_owned();
    assert!(id.starts_with("node_"), "{id}");
    (machine, id)
}

async fn until_ready(gateway: &Gateway, id: &str) -> Value {
    gateway.until_node(id, "ready", |node| node["status"] == "ready").await
}

/// Waits until the node is shown as unreachable for this reason.
async fn until_unreachable(gateway: &Gateway, id: &str, why: &str) -> Value {
    let has_reason = |node: &Value| node["last_error"].as_str().is_some_and(|error| error.contains(why));
    let node = gateway.until_node(id, why, has_reason).await;
    has(&node, json!({"status": "unreachable"}));
    node
}

/// Waits for the next heartbeat, whatever the node's status is.
async fn until_next_heartbeat(gateway: &Gateway, id: &str) -> Value {
    let before = gateway.shown_node(id).await["joined"]["last_heartbeat_at"].clone();
    gateway.until_node(id, "heard", |node| node["joined"]["last_heartbeat_at"] != before).await
}

/// Checks that requests and plans treat the node as unreachable.
async fn is_sent_nothing(gateway: &Gateway) {
    let refused = gateway.chat(&chat_request()).await;
    assert_ne!(refused.status, 200, "{}", refused.text());
    let plan = gateway.admin().post("/v2/plan", &json!({"model": "echo"})).await.unwrap();
    says(&plan.text(), &["unreachable"]);
}

fn chat_request() -> Value {
    json!({"model": "echo", "messages": [{"role": "user", "content": "How high is the tide?"}]})
}

/// The gateway's answer through a node, once the gateway has read the node's state from the database.
async fn until_answered(gateway: &Gateway) -> Answer {
    until_posted(&gateway.client(), CHAT, &chat_request(), 200).await
}

async fn usage(gateway: &Gateway, id: &str) -> Vec<Value> {
    let (mut rows, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = gateway.get(&format!("/v2/byoc/nodes/{id}/usage?limit=7{cursor}")).await;
        rows.extend(page["data"].as_array().unwrap().clone());
        let Some(next) = page["next_cursor"].as_str() else { return rows };
        cursor = format!("&cursor={next}");
    }
}

async fn usage_of(gateway: &Gateway, id: &str, wanted: usize) -> Vec<Value> {
    let is_there = |rows: &Vec<Value>| rows.len() >= wanted;
    found("its records", async || Some(usage(gateway, id).await).filter(is_there)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_joins_with_a_token_that_is_good_once() {
    let gateway = gateway().await;
    let machine = Machine::new();
    says(&machine.join_here(&gateway.origin, "tgj_mine").failed(4), &["This join token is unknown here"]);
    let token = gateway.invite("attic");
    let id = machine.join_here(&gateway.origin, &token).ok().trim().to_owned();
    let kept = machine.file("joined.json");
    let file = std::fs::metadata(machine.data().join("joined.json")).unwrap();
    assert_eq!((file.permissions().mode() & 0o777, &kept["node_id"]), (0o600, &json!(id)));
    let credential = kept["credential"].as_str().unwrap();
    let bytes = stored_bytes(&gateway);
    assert!(holds(&bytes, "attic"), "the node itself is there");
    assert!(!holds(&bytes, &token) && !holds(&bytes, credential) && !holds(&bytes, &token[4..]));

    says(&Machine::new().join_here(&gateway.origin, &token).failed(6), &["was used before"]);
    says(&gateway.cli().run(&["nodes", "invite", "attic"]).failed(6), &["attic", "not revoked"]);
    let admin = gateway.admin();
    let of = |minutes: u64| json!({"name": "b", "expires_in_minutes": minutes});
    for minutes in [0, 10_081] {
        problem(&admin.post(TOKENS, &of(minutes)).await.unwrap(), 400, "invalid_value");
    }
    // A refused address does not use the token up.
    let token = gateway.make(TOKENS, of(1)).await["token"].clone();
    let join = |base_url: &str| json!({"token": token, "base_url": base_url});
    gateway.browser().post("/v2/byoc/nodes/join", &join("ftp://here/v1")).await.unwrap().must_be(400);
    gateway.browser().post("/v2/byoc/nodes/join", &join("http://127.0.0.1:9/v1")).await.unwrap().must_be(200);

    // The node receives no requests before its first heartbeat.
    let before = gateway.shown_node(&id).await;
    has(&before, json!({"status": "unreachable"}));
    has(&before["joined"], json!({"last_heartbeat_at": null}));
    assert_ne!(gateway.chat(&chat_request()).await.status, 200);
    let _node = machine.start_echo().await;
    let there = until_ready(&gateway, &id).await;
    let reported = &there["joined"]["said"];
    assert!(there["last_seen_at"].is_string() && there["joined"]["last_heartbeat_at"].is_string(), "{there}");
    has(&there, json!({"models": ["echo"], "has_secret": true}));
    assert_eq!((&reported["load"]["running"], &reported["runtime"]), (&json!(0), &json!("echo")), "{there}");
    assert_eq!(until_answered(&gateway).await.header("agent-node-id"), Some(id.as_str()));
    // The runtime, which decides whether adapters and jobs are accepted, is known.
    assert_eq!(gateway.cli().run(&["nodes", "runtime", "attic", "--json"]).json()["runtime"], "echo");
    for act in ["node.invite", "node.join"] {
        assert_eq!(entries(&gateway, act).await.len(), 2, "{act}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_silent_is_away_until_it_speaks() {
    let gateway = gateway().await;
    let (machine, id) = joined(&gateway, "attic", &gateway.origin).await;
    let mut node = machine.start_echo().await;
    until_ready(&gateway, &id).await;
    node.kill9().unwrap();
    until_unreachable(&gateway, &id, "It has missed 3 heartbeats.").await;
    is_sent_nothing(&gateway).await;
    // Another server answers at the address, but it does not prove that the node is back: that takes the
    // node's own heartbeat.
    let answers = Launch::new(tidegate().unwrap()).args(["node", "--model", "echo"]);
    let mut other = answers.args(["--listen", &machine.address.to_string()]).start().unwrap();
    other.wait_text("listens on", WITHIN).await.unwrap();
    has(&gateway.turn(&id, "probe").await, json!({"status": "unreachable"}));
    other.kill9().unwrap();
    let _node = machine.start_echo().await;
    until_ready(&gateway, &id).await;
    until_answered(&gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_nobody_reaches_at_its_address_is_sent_nothing_until_somebody_does() {
    let gateway = gateway().await;
    let (machine, id) = joined(&gateway, "attic", &gateway.origin).await;
    let elsewhere = free_address().unwrap();
    let mut node = machine.start_echo_at(elsewhere).await;
    let node_view = until_unreachable(&gateway, &id, "--address").await;
    let why = node_view["last_error"].as_str().unwrap();
    says(why, &[&format!("http://{}/v1", machine.address), "invite attic"]);
    // It keeps sending heartbeats that list its models.
    assert_eq!(node_view["models"], json!(["echo"]), "{node_view}");
    for _ in 0..3 {
        let heard = until_next_heartbeat(&gateway, &id).await;
        has(&heard, json!({"status": "unreachable", "last_error": why}));
    }
    is_sent_nothing(&gateway).await;
    assert_eq!(records(&client_of(&format!("http://{elsewhere}")), 0).await, [] as [Value; 0]);
    node.kill9().unwrap();
    // Starting the node at its announced address is enough to recover.
    let mut node = machine.start_echo().await;
    has(&until_ready(&gateway, &id).await, json!({"last_error": null}));
    assert_eq!(until_answered(&gateway).await.header("agent-node-id"), Some(id.as_str()));
    // A node that was reachable before also stops being ready.
    node.kill9().unwrap();
    let mut node = machine.start_echo_at(elsewhere).await;
    until_unreachable(&gateway, &id, "--address").await;
    is_sent_nothing(&gateway).await;
    node.kill9().unwrap();
    // What is told of it mends a wrong address.
    gateway.cli().run(&["nodes", "revoke", &id, "--yes"]).ok();
    let join = machine.join_as(&gateway.origin, &gateway.invite("attic"), elsewhere);
    assert_eq!(join.ok().trim(), id);
    let _node = machine.start_echo_at(elsewhere).await;
    until_ready(&gateway, &id).await;
    assert_eq!(until_answered(&gateway).await.header("agent-node-id"), Some(id.as_str()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_nodes_that_do_not_answer() {
    let (gateway, mute) = (gateway().await, Mute::listen().await);
    let mut nodes = Vec::new();
    for number in 0..JOINED_POLLED_AT_ONCE + 4 {
        let url = format!("http://{}/v1", mute.address);
        nodes.push(gateway.played(&format!("attic {number}"), &url).await);
    }
    for _ in 0..2 {
        for (_, reporting) in &nodes {
            reporting.post(HEARTBEAT, &json!({"models": ["echo"]})).await.unwrap().must_be(200);
        }
        until("so many are asked", async || mute.most_at_once() == JOINED_POLLED_AT_ONCE).await;
    }
    is_sent_nothing(&gateway).await;
    for (id, reporting) in &nodes {
        // It reports before each look: a busy machine may take longer between two looks than heartbeats may be left out.
        until("a node that was not asked yet", async || {
            reporting.post(HEARTBEAT, &json!({"models": ["echo"]})).await.unwrap().must_be(200);
            let node = gateway.shown_node(id).await;
            let why = node["last_error"].as_str().unwrap_or_default();
            // Those that were asked first are given up where the machine is so busy that all of this takes longer.
            let is_said = ["has not been asked at its address yet", "did not answer"];
            node["status"] == "unreachable" && is_said.iter().any(|said| why.contains(said))
        })
        .await;
    }
    assert_eq!(mute.most_at_once(), JOINED_POLLED_AT_ONCE, "so many at once, and no more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_listed_and_withdrawn() {
    let gateway = gateway().await;
    let (cli, machine) = (gateway.cli(), Machine::new());
    assert!(cli.run(&["nodes", "invites"]).ok().contains("No tokens wait"));
    let [first, second, used] = ["attic", "attic", "cellar"].map(|name| gateway.invite(name));
    let cellar = Machine::new().join_here(&gateway.origin, &used).ok().trim().to_owned();
    let listed = cli.run(&["nodes", "invites", "--json"]).lines();
    let names: Vec<_> = listed.iter().map(|row| (row["name"].clone(), row["status"].clone())).collect();
    let open = (json!("attic"), json!("open"));
    assert_eq!(names, [open.clone(), open, (json!("cellar"), json!("used"))], "{listed:?}");
    assert!(listed[0]["used_at"].is_null() && listed[2]["used_at"].is_string(), "{listed:?}");
    assert!(listed.iter().all(|row| row["expires_at"].is_string() && row["created_at"].is_string()));
    let text = gateway.admin().get(TOKENS).await.unwrap().text();
    assert!(![&first, &second, &used].iter().any(|token| text.contains(&token[4..])), "{text}");
    let path = |row: &Value| format!("{TOKENS}/{}", row["id"].as_str().unwrap());
    assert_eq!(gateway.get(&path(&listed[1])).await, listed[1]);

    // Listing with pages, and another workspace's tokens.
    let page = gateway.get(&format!("{TOKENS}?limit=2")).await;
    let next = format!("{TOKENS}?limit=2&cursor={}", page["next_cursor"].as_str().unwrap());
    assert_eq!(gateway.get(&next).await["data"], json!([listed[2]]));
    let theirs = gateway.make("/v2/workspaces", json!({"name": "theirs"})).await;
    let theirs = gateway.with_key(theirs["admin_key"].as_str().unwrap());
    assert_eq!(theirs.get(TOKENS).await.unwrap().json()["data"], json!([]));
    problem(&theirs.delete(&path(&listed[0])).await.unwrap(), 404, "not_found");

    assert_eq!(gateway.admin().delete(&path(&listed[0])).await.unwrap().status, 204);
    problem(&gateway.admin().delete(&path(&listed[0])).await.unwrap(), 404, "not_found");
    says(&machine.join_here(&gateway.origin, &first).failed(4), &["This join token is unknown here"]);
    cli.run(&["nodes", "uninvite", "attic", "--yes"]).ok();
    says(&machine.join_here(&gateway.origin, &second).failed(4), &["This join token is unknown here"]);
    says(&cli.run(&["nodes", "uninvite", "attic", "--yes"]).failed(3), &["No token waits for attic"]);
    // Revoking a used token does not remove the node that joined with it.
    problem(&gateway.admin().delete(&path(&listed[2])).await.unwrap(), 409, "join_token_used");
    cli.run(&["nodes", "uninvite", listed[2]["id"].as_str().unwrap(), "--yes"]).failed(6);
    has(&gateway.shown_node(&cellar).await, json!({"name": "cellar"}));
    assert_eq!(entries(&gateway, "node.uninvite").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_node_reports_no_more_and_answers_on() {
    let gateway = gateway().await;
    let (machine, id) = joined(&gateway, "attic", &gateway.origin).await;
    let mut node = machine.start_echo().await;
    until_ready(&gateway, &id).await;
    let revoked = gateway.cli().run(&["nodes", "revoke", &id, "--json", "--yes"]).json();
    assert_eq!(revoked["status"], "revoked", "{revoked}");
    let reporting = gateway.with_key(&machine.credential());
    problem(&reporting.post(HEARTBEAT, &json!({})).await.unwrap(), 401, "node_credential_revoked");
    problem(&gateway.admin().post(HEARTBEAT, &json!({})).await.unwrap(), 401, "unknown_node_credential");
    problem(&reporting.get("/v2/byoc/nodes").await.unwrap(), 401, "invalid_api_key");
    let notices = |node: &Process| (node.stdout() + &node.stderr()).matches("is revoked").count();
    until("a notice", async || notices(&node) > 0).await;
    // The node still answers direct clients, and the gateway no longer sends it requests.
    for _ in 0..5 {
        machine.chat_ok().await;
    }
    assert_ne!(gateway.chat(&chat_request()).await.status, 200);
    records(&machine.client(), 5).await;
    assert_eq!((notices(&node), usage(&gateway, &id).await.len()), (1, 0), "{}", node.stderr());
    // Another machine takes over the name; the first machine's credential is unknown from then on.
    let other = Machine::new();
    assert_eq!(other.join_here(&gateway.origin, &gateway.invite("attic")).ok().trim(), id);
    let _other = other.start_echo().await;
    until_ready(&gateway, &id).await;
    until_answered(&gateway).await;
    problem(&reporting.post(HEARTBEAT, &json!({})).await.unwrap(), 401, "unknown_node_credential");
    gateway.cli().run(&["nodes", "remove", &id, "--yes"]).ok();
    let removed = gateway.with_key(&other.credential()).post(HEARTBEAT, &json!({})).await.unwrap();
    problem(&removed, 401, "unknown_node_credential");
    assert!(node.exited().unwrap().is_none());
}

#[tokio::test]
async fn what_failed_on_a_node_is_booked_as_a_failure_of_its_own() {
    let gateway = gateway().await;
    let (machine, id) = joined(&gateway, "attic", &gateway.origin).await;
    let record = |number: u8, end: &str| {
        json!({
            "event_id": format!("trc_019000000000700080000000000000{number:02x}"), "model": "echo",
            "operation": "chat", "end": end, "begun_unix_ms": 1, "took_ms": 3, "input_tokens": 5,
            "cached_tokens": 0, "output_tokens": 1, "reasoning_tokens": 0, "is_measured": true,
        })
    };
    let report = json!({"records": [record(1, "failed"), record(2, "whole")]});
    let reporting = gateway.with_key(&machine.credential());
    has(&reporting.post(RECORDS, &report).await.unwrap().must_be(200).json(), json!({"kept": 2}));
    gateway.listed(2).await;
    let mut rows = gateway.requests(10).await;
    rows.sort_by_key(|row| row["status"].as_u64());
    has(&rows[0], json!({"outcome": "completed", "status": 200, "error_code": null}));
    has(&rows[1], json!({"outcome": "failed", "status": 500, "error_code": "node_failed"}));
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert_eq!(usage(&gateway, &id).await.len(), 2);
    joins_with_the_address_where_it_listened(&gateway).await;
}

/// A node that listens elsewhere than nodes usually do would join, report, and never be asked.
async fn joins_with_the_address_where_it_listened(gateway: &Gateway) {
    let machine = Machine::new();
    machine.start_echo().await.stop(WITHIN).await.unwrap();
    let (data, token) = (machine.data().display().to_string(), gateway.invite("cellar"));
    let of = ["node", "join", "--control", &gateway.origin, "--token", &token, "--data-dir", &data];
    let view = gateway.shown_node(Cli::new().run(&of).ok().trim()).await;
    has(&view, json!({"base_url": format!("http://{}/v1", machine.address)}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_serves_while_the_console_is_away_is_counted_once() {
    let mut gateway = gateway().await;
    let wire = Wire::to(&gateway).await;
    let (machine, id) = joined(&gateway, "attic", &wire.url()).await;
    let mut node = machine.start_echo().await;
    until_ready(&gateway, &id).await;
    gateway.process().kill9().unwrap();
    for _ in 0..50 {
        machine.chat_ok().await;
    }
    gateway.start_again().await;
    wire.lead_to(&gateway);
    let rows = usage_of(&gateway, &id, 50).await;
    let own = records(&machine.client(), 50).await;
    assert_eq!((rows.len(), own.len()), (50, 50));
    for (row, record) in rows.iter().zip(&own) {
        assert_eq!((&row["event_id"], &row["output_tokens"]), (&record["id"], &record["output_tokens"]));
        assert_eq!((&row["request_id"], &row["end"]), (&Value::Null, &json!("whole")), "{row}");
    }
    // A node that was killed and lost its reporting position reports everything again, twice.
    for _ in 0..2 {
        until_progress_is_kept(&machine).await;
        node.kill9().unwrap();
        std::fs::remove_file(machine.data().join("reported.json")).unwrap();
        node = machine.start_echo().await;
        until_progress_is_kept(&machine).await;
        assert_eq!(usage(&gateway, &id).await.len(), 50);
    }
    // Each record counts as a request of the workspace with zero cost.
    has(&byoc(&gateway).await, json!({"requests": 50, "cost_micros": 0}));
    // A request through the gateway is booked there, and the node's record links to it.
    until_ready(&gateway, &id).await;
    let answer = until_answered(&gateway).await;
    let rows = usage_of(&gateway, &id, 51).await;
    let trace = trace_of(&answer);
    has(&rows[50], json!({"request_id": trace}));
    has(&gateway.get(&format!("/v2/requests/{trace}")).await, json!({"id": trace}));
    // Requests sent directly to the node and requests through the gateway are in every total once.
    has(&byoc(&gateway).await, json!({"requests": 51, "cost_micros": 0}));
    are_in_every_sum_once(&gateway, &rows).await;
    assert_eq!(gateway.cli().run(&["nodes", "usage", &id, "--json"]).lines().len(), 51);
    // The reporting position survives a kill: nothing is reported again.
    let kept = std::fs::read_to_string(machine.data().join("reported.json")).unwrap();
    node.kill9().unwrap();
    let _node = machine.start_echo().await;
    until_ready(&gateway, &id).await;
    machine.chat_ok().await;
    usage_of(&gateway, &id, 52).await;
    assert!(kept.contains("51"), "{kept}");
    let theirs = gateway.make("/v2/workspaces", json!({"name": "theirs"})).await;
    let theirs = gateway.with_key(theirs["admin_key"].as_str().unwrap());
    for path in [format!("/v2/byoc/nodes/{id}/usage"), format!("/v2/byoc/nodes/{id}")] {
        problem(&theirs.get(&path).await.unwrap(), 404, "not_found");
    }
    // What the node reported outlives the node, in its list and in the totals.
    gateway.cli().run(&["nodes", "remove", &id, "--yes"]).ok();
    problem(&gateway.admin().get(&format!("/v2/byoc/nodes/{id}")).await.unwrap(), 404, "not_found");
    assert_eq!(usage(&gateway, &id).await.len(), 52);
    assert_eq!(byoc(&gateway).await["requests"], json!(52));
    problem(&theirs.get(&format!("/v2/byoc/nodes/{id}/usage")).await.unwrap(), 404, "not_found");
}

async fn are_in_every_sum_once(gateway: &Gateway, rows: &[Value]) {
    let output: u64 = rows.iter().map(|row| row["output_tokens"].as_u64().unwrap()).sum();
    for path in ["/v2/usage?mode=byoc", "/v2/analytics?mode=byoc"] {
        has(&gateway.get(path).await["data"][0], json!({"requests": rows.len(), "output_tokens": output}));
    }
    // Requests that arrived before the gateway knew that the node was back were refused, and are listed as
    // refused.
    let listed = gateway.requests(100).await;
    let served: Vec<&Value> = listed.iter().filter(|row| row["error_code"] != "node_unreachable").collect();
    let own = served.iter().filter(|row| row["profile"] == "byoc" && row["status"] == 200).count();
    assert_eq!((served.len(), own), (rows.len(), rows.len()), "{listed:?}");
}

/// Waits for the reporting position, which the node writes once a report is acknowledged, and so after the
/// gateway stored it.
async fn until_progress_is_kept(machine: &Machine) {
    until("reported.json", async || machine.data().join("reported.json").exists()).await;
}

/// The month's totals of nodes, once they include every request that reached the store.
async fn byoc(gateway: &Gateway) -> Value {
    let snapshot = gateway.get("/v2/billing/snapshot").await;
    let modes = snapshot["mtd"]["by_mode"].as_array().unwrap();
    modes.iter().find(|row| row["mode"] == "byoc").cloned().unwrap_or_default()
}
