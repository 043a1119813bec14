//! The paths that ask models, which are other names of those of `/v1`: what of a request is the client's own is taken out of it,
//! so that no provider is sent what it does not know.

use bytes::Bytes;
use http::HeaderMap;
use json::{Cursor, JsonError};
use serde_json::Value;

use compat::names::text_of;

use crate::names::ROOT;

const TAGS: &str = "x-stimulir-tags";
const INFERENCE: &str = "inference/";
/// A stream of audio into a transcription, which has no counterpart.
const TRANSCRIPTION_STREAM: &str = "audio/transcriptions/stream";
/// The fields of a request that only the client's own gateway reads.
const OWN_FIELDS: [&str; 3] = ["tags", "stimulir", "fusion"];

/// Whether a path asks a model.
pub fn is_inference(path: &str) -> bool {
    path.strip_prefix(ROOT).is_some_and(|rest| rest.starts_with(INFERENCE))
}

/// The path of `/v1` that such a path stands for.
pub fn meant_path(path: &str) -> Option<String> {
    let rest = path.strip_prefix(ROOT)?.strip_prefix(INFERENCE)?;
    // Some SDKs write the version themselves behind the address that they are given.
    let rest = rest.strip_prefix("v1/").unwrap_or(rest);
    (rest != TRANSCRIPTION_STREAM).then(|| format!("/v1/{rest}"))
}

/// The first of the tags in a request's header, which is the request's tag.
pub fn take_tags(headers: &HeaderMap) -> Option<String> {
    let tags = text_of(headers, TAGS)?;
    tags.split(',').map(str::trim).find(|tag| !tag.is_empty()).map(str::to_owned)
}

/// A body without the client's own fields, and the first of the tags in it; `None` where it has none of them, or is not valid,
/// which is for others to say.
pub fn take_fields(body: &Bytes) -> Option<(Bytes, Option<String>)> {
    let (mut out, mut tag, mut has_own) = (String::from("{"), None, false);
    let mut cursor = Cursor::new(body).ok()?;
    let read = cursor.object(|cursor, member| {
        let name = member.key.decode();
        let value = cursor.skip()?;
        if OWN_FIELDS.contains(&&*name) {
            has_own = true;
            let tags = || serde_json::from_slice::<Value>(value.of(body)).ok();
            tag = tag.take().or_else(|| tags()?.get(0)?.as_str().map(str::to_owned));
        } else {
            let comma = if out.len() == 1 { "" } else { "," };
            let name = Value::String(name.into_owned());
            out.push_str(&format!(
                "{comma}{name}:{}",
                std::str::from_utf8(value.of(body)).unwrap_or_default()
            ));
        }
        Ok::<(), JsonError>(())
    });
    if read.is_err() || cursor.end().is_err() || !has_own {
        return None;
    }
    out.push('}');
    Some((Bytes::from(out), tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stands_for_one_of_v1() {
        assert_eq!(meant_path("/api/v1/inference/chat/completions").as_deref(), Some("/v1/chat/completions"));
        assert_eq!(meant_path("/api/v1/inference/v1/messages").as_deref(), Some("/v1/messages"));
        assert_eq!(meant_path("/api/v1/inference/audio/transcriptions/stream"), None);
        for other in ["/api/v1/usage/summary", "/v1/models", "/api/v1/inference", "/api/v1/inferences/models"]
        {
            assert_eq!(meant_path(other), None, "{other}");
        }
    }

    #[test]
    fn only_the_clients_own_fields_are_taken_out() {
        let taken = |body: &'static str| {
            take_fields(&Bytes::from(body))
                .map(|(body, tag)| (String::from_utf8(body.to_vec()).unwrap(), tag))
        };
        let body = r#"{"model":"m","tags":["a","b"],"stimulir":{"prompt":{}},"n":1.50,"x":{"tags":[1]}}"#;
        let kept = r#"{"model":"m","n":1.50,"x":{"tags":[1]}}"#.to_owned();
        assert_eq!(taken(body), Some((kept, Some("a".to_owned()))));
        assert_eq!(taken(r#"{"fusion":{},"model":"m"}"#), Some((r#"{"model":"m"}"#.to_owned(), None)));
        // What is wrong stays so: two fields of one name are refused by the reader of the body.
        let twice = r#"{"tags":[],"model":"a","model":"b"}"#;
        assert_eq!(taken(twice), Some((r#"{"model":"a","model":"b"}"#.to_owned(), None)));
        for untouched in [r#"{"model":"m"}"#, "[]", "{", r#"{"tags":[]} x"#] {
            assert_eq!(taken(untouched), None, "{untouched}");
        }
    }
}
