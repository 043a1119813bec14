//! Fuzzes Anthropic's wire format: requests, streams and buffered responses.

use bolero::check;
use bytes::Bytes;
use conversation::request::upstream_body;
use conversation::target::TargetModel;
use dialects::{AnswerPath, AnswerStream, buffered_answer, decode_request, read_prompt, translate_request};
use domain::{Abilities, Grammar, Operation};
use json::validate;

use crate::material::seeded;

const REQUESTS: &[&str] = &[
    r#"{"model":"a/b","max_tokens":9,"stream":true,"system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral","ttl":"1h"}}],"messages":[{"role":"user","content":"q"},{"role":"system","content":"s"},{"role":"assistant","content":[{"type":"thinking","thinking":"h","signature":""},{"type":"tool_use","id":"t","name":"f","input":{"n":9007199254740993}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":[{"type":"text","text":"x"}],"is_error":true},{"type":"text","text":"r"}]}],"tools":[{"name":"f","input_schema":{}}],"tool_choice":{"type":"any"}}"#,
    r#"{"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"x"}},{"type":"document","source":{"type":"text","data":"d"},"title":"t","citations":{"enabled":true}}]},{"role":"assistant","content":[{"type":"redacted_thinking","data":"r"},{"type":"thinking","signature":""},{"type":"thinking"},{"type":"text","text":"a "}]}],"model":"m","max_tokens":0,"thinking":{"type":"enabled","budget_tokens":2000},"output_config":{"effort":"low","format":{"type":"json_schema","schema":{"a":1}}},"temperature":1.5,"stop_sequences":[" ","x"],"metadata":{"user_id":"u"},"later":[1]}"#,
    r#"{"model":"m","max_tokens":1,"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"h"}]},{"role":"user","content":[]}]}"#,
];

const STREAMS: &[&str] = &[
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"model\":\"m\",\"usage\":{\"input_tokens\":5,\"output_tokens\":1}}}\n\nevent: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\nevent: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"é\"}}\n\nevent: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":7}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
    ": c\r\n\r\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"f\",\"input\":{}}}\r\n\r\ndata: {\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"server_tool_use\",\"input\":{}}}\r\n\r\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{}\"}}\r\rdata: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{}\"}}\n\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\"},\"usage\":{\"output_tokens\":7}}\n\n",
    "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"m\"}}\n\n",
    "{\"id\":\"msg_1\",\"type\":\"message\",\"model\":\"m\",\"content\":[{\"type\":\"thinking\",\"thinking\":\"h\",\"signature\":\"s\"},{\"type\":\"text\",\"text\":\"x\"},{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"f\",\"input\":{\"a\":1}}],\"stop_reason\":\"tool_use\",\"usage\":{\"input_tokens\":1,\"output_tokens\":1}}",
];

#[test]
fn fuzz_anthropic_request() {
    seeded(REQUESTS, check!(), |input, ()| {
        let body = Bytes::copy_from_slice(input);
        let request = match decode_request(Grammar::Anthropic, Operation::Chat, &body, None) {
            Ok(request) => request,
            Err(fault) => return assert!(fault.fix.is_some(), "{fault}"),
        };
        assert_eq!(validate(&body), Ok(()));
        let sent = Bytes::from(upstream_body(&body, &request, "other \"model\"", true).concat());
        let again =
            decode_request(Grammar::Anthropic, Operation::Chat, &sent, None).expect("what we send is read");
        assert_eq!(again.model, "other \"model\"");
        let prompt = match read_prompt(Grammar::Anthropic, &body, &request) {
            Ok(prompt) => prompt,
            Err(fault) => return assert!(fault.fix.is_some(), "{fault}"),
        };
        let target = TargetModel { model: "m", abilities: Abilities::default() };
        match translate_request(Grammar::Anthropic, &prompt, Grammar::Anthropic, &target, true) {
            Ok(spoken) => {
                let request = decode_request(Grammar::Anthropic, Operation::Chat, &spoken.body, None)
                    .expect("what we write is read");
                let prompt = read_prompt(Grammar::Anthropic, &spoken.body, &request).expect("and read whole");
                let twice = translate_request(Grammar::Anthropic, &prompt, Grammar::Anthropic, &target, true);
                assert_eq!(twice.expect("and said again").body, spoken.body);
            }
            Err(fault) => assert!(fault.fix.is_some(), "{fault}"),
        }
    });
}

fn answer_path(client: Grammar) -> AnswerPath {
    AnswerPath::chat(client, Grammar::Anthropic).with_labels(
        "m",
        "trc_0190c0ffee007000800000000000abcd".parse().expect("a trace id"),
        0,
    )
}

/// A stream's output when it arrives in chunks of this size.
fn translate(bytes: &[u8], chunk: usize, client: Grammar) -> (Vec<u8>, bool, String) {
    let mut stream = AnswerStream::new(answer_path(client));
    let mut out = Vec::new();
    let mut failed =
        bytes.chunks(chunk.max(1)).any(|chunk| stream.push(Bytes::copy_from_slice(chunk), &mut out).is_err());
    if !failed {
        failed = stream.finish(&mut out).is_err();
    }
    (out.concat(), failed, format!("{:?}", stream.facts()))
}

#[test]
fn fuzz_anthropic_stream() {
    seeded(STREAMS, check!(), |input, (chunk, is_own): &(u8, bool)| {
        let bytes = input.to_vec();
        let client = if *is_own { Grammar::Anthropic } else { Grammar::Chat };
        let whole = translate(&bytes, bytes.len(), client);
        assert_eq!(translate(&bytes, usize::from(*chunk) % 9 + 1, client), whole);
    });
}

#[test]
fn fuzz_anthropic_answer() {
    seeded(STREAMS, check!(), |input, ()| {
        let body = Bytes::copy_from_slice(input);
        if let Ok(whole) = buffered_answer(&answer_path(Grammar::Anthropic), body) {
            assert_eq!(validate(&whole.body), Ok(()));
        }
    });
}
