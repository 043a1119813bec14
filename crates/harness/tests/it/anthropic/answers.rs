//! Responses under Anthropic's paths, buffered and streamed.

use harness::{Behaviour, ToolMode, UsageMode};
use serde_json::{Value, json};

use super::{
    COUNT, MESSAGES, answer_with, client, error_of, kinds, question, spelt, start, stream_with, streaming,
    tide_tool,
};
use crate::{KEY, OTHER_KEY, WITHIN, with};

const SAID: &str = "You said: hello there";
const BLOCK: [&str; 3] = ["content_block_start", "content_block_delta", "content_block_stop"];

async fn ask(change: Value) -> Value {
    let emulator = start().await;
    let answer = client(&emulator).post(MESSAGES, &with(question(), change)).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

#[tokio::test]
async fn a_whole_answer_has_every_field() {
    let emulator = start().await;
    let answer = client(&emulator).post(MESSAGES, &question()).await.unwrap();
    let body = answer.json();
    assert!(body["id"].as_str().unwrap().starts_with("msg_"));
    assert_eq!(
        with(body, json!({"id": null})),
        json!({
            "type": "message", "role": "assistant", "model": "claude-sonnet-4-6",
            "content": [{"type": "text", "text": SAID, "citations": null}], "stop_reason": "end_turn",
            "stop_sequence": null, "stop_details": null, "container": null,
            "usage": {
                "input_tokens": 8, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
                "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
                "output_tokens": 4, "output_tokens_details": {"thinking_tokens": 0}, "server_tool_use": null,
                "service_tier": "standard", "inference_geo": null,
            },
        })
    );
    for name in ["requests", "tokens", "input-tokens", "output-tokens"] {
        for part in ["limit", "remaining", "reset"] {
            let header = answer.header(&format!("anthropic-ratelimit-{name}-{part}")).unwrap().to_owned();
            assert_eq!(header.contains('T') && header.ends_with('Z'), part == "reset", "{header}");
        }
    }
    assert!(answer.header("anthropic-organization-id").is_some());
    assert_eq!((answer.header("x-request-id"), answer.header("openai-version")), (None, None));
    let journal = emulator.wait_for(WITHIN, |journal| journal[0].finished).await.unwrap();
    let entry = &journal[0];
    assert_eq!(Some(entry.request_id.as_str()), answer.header("request-id"));
    assert_eq!((entry.key.as_deref(), entry.model.as_deref()), (Some(KEY), Some("claude-sonnet-4-6")));
    assert_eq!((entry.prompt_tokens, entry.cached_tokens, entry.said_tokens), (8, 0, 4));
    assert_eq!(emulator.totals().by_key[KEY].completion_tokens, 4);
}

#[tokio::test]
async fn a_stream_has_the_providers_grammar() {
    let (events, end) = stream_with(Behaviour::ok(), json!({})).await;
    assert!(end.is_ok());
    let expected: Vec<&str> =
        ["message_start", "ping"].into_iter().chain(BLOCK).chain(["message_delta", "message_stop"]).collect();
    assert_eq!(kinds(&events), expected);
    assert_eq!(events.len(), 10);
    let start = &events[0]["message"];
    assert_eq!((&start["content"], &start["stop_reason"]), (&json!([]), &Value::Null));
    assert_eq!((&start["usage"]["input_tokens"], &start["usage"]["output_tokens"]), (&json!(8), &json!(1)));
    assert_eq!(events[1], json!({"type": "ping"}));
    assert_eq!(events[2]["content_block"]["type"], "text");
    assert_eq!(spelt(&events, "text"), SAID);
    assert_eq!(
        events[8],
        json!({
            "type": "message_delta",
            "delta": {
                "stop_reason": "end_turn", "stop_sequence": null, "stop_details": null, "container": null,
            },
            "usage": {
                "input_tokens": 8, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
                "output_tokens": 4, "server_tool_use": null, "output_tokens_details": {"thinking_tokens": 0},
            },
        })
    );
    let emulator = start_and_read().await;
    assert!(emulator.starts_with("event: message_start\ndata: {\"type\":\"message_start\""), "{emulator}");
    assert!(emulator.ends_with("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"), "{emulator}");
}

async fn start_and_read() -> String {
    let emulator = start().await;
    client(&emulator).post(MESSAGES, &streaming()).await.unwrap().text()
}

#[tokio::test]
async fn parallel_calls_whole_and_streamed() {
    let tools = json!({"tools": [tide_tool(), with(tide_tool(), json!({"name": "wind"}))]});
    let emulator = start().await;
    emulator.script(KEY, [Behaviour::ok().tools(ToolMode::Parallel)]);
    let whole = client(&emulator).post(MESSAGES, &with(question(), tools.clone())).await.unwrap().json();
    assert_eq!(whole["stop_reason"], "tool_use");
    let names: Vec<_> =
        whole["content"].as_array().unwrap().iter().map(|block| block["name"].clone()).collect();
    assert_eq!(names, ["tide", "wind"]);
    assert_eq!(whole["content"][0]["input"], json!({"port": "value", "day": 1}));
    for mode in [ToolMode::Parallel, ToolMode::Interleaved] {
        let (events, _) = stream_with(Behaviour::ok().tools(mode), tools.clone()).await;
        for index in 0..2 {
            let own: Vec<Value> = events.iter().filter(|event| event["index"] == index).cloned().collect();
            assert_eq!(kinds(&own), BLOCK);
            assert_eq!(own[0]["content_block"]["input"], json!({}));
            assert_eq!(own[1]["delta"], json!({"type": "input_json_delta", "partial_json": ""}));
            assert_eq!(spelt(&own, "partial_json"), "{\"port\":\"value\",\"day\":1}");
        }
        let open = events.iter().scan(0, |open, event| {
            *open += i32::from(event["type"] == BLOCK[0]) - i32::from(event["type"] == BLOCK[2]);
            Some(*open)
        });
        assert_eq!(open.max(), Some(if mode == ToolMode::Parallel { 1 } else { 2 }));
    }
}

#[tokio::test]
async fn what_is_asked_for_decides_the_answer() {
    let tools = || json!({"tools": [tide_tool()]});
    let names_it = json!([{"role": "user", "content": "use tide"}]);
    assert_eq!(ask(tools()).await["stop_reason"], "end_turn");
    assert_eq!(ask(with(tools(), json!({"messages": names_it}))).await["stop_reason"], "tool_use");
    assert_eq!(ask(with(tools(), json!({"tool_choice": {"type": "any"}}))).await["stop_reason"], "tool_use");
    let none = json!({"messages": names_it, "tool_choice": {"type": "none"}});
    assert_eq!(ask(with(tools(), none)).await["stop_reason"], "end_turn");
    let stopped = ask(json!({"stop_sequences": ["there", " hello"]})).await;
    assert_eq!(
        (&stopped["stop_reason"], &stopped["stop_sequence"]),
        (&json!("stop_sequence"), &json!(" hello"))
    );
    assert_eq!(stopped["content"][0]["text"], "You said:");
    let cut = ask(json!({"max_tokens": 2})).await;
    assert_eq!((&cut["stop_reason"], &cut["usage"]["output_tokens"]), (&json!("max_tokens"), &json!(2)));
    let warm = ask(json!({"max_tokens": 0})).await;
    assert_eq!((&warm["content"], &warm["usage"]["output_tokens"]), (&json!([]), &json!(0)));
    let schema = json!({
        "type": "object",
        "properties": {"height_m": {"type": "number"}, "state": {"enum": ["rising", "falling"]}},
        "required": ["height_m", "state"], "additionalProperties": false,
    });
    let shaped = ask(json!({"output_config": {"format": {"type": "json_schema", "schema": schema}}})).await;
    let text: Value = serde_json::from_str(shaped["content"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!(text, json!({"height_m": 1, "state": "rising"}));
    let geo = ask(json!({"inference_geo": "us"})).await;
    assert_eq!(geo["usage"]["inference_geo"], "us");
}

#[tokio::test]
async fn scripts_travel_in_the_user_id() {
    let script = |script: &str| json!({"metadata": {"user_id": format!("emu:{script}")}});
    assert_eq!(ask(script("text=aye")).await["content"][0]["text"], "aye");
    let both = ask(script("text=aye,tools=single")).await;
    let kinds: Vec<_> =
        both["content"].as_array().unwrap().iter().map(|block| block["type"].clone()).collect();
    assert_eq!(kinds, ["text", "tool_use"]);
    assert_eq!(ask(script("finish=pause_turn")).await["stop_reason"], "pause_turn");
    let emulator = start().await;
    let bad = client(&emulator).post(MESSAGES, &with(question(), script("wat=1"))).await.unwrap();
    assert!(error_of(&bad).2.starts_with("metadata.user_id: "));
}

#[tokio::test]
async fn a_refusal_says_why_after_partial_text() {
    let whole = answer_with(Behaviour::ok().refusal()).await.json();
    assert_eq!(
        (&whole["stop_reason"], &whole["stop_details"]["type"]),
        (&json!("refusal"), &json!("refusal"))
    );
    assert_eq!(whole["content"][0]["text"], "You said:");
    let (events, _) = stream_with(Behaviour::ok().refusal(), json!({})).await;
    let delta = &events.iter().find(|event| event["type"] == "message_delta").unwrap()["delta"];
    assert_eq!(delta["stop_details"], whole["stop_details"]);
}

#[tokio::test]
async fn a_marked_prefix_is_written_and_then_read() {
    let emulator = start().await;
    let block = |words: usize, ttl: &str| json!({"type": "text", "text": " tide".repeat(words), "cache_control": {"type": "ephemeral", "ttl": ttl}});
    let request = with(
        question(),
        json!({"system": [block(2000, "1h")], "messages": [
            {"role": "user", "content": [block(500, "5m"), {"type": "text", "text": "well?"}]},
        ]}),
    );
    let usage = async |key: &str, request: &Value| {
        let client = harness::client::Client::new(emulator.origin())
            .bearer(key)
            .header("anthropic-version", super::NEWER);
        let usage = client.post(MESSAGES, request).await.unwrap().json()["usage"].clone();
        let count = |path: &str| usage.pointer(path).and_then(Value::as_u64).unwrap();
        assert_eq!(
            count("/cache_creation_input_tokens"),
            count("/cache_creation/ephemeral_1h_input_tokens")
                + count("/cache_creation/ephemeral_5m_input_tokens")
        );
        [
            count("/input_tokens"),
            count("/cache_read_input_tokens"),
            count("/cache_creation/ephemeral_1h_input_tokens"),
            count("/cache_creation/ephemeral_5m_input_tokens"),
        ]
    };
    assert_eq!(usage(KEY, &request).await, [1, 0, 2003, 503]);
    assert_eq!(usage(KEY, &request).await, [1, 2506, 0, 0]);
    assert_eq!(usage(OTHER_KEY, &request).await, [1, 0, 2003, 503]);
    let other_question =
        with(request.clone(), json!({"messages": [{"role": "user", "content": "and now?"}]}));
    assert_eq!(usage(KEY, &other_question).await, [5, 2003, 0, 0]);
    assert_eq!(
        usage(KEY, &with(request.clone(), json!({"model": "claude-haiku-4-5"}))).await,
        [2507, 0, 0, 0]
    );
    let count = with(request.clone(), json!({"max_tokens": null}));
    assert_eq!(client(&emulator).post(COUNT, &count).await.unwrap().json()["input_tokens"], 2507);
    let entries =
        emulator.wait_for(WITHIN, |journal| journal.iter().all(|entry| entry.finished)).await.unwrap();
    assert_eq!((entries[1].prompt_tokens, entries[1].cached_tokens), (2507, 2506));
    let mut stream =
        client(&emulator).stream(MESSAGES, &with(request, json!({"stream": true}))).await.unwrap();
    let first: Value = serde_json::from_str(&stream.event().await.unwrap().unwrap()).unwrap();
    assert_eq!(first["message"]["usage"]["cache_read_input_tokens"], 2506);
}

#[tokio::test]
async fn reported_usage_is_the_truth_of_the_journal() {
    let emulator = start().await;
    for script in [
        "chunks=20",
        "tokens=300,chunks=7",
        "tools=interleaved",
        "reasoning=40",
        "reasoning=40,redacted",
        "completion_tokens=500",
        "completion_tokens=2",
    ] {
        emulator.reset();
        let change = json!({
            "metadata": {"user_id": format!("emu:{script}")},
            "thinking": {"type": "adaptive", "display": "omitted"},
        });
        let (events, _) =
            client(&emulator).stream(MESSAGES, &with(streaming(), change)).await.unwrap().events().await;
        let journal = emulator.wait_for(WITHIN, |journal| journal[0].finished).await.unwrap();
        let last: Value = serde_json::from_str(&events[events.len() - 2]).unwrap();
        assert_eq!(last["usage"]["output_tokens"], journal[0].said_tokens, "{script}");
        assert_eq!(emulator.totals().all.completion_tokens, journal[0].said_tokens, "{script}");
    }
    let counted = answer_with(Behaviour::ok().counted(1000, 900, 77)).await.json()["usage"].clone();
    assert_eq!(
        (&counted["input_tokens"], &counted["cache_read_input_tokens"], &counted["output_tokens"]),
        (&json!(100), &json!(900), &json!(77))
    );
    let zero = answer_with(Behaviour::ok().usage(UsageMode::Zero)).await.json()["usage"].clone();
    assert_eq!((&zero["input_tokens"], &zero["output_tokens"]), (&json!(0), &json!(0)));
    assert_eq!(answer_with(Behaviour::ok().usage(UsageMode::Missing)).await.json().get("usage"), None);
}

#[tokio::test]
async fn models_come_in_pages() {
    let emulator = start().await;
    let get = async |path: &str| client(&emulator).get(path).await.unwrap();
    let all = get("/anthropic/v1/models").await.json();
    let ids: Vec<&str> =
        all["data"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert!(ids.len() > 3 && ids.iter().all(|id| id.starts_with("claude-")), "{ids:?}");
    assert_eq!(
        (&all["first_id"], all["last_id"].as_str(), &all["has_more"]),
        (&all["data"][0]["id"], ids.last().copied(), &json!(false))
    );
    let page = get(&format!("/v1/models?limit=2&after_id={}", ids[0])).await.json();
    assert_eq!(
        (&page["data"][0]["id"], &page["last_id"], &page["has_more"]),
        (&json!(ids[1]), &json!(ids[2]), &json!(true))
    );
    let before = get(&format!("/v1/models?limit=1&before_id={}", ids[2])).await.json();
    assert_eq!((&before["first_id"], &before["has_more"]), (&json!(ids[1]), &json!(true)));
    for query in ["limit=0", "limit=1001", "limit=x", "after_id=none", "page=2"] {
        assert_eq!(error_of(&get(&format!("/anthropic/v1/models?{query}")).await).0, 400, "{query}");
    }
    let plain = harness::client::Client::new(emulator.origin()).bearer(KEY).get("/v1/models").await.unwrap();
    assert_eq!(plain.json()["object"], "list", "without its header the path means the other provider");
    assert!(!plain.text().contains("claude-"));
}
