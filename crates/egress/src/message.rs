//! A request on its way out, and the headers of a response.

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use crate::out_body::OutBody;

/// A request. It is lent to `send`, so that it can be sent again over another connection.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: Method,
    /// Absolute.
    pub url: Uri,
    /// Headers that belong to the connection (host, length) are left out, whoever put them here.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: OutBody,
}

/// The headers of a response: their lines as they arrived, checked but not split, since of
/// dozens only a few are looked up.
#[derive(Debug, Clone, Default)]
pub struct Headers {
    lines: Bytes,
}

impl Request {
    /// A request without headers and body.
    pub const fn new(method: Method, url: Uri) -> Self {
        Self { method, url, headers: Vec::new(), body: OutBody::empty() }
    }

    /// The headers, except those that belong to the connection.
    pub(crate) fn own_headers(&self) -> impl Iterator<Item = &(HeaderName, HeaderValue)> {
        let is_ours =
            |name: &HeaderName| [HOST, CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION].contains(name);
        self.headers.iter().filter(move |(name, _)| !is_ours(name))
    }

    /// The request that hyper sends over a shared connection.
    pub(crate) fn to_shared(&self) -> http::Request<OutBody> {
        let mut request = http::Request::new(self.body.clone());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.url.clone();
        request.headers_mut().extend(self.own_headers().cloned());
        request
    }
}

impl Headers {
    /// Lines that `http1::answer` has checked, each with its line end.
    pub(crate) const fn of_lines(lines: Bytes) -> Self {
        Self { lines }
    }

    /// The first of this name, ignoring case.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let name = name.as_bytes();
        let is_named = |line: &&[u8]| {
            line.get(name.len()) == Some(&b':')
                && line.get(..name.len()).is_some_and(|found| found.eq_ignore_ascii_case(name))
        };
        self.lines().find(is_named).and_then(split_line).map(|(_, value)| value)
    }

    /// The first of this name, if it is visible ASCII.
    pub fn text(&self, name: &str) -> Option<&str> {
        let value = self.get(name)?;
        let is_plain = value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
        std::str::from_utf8(value).ok().filter(|_| is_plain)
    }

    /// Names, in the case in which they arrived, and values, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.lines().filter_map(split_line)
    }

    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let mut from = 0;
        memchr::memchr_iter(b'\n', &self.lines).filter_map(move |feed| {
            let line = self.lines.get(from..feed)?.strip_suffix(b"\r");
            from = feed + 1;
            line
        })
    }

    /// A value of these headers to pass on; its bytes are shared.
    pub fn share(&self, value: &[u8]) -> Option<HeaderValue> {
        HeaderValue::from_maybe_shared(self.lines.slice_ref(value)).ok()
    }

    /// All of them as a map.
    pub fn to_map(&self) -> HeaderMap {
        let owned = |(name, value)| Some((HeaderName::from_bytes(name).ok()?, self.share(value)?));
        let mut map = HeaderMap::new();
        for (name, value) in self.iter().filter_map(owned) {
            map.append(name, value);
        }
        map
    }
}

impl From<&HeaderMap> for Headers {
    fn from(map: &HeaderMap) -> Self {
        let length = map.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        let mut lines = BytesMut::with_capacity(length);
        for (name, value) in map {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                lines.extend_from_slice(part);
            }
        }
        Self { lines: lines.freeze() }
    }
}

/// Name and value of a line without its line end.
pub(crate) fn split_line(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, value) = line.split_at_checked(line.iter().position(|byte| *byte == b':')?)?;
    let mut value = value.get(1..)?;
    // Only these two: a line feed without its carriage return must not vanish here.
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    Some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_found_as_in_a_map() {
        let lines = Bytes::from_static(b"X-A: one\r\nx-b:\t two \r\nx-a: three\r\nx-empty:\r\nx-c: \xff\r\n");
        let headers = Headers::of_lines(lines);
        for headers in [headers.clone(), Headers::from(&headers.to_map())] {
            assert_eq!(headers.get("x-a"), Some(&b"one"[..]));
            assert_eq!((headers.text("X-B"), headers.text("x-empty")), (Some("two"), Some("")));
            assert_eq!((headers.get("x-c"), headers.text("x-c")), (Some(&b"\xff"[..]), None));
            assert_eq!((headers.get("x"), headers.iter().count()), (None, 5));
            let map = headers.to_map();
            assert_eq!(map.get_all("x-a").iter().collect::<Vec<_>>(), ["one", "three"]);
            assert_eq!(headers.share(headers.get("x-b").unwrap()).unwrap(), "two");
        }
    }
}
