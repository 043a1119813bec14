//! Written requests never contain what Bedrock would reject.

use std::collections::HashSet;

use bytes::Bytes;
use conversation::losses::DroppedFields;
use conversation::target::TargetModel;
use conversation::turns::restore_signatures;
use dialects::AnswerStream;
use domain::prompt::{Content, Prompt, Role};
use domain::{Abilities, Grammar, Thinking};
use proptest::prelude::*;
use serde_json::Value;

use super::answer_path::answer_path;
use super::{any_prompt, arbitrary, event};
use crate::write_prompt;

fn write_body(prompt: &Prompt, model: &str, abilities: Abilities) -> Value {
    let mut losses = DroppedFields::new(Grammar::Anthropic, Grammar::Converse, dialects::feature_names);
    let target = TargetModel { model, abilities };
    let body = write_prompt(prompt, &target, &mut losses).expect("it can be said");
    assert!(losses.finish(true).is_ok());
    serde_json::from_slice(&body).expect("JSON")
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Checks the rules that Bedrock enforces for every model.
fn check_rules(body: &Value) {
    let messages = list(body, "messages");
    let roles: Vec<&str> = messages.iter().filter_map(|message| message["role"].as_str()).collect();
    assert_eq!(roles.first(), Some(&"user"));
    assert!(roles.windows(2).all(|pair| pair[0] != pair[1]), "{roles:?}");
    let blocks = |message: &Value| list(message, "content").to_vec();
    let ids = |blocks: &[Value], kind: &str| -> Vec<String> {
        let found = blocks.iter().filter_map(|block| block[kind]["toolUseId"].as_str());
        found.map(str::to_owned).collect()
    };
    let (mut points, mut names, mut has_call) = (0, HashSet::new(), false);
    for (at, message) in messages.iter().enumerate() {
        let content = blocks(message);
        assert!(!content.is_empty());
        for block in
            content.iter().chain(content.iter().flat_map(|block| list(&block["toolResult"], "content")))
        {
            assert_eq!(block.as_object().map(serde_json::Map::len), Some(1), "{block}");
            assert!(block["text"].as_str().is_none_or(|text| !text.trim().is_empty()));
            let name = block["document"]["name"].as_str();
            assert!(name.is_none_or(|name| names.insert(name.to_owned())), "{name:?} comes twice");
            points += usize::from(block["cachePoint"].is_object());
        }
        let calls = ids(&content, "toolUse");
        has_call |= !calls.is_empty();
        if at + 1 < messages.len() && !calls.is_empty() {
            let answered: HashSet<String> =
                ids(&blocks(&messages[at + 1]), "toolResult").into_iter().collect();
            assert_eq!(answered, calls.into_iter().collect());
        }
    }
    points += list(body, "system").iter().filter(|block| block["cachePoint"].is_object()).count();
    let tools = list(&body["toolConfig"], "tools");
    points += tools.iter().filter(|tool| tool["cachePoint"].is_object()).count();
    assert!(points <= 4, "{points}");
    assert!(!has_call || !tools.is_empty(), "a conversation with calls declares tools");
    assert!(body["toolConfig"].is_null() || !tools.is_empty());
}

fn abilities() -> impl Strategy<Value = (&'static str, Abilities)> {
    let thinking =
        prop::sample::select(&[Thinking::Unknown, Thinking::Never, Thinking::Budget, Thinking::Effort][..]);
    let model = prop::sample::select(&["us.anthropic.claude-x", "amazon.nova-pro-v1:0"][..]);
    (model, thinking, any::<bool>(), any::<bool>(), prop::option::of(1_u64..9999)).prop_map(
        |(model, thinking, refuses_sampling, cache_marks, output_tokens_max)| {
            let abilities = Abilities {
                thinking,
                refuses_sampling,
                cache_marks,
                output_tokens_max,
                ..Abilities::default()
            };
            (model, abilities)
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_of_messages_keeps_the_rules(prompt in any_prompt::prompt(), able in abilities()) {
        let body = write_body(&prompt, able.0, able.1);
        check_rules(&body);
        let marks = body.to_string().contains("cachePoint");
        prop_assert!(able.1.cache_marks || !marks);
    }

    #[test]
    fn what_is_written_of_contents_keeps_the_rules(prompt in arbitrary::prompt(), able in abilities()) {
        check_rules(&write_body(&prompt, able.0, able.1));
    }
}

#[test]
fn what_was_thought_comes_back_by_the_id_of_a_call() {
    let stream = [
        event("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"why"}}}"#),
        event(
            "contentBlockDelta",
            r#"{"contentBlockIndex":0,"delta":{"reasoningContent":{"signature":"seal"}}}"#,
        ),
        event(
            "contentBlockStart",
            r#"{"contentBlockIndex":1,"start":{"toolUse":{"toolUseId":"t1","name":"f"}}}"#,
        ),
        event("messageStop", r#"{"stopReason":"tool_use"}"#),
    ];
    let mut answer = AnswerStream::new(answer_path(Grammar::Chat, Grammar::Converse, false));
    let mut out = Vec::new();
    answer
        .push(Bytes::from(stream.concat()), &mut out)
        .and_then(|()| answer.finish(&mut out))
        .expect("whole");
    let turn = answer.signatures().expect("what is sealed is kept");
    let body = r#"{"model":"m","messages":[{"role":"user","content":"a"},{"role":"assistant","tool_calls":
        [{"id":"t1","type":"function","function":{"name":"f","arguments":"{}"}}]},
        {"role":"tool","tool_call_id":"t1","content":"x"}]}"#;
    let mut prompt = chat::read_prompt(body.as_bytes()).expect("a prompt");
    restore_signatures(&mut prompt, &[turn]);
    let content = &write_body(&prompt, "m", Abilities::default())["messages"][1]["content"];
    assert_eq!(
        content[0],
        serde_json::json!({"reasoningContent": {"reasoningText": {"text": "why", "signature": "seal"}}})
    );
    assert_eq!(content[1]["toolUse"]["toolUseId"], "t1");
}

#[test]
fn seals_go_back_only_where_they_were_made() {
    let body = r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"a"},
        {"role":"assistant","content":[{"type":"thinking","thinking":"why","signature":"seal"},
        {"type":"redacted_thinking","data":"dark"},{"type":"text","text":"b"}]},{"role":"user","content":"c"}]}"#;
    let mut prompt = anthropic::read_prompt(body.as_bytes()).expect("a prompt");
    let other = write_body(&prompt, "m", Abilities::default());
    assert_eq!(other["messages"][1]["content"], serde_json::json!([{"text": "b"}]));
    let thoughts = prompt.turns.iter_mut().filter(|turn| turn.role == Role::Assistant);
    for part in thoughts.flat_map(|turn| &mut turn.parts) {
        if let Content::Thought(thought) = &mut part.content {
            thought.signature.iter_mut().for_each(|signature| signature.grammar = Grammar::Converse);
        }
    }
    let own = write_body(&prompt, "m", Abilities::default());
    assert_eq!(
        own["messages"][1]["content"],
        serde_json::json!([
            {"reasoningContent": {"reasoningText": {"text": "why", "signature": "seal"}}},
            {"reasoningContent": {"redactedContent": "dark"}},
            {"text": "b"}
        ])
    );
}
