//! Purges: content that was planted in every place is gone after one, whatever interrupts it, and its receipt can be verified
//! by strangers.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use harness::KeyState;
use harness::canary::Canary;
use harness::client::{Answer, Client};
use http::Method;
use serde_json::{Value, json};

use crate::WITHIN;
use crate::ask::{CHAT, MINI, has, scripted, trace_of, until_status};
use crate::canary::holds;
use crate::command::{Cli, workspace};
use crate::gateway::{Gateway, OWN, config, id_of};
use crate::wait::{a_moment, found, until};

pub const JOBS: &str = "/v2/purge-jobs";
/// The keys of a workspace are dropped ten seconds after the last place is purged.
const LONG: Duration = Duration::from_secs(60);
/// What is planted.
pub const SECRET: &str = "heron-canary-5d1e07b3c94f";
const FORM: (&str, &str) = ("content-type", "multipart/form-data; boundary=xyz");

/// Where a project's content was planted, with what reads it.
pub struct Planted {
    key: String,
    idempotent: String,
    task: String,
    response: String,
    stored: String,
    file: String,
    requests: Vec<String>,
}

fn said() -> String {
    format!("text={SECRET}")
}

pub async fn plant(gateway: &Gateway, key: &str) -> Planted {
    let client = || gateway.with_key(key);
    let idempotent = format!("order of {key}");
    let keyed = client().header("idempotency-key", &idempotent);
    let mut answers = vec![keyed.post(CHAT, &scripted(MINI, &said())).await.unwrap()];
    answers.push(client().post("/v1/run", &json!({"app": MINI, "input": {"prompt": SECRET}})).await.unwrap());
    let task = answers[1].json()["data"]["id"].as_str().unwrap().to_owned();
    answers.push(client().post("/v2/responses", &json!({"model": MINI, "input": SECRET})).await.unwrap());
    let response = id_of(&answers[2].json());
    let stored = json!({"model": MINI, "input": SECRET, "store": true});
    answers.push(client().post("/v1/responses", &stored).await.unwrap());
    let stored = id_of(&answers[3].json());
    let part =
        |head: &str, body: &str| format!("--xyz\r\nContent-Disposition: form-data; {head}\r\n\r\n{body}\r\n");
    let form = part("name=\"purpose\"", "user_data")
        + &part("name=\"file\"; filename=\"f.txt\"", SECRET)
        + "--xyz--\r\n";
    answers.push(client().call(Method::POST, "/v1/files", &[FORM], form).await.unwrap());
    let file = id_of(&answers[4].json());
    for answer in &answers {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let requests: Vec<_> = answers.iter().map(trace_of).collect();
    for request in &requests {
        gateway.settled(request).await;
    }
    Planted { key: key.to_owned(), idempotent, task, response, stored, file, requests }
}

/// How many of the places still give what was planted.
pub async fn readable(gateway: &Gateway, planted: &Planted) -> Vec<&'static str> {
    let client = || gateway.with_key(&planted.key);
    let mut found = Vec::new();
    for (name, path) in [
        ("task", format!("/tasks/{}", planted.task)),
        ("response", format!("/v2/responses/{}", planted.response)),
        ("stored", format!("/v1/responses/{}", planted.stored)),
        ("file", format!("/v1/files/{}", planted.file)),
    ] {
        let answer = client().get(&path).await.unwrap();
        if answer.status == 200 {
            found.push(name);
        } else {
            assert_eq!(answer.status, 404, "{name}: {}", answer.text());
        }
    }
    found
}

/// Whether a repeated request is given its first answer.
pub async fn is_replayed(gateway: &Gateway, planted: &Planted) -> bool {
    let keyed = gateway.with_key(&planted.key).header("idempotency-key", &planted.idempotent);
    let answer = keyed.post(CHAT, &scripted(MINI, &said())).await.unwrap().must_be(200);
    answer.header("agent-idempotent-replay") == Some("true")
}

pub async fn start(gateway: &Gateway, scope: Value) -> String {
    id_of(&gateway.make(JOBS, scope).await)
}

/// The job once it is over.
async fn over(gateway: &Gateway, id: &str) -> Value {
    let path = format!("{JOBS}/{id}");
    loop {
        let job = gateway.get(&path).await;
        match job["status"].as_str().unwrap() {
            "completed" | "failed" => return job,
            _ => a_moment().await,
        }
    }
}

pub async fn receipt_of(gateway: &Gateway, id: &str) -> Value {
    let job = tokio::time::timeout(LONG, over(gateway, id)).await.expect("the purge ends");
    assert_eq!(job["status"], "completed", "{job}");
    gateway.get(&format!("{JOBS}/{id}/receipt")).await
}

/// The receipt's lines of a place.
pub fn lines<'a>(receipt: &'a Value, place: &str) -> Vec<&'a Value> {
    receipt["processors"].as_array().unwrap().iter().filter(|line| line["place"] == place).collect()
}

pub fn run_python(script: &str, arguments: &[&str]) -> (bool, String) {
    let interpreter = workspace().join(".venv/bin/python");
    let output = Command::new(interpreter).arg(script).args(arguments).output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

/// Slices of all sealed content in a SQLite database, as they are in its file.
pub fn sealed(data: &Path) -> Vec<Vec<u8>> {
    let query = "import sqlite3, sys\nbase = sqlite3.connect(sys.argv[1])\n\
        for table in ('kept_answers', 'kept_turns', 'state_contents', 'run_contents'):\n    \
        for (sealed,) in base.execute(f'SELECT sealed FROM {table} WHERE sealed IS NOT NULL'): print(sealed[-40:-8].hex())\n";
    let script = data.parent().unwrap().join("sealed.py");
    std::fs::write(&script, query).unwrap();
    let (fine, text) =
        run_python(&script.display().to_string(), &[&data.join("tidegate.db").display().to_string()]);
    assert!(fine, "{text}");
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    text.lines().map(|line| line.as_bytes().chunks(2).map(byte).collect()).collect()
}

/// How many of these are in the files of a directory.
pub fn found_in(directory: &Path, slices: &[Vec<u8>]) -> usize {
    let files: Vec<_> = walk(directory).iter().map(|file| std::fs::read(file).unwrap_or_default()).collect();
    slices.iter().filter(|slice| files.iter().any(|bytes| holds(bytes, slice))).count()
}

fn walk(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() { files.extend(walk(&path)) } else { files.push(path) }
    }
    files
}

/// A file with a receipt, in a directory that holds nothing else.
pub fn write_receipt(directory: &Path, name: &str, receipt: &str) -> String {
    let empty = directory.join(name);
    std::fs::create_dir_all(&empty).unwrap();
    let file = empty.join("receipt.json");
    std::fs::write(&file, receipt).unwrap();
    file.display().to_string()
}

#[tokio::test]
async fn what_was_planted_in_a_project_is_gone_from_every_place_and_another_projects_stays() {
    let gateway = Gateway::with_own().await;
    let project = id_of(&gateway.make("/v2/projects", json!({"name": "heron"})).await);
    let (key, _) =
        gateway.key(json!({"name": "heron", "scopes": ["inference"], "project_id": project})).await;
    let others = plant(&gateway, &gateway.founded.api_key).await;
    let before = sealed(&gateway.data());
    let planted = plant(&gateway, &key).await;
    let of_project: Vec<_> =
        sealed(&gateway.data()).into_iter().filter(|one| !before.contains(one)).collect();
    assert_eq!((before.len(), of_project.len()), (4, 4));
    let all = ["task", "response", "stored", "file"];
    let expected = (all.to_vec(), 4);
    assert_eq!((readable(&gateway, &planted).await, found_in(&gateway.data(), &of_project)), expected);
    // A dry run counts, and changes nothing.
    let scope = json!({"project_id": project});
    let counted = |dry: &Value, place: &str| {
        let of_place = dry["places"].as_array().unwrap().iter().filter(|one| one["place"] == place);
        of_place.map(|one| one["before"].as_u64().unwrap()).sum::<u64>()
    };
    // Two requests more than were planted: those that read the response and the file, once they are booked.
    let dry = found("the requests that read", async || {
        let dry = gateway.make(&format!("{JOBS}?dry_run=true"), scope.clone()).await;
        (counted(&dry, "providers") >= 7).then_some(dry)
    })
    .await;
    let places =
        ["idempotent_answers", "kept_turns", "tasks", "provider_objects", "provider_responses", "providers"];
    assert_eq!(places.map(|place| counted(&dry, place)), [1, 1, 3, 1, 1, 7], "{dry}");
    assert_eq!(gateway.get(JOBS).await["data"], json!([]));
    assert_eq!(readable(&gateway, &planted).await, all);

    let id = start(&gateway, scope).await;
    let receipt = receipt_of(&gateway, &id).await;
    let seen = (readable(&gateway, &planted).await, readable(&gateway, &others).await);
    assert_eq!(seen, (vec![], all.to_vec()));
    assert_eq!((found_in(&gateway.data(), &of_project), found_in(&gateway.data(), &before)), (0, 4));
    assert_eq!((is_replayed(&gateway, &others).await, is_replayed(&gateway, &planted).await), (true, false));
    assert_eq!(Canary::new().plant("planted", SECRET).scan_path(&gateway.data()).unwrap(), []);
    for (place, status, guarantee) in [
        ("idempotent_answers", "cleared", "verified_physical_purge"),
        ("kept_turns", "cleared", "verified_physical_purge"),
        ("provider_objects", "cleared", "verified_namespace_invalidation"),
        ("provider_responses", "cleared", "verified_namespace_invalidation"),
        ("providers", "expires", "best_effort_expiry"),
    ] {
        let [line] = lines(&receipt, place)[..] else { panic!("{place}: {receipt}") };
        assert_eq!((&line["status"], &line["guarantee"]), (&json!(status), &json!(guarantee)), "{line}");
    }
    // It is called at another address than its provider's, of which nobody states anything.
    assert_eq!(lines(&receipt, "providers")[0]["retention_days"], Value::Null, "{receipt}");
    assert_eq!((&receipt["guarantee"], &receipt["complete"]), (&json!("best_effort_expiry"), &json!(true)));
    // The emulator keeps no file of the project, and that of the other.
    let at_provider = Client::new(gateway.emulator.origin()).bearer(OWN);
    let files = at_provider.get("/v1/files").await.unwrap().json();
    assert_eq!(files["data"].as_array().unwrap().len(), 1, "{files}");
    audited(&gateway, &id).await;
}

/// Who asked for it, and that it ended.
pub async fn audited(gateway: &Gateway, id: &str) {
    let entries = gateway.get("/v2/audit?limit=100").await;
    let acts = entries["data"].as_array().unwrap().iter().filter(|entry| entry["target"] == id);
    let acts: Vec<_> = acts.map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(acts, ["purge.complete", "purge.request"]);
}

#[cfg(feature = "control")]
#[tokio::test]
async fn requests_keys_times_and_the_workspace_are_scopes_of_their_own() {
    let gateway = Gateway::with_own().await;
    let (key, key_id) = gateway.key(json!({"name": "one", "project_id": gateway.founded.project_id})).await;
    let of_key = plant(&gateway, &key).await;
    let planted = plant(&gateway, &gateway.founded.api_key).await;
    let task = planted.requests[1].clone();
    let purge = async |scope: Value| receipt_of(&gateway, &start(&gateway, scope).await).await;
    let first = purge(json!({"request_ids": [task]})).await;
    assert_eq!(readable(&gateway, &planted).await, ["response", "stored", "file"], "{first}");
    assert_eq!(lines(&first, "providers")[0]["before"], 1);
    let second = purge(json!({"key_id": key_id})).await;
    let seen = (readable(&gateway, &of_key).await, readable(&gateway, &planted).await.len());
    assert_eq!(seen, (vec![], 3), "{second}");
    // Content from a time on, or before a time.
    let created = gateway.get(&format!("{JOBS}?limit=1")).await["data"][0]["created_at"].clone();
    purge(json!({"from": created})).await;
    assert_eq!(readable(&gateway, &planted).await.len(), 3);
    let third = purge(json!({"workspace": true})).await;
    assert_eq!(readable(&gateway, &planted).await, [""; 0], "{third}");
    assert!(!is_replayed(&gateway, &planted).await);
    // Each receipt names the one before.
    assert_eq!((&first["sequence"], &third["sequence"]), (&json!(1), &json!(4)));
    let files = [("first", &first), ("second", &second), ("third", &third)];
    let [first, second, third] =
        files.map(|(name, receipt)| write_receipt(gateway.directory(), name, &receipt.to_string()));
    Cli::new().run(&["receipt", "verify", &second, "--after", &first]).ok();
    assert!(Cli::new().run(&["receipt", "verify", &third, "--after", &first]).failed(1).contains("follow"));
}

#[tokio::test]
async fn a_receipt_is_verified_by_strangers_and_one_changed_byte_is_found() {
    let gateway = Gateway::with_own().await;
    plant(&gateway, &gateway.founded.api_key).await;
    let id = start(&gateway, json!({"workspace": true})).await;
    over(&gateway, &id).await;
    let printed = gateway.cli().run(&["purge", "receipt", &id]).ok();
    let receipt: Value = serde_json::from_str(&printed).unwrap();
    let key = gateway.get("/v2/audit/key").await["public_key"].as_str().unwrap().to_owned();
    let file = write_receipt(gateway.directory(), "alone", &printed);
    let verify = |file: &str, key: &[&str]| Cli::new().run(&[&["receipt", "verify", file], key].concat());
    let told = verify(&file, &[]).ok();
    assert!(told.contains(&key) && told.contains("the key inside the document"), "{told}");
    assert!(verify(&file, &["--key", &key]).ok().contains("the given key"));
    let json = Cli::new().run(&["receipt", "verify", &file, "--json", "--key", &key]).json();
    assert_eq!((&json["holds"], &json["guarantee"]), (&json!(true), &receipt["guarantee"]));
    let stranger = "a".repeat(64);
    verify(&file, &["--key", &stranger]).failed(1);
    let script = workspace().join("docs/purge_verify.py").display().to_string();
    let (holds, text) = run_python(&script, &[&file, &key]);
    assert!(holds && text.contains("holds: best_effort_expiry"), "{text}");
    assert!(!run_python(&script, &[&file, &stranger]).0);
    // One byte in each part of the document.
    let compact = receipt.to_string();
    let places =
        ["best_effort", "\"before\":1", "cleared", "ws_", "pjb_", "\"sequence\":1", "previous_hash\":\"0"];
    for (number, part) in places.iter().enumerate() {
        let at = compact.find(part).unwrap_or_else(|| panic!("no {part} in {compact}")) + part.len() - 1;
        let mut changed = compact.clone().into_bytes();
        changed[at] ^= 1;
        let file = write_receipt(
            gateway.directory(),
            &format!("changed {number}"),
            &String::from_utf8(changed).unwrap(),
        );
        let why = verify(&file, &[]).failed(1);
        assert!(why.contains("does not hold"), "{part}: {why}");
        assert!(!run_python(&script, &[&file]).0, "{part}");
    }
    let twice = compact.replacen('{', "{\"guarantee\":\"verified_physical_purge\",", 1);
    let file = write_receipt(gateway.directory(), "twice", &twice);
    assert!(verify(&file, &[]).failed(1).contains("twice"));
    assert!(!run_python(&script, &[&file]).0);
}

#[tokio::test]
async fn nobody_purges_what_others_own() {
    let gateway = Gateway::with_own().await;
    let planted = plant(&gateway, &gateway.founded.api_key).await;
    let others = gateway.workspace("others").await;
    let admin = || gateway.with_key(&others.admin_key);
    let key = id_of(&gateway.get("/v2/api-keys?limit=1").await["data"][0]);
    for (scope, named) in [
        (json!({"project_id": gateway.founded.project_id}), "project"),
        (json!({"key_id": key}), "key"),
        (json!({"request_ids": [planted.requests[0]]}), "request"),
        (json!({"end_user": "jo"}), "end user"),
        (json!({"session_id": "ses_1"}), "session"),
        (json!({"artifact_ids": ["art_1"]}), "artifact"),
    ] {
        let answer = admin().post(JOBS, &scope).await.unwrap();
        assert_eq!(answer.status, 404, "{named}: {}", answer.text());
    }
    let id = id_of(&admin().post(JOBS, &json!({"workspace": true})).await.unwrap().json());
    until_status(&admin(), &format!("{JOBS}/{id}"), "completed").await;
    assert_eq!(readable(&gateway, &planted).await.len(), 4);
    assert!(is_replayed(&gateway, &planted).await);
    for path in [format!("{JOBS}/{id}"), format!("{JOBS}/{id}/receipt")] {
        assert_eq!(gateway.admin().get(&path).await.unwrap().status, 404);
        assert_eq!(gateway.client().get(&path).await.unwrap().status, 403);
    }
    for (scope, code) in [
        (json!({}), "missing_field"),
        (json!({"workspace": true, "key_id": key}), "invalid_value"),
        (json!({"workspace": true, "from": "2026-01-01"}), "invalid_value"),
        (json!({"from": "2026-01-02", "to": "2026-01-01"}), "invalid_value"),
        (json!({"end_user": "jo", "key_id": key}), "invalid_value"),
    ] {
        refused_purge(&gateway.admin().post(JOBS, &scope).await.unwrap(), 400, code);
    }
}

fn refused_purge(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, &answer.json()["code"]), (status, &json!(code)), "{}", answer.text());
}

#[cfg(feature = "control")]
#[tokio::test]
async fn what_a_provider_refuses_to_delete_is_tried_again_and_stated() {
    let gateway = Gateway::with_own().await;
    let planted = plant(&gateway, &gateway.founded.api_key).await;
    gateway.emulator.set_key(OWN, KeyState::Exhausted);
    let id = start(&gateway, json!({"request_ids": [planted.requests[4]]})).await;
    let early = gateway.admin().get(&format!("{JOBS}/{id}/receipt")).await.unwrap();
    refused_purge(&early, 409, "purge_not_over");
    let receipt = receipt_of(&gateway, &id).await;
    let [line] = lines(&receipt, "provider_objects")[..] else { panic!("{receipt}") };
    has(line, json!({"status": "failed", "after": 1, "guarantee": "best_effort_expiry"}));
    assert!(line["error"].as_str().is_some_and(|error| !error.is_empty()), "{line}");
    assert_eq!(receipt["complete"], false);
    let job = gateway.get(&format!("{JOBS}/{id}")).await;
    let place =
        job["places"].as_array().unwrap().iter().find(|one| one["place"] == "provider_objects").unwrap();
    assert_eq!((&place["status"], &place["tries"]), (&json!("failed"), &json!(4)), "{place}");
    // Its name is still known, so that it can be purged once its provider works again.
    gateway.emulator.set_key(OWN, KeyState::Ok);
    assert_eq!(readable(&gateway, &planted).await.len(), 4);
    let receipt =
        receipt_of(&gateway, &start(&gateway, json!({"request_ids": [planted.requests[4]]})).await).await;
    assert_eq!(lines(&receipt, "provider_objects")[0]["status"], "cleared", "{receipt}");
}

/// A batch whose provider does not say what it used stays, and the receipt says so, although batches expire by themselves.
#[cfg(feature = "control")]
#[tokio::test]
async fn a_batch_that_is_not_booked_stays_and_is_stated() {
    let gateway = Gateway::with_own().await;
    crate::batches::made(&gateway.client(), &crate::batches::asks(1)).await;
    gateway.emulator.set_key(OWN, KeyState::Exhausted);
    let receipt = receipt_of(&gateway, &start(&gateway, json!({"workspace": true})).await).await;
    let of_batch = |receipt: &Value| {
        let line =
            lines(receipt, "provider_objects").into_iter().find(|line| line["kind"] == "batch").cloned();
        line.unwrap_or_else(|| panic!("{receipt:#}"))
    };
    let line = of_batch(&receipt);
    assert_eq!((&line["status"], &line["after"]), (&json!("failed"), &json!(1)), "{line}");
    assert!(line["error"].as_str().is_some_and(|error| !error.is_empty()), "{line}");
    assert_eq!(receipt["complete"], false, "{receipt}");
}

#[cfg(feature = "control")]
#[tokio::test]
async fn another_gateway_gives_nothing_that_was_purged() {
    let gateway = Gateway::over_postgres("purge", config(), &[]).await;
    gateway.credential("openai", OWN).await;
    gateway.cache_answers().await;
    let (_other, origin) = gateway.replica().await;
    let there = || Client::new(&origin).bearer(&gateway.founded.api_key).within(WITHIN);
    let planted = plant(&gateway, &gateway.founded.api_key).await;
    // The other gateway has it in memory.
    let asked = scripted(MINI, "text=cached");
    let cache = |answer: &Answer| answer.header("agent-cache").unwrap_or("none").to_owned();
    let holds = async || cache(&there().post(CHAT, &asked).await.unwrap()) == "hit";
    until("the other gateway to keep answers", holds).await;
    let read = |path: String| async move { there().get(&path).await.unwrap().status };
    let (task, response) =
        (format!("/tasks/{}", planted.task), format!("/v2/responses/{}", planted.response));
    assert_eq!((read(task.clone()).await, read(response.clone()).await), (200, 200));
    let receipt =
        receipt_of(&gateway, &start(&gateway, json!({"project_id": gateway.founded.project_id})).await).await;
    let holds = async || read(task.clone()).await == 404 && read(response.clone()).await == 404;
    until("the other gateway to know", holds).await;
    assert_eq!(cache(&there().post(CHAT, &asked).await.unwrap()), "miss");
    assert_eq!(readable(&gateway, &planted).await, [""; 0]);
    for place in ["idempotent_answers", "kept_turns", "response_cache"] {
        for line in lines(&receipt, place) {
            assert_eq!(line["guarantee"], "verified_namespace_invalidation", "{line}");
        }
    }
}

#[cfg(feature = "control")]
#[tokio::test]
async fn a_restored_backup_is_purged_again_before_it_serves() {
    let gateway = Gateway::with_own().await;
    let planted = plant(&gateway, &gateway.founded.api_key).await;
    let client = gateway.client();
    let kept = client
        .post("/v2/artifacts", &json!({"type": "document", "content": "kept ".repeat(50)}))
        .await
        .unwrap();
    let session = client.post("/v2/sessions", &json!({"name": "kept"})).await.unwrap();
    assert_eq!((kept.status, session.status), (201, 201));
    let slices = sealed(&gateway.data());
    let path = |name: &str| gateway.directory().join(name).display().to_string();
    let (data, backup) = (path("data"), path("backup"));
    Cli::new().run(&["backup", "--with-master-key", "--to", &backup, "--data-dir", &data]).ok();
    let receipt = receipt_of(&gateway, &start(&gateway, json!({"workspace": true})).await).await;
    assert_eq!((readable(&gateway, &planted).await.len(), found_in(&gateway.data(), &slices)), (0, 0));
    write_receipt(gateway.directory(), "receipts", &receipt.to_string());
    let forged = receipt.to_string().replace("\"workspace\":true", "\"workspace\":false");
    write_receipt(gateway.directory(), "forged", &forged);
    let restore = |to: &str, receipts: &str, more: &[&str]| {
        let restore = ["restore", &backup, "--data-dir", &path(to), "--receipts", &path(receipts)];
        Cli::new().run(&[&restore[..], more].concat())
    };
    let other_key = "ab".repeat(32);
    let forged = restore("refused", "forged", &[]);
    for refused in [forged, restore("by another", "receipts", &["--receipt-key", &other_key])] {
        assert!(refused.failed(1).contains("isn't a receipt that holds"));
    }
    let serve = ["serve", "--listen", "127.0.0.1:0", "--data-dir", &path("refused")];
    let is_there = gateway.directory().join("refused").join("tidegate.db").exists();
    assert!(!is_there || Cli::new().run(&serve).code != 0);
    Cli::new().run(&["restore", &backup, "--data-dir", &path("as it was")]).ok();
    assert_eq!(found_in(&gateway.directory().join("as it was"), &slices), 5, "the backup has it");
    restore("restored", "receipts", &[]).ok();
    assert_eq!(found_in(&gateway.directory().join("restored"), &slices), 0);
}
