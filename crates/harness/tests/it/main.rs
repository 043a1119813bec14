//! The emulator from its users' side: official clients, strictness, faults, the journal, and the program.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    reason = "a helper that fails should fail its test, and JSON reads best by value and index"
)]

mod anthropic;
mod calls;
mod faults;
mod gemini;
mod journal;
mod model_servers;
mod pace;
mod program;
mod reliability;
mod responses;
mod sdk;
mod strict;
mod texts;
mod translated;
mod vendors;
mod wire;

use std::time::Duration;

use harness::client::{Answer, Client};
use harness::{Behaviour, Config, Emulator, LineEnd};
use serde_json::{Value, json};

const KEY: &str = "sk-test-aaaaaaaaaaaaaaaaaaaaaaaa";
const OTHER_KEY: &str = "sk-test-bbbbbbbbbbbbbbbbbbbbbbbb";
const CHAT: &str = "/v1/chat/completions";
/// Far longer than anything here takes; reaching it is a failure.
const WITHIN: Duration = Duration::from_secs(20);

async fn start() -> Emulator {
    Emulator::start(config()).await.unwrap()
}

fn config() -> Config {
    Config::default().keys([KEY, OTHER_KEY])
}

fn client(emulator: &Emulator) -> Client {
    Client::new(emulator.origin()).bearer(KEY).within(WITHIN)
}

fn question() -> Value {
    json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello there"}]})
}

fn streaming() -> Value {
    with(question(), json!({"stream": true, "stream_options": {"include_usage": true}}))
}

/// The request with further fields; null removes one.
fn with(mut request: Value, more: Value) -> Value {
    for (name, value) in more.as_object().unwrap() {
        if value.is_null() {
            request.as_object_mut().unwrap().remove(name);
        } else {
            request[name] = value.clone();
        }
    }
    request
}

/// The status and bytes of a stream under a behaviour, and whether it ended properly.
async fn stream_with(behaviour: Behaviour) -> (u16, Vec<String>, std::io::Result<()>) {
    let emulator = start().await;
    emulator.script(KEY, [behaviour]);
    let mut stream = client(&emulator).stream(CHAT, &streaming()).await.unwrap();
    let (events, end) = stream.events().await;
    assert_eq!(emulator.violations(), []);
    (stream.status, events, end)
}

async fn answer_with(behaviour: Behaviour) -> Answer {
    let emulator = start().await;
    emulator.script(KEY, [behaviour]);
    client(&emulator).post(CHAT, &question()).await.unwrap()
}

/// A text whose characters take one to four bytes.
fn unicode() -> Behaviour {
    Behaviour::ok().text("unicode").tokens(40)
}

/// Framing variants of that text, which change only bytes, not content.
fn framings() -> Vec<Behaviour> {
    vec![
        unicode().line_end(LineEnd::Crlf),
        unicode().line_end(LineEnd::Cr),
        unicode().split(1),
        unicode().split(3),
        unicode().split(1000).pause(Duration::from_millis(1)),
        unicode().burst(),
        unicode().comments(),
        unicode().extra_lines(),
        unicode().bom(),
        unicode().no_space(),
        unicode().multiline(),
        unicode().doubled_done(),
    ]
}

/// The text that the chunks add up to.
fn text_of(events: &[String]) -> String {
    events
        .iter()
        .filter_map(|event| serde_json::from_str::<Value>(event).ok())
        .filter_map(|chunk| {
            chunk.pointer("/choices/0/delta/content").and_then(Value::as_str).map(str::to_owned)
        })
        .collect()
}
