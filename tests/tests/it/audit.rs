//! The audit log as evidence: a proof is verified without the gateway, and every manipulation of the database
//! is detected.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use harness::bedrock::access_keys;
use harness::{Behaviour, Emulator};
use serde_json::{Value, json};

use crate::WITHIN;
use crate::ask::{MINI, has, problem, question};
use crate::command::{Cli, workspace};
use crate::gateway::{Gateway, OWN, POOL, config, id_of};
use crate::wait::{an_hour_with_room, found, until};
use crate::webhooks::Taker;

/// Edits the database while the gateway is down.
fn edit(gateway: &Gateway, statement: &str) {
    crate::vault::edit(gateway, &format!("db.execute(\"{statement}\")"));
}

/// Rewrites the workspace's chain, hashes included, while the gateway is down.
fn rewrite(gateway: &Gateway, how: [&str; 2]) {
    let mut python = Command::new(workspace().join(".venv/bin/python"));
    let script = workspace().join("tests/tools/rewrite_audit.py");
    let output = python.arg(script).arg(gateway.data().join("tidegate.db")).args(how).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Verifies a proof in a folder that holds nothing else, without a gateway.
fn verify(proof: &str, more: &[&str]) -> crate::command::Done {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("proof.json");
    std::fs::write(&file, proof).unwrap();
    Cli::new().run(&[&["audit", "verify", &file.display().to_string()], more].concat())
}

/// The entries of an action, newest first.
pub async fn entries(gateway: &Gateway, action: &str) -> Vec<Value> {
    let listed = gateway.get("/v2/audit?limit=1000").await;
    let entries = listed["data"].as_array().unwrap();
    entries.iter().filter(|entry| entry["action"] == action).cloned().collect()
}

/// The newest entry of an action, which is written after its request has been answered.
pub async fn audited(gateway: &Gateway, action: &str) -> Value {
    found(action, async || entries(gateway, action).await.into_iter().next()).await
}

async fn busy() -> Gateway {
    busy_with(&[]).await
}

async fn busy_with(environment: &[(&str, &str)]) -> Gateway {
    let gateway = Gateway::with(config(), environment).await;
    for name in ["a", "b", "c", "d"] {
        gateway.make("/v2/projects", json!({"name": name})).await;
    }
    gateway
}

#[tokio::test]
async fn a_proof_is_checked_without_the_gateway() {
    let gateway = busy().await;
    let proof = gateway.cli().run(&["audit", "proof"]).ok();
    let key = gateway.get("/v2/audit/key").await;
    let (public, fingerprint) = (key["public_key"].as_str().unwrap(), key["fingerprint"].as_str().unwrap());
    let output = verify(&proof, &[]).ok();
    assert!(output.contains("holds from entry 1 to ") && output.contains("the key inside"), "{output}");
    assert!(output.contains(public) && output.contains(fingerprint), "{output}");
    let trusted = verify(&proof, &["--key", public, "--json"]).json();
    assert_eq!((&trusted["ok"], trusted["trusted"].as_str()), (&json!(true), Some("given")));
    assert!(verify(&proof, &["--key", &format!("{:064x}", 7)]).failed(11).contains(fingerprint));
    let stretch = gateway.cli().run(&["audit", "proof", "--from", "3", "--to", "4"]).ok();
    assert!(verify(&stretch, &[]).ok().contains("from entry 3 to 4"));
    let parsed: Value = serde_json::from_str(&proof).unwrap();
    let mut touched = parsed.clone();
    touched["entries"][2]["actor"] = json!("key_of_somebody_else");
    assert!(verify(&touched.to_string(), &[]).failed(11).contains("entry 3 was changed"));
    touched["entries"].as_array_mut().unwrap().remove(2);
    assert!(verify(&touched.to_string(), &[]).failed(11).contains("entry 3 is missing"));
    verify("{}", &[]).failed(2);
    let entries = gateway.get("/v2/audit?limit=1000").await;
    // Each proof that was taken along has an entry, after what it proves.
    has(&entries["data"][0], json!({"action": "audit.prove", "detail": "entries 3 to 4"}));
    has(&entries["data"][1], json!({"action": "audit.prove", "target": parsed["chain"]}));
    has(&entries["data"][2], json!({"hash": parsed["head"]["hash"]}));
    // Chains are of workspaces.
    let other = gateway.workspace("other").await;
    let theirs = gateway.with_key(&other.admin_key);
    let proof = theirs.get("/v2/audit/proof").await.unwrap().json();
    assert_eq!(proof["chain"], other.workspace_id.as_str());
    assert_eq!(proof["entries"].as_array().unwrap().len(), 1);
    let account = gateway.account("openai", POOL).await;
    let installation = gateway.get("/v2/audit/proof?chain=installation").await;
    let seen = (&installation["chain"], &installation["entries"][0]["target"]);
    assert_eq!(seen, (&json!("installation"), &json!(account)));
    verify(&installation.to_string(), &[]).ok();
    problem(&theirs.get("/v2/audit?chain=installation").await.unwrap(), 403, "insufficient_scope");
    problem(&theirs.get("/v2/audit/proof?from=99").await.unwrap(), 400, "invalid_value");
    problem(&theirs.get("/v2/audit/proof?from=0").await.unwrap(), 400, "invalid_value");
}

#[tokio::test]
async fn what_is_done_to_the_database_is_found() {
    let mut gateway = busy().await;
    let cases = [
        ("UPDATE audit SET actor = 'nobody' WHERE sequence = 5", "entry 5 was changed"),
        ("DELETE FROM audit WHERE sequence = 4", "entry 4 is missing"),
        ("UPDATE audit SET sequence = 4 WHERE sequence = 5", "entry 4 was changed"),
    ];
    for (statement, expected) in cases {
        gateway.stop().await;
        edit(&gateway, statement);
        gateway.start_again().await;
        let output = verify(&gateway.cli().run(&["audit", "proof"]).ok(), &[]).failed(11);
        assert!(output.contains(expected), "{statement}: {output}");
    }
    for name in ["e", "f"] {
        gateway.make("/v2/projects", json!({"name": name})).await;
    }
    gateway.stop().await;
    edit(&gateway, "DELETE FROM audit WHERE sequence = (SELECT MAX(sequence) FROM audit)");
    gateway.start_again().await;
    verify(&gateway.cli().run(&["audit", "proof", "--from", "7"]).ok(), &[]).failed(11);
    // The next entry gets a number after the deleted one, which leaves a gap.
    gateway.make("/v2/projects", json!({"name": "g"})).await;
    let output = verify(&gateway.cli().run(&["audit", "proof", "--from", "7"]).ok(), &[]).failed(11);
    assert!(output.contains("is missing"), "{output}");
}

/// Waits until a head of this length is stored for a chain.
async fn kept(folder: &Path, chain: &str, length: u64) {
    until("the head to be kept", async || {
        let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let lines: String = files.filter_map(|file| std::fs::read_to_string(file.path()).ok()).collect();
        let mut heads = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        heads.any(|head| head["chain"] == chain && head["length"] == length)
    })
    .await;
}

/// With the database and the key an attacker can write a consistent history; only a head stored elsewhere
/// exposes it.
#[cfg(feature = "control")]
#[tokio::test]
async fn a_history_written_anew_is_found_by_a_kept_head() {
    let folder = tempfile::tempdir().unwrap();
    let heads = folder.path().join("heads").display().to_string();
    let mut gateway = busy_with(&[("TIDEGATE_AUDIT_HEADS", &heads)]).await;
    let cli = gateway.cli();
    // A proof would leave an entry of its own.
    let length = gateway.get("/v2/audit?limit=1").await["data"][0]["sequence"].as_u64().unwrap();
    kept(Path::new(&heads), &gateway.founded.workspace_id, length).await;
    let checked = cli.run(&["audit", "verify", "--heads", &heads, "--json"]).json();
    assert!(checked["kept_heads"].as_u64().unwrap() > 0, "{checked}");
    let untouched = folder.path().join("untouched").display().to_string();
    cli.run(&["audit", "export", "--to", &untouched]).ok();
    let other = folder.path().join("nothing");
    std::fs::create_dir(&other).unwrap();
    let output = cli.run(&["audit", "verify", "--heads", &other.display().to_string()]).failed(11);
    assert!(output.contains("holds no head"), "{output}");

    gateway.stop().await;
    // Heads that this gateway stores from now on prove nothing: only earlier ones count here.
    let before = folder.path().join("before");
    std::fs::rename(&heads, &before).unwrap();
    let before = before.display().to_string();
    let sequence = (length - 1).to_string();
    rewrite(&gateway, [&sequence, "key_of_somebody_else"]);
    gateway.start_again().await;
    let cli = gateway.cli();
    cli.run(&["audit", "verify"]).ok();
    let output = cli.run(&["audit", "verify", "--heads", &before]).failed(11);
    assert!(output.contains(&format!("entry {length} is another one")), "{output}");

    gateway.stop().await;
    rewrite(&gateway, ["cut", &(length_of(&gateway) - length + 2).to_string()]);
    gateway.start_again().await;
    let cli = gateway.cli();
    let proof = cli.run(&["audit", "proof"]).ok();
    verify(&proof, &[]).ok();
    let output = verify(&proof, &["--heads", &before]).failed(11);
    assert!(output.contains("ends at entry") && output.contains(&format!("there were {length}")), "{output}");
    // An earlier export still verifies.
    Cli::new().run(&["audit", "verify", &untouched, "--heads", &before]).ok();
}

/// The length in the database; the next start adds its own entries.
fn length_of(gateway: &Gateway) -> u64 {
    let read = "print(db.execute('SELECT MAX(length) FROM audit_chains').fetchone()[0])";
    crate::vault::edit(gateway, read).trim().parse().unwrap()
}

#[cfg(feature = "control")]
#[tokio::test]
async fn heads_are_sent_to_an_address_and_kept_from_there() {
    let mut taker = Taker::start().await;
    let gateway = Gateway::with(config(), &[("TIDEGATE_AUDIT_HEADS", &taker.url)]).await;
    let body = taker.taken().await;
    let sent: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(sent["object"], "audit_heads");
    let chain = &gateway.founded.workspace_id;
    assert!(sent["heads"].as_array().unwrap().iter().any(|head| head["chain"] == **chain), "{sent}");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("taken.jsonl"), body).unwrap();
    let output =
        gateway.cli().run(&["audit", "verify", "--heads", &folder.path().display().to_string()]).ok();
    assert!(output.contains("heads say the same"), "{output}");
    let data = folder.path().join("data").display().to_string();
    Cli::new().run(&["init", "--data-dir", &data]).ok();
    let refused = Cli::new()
        .env("TIDEGATE_AUDIT_HEADS", "https://user:pass@example.com/")
        .env("TIDEGATE_DATA_DIR", &data)
        .env("TIDEGATE_LISTEN", "127.0.0.1:0");
    assert!(refused.run(&["serve"]).failed(1).contains("audit.heads"));
}

#[cfg(feature = "control")]
#[tokio::test]
async fn the_command_line_shows_follows_and_exports_it() {
    let gateway = busy().await;
    let cli = gateway.cli();
    let key = gateway.get("/v2/audit/key").await;
    assert_eq!(cli.run(&["audit", "key", "--json"]).json(), key);
    let tail = cli.follow(&["audit", "tail", "--limit", "1", "--json"]);
    assert_eq!(tail.line()["action"], "project.create");
    gateway.account("openai", POOL).await;
    let made = gateway.make("/v2/projects", json!({"name": "live"})).await;
    assert_eq!(tail.line()["target"], made["id"], "what is the installation's is in its own chain");
    let installation = cli.run(&["audit", "--chain", "installation", "--json"]).lines();
    assert!(installation.iter().any(|entry| entry["action"] == "account.create"), "{installation:?}");
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("proofs").display().to_string();
    let exported = cli.run(&["audit", "export", "--to", &to, "--json"]).lines();
    assert_eq!(exported.len(), 1, "{exported:?}");
    let public = key["public_key"].as_str().unwrap();
    let checked = Cli::new().run(&["audit", "verify", &to, "--key", public, "--json"]).json();
    assert_eq!(checked["last"], exported[0]["rows"], "{checked}");
    cli.run(&["audit", "export", "--to", &to]).failed(2);
    assert!(cli.run(&["audit", "verify", "--chain", "installation"]).ok().contains("of installation holds"));
}

fn targets_of(entries: &[Value]) -> Vec<String> {
    entries.iter().map(|row| row["target"].as_str().unwrap().to_owned()).collect()
}

/// What was done is found by who did it, what, to what, when and by its words, and leaves as JSON lines.
#[cfg(feature = "control")]
#[tokio::test]
async fn entries_are_searched_and_exported() {
    let gateway = Gateway::start().await;
    let admin = gateway.admin();
    let (key, key_id) = gateway.key(json!({"name": "Zebra", "scopes": ["admin"]})).await;
    let (client, mut projects) = (gateway.with_key(&key), Vec::new());
    for number in 0..3 {
        let made = client.post("/v2/projects", &json!({"name": format!("p{number}")})).await.unwrap();
        projects.push(id_of(&made.must_be(201).json()));
    }
    let targets = async |query: &str| {
        targets_of(gateway.get(&format!("/v2/audit?{query}")).await["data"].as_array().unwrap())
    };
    let newest: Vec<_> = projects.iter().rev().cloned().collect();
    assert_eq!(targets(&format!("actor={key_id}")).await, newest);
    assert_eq!(targets(&format!("actor={key_id}&action=project.create")).await, newest);
    let second = &projects[1..2];
    assert_eq!(targets(&format!("actor={key_id}&action=project&target={}", second[0])).await, second);
    assert_eq!(targets("q=zebra").await, std::slice::from_ref(&key_id));
    assert_eq!(targets("q=zebra&end=2020-01-01T00:00:00Z").await, [""; 0]);
    problem(&admin.get("/v2/audit?start=yesterdayish").await.unwrap(), 400, "invalid_value");
    // As JSON lines, a page at a time.
    let (mut lines, mut cursor) = (Vec::new(), String::new());
    loop {
        let page =
            admin.get(&format!("/v2/audit?format=jsonl&limit=2&actor={key_id}{cursor}")).await.unwrap();
        assert_eq!(page.header("content-type"), Some("application/x-ndjson"));
        lines.extend(page.text().lines().map(|line| line.parse::<Value>().unwrap()));
        let Some(next) = page.header("x-next-cursor") else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(targets_of(&lines), newest);
    let exported = gateway.cli().run(&["audit", "--all", "--actor", &key_id, "--json"]).lines();
    assert_eq!(targets_of(&exported), newest);
    // Another workspace searches its own chain alone.
    let stranger = gateway.with_key(&gateway.workspace("other").await.admin_key);
    let found = stranger.get("/v2/audit?q=zebra").await.unwrap();
    assert_eq!(found.json()["data"], json!([]), "{}", found.text());
}

/// The entries that a sink was sent of a workspace, in the order of their arrival.
fn sent_of<'e>(gateway: &Gateway, entries: impl IntoIterator<Item = &'e Value>) -> Vec<Value> {
    let chain = &gateway.founded.workspace_id;
    entries.into_iter().filter(|entry| entry["chain"] == **chain).cloned().collect()
}

/// Whether these are consecutive from the first entry on, where what came twice counts once, each with the hash
/// that the gateway's own proof states; the proof's own entry comes after those.
fn check_sent(proof: &Value, sent: &[Value]) {
    let (mut next, length) = (1, proof["head"]["length"].as_u64());
    for entry in sent.iter().filter(|entry| entry["sequence"].as_u64() <= length) {
        let sequence = entry["sequence"].as_u64().unwrap();
        assert!(sequence <= next, "entry {sequence} came where {next} was expected");
        next = next.max(sequence + 1);
        let mut stated = proof["entries"][usize::try_from(sequence).unwrap() - 1].clone();
        stated["chain"] = entry["chain"].clone();
        assert_eq!(*entry, stated);
    }
}

fn lines_in(folder: &Path) -> Vec<Value> {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<_> = files.map(|file| file.path()).collect();
    files.sort();
    let texts = files.iter().map(|file| std::fs::read_to_string(file).unwrap());
    // A last line that is still being written has no end.
    texts
        .flat_map(|text| text.split_inclusive('\n').map(str::to_owned).collect::<Vec<_>>())
        .filter(|line| line.ends_with('\n'))
        .filter_map(|line| serde_json::from_str(&line).ok())
        .collect()
}

async fn last_sent(gateway: &Gateway, folder: &Path, length: u64) -> Vec<Value> {
    found("the last entry in the directory", async || {
        let sent = sent_of(gateway, &lines_in(folder));
        sent.iter().any(|entry| entry["sequence"] == length).then_some(sent)
    })
    .await
}

#[cfg(feature = "control")]
#[tokio::test]
async fn each_entry_is_sent_to_a_directory_also_past_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let sink = folder.path().join("sink");
    let environment = [("TIDEGATE_AUDIT_SINK", &*sink.display().to_string())];
    let mut gateway = busy_with(&environment).await;
    gateway.crash().await;
    gateway.make("/v2/projects", json!({"name": "e"})).await;
    gateway.account("openai", POOL).await;
    let proof = gateway.get("/v2/audit/proof").await;
    check_sent(&proof, &last_sent(&gateway, &sink, proof["head"]["length"].as_u64().unwrap()).await);
    let installation = found("the installation's entries", async || {
        let lines = lines_in(&sink);
        let is_account =
            |entry: &Value| entry["chain"] == "installation" && entry["action"] == "account.create";
        lines.iter().any(is_account).then_some(lines)
    })
    .await;
    assert!(!installation.iter().any(|entry| entry.to_string().contains(POOL)));
}

/// An entry is in one object of its chain, which has the same name and content however often it is written: where a
/// write failed, and where the gateway was killed under one.
#[cfg(feature = "control")]
#[tokio::test]
async fn each_entry_is_written_to_a_bucket_in_objects_that_never_change() {
    let folder = tempfile::tempdir().unwrap();
    let (bucket, keys) = ("audit-bucket", folder.path().join("keys.json").display().to_string());
    let storage = Emulator::start(config()).await.unwrap();
    storage.script(POOL, [Behaviour::status(503), Behaviour::held()]);
    std::fs::write(&keys, access_keys(POOL).to_string()).unwrap();
    let sink = format!("s3://{bucket}/gateways/one");
    let environment = [
        ("TIDEGATE_AUDIT_SINK", &*sink),
        ("TIDEGATE_AUDIT_SINK_ENDPOINT", &*storage.storage_url()),
        ("TIDEGATE_AUDIT_SINK_KEYS_FILE", &*keys),
    ];
    let mut gateway = Gateway::with(config(), &environment).await;
    let writes = || storage.journal().into_iter().filter(|entry| entry.method == "PUT").collect::<Vec<_>>();
    until("a write that fails", async || !writes().is_empty()).await;
    gateway.make("/v2/projects", json!({"name": "a"})).await;
    until("a write that hangs", async || writes().len() > 1).await;
    gateway.crash().await;
    storage.release();
    gateway.account("openai", POOL).await;
    gateway.make("/v2/projects", json!({"name": "b"})).await;
    let proof = gateway.get("/v2/audit/proof").await;
    let length = proof["head"]["length"].as_u64().unwrap();
    let prefix = format!("gateways/one/{}/", gateway.founded.workspace_id);
    let sent = found("the last entry in the bucket", async || {
        let objects = storage.stored(bucket);
        let own = objects.iter().filter(|(name, _)| name.starts_with(&prefix));
        let text: String = own.map(|(_, content)| String::from_utf8(content.to_vec()).unwrap()).collect();
        let lines: Vec<Value> = text.lines().map(|line| line.parse().unwrap()).collect();
        lines.last().is_some_and(|entry| entry["sequence"].as_u64() >= Some(length)).then_some(lines)
    })
    .await;
    check_sent(&proof, &sent);
    assert_eq!(sent[sent.len() - 1]["sequence"], sent.len(), "an entry is in two objects");
    let first = &writes()[0];
    assert!(first.path.contains(&format!("/{bucket}/{prefix}000000000001-")), "{}", first.path);
    let mut contents = HashMap::new();
    for write in writes() {
        let content = contents.entry(write.path.clone()).or_insert_with(|| write.body.clone());
        assert_eq!(*content, write.body, "{} has another content", write.path);
    }
    let again = writes().iter().filter(|write| write.path == first.path).count();
    assert!(again >= 3, "{} was written {again} times", first.path);
    until("the installation's entries", async || {
        storage.stored(bucket).iter().any(|(name, _)| name.starts_with("gateways/one/installation/"))
    })
    .await;
    assert_eq!(storage.violations(), []);
    let unsigned = Cli::new().env("TIDEGATE_AUDIT_SINK", &sink);
    let data = folder.path().join("data").display().to_string();
    Cli::new().run(&["init", "--data-dir", &data]).ok();
    let unsigned = unsigned.env("TIDEGATE_DATA_DIR", &data).env("TIDEGATE_LISTEN", "127.0.0.1:0");
    assert!(unsigned.run(&["serve"]).failed(1).contains("TIDEGATE_AUDIT_SINK_KEYS"));
}

#[cfg(feature = "control")]
#[tokio::test]
async fn entries_wait_for_an_address_that_does_not_take_them() {
    let reserved = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = reserved.local_addr().unwrap();
    drop(reserved);
    let url = format!("http://{address}/audit");
    let mut gateway = Gateway::with(config(), &[("TIDEGATE_AUDIT_SINK", &url)]).await;
    gateway.make("/v2/projects", json!({"name": "early"})).await;
    found("a try that failed", async || {
        gateway.process().stderr().contains("could not be sent").then_some(())
    })
    .await;
    let mut taker = Taker::at(address).await;
    let proof = gateway.get("/v2/audit/proof").await;
    let length = proof["head"]["length"].as_u64().unwrap();
    let mut sent = Vec::new();
    while !sent.iter().any(|entry: &Value| entry["sequence"] == length) {
        let body: Value = serde_json::from_str(&taker.taken().await).unwrap();
        assert_eq!(body["object"], "audit_entries");
        sent.extend(sent_of(&gateway, body["entries"].as_array().unwrap()));
    }
    check_sent(&proof, &sent);
}

/// A server that reads messages with their length before them (RFC 6587), and closes when its client has.
fn syslog(listener: &std::net::TcpListener) -> Vec<String> {
    let (mut stream, _) = listener.accept().unwrap();
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut stream, &mut bytes).unwrap();
    let (mut rest, mut messages) = (&*bytes, Vec::new());
    while !rest.is_empty() {
        let space = rest.iter().position(|byte| *byte == b' ').unwrap();
        let length: usize = std::str::from_utf8(&rest[..space]).unwrap().parse().unwrap();
        messages.push(String::from_utf8(rest[space + 1..=space + length].to_vec()).unwrap());
        rest = &rest[space + 1 + length..];
    }
    messages
}

#[cfg(feature = "control")]
#[tokio::test(flavor = "multi_thread")]
async fn entries_are_sent_to_a_syslog_server() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("syslog://{}", listener.local_addr().unwrap());
    let gateway = Gateway::with(config(), &[("TIDEGATE_AUDIT_SINK", &server)]).await;
    gateway.make("/v2/projects", json!({"name": "told"})).await;
    let proof = gateway.get("/v2/audit/proof").await;
    let length = proof["head"]["length"].as_u64().unwrap();
    let reading = tokio::task::spawn_blocking(move || {
        let mut messages = Vec::new();
        while !messages.iter().any(|message: &String| message.contains(&format!("\"sequence\":{length},"))) {
            messages.extend(syslog(&listener));
        }
        messages
    });
    let messages = tokio::time::timeout(WITHIN, reading).await.expect("nothing was sent").unwrap();
    let mut sent = Vec::new();
    for message in &messages {
        let fields: Vec<&str> = message.splitn(8, ' ').collect();
        let entry: Value = serde_json::from_str(fields[7]).unwrap();
        assert_eq!((fields[0], fields[3], fields[6]), ("<109>1", "tidegate", "-"), "{message}");
        assert_eq!(entry["action"], fields[5]);
        sent.push(entry);
    }
    check_sent(&proof, &sent_of(&gateway, &sent));
    let refused = Cli::new().env("TIDEGATE_AUDIT_SINK", "syslog://logs").run(&["serve"]).failed(2);
    assert!(refused.contains("audit.sink") && refused.contains("syslog://HOST:PORT"), "{refused}");
}

/// A webhook whose secret was opened, for a test of it.
async fn signed_delivery(gateway: &Gateway) -> String {
    let hook = json!({"url": format!("{}/hook", gateway.emulator.base_url()), "events": ["budget.alert"]});
    let hook = format!("/v2/webhooks/{}", id_of(&gateway.make("/v2/webhooks", hook).await));
    let sent = gateway.admin().post(&format!("{hook}/test"), &json!({})).await.unwrap();
    assert!(sent.status < 300, "{}", sent.text());
    hook
}

/// What is taken along as a file has an entry each; how often secrets were opened and how many requests fell back is
/// counted, and the counts are in the chains as acts are.
#[cfg(feature = "control")]
#[tokio::test]
async fn downloads_have_entries_and_openings_and_fallbacks_are_counted() {
    let mut gateway = Gateway::start().await;
    let credential = gateway.credential("openai", OWN).await;
    let account = gateway.account("openai", POOL).await;
    gateway.route(json!({"scope": {}, "byok_fallback": "managed", "fallback_on": ["auth"]})).await;
    gateway.emulator.script(OWN, [Behaviour::status(401).always()]);
    // Only the first in an hour has an entry, so all three must fall into the same hour.
    an_hour_with_room().await;
    gateway.chat_ok(&question(MINI)).await;
    let first = audited(&gateway, "request.fall_back").await;
    assert!(first["detail"].as_str().unwrap().ends_with("; the first of this hour."), "{first}");
    for _ in 0..2 {
        gateway.chat_ok(&question(MINI)).await;
    }
    gateway.listed(3).await;

    let (key, key_id) = gateway.key(json!({"name": "reader", "scopes": ["read"]})).await;
    let reader = gateway.with_key(&key);
    for query in ["", "?limit=2", "?format=json"] {
        assert_eq!(reader.get(&format!("/v2/requests{query}")).await.unwrap().status, 200);
    }
    let page = reader.get("/v2/requests?format=csv&limit=2").await.unwrap();
    let cursor = page.header("x-next-cursor").unwrap();
    let rest = reader.get(&format!("/v2/requests?format=csv&limit=2&cursor={cursor}")).await.unwrap();
    assert_eq!((page.text().lines().count(), rest.text().lines().count()), (3, 2), "{}", rest.text());
    assert_eq!(reader.get("/v2/usage?format=jsonl").await.unwrap().status, 200);
    let downloads = entries(&gateway, "export.read").await;
    let of = |entry: &Value| ["actor", "target", "detail"].map(|field| entry[field].clone());
    let (usage, requests) = (["/v2/usage", "format=jsonl"], ["/v2/requests", "format=csv, limit=2"]);
    let expected = [usage, requests].map(|[target, detail]| [&*key_id, target, detail]);
    assert_eq!(downloads.iter().map(of).collect::<Vec<_>>(), expected);

    let hook = signed_delivery(&gateway).await;

    // What a process has counted of requests is written where it ends; openings are counted at each start, and each hour.
    gateway.stop().await;
    gateway.start_again().await;
    let counts = entries(&gateway, "request.fall_back").await;
    let detail = counts[0]["detail"].as_str().unwrap();
    assert!(detail.starts_with("2 more requests since the entry before; the newest: "), "{detail}");
    assert_eq!((counts.len(), &counts[0]["actor"]), (2, &json!("system")));
    let shown = gateway.get(&format!("/v2/provider-credentials/{credential}")).await;
    let total = shown["openings"].as_u64().unwrap();
    assert!(total > 0, "{shown}");
    // The job of the first start may have counted a part of them.
    let details = [format!("opened {total} times since it was made"), format!(", {total} in all")];
    let opened = found("the count of openings", async || {
        let listed = entries(&gateway, "credential.open").await;
        let is_whole = |text: &str| text == details[0] || text.ends_with(&details[1]);
        listed.into_iter().find(|entry| is_whole(entry["detail"].as_str().unwrap()))
    })
    .await;
    assert_eq!((&opened["target"], &opened["actor"]), (&json!(credential), &json!("system")));
    let pooled = found("the count of an account", async || {
        let listed = gateway.get("/v2/audit?chain=installation&action=account.open").await;
        listed["data"].as_array().unwrap().first().cloned()
    })
    .await;
    assert_eq!(pooled["target"], account.as_str(), "{pooled}");
    let signed = audited(&gateway, "webhook.open").await;
    assert_eq!(format!("/v2/webhooks/{}", signed["target"].as_str().unwrap()), hook, "{signed}");
    gateway.cli().run(&["audit", "verify"]).ok();
    gateway.cli().run(&["audit", "verify", "--chain", "installation"]).ok();
}
