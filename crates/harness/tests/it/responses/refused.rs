//! Requests that are rejected before generation, and their error messages.

use http::Method;
use serde_json::{Value, json};

use super::{PATH, ask, code, function_call, output, post, think, user};
use crate::{client, start, with};

/// A change to a valid request, and the status, code, param and start of the message that it is rejected
/// with.
type Refusal = (Value, u16, Option<&'static str>, Option<&'static str>, &'static str);

async fn check_refused(request: fn() -> Value, cases: Vec<Refusal>) {
    let emulator = start().await;
    for (change, status, code, param, message) in cases {
        let (got, body) = post(&emulator, &with(request(), change.clone())).await;
        let error = &body["error"];
        assert_eq!(got, status, "{change}: {body}");
        assert_eq!(error["code"].as_str(), code, "{change}: {error}");
        assert_eq!(error["param"].as_str(), param, "{change}: {error}");
        assert!(error["message"].as_str().unwrap().starts_with(message), "{change}: {error}");
    }
    assert_eq!(emulator.totals().all.prompt_tokens, 0, "a refused call costs nothing");
}

/// The same checks for inputs.
async fn check_inputs(cases: Vec<(Value, Option<&'static str>, &'static str, &'static str)>) {
    let case = |(input, code, param, message)| (json!({"input": input}), 400, code, Some(param), message);
    check_refused(ask, cases.into_iter().map(case).collect()).await;
}

const UNKNOWN: Option<&str> = Some("unknown_parameter");
const KIND: Option<&str> = Some("invalid_type");
const VALUE: Option<&str> = Some("invalid_value");
const MISSING: Option<&str> = Some("missing_required_parameter");

#[tokio::test]
async fn bad_fields_are_refused() {
    let low = Some("integer_below_minimum_value");
    check_refused(
        ask,
        vec![
            (json!({"top_k": 5}), 400, UNKNOWN, Some("top_k"), "Unknown parameter: 'top_k'."),
            (json!({"messages": []}), 400, UNKNOWN, Some("messages"), "Unknown parameter"),
            (json!({"n": 2}), 400, UNKNOWN, Some("n"), "Unknown parameter"),
            (json!({"max_tokens": 5}), 400, UNKNOWN, Some("max_tokens"), "Unknown parameter"),
            (json!({"input": null}), 400, MISSING, None, "One of 'input'"),
            (json!({"input": 5}), 400, KIND, Some("input"), "Invalid type for 'input'"),
            (json!({"model": null}), 400, None, None, "you must provide"),
            (json!({"model": "none"}), 404, Some("model_not_found"), None, "The model `none`"),
            (json!({"model": "grok-4"}), 404, Some("model_not_found"), None, "The model"),
            (
                json!({"model": "text-embedding-3-small"}),
                400,
                Some("unsupported_model"),
                Some("model"),
                "The requested model",
            ),
            (json!({"store": "yes"}), 400, KIND, Some("store"), "Invalid type"),
            (json!({"max_output_tokens": 1}), 400, low, Some("max_output_tokens"), "Invalid"),
            (json!({"include": ["all"]}), 400, VALUE, Some("include[0]"), "Invalid value: 'all'"),
            (json!({"stream_options": {}}), 400, None, Some("stream_options"), "The 'stream_options'"),
            (
                json!({"stream": true, "stream_options": {"include_usage": true}}),
                400,
                UNKNOWN,
                Some("stream_options.include_usage"),
                "Unknown parameter",
            ),
            (json!({"text": {"mood": 1}}), 400, UNKNOWN, Some("text.mood"), "Unknown parameter"),
            (json!({"top_logprobs": 3}), 400, None, Some("top_logprobs"), "The 'top_logprobs'"),
            (json!({"background": true, "store": false}), 400, None, Some("background"), "Background"),
            (json!({"conversation": "conv_1"}), 404, None, Some("conversation"), "Conversation with id"),
            (json!({"prompt": {"id": "pmpt_1"}}), 404, None, Some("prompt"), "Prompt with id 'pmpt_1'"),
            (
                json!({"conversation": "conv_1", "previous_response_id": "resp_1"}),
                400,
                Some("mutually_exclusive_parameters"),
                None,
                "Mutually exclusive",
            ),
            (
                json!({"previous_response_id": "resp_none"}),
                400,
                Some("previous_response_not_found"),
                Some("previous_response_id"),
                "Previous response with id 'resp_none' not found.",
            ),
            (json!({"user": "emu:stutter=5"}), 400, Some("emulator_script"), Some("user"), "unreadable"),
        ],
    )
    .await;
}

#[tokio::test]
async fn what_a_model_cannot_do_is_refused() {
    let unsupported = Some("unsupported_parameter");
    let encrypted = "reasoning.encrypted_content";
    check_refused(
        ask,
        vec![
            (
                json!({"reasoning": {"effort": "low"}}),
                400,
                unsupported,
                Some("reasoning.effort"),
                "Unsupported parameter",
            ),
            (json!({"include": [encrypted]}), 400, None, Some("include"), "Encrypted content is not"),
        ],
    )
    .await;
    let logprobs = json!({"include": ["message.output_text.logprobs"]});
    check_refused(
        think,
        vec![
            (json!({"temperature": 0.5}), 400, unsupported, Some("temperature"), "Unsupported parameter"),
            (json!({"top_p": 0.5}), 400, unsupported, Some("top_p"), "Unsupported parameter"),
            (logprobs, 400, unsupported, Some("include"), "Unsupported parameter"),
            (json!({"reasoning": {"effort": "huge"}}), 400, VALUE, Some("reasoning.effort"), "Invalid"),
            (json!({"reasoning": {"depth": 1}}), 400, UNKNOWN, Some("reasoning.depth"), "Unknown"),
        ],
    )
    .await;
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
    check_refused(
        ask,
        vec![
            (tools(nested), 400, MISSING, Some("tools[0].name"), "Missing"),
            (tools(json!({"name": "f"})), 400, MISSING, Some("tools[0].type"), "Missing"),
            (tools(json!({"type": "robot"})), 400, VALUE, Some("tools[0].type"), "Invalid value"),
            (tools(json!({"type": "function", "name": "a b"})), 400, VALUE, Some("tools[0].name"), "Inv"),
            (
                tools(strict),
                400,
                Some("invalid_function_parameters"),
                Some("tools[0].parameters"),
                "Invalid schema for function 'f': In context=(), 'additionalProperties'",
            ),
            (json!({"tool_choice": "required"}), 400, None, Some("tool_choice"), "Tool choice 'required'"),
            (
                json!({"tools": [function], "tool_choice": chosen}),
                400,
                MISSING,
                Some("tool_choice.name"),
                "Missing",
            ),
            (
                json!({"tools": [function], "tool_choice": {"type": "function", "name": "g"}}),
                400,
                None,
                Some("tool_choice"),
                "Tool choice 'g' not found",
            ),
            (format(json!({"type": "xml"})), 400, VALUE, Some("text.format.type"), "Invalid value"),
            (
                format(json!({"type": "json_schema", "schema": {}})),
                400,
                MISSING,
                Some("text.format.name"),
                "Mis",
            ),
            (
                format(json!({"type": "json_schema", "json_schema": {}, "name": "x", "schema": {}})),
                400,
                UNKNOWN,
                Some("text.format.json_schema"),
                "Unknown parameter",
            ),
            (format(json!({"type": "json_object"})), 400, None, Some("input"), "Response input messages"),
            (format(schema), 400, Some("invalid_json_schema"), Some("text.format.schema"), "Invalid schema"),
        ],
    )
    .await;
}

#[tokio::test]
async fn bad_items_are_refused() {
    let part = |part: Value| json!([{"role": "user", "content": [part]}]);
    let turn = json!([{"role": "assistant", "content": [{"type": "input_text", "text": "x"}]}]);
    check_inputs(vec![
        (json!(["hi"]), KIND, "input[0]", "Invalid type for 'input[0]'"),
        (json!([{"content": "x"}]), MISSING, "input[0].type", "Missing"),
        (json!([{"type": "song", "content": "x"}]), VALUE, "input[0]", "Invalid value: 'song'"),
        (json!([{"role": "robot", "content": "x"}]), VALUE, "input[0].role", "Invalid value: 'robot'"),
        (json!([{"role": "tool", "content": "x"}]), VALUE, "input[0].role", "Invalid value: 'tool'"),
        (json!([{"role": "user"}]), MISSING, "input[0].content", "Missing"),
        (json!([{"role": "user", "content": "x", "name": "ann"}]), UNKNOWN, "input[0].name", "Unknown"),
        (
            part(json!({"type": "text", "text": "x"})),
            VALUE,
            "input[0].content[0]",
            "Invalid value: 'text'. Supported values are: 'input_text'",
        ),
        (part(json!({"type": "input_text"})), MISSING, "input[0].content[0].text", "Missing"),
        (
            part(json!({"type": "input_image", "image_url": {"url": "data:"}})),
            KIND,
            "input[0].content[0].image_url",
            "Invalid type",
        ),
        (turn, VALUE, "input[0].content[0]", "Invalid value: 'input_text'"),
        (
            json!([{"type": "function_call", "call_id": "c", "name": "f", "arguments": {}}]),
            KIND,
            "input[0].arguments",
            "Invalid type",
        ),
        (
            json!([{"type": "function_call", "id": "call_1", "call_id": "c", "name": "f", "arguments": "{}"}]),
            VALUE,
            "input[0].id",
            "Invalid 'input[0].id': 'call_1'. Expected an ID that begins with 'fc'.",
        ),
        (json!([{"type": "reasoning", "id": "rs_1"}]), MISSING, "input[0].summary", "Missing"),
    ])
    .await;
}

#[tokio::test]
async fn calls_and_outputs_belong_together() {
    let custom = json!({"type": "custom_tool_call", "call_id": "c", "name": "f", "input": "x"});
    let same = json!({"role": "assistant", "id": "msg_1", "content": "x"});
    check_inputs(vec![
        (
            json!([user("x"), output("c1")]),
            None,
            "input",
            "No tool call found for function call output with call_id c1.",
        ),
        (json!([output("c1"), function_call("c1")]), None, "input", "No tool call found"),
        (json!([function_call("c1"), output("c1"), output("c1")]), None, "input", "No tool call found"),
        (json!([custom, output("c")]), None, "input", "No tool call found"),
        (
            json!([user("x"), function_call("c1"), function_call("c2"), output("c2")]),
            None,
            "input",
            "No tool output found for function call c1.",
        ),
        (json!([same, same]), None, "input", "Duplicate item found with id msg_1."),
    ])
    .await;
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
