//! Generated files: anyone with the URL may download them, and a client that sends its key discloses it to
//! the wrong host. A file is its prompt, repeated, so that a test can predict it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::Method;
use http::header::AUTHORIZATION;

use super::error::Refusal;
use crate::emulator::answering;

use crate::emulator::service::{Answer, Call};
use crate::emulator::{Behaviour, Part, PartRole};

/// The path of files below fal's base path.
pub(super) const FILES: &str = "/files/";
/// Size of one second of video; the maximum of any other file.
pub(super) const SECOND_BYTES: usize = 64 * 1024;
/// A prompt with the first yields a file URL on a foreign host, with the other one that redirects there.
const ELSEWHERE: &str = "laid elsewhere";
const MOVED: &str = "moved elsewhere";
/// A prompt with this yields a file that is no longer available to anyone (403).
const GONE: &str = "long gone";
const STRANGE: &str = "https://files.example/made.mp4";

/// The URL of a file generated from `text`.
pub(super) fn url(base: &str, text: &str, name: &str) -> String {
    if text.contains(ELSEWHERE) {
        STRANGE.to_owned()
    } else {
        format!("{base}{FILES}{}/{name}", URL_SAFE_NO_PAD.encode(text))
    }
}

pub(super) fn serve(call: &Call<'_>, named: &str) -> Result<Answer, Refusal> {
    if call.head.headers.contains_key(AUTHORIZATION) {
        call.violation("a key that is shown for a file");
    }
    let found = named.split_once('/').filter(|_| call.head.method == Method::GET).and_then(|(text, name)| {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let (length, kind) = name.split_once('.')?;
        let media = match kind {
            "mp4" => "video/mp4",
            "wav" => "audio/wav",
            "mp3" => "audio/mpeg",
            _ => return None,
        };
        Some((text, length.parse::<usize>().ok()?, media))
    });
    let (text, length, media) = found.ok_or_else(|| Refusal::new(404, "File not found"))?;
    if text.contains(GONE) {
        return Err(Refusal::new(403, "Access denied"));
    }
    if text.contains(MOVED) {
        let headers =
            vec![("location".to_owned(), STRANGE.to_owned()), ("content-length".to_owned(), "0".to_owned())];
        return Ok(Answer { status: 302, headers, steps: Vec::new() });
    }
    let piece: Vec<u8> = text.bytes().cycle().take(SECOND_BYTES).collect();
    let piece = Part { bytes: Bytes::from(piece), tokens: 0, role: PartRole::Content };
    let behaviour = Behaviour::default();
    Ok(answering::played(vec![piece; length], answering::head(media, &behaviour), &behaviour)?)
}
