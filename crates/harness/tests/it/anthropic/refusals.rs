//! Requests rejected under Anthropic's paths, and their error messages.

use harness::KeyState;
use harness::client::Client;
use http::Method;
use serde_json::{Value, json};

use super::{
    COUNT, MESSAGES, NEWER, OLDER, check, client, error_of, question, speaking, start, talk, tide_tool, user,
};
use crate::{KEY, OTHER_KEY, WITHIN, with};

#[tokio::test]
async fn fields_and_their_shapes() {
    let cases = json!([
        [{}, null],
        [{"x": 1}, "x: Extra inputs are not permitted"],
        [{"mcp_servers": []}, "mcp_servers: Extra inputs are not permitted"],
        [{"user_profile_id": "u"}, "user_profile_id: Extra inputs are not permitted"],
        [{"max_tokens": null}, "max_tokens: Field required"],
        [{"max_tokens": -1}, "max_tokens: Input should be greater than or equal to 0"],
        [{"max_tokens": "5"}, "max_tokens: Input should be a valid integer"],
        [{"max_tokens": 128_001}, "max_tokens: 128001 > 128000, which is the maximum allowed"],
        [{"model": null}, "model: Field required"],
        [{"model": ""}, "model: String should have at least 1 character"],
        [{"model": "gpt-4o"}, "model: gpt-4o"],
        [{"stream": "yes"}, "stream: Input should be a valid boolean"],
        [{"service_tier": "flex"}, "service_tier: Input should be 'auto' or 'standard_only'"],
        [{"service_tier": "standard_only"}, null],
        [{"speed": "standard", "inference_geo": "us"}, null],
        [{"metadata": {"user_id": "u"}}, null],
        [{"metadata": {"user": "u"}}, "metadata.user: Extra inputs are not permitted"],
        [{"metadata": {"user_id": "u".repeat(257)}}, "at most 256 characters"],
        [{"diagnostics": {"previous_message_id": "msg_1"}}, null],
        [{"stop_sequences": ["\n"]}, "each stop sequence must contain non-whitespace"],
        [{"stop_sequences": [5]}, "stop_sequences.0: Input should be a valid string"],
        [{"output_config": {"effort": "none"}}, "output_config.effort: Input should be"],
        [{"output_config": {"effort": "max"}}, null],
        [{"output_config": {"effort": "xhigh"}}, "does not support effort level 'xhigh'"],
        [{"model": "claude-opus-5", "output_config": {"effort": "xhigh"}}, null],
        [{"model": "claude-haiku-4-5", "output_config": {"effort": "low"}},
            "does not support the effort parameter"],
        [{"model": "claude-small"}, "exceed context limit: 8 + 2000 > 100"],
        [{"model": "claude-small", "messages": [user(json!("w ".repeat(200)))]},
            "prompt is too long: 207 tokens > 100 maximum"],
    ]);
    check(OLDER, cases).await;
}

#[tokio::test]
async fn sampling_by_version_and_model() {
    for field in [json!({"temperature": 1.0}), json!({"top_p": 0.9}), json!({"top_k": 5})] {
        check(NEWER, json!([[field, "Extra inputs are not permitted"]])).await;
        check(OLDER, json!([[field, null]])).await;
    }
    let newest = |more: Value| with(json!({"model": "claude-opus-5"}), more);
    let cases = json!([
        [{"temperature": 1.5}, "temperature: Input should be less than or equal to 1"],
        [{"temperature": 0.5, "top_p": 0.5}, "cannot both be specified"],
        [newest(json!({"temperature": 1.0})), null],
        [newest(json!({"temperature": 0.5})), "`temperature` is not supported by this model"],
        [newest(json!({"top_k": 5})), "`top_k` is not supported by this model"],
    ]);
    check(OLDER, cases).await;
}

#[tokio::test]
async fn tools_and_choices() {
    let tool = |change: Value| json!({"tools": [with(tide_tool(), change)]});
    let choose = |choice: Value| json!({"tools": [tide_tool()], "tool_choice": choice});
    let open = json!({"type": "object", "properties": {}});
    let cases = json!([
        [{"tools": []}, null],
        [tool(json!({"description": "x", "type": "custom"})), null],
        [tool(json!({"name": "a b"})),
            "tools.0.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'"],
        [tool(json!({"name": "a".repeat(129)})), "tools.0.custom.name"],
        [tool(json!({"input_schema": null})), "tools.0.custom.input_schema: Field required"],
        [tool(json!({"input_schema": {}})), "tools.0.custom.input_schema.type: Field required"],
        [tool(json!({"input_schema": {"type": "string"}})), "input_schema.type: Input should be 'object'"],
        [tool(json!({"input_schema": {"type": "object", "required": "x"}})), "JSON schema is invalid"],
        [tool(json!({"input_schema": {"type": "object", "anyOf": []}})),
            "does not support oneOf, allOf, or anyOf"],
        [tool(json!({"strict": true, "input_schema": open})),
            "'additionalProperties' must be explicitly set to false"],
        [tool(json!({"parameters": {}})), "tools.0.custom.parameters: Extra inputs are not permitted"],
        [tool(json!({"type": "function"})), "tools.0: Input tag 'function' found using 'type'"],
        [{"tools": [tide_tool(), tide_tool()]}, "Tool names must be unique"],
        [{"tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 3}]}, null],
        [{"tools": [{"type": "web_search_20250304", "name": "web_search"}]},
            "tools.0: Input tag 'web_search_20250304'"],
        [{"tools": [{"type": "web_search_20250305", "name": "search"}]},
            "web_search_20250305.name: Input should be 'web_search'"],
        [{"tools": [{"type": "web_search_20250305"}]}, "web_search_20250305.name: Field required"],
        [{"tools": [{"type": "web_search_20250305", "name": "web_search", "uses": 3}]},
            "web_search_20250305.uses: Extra inputs are not permitted"],
        [{"tools": [{"type": "web_search_20250305", "name": "web_search", "allowed_domains": [],
            "blocked_domains": []}]}, "Cannot specify both"],
        [{"tools": [{"type": "bash_20250124", "name": "bash"}]}, null],
        [choose(json!({"type": "any", "disable_parallel_tool_use": true})), null],
        [choose(json!({"type": "tool", "name": "tide"})), null],
        [choose(json!({"type": "tool"})), "tool_choice.tool.name: Field required"],
        [choose(json!({"type": "tool", "name": "wind"})), "Tool 'wind' not found in provided tools"],
        [choose(json!({"type": "required"})), "tool_choice: Input tag 'required'"],
        [choose(json!("auto")), "tool_choice: Input should be a valid dictionary"],
        [{"tool_choice": {"type": "auto"}}, "tool_choice may only be specified while providing tools"],
        [{"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
            "output_config.format.schema: For 'object' type, 'additionalProperties' must be explicitly set \
            to false"],
        [{"output_config": {"format": {"type": "json_object"}}}, "output_config.format"],
    ]);
    check(OLDER, cases).await;
}

#[tokio::test]
async fn cache_marks_and_thinking_options() {
    let mark =
        |ttl: Value| json!({"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": ttl}});
    let marks = |list: &[&str]| talk(&[user(list.iter().map(|ttl| mark(json!(ttl))).collect())]);
    let budget = |tokens: i64| json!({"thinking": {"type": "enabled", "budget_tokens": tokens}});
    let cases = json!([
        [marks(&["1h", "1h", "5m", "5m"]), null],
        [marks(&["5m"; 5]), "A maximum of 4 blocks with cache_control may be provided. Found 5."],
        [marks(&["5m", "1h"]),
            "messages.0.content.1.cache_control.ttl: a ttl='1h' cache_control block must not come after a \
            ttl='5m'"],
        [marks(&["30m"]), "cache_control.ttl: Input should be '5m' or '1h'"],
        [with(marks(&["1h"]), json!({"tools": [with(tide_tool(),
            json!({"cache_control": {"type": "ephemeral"}}))]})), "must not come after a ttl='5m'"],
        [{"cache_control": {"type": "ephemeral"}}, null],
        [budget(1024), null],
        [budget(1023), "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"],
        [budget(2000), "`max_tokens` must be greater than `thinking.budget_tokens`"],
        [{"thinking": {"type": "enabled"}}, "thinking.enabled.budget_tokens: Field required"],
        [{"thinking": {"type": "adaptive", "display": "omitted"}}, null],
        [{"thinking": {"type": "adaptive", "budget_tokens": 1024}},
            "thinking.adaptive.budget_tokens: Extra inputs"],
        [{"thinking": {"type": "deep"}}, "thinking: Input tag 'deep'"],
        [with(budget(1024), json!({"model": "claude-opus-5"})),
            "\"thinking.type.enabled\" is not supported for this model"],
        [with(budget(1024), json!({"model": "claude-haiku-4-5"})), null],
        [{"model": "claude-haiku-4-5", "thinking": {"type": "adaptive"}},
            "adaptive thinking is not supported on this model"],
        [{"model": "claude-opus-5", "thinking": {"type": "adaptive"}}, null],
        [with(budget(1024), json!({"temperature": 0.5})),
            "`temperature` may only be set to 1 when thinking is enabled"],
        [with(budget(1024), json!({"top_p": 0.5})), "`top_p` must be greater than or equal to 0.95"],
        [with(budget(1024), json!({"top_k": 5})), "`top_k` must be unset"],
        [with(budget(1024), json!({"tools": [tide_tool()], "tool_choice": {"type": "any"}})),
            "Thinking may not be enabled when tool_choice forces tool use."],
    ]);
    check(OLDER, cases).await;
}

#[tokio::test]
async fn bodies_and_places() {
    let emulator = start().await;
    let json = ("content-type", "application/json");
    for (body, status) in [("", 400), ("{", 400), ("[]", 400), ("{\"model\": \"\\ud800\"}", 400)] {
        let answer = client(&emulator).call(Method::POST, MESSAGES, &[json], body).await.unwrap();
        assert_eq!(error_of(&answer).0, status, "{body}");
    }
    let text = [("content-type", "text/plain")];
    let answer = client(&emulator).call(Method::POST, MESSAGES, &text, question().to_string()).await.unwrap();
    assert!(error_of(&answer).2.contains("content-type"));
    let large = format!("{{\"x\": \"{}\"}}", "x".repeat(33 * 1024 * 1024));
    let answer = client(&emulator).call(Method::POST, MESSAGES, &[json], large).await.unwrap();
    assert_eq!((error_of(&answer).0, error_of(&answer).1.as_str()), (413, "request_too_large"));
    for (method, path, status) in [
        (Method::GET, MESSAGES, 405),
        (Method::POST, "/anthropic/v1/models", 405),
        (Method::POST, "/anthropic/v1/complete", 404),
        (Method::POST, "/anthropic/v1/chat/completions", 404),
        (Method::POST, "/v1/messages/batches", 400),
        (Method::POST, "/v1/messages/batch", 404),
        (Method::GET, "/anthropic/v1/models/gpt-4o", 404),
        (Method::GET, "/anthropic/v1/models/claude-opus-5", 200),
        (Method::GET, "/v1/models/claude-opus-5", 200),
    ] {
        let answer = client(&emulator).call(method.clone(), path, &[json], "{}").await.unwrap();
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        if status != 200 {
            error_of(&answer);
        }
    }
}

#[tokio::test]
async fn counting_takes_less() {
    let emulator = start().await;
    let count = async |change: Value| {
        let request = with(with(question(), json!({"max_tokens": null})), change);
        client(&emulator).post(COUNT, &request).await.unwrap()
    };
    assert_eq!(count(json!({})).await.json(), json!({"input_tokens": 8}));
    for (change, words) in [
        (json!({"max_tokens": 5}), "max_tokens: Extra inputs are not permitted"),
        (json!({"stream": true}), "stream: Extra inputs are not permitted"),
        (json!({"temperature": 1}), "temperature: Extra inputs are not permitted"),
        (json!({"messages": []}), "at least one message is required"),
        (json!({"model": "none"}), "model: none"),
    ] {
        let answer = count(change.clone()).await;
        assert!(error_of(&answer).2.contains(words), "{change}: {}", answer.text());
    }
    emulator.script(KEY, [harness::Behaviour::status(529)]);
    assert_eq!(error_of(&count(json!({})).await).1, "overloaded_error");
}

#[tokio::test]
async fn keys_versions_and_betas() {
    let emulator = start().await;
    let bare = Client::new(emulator.origin()).within(WITHIN);
    let ask = async |client: Client, request: Value| client.post(MESSAGES, &request).await.unwrap();
    let versioned = |client: Client| client.header("anthropic-version", NEWER);
    let cases = [
        (versioned(bare.clone()), 401, "x-api-key header is required"),
        (versioned(bare.clone()).header("x-api-key", "sk-nobody"), 401, "invalid x-api-key"),
        (versioned(bare.clone()).bearer("sk-nobody"), 401, "invalid x-api-key"),
        (versioned(bare.clone()).header("authorization", "Basic eDp5"), 401, "x-api-key header is required"),
        (bare.clone().header("x-api-key", KEY), 400, "anthropic-version: header is required"),
        (speaking(&emulator, "2024-01-01"), 400, "anthropic-version: \"2024-01-01\" is not a valid version"),
        (client(&emulator).header("anthropic-beta", "everything"), 400, "Unexpected value(s) `everything`"),
    ];
    for (client, status, words) in cases {
        let (found, kind, message) = error_of(&ask(client, question()).await);
        let expected = if status == 401 { "authentication_error" } else { "invalid_request_error" };
        assert_eq!((found, kind.as_str()), (status, expected), "{words}");
        assert!(message.contains(words), "{message}");
    }
    assert_eq!(emulator.violations().len(), 3, "{:?}", emulator.violations());
    assert_eq!(ask(versioned(bare.clone()).bearer(KEY), question()).await.status, 200);
    let beta =
        client(&emulator).header("anthropic-beta", "mcp-client-2025-11-20, context-management-2025-06-27");
    assert_eq!(ask(beta.clone(), with(question(), json!({"mcp_servers": []}))).await.status, 200);
    let other = error_of(&ask(beta, with(question(), json!({"fallbacks": []}))).await);
    assert_eq!(other.2, "fallbacks: Extra inputs are not permitted", "a beta opens its own fields alone");
    for (state, status, kind) in [
        (KeyState::Revoked, 401, "authentication_error"),
        (KeyState::Exhausted, 402, "billing_error"),
        (KeyState::RateLimited { retry_after_ms: 1500 }, 429, "rate_limit_error"),
    ] {
        emulator.set_key(KEY, state);
        let answer = ask(client(&emulator), question()).await;
        let (found, of, _) = error_of(&answer);
        assert_eq!((found, of.as_str()), (status, kind));
        assert_eq!(answer.header("retry-after"), (status == 429).then_some("2"));
    }
}

#[tokio::test]
async fn foreign_headers_and_keys_are_violations() {
    let emulator = start().await;
    let cases = [
        (vec![("cookie", "a=b")], 1),
        (vec![("x-tidegate-tags", "t")], 1),
        (vec![("api-key", "secret")], 1),
        (vec![("authorization", "Bearer client-key")], 1),
        (vec![("x-forwarded-for", "1.2.3.4")], 1),
        (vec![("api-key", KEY), ("authorization", OTHER_BEARER)], 0),
    ];
    assert_eq!(OTHER_BEARER, format!("Bearer {OTHER_KEY}"));
    for (headers, violations) in cases {
        emulator.reset();
        let client =
            headers.iter().fold(client(&emulator), |client, (name, value)| client.header(*name, *value));
        let answer = client.post(MESSAGES, &question()).await.unwrap();
        assert_eq!(emulator.violations().len(), violations, "{headers:?}");
        assert_eq!(answer.status, if violations == 0 { 200 } else { 400 }, "{headers:?}");
        assert_eq!(emulator.journal()[0].key.as_deref(), Some(KEY), "the own header goes first");
    }
}

const OTHER_BEARER: &str = "Bearer sk-test-bbbbbbbbbbbbbbbbbbbbbbbb";
