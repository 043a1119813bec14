//! What the emulator rejects, with which messages, and what it counts as a violation.

use harness::client::Client;
use harness::{Config, Emulator, KeyState, Model};
use http::Method;
use serde_json::{Value, json};

use crate::{CHAT, KEY, OTHER_KEY, WITHIN, client, config, question, start, with};

/// A change to a valid request, and the status, code and param that it is rejected with.
type Refusal = (Value, u16, Option<&'static str>, Option<&'static str>);

async fn check_refused(cases: Vec<Refusal>) {
    let emulator = start().await;
    for (change, status, code, param) in cases {
        let answer = client(&emulator).post(CHAT, &with(question(), change.clone())).await.unwrap();
        let error = &answer.json()["error"];
        assert_eq!(answer.status, status, "{change}: {error}");
        assert_eq!(error["code"].as_str(), code, "{change}: {error}");
        assert_eq!(error["param"].as_str(), param, "{change}: {error}");
        assert!(error["message"].is_string() && error["type"].is_string(), "{error}");
        assert!(answer.header("x-request-id").is_some());
    }
    assert_eq!(emulator.totals().all.prompt_tokens, 0, "a refused call costs nothing");
}

fn messages(list: Value) -> Value {
    json!({"messages": list})
}

#[tokio::test]
async fn bad_conversations_are_refused() {
    let role = |role: &str| messages(json!([{"role": role, "content": "x"}]));
    let part = json!([{"role": "system", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}]);
    let called = json!([{"role": "assistant", "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}]);
    let uncalled = json!([{"role": "tool", "tool_call_id": "c1", "content": "x"}]);
    let mood = json!([{"role": "user", "content": "x", "mood": 1}]);
    let (kind, value, missing) =
        (Some("invalid_type"), Some("invalid_value"), Some("missing_required_parameter"));
    check_refused(vec![
        (json!({"messages": null}), 400, missing, Some("messages")),
        (messages(json!([])), 400, Some("empty_array"), Some("messages")),
        (messages(json!("hi")), 400, kind, Some("messages")),
        (messages(json!(["hi"])), 400, kind, Some("messages[0]")),
        (role("robot"), 400, value, Some("messages[0].role")),
        (role("tool"), 400, missing, Some("messages[0].tool_call_id")),
        (messages(json!([{"role": "user"}])), 400, missing, Some("messages[0].content")),
        (messages(mood), 400, Some("unknown_parameter"), Some("messages[0].mood")),
        (messages(part), 400, value, Some("messages[0].content[0].type")),
        (messages(called), 400, None, Some("messages.[1].role")),
        (messages(uncalled), 400, None, Some("messages.[0].role")),
    ])
    .await;
}

#[tokio::test]
async fn bad_options_are_refused() {
    let kind = Some("invalid_type");
    let both = json!({"max_tokens": 5, "max_completion_tokens": 5});
    check_refused(vec![
        (json!({"top_k": 5}), 400, None, None),
        (json!({"temperature": "hot"}), 400, kind, Some("temperature")),
        (json!({"temperature": 3}), 400, Some("decimal_above_maximum_value"), Some("temperature")),
        (json!({"n": 0}), 400, Some("integer_below_minimum_value"), Some("n")),
        (json!({"n": 1.5}), 400, kind, Some("n")),
        (json!({"stream": "yes"}), 400, kind, Some("stream")),
        (json!({"stream_options": {"include_usage": true}}), 400, None, Some("stream_options")),
        (
            json!({"stream": true, "stream_options": {"x": 1}}),
            400,
            Some("unknown_parameter"),
            Some("stream_options.x"),
        ),
        (json!({"stop": ["a", "b", "c", "d", "e"]}), 400, Some("array_above_max_length"), Some("stop")),
        (both, 400, Some("invalid_parameter_combination"), Some("max_completion_tokens")),
        (json!({"response_format": {"type": "json_object"}}), 400, None, Some("messages")),
        (json!({"metadata": {"a": 1}}), 400, kind, Some("metadata.a")),
        (json!({"top_logprobs": 3}), 400, None, Some("top_logprobs")),
        (json!({"max_tokens": 16_385}), 400, Some("invalid_value"), Some("max_tokens")),
        (
            json!({"model": "meta-llama/Llama-3.3-70B-Instruct", "max_tokens": 127_999}),
            400,
            Some("context_length_exceeded"),
            Some("messages"),
        ),
        (json!({"user": "emu:stutter=5"}), 400, Some("emulator_script"), Some("user")),
    ])
    .await;
}

#[tokio::test]
async fn bad_tools_and_wrong_models_are_refused() {
    let tools = |name: &str| json!([{"type": "function", "function": {"name": name}}]);
    let thinking = |field: &str, value: Value| json!({"model": "gpt-5-mini", field: value});
    let function = |more: Value| json!({"type": "function", "function": with(json!({"name": "f"}), more)});
    let format = |schema: Value| json!({"response_format": {"type": "json_schema", "json_schema": schema}});
    let part = |part: Value| messages(json!([{"role": "user", "content": [part]}]));
    let open = json!({"type": "object", "properties": {"a": {"type": "string"}}});
    let (value, unsupported) = (Some("invalid_value"), Some("unsupported_parameter"));
    let (missing, schema) = (Some("missing_required_parameter"), Some("invalid_function_parameters"));
    let unknown = Some("unknown_parameter");
    check_refused(vec![
        (json!({"tool_choice": "auto"}), 400, None, Some("tool_choice")),
        (json!({"tools": tools("f"), "tool_choice": "maybe"}), 400, value, Some("tool_choice")),
        (json!({"tools": tools("no spaces")}), 400, value, Some("tools[0].function.name")),
        (json!({"tools": tools("f"), "tool_choice": {"type": "function", "name": "f"}}), 400, missing, Some("tool_choice.function")),
        (json!({"tools": tools("f"), "tool_choice": {"type": "function", "function": {"name": "g"}}}), 400, None, Some("tool_choice")),
        (json!({"tools": tools("f"), "tool_choice": {"type": "auto"}}), 400, value, Some("tool_choice.type")),
        (json!({"tools": [function(json!({"parameters": {"type": "object"}}))]}), 400, schema, Some("tools[0].function.parameters")),
        (json!({"tools": [function(json!({"parameters": {}}))]}), 400, schema, Some("tools[0].function.parameters")),
        (json!({"tools": [function(json!({"parameters": {"type": "object", "properties": {}, "required": 1}}))]}), 400, schema, Some("tools[0].function.parameters")),
        (json!({"tools": [function(json!({"strict": true, "parameters": open}))]}), 400, schema, Some("tools[0].function.parameters")),
        (json!({"tools": [function(json!({"input_schema": {}}))]}), 400, unknown, Some("tools[0].function.input_schema")),
        (format(json!({"name": "a", "schema": {}, "mood": 1})), 400, unknown, Some("response_format.json_schema.mood")),
        (format(json!({"name": "a b", "schema": {}})), 400, value, Some("response_format.json_schema.name")),
        (format(json!({"name": "a", "strict": true, "schema": open})), 400, Some("invalid_json_schema"), Some("response_format.json_schema.schema")),
        (part(json!({"type": "image_url", "image_url": {"url": "iVBORw0"}})), 400, value, Some("messages[0].content[0].image_url.url")),
        (part(json!({"type": "image_url", "image_url": {"url": "https://x/y", "detail": "huge"}})), 400, value, Some("messages[0].content[0].image_url.detail")),
        (part(json!({"type": "input_audio", "input_audio": {"data": "UklG", "format": "ogg"}})), 400, value, Some("messages[0].content[0].input_audio.format")),
        (part(json!({"type": "file", "file": {"filename": "a.pdf"}})), 400, missing, Some("messages[0].content[0].file.file_id")),
        (json!({"modalities": ["text", "audio"]}), 400, missing, Some("audio")),
        (json!({"prediction": {"type": "content"}}), 400, missing, Some("prediction.content")),
        (json!({"model": null}), 400, None, None),
        (json!({"model": 5}), 400, Some("invalid_type"), Some("model")),
        (json!({"model": "gpt-none"}), 404, Some("model_not_found"), None),
        (json!({"model": "text-embedding-3-small"}), 404, None, Some("model")),
        (json!({"reasoning_effort": "low"}), 400, None, None),
        (thinking("max_tokens", json!(5)), 400, unsupported, Some("max_tokens")),
        (thinking("stop", json!("x")), 400, unsupported, Some("stop")),
        (thinking("temperature", json!(0.5)), 400, Some("unsupported_value"), Some("temperature")),
    ])
    .await;
}

#[tokio::test]
async fn good_chat_requests_pass() {
    let emulator = start().await;
    let parts = json!([
        {"role": "developer", "content": "be brief"},
        {"role": "user", "name": "ann", "content": [{"type": "text", "text": "look"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,", "detail": "low"}}]},
        {"role": "assistant", "content": null, "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            {"id": "c2", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c2", "content": "b"},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "a"}]},
    ]);
    let cases = [
        json!({"messages": parts}),
        json!({"temperature": 0, "top_p": 1, "n": 2, "seed": -7, "stop": ["x"], "logprobs": true, "top_logprobs": 2}),
        json!({"max_tokens": 5, "presence_penalty": -2.0, "logit_bias": {"50256": -100}}),
        json!({"model": "gpt-5-mini", "max_completion_tokens": 50, "reasoning_effort": "low", "verbosity": "low"}),
        json!({"metadata": {"a": "b"}, "store": false, "service_tier": "auto", "prompt_cache_key": "k"}),
        json!({"messages": [{"role": "user", "content": "as JSON"}], "response_format": {"type": "json_object"}}),
    ];
    for change in cases {
        let answer = client(&emulator).post(CHAT, &with(question(), change.clone())).await.unwrap();
        assert_eq!(answer.status, 200, "{change}: {}", answer.text());
    }
    assert_eq!(emulator.violations(), []);
}

#[tokio::test]
async fn bytes_that_are_no_request_are_refused() {
    let emulator = start().await;
    let twice =
        br#"{"model":"gpt-4o","messages":[{"role":"user","content":"x"}],"model":"gpt-4o-mini"}"#.to_vec();
    let surrogate = br#"{"model":"gpt-4o","messages":[{"role":"user","content":"\ud800"}]}"#.to_vec();
    let deep = [b"{\"model\":".to_vec(), vec![b'['; 100_000]].concat();
    let cases: [(&str, Vec<u8>, Option<&str>); 8] = [
        ("application/json", twice, Some("duplicate_parameter")),
        ("application/json", surrogate, None),
        ("application/json", deep, None),
        ("application/json", b"{\"model\":".to_vec(), None),
        ("application/json", b"{\"model\":\"\xff\"}".to_vec(), None),
        ("application/json", Vec::new(), None),
        ("application/json; charset=utf-8", b"[]".to_vec(), None),
        ("text/plain", question().to_string().into_bytes(), Some("unsupported_content_type")),
    ];
    for (media, body, code) in cases {
        let excerpt = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        let answer =
            client(&emulator).call(Method::POST, CHAT, &[("content-type", media)], body).await.unwrap();
        assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (400, code), "{excerpt}");
    }
}

#[tokio::test]
async fn unknown_places_and_methods_are_refused() {
    let emulator = start().await;
    let cases = [
        (Method::POST, "/v1/answers", 404),
        (Method::POST, "/v1/responses/resp_1/nothing", 404),
        (Method::GET, "/v1/responses", 405),
        (Method::PUT, "/v1/responses/resp_1", 405),
        (Method::GET, "/v1/responses/resp_1", 404),
        (Method::POST, "/xai/v1/moderations", 404),
        (Method::GET, "/xai/v1/models/grok-4", 200),
        (Method::GET, "/v1/models/grok-4", 404),
        (Method::GET, "/", 404),
        (Method::GET, "/v1/models/none", 404),
        (Method::POST, "/chat/completions", 404),
        (Method::GET, CHAT, 405),
        (Method::POST, "/v1/models", 405),
        (Method::GET, "/v1/models/meta-llama/Llama-3.3-70B-Instruct", 200),
        (Method::GET, "/v1/models/meta-llama%2FLlama-3.3-70B-Instruct", 200),
        (Method::GET, "/v1/models?limit=5", 200),
    ];
    for (method, path, status) in cases {
        let answer = client(&emulator).call(method.clone(), path, &[], "").await.unwrap();
        assert_eq!(answer.status, status, "{method} {path}");
        assert_eq!(answer.json().get("error").is_some(), status != 200, "{}", answer.text());
    }
}

#[tokio::test]
async fn keys_and_their_states() {
    let emulator = start().await;
    let bare = Client::new(emulator.origin()).within(WITHIN);
    let models = async |client: Client| {
        let answer = client.get("/v1/models").await.unwrap();
        (answer.status, answer.json()["error"]["code"].as_str().map(str::to_owned))
    };
    assert_eq!(models(bare.clone()).await, (401, None));
    assert_eq!(emulator.violations(), [], "a missing key betrays nothing");
    assert_eq!(models(bare.clone().header("authorization", "Basic eDp5")).await, (401, None));
    assert_eq!(models(bare.clone().bearer("sk-nobody")).await, (401, Some("invalid_api_key".into())));
    assert_eq!(emulator.violations().len(), 2);
    emulator.set_key(KEY, KeyState::Revoked);
    assert_eq!(models(client(&emulator)).await, (401, Some("invalid_api_key".into())));
    emulator.set_key(KEY, KeyState::Exhausted);
    assert_eq!(models(client(&emulator)).await, (429, Some("insufficient_quota".into())));
    emulator.set_key(KEY, KeyState::RateLimited { retry_after_ms: 1500 });
    let limited = client(&emulator).get("/v1/models").await.unwrap();
    assert_eq!((limited.header("retry-after"), limited.header("retry-after-ms")), (Some("2"), Some("1500")));
    assert_eq!(models(bare.bearer(OTHER_KEY)).await, (200, None));
    assert_eq!(emulator.violations().len(), 2);
}

#[tokio::test]
async fn headers_of_the_gateway_are_violations() {
    let emulator = start().await;
    for name in
        ["agent-run-id", "x-tidegate-tags", "cookie", "proxy-authorization", "x-api-key", "x-forwarded-for"]
    {
        emulator.reset();
        let answer = client(&emulator).header(name, "secret-value").post(CHAT, &question()).await.unwrap();
        assert_eq!(
            (answer.status, answer.json()["error"]["code"].as_str()),
            (400, Some("forbidden_header")),
            "{name}"
        );
        let violations = emulator.violations();
        assert_eq!(violations.len(), 1, "{name}");
        assert_eq!(violations[0].what, format!("header {name}"));
        assert_eq!(Some(violations[0].request_id.as_str()), answer.header("x-request-id"));
    }
    let twice = client(&emulator).bearer(OTHER_KEY).post(CHAT, &question()).await.unwrap();
    assert_eq!(twice.status, 400);
}

#[tokio::test]
async fn embeddings_are_checked_and_deterministic() {
    let emulator = start().await;
    let ask = async |change: Value| {
        let request = with(json!({"model": "text-embedding-3-small", "input": "one two"}), change);
        client(&emulator).post("/v1/embeddings", &request).await.unwrap()
    };
    let first = ask(json!({"dimensions": 4})).await;
    assert_eq!(first.status, 200, "{}", first.text());
    assert_eq!(first.json(), ask(json!({"dimensions": 4})).await.json());
    assert_eq!(first.json()["usage"], json!({"prompt_tokens": 2, "total_tokens": 2}));
    assert_eq!(ask(json!({"input": [[1, 2, 3], [4]]})).await.json()["data"].as_array().unwrap().len(), 2);
    assert_eq!(
        ask(json!({"encoding_format": "base64", "dimensions": 3})).await.json()["data"][0]["embedding"]
            .as_str()
            .unwrap()
            .len(),
        16
    );
    for (change, status) in [
        (json!({"input": ""}), 400),
        (json!({"input": []}), 400),
        (json!({"input": null}), 400),
        (json!({"input": 5}), 400),
        (json!({"dimensions": 5000}), 400),
        (json!({"encoding_format": "hex"}), 400),
        (json!({"stream": true}), 400),
        (json!({"model": "gpt-4o"}), 403),
        (json!({"model": "none"}), 404),
        (json!({"user": "emu:status=503"}), 503),
    ] {
        assert_eq!(ask(change.clone()).await.status, status, "{change}");
    }
}

#[tokio::test]
async fn vendor_fields_pass_only_where_configured() {
    let config: Config = config().accept_field("top_k").model(Model::named("o3-mini"));
    let emulator = Emulator::start(config).await.unwrap();
    let ask =
        async |change: Value| client(&emulator).post(CHAT, &with(question(), change)).await.unwrap().status;
    assert_eq!(ask(json!({"top_k": 5})).await, 200);
    assert_eq!(ask(json!({"min_p": 0.5})).await, 400);
    assert_eq!(ask(json!({"model": "o3-mini", "max_tokens": 5})).await, 400);
}
