//! Requests under idempotency keys: one upstream call however often they are sent, and an answer that is
//! identical to the byte.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use harness::client::{Answer, Client};
use harness::postgres::Server;
use serde_json::{Value, json};
use tokio::sync::Barrier;
use tokio::task::JoinHandle;

use crate::WITHIN;
use crate::ask::{CHAT, MINI, problem, question, refused, scripted, streaming, trace_of, with};
use crate::audit::entries;
use crate::command::workspace;
use crate::gateway::{CUSTOM, Gateway, OWN, config, id_of};
use crate::wait::{a_pause, found, until};

const REPLAY: &str = "agent-idempotent-replay";

async fn keyed(client: Client, key: &str, body: &Value) -> Answer {
    client.header("idempotency-key", key).post(CHAT, body).await.unwrap()
}

/// Status, the headers that a replay must reproduce, and the body.
fn whole(answer: &Answer) -> (u16, Vec<(String, String)>, Vec<u8>) {
    let headers =
        answer.headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    // The headers that frame the body belong to the connection.
    let framing = ["date", "content-length", "transfer-encoding", REPLAY];
    let mut headers: Vec<_> = headers.filter(|(name, _)| !framing.contains(&name.as_str())).collect();
    headers.sort();
    (answer.status, headers, answer.body.to_vec())
}

#[tokio::test]
async fn a_repeated_request_is_given_its_answer_and_costs_nothing() {
    let gateway = Gateway::with_own().await;
    let bodies =
        [question(MINI), streaming(MINI), with(scripted(MINI, "chunks=30,split=7"), json!({"stream": true}))];
    let mut ids = Vec::new();
    for (number, body) in bodies.iter().enumerate() {
        let key = format!("order {number}");
        let first = keyed(gateway.client(), &key, body).await;
        assert_eq!((first.status, first.header(REPLAY)), (200, Some("false")), "{}", first.text());
        for header in ["agent-idempotency-key", "idempotency-key"] {
            let again = gateway.client().header(header, &key).post(CHAT, body).await.unwrap();
            assert_eq!(again.header(REPLAY), Some("true"), "{}", again.text());
            assert_eq!(whole(&again), whole(&first));
        }
        ids.push(trace_of(&first));
    }
    assert_eq!(gateway.calls(OWN).len(), 3);
    assert_eq!(gateway.wait_for_usage(3).await["requests"], 3);
    let record: Vec<_> = gateway.requests(50).await.iter().map(id_of).collect();
    assert_eq!(record, ids, "a replay isn't a record");
    let metrics = gateway.client().get("/metrics").await.unwrap().text();
    assert!(metrics.contains("tidegate_idempotent_replays_total 6"), "{metrics}");
    settled_requests_are_counted(&gateway).await;
}

/// What was settled is in the metrics once, for the operator and nobody else.
async fn settled_requests_are_counted(gateway: &Gateway) {
    let set = format!("provider=\"openai\",model=\"{MINI}\",profile=\"byok\",outcome=\"completed\"");
    let line = format!("tidegate_requests_total{{{set}}} 3\n");
    let is_counted = async || gateway.client().get("/metrics").await.unwrap().text().contains(&line);
    until("three settled requests in the metrics", is_counted).await;
    let (admin, _) = gateway.key(json!({"name": "scraper", "scopes": ["admin"]})).await;
    for (key, is_whole) in [(&gateway.founded.admin_key, true), (&admin, false)] {
        // Through a proxy, a key is needed.
        let page = gateway.with_key(key).header("via", "1.1 proxy").get("/metrics").await.unwrap();
        let text = page.text();
        assert_eq!((page.status, text.contains(&line)), (200, is_whole), "{text}");
        for family in ["tokens_total", "provider_cost_usd_total", "request_duration_seconds_bucket"] {
            let is_shown = |end: &str| text.contains(&format!("tidegate_{family}{{{set}{end}"));
            assert_eq!(is_shown(",") || is_shown("}"), is_whole, "{family}: {text}");
        }
        assert!(text.contains("tidegate_idempotent_replays_total 6"), "{text}");
    }
}

#[tokio::test]
async fn a_key_is_of_one_body_one_path_and_one_project() {
    let gateway = Gateway::with_own().await;
    keyed(gateway.client(), "k", &question(MINI)).await;
    let other = with(question(MINI), json!({"temperature": 0.5}));
    let answer = keyed(gateway.client(), "k", &other).await;
    assert_eq!(refused(&answer, 409, "idempotency_conflict")["param"], "Idempotency-Key");
    assert_eq!(answer.header("x-should-retry"), Some("false"), "SDKs retry a 409 by themselves");
    // Each alias of a path counts as its own path.
    let run = json!({"app": MINI, "input": {"prompt": "hello"}});
    let mut seen = Vec::new();
    for path in ["/v1/run", "/run"] {
        let client = gateway.client().header("idempotency-key", "k");
        let first = client.post(path, &run).await.unwrap();
        let again = client.post(path, &run).await.unwrap();
        assert_eq!((first.status, again.header(REPLAY)), (200, Some("true")), "{}", again.text());
        assert_eq!(whole(&again), whole(&first));
        seen.push(first.text());
    }
    assert_ne!(seen[0], seen[1], "two tasks");
    // The key of another project, or of another tenant, shares nothing with it.
    let project = gateway.make("/v2/projects", json!({"name": "second"})).await;
    let (second, _) = gateway.key(json!({"name": "second", "project_id": project["id"]})).await;
    let tenant = gateway.make("/v2/workspaces", json!({"name": "theirs"})).await;
    let theirs = gateway.with_key(tenant["admin_key"].as_str().unwrap());
    let credential = json!({"provider": "openai", "secret": CUSTOM, "base_url": gateway.emulator.base_url()});
    assert_eq!(theirs.post("/v2/provider-credentials", &credential).await.unwrap().status, 201);
    for key in [second.as_str(), tenant["api_key"].as_str().unwrap()] {
        let fresh = keyed(gateway.with_key(key), "k", &other).await;
        assert_eq!((fresh.status, fresh.header(REPLAY)), (200, Some("false")), "{}", fresh.text());
    }
    assert_eq!((gateway.calls(OWN).len(), gateway.calls(CUSTOM).len()), (4, 1));
    let both = gateway.client().header("idempotency-key", "a").header("agent-idempotency-key", "b");
    for client in [both, gateway.client().header("idempotency-key", "")] {
        refused(&client.post(CHAT, &question(MINI)).await.unwrap(), 400, "invalid_idempotency_key");
    }
    let nobody = Client::new(&gateway.origin).header("idempotency-key", "k");
    refused(&nobody.post(CHAT, &question(MINI)).await.unwrap(), 401, "missing_api_key");
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn what_failed_or_was_cut_is_asked_again() {
    let gateway = Gateway::with_own().await;
    let cut = |script: &str| with(scripted(MINI, script), json!({"stream": true}));
    let failing =
        [(scripted(MINI, "status=400"), 400), (question("none"), 404), (json!({"model": MINI}), 400)];
    for (number, (body, status)) in failing.into_iter().enumerate() {
        for _ in 0..2 {
            let answer = until_free(&gateway, &format!("failed {number}"), &body).await;
            assert_eq!((answer.status, answer.header(REPLAY)), (status, None), "{}", answer.text());
        }
    }
    let calls = gateway.calls(OWN).len();
    for turn in 1..=2 {
        let client = gateway.client().header("idempotency-key", "cut");
        let broken = found("the key is free for another try", async || {
            let mut stream = client.stream(CHAT, &cut("chunks=9,cut=5,interval=5")).await.unwrap();
            if stream.status == 200 { Some(stream.events().await) } else { None }
        })
        .await;
        assert!(broken.1.is_err(), "it broke off");
        assert_eq!(gateway.calls(OWN).len(), calls + turn);
    }
    // A client that disconnects releases its idempotency key, too.
    let client = gateway.client().header("idempotency-key", "left");
    let mut stream = client.stream(CHAT, &cut("chunks=200,interval=20")).await.unwrap();
    stream.event().await.unwrap();
    let answer = keyed(gateway.client(), "left", &cut("chunks=200,interval=20")).await;
    refused(&answer, 409, "idempotency_in_flight");
    assert!(answer.header("retry-after").is_some() && answer.header("x-should-retry") == Some("true"));
    stream.hang_up();
    until("the key to be free", async || {
        client.stream(CHAT, &cut("chunks=200,interval=20")).await.unwrap().status == 200
    })
    .await;
}

/// Retries until a request that ended a moment ago has released the key.
async fn until_free(gateway: &Gateway, key: &str, body: &Value) -> Answer {
    found("the key to be free", async || {
        Some(keyed(gateway.client(), key, body).await).filter(|answer| answer.status != 409)
    })
    .await
}

/// Sends one request this many times at once to these gateways, each from its own client, until each has its
/// answer; returns the answers and how many were refused at first.
async fn storm(origins: &[String], api_key: &str, body: &Value, count: usize) -> (Vec<Answer>, usize) {
    let barrier = Arc::new(Barrier::new(count));
    let tries = (0..count).map(|number| {
        let client = Client::new(&origins[number % origins.len()]).bearer(api_key).within(WITHIN * 6);
        let client = client.header("idempotency-key", "storm");
        let (body, barrier) = (body.clone(), Arc::clone(&barrier));
        tokio::spawn(async move {
            barrier.wait().await;
            let (mut refusals, deadline) = (0, Instant::now() + 6 * WITHIN);
            loop {
                assert!(Instant::now() < deadline, "refused {refusals} times");
                let answer = client.post(CHAT, &body).await.unwrap();
                match answer.status {
                    200 => return (answer, refusals),
                    409 => refusals += 1,
                    _ => panic!("{}", answer.text()),
                }
                a_pause(Duration::from_millis(200)).await;
            }
        })
    });
    let (mut answers, mut refused) = (Vec::new(), 0);
    for tried in tries.collect::<Vec<_>>() {
        let (answer, refusals) = tried.await.unwrap();
        answers.push(answer);
        refused += usize::from(refusals > 0);
    }
    (answers, refused)
}

fn all_are_one(answers: &[Answer]) {
    let first = whole(&answers[0]);
    assert!(answers.iter().all(|answer| whole(answer) == first));
    assert_eq!(answers.iter().filter(|answer| answer.header(REPLAY) == Some("false")).count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_at_once_are_one_call() {
    let gateway = Gateway::with_own().await;
    let body = with(scripted(MINI, "latency=500,chunks=20"), json!({"stream": true}));
    let origins = [gateway.origin.clone()];
    let (answers, refused) = storm(&origins, &gateway.founded.api_key, &body, 1_000).await;
    println!("{refused} of 1000 were refused at first");
    all_are_one(&answers);
    assert_eq!(gateway.calls(OWN).len(), 1);
    assert_eq!(gateway.wait_for_usage(1).await["requests"], 1);
}

#[cfg(feature = "flows")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gateways_answer_it_once() {
    let server = Server::shared().await.unwrap();
    let url = server.database(&format!("idem_{}", std::process::id())).await.unwrap();
    let keys = tempfile::tempdir().unwrap();
    let key_file = keys.path().join("master.key").display().to_string();
    let environment = [("TIDEGATE_DATABASE_URL", url.as_str()), ("TIDEGATE_MASTER_KEY_FILE", &key_file)];
    let mut gateway = Gateway::with(config(), &environment).await;
    gateway.credential("openai", OWN).await;
    let (mut other, origin) = gateway.replica().await;
    let origins = [gateway.origin.clone(), origin.clone()];
    let body = scripted(MINI, "latency=300");
    let (answers, refused) = storm(&origins, &gateway.founded.api_key, &body, 300).await;
    println!("{refused} of 300 were refused at first");
    all_are_one(&answers);
    assert_eq!(gateway.calls(OWN).len(), 1);
    // The gateway that is answering is killed. The other takes the key over when the claim expires, which is
    // too long for this test; after a restart, the killed one releases the key itself.
    let slow = scripted(MINI, "latency=30000");
    let at_other = Client::new(&origin).bearer(&gateway.founded.api_key).within(WITHIN);
    let asking = tokio::spawn(keyed_owned(gateway.client(), "killed", slow.clone()));
    sent(&gateway, &asking, 2).await;
    refused_in_flight(&at_other, &slow).await;
    gateway.process().kill9().unwrap();
    assert!(asking.await.unwrap().is_none());
    refused_in_flight(&at_other, &slow).await;
    gateway.start_again().await;
    let calls = gateway.calls(OWN).len();
    let asking = tokio::spawn(keyed_owned(at_other, "killed", slow));
    sent(&gateway, &asking, calls + 1).await;
    asking.abort();
    other.stop(WITHIN).await.unwrap();
}

/// Waits until this many calls have reached the upstream, the last of which nobody answers yet.
async fn sent(gateway: &Gateway, asking: &JoinHandle<Option<Answer>>, calls: usize) {
    until("the call upstream", async || {
        assert!(!asking.is_finished(), "it was answered");
        gateway.calls(OWN).len() >= calls
    })
    .await;
}

async fn keyed_owned(client: Client, key: &'static str, body: Value) -> Option<Answer> {
    client.header("idempotency-key", key).post(CHAT, &body).await.ok()
}

async fn refused_in_flight(client: &Client, body: &Value) {
    let answer = keyed_owned(client.clone(), "killed", body.clone()).await.unwrap();
    refused(&answer, 409, "idempotency_in_flight");
}

#[tokio::test]
async fn a_kill_frees_what_was_under_way_and_keeps_what_was_answered() {
    let mut gateway = Gateway::with_own().await;
    let first = keyed(gateway.client(), "answered", &streaming(MINI)).await;
    let slow = scripted(MINI, "latency=30000");
    let asking = tokio::spawn(keyed_owned(gateway.client(), "killed", slow.clone()));
    sent(&gateway, &asking, 2).await;
    gateway.crash().await;
    assert!(asking.await.unwrap().is_none());
    let again = keyed(gateway.client(), "answered", &streaming(MINI)).await;
    assert_eq!(again.header(REPLAY), Some("true"));
    assert_eq!(whole(&again), whole(&first));
    let asking = tokio::spawn(keyed_owned(gateway.client(), "killed", slow));
    sent(&gateway, &asking, 3).await;
    asking.abort();
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn without_the_store_a_keyed_request_is_not_sent() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::own(directory.path()).await.unwrap();
    let url = server.database(&format!("away_{}", std::process::id())).await.unwrap();
    let gateway = Gateway::with(config(), &[("TIDEGATE_DATABASE_URL", &url)]).await;
    gateway.credential("openai", OWN).await;
    keyed(gateway.client(), "k", &question(MINI)).await;
    server.stop().await.unwrap();
    let calls = gateway.calls(OWN).len();
    for key in ["k", "fresh"] {
        let started_at = Instant::now();
        let answer = keyed(gateway.client(), key, &question(MINI)).await;
        refused(&answer, 503, "idempotency_unavailable");
        assert!(answer.header("retry-after").is_some(), "{:?}", answer.headers);
        assert!(started_at.elapsed() < Duration::from_secs(8), "it took {:?}", started_at.elapsed());
    }
    assert_eq!(gateway.calls(OWN).len(), calls);
    gateway.chat_ok(&question(MINI)).await;
    server.start().await.unwrap();
    until("it is given again", async || {
        keyed(gateway.client(), "k", &question(MINI)).await.header(REPLAY) == Some("true")
    })
    .await;
    assert_eq!(gateway.calls(OWN).len(), calls + 1, "what has no key went on");
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn a_long_answer_is_not_kept_and_says_so() {
    let gateway = Gateway::with(config(), &[("TIDEGATE_IDEMPOTENCY_ANSWER_BYTES_MAX", "2000")]).await;
    gateway.credential("openai", OWN).await;
    let long = scripted(MINI, &format!("text={}", "tide ".repeat(600)));
    for (turn, body) in [long.clone(), long.clone(), with(long, json!({"stream": true}))].iter().enumerate() {
        let answer = until_free(&gateway, &format!("long {}", body["stream"]), body).await;
        assert_eq!((answer.status, answer.header(REPLAY)), (200, Some("false")), "{}", answer.text());
        let kept = answer.header("agent-idempotency-kept");
        assert_eq!(kept, (turn < 2).then_some("false"), "a stream's head is gone before it is known");
    }
    assert_eq!(gateway.calls(OWN).len(), 3);
    keyed(gateway.client(), "short", &question(MINI)).await;
    assert_eq!(keyed(gateway.client(), "short", &question(MINI)).await.header(REPLAY), Some("true"));
}

/// Write access to the database allows neither forging a stored answer nor moving one.
#[cfg(feature = "flows")]
#[tokio::test]
async fn a_kept_answer_that_was_touched_is_refused() {
    let mut gateway = Gateway::with_own().await;
    for key in ["a", "b"] {
        keyed(gateway.client(), key, &question(MINI)).await;
    }
    let calls = gateway.calls(OWN).len();
    gateway.stop().await;
    let database = gateway.data().join("tidegate.db").display().to_string();
    let swap = "import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1])\n\
        rows = db.execute('SELECT digest, sealed FROM kept_answers').fetchall()\nassert len(rows) == 2\n\
        for (digest, _), (_, sealed) in zip(rows, reversed(rows)):\n    \
        db.execute('UPDATE kept_answers SET sealed = ? WHERE digest = ?', (sealed, digest))\ndb.commit()\n";
    let python = workspace().join(".venv/bin/python");
    assert!(Command::new(python).args(["-c", swap, &database]).status().unwrap().success());
    gateway.start_again().await;
    for key in ["a", "b"] {
        refused(&keyed(gateway.client(), key, &question(MINI)).await, 500, "idempotent_answer_unreadable");
    }
    assert_eq!(gateway.calls(OWN).len(), calls);
    let is_audited = async || entries(&gateway, "answer.open_refused").await.len() >= 2;
    until("both to be in the audit", is_audited).await;
}

/// `/v2` creates an object once per key; an answer that shows a secret is never stored.
#[cfg(feature = "flows")]
#[tokio::test]
async fn a_write_of_v2_is_made_once() {
    let gateway = Gateway::with_own().await;
    let admin = gateway.admin().header("idempotency-key", "make");
    let first = admin.post("/v2/projects", &json!({"name": "one"})).await.unwrap();
    assert_eq!((first.status, first.header(REPLAY)), (201, Some("false")), "{}", first.text());
    let again = admin.post("/v2/projects", &json!({"name": "one"})).await.unwrap();
    assert_eq!(again.header(REPLAY), Some("true"), "{}", again.text());
    assert_eq!(whole(&again), whole(&first));
    problem(&admin.post("/v2/projects", &json!({"name": "two"})).await.unwrap(), 409, "idempotency_conflict");
    // The same key on another path.
    let route = json!({"scope": {"environment": "staging"}, "profiles": ["byok"]});
    assert_eq!(admin.post("/v2/routes", &route).await.unwrap().status, 201);
    // A failed request is executed again.
    let wrong = gateway.admin().header("idempotency-key", "fails");
    for _ in 0..2 {
        let answer = wrong.post("/v2/projects", &json!({"name": ""})).await.unwrap();
        assert!(answer.status == 400 || answer.status == 409, "{}", answer.text());
    }
    let mut keys = Vec::new();
    for name in ["shown", "another"] {
        let made = admin.post("/v2/api-keys", &json!({"name": name})).await.unwrap();
        assert_eq!((made.status, made.header(REPLAY)), (201, None), "{}", made.text());
        keys.push(made.json()["key"].clone());
    }
    assert_ne!(keys[0], keys[1], "a key is shown once");
    assert_eq!(gateway.get("/v2/projects").await["data"].as_array().unwrap().len(), 2);
}
