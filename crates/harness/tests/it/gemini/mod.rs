//! The Gemini surface, over sockets.

mod answers;
mod batches;
mod caches;
mod faults;
mod strict;

use harness::client::{Answer, Client};
use harness::{Behaviour, Emulator};
use serde_json::{Value, json};

use crate::{KEY, WITHIN, start};

const OLD: &str = "gemini-2.0-flash";
const MIDDLE: &str = "gemini-2.5-flash";
const NEW: &str = "gemini-3-pro-preview";

fn client(emulator: &Emulator) -> Client {
    Client::new(emulator.origin()).header("x-goog-api-key", KEY).within(WITHIN)
}

fn path(model: &str, method: &str) -> String {
    format!("/v1beta/models/{model}:{method}")
}

fn question() -> Value {
    json!({"contents": [{"role": "user", "parts": [{"text": "hello there"}]}]})
}

async fn ask(emulator: &Emulator, model: &str, request: &Value) -> Answer {
    client(emulator).post(&path(model, "generateContent"), request).await.unwrap()
}

/// The chunks of an event stream under a behaviour, and whether it ended properly.
async fn stream_with(model: &str, behaviour: Behaviour) -> (Vec<String>, std::io::Result<()>) {
    let emulator = start().await;
    emulator.script(KEY, [behaviour]);
    let path = format!("{}?alt=sse", path(model, "streamGenerateContent"));
    let mut stream = client(&emulator).stream(&path, &question()).await.unwrap();
    assert_eq!((stream.status, stream.header("content-type")), (200, Some("text/event-stream")));
    let (events, end) = stream.events().await;
    assert_eq!(emulator.violations(), []);
    (events, end)
}

fn chunks(events: &[String]) -> Vec<Value> {
    events.iter().map(|event| serde_json::from_str(event).unwrap()).collect()
}

/// The text that the chunks add up to.
fn text_of(events: &[String]) -> String {
    let chunks = events.iter().filter_map(|event| serde_json::from_str::<Value>(event).ok());
    let text = |chunk: Value| {
        chunk.pointer("/candidates/0/content/parts/0/text").and_then(Value::as_str).map(str::to_owned)
    };
    chunks.filter_map(text).collect()
}

fn parts(answer: &Answer) -> Vec<Value> {
    answer.json()["candidates"][0]["content"]["parts"].as_array().cloned().unwrap_or_default()
}
