//! Tests of Converse as upstreams speak it and as clients do.

#[path = "../../../dialects/tests/shared/answer_path.rs"]
mod answer_path;
#[path = "../../../dialects/tests/shared/any_prompt.rs"]
mod any_prompt;
#[path = "../../../dialects/tests/shared/arbitrary.rs"]
mod arbitrary;
mod clients;
mod errors;
mod golden;
#[path = "../../../dialects/tests/shared/golden_exchanges.rs"]
mod golden_exchanges;
mod prompts;
#[path = "../../../dialects/tests/shared/render.rs"]
mod render;
mod streams;

use bytes::Bytes;
use conversation::answer::{ReadAnswer, ReadFrames, StreamFacts, StreamFault};
use domain::{Event, Grammar};
use framing::event_stream::encode_frame;

use self::answer_path::answer_path;
use crate::{Frames, Reader};
use dialects::AnswerStream;

/// The other dialects that clients speak.
const CLIENTS: [Grammar; 4] = [Grammar::Chat, Grammar::Responses, Grammar::Anthropic, Grammar::Gemini];

fn event(name: &str, payload: &str) -> Vec<u8> {
    let headers = [(":event-type", name), (":content-type", "application/json"), (":message-type", "event")];
    encode_frame(&headers, payload.as_bytes()).expect("it fits")
}

fn exception(name: &str, payload: &str) -> Vec<u8> {
    let headers = [(":exception-type", name), (":message-type", "exception")];
    encode_frame(&headers, payload.as_bytes()).expect("it fits")
}

/// The events of a complete stream, and how it ended.
fn read(stream: &[u8]) -> (Vec<Event>, Result<(), StreamFault>) {
    let (mut reader, mut frames, mut events) = (Reader::default(), Frames::default(), Vec::new());
    frames.push(stream);
    let end = loop {
        let result = match frames.next_frame(&mut reader, &mut events) {
            Ok(Some(frame)) => frame.result,
            Ok(None) => break reader.end(&mut events),
            Err(fault) => Err(fault),
        };
        if result.is_err() {
            break result;
        }
    };
    (events, end)
}

/// What a client gets of a stream that arrives in pieces of this size.
fn push_stream(
    stream: &[u8],
    size: usize,
    client: Grammar,
) -> (Vec<u8>, Result<(), StreamFault>, StreamFacts) {
    let mut answer = AnswerStream::new(answer_path(client, Grammar::Converse, false));
    let mut out = Vec::new();
    let end = stream
        .chunks(size.max(1))
        .try_for_each(|chunk| answer.push(Bytes::copy_from_slice(chunk), &mut out))
        .and_then(|()| answer.finish(&mut out));
    (out.concat(), end, answer.facts().clone())
}
