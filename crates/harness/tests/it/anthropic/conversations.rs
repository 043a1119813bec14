//! Conversations rejected under Anthropic's paths.

use serde_json::{Value, json};

use super::{NEWER, OLDER, assistant, call, check, result, talk, text, tide_tool, user};
use crate::with;

fn image(media: &str, data: &str) -> Value {
    json!({"type": "image", "source": {"type": "base64", "media_type": media, "data": data}})
}

#[tokio::test]
async fn turns_and_their_text() {
    let marked = json!({"type": "text", "text": "", "cache_control": {"type": "ephemeral"}});
    let hello = || user(json!("hello"));
    let cases = json!([
        [talk(&[]), "at least one message is required"],
        [talk(&[assistant(json!("hi"))]), "first message must use the \"user\" role"],
        [talk(&[json!({"role": "system", "content": "be brief"}), hello()]),
            "role 'system' is not supported on this model"],
        [talk(&[json!({"role": "tool", "content": "x"})]),
            "messages.0.role: Input should be 'user', 'assistant' or 'system'"],
        [talk(&[json!({"role": "user"})]), "messages.0.content: Field required"],
        [talk(&[json!({"role": "user", "content": "x", "name": "n"})]), "messages.0.name: Extra inputs"],
        [talk(&[hello(), user(json!([text("again")]))]), null],
        [talk(&[user(json!(""))]), "messages.0: all messages must have non-empty content"],
        [talk(&[user(json!([]))]), "messages.0: all messages must have non-empty content"],
        [talk(&[user(json!([text("")]))]), "text content blocks must be non-empty"],
        [talk(&[user(json!("  \n"))]), "must contain non-whitespace text"],
        [talk(&[user(json!([marked]))]), "cache_control cannot be set for empty text blocks"],
        [{"system": [text("")]}, "text content blocks must be non-empty"],
        [{"system": [image("image/png", "aGk=")]}, "system.0"],
        [talk(&[hello(), assistant(json!("Sure: "))]),
            "final assistant content cannot end with trailing whitespace"],
        [talk(&[hello(), assistant(json!([text("Sure:\n")]))]), "cannot end with trailing whitespace"],
        [talk(&[hello(), assistant(json!("Sure:"))]), null],
        [talk(&[hello(), assistant(json!([]))]), null],
        [with(talk(&[hello(), assistant(json!("Sure:"))]), json!({"model": "claude-opus-5"})),
            "does not support assistant message prefill"],
    ]);
    check(OLDER, cases).await;
}

#[tokio::test]
async fn blocks_and_their_homes() {
    let document =
        json!({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}});
    let cited = json!({"type": "text", "text": "x", "citations": []});
    let hello = || user(json!("hello"));
    #[rustfmt::skip]
    let cases = json!([
        [talk(&[user(json!([{"type": "input_text", "text": "x"}]))]),
            "messages.0.content.0: Input tag 'input_text' found using 'type' does not match any of the \
            expected tags: 'text'"],
        [talk(&[user(json!([{"text": "x"}]))]), "messages.0.content.0.type: Field required"],
        [talk(&[user(json!([{"type": "text", "text": "x", "id": 1}]))]),
            "messages.0.content.0.text.id: Extra inputs are not permitted"],
        [talk(&[user(json!([image("image/png", "aGk=")]))]), null],
        [talk(&[user(json!([image("image/bmp", "aGk=")]))]),
            "messages.0.content.0.image.source.base64.media_type: Input should be 'image/jpeg'"],
        [talk(&[user(json!([image("image/png", "data:image/png;base64,aGk=")]))]),
            "source.base64.data: Invalid base64 data"],
        [talk(&[user(json!([{"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}]))]),
            null],
        [talk(&[user(json!([{"type": "image", "source": {"type": "data"}}]))]), "Input tag 'data'"],
        [talk(&[hello(), assistant(json!([image("image/png", "aGk=")])), hello()]),
            "messages.1: `image` blocks can only be in `user` messages"],
        [talk(&[user(json!([call("toolu_1")]))]),
            "messages.0: `tool_use` blocks can only be in `assistant` messages"],
        [talk(&[hello(), assistant(json!([result("toolu_1")])), hello()]),
            "messages.1: `tool_result` blocks can only be in `user` messages"],
        [talk(&[hello(), assistant(json!([document.clone()])), hello()]), null],
        [talk(&[user(json!([cited.clone()]))]), null],
    ]);
    check(OLDER, cases).await;
    #[rustfmt::skip]
    let cases = json!([
        [talk(&[hello(), assistant(json!([document])), hello()]),
            "`document` blocks are not permitted in `assistant` messages"],
        [talk(&[user(json!([cited]))]),
            "messages.0.content.0.text.citations: Extra inputs are not permitted"],
    ]);
    check(NEWER, cases).await;
}

#[tokio::test]
async fn results_follow_their_calls() {
    let conversation = |reply: &[Value]| {
        let calls = assistant(json!([text("let me see"), call("toolu_1"), call("toolu_2")]));
        let mut messages = vec![user(json!("tide?")), calls];
        messages.extend(reply.iter().cloned());
        with(talk(&messages), json!({"tools": [tide_tool()]}))
    };
    let both = json!([result("toolu_1"), result("toolu_2"), text("well?")]);
    #[rustfmt::skip]
    let cases = json!([
        [conversation(&[user(both.clone())]), null],
        [conversation(&[user(json!([result("toolu_2")])), user(json!([result("toolu_1"), text("well?")]))]),
            null],
        [conversation(&[]),
            "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_1, \
            toolu_2"],
        [conversation(&[user(json!("never mind"))]), "immediately after: toolu_1, toolu_2"],
        [conversation(&[user(json!([result("toolu_1")]))]), "immediately after: toolu_2"],
        [conversation(&[user(json!([text("here"), result("toolu_1"), result("toolu_2")]))]),
            "immediately after: toolu_1, toolu_2"],
        [conversation(&[user(json!([result("toolu_1"), text("and"), result("toolu_2")]))]),
            "immediately after: toolu_2"],
        [conversation(&[json!({"role": "system", "content": "x"}), user(both.clone())]), "immediately after"],
        [conversation(&[user(json!([result("toolu_1"), result("toolu_2"), result("toolu_3")]))]),
            "messages.2.content.2: unexpected `tool_use_id` found in `tool_result` blocks: toolu_3"],
        [conversation(&[user(json!([result("toolu_1"), result("toolu_1"), result("toolu_2")]))]),
            "messages.2.content.1: each tool_use must have a single result"],
        [conversation(&[user(both.clone()), assistant(json!("high")), user(json!([result("toolu_1")]))]),
            "messages.4.content.0: unexpected `tool_use_id`"],
        [conversation(&[user(both.clone()), assistant(json!([call("toolu_1")])),
            user(json!([result("toolu_1")]))]), "messages.3.content.0: `tool_use` ids must be unique"],
        [talk(&[user(json!([result("toolu_1")]))]), "messages.0.content.0: unexpected `tool_use_id`"],
    ]);
    check(OLDER, cases).await;
}

#[tokio::test]
async fn calls_have_ids_names_and_objects() {
    let bad = |block: Value| {
        talk(&[user(json!("tide?")), assistant(json!([block])), user(json!([result("toolu_1")]))])
    };
    #[rustfmt::skip]
    let cases = json!([
        [bad(with(call("toolu_1"), json!({"input": "{}"}))),
            "messages.1.content.0.tool_use.input: Input should be a valid dictionary"],
        [bad(with(call("toolu_1"), json!({"input": []}))),
            "tool_use.input: Input should be a valid dictionary"],
        [bad(with(call("toolu_1"), json!({"name": "a.b"}))),
            "messages.1.content.0.tool_use.name: String should match pattern"],
        [bad(call("call|1")),
            "messages.1.content.0.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"],
    ]);
    check(OLDER, cases).await;
}
