//! Requests that are rejected before generation, and their error messages.

use http::Method;
use serde_json::{Value, json};

use super::{PATH, ask, code, function_call, output, post, think, user};
use crate::{client, start, with};

/// Each change to a valid request, with the status, code, param and start of the message that it is rejected
/// with.
async fn check_refused(request: fn() -> Value, cases: Value) {
    let emulator = start().await;
    for case in cases.as_array().unwrap() {
        let change = &case[0];
        let (got, body) = post(&emulator, &with(request(), change.clone())).await;
        let error = &body["error"];
        assert_eq!(got, case[1], "{change}: {body}");
        assert_eq!((&error["code"], &error["param"]), (&case[2], &case[3]), "{change}: {error}");
        let message = error["message"].as_str().unwrap();
        assert!(message.starts_with(case[4].as_str().unwrap()), "{change}: {error}");
    }
    assert_eq!(emulator.totals().all.prompt_tokens, 0, "a refused call costs nothing");
}

/// The same checks for inputs.
async fn check_inputs(cases: Value) {
    let case = |case: &Value| json!([{"input": case[0]}, 400, case[1], case[2], case[3]]);
    check_refused(ask, cases.as_array().unwrap().iter().map(case).collect()).await;
}

const UNKNOWN: &str = "unknown_parameter";
const KIND: &str = "invalid_type";
const VALUE: &str = "invalid_value";
const MISSING: &str = "missing_required_parameter";

#[tokio::test]
async fn bad_fields_are_refused() {
    let low = "integer_below_minimum_value";
    let cases = json!([
        [{"top_k": 5}, 400, UNKNOWN, "top_k", "Unknown parameter: 'top_k'."],
        [{"messages": []}, 400, UNKNOWN, "messages", "Unknown parameter"],
        [{"n": 2}, 400, UNKNOWN, "n", "Unknown parameter"],
        [{"max_tokens": 5}, 400, UNKNOWN, "max_tokens", "Unknown parameter"],
        [{"input": null}, 400, MISSING, null, "One of 'input'"],
        [{"input": 5}, 400, KIND, "input", "Invalid type for 'input'"],
        [{"model": null}, 400, null, null, "you must provide"],
        [{"model": "none"}, 404, "model_not_found", null, "The model `none`"],
        [{"model": "grok-4"}, 404, "model_not_found", null, "The model"],
        [{"model": "text-embedding-3-small"}, 400, "unsupported_model", "model", "The requested model"],
        [{"store": "yes"}, 400, KIND, "store", "Invalid type"],
        [{"max_output_tokens": 1}, 400, low, "max_output_tokens", "Invalid"],
        [{"include": ["all"]}, 400, VALUE, "include[0]", "Invalid value: 'all'"],
        [{"stream_options": {}}, 400, null, "stream_options", "The 'stream_options'"],
        [{"stream": true, "stream_options": {"include_usage": true}}, 400, UNKNOWN,
            "stream_options.include_usage", "Unknown parameter"],
        [{"text": {"mood": 1}}, 400, UNKNOWN, "text.mood", "Unknown parameter"],
        [{"top_logprobs": 3}, 400, null, "top_logprobs", "The 'top_logprobs'"],
        [{"background": true, "store": false}, 400, null, "background", "Background"],
        [{"conversation": "conv_1"}, 404, null, "conversation", "Conversation with id"],
        [{"prompt": {"id": "pmpt_1"}}, 404, null, "prompt", "Prompt with id 'pmpt_1'"],
        [{"conversation": "conv_1", "previous_response_id": "resp_1"}, 400, "mutually_exclusive_parameters",
            null, "Mutually exclusive"],
        [{"previous_response_id": "resp_none"}, 400, "previous_response_not_found", "previous_response_id",
            "Previous response with id 'resp_none' not found."],
        [{"user": "emu:stutter=5"}, 400, "emulator_script", "user", "unreadable"],
    ]);
    check_refused(ask, cases).await;
}

#[tokio::test]
async fn what_a_model_cannot_do_is_refused() {
    let unsupported = "unsupported_parameter";
    let encrypted = "reasoning.encrypted_content";
    let cases = json!([
        [{"reasoning": {"effort": "low"}}, 400, unsupported, "reasoning.effort", "Unsupported parameter"],
        [{"include": [encrypted]}, 400, null, "include", "Encrypted content is not"],
    ]);
    check_refused(ask, cases).await;
    let logprobs = json!({"include": ["message.output_text.logprobs"]});
    let cases = json!([
        [{"temperature": 0.5}, 400, unsupported, "temperature", "Unsupported parameter"],
        [{"top_p": 0.5}, 400, unsupported, "top_p", "Unsupported parameter"],
        [logprobs, 400, unsupported, "include", "Unsupported parameter"],
        [{"reasoning": {"effort": "huge"}}, 400, VALUE, "reasoning.effort", "Invalid"],
        [{"reasoning": {"depth": 1}}, 400, UNKNOWN, "reasoning.depth", "Unknown"],
    ]);
    check_refused(think, cases).await;
}

#[tokio::test]
async fn bad_tools_and_formats_are_refused() {
    let tools = |tool: Value| json!({"tools": [tool]});
    let nested = json!({"type": "function", "function": {"name": "f"}});
    let loose = json!({"type": "object", "properties": {"a": {}}});
    let strict = json!({"type": "function", "name": "f", "strict": true, "parameters": loose});
    let format = |format: Value| json!({"text": {"format": format}});
    let chosen = json!({"type": "function", "function": {"name": "f"}});
    let function = json!({"type": "function", "name": "f"});
    let schema = json!({"type": "json_schema", "name": "s", "strict": true, "schema": loose});
    let cases = json!([
        [tools(nested), 400, MISSING, "tools[0].name", "Missing"],
        [tools(json!({"name": "f"})), 400, MISSING, "tools[0].type", "Missing"],
        [tools(json!({"type": "robot"})), 400, VALUE, "tools[0].type", "Invalid value"],
        [tools(json!({"type": "function", "name": "a b"})), 400, VALUE, "tools[0].name", "Inv"],
        [tools(strict), 400, "invalid_function_parameters", "tools[0].parameters",
            "Invalid schema for function 'f': In context=(), 'additionalProperties'"],
        [{"tool_choice": "required"}, 400, null, "tool_choice", "Tool choice 'required'"],
        [{"tools": [function], "tool_choice": chosen}, 400, MISSING, "tool_choice.name", "Missing"],
        [{"tools": [function], "tool_choice": {"type": "function", "name": "g"}}, 400, null, "tool_choice",
            "Tool choice 'g' not found"],
        [format(json!({"type": "xml"})), 400, VALUE, "text.format.type", "Invalid value"],
        [format(json!({"type": "json_schema", "schema": {}})), 400, MISSING, "text.format.name", "Mis"],
        [format(json!({"type": "json_schema", "json_schema": {}, "name": "x", "schema": {}})), 400, UNKNOWN,
            "text.format.json_schema", "Unknown parameter"],
        [format(json!({"type": "json_object"})), 400, null, "input", "Response input messages"],
        [format(schema), 400, "invalid_json_schema", "text.format.schema", "Invalid schema"],
    ]);
    check_refused(ask, cases).await;
}

#[tokio::test]
async fn bad_items_are_refused() {
    let part = |part: Value| json!([{"role": "user", "content": [part]}]);
    let turn = json!([{"role": "assistant", "content": [{"type": "input_text", "text": "x"}]}]);
    let cases = json!([
        [["hi"], KIND, "input[0]", "Invalid type for 'input[0]'"],
        [[{"content": "x"}], MISSING, "input[0].type", "Missing"],
        [[{"type": "song", "content": "x"}], VALUE, "input[0]", "Invalid value: 'song'"],
        [[{"role": "robot", "content": "x"}], VALUE, "input[0].role", "Invalid value: 'robot'"],
        [[{"role": "tool", "content": "x"}], VALUE, "input[0].role", "Invalid value: 'tool'"],
        [[{"role": "user"}], MISSING, "input[0].content", "Missing"],
        [[{"role": "user", "content": "x", "name": "ann"}], UNKNOWN, "input[0].name", "Unknown"],
        [part(json!({"type": "text", "text": "x"})), VALUE, "input[0].content[0]",
            "Invalid value: 'text'. Supported values are: 'input_text'"],
        [part(json!({"type": "input_text"})), MISSING, "input[0].content[0].text", "Missing"],
        [part(json!({"type": "input_image", "image_url": {"url": "data:"}})), KIND,
            "input[0].content[0].image_url", "Invalid type"],
        [turn, VALUE, "input[0].content[0]", "Invalid value: 'input_text'"],
        [[{"type": "function_call", "call_id": "c", "name": "f", "arguments": {}}], KIND,
            "input[0].arguments", "Invalid type"],
        [[{"type": "function_call", "id": "call_1", "call_id": "c", "name": "f", "arguments": "{}"}], VALUE,
            "input[0].id", "Invalid 'input[0].id': 'call_1'. Expected an ID that begins with 'fc'."],
        [[{"type": "reasoning", "id": "rs_1"}], MISSING, "input[0].summary", "Missing"],
    ]);
    check_inputs(cases).await;
}

#[tokio::test]
async fn calls_and_outputs_belong_together() {
    let custom = json!({"type": "custom_tool_call", "call_id": "c", "name": "f", "input": "x"});
    let same = json!({"role": "assistant", "id": "msg_1", "content": "x"});
    #[rustfmt::skip]
    let cases = json!([
        [[user("x"), output("c1")], null, "input",
            "No tool call found for function call output with call_id c1."],
        [[output("c1"), function_call("c1")], null, "input", "No tool call found"],
        [[function_call("c1"), output("c1"), output("c1")], null, "input", "No tool call found"],
        [[custom, output("c")], null, "input", "No tool call found"],
        [[user("x"), function_call("c1"), function_call("c2"), output("c2")], null, "input",
            "No tool output found for function call c1."],
        [[same, same], null, "input", "Duplicate item found with id msg_1."],
    ]);
    check_inputs(cases).await;
    let emulator = start().await;
    let good =
        json!([user("x"), function_call("c1"), function_call("c2"), output("c2"), output("c1"), user("y")]);
    assert_eq!(post(&emulator, &with(ask(), json!({"input": good}))).await.0, 200);
}

#[tokio::test]
async fn methods_and_bodies_are_checked() {
    let emulator = start().await;
    for (method, path) in
        [(Method::GET, PATH), (Method::POST, "/v1/responses/resp_1"), (Method::GET, "/v1/responses/r/cancel")]
    {
        let answer = client(&emulator).call(method, path, &[], "").await.unwrap();
        assert_eq!(answer.status, 405, "{path}");
    }
    let twice = br#"{"model":"gpt-4o","input":"x","model":"gpt-4o"}"#.to_vec();
    let media = [("content-type", "application/json")];
    let answer = client(&emulator).call(Method::POST, PATH, &media, twice).await.unwrap();
    assert_eq!(code(&answer.json()), Some("duplicate_parameter"));
    let missing = client(&emulator).delete("/v1/responses/resp_none").await.unwrap();
    assert_eq!((missing.status, code(&missing.json())), (404, None));
}
