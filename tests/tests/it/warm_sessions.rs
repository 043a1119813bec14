//! Warm sessions: runs that stay where the first one ran, until none has come for a while.

use std::collections::BTreeMap;

use harness::client::{Answer, Client};
use serde_json::{Value, json};

use crate::WITHIN;
use crate::ask::{MINI, has, problem, with};
use crate::gateway::{Gateway, LOCAL_MODEL, OWN, OWN_SECOND, POOL, config, id_of};
use crate::isolation::second_workspace;
use crate::tasks::{ask, create, ended};
use crate::wait::until;

async fn ran(client: &Client, more: Value) -> Answer {
    client.post("/v1/run", &with(ask("hello"), more)).await.unwrap()
}

/// The session of a run, and who served it.
fn served(answer: &Answer) -> (String, String) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let session = answer.json()["data"]["session_id"].as_str().unwrap_or_default().to_owned();
    (session, answer.header("agent-byok-credential-id").unwrap_or_default().to_owned())
}

async fn begun(client: &Client) -> (String, String) {
    served(&ran(client, json!({"session": "new"})).await)
}

async fn shown(client: &Client, id: &str) -> Value {
    client.get(&format!("/sessions/{id}")).await.unwrap().must_be(200).json()["data"].clone()
}

async fn keep_alive(client: &Client, session: &str) -> Answer {
    client.post(&format!("/sessions/{session}/keepalive"), &json!({})).await.unwrap()
}

async fn runs_stay_where_the_first_one_ran(gateway: &Gateway) {
    for secret in [OWN, OWN_SECOND] {
        gateway.credential("openai", secret).await;
    }
    gateway.route(json!({"scope": {}, "profiles": ["byok"], "strategy": "balanced"})).await;
    let client = gateway.client();
    let mut seats = BTreeMap::new();
    for _ in 0..12 {
        let (session, seat) = begun(&client).await;
        assert!(session.starts_with("ses_"), "{session}");
        seats.insert(session, seat);
    }
    // Another seat would take over a third of them, if they did not stay.
    gateway.credential("openai", POOL).await;
    for (session, seat) in &seats {
        assert_eq!(served(&ran(&client, json!({"session": session})).await), (session.clone(), seat.clone()));
        let task = create(&client, &with(ask("hello"), json!({"session": session}))).await;
        assert_eq!(task["session_id"], *session, "{task}");
        ended(&client, &id_of(&task)).await;
        let record = gateway.settled(&id_of(&task).replace("tsk_", "trc_")).await;
        has(&record, json!({"session_id": session, "principal": seat}));
    }
    let (session, seat) = seats.first_key_value().unwrap();
    let view = shown(&client, session).await;
    has(&view, json!({"status": "active", "call_count": 3, "idle_timeout": 300}));
    has(&view, json!({"app_id": MINI, "worker_id": seat}));
    let listed = client.get("/sessions").await.unwrap().json()["data"].clone();
    assert_eq!(listed.as_array().unwrap().len(), 12, "{listed}");
    assert_eq!(keep_alive(&client, session).await.must_be(200).json()["data"]["call_count"], 3);
    sessions_end(&client, session).await;
    sessions_expire(&client).await;
    wrong_sessions_are_refused(gateway, &client, seats.last_key_value().unwrap().0).await;
    strangers_have_no_part_in_it(gateway, seats.last_key_value().unwrap().0).await;
}

/// A problem in the form of inference.sh's clients, which know no `retryable`.
#[track_caller]
fn refuses(answer: &Answer, status: u16, code: &str) {
    has(&answer.json(), json!({"status": status, "code": code}));
    assert_eq!(answer.status, status);
}

async fn sessions_end(client: &Client, session: &str) {
    assert_eq!(client.delete(&format!("/sessions/{session}")).await.unwrap().status, 200);
    for _ in 0..2 {
        problem(&ran(client, json!({"session": session})).await, 410, "session_ended");
    }
    let queued = client.post("/apps/run", &with(ask("hello"), json!({"session": session}))).await.unwrap();
    problem(&queued, 410, "session_ended");
    refuses(&keep_alive(client, session).await, 410, "session_ended");
    has(&shown(client, session).await, json!({"status": "ended", "call_count": 3}));
    assert_eq!(client.delete(&format!("/sessions/{session}")).await.unwrap().status, 200, "again");
}

async fn sessions_expire(client: &Client) {
    let (session, _) = served(&ran(client, json!({"session": "new", "session_timeout": 1})).await);
    assert_eq!(shown(client, &session).await["idle_timeout"], 1);
    until("the session is over", async || shown(client, &session).await["status"] == "expired").await;
    problem(&ran(client, json!({"session": session})).await, 410, "session_expired");
    refuses(&keep_alive(client, &session).await, 410, "session_expired");
}

async fn wrong_sessions_are_refused(gateway: &Gateway, client: &Client, session: &str) {
    let calls = gateway.calls(OWN).len() + gateway.calls(OWN_SECOND).len();
    let long = "x".repeat(10_000);
    for id in ["ses_1", "../me", "ses_01900000000070008000000000000000", "' OR 1=1 --", "\u{0}", &long] {
        problem(&ran(client, json!({"session": id})).await, 404, "session_not_found");
    }
    for id in [json!(5), json!(["new"]), json!({}), json!(true)] {
        problem(&ran(client, json!({"session": id})).await, 400, "invalid_type");
    }
    let timeout = json!({"session": session, "session_timeout": 60});
    assert_eq!(problem(&ran(client, timeout).await, 400, "invalid_value")["param"], "session_timeout");
    let timeout = json!({"session": "new", "session_timeout": 3_601});
    assert_eq!(problem(&ran(client, timeout).await, 400, "invalid_type")["param"], "session_timeout");
    let other = json!({"app": LOCAL_MODEL, "input": {"prompt": "a"}, "session": session});
    gateway.node("cellar", &[LOCAL_MODEL]).await;
    problem(&client.post("/v1/run", &other).await.unwrap(), 409, "session_app_mismatch");
    gateway.make("/v2/agents", json!({"name": "helper", "definition": {"model": MINI}})).await;
    let agent = json!({"app": "agents/helper", "input": {"text": "hello"}, "session": "new"});
    problem(&client.post("/v1/run", &agent).await.unwrap(), 400, "unsupported_field");
    // Sessions of conversations are no warm ones.
    let plain = id_of(&gateway.make("/v2/sessions", json!({})).await);
    problem(&ran(client, json!({"session": plain})).await, 404, "session_not_found");
    for verb in ["end", "keep-alive"] {
        let answer = client.post(&format!("/v2/sessions/{plain}/{verb}"), &json!({})).await.unwrap();
        let fault = problem(&answer, 404, "not_found");
        assert!(fault["detail"].as_str().unwrap().contains("isn't warm"), "{fault}");
    }
    for session in [&*plain, "ses_1"] {
        refuses(&client.get(&format!("/sessions/{session}")).await.unwrap(), 404, "session_not_found");
    }
    assert_eq!(gateway.calls(OWN).len() + gateway.calls(OWN_SECOND).len(), calls);
}

async fn strangers_have_no_part_in_it(gateway: &Gateway, session: &str) {
    let (other, tenant) = (gateway.other_project().await, second_workspace(gateway).await);
    let before = shown(&gateway.client(), session).await;
    problem(&ran(&other, json!({"session": session})).await, 404, "session_not_found");
    for stranger in [other, gateway.with_key(&tenant.admin_key)] {
        let path = format!("/sessions/{session}");
        assert_eq!(stranger.get(&path).await.unwrap().status, 404);
        assert_eq!(stranger.delete(&path).await.unwrap().status, 404);
        assert_eq!(keep_alive(&stranger, session).await.status, 404);
        assert_eq!(stranger.get("/sessions").await.unwrap().json()["data"], json!([]));
    }
    assert_eq!(Client::new(&gateway.origin).get("/sessions").await.unwrap().status, 401);
    assert_eq!(shown(&gateway.client(), session).await, before);
    // Where nothing may be kept, neither is where runs stay.
    let policy = json!({"project_id": gateway.founded.project_id, "retention": "zero"});
    gateway.make("/v2/policies", policy).await;
    problem(&ran(&gateway.client(), json!({"session": "new"})).await, 403, "policy_forbids");
}

#[tokio::test]
async fn the_runs_of_a_session_stay_where_the_first_one_ran() {
    runs_stay_where_the_first_one_ran(&Gateway::start().await).await;
}

#[tokio::test]
async fn they_stay_there_over_postgresql_and_at_another_gateway() {
    let gateway = Gateway::over_postgres("warm_sessions", config(), &[]).await;
    let (mut other, origin) = gateway.replica().await;
    let there = gateway.client_at(&origin);
    gateway.node("attic", &[LOCAL_MODEL]).await;
    gateway.node("cellar", &[LOCAL_MODEL]).await;
    gateway.route(json!({"scope": {}, "profiles": ["byoc"], "strategy": "balanced"})).await;
    let local = |session: &str| json!({"app": LOCAL_MODEL, "input": {"prompt": "hello"}, "session": session});
    let mut seats = BTreeMap::new();
    for _ in 0..6 {
        let answer = gateway.client().post("/v1/run", &local("new")).await.unwrap();
        let node = answer.header("agent-node-id").unwrap().to_owned();
        seats.insert(answer.json()["data"]["session_id"].as_str().unwrap().to_owned(), node);
    }
    gateway.node("barn", &[LOCAL_MODEL]).await;
    for (session, node) in &seats {
        let answer = there.post("/v1/run", &local(session)).await.unwrap();
        assert_eq!(answer.header("agent-node-id"), Some(node.as_str()), "{}", answer.text());
    }
    let session = seats.first_key_value().unwrap().0;
    assert_eq!(there.delete(&format!("/sessions/{session}")).await.unwrap().status, 200);
    problem(&gateway.client().post("/v1/run", &local(session)).await.unwrap(), 410, "session_ended");
    other.stop(WITHIN).await.unwrap();
    let routes = gateway.get("/v2/routes").await["data"].clone();
    gateway.remove(&format!("/v2/routes/{}", id_of(&routes[0]))).await;
    let fresh = Gateway::over_postgres("warm_sessions_two", config(), &[]).await;
    runs_stay_where_the_first_one_ran(&fresh).await;
}
