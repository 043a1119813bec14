//! The emulator under Anthropic's paths.

mod answers;
mod conversations;
mod faults;
mod refusals;
mod thinking;

use harness::client::{Answer, Client};
use harness::{Behaviour, ClaudeModel, Emulator};
use serde_json::{Value, json};

use crate::{KEY, WITHIN, config, with};

const MESSAGES: &str = "/anthropic/v1/messages";
const COUNT: &str = "/anthropic/v1/messages/count_tokens";
const OLDER: &str = "2023-06-01";
const NEWER: &str = "2026-10-21";

async fn start() -> Emulator {
    Emulator::start(config()).await.unwrap()
}

fn client(emulator: &Emulator) -> Client {
    speaking(emulator, OLDER)
}

fn speaking(emulator: &Emulator, version: &str) -> Client {
    Client::new(emulator.origin())
        .header("x-api-key", KEY)
        .header("anthropic-version", version)
        .within(WITHIN)
}

fn question() -> Value {
    json!({
        "model": "claude-sonnet-4-6", "max_tokens": 2000,
        "messages": [{"role": "user", "content": "hello there"}],
    })
}

fn streaming() -> Value {
    with(question(), json!({"stream": true}))
}

fn tide_tool() -> Value {
    json!({
        "name": "tide",
        "input_schema": {
            "type": "object", "properties": {"port": {"type": "string"}, "day": {"type": "integer"}},
        },
    })
}

async fn answer_with(behaviour: Behaviour) -> Answer {
    let emulator = start().await;
    emulator.script(KEY, [behaviour]);
    client(&emulator).post(MESSAGES, &question()).await.unwrap()
}

/// The events of a stream under a behaviour, and whether it ended properly.
async fn stream_with(behaviour: Behaviour, change: Value) -> (Vec<Value>, std::io::Result<()>) {
    let emulator = start().await;
    emulator.script(KEY, [behaviour]);
    let mut stream = client(&emulator).stream(MESSAGES, &with(streaming(), change)).await.unwrap();
    let (events, end) = stream.events().await;
    assert_eq!(emulator.violations(), []);
    (events.iter().map(|event| serde_json::from_str(event).unwrap_or_default()).collect(), end)
}

/// The types of the events, with runs of the same type collapsed.
fn kinds(events: &[Value]) -> Vec<&str> {
    let mut kinds: Vec<&str> =
        events.iter().map(|event| event["type"].as_str().unwrap_or("broken")).collect();
    kinds.dedup();
    kinds
}

/// The concatenated deltas of one field.
fn spelt(events: &[Value], field: &str) -> String {
    events.iter().filter_map(|event| event["delta"][field].as_str()).collect()
}

fn error_of(answer: &Answer) -> (u16, String, String) {
    let body = answer.json();
    assert_eq!(body["type"], "error", "{}", answer.text());
    assert_eq!(body["request_id"].as_str(), answer.header("request-id"), "{}", answer.text());
    let text = |name: &str| body["error"][name].as_str().unwrap().to_owned();
    (answer.status, text("type"), text("message"))
}

/// Each change to a valid request, with the message of its rejection; null where it is accepted.
async fn check(version: &str, cases: Value) {
    let config = config().claude_model(ClaudeModel::new("claude-small").context_tokens_max(100));
    let emulator = Emulator::start(config).await.unwrap();
    for case in cases.as_array().unwrap() {
        let change = &case[0];
        let request = with(question(), change.clone());
        let answer = speaking(&emulator, version).post(MESSAGES, &request).await.unwrap();
        match case[1].as_str() {
            None => assert_eq!(answer.status, 200, "{change}: {}", answer.text()),
            Some(words) => {
                let (status, _, message) = error_of(&answer);
                assert!((400..500).contains(&status), "{change}");
                assert!(message.contains(words), "{change}: {message}");
            }
        }
    }
    assert_eq!(emulator.violations(), []);
}

fn user(content: Value) -> Value {
    json!({"role": "user", "content": content})
}

fn assistant(content: Value) -> Value {
    json!({"role": "assistant", "content": content})
}

fn talk(messages: &[Value]) -> Value {
    json!({"messages": messages})
}

fn call(id: &str) -> Value {
    json!({"type": "tool_use", "id": id, "name": "tide", "input": {}})
}

fn result(id: &str) -> Value {
    json!({"type": "tool_result", "tool_use_id": id, "content": "high"})
}

fn text(text: &str) -> Value {
    json!({"type": "text", "text": text})
}
