//! The emulator as a program, controlled through its own HTTP interface.

use harness::client::Client;
use harness::process::{Launch, Process, built};
use harness::{Config, Emulator};
use serde_json::json;

use crate::{CHAT, WITHIN, question};

async fn program(arguments: &[&str]) -> (Process, String) {
    let launch = Launch::new(built("emulator", "EMULATOR_BIN").unwrap())
        .args(["--keys", "k1,k2"])
        .args(arguments.iter().copied());
    let mut process = launch.start().unwrap();
    let address = process.wait_line("listening on ", WITHIN).await.unwrap();
    (process, address)
}

#[tokio::test]
async fn it_is_scripted_and_read_over_http() {
    let (mut process, address) = program(&[]).await;
    let client = Client::new(format!("http://{address}")).bearer("k1").within(WITHIN);
    let script = json!({"key": "k1", "behaviours": [{"status": 503, "retry_after": 2}, "emu:chunks=3"]});
    assert_eq!(client.post("/__emulator/script", &script).await.unwrap().json()["queued"], 2);
    assert_eq!(client.post(CHAT, &question()).await.unwrap().header("retry-after"), Some("2"));
    assert_eq!(client.post(CHAT, &question()).await.unwrap().json()["usage"]["completion_tokens"], 3);
    let journal = client.get("/__emulator/journal").await.unwrap().json();
    let statuses: Vec<_> =
        journal.as_array().unwrap().iter().map(|entry| entry["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [503, 200]);
    assert!(journal[1]["ended_unix_us"].as_u64().unwrap() > 1_600_000_000_000_000);
    let totals = client.get("/__emulator/totals").await.unwrap().json();
    assert_eq!(
        (&totals["all"]["calls"], &totals["by_key"]["k1"]["completion_tokens"]),
        (&json!(2), &json!(3))
    );
    for state in [json!("revoked"), json!({"rate_limited": {"retry_after_ms": 10}})] {
        let set = client.post("/__emulator/keys", &json!({"key": "k1", "state": state})).await.unwrap();
        assert_eq!(set.status, 200);
        assert_ne!(client.get("/v1/models").await.unwrap().status, 200);
    }
    client.post("/__emulator/reset", &json!({})).await.unwrap();
    assert_eq!(client.get("/v1/models").await.unwrap().status, 200);
    for bad in [json!({}), json!({"behaviours": [{"wat": 1}]}), json!({"behaviours": ["stall=never"]})] {
        assert_eq!(client.post("/__emulator/script", &bad).await.unwrap().status, 400);
    }
    assert_eq!(client.get("/__emulator/violations").await.unwrap().json(), json!([]));
    assert!(!client.get("/__emulator/connections").await.unwrap().json().as_array().unwrap().is_empty());
    assert!(process.stop(WITHIN).await.unwrap().success());
}

#[tokio::test]
async fn it_serves_tls_and_refuses_bad_flags() {
    let directory = tempfile::tempdir().unwrap();
    let (mut process, address) = program(&["--tls-dir", directory.path().to_str().unwrap()]).await;
    let pem = std::fs::read_to_string(directory.path().join("ca.pem")).unwrap();
    let client = Client::new(format!("https://{address}")).bearer("k2").trust(&pem).unwrap().http2();
    assert_eq!(client.get("/v1/models").await.unwrap().status, 200);
    process.kill9().unwrap();
    let mut bad =
        Launch::new(built("emulator", "EMULATOR_BIN").unwrap()).arg("--surprise").arg("1").start().unwrap();
    assert_eq!(bad.wait(WITHIN).await.unwrap().code(), Some(2));
    assert!(bad.stderr().contains("unknown flag --surprise"));
}

#[tokio::test]
async fn many_streams_at_once_are_all_accounted_for() {
    let emulator = Emulator::start(Config::default().keys(["k1"])).await.unwrap();
    let client = Client::new(emulator.origin()).bearer("k1").within(WITHIN);
    let request = crate::with(question(), json!({"stream": true, "user": "emu:chunks=20,interval=1"}));
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let (client, request) = (client.clone(), request.clone());
            tokio::spawn(async move { client.stream(CHAT, &request).await.unwrap().events().await })
        })
        .collect();
    for call in calls {
        let (events, end) = call.await.unwrap();
        assert!(end.is_ok());
        assert_eq!(events.len(), 23);
    }
    emulator.wait_for(WITHIN, |journal| journal.iter().all(|entry| entry.finished)).await.unwrap();
    let totals = emulator.totals();
    assert_eq!((totals.all.answered, totals.all.completion_tokens), (50, 1000));
}
