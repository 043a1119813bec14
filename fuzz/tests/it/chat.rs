//! Fuzzes the chat completions format: requests, streams, buffered responses and errors.

use bolero::check;
use bytes::Bytes;
use chat::{StreamScanner, answer_text, decode_request, normalise_completion, read_answer};
use conversation::losses::DroppedFields;
use conversation::request::upstream_body;
use conversation::target::TargetModel;
use conversation::upstream_error::{class_of, read_error};
use dialects::{AnswerPath, AnswerStream, write_prompt};
use domain::{Abilities, Grammar, Operation, TraceId};
use json::validate;
use runtime::read_runtime;

use crate::material::seeded;

const REQUESTS: &[&str] = &[
    r#"{"model":"a/b","messages":[{"role":"user","content":"Hello"}],"stream":true,"n":1,"max_tokens":5}"#,
    r#"{"messages":[{"role":"user","content":[{"type":"text","text":"x"}]}],"model":"m","stream":true,"stream_options":{"x":1}}"#,
    r#"{"model":"m","messages":[{"role":"tool","content":null}],"stop":["a"],"seed":1,"stream_options":null,"user":"u"}"#,
    r#"{"model":"m","messages":[],"prompt":["a"],"min_p":0.1,"guided_choice":["a"],"structured_outputs":{"regex":"a"},"metadata":{"hybrie":{"adapter_id":"x"}}}"#,
];

const STREAMS: &[&str] = &[
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"é\"},\"finish_reason\":null}],\"usage\":null}\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":1}}\n\ndata: [DONE]\n\n",
    "\u{feff}: c\r\n\r\ndata: {\"choices\":[{\"delta\":\rdata: {\"tool_calls\":[{\"id\":\"a\",\"function\":{\"arguments\":\"{}\"}}]}}]}\r\rdata: [DONE]\r\r",
    "data: {\"error\":{\"message\":\"m\",\"code\":\"rate_limit_exceeded\"}}\n\n",
    "{\"choices\":[{\"message\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":1}}",
];

const ERRORS: &[&str] = &[
    r#"{"error":{"message":"m","type":"t","param":"p","code":"insufficient_quota"}}"#,
    r#"[{"error":{"message":"m","code":400,"status":"INVALID_ARGUMENT"}}]"#,
    r#"{"detail":[{"loc":["body"],"msg":"m"}]}"#,
    r#"{"object":"error","message":"maximum context length","code":400}"#,
    "plain words with sk-12345678 inside",
];

#[test]
fn fuzz_chat_request() {
    seeded(REQUESTS, check!(), |input, ()| {
        let body = Bytes::copy_from_slice(input);
        match decode_request(&body) {
            Ok(request) => {
                assert_eq!(validate(&body), Ok(()));
                let sent = upstream_body(&body, &request, "other \"model\"", true).concat();
                assert_eq!(validate(&sent), Ok(()), "{}", String::from_utf8_lossy(&sent));
                let again = decode_request(&Bytes::from(sent)).expect("what we send can be read");
                assert_eq!(again.model, "other \"model\"");
                assert_eq!(again.include_usage, request.stream || request.include_usage);
                for operation in [Operation::Chat, Operation::Complete] {
                    if let Err(fault) = read_runtime(Grammar::Chat, operation, &body, &request, false) {
                        assert!(fault.fix.is_some(), "{fault}");
                    }
                }
            }
            Err(fault) => assert!(fault.fix.is_some(), "{fault}"),
        }
    });
}

/// Requests that together use every part of the intermediate form.
const PROMPTS: &[&str] = &[
    r#"{"messages":[{"role":"developer","content":[{"type":"text","text":"x","prompt_cache_breakpoint":{"mode":"explicit","ttl":"30m"}}]},{"role":"user","name":"n","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AA==","detail":"low"}},{"type":"input_audio","input_audio":{"data":"AA==","format":"wav"}},{"type":"file","file":{"file_data":"data:application/pdf;base64,AA==","filename":"f"}}]}],"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"},"strict":true}},{"type":"custom","custom":{"name":"g"}}],"tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[{"type":"function","function":{"name":"f"}}]}}}"#,
    r#"{"messages":[{"role":"assistant","content":null,"reasoning_content":"r","tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"},"extra_content":{"google":{"thought_signature":"s"}}}]},{"role":"tool","tool_call_id":"a","content":"r"},{"role":"assistant","function_call":{"name":"f","arguments":""}},{"role":"function","name":"f","content":"r"}],"stop":["a"],"seed":-1,"n":2,"temperature":0.5,"logit_bias":{"1":2},"response_format":{"type":"json_schema","json_schema":{"name":"x","schema":{}}},"reasoning_effort":"low","metadata":{"k":"v"},"prompt_cache_options":{"mode":"implicit","ttl":"12h"},"thinking":{"type":"enabled","budget_tokens":9}}"#,
];

#[test]
fn fuzz_chat_prompt() {
    seeded(PROMPTS, check!(), |input, ()| {
        let body = input.to_vec();
        let request = conversation::request::Request::default();
        match dialects::read_prompt(Grammar::Chat, &body, &request) {
            Ok(prompt) => {
                assert_eq!(validate(&body), Ok(()));
                let target = TargetModel { model: "m", abilities: Abilities::default() };
                let mut losses = DroppedFields::new(Grammar::Chat, Grammar::Chat, dialects::feature_names);
                match write_prompt(Grammar::Chat, &prompt, &target, &mut losses) {
                    Ok(written) => {
                        let again = dialects::read_prompt(Grammar::Chat, &written, &request);
                        assert!(again.is_ok(), "{}", String::from_utf8_lossy(&written));
                    }
                    Err(fault) => assert!(fault.param.is_some(), "{fault}"),
                }
            }
            Err(fault) => assert!(fault.fix.is_some(), "{fault}"),
        }
    });
}

/// A stream's translation into another format when it arrives in chunks of this size.
fn translate(bytes: &[u8], chunk: usize) -> (Vec<u8>, bool, String) {
    let answer_path =
        AnswerPath::chat(Grammar::Responses, Grammar::Chat).with_labels("m", TraceId::new(1, [0; 10]), 1);
    let mut stream = AnswerStream::new(answer_path);
    let mut out = Vec::new();
    let mut pieces = bytes.chunks(chunk.max(1)).map(Bytes::copy_from_slice);
    let mut failed = pieces.any(|piece| stream.push(piece, &mut out).is_err());
    if !failed {
        failed = stream.finish(&mut out).is_err();
    }
    (out.concat(), failed, format!("{:?}", stream.facts()))
}

#[test]
fn fuzz_chat_translation() {
    seeded(STREAMS, check!(), |input, chunk: &u8| {
        let bytes = input.to_vec();
        let whole = translate(&bytes, bytes.len());
        assert_eq!(translate(&bytes, usize::from(*chunk) % 9 + 1), whole);
    });
}

/// A stream's output when it arrives in chunks of this size.
fn scan(bytes: &[u8], chunk: usize, hide: bool) -> (Vec<u8>, bool, String) {
    let mut scanner = StreamScanner::new(hide);
    let mut out = Vec::new();
    let mut failed = bytes
        .chunks(chunk.max(1))
        .any(|chunk| scanner.push(Bytes::copy_from_slice(chunk), &mut out).is_err());
    if !failed {
        failed = scanner.finish(&mut out).is_err();
    }
    (out.concat(), failed, format!("{:?}", scanner.facts()))
}

#[test]
fn fuzz_chat_stream() {
    seeded(STREAMS, check!(), |input, (chunk, hide): &(u8, bool)| {
        let bytes = input.to_vec();
        let whole = scan(&bytes, bytes.len(), *hide);
        assert_eq!(scan(&bytes, usize::from(*chunk) % 9 + 1, *hide), whole);
    });
}

#[test]
fn fuzz_chat_answer() {
    seeded(STREAMS, check!(), |input, ()| {
        let body = Bytes::copy_from_slice(input);
        let _ = answer_text(&body);
        if read_answer(&body).is_ok() {
            assert_eq!(validate(&body), Ok(()));
        }
        if let Ok((answer, _)) = normalise_completion(body, true) {
            assert!(read_answer(&answer).is_ok(), "what is put together is an answer");
        }
    });
}

#[test]
fn fuzz_chat_error() {
    seeded(ERRORS, check!(), |input, status: &Option<u16>| {
        let report = read_error(input);
        let _ = class_of(*status, &report);
        assert!(report.message.is_none_or(|message| message.len() <= 1024 && !message.contains('\n')));
    });
}
