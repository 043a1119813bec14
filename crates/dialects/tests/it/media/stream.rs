//! The tests of `dialects::media::stream`.

use bytes::Bytes;
use conversation::answer::{StreamFacts, StreamFault};
use dialects::AnswerStream;
use dialects::media::Media;

const PARTIAL: &str = "event: image_generation.partial_image\ndata: {\"type\":\"image_generation.partial_image\",\"b64_json\":\"AA==\"}\n\n";
const COMPLETED: &str = "event: image_generation.completed\ndata: {\"type\":\"image_generation.completed\",\"b64_json\":\"AA==\",\"usage\":{\"input_tokens\":4,\"output_tokens\":9,\"total_tokens\":13}}\n\n";

fn run(media: Media, media_type: &str, chunks: &[&str]) -> (Result<(), StreamFault>, String, StreamFacts) {
    let mut stream = AnswerStream::media(media);
    let mut out = Vec::new();
    let read = stream.opened(media_type.as_bytes()).and_then(|()| {
        let mut chunks = chunks.iter().map(|chunk| Bytes::from(chunk.as_bytes().to_vec()));
        chunks.try_for_each(|chunk| stream.push(chunk, &mut out)).and_then(|()| stream.finish(&mut out))
    });
    (read, String::from_utf8(out.concat()).unwrap(), stream.facts().clone())
}

#[test]
fn pictures_pass_however_they_are_cut_and_are_counted() {
    let whole = [PARTIAL, COMPLETED].concat();
    for length in [1, 7, whole.len()] {
        let chunks: Vec<&str> =
            whole.as_bytes().chunks(length).map(|part| str::from_utf8(part).unwrap()).collect();
        let (read, out, facts) = run(Media::Images, "text/event-stream; charset=utf-8", &chunks);
        assert_eq!((read, out.as_str()), (Ok(()), whole.as_str()));
        let usage = facts.usage.unwrap();
        assert_eq!((usage.input, usage.units.image_out, usage.units.images), (4, 9, 1));
    }
}

#[test]
fn a_stream_of_pictures_that_breaks_is_no_end() {
    let events = "text/event-stream";
    assert_eq!(run(Media::Images, events, &[PARTIAL]).0, Err(StreamFault::Broken("ended_early")));
    assert_eq!(run(Media::Images, events, &[]).0, Err(StreamFault::Broken("empty")));
    let refused = "event: error\ndata: {\"type\":\"error\",\"error\":{\"message\":\"no\"}}\n\n";
    let (read, out, facts) = run(Media::Images, events, &[refused]);
    assert!(matches!(read, Err(StreamFault::Upstream(..))) && out.is_empty() && !facts.content_started);
    assert_eq!(run(Media::Images, "application/json", &["{}"]).0, Err(StreamFault::Broken("not_a_stream")));
}

#[test]
fn speech_is_bytes_or_events_as_its_head_says() {
    let (read, out, facts) = run(Media::Speech, "audio/mpeg", &["ID3", "data: {"]);
    assert_eq!((read, out.as_str(), facts.usage), (Ok(()), "ID3data: {", None));
    assert!(facts.content_started && facts.finished);
    assert_eq!(run(Media::Speech, "audio/mpeg", &[]).0, Err(StreamFault::Broken("empty")));
    let document = run(Media::Speech, "application/json", &["{}"]).0;
    assert_eq!(document, Err(StreamFault::Broken("not_an_answer")));
    let delta = "data: {\"type\":\"speech.audio.delta\",\"audio\":\"AA==\"}\n\n";
    let done =
        "data: {\"type\":\"speech.audio.done\",\"usage\":{\"input_tokens\":2,\"output_tokens\":8}}\n\n";
    let (read, out, facts) = run(Media::Speech, "text/event-stream", &[delta, done]);
    assert_eq!((read, out), (Ok(()), [delta, done].concat()));
    assert_eq!(facts.usage.map(|usage| usage.units.audio_out), Some(8));
    assert_eq!(run(Media::Speech, "text/event-stream", &[delta]).0, Err(StreamFault::Broken("ended_early")));
}
