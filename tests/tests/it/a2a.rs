//! Agents over the A2A protocol: its own client, cards, messages, approvals, streams, cancelled tasks, lists, and what is refused.

use std::time::Duration;

use bytes::Bytes;
use harness::client::{Answer, Client};
use harness::{Behaviour, Outcome, ToolMode};
use http::Method;
use serde_json::{Value, json};

use crate::WITHIN;
use crate::ask::{MINI, has, problem, with};
use crate::command::workspace;
use crate::gateway::{Gateway, OWN, id_of};
use crate::isolation::second_workspace;
use crate::sdk::drive;
use crate::tools::maths_server;
use crate::wait::{found, until};

const HELPER: &str = "/a2a/helper";
const JSON: (&str, &str) = ("content-type", "application/json");

/// A gateway with an agent, and a client of it.
async fn gateway() -> (Gateway, Client) {
    let gateway = Gateway::with_own().await;
    define(&gateway, "helper", json!({})).await;
    let client = gateway.client();
    (gateway, client)
}

async fn define(gateway: &Gateway, name: &str, more: Value) {
    let definition = with(json!({"model": MINI, "instructions": "Be short."}), more);
    gateway.make("/v2/agents", json!({"name": name, "definition": definition})).await;
}

fn beep() -> Value {
    let parameters = json!({"type": "object", "properties": {"times": {"type": "string"}}});
    json!({"tools": [{"type": "client", "name": "beep", "parameters": parameters}]})
}

/// What is left of an answer to a message.
async fn sent(client: &Client, path: &str, params: Value) -> Value {
    done(client, path, "SendMessage", params).await["task"].clone()
}

fn calling(tool: &str, arguments: &str) -> Behaviour {
    Behaviour::ok().tools(ToolMode::Single).call(tool, arguments)
}

fn plain() -> Behaviour {
    Behaviour::ok().tools(ToolMode::None)
}

async fn raw(client: &Client, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
    let all: Vec<_> = [JSON].into_iter().chain(headers.iter().copied()).collect();
    client.call(Method::POST, path, &all, body).await.unwrap()
}

fn rpc(method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params})
}

/// Calls a method, and returns the whole answer.
async fn call(client: &Client, path: &str, method: &str, params: Value) -> Value {
    let answered = raw(client, path, &[("a2a-version", "1.0")], rpc(method, params).to_string())
        .await
        .must_be(200)
        .json();
    has(&answered, json!({"jsonrpc": "2.0", "id": 7}));
    answered
}

async fn done(client: &Client, path: &str, method: &str, params: Value) -> Value {
    let answered = call(client, path, method, params).await;
    assert!(answered["error"].is_null(), "{answered}");
    answered["result"].clone()
}

async fn refused(client: &Client, path: &str, method: &str, params: Value) -> (i64, String) {
    let answered = call(client, path, method, params).await;
    let error = &answered["error"];
    let id = error["data"][0]["metadata"]["requestId"].as_str();
    assert!(id.is_some_and(|id| !id.is_empty()), "{answered}");
    (error["code"].as_i64().unwrap(), error["message"].as_str().unwrap().to_owned())
}

fn message(id: &str, more: Value) -> Value {
    with(json!({"messageId": id, "role": "ROLE_USER"}), more)
}

fn says(id: &str, text: &str) -> Value {
    json!({"message": message(id, json!({"parts": [{"text": text}]}))})
}

/// A message that says something of this task, or in this context.
fn about(more: Value) -> Value {
    json!({"message": message("a", with(json!({"parts": [{"text": "x"}]}), more))})
}

fn at_once(params: Value) -> Value {
    with(params, json!({"configuration": {"returnImmediately": true}}))
}

async fn until_state(client: &Client, path: &str, task: &Value, state: &str) -> Value {
    found(&format!("the task is {state}"), async || {
        let read = done(client, path, "GetTask", json!({"id": task["id"]})).await;
        (read["status"]["state"] == state).then_some(read)
    })
    .await
}

/// Opens a stream, and returns all its results.
async fn stream(client: &Client, path: &str, method: &str, params: Value) -> Vec<Value> {
    let body = rpc(method, params).to_string();
    let mut stream = client.open(Method::POST, path, &[JSON], body.into()).await.unwrap();
    assert_eq!(stream.status, 200);
    let mut text = String::new();
    while let Some(chunk) = stream.chunk().await.unwrap() {
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    let events = text.lines().filter_map(|line| line.strip_prefix("data: "));
    events.map(|event| serde_json::from_str::<Value>(event).unwrap()["result"].clone()).collect()
}

fn answer_text(task: &Value) -> &str {
    task["artifacts"][0]["parts"][0]["text"].as_str().unwrap()
}

/// The protocol's own client, unmodified.
#[tokio::test]
async fn the_protocols_client_talks_with_agents() {
    let (gateway, _) = gateway().await;
    define(&gateway, "beeper", beep()).await;
    let script = [plain(), plain(), plain().chunks(6), calling("beep", r#"{"times":"2"}"#), plain()];
    gateway.emulator.script(OWN, script);
    let python = workspace().join(".venv/bin/python");
    assert_eq!(drive(python, workspace().join("tests/sdk/a2a_client.py"), &gateway).await.held, 7);
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn a_card_describes_an_agent_of_the_keys_project() {
    let (gateway, client) = gateway().await;
    let places = json!({"description": "Finds places.", "output_schema": {"type": "object"}});
    define(&gateway, "placer", places).await;
    let read = async |client: &Client, name: &str| {
        client.get(&format!("/a2a/{name}/.well-known/agent-card.json")).await.unwrap()
    };
    let card = read(&client, "placer").await.must_be(200).json();
    has(&card, json!({"name": "placer", "description": "Finds places.", "version": "1"}));
    let url = format!("{}/a2a/placer", gateway.origin);
    let interface = json!({"url": url, "protocolBinding": "JSONRPC", "protocolVersion": "1.0"});
    assert_eq!(card["supportedInterfaces"], json!([interface]));
    assert_eq!(card["defaultOutputModes"], json!(["text/plain", "application/json"]));
    assert_eq!(done(&client, "/a2a/placer", "GetExtendedAgentCard", json!({})).await, card);
    problem(&read(&client, "nobody").await, 404, "agent_not_found");
    problem(&client.get("/a2a/placer/other").await.unwrap(), 404, "unknown_path");
    let nameless = Client::new(&gateway.origin).within(WITHIN);
    assert_eq!(read(&nameless, "placer").await.must_be(401).header("www-authenticate"), Some("Bearer"));
    let (reader, _) = gateway.key(json!({"name": "reader", "scopes": ["read"]})).await;
    assert_eq!(read(&gateway.with_key(&reader), "placer").await.status, 403);
}

#[tokio::test]
async fn a_message_is_a_turn_and_its_context_a_chat() {
    let (gateway, client) = gateway().await;
    let task = sent(&client, HELPER, says("m1", "hello there")).await;
    has(&task, json!({"/status/state": "TASK_STATE_COMPLETED", "/history/0/messageId": "m1"}));
    assert_eq!(answer_text(&task), "You said: hello there", "{task}");
    let chat = client.get(&format!("/chats/{}", task["contextId"].as_str().unwrap())).await.unwrap();
    assert_eq!(chat.json()["data"]["agent"], "helper@1", "{}", chat.text());
    let context = json!({"contextId": task["contextId"], "metadata": {"k": "v"}});
    let parts = with(json!({"parts": [{"text": "look"}, {"data": {"a": 1}}]}), context);
    let more = json!({"message": message("m2", parts), "configuration": {"historyLength": 0}});
    let second = sent(&client, HELPER, more.clone()).await;
    assert_eq!(answer_text(&second), "You said: look\n\n{\"a\":1}");
    assert!(second.get("history").is_none(), "{second}");
    // The same message sent again makes no further turn.
    let repeated = sent(&client, HELPER, more).await;
    assert_eq!((&repeated["id"], gateway.calls(OWN).len()), (&second["id"], 2));
    let read = done(&client, HELPER, "GetTask", json!({"id": second["id"]})).await;
    assert_eq!(read["history"][0]["metadata"], json!({"k": "v"}), "{read}");
    let url = json!({"url": "https://x.example"});
    for (params, code) in [
        (about(json!({"contextId": "mine"})), -32_602),
        (about(json!({"taskId": task["id"]})), -32_004),
        (about(json!({"taskId": "nonsense"})), -32_001),
        (with(says("m", "x"), json!({"configuration": {"acceptedOutputModes": ["image/png"]}})), -32_005),
        (with(says("m", "x"), json!({"configuration": {"taskPushNotificationConfig": url}})), -32_003),
        (says("m", ""), -32_602),
    ] {
        let (got, why) = refused(&client, HELPER, "SendMessage", params.clone()).await;
        assert_eq!(got, code, "{params}: {why}");
    }
    assert_eq!(gateway.calls(OWN).len(), 2);
}

#[tokio::test]
async fn what_is_not_a_request_has_its_own_error() {
    let (_gateway, client) = gateway().await;
    for (body, code) in [
        ("{\"jsonrpc\"", -32_700),
        ("[]", -32_600),
        (r#"{"jsonrpc": "1.0", "id": 1, "method": "GetTask"}"#, -32_600),
        (r#"{"jsonrpc": "2.0", "id": 1}"#, -32_600),
        (r#"{"jsonrpc": "2.0", "id": 1, "method": "message/send"}"#, -32_601),
        (r#"{"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": []}"#, -32_602),
        (r#"{"jsonrpc": "2.0", "id": 1, "method": "GetTaskPushNotificationConfig"}"#, -32_003),
    ] {
        let answer = raw(&client, HELPER, &[], body).await;
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (200, &json!(code)), "{body}");
    }
    let get = rpc("ListTasks", json!({})).to_string();
    for (version, code) in [("0.3", json!(-32_009)), ("2.0", json!(-32_009)), ("1.0", Value::Null)] {
        let answer = raw(&client, HELPER, &[("a2a-version", version)], get.clone()).await.json();
        assert_eq!(answer["error"]["code"], code, "{version}: {answer}");
    }
    let plain = [("content-type", "text/plain")];
    let text = client.call(Method::POST, HELPER, &plain, get.clone()).await.unwrap();
    assert_eq!(text.must_be(415).json()["error"]["code"], -32_005);
    problem(&raw(&client, "/a2a/nobody", &[], get).await, 404, "agent_not_found");
}

#[tokio::test]
async fn a_stream_brings_the_text_as_it_comes_and_closes_at_the_end() {
    let (gateway, client) = gateway().await;
    gateway.emulator.script(OWN, [Behaviour::ok().chunks(6).interval(Duration::from_millis(120))]);
    let events = stream(&client, HELPER, "SendStreamingMessage", says("m", "one two three four")).await;
    assert!(events[0]["task"]["id"].is_string(), "{events:?}");
    let (mut text, mut chunks) = (String::new(), 0);
    for update in events.iter().map(|event| &event["artifactUpdate"]).filter(|update| update.is_object()) {
        if update["append"] != true {
            text.clear();
        }
        text.push_str(update["artifact"]["parts"][0]["text"].as_str().unwrap());
        chunks += 1;
    }
    assert_eq!(text, "You said: one two three four", "{events:?}");
    assert!(chunks > 2, "{events:?}");
    let last = &events.last().unwrap()["statusUpdate"];
    assert_eq!(last["status"]["state"], "TASK_STATE_COMPLETED", "{events:?}");
    let (code, why) = refused(&client, HELPER, "SubscribeToTask", json!({"id": last["taskId"]})).await;
    assert_eq!(code, -32_004, "{why}");
    // A client that reads nothing but a stream finds its error in one.
    let wrong = rpc("SubscribeToTask", json!({"id": "nonsense"})).to_string();
    let answer = raw(&client, HELPER, &[("accept", "text/event-stream")], wrong).await;
    let event: Value = serde_json::from_str(answer.text().trim().strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(event["error"]["code"], -32_001, "{event}");
    // Who comes to a task that runs gets all of its text.
    gateway.emulator.script(OWN, [Behaviour::ok().chunks(6).interval(Duration::from_millis(120))]);
    let task = sent(&client, HELPER, at_once(says("m2", "five six seven eight"))).await;
    let events = stream(&client, HELPER, "SubscribeToTask", json!({"id": task["id"]})).await;
    assert_eq!(events[0]["task"]["id"], task["id"], "{events:?}");
    let ended = done(&client, HELPER, "GetTask", json!({"id": task["id"]})).await;
    assert_eq!(answer_text(&ended), "You said: five six seven eight");
}

#[tokio::test]
async fn a_call_waits_for_the_decision_of_a_message() {
    let (gateway, client) = gateway().await;
    let server = maths_server(&gateway).await;
    let tools = json!([{"type": "project", "name": "maths", "require_approval": true}]);
    define(&gateway, "adder", json!({"tools": tools})).await;
    let adder = "/a2a/adder";
    for (decision, calls) in [("reject", 0), ("approve", 1)] {
        gateway.emulator.script(OWN, [calling("maths__add", r#"{"a":"1"}"#), plain()]);
        let waits = sent(&client, adder, says(decision, "add")).await;
        assert_eq!(waits["status"]["state"], "TASK_STATE_INPUT_REQUIRED", "{waits}");
        let pending = &waits["status"]["message"]["parts"][1]["data"]["pending_calls"][0];
        has(pending, json!({"name": "maths__add", "kind": "approval"}));
        let listed = done(&client, adder, "ListTasks", json!({"status": "TASK_STATE_INPUT_REQUIRED"})).await;
        assert_eq!(listed["tasks"][0]["id"], waits["id"], "{listed}");
        let answer = |parts: Value| about(json!({"parts": parts, "taskId": waits["id"]}));
        for wrong in [
            json!([{"text": "yes"}]),
            json!([{"data": {"call_id": pending["call_id"], "decision": "result", "result": 1}}]),
            json!([{"data": {"call_id": "inv_x_0", "decision": "approve"}}]),
            json!([{"data": {"decision": "approve"}}]),
        ] {
            let (code, why) = refused(&client, adder, "SendMessage", answer(wrong.clone())).await;
            assert_eq!(code, -32_602, "{wrong}");
            assert!(why.contains("call_id") || why.contains("gateway makes this call"), "{why}");
        }
        let other = json!({"taskId": waits["id"], "contextId": "ses_00000000000000000000000000"});
        let other = about(with(other, json!({"parts": [{"data": {}}]})));
        assert_eq!(refused(&client, adder, "SendMessage", other).await.0, -32_602);
        let decided = json!({"call_id": pending["call_id"], "decision": decision, "reason": "no"});
        let ended = sent(&client, adder, answer(json!([{"data": decided}]))).await;
        has(&ended, json!({"id": waits["id"], "/status/state": "TASK_STATE_COMPLETED"}));
        assert_eq!(server.calls().len(), calls);
    }
}

#[tokio::test]
async fn a_text_is_the_result_of_the_one_call_that_its_client_makes() {
    let (gateway, client) = gateway().await;
    define(&gateway, "beeper", beep()).await;
    let beeper = "/a2a/beeper";
    gateway.emulator.script(OWN, [calling("beep", r#"{"times":"2"}"#), plain()]);
    let events = stream(&client, beeper, "SendStreamingMessage", says("m", "beep")).await;
    let last = &events.last().unwrap()["statusUpdate"];
    assert_eq!(last["status"]["state"], "TASK_STATE_INPUT_REQUIRED", "{events:?}");
    let answer = about(json!({"parts": [{"text": "beeped twice"}], "taskId": last["taskId"]}));
    let ended = sent(&client, beeper, answer).await;
    assert_eq!(ended["status"]["state"], "TASK_STATE_COMPLETED", "{ended}");
    assert!(ended["history"].to_string().contains("beeped twice"), "{ended}");
    assert!(gateway.sent(OWN).pop().unwrap().to_string().contains("beeped twice"));
}

#[tokio::test]
async fn a_cancelled_task_ends_its_request_upstream() {
    let (gateway, client) = gateway().await;
    gateway.emulator.script(OWN, [Behaviour::ok().chunks(6).stall_for(3, WITHIN)]);
    let task = sent(&client, HELPER, at_once(says("m", "one two three four"))).await;
    until("the model was called", async || gateway.calls(OWN).len() == 1).await;
    until_state(&client, HELPER, &task, "TASK_STATE_WORKING").await;
    let cancelled = done(&client, HELPER, "CancelTask", json!({"id": task["id"]})).await;
    assert_eq!(cancelled["status"]["state"], "TASK_STATE_CANCELED", "{cancelled}");
    until("the provider's connection ended", async || {
        gateway.emulator.journal().pop().unwrap().outcome == Outcome::Cancelled
    })
    .await;
    let (code, why) = refused(&client, HELPER, "CancelTask", json!({"id": task["id"]})).await;
    assert_eq!(code, -32_002, "{why}");
    assert_eq!(refused(&client, HELPER, "CancelTask", json!({"id": "nonsense"})).await.0, -32_001);
}

#[tokio::test]
async fn tasks_are_listed_page_by_page() {
    let (gateway, client) = gateway().await;
    define(&gateway, "other", json!({})).await;
    let mut ids = Vec::new();
    for number in 0..3 {
        ids.insert(0, id_of(&sent(&client, HELPER, says(&format!("m{number}"), "hello")).await));
    }
    sent(&client, "/a2a/other", says("m", "hello")).await;
    let first = done(&client, HELPER, "ListTasks", json!({"pageSize": 2})).await;
    let of = |page: &Value| page["tasks"].as_array().unwrap().iter().map(id_of).collect::<Vec<_>>();
    assert_eq!(of(&first), ids[..2]);
    has(&first, json!({"totalSize": 3, "pageSize": 2}));
    assert!(first["tasks"][0].get("artifacts").is_none(), "{first}");
    let more = json!({"pageSize": 2, "pageToken": first["nextPageToken"], "includeArtifacts": true});
    let second = done(&client, HELPER, "ListTasks", more).await;
    assert_eq!((&of(&second)[..], &second["nextPageToken"]), (&ids[2..], &json!("")));
    assert_eq!(answer_text(&second["tasks"][0]), "You said: hello");
    let completed = json!({"status": "TASK_STATE_COMPLETED", "historyLength": 0});
    assert_eq!(done(&client, HELPER, "ListTasks", completed).await["totalSize"], 3);
    for empty in [
        json!({"status": "TASK_STATE_FAILED"}),
        json!({"contextId": "none"}),
        json!({"statusTimestampAfter": "2100-01-01T00:00:00Z"}),
    ] {
        let none = done(&client, HELPER, "ListTasks", empty.clone()).await;
        assert_eq!((&none["tasks"], &none["totalSize"]), (&json!([]), &json!(0)), "{empty}");
    }
    // Another agent does not find the task.
    assert_eq!(refused(&client, "/a2a/other", "GetTask", json!({"id": ids[0]})).await.0, -32_001);
}

#[tokio::test]
async fn nothing_of_a_task_reaches_another_tenant() {
    let (gateway, client) = gateway().await;
    let task = sent(&client, HELPER, says("m", "hello")).await;
    let founded = second_workspace(&gateway).await;
    let stranger = gateway.with_key(&founded.api_key);
    let list = rpc("ListTasks", json!({})).to_string();
    problem(&raw(&stranger, HELPER, &[], list).await, 404, "agent_not_found");
    let card = format!("{HELPER}/.well-known/agent-card.json");
    problem(&stranger.get(&card).await.unwrap(), 404, "agent_not_found");
    // Also where it has an agent of the same name.
    let definition = json!({"name": "helper", "definition": {"model": MINI}});
    gateway.with_key(&founded.admin_key).post("/v2/agents", &definition).await.unwrap().must_be(201);
    for method in ["GetTask", "CancelTask", "SubscribeToTask"] {
        let (code, why) = refused(&stranger, HELPER, method, json!({"id": task["id"]})).await;
        assert_eq!(code, -32_001, "{method}: {why}");
    }
    for (named, expected) in
        [(json!({"taskId": task["id"]}), -32_001), (json!({"contextId": task["contextId"]}), -32_602)]
    {
        let (code, why) = refused(&stranger, HELPER, "SendMessage", about(named.clone())).await;
        assert_eq!(code, expected, "{named}: {why}");
    }
    for params in [json!({}), json!({"contextId": task["contextId"]})] {
        let listed = done(&stranger, HELPER, "ListTasks", params).await;
        assert_eq!(listed["totalSize"], 0, "{listed}");
    }
}
