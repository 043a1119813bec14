//! Stimulir's published client, unmodified: its command line, its Python SDK and its MCP server against a gateway, with what
//! they print equal to what `/v2` says. The client is proprietary: it is run here, and nothing of it is kept.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::WITHIN;
use crate::ask::MINI;
use crate::command::{Done, workspace};
use crate::gateway::{Gateway, OWN, OWN_SECOND, id_of};

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
        let done = self.run(&[arguments, &["--json"]].concat()).await;
        assert_eq!(done.code, 0, "{arguments:?}: {}{}", done.stdout, done.stderr);
        serde_json::from_str(&done.stdout).unwrap_or_else(|error| panic!("{error}: {}", done.stdout))
    }

    /// What it shows of an error, in one line.
    pub async fn refused(&self, arguments: &[&str], status: u16) -> String {
        let done = self.run(arguments).await;
        let shown = unboxed(&format!("{}{}", done.stdout, done.stderr));
        assert!(
            done.code == 1 && shown.contains(&format!("HTTP {status} ")),
            "{arguments:?} {}: {shown}",
            done.code
        );
        shown
    }
}

/// A message without the frame that the client draws around it.
fn unboxed(text: &str) -> String {
    let words =
        text.split(|c: char| c.is_whitespace() || "─│╭╮╰╯".contains(c)).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

async fn gateway() -> Gateway {
    let gateway = Gateway::start().await;
    gateway.credential("openai", OWN).await;
    gateway
}

fn columns(row: &Value) -> [&Value; 4] {
    ["requests", "input_tokens", "output_tokens", "cost_micros"].map(|name| &row[name])
}

#[tokio::test]
async fn models_are_listed_and_asked() {
    let gateway = gateway().await;
    let client = Client::with(&gateway, &gateway.founded.api_key);
    let listed = client.run(&["models"]).await;
    assert!(listed.stdout.contains("gpt-4o-mini"), "{}{}", listed.stdout, listed.stderr);
    let said = client.run(&["infer", "chat", "hello there", "--model", MINI]).await;
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(
        said.stdout.contains("You said: hello there") && said.stdout.contains("out tokens"),
        "{}",
        said.stdout
    );
    let streamed = client.run(&["infer", "chat", "hello there", "--model", MINI, "--stream"]).await;
    assert_eq!((streamed.code, streamed.stdout.trim()), (0, "You said: hello there"), "{}", streamed.stderr);
    let raw = client.json(&["infer", "chat", "hello", "--model", MINI, "--max-tokens", "16"]).await;
    assert_eq!(raw["choices"][0]["message"]["role"], "assistant", "{raw}");
    // A model that nobody serves is an error that says what to do.
    let unknown = client.refused(&["infer", "chat", "hello", "--model", "nobody/nothing"], 404).await;
    assert!(unknown.contains("nobody/nothing"), "{unknown}");
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn who_calls_and_where() {
    let gateway = gateway().await;
    let client = Client::with(&gateway, &gateway.founded.admin_key);
    let me = client.json(&["whoami"]).await;
    assert_eq!((&me["auth_kind"], &me["api_base"]), (&json!("api_key"), &json!(gateway.origin)), "{me}");
    let own = gateway.get("/v2/me").await;
    let listed = client.json(&["workspace", "list"]).await;
    assert_eq!(listed[0]["id"], own["workspace_id"], "{listed}");
    let projects = client.json(&["project", "list"]).await;
    let ours = gateway.get("/v2/projects").await;
    assert_eq!(projects[0]["id"], ours["data"][0]["id"], "{projects}");
    assert_eq!(projects[0]["is_default"], true, "{projects}");
    // A key under the prefix that the client looks for is the same key.
    let prefixed = Client::at(&gateway)
        .env("STIMULIR_ACCESS_TOKEN", &format!("hyb_{}", gateway.founded.admin_key))
        .env("STIMULIR_WORKSPACE_ID", &gateway.founded.workspace_id);
    let same = prefixed.json(&["whoami"]).await;
    assert_eq!((&same["user_id"], &same["auth_kind"]), (&me["user_id"], &json!("api_key")), "{same}");
    let said = prefixed.run(&["infer", "chat", "hello", "--model", MINI]).await;
    assert_eq!(said.code, 1, "this key may not call models: {}", said.stdout);
}

#[tokio::test]
async fn keys_are_made_used_and_revoked() {
    let gateway = gateway().await;
    let client = Client::with(&gateway, &gateway.founded.admin_key);
    let made = client.json(&["keys", "create", "--name", "their key", "--expires-in-days", "7"]).await;
    let (key, id) = (made["key"].as_str().unwrap(), made["id"].as_str().unwrap());
    assert!(key.starts_with("hyb_tg_") && made["env"] == "prod", "{made}");
    let ours = gateway.get(&format!("/v2/api-keys/{id}")).await;
    assert_eq!((&ours["name"], &ours["environment"]), (&json!("their key"), &json!("production")), "{ours}");
    assert_eq!((&ours["scopes"], &ours["expires_at"]), (&json!(["inference", "read"]), &made["expires_at"]));

    let theirs = Client::with(&gateway, key);
    let said = theirs.run(&["infer", "chat", "hello", "--model", MINI]).await;
    assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
    assert_eq!(theirs.run(&["usage"]).await.code, 0);
    let forbidden = theirs.refused(&["keys", "create", "--name", "another"], 403).await;
    assert!(forbidden.contains("admin"), "{forbidden}");

    let listed = client.json(&["keys", "list"]).await;
    let row = listed["api_keys"].as_array().unwrap().iter().find(|row| row["id"] == id).unwrap();
    assert_eq!((&row["status"], row.get("key")), (&json!("active"), None), "{row}");
    let revoked = client.run(&["keys", "revoke", id, "--yes"]).await;
    assert_eq!(revoked.code, 0, "{}", revoked.stderr);
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
    assert_eq!((&row["id"], &row["label"]), (&json!(id), &json!("openai of ours")), "{listed}");
    let verified = client.json(&["byok", "verify", &id]).await;
    assert_eq!((&verified["status"], &verified["last_error"]), (&json!("valid"), &Value::Null), "{verified}");
    let bad = gateway.credential("nebius", "sk-nobodys-0000000000000000000000000000").await;
    assert_eq!(client.json(&["byok", "verify", &bad]).await["status"], "invalid");
    let table = client.run(&["byok", "list"]).await;
    assert!(table.stdout.contains("valid") && !table.stdout.contains(OWN), "{}", table.stdout);
    assert_eq!(client.run(&["byok", "remove", &bad, "--yes"]).await.code, 0);
    client.refused(&["byok", "verify", &bad], 404).await;
    // Every provider that the client names is known; its secret is stored though the provider can't be reached from here.
    for provider in ["openai", "anthropic", "google_gemini", "mistral", "together_ai", "nebius"] {
        let add = ["byok", "add", "--provider", provider, "--label", provider, "--secret", OWN_SECOND];
        let added = client.json(&add).await;
        let ours = gateway.get(&format!("/v2/provider-credentials/{}", id_of(&added))).await;
        assert_eq!((&ours["display_name"], &added["label"]), (&json!(provider), &json!(provider)), "{added}");
        assert!(!added.to_string().contains(OWN_SECOND), "{added}");
    }
    let lacking =
        client.refused(&["byok", "add", "--provider", "azure_openai", "--label", "a", "--secret", "x"], 400);
    assert!(lacking.await.contains("base_url"));
}

#[tokio::test]
async fn usage_and_bills_are_those_of_v2() {
    let gateway = gateway().await;
    gateway.node("theirs", &["tide-1"]).await;
    let asking = Client::with(&gateway, &gateway.founded.api_key);
    for model in [MINI, MINI, "tide-1"] {
        let said = asking.run(&["infer", "chat", "hello", "--model", model]).await;
        assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
    }
    let client = Client::with(&gateway, &gateway.founded.admin_key);
    let ours = crate::wait::found("the requests to be booked", async || {
        let sums = gateway.get("/v2/usage?window=7d").await["data"][0].clone();
        (sums["requests"] == 3).then_some(sums)
    });
    let ours = ours.await;
    for group in ["model", "provider", "day"] {
        let theirs = client.json(&["usage", "--window", "7d", "--group-by", group]).await;
        assert_eq!(columns(&theirs["totals"]), columns(&ours), "{theirs}");
        let requests =
            theirs["points"].as_array().unwrap().iter().map(|point| point["requests"].as_u64().unwrap());
        assert_eq!(requests.sum::<u64>(), 3, "{theirs}");
        assert!(
            theirs["points"].as_array().unwrap().iter().all(|point| point["label"].is_string()),
            "{theirs}"
        );
        assert_eq!(
            (&theirs["currency"], theirs["totals"].get("cost_gbp")),
            (&json!("USD"), None),
            "{theirs}"
        );
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
    let reconciled = client.json(&["billing", "reconcile"]).await;
    assert_eq!(
        (&reconciled["status"], &reconciled["requests"]),
        (&json!("reconciled"), &json!(3)),
        "{reconciled}"
    );

    let file = client.home.path().join("events.json");
    let path = file.display().to_string();
    let exported = client.run(&["billing", "export-events", "--output", &path, "--mode", "byoc"]).await;
    assert_eq!(exported.code, 0, "{}{}", exported.stdout, exported.stderr);
    let events: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let event = &events["events"][0];
    assert_eq!(
        (&events["count"], &event["mode"], &event["status"]),
        (&json!(1), &json!("byoc"), &json!("completed"))
    );
    let request = gateway.get(&format!("/v2/requests/{}", id_of(event))).await;
    assert_eq!(
        event["latency_ms"].as_u64().unwrap() * 1000 <= request["timeline"]["settled_us"].as_u64().unwrap(),
        true
    );
}
