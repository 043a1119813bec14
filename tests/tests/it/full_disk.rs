//! A disk that fills up under a running gateway, at each point of a write: writes are refused with the
//! reason, and once there is space everything continues in the same process, the revocation of keys first.

use std::path::Path;

use harness::client::Client;
use harness::process::{Launch, Process, free_address, tidegate};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::json;

use crate::WITHIN;
use crate::ask::{CHAT, MINI, problem, question, records};
use crate::gateway::{Gateway, id_of};
use crate::wait::until;

/// Smaller than a page, so that each page of the write-ahead log is once the first that does not fit.
const STEP_BYTES: u64 = 4_096;
const PLACES_MAX: u64 = 200;

/// Limits the size of the process's files to this many bytes: to the process, the disk is full beyond it.
fn leave(gateway: &mut Gateway, bytes: Option<u64>) {
    leave_process(gateway.process(), bytes);
}

fn leave_process(process: &Process, bytes: Option<u64>) {
    let pid = Pid::from_raw(process.pid().cast_signed()).unwrap();
    prlimit(Some(pid), Resource::Fsize, Rlimit { current: bytes, maximum: None }).unwrap();
}

fn log_bytes(data: &Path) -> u64 {
    std::fs::metadata(data.join("tidegate.db-wal")).unwrap().len()
}

#[tokio::test]
async fn a_full_disk_is_told_and_survived_at_every_place() {
    let mut gateway = Gateway::with_own().await;
    let admin = gateway.admin();
    let (mut refused, mut requests) = (0, 0);
    for step in 0..PLACES_MAX {
        let (key, id) = gateway.key(json!({"name": format!("key {step}")})).await;
        let bytes = log_bytes(&gateway.data()) + step * STEP_BYTES;
        leave(&mut gateway, Some(bytes));
        let body = json!({"name": format!("project {step}"), "metadata": {"text": "x".repeat(16_000)}});
        let created = admin.post("/v2/projects", &body).await.unwrap();
        let kept = admin.delete(&format!("/v2/api-keys/{id}")).await.unwrap();
        // Inference requests are not affected.
        gateway.chat_ok(&question(MINI)).await;
        requests += 1;
        leave(&mut gateway, None);
        if created.status == 201 && kept.status == 204 {
            assert!(refused >= 3, "the writes need several pages: {refused}");
            gateway.wait_for_usage(requests).await;
            return;
        }
        for answer in [&created, &kept] {
            if answer.status >= 400 {
                refused += 1;
                let document = problem(answer, 503, "storage_full");
                let contains = |field: &str, text: &str| document[field].as_str().unwrap().contains(text);
                assert!(contains("detail", "the disk is full or fails"), "{document}");
                assert!(contains("fix", "Free space"), "{document}");
            }
        }
        println!("place {step}: there is room again");
        if created.status != 201 {
            admin.post("/v2/projects", &body).await.unwrap().must_be(201);
        }
        admin.delete(&format!("/v2/api-keys/{id}")).await.unwrap().must_be(204);
        gateway.with_key(&key).post(CHAT, &question(MINI)).await.unwrap().must_be(401);
    }
    panic!("the writes do not fit into {} bytes", PLACES_MAX * STEP_BYTES);
}

/// The journal's records reach the books in the same process after the disk was full, and the log states the
/// cause.
#[tokio::test]
async fn what_waited_for_room_is_booked_without_a_restart() {
    let mut gateway = Gateway::with_own().await;
    let bytes = log_bytes(&gateway.data());
    leave(&mut gateway, Some(bytes));
    for _ in 0..20 {
        gateway.chat_ok(&question(MINI)).await;
    }
    let told = "the disk under the database takes no write";
    until("the log to tell of it", async || gateway.process().stderr().contains(told)).await;
    assert!(gateway.process().stderr().contains("disk I/O error"), "{}", gateway.process().stderr());
    assert_eq!(gateway.get("/v2/requests").await["data"], json!([]), "nothing is in the books yet");
    leave(&mut gateway, None);
    gateway.wait_for_usage(20).await;
    gateway.stop().await;
}

/// A full disk takes half a line of a node's journal: nothing behind it is lost, in this process or the next.
#[tokio::test]
async fn a_node_notes_what_it_served_while_its_disk_was_full() {
    let root = tempfile::tempdir().unwrap();
    let (data, address) = (root.path().join("data"), free_address().unwrap().to_string());
    let start = async || {
        let launch = Launch::new(tidegate().unwrap()).args(["node", "--model", "echo", "--listen", &address]);
        let mut node = launch.args(["--data-dir", &data.display().to_string()]).start().unwrap();
        node.wait_text("listens on", WITHIN).await.unwrap();
        node
    };
    let client = Client::new(format!("http://{address}")).within(WITHIN);
    let chat = async || client.post(CHAT, &question("echo")).await.unwrap().must_be(200);
    let node = start().await;
    chat().await;
    let ids = async || records(&client, 8).await.iter().map(id_of).collect::<Vec<_>>();
    records(&client, 1).await;
    let bytes = std::fs::metadata(data.join("runtime.jsonl")).unwrap().len();
    // Within the first line, within the second, and between two.
    for more in [10, 200, 0] {
        leave_process(&node, Some(bytes + more));
        chat().await;
        chat().await;
    }
    leave_process(&node, None);
    chat().await;
    let noted = ids().await;
    drop(node);
    let _node = start().await;
    assert_eq!(ids().await, noted);
}
