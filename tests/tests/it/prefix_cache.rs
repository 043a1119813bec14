//! A node's prefix cache on disk: through restarts, kills, damaged files, a purge, a small bound and a full disk, every
//! answer is the one that a node without it gives.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use harness::client::Client;
use harness::process::{Process, workspace};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::ask::{CHAT, client_of, has, said, says, with};
use crate::command::Cli;
use crate::first_request::node;
use crate::wait::until;

const MODEL: &str = "tidegate-demo";
const TOKENS: &str = "/usage/prompt_tokens";
const ANSWERED: &str = "/usage/completion_tokens";
const CACHED: &str = "/usage/prompt_tokens_details/cached_tokens";
/// Tokens of a block.
const BLOCK: u64 = 16;
/// The file of a block of the built-in model: three layers, keys and values, two heads of 64 numbers in 16 bits, sixteen
/// tokens, and the seal.
const FILE_BYTES: u64 = 3 * 2 * 2 * 64 * 2 * 16 + 36;

struct DiskNode {
    process: Process,
    client: Client,
}

fn options(root: &Path) -> Vec<String> {
    let (model, data_dir) = (workspace().join("builtin/model"), root.join("node"));
    let (model, data_dir) = (model.display().to_string(), data_dir.display().to_string());
    let options = ["--model", &model, "--name", MODEL, "--data-dir", &data_dir, "--kv-memory", "16"];
    options.map(str::to_owned).to_vec()
}

impl DiskNode {
    async fn start(root: &TempDir, beside: &[&str]) -> Self {
        let options = options(root.path());
        let all: Vec<&str> = options.iter().map(String::as_str).chain(beside.iter().copied()).collect();
        let (process, base_url) = node(&all).await;
        Self { process, client: client_of(&base_url) }
    }

    async fn with_disk(root: &TempDir) -> Self {
        Self::start(root, &["--prefix-cache-disk", "64"]).await
    }

    async fn answer(&self, body: &Value) -> (String, Value) {
        let answer = self.client.post(CHAT, body).await.unwrap().must_be(200);
        (said(&answer), answer.json())
    }

    /// It says this, and had none of the prompt cached.
    async fn computes(&self, body: &Value, text: &str) {
        let (said, answer) = self.answer(body).await;
        assert_eq!((said.as_str(), number(&answer, CACHED)), (text, 0), "{answer}");
    }

    /// A metric of the cache, by what follows its common prefix.
    async fn metric(&self, name: &str) -> u64 {
        let page = self.client.get("/metrics").await.unwrap().text();
        let name = format!("tidegate_node_disk_cache_{name} ");
        let value = page.lines().find_map(|line| line.strip_prefix(&name));
        value.unwrap_or_else(|| panic!("{page}")).parse().unwrap()
    }

    async fn wait_for_blocks(&self, blocks: u64) {
        until("blocks on disk", async || self.metric("blocks").await == blocks).await;
    }

    async fn purge(&self, salt: &str) -> Value {
        self.client.post("/v1/cache/purge", &json!({"cache_salt": salt})).await.unwrap().must_be(200).json()
    }
}

/// A request with a long prompt, which differs from that of any other number at its start.
fn question(number: u32, salt: &str) -> Value {
    let text = format!("{number}. {}", "What is Tidegate, and what is BYOK? ".repeat(8));
    json!({"model": MODEL, "temperature": 0, "max_tokens": 24, "cache_salt": salt,
        "messages": [{"role": "user", "content": text}]})
}

fn sampled(number: u32) -> Value {
    with(question(number, "sampled"), json!({"temperature": 1.2, "seed": 11}))
}

fn number(answer: &Value, at: &str) -> u64 {
    answer.pointer(at).and_then(Value::as_u64).unwrap_or_else(|| panic!("{at}: {answer}"))
}

/// The blocks that an answer fills: all its tokens but the last, which is not computed.
fn filled(answer: &Value) -> u64 {
    (number(answer, TOKENS) + number(answer, ANSWERED) - 1) / BLOCK
}

/// The tokens of its prompt that can be cached: full blocks, and the last token has to be computed.
fn cacheable(answer: &Value) -> u64 {
    (number(answer, TOKENS) - 1) / BLOCK * BLOCK
}

fn cache_dir(root: &TempDir) -> PathBuf {
    root.path().join("node/prefix-cache")
}

/// The files of the blocks on disk.
fn files(root: &TempDir) -> Vec<PathBuf> {
    let entries = |path: &Path| -> Vec<PathBuf> {
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    let folders = entries(&cache_dir(root)).into_iter().filter(|path| path.is_dir());
    folders.flat_map(|folder| entries(&folder)).filter(|path| path.extension().is_some()).collect()
}

#[tokio::test]
async fn prefixes_survive_a_kill_and_answers_are_what_they_would_be_without() {
    let (root, bare) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let requests = [question(1, "a"), sampled(2)];
    let mut expected = Vec::new();
    {
        let without = DiskNode::start(&bare, &[]).await;
        for request in &requests {
            expected.push(without.answer(request).await.0);
        }
        let page = without.client.get("/metrics").await.unwrap().text();
        assert!(!page.contains("disk_cache") && !cache_dir(&bare).exists(), "{page}");
        assert_eq!(without.purge("a").await.get("disk_blocks"), None);
    }
    let mut stored = 0;
    {
        let mut first = DiskNode::with_disk(&root).await;
        for (request, text) in requests.iter().zip(&expected) {
            let (said, answer) = first.answer(request).await;
            assert_eq!((&said, number(&answer, CACHED)), (text, 0));
            stored += filled(&answer);
        }
        first.wait_for_blocks(stored).await;
        // Killed while it writes what this one says.
        let endless = with(question(3, "a"), json!({"stream": true, "ignore_eos": true}));
        let mut stream = first.client.stream(CHAT, &endless).await.unwrap();
        assert!(stream.event().await.unwrap().is_some());
        first.process.kill9().unwrap();
    }
    let second = DiskNode::with_disk(&root).await;
    assert!(second.metric("blocks").await >= stored);
    let mut read = 0;
    for (request, text) in requests.iter().zip(&expected) {
        let (said, answer) = second.answer(request).await;
        assert_eq!((&said, number(&answer, CACHED)), (text, cacheable(&answer)), "{answer}");
        read += cacheable(&answer) / BLOCK;
    }
    assert_eq!(second.metric("blocks_total{found=\"disk\"}").await, read);
    assert_eq!(second.metric("bytes_total{to=\"memory\"}").await, read * FILE_BYTES);
    // From memory now.
    assert_eq!(second.answer(&requests[0]).await.0, expected[0]);
    assert_eq!(second.metric("blocks_total{found=\"disk\"}").await, read);
    second.answer(&question(3, "a")).await;
}

#[tokio::test]
async fn damaged_files_are_removed_and_computed_again_and_nobody_else_can_read_them() {
    let root = tempfile::tempdir().unwrap();
    let request = question(1, "a");
    let first = DiskNode::with_disk(&root).await;
    let (expected, answer) = first.answer(&request).await;
    first.wait_for_blocks(filled(&answer)).await;
    drop(first);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&cache_dir(&root)), mode(&root.path().join("node/prefix-cache.key"))), (0o700, 0o600));
    for (at, path) in files(&root).iter().enumerate() {
        assert_eq!((mode(path), fs::metadata(path).unwrap().len()), (0o600, FILE_BYTES));
        let mut bytes = fs::read(path).unwrap();
        match at % 3 {
            0 => bytes[500] ^= 4,
            1 => bytes.truncate(500),
            _ => bytes = b"not a block".to_vec(),
        }
        fs::write(path, bytes).unwrap();
    }
    let second = DiskNode::with_disk(&root).await;
    second.computes(&request, &expected).await;
    assert_eq!(second.metric("rejected_total").await, 1);
    drop(second);
    // Without its key, the node finds none of its prefixes.
    fs::remove_file(root.path().join("node/prefix-cache.key")).unwrap();
    DiskNode::with_disk(&root).await.computes(&request, &expected).await;
}

#[tokio::test]
async fn a_purge_removes_one_salt_from_the_disk_and_leaves_the_other() {
    let root = tempfile::tempdir().unwrap();
    let first = DiskNode::with_disk(&root).await;
    let (expected, answer) = first.answer(&question(1, "a")).await;
    let blocks = filled(&answer);
    first.computes(&question(1, "b"), &expected).await;
    first.wait_for_blocks(2 * blocks).await;
    drop(first);
    // What was only on disk is purged as well.
    let mut second = DiskNode::with_disk(&root).await;
    let receipt = second.purge("a").await;
    has(&receipt, json!({"disk_blocks": blocks, "disk_bytes": blocks * FILE_BYTES, "blocks": 0}));
    assert_eq!(files(&root).len() as u64, blocks);
    has(&second.purge("a").await, json!({"disk_blocks": 0, "disk_bytes": 0}));
    second.process.kill9().unwrap();
    let third = DiskNode::with_disk(&root).await;
    third.computes(&question(1, "a"), &expected).await;
    let (_, answer) = third.answer(&question(1, "b")).await;
    assert_eq!(number(&answer, CACHED), cacheable(&answer), "{answer}");
}

#[tokio::test]
async fn the_bound_holds_and_what_was_used_last_stays() {
    const MOST: u64 = 1024 * 1024;
    let root = tempfile::tempdir().unwrap();
    let disk = ["--prefix-cache-disk", "1"];
    let node = DiskNode::start(&root, &disk).await;
    for number in 0..12 {
        let before = files(&root);
        let (_, answer) = node.answer(&question(number, "a")).await;
        // Blocks are written behind the answer, and the node is killed below.
        let is_new =
            |path: &&PathBuf| !before.contains(path) && path.extension().is_some_and(|end| end != "part");
        let written = || files(&root).iter().filter(is_new).count() as u64;
        until("its blocks on disk", async || written() == filled(&answer)).await;
        let bytes: u64 = files(&root).iter().filter_map(|path| Some(fs::metadata(path).ok()?.len())).sum();
        assert!(bytes <= MOST, "{bytes}");
    }
    assert_eq!(node.metric("bytes{is=\"most\"}").await, MOST);
    assert!(node.metric("bytes{is=\"used\"}").await <= MOST);
    drop(node);
    let node = DiskNode::start(&root, &disk).await;
    let (_, last) = node.answer(&question(11, "a")).await;
    assert_eq!(number(&last, CACHED), cacheable(&last), "{last}");
    let (_, first) = node.answer(&question(0, "a")).await;
    assert_eq!(number(&first, CACHED), 0, "{first}");
}

#[tokio::test]
async fn a_full_disk_ends_the_writing_with_one_warning_and_no_answer() {
    let root = tempfile::tempdir().unwrap();
    let node = DiskNode::with_disk(&root).await;
    let (expected, answer) = node.answer(&question(1, "a")).await;
    let blocks = filled(&answer);
    node.wait_for_blocks(blocks).await;
    drop(node);
    let node = DiskNode::with_disk(&root).await;
    // To the process, the disk is full beyond this: its journal is shorter, and a block is not.
    let pid = Pid::from_raw(node.process.pid().cast_signed()).unwrap();
    prlimit(Some(pid), Resource::Fsize, Rlimit { current: Some(FILE_BYTES - 1), maximum: None }).unwrap();
    for number in 2..6 {
        node.answer(&question(number, "a")).await;
    }
    until("the end of the writing", async || node.metric("writing").await == 0).await;
    let (said, answer) = node.answer(&question(1, "a")).await;
    assert_eq!((said, number(&answer, CACHED)), (expected, cacheable(&answer)), "what is there is read");
    assert_eq!(node.metric("blocks").await, blocks);
    let stderr = node.process.stderr();
    assert_eq!(stderr.matches("takes no more blocks").count(), 1, "{stderr}");
    assert_eq!(files(&root).len() as u64, blocks, "nothing half written is left");
    has(&node.purge("a").await, json!({"disk_blocks": blocks}));
}

#[tokio::test]
async fn a_disk_cache_that_can_not_be_is_refused_with_the_reason() {
    let root = tempfile::tempdir().unwrap();
    let refused = |root: &TempDir, beside: &[&str], code: i32, why: &[&str]| {
        let options = options(root.path());
        let all = ["node", "--listen", "127.0.0.1:0"].into_iter().chain(options.iter().map(String::as_str));
        says(&Cli::new().run(&all.chain(beside.iter().copied()).collect::<Vec<_>>()).failed(code), why);
    };
    let elsewhere = ["--prefix-cache-disk", "64", "--device", "cpu-tensors"];
    refused(&root, &elsewhere, 2, &["--prefix-cache-disk", "only cpu does"]);
    refused(&root, &["--prefix-cache", "somewhere"], 2, &["--prefix-cache-disk"]);
    refused(&root, &["--prefix-cache-disk", "0"], 2, &[]);
    let shared = root.path().join("shared").display().to_string();
    let disk = ["--prefix-cache-disk", "64", "--prefix-cache", &shared];
    let _node = DiskNode::start(&root, &disk).await;
    let other = tempfile::tempdir().unwrap();
    refused(&other, &disk, 1, &["in use by another node"]);
    fs::set_permissions(other.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let open = other.path().display().to_string();
    refused(&other, &["--prefix-cache-disk", "64", "--prefix-cache", &open], 1, &["chmod 700"]);
}
