//! Webhooks end to end: signed, retried, never lost, and verified with the official library in a Node
//! receiver.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use harness::client::Client;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::sync::mpsc;

use crate::WITHIN;
use crate::ask::{has, problem};
use crate::canary::is_stored_nowhere;
use crate::command::workspace;
use crate::gateway::{Gateway, OWN, id_of};
use crate::isolation::second_workspace;
use crate::program::Program;
use crate::wait::{a_moment, found, until};

/// A customer's server, in Node, which verifies signatures.
pub struct Receiver {
    program: Program,
    origin: String,
}

impl Receiver {
    pub async fn start() -> Self {
        let script = workspace().join("tests/node/receiver.mjs");
        let installed = workspace().join("tests/node/node_modules/standardwebhooks");
        assert!(installed.exists(), "run scripts/node-env.sh first");
        let mut program = Program::start(Command::new("node").arg(script));
        let port = program.next(WITHIN).await["port"].clone();
        Self { program, origin: format!("http://127.0.0.1:{port}") }
    }

    pub async fn tell(&mut self, what: Value) {
        let answer = self.program.ask(&what, WITHIN).await;
        assert!(answer["told"].is_string(), "{answer}");
    }

    /// The next delivery that it received.
    pub async fn received(&mut self) -> Value {
        let received = self.program.next(WITHIN).await;
        assert!(received["path"].is_string(), "{received}");
        received
    }

    pub fn url(&self) -> String {
        format!("{}/hook", self.origin)
    }
}

/// A server that accepts any body and exposes it to the test.
pub struct Taker {
    pub url: String,
    bodies: mpsc::UnboundedReceiver<String>,
}

impl Taker {
    pub async fn start() -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    pub async fn at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let (sender, bodies) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut stream = BufReader::new(stream);
                let Some((_, body)) = next_request(&mut stream).await else { continue };
                stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await.unwrap();
                let _ = sender.send(String::from_utf8(body).unwrap());
            }
        });
        Self { url, bodies }
    }

    /// The next body that it received.
    pub async fn taken(&mut self) -> String {
        tokio::time::timeout(WITHIN, self.bodies.recv()).await.expect("nothing was sent").unwrap()
    }
}

/// The head and the body of the next request on a connection; none once it has ended.
pub async fn next_request(stream: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await.unwrap_or(0) == 0 {
            return None;
        }
    }
    let lower = head.to_ascii_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length:"));
    let mut body = vec![0; length.map_or(0, |length| length.trim().parse().unwrap())];
    stream.read_exact(&mut body).await.unwrap();
    Some((head, body))
}

/// A webhook for every event, whose secret is given to the receiver.
pub async fn webhook(gateway: &Gateway, receiver: &mut Receiver, more: Value) -> Value {
    let body = crate::ask::with(json!({"url": receiver.url()}), more);
    let made = gateway.make("/v2/webhooks", body).await;
    receiver.tell(json!({"secret": made["secret"]})).await;
    made
}

/// The id of a key that was made and is revoked.
async fn revoked(gateway: &Gateway, name: &str) -> String {
    let (_, key) = gateway.key(json!({"name": name})).await;
    gateway.remove(&format!("/v2/api-keys/{key}")).await;
    key
}

/// Nothing was sent before an event that is made now: those of a workspace are sent in their order.
pub async fn nothing_came(gateway: &Gateway, receiver: &mut Receiver) {
    let key = revoked(gateway, "the next").await;
    has(&event(&receiver.received().await), json!({"type": "key.revoked", "/data/id": key}));
}

pub fn event(received: &Value) -> Value {
    assert_eq!(received["error"], Value::Null, "{received}");
    serde_json::from_str(received["body"].as_str().unwrap()).unwrap()
}

/// The first of a webhook's deliveries that was tried and has this status.
async fn delivery(gateway: &Gateway, webhook: &Value, status: &str) -> Value {
    found(&format!("a delivery that is {status}"), async || {
        let mut listed = deliveries(gateway, webhook).await.into_iter();
        listed.find(|row| row["status"] == status && row["attempts"] != 0)
    })
    .await
}

async fn deliveries(gateway: &Gateway, webhook: &Value) -> Vec<Value> {
    let path = format!("/v2/webhooks/{}/deliveries", id_of(webhook));
    gateway.get(&path).await["data"].as_array().unwrap().clone()
}

#[tokio::test]
async fn an_event_is_signed_for_the_official_library_and_a_replay_is_known() {
    let (gateway, mut receiver) = (Gateway::start().await, Receiver::start().await);
    let made = webhook(&gateway, &mut receiver, json!({"description": "ops"})).await;
    let secret = made["secret"].as_str().unwrap();
    assert!(secret.starts_with("whsec_") && secret.len() >= 6 + 32, "{secret}");
    let path = format!("/v2/webhooks/{}", id_of(&made));
    assert!(!gateway.get(&path).await.to_string().contains(secret), "a secret is shown once");
    let tested = gateway.admin().post(&format!("{path}/test"), &json!({})).await.unwrap();
    assert_eq!(tested.must_be(200).json()["delivered"], true);
    assert_eq!(event(&receiver.received().await)["type"], "webhook.test");

    let credential = gateway.credential("openai", OWN).await;
    gateway.patch(&format!("/v2/provider-credentials/{credential}"), json!({"status": "disabled"})).await;
    let received = receiver.received().await;
    let payload = event(&received);
    has(&payload, json!({"type": "credential.disabled", "/data/id": credential}));
    has(&payload, json!({"id": received["headers"]["webhook-id"], "workspace_id": made["workspace_id"]}));
    assert!(!received["body"].as_str().unwrap().contains(OWN));
    let found = delivery(&gateway, &made, "delivered").await;
    has(&found, json!({"event_id": payload["id"], "attempts": 1, "last_status": 204}));

    replays_are_refused(&mut receiver, &received).await;
    is_stored_nowhere(&gateway, secret.strip_prefix("whsec_").unwrap());
}

/// A replay of the same bytes is recognised by its id; a changed body or timestamp is rejected.
async fn replays_are_refused(receiver: &mut Receiver, received: &Value) {
    let body = received["body"].as_str().unwrap().to_owned();
    let header = |name: &str| received["headers"][name].as_str().unwrap().to_owned();
    let old = header("webhook-timestamp").parse::<u64>().unwrap() - 301;
    let (changed, now) = (body.replace("disabled", "active"), header("webhook-timestamp"));
    for (body, timestamp, error) in [
        (body.clone(), now.clone(), Value::Null),
        (changed, now, json!("No matching signature found")),
        (body, old.to_string(), json!("Message timestamp too old")),
    ] {
        let client = Client::new(&receiver.origin)
            .header("webhook-id", header("webhook-id"))
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", header("webhook-signature"))
            .within(WITHIN);
        client.call(http::Method::POST, "/hook", &[], body).await.unwrap();
        has(&receiver.received().await, json!({"error": error, "duplicate": true}));
    }
}

#[tokio::test]
async fn a_receiver_that_fails_is_offered_the_same_event_again() {
    let (gateway, mut receiver) = (Gateway::start().await, Receiver::start().await);
    let made = webhook(&gateway, &mut receiver, json!({"events": ["key.revoked"]})).await;
    receiver.tell(json!({"answers": [302]})).await;
    let key = revoked(&gateway, "short-lived").await;
    let first = receiver.received().await;
    assert_eq!(event(&first)["data"]["id"], json!(key), "key.created was not asked for");
    let failed = delivery(&gateway, &made, "pending").await;
    has(&failed, json!({"last_status": 302, "attempts": 1}));
    assert!(failed["last_error"].as_str().unwrap().contains("redirect"), "{failed}");
    assert!(!failed.to_string().contains("what stands behind"), "an answer's body is nobody's");
    let second = receiver.received().await;
    assert_eq!(event(&second), event(&first));
    assert_eq!(second["path"], "/hook", "the redirect is not followed");
    assert_eq!(second["headers"]["webhook-id"], first["headers"]["webhook-id"]);
    assert_eq!(delivery(&gateway, &made, "delivered").await["attempts"], 2);
}

/// Requests of one workspace share a connection, and those of another have their own: what a server says unasked on one reaches
/// nobody else.
#[tokio::test]
async fn no_connection_is_shared_by_two_workspaces() {
    let (gateway, mut receiver) = (Gateway::start().await, Receiver::start().await);
    let stranger = gateway.with_key(&second_workspace(&gateway).await.admin_key);
    let mut ports = Vec::new();
    for owner in [gateway.admin(), stranger] {
        let made = owner.post("/v2/webhooks", &json!({"url": receiver.url()})).await.unwrap().json();
        receiver.tell(json!({"secret": made["secret"]})).await;
        for _ in 0..2 {
            let path = format!("/v2/webhooks/{}/test", id_of(&made));
            assert_eq!(owner.post(&path, &json!({})).await.unwrap().json()["delivered"], true);
            let received = receiver.received().await;
            assert_eq!(event(&received)["type"], "webhook.test");
            ports.push(received["from"].as_u64().unwrap());
        }
    }
    assert_eq!((ports[0], ports[2]), (ports[1], ports[3]), "{ports:?}");
    assert_ne!(ports[0], ports[2]);
}

/// A manual resend, long after delivery: the message is the same, and its signature has a new timestamp.
#[tokio::test]
async fn an_event_is_sent_once_more_by_hand() {
    let (gateway, mut receiver) = (Gateway::start().await, Receiver::start().await);
    let made = webhook(&gateway, &mut receiver, json!({"events": ["key.revoked"]})).await;
    let (path, id) = (format!("/v2/webhooks/{}/resend", id_of(&made)), id_of(&made));
    revoked(&gateway, "short-lived").await;
    let first = receiver.received().await;
    let payload = event(&first);
    delivery(&gateway, &made, "delivered").await;
    let stamp =
        |received: &Value| received["headers"]["webhook-timestamp"].as_str().unwrap().parse::<u64>().unwrap();
    // Wait, so that the second delivery is signed in another second.
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    while now() <= stamp(&first) {
        a_moment().await;
    }
    let body = json!({"event_id": payload["id"]});
    assert_eq!(gateway.admin().post(&path, &body).await.unwrap().must_be(200).json()["status"], "pending");
    let second = receiver.received().await;
    assert_eq!(event(&second), payload, "the official library takes it, byte for byte the same");
    assert_eq!(second["headers"]["webhook-id"], first["headers"]["webhook-id"]);
    assert!(stamp(&second) > stamp(&first), "{second}");
    assert_ne!(second["headers"]["webhook-signature"], first["headers"]["webhook-signature"]);
    assert_eq!(second["duplicate"], json!(true), "who keeps ids knows it");
    until("a second try is listed", async || delivery(&gateway, &made, "delivered").await["attempts"] == 2)
        .await;
    // A resent event is delivered like any other: durably, and retried until it is accepted.
    receiver.tell(json!({"answers": [500]})).await;
    let cli = gateway.cli();
    let event_id = payload["id"].as_str().unwrap();
    assert_eq!(cli.run(&["webhook", "resend", &id, event_id, "--json"]).json()["event_id"], payload["id"]);
    assert_eq!(receiver.received().await["status"], 500);
    assert_eq!(receiver.received().await["status"], 204);
    let refused = async |body: Value| gateway.admin().post(&path, &body).await.unwrap();
    problem(&refused(json!({"event_id": "evt_01900000000070008000000000000000"})).await, 404, "not_found");
    problem(&refused(json!({"event_id": "nothing"})).await, 400, "invalid_value");
    problem(&refused(json!({})).await, 400, "invalid_value");
    cli.run(&["webhook", "disable", &id]).ok();
    let before = delivery(&gateway, &made, "delivered").await;
    let refusal = problem(&refused(body.clone()).await, 409, "webhook_disabled");
    assert!(refusal["fix"].as_str().unwrap().contains("Enable"), "{refusal}");
    assert_eq!(delivery(&gateway, &made, "delivered").await, before, "nothing is to be sent");
}

#[cfg(feature = "control")]
#[tokio::test]
async fn an_event_outlives_the_gateway_that_was_to_send_it() {
    let (mut gateway, mut receiver) = (Gateway::start().await, Receiver::start().await);
    let made = webhook(&gateway, &mut receiver, json!({"events": ["key.revoked"]})).await;
    let mut expected = Vec::new();
    for round in 0..3 {
        // The test does not wait for the delivery: the process dies before, while or after it sends.
        expected.push(revoked(&gateway, &format!("key {round}")).await);
        gateway.crash().await;
    }
    let mut ids = BTreeMap::<String, BTreeSet<String>>::new();
    while ids.len() < expected.len() {
        let received = receiver.received().await;
        let key = id_of(&event(&received)["data"]);
        ids.entry(key).or_default().insert(received["headers"]["webhook-id"].to_string());
    }
    expected.sort();
    assert!(ids.keys().eq(&expected), "{expected:?}: {ids:?}");
    assert!(ids.values().all(|ids| ids.len() == 1), "an event has one id however often it is sent: {ids:?}");
    until("each is delivered", async || {
        let rows = deliveries(&gateway, &made).await;
        rows.len() == expected.len() && rows.iter().all(|row| row["status"] == "delivered")
    })
    .await;
}

#[cfg(feature = "control")]
#[tokio::test]
async fn two_secrets_sign_while_a_rotation_lasts_and_410_ends_it() {
    let (gateway, mut receiver) = (Gateway::start().await, Receiver::start().await);
    let made = webhook(&gateway, &mut receiver, json!({})).await;
    let id = id_of(&made);
    let rotate = format!("/v2/webhooks/{id}/rotate");
    let rotated = gateway.admin().post(&rotate, &json!({})).await.unwrap().json();
    assert_ne!(rotated["secret"], made["secret"]);
    assert_eq!(rotated["secrets"].as_array().unwrap().len(), 2);
    let test = format!("/v2/webhooks/{id}/test");
    for secret in [&made["secret"], &rotated["secret"]] {
        receiver.tell(json!({"secret": secret})).await;
        gateway.admin().post(&test, &json!({})).await.unwrap();
        let received = receiver.received().await;
        assert_eq!(event(&received)["type"], "webhook.test");
        assert_eq!(received["headers"]["webhook-signature"].as_str().unwrap().split(' ').count(), 2);
    }
    receiver.tell(json!({"answers": [410]})).await;
    gateway.key(json!({"name": "unheard of"})).await;
    event(&receiver.received().await);
    has(&delivery(&gateway, &made, "failed").await, json!({"last_status": 410, "attempts": 1}));
    let view = gateway.get(&format!("/v2/webhooks/{id}")).await;
    assert_eq!(view["status"], "disabled", "{view}");
    // What is to be sent is written with what it tells.
    let before = deliveries(&gateway, &made).await;
    gateway.key(json!({"name": "nobody hears"})).await;
    assert_eq!(deliveries(&gateway, &made).await, before);
}

/// A credential that expires so soon that a notice is due.
#[cfg(feature = "control")]
#[tokio::test]
async fn a_credentials_end_is_told_once_before_it_comes() {
    let (gateway, mut receiver) = (Gateway::start().await, Receiver::start().await);
    webhook(&gateway, &mut receiver, json!({"events": ["credential.expiring", "key.revoked"]})).await;
    let date = |when: &str| {
        let mut date = std::process::Command::new("date");
        let output = date.args(["-u", "-d", when, "+%FT%TZ"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    // All dates share one second: three days before one expiry is one day before another.
    let started = date("now");
    let soon = |days: u64| date(&format!("{started} + {days} days"));
    let credential = gateway.credential("openai", OWN).await;
    let path = format!("/v2/provider-credentials/{credential}");
    // No notice goes out for an expiry date that has been replaced in the meantime.
    gateway.patch(&path, json!({"expires_at": soon(30)})).await;
    nothing_came(&gateway, &mut receiver).await;
    gateway.patch(&path, json!({"expires_at": soon(3)})).await;
    let payload = event(&receiver.received().await);
    has(&payload, json!({"type": "credential.expiring", "/data/id": credential}));
    let view = gateway.get(&path).await;
    has(&payload["data"], json!({"expires_at": view["expires_at"], "days_left": 3}));
    assert_eq!(view["status"], "expiring", "{view}");
    gateway.patch(&path, json!({"display_name": "another name"})).await;
    // Told once.
    nothing_came(&gateway, &mut receiver).await;
    // Each notice belongs to one expiry date: a new date has its own notices.
    gateway.patch(&path, json!({"expires_at": soon(1)})).await;
    let payload = event(&receiver.received().await);
    assert_eq!(payload["data"]["days_left"], 1, "{payload}");
    gateway.patch(&path, json!({"expires_at": null})).await;
    assert_eq!(gateway.get(&path).await["status"], "active");
}

/// Without the operator's permission no internal address can be registered, and a saved address is checked
/// again when it is used.
#[cfg(feature = "control")]
#[tokio::test]
async fn a_webhook_reaches_public_web_servers_alone() {
    let gateway = Gateway::with(crate::gateway::config(), &[("TIDEGATE_ALLOW_PRIVATE_UPSTREAMS", "0")]).await;
    for url in [
        "http://example.com/hook",
        "https://example.com:22/hook",
        "https://127.0.0.1/hook",
        "https://10.0.0.1:8443/hook",
        "https://169.254.169.254/latest",
        "https://user:pass@example.com/hook",
        "https://example.com/hook?token=secret",
        "https://localhost/hook",
        "ftp://example.com/",
    ] {
        let answer = gateway.admin().post("/v2/webhooks", &json!({"url": url})).await.unwrap();
        let refusal = problem(&answer, 400, "webhook_url_refused");
        assert_eq!(refusal["param"], "url", "{url}: {refusal}");
    }
    for url in ["https://example.com/hook", "https://example.com:8443/hook", "https://example.com:443/hook"] {
        gateway.make("/v2/webhooks", json!({"url": url})).await;
    }
    let unknown = json!({"url": "https://example.com/", "events": ["x"]});
    problem(&gateway.admin().post("/v2/webhooks", &unknown).await.unwrap(), 400, "invalid_value");
}

#[cfg(feature = "control")]
#[tokio::test]
async fn the_command_line_does_all_of_it() {
    let (gateway, mut receiver) = (Gateway::start().await, Receiver::start().await);
    let cli = gateway.cli();
    assert!(cli.run(&["webhook", "list"]).ok().contains("tidegate webhook add"));
    let added = cli.run(&["webhook", "add", &receiver.url(), "--event", "key.revoked", "--json"]).json();
    let id = id_of(&added);
    receiver.tell(json!({"secret": added["secret"]})).await;
    assert!(cli.run(&["webhook", "test", &id]).ok().contains("204"));
    event(&receiver.received().await);
    receiver.tell(json!({"answers": [500]})).await;
    let refused = cli.run(&["webhook", "test", &id]).failed(9);
    assert!(refused.contains("it answered 500"), "{refused}");
    event(&receiver.received().await);
    let rotated = cli.run(&["webhook", "rotate", &id, "--json"]).json();
    assert!(rotated["secret"].as_str().unwrap().starts_with("whsec_"));
    revoked(&gateway, "k").await;
    receiver.received().await;
    delivery(&gateway, &added, "delivered").await;
    let listed = cli.run(&["webhook", "deliveries", &id]).ok();
    assert!(listed.contains("key.revoked") && listed.contains("delivered"), "{listed}");
    assert_eq!(cli.run(&["webhook", "disable", &id, "--json"]).json()["status"], "disabled");
    assert_eq!(cli.run(&["webhook", "enable", &id, "--json"]).json()["disabled_reason"], Value::Null);
    let changes = ["--event", "key.created", "--description", "theirs", "--json"];
    let set = cli.run(&[&["webhook", "set", &*id][..], &changes].concat()).json();
    has(&set, json!({"events": ["key.created"], "description": "theirs"}));
    assert_eq!(cli.run(&["webhook", "show", &id, "--json"]).json(), set);
    let tail = cli.follow(&["webhook", "tail", &id, "--json"]);
    has(&tail.line(), json!({"type": "key.revoked", "status": "delivered"}));
    gateway.key(json!({"name": "heard of"})).await;
    receiver.received().await;
    let mut seen = tail.line();
    while seen["status"] != "delivered" {
        seen = tail.line();
    }
    assert_eq!(seen["type"], "key.created", "{seen}");
    drop(tail);
    cli.run(&["webhook", "remove", &id, "--yes"]).ok();
    cli.run(&["webhook", "deliveries", &id]).failed(3);
    has(&gateway.get("/v2/jobs").await, json!({"dead": 0, "ready": 0}));
}
