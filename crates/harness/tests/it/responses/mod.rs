//! `/v1/responses`: rejected requests and their messages, stored responses, and broken streams.

mod kept;
mod reasoning;
mod refused;
mod streams;

use harness::Emulator;
use serde_json::{Value, json};

use crate::client;

const PATH: &str = "/v1/responses";

fn ask() -> Value {
    json!({"model": "gpt-4o-mini", "input": "hello there"})
}

fn think() -> Value {
    json!({"model": "gpt-5-mini", "input": [user("hello")], "store": false,
        "include": ["reasoning.encrypted_content"]})
}

fn user(text: &str) -> Value {
    json!({"role": "user", "content": text})
}

fn function_call(id: &str) -> Value {
    json!({"type": "function_call", "call_id": id, "name": "f", "arguments": "{}"})
}

fn output(id: &str) -> Value {
    json!({"type": "function_call_output", "call_id": id, "output": "x"})
}

async fn post(emulator: &Emulator, request: &Value) -> (u16, Value) {
    let answer = client(emulator).post(PATH, request).await.unwrap();
    (answer.status, answer.json())
}

async fn get(emulator: &Emulator, path: &str) -> (u16, Value) {
    let answer = client(emulator).get(path).await.unwrap();
    (answer.status, answer.json())
}

fn code(body: &Value) -> Option<&str> {
    body["error"]["code"].as_str()
}
