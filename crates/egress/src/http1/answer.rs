//! Parses a response head: its status, its headers, and where its body ends.

use bytes::{Buf, BytesMut};
use domain::limits::HEADER_BYTES_MAX;
use http::{Method, StatusCode};

use super::chunks::Chunks;
use crate::limits::HEADERS_MAX;
use crate::message::{Headers, split_line};

/// The head of a final response.
#[derive(Debug)]
pub(crate) struct Head {
    pub status: StatusCode,
    pub headers: Headers,
    pub framing: Framing,
    /// Whether the peer keeps the connection alive after the body.
    pub keeps: bool,
}

/// Where a body ends.
#[derive(Debug)]
pub(crate) enum Framing {
    Length(u64),
    Chunked(Chunks),
    /// With the close of the connection.
    Close,
}

impl Framing {
    pub(crate) const fn is_over(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunks) => chunks.is_over(),
            Self::Close => false,
        }
    }
}

/// The result of reading the bytes so far.
#[derive(Debug)]
pub(super) enum Reading {
    More,
    /// An interim response, which is ignored.
    Interim,
    Final(Head),
}

/// What a head's lines say about the body and the connection.
#[derive(Default)]
struct FramingHeaders<'a> {
    length: Option<u64>,
    encoding: Option<&'a [u8]>,
    closes: bool,
    keeps_alive: bool,
    /// An error in the framing, which counts only in a final response.
    wrong: Option<&'static str>,
}

/// Takes a head out of `bytes` once it is complete.
///
/// # Errors
/// It is not a head; the text says why.
#[cfg(any(test, feature = "fixtures"))]
pub(super) fn read_head(bytes: &mut BytesMut, method: &Method) -> Result<Reading, &'static str> {
    read_any_head(bytes, method, false)
}

/// The same, for requests that may have asked for an upgrade.
pub(super) fn read_any_head(
    bytes: &mut BytesMut,
    method: &Method,
    may_change: bool,
) -> Result<Reading, &'static str> {
    let Some(end) = end_of_head(bytes)? else { return Ok(Reading::More) };
    let (first, begin) = next_line(bytes, 0).ok_or("it has no status line")?;
    let (is_old, status) = status_line(first)?;
    let changes = status == StatusCode::SWITCHING_PROTOCOLS;
    if changes && (is_old || !may_change) {
        return Err("it changes the protocol, which was not asked for");
    }
    let (mut fields, mut at, mut count) = (FramingHeaders::default(), begin, 0);
    while let Some((line, next)) = next_line(bytes, at).filter(|(line, _)| !line.is_empty()) {
        count += 1;
        if count > HEADERS_MAX {
            return Err("it has too many headers");
        }
        fields.read(line)?;
        at = next;
    }
    if status.is_informational() && !changes {
        bytes.advance(end);
        return Ok(Reading::Interim);
    }
    let (framing, is_certain) = if changes {
        // What follows belongs to the new protocol.
        (Framing::Length(0), false)
    } else {
        fields.framing(status, method, is_old)?
    };
    let keeps = is_certain && !fields.closes && (fields.keeps_alive || !is_old);
    let mut lines = bytes.split_to(end).freeze();
    lines.truncate(at);
    lines.advance(begin);
    Ok(Reading::Final(Head { status, headers: Headers::of_lines(lines), framing, keeps }))
}

/// The index after the empty line.
fn end_of_head(bytes: &[u8]) -> Result<Option<usize>, &'static str> {
    // Bytes that do not begin like a response are rejected at once; their end might never come.
    let begin = b"HTTP/1.";
    if !bytes.iter().zip(begin).all(|(byte, expected)| byte == expected) {
        return Err("it does not begin with HTTP/1");
    }
    let within = bytes.get(..HEADER_BYTES_MAX).unwrap_or(bytes);
    for feed in memchr::memchr_iter(b'\n', within) {
        match within.get(feed + 1..).unwrap_or_default() {
            [b'\r', b'\n', ..] => return Ok(Some(feed + 3)),
            [b'\n', ..] => return Err("its lines end with a bare line feed"),
            _ => {}
        }
    }
    if bytes.len() > HEADER_BYTES_MAX { Err("its head is too large") } else { Ok(None) }
}

/// A line without its line end, and where the next one begins.
fn next_line(head: &[u8], from: usize) -> Option<(&[u8], usize)> {
    let rest = head.get(from..)?;
    let feed = memchr::memchr(b'\n', rest)?;
    let line = rest.get(..feed)?;
    // A bare line feed stays within the line and is rejected there.
    Some((line.strip_suffix(b"\r").unwrap_or(rest.get(..=feed)?), from + feed + 1))
}

/// `true` for HTTP/1.0, which closes after each response and has no chunked encoding.
fn status_line(line: &[u8]) -> Result<(bool, StatusCode), &'static str> {
    let wrong = "its status line is malformed";
    let rest = line.strip_prefix(b"HTTP/1.").ok_or(wrong)?;
    let (minor, rest) = rest.split_first().ok_or(wrong)?;
    let is_old = match minor {
        b'1' => false,
        b'0' => true,
        _ => return Err("its HTTP version is unknown"),
    };
    let (code, reason) = rest.strip_prefix(b" ").and_then(|rest| rest.split_at_checked(3)).ok_or(wrong)?;
    let is_plain = |byte: &u8| *byte >= 0x20 || *byte == b'\t';
    if !matches!(reason.first(), None | Some(b' ')) || !reason.iter().all(is_plain) {
        return Err(wrong);
    }
    StatusCode::from_bytes(code).map(|status| (is_old, status)).map_err(|_| wrong)
}

impl<'a> FramingHeaders<'a> {
    fn read(&mut self, line: &'a [u8]) -> Result<(), &'static str> {
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return Err("one of its headers is folded");
        }
        let (name, value) = split_line(line).ok_or("one of its header lines has no colon")?;
        // Without an early exit, the compiler can check many bytes at once.
        let is_value = value.iter().fold(true, |plain, byte| plain & is_plain(byte));
        if name.is_empty() || !name.iter().all(is_token) || !is_value {
            return Err("one of its headers is malformed");
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            self.read_length(value);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.encoding.replace(value).is_some() {
                self.wrong.get_or_insert("it has several transfer encodings");
            }
        } else if name.eq_ignore_ascii_case(b"connection") {
            for token in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                self.closes |= token.eq_ignore_ascii_case(b"close");
                self.keeps_alive |= token.eq_ignore_ascii_case(b"keep-alive");
            }
        }
        Ok(())
    }

    fn read_length(&mut self, digits: &[u8]) {
        if digits.is_empty() || digits.len() > 18 || !digits.iter().all(u8::is_ascii_digit) {
            self.wrong.get_or_insert("its length is not a number");
            return;
        }
        let length = digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
        if self.length.replace(length).is_some_and(|other| other != length) {
            self.wrong.get_or_insert("it has two lengths");
        }
    }

    /// Where the body ends, and whether that is unambiguous.
    fn framing(
        &self,
        status: StatusCode,
        method: &Method,
        is_old: bool,
    ) -> Result<(Framing, bool), &'static str> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        if method == Method::HEAD || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED {
            return Ok((Framing::Length(0), self.encoding.is_none() || self.length.is_none()));
        }
        match (self.encoding, self.length) {
            (Some(_), _) if is_old => Err("it sends chunks on HTTP/1.0"),
            (Some(encoding), length) if encoding.eq_ignore_ascii_case(b"chunked") => {
                // The standard says that chunked wins; a peer that sends a length too gets no
                // second request on this connection.
                Ok((Framing::Chunked(Chunks::default()), length.is_none()))
            }
            (Some(_), _) => Err("its transfer encoding is unknown"),
            (None, Some(length)) => Ok((Framing::Length(length), true)),
            (None, None) => Ok((Framing::Close, false)),
        }
    }
}

/// The bytes that a header name may contain.
#[expect(clippy::indexing_slicing, reason = "the compiler itself would meet an index that is too large")]
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut rest: &[u8] = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    while let [byte, others @ ..] = rest {
        table[*byte as usize] = true;
        rest = others;
    }
    table
};

fn is_token(byte: &u8) -> bool {
    TOKEN.get(usize::from(*byte)).is_some_and(|is_token| *is_token)
}

/// What a header value may contain: no control character but the tab.
const fn is_plain(byte: &u8) -> bool {
    (*byte >= b' ' && *byte != 0x7f) || *byte == b'\t'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Reading, &'static str> {
        read_head(&mut BytesMut::from(text), &Method::POST)
    }

    fn check(text: &str, expected: &str) {
        let rendered = match read(text) {
            Ok(Reading::Final(head)) => {
                format!("{} {:?} keeps={}", head.status.as_u16(), head.framing, head.keeps)
            }
            Ok(other) => format!("{other:?}"),
            Err(why) => why.to_owned(),
        };
        assert!(rendered.contains(expected), "{text:?}: {rendered}");
    }

    #[test]
    fn a_head_says_where_its_body_ends() {
        check("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", "200 Length(5) keeps=true");
        check(
            "HTTP/1.1 200\r\nContent-Length:5\r\nConnection: x, Close\r\n\r\n",
            "200 Length(5) keeps=false",
        );
        check("HTTP/1.1 200 \r\ncontent-length: 5 \r\ncontent-length: 5\r\n\r\n", "200 Length(5) keeps=true");
        check("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", "keeps=true");
        check("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n", "keeps=false");
        check("HTTP/1.1 500 Sorry: no\r\n\r\n", "500 Close keeps=false");
        check("HTTP/1.1 204 No Content\r\n\r\n", "204 Length(0) keeps=true");
        check("HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\n", "200 Length(1) keeps=false");
        check(
            "HTTP/1.0 200 OK\r\ncontent-length: 1\r\nconnection: keep-alive\r\n\r\n",
            "Length(1) keeps=true",
        );
        check("HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n", "Interim");
        check("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r", "More");
        check("HTT", "More");
    }

    #[test]
    fn what_has_two_readings_is_no_answer() {
        let cases: &[(&str, &str)] = &[
            ("SSH-2.0-x\r\n", "does not begin"),
            ("HTTP/2 200 OK\r\n\r\n", "does not begin"),
            ("HTTP/1.2 200 OK\r\n\r\n", "version"),
            ("HTTP/1.1 20 OK\r\n\r\n", "status line"),
            ("HTTP/1.1 2000 OK\r\n\r\n", "status line"),
            ("HTTP/1.1  200 OK\r\n\r\n", "status line"),
            ("HTTP/1.1 101 Switching\r\n\r\n", "protocol"),
            ("HTTP/1.1 200 OK\ncontent-length: 5\n\n", "line feed"),
            ("HTTP/1.1 200 OK\r\na: b\ncontent-length: 5\r\n\r\n", "malformed"),
            ("HTTP/1.1 200 OK\r\na: b\rc\r\n\r\n", "malformed"),
            ("HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n", "folded"),
            ("HTTP/1.1 200 OK\r\na : b\r\n\r\n", "malformed"),
            ("HTTP/1.1 200 OK\r\n: b\r\n\r\n", "malformed"),
            ("HTTP/1.1 200 OK\r\nnothing\r\n\r\n", "colon"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n", "two lengths"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\n\r\n", "number"),
            ("HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", "number"),
            ("HTTP/1.1 200 OK\r\ncontent-length:\r\n\r\n", "number"),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n", "unknown"),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
                "several",
            ),
            ("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "1.0"),
        ];
        for (text, expected) in cases {
            check(text, expected);
        }
        let long = format!("HTTP/1.1 200 OK\r\na: {}", "x".repeat(HEADER_BYTES_MAX));
        check(&long, "too large");
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(HEADERS_MAX + 1));
        check(&many, "too many");
    }

    #[test]
    fn a_head_leaves_the_body_where_it_is() {
        let mut bytes = BytesMut::from("HTTP/1.1 200 OK\r\nx:  y \r\ncontent-length: 2\r\n\r\nok");
        let Ok(Reading::Final(head)) = read_head(&mut bytes, &Method::GET) else { panic!("no head") };
        assert_eq!((head.headers.text("x"), &bytes[..]), (Some("y"), &b"ok"[..]));
        let mut bytes = BytesMut::from("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n");
        let Ok(Reading::Final(head)) = read_head(&mut bytes, &Method::HEAD) else { panic!("no head") };
        assert!(head.framing.is_over(), "an answer to HEAD has no body whatever its length");
    }
}
