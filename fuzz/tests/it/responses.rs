//! Fuzzes the Responses format: requests, streams and buffered responses.

use bolero::check;
use bytes::Bytes;
use conversation::request::upstream_body;
use dialects::{AnswerPath, AnswerStream, BufferedAnswer, buffered_answer, decode_request, read_prompt};
use domain::{Grammar, Operation, TraceId};
use json::validate;

use crate::material::seeded;

const REQUESTS: &[&str] = &[
    r#"{"model":"a/b","input":"Hello","instructions":"x","stream":true,"max_output_tokens":5,"user":"u","tool_choice":"auto"}"#,
    r#"{"input":[{"role":"user","content":[{"type":"input_text","text":"x"},{"type":"input_image","image_url":"data:image/png;base64,AA=="}]},{"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"h"}],"encrypted_content":"e"},{"type":"function_call","call_id":"c","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"c","output":[{"type":"input_text","text":"y"}]},{"type":"item_reference","id":"m"}],"model":"m"}"#,
    r#"{"model":"m","input":[],"tools":[{"type":"function","name":"f","parameters":{},"strict":true},{"type":"namespace","name":"n","tools":[{"type":"custom","name":"c"}]},{"type":"web_search"}],"tool_choice":{"type":"allowed_tools","mode":"required","tools":[{"type":"function","name":"f"}]},"text":{"format":{"type":"json_schema","name":"s","schema":{}}},"reasoning":{"effort":"low"},"include":["x"],"metadata":{"a":"b"}}"#,
];

const ANSWERS: &[&str] = &[
    "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"resp_1\",\"model\":\"m\",\"created_at\":1}}\n\ndata: {\"type\":\"response.output_item.added\",\"output_index\":0,\"item\":{\"type\":\"message\",\"id\":\"a\"}}\n\ndata: {\"type\":\"response.output_text.delta\",\"output_index\":0,\"content_index\":0,\"delta\":\"é\",\"logprobs\":[{}]}\n\ndata: {\"type\":\"response.completed\",\"response\":{\"id\":\"resp_1\",\"status\":\"completed\",\"output\":[],\"usage\":{\"input_tokens\":5,\"output_tokens\":1}}}\n\n",
    "data: {\"type\":\"response.output_item.added\",\"output_index\":0,\"item\":{\"type\":\"function_call\",\"call_id\":\"c\",\"name\":\"f\"}}\r\n\r\ndata: {\"type\":\"response.function_call_arguments.delta\",\"output_index\":0,\"delta\":\"{}\"}\r\n\r\ndata: {\"type\":\"response.reasoning_summary_text.delta\",\"output_index\":1,\"summary_index\":0,\"delta\":\"h\"}\r\n\r\ndata: {\"type\":\"response.incomplete\",\"response\":{\"status\":\"incomplete\",\"incomplete_details\":{\"reason\":\"max_output_tokens\"},\"output\":[]}}\r\n\r\n",
    "event: error\ndata: {\"type\":\"error\",\"code\":\"rate_limit_exceeded\",\"message\":\"m\"}\n\n",
    "{\"object\":\"response\",\"status\":\"completed\",\"output\":[{\"type\":\"reasoning\",\"summary\":[{\"text\":\"h\"}],\"encrypted_content\":\"e\"},{\"type\":\"message\",\"content\":[{\"type\":\"output_text\",\"text\":\"x\",\"annotations\":[{\"type\":\"url_citation\"}]}]},{\"type\":\"web_search_call\"}],\"usage\":{\"input_tokens\":1}}",
];

fn answer_path() -> AnswerPath {
    AnswerPath::chat(Grammar::Responses, Grammar::Responses).with_labels("m", TraceId::new(1, [1; 10]), 1)
}

#[test]
fn fuzz_responses_request() {
    seeded(REQUESTS, check!(), |input, ()| {
        let body = Bytes::copy_from_slice(input);
        match decode_request(Grammar::Responses, Operation::Chat, &body, None) {
            Ok(request) => {
                assert_eq!(validate(&body), Ok(()));
                let sent = upstream_body(&body, &request, "other \"model\"", true).concat();
                assert_eq!(validate(&sent), Ok(()), "{}", String::from_utf8_lossy(&sent));
                if let Err(fault) = read_prompt(Grammar::Responses, &body, &request) {
                    assert!(fault.fix.is_some(), "{fault}");
                }
            }
            Err(fault) => assert!(fault.fix.is_some(), "{fault}"),
        }
    });
}

/// A stream's output when it arrives in chunks of this size.
fn scan(bytes: &[u8], chunk: usize) -> (Vec<u8>, bool, String) {
    let mut stream = AnswerStream::new(answer_path());
    let mut out = Vec::new();
    let mut pieces = bytes.chunks(chunk.max(1));
    let failed = pieces.any(|chunk| stream.push(Bytes::copy_from_slice(chunk), &mut out).is_err())
        || stream.finish(&mut out).is_err();
    (out.concat(), failed, format!("{:?}", stream.facts()))
}

#[test]
fn fuzz_responses_stream() {
    seeded(ANSWERS, check!(), |input, chunk: &u8| {
        let bytes = input.to_vec();
        assert_eq!(scan(&bytes, usize::from(*chunk) % 9 + 1), scan(&bytes, bytes.len()));
    });
}

#[test]
fn fuzz_responses_answer() {
    seeded(ANSWERS, check!(), |input, ()| {
        let body = Bytes::copy_from_slice(input);
        if let Ok(BufferedAnswer { body: answer, facts, .. }) = buffered_answer(&answer_path(), body) {
            assert_eq!(validate(&answer), Ok(()));
            match buffered_answer(&answer_path(), answer.clone()) {
                Ok(again) => {
                    assert_eq!(validate(&again.body), Ok(()));
                    assert_eq!(again.facts.usage, facts.usage);
                }
                // An answer that ended without a reason is reported as failed.
                Err(fault) => {
                    let text = String::from_utf8_lossy(&answer);
                    assert!(text.contains("\"status\":\"failed\""), "{fault:?} of {text}");
                }
            }
        }
    });
}
