//! Round trips: whatever is written reads back the same.

use bytes::Bytes;
use conversation::answer::{ReadAnswer, StreamFault, WriteAnswer};
use conversation::losses::DroppedFields;
use conversation::target::TargetModel;
use dialects::{AnswerStream, BufferedAnswer, buffered_answer};
use domain::{Abilities, Event, Grammar, Json, PartKind, Prompt, TraceId};
use proptest::prelude::*;

use super::arbitrary::prompt;
use super::arbitrary_answer::answer;
use super::{addressed, answer_path, documents, read_events, wish, write_events};
use crate::{Reader, Writer, decode_request, read_prompt, write_prompt};

/// Joins the deltas of a part, which may be split anywhere. A part ends where the next thing of its choice
/// starts.
fn normal(events: Vec<Event>) -> Vec<Event> {
    let mut out: Vec<Event> = Vec::new();
    for event in events {
        match (out.last_mut(), event) {
            (
                Some(Event::Delta { choice, part, text }),
                Event::Delta { choice: same_choice, part: same_part, text: more },
            ) if (*choice, *part) == (same_choice, same_part) => text.push_str(&more),
            (_, event) => out.push(event),
        }
    }
    // A part ends when its own choice continues with something else, so the order between choices does not
    // matter.
    out.sort_by_key(|event| match event {
        Event::Start { .. } => (0, 0),
        Event::Begin { choice, .. }
        | Event::Delta { choice, .. }
        | Event::Signature { choice, .. }
        | Event::Citation { choice, .. }
        | Event::Logprobs { choice, .. }
        | Event::End { choice, .. } => (1, *choice),
        Event::Finish { choice, .. } => (2, *choice),
        Event::Usage(_) => (3, 0),
        Event::Done => (4, 0),
    });
    out
}

/// Replaces line breaks in raw JSON, as the writer does: they come from the server's formatting, not from the
/// model.
fn compact_foreign(events: Vec<Event>) -> Vec<Event> {
    events
        .into_iter()
        .map(|event| match event {
            Event::Begin { choice, part, kind: PartKind::Foreign { kind, json } } => Event::Begin {
                choice,
                part,
                kind: PartKind::Foreign { kind, json: Json(json.0.replace('\n', " ")) },
            },
            event => event,
        })
        .collect()
}

/// The result of pushing an upstream's stream in chunks of this size.
fn push_stream(stream: &[u8], size: usize, as_array: bool) -> (Vec<u8>, Result<(), StreamFault>, String) {
    let mut answer = AnswerStream::new(answer_path(Grammar::Gemini, Grammar::Gemini, as_array));
    let mut out = Vec::new();
    let end = stream
        .chunks(size.max(1))
        .try_for_each(|chunk| answer.push(Bytes::copy_from_slice(chunk), &mut out))
        .and_then(|()| answer.finish(&mut out));
    (out.concat(), end, format!("{:?}", answer.facts()))
}

proptest! {
    #[test]
    fn every_prompt_that_can_be_said_comes_back(prompt in prompt()) {
        let mut losses = DroppedFields::new(Grammar::Chat, Grammar::Gemini, dialects::feature_names);
        let target = TargetModel { model: "m", abilities: Abilities::default() };
        let body = Bytes::from(write_prompt(&prompt, &target, &mut losses).expect("it can be said"));
        prop_assert_eq!(losses.finish(false).expect("nothing is lost"), Vec::<String>::new());
        let mut addressed = addressed();
        addressed.stream = prompt.stream;
        let request = decode_request(domain::Operation::Chat, &body, Some(&addressed)).expect("it is a request");
        let again: Prompt = read_prompt(&body, &request).expect("it can be read");
        prop_assert_eq!(again, prompt, "{}", String::from_utf8_lossy(&body));
    }

    #[test]
    fn every_answer_that_can_be_told_comes_back(events in answer()) {
        let stream = write_events(events.clone());
        let (again, end) = read_events(documents(&stream));
        prop_assert_eq!(end, Ok(()));
        prop_assert_eq!(normal(again), normal(compact_foreign(events.clone())), "{}", String::from_utf8_lossy(&stream));
        let whole = Writer::new(wish()).write_buffered(events.clone());
        prop_assert_eq!(json::validate(&whole), Ok(()));
        let mut again = Vec::new();
        prop_assert_eq!(Reader::default().read_buffered(&whole, &mut again), Ok(()));
        // In a buffered response a thought's signature comes together with its text.
        prop_assert_eq!(normal(again), normal(events), "{}", String::from_utf8_lossy(&whole));
    }

    #[test]
    fn a_stream_passes_as_it_is_wherever_it_is_split(events in answer(), size in 1_usize..40) {
        let stream = write_events(events);
        let whole = push_stream(&stream, stream.len(), false);
        prop_assert_eq!(&whole.0, &stream);
        prop_assert_eq!(&whole.1, &Ok(()));
        prop_assert_eq!(push_stream(&stream, size, false), whole);
        let (array, end, _) = push_stream(&stream, size, true);
        prop_assert_eq!(end, Ok(()));
        prop_assert_eq!(json::validate(&array), Ok(()), "{}", String::from_utf8_lossy(&array));
    }

    #[test]
    fn an_array_and_a_whole_answer_in_the_place_of_a_stream_are_told_as_one(events in answer(), size in 1_usize..40) {
        let stream = write_events(events.clone());
        let (array, _, _) = push_stream(&stream, stream.len(), true);
        for body in [array, Writer::new(wish()).write_buffered(events.clone())] {
            let (output, end, _) = push_stream(&body, size, false);
            prop_assert_eq!(end, Ok(()));
            let (again, end) = read_events(documents(&output));
            prop_assert_eq!(end, Ok(()));
            prop_assert_eq!(normal(again), normal(compact_foreign(events.clone())), "{}", String::from_utf8_lossy(&output));
        }
    }

    #[test]
    fn a_stream_in_the_place_of_a_whole_answer_is_put_together(events in answer()) {
        let stream = Bytes::from(write_events(events.clone()));
        let BufferedAnswer { body, facts, .. } = buffered_answer(&answer_path(Grammar::Gemini, Grammar::Gemini, false), stream).expect("an answer");
        let mut again = Vec::new();
        prop_assert_eq!(Reader::default().read_buffered(&body, &mut again), Ok(()));
        let usage = events.iter().find_map(|event| match event { Event::Usage(usage) => Some(*usage), _ => None });
        prop_assert_eq!(facts.usage, usage);
        prop_assert_eq!(normal(again), normal(events));
    }
}

#[test]
fn calls_that_are_open_together_come_out_whole() {
    let call = |part, name: &str| Event::Begin {
        choice: 0,
        part,
        kind: PartKind::Call { id: format!("id-{part}"), name: name.to_owned(), is_custom: false },
    };
    let delta = |part, text: &str| Event::Delta { choice: 0, part, text: text.to_owned() };
    let end = |part| Event::End { choice: 0, part };
    let events = vec![
        Event::Start { id: None, model: None, created_unix_s: None },
        call(0, "f"),
        call(1, "g"),
        delta(0, "{\"a\":"),
        delta(1, ""),
        delta(0, "\n1}"),
        end(1),
        end(0),
        Event::Finish { choice: 0, finish: domain::Finish::of(domain::Reason::Calls) },
        Event::Done,
    ];
    let stream = write_events(events.clone());
    let frames: Vec<String> =
        documents(&stream).into_iter().map(|json| String::from_utf8_lossy(json).into_owned()).collect();
    assert!(frames[0].contains(r#"{"functionCall":{"id":"id-1","name":"g","args":{}}}"#), "{frames:?}");
    assert!(frames[1].contains(r#"{"functionCall":{"id":"id-0","name":"f","args":{"a": 1}}}"#), "{frames:?}");
    assert_eq!(
        frames[2],
        r#"{"candidates":[{"content":{"role":"model","parts":[{"text":""}]},"finishReason":"STOP","index":0}],"modelVersion":"asked-for"}"#
    );
    assert_eq!(frames.len(), 3);
    let whole = String::from_utf8(Writer::new(wish()).write_buffered(events)).expect("UTF-8");
    assert!(whole.find("id-0") < whole.find("id-1"), "{whole}");
}

#[test]
fn a_call_that_nobody_can_read_is_told_as_malformed() {
    let events = vec![
        Event::Begin {
            choice: 0,
            part: 0,
            kind: PartKind::Call { id: "x".to_owned(), name: "f".to_owned(), is_custom: false },
        },
        Event::Delta { choice: 0, part: 0, text: "{\"a\":".to_owned() },
        Event::End { choice: 0, part: 0 },
        Event::Finish { choice: 0, finish: domain::Finish::of(domain::Reason::Calls) },
        Event::Done,
    ];
    let (again, end) = read_events(documents(&write_events(events)));
    assert_eq!(end, Ok(()));
    let finish = again.into_iter().find_map(|event| match event {
        Event::Finish { finish, .. } => Some(finish),
        _ => None,
    });
    let finish = finish.expect("an end");
    assert_eq!(finish.reason, domain::Reason::MalformedCall);
    assert_eq!(finish.explanation.as_deref(), Some("Malformed function call: f({\"a\":)"));
}

#[test]
fn seals_of_another_upstream_are_not_handed_out() {
    let events = || {
        vec![
            Event::Begin { choice: 0, part: 0, kind: PartKind::Thought { is_summary: false, id: None } },
            Event::Delta { choice: 0, part: 0, text: "hm".to_owned() },
            Event::Signature { choice: 0, part: 0, value: "SEAL".to_owned() },
            Event::End { choice: 0, part: 0 },
        ]
    };
    let written = |is_own| {
        let mut writer =
            Writer::new(conversation::answer::AnswerOptions { is_same_dialect: is_own, ..wish() });
        let mut out = Vec::new();
        events().into_iter().for_each(|event| writer.event(event, &mut out));
        let whole = Writer::new(conversation::answer::AnswerOptions { is_same_dialect: is_own, ..wish() })
            .write_buffered(events());
        String::from_utf8([out, whole].concat()).expect("UTF-8").matches("SEAL").count()
    };
    assert_eq!(written(false), 0);
    assert_eq!(written(true), 2);
}

#[test]
fn an_error_is_the_first_member_of_its_chunk_and_a_stop_by_length_the_last() {
    let first = r#"data: {"candidates":[{"content":{"role":"model","parts":[{"text":"Hi"}]},"index":0}],"responseId":"r"}"#;
    let started = |as_array| {
        let mut answer = AnswerStream::new(answer_path(Grammar::Gemini, Grammar::Gemini, as_array));
        let mut out = Vec::new();
        answer.push(Bytes::from(format!("{first}\r\n\r\n")), &mut out).expect("a good chunk");
        (answer, out.concat())
    };
    let fault = domain::Fault::new(domain::FaultClass::Overloaded, "overloaded", "Too much.");
    let trace = TraceId::new(1, [7; 10]);
    let (mut answer, _) = started(false);
    let event = answer.error_event(&fault, trace);
    let text = String::from_utf8_lossy(&event);
    assert!(text.starts_with(r#"data: {"error":{"code":503,"message":"Too much."#), "{text}");
    assert_eq!(documents(&event).len(), 1);
    assert!(text.contains(r#""status":"UNAVAILABLE""#), "{text}");
    let (mut answer, array_start) = started(true);
    let array = [array_start, answer.error_event(&fault, trace).to_vec()].concat();
    assert_eq!(json::validate(&array), Ok(()));
    let (mut answer, stream_start) = started(false);
    let used = domain::Usage { input: 3, output: 1, ..domain::Usage::default() };
    let stopped = [stream_start, answer.length_stop(b"", used).to_vec()].concat();
    let (events, end) = read_events(documents(&stopped));
    assert_eq!(end, Ok(()));
    let lengths = events.iter().filter(
        |event| matches!(event, Event::Finish { finish, .. } if finish.reason == domain::Reason::Length),
    );
    assert_eq!(lengths.count(), 1);
    assert!(
        String::from_utf8_lossy(&stopped)
            .ends_with("\"modelVersion\":\"asked-for\",\"responseId\":\"r\"}\r\n\r\n")
    );
}

#[test]
fn a_ping_is_blank_so_that_it_may_stand_before_between_and_in_arrays() {
    let ping = dialects::ping(Grammar::Gemini);
    assert!(ping.iter().all(u8::is_ascii_whitespace) && ping.ends_with(b"\r\n\r\n"));
    let frame = r#"data: {"candidates":[{"content":{"role":"model","parts":[{"text":"Hi"}]},"finishReason":"STOP","index":0}]}"#;
    let plain = format!("{frame}\r\n\r\n").into_bytes();
    let pinged = [ping, &plain, ping].concat();
    for size in [1, 2, 3, pinged.len()] {
        let (sent, end, facts) = push_stream(&pinged, size, true);
        assert_eq!((end, facts), (Ok(()), push_stream(&plain, size, true).2), "{size}");
        assert_eq!(json::validate(&sent), Ok(()), "{size}");
    }
}
