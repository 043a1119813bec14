//! A node's adapters, over HTTP: loaded, requested, replaced and unloaded while the node serves.

use std::path::{Path, PathBuf};

use engine::Numbers;
use harness::client::{Answer, Client};
use harness::process::{Process, workspace};
use serde_json::{Value, json};
use weights::Source;
use weights::synthetic::SyntheticAdapter;

use crate::WITHIN;
use crate::ask::{CHAT, fails, has, said, says};
use crate::first_request::node;

const MODEL: &str = "tidegate-demo";

struct Fixture {
    root: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let fixture = Self { root: tempfile::tempdir().unwrap() };
        std::fs::create_dir(fixture.adapters()).unwrap();
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
        let flags = [
            "--model",
            &model,
            "--name",
            MODEL,
            "--data-dir",
            &data,
            "--kv-memory",
            "64",
            "--adapters",
            &adapters,
        ];
        let (process, base_url) = node(&[&flags[..], &["--adapters-loaded", "2"]].concat()).await;
        (process, Client::new(base_url.trim_end_matches("/v1")).within(WITHIN))
    }
}

fn chat_body(model: &str) -> Value {
    let messages = json!([{"role": "user", "content": "What is Tidegate, and who is it for?"}]);
    json!({"model": model, "temperature": 0, "max_tokens": 12, "messages": messages})
}

async fn post(client: &Client, path: &str, body: Value) -> (u16, Value) {
    let answer = client.post(path, &body).await.unwrap();
    (answer.status, answer.json())
}

async fn ask(client: &Client, model: &str) -> Answer {
    client.post(CHAT, &chat_body(model)).await.unwrap()
}

/// Adapters in the folder are listed among the models.
async fn known_from_the_start(client: &Client) {
    let models = client.get("/v1/models").await.unwrap().json();
    let ids: Vec<&str> =
        models["data"].as_array().unwrap().iter().filter_map(|row| row["id"].as_str()).collect();
    assert_eq!(ids, [MODEL, "tidegate-demo:law", "tidegate-demo:law-2"], "{models}");
    let row = &models["data"][0];
    assert_eq!((&row["lora_mode"], &row["max_active_loras"]), (&json!("per_request"), &json!(2)), "{models}");
    assert_eq!((&row["execution_modes"], &models["data"][1]["parent"]), (&json!(["local"]), &json!(MODEL)));
}

#[tokio::test]
async fn adapters_come_and_go_while_a_node_serves() {
    let fixture = Fixture::new();
    fixture.write("law", 1, |_| {});
    fixture.write("law-2", 2, |_| {});
    let (_process, client) = fixture.node().await;
    known_from_the_start(&client).await;
    let base = ask(&client, MODEL).await;
    let law = ask(&client, "tidegate-demo:law").await;
    assert_eq!(
        (base.header("x-hybrie-adapter-id"), law.header("x-hybrie-adapter-id")),
        (Some("none"), Some("law"))
    );
    assert_eq!(law.header("x-tidegate-usage"), None, "what an adapter answers is measured, too");
    assert_ne!(said(&base), said(&law));
    let second = ask(&client, "tidegate-demo:law-2").await;
    assert_ne!(said(&second), said(&law));

    // Another adapter takes over the name: later requests use it.
    let (status, conflict) = post(&client, "/v1/adapters", json!({"id": "law", "path": "law-2"})).await;
    assert_eq!((status, &conflict["error"]["code"]), (409, &json!("adapter_exists")), "{conflict}");
    let (status, replaced) =
        post(&client, "/v1/adapters", json!({"id": "law", "path": "law-2", "replace": true})).await;
    assert_eq!(
        (status, &replaced["status"], &replaced["rank"]),
        (201, &json!("loaded"), &json!(8)),
        "{replaced}"
    );
    assert_eq!(said(&ask(&client, "tidegate-demo:law").await), said(&second));

    // An unloaded adapter is gone, and can be loaded again.
    let (status, gone) = post(&client, "/v1/adapters/law-2/unload", json!({})).await;
    assert_eq!((status, &gone["unloaded"]), (200, &json!(true)), "{gone}");
    assert_eq!(client.get("/v1/adapters/law-2").await.unwrap().status, 404);
    let refused = ask(&client, "tidegate-demo:law-2").await;
    assert_eq!(
        (refused.status, &refused.json()["error"]["type"]),
        (404, &json!("invalid_request_error")),
        "{}",
        refused.text()
    );
    let (status, loaded) =
        post(&client, "/v1/adapters/law-2/load", json!({"wait": true, "pinned": true})).await;
    assert_eq!(
        (status, &loaded["status"], &loaded["pinned"]),
        (200, &json!("loaded"), &json!(true)),
        "{loaded}"
    );
    assert_eq!(said(&ask(&client, "tidegate-demo:law-2").await), said(&second));

    let (status, warmed) =
        post(&client, "/v1/adapters/warmup", json!({"adapter_ids": ["law", "nobody"], "wait": true})).await;
    assert_eq!(
        (status, &warmed["loaded"], &warmed["failed"][0]["code"]),
        (200, &json!(["law"]), &json!("adapter_not_found")),
        "{warmed}"
    );
    let about = client.get("/v1/adapters/status").await.unwrap().json();
    has(&about, json!({"loaded_loras": ["law", "law-2"], "registered": 2}));
    assert!(about["loaded_bytes"].as_u64().unwrap() > 0, "{about}");
    says(&client.get("/metrics").await.unwrap().text(), &["tidegate_node_adapters{state=\"loaded\"} 2"]);
    let usage = client.get("/v1/usage").await.unwrap().json();
    assert!(usage["data"].as_array().unwrap().iter().any(|record| record["adapter"] == "law-2"), "{usage}");
}

#[tokio::test]
async fn a_session_keeps_its_adapter_and_a_start_knows_what_was_registered() {
    let fixture = Fixture::new();
    fixture.write("law", 1, |_| {});
    {
        let (mut process, client) = fixture.node().await;
        let (status, _) = post(&client, "/v1/adapters", json!({"id": "statutes", "path": "law"})).await;
        assert_eq!(status, 201);
        process.kill9().unwrap();
    }
    let (_process, client) = fixture.node().await;
    let named = client.clone().header("x-hybrie-session-id", "s-1");
    let adapter = async |client: Client, headers: &[(&'static str, &str)]| {
        let client = headers.iter().fold(client, |client, (name, value)| client.header(*name, *value));
        let answer = ask(&client, MODEL).await;
        answer.header("x-hybrie-adapter-id").unwrap().to_owned()
    };
    assert_eq!(adapter(named.clone(), &[("x-hybrie-adapter-id", "statutes")]).await, "statutes");
    assert_eq!(adapter(named.clone(), &[]).await, "statutes");
    assert_eq!(adapter(client.clone(), &[]).await, "none");
    assert_eq!(adapter(named.clone(), &[("x-hybrie-adapter-id", "none")]).await, "none");
    assert_eq!(adapter(named, &[]).await, "none");
}

#[tokio::test]
async fn an_adapter_that_can_not_be_taken_is_refused_by_name() {
    let fixture = Fixture::new();
    fixture.write("weights", 1, |config| config["use_dora"] = json!(true));
    fixture.write("biased", 1, |config| config["bias"] = json!("all"));
    std::fs::create_dir(fixture.adapters().join("pickled")).unwrap();
    std::fs::write(fixture.adapters().join("pickled/adapter_config.json"), "{").unwrap();
    let (process, client) = fixture.node().await;
    // An adapter that can't be loaded at startup is reported, and the node still serves.
    assert!(process.stderr().contains("the adapter weights is left out"), "{}", process.stderr());
    for (path, param) in [("weights", "use_dora"), ("biased", "bias")] {
        let (status, refused) = post(&client, "/v1/adapters", json!({"id": "one", "path": path})).await;
        assert_eq!((status, &refused["error"]["param"]), (422, &json!(param)), "{refused}");
        assert!(!refused.to_string().contains(&fixture.root.path().display().to_string()), "{refused}");
    }
    let (status, refused) = post(&client, "/v1/adapters", json!({"id": "one", "path": "pickled"})).await;
    assert_eq!((status, &refused["error"]["code"]), (422, &json!("invalid_adapter")), "{refused}");
    let cases = [
        (json!({"id": "one", "path": "../node"}), 403, "adapter_outside"),
        (json!({"id": "one", "path": "/etc"}), 403, "adapter_outside"),
        (json!({"id": "one"}), 404, "adapter_not_found"),
        (json!({"id": "a/b", "path": "biased"}), 400, "invalid_value"),
        (json!({"id": "one", "weights": 1}), 400, "invalid_body"),
    ];
    for (body, status, code) in cases {
        let (answered, refused) = post(&client, "/v1/adapters", body.clone()).await;
        assert_eq!((answered, &refused["error"]["code"]), (status, &json!(code)), "{body} {refused}");
    }
    for (body, status, code) in
        [(json!({"scope": "all"}), 403, "local_only"), (json!({"scope": "moon"}), 422, "invalid_scope")]
    {
        let (answered, refused) = post(&client, "/v1/adapters/biased/load", body).await;
        assert_eq!((answered, &refused["error"]["code"]), (status, &json!(code)), "{refused}");
    }
    fails(&client.get("/v1/train/rl").await.unwrap(), 501, "not_of_this_version");
    assert_eq!(ask(&client, MODEL).await.status, 200);
}

#[tokio::test]
async fn what_is_remembered_under_a_word_is_forgotten_and_nothing_else() {
    let fixture = Fixture::new();
    let (_process, client) = fixture.node().await;
    let cached = async |salt: &str| {
        let mut request = chat_body(MODEL);
        request["cache_salt"] = json!(salt);
        let answer = client.post(CHAT, &request).await.unwrap().json();
        answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap()
    };
    assert_eq!((cached("ours").await, cached("theirs").await), (0, 0));
    let remembered = cached("ours").await;
    assert!(remembered >= 16 && cached("theirs").await == remembered);
    let (status, purged) = post(&client, "/v1/cache/purge", json!({"cache_salt": "ours"})).await;
    assert_eq!(status, 200, "{purged}");
    assert!(
        purged["tokens"].as_u64().unwrap() >= remembered && purged["bytes"].as_u64().unwrap() > 0,
        "{purged}"
    );
    let (_, again) = post(&client, "/v1/cache/purge", json!({"cache_salt": "ours"})).await;
    assert_eq!(again["tokens"], 0, "{again}");
    assert_eq!((cached("ours").await, cached("theirs").await), (0, remembered));
}

#[tokio::test]
async fn an_answer_that_goes_on_when_its_word_is_purged_leaves_nothing_behind() {
    let fixture = Fixture::new();
    let (_process, client) = fixture.node().await;
    let salted = |salt: &str| {
        let mut request = chat_body(MODEL);
        request["cache_salt"] = json!(salt);
        request
    };
    let cached = async |salt: &str| {
        let answer = client.post(CHAT, &salted(salt)).await.unwrap().json();
        answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap()
    };
    cached("theirs").await;
    let remembered = cached("theirs").await;
    assert!(remembered >= 16);
    // The answer may end before the purge arrives: then another salt is tried.
    for number in 0.. {
        let salt = format!("ours-{number}");
        let mut long = salted(&salt);
        (long["stream"], long["ignore_eos"]) = (json!(true), json!(true));
        long.as_object_mut().unwrap().remove("max_tokens");
        let mut stream = client.stream(CHAT, &long).await.unwrap();
        stream.event().await.unwrap().unwrap();
        let (status, purged) = post(&client, "/v1/cache/purge", json!({"cache_salt": salt})).await;
        assert_eq!(status, 200, "{purged}");
        if purged["held"]["answers"] == 0 {
            continue;
        }
        assert!(purged["tokens"].as_u64().unwrap() >= remembered, "{purged}");
        let held = |name: &str| purged["held"][name].as_u64().unwrap();
        assert!(held("answers") == 1 && held("blocks") > 0 && held("bytes") > 0, "{purged}");
        // The running answer is still streamed to its end.
        let mut last = String::new();
        while let Some(event) = stream.event().await.unwrap() {
            last = event;
        }
        assert_eq!(last, "[DONE]");
        let (_, again) = post(&client, "/v1/cache/purge", json!({"cache_salt": salt})).await;
        let nothing = json!({"answers": 0, "blocks": 0, "bytes": 0});
        let receipt = json!({"object": "cache.purge", "tokens": 0, "blocks": 0, "bytes": 0, "held": nothing});
        assert_eq!(again, receipt);
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
    let output = std::process::Command::new("prlimit")
        .args(["--pid", &pid, &format!("--as={most}:unlimited")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn what_finds_no_memory_is_refused_and_the_node_serves_on() {
    let fixture = Fixture::new();
    fixture.write("law", 1, |_| {});
    fixture.write("sea", 2, |_| {});
    let (process, client) = fixture.node().await;
    assert_eq!(post(&client, "/v1/adapters/law/load", json!({"wait": true})).await.0, 200);
    let before = said(&ask(&client, "tidegate-demo:law").await);
    limit(&process, Some(64 << 20));
    let refused = client.post("/v1/adapters", &json!({"id": "new", "path": "sea"})).await.unwrap();
    fails(&refused, 503, "not_enough_memory");
    assert!(refused.header("retry-after").is_some(), "{}", refused.text());
    let line = r#"{"messages":[{"role":"user","content":"x"},{"role":"assistant","content":"y"}]}"#;
    let lesson = json!({"adapter": "tides", "data": line});
    let (status, refused) = post(&client, "/v1/train/sft", lesson.clone()).await;
    assert_eq!((status, &refused["error"]["code"]), (400, &json!("not_enough_memory")), "{refused}");
    // Adapters in memory are served on.
    assert_eq!(said(&ask(&client, "tidegate-demo:law").await), before);
    limit(&process, None);
    assert_eq!(post(&client, "/v1/adapters", json!({"id": "new", "path": "sea"})).await.0, 201);
    assert_eq!(post(&client, "/v1/train/sft", lesson).await.0, 202);
}

#[tokio::test]
async fn an_answer_goes_on_with_another_adapter_from_a_token_on() {
    let fixture = Fixture::new();
    fixture.write("law", 1, |_| {});
    fixture.write("sea", 2, |_| {});
    fixture.write("sky", 3, |_| {});
    let (_process, client) = fixture.node().await;
    let timed = async |timeline: Value| {
        let mut body = chat_body(MODEL);
        body["metadata"] = json!({"hybrie": {"adapter_timeline": timeline}});
        client.post(CHAT, &body).await.unwrap()
    };
    let timeline = json!([{"start_step": 0, "adapter_id": "law"}, {"start_step": 4, "adapter_id": "sea"}]);
    // Another adapter occupies one of the two slots, and an answer can't wait halfway for the second.
    assert_eq!(ask(&client, "tidegate-demo:sky").await.status, 200);
    fails(&timed(timeline.clone()).await, 409, "adapter_not_loaded");
    let both = json!({"adapter_ids": ["law", "sea"], "wait": true});
    assert_eq!(post(&client, "/v1/adapters/warmup", both).await.0, 200);
    let answer = timed(timeline).await;
    assert_eq!(
        (answer.status, answer.header("x-hybrie-adapter-id")),
        (200, Some("law")),
        "{}",
        answer.text()
    );
    let [law, sea] = [ask(&client, "tidegate-demo:law").await, ask(&client, "tidegate-demo:sea").await];
    assert!(said(&answer) != said(&law) && said(&answer) != said(&sea), "{}", answer.text());
    // A timeline with only a first step equals a plain answer with that adapter.
    let alone = timed(json!([{"start_step": 0, "adapter_id": "sea"}])).await;
    assert_eq!((said(&alone), alone.header("x-hybrie-adapter-id")), (said(&sea), Some("sea")));
    fails(&timed(json!([{"start_step": 2, "adapter_id": "moon"}])).await, 404, "adapter_not_found");
    let wrong = timed(json!([{"start_step": 2}, {"start_step": 1}])).await;
    let error = &wrong.json()["error"];
    assert_eq!(
        (wrong.status, &error["param"]),
        (400, &json!("metadata.hybrie.adapter_timeline[1]")),
        "{error}"
    );
}
