//! Fuzzes the Converse format: paths, requests, streams and buffered responses.

use bolero::check;
use bytes::Bytes;
use conversation::losses::DroppedFields;
use conversation::request::{Addressed, upstream_body};
use conversation::target::TargetModel;
use converse::{read_error, read_model_path};
use dialects::{AnswerPath, AnswerStream, buffered_answer, decode_request, read_prompt, write_prompt};
use domain::{Abilities, Grammar, Operation, TraceId};
use framing::event_stream::{FrameDecoder, encode_frame};
use json::validate;

use crate::material::{Bends, ITERATIONS, bent, seeded};

const REQUESTS: &[&str] = &[
    r#"{"messages":[{"role":"user","content":[{"text":"Hi"},{"image":{"format":"png","source":{"bytes":"AAAA"}}},{"cachePoint":{"type":"default","ttl":"1h"}}]}],"system":[{"text":"x"}],"inferenceConfig":{"maxTokens":9,"temperature":0.5,"stopSequences":["a"]},"additionalModelRequestFields":{"thinking":{"type":"enabled","budget_tokens":1024},"top_k":5}}"#,
    r#"{"messages":[{"role":"user","content":[{"text":"a"}]},{"role":"assistant","content":[{"reasoningContent":{"reasoningText":{"text":"w","signature":"S"}}},{"toolUse":{"toolUseId":"t","name":"f","input":{"a":1}}}]},{"role":"user","content":[{"toolResult":{"toolUseId":"t","content":[{"json":{"b":2}}],"status":"error"}}]}],"toolConfig":{"tools":[{"toolSpec":{"name":"f","inputSchema":{"json":{"type":"object"}}}}],"toolChoice":{"any":{}}}}"#,
    r#"{"input":{"converse":{"messages":[{"role":"user","content":[{"document":{"format":"pdf","name":"n","source":{"bytes":"AAAA"}}},{"reasoningContent":{"reasoningText":{"text":"w"}}}]}]}},"messages":[{"role":"assistant","content":[{"reasoningContent":{"reasoningText":{"text":"w"}}},{"text":"x"}]}],"outputConfig":{"textFormat":{"type":"json_schema","structure":{"jsonSchema":{"schema":"{}"}}},"effort":"low"}}"#,
];

const ADDRESSES: &[&str] = &[
    "openai%2Fgpt-5/converse",
    "bedrock:us.anthropic.x-v1:0/converse-stream",
    "arn%3Aaws%3Ax%2Fy/count-tokens",
];

/// Events of a stream, each with its name and payload.
const EVENTS: &[&str] = &[
    "messageStart {\"role\":\"assistant\",\"p\":\"ab\"}",
    "contentBlockDelta {\"contentBlockIndex\":0,\"delta\":{\"text\":\"é\"}}",
    "contentBlockDelta {\"contentBlockIndex\":1,\"delta\":{\"reasoningContent\":{\"text\":\"a\"}}}",
    "contentBlockDelta {\"contentBlockIndex\":1,\"delta\":{\"reasoningContent\":{\"signature\":\"S==\"}}}",
    "contentBlockStart {\"contentBlockIndex\":2,\"start\":{\"toolUse\":{\"toolUseId\":\"t\",\"name\":\"f\"}}}",
    "contentBlockDelta {\"contentBlockIndex\":2,\"delta\":{\"toolUse\":{\"input\":\"{\\\"a\\\":1}\"}}}",
    "contentBlockStop {\"contentBlockIndex\":2}",
    "messageStop {\"stopReason\":\"tool_use\"}",
    "metadata {\"usage\":{\"inputTokens\":3,\"outputTokens\":4,\"cacheDetails\":[{\"ttl\":\"1h\",\"inputTokens\":2}]}}",
];

const ANSWERS: &[&str] = &[
    "{\"output\":{\"message\":{\"role\":\"assistant\",\"content\":[{\"text\":\"Hi\"},{\"toolUse\":{\"toolUseId\":\"t\",\"name\":\"f\",\"input\":{\"a\":1}}}]}},\"stopReason\":\"tool_use\",\"usage\":{\"inputTokens\":3,\"outputTokens\":4}}",
    "{\"output\":{\"message\":{\"content\":[{\"reasoningContent\":{\"reasoningText\":{\"text\":\"a\",\"signature\":\"S\"}}},{\"citationsContent\":{\"content\":[{\"text\":\"b\"}],\"citations\":[{\"title\":\"t\"}]}},{\"image\":{\"format\":\"png\"}}]}},\"stopReason\":\"end_turn\"}",
    "{\"__type\":\"com.amazon#ThrottlingException\",\"message\":\"m\",\"originalStatusCode\":429}",
];

fn answer_path(client: Grammar) -> AnswerPath {
    AnswerPath::chat(client, Grammar::Converse).with_labels("m", TraceId::new(1, [7; 10]), 1)
}

/// A stream's output when it arrives in chunks of this size.
fn pass(client: Grammar, bytes: &[u8], size: usize) -> (Vec<u8>, bool, String) {
    let mut stream = AnswerStream::new(answer_path(client));
    let mut out = Vec::new();
    let mut failed =
        bytes.chunks(size.max(1)).any(|chunk| stream.push(Bytes::copy_from_slice(chunk), &mut out).is_err());
    if !failed {
        failed = stream.finish(&mut out).is_err();
    }
    (out.concat(), failed, format!("{:?}", stream.facts()))
}

#[test]
fn fuzz_converse_address() {
    seeded(ADDRESSES, check!(), |input, ()| {
        let path = String::from_utf8_lossy(input).into_owned();
        match read_model_path(&path) {
            Ok((addressed, _)) => {
                assert!(!addressed.model.is_empty());
                assert!(addressed.model.split('/').all(|part| part != ".." && part != "."), "{path}");
            }
            Err(fault) => assert!(fault.fix.is_some(), "{fault}"),
        }
    });
}

#[test]
fn fuzz_converse_request() {
    let addressed = Addressed { model: "m".to_owned(), stream: true, ..Addressed::default() };
    seeded(REQUESTS, check!(), |input, ()| {
        let body = Bytes::copy_from_slice(input);
        for operation in [Operation::Chat, Operation::Count] {
            let request = match decode_request(Grammar::Converse, operation, &body, Some(&addressed)) {
                Ok(request) => request,
                Err(fault) => {
                    assert!(fault.fix.is_some(), "{fault}");
                    continue;
                }
            };
            let sent = upstream_body(&body, &request, "other", true).concat();
            assert_eq!(validate(&sent), Ok(()), "{}", String::from_utf8_lossy(&sent));
            let Ok(prompt) = read_prompt(Grammar::Converse, &body, &request) else { continue };
            for upstream in Grammar::ALL {
                let mut losses = DroppedFields::new(Grammar::Converse, upstream, dialects::feature_names);
                let target = TargetModel { model: "m", abilities: Abilities::default() };
                if let Ok(written) = write_prompt(upstream, &prompt, &target, &mut losses) {
                    assert_eq!(validate(&written), Ok(()), "{}", String::from_utf8_lossy(&written));
                }
            }
        }
    });
}

/// Whatever an upstream sends, a client of this format receives complete frames.
fn check_frames(stream: &[u8]) {
    let mut decoder = FrameDecoder::new();
    decoder.push(stream);
    while decoder.next_frame().expect("a frame").is_some() {}
    assert!(decoder.is_empty());
}

#[test]
fn fuzz_converse_stream() {
    check!().with_iterations(ITERATIONS).with_type::<(Vec<u8>, Bends, u8, u8)>().for_each(
        |(which, bends, bent_one, size)| {
            let mut stream = Vec::new();
            for (at, which) in which.iter().take(12).enumerate() {
                let is_bent = at == usize::from(*bent_one) % 12;
                let text = bent(EVENTS, *which, if is_bent { bends } else { const { &Vec::new() } });
                let text = String::from_utf8_lossy(&text).into_owned();
                let (name, payload) = text.split_once(' ').unwrap_or((&text, ""));
                let headers = [(":message-type", "event"), (":event-type", name)];
                stream.extend(encode_frame(&headers, payload.as_bytes()).unwrap_or_default());
            }
            for client in [Grammar::Chat, Grammar::Anthropic, Grammar::Converse] {
                let whole = pass(client, &stream, stream.len());
                assert_eq!(pass(client, &stream, usize::from(*size) % 40 + 1), whole);
                if client == Grammar::Converse {
                    check_frames(&whole.0);
                }
            }
        },
    );
}

#[test]
fn fuzz_converse_answer() {
    seeded(ANSWERS, check!(), |input, ()| {
        let body = Bytes::copy_from_slice(input);
        let (report, _) = read_error(Some(400), None, &body);
        assert_ne!(report.message.as_deref(), Some(""));
        let outcomes: Vec<bool> =
            [Grammar::Chat, Grammar::Responses, Grammar::Anthropic, Grammar::Gemini, Grammar::Converse]
                .into_iter()
                .map(|client| {
                    buffered_answer(&answer_path(client), body.clone()).is_ok_and(|answer| {
                        assert_eq!(json::validate(&answer.body), Ok(()));
                        true
                    })
                })
                .collect();
        assert!(outcomes.iter().all(|is_answer| Some(is_answer) == outcomes.first()), "{outcomes:?}");
    });
}
