//! The state of `/v1/responses` where no provider keeps it: kept by the gateway, sealed, under the rules of its project.

use harness::Behaviour;
use harness::client::Client;
use serde_json::{Value, json};

use crate::WITHIN;
use crate::ask::{posted, refused, trace_of, until_status, with};
use crate::canary::holds;
use crate::gateway::{LOCAL_MODEL, OWN, POOL, Shared, driver, id_of, stored_bytes};
use crate::isolation::second_workspace;
use crate::native_responses::problem;
use crate::own_batches::{HAIKU, pooled, pooled_on};
use crate::sdk::drive_at;
use crate::wait::until;

const PATH: &str = "/v1/responses";
const CANARY: &str = "canary-5150";

fn ask(words: &str) -> Value {
    json!({"model": HAIKU, "input": words})
}

fn on(words: &str, previous: &str) -> Value {
    json!({"model": HAIKU, "input": words, "previous_response_id": previous})
}

/// Makes an answer, and returns its id.
async fn made(client: &Client, body: &Value) -> String {
    id_of(&posted(client, PATH, body).await.json())
}

#[cfg(feature = "sdk")]
#[tokio::test]
async fn the_official_sdk_has_state_over_any_model_through_the_gateway() {
    let gateway = pooled().await;
    gateway.credential("openai", OWN).await;
    gateway.node("cellar", &[LOCAL_MODEL]).await;
    let (python, script) = driver("kept_responses.py");
    let models = format!("{HAIKU},{LOCAL_MODEL},openai/gpt-4o-mini");
    assert_eq!(drive_at(python, script, &gateway.origin, &gateway.founded.api_key, &models).await.held, 8);
    // The provider that stores was sent all that came before, since it has none of it.
    let mut sent = gateway.calls(OWN).into_iter().map(|call| call.json());
    let chained = sent.find(|sent| sent.get("input").is_some()).unwrap();
    let text =
        |item: &Value| item["content"].as_str().or(item["content"][0]["text"].as_str()).unwrap().to_owned();
    let said: Vec<String> = chained["input"].as_array().unwrap().iter().map(text).collect();
    assert_eq!(said, ["turn 0", "You said: turn 0", "turn 1", "You said: turn 1", "turn 2"]);
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn an_answer_is_its_project_s_alone_and_outlives_a_kill() {
    let (mut gateway, client) = pooled().await.and_client();
    let first = made(&client, &ask(CANARY)).await;
    let second = made(&client, &on("more", &first)).await;
    let others = second_workspace(&gateway).await;
    let at = format!("{PATH}/{second}");
    for other in [gateway.other_project().await, gateway.with_key(&others.api_key)] {
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
    let roles: Vec<_> = sent["messages"].as_array().unwrap().iter().map(|turn| &turn["role"]).collect();
    assert_eq!(roles, ["user", "assistant", "user", "assistant", "user"], "{sent}");
    assert!(sent.to_string().contains(CANARY));
    // What is kept is sealed: no file of the gateway has it in the clear.
    gateway.stop().await;
    assert!(!holds(&stored_bytes(&gateway), CANARY));
}

#[tokio::test]
async fn what_is_kept_is_purged_held_and_forbidden_as_its_project_says() {
    let (gateway, client) = pooled().await.and_client();
    let first = made(&client, &ask(CANARY)).await;
    let second = made(&client, &on("more", &first)).await;
    let held = json!({"reason": "case 7", "project_id": gateway.founded.project_id});
    let hold = id_of(&gateway.make("/v2/legal-holds", held).await);
    let at = format!("{PATH}/{first}");
    until("the hold is in force", async || client.delete(&at).await.unwrap().status == 409).await;
    gateway.remove(&format!("/v2/legal-holds/{hold}")).await;
    let request = first.replace("resp_", "trc_");
    gateway.settled(&request).await;
    gateway.make("/v2/purge-jobs", json!({"request_ids": [request]})).await;
    until("the answer is purged", async || client.get(&at).await.unwrap().status == 404).await;
    let onward = client.post(PATH, &on("go on", &second)).await.unwrap();
    let error = refused(&onward, 400, "previous_response_not_found");
    assert!(error["message"].as_str().unwrap().contains(&first), "{error}");
    client.get(&format!("{PATH}/{second}")).await.unwrap().must_be(200);
    gateway.policy(json!({"retention": "zero"})).await;
    gateway.node("cellar", &[LOCAL_MODEL]).await;
    let id = made(&client, &json!({"model": LOCAL_MODEL, "input": "not this", "store": false})).await;
    refused(&client.get(&format!("{PATH}/{id}")).await.unwrap(), 404, "response_not_found");
    let background = json!({"model": LOCAL_MODEL, "input": "later", "background": true});
    refused(&client.post(PATH, &background).await.unwrap(), 403, "policy_forbids");
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn an_answer_in_the_background_is_cancelled_booked_once_and_seen_by_every_replica() {
    let shared = Shared::of("k").await;
    let gateway = pooled_on(&shared.environment()).await;
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
    client.delete(&at).await.unwrap().must_be(200);
    gateway.emulator.script(POOL, [Behaviour::status(400)]);
    let id = made(&client, &later).await;
    let failed = until_status(&client, &format!("{PATH}/{id}"), "failed").await;
    assert!(failed["error"]["message"].as_str().is_some_and(|message| !message.is_empty()), "{failed}");
    let id = made(&client, &later).await;
    until_status(&client, &format!("{PATH}/{id}"), "completed").await;
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
    let (gateway, client) = pooled().await.and_client();
    let session = client.post("/v2/sessions", &json!({"name": "trip"})).await.unwrap().json();
    let (id, branch) = (session["id"].as_str().unwrap(), session["default_branch_id"].as_str().unwrap());
    let events = format!("/v2/sessions/{id}/branches/{branch}/events");
    let before = json!({"events": [
        {"event_type": "user_message", "content": "we are in Oslo"},
        {"event_type": "note", "content": "nobody is told of this"},
        {"event_type": "assistant_message", "content": {"type": "message", "role": "assistant", "content": "good"}},
    ]});
    client.post(&events, &before).await.unwrap().must_be(201);
    let ask = |words: &str, stream: bool| json!({"model": HAIKU, "input": words, "session_id": id, "stream": stream});
    let answer = posted(&client, "/v2/responses", &ask("and now?", false)).await;
    let body = answer.json();
    assert_eq!((&body["session_id"], &body["branch_id"]), (&json!(id), &json!(branch)), "{body}");
    let sent = gateway.calls(POOL).pop().unwrap().json()["messages"].clone();
    let said = |message: &Value| message["content"][0]["text"].as_str().unwrap().to_owned();
    let said: Vec<String> = sent.as_array().unwrap().iter().map(said).collect();
    assert_eq!(said, ["we are in Oslo", "good", "and now?"]);
    assert_eq!(gateway.record(&answer).await["session_id"], id);
    // A fork goes on from where it left, and what is said in it is not said in the other.
    let fork = json!({"from_branch_id": branch, "name": "other"});
    let fork = client.post(&format!("/v2/sessions/{id}/branches"), &fork).await.unwrap().json();
    let fork = fork["id"].as_str().unwrap();
    let streamed = client.post("/v2/responses", &ask("and then?", true)).await.unwrap();
    assert!(streamed.text().contains(&format!("\"session_id\":\"{id}\"")), "{}", streamed.text());
    let elsewhere = with(ask("or else?", false), json!({"branch_id": fork}));
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
    let first = ["and now?", "You said: and now?"];
    let left = [&first[..], &["and then?", "You said: and then?"]].concat();
    assert_eq!(words(branch).await, left);
    assert_eq!(words(fork).await, [&first[..], &["or else?", "You said: or else?"]].concat());
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn a_session_that_can_t_be_continued_is_refused_before_anything_is_spent() {
    let (gateway, client) = pooled().await.and_client();
    let session = client.post("/v2/sessions", &json!({"name": "trip"})).await.unwrap().json();
    let (id, branch) = (session["id"].as_str().unwrap(), session["default_branch_id"].as_str().unwrap());
    let ask = |words: &str| json!({"model": HAIKU, "input": words, "session_id": id});
    posted(&client, "/v2/responses", &ask("in time")).await;
    let foreign = id.replace("ses_0", "ses_1");
    for (more, status, code) in [
        (json!({"session_id": "ses_1"}), 400, "invalid_value"),
        (json!({"session_id": null, "branch_id": branch}), 400, "invalid_value"),
        (json!({"session_id": foreign}), 404, "session_not_found"),
    ] {
        problem(&client.post("/v2/responses", &with(ask("x"), more)).await.unwrap(), status, code);
    }
    let conversation = id.replace("ses_", "conv_");
    let other = gateway.other_project().await;
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
    refused(&client.get(&format!("{path}/items/msg_1")).await.unwrap(), 404, "conversation_item_not_found");
    gateway.patch(&format!("/v2/sessions/{id}"), json!({"status": "archived"})).await;
    let before = gateway.calls(POOL).len();
    problem(&client.post("/v2/responses", &ask("too late?")).await.unwrap(), 409, "session_archived");
    assert_eq!(gateway.calls(POOL).len(), before, "nothing was sent");
}
