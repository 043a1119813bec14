//! Videos of vendors with a format of their own.

use bytes::Bytes;
use conversation::answer::StreamFault;
use dialects::VendorStream;
use operations::video::{VideoContent, VideoContentStream, not_ready};

fn run(content: VideoContent, media_type: &str, body: &[u8]) -> (Result<(), StreamFault>, Vec<u8>) {
    let mut stream = VideoContentStream::new(content);
    let mut out = Vec::new();
    let result = stream
        .opened(media_type.as_bytes())
        .and_then(|()| stream.push(Bytes::copy_from_slice(body), &mut out))
        .and_then(|()| stream.finish(&mut out));
    (result, out.concat())
}

#[test]
fn content_comes_in_a_document_or_raw() {
    let inside = VideoContent::InDocument(|body| Ok(vec![Bytes::copy_from_slice(body)]));
    let raw = VideoContent::Raw(|_| not_ready());
    assert_eq!(run(inside, "application/json", b"{}"), (Ok(()), b"{}".to_vec()));
    assert_eq!(run(inside, "video/mp4", b"x").0, Err(StreamFault::Broken("not_an_answer")));
    assert_eq!(run(raw, "video/mp4", b"x"), (Ok(()), b"x".to_vec()));
    assert_eq!(run(raw, "text/html", b"x").0, Err(StreamFault::Broken("not_a_film")));
    assert_eq!(run(raw, "application/json", b"{}"), (Err(not_ready()), Vec::new()));
}
