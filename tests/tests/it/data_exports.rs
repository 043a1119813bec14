//! Data exports: everything that a workspace owns is in the archive, no secret is, and a purge takes it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use harness::client::Client;
use serde_json::{Value, json};

use crate::ask::{MINI, has, problem, scripted, trace_of, until_status};
use crate::canary::is_stored_nowhere;
use crate::command::workspace;
use crate::gateway::{Founded, Gateway, NODE, OWN, OWN_SECOND, POOL, id_of, row};
use crate::own_batches::{asks, create, until_ended};
use crate::wait::found;

const EXPORTS: &str = "/v2/data-exports";
const CANARY: &str = "heron-canary-77c1a0e5b2d4";

/// What a request that must succeed answers.
pub async fn made(client: &Client, path: &str, body: Value) -> Value {
    let answer = client.post(path, &body).await.unwrap();
    assert!(answer.status < 300, "POST {path}: {}", answer.text());
    answer.json()
}

async fn exported(gateway: &Gateway, body: Value) -> Value {
    let path = format!("{EXPORTS}/{}", id_of(&gateway.make(EXPORTS, body).await));
    until_status(&gateway.admin(), &path, "completed").await
}

/// The files of an archive by name, as another program reads them.
fn files(archive: &Path) -> BTreeMap<String, String> {
    // What the manifest says of each file is so.
    let script = "import hashlib, json, sys, tarfile\n\
        with tarfile.open(sys.argv[1]) as archive: read = {one.name: archive.extractfile(one).read() for one in archive}\n\
        for file in json.loads(read['manifest.json'])['files']:\n    \
            content = read[file['name']]\n    \
            found = (content.count(b'\\n'), len(content), hashlib.sha256(content).hexdigest())\n    \
            assert found == (file['lines'], file['bytes'], file['sha256']), (file, found)\n\
        print(json.dumps({name: content.decode() for name, content in read.items()}))\n";
    let python = workspace().join(".venv/bin/python");
    let output = Command::new(python).args(["-c", script]).arg(archive).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn save(gateway: &Gateway, export: &Value, name: &str) -> BTreeMap<String, String> {
    let path = gateway.directory().join(name);
    gateway.cli().run(&["data-export", "save", &id_of(export), &path.display().to_string()]).ok();
    files(&path)
}

fn rows(files: &BTreeMap<String, String>, name: &str) -> Vec<Value> {
    let text = files.get(name).unwrap_or_else(|| panic!("{name} is not among {:?}", files.keys()));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What a workspace owns, with content in a session and in an artifact of the project heron.
struct Owned {
    heron: String,
    key: (String, String),
    hook: Value,
    session: Value,
    artifact: String,
    request: String,
    batch: String,
    kept: Kept,
}

/// What is kept of answers for a while.
struct Kept {
    keyed: String,
    task: String,
    own: String,
    compatible: String,
    at_provider: String,
}

async fn keep(gateway: &Gateway) -> Kept {
    let (client, said) = (gateway.client(), format!("text={CANARY}"));
    let keyed = client.clone().header("idempotency-key", "export");
    let keyed = keyed.post("/v1/chat/completions", &scripted(MINI, &said)).await.unwrap().must_be(200);
    let task = made(&client, "/v1/run", json!({"app": MINI, "input": {"prompt": said}})).await;
    let own = made(&client, "/v2/responses", json!({"model": MINI, "input": said})).await;
    // What no provider stores, the gateway keeps.
    let compatible = json!({"model": "acme/acme-large", "input": said, "store": true});
    let compatible = made(&client, "/v1/responses", compatible).await;
    let at_provider = json!({"model": MINI, "input": said, "store": true});
    let at_provider = made(&client, "/v1/responses", at_provider).await;
    Kept {
        keyed: trace_of(&keyed),
        task: task["data"]["id"].as_str().unwrap().to_owned(),
        own: id_of(&own),
        compatible: id_of(&compatible),
        at_provider: id_of(&at_provider),
    }
}

async fn own(gateway: &Gateway) -> Owned {
    let (client, admin) = (gateway.client(), gateway.admin());
    gateway.credential("openai", OWN).await;
    gateway.node("cellar", &["tide-1"]).await;
    gateway.account_with("anthropic", POOL, json!({"base_url": gateway.emulator.anthropic_url()})).await;
    let hook = json!({"url": format!("{}/hook", gateway.emulator.base_url()), "events": ["budget.alert"]});
    let hook = gateway.make("/v2/webhooks", hook).await;
    let heron = id_of(&gateway.make("/v2/projects", json!({"name": "heron"})).await);
    gateway.make("/v2/policies", json!({"project_id": heron, "profiles": ["byok"]})).await;
    let key = gateway.key(json!({"name": "heron", "aws": true, "project_id": heron})).await;
    let session = made(&client, "/v2/sessions", json!({"end_user": "jo"})).await;
    let (id, branch) = (id_of(&session), session["default_branch_id"].as_str().unwrap());
    let events = format!("/v2/sessions/{id}/branches/{branch}/events");
    let event = json!({"event_type": "user_message", "content": CANARY});
    made(&client, &events, json!({"expected_version": 0, "event": event})).await;
    let content = format!("{CANARY} in an artifact");
    let artifact = json!({"type": "document", "content": content, "project_id": heron});
    let artifact = id_of(&made(&admin, "/v2/artifacts", artifact).await);
    let request = trace_of(&gateway.chat_ok(&scripted(MINI, "text=hello")).await);
    gateway.settled(&request).await;
    let batch = create(&client, &asks(2)).await;
    until_ended(&client, &batch).await;
    gateway.credential("acme", OWN_SECOND).await;
    let kept = keep(gateway).await;
    Owned { heron, key, hook, session, artifact, request, batch, kept }
}

fn has_everything(owned: &Owned, archive: &BTreeMap<String, String>) {
    let one = |name: &str, field: &str, value: &str| {
        let found = rows(archive, name).into_iter().find(|row| row[field] == value);
        found.unwrap_or_else(|| panic!("{name} has no {field} {value}: {}", archive[name]))
    };
    assert_eq!(one("projects.jsonl", "id", &owned.heron)["name"], "heron");
    one("api_keys.jsonl", "id", &owned.key.1);
    one("webhooks.jsonl", "id", &id_of(&owned.hook));
    one("policies.jsonl", "project_id", &owned.heron);
    one("provider_credentials.jsonl", "provider", "openai");
    one("nodes.jsonl", "name", "cellar");
    one("records.jsonl", "id", &owned.request);
    one("audit.jsonl", "action", "data_export.create");
    let branch = owned.session["default_branch_id"].as_str().unwrap();
    assert_eq!(one("sessions.jsonl", "id", &id_of(&owned.session))["end_user"], "jo");
    one("session_branches.jsonl", "id", branch);
    assert_eq!(one("session_events.jsonl", "of", branch)["content"], CANARY);
    let content = one("artifact_contents.jsonl", "of", &owned.artifact)["content"].clone();
    assert_eq!(content, format!("{CANARY} in an artifact"));
    assert_eq!(one("batches.jsonl", "id", &owned.batch)["status"], "ended");
    let results = rows(archive, "batch_items.jsonl");
    let is_whole = |item: &Value| item["batch_id"] == owned.batch.as_str() && item["content"].is_object();
    assert!(results.iter().all(is_whole), "{results:?}");
    assert_eq!(results.iter().filter(|item| item["part"] == "result").count(), 2);
    has_what_is_kept(&owned.kept, archive);
}

/// Answers under idempotency keys, tasks and answers of the responses APIs, with what they said.
fn has_what_is_kept(kept: &Kept, archive: &BTreeMap<String, String>) {
    for (name, field, value) in [
        ("idempotent_answers.jsonl", "request_id", &kept.keyed),
        ("responses.jsonl", "id", &kept.own),
        ("responses.jsonl", "id", &kept.compatible),
    ] {
        let found = rows(archive, name).into_iter().find(|row| row[field] == value.as_str());
        let line = found.unwrap_or_else(|| panic!("{name} has no {value}"));
        assert!(line["content"].is_object() && line["content"].to_string().contains(CANARY), "{line}");
        assert_eq!(line["is_base64"], false);
    }
    let task = rows(archive, "tasks.jsonl").into_iter().find(|row| row["id"] == kept.task.as_str()).unwrap();
    assert!([&task["input"], &task["output"]].iter().all(|part| part.to_string().contains(CANARY)), "{task}");
    let named = rows(archive, "provider_responses.jsonl");
    assert!(named.iter().any(|row| row["id"] == kept.at_provider.as_str()), "{named:?}");
}

/// What was set, and what was shown once, is not in the archive; and content is sealed where it is stored.
fn leaks_nothing(gateway: &Gateway, owned: &Owned, archive: &BTreeMap<String, String>) {
    let hook_secret = owned.hook["secret"].as_str().unwrap();
    let Founded { api_key, admin_key, .. } = &gateway.founded;
    for secret in [OWN, POOL, NODE, &owned.key.0, api_key, admin_key, hook_secret] {
        let leaking = archive.iter().find(|(_, text)| text.contains(secret));
        assert_eq!(leaking.map(|(name, _)| name), None, "it has a secret");
    }
    is_stored_nowhere(gateway, CANARY);
}

/// The same in columns: each file but the manifest begins and ends as Parquet does.
async fn is_in_columns(gateway: &Gateway) {
    let export = exported(gateway, json!({"format": "parquet"})).await;
    let path = gateway.directory().join("columns.tar");
    gateway.cli().run(&["data-export", "save", &id_of(&export), &path.display().to_string()]).ok();
    let script = "import sys, tarfile\n\
        with tarfile.open(sys.argv[1]) as archive:\n    \
            for one in archive:\n        \
                content = archive.extractfile(one).read()\n        \
                is_parquet = content[:4] == content[-4:] == b'PAR1'\n        \
                assert is_parquet == one.name.endswith('.parquet') == (one.name != 'manifest.json'), one.name\n        \
                print(one.name)\n";
    let python = workspace().join(".venv/bin/python");
    let output = Command::new(python).args(["-c", script]).arg(&path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).unwrap();
    assert!(names.contains("records.parquet") && names.contains("session_events.parquet"), "{names}");
    gateway.remove(&format!("{EXPORTS}/{}", id_of(&export))).await;
}

/// An export is its workspace's alone, and tells what it has not.
async fn is_private(gateway: &Gateway, export: &str) {
    let admin = gateway.admin();
    for (body, status, code) in [
        (json!({"format": "csv"}), 400, "invalid_value"),
        (json!({"project_id": "prj_none"}), 404, "not_found"),
    ] {
        problem(&admin.post(EXPORTS, &body).await.unwrap(), status, code);
    }
    let path = format!("{EXPORTS}/{export}");
    problem(&admin.get(&format!("{path}/content?part=9999")).await.unwrap(), 404, "not_found");
    let stranger = gateway.with_key(&gateway.workspace("another").await.admin_key);
    for path in [path.clone(), format!("{path}/content")] {
        problem(&stranger.get(&path).await.unwrap(), 404, "not_found");
    }
    let audit = gateway.get(&format!("/v2/audit?target={export}")).await;
    let acts: Vec<_> = audit["data"].as_array().unwrap().iter().map(|entry| &entry["action"]).collect();
    assert_eq!(acts, ["data_export.read", "data_export.create"], "{audit}");
}

#[tokio::test]
async fn an_archive_has_what_the_workspace_owns_and_no_secret_and_goes_with_a_purge() {
    let gateway = Gateway::start().await;
    let owned = own(&gateway).await;
    let export = exported(&gateway, json!({})).await;
    let archive = save(&gateway, &export, "all.tar");
    assert_eq!(archive.len(), export["files"].as_array().unwrap().len());
    has_everything(&owned, &archive);
    leaks_nothing(&gateway, &owned, &archive);
    is_in_columns(&gateway).await;
    is_private(&gateway, &id_of(&export)).await;

    let of_project = exported(&gateway, json!({"project_id": owned.heron})).await;
    let archive = save(&gateway, &of_project, "heron.tar");
    assert_eq!(rows(&archive, "projects.jsonl").len(), 1);
    assert_eq!(rows(&archive, "artifacts.jsonl").len(), 1);
    for other in ["sessions", "batches", "records", "tasks", "responses", "audit"] {
        assert!(!archive.contains_key(&format!("{other}.jsonl")), "{other} is another project's");
    }

    let purge = gateway.make("/v2/purge-jobs", json!({"session_id": owned.session["id"]})).await;
    let purge = format!("/v2/purge-jobs/{}", id_of(&purge));
    let admin = gateway.admin();
    let receipt = found("the purge to end", async || {
        let receipt = admin.get(&format!("{purge}/receipt")).await.unwrap();
        (receipt.status == 200).then(|| receipt.json())
    })
    .await;
    let line = row(&receipt["processors"], "place", "data_exports");
    has(line, json!({"status": "cleared", "before": 2, "after": 0}));
    problem(&admin.get(&format!("{EXPORTS}/{}", id_of(&export))).await.unwrap(), 404, "not_found");
    gateway.cli().run(&["data-export", "remove", &id_of(&exported(&gateway, json!({})).await), "--yes"]).ok();
    assert_eq!(gateway.get(EXPORTS).await["data"], json!([]));
}

/// A worker may be killed at any moment of an export: it is made anew, and is whole.
#[tokio::test]
async fn an_export_whose_gateway_is_killed_is_made_anew() {
    let mut gateway = Gateway::start().await;
    let id = id_of(&gateway.make(EXPORTS, json!({})).await);
    let early = gateway.admin().get(&format!("{EXPORTS}/{id}/content")).await.unwrap();
    if early.status != 200 {
        problem(&early, 409, "data_export_not_over");
    }
    gateway.crash().await;
    let export = until_status(&gateway.admin(), &format!("{EXPORTS}/{id}"), "completed").await;
    let archive = save(&gateway, &export, "after.tar");
    assert_eq!(archive.len(), export["files"].as_array().unwrap().len());
    assert_eq!(rows(&archive, "projects.jsonl").len(), 1);
}
