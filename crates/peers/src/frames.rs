//! A request or an answer on a stream: a head of JSON behind its length, then the body until the stream ends. A stream that is
//! reset is a body that broke off.

use std::error::Error;
use std::io;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use iroh::endpoint::{RecvStream, SendStream};
use serde::{Deserialize, Serialize};

use crate::limits::HEAD_BYTES_MAX;

/// Headers that concern one connection, or say who the caller is; neither passes on.
const NOT_PASSED: [&str; 11] = [
    "connection",
    "keep-alive",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "host",
    "content-length",
    "expect",
    "authorization",
    "x-api-key",
];

/// The head of a request.
#[derive(Serialize, Deserialize, Debug, PartialEq, Eq)]
pub(crate) struct RequestHead {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
}

/// The head of an answer.
#[derive(Serialize, Deserialize, Debug, PartialEq, Eq)]
pub(crate) struct AnswerHead {
    status: u16,
    headers: Vec<(String, String)>,
}

impl RequestHead {
    pub(crate) fn new(method: &Method, path: &str, headers: &HeaderMap) -> Self {
        Self { method: method.as_str().to_owned(), path: path.to_owned(), headers: passed(headers) }
    }

    pub(crate) fn get(path: &str) -> Self {
        Self { method: "GET".to_owned(), path: path.to_owned(), headers: Vec::new() }
    }

    /// # Errors
    /// It is not a request's head.
    pub(crate) fn read(self) -> io::Result<(Method, Uri, HeaderMap)> {
        let method = Method::from_bytes(self.method.as_bytes()).map_err(invalid)?;
        let uri = Uri::try_from(self.path).map_err(invalid)?;
        Ok((method, uri, headers(self.headers)?))
    }
}

impl AnswerHead {
    pub(crate) fn new(status: StatusCode, headers: &HeaderMap) -> Self {
        Self { status: status.as_u16(), headers: passed(headers) }
    }

    /// # Errors
    /// It is not an answer's head.
    pub(crate) fn read(self) -> io::Result<(StatusCode, HeaderMap)> {
        let status = StatusCode::from_u16(self.status).map_err(invalid)?;
        if status.is_informational() {
            return Err(invalid("an interim status"));
        }
        Ok((status, headers(self.headers)?))
    }
}

fn passed(headers: &HeaderMap) -> Vec<(String, String)> {
    let passes = |name: &HeaderName| !NOT_PASSED.contains(&name.as_str());
    let text = |(name, value): (&HeaderName, &HeaderValue)| {
        Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
    };
    headers.iter().filter(|(name, _)| passes(name)).filter_map(text).collect()
}

fn headers(listed: Vec<(String, String)>) -> io::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in listed {
        let name = HeaderName::try_from(name).map_err(invalid)?;
        if !NOT_PASSED.contains(&name.as_str()) {
            headers.append(name, HeaderValue::try_from(value).map_err(invalid)?);
        }
    }
    Ok(headers)
}

pub(crate) fn invalid(why: impl Into<Box<dyn Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

pub(crate) fn broken(why: impl Into<Box<dyn Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, why)
}

pub(crate) async fn write_head(stream: &mut SendStream, head: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_vec(head)?;
    let length = u32::try_from(text.len()).ok().filter(|length| *length as usize <= HEAD_BYTES_MAX);
    let length = length.ok_or_else(|| invalid("the headers are too long"))?;
    stream.write_all(&length.to_be_bytes()).await.map_err(broken)?;
    stream.write_all(&text).await.map_err(broken)
}

pub(crate) async fn read_head<T: for<'de> Deserialize<'de>>(stream: &mut RecvStream) -> io::Result<T> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).await.map_err(broken)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > HEAD_BYTES_MAX {
        return Err(invalid("the head is too long"));
    }
    let mut text = vec![0; length];
    stream.read_exact(&mut text).await.map_err(broken)?;
    serde_json::from_slice(&text).map_err(invalid)
}

/// The rest of a stream, within a bound.
pub(crate) async fn read_body(stream: &mut RecvStream, bytes_max: usize) -> io::Result<Bytes> {
    stream.read_to_end(bytes_max).await.map(Bytes::from).map_err(broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_passes_what_concerns_the_request_alone() {
        let mut map = HeaderMap::new();
        for (name, value) in [
            ("x-request-id", "r1"),
            ("authorization", "Bearer key"),
            ("host", "a"),
            ("x-hybrie-adapter-id", "law"),
        ] {
            map.insert(name, HeaderValue::from_static(value));
        }
        let (method, uri, passed) = RequestHead::new(&Method::POST, "/v1/messages?a=b", &map).read().unwrap();
        assert_eq!((method, uri.path(), uri.query()), (Method::POST, "/v1/messages", Some("a=b")));
        assert_eq!((passed.len(), passed["x-request-id"].to_str().unwrap()), (2, "r1"));
    }

    #[test]
    fn a_forged_head_is_refused() {
        let head = |name: &str, value: &str| AnswerHead {
            status: 200,
            headers: vec![(name.to_owned(), value.to_owned())],
        };
        assert!(head("x-a", "b\r\nx-c: d").read().is_err());
        assert!(head("x a", "b").read().is_err());
        assert!(AnswerHead { status: 99, headers: vec![] }.read().is_err());
        assert!(AnswerHead { status: 101, headers: vec![] }.read().is_err());
        let (_, headers) = head("transfer-encoding", "chunked").read().unwrap();
        assert!(headers.is_empty());
    }
}
