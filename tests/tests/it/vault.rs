//! Sealed secrets: a tampered row is refused and audited, a wrong master key opens nothing, and rotation
//! loses nothing.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use harness::{Config, Emulator, KeyState};
use serde_json::{Value, json};

use crate::ask::{CHAT, MINI, has, problem, question, refused, words};
use crate::command::{Cli, workspace};
use crate::gateway::{Gateway, OWN, OWN_SECOND, POOL, config};
use crate::wait::a_moment;

/// Edits the database as an attacker with disk access would, while the gateway is down.
pub fn edit(gateway: &Gateway, script: &str) -> String {
    let database = gateway.data().join("tidegate.db").display().to_string();
    let program = format!("import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1])\n{script}\ndb.commit()\n");
    let output = Command::new(workspace().join(".venv/bin/python"))
        .args(["-c", &program, &database])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The credential can't be used: nothing is sent upstream, and the audit log records it.
async fn refused_and_audited(gateway: &Gateway, credential: &str) {
    let calls = gateway.emulator.journal().len();
    let answer = gateway.chat(&question(MINI)).await;
    let error = refused(&answer, 502, "credential_unreadable");
    assert!(error["message"].as_str().unwrap().contains(credential), "{error}");
    assert_eq!(gateway.emulator.journal().len(), calls, "something was sent");
    let deadline = std::time::Instant::now() + crate::WITHIN;
    loop {
        let audit = gateway.get("/v2/audit").await;
        let is_audited = audit["data"].as_array().unwrap().iter().any(|entry| {
            entry["target"].as_str().is_some_and(|target| target.contains(credential))
                && entry["action"].as_str().is_some_and(|action| action.contains("refused"))
        });
        if is_audited {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "the refusal is not in the audit: {audit}");
        a_moment().await;
    }
}

#[tokio::test]
async fn a_tampered_row_is_refused() {
    let mut gateway = Gateway::start().await;
    let credential = gateway.credential("openai", OWN).await;
    gateway.chat_ok(&question(MINI)).await;
    gateway.stop().await;
    edit(
        &gateway,
        "rows = db.execute('select id, secret_sealed from credentials').fetchall()\nfor id, sealed in rows:\n    sealed = sealed[:-1] + bytes([sealed[-1] ^ 1])\n    db.execute('update credentials set secret_sealed = ? where id = ?', (sealed, id))",
    );
    gateway.start_again().await;
    refused_and_audited(&gateway, &credential).await;
    // A new secret repairs it.
    let path = format!("/v2/provider-credentials/{credential}/rotate");
    gateway.admin().post(&path, &json!({"secret": OWN_SECOND})).await.unwrap().must_be(200);
    gateway.chat_ok(&question(MINI)).await;
}

#[tokio::test]
async fn swapped_rows_are_refused() {
    let mut gateway = Gateway::start().await;
    let first = gateway.credential("openai", OWN).await;
    gateway.credential("acme", OWN_SECOND).await;
    gateway.stop().await;
    edit(
        &gateway,
        "columns = 'secret_version, secret_key_id, secret_sealed'\n(one, other) = db.execute(f'select id, {columns} from credentials order by id').fetchall()\nfor target, source in ((one, other), (other, one)):\n    db.execute('update credentials set secret_version = ?, secret_key_id = ?, secret_sealed = ? where id = ?', source[1:] + target[:1])",
    );
    gateway.start_again().await;
    refused_and_audited(&gateway, &first).await;
}

#[tokio::test]
async fn a_row_put_back_is_refused() {
    let mut gateway = Gateway::start().await;
    let credential = gateway.credential("openai", OWN).await;
    gateway.stop().await;
    let copy = gateway.directory().join("older.db");
    edit(&gateway, &format!("db.execute(\"vacuum into '{}'\")", copy.display()));
    let read = "'select secret_version, secret_key_id, secret_sealed from credentials'";
    let old = edit(&gateway, &format!("print(repr(db.execute({read}).fetchone()))"));
    gateway.start_again().await;
    let path = format!("/v2/provider-credentials/{credential}/rotate");
    let rotated = gateway.admin().post(&path, &json!({"secret": OWN_SECOND})).await.unwrap().json();
    assert_eq!(rotated["secret_version"], 2, "{rotated}");
    gateway.chat_ok(&question(MINI)).await;
    assert_eq!(gateway.calls(OWN_SECOND).len(), 1);
    gateway.stop().await;
    let update = "'update credentials set secret_version = ?, secret_key_id = ?, secret_sealed = ?'";
    edit(&gateway, &format!("db.execute({update}, {old})"));
    gateway.start_again().await;
    refused_and_audited(&gateway, &credential).await;
    assert_eq!(gateway.calls(OWN).len(), 0);
    // An older copy of everything can't be told from a restored one: it is served, and noticed until somebody accepts it.
    gateway.stop().await;
    let data = gateway.data();
    for log in ["tidegate.db-wal", "tidegate.db-shm"] {
        let _ = std::fs::remove_file(data.join(log));
    }
    std::fs::write(data.join("tidegate.db"), std::fs::read(copy).unwrap()).unwrap();
    gateway.start_again().await;
    gateway.crash().await;
    gateway.chat_ok(&question(MINI)).await;
    let ready = gateway.client().get("/health/ready").await.unwrap().text();
    assert!(ready.starts_with("degraded: the database is at version "), "{ready}");
    has(&gateway.get("/v2/attention").await["data"][0], json!({"kind": "gateway_degraded"}));
    let doctor = ["doctor", "--data-dir", &data.display().to_string()];
    let found = gateway.cli().run(&doctor).failed(11);
    let note = data.join("database-behind");
    assert!(found.contains("✗ database: the database is at version"), "{found}");
    assert!(found.contains(&format!("`rm {}` accepts it", note.display())), "{found}");
    let audit = gateway.get("/v2/audit?chain=installation&action=database.rollback_noticed").await;
    assert_eq!(audit["data"].as_array().unwrap().len(), 1, "once, over a restart: {audit}");
    std::fs::remove_file(note).unwrap();
    gateway.crash().await;
    assert_eq!(gateway.client().get("/health/ready").await.unwrap().text(), "ready\n");
}

#[tokio::test]
async fn another_master_key_opens_nothing() {
    let mut gateway = Gateway::with_own().await;
    gateway.stop().await;
    let data = gateway.data().display().to_string();
    let serve = ["serve", "--listen", "127.0.0.1:0", "--data-dir", &data];
    let other = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let stderr = Cli::new().env("TIDEGATE_MASTER_KEY", other).run(&serve).failed(1);
    assert!(stderr.contains("master key") && !stderr.contains(other), "{stderr}");
    let stderr = Cli::new().env("TIDEGATE_MASTER_KEY", "short").run(&serve).failed(1);
    assert!(stderr.contains("master key"), "{stderr}");
    // The key may also come from a command; a key file must be private to its user.
    let file = gateway.data().join("master.key");
    let moved = gateway.directory().join("elsewhere.key");
    std::fs::rename(&file, &moved).unwrap();
    let stderr = Cli::new().run(&serve).failed(1);
    assert!(stderr.contains("master"), "{stderr}");
    let environment = [("TIDEGATE_MASTER_KEY_COMMAND".to_owned(), format!("cat {}", moved.display()))];
    let (process, _) = crate::gateway::serve(&gateway.data(), &environment).await;
    drop(process);
    std::fs::rename(&moved, &file).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let stderr = Cli::new().run(&serve).failed(1);
    assert!(stderr.contains("600") || stderr.contains("chmod"), "{stderr}");
}

#[tokio::test]
async fn a_changed_address_demands_the_secret() {
    let gateway = Gateway::start().await;
    let thief = Emulator::start(Config::default().keys([OWN])).await.unwrap();
    let credential = gateway.credential("openai", OWN).await;
    let account = gateway.account("openai", POOL).await;
    let node = gateway.node("rack", &["tide-1"]).await;
    for path in [
        format!("/v2/provider-credentials/{credential}"),
        format!("/v2/accounts/{account}"),
        format!("/v2/byoc/nodes/{node}"),
    ] {
        let answer = gateway.patched(&path, json!({"base_url": thief.base_url()})).await;
        let document = problem(&answer, 409, "base_url_needs_secret");
        assert_eq!(document["param"], "secret", "{path}: {document}");
    }
    gateway.chat_ok(&question(MINI)).await;
    assert_eq!(thief.journal().len(), 0);
    let path = format!("/v2/provider-credentials/{credential}");
    let changed = gateway.patch(&path, json!({"base_url": thief.base_url(), "secret": OWN})).await;
    assert_eq!(changed["secret_version"], 2, "{changed}");
    gateway.chat_ok(&question(MINI)).await;
    assert_eq!(thief.journal().len(), 1);
}

#[tokio::test]
async fn an_address_within_is_refused_unless_the_operator_allows_it() {
    let gateway = Gateway::with(config(), &[("TIDEGATE_ALLOW_PRIVATE_UPSTREAMS", "0")]).await;
    let urls = "http://127.0.0.1:9/v1 http://localhost:9/v1 http://[::1]/v1 http://2130706433/v1 \
        http://169.254.169.254/v1 http://[::ffff:a9fe:a9fe]/v1 http://10.1.2.3/v1 http://u:p@8.8.8.8/v1 \
        ftp://8.8.8.8/v1 file:///etc/passwd";
    let credential = |url: &str| json!({"provider": "acme", "secret": OWN, "base_url": url});
    for url in words(urls) {
        let node = json!({"name": "rack", "base_url": url});
        for (path, body) in [("/v2/provider-credentials", credential(url)), ("/v2/byoc/nodes", node)] {
            let answer = gateway.admin().post(path, &body).await.unwrap();
            assert_eq!(answer.status, 400, "{path} {url}: {}", answer.text());
        }
    }
    let body = credential("http://127.0.0.1:9/v1");
    let text = gateway.admin().post("/v2/provider-credentials", &body).await.unwrap().text();
    assert!(text.contains("TIDEGATE_ALLOW_PRIVATE_UPSTREAMS"), "the setting is not named: {text}");
}

/// The operator may forbid an address that was allowed when the credential was created. The credential then
/// serves nothing, and reports why.
#[tokio::test]
async fn a_credential_whose_address_is_refused_now_is_invalid_until_it_is_allowed_again() {
    let mut gateway = Gateway::start().await;
    let path = format!("/v2/provider-credentials/{}", gateway.credential("openai", OWN).await);
    let verify = format!("{path}/verify");
    let calls_before = gateway.emulator.journal().len();
    gateway.stop().await;
    gateway.set("TIDEGATE_ALLOW_PRIVATE_UPSTREAMS", "0");
    gateway.start_again().await;
    let credential = gateway.admin().post(&verify, &json!({})).await.unwrap().must_be(200).json();
    assert_eq!(credential["status"], "invalid", "{credential}");
    assert!(credential["last_error"].as_str().unwrap().contains("127.0.0.1"), "{credential}");
    assert_eq!(gateway.get(&path).await["status"], "invalid");
    assert_eq!(gateway.emulator.journal().len(), calls_before, "it was asked all the same");
    gateway.stop().await;
    gateway.set("TIDEGATE_ALLOW_PRIVATE_UPSTREAMS", "1");
    gateway.start_again().await;
    has(&gateway.admin().post(&verify, &json!({})).await.unwrap().json(), json!({"status": "active"}));
    gateway.chat_ok(&question(MINI)).await;
}

#[tokio::test]
async fn rotation_under_load_fails_no_request() {
    let gateway = Gateway::start().await;
    let credential = gateway.credential("openai", OWN).await;
    let over = Arc::new(AtomicBool::new(false));
    let clients = (0..6).map(|number| {
        let (client, over) = (gateway.client(), Arc::clone(&over));
        tokio::spawn(async move {
            let mut served = 0_u64;
            while !over.load(Ordering::Relaxed) {
                let body = crate::ask::with(question(MINI), json!({"stream": number % 2 == 0}));
                client.post(CHAT, &body).await.unwrap().must_be(200);
                served += 1;
            }
            served
        })
    });
    let clients: Vec<_> = clients.collect();
    let path = format!("/v2/provider-credentials/{credential}/rotate");
    for turn in 1..=20_u64 {
        let secret = if turn % 2 == 1 { OWN_SECOND } else { OWN };
        let rotated = gateway.admin().post(&path, &json!({"secret": secret})).await.unwrap().must_be(200);
        assert_eq!(rotated.json()["secret_version"], turn + 1);
    }
    over.store(true, Ordering::Relaxed);
    let mut served = 0;
    for client in clients {
        served += client.await.unwrap();
    }
    assert_eq!(gateway.wait_for_usage(served).await["failed_requests"], 0);
    let both = (gateway.calls(OWN).len(), gateway.calls(OWN_SECOND).len());
    assert!(both.0 > 0 && both.1 > 0, "{both:?}");
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn verifying_keeps_state_and_error() {
    let gateway = Gateway::start().await;
    let credential = gateway.credential("openai", OWN).await;
    let path = format!("/v2/provider-credentials/{credential}");
    let verify = async || gateway.admin().post(&format!("{path}/verify"), &json!({})).await.unwrap().json();
    let good = verify().await;
    assert_eq!((&good["status"], &good["last_error"]), (&json!("active"), &Value::Null), "{good}");
    assert!(good["last_verified_at"].is_string(), "{good}");
    let journal = gateway.emulator.journal();
    let seen = (journal.len(), journal[0].method.as_str(), journal[0].path.as_str());
    assert_eq!(seen, (1, "GET", "/v1/models"));
    assert_eq!(gateway.requests(5).await.len(), 0, "nothing is generated, nothing is billed");

    gateway.emulator.set_key(OWN, KeyState::Revoked);
    let bad = verify().await;
    assert_eq!(bad["status"], "invalid", "{bad}");
    let error = bad["last_error"].as_str().unwrap();
    assert!(error.contains("refused") && !error.contains(OWN), "{bad}");
    assert_eq!(bad["last_verified_at"], good["last_verified_at"], "a refused key is not verified");
    let kept = gateway.get(&path).await;
    assert_eq!((&kept["status"], &kept["last_error"]), (&bad["status"], &bad["last_error"]), "{kept}");
    // An invalid credential counts as absent, before any call.
    let calls = gateway.emulator.journal().len();
    refused(&gateway.chat(&question(MINI)).await, 404, "model_not_served");
    assert_eq!(gateway.emulator.journal().len(), calls);

    gateway.admin().post(&format!("{path}/rotate"), &json!({"secret": OWN_SECOND})).await.unwrap();
    assert_eq!(verify().await["status"], "active");
    gateway.chat_ok(&question(MINI)).await;
    // An unreachable provider proves nothing about the credential.
    gateway.emulator.refuse().await;
    let away = verify().await;
    assert_eq!(away["status"], "active", "{away}");
    assert!(away["last_error"].is_string(), "{away}");
    let rotated = gateway.admin().post(&format!("{path}/rotate"), &json!({"secret": OWN})).await.unwrap();
    assert_eq!(rotated.json()["last_verified_at"], Value::Null, "{}", rotated.text());
    let unverified = verify().await;
    assert_eq!(unverified["last_verified_at"], Value::Null, "nobody accepted it: {unverified}");
}

#[tokio::test]
async fn a_secret_that_is_not_accepted_replaces_none() {
    let gateway = Gateway::start().await;
    let credential = gateway.credential("openai", OWN).await;
    let path = format!("/v2/provider-credentials/{credential}");
    let rotate = async |body: Value| gateway.admin().post(&format!("{path}/rotate"), &body).await.unwrap();
    for body in [json!({"secret": "sk-nobodys"}), json!({"secret": "sk-nobodys", "verify": true})] {
        let refused = rotate(body).await;
        problem(&refused, 400, "secret_not_accepted");
        assert!(refused.text().contains("The old secret still serves."), "{}", refused.text());
    }
    let changed = json!({"secret": "sk-nobodys", "verify": true});
    problem(&gateway.patched(&path, changed).await, 400, "secret_not_accepted");
    has(&gateway.get(&path).await, json!({"secret_version": 1, "status": "active"}));
    gateway.chat_ok(&question(MINI)).await;
    let rotated = rotate(json!({"secret": OWN_SECOND, "verify": true})).await.json();
    assert!(rotated["secret_version"] == 2 && rotated["last_verified_at"].is_string(), "{rotated}");
    gateway.chat_ok(&question(MINI)).await;
    assert_eq!((gateway.calls(OWN).len(), gateway.calls(OWN_SECOND).len()), (1, 1));
    // Who can't ask the provider decides whether to replace it all the same.
    gateway.emulator.refuse().await;
    problem(&rotate(json!({"secret": OWN, "verify": true})).await, 400, "secret_not_accepted");
    assert_eq!(rotate(json!({"secret": OWN})).await.json()["secret_version"], 3);
    assert_eq!(rotate(json!({"secret": "sk-nobodys", "verify": false})).await.json()["secret_version"], 4);
}

#[tokio::test]
async fn what_is_to_be_verified_serves_once_it_was_accepted() {
    let gateway = Gateway::start().await;
    let base_url = gateway.emulator.base_url();
    // An address at which nothing is proves nothing about the secret.
    let elsewhere = format!("{base_url}/nowhere");
    let body = json!({"provider": "openai", "secret": OWN, "base_url": elsewhere, "verify": true});
    let made = gateway.make("/v2/provider-credentials", body).await;
    assert_eq!((&made["status"], &made["last_verified_at"]), (&json!("unverified"), &Value::Null), "{made}");
    assert!(made["last_error"].is_string(), "{made}");
    refused(&gateway.chat(&question(MINI)).await, 404, "model_not_served");
    let path = format!("/v2/provider-credentials/{}", made["id"].as_str().unwrap());
    // A status that is sent back as it was read changes nothing.
    gateway.patch(&path, json!({"status": "unverified", "metadata": {"team": "a"}})).await;
    let mended = gateway.patch(&path, json!({"base_url": base_url, "secret": OWN, "verify": true})).await;
    assert!(mended["status"] == "active" && mended["last_verified_at"].is_string(), "{mended}");
    gateway.chat_ok(&question(MINI)).await;
    // Its owner may enable a credential that was never accepted.
    let nowhere = json!({"base_url": "http://127.0.0.1:9/v1", "verify": true});
    let path = format!("/v2/provider-credentials/{}", gateway.credential_with("acme", OWN, nowhere).await);
    assert_eq!(gateway.get(&path).await["status"], "unverified");
    assert_eq!(gateway.patched(&path, json!({"status": "active"})).await.json()["status"], "active");
}
