//! Streams and answers of the converse grammar.

use bolero::check;
use bytes::Bytes;
use dialects::{AnswerStream, VectorForm, Way, read_converse_error, whole_answer};
use domain::{Grammar, Operation, TraceId};
use framing::event_stream::encode_frame;

use crate::material::{Bends, ITERATIONS, bent};

/// Events of a stream, each its name and its payload.
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

fn way(client: Grammar) -> Way {
    Way {
        is_loose: false,
        operation: Operation::Chat,
        client,
        upstream: Grammar::Converse,
        usage: true,
        as_array: false,
        model: "m".to_owned(),
        trace: TraceId::new(1, [7; 10]),
        created_unix_s: 1,
        namespaces: Vec::new(),
        vectors: VectorForm::default(),
        prompt_bytes: 0,
        keeps_text: false,
        form: dialects::AnswerForm::default(),
        guess: None,
        film: None,
    }
}

/// What a stream comes to when it arrives in chunks of this size.
fn pass(client: Grammar, bytes: &[u8], size: usize) -> (Vec<u8>, bool, String) {
    let mut stream = AnswerStream::new(way(client));
    let mut out = Vec::new();
    let mut failed =
        bytes.chunks(size.max(1)).any(|chunk| stream.push(Bytes::copy_from_slice(chunk), &mut out).is_err());
    if !failed {
        failed = stream.finish(&mut out).is_err();
    }
    (out.concat(), failed, format!("{:?}", stream.facts()))
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
            for client in [Grammar::Chat, Grammar::Anthropic] {
                let whole = pass(client, &stream, stream.len());
                assert_eq!(pass(client, &stream, usize::from(*size) % 40 + 1), whole);
            }
        },
    );
}

#[test]
fn fuzz_converse_answer() {
    check!().with_iterations(ITERATIONS).with_type::<(u8, Bends)>().for_each(|(which, bends)| {
        let body = Bytes::from(bent(ANSWERS, *which, bends));
        let (report, _) = read_converse_error(Some(400), None, &body);
        assert_ne!(report.message.as_deref(), Some(""));
        let told: Vec<bool> = [Grammar::Chat, Grammar::Responses, Grammar::Anthropic, Grammar::Gemini]
            .into_iter()
            .map(|client| {
                whole_answer(&way(client), body.clone()).is_ok_and(|answer| {
                    assert_eq!(dialects::json::validate(&answer.body), Ok(()));
                    true
                })
            })
            .collect();
        assert!(told.iter().all(|is_answer| Some(is_answer) == told.first()), "{told:?}");
    });
}
