//! The tests of `dialects::last_text`.

use dialects::take_last_text;
use domain::{Grammar, Operation};

fn check(grammar: Grammar, body: &str, expected: Option<(&str, &str)>) {
    let operation = if body.contains("prompt") { Operation::Complete } else { Operation::Chat };
    let found = take_last_text(grammar, operation, body.as_bytes());
    let found = found.map(|last| (last.text, String::from_utf8(last.rest).unwrap()));
    let found = found.as_ref().map(|(text, rest)| (text.as_str(), rest.as_str()));
    assert_eq!(found, expected, "{body}");
}

#[test]
fn the_last_text_is_found_in_every_format() {
    for (grammar, body) in [
        (Grammar::Chat, r#"{"messages":[{"role":"user","content":"a\nb"}],"n":1}"#),
        (
            Grammar::Chat,
            r#"{"messages":[{"role":"user","content":"x"},{"content":[{"text":"a\nb","type":"text"}],"role":"user"}]}"#,
        ),
        (Grammar::Chat, r#"{"model":"m","prompt":"a\nb"}"#),
        (
            Grammar::Anthropic,
            r#"{"messages":[{"role":"user","content":[{"type":"text","text":"a\nb","cache_control":{}}]}]}"#,
        ),
        (Grammar::Responses, r#"{"input":"a\nb"}"#),
        (
            Grammar::Responses,
            r#"{"input":[{"type":"message","role":"user","content":[{"type":"input_text","text":"a\nb"}]}]}"#,
        ),
        (Grammar::Gemini, r#"{"contents":[{"parts":[{"text":"a\nb"}]}]}"#),
        (Grammar::Converse, r#"{"messages":[{"role":"user","content":[{"text":"a\nb"}]}]}"#),
    ] {
        check(grammar, body, Some(("a\nb", &body.replace(r"a\nb", ""))));
    }
}

#[test]
fn anything_but_one_text_of_the_user_is_none() {
    for body in [
        r#"{"messages":[]}"#,
        r#"{"messages":[{"role":"user","content":" "}]}"#,
        r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}"#,
        r#"{"messages":[{"role":"tool","content":"a"}]}"#,
        r#"{"messages":[{"role":"user","content":null}]}"#,
        r#"{"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]}"#,
        r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"u"}}]}]}"#,
        r#"{"messages":[{"role":"user","content":[{"type":"file","text":"a"}]}]}"#,
        r#"{"messages":[{"role":"user","content":"a","content":"b"}]}"#,
        r#"{"messages":[{"role":"user","content":"a"}],"messages":[{"role":"user","content":"b"}]}"#,
        r#"{"prompt":["a","b"]}"#,
        r#"{"model":"m"}"#,
        "[]",
    ] {
        check(Grammar::Chat, body, None);
    }
    check(Grammar::Responses, r#"{"input":[{"type":"function_call_output","output":"a"}]}"#, None);
}
