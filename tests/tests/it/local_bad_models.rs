//! Broken models: how a node rejects their files before it serves, and how it handles weights that produce
//! nothing usable.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use harness::client::Client;
use harness::process::{Launch, Process, tidegate, workspace};
use serde_json::json;
use weights::synthetic::SyntheticModel;

use crate::WITHIN;
use crate::ask::{CHAT, fails};
use crate::command::Cli;
use crate::first_request::node;
use crate::wait::a_moment;

/// A copy of a model's directory with one file changed.
fn changed(file: &str, change: impl Fn(&Path)) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(workspace().join("builtin/model").join(name), directory.path().join(name)).unwrap();
    }
    change(&directory.path().join(file));
    directory
}

/// The error of a node that can't start.
fn stderr_of(model: &Path) -> String {
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
        ("model.safetensors", &cut, &["model.safetensors", "the file ends before the tensor does"]),
        ("model.safetensors", &remove, &["model.safetensors"]),
        ("config.json", &cut, &["config.json"]),
        ("config.json", &family, &["\"mamba\"", "qwen3"]),
        ("config.json", &heads, &["num_attention_heads"]),
        ("tokenizer.json", &cut, &["tokenizer.json"]),
    ];
    for (file, change, words) in cases {
        let stderr = stderr_of(changed(file, change).path());
        assert!(words.iter().all(|word| stderr.contains(word)), "{file}: {stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.gguf");
    SyntheticModel::smallest(1).write_packed(&path, weights::synthetic::Packing::Q8_0).unwrap();
    cut(&path);
    let stderr = stderr_of(&path);
    assert!(stderr.contains("model.gguf"), "{stderr}");
}

#[tokio::test]
async fn a_model_that_says_no_numbers_is_told_of_and_its_node_stays() {
    let directory = tempfile::tempdir().unwrap();
    let mut made = SyntheticModel::smallest(1);
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
        fails(&answer, 502, "engine_failed");
    }
    // A prompt longer than the model's context is the client's error, and reported as such.
    let messages = json!([{"role": "user", "content": "tide ".repeat(200)}]);
    let answer = client.post(CHAT, &json!({"model": "nan", "messages": messages})).await.unwrap();
    fails(&answer, 400, "context_length_exceeded");
    assert_eq!(client.get("/v1/health").await.unwrap().status, 200);
}

/// Starts a node on a model, the built-in one or another.
fn starting(model: &Path, data: &Path) -> Process {
    let (model, data) = (model.display().to_string(), data.display().to_string());
    let flags = ["node", "--listen", "127.0.0.1:0", "--model", &model, "--name", "demo", "--data-dir", &data];
    Launch::new(tidegate().unwrap()).args(flags).args(["--kv-memory", "8"]).start().unwrap()
}

async fn answers(base_url: &str) {
    let client = Client::new(base_url.trim_end_matches("/v1")).within(WITHIN);
    let messages = json!([{"role": "user", "content": "What is Tidegate?"}]);
    client
        .post(CHAT, &json!({"model": "demo", "max_tokens": 4, "messages": messages}))
        .await
        .unwrap()
        .must_be(200);
}

#[tokio::test]
async fn a_node_that_is_killed_while_it_loads_starts_again() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    // The weights never arrive: the node has claimed its data directory and stays in the load until it is
    // killed.
    let directory = changed("model.safetensors", |path| {
        std::fs::remove_file(path).unwrap();
        assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    });
    let mut waiting = starting(directory.path(), &data);
    let deadline = Instant::now() + WITHIN;
    while !data.join(".lock").exists() {
        assert!(waiting.exited().unwrap().is_none() && Instant::now() < deadline, "{}", waiting.stderr());
        a_moment().await;
    }
    let (model, kept) = (directory.path().display().to_string(), data.display().to_string());
    let second = ["node", "--model", &model, "--listen", "127.0.0.1:0", "--data-dir", &kept];
    assert!(Cli::new().run(&second).failed(1).contains("in use"), "the first one has begun, and is not done");
    waiting.kill9().unwrap();
    // This time it is killed while it reads the weights.
    let builtin = workspace().join("builtin/model");
    let mut loading = starting(&builtin, &data);
    while !loading.stderr().contains("MiB of weights") {
        assert!(loading.exited().unwrap().is_none() && Instant::now() < deadline, "{}", loading.stderr());
        a_moment().await;
    }
    loading.kill9().unwrap();
    let model = builtin.display().to_string();
    let (_process, base_url) =
        node(&["--model", &model, "--name", "demo", "--data-dir", &kept, "--kv-memory", "8"]).await;
    answers(&base_url).await;
}

/// A node whose shell limits it to this many KiB of memory.
fn limited(kib: u64, flags: &[&str]) -> Launch {
    let (program, limit) =
        (tidegate().unwrap().display().to_string(), format!("ulimit -v {kib}; exec \"$0\" \"$@\""));
    Launch::new("/bin/sh")
        .args(["-c", &limit, &program, "node", "--listen", "127.0.0.1:0"])
        .args(flags.iter().copied())
}

#[tokio::test]
async fn a_node_that_may_not_have_the_memory_says_so_before_it_loads() {
    const KIB: u64 = 3 * 1024 * 1024;
    let root = tempfile::tempdir().unwrap();
    let (model, data) =
        (workspace().join("builtin/model").display().to_string(), root.path().display().to_string());
    let flags = ["--model", &model, "--name", "demo", "--data-dir", &data];
    // The limit holds even with `--ignore-memory`: the load would fail halfway.
    for more in [&["--kv-memory", "4096"][..], &["--kv-memory", "4096", "--ignore-memory"]] {
        let mut refused = limited(KIB, &[&flags[..], more].concat()).start().unwrap();
        let status = refused.wait(WITHIN).await.unwrap();
        let stderr = refused.stderr();
        assert_eq!(status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("this process may take") && stderr.contains("ulimit -v"), "{stderr}");
        assert!(stderr.contains("4096 for conversations") && !stderr.contains("panicked"), "{stderr}");
    }
    let mut process = limited(KIB, &[&flags[..], &["--kv-memory", "8"]].concat()).start().unwrap();
    let deadline = Instant::now() + WITHIN;
    let base_url = loop {
        let stderr = process.stderr();
        if let Some(address) = stderr.split("http://").nth(1).and_then(|rest| rest.split_whitespace().next())
        {
            break format!("http://{address}/v1");
        }
        assert!(process.exited().unwrap().is_none() && Instant::now() < deadline, "{stderr}");
        a_moment().await;
    };
    answers(&base_url).await;
}
