//! The exchanges in `golden/dialects/translated`: a client's request, the request that an upstream of another
//! dialect is sent, and what the client gets of its answer, buffered or streamed. `TIDEGATE_GOLDEN=write`
//! rewrites them.

use bytes::Bytes;
use conversation::answer::StreamFault;
use conversation::constraints::AnswerConstraints;
use conversation::request::Addressed;
use conversation::target::TargetModel;
use dialects::{
    AnswerPath, AnswerStream, BufferedAnswer, buffered_answer, decode_request, read_prompt, translate_request,
};
use domain::{Abilities, FaultClass, Grammar, Operation, Prompt, TraceId};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::golden_exchanges::each_exchange;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exchange {
    source: String,
    client: String,
    upstream: String,
    model: String,
    request: String,
    /// The upstream's answer: a document or events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answer: Option<String>,
    expected: Expected,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Expected {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request: Option<String>,
    #[serde(default)]
    dropped: Vec<String>,
    /// The error code and the field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fault: Option<(String, String)>,
    /// For a stream, each event.
    #[serde(default)]
    answer: Vec<String>,
}

fn grammar(word: &str) -> Grammar {
    Grammar::ALL.into_iter().find(|grammar| grammar.as_str() == word).expect("a grammar")
}

#[test]
fn every_exchange_is_what_it_says() {
    each_exchange("translated", 20, |name, exchange: Exchange| {
        assert!(exchange.source.starts_with("constructed: "), "{name}");
        let expected = see(&exchange);
        Some(serde_json::to_string_pretty(&Exchange { expected, ..exchange }).expect("JSON") + "\n")
    });
}

fn see(exchange: &Exchange) -> Expected {
    let (client, upstream) = (grammar(&exchange.client), grammar(&exchange.upstream));
    let body = Bytes::copy_from_slice(exchange.request.as_bytes());
    // What some dialects have in their address.
    let addressed = Addressed { model: "m".to_owned(), ..Addressed::default() };
    let addressed = matches!(exchange.client.as_str(), "gemini" | "converse").then_some(&addressed);
    let read = decode_request(client, Operation::Chat, &body, addressed)
        .and_then(|request| Ok((read_prompt(client, &body, &request)?, request.include_usage)));
    let translated = read.and_then(|(prompt, usage)| {
        let target = TargetModel { model: &exchange.model, abilities: Abilities::default() };
        let request = translate_request(client, &prompt, upstream, &target, false)?;
        Ok((prompt, usage, request))
    });
    match translated {
        Err(fault) => Expected {
            fault: Some((fault.code.to_owned(), fault.param.unwrap_or_default().into_string())),
            ..Expected::default()
        },
        Ok((prompt, usage, request)) => {
            let path = answer_path(client, upstream, &prompt, usage);
            let answer = exchange.answer.as_deref().map(|answer| translate_answer(&path, &prompt, answer));
            Expected {
                request: Some(String::from_utf8(request.body.to_vec()).expect("UTF-8")),
                dropped: request.dropped,
                fault: None,
                answer: answer.unwrap_or_default(),
            }
        }
    }
}

/// A Gemini answer of these parts that ends with this word.
fn of_gemini(parts: &str, word: &str) -> String {
    format!(
        r#"{{"candidates":[{{"content":{{"role":"model","parts":[{parts}]}},"finishReason":"{word}","index":0}}],"usageMetadata":{{"promptTokenCount":5,"candidatesTokenCount":2,"totalTokenCount":7}},"responseId":"r"}}"#
    )
}

fn buffered(client: Grammar, upstream: Grammar, body: &str) -> Result<BufferedAnswer, StreamFault> {
    buffered_answer(&AnswerPath::chat(client, upstream), Bytes::copy_from_slice(body.as_bytes()))
}

#[test]
fn an_answer_with_a_call_that_nobody_can_read_failed_and_was_used() {
    for word in ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MISSING_THOUGHT_SIGNATURE"] {
        for parts in ["", r#"{"text":"Let me see."}"#] {
            let body = of_gemini(parts, word);
            assert!(buffered(Grammar::Gemini, Grammar::Gemini, &body).is_ok(), "its own client has the word");
            for client in [Grammar::Chat, Grammar::Anthropic, Grammar::Responses, Grammar::Converse] {
                let mut stream = AnswerStream::new(AnswerPath::chat(client, Grammar::Gemini));
                let mut out = Vec::new();
                let end = stream.push(Bytes::from(format!("data: {body}\r\n\r\n")), &mut out);
                let end = end.and_then(|()| stream.finish(&mut out));
                for fault in [end.unwrap_err(), buffered(client, Grammar::Gemini, &body).unwrap_err()] {
                    let StreamFault::UnreadableCall(found, Some(used)) = &fault else { panic!("{fault:?}") };
                    assert_eq!((found.as_deref(), used.input, used.output), (Some(word), 5, 2), "{client:?}");
                    assert_eq!(fault.report().unwrap().1, FaultClass::Upstream);
                }
                assert_eq!(stream.facts().content_started, !parts.is_empty(), "{client:?}");
            }
        }
    }
}

#[test]
fn what_an_answer_lacks_is_listed() {
    let parts = r#"{"executableCode":{"language":"PYTHON","code":"1"}},{"text":"see"},{"inlineData":{"mimeType":"image/png","data":"AA=="}}"#;
    let body = of_gemini(parts, "STOP");
    for (client, dropped) in [
        (Grammar::Chat, &["executableCode"][..]),
        (Grammar::Responses, &["executableCode"]),
        (Grammar::Anthropic, &["executableCode", "image"]),
        (Grammar::Gemini, &[]),
    ] {
        assert_eq!(buffered(client, Grammar::Gemini, &body).unwrap().dropped, dropped, "{client:?}");
    }
    let call = |arguments: &str| {
        let call = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}});
        let message = json!({"role": "assistant", "content": null, "tool_calls": [call]});
        let choices = json!([{"index": 0, "message": message, "finish_reason": "tool_calls"}]);
        json!({"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": choices})
            .to_string()
    };
    for (client, arguments, dropped) in [
        (Grammar::Anthropic, "{bad", &["arguments"][..]),
        (Grammar::Converse, "[1]", &["arguments"]),
        (Grammar::Anthropic, "{}", &[]),
        (Grammar::Responses, "{bad", &[]),
    ] {
        assert_eq!(buffered(client, Grammar::Chat, &call(arguments)).unwrap().dropped, dropped, "{client:?}");
    }
}

fn translate_answer(path: &AnswerPath, prompt: &Prompt, answer: &str) -> Vec<String> {
    if !prompt.stream {
        let whole = buffered_answer(path, Bytes::copy_from_slice(answer.as_bytes())).expect("an answer");
        return vec![String::from_utf8(whole.body.to_vec()).expect("UTF-8")];
    }
    let stream_in = |size: usize| {
        let mut stream = AnswerStream::new(path.clone());
        let mut out = Vec::new();
        for chunk in answer.as_bytes().chunks(size) {
            stream.push(Bytes::copy_from_slice(chunk), &mut out).expect("a good stream");
        }
        stream.finish(&mut out).expect("a good end");
        String::from_utf8(out.concat()).expect("UTF-8")
    };
    let whole = stream_in(answer.len());
    assert_eq!(stream_in(1), whole, "byte by byte");
    whole.split_inclusive("\n\n").map(str::to_owned).collect()
}

fn answer_path(client: Grammar, upstream: Grammar, prompt: &Prompt, usage: bool) -> AnswerPath {
    let trace = TraceId::new(1_700_000_000_000, [7; 10]);
    let mut path = AnswerPath::chat(client, upstream).with_labels("m", trace, 1_700_000_000);
    (path.options.usage, path.options.constraints) = (usage, AnswerConstraints::of(prompt));
    path
}
