//! Agents: defined in versions, talked with in chats, with tools, approvals, clients' own tools, other agents, hooks and schemas.

use std::time::Duration;

use harness::client::{Answer, Client};
use harness::{Behaviour, ToolMode};
use http::Method;
use serde_json::{Value, json};

use crate::WITHIN;
use crate::ask::{MINI, has, problem, with};
use crate::canary::holds;
use crate::command::workspace;
use crate::gateway::{Gateway, OWN, POOL, config, id_of};
use crate::hooks::{Reply, Server};
use crate::sdk::drive;
use crate::tools::maths_server;
use crate::wait::{found, until};

const RUN: &str = "/agents/run";

fn definition(more: Value) -> Value {
    with(json!({"model": MINI, "instructions": "Be short."}), more)
}

async fn define(gateway: &Gateway, name: &str, more: Value) -> Value {
    gateway.make("/v2/agents", json!({"name": name, "definition": definition(more)})).await
}

async fn post(client: &Client, path: &str, body: Value) -> Answer {
    client.post(path, &body).await.unwrap()
}

async fn done(client: &Client, path: &str, body: Value) -> Value {
    let answer = post(client, path, body).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()["data"].clone()
}

/// Sends a message; the chat and the id of the answer.
async fn send(client: &Client, body: Value) -> (String, String) {
    let sent = done(client, RUN, body).await;
    let text = |name: &str| sent["assistant_message"][name].as_str().unwrap().to_owned();
    (text("chat_id"), text("id"))
}

async fn read(client: &Client, chat: &str) -> Value {
    client.get(&format!("/chats/{chat}")).await.unwrap().must_be(200).json()["data"].clone()
}

async fn until_status(client: &Client, chat: &str, status: &str) -> Value {
    found(&format!("the chat {chat} is {status}"), async || {
        Some(read(client, chat).await).filter(|chat| chat["status"] == status)
    })
    .await
}

/// Sends a message; the chat once nothing of it is left to do, and the id of the answer.
async fn answered(client: &Client, body: Value) -> (Value, String) {
    let (chat, answer) = send(client, body).await;
    (until_status(client, &chat, "idle").await, answer)
}

/// A chat that waits for somebody, and the id of the call that it waits for.
async fn waiting(client: &Client, chat: &str) -> (Value, String) {
    let waits = until_status(client, chat, "awaiting_input").await;
    let id = waits["pending_interrupts"][0]["resource_id"].as_str().unwrap().to_owned();
    (waits, id)
}

fn next(chat: &str, text: &str) -> Value {
    json!({"chat_id": chat, "input": {"text": text}})
}

fn answer_of<'a>(chat: &'a Value, id: &str) -> &'a Value {
    chat["chat_messages"].as_array().unwrap().iter().find(|message| message["id"] == id).unwrap()
}

/// What an answer says, all its texts together.
fn text_of(chat: &Value, id: &str) -> String {
    let parts = answer_of(chat, id)["content"].as_array().unwrap().clone();
    parts.iter().map(|part| part["text"].as_str().unwrap().to_owned()).collect()
}

fn asks(agent: &str, text: &str) -> Value {
    json!({"agent": agent, "input": {"text": text}})
}

fn calling(tool: &str, arguments: &str) -> Behaviour {
    Behaviour::ok().tools(ToolMode::Single).call(tool, arguments)
}

fn adds() -> Behaviour {
    calling("maths__add", r#"{"a":"1"}"#)
}

/// A call of another agent.
fn asking(name: &str) -> Behaviour {
    calling(&format!("agent_{name}"), r#"{"task":"what is it?"}"#)
}

fn plain() -> Behaviour {
    Behaviour::ok().tools(ToolMode::None)
}

/// The tools of the project's server.
fn maths() -> Value {
    json!([{"type": "project", "name": "maths"}])
}

#[tokio::test]
async fn a_definition_has_versions_and_is_sealed() {
    let gateway = Gateway::with_own().await;
    let made = define(&gateway, "helper", json!({"instructions": "Speak of the canary-instructions."})).await;
    let path = format!("/v2/agents/{}", id_of(&made));
    has(&made, json!({"version": 1, "/definition/model": MINI}));
    let same = json!({"name": "helper", "definition": definition(json!({}))});
    problem(&gateway.admin().post("/v2/agents", &same).await.unwrap(), 409, "name_taken");
    let changed = gateway.patch(&path, json!({"definition": {"limits": {"steps": 3}}})).await;
    has(&changed, json!({"version": 2, "/definition/limits/steps": 3}));
    has(&changed["definition"], json!({"instructions": "Speak of the canary-instructions."}));
    let headers = [("content-type", "application/merge-patch+json"), ("if-match", "\"v1\"")];
    let body = json!({"name": "other"}).to_string();
    gateway.admin().call(Method::PATCH, &path, &headers, body).await.unwrap().must_be(412);
    let versions = gateway.get(&format!("{path}/versions")).await;
    has(&versions["data"], json!({"/0/version": 2, "/1/version": 1, "/2": null}));
    let wrong = json!({"name": "w", "definition": definition(json!({"tools": [{"type": "project", "name": "a b"}]}))});
    let refused = problem(&gateway.admin().post("/v2/agents", &wrong).await.unwrap(), 400, "invalid_value");
    assert_eq!(refused["param"], "/definition/tools/0/name", "{refused}");
    assert_eq!(gateway.get("/v2/agents").await["data"][0]["id"], made["id"]);
    for entry in walk(&gateway.data()) {
        let bytes = std::fs::read(&entry).unwrap();
        assert!(!holds(&bytes, "canary-instructions"), "{} holds the instructions", entry.display());
    }
    gateway.remove(&path).await;
    assert_eq!(gateway.admin().get(&path).await.unwrap().status, 404);
    problem(&post(&gateway.client(), RUN, asks("helper", "hi")).await, 404, "agent_not_found");
}

fn walk(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] });
    files.filter(|path| path.is_file()).collect()
}

#[tokio::test]
async fn a_chat_has_its_history_and_answers_in_order() {
    let gateway = Gateway::with_own().await;
    define(&gateway, "helper", json!({})).await;
    let client = gateway.client();
    gateway.emulator.script(OWN, [Behaviour::ok().latency(Duration::from_millis(600))]);
    let (chat, first) = send(&client, asks("helper", "one")).await;
    // Two more while it is busy: they wait, and are answered one after the other.
    let (_, second) = send(&client, next(&chat, "two")).await;
    let (_, third) = send(&client, next(&chat, "three")).await;
    let busy = read(&client, &chat).await;
    has(&busy, json!({"status": "busy", "/active_run/state": "working"}));
    assert_eq!(busy["chat_messages"].as_array().unwrap().len(), 6, "{busy}");
    let idle = until_status(&client, &chat, "idle").await;
    for (id, text) in [(&first, "one"), (&second, "two"), (&third, "three")] {
        assert_eq!(text_of(&idle, id), format!("You said: {text}"), "{idle}");
        assert_eq!(answer_of(&idle, id)["status"], "ready");
    }
    let requests = gateway.sent(OWN);
    assert_eq!(requests.len(), 3);
    let last = requests[2].to_string();
    assert!(last.contains("Be short.") && last.contains("You said: two") && last.contains("three"), "{last}");
    // The chat is a session, which says the same.
    let session = gateway.get(&format!("/v2/sessions/{chat}")).await;
    assert_eq!(session["metadata"]["agent"], "helper@1", "{session}");
    let short = client.get(&format!("/chats/{chat}/status")).await.unwrap().json();
    assert_eq!(short["data"]["state"], "completed", "{short}");
    let page = client.get(&format!("/chats/{chat}/messages?limit=2")).await.unwrap().json();
    has(&page["data"], json!({"has_next": true, "/items/1/id": third}));
    assert_eq!(gateway.emulator.violations(), []);
    crate::end_users::tasks_agents_and_adapters_are_summed(&gateway).await;
}

#[tokio::test]
async fn a_message_that_waits_is_taken_back_and_a_turn_is_stopped() {
    let gateway = Gateway::with_own().await;
    define(&gateway, "helper", json!({})).await;
    let client = gateway.client();
    let slow = Behaviour::ok().latency(Duration::from_secs(20));
    gateway.emulator.script(OWN, [slow, Behaviour::ok(), Behaviour::ok()]);
    let (chat, first) = send(&client, asks("helper", "one")).await;
    let (_, second) = send(&client, next(&chat, "two")).await;
    let (_, third) = send(&client, next(&chat, "three")).await;
    found("the first turn runs", async || {
        Some(read(&client, &chat).await).filter(|chat| chat["active_run"]["state"] == "working")
    })
    .await;
    done(&client, &format!("/chats/messages/{}/cancel", second.replace("ans_", "msg_")), json!({})).await;
    let path = format!("/chats/messages/{}/cancel", first.replace("ans_", "msg_"));
    problem(&post(&client, &path, json!({})).await, 409, "message_not_queued");
    done(&client, &format!("/chats/{chat}/stop"), json!({})).await;
    let idle = until_status(&client, &chat, "idle").await;
    assert_eq!(answer_of(&idle, &first)["status"], "cancelled", "{idle}");
    assert_eq!(text_of(&idle, &third), "You said: three", "{idle}");
    let messages = idle["chat_messages"].as_array().unwrap();
    assert!(messages.iter().all(|message| message["id"] != second), "{idle}");
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn calls_are_made_approved_refused_and_allowed_for_good() {
    let gateway = Gateway::with_own().await;
    let mcp = maths_server(&gateway).await;
    define(&gateway, "free", json!({"tools": maths()})).await;
    let asking_first = json!([{"type": "project", "name": "maths", "require_approval": true}]);
    define(&gateway, "careful", json!({"tools": asking_first})).await;
    let client = gateway.client();
    gateway.emulator.script(OWN, [adds(), plain()]);
    let (idle, answer) = answered(&client, asks("free", "add")).await;
    let invocation = &answer_of(&idle, &answer)["tool_invocations"][0];
    has(invocation, json!({"status": "completed", "result": "the sum is 42", "type": "mcp"}));
    assert_eq!(mcp.calls().len(), 1);
    // Approved once; then refused; then allowed for good, after which nothing waits.
    gateway.plays(OWN, (0..4).flat_map(|_| [adds(), plain()]));
    let (chat, answer) = send(&client, asks("careful", "add")).await;
    let (waits, id) = waiting(&client, &chat).await;
    has(&waits["pending_interrupts"][0], json!({"reason": "tool_approval", "/meta/tool_name": "maths__add"}));
    assert_eq!(waits["active_run"]["state"], "input_required", "{waits}");
    assert_eq!(answer_of(&waits, &answer)["tool_invocations"][0]["status"], "awaiting_approval");
    let early = post(&client, &format!("/tools/{id}"), json!({"result": "x"})).await;
    problem(&early, 409, "tool_call_not_waiting");
    done(&client, &format!("/tools/{id}/invoke"), json!({})).await;
    until_status(&client, &chat, "idle").await;
    assert_eq!(mcp.calls().len(), 2);
    problem(&post(&client, &format!("/tools/{id}/invoke"), json!({})).await, 409, "tool_call_not_waiting");
    let (_, refused) = send(&client, next(&chat, "again")).await;
    let (_, id) = waiting(&client, &chat).await;
    done(&client, &format!("/tools/{id}/reject"), json!({"reason": "not today"})).await;
    let idle = until_status(&client, &chat, "idle").await;
    let invocation = &answer_of(&idle, &refused)["tool_invocations"][0];
    assert_eq!(invocation["result"], "The user did not approve this call: not today", "{idle}");
    assert_eq!(mcp.calls().len(), 2);
    send(&client, next(&chat, "once more")).await;
    let (_, id) = waiting(&client, &chat).await;
    let allow = format!("/chats/{chat}/tools/{id}/always-allow");
    done(&client, &allow, json!({"tool_name": "maths__add"})).await;
    until_status(&client, &chat, "idle").await;
    answered(&client, next(&chat, "and more")).await;
    assert_eq!(mcp.calls().len(), 4);
    assert_eq!(mcp.violations(), Vec::<String>::new());
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn a_client_answers_its_own_calls_and_a_kill_forgets_no_turn() {
    let mut gateway = Gateway::with_own().await;
    let beep = json!({"type": "client", "name": "beep", "parameters": {"type": "object", "properties": {"times": {"type": "string"}}}});
    define(&gateway, "beeper", json!({"tools": [beep]})).await;
    let client = gateway.client();
    gateway.emulator.script(OWN, [calling("beep", r#"{"times":"2"}"#), plain()]);
    let (chat, answer) = send(&client, asks("beeper", "beep")).await;
    let waits = until_status(&client, &chat, "awaiting_input").await;
    let invocation = &answer_of(&waits, &answer)["tool_invocations"][0];
    has(invocation, json!({"type": "client", "status": "awaiting_input"}));
    assert_eq!(invocation["function"]["arguments"], json!({"times": "2"}), "{waits}");
    // What waits for its client survives the process.
    gateway.crash().await;
    let client = gateway.client();
    let (_, id) = waiting(&client, &chat).await;
    done(&client, &format!("/tools/{id}"), json!({"result": "beeped twice"})).await;
    until_status(&client, &chat, "idle").await;
    let requests = gateway.sent(OWN);
    assert_eq!(requests.len(), 2, "{requests:?}");
    assert!(requests[1].to_string().contains("beeped twice"), "{}", requests[1]);
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn a_turn_whose_process_dies_is_taken_again_and_booked_once_each() {
    let mut gateway = Gateway::with_own().await;
    let mcp = maths_server(&gateway).await;
    define(&gateway, "helper", json!({"tools": maths(), "limits": {"nano_usd": 1}})).await;
    let client = gateway.client();
    gateway.emulator.script(OWN, [adds(), plain().latency(Duration::from_secs(3)), plain()]);
    let (chat, answer) = send(&client, asks("helper", "hello there")).await;
    // The emulator lists a call before it has read all of it.
    let began = || gateway.calls(OWN).iter().filter(|call| !call.body.is_empty()).count() == 2;
    until("the second step began", async || began()).await;
    gateway.crash().await;
    let client = gateway.client();
    let idle = until_status(&client, &chat, "idle").await;
    assert_eq!(text_of(&idle, &answer), "You said: hello there", "{idle}");
    // The first step was written before the kill: it is not made again, nor is its call.
    assert_eq!((gateway.sent(OWN).len(), mcp.calls().len()), (3, 1));
    // Nor is what it cost forgotten: the turn's limit of money is reached.
    let choices: Vec<_> = gateway.sent(OWN).iter().map(|request| request["tool_choice"].clone()).collect();
    assert_eq!(choices, [Value::Null, json!("none"), json!("none")]);
    let booked = found("three exchanges are booked", async || {
        let rows = gateway.get("/v2/requests?limit=20").await;
        Some(rows["data"].as_array().unwrap().clone()).filter(|rows| rows.len() >= 3)
    })
    .await;
    assert_eq!(booked.len(), 3, "{booked:?}");
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn an_answer_fits_the_schema_of_its_agent_or_fails() {
    let gateway = Gateway::with_own().await;
    let schema = json!({"type": "object", "required": ["city"], "properties": {"city": {"type": "string"}}});
    define(&gateway, "placer", json!({"output_schema": schema})).await;
    let client = gateway.client();
    let says = |text: &str| Behaviour::ok().text(text);
    gateway.emulator.script(OWN, [says("Rome"), says(r#"{"city": "Rome"}"#)]);
    let (idle, _) = answered(&client, asks("placer", "where?")).await;
    assert_eq!(idle["output"], json!({"city": "Rome"}), "{idle}");
    assert!(gateway.sent(OWN)[1].to_string().contains("does not fit the schema"), "{:?}", gateway.sent(OWN));
    gateway.plays(OWN, [says("Rome"), says(r#"{"city": 3}"#)]);
    let (idle, answer) = answered(&client, asks("placer", "where?")).await;
    has(&idle, json!({"/active_run/state": "failed", "output": null}));
    let failed = answer_of(&idle, &answer);
    assert_eq!(failed["status"], "failed");
    assert!(failed["error"].as_str().unwrap().contains("doesn't fit its schema"), "{failed}");
    let path = format!("/tasks/{}", failed["task_id"].as_str().unwrap());
    let task = found("the task to end", async || {
        let task = client.get(&path).await.unwrap().json()["data"].clone();
        Some(task).filter(|task| task["status"] == 11)
    })
    .await;
    assert_eq!(task["problem"]["code"], "agent_output_invalid", "{task}");
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn an_agent_calls_another_one() {
    let gateway = Gateway::with_own().await;
    let knowing = json!({"description": "Knows it all.", "instructions": "You are the expert."});
    define(&gateway, "expert", knowing).await;
    define(&gateway, "boss", json!({"tools": [{"type": "agent", "name": "expert"}]})).await;
    let client = gateway.client();
    gateway.emulator.script(OWN, [asking("expert"), plain(), plain()]);
    let (idle, answer) = answered(&client, asks("boss", "ask the expert")).await;
    let invocation = &answer_of(&idle, &answer)["tool_invocations"][0];
    has(invocation, json!({"type": "agent", "result": "You said: what is it?"}));
    let requests = gateway.sent(OWN);
    assert_eq!(requests.len(), 3);
    assert!(requests[0].to_string().contains("Knows it all."), "{}", requests[0]);
    assert!(requests[1].to_string().contains("You are the expert."), "{}", requests[1]);
}

/// An agent calls tools or another agent three times at most. The choice of tools of each of its steps, and of the other's; the costs of all, in
/// their order.
async fn limited(gateway: &Gateway, agent: Value, script: &[Behaviour]) -> (Vec<String>, Vec<u64>) {
    gateway.plays(POOL, script.to_vec());
    let before = gateway.calls(POOL).len();
    let client = gateway.client();
    let hired = json!({"agent_config": definition(agent), "input": {"text": "hi"}});
    let (idle, answer) = answered(&client, hired).await;
    assert_eq!(answer_of(&idle, &answer)["status"], "ready", "{idle}");
    let sent = gateway.sent(POOL);
    let choice = |body: &Value| body["tool_choice"].as_str().unwrap_or("any").to_owned();
    let choices: Vec<_> = sent[before..].iter().map(choice).collect();
    gateway.listed(sent.len()).await;
    let mut costs = Vec::new();
    for row in &gateway.requests(50).await[before..] {
        let request = gateway.settled(row["id"].as_str().unwrap()).await;
        costs.push(request["cost_nanos"].as_u64().unwrap());
    }
    (choices, costs)
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn a_limit_of_money_makes_the_next_step_the_last_one() {
    let gateway = Gateway::start().await;
    gateway.account("openai", POOL).await;
    let mcp = maths_server(&gateway).await;
    let of = |limit: u64| json!({"tools": maths(), "limits": {"nano_usd": limit}});
    let script = [adds(), adds(), adds(), plain()];
    let (choices, costs) = limited(&gateway, of(u64::MAX), &script).await;
    assert_eq!((choices, costs.len()), (vec!["any".to_owned(); 4], 4));
    assert!(costs[0] > 0 && mcp.calls().len() == 3, "{costs:?}");
    assert_eq!(limited(&gateway, of(costs[0]), &script).await.0, ["any", "none"]);
    assert_eq!(limited(&gateway, of(costs[0] + 1), &script).await.0, ["any", "any", "none"]);
    // What an agent costs that is called counts for its caller, whose limit ends its work too.
    define(&gateway, "expert", json!({"tools": maths()})).await;
    define(&gateway, "poor", json!({"tools": maths(), "limits": {"nano_usd": 1}})).await;
    let boss = |name: &str, limit: u64| json!({"tools": [{"type": "agent", "name": name}], "limits": {"nano_usd": limit}});
    let script = [asking("expert"), adds(), plain(), asking("expert"), plain(), plain()];
    let (choices, costs) = limited(&gateway, boss("expert", u64::MAX), &script).await;
    assert_eq!((choices, costs.len()), (vec!["any".to_owned(); 6], 6));
    let expert: u64 = costs[..3].iter().sum();
    assert_eq!(limited(&gateway, boss("expert", expert), &script).await.0, ["any", "any", "any", "none"]);
    let inside = limited(&gateway, boss("expert", costs[0] + 1), &script).await.0;
    assert_eq!(inside, ["any", "any", "none", "none"]);
    let script = [asking("poor"), adds(), plain(), plain()];
    assert_eq!(limited(&gateway, boss("poor", u64::MAX), &script).await.0, ["any", "any", "none", "any"]);
}

/// A script whose steps use ten tokens each.
fn counted<const STEPS: usize>(script: [Behaviour; STEPS]) -> [Behaviour; STEPS] {
    script.map(|step| step.counted(8, 0, 2))
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn an_agent_that_is_called_keeps_its_own_limits_and_its_callers() {
    let gateway = Gateway::start().await;
    gateway.account("openai", POOL).await;
    let _mcp = maths_server(&gateway).await;
    let agents = |name: &str| json!([{"type": "agent", "name": name}]);
    for (name, limits) in [
        ("rich", json!({"tokens": 1_000, "nano_usd": u64::MAX})),
        ("poor", json!({"tokens": 11})),
        ("short", json!({"steps": 1})),
        ("slow", json!({})),
    ] {
        define(&gateway, name, json!({"tools": maths(), "limits": limits})).await;
    }
    define(&gateway, "middle", json!({"tools": agents("rich"), "limits": {"tokens": 20}})).await;
    define(&gateway, "hurried", json!({"tools": agents("slow"), "limits": {"seconds": 3}})).await;
    let rich = counted([asking("rich"), adds(), plain(), asking("rich"), plain(), plain()]);
    let poor = counted([asking("poor"), adds(), adds(), plain(), plain()]);
    let middle = counted([asking("middle"), asking("rich"), plain(), plain(), plain()]);
    let (both, slow) = (asking("slow").tools(ToolMode::Parallel), adds().latency(Duration::from_secs(20)));
    let hurried = counted([asking("hurried"), both, slow, plain(), plain(), plain()]);
    for (name, tokens, script, choices) in [
        // What it uses counts for its caller, whether the caller's limit is reached after it, before its second task or within it.
        ("rich", 1_000, rich.as_slice(), "any any any any any any"),
        ("rich", 30, &rich, "any any any none"),
        ("rich", 31, &rich, "any any any any none none"),
        ("rich", 11, &rich, "any any none none"),
        // Its own limit counts from where it begins.
        ("poor", 1_000, &poor, "any any any none any"),
        // An agent's tokens count for whoever called it, and for whoever called that one.
        ("middle", 1_000, &middle, "any any any none any"),
        ("middle", 30, &middle, "any any any none none"),
        ("short", 1_000, &counted([asking("short"), plain(), plain()]), "any none any"),
        // The time of an agent holds for all that it calls together: the second has none left.
        ("hurried", 1_000, &hurried, "any any any none none any"),
    ] {
        let boss = json!({"tools": agents(name), "limits": {"tokens": tokens}});
        assert_eq!(limited(&gateway, boss, script).await.0.join(" "), choices, "{name} within {tokens}");
    }
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn what_a_called_agent_used_outlives_a_wait_and_a_kill() {
    let mut gateway = Gateway::with_own().await;
    define(&gateway, "expert", json!({})).await;
    let tools = json!([{"type": "agent", "name": "expert"}, {"type": "client", "name": "beep"}]);
    // The step of the agent that is called is one of the three.
    define(&gateway, "boss", json!({"tools": tools, "limits": {"tokens": 30}})).await;
    let client = gateway.client();
    gateway.emulator.script(OWN, counted([asking("expert"), plain(), calling("beep", "{}"), plain()]));
    let (chat, _) = send(&client, asks("boss", "ask the expert")).await;
    let (_, id) = waiting(&client, &chat).await;
    gateway.crash().await;
    let client = gateway.client();
    done(&client, &format!("/tools/{id}"), json!({"result": "beeped"})).await;
    until_status(&client, &chat, "idle").await;
    let choices: Vec<_> = gateway.sent(OWN).iter().map(|request| request["tool_choice"].clone()).collect();
    assert_eq!(choices, [Value::Null, Value::Null, Value::Null, json!("none")]);
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn a_limit_of_money_that_is_none_is_refused() {
    let gateway = Gateway::with_own().await;
    for limit in ["-1", "\"abc\"", "0", "1000000000000000000000000000000"] {
        let definition = format!(r#"{{"model": "{MINI}", "limits": {{"nano_usd": {limit}}}}}"#);
        let definition: Value = serde_json::from_str(&definition).unwrap();
        let body = json!({"name": "a", "definition": definition});
        let answer = gateway.admin().post("/v2/agents", &body).await.unwrap();
        assert_eq!(answer.status, 400, "{limit}: {}", answer.text());
        assert!(answer.text().contains("nano_usd"), "{limit}: {}", answer.text());
        let sent = json!({"agent_config": definition, "input": {"text": "hi"}});
        let answer = post(&gateway.client(), RUN, sent).await;
        assert!(matches!(answer.status, 400 | 422), "{limit}: {}", answer.text());
        assert!(answer.text().contains("agent_config"), "{limit}: {}", answer.text());
    }
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn a_hook_denies_a_call_before_it_is_made() {
    let gateway = Gateway::with_own().await;
    let mcp = maths_server(&gateway).await;
    let denies = json!({"decision": "deny", "reason": "on Sundays"}).to_string();
    let server = Server::start(Reply::Now(200, denies)).await;
    let hooks = json!([{"event": "tool_call", "url": format!("{}/hook", server.origin)}]);
    define(&gateway, "watched", json!({"tools": maths(), "hooks": hooks})).await;
    let client = gateway.client();
    gateway.emulator.script(OWN, [adds(), plain()]);
    let (idle, answer) = answered(&client, asks("watched", "add")).await;
    let invocation = &answer_of(&idle, &answer)["tool_invocations"][0];
    assert_eq!(invocation["result"], "The call was denied: on Sundays", "{idle}");
    assert_eq!(mcp.calls().len(), 0);
    has(&server.messages()[0]["call"], json!({"name": "maths__add", "arguments": {"a": "1"}}));
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn who_follows_a_chat_gets_its_words_and_its_end() {
    let gateway = Gateway::with_own().await;
    define(&gateway, "helper", json!({})).await;
    let client = gateway.client();
    gateway.emulator.script(OWN, [Behaviour::ok().chunks(6).interval(Duration::from_millis(60))]);
    let (chat, answer) = send(&client, asks("helper", "one two three four")).await;
    let accept = [("accept", "application/x-ndjson")];
    let path = format!("/chats/{chat}/stream");
    let mut stream = client.open(Method::GET, &path, &accept, bytes::Bytes::new()).await.unwrap();
    let (mut text, mut words) = (String::new(), String::new());
    let mut is_idle = false;
    while !is_idle {
        text.push_str(&String::from_utf8_lossy(&stream.chunk().await.unwrap().unwrap()));
        while let Some((line, rest)) = text.split_once('\n') {
            let event: Value = serde_json::from_str(line).unwrap();
            if event["event"] == "delta" {
                assert_eq!(event["data"]["resource_id"], json!(answer));
                words.push_str(event["data"]["delta"]["response"].as_str().unwrap());
            }
            is_idle |= event["event"] == "chats" && event["data"]["status"] == "idle";
            text = rest.to_owned();
        }
    }
    assert_eq!(words, "You said: one two three four");
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn nothing_of_a_chat_reaches_another_tenant() {
    let gateway = Gateway::with_own().await;
    define(&gateway, "helper", json!({})).await;
    let client = gateway.client();
    let (chat, _) = send(&client, asks("helper", "one")).await;
    until_status(&client, &chat, "idle").await;
    let other = gateway.make("/v2/projects", json!({"name": "other"})).await;
    let owned = json!({"name": "k", "project_id": other["id"], "scopes": ["inference"]});
    let stranger = gateway.with_key(&gateway.key(owned).await.0);
    problem(&stranger.get(&format!("/chats/{chat}")).await.unwrap(), 404, "chat_not_found");
    problem(&post(&stranger, RUN, next(&chat, "x")).await, 404, "chat_not_found");
    problem(&post(&stranger, RUN, asks("helper", "x")).await, 404, "agent_not_found");
    problem(&post(&client, "/tools/inv_x_0", json!({"result": "x"})).await, 409, "tool_call_not_waiting");
    let empty = post(&client, RUN, asks("helper", "")).await;
    assert_eq!(empty.must_be(422).json()["errors"][0]["pointer"], "/input/text");
    let wrong = post(&client, RUN, json!({"agent_config": {"core_app": {"ref": "m"}, "tools": [{"name": "x", "type": "http"}]}, "input": {"text": "x"}})).await;
    assert_eq!(wrong.must_be(422).json()["errors"][0]["pointer"], "/agent_config/tools/0/type");
}

/// The vendor's own clients, unmodified.
#[cfg(feature = "sdk")]
#[tokio::test]
async fn the_vendors_clients_talk_with_agents() {
    let gateway = Gateway::with_own().await;
    define(&gateway, "helper", json!({})).await;
    let structured = Behaviour::ok().text(r#"{"city": "Rome"}"#);
    let script = [plain(), plain(), calling("beep", r#"{"times":"2"}"#), plain(), structured];
    let python = workspace().join(".venv/bin/python");
    for (program, driver) in [(python, "tests/sdk/agents.py"), ("node".into(), "tests/node/agents.mjs")] {
        gateway.plays(OWN, script.clone());
        assert_eq!(drive(program, workspace().join(driver), &gateway).await.held, 5, "{driver}");
    }
    assert_eq!(gateway.emulator.violations(), []);
}

/// Two gateways of one database: whichever makes a turn, those of a chat come one after the other.
#[cfg(feature = "flows")]
#[tokio::test]
async fn the_turns_of_a_chat_come_in_order_on_two_gateways() {
    let mut gateway = Gateway::over_postgres("agents", config(), &[]).await;
    gateway.credential("openai", OWN).await;
    let (mut other, origin) = gateway.replica().await;
    let there = gateway.client_at(&origin);
    define(&gateway, "helper", json!({})).await;
    gateway.emulator.script(OWN, [Behaviour::ok().latency(Duration::from_millis(50)).always()]);
    let here = gateway.client();
    let (chat, first) = send(&here, asks("helper", "message 0")).await;
    let mut ids = vec![first];
    for number in 1..8 {
        let client = if number % 2 == 0 { &here } else { &there };
        ids.push(send(client, next(&chat, &format!("message {number}"))).await.1);
    }
    let idle = until_status(&there, &chat, "idle").await;
    for (number, id) in ids.iter().enumerate() {
        assert_eq!(text_of(&idle, id), format!("You said: message {number}"), "{idle}");
    }
    for (number, request) in gateway.sent(OWN).iter().enumerate() {
        // Each turn reads all those before it.
        assert_eq!(request.to_string().matches("You said:").count(), number, "{request}");
    }
    other.stop(WITHIN).await.unwrap();
    gateway.stop().await;
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn the_command_line_defines_an_agent_and_talks_with_it() {
    let gateway = Gateway::with_own().await;
    let file = gateway.directory().join("helper.json");
    std::fs::write(&file, definition(json!({})).to_string()).unwrap();
    let file = file.display().to_string();
    let made = gateway.cli().run(&["agent", "create", "helper", &file, "--json"]).json();
    let id = id_of(&made);
    std::fs::write(&file, json!({"description": "Helps."}).to_string()).unwrap();
    let changed = gateway.cli().run(&["agent", "update", &id, &file, "--json"]).json();
    has(&changed, json!({"version": 2, "/definition/model": MINI}));
    assert!(gateway.cli().run(&["agent", "list"]).ok().contains("helper"));
    assert_eq!(gateway.cli().run(&["agent", "versions", &id, "--json"]).ok().lines().count(), 2);
    let client = gateway.cli().env("TIDEGATE_API_KEY", &gateway.founded.api_key);
    assert_eq!(client.run(&["agent", "run", "helper", "hello there"]).ok().trim(), "You said: hello there");
    gateway.cli().run(&["agent", "remove", &id, "--yes"]).ok();
}
