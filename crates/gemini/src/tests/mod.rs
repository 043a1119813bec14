//! Tests of Gemini's dialect in both directions.

mod address;
#[path = "../../../dialects/tests/shared/answer_path.rs"]
mod answer_path;
#[path = "../../../dialects/tests/shared/arbitrary.rs"]
mod arbitrary;
mod arbitrary_answer;
mod golden;
#[path = "../../../dialects/tests/shared/golden_exchanges.rs"]
mod golden_exchanges;
mod prompts;
#[path = "../../../dialects/tests/shared/render.rs"]
mod render;
mod requests;
mod round_trip;
mod writing;

use bytes::Bytes;
use conversation::answer::{AnswerOptions, ReadAnswer, StreamFault, WriteAnswer};
use conversation::request::Addressed;
use domain::{Event, Operation, Prompt};

use self::answer_path::answer_path;
use crate::{Reader, Writer, decode_request, read_prompt};

/// A path for tests where it does not matter.
fn addressed() -> Addressed {
    Addressed { model: "gemini-2.5-flash".to_owned(), ..Addressed::default() }
}

fn read(body: &str) -> Prompt {
    let bytes = Bytes::copy_from_slice(body.as_bytes());
    let request = decode_request(Operation::Chat, &bytes, Some(&addressed()))
        .unwrap_or_else(|fault| panic!("{body}: {fault}"));
    read_prompt(&bytes, &request).unwrap_or_else(|fault| panic!("{body}: {fault}"))
}

fn wish() -> AnswerOptions {
    AnswerOptions { model: "asked-for".to_owned(), is_same_dialect: true, ..AnswerOptions::default() }
}

/// The events of a stream, and how it ended.
fn read_events<'a>(data: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Event>, Result<(), StreamFault>) {
    let mut reader = Reader::default();
    let mut out = Vec::new();
    for data in data {
        if let Err(fault) = reader.event(b"", data, &mut out) {
            return (out, Err(fault));
        }
    }
    let end = reader.end(&mut out);
    (out, end)
}

fn write_events(events: impl IntoIterator<Item = Event>) -> Vec<u8> {
    let mut writer = Writer::new(wish());
    let mut out = Vec::new();
    events.into_iter().for_each(|event| writer.event(event, &mut out));
    out
}

/// The documents of a stream that we wrote, which holds nothing else.
fn documents(stream: &[u8]) -> Vec<&[u8]> {
    let text = std::str::from_utf8(stream).expect("UTF-8");
    let mut frames: Vec<&str> = text.split("\r\n\r\n").collect();
    assert_eq!(frames.pop(), Some(""), "every frame is ended: {text}");
    frames
        .into_iter()
        .map(|frame| {
            let json = frame.strip_prefix("data: ").unwrap_or_else(|| panic!("no data: {frame}"));
            assert!(!json.starts_with(' ') && !json.contains(['\r', '\n']), "{json}");
            assert_eq!(json::validate(json.as_bytes()), Ok(()), "{json}");
            json.as_bytes()
        })
        .collect()
}
