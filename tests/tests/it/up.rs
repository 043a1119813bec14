//! `tidegate up`: from nothing to a metered answer, its end, and its next start.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use harness::client::Client;
use harness::process::{Launch, Process, free_address, tidegate};
use serde_json::Value;

use crate::WITHIN;
use crate::wait::until;

struct Up {
    process: Process,
    gateway: SocketAddr,
    node: SocketAddr,
}

fn up(data_dir: &Path, gateway: SocketAddr, node: SocketAddr) -> Process {
    let launch = Launch::new(tidegate().unwrap()).args(["up", "--data-dir", &data_dir.display().to_string()]);
    launch.args(["--listen", &gateway.to_string(), "--node-listen", &node.to_string()]).start().unwrap()
}

async fn started(data_dir: &Path) -> Up {
    let (gateway, node) = (free_address().unwrap(), free_address().unwrap());
    let mut process = up(data_dir, gateway, node);
    process.wait_line("Ctrl-C stops", WITHIN).await.unwrap();
    Up { process, gateway, node }
}

fn key(output: &str, label: &str) -> String {
    let line = output.lines().find_map(|line| line.trim().strip_prefix(label)).unwrap();
    line.split_whitespace().next().unwrap().to_owned()
}

fn listens(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_ok()
}

#[tokio::test]
async fn one_command_answers_and_ends_whole() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    let begun = Instant::now();
    let mut first = started(&data).await;
    let printed = first.process.stdout();
    let curl = printed.lines().find(|line| line.trim_start().starts_with("curl ")).unwrap();
    let output = Command::new("sh").args(["-c", &format!("{curl} -sS")]).output().unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let content = answer.pointer("/choices/0/message/content").and_then(Value::as_str);
    assert!(content.is_some_and(|text| !text.trim().is_empty()), "the first answer is empty: {answer}");
    assert!(begun.elapsed() < WITHIN, "{:?} to the first answer", begun.elapsed());

    let (api_key, admin_key) = (key(&printed, "API key"), key(&printed, "Admin key"));
    let admin = Client::new(format!("http://{}", first.gateway)).bearer(&admin_key).within(WITHIN);
    until("the answer is metered", async || {
        let listed = admin.get("/v2/requests").await.unwrap().json();
        listed.pointer("/data/0/profile").is_some_and(|profile| profile == "byoc")
    })
    .await;

    first.process.signal("INT").unwrap();
    let status = first.process.wait(WITHIN).await.unwrap();
    assert!(status.success(), "{status}: {}", first.process.stderr());
    assert!(!listens(first.gateway) && !listens(first.node), "something is left behind");

    // The next start, at other addresses, shows no keys, and the old one works.
    let again = started(&data).await;
    let output = String::from_utf8(again.process.output()).unwrap();
    assert!(!output.contains("tg_live_"), "a second start shows a key: {output}");
    let client = Client::new(format!("http://{}", again.gateway)).bearer(&api_key).within(WITHIN);
    let models = client.get("/v1/models").await.unwrap().json();
    let model = answer["model"].as_str().unwrap();
    assert!(models["data"].as_array().unwrap().iter().any(|row| row["id"] == model), "{models}");
}

#[tokio::test]
async fn a_killed_parent_leaves_no_node() {
    let root = tempfile::tempdir().unwrap();
    let mut started = started(&root.path().join("data")).await;
    assert!(listens(started.node));
    started.process.kill9().unwrap();
    until("the node ends with its parent", async || !listens(started.node)).await;
}

#[tokio::test]
async fn a_used_port_creates_nothing() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let free = free_address().unwrap();
    for (gateway, node, option) in [(address, free, "--listen"), (free, address, "--node-listen")] {
        let mut refused = up(&data, gateway, node);
        assert_eq!(refused.wait(WITHIN).await.unwrap().code(), Some(1), "{}", refused.stderr());
        let stderr = refused.stderr();
        assert!(stderr.contains(&format!("{address} is in use")) && stderr.contains(option), "{stderr}");
        assert!(!data.exists(), "an installation was created, whose keys nobody saw");
    }
}
