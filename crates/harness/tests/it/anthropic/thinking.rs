//! Thinking in responses, and the checks of thinking that is sent back.

use harness::client::Answer;
use harness::{Behaviour, Emulator};
use serde_json::{Value, json};

use super::{MESSAGES, client, error_of, kinds, question, spelt, start, stream_with, tide_tool};
use crate::{KEY, with};

fn thinking() -> Value {
    json!({"thinking": {"type": "enabled", "budget_tokens": 1024}, "tools": [tide_tool()]})
}

fn ask_of(change: Value) -> Value {
    let messages = json!({"messages": [{"role": "user", "content": "use tide"}]});
    with(with(question(), thinking()), with(messages, change))
}

/// The first response of a tool loop, unchanged.
async fn first(emulator: &Emulator, behaviour: Behaviour) -> Vec<Value> {
    emulator.script(KEY, [behaviour]);
    let answer = client(emulator).post(MESSAGES, &ask_of(json!({}))).await.unwrap().json();
    assert_eq!(answer["stop_reason"], "tool_use");
    answer["content"].as_array().unwrap().clone()
}

/// Sends a response's blocks back with the result of its call.
async fn back(emulator: &Emulator, blocks: &[Value], change: Value) -> Answer {
    let call = blocks.iter().find(|block| block["type"] == "tool_use").unwrap();
    let messages = json!([
        {"role": "user", "content": "use tide"}, {"role": "assistant", "content": blocks},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call["id"], "content": "high"}]},
    ]);
    client(emulator).post(MESSAGES, &ask_of(with(json!({"messages": messages}), change))).await.unwrap()
}

#[tokio::test]
async fn a_loop_goes_on_with_its_thinking_as_it_was() {
    let emulator = start().await;
    for behaviour in [Behaviour::ok(), Behaviour::ok().redacted(), Behaviour::ok().reasoning(50)] {
        let blocks = first(&emulator, behaviour).await;
        let after = back(&emulator, &blocks, json!({})).await;
        assert_eq!(after.status, 200, "{}", after.text());
        assert!(after.json()["usage"]["output_tokens_details"]["thinking_tokens"].as_u64().unwrap() > 0);
    }
}

#[tokio::test]
async fn thinking_that_is_not_as_it_was_is_refused() {
    let emulator = start().await;
    let blocks = first(&emulator, Behaviour::ok().redacted()).await;
    let other = first(&emulator, Behaviour::ok().redacted()).await;
    let kinds: Vec<_> = blocks.iter().map(|block| block["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["thinking", "redacted_thinking", "tool_use"]);
    let (thought, opaque, call) = (&blocks[0], &blocks[1], &blocks[2]);
    let but = |block: &Value, change: Value| with(block.clone(), change);
    let modified = "blocks in the latest assistant message cannot be modified";
    let cases = [
        (vec![but(thought, json!({"thinking": "else"})), opaque.clone(), call.clone()], modified),
        (vec![thought.clone(), call.clone()], modified),
        (vec![opaque.clone(), call.clone()], modified),
        (vec![opaque.clone(), thought.clone(), call.clone()], modified),
        (vec![thought.clone(), other[1].clone(), call.clone()], modified),
        (
            vec![but(thought, json!({"signature": "Zm9yZWlnbg=="})), opaque.clone(), call.clone()],
            "messages.1.content.0: Invalid `signature` in `thinking` block",
        ),
        (
            vec![but(thought, json!({"signature": ""})), opaque.clone(), call.clone()],
            "messages.1.content.0: Invalid `signature`",
        ),
        (
            vec![but(thought, json!({"signature": null})), opaque.clone(), call.clone()],
            "messages.1.content.0.thinking.signature: Field required",
        ),
        (
            vec![thought.clone(), but(opaque, json!({"data": "Zm9yZWlnbg=="})), call.clone()],
            "messages.1.content.1: Invalid `data` in `redacted_thinking` block",
        ),
        (
            vec![but(thought, json!({"cache_control": {"type": "ephemeral"}})), opaque.clone(), call.clone()],
            "thinking.cache_control: Extra inputs are not permitted",
        ),
        (
            vec![call.clone()],
            "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`",
        ),
        (
            vec![json!({"type": "text", "text": "hm"}), thought.clone(), opaque.clone(), call.clone()],
            "but found `text`",
        ),
    ];
    for (blocks, words) in cases {
        let answer = back(&emulator, &blocks, json!({})).await;
        let (status, kind, message) = error_of(&answer);
        assert_eq!((status, kind.as_str()), (400, "invalid_request_error"));
        assert!(message.contains(words), "{words}: {message}");
    }
}

#[tokio::test]
async fn what_is_not_demanded_may_be_left_out() {
    let emulator = start().await;
    let blocks = first(&emulator, Behaviour::ok()).await;
    let bare = &blocks[1..];
    for change in [json!({"thinking": {"type": "disabled"}}), json!({"thinking": {"type": "adaptive"}})] {
        assert_eq!(back(&emulator, bare, change.clone()).await.status, 200, "{change}");
    }
    // Of an earlier turn's thinking, only the signature is checked.
    let talk = |first: Value| {
        json!({"messages": [
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": [first, {"type": "text", "text": "aye"}]},
            {"role": "user", "content": "two"},
            {"role": "assistant", "content": "aye"},
            {"role": "user", "content": "three"},
        ]})
    };
    let ask = async |first: Value| client(&emulator).post(MESSAGES, &ask_of(talk(first))).await.unwrap();
    assert_eq!(ask(with(blocks[0].clone(), json!({"thinking": "else"}))).await.status, 200);
    assert_eq!(ask(with(blocks[0].clone(), json!({"signature": "x"}))).await.status, 400);
}

#[tokio::test]
async fn thinking_is_streamed_and_signed_before_its_end() {
    let (events, _) =
        stream_with(Behaviour::ok().reasoning(5).redacted(), json!({"thinking": {"type": "adaptive"}})).await;
    let block =
        |index: u64| events.iter().filter(|event| event["index"] == index).cloned().collect::<Vec<_>>();
    let thought = block(0);
    assert_eq!(thought[0]["content_block"], json!({"type": "thinking", "thinking": "", "signature": ""}));
    assert_eq!(thought.len(), 6, "start, three tokens, signature, stop");
    assert_eq!(thought[4]["delta"]["type"], "signature_delta");
    assert!(spelt(&thought, "signature").len() > 40 && !spelt(&thought, "thinking").is_empty());
    let opaque = block(1);
    assert_eq!(kinds(&opaque), ["content_block_start", "content_block_stop"]);
    assert_eq!(opaque[0]["content_block"]["type"], "redacted_thinking");
    assert_eq!(spelt(&block(2), "text"), "You said: hello there");
    let usage = &events.iter().find(|event| event["type"] == "message_delta").unwrap()["usage"];
    assert_eq!(
        (&usage["output_tokens"], &usage["output_tokens_details"]["thinking_tokens"]),
        (&json!(9), &json!(5))
    );
}

#[tokio::test]
async fn omitted_thinking_is_signed_and_billed() {
    let change = json!({"thinking": {"type": "enabled", "budget_tokens": 1024, "display": "omitted"}});
    let emulator = start().await;
    let answer = client(&emulator).post(MESSAGES, &ask_of(change.clone())).await.unwrap().json();
    let blocks = answer["content"].as_array().unwrap();
    assert_eq!(blocks[0]["thinking"], "");
    assert_eq!(answer["usage"]["output_tokens_details"]["thinking_tokens"], 16);
    assert_eq!(back(&emulator, blocks, change).await.status, 200);
}
