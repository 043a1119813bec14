//! Installations that older versions made, kept in `tests/dumps`: this version opens each, and everything that was in it is there.
//! `make dump` keeps another one: `upgrade::an_installation_is_kept` fills it through the older version's own API.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use harness::client::Client;
use harness::postgres::Server;
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::ask::{CHAT, MINI, has, question, refused, trace_of};
use crate::clock::Clock;
use crate::command::{Cli, workspace};
use crate::gateway::{Founded, Gateway, OWN, config, sums};

/// Before anything that was made then ends or begins by itself.
const LATER_MS: i64 = 60_000;
/// Fields that describe the running process: its share of budgets, and its measurements.
const MOVES: [&str; 3] = ["reserved_micros", "free_micros", "learned_limits"];

/// The contents of an installation when it was kept.
#[derive(Serialize, Deserialize)]
pub struct Kept {
    pub founded: Founded,
    pub unix_ms: i64,
    /// Where the provider listened.
    pub upstream: String,
    /// The text of an API key that was revoked.
    pub revoked: String,
    pub usage: Value,
    /// The rows of each collection that the older version listed.
    pub rows: BTreeMap<String, Vec<Value>>,
}

/// Where installations are kept, by schema and database.
pub fn dumps() -> PathBuf {
    workspace().join("tests/dumps")
}

pub fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// Packs a directory into an archive (`-cz .`), or unpacks one (`-xz`).
pub fn tar(how: &str, archive: &Path, directory: &Path, members: &[&str]) {
    let mut tar = Command::new("tar");
    tar.arg(how).arg("-f").arg(archive).arg("-C").arg(directory).args(members);
    let ended = tar.status().unwrap();
    assert!(ended.success(), "{ended}: {}", archive.display());
}

/// The collections, by the paths that list them.
pub fn collections() -> impl Iterator<Item = &'static str> {
    let declared = control::declared().into_iter();
    let listing = declared.filter(|(method, path, _)| *method == Method::GET && !path.contains('{'));
    listing.map(|(_, path, _)| path)
}

/// The rows of a collection, where it is one: objects with ids.
pub async fn rows(admin: &Client, collection: &str) -> Option<Vec<Value>> {
    let mut all = Vec::new();
    let mut after = String::new();
    loop {
        let answer = admin.get(&format!("{collection}?limit=100{after}")).await.unwrap();
        // Null where it is no JSON.
        let page = (answer.status == 200).then(|| answer.json())?;
        let found = page["data"].as_array()?;
        if found.iter().any(|row| !row["id"].is_string()) {
            return None;
        }
        all.extend(found.iter().cloned());
        let Some(next) = page["next_cursor"].as_str() else { return Some(all) };
        after = format!("&cursor={next}");
    }
}

/// This version on an installation as it was kept, a minute after that.
async fn opened(archive: &Path, server: Option<&Server>) -> (Gateway, Kept, Clock) {
    let directory = tempfile::tempdir().unwrap();
    tar("-xz", archive, directory.path(), &[]);
    let kept: Kept =
        serde_json::from_slice(&std::fs::read(directory.path().join("kept.json")).unwrap()).unwrap();
    let clock = Clock::new();
    clock.set_ahead(kept.unix_ms + LATER_MS - now_ms());
    let upstream: http::Uri = kept.upstream.parse().unwrap();
    let mut environment = clock.environment_beside(upstream.port_u16().unwrap());
    environment.push(("TIDEGATE_SUBSCRIPTIONS".to_owned(), "1".to_owned()));
    if let Some(server) = server {
        let name = format!("kept_{}_{}", kept.founded.workspace_id, std::process::id());
        let url = server.database(&name).await.unwrap();
        server.restore(&name, &directory.path().join("database.sql")).await.unwrap();
        environment.push(("TIDEGATE_DATABASE_URL".to_owned(), url));
    }
    let environment: Vec<_> = environment.iter().map(|(name, value)| (&**name, &**value)).collect();
    (Gateway::on_kept(directory, kept.founded.clone(), config(), &environment).await, kept, clock)
}

/// Finds fields that are missing now, or have other values.
fn changes(path: &str, now: Option<&Value>, before: &Value, found: &mut Vec<String>) {
    match (now, before) {
        (Some(Value::Object(now)), Value::Object(before)) => {
            for (name, before) in before.iter().filter(|(name, _)| !MOVES.contains(&name.as_str())) {
                changes(&format!("{path}.{name}"), now.get(name), before, found);
            }
        }
        (Some(Value::Array(now)), Value::Array(before)) if now.len() == before.len() => {
            now.iter().zip(before).for_each(|(now, before)| changes(path, Some(now), before, found));
        }
        (Some(now), before) if now == before => {}
        // Nothing, however it is written.
        (Some(Value::Object(now)), Value::Null) if now.is_empty() => {}
        (Some(now), before) => found.push(format!("{path} was {before} and is {now}")),
        (None, before) => found.push(format!("{path} was {before} and is gone")),
    }
}

async fn serves_on(archive: &Path, server: Option<&Server>) {
    let (mut gateway, kept, _clock) = opened(archive, server).await;
    let mut changed = Vec::new();
    for (collection, before) in &kept.rows {
        let now = rows(&gateway.admin(), collection).await.unwrap_or_default();
        for row in before {
            let now = now.iter().find(|now| now["id"] == row["id"]);
            changes(collection, now, row, &mut changed);
        }
    }
    let before = sums(&gateway.get("/v2/usage").await);
    changes("/v2/usage", Some(&before), &kept.usage, &mut changed);
    assert!(changed.is_empty(), "{}: {changed:#?}", archive.display());
    let answer = gateway.with_key(&kept.revoked).post(CHAT, &question(MINI)).await.unwrap();
    refused(&answer, 401, "revoked_api_key");
    let served = gateway.chat_ok(&question(MINI)).await;
    assert_eq!(gateway.calls(OWN).len(), 1, "the provider's key was sealed then, and is opened now");
    gateway.settled(&trace_of(&served)).await;
    let after = sums(&gateway.get("/v2/usage").await);
    assert_eq!(after["requests"].as_u64(), before["requests"].as_u64().map(|requests| requests + 1));
    gateway.stop().await;
    let database = gateway.setting("TIDEGATE_DATABASE_URL");
    let cli = database.iter().fold(Cli::new(), |cli, url| cli.env("TIDEGATE_DATABASE_URL", url));
    let data = gateway.data().display().to_string();
    has(&cli.run(&["ledger", "verify", "--data-dir", &data, "--json"]).json(), json!({"ok": true}));
}

/// Every kept installation on this database; there is one at least, or nothing is shown.
fn kept_on(database: &str) -> Vec<PathBuf> {
    let files = std::fs::read_dir(dumps()).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> =
        files.filter(|path| path.to_string_lossy().ends_with(&format!("-{database}.tar.gz"))).collect();
    found.sort();
    assert!(!found.is_empty());
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_older_installation_on_sqlite_is_served_with_all_that_it_has() {
    for archive in kept_on("sqlite") {
        serves_on(&archive, None).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_older_installation_on_postgres_is_served_with_all_that_it_has() {
    let server = Server::shared().await.unwrap();
    for archive in kept_on("postgres") {
        serves_on(&archive, Some(&server)).await;
    }
}
