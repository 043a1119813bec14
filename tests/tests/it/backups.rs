//! Backups: made while the gateway serves, killed in the middle, tampered with, and restored with their
//! books.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use harness::postgres::Server;
use serde_json::{Value, json};

use crate::ask::{CHAT, MINI, question, trace_of, words};
use crate::command::Cli;
use crate::gateway::{Gateway, OWN, config, serve};
use crate::wait::{a_moment, until_a_random_moment};

fn path_text(path: &Path) -> String {
    path.display().to_string()
}

/// The recomputed totals of a directory's books.
fn books(cli: &Cli, data: &Path) -> Value {
    let report = cli.run(&["ledger", "verify", "--data-dir", &path_text(data), "--json"]).json();
    assert_eq!(report["ok"], true, "{report}");
    report
}

/// The environment that a restored directory needs to serve.
fn environment() -> Vec<(String, String)> {
    [("TIDEGATE_ALLOW_PRIVATE_UPSTREAMS", "1"), ("TIDEGATE_WORKERS", "1")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_made_under_load_and_what_was_answered_before_is_in_it() {
    let gateway = Gateway::with_own().await;
    let mut before = Vec::new();
    for _ in 0..30 {
        before.push(trace_of(&gateway.chat_ok(&question(MINI)).await));
    }
    let (data, backup) = (gateway.data(), gateway.directory().join("backup"));
    let client = gateway.client();
    let load = tokio::spawn(async move {
        loop {
            client.post(CHAT, &question(MINI)).await.unwrap().must_be(200);
            a_moment().await;
        }
    });
    let command = format!("backup --to {} --data-dir {} --json", backup.display(), data.display());
    let made = tokio::task::spawn_blocking(move || Cli::new().run(&words(&command))).await.unwrap();
    assert!(!load.is_finished(), "nothing that served was disturbed");
    load.abort();
    assert!(made.stderr.contains("The master key is not in it"), "{}", made.stderr);
    assert_eq!(made.json()["master_key"], false);
    assert!(!backup.join("master.key").exists());
    let canary = harness::canary::Canary::new().prefix_chars(16).plant("own", OWN);
    let canary = canary.plant("admin", &gateway.founded.admin_key);
    assert_eq!(canary.scan_path(&backup).unwrap(), []);

    let restored = gateway.directory().join("restored");
    let key = path_text(&data.join("master.key"));
    let restore = ["restore", &path_text(&backup), "--data-dir", &path_text(&restored), "--master-key", &key];
    Cli::new().run(&restore).ok();
    Cli::new().run(&restore).failed(6);
    let (mut process, origin) = serve(&restored, &environment()).await;
    let admin =
        harness::client::Client::new(&origin).bearer(&gateway.founded.admin_key).within(crate::WITHIN);
    for trace in &before {
        let answer = admin.get(&format!("/v2/requests/{trace}")).await.unwrap();
        assert_eq!((answer.status, &answer.json()["outcome"]), (200, &json!("completed")), "{trace}");
    }
    // The given key decrypts the secrets.
    admin.post(CHAT, &question(MINI)).await.unwrap().must_be(200);
    process.stop(crate::WITHIN).await.unwrap();
    let report = books(&Cli::new(), &restored);
    assert!(report["records"].as_u64().unwrap() > 30, "{report}");
}

#[tokio::test]
async fn a_killed_one_is_never_taken_for_whole_and_a_touched_one_is_refused() {
    let mut gateway = Gateway::with_own().await;
    for _ in 0..20 {
        gateway.chat_ok(&question(MINI)).await;
    }
    gateway.wait_for_usage(20).await;
    gateway.stop().await;
    let (data, root) = (gateway.data(), gateway.directory().to_owned());
    let wanted = books(&Cli::new(), &data);
    let restore =
        |from: &Path, to: &Path| Cli::new().run(&["restore", &path_text(from), "--data-dir", &path_text(to)]);
    let mut whole = 0;
    for attempt in 0..16_u64 {
        let backup = root.join(format!("killed-{attempt}"));
        let mut child = Command::new(harness::process::tidegate().unwrap())
            .args(["backup", "--with-master-key"])
            .args(["--to", &path_text(&backup), "--data-dir", &path_text(&data)])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until_a_random_moment(Duration::from_millis(attempt * 12)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        let to = root.join(format!("restored-{attempt}"));
        if backup.exists() {
            whole += 1;
            restore(&backup, &to).ok();
            assert_eq!(books(&Cli::new(), &to), wanted, "{attempt}");
        } else {
            restore(&backup, &to).failed(3);
            assert!(!to.exists(), "nothing was begun");
        }
        for part in parts(&root) {
            restore(&part, &root.join("never")).failed(3);
            std::fs::remove_dir_all(part).unwrap();
        }
    }
    println!("{whole} of 16 were whole when they were killed");

    let backup = root.join("backup");
    let make = format!("backup --to {} --data-dir {}", backup.display(), data.display());
    let made = Cli::new().run(&words(&format!("{make} --with-master-key")));
    assert!(made.stderr.contains("whoever has it can open every secret"), "{}", made.stderr);
    made.ok();
    Cli::new().run(&words(&make)).failed(6);
    // Nothing is restored into a non-empty directory.
    let full = root.join("full");
    std::fs::create_dir(&full).unwrap();
    std::fs::write(full.join("theirs"), "x").unwrap();
    assert!(restore(&backup, &full).failed(6).contains("not empty"));
    restore(&backup, &data).failed(6);
    assert_eq!(books(&Cli::new(), &data), wanted, "what was there stays");
    // A changed byte anywhere is detected before anything is written.
    let database = backup.join("tidegate.db");
    let mut bytes = std::fs::read(&database).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&database, bytes).unwrap();
    let to = root.join("from-touched");
    assert!(restore(&backup, &to).failed(3).contains("SHA-256"));
    assert!(!to.exists());
}

fn parts(root: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path_text(path).contains(".part-")).collect()
}

#[tokio::test]
async fn a_wrong_master_key_is_found_at_once() {
    let gateway = Gateway::start().await;
    let (data, root) = (gateway.data(), gateway.directory());
    let backup = root.join("backup");
    Cli::new().run(&["backup", "--to", &path_text(&backup), "--data-dir", &path_text(&data)]).ok();
    let other = root.join("other");
    Cli::new().run(&["init", "--data-dir", &path_text(&other), "--json"]).ok();
    let restored = root.join("restored");
    let key = path_text(&other.join("master.key"));
    let error = Cli::new()
        .run(&["restore", &path_text(&backup), "--data-dir", &path_text(&restored), "--master-key", &key])
        .failed(1);
    assert!(error.contains("master key does not open"), "{error}");
    let serve = ["serve", "--listen", "127.0.0.1:0", "--data-dir", &path_text(&restored)];
    let refused = Cli::new().run(&serve).failed(1);
    assert!(refused.contains("not complete"), "{refused}");
}

#[tokio::test]
async fn a_database_of_its_own_is_dumped_and_brought_back() {
    there_and_back("dump", &[]).await;
}

#[tokio::test]
async fn a_database_of_its_own_is_backed_up_without_its_tools() {
    there_and_back("rows", &["--without-pg-dump"]).await;
}

/// Backup and restore through a file with this extension.
async fn there_and_back(form: &str, more: &[&str]) {
    let server = Server::shared().await.unwrap();
    let name = format!("b_{form}_{}", std::process::id());
    let password = "tide-password-77aa";
    let address = async |name: &str| {
        server.database(name).await.unwrap().replace("tidegate@", &format!("tidegate:{password}@"))
    };
    let (url, fresh) = (address(&name).await, address(&format!("{name}_back")).await);
    let mut gateway = Gateway::with(config(), &[("TIDEGATE_DATABASE_URL", &url)]).await;
    gateway.credential("openai", OWN).await;
    for _ in 0..5 {
        gateway.chat_ok(&question(MINI)).await;
    }
    gateway.wait_for_usage(5).await;
    let (data, root) = (gateway.data(), gateway.directory().to_owned());
    let backup = root.join("backup");
    let cli = |url: &str| Cli::new().env("TIDEGATE_DATABASE_URL", url);
    let (to, from) = (path_text(&backup), path_text(&data));
    let make = ["backup", "--with-master-key", "--to", &to, "--data-dir", &from];
    let made = cli(&url).run(&[&make[..], more].concat());
    assert!(!format!("{made:?}").contains(password), "{made:?}");
    made.ok();
    assert!(backup.join(format!("database.{form}")).exists());
    gateway.stop().await;
    let wanted = books(&cli(&url), &data);
    let restored = root.join("restored");
    let restore = ["restore", &path_text(&backup), "--data-dir", &path_text(&restored)];
    // A non-empty database is never overwritten.
    assert!(cli(&url).run(&restore).failed(1).contains("not empty"));
    std::fs::remove_dir_all(&restored).unwrap();
    assert!(Cli::new().run(&restore).failed(1).contains("TIDEGATE_DATABASE_URL"));
    std::fs::remove_dir_all(&restored).unwrap();
    cli(&fresh).run(&restore).ok();
    assert_eq!(books(&cli(&fresh), &restored), wanted);
    let mut environment = environment();
    environment.push(("TIDEGATE_DATABASE_URL".into(), fresh));
    let (mut process, origin) = serve(&restored, &environment).await;
    let client = harness::client::Client::new(&origin).bearer(&gateway.founded.api_key).within(crate::WITHIN);
    client.post(CHAT, &question(MINI)).await.unwrap().must_be(200);
    process.stop(crate::WITHIN).await.unwrap();
}
