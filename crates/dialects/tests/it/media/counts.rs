//! The tests of `dialects::media::counts`.

use bytes::Bytes;
use dialects::AnswerStream;
use dialects::media::{Media, buffered_ranking};
use domain::{Units, Usage, UsageSource};

/// A document with one more member.
fn with(member: &str, json: &str) -> Bytes {
    let rest = json.strip_prefix('{').unwrap();
    let comma = if rest == "}" { "" } else { "," };
    Bytes::from(format!("{{{member}{comma}{rest}"))
}

fn of_pictures(json: &str) -> Usage {
    super::images(with(r#""data":[]"#, json)).unwrap().facts.usage.unwrap()
}

fn of_ranks(json: &str) -> Option<Usage> {
    buffered_ranking(with(r#""results":[]"#, json)).unwrap().facts.usage
}

fn of_speech(json: &str) -> Option<Usage> {
    let mut stream = AnswerStream::media(Media::Speech);
    stream.opened(b"text/event-stream").unwrap();
    stream.push(Bytes::from(format!("data: {json}\n\n")), &mut Vec::new()).unwrap();
    stream.finish(&mut Vec::new()).unwrap();
    stream.facts().usage
}

#[test]
fn tokens_of_pictures_and_of_text_are_told_apart() {
    let usage = of_pictures(
        r#"{"usage":{"input_tokens":50,"output_tokens":300,"total_tokens":350,
        "input_tokens_details":{"text_tokens":10,"image_tokens":30,"cached_tokens":10},
        "output_tokens_details":{"image_tokens":272,"text_tokens":28}},
        "svg_usage":{"input_tokens":3,"output_tokens":4}}"#,
    );
    let units = Units { image_in: 30, image_out: 272, ..Units::default() };
    let source = UsageSource::Provider;
    let expected = Usage { input: 13, cached_read: 10, output: 32, units, source, ..Usage::default() };
    assert_eq!(usage, expected);
    assert_eq!((usage.prompt_total(), usage.completion_total()), (53, 304));
    let bare = of_pictures(r#"{"usage":{"input_tokens":5,"output_tokens":7}}"#);
    assert_eq!((bare.input, bare.output, bare.units.image_out), (5, 0, 7));
    let absurd = r#"{"usage":{"input_tokens":1,"input_tokens_details":{"image_tokens":9}}}"#;
    assert_eq!(of_pictures(absurd).prompt_total(), 1);
    assert_eq!(of_pictures("{}"), Usage { source, ..Usage::default() });
}

#[test]
fn ranking_is_counted_in_tokens_or_in_searches() {
    let read = |json: &str| of_ranks(json).map(|usage| (usage.input, usage.output, usage.units.searches));
    for (json, counts) in [
        (r#"{"usage":{"prompt_tokens":7,"completion_tokens":0,"total_tokens":7}}"#, Some((7, 0, 0))),
        (r#"{"usage":{"total_tokens":9}}"#, Some((9, 0, 0))),
        (r#"{"meta":{"billed_units":{"search_units":2}}}"#, Some((0, 0, 2))),
        (r#"{"meta":{"billed_units":{"search_units":1},"tokens":{"input_tokens":4}}}"#, Some((4, 0, 1))),
        (r#"{"usage":{"total_tokens":0}}"#, None),
        ("{}", None),
    ] {
        assert_eq!(read(json), counts, "{json}");
    }
}

#[test]
fn speech_is_counted_where_tokens_are_told() {
    let done = |usage: &str| of_speech(&format!(r#"{{"type":"speech.audio.done"{usage}}}"#));
    let usage = done(r#","usage":{"input_tokens":4,"output_tokens":90,"total_tokens":94}"#).unwrap();
    assert_eq!((usage.input, usage.output, usage.units.audio_out), (4, 0, 90));
    assert_eq!(done(r#","usage":{"input_tokens":0,"output_tokens":0}"#), None);
    assert_eq!(done(""), None);
}
