//! Models that are none: what a node says of their files before it serves, and what it does with those that say nothing.

use std::path::Path;

use engine::made::Made;
use harness::client::Client;
use harness::process::workspace;
use serde_json::json;

use crate::WITHIN;
use crate::ask::CHAT;
use crate::command::Cli;
use crate::first_request::node;

/// A model's directory, after something was done to one of its files.
fn changed(file: &str, change: impl Fn(&Path)) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(workspace().join("builtin/model").join(name), directory.path().join(name)).unwrap();
    }
    change(&directory.path().join(file));
    directory
}

/// What a node that can't start says.
fn said_of(model: &Path) -> String {
    let data = model.parent().unwrap().join(format!("{}-data", model.file_name().unwrap().display()));
    let (model, data) = (model.display().to_string(), data.display().to_string());
    let arguments =
        ["node", "--model", &model, "--listen", "127.0.0.1:0", "--data-dir", &data, "--kv-memory", "8"];
    Cli::new().run(&arguments).failed(1)
}

#[test]
fn files_that_are_no_model_are_told_before_anything_is_served() {
    let cut = |path: &Path| {
        let bytes = std::fs::read(path).unwrap();
        std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    };
    let family = |path: &Path| {
        let config = std::fs::read_to_string(path).unwrap().replace("\"qwen3\"", "\"mamba\"");
        std::fs::write(path, config).unwrap();
    };
    let heads = |path: &Path| {
        let config = std::fs::read_to_string(path).unwrap();
        std::fs::write(path, config.replace("\"num_attention_heads\": 4", "\"num_attention_heads\": 0"))
            .unwrap();
    };
    let remove = |path: &Path| std::fs::remove_file(path).unwrap();
    type Case<'a> = (&'a str, &'a dyn Fn(&Path), &'a [&'a str]);
    let cases: [Case<'_>; 6] = [
        ("model.safetensors", &cut, &["model.safetensors", "the file ends before it does"]),
        ("model.safetensors", &remove, &["model.safetensors"]),
        ("config.json", &cut, &["config.json"]),
        ("config.json", &family, &["\"mamba\"", "qwen3"]),
        ("config.json", &heads, &["num_attention_heads"]),
        ("tokenizer.json", &cut, &["tokenizer.json"]),
    ];
    for (file, change, words) in cases {
        let said = said_of(changed(file, change).path());
        assert!(words.iter().all(|word| said.contains(word)), "{file}: {said}");
        assert!(!said.contains("panicked"), "{said}");
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.gguf");
    Made::smallest(1).write_packed(&path, engine::Packing::Q8_0).unwrap();
    cut(&path);
    let said = said_of(&path);
    assert!(said.contains("model.gguf"), "{said}");
}

#[tokio::test]
async fn a_model_that_says_no_numbers_is_told_of_and_its_node_stays() {
    let directory = tempfile::tempdir().unwrap();
    let mut made = Made::smallest(1);
    for (name, (_, numbers)) in &mut made.tensors {
        if name == "model.norm.weight" {
            numbers.fill(f32::NAN);
        }
    }
    made.write_plain(directory.path(), false).unwrap();
    let (model, data) =
        (directory.path().display().to_string(), directory.path().join("data").display().to_string());
    let flags = ["--model", &model, "--name", "nan", "--data-dir", &data, "--kv-memory", "8"];
    let (_process, base_url) = node(&flags).await;
    let client = Client::new(base_url.trim_end_matches("/v1")).within(WITHIN);
    for _ in 0..2 {
        let messages = json!([{"role": "user", "content": "High tide?"}]);
        let answer = client.post(CHAT, &json!({"model": "nan", "messages": messages})).await.unwrap();
        assert_eq!(
            (answer.status, &answer.json()["error"]["code"]),
            (502, &json!("engine_failed")),
            "{}",
            answer.text()
        );
    }
    // Longer than the model's context: that is the client's to mend, and said so.
    let messages = json!([{"role": "user", "content": "tide ".repeat(200)}]);
    let answer = client.post(CHAT, &json!({"model": "nan", "messages": messages})).await.unwrap();
    assert_eq!(
        (answer.status, &answer.json()["error"]["code"]),
        (400, &json!("context_length_exceeded")),
        "{}",
        answer.text()
    );
    assert_eq!(client.get("/v1/health").await.unwrap().status, 200);
}
