//! A scripted tool call: made once where its tool is offered, with the script's arguments, in every wire
//! format.

use harness::Behaviour;
use harness::client::Client;
use serde_json::{Value, json};

use crate::{KEY, WITHIN, start};

const ARGUMENTS: &str = r#"{"path":"né.txt","lines":[1,2]}"#;

/// One wire format: its path, the fields that offer a tool, the message with the tool's result, and where a
/// call is in the response.
struct Wire {
    path: &'static str,
    body: Value,
    tools: Value,
    answered: Value,
    call: &'static str,
}

fn wires() -> Vec<Wire> {
    let schema = json!({"type": "object", "properties": {"path": {"type": "string"}}});
    let function = json!({"name": "look", "parameters": schema});
    let question = json!({"role": "user", "content": "hello there"});
    vec![
        Wire {
            path: "/v1/chat/completions",
            body: json!({"model": "gpt-4o-mini", "messages": [question]}),
            tools: json!([{"type": "function", "function": function}]),
            answered: json!({"messages": [question,
                {"role": "assistant", "tool_calls": [{"id": "1", "type": "function",
                    "function": {"name": "look", "arguments": "{}"}}]},
                {"role": "tool", "tool_call_id": "1", "content": "x"}]}),
            call: "/choices/0/message/tool_calls/0/function/arguments",
        },
        Wire {
            path: "/v1/responses",
            body: json!({"model": "gpt-4o-mini", "input": [question]}),
            tools: json!([{"type": "function", "name": "look", "parameters": schema, "strict": false}]),
            answered: json!({"input": [question,
                {"type": "function_call", "call_id": "1", "name": "look", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "1", "output": "x"}]}),
            call: "/output/0/arguments",
        },
        Wire {
            path: "/anthropic/v1/messages",
            body: json!({"model": "claude-sonnet-4-6", "max_tokens": 100, "messages": [question]}),
            tools: json!([{"name": "look", "input_schema": schema}]),
            answered: json!({"messages": [question,
                {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "look", "input": {}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "x"},
                    {"type": "text", "text": "look again"}]}]}),
            call: "/content/0/input",
        },
        Wire {
            path: "/v1beta/models/gemini-2.5-flash:generateContent",
            body: json!({"contents": [{"role": "user", "parts": [{"text": "hello there"}]}]}),
            tools: json!([{"functionDeclarations": [function]}]),
            answered: json!({"contents": [{"role": "user", "parts": [{"text": "hello there"}]},
                {"role": "model", "parts": [{"functionCall": {"name": "look", "args": {}}}]},
                {"role": "user", "parts": [{"functionResponse": {"name": "look", "response": {"output": "x"}}}]}]}),
            call: "/candidates/0/content/parts/0/functionCall/args",
        },
    ]
}

#[tokio::test]
async fn a_scripted_call_is_made_once_where_its_tool_is_offered() {
    for wire in wires() {
        let emulator = start().await;
        emulator.script(KEY, [Behaviour::ok().call("look", ARGUMENTS).always()]);
        let client = if wire.path.starts_with("/v1beta") {
            Client::new(emulator.origin()).header("x-goog-api-key", KEY)
        } else if wire.path.starts_with("/anthropic") {
            Client::new(emulator.origin()).header("x-api-key", KEY).header("anthropic-version", "2023-06-01")
        } else {
            Client::new(emulator.origin()).bearer(KEY)
        };
        let client = client.within(WITHIN);
        let ask = async |more: Value| {
            let answer = client.post(wire.path, &crate::with(wire.body.clone(), more)).await.unwrap();
            assert_eq!(answer.status, 200, "{}: {}", wire.path, answer.text());
            answer.json().pointer(wire.call).cloned()
        };
        assert_eq!(ask(json!({})).await, None, "{}: it is not offered", wire.path);
        let call = ask(json!({"tools": wire.tools})).await.unwrap();
        let arguments = call.as_str().map_or(call.clone(), |text| serde_json::from_str(text).unwrap());
        assert_eq!(arguments, serde_json::from_str::<Value>(ARGUMENTS).unwrap(), "{}", wire.path);
        let after = crate::with(wire.answered.clone(), json!({"tools": wire.tools}));
        assert_eq!(ask(after).await, None, "{}: it was answered", wire.path);
    }
}
