//! The gateway as an MCP server: the protocol's own clients and suite, sessions, streams that are resumed, cancelled calls, and what is
//! refused.

use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use harness::Behaviour;
use harness::client::{Answer, Client, Streaming};
use harness::mcp::{McpAnswer, McpServer, McpTool};
use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::WITHIN;
use crate::ask::{CHAT, MINI, has, one_call, problem, question};
use crate::command::workspace;
use crate::gateway::{Gateway, OWN, id_of};
use crate::isolation::second_workspace;
use crate::sdk::{drive, drive_at};
use crate::tools::{ask, last_result, outcome, refreshed, states};
use crate::wait::found;

const MCP: &str = "/mcp";
const LATEST: &str = "2025-11-25";
const BOTH: (&str, &str) = ("accept", "application/json, text/event-stream");
const JSON: (&str, &str) = ("content-type", "application/json");

/// A client of a session.
struct Session {
    client: Client,
    id: String,
}

fn message(id: u64, method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

fn hello(revision: &str) -> Value {
    let client = json!({"name": "test", "version": "1"});
    message(0, "initialize", json!({"protocolVersion": revision, "capabilities": {}, "clientInfo": client}))
}

async fn send(client: &Client, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
    let all: Vec<_> = [BOTH, JSON].into_iter().chain(headers.iter().copied()).collect();
    client.call(Method::POST, MCP, &all, body).await.unwrap()
}

impl Session {
    /// One of a gateway with a credential for models.
    async fn first() -> (Gateway, Self) {
        let gateway = Gateway::with_own().await;
        let session = Self::begin(gateway.client(), LATEST).await;
        (gateway, session)
    }

    async fn begin(client: Client, revision: &str) -> Self {
        let answer = send(&client, &[], hello(revision).to_string()).await.must_be(200);
        let id = answer.header("mcp-session-id").unwrap().to_owned();
        Self { client, id }
    }

    async fn send(&self, message: &Value) -> Answer {
        send(&self.client, &[("mcp-session-id", &self.id)], message.to_string()).await
    }

    async fn ask(&self, method: &str, params: Value) -> Value {
        self.send(&message(7, method, params)).await.must_be(200).json()
    }

    /// Calls a tool, and returns its result.
    async fn call(&self, tool: &str, arguments: Value) -> Value {
        let params = json!({"name": tool, "arguments": arguments});
        let text = self.send(&message(7, "tools/call", params)).await.text();
        let last = text.lines().filter_map(|line| line.strip_prefix("data: ")).next_back();
        let answered: Value = serde_json::from_str(last.unwrap_or(&text)).unwrap();
        answered["result"].clone()
    }

    async fn open(&self, method: Method, more: &[(&str, &str)], body: String) -> Streaming {
        let own = [BOTH, JSON, ("mcp-session-id", self.id.as_str())];
        let all: Vec<_> = own.into_iter().chain(more.iter().copied()).collect();
        self.client.open(method, MCP, &all, body.into()).await.unwrap()
    }

    /// What a stream that is resumed after this event has left.
    async fn resumed(&self, after: &str) -> Vec<Event> {
        let stream = self.open(Method::GET, &[("last-event-id", after)], String::new()).await;
        all_events(stream, String::new()).await
    }

    /// Begins a run whose progress is reported.
    async fn run(&self, id: u64) -> Streaming {
        let arguments = json!({"app": MINI, "input": {"prompt": "one two three four"}});
        let params = json!({"name": "app_run", "arguments": arguments, "_meta": {"progressToken": "p"}});
        self.open(Method::POST, &[], message(id, "tools/call", params).to_string()).await
    }
}

/// An event's id, and its message if it has one.
type Event = (String, Option<Value>);

fn read_event(event: &str) -> Event {
    let field = |name: &str| {
        event.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned()
    };
    (field("id:"), serde_json::from_str(&field("data:")).ok())
}

/// The next events of a stream, until so many have come; `read` holds what came of the one after.
async fn next_events(stream: &mut Streaming, read: &mut String, count: usize) -> Vec<Event> {
    let mut events = Vec::new();
    while events.len() < count {
        let split = read.split_once("\n\n").map(|(event, rest)| (event.to_owned(), rest.to_owned()));
        if let Some((event, rest)) = split {
            *read = rest;
            events.extend(Some(read_event(&event)).filter(|(id, _)| !id.is_empty()));
            continue;
        }
        let Some(chunk) = stream.chunk().await.unwrap() else { break };
        read.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    events
}

/// All events of a stream that are left.
async fn all_events(mut stream: Streaming, mut read: String) -> Vec<Event> {
    next_events(&mut stream, &mut read, usize::MAX).await
}

fn told(text: &Value) -> &str {
    text["content"][0]["text"].as_str().unwrap()
}

#[tokio::test]
async fn the_protocols_own_clients_use_apps_tasks_and_usage() {
    let gateway = Gateway::with_own().await;
    let (reader, _) = gateway.key(json!({"name": "reader", "scopes": ["inference", "read"]})).await;
    let (key, _) = gateway.key(json!({"name": "caller", "scopes": ["inference"]})).await;
    let script = workspace().join("tests/node/mcp_client.mjs");
    let driven = drive_at("node".into(), script, &format!("{}/v1", gateway.origin), &key, &reader).await;
    assert_eq!(driven.held, 8);
    let python = workspace().join(".venv/bin/python");
    assert_eq!(drive(python, workspace().join("tests/sdk/mcp_client.py"), &gateway).await.held, 4);
}

#[tokio::test]
async fn the_public_conformance_suite_passes_but_for_its_fixtures() {
    let gateway = Gateway::with_own().await;
    let person = gateway.owner().await;
    let mut command = Command::new("node");
    command.arg(workspace().join("tests/node/mcp_conformance.mjs")).kill_on_drop(true);
    let founded = &gateway.founded;
    command.args([&gateway.origin, &founded.api_key, &founded.admin_key, &person.cookie, &person.csrf]);
    let output = tokio::time::timeout(WITHIN * 10, command.output()).await.unwrap().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.trim_end().ends_with("ok conformance"), "{out}\n{err}");
}

#[tokio::test]
async fn a_session_begins_in_a_revision_that_both_speak_and_ends() {
    let gateway = Gateway::with_own().await;
    for (wanted, negotiated) in [
        (LATEST, LATEST),
        ("2025-06-18", "2025-06-18"),
        ("2025-03-26", "2025-03-26"),
        ("2024-11-05", LATEST),
        ("nonsense", LATEST),
    ] {
        let answer = send(&gateway.client(), &[], hello(wanted).to_string()).await.json();
        assert_eq!(answer["result"]["protocolVersion"], negotiated, "{answer}");
    }
    let session = Session::begin(gateway.client(), LATEST).await;
    let answer = session.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
    assert_eq!((answer.status, answer.body.len()), (202, 0));
    assert_eq!(session.ask("ping", json!({})).await, json!({"jsonrpc": "2.0", "id": 7, "result": {}}));
    let own = [("mcp-session-id", session.id.as_str())];
    let end = async || session.client.call(Method::DELETE, MCP, &own, Bytes::new()).await.unwrap().status;
    assert_eq!(end().await, 204);
    assert_eq!(session.send(&message(1, "ping", json!({}))).await.status, 404);
    assert_eq!(end().await, 404);
}

#[tokio::test]
async fn what_is_no_message_of_a_session_is_refused() {
    let (gateway, session) = Session::first().await;
    let own = ("mcp-session-id", session.id.as_str());
    let ping = message(1, "ping", json!({})).to_string();
    let batch = format!("[{ping}]");
    for (headers, body, status, code) in [
        (vec![own], "{", 400, -32_700),
        (vec![own], "{\"jsonrpc\": \"2.0\", \"id\": null, \"method\": \"ping\"}", 400, -32_600),
        (vec![own], "7", 400, -32_600),
        (vec![own], &batch, 400, -32_600),
        (vec![], &ping, 400, -32_600),
        (vec![("mcp-session-id", "nobody")], &ping, 404, -32_600),
        (vec![own, ("mcp-protocol-version", "2024-11-05")], &ping, 400, -32_600),
        (vec![own, ("mcp-protocol-version", "x")], &ping, 400, -32_600),
        (vec![own, ("origin", "http://evil.example")], &ping, 403, -32_600),
        (vec![own, ("origin", "null")], &ping, 403, -32_600),
    ] {
        let answer = send(&session.client, &headers, body.to_owned()).await;
        let told = &answer.json()["error"]["code"];
        assert_eq!((answer.status, told), (status, &json!(code)), "{headers:?} {body}");
    }
    for (headers, status) in [
        (vec![own, ("origin", "http://localhost:6274")], 200),
        (vec![own, ("mcp-protocol-version", "2025-03-26")], 200),
    ] {
        assert_eq!(send(&session.client, &headers, ping.clone()).await.status, status, "{headers:?}");
    }
    for (headers, status) in [
        (vec![own, JSON, ("accept", "text/html")], 406),
        (vec![own, BOTH, ("content-type", "text/plain")], 415),
    ] {
        let answer = session.client.call(Method::POST, MCP, &headers, ping.clone()).await.unwrap();
        assert_eq!(answer.status, status, "{headers:?}");
    }
    for (method, code) in
        [("resources/subscribe", -32_601), ("nonsense", -32_601), ("resources/read", -32_602)]
    {
        assert_eq!(session.ask(method, json!({})).await["error"]["code"], code, "{method}");
    }
    let got = session.client.call(Method::GET, MCP, &[own, BOTH], Bytes::new()).await.unwrap();
    assert_eq!((got.status, got.header("allow")), (405, Some("POST, GET, DELETE")), "{}", got.text());
    let stranger = Client::new(&gateway.origin);
    problem(&send(&stranger, &[], hello(LATEST).to_string()).await, 401, "missing_api_key");
}

#[tokio::test]
async fn only_the_first_revision_has_batches() {
    let gateway = Gateway::with_own().await;
    let session = Session::begin(gateway.client(), "2025-03-26").await;
    let notification = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let run = json!({"name": "app_run", "arguments": {"app": MINI, "input": {"prompt": "hello"}}});
    let batch = json!([message(1, "ping", json!({})), notification, message(2, "tools/call", run), 7]);
    let answers = session.send(&batch).await.json();
    let ids: Vec<_> = answers.as_array().unwrap().iter().map(|answer| answer["id"].clone()).collect();
    assert_eq!(ids, [json!(1), json!(2), Value::Null], "{answers}");
    assert_eq!(told(&answers[1]["result"]), "You said: hello");
    assert_eq!(session.send(&json!([notification])).await.status, 202);
    for wrong in [json!([]), Value::Array(vec![notification; 33])] {
        assert_eq!(session.send(&wrong).await.status, 400);
    }
}

#[tokio::test]
async fn a_stream_that_broke_off_is_resumed_to_its_result() {
    let gateway = Gateway::with_own().await;
    gateway.emulator.script(OWN, [Behaviour::ok().chunks(6).stall_for(3, Duration::from_millis(700))]);
    let session = Session::begin(gateway.client(), LATEST).await;
    let mut stream = session.run(1).await;
    assert_eq!(stream.header("content-type"), Some("text/event-stream"));
    let mut read = String::new();
    let first = next_events(&mut stream, &mut read, 2).await;
    assert_eq!(first[0], ("1-0".to_owned(), None));
    let (last, progress) = (first[1].0.clone(), first[1].1.clone().unwrap());
    assert_eq!(progress["method"], "notifications/progress", "{progress}");
    let params = &progress["params"];
    has(params, json!({"progressToken": "p", "progress": 1}));
    stream.hang_up();
    let events = session.resumed(&last).await;
    let numbers = events.iter().map(|(id, _)| id.strip_prefix("1-").unwrap().parse().unwrap());
    let numbers: Vec<u64> = numbers.collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]) && numbers[0] == 2, "{events:?}");
    let result = events.last().unwrap().1.clone().unwrap();
    assert_eq!((&result["id"], told(&result["result"])), (&json!(1), "You said: one two three four"));
    // The same again: who comes late gets the result.
    assert_eq!(session.resumed(&last).await.last().unwrap().1.clone().unwrap()["result"], result["result"]);
    // Who was told nothing before the end is told of it.
    let anew = session.resumed("1-0").await;
    let first = anew[0].1.as_ref().unwrap();
    has(first, json!({"method": "notifications/progress", "/params/message": "completed"}));
    assert_eq!(anew[1].1.clone().unwrap()["result"], result["result"]);
    for wrong in ["9-1", "x", "1"] {
        let answer = session.open(Method::GET, &[("last-event-id", wrong)], String::new()).await;
        assert_eq!(answer.status, 400, "{wrong}");
    }
    assert_eq!(gateway.calls(OWN).len(), 1, "nothing was run again");
}

#[tokio::test]
async fn a_cancelled_call_cancels_its_task_and_gets_no_answer() {
    let gateway = Gateway::with_own().await;
    gateway.emulator.script(OWN, [Behaviour::ok().chunks(6).stall_for(3, WITHIN)]);
    let session = Session::begin(gateway.client(), LATEST).await;
    let mut stream = session.run(3).await;
    let mut read = String::new();
    assert_eq!(next_events(&mut stream, &mut read, 2).await.len(), 2);
    let cancelled = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 3, "reason": "enough"}});
    assert_eq!(session.send(&cancelled).await.status, 202);
    let events = all_events(stream, read).await;
    let is_answer = |event: &&Event| event.1.as_ref().is_some_and(|message| message.get("id").is_some());
    assert_eq!(events.iter().filter(is_answer).count(), 0, "{events:?}");
    let tasks = session.call("task_list", json!({"status": "cancelled"})).await;
    assert_eq!(tasks["structuredContent"]["items"][0]["status_text"], "cancelled", "{tasks}");
}

#[tokio::test]
async fn a_run_that_nobody_waits_for_is_a_task_that_is_shown_and_cancelled() {
    let (_gateway, session) = Session::first().await;
    let run = json!({"app": MINI, "input": {"prompt": "hello there"}, "wait": false});
    let made = session.call("app_run", run).await["structuredContent"].clone();
    let id = json!({"task_id": made["id"]});
    assert_eq!(made["status"], 2, "{made}");
    let done = found("the task to end", async || {
        let task = session.call("task_get", id.clone()).await["structuredContent"].clone();
        (task["status"] == 10).then_some(task)
    })
    .await;
    assert_eq!(done["output"]["response"], "You said: hello there");
    let log = session.call("task_logs", id.clone()).await;
    assert_eq!(log["structuredContent"]["task_id"], made["id"], "{log}");
    let late = session.call("task_cancel", id).await;
    assert_eq!((&late["isError"], told(&late).contains("has ended")), (&json!(true), true), "{late}");
    for (tool, arguments, part) in [
        ("task_get", json!({"task_id": "x"}), "not the id of a task"),
        ("task_get", json!({}), "\"task_id\" is missing"),
        ("app_get", json!({"app": MINI, "x": 1}), "no argument \"x\""),
        ("app_get", json!({"app": "nobody/nothing"}), "no app"),
        ("app_run", json!({"app": "nobody/nothing", "input": {"prompt": "x"}}), "nobody/nothing"),
    ] {
        let wrong = session.call(tool, arguments).await;
        assert!(wrong["isError"] == true && told(&wrong).contains(part), "{tool}: {wrong}");
    }
    session.call("file_create", json!({"filename": "a.txt", "content_type": "text/plain"})).await;
    let listed = session.call("file_list", json!({})).await;
    assert_eq!(listed["isError"], false, "{listed}");
}

#[tokio::test]
async fn where_nothing_may_be_kept_a_run_is_answered_at_once() {
    let gateway = Gateway::with_own().await;
    gateway.keeps_nothing().await;
    let session = Session::begin(gateway.client(), LATEST).await;
    let ran = session.call("app_run", json!({"app": MINI, "input": {"prompt": "hello there"}})).await;
    assert_eq!(told(&ran), "You said: hello there", "{ran}");
    let queued = session.call("app_run", json!({"app": MINI, "input": {"prompt": "x"}, "wait": false})).await;
    assert!(queued["isError"] == true && told(&queued).contains("retention"), "{queued}");
}

#[tokio::test]
async fn the_tools_of_a_project_are_called_by_their_names_and_approved() {
    let gateway = Gateway::with_own().await;
    let add = McpTool::new("add", "Adds two numbers.", McpAnswer::Text("the sum is 42".to_owned()));
    let server = McpServer::start([add]).unwrap();
    let made = gateway.make("/v2/mcp-servers", json!({"name": "maths", "url": server.url()})).await;
    gateway.make("/v2/tools", json!({"name": "mine", "kind": "function"})).await;
    let session = Session::begin(gateway.client(), LATEST).await;
    let names = |listed: &Value| -> Vec<String> {
        let tools = listed["result"]["tools"].as_array().unwrap();
        tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    };
    let listed = names(&session.ask("tools/list", json!({})).await);
    assert!(listed.contains(&"maths__add".to_owned()) && !listed.contains(&"mine".to_owned()), "{listed:?}");
    assert_eq!(told(&session.call("maths__add", json!({"a": 1})).await), "the sum is 42");
    assert_eq!(server.calls(), [("add".to_owned(), json!({"a": 1}))]);
    let path = format!("/v2/mcp-servers/{}", id_of(&made));
    gateway.patch(&path, json!({"require_approval": "always"})).await;
    let refused = session.call("maths__add", json!({"a": 1})).await;
    assert!(refused["isError"] == true && told(&refused).contains("approve"), "{refused}");
    let client = gateway.client().header("agent-tool-approve", "maths__add");
    let approved = Session { client, id: session.id.clone() };
    assert_eq!(told(&approved.call("maths__add", json!({"a": 1})).await), "the sum is 42");
    assert_eq!(server.calls().len(), 2);
    let few = Session { client: gateway.client().header("agent-tools", "mine"), id: session.id.clone() };
    assert!(!names(&few.ask("tools/list", json!({})).await).contains(&"maths__add".to_owned()));
    let params = json!({"name": "maths__add", "arguments": {}});
    assert_eq!(few.ask("tools/call", params).await["error"]["code"], -32_602);
}

#[tokio::test]
async fn another_key_finds_no_session_and_another_workspace_no_task() {
    let (gateway, session) = Session::first().await;
    let ran = session.call("app_run", json!({"app": MINI, "input": {"prompt": "hello"}})).await;
    let id = ran["structuredContent"]["task_id"].as_str().unwrap().to_owned();
    let (other, _) = gateway.key(json!({"name": "other", "scopes": ["inference"]})).await;
    let founded = second_workspace(&gateway).await;
    for key in [&other, &founded.api_key] {
        let stolen = Session { client: gateway.with_key(key), id: session.id.clone() };
        assert_eq!(stolen.send(&message(1, "ping", json!({}))).await.status, 404);
        assert_eq!(stolen.open(Method::GET, &[("last-event-id", "1-0")], String::new()).await.status, 404);
        let own = [("mcp-session-id", session.id.as_str())];
        assert_eq!(stolen.client.call(Method::DELETE, MCP, &own, Bytes::new()).await.unwrap().status, 404);
    }
    let stranger = Session::begin(gateway.with_key(&founded.api_key), LATEST).await;
    let read = stranger.ask("resources/read", json!({"uri": format!("tidegate://tasks/{id}")})).await;
    assert_eq!(read["error"]["code"], -32_002, "{read}");
    for tool in ["task_get", "task_logs", "task_cancel"] {
        let answer = stranger.call(tool, json!({"task_id": id})).await;
        assert!(answer["isError"] == true && told(&answer).contains("no task"), "{tool}: {answer}");
    }
    let listed = stranger.ask("resources/list", json!({})).await;
    assert!(!listed.to_string().contains(&id), "{listed}");
    assert_eq!(session.ask("ping", json!({})).await["result"], json!({}), "its own key still has it");
}

#[tokio::test]
async fn sessions_and_bodies_are_bounded() {
    let gateway = Gateway::with_own().await;
    let first = Session::begin(gateway.client(), LATEST).await;
    let mut last = None;
    for _ in 0..2_000 {
        last = Some(Session::begin(gateway.client(), LATEST).await);
    }
    assert_eq!(first.send(&message(1, "ping", json!({}))).await.status, 404, "the oldest has ended");
    let last = last.unwrap();
    assert_eq!(last.ask("ping", json!({})).await["result"], json!({}));
    let huge = vec![b' '; 21 * 1024 * 1024];
    let all = [BOTH, JSON, ("mcp-session-id", last.id.as_str())];
    last.client.call(Method::POST, MCP, &all, huge).await.unwrap().must_be(413);
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let body = format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"params\":{{\"x\":{deep}}}}}");
    assert_eq!(send(&last.client, &[("mcp-session-id", &last.id)], body).await.status, 400);
}

#[tokio::test]
async fn a_server_of_the_protocols_own_sdk_is_called() {
    let gateway = Gateway::with_own().await;
    for form in ["json", "sse"] {
        let mut command = Command::new(workspace().join(".venv/bin/python"));
        command.arg(workspace().join("tests/sdk/mcp_server.py")).arg(form);
        let mut process = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let url = lines.next_line().await.unwrap().unwrap();
        let made = gateway.make("/v2/mcp-servers", json!({"name": form, "url": url})).await;
        let listed = found("the server to listen", async || {
            let read = refreshed(&gateway, &id_of(&made)).await;
            (read["health"] == "ready").then_some(read)
        })
        .await;
        let state = |name: &str| (name.to_owned(), "accepted".to_owned());
        assert_eq!(states(&listed), [state("add"), state("fail")], "{listed}");
        for (tool, arguments, expected, told) in [
            ("add", r#"{"a":40,"b":2}"#, "answered", "the sum is 42"),
            ("add", r#"{"a":"x"}"#, "failed", "validation error"),
            ("fail", "{}", "failed", "no such file"),
        ] {
            gateway.plays(OWN, one_call(format!("{form}__{tool}"), arguments));
            let answer = ask(&gateway, form, CHAT, &question(MINI)).await;
            assert_eq!(outcome(&gateway, &answer).await, expected, "{form} {tool}");
            assert!(last_result(&gateway).contains(told), "{form} {tool}: {}", last_result(&gateway));
        }
    }
}
