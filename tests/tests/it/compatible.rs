//! OpenAI-compatible servers with their own quirks: probed at registration, called in the form that they
//! accept, parsed as they answer, with facts that the operator can override.

use std::collections::BTreeMap;

use harness::{Emulator, Flavour, Outcome, Server};
use serde_json::{Value, json};

use crate::WITHIN;
use crate::ask::{CHAT, has, problem, question, refused, said, streaming_usage, trace_of, with};
use crate::command::workspace;
use crate::gateway::{CREDENTIALS, CUSTOM, Gateway, NODE, OWN, id_of, python};

fn address(emulator: &Emulator, server: Server) -> String {
    emulator.base_url_of(Flavour::Server(server))
}

fn slug(server: Server) -> String {
    format!("acme-{}", server.name())
}

fn model(server: Server) -> String {
    format!("{}/acme-large", slug(server))
}

/// Registers a server as the workspace's own credential.
async fn registered(gateway: &Gateway, server: Server) -> Value {
    let base_url = address(&gateway.emulator, server);
    gateway.make(CREDENTIALS, json!({"provider": slug(server), "secret": CUSTOM, "base_url": base_url})).await
}

/// The probed facts of a credential or node, each with its value.
fn facts(resource: &Value) -> BTreeMap<String, Value> {
    let facts = resource["server"]["facts"].as_array().unwrap_or_else(|| panic!("no facts: {resource}"));
    let named = |fact: &Value| (fact["name"].as_str().unwrap().to_owned(), fact["value"].clone());
    facts.iter().map(named).collect()
}

fn fact<'a>(resource: &'a Value, name: &str) -> &'a Value {
    let facts = resource["server"]["facts"].as_array().unwrap();
    facts.iter().find(|fact| fact["name"] == name).unwrap_or_else(|| panic!("no {name}: {resource}"))
}

/// How each server deviates from one that supports everything.
fn habits(server: Server) -> Value {
    match server {
        Server::Lenient => json!({"errors": "message", "reasoning": null}),
        Server::Strict => json!({"errors": "detail", "reasoning": null, "unknown_fields": false}),
        Server::Old => json!({
            "errors": "detail", "reasoning": null, "developer_role": false, "max_completion_tokens": false,
            "content_parts": false, "null_content": false, "parallel_tool_calls": false,
        }),
        Server::Bare => json!({
            "errors": "text", "reasoning": null, "stream_options": false, "stream_usage": false, "done": false,
            "json_schema": false,
        }),
        Server::Vllm => {
            json!({"errors": "message", "reasoning": "reasoning_content", "tool_choice_required": false})
        }
        Server::Ollama => json!({"errors": "object", "reasoning": "reasoning"}),
    }
}

/// The client requests that reached the server.
fn sent(gateway: &Gateway) -> Vec<Value> {
    gateway.calls(CUSTOM).iter().map(harness::Entry::json).collect()
}

fn last_sent(gateway: &Gateway) -> Value {
    sent(gateway).pop().expect("a request")
}

#[tokio::test]
async fn each_server_is_asked_and_then_understood() {
    for server in Server::ALL {
        let gateway = Gateway::start().await;
        let made = registered(&gateway, server).await;
        assert_eq!(made["server"]["error"], Value::Null, "{made}");
        assert!(made["server"]["probed_at"].is_string(), "{made}");
        let habits = habits(server);
        for (name, value) in facts(&made) {
            let usual = if name == "runtime" { json!("other") } else { true.into() };
            assert_eq!(value, habits.get(&name).cloned().unwrap_or(usual), "{server:?} {name}");
            let evidence = if value.is_null() { "unverified" } else { "probed" };
            assert_eq!(fact(&made, &name)["evidence"], evidence, "{server:?} {name}");
            assert_eq!(fact(&made, &name)["at"].is_string(), !value.is_null(), "{server:?} {name}");
        }
        let kept = gateway.get(&format!("{CREDENTIALS}/{}", id_of(&made))).await;
        assert_eq!(kept["server"], made["server"], "{server:?}");
        assert!(gateway.emulator.totals().probes <= 16, "{server:?}");

        let mut command = tokio::process::Command::new(python());
        command.arg(workspace().join("tests/sdk/compatible.py"));
        command.args([&format!("{}/v1", gateway.origin), &gateway.founded.api_key, &model(server)]);
        command.env("NO_PROXY", "*").kill_on_drop(true);
        let output = tokio::time::timeout(WITHIN, command.output()).await.unwrap().unwrap();
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{server:?} {stdout}\n{}", String::from_utf8_lossy(&output.stderr));
        let cases: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(cases.len(), 3, "{server:?} {stdout}");
        let dropped = if server == Server::Bare { json!("stream_options") } else { Value::Null };
        has(&cases[1], json!({"dropped": dropped, "usage": server != Server::Bare}));
        // No field that a server refuses ever reached it, except in probes.
        for entry in gateway.calls(CUSTOM) {
            assert_eq!(entry.outcome, Outcome::Answered, "{server:?} {}", entry.json());
        }
        assert_eq!(gateway.emulator.violations(), []);
    }
}

#[tokio::test]
async fn what_a_server_lacks_is_left_out_refused_by_name_estimated_or_said_in_its_words() {
    let gateway = Gateway::start().await;
    for server in [Server::Strict, Server::Bare, Server::Vllm] {
        registered(&gateway, server).await;
    }
    let tool = json!({"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}});
    let forced = json!({"tools": [tool], "tool_choice": "required"});
    let format = json!({"type": "json_schema", "json_schema": {"name": "a", "schema": {}}});
    let lenient = gateway.client().header("agent-lenient", "true");
    for (server, more, name) in [
        (Server::Strict, json!({"surprise": 1}), "surprise"),
        (Server::Bare, json!({"response_format": format}), "response_format"),
        (Server::Vllm, forced, "tool_choice"),
    ] {
        let before = sent(&gateway).len();
        let body = with(question(&model(server)), more);
        assert_eq!(refused(&gateway.chat(&body).await, 400, "unsupported_parameter")["param"], name);
        assert_eq!(sent(&gateway).len(), before, "no byte left");
        let answer = lenient.post(CHAT, &body).await.unwrap();
        assert_eq!((answer.status, answer.header("agent-dropped-params")), (200, Some(name)));
        assert_eq!(last_sent(&gateway).get(name), None);
    }
    let hints = json!({"metadata": {"a": "b"}, "store": false, "verbosity": "low"});
    let answer = gateway.chat_ok(&with(question(&model(Server::Strict)), hints)).await;
    assert_eq!(answer.header("agent-dropped-params"), Some("metadata, verbosity"));
    // Usage that a server does not tell is estimated and marked.
    let answer = gateway.chat_ok(&streaming_usage(&model(Server::Bare))).await;
    assert_eq!(said(&answer), "You said: hello there");
    assert_eq!(harness::sse::events(&answer.body).last().map(String::as_str), Some("[DONE]"));
    let request = gateway.settled(&trace_of(&answer)).await;
    has(&request, json!({"outcome": "completed", "estimated": true}));
    assert!(request["output_tokens"].as_u64() > Some(0), "{request}");
    // Another dialect is said to an old server in its words.
    registered(&gateway, Server::Old).await;
    let body = json!({
        "model": model(Server::Old), "max_tokens": 50,
        "system": [{"type": "text", "text": "Be"}, {"type": "text", "text": "brief."}],
        "tools": [{"name": "look", "input_schema": {"type": "object"}}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "hello"}, {"type": "text", "text": "there"}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "look", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "sunny"}]},
        ],
    });
    gateway.post("/v1/messages", &body).await.must_be(200);
    let sent = last_sent(&gateway);
    assert_eq!((&sent["max_tokens"], sent.get("max_completion_tokens")), (&json!(50), None), "{sent}");
    let messages = sent["messages"].as_array().unwrap().iter();
    let contents: Vec<&Value> = messages.map(|message| &message["content"]).collect();
    assert_eq!(contents, ["Be\nbrief.", "hello\nthere", "", "sunny"]);
}

#[tokio::test]
async fn a_person_is_believed_above_a_probe_a_node_is_asked_too_and_a_server_that_is_away_says_so() {
    let gateway = Gateway::start().await;
    let path = format!("{CREDENTIALS}/{}", id_of(&registered(&gateway, Server::Lenient).await));
    let turns = json!([{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "hello"}]);
    let ask = with(question(&model(Server::Lenient)), json!({"messages": turns}));
    let role = || last_sent(&gateway)["messages"][0]["role"].clone();
    gateway.chat_ok(&ask).await;
    assert_eq!(role(), "developer");
    let stated = gateway.patch(&path, json!({"stated_facts": {"developer_role": false}})).await;
    assert_eq!(fact(&stated, "developer_role")["evidence"], "stated");
    assert_eq!(stated["stated_facts"], json!({"developer_role": false}));
    gateway.chat_ok(&ask).await;
    assert_eq!(role(), "system");
    // Another probe leaves the stated fact in force.
    let probe = format!("{path}/probe");
    let probed = gateway.admin().post(&probe, &json!({"model": "acme-large"})).await.unwrap();
    let probed = probed.must_be(200).json();
    assert_eq!(probed["server"]["model"], "acme-large");
    assert_eq!(fact(&probed, "developer_role")["value"], false);
    let reverted = gateway.patch(&path, json!({"stated_facts": {"developer_role": null}})).await;
    let at = &fact(&probed, "null_content")["at"];
    let again = json!({"name": "developer_role", "value": true, "evidence": "probed", "at": at});
    assert_eq!(fact(&reverted, "developer_role"), &again);
    gateway.chat_ok(&ask).await;
    assert_eq!(role(), "developer");
    for wrong in [json!({"nonsense": true}), json!({"developer_role": "perhaps"})] {
        problem(&gateway.patched(&path, json!({"stated_facts": wrong})).await, 400, "invalid_value");
    }
    let base_url = address(&gateway.emulator, Server::Old);
    let node = json!({"name": "attic", "base_url": base_url, "secret": NODE, "models": ["tide-1"]});
    let made = gateway.make("/v2/byoc/nodes", node).await;
    assert_eq!(made["server"]["model"], "tide-1", "{made}");
    assert_eq!(fact(&made, "content_parts")["value"], false);
    let id = id_of(&made);
    let output = gateway.cli().run(&["nodes", "show", &id]).ok();
    let line = output.lines().find(|line| line.starts_with("content_parts"));
    let line = line.unwrap_or_else(|| panic!("{output}"));
    assert!(line.contains("false") && line.contains("probed"), "{line}");
    let set = gateway.cli().run(&["nodes", "set", &id, "--fact", "content_parts=yes", "--json"]).json();
    assert_eq!(fact(&set, "content_parts")["evidence"], "stated");
    let probed = gateway.cli().run(&["nodes", "probe", &id, "--json"]).json();
    assert_eq!(fact(&probed, "content_parts")["value"], true);
    let undone = gateway.cli().run(&["nodes", "set", &id, "--fact", "content_parts=", "--json"]).json();
    assert_eq!(fact(&undone, "content_parts")["evidence"], "probed");
    let content = json!([{"type": "text", "text": "hello there"}]);
    let body = json!({"model": "tide-1", "messages": [{"role": "user", "content": content}]});
    assert_eq!(said(&gateway.chat_ok(&body).await), "You said: hello there");
    let body = json!({"provider": "acme-away", "secret": CUSTOM, "base_url": "http://127.0.0.1:9/v1"});
    let made = gateway.make(CREDENTIALS, body).await;
    assert!(made["server"]["error"].as_str().is_some_and(|error| !error.contains(CUSTOM)), "{made}");
    assert!(facts(&made).values().all(Value::is_null), "{made}");
    // With a refused key a probe learns nothing about the server.
    let (secret, base_url) = ("sk-unknown-0123456789abcdef", address(&gateway.emulator, Server::Lenient));
    let body = json!({"provider": "acme-closed", "secret": secret, "base_url": base_url});
    let made = gateway.make(CREDENTIALS, body).await;
    assert_eq!(made["server"]["error"], "It refused the key (status 401).");
    let path = format!("{CREDENTIALS}/{}", id_of(&made));
    // With a new secret, verification probes the server.
    gateway.admin().post(&format!("{path}/rotate"), &json!({"secret": CUSTOM})).await.unwrap().must_be(200);
    let verified = gateway.verified(&path).await;
    assert_eq!(verified["server"]["error"], Value::Null, "{verified}");
    assert_eq!(fact(&verified, "chat")["value"], true);
    // A known provider is not probed.
    let path = format!("{CREDENTIALS}/{}", gateway.credential("openai", OWN).await);
    assert_eq!(gateway.get(&path).await["server"], Value::Null);
    let answer = gateway.admin().post(&format!("{path}/probe"), &json!({})).await.unwrap();
    problem(&answer, 400, "invalid_value");
    gateway.patched(&path, json!({"stated_facts": {"done": false}})).await.must_be(400);
    assert_eq!(gateway.emulator.totals().by_key.get(OWN).map(|tally| tally.calls), None);
}
