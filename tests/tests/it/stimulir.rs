//! Stimulir's published client, unmodified: its command line, its Python SDK and its MCP server against a gateway, with what
//! they print equal to what `/v2` says. The client is proprietary: it is run here, and nothing of it is kept.

use std::process::Stdio;

use harness::Model;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::ChildStdout;

use crate::WITHIN;
use crate::ask::{MINI, has, question};
use crate::command::{Done, workspace};
use crate::first_request::echo;
use crate::gateway::{Gateway, OWN, OWN_SECOND, POOL, config, id_of, row};
use crate::person::Person;
use crate::runtimes::Attic;
use crate::wait::{found, until};

/// The client with a home of its own, in which it keeps its files.
pub struct Client {
    pub home: tempfile::TempDir,
    origin: String,
    environment: Vec<(String, String)>,
}

impl Client {
    /// A client that is told nothing but where the gateway is.
    pub fn at(gateway: &Gateway) -> Self {
        let home = tempfile::tempdir().unwrap();
        Self { home, origin: gateway.origin.clone(), environment: Vec::new() }
    }

    pub fn with(gateway: &Gateway, key: &str) -> Self {
        Self::at(gateway).env("STIMULIR_API_KEY", key)
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn command(&self, program: &str) -> tokio::process::Command {
        let program = workspace().join(".venv/bin").join(program);
        assert!(program.exists(), "run scripts/python-env.sh first");
        let mut command = tokio::process::Command::new(program);
        command.env_clear().env("HOME", self.home.path()).env("PATH", "/usr/bin:/bin");
        command.env("NO_PROXY", "*").env("NO_COLOR", "1").env("TERM", "dumb").env("COLUMNS", "240");
        command.env("STIMULIR_API_BASE", &self.origin).current_dir(self.home.path());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    pub async fn run(&self, arguments: &[&str]) -> Done {
        self.run_with(arguments, "").await
    }

    pub async fn run_with(&self, arguments: &[&str], stdin: &str) -> Done {
        let mut child = self.command("stimulir").args(arguments).spawn().unwrap();
        let mut pipe = child.stdin.take().unwrap();
        let _ = pipe.write_all(stdin.as_bytes()).await;
        drop(pipe);
        let output = tokio::time::timeout(WITHIN * 2, child.wait_with_output()).await.unwrap().unwrap();
        Done {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    pub async fn json(&self, arguments: &[&str]) -> Value {
        self.run(&[arguments, &["--json"]].concat()).await.json()
    }

    /// What it shows of an error, in one line.
    pub async fn refused(&self, arguments: &[&str], status: u16) -> String {
        let done = self.run(arguments).await;
        let shown = unboxed(&format!("{}{}", done.stdout, done.stderr));
        assert_eq!(done.code, 1, "{arguments:?}: {shown}");
        assert!(shown.contains(&format!("HTTP {status} ")), "{arguments:?}: {shown}");
        shown
    }
}

/// A message without the frame that the client draws around it.
pub fn unboxed(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || "─│╭╮╰╯".contains(c));
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

fn columns(row: &Value) -> [&Value; 4] {
    ["requests", "input_tokens", "output_tokens", "cost_micros"].map(|name| &row[name])
}

#[tokio::test]
async fn models_are_listed_and_asked_and_who_calls_is_told() {
    let gateway = Gateway::with_own().await;
    let client = Client::with(&gateway, &gateway.founded.api_key);
    let listed = client.run(&["models"]).await;
    assert!(listed.stdout.contains("gpt-4o-mini"), "{}{}", listed.stdout, listed.stderr);
    let said = client.run(&["infer", "chat", "hello there", "--model", MINI]).await.ok();
    assert!(said.contains("You said: hello there") && said.contains("out tokens"), "{}", said);
    let streamed = client.run(&["infer", "chat", "hello there", "--model", MINI, "--stream"]).await;
    assert_eq!((streamed.code, streamed.stdout.trim()), (0, "You said: hello there"), "{}", streamed.stderr);
    let raw = client.json(&["infer", "chat", "hello", "--model", MINI, "--max-tokens", "16"]).await;
    assert_eq!(raw["choices"][0]["message"]["role"], "assistant", "{raw}");
    // A model that nobody serves is an error that says what to do.
    let unknown = client.refused(&["infer", "chat", "hello", "--model", "nobody/nothing"], 404).await;
    assert!(unknown.contains("nobody/nothing"), "{unknown}");
    let client = Client::with(&gateway, &gateway.founded.admin_key);
    let me = client.json(&["whoami"]).await;
    has(&me, json!({"auth_kind": "api_key", "api_base": gateway.origin}));
    let listed = client.json(&["workspace", "list"]).await;
    assert_eq!(listed[0]["id"], gateway.get("/v2/me").await["workspace_id"], "{listed}");
    let projects = client.json(&["project", "list"]).await;
    let ours = gateway.get("/v2/projects").await;
    has(&projects[0], json!({"id": ours["data"][0]["id"], "is_default": true}));
    // A key under the prefix that the client looks for is the same key.
    let prefixed = Client::at(&gateway)
        .env("STIMULIR_ACCESS_TOKEN", &format!("hyb_{}", gateway.founded.admin_key))
        .env("STIMULIR_WORKSPACE_ID", &gateway.founded.workspace_id);
    has(&prefixed.json(&["whoami"]).await, json!({"user_id": me["user_id"], "auth_kind": "api_key"}));
    prefixed.run(&["infer", "chat", "hello", "--model", MINI]).await.ok();
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn keys_are_made_used_and_revoked() {
    let gateway = Gateway::with_own().await;
    let client = Client::with(&gateway, &gateway.founded.admin_key);
    let made = client.json(&["keys", "create", "--name", "their key", "--expires-in-days", "7"]).await;
    let (key, id) = (made["key"].as_str().unwrap(), made["id"].as_str().unwrap());
    assert!(key.starts_with("hyb_tg_") && made["env"] == "prod", "{made}");
    let ours = gateway.get(&format!("/v2/api-keys/{id}")).await;
    has(&ours, json!({"name": "their key", "environment": "production"}));
    has(&ours, json!({"scopes": ["inference", "read"], "expires_at": made["expires_at"]}));

    let theirs = Client::with(&gateway, key);
    theirs.run(&["infer", "chat", "hello", "--model", MINI]).await.ok();
    assert_eq!(theirs.run(&["usage"]).await.code, 0);
    let forbidden = theirs.refused(&["keys", "create", "--name", "another"], 403).await;
    assert!(forbidden.contains("admin"), "{forbidden}");

    let listed = client.json(&["keys", "list"]).await;
    let key = row(&listed["api_keys"], "id", id);
    assert_eq!((&key["status"], key.get("key")), (&json!("active"), None), "{key}");
    client.run(&["keys", "revoke", id, "--yes"]).await.ok();
    let listed = client.json(&["keys", "list"]).await;
    assert!(!listed.to_string().contains(id), "{listed}");
    assert!(client.json(&["keys", "list", "--include-revoked"]).await.to_string().contains(id));
    let refused = theirs.refused(&["infer", "chat", "hello", "--model", MINI], 401).await;
    assert!(refused.contains("revoked"), "{refused}");
    theirs.refused(&["usage"], 401).await;

    // Amounts are dollars here, and no rate to pence is known.
    let pence = ["keys", "create", "--name", "limited", "--credit-limit-pence", "100"];
    assert!(client.refused(&pence, 501).await.contains("/v2/budgets"));
    client.refused(&["keys", "revoke", "key_00000000000000000000000000000000", "--yes"], 404).await;
    assert!(!client.json(&["keys", "list", "--include-revoked"]).await.to_string().contains("limited"));
}

#[tokio::test]
async fn provider_credentials_are_kept_and_verified() {
    let gateway = Gateway::start().await;
    let client = Client::with(&gateway, &gateway.founded.admin_key);
    // The client knows no addresses, so this one is at the emulator only because /v2 put it there.
    let id = gateway.credential("openai", OWN).await;
    let listed = client.json(&["byok", "list"]).await;
    let row = &listed["credentials"][0];
    has(row, json!({"id": id, "label": "openai of ours"}));
    has(&client.json(&["byok", "verify", &id]).await, json!({"status": "valid", "last_error": null}));
    let bad = gateway.credential("nebius", "sk-nobodys-0000000000000000000000000000").await;
    assert_eq!(client.json(&["byok", "verify", &bad]).await["status"], "invalid");
    let table = client.run(&["byok", "list"]).await;
    assert!(table.stdout.contains("valid") && !table.stdout.contains(OWN), "{}", table.stdout);
    assert_eq!(client.run(&["byok", "remove", &bad, "--yes"]).await.code, 0);
    client.refused(&["byok", "verify", &bad], 404).await;
    // The client's names of providers are known. One that can't be reached keeps its secret all the same.
    let add = ["byok", "add", "--provider", "google_gemini", "--label", "theirs", "--secret", OWN_SECOND];
    let added = client.json(&add).await;
    let ours = gateway.get(&format!("/v2/provider-credentials/{}", id_of(&added))).await;
    assert_eq!((&ours["provider"], &added["label"]), (&json!("gemini"), &json!("theirs")), "{added}");
    assert!(!added.to_string().contains(OWN_SECOND), "{added}");
    let lacking = ["byok", "add", "--provider", "azure_openai", "--label", "theirs", "--secret", "x"];
    client.refused(&lacking, 400).await;
}

#[tokio::test]
async fn amounts_are_in_pounds_where_a_rate_is_known() {
    let (rate, day) = ("TIDEGATE_STIMULIR_POUNDS_PER_DOLLAR", "TIDEGATE_STIMULIR_POUNDS_DAY");
    let gateway = Gateway::with(config(), &[(rate, "0.5"), (day, "2026-11-26")]).await;
    gateway.account("openai", POOL).await;
    gateway.chat_ok(&question(MINI)).await;
    let client = Client::with(&gateway, &gateway.founded.admin_key);
    let summary = found("the request to be booked", async || {
        let summary = client.json(&["usage", "--window", "7d"]).await;
        (summary["totals"]["requests"] == 1).then_some(summary)
    })
    .await;
    let totals = &summary["totals"];
    let micros = totals["cost_micros"].as_i64().unwrap();
    assert!(micros > 0, "{summary}");
    let half = micros / 2 + i64::from(micros % 4 == 3);
    has(totals, json!({"cost_micro_gbp": half, "cost_gbp": half as f64 / 1_000_000.0}));
    assert_eq!(summary["exchange_rate"], json!({"gbp_per_usd": "0.5", "day": "2026-11-26"}), "{summary}");
    let snapshot = client.json(&["billing", "snapshot"]).await;
    assert_eq!(snapshot["mtd"]["cost_micro_gbp"], half, "{snapshot}");
    assert!(snapshot["mtd"]["by_mode"][0]["cost_pence"].is_i64(), "{snapshot}");
}

#[tokio::test]
async fn usage_and_bills_are_those_of_v2() {
    let gateway = Gateway::with_own().await;
    gateway.node("theirs", &["tide-1"]).await;
    let asking = Client::with(&gateway, &gateway.founded.api_key);
    for model in [MINI, MINI, "tide-1"] {
        asking.run(&["infer", "chat", "hello", "--model", model]).await.ok();
    }
    let client = Client::with(&gateway, &gateway.founded.admin_key);
    let ours = found("the requests to be booked", async || {
        let sums = gateway.get("/v2/usage?window=7d").await["data"][0].clone();
        (sums["requests"] == 3).then_some(sums)
    })
    .await;
    for group in ["model", "provider", "day"] {
        let theirs = client.json(&["usage", "--window", "7d", "--group-by", group]).await;
        assert_eq!(columns(&theirs["totals"]), columns(&ours), "{theirs}");
        let points = theirs["points"].as_array().unwrap();
        let requests = points.iter().map(|point| point["requests"].as_u64().unwrap());
        assert_eq!(requests.sum::<u64>(), 3, "{theirs}");
        assert!(points.iter().all(|point| point["label"].is_string()), "{theirs}");
        let pounds = theirs["totals"].get("cost_gbp");
        assert_eq!((&theirs["currency"], pounds), (&json!("USD"), None), "{theirs}");
    }
    assert_eq!(client.run(&["usage", "--window", "month"]).await.code, 0);

    let month = gateway.get("/v2/billing/snapshot").await;
    let snapshot = client.json(&["billing", "snapshot"]).await;
    assert_eq!(columns(&snapshot["mtd"]), columns(&month["mtd"]), "{snapshot}");
    assert_eq!(snapshot["period_start"], month["period_start"]);
    let modes = |snapshot: &Value| -> Vec<Value> {
        let rows = snapshot["mtd"]["by_mode"].as_array().unwrap();
        rows.iter().map(|row| json!([row["mode"], row["requests"], row["output_tokens"]])).collect()
    };
    assert_eq!(modes(&snapshot), modes(&month));
    let shown = client.run(&["billing", "snapshot"]).await.stdout;
    for mode in ["mi", "byok", "byoc"] {
        assert!(shown.contains(mode), "{shown}");
    }
    has(&client.json(&["billing", "reconcile"]).await, json!({"status": "reconciled", "requests": 3}));

    let file = client.home.path().join("events.json");
    let path = file.display().to_string();
    client.run(&["billing", "export-events", "--output", &path, "--mode", "byoc"]).await.ok();
    let events: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let event = &events["events"][0];
    has(&events, json!({"count": 1, "/events/0/mode": "byoc", "/events/0/status": "completed"}));
    let request = gateway.get(&format!("/v2/requests/{}", id_of(event))).await;
    let settled_us = request["timeline"]["settled_us"].as_u64().unwrap();
    assert!(event["latency_ms"].as_u64().unwrap() * 1000 <= settled_us, "{event} {request}");
}

/// Runs one of the scripts that drive the client's Python packages; returns what it prints.
pub async fn drive(client: &Client, script: &str, arguments: &[&str]) -> String {
    let mut command = client.command("python");
    let child = command.arg(workspace().join("tests/sdk").join(script)).args(arguments).spawn().unwrap();
    let output = tokio::time::timeout(WITHIN * 10, child.wait_with_output()).await.unwrap().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{stdout}\n{}", String::from_utf8_lossy(&output.stderr));
    stdout
}

/// A gateway whose emulator also paints and speaks, and a key such as the client's own keys are.
pub async fn of_every_kind() -> (Gateway, String) {
    let served = config().model(Model::image("gpt-image-1-mini")).model(Model::speech("gpt-4o-mini-tts"));
    let gateway = Gateway::with(served, &[]).await;
    gateway.credential("openai", OWN).await;
    let (key, _) = gateway.key(json!({"name": "theirs", "scopes": ["inference", "read"]})).await;
    (gateway, key)
}

#[tokio::test]
async fn the_python_sdk_calls_models_and_reads_what_it_did() {
    let (gateway, key) = of_every_kind().await;
    let client = Client::at(&gateway);
    let arguments = [&*gateway.origin, &key, MINI];
    let driven: Value = serde_json::from_str(&drive(&client, "stimulir_sdk.py", &arguments).await).unwrap();
    assert_eq!(driven["agent"], json!(["success", "You said: Tides of Brest", null]), "{driven}");
    assert!(driven["models"].to_string().contains("gpt-4o-mini") && driven["image"] == 1, "{driven}");
    has(&driven, json!({"adapters": [], "jobs": [], "peers": [], "stored": "The tide is high"}));
    has(&driven, json!({"objects": [[true, "tides.txt", 16]], "folders": [[1, 16]], "left": []}));
    assert_eq!(driven["prompts"][0], 501, "{driven}");
    assert!(driven["prompts"][1].as_str().unwrap().contains("/v2/artifacts"), "{driven}");
    // The provider is sent none of the client's own fields, and the tag is the request's.
    let sent = gateway.calls(OWN).into_iter().find(|call| call.path.ends_with("/chat/completions")).unwrap();
    let sent: Value = serde_json::from_slice(&sent.body).unwrap();
    assert_eq!((sent.get("tags"), sent.get("stimulir")), (None, None), "{sent}");
    assert_eq!(gateway.emulator.violations(), []);
    until("the tagged request is booked", async || {
        gateway.get("/v2/requests?tag=journey").await["data"][0]["operation"] == "chat"
    })
    .await;
}

#[tokio::test]
async fn the_mcp_server_of_the_client_has_its_tools() {
    let (gateway, key) = of_every_kind().await;
    let client = Client::at(&gateway);
    let driven = drive(&client, "stimulir_mcp.py", &[&gateway.origin, &key, MINI]).await;
    let driven: Value = serde_json::from_str(&driven).unwrap();
    assert_eq!(driven["infer"], json!([false, "You said: hello there"]), "{driven}");
    assert!(driven["models"][1].as_str().unwrap().contains("gpt-4o-mini"), "{driven}");
    assert!(driven["speak"][1].as_str().unwrap().starts_with("audio/"), "{driven}");
    let hosted: Value = serde_json::from_str(driven["speak_to_file"][1].as_str().unwrap()).unwrap();
    let path = hosted["audio_url"].as_str().unwrap().strip_prefix(&*gateway.origin).unwrap();
    let heard = harness::client::Client::new(&gateway.origin).get(path).await.unwrap();
    assert!(heard.status == 200 && !heard.body.is_empty(), "{hosted}: {}", heard.status);
    assert!(driven["transcribe"][1].as_str().unwrap().contains("I heard 200 bytes"), "{driven}");
    let usage: Value = serde_json::from_str(driven["usage"][1].as_str().unwrap()).unwrap();
    assert!(usage["events"].is_array(), "{usage}");
    assert!(driven["list_prompts"][1].as_str().unwrap().starts_with("gateway error (501)"), "{driven}");
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn speech_pictures_and_recordings_go_through() {
    let (gateway, key) = of_every_kind().await;
    let client = Client::with(&gateway, &key);
    let speak = ["voice", "tts", "--output", "said.mp3", "--voice", "alloy"];
    client.run_with(&speak, "The tide is high").await.ok();
    assert!(std::fs::metadata(client.home.path().join("said.mp3")).unwrap().len() > 0);
    std::fs::write(client.home.path().join("heard.wav"), b"a recording").unwrap();
    let heard = client.json(&["voice", "stt", "heard.wav", "--model", "openai/whisper-1"]).await;
    assert!(heard["text"].as_str().unwrap().contains("I heard 11 bytes"), "{heard}");
    // A stream of sound has no counterpart, and neither has a session whose address names no model.
    let raw = gateway.with_key(&key);
    let stream = raw.get("/api/v1/inference/audio/transcriptions/stream").await.unwrap();
    assert_eq!(stream.must_be(501).json()["error"]["code"], "no_counterpart");
}

#[tokio::test]
async fn traces_are_exported() {
    let gateway = Gateway::with_own().await;
    let asking = Client::with(&gateway, &gateway.founded.api_key);
    for model in [MINI, MINI, "nobody/nothing"] {
        asking.run(&["infer", "chat", "hello", "--model", model]).await;
    }
    gateway.listed(2).await;
    let client = Client::with(&gateway, &gateway.founded.admin_key);
    let export =
        async |arguments: &[&str]| client.run(&[&["traces", "export"], arguments].concat()).await.ok();
    let lines = export(&["--status", "completed"]).await;
    let rows: Vec<Value> = lines.trim().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ours = gateway.get("/v2/requests?outcome=completed").await;
    let ids = |rows: &[Value]| rows.iter().map(id_of).collect::<Vec<_>>();
    assert_eq!((rows.len(), ids(&rows)), (2, ids(ours["data"].as_array().unwrap())));
    assert_eq!(rows[0]["output_tokens"], ours["data"][0]["output_tokens"]);
    let one = export(&["--format", "json", "--limit", "1"]).await;
    let one: Value = serde_json::from_str(one.lines().next().unwrap()).unwrap();
    assert_eq!(one.as_array().unwrap().len(), 1);
    let csv = export(&["--format", "csv", "--status", "completed"]).await;
    assert!(csv.starts_with("id,ts,provider,") && csv.trim().lines().count() == 3, "{csv}");
    assert_eq!(export(&["--from", "2020-01-01", "--to", "2020-01-02"]).await.trim(), "");
    assert_eq!(export(&["--status", "running"]).await.trim(), "");
    for (arguments, says) in
        [(["--include-content", "--limit=1"], "/content"), (["--source", "agent"], "source=usage")]
    {
        let refused = client.refused(&[&["traces", "export"], &arguments[..]].concat(), 501).await;
        assert!(refused.contains(says), "{refused}");
    }
    client.refused(&["traces", "export", "--from", "yesterday"], 400).await;
}

/// A command that waits, what it prints, and the code that it printed.
type Waiting = (tokio::process::Child, BufReader<ChildStdout>, String);

/// Runs a command of the client that waits for a person, and returns it with the code that it prints.
async fn waiting(client: &Client, arguments: &[&str]) -> Waiting {
    let mut command = client.command("stimulir");
    let mut child = command.env("PYTHONUNBUFFERED", "1").args(arguments).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let is_code =
        |word: &&str| word.len() == 9 && word.as_bytes()[4] == b'-' && word.is_ascii() && !word.contains('/');
    let mut line = String::new();
    let code = loop {
        line.clear();
        let read = tokio::time::timeout(WITHIN, lines.read_line(&mut line)).await.unwrap().unwrap();
        assert!(read > 0, "it ended before it printed a code");
        if let Some(code) = line.split_whitespace().find(is_code) {
            break code.to_owned();
        }
    };
    (child, lines, code)
}

/// Lets a command that waits go on, and returns its exit code.
async fn answered(person: &Person, waiting: Waiting, yes: bool) -> i32 {
    let (mut child, mut rest, code) = waiting;
    person.post("/v2/device/approve", json!({"user_code": code, "approve": yes})).await.must_be(200);
    let mut text = String::new();
    tokio::time::timeout(WITHIN * 2, rest.read_to_string(&mut text)).await.unwrap().unwrap();
    child.wait().await.unwrap().code().unwrap()
}

#[tokio::test]
async fn a_person_lets_the_client_in_and_out() {
    let gateway = Gateway::with_own().await;
    let owner = gateway.owner().await;
    let client = Client::at(&gateway);
    assert_eq!(answered(&owner, waiting(&client, &["login", "--headless"]).await, false).await, 1);
    assert_eq!(client.run(&["keys", "list"]).await.code, 1);
    assert_eq!(answered(&owner, waiting(&client, &["login", "--headless"]).await, true).await, 0);
    let me = client.json(&["whoami"]).await;
    has(&me, json!({"email": "owner@localhost", "auth_kind": "cli_token"}));
    assert_eq!(me["workspace_id"], gateway.founded.workspace_id.as_str(), "{me}");
    let key_of = async |purpose: &str| {
        let keys = gateway.get("/v2/api-keys").await["data"].as_array().unwrap().clone();
        keys.into_iter().find(|key| key["name"].as_str().unwrap().contains(purpose)).unwrap()
    };
    let token = key_of("(signed in)").await;
    let ends = reconcilers::moment::read(token["expires_at"].as_str().unwrap(), "expires_at").unwrap() / 1000;
    assert!(me["token_expires_at"].as_u64().unwrap().abs_diff(ends) < 60, "{me} {token}");
    // A command asks for a key of its own, which ends with it.
    client.run(&["infer", "chat", "hello", "--model", MINI]).await.ok();
    has(&key_of("session cli-inference-").await, json!({"status": "revoked", "scopes": ["inference"]}));
    // Its set-up of a project writes where an application's SDKs find the gateway, and a request of its own arrives.
    let setup = ["setup", "--yes", "--tool", "none", "--model", MINI, "--env-file", ".env"];
    let setup = client.run(&setup).await.ok();
    assert!(setup.contains("replied in"), "{setup}");
    let printed = client.run(&["codex", "token"]).await.ok();
    assert!(printed.trim().starts_with("hyb_tg_"), "{printed}");
    let raw = gateway.with_key(printed.trim());
    let message = json!({"model": MINI, "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]});
    let said = raw.post("/api/v1/inference/v1/messages", &message).await.unwrap();
    assert_eq!(said.must_be(200).json()["type"], "message");
    let out = client.run(&["logout", "--remote"]).await.ok();
    assert!(out.contains("Revoked this CLI token"), "{out}");
    let token = gateway.get(&format!("/v2/api-keys/{}", id_of(&token))).await;
    assert_eq!(token["status"], "revoked", "{token}");
    assert_eq!(client.run(&["usage"]).await.code, 1);
}

/// The key of a developer's sign-in may not make keys: a command is given that key itself.
#[tokio::test]
async fn a_developer_who_signed_in_asks_models() {
    let gateway = Gateway::with_own().await;
    let owner = gateway.owner().await;
    let developer = gateway.member(&owner.client(), "dev@example.com", "developer").await;
    let client = Client::at(&gateway);
    assert_eq!(answered(&developer, waiting(&client, &["login", "--headless"]).await, true).await, 0);
    let said = client.run(&["infer", "chat", "hello there", "--model", MINI]).await;
    assert!(said.stdout.contains("You said: hello there"), "{}{}", said.stdout, said.stderr);
    assert_eq!(client.run(&["usage"]).await.code, 0);
    let forbidden = client.refused(&["keys", "create", "--name", "more"], 403).await;
    assert!(forbidden.contains("admin"), "{forbidden}");
}

#[tokio::test]
async fn a_machine_is_paired_and_serves() {
    let gateway = Gateway::with_own().await;
    let owner = gateway.owner().await;
    let (_node, base_url) = echo().await;
    let client = Client::at(&gateway);
    let runtime = base_url.trim_end_matches("/v1");
    let machine = ["--once", "--backend", "npu", "--memory-gb", "16"];
    let pair = [&["compute", "pair", "--runtime-url", runtime][..], &machine].concat();
    assert_eq!(answered(&owner, waiting(&client, &pair).await, true).await, 0);
    let nodes = gateway.get("/v2/byoc/nodes").await;
    let node = &nodes["data"][0];
    let peer = node["name"].as_str().unwrap();
    assert!(peer.starts_with("gpu-") && node["base_url"] == base_url.as_str(), "{node}");
    has(node, json!({"/metadata/memory_gb": 16.0, "status": "ready"}));
    gateway.chat_ok(&question("echo")).await;
    let saved = std::fs::read(client.home.path().join(".stimulir/compute-device.json")).unwrap();
    let saved: Value = serde_json::from_slice(&saved).unwrap();
    let device = gateway.with_key(saved["access_token"].as_str().unwrap());
    let beat = async || {
        let path = format!("/api/v1/devices/{peer}/heartbeat");
        device.post(&path, &json!({"has_gpu": true, "total_memory_gb": 16})).await.unwrap()
    };
    assert_eq!(beat().await.json()["status"], "ready");
    let admin = Client::with(&gateway, &gateway.founded.admin_key);
    let listed = admin.json(&["compute", "peers", "list"]).await;
    has(&listed["peers"][0], json!({"id": node["id"], "reachable": true}));
    admin.run(&["compute", "peers", "remove", node["id"].as_str().unwrap(), "--yes"]).await.ok();
    assert_eq!(beat().await.status, 404, "it is told to pair again");
    let added = admin.json(&["compute", "peers", "add", "--name", "rack", "--realtime", runtime]).await;
    assert_eq!(added["peer"]["name"], "rack", "{added}");
    let grpc = ["compute", "peers", "add", "--name", "grpc", "--grpc", "http://10.0.0.5:9090"];
    admin.refused(&grpc, 501).await;
    // The node itself has no peers, and lists itself.
    let direct = admin.json(&["compute", "peers", "list", "--endpoint", runtime]).await;
    has(&direct["peers"], json!({"/0/self": true, "/1": null}));
    assert_eq!(admin.run(&["models", "--endpoint", runtime]).await.code, 0);
}

#[tokio::test]
async fn adapters_and_jobs_of_a_node() {
    let gateway = Gateway::with_own().await;
    let attic = Attic::new();
    attic.write("law", 1);
    let (_node, base_url) = attic.start().await;
    gateway.make("/v2/byoc/nodes", json!({"name": "attic", "base_url": base_url})).await;
    let client = Client::with(&gateway, &gateway.founded.admin_key);
    has(&client.json(&["lab", "adapters", "load", "law"]).await, json!({"id": "law", "node": "attic"}));
    let listed = client.json(&["lab", "adapters", "list"]).await;
    assert_eq!(listed["adapters"][0]["spec"], json!({"id": "law", "version": 1, "rank": 8}), "{listed}");
    let table = client.run(&["lab", "adapters", "list"]).await.stdout;
    assert!(table.contains("law") && table.contains("attic:"), "{table}");
    let one = client.run(&["lab", "adapters", "get", "law"]).await.ok();
    assert!(one.contains("backend attic"), "{one}");
    client.refused(&["lab", "adapters", "get", "nobody"], 404).await;
    let lines = std::fs::read_to_string(attic.lines("lines.jsonl", 40)).unwrap();
    let order = json!({"data": lines, "model": "tidegate-demo", "adapter": "tides", "epochs": 200});
    let job = id_of(&gateway.admin().post("/v2/train/jobs", &order).await.unwrap().must_be(200).json());
    has(&client.json(&["lab", "jobs", "list"]).await["jobs"], json!({"/0/job_id": job, "/1": null}));
    let view = client.run(&["lab", "jobs", "get", &job]).await.ok();
    assert!(view.contains("sft-peft-lora"), "{view}");
    assert_eq!(client.run(&["lab", "jobs", "cancel", &job, "--yes"]).await.code, 0);
    until("the job is cancelled", async || {
        gateway.get(&format!("/v2/train/jobs/{job}")).await["status"] == "cancelled"
    })
    .await;
    assert_eq!(client.run(&["lab", "adapters", "unload", "law"]).await.code, 0);
    let left = gateway.get("/v2/adapters").await;
    assert!(left["data"].as_array().unwrap().iter().all(|row| row["id"] != "law"), "{left}");
}
