//! What a data plane makes of a control plane that is none, of what others send it in its control plane's name, and of a full disk.

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::json;

use crate::ask::{MINI, question, says, trace_of};
use crate::data_planes::{invite, joined, settled};
use crate::gateway::{Gateway, sums};
use crate::wait::until;

fn http(status: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Whatever is answered in place of the control plane, requests are served on with what there is, and nothing is lost.
#[tokio::test]
async fn a_control_plane_that_answers_garbage_changes_nothing() {
    let (control, mut plane, key) = joined(Gateway::start().await).await;
    let forged = json!({"document": "{}", "signature": "00".repeat(64)}).to_string();
    let unsigned = json!({"document": {}, "signature": 7}).to_string();
    let claims = json!({"object": "data_plane_records"}).to_string();
    let huge = [b"{\"document\": \"".as_slice(), &vec![b'x'; 65 * 1024 * 1024]].concat();
    let answers: [(Vec<u8>, &str); 9] = [
        (http("200 OK", b"<html>"), "can't be understood"),
        (http("200 OK", forged.as_bytes()), "signature"),
        (http("200 OK", unsigned.as_bytes()), "can't be understood"),
        (http("200 OK", claims.as_bytes()), "can't be understood"),
        (http("200 OK", &huge), "the control plane is away"),
        (http("302 Found", b""), "302"),
        (http("500 Internal Server Error", b"{}"), "500"),
        (b"SSH-2.0-OpenSSH_9.6\r\n".to_vec(), "the control plane is away"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{".to_vec(), "the control plane is away"),
    ];
    let mut traces = Vec::new();
    for (at, (answer, why)) in answers.iter().enumerate() {
        plane.wire.answer(Some(answer.clone()));
        // Connections that are open already lead past it.
        plane.crash().await;
        traces.push(plane.served(&key).await);
        until(&format!("answer {at} to be refused: {why}"), async || plane.said().contains(why)).await;
        plane.wire.answer(None);
        plane.until_current(&control).await;
    }
    settled(&control, &traces).await;
    let usage = sums(&control.get("/v2/usage").await);
    assert_eq!(usage["requests"].as_u64(), Some(traces.len() as u64), "{usage}");
}

/// Whoever has the token first is in, and the other learns that it was used: an admin sees a data plane that is not theirs.
#[tokio::test]
async fn a_stolen_token_is_noticed() {
    let control = Gateway::start().await;
    let (id, token) = invite(&control, &control.founded.admin_key, "fra-1");
    let keys = json!({"token": token, "sealed_for": "01".repeat(32), "signing_key": "02".repeat(32)});
    let stolen = control.with_key("").post("/v2/data-planes/join", &keys).await.unwrap().must_be(200);
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("plane").display().to_string();
    let joining = ["gateway", "--data-dir", &data, "--control", &control.origin, "--token", &token];
    let refused = crate::command::Cli::new().run(&joining);
    assert!(refused.code != 0 && refused.stderr.contains("was used before"), "{refused:?}");
    assert!(!root.path().join("plane/data-plane.json").exists());
    let path = format!("/v2/data-planes/{id}");
    assert_eq!(control.get(&path).await["status"], "joined");
    control.admin().post(&format!("{path}/revoke"), &json!({})).await.unwrap();
    let thief = control.with_key(stolen.json()["credential"].as_str().unwrap());
    let question = json!({"after": null, "nonce": "n"});
    let told = thief.post("/v2/data-planes/configuration", &question).await.unwrap().json();
    says(told["document"].as_str().unwrap(), &["\"is_revoked\":true", "\"rows\":null"]);
}

/// Requests are served while the database takes no write, and each is booked once when it does again; a change of the configuration
/// waits for it, whole.
#[tokio::test]
async fn a_full_disk_delays_and_loses_nothing() {
    let (control, plane, key) = joined(Gateway::start().await).await;
    let leave = |bytes: Option<u64>| {
        let pid = Pid::from_raw(plane.process().pid().cast_signed()).unwrap();
        prlimit(Some(pid), Resource::Fsize, Rlimit { current: bytes, maximum: None }).unwrap();
    };
    let mut traces = vec![plane.served(&key).await];
    control.settled(&traces[0]).await;
    let log = std::fs::metadata(plane.data().join("tidegate.db-wal")).unwrap().len();
    leave(Some(log));
    for _ in 0..20 {
        traces.push(plane.served(&key).await);
    }
    let (later, _) = control.key(json!({"name": "later", "scopes": ["inference"]})).await;
    until("the log to say why", async || plane.said().contains("takes no write")).await;
    assert_eq!(plane.chat(&later, &question(MINI)).await.status, 401);
    leave(None);
    // The polls before it were refused.
    let applied = plane.until_chat(&later, "the change to be applied", |answer| answer.status == 200).await;
    traces.push(trace_of(&applied));
    settled(&control, &traces).await;
    let usage = sums(&control.get("/v2/usage").await);
    assert_eq!(usage["requests"].as_u64(), Some(traces.len() as u64), "{usage}");
}
