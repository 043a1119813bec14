//! Broken models: how a node rejects their files before it serves, and how it handles weights that produce
//! nothing usable.

use std::path::Path;
use std::process::Command;

use harness::process::{Launch, Process, tidegate, workspace};
use serde_json::json;
use weights::synthetic::SyntheticModel;

use crate::WITHIN;
use crate::ask::{CHAT, client_of, fails, question, says, with};
use crate::command::Cli;
use crate::first_request::node;
use crate::wait::until;

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
        let (four, none) = ("\"num_attention_heads\": 4", "\"num_attention_heads\": 0");
        let config = std::fs::read_to_string(path).unwrap().replace(four, none);
        std::fs::write(path, config).unwrap();
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
        says(&stderr, words);
        assert!(!stderr.contains("panicked"), "{file}: {stderr}");
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.gguf");
    SyntheticModel::smallest(1).write_packed(&path, weights::synthetic::Packing::Q8_0).unwrap();
    cut(&path);
    says(&stderr_of(&path), &["model.gguf"]);
}

/// A model whose weights produce no numbers.
pub fn speechless() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let mut made = SyntheticModel::smallest(1);
    made.tensors.get_mut("model.norm.weight").unwrap().1.fill(f32::NAN);
    made.write_plain(directory.path(), false).unwrap();
    directory
}

#[tokio::test]
async fn a_model_that_says_no_numbers_is_told_of_and_its_node_stays() {
    let directory = speechless();
    let (model, data) =
        (directory.path().display().to_string(), directory.path().join("data").display().to_string());
    let flags = ["--model", &model, "--name", "nan", "--data-dir", &data, "--kv-memory", "8"];
    let (_process, base_url) = node(&flags).await;
    let client = client_of(&base_url);
    for _ in 0..2 {
        fails(&client.post(CHAT, &question("nan")).await.unwrap(), 502, "engine_failed");
    }
    // A prompt longer than the model's context is the client's error, and reported as such.
    let long = json!({"messages": [{"role": "user", "content": "tide ".repeat(200)}]});
    let answer = client.post(CHAT, &with(question("nan"), long)).await.unwrap();
    fails(&answer, 400, "context_length_exceeded");
    client.get("/v1/health").await.unwrap().must_be(200);
}

/// Starts a node on a model, the built-in one or another.
fn starting(model: &Path, data: &Path) -> Process {
    let (model, data) = (model.display().to_string(), data.display().to_string());
    let flags = ["node", "--listen", "127.0.0.1:0", "--model", &model, "--name", "demo", "--data-dir", &data];
    Launch::new(tidegate().unwrap()).args(flags).args(["--kv-memory", "8"]).start().unwrap()
}

async fn answers(base_url: &str) {
    let short = with(question("demo"), json!({"max_tokens": 4}));
    client_of(base_url).post(CHAT, &short).await.unwrap().must_be(200);
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
    until("the lock", async || {
        assert!(waiting.exited().unwrap().is_none(), "{}", waiting.stderr());
        data.join(".lock").exists()
    })
    .await;
    let (model, kept) = (directory.path().display().to_string(), data.display().to_string());
    let second = ["node", "--model", &model, "--listen", "127.0.0.1:0", "--data-dir", &kept];
    assert!(Cli::new().run(&second).failed(1).contains("in use"), "the first one has begun, and is not done");
    waiting.kill9().unwrap();
    // This time it is killed while it reads the weights.
    let builtin = workspace().join("builtin/model");
    let mut loading = starting(&builtin, &data);
    loading.wait_text("MiB of weights", WITHIN).await.unwrap();
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
        says(&stderr, &["this process may take", "ulimit -v", "4096 for conversations"]);
        assert!(!stderr.contains("panicked"), "{stderr}");
    }
    let mut process = limited(KIB, &[&flags[..], &["--kv-memory", "8"]].concat()).start().unwrap();
    let rest = process.wait_text("http://", WITHIN).await.unwrap();
    answers(&format!("http://{}/v1", rest.split_whitespace().next().unwrap())).await;
}
