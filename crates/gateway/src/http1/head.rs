//! Parses the head of an HTTP/1 request, and accepts only heads that are unambiguous.
//!
//! A bare line feed, `Content-Length` together with `Transfer-Encoding`, a length given twice: anything that
//! two servers may read as two different requests is refused.

use bytes::Bytes;
use domain::limits::HEADER_BYTES_MAX;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};

use super::framing::Framing;
use super::refusal::Refusal;
use crate::limits::HEADERS_MAX;

const END: &[u8] = b"\r\n\r\n";

/// A request without its body.
#[derive(Debug)]
pub(super) struct Head {
    /// The length of the bytes it was read from.
    pub length: usize,
    /// All these bytes: what is stored of the head is a slice of them.
    pub kept: Bytes,
    pub method: Method,
    pub uri: Uri,
    pub version: Version,
    pub headers: HeaderMap,
    pub framing: Framing,
    /// The client would send a next request over this connection.
    pub keeps: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
}

/// Parses a head at the start of `bytes`; `None` if its end hasn't arrived. `header_map` is an empty map to fill.
pub(super) fn read(bytes: &[u8], header_map: &mut HeaderMap) -> Result<Option<Head>, Refusal> {
    let before = empty_lines(bytes)?;
    let rest = bytes.get(before..).unwrap_or_default();
    let Some(end) = memchr::memmem::find(rest, END).filter(|end| *end <= HEADER_BYTES_MAX) else {
        return incomplete(rest).map(|()| None);
    };
    let length = before + end + END.len();
    // One allocation for the head and what came behind it, usually the body; the
    // buffer stays with its connection.
    let kept = Bytes::copy_from_slice(bytes);
    let mut reading = Reading { kept: &kept, at: before, until: length, known: Known::default() };
    let (method, uri, version) = reading.request_line()?;
    let mut headers = std::mem::take(header_map);
    reading.headers(&mut headers)?;
    let uri = Reading::origin_form(uri, &mut headers)?;
    let framing = reading.known.framing(version)?;
    let keeps = keeps(version, &headers);
    let waits = version == Version::HTTP_11 && waits(&headers) && !framing.is_over();
    Ok(Some(Head { length, kept, method, uri, version, headers, framing, keeps, expects_continue: waits }))
}

/// An empty line before the request line is allowed by the RFC and sent by old clients.
fn empty_lines(bytes: &[u8]) -> Result<usize, Refusal> {
    let mut at = 0;
    while let [b'\r', b'\n', ..] = bytes.get(at..).unwrap_or_default() {
        at += 2;
        if at > 4 {
            return Err(Refusal::RequestLine);
        }
    }
    Ok(at)
}

/// What is wrong already with an incomplete head.
fn incomplete(bytes: &[u8]) -> Result<(), Refusal> {
    let mut from = 0;
    for feed in memchr::memchr_iter(b'\n', bytes) {
        let line = bytes.get(from..feed).and_then(|line| line.strip_suffix(b"\r"));
        let line = line.ok_or(Refusal::BareLineFeed)?;
        if from == 0 {
            RequestLine::of(line)?;
        }
        from = feed + 1;
    }
    if bytes.len() > HEADER_BYTES_MAX { Err(Refusal::TooLarge) } else { Ok(()) }
}

/// A cursor through a complete head.
struct Reading<'a> {
    kept: &'a Bytes,
    at: usize,
    until: usize,
    known: Known,
}

/// The headers that decide how the body is framed.
#[derive(Default)]
struct Known {
    length: Option<u64>,
    chunked: bool,
    hosts: usize,
}

/// A request line's parts.
struct RequestLine<'a> {
    method: &'a [u8],
    target: &'a [u8],
    version: Version,
}

impl<'a> Reading<'a> {
    /// The next line without its line end.
    fn line(&mut self) -> Result<&'a [u8], Refusal> {
        let rest = self.kept.get(self.at..self.until).unwrap_or_default();
        let feed = memchr::memchr(b'\n', rest).ok_or(Refusal::HeaderLine)?;
        self.at += feed + 1;
        rest.get(..feed).and_then(|line| line.strip_suffix(b"\r")).ok_or(Refusal::BareLineFeed)
    }

    fn request_line(&mut self) -> Result<(Method, Uri, Version), Refusal> {
        let kept = self.kept;
        let line = RequestLine::of(self.line()?)?;
        let method = Method::from_bytes(line.method).map_err(|_| Refusal::RequestLine)?;
        let uri = Uri::from_maybe_shared(kept.slice_ref(line.target)).map_err(|_| Refusal::RequestLine)?;
        Ok((method, uri, line.version))
    }

    /// An absolute URL as the target determines the host, whatever the `Host` header says (RFC 9112, 3.2.2).
    fn origin_form(uri: Uri, headers: &mut HeaderMap) -> Result<Uri, Refusal> {
        if uri.scheme().is_none() {
            return Ok(uri);
        }
        let authority = uri.authority().ok_or(Refusal::RequestLine)?.as_str();
        Known::default().host(authority.as_bytes())?;
        headers.insert(HOST, HeaderValue::from_str(authority).map_err(|_| Refusal::Host)?);
        let target = match uri.query() {
            Some(query) => format!("{}?{query}", uri.path()),
            None => uri.path().to_owned(),
        };
        Uri::try_from(target).map_err(|_| Refusal::RequestLine)
    }

    fn headers(&mut self, headers: &mut HeaderMap) -> Result<(), Refusal> {
        let kept = self.kept;
        for _ in 0..=HEADERS_MAX {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(());
            }
            if matches!(line.first(), Some(b' ' | b'\t')) {
                return Err(Refusal::Folded);
            }
            let colon = memchr::memchr(b':', line).ok_or(Refusal::HeaderLine)?;
            let (name, value) = line.split_at_checked(colon).ok_or(Refusal::HeaderLine)?;
            let value = trim(value.get(1..).unwrap_or_default());
            // Both refuse every byte that is not allowed there, including a lone carriage return.
            let name = HeaderName::from_bytes(name).map_err(|_| Refusal::HeaderLine)?;
            let value =
                HeaderValue::from_maybe_shared(kept.slice_ref(value)).map_err(|_| Refusal::HeaderLine)?;
            self.known.header(&name, value.as_bytes())?;
            headers.append(name, value);
        }
        Err(Refusal::TooLarge)
    }
}

/// Without the surrounding whitespace.
fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

impl<'a> RequestLine<'a> {
    fn of(line: &'a [u8]) -> Result<Self, Refusal> {
        let mut parts = line.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Refusal::RequestLine);
        };
        if Method::from_bytes(method).is_err() {
            return Err(Refusal::RequestLine);
        }
        let version = match version {
            b"HTTP/1.1" => Version::HTTP_11,
            b"HTTP/1.0" => Version::HTTP_10,
            _ => return Err(Refusal::Version),
        };
        let plain = |byte: &u8| (0x21..0x7f).contains(byte) && *byte != b'#';
        match target.first() {
            Some(b'/') if target.iter().all(plain) => {}
            Some(b'*') if target == b"*" && method == b"OPTIONS" => {}
            Some(b'/') | None => return Err(Refusal::RequestLine),
            Some(_) if is_absolute(target) && method != b"CONNECT" => {
                if !target.iter().all(plain) {
                    return Err(Refusal::RequestLine);
                }
            }
            Some(_) => return Err(Refusal::AuthorityForm),
        }
        Ok(Self { method, target, version })
    }
}

fn is_absolute(target: &[u8]) -> bool {
    [b"http://".as_slice(), b"https://"]
        .iter()
        .any(|scheme| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))
}

impl Known {
    fn header(&mut self, name: &HeaderName, value: &[u8]) -> Result<(), Refusal> {
        match *name {
            HOST => self.host(value),
            CONTENT_LENGTH => self.content_length(value),
            TRANSFER_ENCODING => self.encoding(value),
            _ => Ok(()),
        }
    }

    fn host(&mut self, value: &[u8]) -> Result<(), Refusal> {
        self.hosts += 1;
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(byte);
        if self.hosts > 1 || value.len() > 259 || !value.iter().all(plain) {
            return Err(Refusal::Host);
        }
        Ok(())
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.length.is_some() {
            return Err(Refusal::LengthTwice);
        }
        if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
            return Err(Refusal::LengthInvalid);
        }
        self.length = Some(value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')));
        Ok(())
    }

    fn encoding(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Refusal::Encoding);
        }
        self.chunked = true;
        Ok(())
    }

    fn framing(&self, version: Version) -> Result<Framing, Refusal> {
        let old = version == Version::HTTP_10;
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(Refusal::LengthAndEncoding),
            (true, None) if old => Err(Refusal::Encoding),
            _ if self.hosts == 0 && !old => Err(Refusal::Host),
            (true, None) => Ok(Framing::CHUNKED),
            (false, length) => Ok(Framing::sized(length.unwrap_or(0))),
        }
    }
}

/// Whether the client would send a next request over this connection.
fn keeps(version: Version, headers: &HeaderMap) -> bool {
    let has_token = |word: &[u8]| {
        let values = headers.get_all(CONNECTION).iter();
        values
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .any(|token| trim(token).eq_ignore_ascii_case(word))
    };
    if version == Version::HTTP_10 { has_token(b"keep-alive") } else { !has_token(b"close") }
}

fn waits(headers: &HeaderMap) -> bool {
    headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses a head that arrives in pieces of this size, as from a socket.
    fn feed(bytes: &[u8], size: usize) -> Result<Option<Head>, Refusal> {
        let mut have = Vec::new();
        for piece in bytes.chunks(size) {
            have.extend_from_slice(piece);
            let found = read(&have, &mut HeaderMap::new())?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    #[test]
    fn plain_heads_are_read_however_they_are_cut() {
        type Expected = (&'static str, &'static str, Version, Framing, bool, usize);
        let cases: &[(&[u8], Expected)] = &[
            (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", ("GET", "/", Version::HTTP_11, Framing::Over, true, 1)),
            (
                b"\r\nGET /v1/models?x=1 HTTP/1.1\r\nHost: a:80\r\nX: \t y \x80 \r\n\r\n",
                ("GET", "/v1/models?x=1", Version::HTTP_11, Framing::Over, true, 2),
            ),
            (
                b"POST /a HTTP/1.1\r\nHost: [::1]:80\r\nContent-Length: 3\r\nConnection: x, Close\r\n\r\n",
                ("POST", "/a", Version::HTTP_11, Framing::Sized(3), false, 3),
            ),
            (
                b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n",
                ("POST", "/a", Version::HTTP_11, Framing::CHUNKED, true, 2),
            ),
            (
                b"OPTIONS * HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
                ("OPTIONS", "*", Version::HTTP_11, Framing::Over, true, 2),
            ),
            (b"GET / HTTP/1.0\r\n\r\n", ("GET", "/", Version::HTTP_10, Framing::Over, false, 0)),
            (
                b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
                ("GET", "/", Version::HTTP_10, Framing::Over, true, 1),
            ),
        ];
        for (bytes, (method, target, version, framing, keeps, count)) in cases {
            for size in 1..=bytes.len() {
                let rendered = String::from_utf8_lossy(bytes);
                let head = feed(bytes, size).unwrap().unwrap();
                assert_eq!(head.length, bytes.len(), "{size}: {rendered}");
                assert_eq!(
                    (head.method.as_str(), head.uri.to_string().as_str()),
                    (*method, *target),
                    "{rendered}"
                );
                assert_eq!(
                    (head.version, head.framing, head.keeps),
                    (*version, *framing, *keeps),
                    "{rendered}"
                );
                assert_eq!(head.headers.len(), *count, "{rendered}");
            }
        }
        let head = feed(cases[1].0, 7).unwrap().unwrap();
        assert_eq!(head.headers.get("x").map(HeaderValue::as_bytes), Some(b"y \x80".as_slice()));
        let waits = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-Continue\r\n\r\n";
        assert!(feed(waits, 9).unwrap().unwrap().expects_continue);
    }

    #[test]
    fn a_target_that_is_a_url_says_the_host() {
        for (target, host, path) in [
            ("http://gate.example/v1/models?x=1", "gate.example", "/v1/models?x=1"),
            ("HTTPS://[::1]:8787/a", "[::1]:8787", "/a"),
            ("http://gate.example", "gate.example", "/"),
            ("http://gate.example?x=1", "gate.example", "/?x=1"),
        ] {
            let bytes = format!("GET {target} HTTP/1.1\r\nHost: evil.example\r\n\r\n");
            let head = feed(bytes.as_bytes(), 5).unwrap().unwrap();
            assert_eq!((head.uri.to_string().as_str(), head.uri.authority()), (path, None), "{target}");
            let hosts: Vec<_> = head.headers.get_all(HOST).iter().collect();
            assert_eq!(hosts, [host], "{target}");
        }
    }

    #[test]
    fn ambiguous_heads_are_refused_however_they_are_cut() {
        let cases: &[(&[u8], Refusal)] = &[
            (b"GET / HTTP/1.1\nHost: a\n\n", Refusal::BareLineFeed),
            (b"GET / HTTP/1.1\r\nHost: a\n\r\n", Refusal::BareLineFeed),
            (b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\n", Refusal::BareLineFeed),
            (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::RequestLine),
            (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", Refusal::RequestLine),
            (b"GET /\r\nHost: a\r\n\r\n", Refusal::RequestLine),
            (b"G@T / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::RequestLine),
            (b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::RequestLine),
            (b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::RequestLine),
            (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", Refusal::Version),
            (b"GET a/b HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::AuthorityForm),
            (b"GET ftp://a/b HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::AuthorityForm),
            (b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::Host),
            (b"GET http:///b HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::RequestLine),
            (b"GET http://a/#b HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::RequestLine),
            (b"GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Refusal::Host),
            (b"GET http://a/ HTTP/1.1\r\n\r\n", Refusal::Host),
            (b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::AuthorityForm),
            (b"CONNECT http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::AuthorityForm),
            (b"GET / HTTP/1.1\r\n\r\n", Refusal::Host),
            (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", Refusal::Host),
            (b"GET / HTTP/1.1\r\nHost: a#@b\r\n\r\n", Refusal::Host),
            (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", Refusal::Host),
            (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", Refusal::HeaderLine),
            (b"GET / HTTP/1.1\r\nHost: a\r\nNoColon\r\n\r\n", Refusal::HeaderLine),
            (b"GET / HTTP/1.1\r\nHost: a\r\n: v\r\n\r\n", Refusal::HeaderLine),
            (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", Refusal::HeaderLine),
            (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n", Refusal::HeaderLine),
            (b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n folded\r\n\r\n", Refusal::Folded),
            (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", Refusal::LengthTwice),
            (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n", Refusal::LengthInvalid),
            (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", Refusal::LengthInvalid),
            (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\n", Refusal::LengthInvalid),
            (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", Refusal::LengthInvalid),
            (
                b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
                Refusal::LengthAndEncoding,
            ),
            (
                b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
                Refusal::LengthAndEncoding,
            ),
            (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Refusal::Encoding),
            (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", Refusal::Encoding),
            (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n", Refusal::Encoding),
            (
                b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
                Refusal::Encoding,
            ),
            (b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", Refusal::Encoding),
            (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n", Refusal::HeaderLine),
        ];
        for (bytes, refusal) in cases {
            for size in 1..=bytes.len() {
                let rendered = String::from_utf8_lossy(bytes);
                assert_eq!(feed(bytes, size).err(), Some(*refusal), "{size}: {rendered}");
            }
        }
    }

    #[test]
    fn a_head_over_the_bound_is_refused_before_its_end() {
        let mut bytes = b"GET / HTTP/1.1\r\nHost: a\r\nX: ".to_vec();
        bytes.resize(HEADER_BYTES_MAX + 1, b'x');
        assert_eq!(feed(&bytes, bytes.len()).err(), Some(Refusal::TooLarge));
        let long = [&bytes, b"\r\n\r\n".as_slice()].concat();
        assert_eq!(feed(&long, long.len()).err(), Some(Refusal::TooLarge));
        let many = [b"GET / HTTP/1.1\r\nHost: a\r\n".as_slice(), &b"A: b\r\n".repeat(100), b"\r\n"].concat();
        assert_eq!(feed(&many, many.len()).err(), Some(Refusal::TooLarge));
    }
}
