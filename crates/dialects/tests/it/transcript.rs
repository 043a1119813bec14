//! The tests of `dialects::transcript`.

use bytes::Bytes;
use conversation::answer::{AnswerFacts, StreamFacts, StreamFault};
use dialects::{AnswerForm, AnswerPath, AnswerStream, buffered_transcript};
use domain::{Grammar, Units, Usage, UsageSource};

fn of_tokens(input: u64, audio_in: u64, output: u64) -> Usage {
    let units = Units { audio_in, ..Units::default() };
    Usage { input: input - audio_in, output, units, source: UsageSource::Provider, ..Usage::default() }
}

fn of_duration(audio_ms: u64, source: UsageSource) -> Usage {
    Usage { units: Units { audio_ms, ..Units::default() }, source, ..Usage::default() }
}

fn whole(form: AnswerForm, body: &'static str) -> Result<AnswerFacts, StreamFault> {
    let path = AnswerPath { form, ..AnswerPath::chat(Grammar::Chat, Grammar::Chat) };
    Ok(buffered_transcript(&path, Bytes::from_static(body.as_bytes()))?.facts)
}

#[test]
fn tokens_and_seconds_are_read_where_they_are_told() {
    let json = |body| whole(AnswerForm::Json, body).unwrap();
    let facts = json(
        r#"{"text":"Hello.","usage":{"type":"tokens","input_tokens":14,"output_tokens":45,"total_tokens":59,
           "input_token_details":{"text_tokens":4,"audio_tokens":10}}}"#,
    );
    assert_eq!(facts, AnswerFacts { usage: Some(of_tokens(14, 10, 45)), content_bytes: 6 });
    let facts = json(r#"{"text":"Hi","duration":"8.47","usage":{"type":"duration","seconds":9}}"#);
    assert_eq!(facts.usage, Some(of_duration(9_000, UsageSource::Provider)));
    let facts = json(r#"{"task":"transcribe","duration":8.47,"text":"Hi","segments":[{"text":"no"}]}"#);
    let usage = Some(of_duration(8_470, UsageSource::Provider));
    assert_eq!(facts, AnswerFacts { usage, content_bytes: 2 });
    assert_eq!(json(r#"{"text":"Hi"}"#), AnswerFacts { usage: None, content_bytes: 2 });
}

#[test]
fn subtitles_tell_how_long_they_are_and_texts_do_not() {
    let srt = "1\n00:00:00,000 --> 00:00:04,120\nHello.\n\n2\n01:00:04,120 --> 01:00:06,000\nBye.\n";
    let vtt = "WEBVTT\n\n00:00.000 --> 00:04.120 align:start\nHello.\n";
    for (body, ms) in [(srt, Some(3_606_000)), (vtt, Some(4_120)), ("Hello --> there\n", None)] {
        let usage = ms.map(|ms| of_duration(ms, UsageSource::Estimate));
        let content_bytes = body.len() as u64;
        assert_eq!(whole(AnswerForm::Text, body), Ok(AnswerFacts { usage, content_bytes }));
    }
}

#[test]
fn what_is_no_transcript_is_told_from_one() {
    let json = |body| whole(AnswerForm::Json, body);
    assert!(matches!(json(r#"{"error":{"message":"No."}}"#), Err(StreamFault::Upstream(..))));
    assert_eq!(json(""), Err(StreamFault::Broken("empty")));
    assert_eq!(json("<html>"), Err(StreamFault::Broken("html")));
    assert_eq!(json("[]"), Err(StreamFault::Broken("not_an_object")));
    assert!(json(r#"{"text":"#).is_err());
}

const STREAM: &str = "event: transcript.text.delta\r\ndata: {\"type\":\"transcript.text.delta\",\"delta\":\"He\"}\r\n\r\n\
     data: {\"type\":\"transcript.text.delta\",\"delta\":\"llo\"}\n\n: ping\n\n\
     data: {\"type\":\"transcript.text.done\",\"text\":\"Hello\",\"usage\":{\"type\":\"tokens\",\
     \"input_tokens\":3,\"output_tokens\":2,\"total_tokens\":5}}\n\ndata: [DONE]\n\n";

fn read_stream(text: &'static str, size: usize) -> (Vec<u8>, StreamFacts, Result<(), StreamFault>) {
    let mut transcript = AnswerStream::transcript(Grammar::Chat);
    transcript.opened(b"text/event-stream").unwrap();
    let mut out = Vec::new();
    let mut pieces = text.as_bytes().chunks(size).map(Bytes::from_static);
    let result = pieces.try_for_each(|piece| transcript.push(piece, &mut out));
    let result = result.and_then(|()| transcript.finish(&mut out));
    (out.concat(), transcript.facts().clone(), result)
}

#[test]
fn a_stream_goes_on_as_it_is_however_it_is_cut() {
    for size in 1..=STREAM.len() {
        let (out, facts, result) = read_stream(STREAM, size);
        assert_eq!((out.as_slice(), result), (STREAM.as_bytes(), Ok(())), "{size}");
        assert_eq!((facts.usage, facts.content_bytes), (Some(of_tokens(3, 0, 2)), 5), "{size}");
        assert!(facts.content_started && facts.finished && facts.done, "{size}");
    }
    let cut = &STREAM[..STREAM.find(": ping").unwrap()];
    let (out, facts, result) = read_stream(cut, 7);
    assert_eq!((out.as_slice(), result), (cut.as_bytes(), Err(StreamFault::Broken("ended_early"))));
    assert_eq!((facts.usage, facts.content_bytes), (None, 5));
    let failed = "data: {\"type\":\"error\",\"error\":{\"message\":\"No.\"}}\n\n";
    assert!(matches!(read_stream(failed, 9).2, Err(StreamFault::Upstream(..))));
    assert_eq!(read_stream("", 1).2, Err(StreamFault::Broken("empty")));
}

#[test]
fn the_type_of_the_body_tells_its_form() {
    for (content_type, form) in [
        (None, AnswerForm::Json),
        (Some("application/json; charset=utf-8"), AnswerForm::Json),
        (Some("Text/Event-Stream; charset=utf-8"), AnswerForm::Events),
        (Some("text/plain; charset=utf-8"), AnswerForm::Text),
        (Some("text/vtt"), AnswerForm::Text),
        (Some("application/x-subrip"), AnswerForm::Text),
    ] {
        assert_eq!(AnswerForm::of(content_type), form, "{content_type:?}");
    }
}
