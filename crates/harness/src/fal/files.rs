//! Where files lie that apps made: whoever knows the address is given them, and whoever brings a key shows it to the wrong
//! one. A file is what it was made of, repeated, so that a test knows it beforehand.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::Method;
use http::header::AUTHORIZATION;

use super::error::Refusal;
use crate::emulator::answering;

use crate::emulator::service::{Answer, Call, violation};
use crate::emulator::{Behaviour, Part, Place};

/// Below the emulator's place for apps.
pub(super) const FILES: &str = "/files/";
/// Of a film, each second; the most of anything else.
pub(super) const SECOND_BYTES: usize = 64 * 1024;
/// Whoever asks for this finds its file at a host of somebody else's, and for that one that has moved there.
const ELSEWHERE: &str = "laid elsewhere";
const MOVED: &str = "moved elsewhere";
/// And for that one that is no longer kept for anybody.
const GONE: &str = "long gone";
const STRANGE: &str = "https://files.example/made.mp4";

/// Where something lies that was made of `text`.
pub(super) fn url(base: &str, text: &str, name: &str) -> String {
    match text.contains(ELSEWHERE) {
        true => STRANGE.to_owned(),
        false => format!("{base}{FILES}{}/{name}", URL_SAFE_NO_PAD.encode(text)),
    }
}

pub(super) fn serve(call: &Call<'_>, named: &str) -> Result<Answer, Refusal> {
    if call.head.headers.contains_key(AUTHORIZATION) {
        violation(call.shared, call.guard, call.head.uri.path(), "a key that is shown for a file".to_owned());
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
    let piece = Part { bytes: Bytes::from(piece), tokens: 0, place: Place::Content };
    let behaviour = Behaviour::default();
    Ok(answering::played(vec![piece; length], answering::head(media, &behaviour), &behaviour)?)
}
