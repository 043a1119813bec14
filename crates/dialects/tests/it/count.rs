//! The tests of `dialects::count`.

use bytes::Bytes;
use conversation::answer::StreamFault;
use conversation::target::TargetModel;
use dialects::{AnswerPath, buffered_count, count_answer, forget_answer, write_count_request};
use domain::{Abilities, Grammar, Operation, Usage};

#[test]
fn a_count_is_read_and_an_error_is_one() {
    // As a client of another dialect reads it.
    let read = |upstream, text: &'static str| {
        let client = if upstream == Grammar::Gemini { Grammar::Anthropic } else { Grammar::Gemini };
        let path = AnswerPath { operation: Operation::Count, ..AnswerPath::chat(client, upstream) };
        let answer = buffered_count(&path, Bytes::from_static(text.as_bytes()))?;
        assert_eq!(answer.facts.usage, Some(Usage::default()), "counting uses nothing");
        let member = if client == Grammar::Gemini { "totalTokens" } else { "input_tokens" };
        let answer: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        Ok::<_, StreamFault>(answer[member].as_u64().unwrap())
    };
    assert_eq!(read(Grammar::Anthropic, "{\"input_tokens\":5}"), Ok(5));
    assert_eq!(read(Grammar::Responses, "{\"object\":\"x\",\"input_tokens\":6}"), Ok(6));
    assert_eq!(read(Grammar::Gemini, "{\"totalTokens\":7,\"promptTokensDetails\":[{}]}"), Ok(7));
    assert_eq!(read(Grammar::Gemini, "{}"), Ok(0));
    assert_eq!(read(Grammar::Converse, "{\"inputTokens\":8}"), Ok(8));
    let failed = read(Grammar::Gemini, "{\"error\":{\"message\":\"x\"}}");
    assert!(matches!(failed, Err(StreamFault::Upstream(..))));
    for broken in ["", "<html>", "[]", "{\"a\":", "{}", "{\"input_tokens\":\"x\"}"] {
        assert!(matches!(read(Grammar::Anthropic, broken), Err(StreamFault::Broken(_))), "{broken}");
    }
}

#[test]
fn each_grammar_has_its_count() {
    assert_eq!(count_answer(Grammar::Anthropic, 7), "{\"input_tokens\":7}");
    assert_eq!(count_answer(Grammar::Gemini, 7), "{\"totalTokens\":7}");
    assert_eq!(count_answer(Grammar::Converse, 7), "{\"inputTokens\":7}");
    assert!(count_answer(Grammar::Responses, 7).starts_with(b"{\"object\":\"response.input_tokens\""));
}

/// What a counter of another dialect is sent for a request that also asks for a certain kind of answer.
fn count_body(upstream: Grammar, body: &'static str) -> String {
    let mut prompt = anthropic::read_prompt(body.as_bytes()).unwrap();
    forget_answer(&mut prompt);
    let target = TargetModel { model: "m", abilities: Abilities::default() };
    let translated = write_count_request(Grammar::Anthropic, &prompt, upstream, &target, false).unwrap();
    String::from_utf8(translated.body.to_vec()).unwrap()
}

#[test]
fn counters_are_sent_the_prompt_and_no_wishes() {
    let body = r#"{"model":"a","max_tokens":9,"stream":true,"temperature":0.5,"stop_sequences":["x"],
        "metadata":{"user_id":"u"},"system":"Be brief.","messages":[{"role":"user","content":"Hello"}]}"#;
    let gemini = r#"{"generateContentRequest":{"model":"models/m","systemInstruction":{"parts":[{"text":"Be brief."}]},"contents":[{"role":"user","parts":[{"text":"Hello"}]}]}}"#;
    assert_eq!(count_body(Grammar::Gemini, body), gemini);
    let converse = r#"{"input":{"converse":{"messages":[{"role":"user","content":[{"text":"Hello"}]}],"system":[{"text":"Be brief."}]}}}"#;
    assert_eq!(count_body(Grammar::Converse, body), converse);
    for (upstream, members) in
        [(Grammar::Responses, &["instructions", "input"][..]), (Grammar::Anthropic, &["system", "messages"])]
    {
        let written: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&count_body(upstream, body)).unwrap();
        let mut names: Vec<&str> = written.keys().map(String::as_str).collect();
        names.retain(|name| !members.contains(name));
        assert_eq!(names, ["model"], "{upstream:?}");
    }
}
