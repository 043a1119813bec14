//! What the control plane and the command line show of a workspace's own runtimes: loaded models, adapters
//! and training jobs. Runs a real gateway, and real nodes with the built-in model.

use std::path::{Path, PathBuf};
use std::time::Instant;

use engine::Numbers;
use harness::client::Client;
use harness::process::{Process, workspace};
use serde_json::{Value, json};
use weights::Source;
use weights::synthetic::SyntheticAdapter;

use crate::WITHIN;
use crate::ask::{has, problem, said};
use crate::command::Cli;
use crate::first_request::{echo, node};
use crate::gateway::{Gateway, NODE, id_of};
use crate::isolation::second_workspace;
use crate::played_runtime::PlayedRuntime;
use crate::wait::{a_moment, found, until};

const MODEL: &str = "tidegate-demo";

/// A node with the built-in model, and its adapter folder.
pub struct Attic {
    root: tempfile::TempDir,
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

impl Attic {
    pub fn new() -> Self {
        let attic = Self { root: tempfile::tempdir().unwrap() };
        std::fs::create_dir(attic.path("adapters")).unwrap();
        attic
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Writes an adapter that changes the model's output.
    pub fn write(&self, name: &str, seed: u64) {
        let source = Source::open(&workspace().join("builtin/model")).unwrap();
        let made = SyntheticAdapter::new(source.shape(), &["q_proj", "v_proj", "down_proj"], 8, seed);
        made.write(&self.path("adapters").join(name), Numbers::F32).unwrap();
    }

    /// Conversations to train on, as a file.
    pub fn lines(&self, name: &str, count: usize) -> String {
        let conversation = |number: usize| {
            let question = format!("How often is tide {}?", number % 4);
            let answer = json!({"role": "assistant", "content": "Twice a day."});
            format!("{}\n", json!({"messages": [{"role": "user", "content": question}, answer]}))
        };
        let lines: String = (0..count).map(conversation).collect();
        std::fs::write(self.path(name), lines).unwrap();
        text(&self.path(name))
    }

    /// Lines that are all invalid as training data.
    pub fn bad_lines(&self, name: &str) -> String {
        std::fs::write(self.path(name), "{\"messages\": []}\nno json\n").unwrap();
        text(&self.path(name))
    }

    pub async fn start(&self) -> (Process, String) {
        let model = text(&workspace().join("builtin/model"));
        let (data, adapters) = (text(&self.path("node")), text(&self.path("adapters")));
        let flags = ["--model", &model, "--name", MODEL, "--data-dir", &data, "--kv-memory", "64"];
        node(&[&flags[..], &["--adapters", &adapters]].concat()).await
    }
}

fn add(cli: &Cli, name: &str, base_url: &str) -> Value {
    cli.run(&["nodes", "add", name, "--base-url", base_url, "--json"]).json()
}

fn fact(node: &Value) -> &Value {
    let facts = node["server"]["facts"].as_array().unwrap();
    &facts.iter().find(|fact| fact["name"] == "runtime").unwrap()["value"]
}

async fn actions(gateway: &Gateway) -> Vec<String> {
    let audit = gateway.get("/v2/audit?limit=100").await;
    let rows = audit["data"].as_array().unwrap().iter();
    let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    let entries = rows.map(|row| text(row, "action") + " " + &text(row, "detail"));
    entries.filter(|entry| ["adapter.", "train."].iter().any(|start| entry.starts_with(start))).collect()
}

/// A node's error is passed on in the node's words, with the node's error code.
async fn refusals_are_the_nodes(gateway: &Gateway, cli: &Cli) {
    let admin = gateway.admin();
    let refused = admin.post("/v2/adapters", &json!({"id": "one", "path": "../node"})).await.unwrap();
    let document = problem(&refused, 400, "adapter_outside");
    assert!(document["detail"].as_str().unwrap().starts_with("The node attic says: "), "{document}");
    cli.run(&["adapters", "load", "nobody"]).failed(3);
    problem(&admin.post("/v2/adapters/..%2fmodels/load", &json!({})).await.unwrap(), 404, "not_found");
    let weights = admin.post("/v2/adapters", &json!({"id": "one", "weights": 1})).await.unwrap();
    problem(&weights, 400, "invalid_value");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn adapters_of_a_node_are_managed_from_the_command_line() {
    let gateway = Gateway::start().await;
    let attic = Attic::new();
    attic.write("law", 1);
    let (_node, base_url) = attic.start().await;
    let cli = gateway.cli();
    assert_eq!(fact(&add(&cli, "attic", &base_url)), "tidegate");

    let runtime = cli.run(&["nodes", "runtime", "attic", "--json"]).json();
    has(&runtime, json!({"status": "ok", "is_local_only": true}));
    assert!(runtime["models"][0]["context_tokens"].as_u64().unwrap() > 0, "{runtime}");
    has(&runtime, json!({"/adapters/registered": 1, "requests_open": 0, "/models/0/id": MODEL}));
    let output = cli.run(&["nodes", "runtime", "attic"]).ok();
    assert!(output.contains("1 of 64 known") && output.contains(MODEL), "{output}");

    let loaded = cli.run(&["adapters", "load", "law", "--wait", "--pin", "--json"]).json();
    has(&loaded, json!({"status": "loaded", "pinned": true, "rank": 8}));
    let rows = cli.run(&["adapters", "list", "--json"]).lines();
    assert_eq!((&rows[0]["id"], &rows[0]["node"]), (&json!("law"), &json!("attic")), "{rows:?}");
    let table = cli.run(&["adapters", "list"]).ok();
    assert!(table.contains("law") && table.contains("loaded"), "{table}");
    let register = ["adapters", "register", "statutes", "--path", "law", "--node", "attic", "--json"];
    assert_eq!(cli.run(&register).json()["id"], "statutes");
    assert!(cli.run(&["adapters", "register", "statutes", "--path", "law"]).failed(6).contains("adapter"));
    assert_eq!(cli.run(&["adapters", "list", "--json"]).lines().len(), 2);
    cli.run(&["adapters", "unload", "statutes"]).ok();

    refusals_are_the_nodes(&gateway, &cli).await;
    let done = actions(&gateway).await.join("; ");
    let unloaded = "adapter.unload adapter statutes; adapter.register adapter statutes";
    assert_eq!(done, format!("{unloaded}; adapter.load adapter law, pinned"));
    let (reader, _) = gateway.key(json!({"name": "reader", "scopes": ["read"]})).await;
    let reader = gateway.cli().env("TIDEGATE_API_KEY", &reader);
    assert_eq!(reader.run(&["adapters", "list", "--json"]).lines().len(), 1);
    reader.run(&["adapters", "load", "law"]).failed(5);

    // The answer comes from the requested model or adapter.
    let asked = json!([{"role": "user", "content": "What is Tidegate?"}]);
    let ask = |model: &str| json!({"model": model, "temperature": 0, "max_tokens": 12, "messages": asked});
    let base = gateway.chat(&ask(MODEL)).await;
    let law = ask_when_known(&gateway, &ask("tidegate-demo:law")).await;
    assert_ne!(said(&base), law);
}

/// The gateway polls a node's models periodically: a new one can be requested after the next poll.
async fn ask_when_known(gateway: &Gateway, body: &Value) -> String {
    let deadline = Instant::now() + WITHIN;
    loop {
        let answer = gateway.chat(body).await;
        if answer.status == 200 {
            return said(&answer);
        }
        assert!(answer.status == 404 && Instant::now() < deadline, "{}", answer.text());
        a_moment().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runtime_that_is_away_is_named_and_any_other_server_is_left_alone() {
    let gateway = Gateway::start().await;
    let attic = Attic::new();
    attic.write("law", 1);
    let (_attic, base_url) = attic.start().await;
    let (mut cellar, cellar_url) = echo().await;
    let cli = gateway.cli();
    let attic_id = id_of(&add(&cli, "attic", &base_url));
    let cellar_id = id_of(&add(&cli, "cellar", &cellar_url));
    let rack = json!({"name": "rack", "base_url": gateway.emulator.base_url(), "secret": NODE});
    let rack = gateway.make("/v2/byoc/nodes", rack).await;
    assert_eq!(fact(&rack), "other");

    // A runtime without a model supports no adapters: the list is still complete.
    let listed = gateway.get("/v2/adapters").await;
    assert_eq!((listed["data"].as_array().unwrap().len(), &listed["away"]), (1, &json!([])), "{listed}");
    assert_eq!(gateway.get(&format!("/v2/byoc/nodes/{cellar_id}/runtime")).await["adapters"], Value::Null);
    // With several nodes, the command must name one.
    assert!(cli.run(&["adapters", "load", "law"]).failed(2).contains("attic, cellar"));
    cli.run(&["adapters", "load", "law", "--node", &attic_id, "--wait"]).ok();

    cellar.kill9().unwrap();
    has(&gateway.get("/v2/adapters").await, json!({"/data/0/id": "law", "/away/0/node": "cellar"}));
    let output = cli.run(&["adapters", "list"]);
    assert!(output.stdout.contains("law"), "{output:?}");
    assert!(output.stderr.contains("The node cellar could not be reached"), "{output:?}");
    let away = cli.run(&["nodes", "runtime", "cellar"]).failed(9);
    assert!(away.contains("The node cellar"), "{away}");

    // A node that is not a Tidegate runtime receives no runtime requests.
    let before = gateway.emulator.journal().len();
    let other = gateway.admin().get(&format!("/v2/byoc/nodes/{}/runtime", id_of(&rack))).await.unwrap();
    problem(&other, 400, "no_runtime");
    problem(&gateway.admin().get("/v2/adapters?node=rack").await.unwrap(), 400, "no_runtime");
    problem(&gateway.admin().get("/v2/adapters?node=nobody").await.unwrap(), 404, "not_found");
    assert_eq!(gateway.emulator.journal().len(), before);
    assert_eq!(gateway.emulator.violations(), []);

    let theirs = gateway.with_key(&second_workspace(&gateway).await.admin_key);
    for path in [format!("/v2/byoc/nodes/{attic_id}/runtime"), format!("/v2/adapters?node={attic_id}")] {
        problem(&theirs.get(&path).await.unwrap(), 404, "not_found");
    }
    problem(&theirs.post("/v2/adapters/law/unload", &json!({})).await.unwrap(), 404, "no_runtime");
    assert_eq!(theirs.get("/v2/adapters").await.unwrap().json()["data"], json!([]));
}

/// A job that is started again, paused, resumed and cancelled.
fn paused_and_called_off(cli: &Cli, begin: &[&str]) -> String {
    let long = id_of(&cli.run(&[begin, &["--replace", "--epochs", "1000", "--json"]].concat()).json());
    let status = || cli.run(&["train", "show", &long, "--json"]).json()["status"].clone();
    cli.run(&["train", "pause", &long]).ok();
    assert_eq!(status(), "paused");
    cli.run(&["train", "resume", &long]).ok();
    assert_ne!(status(), "paused");
    cli.run(&["train", "cancel", &long]).ok();
    cli.run(&["train", "resume", &long]).failed(6);
    long
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_begun_watched_and_called_off_from_the_command_line() {
    let gateway = Gateway::start().await;
    let attic = Attic::new();
    let (_node, base_url) = attic.start().await;
    let cli = gateway.cli();
    add(&cli, "attic", &base_url);
    let file = attic.lines("tides.jsonl", 8);

    assert!(cli.run(&["train", "list"]).ok().contains("No jobs."));
    let bad = attic.bad_lines("bad.jsonl");
    let message = cli.run(&["train", "start", &bad, "--adapter", "tides"]).failed(2);
    assert!(message.contains("line 1: ") && message.contains("line 2: "), "{message}");
    let small = "--adapter tides --rank 4 --batch-size 4 --held-out 2 --held-out-every 1";
    let begin: Vec<&str> = ["train", "start", &file].into_iter().chain(small.split(' ')).collect();
    let preview = cli.run(&[&begin[..], &["--epochs", "2", "--preview", "--json"]].concat()).json();
    assert!(preview["outlook"]["steps"].as_u64().unwrap() > 1, "{preview}");
    assert!(cli.run(&["train", "list"]).ok().contains("No jobs."), "a preview begins nothing");

    let watched = cli.run(&[&begin[..], &["--epochs", "2", "--watch", "--json"]].concat()).lines();
    let steps: Vec<&Value> = watched.iter().filter(|event| event["kind"] == "progress").collect();
    assert_eq!(Some(steps.len() as u64), preview["outlook"]["steps"].as_u64(), "{watched:?}");
    let is_told = |step: &&Value| step["loss"].is_number() && step["learning_rate"].is_number();
    assert!(steps.iter().all(is_told), "{steps:?}");
    assert!(steps.iter().any(|step| step["held_out_loss"].is_number()), "{steps:?}");
    assert_eq!(watched.last().unwrap()["kind"], "completed");
    // Once the end is reported, the adapter can be used at once.
    gateway.chat_ok(&crate::ask::question("tidegate-demo:tides")).await;

    let job = cli.run(&["train", "list", "--json"]).lines().remove(0);
    has(&job, json!({"status": "completed", "result": "tidegate-demo:tides"}));
    let id = id_of(&job);
    let output = cli.run(&["train", "show", &id]).ok();
    for word in ["completed", "lora_rank", "loss      "] {
        assert!(output.contains(word), "{word}: {output}");
    }
    let output = cli.run(&["train", "watch", &id, "--node", "attic"]).ok();
    for words in ["completed: ask for tidegate-demo:tides", "held out"] {
        assert!(output.contains(words), "{words}: {output}");
    }
    let known = cli.run(&["adapters", "list", "--json"]).lines();
    assert!(known.iter().any(|adapter| adapter["id"] == "tides"), "{known:?}");
    cli.run(&["train", "cancel", &id]).failed(6);

    let long = paused_and_called_off(&cli, &begin);
    let points = cli.run(&["train", "checkpoints", &id, "--json"]).lines();
    let models: Vec<&str> = points.iter().filter_map(|point| point["model"].as_str()).collect();
    assert_eq!((models.len(), models[0]), (2, "tidegate-demo:tides"), "one for each epoch: {points:?}");
    assert!(models[1].starts_with("tidegate-demo:ftckpt-"), "{points:?}");
    assert!(cli.run(&["train", "watch", &long]).failed(1).contains("called off"));
    let done = actions(&gateway).await;
    let expected = [
        format!("train.cancel job {long}"),
        format!("train.resume job {long}"),
        format!("train.pause job {long}"),
        format!("train.begin job {long}, adapter tides"),
        format!("train.begin job {id}, adapter tides"),
    ];
    assert_eq!(done, expected);
    cli.run(&["train", "show", "ftjob-000"]).failed(3);
    // The training data stays on the node.
    let kept = std::fs::read(gateway.data().join("tidegate.db")).unwrap();
    assert!(!kept.windows(12).any(|part| part == b"Twice a day."));
}

#[tokio::test]
async fn an_answer_of_another_version_is_refused() {
    let gateway = Gateway::start().await;
    let runtime = PlayedRuntime::start().await;
    let node = gateway.make("/v2/byoc/nodes", json!({"name": "attic", "base_url": runtime.base_url})).await;
    assert_eq!(fact(&node), "tidegate");
    let load = async |adapter: &str| {
        gateway.admin().post(&format!("/v2/adapters/{adapter}/load"), &json!({})).await.unwrap()
    };
    assert_eq!(load("law-1").await.status, 200);
    let document = problem(&load("law-2").await, 502, "node_unreadable");
    let said = "The node attic said something that can't be read: missing field `id`";
    assert!(document["detail"].as_str().unwrap().starts_with(said), "{document}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_of_a_node_are_shown_and_destroyed_at_the_gateway() {
    let gateway = Gateway::start().await;
    let root = tempfile::tempdir().unwrap();
    let config = root.path().join("node.toml");
    let command = "program = '/bin/sh'\narguments = ['-c', 'echo tide comes in; sleep 600']\n";
    std::fs::write(&config, format!("[workers.exec.commands.shell]\n{command}")).unwrap();
    let (config, data) = (text(&config), text(&root.path().join("data")));
    let (_boss, base_url) = node(&["--model", "echo", "--data-dir", &data, "--config", &config]).await;
    let (_plain, plain) = echo().await;
    let cli = gateway.cli();
    add(&cli, "boss", &base_url);
    // One that starts none has no workers, and is not away.
    add(&cli, "plain", &plain);
    let none = json!({"object": "list", "data": [], "away": []});
    assert_eq!((gateway.get("/v2/workers").await, gateway.get("/v2/byoc/peers").await), (none.clone(), none));

    let order = json!({"spec": {"command": "shell"}});
    let at_node = Client::new(base_url.trim_end_matches("/v1")).within(WITHIN);
    let ordered =
        at_node.post("/v1/compute/workers?provider=exec", &order).await.unwrap().must_be(202).json();
    let id = ordered["job_id"].as_str().unwrap();
    let is_now = async |status: &str| {
        found(&format!("the worker to be {status}"), async || {
            let listed = gateway.get("/v2/workers").await;
            assert_eq!((listed["data"].as_array().unwrap().len(), &listed["away"]), (1, &json!([])));
            Some(listed["data"][0].clone()).filter(|worker| worker["status"] == status)
        })
        .await
    };
    let running = is_now("running").await;
    has(&running, json!({"id": id, "node": "boss", "provider": "exec", "/spec/command": "shell"}));
    assert_eq!(running["steps"][0]["status"], "done", "{running:#}");
    let path = format!("/v2/workers/{id}");
    until("its log is there", async || {
        let shown = gateway.get(&format!("{path}/logs?node=boss")).await;
        shown["log"].as_str().is_some_and(|log| log.contains("tide comes in"))
    })
    .await;
    let unknown = gateway.admin().get("/v2/workers/worker-0/logs?node=boss").await.unwrap();
    problem(&unknown, 404, "worker_not_found");
    let destroy = async |body: Value| gateway.admin().post(&format!("{path}/destroy"), &body).await.unwrap();
    problem(&destroy(json!({})).await, 400, "missing_field");
    destroy(json!({"node": "boss"})).await.must_be(200);
    is_now("destroyed").await;
    let audit = gateway.get("/v2/audit?limit=20").await;
    let acts = audit["data"].as_array().unwrap().iter().filter(|entry| entry["action"] == "worker.destroy");
    assert_eq!(acts.count(), 1, "{audit:#}");
}
