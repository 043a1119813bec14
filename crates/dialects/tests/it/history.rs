//! The tests of `dialects::history`.

use bytes::Bytes;
use conversation::request::Addressed;
use dialects::{StreamedItems, answer_items, continue_request, face};
use domain::{Fault, FaultClass, Grammar};
use serde_json::{Value, json};

const GRAMMARS: [Grammar; 3] = [Grammar::Chat, Grammar::Anthropic, Grammar::Gemini];

fn addressed() -> Addressed {
    Addressed { model: "m".to_owned(), ..Addressed::default() }
}

fn go_on(grammar: Grammar, body: &Value, history: &[Value]) -> Result<(Value, Vec<Value>), Box<Fault>> {
    let history: Vec<String> = history.iter().map(Value::to_string).collect();
    let own = addressed();
    let addressed = (grammar == Grammar::Gemini).then_some(&own);
    let continued = continue_request(grammar, &Bytes::from(body.to_string()), addressed, &history)?;
    let items = continued.items.iter().map(|item| serde_json::from_str(item).unwrap());
    Ok((serde_json::from_slice(&continued.body).unwrap(), items.collect()))
}

fn hello() -> Value {
    json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]})
}

/// A question, a call of a tool, and what the user adds.
fn history() -> Vec<Value> {
    vec![
        json!({"role": "user", "content": "Weather in Oslo?"}),
        json!({"type": "reasoning", "summary": [], "encrypted_content": "x"}),
        json!({"type": "function_call", "call_id": "c_1", "name": "weather", "arguments": "{\"city\":\"Oslo\"}"}),
    ]
}

/// The result of the tool, in each format; Gemini's has no id.
fn result(grammar: Grammar) -> Value {
    match grammar {
        Grammar::Chat => json!({"model": "m", "max_tokens": 9, "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "tool", "tool_call_id": "c_1", "content": "4 degrees"},
            {"role": "user", "content": "And in Bergen?"},
        ]}),
        Grammar::Anthropic => {
            json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "c_1", "content": "4 degrees"},
                {"type": "text", "text": "And in Bergen?", "cache_control": {"type": "ephemeral"}},
            ]}]})
        }
        _ => json!({"contents": [
            {"role": "user", "parts": [
                {"functionResponse": {"name": "weather", "response": {"result": "4 degrees"}}},
            ]},
            {"role": "user", "parts": [{"text": "And in Bergen?"}]},
        ]}),
    }
}

#[test]
fn the_history_comes_before_the_turns_and_those_are_items() {
    for grammar in GRAMMARS {
        let (body, items) = go_on(grammar, &result(grammar), &history()).unwrap();
        let list = face(grammar).facts().turns.list;
        let sent = body[list].as_array().unwrap();
        let text = body[list].to_string();
        let at = |word: &str| text.find(word).unwrap_or_else(|| panic!("{word} in {body}"));
        assert!(at("Weather in Oslo?") < at("weather\""), "{body}");
        assert!(at("weather\"") < at("4 degrees") && at("4 degrees") < at("Bergen"), "{body}");
        assert!(!text.contains("reasoning"), "{body}");
        if grammar == Grammar::Chat {
            assert_eq!(sent[0]["role"], "system", "instructions stay first");
        }
        assert_eq!(items.len(), 2, "{grammar:?}: {items:?}");
        assert_eq!((&items[0]["call_id"], &items[1]["role"]), (&json!("c_1"), &json!("user")));
        assert_eq!(items[0]["type"], "function_call_output");
        assert!(items[0]["output"].to_string().contains("4 degrees"), "{items:?}");
        assert!(items[1]["content"].to_string().contains("Bergen"), "{items:?}");
        assert!(!items[1].to_string().contains("breakpoint"), "{items:?}");
    }
}

#[test]
fn a_first_request_stays_as_it_is() {
    for grammar in GRAMMARS {
        let body = match grammar {
            Grammar::Gemini => json!({"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}),
            _ => hello(),
        };
        let (sent, items) = go_on(grammar, &body, &[]).unwrap();
        assert_eq!(sent, body);
        assert_eq!(items.len(), 1);
        assert!(items[0]["content"].to_string().contains("Hello"));
    }
}

#[test]
fn what_can_t_be_carried_over_is_refused() {
    let body = hello();
    let image = json!({"role": "user", "content": [{"type": "input_image", "file_id": "file_1"}]});
    let nameless = json!({"type": "function_call", "call_id": "c_1", "arguments": "{}"});
    use Grammar::{Anthropic, Chat};
    for (grammar, item) in [(Chat, &image), (Chat, &nameless), (Anthropic, &nameless)] {
        let fault = go_on(grammar, &body, std::slice::from_ref(item)).unwrap_err();
        assert_eq!(fault.code, "history_not_carried", "{grammar:?} {fault:?}");
    }
    let mut several = body;
    several["n"] = json!(2);
    assert_eq!(go_on(Grammar::Chat, &several, &[]).unwrap_err().code, "history_not_carried");
    let sound = json!([{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}]);
    let spoken = json!({"model": "m", "messages": [{"role": "user", "content": sound}]});
    assert_eq!(go_on(Grammar::Chat, &spoken, &[]).unwrap_err().class, FaultClass::Unsupported);
    assert!(go_on(Grammar::Chat, &json!({"model": "m", "messages": "Hello"}), &[]).is_err());
}

#[test]
fn an_answer_is_read_whole_and_streamed() {
    let whole = json!({"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [{
        "index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant", "content": "Hm.", "tool_calls": [
            {"id": "c_2", "type": "function", "function": {"name": "weather", "arguments": "{}"}},
        ]},
    }]});
    let items = answer_items(Grammar::Chat, whole.to_string().as_bytes()).unwrap();
    assert_eq!(items.len(), 2, "{items:?}");
    assert!(items[0].contains("Hm.") && items[1].contains("\"call_id\":\"c_2\""), "{items:?}");
    let chunk = |delta: Value, finish: Value| {
        let choices = json!([{"index": 0, "delta": delta, "finish_reason": finish}]);
        let chunk = json!({"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": choices});
        format!("data: {chunk}\n\n")
    };
    let chunks = [
        chunk(json!({"role": "assistant", "content": "Fi"}), Value::Null),
        chunk(json!({"content": "ne."}), json!("stop")),
    ];
    let mut streamed = StreamedItems::new(Grammar::Chat);
    assert_eq!(chunks.each_ref().map(|chunk| streamed.push(chunk.as_bytes())), [false, false]);
    assert!(streamed.push(b"data: [DONE]\n\n"));
    let items = streamed.finish().unwrap();
    assert!(items.len() == 1 && items[0].contains("Fine."), "{items:?}");
    let mut broken = StreamedItems::new(Grammar::Chat);
    broken.push(chunks[0].as_bytes());
    broken.push(b"data: {\"error\":{\"message\":\"no\"}}\n\n");
    assert_eq!(broken.finish(), None);
    let mut left = StreamedItems::new(Grammar::Anthropic);
    left.push(b"event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"1\",\"model\":\"m\",\"usage\":{}}}\n\n");
    assert_eq!(left.finish(), None);
    let gemini = r#"[{"candidates":[{"content":{"role":"model","parts":[{"text":"Fi"}]},"index":0}]},{"candidates":[{"content":{"role":"model","parts":[{"text":"ne."}]},"finishReason":"STOP","index":0}]}]"#;
    let items = answer_items(Grammar::Gemini, gemini.as_bytes()).unwrap();
    assert!(items.len() == 1 && items[0].contains("Fine."), "{items:?}");
}
