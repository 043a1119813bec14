//! Planted secrets, searched for everywhere a gateway writes, answers or holds in memory.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use harness::bedrock::{REGION, access_keys};
use harness::canary::{Canary, Hit};
use harness::directory::{CLIENT, ENTRA, TENANT};
use harness::process::tidegate;
use harness::{Behaviour, Flavour, KeyState};
use memchr::memmem;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::ask::{CHAT, LLAMA, MINI, question, scripted, streaming, with, words};
use crate::gateway::{CUSTOM, Gateway, LOCAL_MODEL, NODE, OWN, OWN_SECOND, POOL, row};

/// An idempotency key that a client repeats, and the answer stored under it.
const KEYED: &str = "idem-5c0e9f7b31d84a62bb1f";
const ANSWERED: &str = "kept-answer-e7d20a94c5f8";

/// Whether a text, or a secret's raw bytes, is somewhere in these.
pub fn holds(bytes: &[u8], text: impl AsRef<[u8]>) -> bool {
    memmem::find(bytes, text.as_ref()).is_some()
}

/// Fails if a text is in a file of the gateway's data directory.
pub fn is_stored_nowhere(gateway: &Gateway, text: &str) {
    for file in std::fs::read_dir(gateway.data()).unwrap() {
        let file = file.unwrap().path();
        let bytes = if file.is_file() { std::fs::read(&file).unwrap() } else { Vec::new() };
        assert!(!holds(&bytes, text), "{}", file.display());
    }
}

/// The secrets of providers, accounts and nodes.
fn upstream_secrets() -> Canary {
    planted(&[
        ("own", OWN),
        ("second own", OWN_SECOND),
        ("pooled", POOL),
        ("node's", NODE),
        ("custom", CUSTOM),
    ])
}

fn planted(secrets: &[(&str, &str)]) -> Canary {
    secrets.iter().fold(Canary::new(), |canary, (name, secret)| canary.plant(name, secret))
}

/// Other secrets than API keys: of AWS access keys, and of an Entra application.
const AWS: &str = "Zk3tQ9wUxN0r7LsVbYp2cMfEhGjDaKq5vT8nXw1R";
const ENTRA_SECRET: &str = "fQ~8Wb2nLzX4tUvKe0RmYs7Gh1JpDcA9oTiNq5xV";
/// The key that the service account represents at the emulator; the gateway never has it.
const VERTEX: &str = "sk-vertex-0a4f7c21b95e83d6f1c2";
const FULL: &str = "openai/gpt-4o";
const HAIKU: &str = "anthropic/claude-haiku-4-5";
const GEMINI: &str = "google/gemini-2.5-flash";

/// Adds and uses a credential of each kind that exchanges or signs, and a webhook; returns their secrets by
/// name. Exchanged tokens are in memory while they are valid (decision 0023), and nowhere else.
async fn prove_identities(gateway: &Gateway) -> (Canary, Canary) {
    let emulator = &gateway.emulator;
    for key in [AWS, ENTRA_SECRET, VERTEX] {
        emulator.set_key(key, KeyState::Ok);
    }
    let file = emulator.service_account(VERTEX);
    let line = file["private_key"].as_str().and_then(|pem| pem.lines().nth(4)).expect("a key in PEM");
    let application = json!({
        "tenant_id": TENANT, "client_id": CLIENT, "token_url": format!("{}{ENTRA}", emulator.origin()),
        "deployments": {FULL: "my-gpt-4o"},
    });
    let account = json!({"location": "us-east5", "token_url": file["token_uri"]});
    let azure = emulator.base_url_of(Flavour::Azure);
    for (provider, auth, secret, base_url, more) in [
        ("bedrock", "iam_static", access_keys(AWS), emulator.bedrock_url(), json!({"region": REGION})),
        ("vertex", "service_account", file.clone(), emulator.origin(), json!({"config": account})),
        ("azure", "oauth_client", json!(ENTRA_SECRET), azure, json!({"config": application})),
    ] {
        let body = json!({"provider": provider, "auth": auth, "secret": secret, "base_url": base_url});
        gateway.make("/v2/provider-credentials", with(body, more)).await;
    }
    for model in [HAIKU, GEMINI, FULL] {
        gateway.chat_ok(&question(model)).await;
    }
    assert_eq!(emulator.tokens_issued(), 2, "two of them are exchanged");
    let hook = gateway.make("/v2/webhooks", json!({"url": format!("{}/hook", emulator.origin())})).await;
    let signed_with = hook["secret"].as_str().unwrap().strip_prefix("whsec_").unwrap();
    let secrets = planted(&[
        ("secret access key", AWS),
        ("application's secret", ENTRA_SECRET),
        ("service account's key", line),
        ("webhook's secret", signed_with),
    ]);
    let tokens = (1..=2).map(|number| format!("tok-{number}-of-the-emulator"));
    let tokens = tokens.fold(Canary::new().prefix_chars(24), |canary, token| canary.plant("token", &token));
    (secrets, tokens)
}

/// Sends requests of every kind, good and bad; returns the head and body of every answer except those that
/// show a key once.
async fn live_a_little(gateway: &Gateway) -> Vec<u8> {
    let mut output = Vec::new();
    let admin = gateway.admin();
    let credential = gateway.credential("openai", OWN).await;
    gateway.credential("acme", CUSTOM).await;
    gateway.account("together_ai", POOL).await;
    let node = gateway.node("rack", &[LOCAL_MODEL]).await;
    let path = format!("/v2/provider-credentials/{credential}");
    // Before any request that makes the provider refuse the credential.
    let answered = scripted(MINI, &format!("text={ANSWERED}"));
    for body in [answered.clone(), with(answered, json!({"stream": true}))] {
        let key = format!("{KEYED}-{}", body["stream"].is_boolean());
        for replay in ["false", "true"] {
            let keyed = gateway.client().header("idempotency-key", &key);
            let answer = keyed.post(CHAT, &body).await.unwrap();
            assert_eq!((answer.status, answer.header("agent-idempotent-replay")), (200, Some(replay)));
        }
    }
    for body in [
        question(MINI),
        streaming(MINI),
        question(LLAMA),
        question(LOCAL_MODEL),
        question("acme/acme-large"),
        question("none"),
        scripted(MINI, "status=400"),
        scripted(MINI, "chunks=9,cut=mid,usage=every"),
    ] {
        let answer = gateway.chat(&body).await;
        output.extend(format!("{:?}{}", answer.headers, answer.text()).into_bytes());
    }
    output.extend(go_wrong(gateway, &path).await);
    let drained = gateway.patched(&format!("/v2/byoc/nodes/{node}"), json!({"status": "draining"})).await;
    output.extend(drained.body);
    let read = "provider-credentials provider-credentials/kinds accounts byoc/nodes routes api-keys projects \
        workspaces usage analytics requests billing/snapshot audit";
    for path in words(read) {
        output.extend(admin.get(&format!("/v2/{path}")).await.unwrap().body);
    }
    for row in gateway.requests(50).await {
        let path = format!("/v2/requests/{}", row["id"].as_str().unwrap());
        output.extend(admin.get(&path).await.unwrap().body);
    }
    output.extend(gateway.client().get("/metrics").await.unwrap().body);
    output
}

/// A rotation, a refusal in which the provider echoes the key, and secrets sent in the wrong fields.
async fn go_wrong(gateway: &Gateway, path: &str) -> Vec<u8> {
    let (admin, mut output) = (gateway.admin(), Vec::new());
    output.extend(admin.post(&format!("{path}/rotate"), &json!({"secret": OWN_SECOND})).await.unwrap().body);
    // The provider echoes the key in its error message, as some do.
    let echo = Behaviour::status(401).message(format!("Incorrect API key provided: {OWN_SECOND}."));
    gateway.emulator.script(OWN_SECOND, [echo]);
    let misspelt = json!({"provider": "openai", "secret": OWN, "bsae_url": "x"});
    for body in &[misspelt, json!({"provider": "openai", "secret": [OWN]})] {
        output.extend(admin.post("/v2/provider-credentials", body).await.unwrap().must_be(400).body);
    }
    output.extend(gateway.with_key(OWN).post(CHAT, &question(MINI)).await.unwrap().must_be(401).body);
    output.extend(gateway.chat(&question(MINI)).await.must_be(502).body);
    gateway.emulator.set_key(OWN_SECOND, KeyState::Revoked);
    output.extend(admin.post(&format!("{path}/verify"), &json!({})).await.unwrap().body);
    let (json, torn) = ([("content-type", "application/json")], format!("{{\"model\": {OWN}"));
    output.extend(gateway.client().call(http::Method::POST, CHAT, &json, torn).await.unwrap().body);
    output
}

/// Every file below a directory, without the zeros that fill a preallocated journal segment.
fn files_below(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
            continue;
        }
        let mut bytes = std::fs::read(&path).unwrap();
        let zeros = [0; 4_096];
        while bytes.ends_with(&zeros) {
            bytes.truncate(bytes.len() - zeros.len());
        }
        files.push((path.display().to_string(), bytes));
    }
    files
}

fn none(hits: Vec<Hit>) {
    assert!(hits.is_empty(), "found: {hits:?}");
}

#[tokio::test]
async fn planted_secrets_are_nowhere() {
    let environment = [("TIDEGATE_LOG", "trace"), ("TIDEGATE_WORKERS", "1")];
    let mut gateway = Gateway::with(crate::gateway::config(), &environment).await;
    let (identities, tokens) = prove_identities(&gateway).await;
    let output = live_a_little(&gateway).await;
    let upstream = upstream_secrets();
    for canary in [&upstream, &identities, &tokens] {
        none(canary.scan("what was answered", &output));
    }

    // The gateway's own keys begin with eight publicly known characters.
    let (made, _) = gateway.key(json!({"name": "planted"})).await;
    let founded = gateway.founded.clone();
    let ours = [("admin key", &founded.admin_key), ("API key", &founded.api_key), ("made key", &made)];
    let ours =
        ours.into_iter().fold(Canary::new().prefix_chars(16), |canary, (name, key)| canary.plant(name, key));
    none(ours.scan("what was answered", &output));

    let file = gateway.data().join("master.key");
    let master = std::fs::read_to_string(&file).unwrap().trim().to_owned();
    let raw = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, &master);
    let kept = gateway.directory().join("master.key");
    std::fs::rename(&file, &kept).unwrap();
    let mut unsealing = Canary::new().plant("master key", &master);
    if let Ok(raw) = &raw {
        // The key is not text, so its raw bytes are searched for.
        for entry in ["tidegate.db", "tidegate.db-wal"] {
            let bytes = std::fs::read(gateway.data().join(entry)).unwrap_or_default();
            assert!(!holds(&bytes, raw), "{entry} holds the master key");
        }
        let hex: String = raw.iter().map(|byte| format!("{byte:02x}")).collect();
        unsealing = unsealing.plant("master key in hex", &hex);
    }
    none(unsealing.scan("what was answered", &output));
    // What is on disk while the gateway runs, journal and write-ahead log included, and what remains after it
    // stopped.
    let mut files = files_below(&gateway.data());
    for part in ["journal", "tidegate.db-wal"] {
        assert!(files.iter().any(|(name, bytes)| name.contains(part) && bytes.len() > 1_000), "no {part}");
    }
    gateway.stop().await;
    let logged = gateway.process().output();
    let text = String::from_utf8_lossy(&logged).into_owned();
    assert!(text.contains("TRACE") || text.contains("DEBUG"), "nothing was logged: {text}");
    files.extend(files_below(&gateway.data()));
    let kept = Canary::new().plant("idempotency key", KEYED).plant("kept answer", ANSWERED);
    for canary in [&upstream, &identities, &tokens, &ours, &unsealing, &kept] {
        none(canary.scan("the log", &logged));
        for (name, bytes) in &files {
            none(canary.scan(name, bytes));
        }
    }
}

/// Every writable region of a process's memory, one at a time; `None` where the kernel denies access.
fn memory(pid: u32, mut visit: impl FnMut(&str, &[u8])) -> Option<usize> {
    let memory = File::open(format!("/proc/{pid}/mem")).ok()?;
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let mut read = 0;
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let range = line.split(' ').next()?;
        let (start, end) = range.split_once('-')?;
        let (start, end) = (u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?);
        let mut part = vec![0; usize::try_from(end - start).ok()?];
        if memory.read_exact_at(&mut part, start).is_ok() {
            read += part.len();
            visit(line, &part);
        }
    }
    (read > 0).then_some(read)
}

/// The program, started so that its memory may be read: root always may, and any other user owns the user
/// namespace in which it runs.
fn readable_program(directory: &Path) -> PathBuf {
    let program = tidegate().unwrap();
    if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
        return program;
    }
    let script = directory.join("tidegate");
    let line = format!("#!/bin/sh\nexec unshare --user --map-root-user -- '{}' \"$@\"\n", program.display());
    std::fs::write(&script, line).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    script
}

/// Stores a credential over a connection that stays open, and over one whose body arrived after its head.
async fn hand_in_and_stay(gateway: &Gateway, secret: &str) -> [TcpStream; 2] {
    let mut open = Vec::new();
    for apart in [false, true] {
        let name = format!("kept, apart: {apart}");
        let body = json!({"provider": "openai", "display_name": name, "secret": secret}).to_string();
        let head = format!(
            "POST /v2/provider-credentials HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            gateway.founded.admin_key,
            body.len()
        );
        let mut socket = TcpStream::connect(gateway.address()).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let parts = if apart { vec![head.clone(), body.clone()] } else { vec![head.clone() + &body] };
        for part in parts {
            socket.write_all(part.as_bytes()).await.unwrap();
            crate::wait::a_moment().await;
        }
        let mut answer = [0; 12];
        socket.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 201");
        open.push(socket);
    }
    open.try_into().unwrap()
}

#[tokio::test]
async fn an_idle_process_remembers_no_secret_of_its_own() {
    // The process denies access to its own user, so it is started in a way that lets this test read its
    // memory.
    let owned = tempfile::tempdir().unwrap();
    let mut gateway = Gateway::of(readable_program(owned.path()), crate::gateway::config(), &[]).await;
    let (identities, _) = prove_identities(&gateway).await;
    live_a_little(&gateway).await;
    for _ in 0..50 {
        gateway.chat(&question(LLAMA)).await;
    }
    // Held open to the end of the test, as a client with a connection pool would.
    let _open = hand_in_and_stay(&gateway, OWN_SECOND).await;
    let pid = gateway.process().pid();
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    let canary = upstream_secrets();
    // A string that every running process holds: finding it proves that the search works.
    let remembered = gateway.data().display().to_string();
    let (mut is_remembered, mut leaks) = (false, Vec::new());
    let visit = |region: &str, bytes: &[u8]| {
        is_remembered |= holds(bytes, &remembered);
        for hit in [&canary, &identities].into_iter().flat_map(|canary| canary.scan(region, bytes)) {
            let at = usize::try_from(hit.offset).unwrap();
            let before = bytes[at.saturating_sub(120)..at].escape_ascii();
            leaks.push(format!("{} ({:?}) in {region} after \"{before}\"", hit.secret, hit.form));
        }
    };
    let setting = "allow user namespaces (`sysctl kernel.unprivileged_userns_clone=1`)";
    let read = memory(pid, visit)
        .unwrap_or_else(|| panic!("/proc/{pid}/mem can't be read: run the tests as root, or {setting}"));
    assert!(is_remembered && read > 1024 * 1024, "the search did not work: {read} bytes were read");
    assert!(leaks.is_empty(), "{} copies of secrets:\n{}", leaks.len(), leaks.join("\n"));
}

#[tokio::test]
async fn openings_are_counted() {
    let gateway = Gateway::start().await;
    let credential = gateway.credential("openai", OWN).await;
    for _ in 0..5 {
        gateway.chat_ok(&question(MINI)).await;
    }
    let path = format!("/v2/provider-credentials/{credential}");
    crate::wait::until("five openings", async || gateway.get(&path).await["openings"] == 5).await;
    let audit = gateway.get("/v2/audit").await;
    let made = row(&audit["data"], "target", &credential);
    assert!(made["actor"].as_str().unwrap().starts_with("key_") && made["request_id"].is_string(), "{made}");
    assert_ne!(made["at"], Value::Null);
}
