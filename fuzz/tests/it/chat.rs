//! The chat grammar: requests, streams, answers and errors.

use bolero::check;
use bytes::Bytes;
use dialects::chat::{
    StreamScanner, answer_text, class_of, decode_messages, decode_request, read_answer, read_error,
    upstream_body, whole_answer,
};
use dialects::json::validate;

use crate::material::{Bends, ITERATIONS, bent};

const REQUESTS: &[&str] = &[
    r#"{"model":"a/b","messages":[{"role":"user","content":"Hello"}],"stream":true,"n":1,"max_tokens":5}"#,
    r#"{"messages":[{"role":"user","content":[{"type":"text","text":"x"}]}],"model":"m","stream":true,"stream_options":{"x":1}}"#,
    r#"{"model":"m","messages":[{"role":"tool","content":null}],"stop":["a"],"seed":1,"stream_options":null,"user":"u"}"#,
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
    check!().with_iterations(ITERATIONS).with_type::<(u8, Bends)>().for_each(|(which, bends)| {
        let body = Bytes::from(bent(REQUESTS, *which, bends));
        let _ = decode_messages(&body);
        match decode_request(&body) {
            Ok(request) => {
                assert_eq!(validate(&body), Ok(()));
                let sent = upstream_body(&body, &request, "other \"model\"", true).concat();
                assert_eq!(validate(&sent), Ok(()), "{}", String::from_utf8_lossy(&sent));
                let again = decode_request(&Bytes::from(sent)).expect("what we send can be read");
                assert_eq!(again.model, "other \"model\"");
                assert_eq!(again.include_usage, request.stream || request.include_usage);
            }
            Err(fault) => assert!(fault.fix.is_some(), "{fault}"),
        }
    });
}

/// What a stream comes to when it arrives in chunks of this size.
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
    check!().with_iterations(ITERATIONS).with_type::<(u8, Bends, u8, bool)>().for_each(
        |(which, bends, chunk, hide)| {
            let bytes = bent(STREAMS, *which, bends);
            let whole = scan(&bytes, bytes.len(), *hide);
            assert_eq!(scan(&bytes, usize::from(*chunk) % 9 + 1, *hide), whole);
        },
    );
}

#[test]
fn fuzz_chat_answer() {
    check!().with_iterations(ITERATIONS).with_type::<(u8, Bends)>().for_each(|(which, bends)| {
        let body = Bytes::from(bent(STREAMS, *which, bends));
        let _ = answer_text(&body);
        if read_answer(&body).is_ok() {
            assert_eq!(validate(&body), Ok(()));
        }
        if let Ok((answer, _)) = whole_answer(body) {
            assert!(read_answer(&answer).is_ok(), "what is put together is an answer");
        }
    });
}

#[test]
fn fuzz_chat_error() {
    check!().with_iterations(ITERATIONS).with_type::<(u8, Bends, Option<u16>)>().for_each(
        |(which, bends, status)| {
            let report = read_error(&bent(ERRORS, *which, bends));
            let _ = class_of(*status, &report);
            assert!(report.message.is_none_or(|message| message.len() <= 1024 && !message.contains('\n')));
        },
    );
}
