//! A canary in the places that are hardest to reach (a node's cache, held prompts, the semantic cache, and what providers keep) and
//! in every table of either database: a purge leaves it in none.

use std::collections::BTreeSet;

use harness::canary::Canary;
use harness::client::Client;
use harness::postgres::Server;
use harness::process::{Process, workspace};
use harness::{Flavour, Model};
use serde_json::{Value, json};

use crate::ask::{CHAT, MINI, has, trace_of, words};
use crate::batches;
use crate::cache_keep_alive::{LIFETIME, begin, state_lifetime, teach};
use crate::first_request::node;
use crate::gateway::{Gateway, OWN, OWN_SECOND, POOL_SECOND, config, id_of};
use crate::purge::{self, JOBS, SECRET, lines, plant, receipt_of, start};
use crate::wait::until;

/// Tables of content.
const CONTENTS: &str = "kept_answers kept_turns state_contents batch_contents request_contents run_contents";
const EMBED: &str = "mistralai/mistral-embed";
const FLASH: &str = "google/gemini-2.5-flash";
const LOCAL: &str = "tidegate-demo";
const VIDEOS: &str = "/v1/videos";
const CACHED: &str = "/v1beta/cachedContents";

/// A gateway with a provider for each place, and a node with a model.
struct Fixture {
    gateway: Gateway,
    /// Of a project with a semantic cache: conversations that are much alike would be answered from it.
    meanings: String,
    node: Process,
    node_url: String,
    node_data: tempfile::TempDir,
}

async fn fixture(environment: &[(&str, &str)]) -> Fixture {
    let served = config().model(Model::video("sora-2")).claude_cache_lifetime(LIFETIME);
    let gateway = Gateway::with(served, environment).await;
    state_lifetime(&gateway, LIFETIME).await;
    gateway.credential("openai", OWN).await;
    for (provider, secret, base_url) in [
        ("mistral", OWN_SECOND, gateway.emulator.base_url_of(Flavour::Mistral)),
        ("anthropic", OWN, gateway.emulator.anthropic_url()),
        ("gemini", POOL_SECOND, gateway.emulator.origin()),
    ] {
        let more = json!({"display_name": provider, "base_url": base_url});
        gateway.credential_with(provider, secret, more).await;
    }
    let kept = json!({"caching": {"keep_alive": true, "byok": "apply"}});
    gateway.patch(&format!("/v2/projects/{}", gateway.founded.project_id), kept).await;
    let project = id_of(&gateway.make("/v2/projects", json!({"name": "meanings"})).await);
    let kept = json!({"caching": {"responses": {"mode": "semantic", "semantic": {"model": EMBED}}}});
    gateway.patch(&format!("/v2/projects/{project}"), kept).await;
    let (meanings, _) =
        gateway.key(json!({"name": "meanings", "scopes": ["inference"], "project_id": project})).await;
    let node_data = tempfile::tempdir().unwrap();
    let (model, data) = (workspace().join("builtin/model"), node_data.path().join("node"));
    let (model, data) = (model.display().to_string(), data.display().to_string());
    let options = ["--model", &model, "--name", LOCAL, "--data-dir", &data, "--kv-memory", "64"];
    let (process, node_url) = node(&options).await;
    gateway.cli().run(&["nodes", "add", "local", "--base-url", &node_url]).ok();
    Fixture { gateway, meanings, node: process, node_url, node_data }
}

/// What was planted beyond the usual places.
struct Beyond {
    batch: String,
    video: String,
    cached: String,
}

fn asked(text: &str) -> Value {
    json!({"model": MINI, "messages": [{"role": "user", "content": text}]})
}

async fn posted(client: &Client, path: &str, body: &Value) -> harness::client::Answer {
    let answer = client.post(path, body).await.unwrap();
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer
}

/// How the semantic cache answers a text of the same words.
async fn semantic(fixture: &Fixture) -> String {
    let text = format!("The capital of {SECRET}, tell me, please!");
    let answer = posted(&fixture.gateway.with_key(&fixture.meanings), CHAT, &asked(&text)).await;
    answer.header("agent-cache").unwrap().to_owned()
}

async fn plant_beyond(fixture: &Fixture) -> Beyond {
    let (gateway, client) = (&fixture.gateway, fixture.gateway.client());
    let first = asked(&format!("Please tell me the capital of {SECRET}"));
    posted(&gateway.with_key(&fixture.meanings), CHAT, &first).await;
    assert_eq!(semantic(fixture).await, "hit");
    // Conversations are known to come back, so that prompts are held.
    teach(&client, "teaching", 1).await;
    let local = json!({"model": LOCAL, "messages": [{"role": "user", "content": format!("Who is {SECRET}? ").repeat(6)}], "max_tokens": 4});
    posted(&client, CHAT, &local).await;
    assert!(blocks(fixture).await > 0, "it is in the node's cache, which it left for this question");
    let local = posted(&client, CHAT, &local).await;
    assert_eq!(local.header("agent-execution-profile"), Some("byoc"));
    let line = json!({"custom_id": "a", "method": "POST", "url": CHAT, "body": {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": SECRET}]}});
    let batch = batches::made(&client, &format!("{line}\n")).await;
    batches::ended(&client, &batch).await;
    let film = json!({"model": "openai/sora-2", "prompt": SECRET, "seconds": "8", "size": "1280x720"});
    let video = id_of(&posted(&client, VIDEOS, &film).await.json());
    let prompt = json!({"model": format!("models/{FLASH}"), "ttl": "3600s",
        "contents": [{"role": "user", "parts": [{"text": format!("{SECRET} ").repeat(2_000)}]}]});
    let cached = posted(&client, CACHED, &prompt).await.json()["name"].as_str().unwrap().to_owned();
    gateway.settled(&trace_of(&local)).await;
    booked(gateway).await;
    begin(&client, SECRET).await;
    Beyond { batch, video, cached }
}

/// Until the batch and the video are booked, as nothing of them goes before.
async fn booked(gateway: &Gateway) {
    until("the batch and the video in the books", async || {
        let rows = gateway.requests(200).await;
        let is_filmed = rows.iter().any(|row| row["operation"] == "video" && row["key_id"].is_null());
        let records = gateway.get("/v2/records?limit=200").await;
        let mut records = records["data"].as_array().unwrap().iter();
        is_filmed && records.any(|row| row["made_for"]["purpose"] == "batch_item")
    })
    .await;
}

/// How much a dry run counts in a place.
async fn counted(gateway: &Gateway, place: &str) -> u64 {
    let dry = gateway.make(&format!("{JOBS}?dry_run=true"), json!({"workspace": true})).await;
    let places = dry["places"].as_array().unwrap();
    places.iter().filter(|one| one["place"] == place).map(|one| one["before"].as_u64().unwrap()).sum()
}

/// Blocks that the node's caches hold; asking drops them.
async fn blocks(fixture: &Fixture) -> u64 {
    let client = Client::new(fixture.node_url.trim_end_matches("/v1"));
    let report = client.post("/v1/cache/purge", &json!({})).await.unwrap().must_be(200).json();
    let count = |at: &str| report.pointer(at).and_then(Value::as_u64).unwrap_or(0);
    count("/blocks") + count("/held/blocks")
}

/// What the providers still have: files, videos and cached contents.
async fn at_providers(gateway: &Gateway) -> usize {
    let openai = Client::new(gateway.emulator.origin()).bearer(OWN);
    let gemini = Client::new(gateway.emulator.origin()).header("x-goog-api-key", POOL_SECOND);
    let count = |list: Value, field: &str| list[field].as_array().map_or(0, Vec::len);
    let files = count(openai.get("/v1/files").await.unwrap().json(), "data");
    let videos = count(openai.get(VIDEOS).await.unwrap().json(), "data");
    files + videos + count(gemini.get(CACHED).await.unwrap().json(), "cachedContents")
}

/// Purges the workspace, and looks into every place.
async fn purged(fixture: &Fixture) {
    let gateway = &fixture.gateway;
    plant(gateway, &gateway.founded.api_key).await;
    let beyond = plant_beyond(fixture).await;
    assert!(counted(gateway, "held_prompts").await > 0);
    // Those of the usual places, the batch's input and output, the video and the cached content.
    assert!(at_providers(gateway).await >= 5);
    let (mut receipt, mut kinds, mut id) = (Value::Null, BTreeSet::new(), String::new());
    // What is not booked to the end yet is left to the next one.
    until("a complete purge", async || {
        id = start(gateway, json!({"workspace": true})).await;
        receipt = receipt_of(gateway, &id).await;
        let lines = lines(&receipt, "provider_objects");
        kinds.extend(lines.iter().map(|line| line["kind"].as_str().unwrap().to_owned()));
        receipt["complete"] == true
    })
    .await;
    let job = gateway.get(&format!("{JOBS}/{id}")).await;
    for place in job["places"].as_array().unwrap() {
        has(place, json!({"status": "purged", "error": null}));
    }
    for kind in ["file", "batch", "video"] {
        assert!(kinds.contains(kind), "{kinds:?}");
    }
    assert_eq!(kinds.len(), 4, "and cached contents: {kinds:?}");
    for place in ["node_caches", "held_prompts", "response_cache"] {
        lines(&receipt, place)
            .into_iter()
            .for_each(|line| has(line, json!({"status": "cleared", "after": 0})));
    }
    let [node] = lines(&receipt, "node_caches")[..] else { panic!("{receipt:#}") };
    assert_eq!(node["guarantee"], "verified_physical_purge", "{node}");
    assert_eq!((at_providers(gateway).await, counted(gateway, "held_prompts").await), (0, 0));
    assert_eq!(blocks(fixture).await, 0, "the node's caches are empty");
    let client = gateway.client();
    let cached = format!("/v1beta/{}", beyond.cached);
    for path in [format!("{VIDEOS}/{}", beyond.video), format!("/v1/batches/{}", beyond.batch), cached] {
        let answer = client.get(&path).await.unwrap();
        assert_eq!(answer.status, 404, "{path}: {}", answer.text());
    }
    let canary = Canary::new().plant("planted", SECRET);
    for path in [gateway.data().as_path(), fixture.node_data.path()] {
        assert_eq!(canary.scan_path(path).unwrap(), []);
    }
    assert!(!String::from_utf8_lossy(&fixture.node.output()).contains(SECRET), "the node prints no prompt");
}

#[tokio::test]
async fn a_canary_is_gone_from_nodes_memory_and_providers() {
    let fixture = fixture(&[]).await;
    purged(&fixture).await;
    assert_eq!(purge::sealed(&fixture.gateway.data()), Vec::<Vec<u8>>::new(), "no sealed content is left");
    assert_eq!(semantic(&fixture).await, "miss");
}

/// A text of PostgreSQL's that finds a needle in any column of any type of a row: bytes are written as hexadecimal digits.
async fn tables_with(server: &Server, database: &str, needles: &[String]) -> BTreeSet<String> {
    let tables = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'";
    let mut found = BTreeSet::new();
    for table in server.run(database, tables).await.unwrap().lines() {
        let any: Vec<_> = needles.iter().map(|needle| format!("strpos(one::text, '{needle}') > 0")).collect();
        let query = format!("SELECT COUNT(*) FROM \"{table}\" AS one WHERE {}", any.join(" OR "));
        if server.run(database, &query).await.unwrap().trim() != "0" {
            found.insert(table.to_owned());
        }
    }
    found
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Slices of all sealed content, in hexadecimal digits.
async fn sealed_there(server: &Server, database: &str) -> Vec<String> {
    let columns = "SELECT table_name FROM information_schema.columns WHERE column_name = 'sealed' AND table_schema = 'public'";
    let mut slices = Vec::new();
    for table in server.run(database, columns).await.unwrap().lines() {
        if words(CONTENTS).contains(&table) {
            let slice = "encode(substr(sealed, length(sealed) - 39, 32), 'hex')";
            let query = format!("SELECT {slice} FROM \"{table}\" WHERE length(sealed) >= 40");
            slices.extend(server.run(database, &query).await.unwrap().lines().map(str::to_owned));
        }
    }
    slices
}

#[tokio::test]
async fn a_canary_is_gone_from_every_table_of_postgresql() {
    let server = Server::shared().await.unwrap();
    let database = format!("purged_{}", std::process::id());
    let url = server.database(&database).await.unwrap();
    let keys = tempfile::tempdir().unwrap();
    let key_file = keys.path().join("master.key").display().to_string();
    let environment = [("TIDEGATE_DATABASE_URL", url.as_str()), ("TIDEGATE_MASTER_KEY_FILE", &key_file)];
    let fixture = fixture(&environment).await;
    let gateway = &fixture.gateway;
    // As it is, it is in no table; a name of the canary's own shows that the search finds what is there, as text and as bytes.
    let named = gateway.make("/v2/projects", json!({"name": SECRET})).await;
    let needles = [SECRET.to_owned(), hex(SECRET.as_bytes())];
    let found = tables_with(&server, &database, &needles).await;
    assert!(found.contains("projects"), "{found:?}");
    gateway.patch(&format!("/v2/projects/{}", id_of(&named)), json!({"name": "renamed"})).await;
    let left = tables_with(&server, &database, &needles).await;
    plant(gateway, &gateway.founded.api_key).await;
    let slices = sealed_there(&server, &database).await;
    assert!(slices.len() >= 3, "{slices:?}");
    let with_sealed = tables_with(&server, &database, &slices).await;
    assert!(with_sealed.contains("kept_answers") && with_sealed.contains("kept_turns"), "{with_sealed:?}");
    purged(&fixture).await;
    let seen = tables_with(&server, &database, &needles).await;
    assert_eq!(seen, left, "no table holds it, but for names that people gave");
    assert_eq!(tables_with(&server, &database, &slices).await, BTreeSet::new());
    assert_eq!(sealed_there(&server, &database).await, Vec::<String>::new());
}
