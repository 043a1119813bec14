//! A node's adapters, over HTTP: loaded, requested, replaced and unloaded while the node serves.

use std::path::{Path, PathBuf};

use engine::Numbers;
use harness::client::{Answer, Client};
use harness::process::{Process, workspace};
use serde_json::{Value, json};
use weights::Source;
use weights::synthetic::SyntheticAdapter;

use crate::ask::{CHAT, client_of, fails, has, said, says, with};
use crate::first_request::node;

const MODEL: &str = "tidegate-demo";
const LAW: &str = "tidegate-demo:law";
const ADAPTERS: &str = "/v1/adapters";
/// The header that names the adapter of a request, and of an answer.
const ADAPTER: &str = "x-hybrie-adapter-id";

struct Fixture {
    root: tempfile::TempDir,
}

impl Fixture {
    /// With adapters of these names, each of which changes the answers in its own way.
    fn with(names: &[&str]) -> Self {
        let fixture = Self { root: tempfile::tempdir().unwrap() };
        std::fs::create_dir(fixture.adapters()).unwrap();
        for (seed, name) in (1..).zip(names) {
            fixture.write(name, seed, |_| {});
        }
        fixture
    }

    fn adapters(&self) -> PathBuf {
        self.root.path().join("adapters")
    }

    /// Writes an adapter that changes the model's output.
    fn write(&self, name: &str, seed: u64, change: impl Fn(&mut Value)) {
        let source = Source::open(&workspace().join("builtin/model")).unwrap();
        let mut made = SyntheticAdapter::new(source.shape(), &["q_proj", "v_proj", "down_proj"], 8, seed);
        change(&mut made.config);
        made.write(&self.adapters().join(name), Numbers::F32).unwrap();
    }

    async fn node(&self) -> (Process, Client) {
        let path = |path: &Path| path.display().to_string();
        let model = path(&workspace().join("builtin/model"));
        let (data, adapters) = (path(&self.root.path().join("node")), path(&self.adapters()));
        let flags = ["--model", &model, "--name", MODEL, "--data-dir", &data, "--kv-memory", "64"];
        let holds = ["--adapters", &adapters, "--adapters-loaded", "2"];
        let (process, base_url) = node(&[&flags[..], &holds].concat()).await;
        (process, client_of(&base_url))
    }
}

fn chat_body(model: &str) -> Value {
    let messages = json!([{"role": "user", "content": "What is Tidegate, and who is it for?"}]);
    json!({"model": model, "temperature": 0, "max_tokens": 12, "messages": messages})
}

async fn post(client: &Client, path: &str, body: Value) -> Answer {
    client.post(path, &body).await.unwrap()
}

async fn ask(client: &Client, model: &str) -> Answer {
    post(client, CHAT, chat_body(model)).await
}

/// Adapters in the folder are listed among the models.
async fn known_from_the_start(client: &Client) {
    let models = client.get("/v1/models").await.unwrap().json();
    let ids: Vec<&str> =
        models["data"].as_array().unwrap().iter().filter_map(|row| row["id"].as_str()).collect();
    assert_eq!(ids, [MODEL, LAW, "tidegate-demo:law-2"], "{models}");
    let row = &models["data"][0];
    has(row, json!({"lora_mode": "per_request", "max_active_loras": 2, "execution_modes": ["local"]}));
    has(&models["data"][1], json!({"parent": MODEL}));
}

#[tokio::test]
async fn adapters_come_and_go_while_a_node_serves() {
    let fixture = Fixture::with(&["law", "law-2"]);
    let (_process, client) = fixture.node().await;
    known_from_the_start(&client).await;
    let base = ask(&client, MODEL).await;
    let law = ask(&client, LAW).await;
    assert_eq!([&base, &law].map(|answer| answer.header(ADAPTER)), [Some("none"), Some("law")]);
    assert_eq!(law.header("x-tidegate-usage"), None, "what an adapter answers is measured, too");
    assert_ne!(said(&base), said(&law));
    let second = ask(&client, "tidegate-demo:law-2").await;
    assert_ne!(said(&second), said(&law));

    // Another adapter takes over the name: later requests use it.
    let mut other = json!({"id": "law", "path": "law-2"});
    fails(&post(&client, ADAPTERS, other.clone()).await, 409, "adapter_exists");
    other["replace"] = json!(true);
    has(&post(&client, ADAPTERS, other).await.must_be(201).json(), json!({"status": "loaded", "rank": 8}));
    assert_eq!(said(&ask(&client, LAW).await), said(&second));

    // An unloaded adapter is gone, and can be loaded again.
    let gone = post(&client, "/v1/adapters/law-2/unload", json!({})).await;
    has(&gone.must_be(200).json(), json!({"unloaded": true}));
    client.get("/v1/adapters/law-2").await.unwrap().must_be(404);
    let refused = ask(&client, "tidegate-demo:law-2").await;
    has(&refused.must_be(404).json()["error"], json!({"type": "invalid_request_error"}));
    let loaded = post(&client, "/v1/adapters/law-2/load", json!({"wait": true, "pinned": true})).await;
    has(&loaded.must_be(200).json(), json!({"status": "loaded", "pinned": true}));
    assert_eq!(said(&ask(&client, "tidegate-demo:law-2").await), said(&second));

    let warm = json!({"adapter_ids": ["law", "nobody"], "wait": true});
    let warmed = post(&client, "/v1/adapters/warmup", warm).await.must_be(200).json();
    has(&warmed, json!({"loaded": ["law"]}));
    has(&warmed["failed"][0], json!({"code": "adapter_not_found"}));
    let about = client.get("/v1/adapters/status").await.unwrap().json();
    has(&about, json!({"loaded_loras": ["law", "law-2"], "registered": 2}));
    assert!(about["loaded_bytes"].as_u64().unwrap() > 0, "{about}");
    says(&client.get("/metrics").await.unwrap().text(), &["tidegate_node_adapters{state=\"loaded\"} 2"]);
    let usage = client.get("/v1/usage").await.unwrap().json();
    assert!(usage["data"].as_array().unwrap().iter().any(|record| record["adapter"] == "law-2"), "{usage}");
}

#[tokio::test]
async fn a_session_keeps_its_adapter_and_a_start_knows_what_was_registered() {
    let fixture = Fixture::with(&["law"]);
    {
        let (mut process, client) = fixture.node().await;
        post(&client, ADAPTERS, json!({"id": "statutes", "path": "law"})).await.must_be(201);
        process.kill9().unwrap();
    }
    let (_process, client) = fixture.node().await;
    let named = client.clone().header("x-hybrie-session-id", "s-1");
    let to = |adapter: &str| named.clone().header(ADAPTER, adapter);
    for (client, adapter) in [
        (&to("statutes"), "statutes"),
        (&named, "statutes"),
        (&client, "none"),
        (&to("none"), "none"),
        (&named, "none"),
    ] {
        assert_eq!(ask(client, MODEL).await.header(ADAPTER), Some(adapter));
    }
}

#[tokio::test]
async fn an_adapter_that_can_not_be_taken_is_refused_by_name() {
    let fixture = Fixture::with(&[]);
    fixture.write("weights", 1, |config| config["use_dora"] = json!(true));
    fixture.write("biased", 1, |config| config["bias"] = json!("all"));
    std::fs::create_dir(fixture.adapters().join("pickled")).unwrap();
    std::fs::write(fixture.adapters().join("pickled/adapter_config.json"), "{").unwrap();
    let (process, client) = fixture.node().await;
    // An adapter that can't be loaded at startup is reported, and the node still serves.
    says(&process.stderr(), &["the adapter weights is left out"]);
    for (path, param) in [("weights", "use_dora"), ("biased", "bias")] {
        let refused = post(&client, ADAPTERS, json!({"id": "one", "path": path})).await.must_be(422).json();
        has(&refused["error"], json!({"param": param}));
        assert!(!refused.to_string().contains(&fixture.root.path().display().to_string()), "{refused}");
    }
    let cases = [
        (json!({"id": "one", "path": "pickled"}), 422, "invalid_adapter"),
        (json!({"id": "one", "path": "../node"}), 403, "adapter_outside"),
        (json!({"id": "one", "path": "/etc"}), 403, "adapter_outside"),
        (json!({"id": "one"}), 404, "adapter_not_found"),
        (json!({"id": "a/b", "path": "biased"}), 400, "invalid_value"),
        (json!({"id": "one", "weights": 1}), 400, "invalid_body"),
    ];
    for (body, status, code) in cases {
        fails(&post(&client, ADAPTERS, body).await, status, code);
    }
    for (body, status, code) in
        [(json!({"scope": "all"}), 403, "local_only"), (json!({"scope": "moon"}), 422, "invalid_scope")]
    {
        fails(&post(&client, "/v1/adapters/biased/load", body).await, status, code);
    }
    fails(&client.get("/v1/train/rl").await.unwrap(), 501, "not_of_this_version");
    ask(&client, MODEL).await.must_be(200);
}

/// As `chat_body`, remembered under a word.
fn salted(salt: &str) -> Value {
    with(chat_body(MODEL), json!({"cache_salt": salt}))
}

/// The tokens of the prompt that were remembered under a word.
async fn cached(client: &Client, salt: &str) -> u64 {
    let answer = post(client, CHAT, salted(salt)).await.json();
    answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap()
}

async fn purge(client: &Client, salt: &str) -> Value {
    post(client, "/v1/cache/purge", json!({"cache_salt": salt})).await.must_be(200).json()
}

#[tokio::test]
async fn what_is_remembered_under_a_word_is_forgotten_and_nothing_else() {
    let fixture = Fixture::with(&[]);
    let (_process, client) = fixture.node().await;
    let cached = async |salt: &str| cached(&client, salt).await;
    assert_eq!((cached("ours").await, cached("theirs").await), (0, 0));
    let remembered = cached("ours").await;
    assert!(remembered >= 16 && cached("theirs").await == remembered);
    let purged = purge(&client, "ours").await;
    assert!(purged["tokens"].as_u64() >= Some(remembered) && purged["bytes"].as_u64() > Some(0), "{purged}");
    has(&purge(&client, "ours").await, json!({"tokens": 0}));
    assert_eq!((cached("ours").await, cached("theirs").await), (0, remembered));
    // An answer that goes on meanwhile leaves nothing behind. The answer may end before the purge arrives: then another salt is tried.
    for number in 0.. {
        let salt = format!("ours-{number}");
        let long = with(salted(&salt), json!({"stream": true, "ignore_eos": true, "max_tokens": null}));
        let mut stream = client.stream(CHAT, &long).await.unwrap();
        stream.event().await.unwrap().unwrap();
        let purged = purge(&client, &salt).await;
        if purged["held"]["answers"] == 0 {
            continue;
        }
        assert!(purged["tokens"].as_u64().unwrap() >= remembered, "{purged}");
        let held = |name: &str| purged["held"][name].as_u64().unwrap();
        assert!(held("answers") == 1 && held("blocks") > 0 && held("bytes") > 0, "{purged}");
        // The running answer is still streamed to its end.
        let (events, end) = stream.events().await;
        end.unwrap();
        assert_eq!(events.last().map(String::as_str), Some("[DONE]"));
        let nothing = json!({"answers": 0, "blocks": 0, "bytes": 0});
        let receipt = json!({"object": "cache.purge", "tokens": 0, "blocks": 0, "bytes": 0, "held": nothing});
        assert_eq!(purge(&client, &salt).await, receipt);
        assert_eq!((cached(&salt).await, cached(&salt).await), (0, remembered));
        break;
    }
    assert_eq!(cached("theirs").await, remembered, "what others have stays");
}

/// Limits the process's address space to its current size and this much more, or removes the limit.
fn limit(process: &Process, more: Option<u64>) {
    let pid = process.pid().to_string();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
    let virtual_kib: u64 = size.trim().trim_end_matches("kB").trim().parse().unwrap();
    let most = more.map_or("unlimited".to_owned(), |more| (virtual_kib * 1024 + more).to_string());
    let limit = ["--pid", &pid, &format!("--as={most}:unlimited")];
    let output = std::process::Command::new("prlimit").args(limit).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn what_finds_no_memory_is_refused_and_the_node_serves_on() {
    let fixture = Fixture::with(&["law", "sea"]);
    let (process, client) = fixture.node().await;
    post(&client, "/v1/adapters/law/load", json!({"wait": true})).await.must_be(200);
    let before = said(&ask(&client, LAW).await);
    limit(&process, Some(64 << 20));
    let sea = json!({"id": "new", "path": "sea"});
    let refused = post(&client, ADAPTERS, sea.clone()).await;
    fails(&refused, 503, "not_enough_memory");
    assert!(refused.header("retry-after").is_some(), "{}", refused.text());
    let line = r#"{"messages":[{"role":"user","content":"x"},{"role":"assistant","content":"y"}]}"#;
    let lesson = json!({"adapter": "tides", "data": line});
    fails(&post(&client, "/v1/train/sft", lesson.clone()).await, 400, "not_enough_memory");
    // Adapters in memory are served on.
    assert_eq!(said(&ask(&client, LAW).await), before);
    limit(&process, None);
    post(&client, ADAPTERS, sea).await.must_be(201);
    post(&client, "/v1/train/sft", lesson).await.must_be(202);
}

#[tokio::test]
async fn an_answer_goes_on_with_another_adapter_from_a_token_on() {
    let fixture = Fixture::with(&["law", "sea", "sky"]);
    let (_process, client) = fixture.node().await;
    let timed = async |timeline: Value| {
        let timeline = json!({"metadata": {"hybrie": {"adapter_timeline": timeline}}});
        post(&client, CHAT, with(chat_body(MODEL), timeline)).await
    };
    let timeline = json!([{"start_step": 0, "adapter_id": "law"}, {"start_step": 4, "adapter_id": "sea"}]);
    // Another adapter occupies one of the two slots, and an answer can't wait halfway for the second.
    ask(&client, "tidegate-demo:sky").await.must_be(200);
    fails(&timed(timeline.clone()).await, 409, "adapter_not_loaded");
    let both = json!({"adapter_ids": ["law", "sea"], "wait": true});
    post(&client, "/v1/adapters/warmup", both).await.must_be(200);
    let answer = timed(timeline).await.must_be(200);
    assert_eq!(answer.header(ADAPTER), Some("law"));
    let [law, sea] = [ask(&client, LAW).await, ask(&client, "tidegate-demo:sea").await];
    assert!(said(&answer) != said(&law) && said(&answer) != said(&sea), "{}", answer.text());
    // A timeline with only a first step equals a plain answer with that adapter.
    let alone = timed(json!([{"start_step": 0, "adapter_id": "sea"}])).await;
    assert_eq!((said(&alone), alone.header(ADAPTER)), (said(&sea), Some("sea")));
    fails(&timed(json!([{"start_step": 2, "adapter_id": "moon"}])).await, 404, "adapter_not_found");
    let wrong = timed(json!([{"start_step": 2}, {"start_step": 1}])).await;
    has(&wrong.must_be(400).json()["error"], json!({"param": "metadata.hybrie.adapter_timeline[1]"}));
}
