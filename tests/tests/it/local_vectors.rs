//! A node with an embedding model, and one with a reranker: the built-in model's weights, with the files that
//! declare the purpose.

use std::path::{Path, PathBuf};
use std::time::Instant;

use harness::client::{Answer, Client};
use harness::process::{Process, workspace};
use serde_json::{Value, json};

use crate::WITHIN;
use crate::ask::{CHAT, has, records, with};
use crate::command::Cli;
use crate::first_request::node;
use crate::gateway::{first_start, python};
use crate::wait::a_moment;

const EMBEDDINGS: &str = "/v1/embeddings";
const RERANK: &str = "/v1/rerank";
const WIDTH: usize = 256;

fn copy_model(root: &Path, name: &str) -> PathBuf {
    let to = root.join(name);
    std::fs::create_dir_all(&to).unwrap();
    for file in std::fs::read_dir(workspace().join("builtin/model")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
    to
}

fn change(path: &Path, change: impl Fn(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    change(&mut value);
    std::fs::write(path, value.to_string()).unwrap();
}

/// The built-in model, packaged as vendors publish embedding models.
pub fn for_vectors(root: &Path) -> PathBuf {
    let model = copy_model(root, "vectors");
    let kind = |name: &str| json!({"type": format!("sentence_transformers.models.{name}")});
    let modules = json!([kind("Transformer"), kind("Pooling"), kind("Normalize")]);
    std::fs::write(model.join("modules.json"), modules.to_string()).unwrap();
    std::fs::create_dir(model.join("1_Pooling")).unwrap();
    let pooling = json!({"pooling_mode_lasttoken": true, "pooling_mode_mean_tokens": false});
    std::fs::write(model.join("1_Pooling/config.json"), pooling.to_string()).unwrap();
    let habits = json!({"prompts": {"query": "Question: "}, "default_prompt_name": null});
    std::fs::write(model.join("config_sentence_transformers.json"), habits.to_string()).unwrap();
    change(&model.join("tokenizer.json"), |tokenizer| {
        let special_tokens = tokenizer["added_tokens"].as_array().unwrap();
        let end = special_tokens.iter().find(|token| token["content"] == "<|endoftext|>").unwrap();
        let end = end["id"].clone();
        let text = json!({"Sequence": {"id": "A", "type_id": 0}});
        let special_token = json!({"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}});
        tokenizer["post_processor"] = json!({
            "type": "TemplateProcessing", "single": [text, special_token], "pair": [text, special_token],
            "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [end], "tokens": ["<|endoftext|>"]}},
        });
    });
    model
}

/// The built-in model with a one-row classification head.
fn for_ranks(root: &Path) -> PathBuf {
    let model = copy_model(root, "ranks");
    change(&model.join("config.json"), |config| {
        config["architectures"] = json!(["Qwen3ForSequenceClassification"]);
    });
    let head = json!({"score.weight": {"dtype": "F32", "shape": [1, WIDTH], "data_offsets": [0, 4 * WIDTH]}});
    let head = head.to_string();
    let mut file = (head.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(head.as_bytes());
    for index in 0..WIDTH {
        let number: f32 = if index % 3 == 0 { 0.02 } else { -0.01 };
        file.extend_from_slice(&number.to_le_bytes());
    }
    std::fs::write(model.join("score.safetensors"), file).unwrap();
    let index = json!({"weight_map": {"model.norm.weight": "model.safetensors", "score.weight": "score.safetensors"}});
    std::fs::write(model.join("model.safetensors.index.json"), index.to_string()).unwrap();
    model
}

async fn start_node(root: &Path, model: &Path) -> (Process, Client, String) {
    let model = model.display().to_string();
    let data_dir = root.join("node").display().to_string();
    let options = ["--model", &model, "--name", "tiny", "--data-dir", &data_dir, "--kv-memory", "64"];
    let (process, base_url) = node(&options).await;
    let client = Client::new(base_url.trim_end_matches("/v1")).within(WITHIN);
    (process, client, base_url)
}

fn vectors(answer: &Answer) -> Vec<Vec<f64>> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    let row = |(at, row): (usize, &Value)| {
        has(row, json!({"object": "embedding", "index": at}));
        row["embedding"].as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
    };
    answer["data"].as_array().unwrap().iter().enumerate().map(row).collect()
}

#[tokio::test]
async fn a_vector_is_the_same_alone_and_among_others_and_is_in_the_books() {
    let root = tempfile::tempdir().unwrap();
    let (_process, client, _) = start_node(root.path(), &for_vectors(root.path())).await;
    let texts: Vec<String> =
        (0..40).map(|number| format!("On day {number} the tide was high. ").repeat(1 + number % 7)).collect();
    let ask = |input: Value| json!({"model": "tiny", "input": input});
    let answer = client.post(EMBEDDINGS, &ask(json!(texts))).await.unwrap();
    assert_eq!(answer.header("x-hybrie-selected-backend"), Some("local"));
    let all = vectors(&answer);
    let tokens = answer.json()["usage"]["prompt_tokens"].as_u64().unwrap();
    assert_eq!((all.len(), answer.json()["usage"]["total_tokens"].as_u64()), (40, Some(tokens)));
    let mut counted = 0;
    for at in [0, 6, 20, 39] {
        let answer = client.post(EMBEDDINGS, &ask(json!(texts[at]))).await.unwrap();
        assert_eq!(vectors(&answer), [all[at].clone()], "{at}");
        counted += answer.json()["usage"]["prompt_tokens"].as_u64().unwrap();
    }
    let length: f64 = all[0].iter().map(|number| number * number).sum();
    assert!((length - 1.0).abs() < 1e-5 && all[0].len() == WIDTH && all[0] != all[1]);
    let kept = records(&client, 5).await;
    assert!(kept.iter().all(|record| record["operation"] == "embed" && record["end"] == "whole"), "{kept:?}");
    let sums: Vec<u64> = kept.iter().map(|record| record["input_tokens"].as_u64().unwrap()).collect();
    assert_eq!((sums[0], sums[1..].iter().sum::<u64>()), (tokens, counted));
    let page = client.get("/metrics").await.unwrap().text();
    let metric = format!("tidegate_node_tokens_total{{kind=\"prompt\"}} {}", tokens + counted);
    assert!(page.contains(&metric) && page.contains("tidegate_node_requests_open 0"), "{page}");
}

#[tokio::test]
async fn the_official_sdk_gets_vectors_and_what_such_a_model_can_not_do_is_told_by_name() {
    let root = tempfile::tempdir().unwrap();
    let (_process, client, base_url) = start_node(root.path(), &for_vectors(root.path())).await;
    let mut command = tokio::process::Command::new(python());
    command.arg(workspace().join("tests/sdk/local_vectors.py")).arg(&base_url);
    command.env("NO_PROXY", "*").kill_on_drop(true);
    let output = tokio::time::timeout(WITHIN * 3, command.output()).await.unwrap().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{stdout}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(stdout.lines().filter(|line| line.starts_with("ok ")).count(), 5, "{stdout}");
    let models = client.get("/v1/models").await.unwrap().json();
    assert_eq!(models["data"][0]["capabilities"], json!(["embeddings"]), "{models}");
    let capabilities = client.get("/v1/capabilities").await.unwrap().json();
    assert_eq!(capabilities["models"][0]["makes"], json!(["embeddings"]), "{capabilities}");
    let (wrong, undone) = ("invalid_value", "unsupported_operation");
    let chat = json!({"messages": [{"role": "user", "content": "x"}]});
    let long = json!({"input": ["a", "tide ".repeat(5_000)]});
    let truncated = json!({"input": "a", "truncate": "END"});
    for (path, more, status, code, param) in [
        (CHAT, chat, 400, undone, "model"),
        (RERANK, json!({"query": "q", "documents": ["a"]}), 400, undone, "model"),
        (EMBEDDINGS, json!({"model": "other", "input": "a"}), 404, "model_not_found", "model"),
        (EMBEDDINGS, json!({}), 400, "missing_required_parameter", "input"),
        (EMBEDDINGS, json!({"input": []}), 400, wrong, "input"),
        (EMBEDDINGS, json!({"input": ["a", [1, 5_000_000_000_u64]]}), 400, wrong, "input[1][1]"),
        (EMBEDDINGS, json!({"input": ["a", [1, 5_000]]}), 400, wrong, "input[1][1]"),
        (EMBEDDINGS, long, 400, "context_length_exceeded", "input[1]"),
        (EMBEDDINGS, json!({"input": "a", "dimensions": 257}), 400, wrong, "dimensions"),
        (EMBEDDINGS, json!({"input": "a", "encoding_format": "hex"}), 400, wrong, "encoding_format"),
        (EMBEDDINGS, truncated.clone(), 400, "unsupported_parameter", "truncate"),
    ] {
        let answer = client.post(path, &with(json!({"model": "tiny"}), more)).await.unwrap();
        has(&answer.must_be(status).json()["error"], json!({"code": code, "param": param}));
    }
    let lenient = client.clone().header("agent-lenient", "true");
    let request = with(truncated, json!({"model": "tiny"}));
    assert_eq!(lenient.post(EMBEDDINGS, &request).await.unwrap().status, 200);
    let elsewhere = json!({"model": "cloud/tiny", "input": "a"});
    assert_eq!(client.post(EMBEDDINGS, &elsewhere).await.unwrap().status, 403);
    assert_eq!(client.get(EMBEDDINGS).await.unwrap().status, 405);
    // The node keeps serving.
    client.post(EMBEDDINGS, &json!({"model": "local/tiny", "input": [1, 2]})).await.unwrap().must_be(200);
}

#[tokio::test]
async fn documents_come_in_the_order_of_their_scores() {
    let root = tempfile::tempdir().unwrap();
    let (_process, client, _) = start_node(root.path(), &for_ranks(root.path())).await;
    let models = client.get("/v1/models/tiny").await.unwrap().json();
    assert_eq!(models["capabilities"], json!(["rerank"]), "{models}");
    let documents: Vec<Value> = (0..20)
        .map(|number| match number % 2 {
            0 => json!(format!("Paper {number}: the tide is high.")),
            _ => json!({"text": format!("A note of {number} tokens.")}),
        })
        .collect();
    let request = json!({"model": "tiny", "query": "When is high tide?", "documents": documents});
    let request = with(request, json!({"return_documents": true}));
    let answer = client.post(RERANK, &request).await.unwrap().json();
    let rows = answer["results"].as_array().unwrap();
    let scores: Vec<f64> = rows.iter().map(|row| row["relevance_score"].as_f64().unwrap()).collect();
    assert!(scores.is_sorted_by(|one, other| one >= other) && scores[0] > scores[19], "{answer}");
    assert!(scores.iter().all(|score| (0.0..=1.0).contains(score)));
    has(&answer, json!({"object": "rerank", "model": "tiny"}));
    assert!(answer["usage"]["total_tokens"].as_u64().unwrap() > 20 * 50, "{answer}");
    let best = usize::try_from(rows[0]["index"].as_u64().unwrap()).unwrap();
    let text = if best % 2 == 0 { documents[best].clone() } else { documents[best]["text"].clone() };
    assert_eq!(rows[0]["document"]["text"], text, "{answer}");
    // Each document is scored independently: alone it has the same score.
    let alone = json!({"model": "tiny", "query": "When is high tide?", "documents": [text], "top_n": 3});
    let answer = client.post(RERANK, &alone).await.unwrap().json();
    assert_eq!(answer["results"], json!([{"index": 0, "relevance_score": scores[0]}]), "{answer}");
    for (body, param) in [
        (json!({"model": "tiny", "documents": ["a"]}), "query"),
        (json!({"model": "tiny", "query": "q", "documents": []}), "documents"),
        (json!({"model": "tiny", "query": "q", "documents": [{"title": "t"}]}), "documents[0]"),
        (json!({"model": "tiny", "query": "q", "documents": ["a"], "top_n": 0}), "top_n"),
    ] {
        let answer = client.post(RERANK, &body).await.unwrap().must_be(400);
        has(&answer.json(), json!({"/error/param": param}));
    }
    let kept = records(&client, 2).await;
    let is_kept = |record: &Value| record["operation"] == "rerank" && record["is_measured"] == true;
    assert!(kept.iter().all(is_kept), "{kept:?}");
}

#[tokio::test]
async fn who_leaves_frees_what_was_read_for_it() {
    let root = tempfile::tempdir().unwrap();
    let (_process, client, _) = start_node(root.path(), &for_vectors(root.path())).await;
    // More than the node can process before the client gives up.
    let texts: Vec<String> = (0..2_000).map(|number| format!("tide {number} ").repeat(200)).collect();
    let (leaving, request) = (client.clone(), json!({"model": "tiny", "input": texts}));
    let asking = tokio::spawn(async move { leaving.post(EMBEDDINGS, &request).await.map(drop) });
    let deadline = Instant::now() + WITHIN;
    while !client.get("/metrics").await.unwrap().text().contains("tidegate_node_requests_open 1") {
        assert!(Instant::now() < deadline && !asking.is_finished(), "it was never on its way");
        a_moment().await;
    }
    asking.abort();
    let kept = records(&client, 1).await;
    has(&kept[0], json!({"operation": "embed", "end": "left"}));
    client.post(EMBEDDINGS, &json!({"model": "tiny", "input": "tide"})).await.unwrap().must_be(200);
}

#[tokio::test]
async fn the_gateway_passes_on_what_such_a_node_makes_and_measures_the_semantic_cache_with_it() {
    let root = tempfile::tempdir().unwrap();
    let (_node, own, base_url) = start_node(root.path(), &for_vectors(root.path())).await;
    let private = vec![("TIDEGATE_ALLOW_PRIVATE_UPSTREAMS".to_owned(), "1".to_owned())];
    let (process, origin) = first_start(root.path(), &private).await;
    let first = process.stdout();
    let after = |label: &str| {
        let line = first.lines().find_map(|line| line.trim_start().strip_prefix(label)).unwrap();
        line.split_whitespace().next().unwrap().to_owned()
    };
    let cli = Cli::new().env("TIDEGATE_URL", &origin).env("TIDEGATE_API_KEY", &after("Admin key"));
    cli.run(&["nodes", "add", "mine", "--base-url", &base_url]).ok();
    let client = Client::new(&origin).bearer(&after("API key")).within(WITHIN);
    let request = json!({"model": "tiny", "input": ["high tide", "low tide"], "encoding_format": "float"});
    let answer = client.post(EMBEDDINGS, &request).await.unwrap();
    assert_eq!(answer.header("agent-execution-profile"), Some("byoc"), "{}", answer.text());
    assert_eq!(vectors(&answer), vectors(&own.post(EMBEDDINGS, &request).await.unwrap()));
    // The semantic cache is measured with such a node.
    let cli = Cli::new().env("TIDEGATE_URL", &origin).env("TIDEGATE_API_KEY", &after("API key"));
    let table = cli.run(&["cache", "evaluate", "--model", "tiny"]).ok();
    // What the guard stops, it stops whatever a model says.
    let line = |begin: &str| table.lines().find(|line| line.starts_with(begin)).unwrap().to_owned();
    for kind in ["number ", "negation ", "literal "] {
        assert!(line(kind).contains("(100.0 %)"), "{table}");
    }
    // Of vectors that are all in the same space, some are alike at the loosest bound, and wrongly.
    let columns = |begin: &str| line(begin).matches(" %)").count();
    assert_eq!((columns("9500 "), columns("7000 ")), (4, 4), "{table}");
    assert!(!line("7000 ").contains("  0 (0.0 %)"), "{table}");
}

#[tokio::test]
async fn a_model_that_does_not_fit_is_refused_before_it_is_loaded() {
    let root = tempfile::tempdir().unwrap();
    let model = workspace().join("builtin/model").display().to_string();
    let data_dir = root.path().join("node").display().to_string();
    let options = ["node", "--model", &model, "--data-dir", &data_dir, "--kv-memory", "1000000000"];
    let stderr = Cli::new().run(&options).failed(1);
    assert!(stderr.contains("MiB of memory") && stderr.contains("are free"), "{stderr}");
    assert!(stderr.contains("--ignore-memory"), "{stderr}");
}
