//! A node with the built-in model, as `make run` starts it, called in each wire format and through the
//! gateway.

use harness::client::Client;
use harness::process::{Process, workspace};
use harness::sse;
use serde_json::{Value, json};

use crate::WITHIN;
use crate::ask::{CHAT, client_of, has, records, said, says, text_of, with};
use crate::command::Cli;
use crate::first_request::node;
use crate::gateway::{first_start, id_of};
use crate::wait::found;

const MODEL: &str = "tidegate-demo";

fn data_dir(root: &tempfile::TempDir) -> String {
    root.path().join("node").display().to_string()
}

async fn demo(data_dir: &str) -> (Process, String) {
    demo_with(data_dir, &[]).await
}

async fn demo_with(data_dir: &str, more: &[&str]) -> (Process, String) {
    let options = ["--model", &model(), "--name", MODEL, "--data-dir", data_dir, "--kv-memory", "64"];
    node(&[&options[..], more].concat()).await
}

fn model() -> String {
    workspace().join("builtin/model").display().to_string()
}

fn endless() -> Value {
    with(chat_body("What is BYOK?"), json!({"stream": true, "ignore_eos": true}))
}

fn chat_body(text: &str) -> Value {
    json!({"model": MODEL, "temperature": 0, "messages": [{"role": "user", "content": text}]})
}

#[tokio::test]
async fn the_built_in_model_answers_the_same_in_every_grammar() {
    let root = tempfile::tempdir().unwrap();
    let (process, base_url) = demo(&data_dir(&root)).await;
    says(&process.stderr(), &["MiB of weights"]);
    let client = client_of(&base_url);
    let whole = client.post(CHAT, &chat_body("What is Tidegate?")).await.unwrap();
    let text = said(&whole);
    assert!(text.to_lowercase().contains("token"), "{text}");
    assert_eq!(whole.header("x-hybrie-selected-backend"), Some("local"));
    assert_eq!(whole.header("x-tidegate-usage"), None, "a model measures");

    let usage = json!({"stream": true, "stream_options": {"include_usage": true}});
    let streamed = client.post(CHAT, &with(chat_body("What is Tidegate?"), usage)).await.unwrap();
    let events = sse::events(&streamed.body);
    assert_eq!(text_of(&events), text);
    let usage: Value = serde_json::from_str(&events[events.len() - 2]).unwrap();
    assert!(usage["usage"]["completion_tokens"].as_u64().unwrap() > 5, "{usage}");

    let messages = json!({"model": MODEL, "max_tokens": 200, "temperature": 0, "messages": chat_body("What is Tidegate?")["messages"]});
    let answer = client.post("/v1/messages", &messages).await.unwrap().json();
    assert_eq!(answer["content"][0]["text"], text.as_str(), "{answer}");
    let counted = client.post("/v1/messages/count_tokens", &messages).await.unwrap().json();
    let responses = json!({"model": MODEL, "temperature": 0, "store": false, "input": "What is Tidegate?"});
    let answer = client.post("/v1/responses", &responses).await.unwrap().json();
    assert_eq!(answer["output"][0]["content"][0]["text"], text.as_str(), "{answer}");
    assert_eq!(answer["usage"]["input_tokens"], counted["input_tokens"], "{answer} {counted}");
    keeps_to_a_schema_or_refuses_it(&client).await;
}

async fn keeps_to_a_schema_or_refuses_it(client: &Client) {
    let schema = |schema: Value| {
        let format = json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}});
        with(chat_body("Is Tidegate free?"), json!({"response_format": format}))
    };
    let free = json!({"type": "object", "properties": {"is_free": {"type": "boolean"}}, "required": ["is_free"], "additionalProperties": false});
    let answer = client.post(CHAT, &schema(free)).await.unwrap();
    let value: Value = serde_json::from_str(&said(&answer)).unwrap_or_else(|_| panic!("{}", answer.text()));
    assert!(value["is_free"].is_boolean(), "{value}");
    let unkept = json!({"type": "object", "properties": {"a": {"not": {}}}});
    let refused = client.post(CHAT, &schema(unkept)).await.unwrap().must_be(400).json();
    has(&refused["error"], json!({"param": "response_format.json_schema.schema/properties/a/not"}));
    // The node keeps serving.
    client.post(CHAT, &chat_body("What is BYOK?")).await.unwrap().must_be(200);
}

#[tokio::test]
async fn what_a_node_served_is_in_its_journal_also_after_a_kill() {
    let root = tempfile::tempdir().unwrap();
    let data_dir = data_dir(&root);
    {
        let (mut process, base_url) = demo(&data_dir).await;
        let client = client_of(&base_url);
        client.post(CHAT, &chat_body("What is BYOK?")).await.unwrap();
        let mut stream = client.stream(CHAT, &endless()).await.unwrap();
        assert!(stream.event().await.unwrap().is_some());
        process.kill9().unwrap();
    }
    let (_process, base_url) = demo(&data_dir).await;
    let client = client_of(&base_url);
    let kept = records(&client, 2).await;
    let ends: Vec<&str> = kept.iter().filter_map(|record| record["end"].as_str()).collect();
    assert_eq!(ends, ["whole", "lost"], "{kept:?}");
    assert!(kept[0]["output_tokens"].as_u64().unwrap() > 0 && kept[0]["is_measured"] == true, "{kept:?}");
    // The client disconnects: what was generated by then is in the books.
    let mut stream = client.stream(CHAT, &endless()).await.unwrap();
    assert!(stream.event().await.unwrap().is_some());
    stream.hang_up();
    has(&records(&client, 3).await[2], json!({"end": "left", "sequence": 3}));
}

#[tokio::test]
async fn a_second_node_on_one_journal_and_an_open_address_without_a_key_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let data_dir = data_dir(&root);
    let model = model();
    let open = ["node", "--model", &model, "--listen", "0.0.0.0:0", "--data-dir", &data_dir];
    says(&Cli::new().run(&open).failed(2), &["tidegate node key"]);
    let key = Cli::new().run(&["node", "key", "--data-dir", &data_dir]).ok();
    assert!(key.trim().starts_with("tg_live_"), "{key}");
    let kept = std::fs::read_to_string(root.path().join("node/keys")).unwrap();
    assert!(!kept.contains(key.trim()) && kept.trim().len() == 64, "{kept}");
    let (_process, _) = demo(&data_dir).await;
    let again = ["node", "--model", &model, "--listen", "127.0.0.1:0", "--data-dir", &data_dir];
    assert!(Cli::new().run(&again).failed(1).contains("in use"));
    let elsewhere = root.path().join("elsewhere").display().to_string();
    let missing = ["node", "--model", "/nowhere/at/all", "--data-dir", &elsewhere];
    assert!(Cli::new().run(&missing).failed(3).contains("no model at"));
}

#[tokio::test]
async fn a_model_by_tensors_answers_in_its_words_and_a_device_that_is_not_there_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let (data_dir, model) = (data_dir(&root), model());
    for (device, wanted) in [
        ("cuda", "--features cuda"),
        ("cuda:1", "\"cuda:1\" is not in this build"),
        ("metal", "--features metal"),
        ("gpu", "cpu, cpu-tensors, cuda, cuda:N and metal"),
    ] {
        let arguments = ["node", "--model", &model, "--device", device, "--data-dir", &data_dir];
        says(&Cli::new().run(&arguments).failed(2), &[wanted]);
    }
    let tensors = ["--device", "cpu-tensors"];
    let rounded = ["node", "--model", &model, "--data-dir", &data_dir, "--kv-numbers", "q8"];
    says(&Cli::new().run(&[&rounded[..], &tensors].concat()).failed(2), &["--kv-numbers", "\"cpu-tensors\""]);
    let (process, base_url) = demo_with(&data_dir, &tensors).await;
    says(&process.stderr(), &["MiB for conversations on cpu-tensors"]);
    let answer = client_of(&base_url).post(CHAT, &chat_body("What is Tidegate?")).await.unwrap();
    says(&said(&answer).to_lowercase(), &["token"]);
}

#[tokio::test]
async fn a_node_remembers_conversations_in_eight_bits_and_says_what_they_take() {
    // Three layers, keys and values, two heads of 64 elements: 128 bytes each, or 64 and two scales.
    for (numbers, bytes) in [("f16", 3 * 2 * 2 * 128), ("q8", 3 * 2 * 2 * 68)] {
        let root = tempfile::tempdir().unwrap();
        let (process, base_url) = demo_with(&data_dir(&root), &["--kv-numbers", numbers]).await;
        let wanted = format!("64 MiB for conversations, {bytes} bytes for each token of them");
        says(&process.stderr(), &[&wanted]);
        let client = client_of(&base_url);
        let question = json!({"role": "user", "content": "What is Tidegate?"});
        let before = json!({"role": "assistant", "content": "Tidegate is one binary that serves AI tokens three ways."});
        let conversation =
            json!({"model": MODEL, "temperature": 0, "messages": [question.clone(), before, question]});
        let first = client.post(CHAT, &conversation).await.unwrap();
        let again = client.post(CHAT, &conversation).await.unwrap();
        // The reported cached tokens reflect what was computed.
        let cached = "/usage/prompt_tokens_details/cached_tokens";
        assert_eq!(first.json().pointer(cached), Some(&json!(0)), "{}", first.text());
        assert!(again.json().pointer(cached).unwrap().as_u64() > Some(0), "{}", again.text());
        let (first, again) = (said(&first), said(&again));
        assert!(first.to_lowercase().contains("token"), "{first}");
        assert_eq!(first, again);
    }
}

#[tokio::test]
async fn the_gateway_serves_and_meters_what_the_node_answers() {
    let root = tempfile::tempdir().unwrap();
    let (_node, base_url) = demo(&data_dir(&root)).await;
    let private = vec![("TIDEGATE_ALLOW_PRIVATE_UPSTREAMS".to_owned(), "1".to_owned())];
    let (process, origin) = first_start(root.path(), &private).await;
    let first = process.stdout();
    let after = |label: &str| {
        let line = first.lines().find_map(|line| line.trim_start().strip_prefix(label)).unwrap();
        line.split_whitespace().next().unwrap().to_owned()
    };
    let cli = Cli::new().env("TIDEGATE_URL", &origin).env("TIDEGATE_API_KEY", &after("Admin key"));
    let added = cli.run(&["nodes", "add", "demo", "--base-url", &base_url, "--json"]).json();
    assert_eq!(added["models"], json!([MODEL]), "{added}");
    let client = Client::new(&origin).bearer(&after("API key")).within(WITHIN);
    let answer = client.post(CHAT, &chat_body("What is Tidegate?")).await.unwrap();
    assert_eq!(answer.header("agent-execution-profile"), Some("byoc"));
    says(&said(&answer).to_lowercase(), &["token"]);
    let admin = Client::new(&origin).bearer(&after("Admin key")).within(WITHIN);
    let request = found("the request in the books", async || {
        admin.get("/v2/requests").await.unwrap().json()["data"].get(0).cloned()
    })
    .await;
    has(&request, json!({"profile": "byoc", "estimated": false}));
    // The evidence of the counts is the runtime itself.
    let whole = admin.get(&format!("/v2/requests/{}", id_of(&request))).await.unwrap().json();
    has(&whole, json!({"evidence": "runtime_confirmed"}));
    has(&whole["attempts"][0], json!({"evidence": "runtime_confirmed"}));
}
