//! The keys of a workspace that is erased whole are dropped: what was copied of its content before opens no more, what remains
//! works on, and the receipt says what is out of reach.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use harness::client::Client;
use harness::postgres::Server;
use serde_json::{Value, json};

use crate::WITHIN;
use crate::ask::{CHAT, MINI, question, trace_of, until_status};
use crate::command::{Cli, workspace};
use crate::gateway::{Gateway, OWN, config, id_of, row};
use crate::purge::{receipt_of, run_python, write_receipt};
use crate::wait::{a_moment, found};

const ERASURES: &str = "/v2/deletion-requests";
const KEY: &str = "/v2/vault/workspace-key";
const SECRET: &str = "heron-canary-0b6e52d1c7f8";

/// The rows of kept answers, copied as by somebody who reads the database's files, and put back later.
const COPY: [&str; 2] = [
    "CREATE TABLE copied AS SELECT * FROM kept_turns",
    "CREATE TABLE copied_calls AS SELECT * FROM kept_turn_calls",
];
const PUT_BACK: [&str; 2] =
    ["INSERT INTO kept_turns SELECT * FROM copied", "INSERT INTO kept_turn_calls SELECT * FROM copied_calls"];

/// Whoever can write to the gateway's database.
enum Intruder {
    File(String),
    Server(Server, String),
}

impl Intruder {
    async fn run(&self, statements: [&str; 2]) {
        match self {
            Self::File(file) => {
                let program = "import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1])\n\
                    for statement in sys.argv[2:]: db.execute(statement)\ndb.commit()\n";
                let mut command = Command::new(workspace().join(".venv/bin/python"));
                assert!(command.args(["-c", program, file]).args(statements).status().unwrap().success());
            }
            Self::Server(server, name) => {
                for statement in statements {
                    server.run(name, statement).await.unwrap();
                }
            }
        }
    }
}

/// Sends requests until it is told to stop, each of which must be served.
fn asking(client: Client, of: &'static str) -> (Arc<AtomicBool>, tokio::task::JoinHandle<u64>) {
    let is_over = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&is_over);
    let asks = tokio::spawn(async move {
        let mut served = 0;
        while !told.load(Ordering::Relaxed) {
            let keyed = client.clone().header("idempotency-key", format!("{of} {served}"));
            keyed.post(CHAT, &question(MINI)).await.unwrap().must_be(200);
            served += 1;
            a_moment().await;
        }
        served
    });
    (is_over, asks)
}

async fn kept(gateway: &Gateway) -> String {
    let body = json!({"model": MINI, "input": format!("text={SECRET}")});
    let answer = gateway.client().post("/v2/responses", &body).await.unwrap().must_be(200);
    gateway.settled(&trace_of(&answer)).await;
    format!("/v2/responses/{}", id_of(&answer.json()))
}

async fn hooked(gateway: &Gateway) {
    let hook = json!({"url": format!("{}/hook", gateway.emulator.base_url()), "events": ["budget.alert"]});
    gateway.make("/v2/webhooks", hook).await;
}

/// Waits until every place is purged, and the keys are not dropped yet.
async fn until_emptied(gateway: &Gateway, erasure: &str) -> Value {
    let path = format!("{ERASURES}/{erasure}");
    found("every place to be purged", async || {
        let shown = gateway.get(&path).await;
        shown["erased"]["key_shredding"].is_object().then_some(shown)
    })
    .await
}

/// What the receipt says of the keys, once strangers have verified it.
async fn shredding(gateway: &Gateway, erasure: &Value) -> Value {
    let id = erasure["purge_job_id"].as_str().unwrap();
    let receipt = receipt_of(gateway, id).await;
    let key = gateway.get("/v2/audit/key").await["public_key"].as_str().unwrap().to_owned();
    let file = write_receipt(gateway.directory(), &format!("receipt of {id}"), &receipt.to_string());
    Cli::new().run(&["receipt", "verify", &file, "--key", &key]).ok();
    let script = workspace().join("docs/purge_verify.py").display().to_string();
    let (holds, text) = run_python(&script, &[&file, &key]);
    assert!(holds, "{text}");
    receipt["key_shredding"].clone()
}

fn is_readable(gateway: &Gateway, path: &str) -> impl Future<Output = bool> {
    let (client, path) = (gateway.client(), path.to_owned());
    async move {
        let answer = client.get(&path).await.unwrap();
        answer.status == 200 && answer.text().contains(SECRET)
    }
}

/// Purges the project, which keeps the key, so that a copy can be read; then the workspace, so that it can't.
async fn a_copy_opens_until_the_workspace_is_erased(gateway: &mut Gateway, intruder: Intruder) {
    let answer = kept(gateway).await;
    intruder.run(COPY).await;
    let before = gateway.get(KEY).await["id"].clone();
    let of_project = gateway.make("/v2/purge-jobs", json!({"project_id": gateway.founded.project_id})).await;
    let receipt = receipt_of(gateway, &id_of(&of_project)).await;
    assert_eq!((&receipt["key_shredding"], &gateway.get(KEY).await["id"]), (&Value::Null, &before));
    assert!(!is_readable(gateway, &answer).await);
    intruder.run(PUT_BACK).await;
    assert!(is_readable(gateway, &answer).await, "a copy opens as long as its key is there");

    let (is_over, asks) = asking(gateway.client(), "here");
    let erasure = gateway.make(ERASURES, json!({"workspace": true})).await;
    let shown = until_status(&gateway.admin(), &format!("{ERASURES}/{}", id_of(&erasure)), "completed").await;
    is_over.store(true, Ordering::Relaxed);
    assert!(asks.await.unwrap() > 0);
    let told = shredding(gateway, &erasure).await;
    assert_eq!((&told["status"], &told["keys"][0]["id"]), (&json!("shredded"), &before), "{told}");
    assert_eq!(shown["erased"]["key_shredding"]["keys"], told["keys"]);
    assert!(told["does_not_reach"][0].as_str().unwrap().starts_with("Backups"), "{told}");
    let key = gateway.get(KEY).await;
    assert_ne!(key["id"], before);
    assert_eq!((&key["status"], &key["older_ids"]), (&json!("steady"), &json!([])), "{key}");
    // Within ten minutes the process that dropped it still opens for requests that were planned before.
    gateway.stop().await;
    intruder.run(PUT_BACK).await;
    gateway.start_again().await;
    assert!(!is_readable(gateway, &answer).await, "its key is gone");
    gateway.chat_ok(&question(MINI)).await;
    let audit = gateway.get("/v2/audit?limit=200").await;
    for action in ["workspace_key.shred", "workspace_key.rotated"] {
        row(&audit["data"], "action", action);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_copied_before_an_erasure_opens_no_more() {
    let mut gateway = Gateway::with_own().await;
    hooked(&gateway).await;
    let file = gateway.data().join("tidegate.db").display().to_string();
    a_copy_opens_until_the_workspace_is_erased(&mut gateway, Intruder::File(file)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_copied_before_an_erasure_opens_no_more_on_postgresql() {
    let mut gateway = Gateway::over_postgres("shred", config(), &[]).await;
    let intruder = Intruder::Server(Server::shared().await.unwrap(), format!("shred_{}", std::process::id()));
    gateway.credential("openai", OWN).await;
    hooked(&gateway).await;
    let (mut other, origin) = gateway.replica().await;
    let there = Client::new(&origin).bearer(&gateway.founded.api_key).within(WITHIN);
    let (is_over, asks) = asking(there, "there");
    a_copy_opens_until_the_workspace_is_erased(&mut gateway, intruder).await;
    is_over.store(true, Ordering::Relaxed);
    assert!(asks.await.unwrap() > 0, "the other gateway served all the while");
    other.stop(WITHIN).await.unwrap();
}

/// The rest of an erasure is done by whoever comes after a kill, and once.
#[tokio::test]
async fn an_erasure_goes_on_after_kills_and_drops_the_keys_once() {
    let mut gateway = Gateway::with_own().await;
    kept(&gateway).await;
    let before = gateway.get(KEY).await["id"].clone();
    let erasure = gateway.make(ERASURES, json!({"workspace": true})).await;
    until_emptied(&gateway, &id_of(&erasure)).await;
    gateway.crash().await;
    found("the key to be replaced", async || (gateway.get(KEY).await["id"] != before).then_some(())).await;
    gateway.crash().await;
    until_status(&gateway.admin(), &format!("{ERASURES}/{}", id_of(&erasure)), "completed").await;
    let told = shredding(&gateway, &erasure).await;
    assert_eq!((&told["status"], told["keys"].as_array().unwrap().len()), (&json!("shredded"), 1), "{told}");
    assert_eq!(told["keys"][0]["id"], before);
    let audit = gateway.get("/v2/audit?limit=200&action=workspace_key").await;
    let acts: Vec<_> = audit["data"].as_array().unwrap().iter().map(|entry| &entry["action"]).collect();
    assert_eq!(acts, ["workspace_key.shred", "workspace_key.rotated", "workspace_key.rotate"], "{audit}");
    gateway.chat_ok(&question(MINI)).await;
}

/// A hold that comes while another rotation goes on keeps the keys, and the receipt says so.
#[tokio::test]
async fn a_hold_that_comes_in_time_keeps_the_keys() {
    let gateway = Gateway::start().await;
    let rotated = gateway.admin().post(&format!("{KEY}/rotate"), &json!({})).await.unwrap().must_be(200);
    let key = rotated.json()["id"].clone();
    let erasure = gateway.make(ERASURES, json!({"workspace": true})).await;
    until_emptied(&gateway, &id_of(&erasure)).await;
    gateway.make("/v2/legal-holds", json!({"workspace": true, "reason": "a case"})).await;
    let told = shredding(&gateway, &erasure).await;
    assert_eq!((&told["status"], &told["shredded_at_unix_ms"]), (&json!("held"), &Value::Null), "{told}");
    assert!(told["reason"].as_str().unwrap().contains("legal hold"), "{told}");
    assert_eq!(gateway.get(KEY).await["id"], key, "it is the workspace's still");
}
