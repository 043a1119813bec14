//! Images of vendors with a format of their own.

use bytes::Bytes;
use conversation::answer::{StreamFacts, StreamFault};
use dialects::{AnswerPath, VendorAnswer};
use domain::{Grammar, Operation};
use json::members::Members;
use operations::images::{Image, ImageSource, ReadImages, VendorImages};

fn read(answer: &Members<'_>) -> Result<Option<Vec<Image>>, StreamFault> {
    if answer.find_text("refused").is_some() {
        return Err(chat::upstream_error(answer.bytes()));
    }
    Ok(answer.find_text("bytes").map(|bytes| {
        vec![Image {
            source: ImageSource::Bytes(bytes.into_owned()),
            size: Some((640, 480)),
            format: Some("png".to_owned()),
            revised_prompt: None,
            billed: None,
        }]
    }))
}

fn path() -> AnswerPath {
    let mut path =
        AnswerPath { operation: Operation::Images, ..AnswerPath::chat(Grammar::Chat, Grammar::Chat) };
    path.options.created_unix_s = 7;
    path
}

fn run(media_type: &str, chunks: &[&str]) -> (Result<(), StreamFault>, String, StreamFacts) {
    let images = VendorImages { read, read_event: read };
    let mut stream = images.stream(&path()).unwrap();
    let mut out = Vec::new();
    let mut result = stream.opened(media_type.as_bytes());
    for chunk in chunks {
        result = result.and_then(|()| stream.push(Bytes::copy_from_slice(chunk.as_bytes()), &mut out));
    }
    let result = result.and_then(|()| stream.finish(&mut out));
    (result, String::from_utf8(out.concat()).unwrap(), stream.facts().clone())
}

#[test]
fn images_of_a_vendor_become_openais_events() {
    let made = r#"{"bytes":"AA=="}"#;
    let progress = "data: {\"progress\":0.5}\n\n";
    let event = format!("data: {made}\n\n");
    for (media_type, chunks) in [
        ("application/json", vec![&made[..5], &made[5..]]),
        ("text/event-stream; charset=utf-8", vec![progress, progress, &event]),
    ] {
        let (result, out, facts) = run(media_type, &chunks);
        assert_eq!(result, Ok(()), "{media_type}");
        assert!(out.starts_with("event: image_generation.completed\n"), "{out}");
        assert_eq!(out.matches("event: ").count(), 1, "{out}");
        for part in [r#""b64_json":"AA==""#, r#""created_at":7"#, r#""size":"640x480""#] {
            assert!(out.contains(part), "{out}");
        }
        assert_eq!(facts.usage.map(|usage| usage.units.images), Some(1));
    }
    let broken = |media_type: &str, chunks: &[&str]| run(media_type, chunks).0.unwrap_err();
    assert_eq!(broken("text/event-stream", &[progress]), StreamFault::Broken("ended_early"));
    assert_eq!(broken("text/event-stream", &[]), StreamFault::Broken("empty"));
    assert_eq!(broken("application/json", &["{}"]), StreamFault::Broken("not_an_answer"));
    assert_eq!(broken("text/html", &[]), StreamFault::Broken("not_a_stream"));
    let refused = "data: {\"refused\":\"yes\"}\n\n";
    assert!(matches!(broken("text/event-stream", &[refused]), StreamFault::Upstream(..)));
    let error = "data: {\"error\":\"gone\"}\n\n";
    assert!(matches!(broken("text/event-stream", &[error]), StreamFault::Upstream(..)));
}

fn image(billed: Option<u64>) -> Image {
    let source = ImageSource::Url("u".to_owned());
    Image { source, size: None, format: None, revised_prompt: None, billed }
}

#[test]
fn units_count_only_where_every_image_has_them() {
    let count = |read: ReadImages| {
        let images = VendorImages { read, read_event: read };
        let units = images.buffered(&path(), &Bytes::from_static(b"{}")).unwrap().facts.usage.unwrap().units;
        (units.images, units.billed)
    };
    assert_eq!(count(|_| Ok(Some(vec![image(Some(1)), image(Some(2))]))), (2, 3));
    assert_eq!(count(|_| Ok(Some(vec![image(Some(1)), image(None)]))), (2, 0));
    assert_eq!(count(|_| Ok(Some(Vec::new()))), (0, 0));
}
