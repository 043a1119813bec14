//! Embeddings requests and responses, translated between OpenAI's and Gemini's format.

use bytes::Bytes;
use conversation::answer::StreamFault;
use conversation::request::{Addressed, Request, VectorForm, upstream_body};
use conversation::target::TranslatedRequest;
use dialects::{AnswerPath, buffered_vectors, decode_request, translate_embeddings};
use domain::{Fault, FaultClass, Grammar, Operation, TraceId, Usage, UsageSource};
use proptest::prelude::*;

fn addressed(is_batch: bool) -> Addressed {
    Addressed { model: "e".to_owned(), is_batch, ..Addressed::default() }
}

fn decode(grammar: Grammar, is_batch: bool, body: &str) -> Result<Request, Box<Fault>> {
    let body = Bytes::copy_from_slice(body.as_bytes());
    decode_request(grammar, Operation::Embed, &body, Some(&addressed(is_batch)))
}

fn translate(
    client: Grammar,
    is_batch: bool,
    body: &str,
    upstream: Grammar,
) -> Result<TranslatedRequest, Box<Fault>> {
    let request = decode(client, is_batch, body)?;
    translate_embeddings(client, body.as_bytes(), &request, upstream, "m", false)
}

fn translated(client: Grammar, is_batch: bool, body: &str, upstream: Grammar) -> (String, Vec<String>) {
    let request =
        translate(client, is_batch, body, upstream).unwrap_or_else(|fault| panic!("{body}: {fault}"));
    (String::from_utf8(request.body.to_vec()).unwrap(), request.dropped)
}

fn answer_path(client: Grammar, upstream: Grammar, vectors: VectorForm) -> AnswerPath {
    let (operation, prompt_bytes) = (Operation::Embed, 9);
    let path = AnswerPath::chat(client, upstream).with_labels("asked\"for", TraceId::new(1, [7; 10]), 5);
    AnswerPath { operation, prompt_bytes, vectors, ..path }
}

fn read_answer(answer_path: &AnswerPath, body: &str) -> Result<(String, Option<Usage>), StreamFault> {
    let whole = buffered_vectors(answer_path, Bytes::copy_from_slice(body.as_bytes()))?;
    Ok((String::from_utf8(whole.body.to_vec()).unwrap(), whole.facts.usage))
}

const NUMBERS: VectorForm = VectorForm { as_base64: false, is_batch: false };
const BASE64: VectorForm = VectorForm { as_base64: true, is_batch: false };
const BATCH: VectorForm = VectorForm { as_base64: false, is_batch: true };

#[test]
fn a_list_of_texts_is_a_batch_and_back() {
    let body =
        r#"{"model":"e","input":["a\n","\u00e9"],"dimensions":8,"encoding_format":"base64","user":"u"}"#;
    let (written, dropped) = translated(Grammar::Chat, false, body, Grammar::Gemini);
    let batch = r#"{"requests":[{"model":"models/m","content":{"parts":[{"text":"a\n"}]},"outputDimensionality":8},{"model":"models/m","content":{"parts":[{"text":"é"}]},"outputDimensionality":8}]}"#;
    assert_eq!(written, batch);
    assert_eq!(dropped, ["user"]);
    let batch = batch.replace("models/m", "models/e");
    let (written, dropped) = translated(Grammar::Gemini, true, &batch, Grammar::Chat);
    assert_eq!(written, r#"{"model":"m","input":["a\n","é"],"dimensions":8,"encoding_format":"float"}"#);
    assert_eq!(dropped, [""; 0]);
}

#[test]
fn hints_are_dropped_by_their_names_and_parts_are_one_text() {
    let body = r#"{"content":{"role":"user","parts":[{"text":"a"},{"text":"b"}]},"task_type":"RETRIEVAL_DOCUMENT","title":"t"}"#;
    let (written, dropped) = translated(Grammar::Gemini, false, body, Grammar::Chat);
    assert_eq!(written, r#"{"model":"m","input":["a\nb"],"encoding_format":"float"}"#);
    assert_eq!(dropped, ["task_type", "title"]);
    let one = r#"{"content":{"parts":{"text":"a"}},"taskType":"SEMANTIC_SIMILARITY"}"#;
    let body = format!(r#"{{"requests":[{one},{one}]}}"#);
    assert_eq!(translated(Grammar::Gemini, true, &body, Grammar::Chat).1, ["taskType"]);
}

#[test]
fn what_can_not_be_said_is_refused_by_name() {
    let part =
        r#"{"content":{"parts":[{"text":"a"},{"inlineData":{"mimeType":"image/png","data":"AA=="}}]}}"#;
    let lengths =
        r#"{"requests":[{"content":{"parts":[]},"outputDimensionality":8},{"content":{"parts":[]}}]}"#;
    let many = format!(r#"{{"model":"e","input":[{}]}}"#, vec!["\"a\""; 101].join(","));
    for (client, is_batch, body, param) in [
        (Grammar::Chat, false, r#"{"model":"e","input":[1,2]}"#, "input"),
        (Grammar::Chat, false, r#"{"model":"e","input":[[1],[2]]}"#, "input"),
        (Grammar::Chat, false, &many, "input"),
        (Grammar::Chat, false, r#"{"model":"e","input":"a","input_type":"query"}"#, "input_type"),
        (Grammar::Gemini, false, part, "content.parts[1].inlineData"),
        (Grammar::Gemini, true, lengths, "requests[1].outputDimensionality"),
    ] {
        let upstream = if client == Grammar::Chat { Grammar::Gemini } else { Grammar::Chat };
        let fault = translate(client, is_batch, body, upstream).expect_err(body);
        assert_eq!((fault.class, fault.param.as_deref()), (FaultClass::Unsupported, Some(param)), "{body}");
        assert!(fault.fix.is_some(), "{body}");
    }
    let format = r#"{"model":"e","input":"a","encoding_format":"int8"}"#;
    let fault = translate(Grammar::Chat, false, format, Grammar::Gemini).unwrap_err();
    assert_eq!((fault.code, fault.param.as_deref()), ("invalid_value", Some("encoding_format")));
}

#[test]
fn a_request_is_read_and_sent_on_under_the_upstreams_name() {
    let body = r#"{"requests":[{"model":"models/e","content":{"parts":[{"text":"abc"}]}},{"content":{"parts":[{"text":"d"}]},"model":"e"}],"x":1}"#;
    let request = decode(Grammar::Gemini, true, body).unwrap();
    assert_eq!((&*request.model, request.prompt_bytes, request.stream), ("e", 4, false));
    assert_eq!(request.vectors(), BATCH);
    let bytes = Bytes::copy_from_slice(body.as_bytes());
    let sent = |name| String::from_utf8(upstream_body(&bytes, &request, name, true).concat()).unwrap();
    assert_eq!(sent("up"), body.replace("\"models/e\"", "\"models/up\"").replace("\"e\"", "\"models/up\""));
    assert_eq!(sent("e"), body.replace("\"e\"", "\"models/e\""));
    assert!(sent("tunedModels/t").contains(r#""model":"tunedModels/t""#));
}

#[test]
fn what_is_wrong_is_told_with_its_field() {
    let value = "invalid_value";
    for (is_batch, body, code, param) in [
        (false, "", "empty_body", None),
        (false, "[]", "invalid_type", None),
        (false, "{}", "missing_required_parameter", Some("content")),
        (false, r#"{"requests":[]}"#, "missing_required_parameter", Some("content")),
        (false, r#"{"content":"a"}"#, "invalid_type", Some("content")),
        (false, r#"{"content":{"parts":[{"text":1}]}}"#, "invalid_type", Some("content.parts[0].text")),
        (false, r#"{"content":{},"content":{}}"#, "duplicate_field", Some("content")),
        (false, r#"{"content":{},"model":"models/other"}"#, value, Some("model")),
        (false, r#"{"content":{},"output_dimensionality":-1}"#, value, Some("output_dimensionality")),
        (true, r#"{"content":{}}"#, "missing_required_parameter", Some("requests")),
        (true, r#"{"requests":[]}"#, value, Some("requests")),
        (true, r#"{"requests":[1]}"#, "invalid_type", Some("requests[0]")),
        (true, r#"{"requests":[{}]}"#, "missing_required_parameter", Some("requests[0].content")),
        (true, r#"{"requests":[{"content":{},"model":5}]}"#, "invalid_type", Some("requests[0].model")),
        (true, r#"{"requests":[{"content":{},"model":"models/x"}]}"#, value, Some("requests[0].model")),
    ] {
        let fault = decode(Grammar::Gemini, is_batch, body).expect_err(body);
        assert_eq!((fault.code, fault.param.as_deref()), (code, param), "{body}: {fault}");
    }
}

#[test]
fn vectors_keep_their_digits_in_order() {
    let body = r#"{"object":"list","data":[{"index":1,"embedding":[3.10e-2]},{"index":0,"embedding":[0.10000000000000001,
        -0]}],"usage":{"prompt_tokens":7,"total_tokens":7}}"#;
    let (written, usage) = read_answer(&answer_path(Grammar::Gemini, Grammar::Chat, BATCH), body).unwrap();
    let expected = r#"{"embeddings":[{"values":[0.10000000000000001,-0]},{"values":[3.10e-2]}],"usageMetadata":{"promptTokenCount":7}}"#;
    assert_eq!(written, expected);
    assert_eq!(usage.unwrap().input, 7);
    let (written, _) = read_answer(&answer_path(Grammar::Gemini, Grammar::Chat, NUMBERS), body).unwrap();
    let expected =
        r#"{"embedding":{"values":[0.10000000000000001,-0]},"usageMetadata":{"promptTokenCount":7}}"#;
    assert_eq!(written, expected);
}

#[test]
fn what_is_not_counted_is_guessed_for_who_must_be_told() {
    let body = "{\"embeddings\":[{\"values\":[1.0,\n -0.50]}]}";
    let (written, usage) = read_answer(&answer_path(Grammar::Chat, Grammar::Gemini, NUMBERS), body).unwrap();
    let expected = r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[1.0,-0.50]}],"model":"asked\"for","usage":{"prompt_tokens":3,"total_tokens":3}}"#;
    assert_eq!((&*written, usage), (expected, None));
    let (written, _) = read_answer(&answer_path(Grammar::Chat, Grammar::Gemini, BASE64), body).unwrap();
    assert!(written.contains(r#""embedding":"AACAPwAAAL8=""#), "{written}");
    let counted = r#"{"embedding":{"values":[1]},"usageMetadata":{"promptTokenCount":5}}"#;
    let (passed, usage) =
        read_answer(&answer_path(Grammar::Gemini, Grammar::Gemini, NUMBERS), counted).unwrap();
    let usage = usage.unwrap();
    assert_eq!((&*passed, usage.input, usage.source), (counted, 5, UsageSource::Provider));
}

#[test]
fn what_is_no_answer_is_found() {
    for (upstream, body) in [
        (Grammar::Gemini, ""),
        (Grammar::Gemini, "<html>"),
        (Grammar::Gemini, "[]"),
        (Grammar::Gemini, "{}"),
        (Grammar::Gemini, r#"{"embeddings":[{}]}"#),
        (Grammar::Gemini, r#"{"embeddings":[{"values":[1]}"#),
        (Grammar::Chat, r#"{"data":[]}"#),
        (Grammar::Chat, r#"{"data":[{"index":0}]}"#),
        (Grammar::Chat, r#"{"data":[{"embedding":"AAA="}]}"#),
        (Grammar::Chat, r#"{"data":[{"embedding":"!"}]}"#),
    ] {
        let client = if upstream == Grammar::Chat { Grammar::Gemini } else { Grammar::Chat };
        let fault = read_answer(&answer_path(client, upstream, NUMBERS), body).expect_err(body);
        assert!(matches!(fault, StreamFault::Broken(_)), "{body}");
    }
    for upstream in [Grammar::Gemini, Grammar::Chat] {
        let body = r#"{"error":{"code":429,"message":"x","status":"RESOURCE_EXHAUSTED"}}"#;
        let fault = read_answer(&answer_path(Grammar::Gemini, upstream, NUMBERS), body).unwrap_err();
        assert!(matches!(fault, StreamFault::Upstream(..)));
    }
}

proptest! {
    #[test]
    fn texts_survive_both_grammars(texts in prop::collection::vec(".{0,12}", 1..5), dimensions in prop::option::of(1..4096_u64)) {
        let body = serde_json::json!({"model": "e", "input": texts, "dimensions": dimensions}).to_string();
        let (batch, _) = translated(Grammar::Chat, false, &body, Grammar::Gemini);
        let (back, _) = translated(Grammar::Gemini, true, &batch.replace(r#""model":"models/m""#, r#""model":"models/e""#), Grammar::Chat);
        let back: serde_json::Value = serde_json::from_str(&back).unwrap();
        prop_assert_eq!(&back["input"], &serde_json::json!(texts));
        prop_assert_eq!(back["dimensions"].as_u64(), dimensions);
    }
}
