//! Sessions of agents through the API: of writers at once one wins, forks share history, snapshots are reproducible, and
//! content is sealed, bounded and shown to nobody else.

use std::collections::BTreeSet;
use std::sync::Arc;

use harness::Behaviour;
use harness::client::{Answer, Client};
use serde_json::{Value, json};

use crate::WITHIN;
use crate::ask::{CHAT, MINI, posted, problem, question, refused, trace_of, until_status, with};
use crate::canary::is_stored_nowhere;
use crate::gateway::{Gateway, LOCAL_MODEL, OWN, OWN_SECOND, POOL, POOL_SECOND, Shared, config, id_of};
use crate::own_batches::params;
use crate::vault::edit;

const SESSIONS: &str = "/v2/sessions";
const CANARY: &str = "the-heron-flies-at-dusk";

const MANY_EVENTS: &str = "
import os
branch = db.execute('SELECT id FROM session_branches WHERE forked_from IS NULL').fetchone()[0]
for n in range(2, 10003):
    row = (branch, n, os.urandom(16), None, 'note', None, None, None, None, os.urandom(16), 1)
    db.execute('INSERT INTO session_events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)', row)
db.execute('UPDATE session_branches SET version = 10002 WHERE id = ?', (branch,))";
const MANY_BRANCHES: &str = "
import os
session = db.execute('SELECT id FROM sessions').fetchone()[0]
for n in range(1000):
    row = (os.urandom(16), session, 'x', None, 0, 0, None, 1)
    db.execute('INSERT INTO session_branches VALUES (?, ?, ?, ?, ?, ?, ?, ?)', row)";

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

async fn made(client: &Client, path: &str, body: Value) -> Value {
    let answer = client.post(path, &body).await.unwrap();
    assert_eq!(answer.status, 201, "POST {path}: {}", answer.text());
    answer.json()
}

async fn got(client: &Client, path: &str) -> Value {
    let answer = client.get(path).await.unwrap();
    assert_eq!(answer.status, 200, "GET {path}: {}", answer.text());
    answer.json()
}

/// A path below a session's.
fn below(session: &Value, path: &str) -> String {
    format!("{SESSIONS}/{}/{path}", id_of(session))
}

fn events_of(session: &Value) -> String {
    branch_events(session, text(&session["default_branch_id"]))
}

fn branch_events(session: &Value, branch: &str) -> String {
    below(session, &format!("branches/{branch}/events"))
}

/// A client whose requests name a session.
fn in_session(gateway: &Gateway, session: &Value) -> Client {
    gateway.client().header("agent-session-ref", id_of(session))
}

fn message(version: u64, content: &str) -> Value {
    json!({"expected_version": version, "event": {"event_type": "user_message", "content": content}})
}

async fn append(client: &Client, path: &str, version: u64, content: &str) -> Value {
    made(client, path, message(version, content)).await
}

fn contents(page: &Value) -> Vec<&str> {
    page["data"].as_array().unwrap().iter().map(|event| text(&event["content"])).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_fifty_writers_one_wins_and_the_others_are_told_what_is_there() {
    let gateway = Gateway::start().await;
    fifty_writers(&[gateway.client()]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_at_two_replicas_are_told_apart_too() {
    let shared = Shared::of("sessions").await;
    let gateway = Gateway::with(config(), &shared.environment()).await;
    let (mut other, origin) = gateway.replica().await;
    let at_other = Client::new(&origin).bearer(&gateway.founded.api_key).within(WITHIN);
    fifty_writers(&[gateway.client(), at_other]).await;
    other.stop(WITHIN).await.unwrap();
}

async fn fifty_writers(clients: &[Client]) {
    let session = made(&clients[0], SESSIONS, json!({})).await;
    let path = Arc::new(events_of(&session));
    append(&clients[0], &path, 0, "first").await;
    let writers = (0..50).map(|number| {
        let (client, path) = (clients[number % clients.len()].clone(), Arc::clone(&path));
        let body = message(1, &format!("writer {number}"));
        tokio::spawn(async move { client.post(&path, &body).await.unwrap() })
    });
    let mut answers: Vec<Answer> = Vec::new();
    for writer in writers.collect::<Vec<_>>() {
        answers.push(writer.await.unwrap());
    }
    let (won, lost): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 201);
    assert_eq!((won.len(), lost.len()), (1, 49));
    let head = won[0].json()["branch"]["head_event_id"].clone();
    for answer in lost {
        let error = problem(answer, 409, "branch_version_conflict");
        let detail = text(&error["detail"]);
        assert!(detail.contains("version 2") && detail.contains(text(&head)), "{error}");
    }
    for client in clients {
        let page = got(client, &format!("{path}?include=content")).await;
        assert_eq!(page["data"][1]["id"], won[0].json()["events"][0]["id"]);
        assert!(contents(&page)[1].starts_with("writer "), "{page}");
    }
}

#[tokio::test]
async fn forks_share_history_and_snapshots_are_reproducible() {
    let (_gateway, client) = Gateway::start().await.and_client();
    let brief = json!({"type": "text_context", "content": "be brief"});
    let artifact = made(&client, "/v2/artifacts", brief).await;
    let plain = json!({"items": [artifact["id"]]});
    let with_role = json!({"items": [{"artifact_id": artifact["id"], "role": "system"}]});
    for (body, role) in [(plain, Value::Null), (with_role, json!("system"))] {
        let bundle = made(&client, "/v2/bundles", body).await;
        assert_eq!(bundle["items"], json!([{"artifact_id": artifact["id"], "role": role}]));
    }
    let bundle = made(&client, "/v2/bundles", json!({"items": [artifact["id"]]})).await;
    let session = made(&client, SESSIONS, json!({"base_bundle_ids": [bundle["id"]]})).await;
    let path = events_of(&session);
    for (version, content) in ["one", "two", "three"].into_iter().enumerate() {
        append(&client, &path, version as u64, content).await;
    }
    let branches = below(&session, "branches");
    let fork = made(&client, &branches, json!({"at_version": 2, "name": "other"})).await;
    assert_eq!((&fork["version"], &fork["forked_at_version"]), (&json!(2), &json!(2)));
    let forked = branch_events(&session, text(&fork["id"]));
    append(&client, &forked, 2, "drei").await;
    let main = got(&client, &format!("{path}?include=content")).await;
    let other = got(&client, &format!("{forked}?include=content")).await;
    assert_eq!(contents(&main), ["one", "two", "three"]);
    assert_eq!(contents(&other), ["one", "two", "drei"]);
    assert_eq!(main["data"][1]["id"], other["data"][1]["id"], "what is shared is the same event");
    let first = got(&client, &format!("{forked}?limit=2")).await;
    assert!(first["data"][0].get("content").is_none(), "content is shown where it is asked for: {first}");
    let cursor = text(&first["next_cursor"]);
    let next = got(&client, &format!("{forked}?limit=2&cursor={cursor}")).await;
    assert_eq!((next["data"].as_array().unwrap().len(), &next["has_more"]), (1, &json!(false)));

    let snapshots = below(&session, "snapshots");
    let ask = json!({"branch_id": session["default_branch_id"], "version": 2});
    let snapshot = made(&client, &snapshots, ask.clone()).await;
    append(&client, &path, 3, "four").await;
    let again = made(&client, &snapshots, ask).await;
    assert_eq!(snapshot["digest"], again["digest"], "whatever was appended meanwhile");
    assert_eq!(snapshot["ordered_block_manifest"], again["ordered_block_manifest"]);
    let blocks = snapshot["ordered_block_manifest"].as_array().unwrap();
    assert_eq!((blocks.len(), &blocks[0]["artifact_id"]), (3, &artifact["id"]), "{snapshot}");
    let of_fork = made(&client, &snapshots, json!({"branch_id": fork["id"], "version": 2})).await;
    assert_eq!(of_fork["digest"], snapshot["digest"], "a fork has the same history");
    assert_eq!(got(&client, &format!("{snapshots}/{}", text(&snapshot["id"]))).await, snapshot);
    // From a checkpoint on, what came before is no part of a prompt.
    let checkpoint = json!({"event": {"event_type": "checkpoint", "content": "what was said so far"}});
    made(&client, &path, checkpoint).await;
    let compact = made(&client, &snapshots, json!({})).await;
    assert_eq!(compact["ordered_block_manifest"].as_array().unwrap().len(), 2, "{compact}");
    problem(&client.post(&snapshots, &json!({"version": 99})).await.unwrap(), 400, "invalid_value");
    problem(&client.post(&branches, &json!({"at_version": 99})).await.unwrap(), 409, "fork_beyond_branch");
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn a_branch_is_found_by_a_name_that_no_other_branch_has() {
    let (gateway, client) = Gateway::start().await.and_client();
    let session = made(&client, SESSIONS, json!({})).await;
    append(&client, &branch_events(&session, "main"), 0, "one").await;
    let branches = below(&session, "branches");
    let fork = made(&client, &branches, json!({"name": "a try", "from_branch_id": "main"})).await;
    let named = branch_events(&session, "a%20try");
    append(&client, &named, 1, "two").await;
    assert_eq!(contents(&got(&client, &format!("{named}?include=content")).await), ["one", "two"]);
    let snapshots = below(&session, "snapshots");
    assert_eq!(made(&client, &snapshots, json!({"branch_id": "a try"})).await["branch_id"], fork["id"]);
    let path = format!("{SESSIONS}/{}", text(&session["id"]));
    gateway.patch(&path, json!({"default_branch_id": "a try"})).await;
    assert_eq!(got(&client, &path).await["default_branch_id"], fork["id"]);

    let nothing = client.post(&branches, &json!({"from_branch_id": "nope"})).await.unwrap();
    let fault = problem(&nothing, 404, "not_found");
    assert_eq!(fault["param"], "from_branch_id", "{fault}");
    assert!(text(&fault["fix"]).contains("tidegate session branches"), "{fault}");
    made(&client, &branches, json!({"name": "a try"})).await;
    problem(&client.get(&format!("{branches}/a%20try")).await.unwrap(), 409, "ambiguous_name");
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn content_is_sealed_on_disk_gone_when_it_is_deleted_and_its_readers_are_in_the_audit() {
    let (gateway, client) = Gateway::start().await.and_client();
    let artifact = made(&client, "/v2/artifacts", json!({"type": "document", "content": CANARY})).await;
    let bytes = json!({"type": "binary_attachment", "content_base64": "/wD+"});
    let binary = made(&client, "/v2/artifacts", bytes).await;
    let session = made(&client, SESSIONS, json!({"ttl_seconds": 3600})).await;
    let path = events_of(&session);
    append(&client, &path, 0, CANARY).await;
    let refers = json!({"event": {"event_type": "retrieval_result", "payload_ref": artifact["id"]}});
    made(&client, &path, refers.clone()).await;
    let content = format!("/v2/artifacts/{}/content", id_of(&artifact));
    assert_eq!(got(&client, &content).await["content"], CANARY);
    let read = got(&client, &format!("/v2/artifacts/{}/content", id_of(&binary))).await;
    assert_eq!((&read["content"], &read["content_base64"]), (&Value::Null, &json!("/wD+")));
    let equal = made(&client, "/v2/artifacts", json!({"type": "document", "content": CANARY})).await;
    assert_eq!(equal["content_hash"], artifact["content_hash"]);
    assert_ne!(equal["id"], artifact["id"]);
    is_stored_nowhere(&gateway, CANARY);
    let one = format!("/v2/artifacts/{}", id_of(&artifact));
    client.delete(&one).await.unwrap().must_be(204);
    problem(&client.get(&content).await.unwrap(), 404, "artifact_revoked");
    assert_eq!(got(&client, &one).await["status"], "revoked");
    problem(&client.post(&path, &refers).await.unwrap(), 409, "artifact_revoked");
    let session_path = format!("{SESSIONS}/{}", id_of(&session));
    client.delete(&session_path).await.unwrap().must_be(204);
    for path in [&session_path, &path] {
        assert_eq!(client.get(path).await.unwrap().status, 404, "{path}");
    }

    // A person who reads content is in the audit.
    let artifact = made(&client, "/v2/artifacts", json!({"type": "document", "content": CANARY})).await;
    let session = made(&client, SESSIONS, json!({})).await;
    append(&client, &events_of(&session), 0, CANARY).await;
    let person = gateway.member(&gateway.admin(), "auditor@tide.example", "viewer").await;
    let content = format!("/v2/artifacts/{}/content", id_of(&artifact));
    for path in [content.clone(), format!("{}?include=content", events_of(&session)), events_of(&session)] {
        assert_eq!(person.get(&path).await.status, 200, "{path}");
        got(&client, &path).await;
    }
    let audit = gateway.get("/v2/audit?limit=100").await;
    let rows = audit["data"].as_array().unwrap().iter();
    let opened: Vec<_> = rows.filter(|row| text(&row["action"]).ends_with(".open")).collect();
    let seen: BTreeSet<_> = opened.iter().map(|row| (text(&row["action"]), text(&row["actor"]))).collect();
    let id = person.id.as_str();
    assert_eq!(seen, BTreeSet::from([("artifact.open", id), ("session.open", id)]));
    assert_eq!(opened.len(), 2, "the agent's own reading is none of it, nor is a list: {audit}");
    assert!(!audit.to_string().contains(CANARY));
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn a_key_sees_the_sessions_of_its_own_project_alone() {
    let gateway = Gateway::start().await;
    let (mine, theirs) = (gateway.client(), gateway.other_project().await);
    let session = made(&mine, SESSIONS, json!({"end_user": "ada"})).await;
    let artifact = made(&mine, "/v2/artifacts", json!({"type": "policy", "content": {"a": 1}})).await;
    let foreign = made(&theirs, SESSIONS, json!({})).await;
    for path in [
        format!("{SESSIONS}/{}", id_of(&session)),
        events_of(&session),
        format!("/v2/artifacts/{}", id_of(&artifact)),
        format!("/v2/artifacts/{}/content", id_of(&artifact)),
    ] {
        problem(&theirs.get(&path).await.unwrap(), 404, "not_found");
        assert_eq!(mine.get(&path).await.unwrap().status, 200, "{path}");
    }
    problem(&theirs.post(&events_of(&session), &message(0, "mine now")).await.unwrap(), 404, "not_found");
    let refers = json!({"event": {"event_type": "note", "payload_ref": artifact["id"]}});
    theirs.post(&events_of(&foreign), &refers).await.unwrap().must_be(404);
    let in_mine = json!({"project_id": gateway.founded.project_id});
    problem(&theirs.post(SESSIONS, &in_mine).await.unwrap(), 404, "not_found");
    let ids = async |client: &Client, query: &str| -> BTreeSet<String> {
        let page = got(client, &format!("{SESSIONS}{query}")).await;
        page["data"].as_array().unwrap().iter().map(id_of).collect()
    };
    assert_eq!(ids(&theirs, "").await, BTreeSet::from([id_of(&foreign)]));
    assert_eq!(ids(&gateway.admin(), "").await, BTreeSet::from([id_of(&foreign), id_of(&session)]));
    assert_eq!(ids(&gateway.admin(), "?end_user=ada").await, BTreeSet::from([id_of(&session)]));
    assert!(ids(&gateway.admin(), "?status=archived").await.is_empty());
}

/// Each request is refused, and the problem names its place.
async fn are_refused<const N: usize>(client: &Client, cases: [(&str, Value, u16, &str, &str); N]) {
    for (path, body, status, code, param) in cases {
        let error = problem(&client.post(path, &body).await.unwrap(), status, code);
        assert_eq!(text(&error["param"]), param, "{error}");
    }
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn what_is_described_wrongly_or_may_not_be_retained_is_refused() {
    let (gateway, client) = Gateway::start().await.and_client();
    let artifact = |more: Value| with(json!({"type": "policy", "content": "x"}), more);
    let invalid = "invalid_value";
    let wrong = [
        (SESSIONS, json!({"ttl_seconds": 0}), 400, invalid, "ttl_seconds"),
        (SESSIONS, json!({"end_user": ""}), 400, invalid, "end_user"),
        (SESSIONS, json!({"metadata": {"k": "v".repeat(600)}}), 400, invalid, "metadata"),
        (SESSIONS, json!({"base_bundle_ids": ["bnd_1"]}), 404, "not_found", "base_bundle_ids[0]"),
        ("/v2/artifacts", artifact(json!({"type": "song"})), 400, invalid, "type"),
        ("/v2/artifacts", json!({"type": "policy"}), 400, "missing_field", "content"),
        ("/v2/artifacts", json!({"type": "policy", "content_base64": "??"}), 400, invalid, "content_base64"),
        ("/v2/artifacts", artifact(json!({"retention": "ever"})), 400, invalid, "retention"),
        ("/v2/bundles", json!({"items": []}), 400, invalid, "items"),
        ("/v2/bundles", json!({"items": ["art_1"]}), 400, invalid, "items[0]"),
    ];
    are_refused(&client, wrong).await;
    let session = made(&client, SESSIONS, json!({})).await;
    let path = events_of(&session);
    let note = json!({"event_type": "note", "content": "x"});
    let long = "x".repeat(1024 * 1024 + 1);
    let of = |more: Value| json!({"event": with(json!({"event_type": "note"}), more)});
    let song = json!({"event_type": "song", "content": "x"});
    let headed = json!({"expected_head_event_id": "evt_1", "event": note});
    let (at, invalid) = (path.as_str(), "invalid_value");
    let wrong = [
        (at, json!({}), 400, "missing_field", "event"),
        (at, json!({"event": note, "events": [note]}), 400, invalid, "events"),
        (at, json!({"events": []}), 400, invalid, "events"),
        (at, json!({"events": [note, song]}), 400, invalid, "events[1].event_type"),
        (at, of(json!({})), 400, invalid, "event.content"),
        (at, of(json!({"payload_ref": "art_1"})), 400, invalid, "event.payload_ref"),
        (at, of(json!({"content": long})), 413, "content_too_large", "event.content"),
        (at, headed, 400, invalid, "expected_head_event_id"),
    ];
    are_refused(&client, wrong).await;
    let archived = json!({"status": "archived"});
    let patched = gateway.patch(&format!("{SESSIONS}/{}", id_of(&session)), archived).await;
    assert_eq!(patched["status"], "archived");
    problem(&client.post(&path, &message(0, "late")).await.unwrap(), 409, "session_archived");
    // Where the policy lets nothing be retained, nothing is kept.
    let before = made(&client, SESSIONS, json!({})).await;
    gateway.policy(json!({"retention": "zero"})).await;
    let artifact = json!({"type": "document", "content": "x"});
    for (path, body) in
        [(SESSIONS, json!({})), ("/v2/artifacts", artifact), (&events_of(&before), message(0, "x"))]
    {
        problem(&client.post(path, &body).await.unwrap(), 403, "policy_forbids");
    }
}

/// A request that names a session, in any dialect, is booked to it; its account is the session's.
#[cfg(feature = "flows")]
#[tokio::test]
async fn requests_name_their_session_and_are_booked_to_it() {
    let gateway = Gateway::start().await;
    gateway.account("openai", POOL).await;
    gateway.account("openai", POOL_SECOND).await;
    let session = made(&gateway.client(), SESSIONS, json!({})).await;
    let other = made(&gateway.client(), SESSIONS, json!({})).await;
    let mut traces = Vec::new();
    for (client, asked) in
        [(in_session(&gateway, &session), 8), (in_session(&gateway, &other), 3), (gateway.client(), 2)]
    {
        for _ in 0..asked {
            traces.push(trace_of(&posted(&client, CHAT, &question(MINI)).await));
        }
    }
    let with_branch = format!("{}/{}", id_of(&session), text(&session["default_branch_id"]));
    let client = gateway.client().header("agent-session-ref", with_branch);
    let client = client.header("anthropic-version", "2023-06-01");
    traces.push(trace_of(&posted(&client, "/v1/messages", &params(MINI, "hello")).await));
    let mut served = BTreeSet::new();
    for (number, trace) in traces.iter().enumerate() {
        let record = gateway.settled(trace).await;
        let expected = match number {
            0..8 | 13 => session["id"].clone(),
            8..11 => other["id"].clone(),
            _ => Value::Null,
        };
        assert_eq!(record["session_id"], expected, "{number}: {record}");
        if number < 8 {
            served.insert(record["principal"].to_string());
        }
    }
    assert_eq!(served.len(), 1, "one account serves a session: {served:?}");
    for (session, requests) in [(&session, 9), (&other, 3)] {
        let usage = got(&gateway.client(), &format!("{SESSIONS}/{}/usage", id_of(session))).await;
        assert_eq!(usage["requests"], requests, "{usage}");
        assert!(usage["cost_micros"].as_i64().unwrap() > 0, "{usage}");
        let listed = gateway.get(&format!("/v2/requests?filter=session:{}", id_of(session))).await;
        let rows = listed["data"].as_array().unwrap();
        assert_eq!(rows.len(), requests, "{listed}");
        assert!(rows.iter().all(|row| row["session_id"] == id_of(session)), "{listed}");
    }
    let calls = gateway.emulator.journal().len();
    let foreign = gateway.other_project().await.header("agent-session-ref", id_of(&session));
    let missing = gateway.client().header("agent-session-ref", "ses_01900000000070008000000000000000");
    for client in [foreign, missing] {
        let error = refused(&client.post(CHAT, &question(MINI)).await.unwrap(), 404, "session_not_found");
        assert_eq!(error["param"], "Agent-Session-Ref", "{error}");
    }
    let malformed = gateway.client().header("agent-session-ref", "ses_1");
    refused(&malformed.post(CHAT, &question(MINI)).await.unwrap(), 400, "invalid_header");
    assert_eq!(gateway.emulator.journal().len(), calls, "nothing was sent");
}

/// Where a route spreads load, a session stays at one own credential or node, and goes on when that one fails.
#[cfg(feature = "flows")]
#[tokio::test]
async fn a_session_stays_at_one_credential_and_node() {
    let gateway = Gateway::start().await;
    gateway.credential("openai", OWN).await;
    gateway.credential("openai", OWN_SECOND).await;
    gateway.node("cellar", &[LOCAL_MODEL]).await;
    gateway.node("attic", &[LOCAL_MODEL]).await;
    gateway.route(json!({"strategy": "balanced"})).await;
    let principal_of = async |client: Client, model: &str| {
        let answer = posted(&client, CHAT, &question(model)).await;
        text(&gateway.record(&answer).await["principal"]).to_owned()
    };
    for model in [MINI, LOCAL_MODEL] {
        let (mut first, mut sessions) = (BTreeSet::new(), 0);
        // That so many sessions are all at one of two by chance doesn't happen: once in 2^41 times.
        while sessions < 6 || (first.len() < 2 && sessions < 42) {
            sessions += 1;
            let session = made(&gateway.client(), SESSIONS, json!({})).await;
            let client = in_session(&gateway, &session);
            let served = principal_of(client.clone(), model).await;
            for _ in 0..3 {
                assert_eq!(principal_of(client.clone(), model).await, served, "{model}");
            }
            first.insert(served);
        }
        assert_eq!(first.len(), 2, "{model}: other sessions are elsewhere");
    }
    let session = made(&gateway.client(), SESSIONS, json!({})).await;
    let client = in_session(&gateway, &session);
    let served = principal_of(client.clone(), MINI).await;
    let last = |key: &str| gateway.calls(key).last().map(|call| call.id);
    let [at, other] = if last(OWN) > last(OWN_SECOND) { [OWN, OWN_SECOND] } else { [OWN_SECOND, OWN] };
    gateway.emulator.script(at, [Behaviour::status(500).always()]);
    let before = gateway.calls(other).len();
    assert_ne!(principal_of(client.clone(), MINI).await, served, "a failure moves it on");
    assert_eq!(gateway.calls(other).len(), before + 1);
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn bounds_and_changed_content_are_told() {
    let (gateway, client) = Gateway::start().await.and_client();
    let session = made(&client, SESSIONS, json!({})).await;
    let path = events_of(&session);
    let branches = below(&session, "branches");
    append(&client, &path, 0, CANARY).await;
    let artifact = made(&client, "/v2/artifacts", json!({"type": "document", "content": CANARY})).await;
    edit(&gateway, "db.execute('UPDATE state_contents SET sealed = zeroblob(64)')");
    let content = format!("/v2/artifacts/{}/content", id_of(&artifact));
    for path in [content, format!("{path}?include=content")] {
        problem(&client.get(&path).await.unwrap(), 500, "content_unreadable");
    }
    // Each fork owns an event, so that the next one is a fork away from it.
    let mut at = json!({"from_branch_id": session["default_branch_id"]});
    let mut deepest = None;
    for depth in 1..=64 {
        let answer = client.post(&branches, &at).await.unwrap();
        if answer.status != 201 {
            problem(&answer, 409, "forked_too_often");
            deepest = Some(depth);
            break;
        }
        let fork = answer.json()["id"].clone();
        append(&client, &branch_events(&session, text(&fork)), depth, "deeper").await;
        at = json!({"from_branch_id": fork});
    }
    assert_eq!(deepest, Some(64));
    // As if there were as many as there may be.
    edit(&gateway, MANY_EVENTS);
    let snapshots = below(&session, "snapshots");
    problem(&client.post(&snapshots, &json!({})).await.unwrap(), 409, "snapshot_too_long");
    edit(&gateway, "db.execute('UPDATE session_branches SET version = 100000 WHERE forked_from IS NULL')");
    problem(&client.post(&path, &message(100_000, "one more")).await.unwrap(), 409, "branch_full");
    edit(&gateway, MANY_BRANCHES);
    problem(&client.post(&branches, &json!({})).await.unwrap(), 409, "too_many_branches");
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn a_session_is_purged_with_its_requests() {
    let (gateway, client) = Gateway::with_own().await.and_client();
    let session = made(&client, SESSIONS, json!({})).await;
    let other = made(&client, SESSIONS, json!({})).await;
    let artifact = json!({"type": "document", "content": CANARY, "name": CANARY});
    let artifact = made(&client, "/v2/artifacts", artifact).await;
    for session in [&session, &other] {
        append(&client, &events_of(session), 0, CANARY).await;
    }
    let named = in_session(&gateway, &session).header("idempotency-key", "once");
    gateway.record(&posted(&named, CHAT, &question(MINI)).await).await;
    let again = named.post(CHAT, &question(MINI)).await.unwrap();
    assert_eq!(again.header("agent-idempotent-replay"), Some("true"));
    let surveyed = json!({"session_id": session["id"]});
    let dry = gateway.admin().post("/v2/purge-jobs?dry_run=true", &surveyed).await.unwrap();
    assert!(dry.status < 300 && dry.text().contains("agent_state"), "{}", dry.text());
    for target in [surveyed, json!({"artifact_ids": [artifact["id"]]})] {
        let job = gateway.admin().post("/v2/purge-jobs", &target).await.unwrap();
        assert!(job.status < 300, "{}", job.text());
        let path = format!("/v2/purge-jobs/{}", id_of(&job.json()));
        until_status(&gateway.admin(), &path, "completed").await;
        let receipt = gateway.get(&format!("{path}/receipt")).await;
        assert!(receipt["signature"].is_string() && receipt.to_string().contains("agent_state"), "{receipt}");
        assert!(!receipt.to_string().contains(CANARY), "{receipt}");
    }
    for path in [format!("{SESSIONS}/{}", id_of(&session)), events_of(&session)] {
        assert_eq!(client.get(&path).await.unwrap().status, 404, "{path}");
    }
    let left = got(&client, &format!("/v2/artifacts/{}", id_of(&artifact))).await;
    assert_eq!((&left["status"], &left["name"]), (&json!("revoked"), &Value::Null), "{left}");
    let kept = got(&client, &format!("{}?include=content", events_of(&other))).await;
    assert_eq!(contents(&kept), [CANARY], "the other session's stays");
    let again = gateway.client().header("idempotency-key", "once").post(CHAT, &question(MINI)).await.unwrap();
    assert_ne!(again.header("agent-idempotent-replay"), Some("true"), "its answer is forgotten");
    is_stored_nowhere(&gateway, CANARY);
}

/// A person is erased by their name: all of their sessions and what those requests left, in one purge that does not keep the name.
#[cfg(feature = "flows")]
#[tokio::test]
async fn a_person_is_erased_by_name_and_what_is_retained_is_stated() {
    let gateway = Gateway::with_own().await;
    let (client, admin) = (gateway.client(), gateway.admin());
    let person = "jo.heron@example.org";
    let mut theirs = Vec::new();
    for content in ["first", "second"] {
        let session = made(&client, SESSIONS, json!({"end_user": person})).await;
        append(&client, &events_of(&session), 0, content).await;
        theirs.push(session);
    }
    let other = made(&client, SESSIONS, json!({"end_user": "crane"})).await;
    append(&client, &events_of(&other), 0, CANARY).await;
    let keyed = in_session(&gateway, &theirs[1]).header("idempotency-key", "once");
    gateway.record(&keyed.post(CHAT, &question(MINI)).await.unwrap()).await;
    // Outside of sessions the requests themselves name the person.
    let outside = with(question(MINI), json!({"user": person}));
    let apart = || gateway.client().header("idempotency-key", "apart");
    gateway.record(&apart().post(CHAT, &outside).await.unwrap()).await;
    let path = "/v2/deletion-requests";
    for (body, status, code) in [
        (json!({}), 400, "missing_field"),
        (json!({"workspace": true, "end_user": person}), 400, "invalid_value"),
        (json!({"end_user": "nobody"}), 404, "not_found"),
        (json!({"session_ids": ["ses_none"]}), 404, "not_found"),
    ] {
        problem(&admin.post(path, &body).await.unwrap(), status, code);
    }
    let hold = json!({"session_ids": [theirs[0]["id"]], "reason": "a case"});
    let hold = id_of(&made(&admin, "/v2/legal-holds", hold).await);
    problem(&admin.post(path, &json!({"end_user": person})).await.unwrap(), 409, "legal_hold");
    gateway.remove(&format!("/v2/legal-holds/{hold}")).await;
    let counted = made(&admin, &format!("{path}?dry_run=true"), json!({"end_user": person})).await;
    let places = counted["places"].as_array().unwrap();
    let found: u64 = places.iter().filter_map(|place| place["before"].as_u64()).sum();
    assert!(found >= 3 && places.iter().all(|place| place["status"] == "pending"), "{counted}");
    let erased = json!({"sessions": 2, "items": 0, "usage_events": 0, "namespace_generation": null,
        "key_shredding": null});
    assert_eq!(counted["erased"], erased);
    let erasure = made(&admin, path, json!({"end_user": person})).await;
    let erased = until_status(&admin, &format!("{path}/{}", id_of(&erasure)), "completed").await;
    assert_eq!(erased["erased"]["sessions"], 2, "{erased}");
    assert!(erased["erased"]["items"].as_u64() >= Some(3), "{erased}");
    assert!(erased["erased"]["namespace_generation"].is_u64() && erased["erased"]["usage_events"] == 0);
    let retained = erased["retained"].as_array().unwrap();
    assert!(retained.iter().any(|one| one["what"] == "records" && one["reason"].is_string()), "{erased}");
    let receipt = gateway.get(erased["receipt"].as_str().unwrap()).await;
    assert!(receipt["signature"].is_string() && receipt["complete"] == true, "{receipt}");
    for session in &theirs {
        client.get(&format!("{SESSIONS}/{}", id_of(session))).await.unwrap().must_be(404);
    }
    let again = gateway.client().header("idempotency-key", "once").post(CHAT, &question(MINI)).await.unwrap();
    assert_ne!(again.header("agent-idempotent-replay"), Some("true"), "its answer is erased");
    // Its answer is erased: another body would be refused.
    posted(&apart(), CHAT, &question(MINI)).await;
    let kept = got(&client, &format!("{}?include=content", events_of(&other))).await;
    assert_eq!(contents(&kept), [CANARY], "another person's stays");
    is_stored_nowhere(&gateway, person);
}
