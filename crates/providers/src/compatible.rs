//! What servers of the common chat grammar share: paths, headers, body edits and the model list.

use bytes::Bytes;
use dialects::chat::{ChatRequest, upstream_body};
use dialects::json::{Cursor, JsonError, Kind, Value};
use http::Method;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderValue, USER_AGENT};

use crate::{Outgoing, Target};

const AGENT: HeaderValue = HeaderValue::from_static(concat!("tidegate/", env!("CARGO_PKG_VERSION")));
const JSON: HeaderValue = HeaderValue::from_static("application/json");

pub(crate) fn chat(target: &Target<'_>, request: &ChatRequest, body: &Bytes) -> Outgoing {
    // The signature joins them.
    let mut headers = Vec::with_capacity(5);
    headers.extend([(CONTENT_TYPE, JSON), (USER_AGENT, AGENT)]);
    if request.stream {
        headers.push((ACCEPT, HeaderValue::from_static("text/event-stream")));
        // A compressed stream is held back by whoever compresses it.
        headers.push((ACCEPT_ENCODING, HeaderValue::from_static("identity")));
    } else {
        headers.push((ACCEPT, JSON));
    }
    Outgoing {
        method: Method::POST,
        url: join(target.base_url, "chat/completions"),
        headers,
        body: upstream_body(body, request, target.upstream_model, true),
    }
}

pub(crate) fn list_models(base_url: &str) -> Outgoing {
    let headers = vec![(ACCEPT, JSON), (USER_AGENT, AGENT)];
    Outgoing { method: Method::GET, url: join(base_url, "models"), headers, body: Vec::new() }
}

/// `{"data": [{"id"}]}`, or the bare array that some servers answer.
pub(crate) fn read_models(body: &Bytes) -> Option<Vec<String>> {
    read_list(body).ok().flatten()
}

fn read_list(body: &[u8]) -> Result<Option<Vec<String>>, JsonError> {
    let mut cursor = Cursor::new(body)?;
    let mut models = None;
    match cursor.kind()? {
        Kind::Array => models = Some(read_rows(&mut cursor)?),
        Kind::Object => {
            cursor.object(|cursor, member| {
                if member.key.is("data") && cursor.kind()? == Kind::Array {
                    models = Some(read_rows(cursor)?);
                } else {
                    cursor.skip()?;
                }
                Ok::<(), JsonError>(())
            })?;
        }
        _ => return Ok(None),
    }
    cursor.end()?;
    Ok(models)
}

fn read_rows(cursor: &mut Cursor<'_>) -> Result<Vec<String>, JsonError> {
    let mut models = Vec::new();
    cursor.array(|cursor, _| {
        if cursor.kind()? != Kind::Object {
            return cursor.skip().map(|_| ());
        }
        cursor.object(|cursor, member| {
            match cursor.value()? {
                Value::String(id) if member.key.is("id") => models.push(id.decode().into_owned()),
                _ => {}
            }
            Ok::<(), JsonError>(())
        })?;
        Ok(())
    })?;
    Ok(models)
}

fn join(base_url: &str, path: &str) -> String {
    let base = base_url.trim_end_matches('/');
    let mut url = String::with_capacity(base.len() + 1 + path.len());
    url.push_str(base);
    url.push('/');
    url.push_str(path);
    url
}

#[cfg(test)]
mod tests {
    use super::*;
    use dialects::chat::decode_request;

    #[test]
    fn no_path_is_doubled_and_none_is_lost() {
        assert_eq!(join("https://host/v1", "models"), "https://host/v1/models");
        assert_eq!(join("https://host/v1/", "models"), "https://host/v1/models");
    }

    #[test]
    fn a_request_is_renamed_and_asked_for_usage() {
        let body = Bytes::from_static(
            br#"{"model":"a/b","stream":true,"messages":[{"role":"user","content":"x"}]}"#,
        );
        let request = decode_request(&body).expect("a valid request");
        let target = Target { base_url: "http://host/v1/", upstream_model: "b" };
        let outgoing = chat(&target, &request, &body);
        assert_eq!(outgoing.url, "http://host/v1/chat/completions");
        assert!(outgoing.headers.contains(&(ACCEPT_ENCODING, HeaderValue::from_static("identity"))));
        let sent = outgoing.body.concat();
        assert_eq!(
            String::from_utf8_lossy(&sent),
            r#"{"stream_options":{"include_usage":true},"model":"b","stream":true,"messages":[{"role":"user","content":"x"}]}"#
        );
    }

    #[test]
    fn model_lists_of_both_shapes() {
        let read = |body: &'static str| read_models(&Bytes::from_static(body.as_bytes()));
        let both = Some(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(read(r#"{"object":"list","data":[{"id":"a"},{"id":"b","owned_by":"x"}]}"#), both);
        assert_eq!(read(r#"[{"id":"a"},{"id":"b"}]"#), both);
        assert_eq!(read(r#"{"data":[]}"#), Some(Vec::new()));
        for wrong in ["", "<html>", "{}", "5", r#"{"data":[{"id":"a"}]"#] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
