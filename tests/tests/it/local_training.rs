//! Training on a node, over HTTP: a job is created, followed and cancelled, its adapter is usable at once,
//! and a node that is killed meanwhile produces the same weights.

use std::path::PathBuf;
use std::time::Instant;

use bytes::Bytes;
use harness::client::{Answer, Client};
use harness::process::{Process, workspace};
use http::Method;
use kernels::{Architecture, Pairs, Rope, RopeScaling};
use prompts::synthetic_tokens::Tokens;
use serde_json::{Value, json};
use weights::synthetic::SyntheticModel;

use crate::WITHIN;
use crate::ask::{CHAT, client_of, fails, has, said, says, with};
use crate::first_request::node;
use crate::gateway::id_of;
use crate::wait::a_moment;

const SFT: &str = "/v1/train/sft";
const JOBS: &str = "/v1/train/jobs";
const MODEL: &str = "tiny";
/// The adapter folder that all nodes share.
const ADAPTERS: &str = "adapters";
/// The answer that the training data teaches.
const ANSWER: &str = "Twice a day.";

/// A synthetic model, and the data directories of its nodes.
struct Fixture {
    root: tempfile::TempDir,
}

fn shape() -> Architecture {
    Architecture {
        vocabulary: 400,
        hidden: 64,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 32,
        inner: 128,
        norm_epsilon: 1e-6,
        rope: Rope { theta: 1_000_000.0, stretch: RopeScaling::None },
        context: 2_048,
        is_tied: true,
        norms_heads: true,
        pairs: Pairs::Halves,
        mixture: None,
    }
}

impl Fixture {
    fn new() -> Self {
        let fixture = Self { root: tempfile::tempdir().unwrap() };
        let template = workspace().join("crates/prompts/tests/fixtures/templates/qwen3.jinja");
        let template = std::fs::read_to_string(template).unwrap();
        let mut made = SyntheticModel::new("qwen3", shape(), 7);
        made.tokens = Some(Tokens::new("qwen2", &template, shape().vocabulary));
        made.write_plain(&fixture.path(MODEL), false).unwrap();
        std::fs::create_dir(fixture.path(ADAPTERS)).unwrap();
        fixture
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// A node with this model and a data directory of this name.
    async fn node(&self, data: &str) -> (Process, Client) {
        let text = |path: PathBuf| path.display().to_string();
        let [model, data, adapters] = [MODEL, data, ADAPTERS].map(|name| text(self.path(name)));
        let flags = ["--model", &model, "--data-dir", &data, "--kv-memory", "16", "--adapters", &adapters];
        let (process, base_url) = node(&flags).await;
        (process, client_of(&base_url))
    }

    /// Starts a job on a node that is killed once the job has done so many steps.
    async fn killed(&self, data: &str, job: &Value, steps: u64) -> String {
        let (mut process, client) = self.node(data).await;
        let id = start_job(&client, job).await;
        until_step(&client, &id, steps).await;
        process.kill9().unwrap();
        id
    }
}

/// Conversations to train on.
fn tides(count: usize) -> Vec<Value> {
    let question = |index: usize| format!("How often is tide {}?", index % 4);
    let said = |role: &str, content: &str| json!({"role": role, "content": content});
    let one = |index| json!({"messages": [said("user", &question(index)), said("assistant", ANSWER)]});
    (0..count).map(one).collect()
}

fn job(adapter: &str, epochs: usize) -> Value {
    json!({
        "model": MODEL, "data": tides(8), "adapter": adapter, "epochs": epochs, "lr": 0.02, "warmup_steps": 2,
        "lora_rank": 8, "batch_tokens": 256, "batch_size": 4, "eval_examples": 2, "eval_every": 10,
        "checkpoint_every": 10,
    })
}

async fn start_job(client: &Client, job: &Value) -> String {
    id_of(&client.post(SFT, job).await.unwrap().must_be(202).json())
}

async fn look(client: &Client, id: &str) -> Value {
    client.get(&format!("{JOBS}/{id}")).await.unwrap().json()
}

/// Waits until a job satisfies a condition.
async fn until(client: &Client, id: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + WITHIN;
    loop {
        let job = look(client, id).await;
        if is_so(&job) {
            return job;
        }
        let is_over = ["completed", "failed", "cancelled"].iter().any(|status| job["status"] == *status);
        assert!(!is_over && Instant::now() < deadline, "{job}");
        a_moment().await;
    }
}

async fn until_step(client: &Client, id: &str, step: u64) {
    until(client, id, |job| job["progress"]["step"].as_u64() >= Some(step)).await;
}

async fn done(client: &Client, id: &str) -> Value {
    until(client, id, |job| job["status"] == "completed").await
}

async fn answer_to(client: &Client, model: &str, question: &str) -> Answer {
    let body = json!({
        "model": model, "temperature": 0, "max_tokens": 24, "messages": [{"role": "user", "content": question}],
        "chat_template_kwargs": {"enable_thinking": false},
    });
    client.post(CHAT, &body).await.unwrap()
}

async fn says_what_it_learned(client: &Client, model: &str, tide: usize) {
    assert_eq!(said(&answer_to(client, model, &format!("How often is tide {tide}?")).await), ANSWER);
}

/// Checks that all steps are among a job's events, once each.
fn has_each_step(events: &[Value]) {
    let steps = events.iter().filter(|event| event["kind"] == "progress");
    let steps: Vec<u64> = steps.map(|event| event["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, (1..=120).collect::<Vec<_>>(), "each step is told once");
}

/// The events of a job, read from a stream that ends with the job.
async fn events_of(client: &Client, id: &str) -> Vec<Value> {
    let path = format!("{JOBS}/{id}/events");
    let accept = [("accept", "text/event-stream")];
    let answer = client.call(Method::GET, &path, &accept, Bytes::new()).await.unwrap();
    assert!(answer.header("content-type").unwrap().starts_with("text/event-stream"));
    let text = answer.text();
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|data| serde_json::from_str(data).unwrap()).collect()
}

/// The folder of the adapter that a job produced.
fn result(fixture: &Fixture, data: &str, id: &str) -> PathBuf {
    fixture.path(data).join("train").join(id).join("adapter")
}

fn weights(fixture: &Fixture, data: &str, id: &str) -> Vec<u8> {
    std::fs::read(result(fixture, data, id).join("adapter_model.safetensors")).unwrap()
}

async fn post_ok(client: &Client, path: &str) -> Value {
    client.post(path, &json!({})).await.unwrap().must_be(200).json()
}

#[tokio::test]
async fn what_is_learned_is_said_at_once_and_after_another_start() {
    let fixture = Fixture::new();
    {
        let (_process, client) = fixture.node("node").await;
        let before = said(&answer_to(&client, MODEL, "How often is tide 1?").await);
        let id = start_job(&client, &job("tides", 40)).await;
        let events = events_of(&client, &id).await;
        let kinds: Vec<&str> = events.iter().filter_map(|event| event["kind"].as_str()).collect();
        let last = *kinds.last().unwrap();
        assert_eq!((kinds[0], kinds[1], last), ("queued", "started", "completed"), "{kinds:?}");
        let steps: Vec<&Value> = events.iter().filter(|event| event["kind"] == "progress").collect();
        let loss = |event: &Value| event["loss"].as_f64().unwrap();
        let (first, last) = (steps[0], steps.last().unwrap());
        assert!(loss(first) > 3.0 && loss(last) < 0.5, "{first} {last}");
        assert_eq!((steps.len(), &last["step"], &last["of"]), (80, &json!(80), &json!(80)), "{last}");
        assert!(last["held_out_loss"].as_f64().unwrap() < 0.5 && last["tokens"].as_u64().unwrap() > 1_000);
        let job = done(&client, &id).await;
        has(&job, json!({"result": "tiny:tides", "adapter": "tides"}));
        says_what_it_learned(&client, "tiny:tides", 1).await;
        // The model is as it was.
        assert_eq!(said(&answer_to(&client, MODEL, "How often is tide 1?").await), before);
        let page = client.get("/metrics").await.unwrap().text();
        says(&page, &["tidegate_node_training_jobs{status=\"completed\"} 1"]);
        says(&page, &["tidegate_node_training_steps_total 80"]);
    }
    let (_process, client) = fixture.node("node").await;
    says_what_it_learned(&client, "tiny:tides", 1).await;
    has(&client.get(JOBS).await.unwrap().json()["data"][0], json!({"status": "completed"}));
}

#[tokio::test]
async fn a_node_that_is_killed_comes_to_the_same_weights() {
    let fixture = Fixture::new();
    let request = job("tides", 60);
    let whole = {
        let (_process, client) = fixture.node("whole").await;
        let id = start_job(&client, &request).await;
        done(&client, &id).await;
        weights(&fixture, "whole", &id)
    };
    let id = fixture.killed("broken", &request, 25).await;
    let (_process, client) = fixture.node("broken").await;
    has(&done(&client, &id).await["progress"], json!({"step": 120}));
    assert!(weights(&fixture, "broken", &id) == whole, "not those of a run that nobody broke off");
    let events = events_of(&client, &id).await;
    let resumed = events.iter().find(|event| event["kind"] == "resumed").unwrap();
    assert!(resumed["step"].as_u64() >= Some(20) && resumed["step"].as_u64() < Some(120), "{resumed}");
    has_each_step(&events);
    says_what_it_learned(&client, "tiny:tides", 2).await;
}

#[tokio::test]
async fn a_job_that_is_paused_outlives_its_node_and_comes_to_the_same_weights() {
    let fixture = Fixture::new();
    let request = job("tides", 60);
    let (whole, id) = {
        let (mut process, client) = fixture.node("node").await;
        let id = start_job(&client, &request).await;
        done(&client, &id).await;
        let whole = weights(&fixture, "node", &id);
        let id = start_job(&client, &with(request, json!({"replace": true}))).await;
        until_step(&client, &id, 25).await;
        let paused = post_ok(&client, &format!("/v1/fine_tuning/jobs/{id}/pause")).await;
        has(&paused, json!({"status": "paused", "object": "fine_tuning.job"}));
        process.kill9().unwrap();
        (whole, id)
    };
    let (mut process, client) = fixture.node("node").await;
    // The next job in the queue runs.
    done(&client, &start_job(&client, &job("next", 1)).await).await;
    assert_eq!(look(&client, &id).await["status"], "paused");
    process.kill9().unwrap();
    let (_process, client) = fixture.node("node").await;
    assert_eq!(post_ok(&client, &format!("{JOBS}/{id}/resume")).await["status"], "queued");
    // Paused and resumed again halfway, where all completed work must be preserved.
    until_step(&client, &id, 63).await;
    post_ok(&client, &format!("{JOBS}/{id}/pause")).await;
    post_ok(&client, &format!("{JOBS}/{id}/resume")).await;
    done(&client, &id).await;
    assert!(weights(&fixture, "node", &id) == whole, "not those of a run that nobody paused");
    let events = events_of(&client, &id).await;
    has_each_step(&events);
    let kinds = events.iter().filter_map(|event| event["kind"].as_str()).filter(|kind| *kind != "progress");
    let expected =
        ["queued", "started", "paused", "queued", "resumed", "paused", "queued", "resumed", "completed"];
    assert_eq!(kinds.collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_job_goes_on_from_an_adapter_and_comes_to_the_same_after_a_kill() {
    let fixture = Fixture::new();
    let first = job("first", 15);
    let on = with(job("on", 40), json!({"init_adapter_dir": "sea/first", "lora_rank": null}));
    let (loss, whole) = {
        let (_process, client) = fixture.node("whole").await;
        let id = start_job(&client, &first).await;
        let loss = done(&client, &id).await["progress"]["loss"].as_f64().unwrap();
        let to = fixture.path(ADAPTERS).join("sea/first");
        std::fs::create_dir_all(&to).unwrap();
        for name in ["adapter_config.json", "adapter_model.safetensors"] {
            std::fs::copy(result(&fixture, "whole", &id).join(name), to.join(name)).unwrap();
        }
        for (name, value) in
            [("lora_rank", json!(4)), ("lora_alpha", json!(3)), ("target_modules", json!(["q_proj"]))]
        {
            let answer = client.post(SFT, &with(on.clone(), json!({name: value}))).await.unwrap();
            has(&answer.must_be(400).json()["error"], json!({"param": name}));
        }
        let id = start_job(&client, &on).await;
        done(&client, &id).await;
        (loss, weights(&fixture, "whole", &id))
    };
    let id = {
        let (mut process, client) = fixture.node("broken").await;
        let id = start_job(&client, &on).await;
        // By now the job has its own copy of the adapter from which it continues.
        std::fs::remove_dir_all(fixture.path(ADAPTERS).join("sea")).unwrap();
        until_step(&client, &id, 15).await;
        process.kill9().unwrap();
        id
    };
    let (_process, client) = fixture.node("broken").await;
    let job = done(&client, &id).await;
    has(&job, json!({"init_adapter_dir": "sea/first"}));
    has(&job["settings"], json!({"lora_rank": 8}));
    assert!(weights(&fixture, "broken", &id) == whole, "not those of a run that nobody broke off");
    let events = events_of(&client, &id).await;
    let began = events.iter().find(|event| event["kind"] == "progress").unwrap()["loss"].as_f64().unwrap();
    assert!(began < 2.0 * loss.max(0.5), "it began at {began}, and the one before ended at {loss}");
    says_what_it_learned(&client, "tiny:on", 2).await;
}

#[tokio::test]
async fn a_job_does_not_go_on_beside_another_model() {
    let fixture = Fixture::new();
    let id = fixture.killed("node", &job("tides", 500), 3).await;
    // One bit of one weight changes; the file's header stays the same.
    let path = fixture.path(MODEL).join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let (_process, client) = fixture.node("node").await;
    has(
        &until(&client, &id, |job| job["status"] == "failed").await["error"],
        json!({"code": "base_changed"}),
    );
    // Started again, the job trains against the current model.
    done(&client, &start_job(&client, &job("tides", 2)).await).await;
    has(&client.get("/v1/capabilities").await.unwrap().json()["training"], json!({"kinds": ["sft"]}));
}

#[tokio::test]
async fn a_job_is_called_off_in_the_midst_of_a_step_and_the_next_one_has_its_turn() {
    let fixture = Fixture::new();
    let (_process, client) = fixture.node("node").await;
    // One step over more data than this test could wait for.
    let mut texts = tides(200);
    for text in &mut texts {
        text["messages"][0]["content"] = json!("high tide, low tide, ".repeat(80));
    }
    let long = json!({"data": texts, "batch_tokens": 2_048, "batch_size": 1_000});
    let long = start_job(&client, &with(job("long", 1), long)).await;
    let next = start_job(&client, &job("next", 2)).await;
    // The data has been read, and the step has started.
    let accept = [("accept", "text/event-stream")];
    let path = format!("{JOBS}/{long}/events?after=1");
    let mut events = client.open(Method::GET, &path, &accept, Bytes::new()).await.unwrap();
    assert!(events.event().await.unwrap().unwrap().contains("\"started\""));
    events.hang_up();
    assert_eq!(look(&client, &next).await["status"], "queued");
    // Requests during training are answered.
    let answer = answer_to(&client, MODEL, "How often is tide 3?").await;
    assert_eq!((answer.status, look(&client, &long).await["status"].as_str()), (200, Some("running")));
    let last = start_job(&client, &job("last", 2)).await;
    for gone in [last, long.clone()] {
        let gone = client.delete(&format!("{JOBS}/{gone}")).await.unwrap().must_be(200).json();
        has(&gone, json!({"status": "cancelled"}));
    }
    done(&client, &next).await;
    assert_eq!(look(&client, &long).await["progress"], Value::Null, "no step of it was done");
    let events = client.get(&format!("{JOBS}/{long}/events?after=2")).await.unwrap().json();
    assert_eq!((&events["data"][0]["kind"], &events["next"]), (&json!("cancelled"), &json!(3)), "{events}");
    fails(&client.delete(&format!("{JOBS}/{next}")).await.unwrap(), 409, "job_is_over");
    client.delete(&format!("{JOBS}/{next}?forget=true")).await.unwrap().must_be(200);
    client.get(&format!("{JOBS}/{next}")).await.unwrap().must_be(404);
    // What it made is gone, too.
    answer_to(&client, "tiny:next", "x").await.must_be(404);
}

#[tokio::test]
async fn what_can_not_be_trained_is_refused_before_it_begins() {
    let fixture = Fixture::new();
    let (_process, client) = fixture.node("node").await;
    let asked = async |change: Value| client.post(SFT, &with(job("tides", 1), change)).await.unwrap();
    let lines = "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}\n\nno line\n{\"messages\":[{\"role\":\"sea\"}]}";
    let refused = asked(json!({"data": lines})).await;
    fails(&refused, 400, "invalid_training_data");
    let error = refused.json()["error"].clone();
    let message = error["message"].as_str().unwrap();
    says(message, &["line 1: messages have no assistant message", "line 3: isn't JSON"]);
    says(message, &["line 4: messages[0].role isn't one of"]);
    for (name, value, status) in [
        ("lora_rank", json!(1_000), 400),
        ("lr", json!("fast"), 400),
        ("target_modules", json!(["lm_head"]), 400),
        ("init_adapter_dir", json!("/somewhere"), 403),
        ("init_adapter_dir", json!("none"), 404),
        ("model", json!("gpt"), 404),
        ("device", json!("cuda"), 400),
        ("eval_examples", json!(8), 400),
        ("adapter", json!("../x"), 400),
        ("training_file", json!("file-1"), 400),
    ] {
        has(&asked(json!({name: value})).await.must_be(status).json()["error"], json!({"param": name}));
    }
    for path in ["/v1/train/d2l", "/v1/train/rl", "/v1/d2l/internalize"] {
        fails(&client.post(path, &json!({})).await.unwrap(), 501, "not_of_this_version");
    }
    let preview = asked(json!({"epochs": 3, "preview": true})).await.json();
    let outlook = &preview["outlook"];
    has(outlook, json!({"steps": 6, "texts": 6, "held_out_texts": 2}));
    assert!(outlook["memory_bytes"].as_u64() > outlook["parameters"].as_u64(), "{preview}");
    assert!(outlook["learned_tokens"].as_u64() < outlook["tokens"].as_u64(), "{preview}");
    assert_eq!(client.get(JOBS).await.unwrap().json()["data"], json!([]), "nothing was begun");
}

#[tokio::test]
async fn the_python_sdk_brings_files_and_has_models_tuned() {
    let fixture = Fixture::new();
    let (mut process, client) = fixture.node("node").await;
    let data: String = tides(8).iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(fixture.path("tides.jsonl"), data).unwrap();
    let rest = process.wait_text("http://", WITHIN).await.unwrap();
    let origin = rest.split_whitespace().next().unwrap();
    let mut command = tokio::process::Command::new(workspace().join(".venv/bin/python"));
    command.arg(workspace().join("tests/sdk/tuning.py"));
    command.args([format!("http://{origin}/v1"), fixture.path("tides.jsonl").display().to_string()]);
    command.env("NO_PROXY", "*").kill_on_drop(true);
    let output = tokio::time::timeout(WITHIN * 2, command.output()).await.unwrap().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{stdout}\n{}", String::from_utf8_lossy(&output.stderr));
    let held: Vec<&str> = stdout.lines().filter_map(|line| line.strip_prefix("ok ")).collect();
    assert_eq!(held, ["files", "refusals", "tuning", "checkpoints", "pauses", "pages"], "{stdout}");
    // The same job in the node's own format.
    let jobs = client.get(JOBS).await.unwrap().json();
    has(&jobs["data"][0], json!({"status": "completed"}));
    has(&jobs["data"][0]["settings"], json!({"batch_size": 4}));
}
