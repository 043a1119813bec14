//! From an empty directory to a metered answer, the way a new user goes.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use harness::client::Client;
use harness::process::{Launch, Process, tidegate};
use serde_json::{Value, json};

use crate::WITHIN;
use crate::ask::{CHAT, has, question, said, streaming};
use crate::command::Cli;
use crate::gateway::{first_start, row, serve};
use crate::wait::{found, until};

fn private() -> Vec<(String, String)> {
    vec![("TIDEGATE_ALLOW_PRIVATE_UPSTREAMS".to_owned(), "1".to_owned())]
}

/// The word after a label that begins a line.
fn after<'a>(text: &'a str, label: &str) -> &'a str {
    let rest = text.lines().find_map(|line| line.trim_start().strip_prefix(label)).unwrap();
    rest.split_whitespace().next().unwrap()
}

/// Starts an echo node on a free port; returns its base URL.
pub async fn echo() -> (Process, String) {
    node(&["--model", "echo"]).await
}

/// Starts a node on a free port; returns its base URL.
pub async fn node(options: &[&str]) -> (Process, String) {
    let launch = Launch::new(tidegate().unwrap()).args(["node", "--listen", "127.0.0.1:0"]);
    let mut node = launch.args(options.iter().copied()).start().unwrap();
    let rest = node.wait_text("http://", WITHIN).await.unwrap();
    let address = rest.split_whitespace().next().unwrap();
    let base_url = format!("http://{address}/v1");
    (node, base_url)
}

#[tokio::test]
async fn two_commands_and_an_answer() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    let (mut process, origin) = first_start(root.path(), &private()).await;
    let first = process.stdout();
    let [admin, key] = ["Admin key", "API key"].map(|label| after(&first, label));
    assert!(admin.starts_with("tg_live_") && key.starts_with("tg_live_"), "{first}");
    assert!(first.contains("Connect a model first") && first.contains("tidegate up --data-dir"), "{first}");

    let (_node, base_url) = echo().await;
    let cli = Cli::new().env("TIDEGATE_URL", &origin).env("TIDEGATE_API_KEY", admin);
    let node = cli.run(&["nodes", "add", "echo", "--base-url", &base_url, "--json"]).json();
    has(&node, json!({"status": "ready", "models": ["echo"]}));

    // The printed curl command works unchanged.
    let curl = first.lines().find(|line| line.trim_start().starts_with("curl ")).unwrap();
    let output = std::process::Command::new("sh").args(["-c", &format!("{curl} -sS")]).output().unwrap();
    let models: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!(models.pointer("/data/0/id"), Some(&json!("echo")), "{models}");

    let client = Client::new(&origin).bearer(key).within(WITHIN);
    let answer = client.post(CHAT, &question("echo")).await.unwrap().json();
    let text = answer.pointer("/choices/0/message/content").and_then(Value::as_str).unwrap();
    assert!(text.contains("isn't a model") && text.ends_with("hello there"), "{text}");
    let streamed = client.post(CHAT, &streaming("echo")).await.unwrap();
    let how = ["agent-execution-profile", "agent-resolved-provider", "agent-node-id"];
    assert_eq!(how.map(|name| streamed.header(name)), [Some("byoc"), Some("byoc"), node["id"].as_str()]);
    assert!(said(&streamed).ends_with("hello there"));
    billed_as_byoc(&Client::new(&origin).bearer(admin).within(WITHIN), 2).await;
    // The application key calls models, and reads nothing of the workspace.
    for path in ["/v2/members", "/v2/requests", "/v2/webhooks", "/v2/provider-credentials"] {
        let refused = client.get(path).await.unwrap();
        assert_eq!((refused.status, &refused.json()["code"]), (403, &json!("insufficient_scope")), "{path}");
    }

    let status = process.stop(WITHIN).await.unwrap();
    assert!(status.success(), "{status}: {}", process.stderr());
    let (again, origin) = serve(&data, &private()).await;
    let output = String::from_utf8(again.output()).unwrap();
    assert!(!output.contains("tg_live_") && !output.contains("API key"), "a key is shown again: {output}");
    let models = Client::new(&origin).bearer(key).get("/v1/models").await.unwrap();
    assert_eq!(models.json().pointer("/data/0/id"), Some(&json!("echo")), "{}", models.text());
}

/// The demo node as the console shows it. A gateway without options calls no address of its own machine, so the node
/// joins through a tunnel.
#[tokio::test]
async fn the_demo_node_needs_no_option() {
    let root = tempfile::tempdir().unwrap();
    let (process, origin) = first_start(root.path(), &[]).await;
    let first = process.stdout();
    let [admin, key] = ["Admin key", "API key"].map(|label| after(&first, label));
    let cli = Cli::new().env("TIDEGATE_URL", &origin).env("TIDEGATE_API_KEY", admin);
    let (_echo, base_url) = echo().await;
    let refused = cli.run(&["nodes", "add", "echo", "--base-url", &base_url]).failed(2);
    assert!(refused.contains("TIDEGATE_ALLOW_PRIVATE_UPSTREAMS"), "{refused}");

    let invited = cli.run(&["nodes", "invite", "demo", "--json"]).json();
    let token = invited["token"].as_str().unwrap();
    let data = root.path().join("demo").display().to_string();
    let join = ["node", "join", "--control", &origin, "--token", token, "--data-dir", &data, "--tunnel"];
    Cli::new().run(&join).ok();
    let (_node, _) = node(&["--model", "echo", "--data-dir", &data]).await;
    let client = Client::new(&origin).bearer(key).within(WITHIN);
    until("the demo node's first answer", async || {
        client.post(CHAT, &question("echo")).await.is_ok_and(|answer| answer.status == 200)
    })
    .await;
}

async fn billed_as_byoc(client: &Client, requests: u64) {
    let snapshot = found("the requests in the bill", async || {
        let snapshot = client.get("/v2/billing/snapshot").await.unwrap().json();
        Some(snapshot).filter(|snapshot| snapshot["mtd"]["requests"] == requests)
    })
    .await;
    let byoc = row(&snapshot["mtd"]["by_mode"], "mode", "byoc");
    has(byoc, json!({"requests": requests, "cost_micros": 0}));
    assert!(byoc["output_tokens"].as_u64().unwrap() > 0, "{snapshot}");
    let list = client.get("/v2/requests").await.unwrap().json();
    for request in list["data"].as_array().unwrap() {
        has(request, json!({"profile": "byoc", "estimated": true}));
    }
}

#[tokio::test]
async fn init_prints_four_fields_once() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    let path = data.display().to_string();
    let made = Cli::new().run(&["init", "--data-dir", &path, "--json"]).json();
    let names: Vec<&str> = made.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["workspace_id", "project_id", "admin_key", "api_key"]);
    assert!(made["workspace_id"].as_str().unwrap().starts_with("ws_"), "{made}");
    let mode = |file: &Path| std::fs::metadata(file).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data.join("master.key")), 0o600);
    assert_eq!(mode(&data), 0o700);

    let again = Cli::new().run(&["init", "--data-dir", &path, "--json"]).failed(1);
    assert!(!again.contains("tg_live_"), "{again}");
    // The new directory is complete: it serves. A journal that an earlier version left readable to others is
    // closed to them.
    let journal = data.join("journal");
    assert_eq!(mode(&journal), 0o700);
    std::fs::set_permissions(&journal, std::fs::Permissions::from_mode(0o755)).unwrap();
    let (serving, _) = serve(&data, &private()).await;
    assert_eq!(mode(&journal), 0o700);
    for core in std::fs::read_dir(&journal).unwrap() {
        let core = core.unwrap().path();
        assert_eq!(mode(&core), 0o700, "{core:?}");
        for segment in std::fs::read_dir(&core).unwrap() {
            assert_eq!(mode(&segment.unwrap().path()), 0o600, "{core:?}");
        }
    }
    // A log that is not a terminal has no colours, and no lines about maintenance that did nothing.
    let log = serving.stderr();
    assert!(!log.contains('\u{1b}') && !log.contains("summed") && !log.contains("deleted"), "{log}");
}

#[test]
fn a_half_made_directory_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().display().to_string();
    std::fs::write(root.path().join("INCOMPLETE"), "").unwrap();
    let serve = ["serve", "--listen", "127.0.0.1:0", "--data-dir"];
    for command in [[&serve[..], &[path.as_str()]].concat(), vec!["init", "--data-dir", &path]] {
        let stderr = Cli::new().run(&command).failed(1);
        assert!(stderr.contains(&path) && !stderr.contains("tg_live_"), "{stderr}");
        assert!(stderr.to_lowercase().contains("remove"), "it must say what to do: {stderr}");
    }
    let foreign = tempfile::tempdir().unwrap();
    std::fs::write(foreign.path().join("thesis.tex"), "years of work").unwrap();
    let path = foreign.path().display().to_string();
    let stderr = Cli::new().run(&[&serve[..], &[path.as_str()]].concat()).failed(1);
    assert!(stderr.contains(&path), "{stderr}");
    assert!(!foreign.path().join("tidegate.db").exists());
}

/// Nothing was stored yet, so that the next start with the right key is the first one.
#[test]
fn a_first_start_with_a_wrong_master_key_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    let init = ["init", "--data-dir", &data.display().to_string()];
    let stderr = Cli::new().env("TIDEGATE_MASTER_KEY", "short").run(&init).failed(1);
    assert!(stderr.contains("TIDEGATE_MASTER_KEY"), "{stderr}");
    let key_file = root.path().join("master.key");
    std::fs::write(&key_file, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap();
    let named = Cli::new().env("TIDEGATE_MASTER_KEY_FILE", &key_file.display().to_string());
    let permissions = std::fs::Permissions::from_mode;
    let with_mode = |mode| std::fs::set_permissions(&key_file, permissions(mode)).unwrap();
    with_mode(0o644);
    let stderr = named.run(&init).failed(1);
    assert!(stderr.contains("mode 644") && stderr.contains("defaultMode: 0400"), "{stderr}");
    with_mode(0o400);
    named.run(&init).ok();
}

/// A mistyped directory is reported, and not created; in the default place a first start creates everything.
#[tokio::test]
async fn a_directory_that_was_mistyped_is_not_made() {
    let root = tempfile::tempdir().unwrap();
    let typo = root.path().join("dat");
    let path = typo.display().to_string();
    let serve = ["serve", "--listen", "127.0.0.1:0"];
    let stderr = Cli::new().run(&[&serve[..], &["--data-dir", &path]].concat()).failed(2);
    assert!(stderr.contains(&path) && stderr.contains("tidegate init --data-dir"), "{stderr}");
    let stderr = Cli::new().env("TIDEGATE_DATA_DIR", &path).run(&serve).failed(2);
    assert!(stderr.contains("tidegate init"), "{stderr}");
    assert!(!typo.exists());
    let launch = Launch::new(tidegate().unwrap()).args(serve).env("TIDEGATE_ALLOW_PRIVATE_UPSTREAMS", "1");
    let mut usual = launch.current_dir(root.path()).start().unwrap();
    usual.wait_line("  Admin key  ", WITHIN).await.unwrap();
    assert!(root.path().join("data/tidegate.db").exists());
}

#[tokio::test]
async fn one_directory_serves_one_process() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    let path = data.display().to_string();
    Cli::new().run(&["init", "--data-dir", &path]).ok();
    let (_first, _) = serve(&data, &private()).await;
    let second = Cli::new().run(&["serve", "--listen", "127.0.0.1:0", "--data-dir", &path]).failed(1);
    assert!(second.contains("in use"), "{second}");
}
