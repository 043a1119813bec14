//! The state of `/v1/responses` where no provider keeps it: kept by the gateway, sealed, under the rules of its project.

use harness::Behaviour;
use harness::client::Client;
use harness::postgres::Server;
use serde_json::{Value, json};

use crate::WITHIN;
use crate::ask::{refused, trace_of};
use crate::canary::holds;
use crate::command::workspace;
use crate::gateway::{Gateway, LOCAL_MODEL, OWN, POOL, stored_bytes};
use crate::own_batches::{HAIKU, pooled_on};
use crate::sdk::drive_at;
use crate::wait::{found, until};

const PATH: &str = "/v1/responses";
const CANARY: &str = "canary-5150";

async fn pooled() -> Gateway {
    pooled_on(&[]).await
}

fn ask(words: &str) -> Value {
    json!({"model": HAIKU, "input": words})
}

fn on(words: &str, previous: &str) -> Value {
    json!({"model": HAIKU, "input": words, "previous_response_id": previous})
}

/// Makes an answer, and returns its id.
async fn made(client: &Client, body: &Value) -> String {
    let answer = client.post(PATH, body).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["id"].as_str().unwrap().to_owned()
}

#[cfg(feature = "sdk")]
#[tokio::test]
async fn the_official_sdk_has_state_over_any_model_through_the_gateway() {
    let gateway = pooled().await;
    gateway.credential("openai", OWN).await;
    gateway.node("cellar", &[LOCAL_MODEL]).await;
    let (python, script) =
        (workspace().join(".venv/bin/python"), workspace().join("tests/sdk/kept_responses.py"));
    let models = format!("{HAIKU},{LOCAL_MODEL},openai/gpt-4o-mini");
    let driven = drive_at(python, script, &gateway.origin, &gateway.founded.api_key, &models).await;
    assert_eq!(driven.held, 8);
    // The provider that stores was sent all that came before, since it has none of it.
    let chained =
        gateway.calls(OWN).into_iter().map(|call| call.json()).find(|sent| sent.get("input").is_some());
    let said: Vec<String> = chained.unwrap()["input"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["content"].as_str().or(item["content"][0]["text"].as_str()).unwrap().to_owned())
        .collect();
    assert_eq!(said, ["turn 0", "You said: turn 0", "turn 1", "You said: turn 1", "turn 2"]);
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn an_answer_is_its_project_s_alone_and_outlives_a_kill() {
    let mut gateway = pooled().await;
    let client = gateway.client();
    let first = made(&client, &ask(CANARY)).await;
    let second = made(&client, &on("more", &first)).await;
    let project = gateway.make("/v2/projects", json!({"name": "other"})).await;
    let (key, _) = gateway.key(json!({"name": "other", "project_id": project["id"]})).await;
    let workspace = gateway.make("/v2/workspaces", json!({"name": "another"})).await;
    let at = format!("{PATH}/{second}");
    for other in [gateway.with_key(&key), gateway.with_key(workspace["api_key"].as_str().unwrap())] {
        for answer in [
            other.get(&at).await.unwrap(),
            other.get(&format!("{at}/input_items")).await.unwrap(),
            other.delete(&at).await.unwrap(),
            other.post(&format!("{at}/cancel"), &json!({})).await.unwrap(),
        ] {
            refused(&answer, 404, "response_not_found");
        }
        let onward = other.post(PATH, &on("go on", &second)).await.unwrap();
        refused(&onward, 400, "previous_response_not_found");
    }
    let cancelled = client.post(&format!("{at}/cancel"), &json!({})).await.unwrap();
    refused(&cancelled, 400, "response_not_in_background");
    gateway.crash().await;
    let client = gateway.client();
    assert_eq!(client.get(&at).await.unwrap().json()["previous_response_id"], first);
    made(&client, &on("go on", &second)).await;
    let sent = gateway.calls(POOL).pop().unwrap().json();
    let words: Vec<&Value> =
        sent["messages"].as_array().unwrap().iter().map(|message| &message["role"]).collect();
    assert_eq!(words, ["user", "assistant", "user", "assistant", "user"], "{sent}");
    assert!(sent.to_string().contains(CANARY));
    // What is kept is sealed: no file of the gateway has it in the clear.
    gateway.stop().await;
    assert!(!holds(&stored_bytes(&gateway), CANARY));
}

#[tokio::test]
async fn what_is_kept_is_purged_held_and_forbidden_as_its_project_says() {
    let gateway = pooled().await;
    let client = gateway.client();
    let first = made(&client, &ask(CANARY)).await;
    let second = made(&client, &on("more", &first)).await;
    let hold = gateway
        .make("/v2/legal-holds", json!({"reason": "case 7", "project_id": gateway.founded.project_id}))
        .await;
    let at = format!("{PATH}/{first}");
    until("the hold is in force", async || client.delete(&at).await.unwrap().status == 409).await;
    let released = gateway.admin().delete(&format!("/v2/legal-holds/{}", hold["id"].as_str().unwrap())).await;
    assert!(released.unwrap().status < 300);
    let request = first.replace("resp_", "trc_");
    gateway.settled(&request).await;
    gateway.make("/v2/purge-jobs", json!({"request_ids": [request]})).await;
    until("the answer is purged", async || client.get(&at).await.unwrap().status == 404).await;
    let error =
        refused(&client.post(PATH, &on("go on", &second)).await.unwrap(), 400, "previous_response_not_found");
    assert!(error["message"].as_str().unwrap().contains(&first), "{error}");
    assert_eq!(client.get(&format!("{PATH}/{second}")).await.unwrap().status, 200);
    let policy = json!({"project_id": gateway.founded.project_id, "retention": "zero"});
    gateway.make("/v2/policies", policy).await;
    gateway.node("cellar", &[LOCAL_MODEL]).await;
    let unkept = json!({"model": LOCAL_MODEL, "input": "not this", "store": false});
    let id = made(&client, &unkept).await;
    refused(&client.get(&format!("{PATH}/{id}")).await.unwrap(), 404, "response_not_found");
    let background = json!({"model": LOCAL_MODEL, "input": "later", "background": true});
    refused(&client.post(PATH, &background).await.unwrap(), 403, "policy_forbids");
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn an_answer_in_the_background_is_cancelled_booked_once_and_seen_by_every_replica() {
    let server = Server::shared().await.unwrap();
    let url = server.database(&format!("k_{}", std::process::id())).await.unwrap();
    let keys = tempfile::tempdir().unwrap();
    let key_file = keys.path().join("master.key").display().to_string();
    let environment = [("TIDEGATE_DATABASE_URL", url.as_str()), ("TIDEGATE_MASTER_KEY_FILE", &key_file)];
    let gateway = pooled_on(&environment).await;
    let (mut other, origin) = gateway.replica().await;
    let there = Client::new(&origin).bearer(&gateway.founded.api_key).within(WITHIN);
    gateway.emulator.script(POOL, [Behaviour::held()]);
    let client = gateway.client();
    let later = json!({"model": HAIKU, "input": "later", "background": true});
    let id = made(&client, &later).await;
    let at = format!("{PATH}/{id}");
    until("it is at the provider", async || gateway.calls(POOL).len() == 1).await;
    for one in [&client, &there] {
        assert_eq!(one.get(&at).await.unwrap().json()["status"], "queued");
        refused(&one.delete(&at).await.unwrap(), 409, "response_running");
    }
    let cancelled = there.post(&format!("{at}/cancel"), &json!({})).await.unwrap();
    assert_eq!((cancelled.status, &cancelled.json()["status"]), (200, &json!("cancelled")));
    assert_eq!(client.get(&at).await.unwrap().json()["status"], "cancelled");
    assert_eq!(gateway.settled(&id.replace("resp_", "trc_")).await["outcome"], "client_cancelled");
    assert_eq!(client.delete(&at).await.unwrap().status, 200);
    gateway.emulator.script(POOL, [Behaviour::status(400)]);
    let id = made(&client, &later).await;
    let failed = found("it fails", async || {
        let read = client.get(&format!("{PATH}/{id}")).await.unwrap().json();
        (read["status"] == "failed").then_some(read)
    })
    .await;
    assert!(failed["error"]["message"].as_str().is_some_and(|message| !message.is_empty()), "{failed}");
    let id = made(&client, &later).await;
    until("it is complete", async || {
        client.get(&format!("{PATH}/{id}")).await.unwrap().json()["status"] == "completed"
    })
    .await;
    let onward = made(&there, &on("go on", &id)).await;
    assert_eq!(client.get(&format!("{PATH}/{onward}")).await.unwrap().json()["previous_response_id"], id);
    other.stop(WITHIN).await.unwrap();
    let record = gateway.settled(&id.replace("resp_", "trc_")).await;
    assert!(record["output_tokens"].as_u64() > Some(0) && record["status"] == 200, "{record}");
    let streamed = json!({"model": HAIKU, "input": "later", "background": true, "stream": true});
    refused(&client.post(PATH, &streamed).await.unwrap(), 400, "unsupported_field");
    let unknown = json!({"model": "nobody/knows-it", "input": "later", "background": true});
    let answer = client.post(PATH, &unknown).await.unwrap();
    assert_eq!((answer.status, trace_of(&answer).is_empty()), (404, false), "{}", answer.text());
}

/// Over `/v2`, a conversation is a session with its branches, which other dialects' agents append to as well.
#[cfg(feature = "flows")]
#[tokio::test]
async fn a_session_s_history_is_sent_with_a_request_and_grows_with_its_answer() {
    let gateway = pooled().await;
    let client = gateway.client();
    let session = client.post("/v2/sessions", &json!({"name": "trip"})).await.unwrap().json();
    let (id, branch) = (session["id"].as_str().unwrap(), session["default_branch_id"].as_str().unwrap());
    let events = format!("/v2/sessions/{id}/branches/{branch}/events");
    let before = json!({"events": [
        {"event_type": "user_message", "content": "we are in Oslo"},
        {"event_type": "note", "content": "nobody is told of this"},
        {"event_type": "assistant_message", "content": {"type": "message", "role": "assistant", "content": "good"}},
    ]});
    assert_eq!(client.post(&events, &before).await.unwrap().status, 201);
    let ask = |words: &str, stream: bool| json!({"model": HAIKU, "input": words, "session_id": id, "stream": stream});
    let answer = client.post("/v2/responses", &ask("and now?", false)).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let body = answer.json();
    assert_eq!((&body["session_id"], &body["branch_id"]), (&json!(id), &json!(branch)), "{body}");
    let sent = gateway.calls(POOL).pop().unwrap().json()["messages"].clone();
    let said = |message: &Value| message["content"][0]["text"].as_str().unwrap().to_owned();
    let said: Vec<String> = sent.as_array().unwrap().iter().map(said).collect();
    assert_eq!(said, ["we are in Oslo", "good", "and now?"]);
    assert_eq!(gateway.settled(&trace_of(&answer)).await["session_id"], id);
    // A fork goes on from where it left, and what is said in it is not said in the other.
    let fork = json!({"from_branch_id": branch, "name": "other"});
    let fork = client.post(&format!("/v2/sessions/{id}/branches"), &fork).await.unwrap().json();
    let fork = fork["id"].as_str().unwrap();
    let streamed = client.post("/v2/responses", &ask("and then?", true)).await.unwrap();
    assert!(streamed.text().contains(&format!("\"session_id\":\"{id}\"")), "{}", streamed.text());
    let mut elsewhere = ask("or else?", false);
    elsewhere["branch_id"] = json!(fork);
    assert_eq!(client.post("/v2/responses", &elsewhere).await.unwrap().json()["branch_id"], fork);
    let words = async |branch: &str| {
        let path = format!("/v2/sessions/{id}/branches/{branch}/events?include=content&limit=100");
        let page = client.get(&path).await.unwrap().json();
        let text = |event: &Value| match &event["content"]["content"] {
            Value::Array(parts) => parts[0]["text"].clone(),
            text => text.clone(),
        };
        page["data"].as_array().unwrap()[3..].iter().map(text).collect::<Vec<_>>()
    };
    assert_eq!(
        words(branch).await,
        ["and now?", "You said: and now?", "and then?", "You said: and then?"].map(Value::from)
    );
    assert_eq!(
        words(fork).await,
        ["and now?", "You said: and now?", "or else?", "You said: or else?"].map(Value::from)
    );
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn a_session_that_can_t_be_continued_is_refused_before_anything_is_spent() {
    let gateway = pooled().await;
    let client = gateway.client();
    let session = client.post("/v2/sessions", &json!({"name": "trip"})).await.unwrap().json();
    let (id, branch) = (session["id"].as_str().unwrap(), session["default_branch_id"].as_str().unwrap());
    let ask = |words: &str| json!({"model": HAIKU, "input": words, "session_id": id});
    assert_eq!(client.post("/v2/responses", &ask("in time")).await.unwrap().status, 200);
    for (body, status, code) in [
        (json!({"model": HAIKU, "input": "x", "session_id": "ses_1"}), 400, "invalid_value"),
        (json!({"model": HAIKU, "input": "x", "branch_id": branch}), 400, "invalid_value"),
        (
            json!({"model": HAIKU, "input": "x", "session_id": id.replace("ses_0", "ses_1")}),
            404,
            "session_not_found",
        ),
    ] {
        let answer = client.post("/v2/responses", &body).await.unwrap();
        assert_eq!((answer.status, &answer.json()["code"]), (status, &json!(code)), "{}", answer.text());
    }
    let project = gateway.make("/v2/projects", json!({"name": "other"})).await;
    let (key, _) = gateway.key(json!({"name": "other", "project_id": project["id"]})).await;
    let conversation = id.replace("ses_", "conv_");
    let other = gateway.with_key(&key);
    let path = format!("/v1/conversations/{conversation}");
    for answer in [
        other.get(&path).await.unwrap(),
        other.get(&format!("{path}/items")).await.unwrap(),
        other.delete(&path).await.unwrap(),
        other.post(PATH, &json!({"model": HAIKU, "input": "x", "conversation": conversation})).await.unwrap(),
    ] {
        refused(&answer, 404, "conversation_not_found");
    }
    assert_eq!(client.get(&path).await.unwrap().json()["object"], "conversation", "a session is one");
    let no_item = client.get(&format!("{path}/items/msg_1")).await.unwrap();
    refused(&no_item, 404, "conversation_item_not_found");
    gateway.patch(&format!("/v2/sessions/{id}"), json!({"status": "archived"})).await;
    let before = gateway.calls(POOL).len();
    let late = client.post("/v2/responses", &ask("too late?")).await.unwrap();
    assert_eq!((late.status, &late.json()["code"]), (409, &json!("session_archived")), "{}", late.text());
    assert_eq!(gateway.calls(POOL).len(), before, "nothing was sent");
}
