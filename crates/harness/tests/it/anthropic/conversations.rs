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
    let cases = [
        (talk(&[]), Some("at least one message is required")),
        (talk(&[assistant(json!("hi"))]), Some("first message must use the \"user\" role")),
        (
            talk(&[json!({"role": "system", "content": "be brief"}), hello()]),
            Some("role 'system' is not supported on this model"),
        ),
        (
            talk(&[json!({"role": "tool", "content": "x"})]),
            Some("messages.0.role: Input should be 'user', 'assistant' or 'system'"),
        ),
        (talk(&[json!({"role": "user"})]), Some("messages.0.content: Field required")),
        (
            talk(&[json!({"role": "user", "content": "x", "name": "n"})]),
            Some("messages.0.name: Extra inputs"),
        ),
        (talk(&[hello(), user(json!([text("again")]))]), None),
        (talk(&[user(json!(""))]), Some("messages.0: all messages must have non-empty content")),
        (talk(&[user(json!([]))]), Some("messages.0: all messages must have non-empty content")),
        (talk(&[user(json!([text("")]))]), Some("text content blocks must be non-empty")),
        (talk(&[user(json!("  \n"))]), Some("must contain non-whitespace text")),
        (talk(&[user(json!([marked]))]), Some("cache_control cannot be set for empty text blocks")),
        (json!({"system": [text("")]}), Some("text content blocks must be non-empty")),
        (json!({"system": [image("image/png", "aGk=")]}), Some("system.0")),
        (
            talk(&[hello(), assistant(json!("Sure: "))]),
            Some("final assistant content cannot end with trailing whitespace"),
        ),
        (talk(&[hello(), assistant(json!([text("Sure:\n")]))]), Some("cannot end with trailing whitespace")),
        (talk(&[hello(), assistant(json!("Sure:"))]), None),
        (talk(&[hello(), assistant(json!([]))]), None),
        (
            with(talk(&[hello(), assistant(json!("Sure:"))]), json!({"model": "claude-opus-5"})),
            Some("does not support assistant message prefill"),
        ),
    ];
    check(OLDER, &cases).await;
}

#[tokio::test]
async fn blocks_and_their_homes() {
    let document =
        json!({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}});
    let cited = json!({"type": "text", "text": "x", "citations": []});
    let hello = || user(json!("hello"));
    let cases = [
        (
            talk(&[user(json!([{"type": "input_text", "text": "x"}]))]),
            Some(
                "messages.0.content.0: Input tag 'input_text' found using 'type' does not match any of the expected tags: 'text'",
            ),
        ),
        (talk(&[user(json!([{"text": "x"}]))]), Some("messages.0.content.0.type: Field required")),
        (
            talk(&[user(json!([{"type": "text", "text": "x", "id": 1}]))]),
            Some("messages.0.content.0.text.id: Extra inputs are not permitted"),
        ),
        (talk(&[user(json!([image("image/png", "aGk=")]))]), None),
        (
            talk(&[user(json!([image("image/bmp", "aGk=")]))]),
            Some("messages.0.content.0.image.source.base64.media_type: Input should be 'image/jpeg'"),
        ),
        (
            talk(&[user(json!([image("image/png", "data:image/png;base64,aGk=")]))]),
            Some("source.base64.data: Invalid base64 data"),
        ),
        (
            talk(&[user(json!([{"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}]))]),
            None,
        ),
        (talk(&[user(json!([{"type": "image", "source": {"type": "data"}}]))]), Some("Input tag 'data'")),
        (
            talk(&[hello(), assistant(json!([image("image/png", "aGk=")])), hello()]),
            Some("messages.1: `image` blocks can only be in `user` messages"),
        ),
        (
            talk(&[user(json!([call("toolu_1")]))]),
            Some("messages.0: `tool_use` blocks can only be in `assistant` messages"),
        ),
        (
            talk(&[hello(), assistant(json!([result("toolu_1")])), hello()]),
            Some("messages.1: `tool_result` blocks can only be in `user` messages"),
        ),
        (talk(&[hello(), assistant(json!([document.clone()])), hello()]), None),
        (talk(&[user(json!([cited.clone()]))]), None),
    ];
    check(OLDER, &cases).await;
    check(
        NEWER,
        &[
            (
                talk(&[hello(), assistant(json!([document])), hello()]),
                Some("`document` blocks are not permitted in `assistant` messages"),
            ),
            (
                talk(&[user(json!([cited]))]),
                Some("messages.0.content.0.text.citations: Extra inputs are not permitted"),
            ),
        ],
    )
    .await;
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
    let cases = [
        (conversation(&[user(both.clone())]), None),
        (
            conversation(&[
                user(json!([result("toolu_2")])),
                user(json!([result("toolu_1"), text("well?")])),
            ]),
            None,
        ),
        (
            conversation(&[]),
            Some(
                "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_1, toolu_2",
            ),
        ),
        (conversation(&[user(json!("never mind"))]), Some("immediately after: toolu_1, toolu_2")),
        (conversation(&[user(json!([result("toolu_1")]))]), Some("immediately after: toolu_2")),
        (
            conversation(&[user(json!([text("here"), result("toolu_1"), result("toolu_2")]))]),
            Some("immediately after: toolu_1, toolu_2"),
        ),
        (
            conversation(&[user(json!([result("toolu_1"), text("and"), result("toolu_2")]))]),
            Some("immediately after: toolu_2"),
        ),
        (
            conversation(&[json!({"role": "system", "content": "x"}), user(both.clone())]),
            Some("immediately after"),
        ),
        (
            conversation(&[user(json!([result("toolu_1"), result("toolu_2"), result("toolu_3")]))]),
            Some("messages.2.content.2: unexpected `tool_use_id` found in `tool_result` blocks: toolu_3"),
        ),
        (
            conversation(&[user(json!([result("toolu_1"), result("toolu_1"), result("toolu_2")]))]),
            Some("messages.2.content.1: each tool_use must have a single result"),
        ),
        (
            conversation(&[user(both.clone()), assistant(json!("high")), user(json!([result("toolu_1")]))]),
            Some("messages.4.content.0: unexpected `tool_use_id`"),
        ),
        (
            conversation(&[
                user(both.clone()),
                assistant(json!([call("toolu_1")])),
                user(json!([result("toolu_1")])),
            ]),
            Some("messages.3.content.0: `tool_use` ids must be unique"),
        ),
        (talk(&[user(json!([result("toolu_1")]))]), Some("messages.0.content.0: unexpected `tool_use_id`")),
    ];
    check(OLDER, &cases).await;
}

#[tokio::test]
async fn calls_have_ids_names_and_objects() {
    let bad = |block: Value| {
        talk(&[user(json!("tide?")), assistant(json!([block])), user(json!([result("toolu_1")]))])
    };
    check(
        OLDER,
        &[
            (
                bad(with(call("toolu_1"), json!({"input": "{}"}))),
                Some("messages.1.content.0.tool_use.input: Input should be a valid dictionary"),
            ),
            (
                bad(with(call("toolu_1"), json!({"input": []}))),
                Some("tool_use.input: Input should be a valid dictionary"),
            ),
            (
                bad(with(call("toolu_1"), json!({"name": "a.b"}))),
                Some("messages.1.content.0.tool_use.name: String should match pattern"),
            ),
            (
                bad(call("call|1")),
                Some("messages.1.content.0.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"),
            ),
        ],
    )
    .await;
}
