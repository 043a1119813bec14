//! The tests of `dialects::salt`.

use bytes::Bytes;
use dialects::{CacheSalt, insert, salt_cache};
use domain::Grammar;
use serde_json::{Value as Json, json};

fn salted(grammar: Grammar, body: &Json) -> Json {
    let text = body.to_string();
    let salt = CacheSalt { word: "5a17", key: &|own| format!("k5a17-{own}") };
    let inserts = salt_cache(grammar, text.as_bytes(), &salt, false);
    serde_json::from_slice(&insert(&Bytes::from(text), &inserts).concat()).unwrap()
}

/// Salts a request in this format, and compares its instructions before and after.
fn check(grammar: Grammar, name: &str, before: Option<Json>, after: &Json) {
    let mut body = json!({"model": "m", "max_tokens": 7});
    if let Some(before) = before {
        body[name] = before;
    }
    let mut expected = body.clone();
    expected[name] = after.clone();
    assert_eq!(salted(grammar, &body), expected, "{grammar:?} {body}");
}

#[test]
fn a_line_stands_before_the_instructions_of_each_grammar() {
    let text = json!({"type": "text", "text": "Be brief."});
    let line = json!({"type": "text", "text": "[cache 5a17]"});
    let chat = |first: Json| json!([first, {"role": "user", "content": "x"}]);
    for role in ["system", "developer"] {
        let message = |content: Json| chat(json!({"role": role, "content": content}));
        let (before, after) = (message(json!("Be brief.")), message(json!("[cache 5a17]\nBe brief.")));
        check(Grammar::Chat, "messages", Some(before), &after);
        check(Grammar::Chat, "messages", Some(message(json!([text]))), &message(json!([line, text])));
    }
    let after = chat(json!({"role": "system", "content": "[cache 5a17]"}));
    check(Grammar::Chat, "messages", Some(json!([{"role": "user", "content": "x"}])), &after);
    for (before, after) in [
        (Some(json!("Be \"brief\".")), json!("[cache 5a17]\nBe \"brief\".")),
        (Some(json!([text])), json!([line, text])),
        (Some(json!([])), json!([line])),
        (Some(json!(null)), json!("[cache 5a17]")),
        (None, json!("[cache 5a17]")),
    ] {
        check(Grammar::Anthropic, "system", before, &after);
    }
    let (text, line) = (json!({"text": "Be brief."}), json!({"text": "[cache 5a17]"}));
    check(Grammar::Converse, "system", Some(json!([text])), &json!([line, text]));
    check(Grammar::Converse, "system", None, &json!([line]));
    for name in ["systemInstruction", "system_instruction"] {
        check(Grammar::Gemini, name, Some(json!({"parts": [text]})), &json!({"parts": [line, text]}));
    }
    check(Grammar::Gemini, "systemInstruction", None, &json!({"parts": [line]}));
}

#[test]
fn a_key_is_its_owners() {
    for (before, after) in
        [(Some(json!("mine")), "k5a17-mine"), (Some(json!(null)), "k5a17-"), (None, "k5a17-")]
    {
        check(Grammar::Responses, "prompt_cache_key", before, &json!(after));
    }
    let salt = CacheSalt { word: "5a17", key: &|_| String::new() };
    let body = br#"{"model":"m","input":"x"}"#;
    assert_eq!(salt_cache(Grammar::Responses, body, &salt, true), [], "it has one of ours");
}

#[test]
fn what_can_not_be_read_is_left_to_who_says_so() {
    let salt = CacheSalt { word: "5a17", key: &|_| String::new() };
    for body in ["", "[]", "{", r#"{"system":7}"#, r#"{"messages":7}"#, r#"{"system":"#] {
        for grammar in [Grammar::Chat, Grammar::Anthropic, Grammar::Converse] {
            let inserts = salt_cache(grammar, body.as_bytes(), &salt, false);
            assert!(inserts.len() <= 1, "{body}");
        }
    }
}
