//! The head of an answer: its status, its headers, and where its body ends.

use std::cell::RefCell;

use bytes::{Bytes, BytesMut};
use domain::limits::HEADER_BYTES_MAX;
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::chunks::Chunks;

const HEADERS_MAX: usize = 128;
const ROOMS_MAX: usize = 4;
const ROOM_HEADERS_MAX: usize = 64;
/// More interim answers than this before the final one are no answer.
pub(super) const INTERIM_MAX: u32 = 16;

/// Maps of headers that were read, empty: the next answer's headers are put into their room.
#[derive(Debug, Default)]
pub(crate) struct Rooms(RefCell<Vec<HeaderMap>>);

/// The head of a final answer.
#[derive(Debug)]
pub(crate) struct Head {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub framing: Framing,
    /// Whether the peer lets the connection be used again after the body.
    pub keeps: bool,
}

/// Where a body ends.
#[derive(Debug)]
pub(crate) enum Framing {
    Length(u64),
    Chunked(Chunks),
    /// With the connection.
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

/// What the bytes so far hold.
#[derive(Debug)]
pub(super) enum Reading {
    More,
    /// An interim answer, which says nothing that we asked for.
    Interim,
    Final(Head),
}

impl Rooms {
    fn take(&self, count: usize) -> HeaderMap {
        self.0.borrow_mut().pop().unwrap_or_else(|| HeaderMap::with_capacity(count))
    }

    /// Keeps the room of headers that were read, unless they were many.
    pub(crate) fn give(&self, mut headers: HeaderMap) {
        let mut rooms = self.0.borrow_mut();
        if rooms.len() < ROOMS_MAX && headers.capacity() <= ROOM_HEADERS_MAX {
            headers.clear();
            rooms.push(headers);
        }
    }
}

/// Takes a head out of `bytes`, once all of it is there.
///
/// # Errors
/// It is not a head; the text says why.
pub(super) fn read_head(
    bytes: &mut BytesMut,
    method: &Method,
    rooms: &Rooms,
) -> Result<Reading, &'static str> {
    let Some(end) = end_of_head(bytes)? else { return Ok(Reading::More) };
    let head = bytes.split_to(end).freeze();
    let (first, mut at) = next_line(&head, 0).ok_or("it has no status line")?;
    let (is_old, status) = status_line(first)?;
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Err("it changes the protocol, which was not asked for");
    }
    let lines = memchr::memchr_iter(b'\n', &head).count();
    let mut headers = rooms.take(lines.saturating_sub(2).min(HEADERS_MAX));
    while let Some((line, next)) = next_line(&head, at) {
        if line.is_empty() {
            break;
        }
        if headers.len() >= HEADERS_MAX {
            return Err("it has too many headers");
        }
        let (name, value) = header(&head, line, at)?;
        headers.append(name, value);
        at = next;
    }
    if status.is_informational() {
        return Ok(Reading::Interim);
    }
    let (framing, is_certain) = framing(&headers, status, method, is_old)?;
    let keeps = is_certain && keeps(&headers, is_old);
    Ok(Reading::Final(Head { status, headers, framing, keeps }))
}

/// The index after the empty line.
fn end_of_head(bytes: &[u8]) -> Result<Option<usize>, &'static str> {
    // What does not begin like an answer is told at once; its end might never come.
    let begin = b"HTTP/1.";
    if !bytes.iter().zip(begin).all(|(byte, expected)| byte == expected) {
        return Err("it does not begin with HTTP/1");
    }
    let end = memchr::memmem::find(bytes, b"\r\n\r\n").map(|at| at + 4);
    match end {
        None if bytes.len() > HEADER_BYTES_MAX => Err("its head is too large"),
        None if memchr::memmem::find(bytes, b"\n\n").is_some() => Err("its lines end with a bare line feed"),
        Some(end) if end > HEADER_BYTES_MAX => Err("its head is too large"),
        end => Ok(end),
    }
}

/// A line without its end, and where the next one begins.
fn next_line(head: &[u8], from: usize) -> Option<(&[u8], usize)> {
    let rest = head.get(from..)?;
    let feed = memchr::memchr(b'\n', rest)?;
    let line = rest.get(..feed)?;
    // A bare line feed stays within the line and is refused there.
    Some((line.strip_suffix(b"\r").unwrap_or(rest.get(..=feed)?), from + feed + 1))
}

/// `true` for HTTP/1.0, which closes after each answer and knows no chunks.
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

fn header(head: &Bytes, line: &[u8], at: usize) -> Result<(HeaderName, HeaderValue), &'static str> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err("one of its headers is folded");
    }
    let colon = memchr::memchr(b':', line).ok_or("one of its header lines has no colon")?;
    let wrong = "one of its headers is malformed";
    let name = line.get(..colon).and_then(|name| HeaderName::from_bytes(name).ok()).ok_or(wrong)?;
    let value = line.get(colon + 1..).unwrap_or_default();
    // Only these two: a line feed without its return must not vanish here.
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let lead = value.iter().take_while(|byte| is_blank(byte)).count();
    let tail = value.iter().rev().take_while(|byte| is_blank(byte)).count();
    let from = at + colon + 1 + lead;
    let shared = head.slice(from..from.max(at + line.len() - tail));
    Ok((name, HeaderValue::from_maybe_shared(shared).map_err(|_| wrong)?))
}

/// Where the body ends, and whether that has one reading only.
fn framing(
    headers: &HeaderMap,
    status: StatusCode,
    method: &Method,
    is_old: bool,
) -> Result<(Framing, bool), &'static str> {
    let length = content_length(headers)?;
    let mut encodings = headers.get_all(TRANSFER_ENCODING).iter();
    let encoding = encodings.next();
    if encodings.next().is_some() {
        return Err("it has several transfer encodings");
    }
    if method == Method::HEAD || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED {
        return Ok((Framing::Length(0), encoding.is_none() || length.is_none()));
    }
    match (encoding, length) {
        (Some(_), _) if is_old => Err("it sends chunks on HTTP/1.0"),
        (Some(encoding), length) if encoding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
            // The chunks count, says the standard; who sends a length too is not trusted with a second request.
            Ok((Framing::Chunked(Chunks::default()), length.is_none()))
        }
        (Some(_), _) => Err("its transfer encoding is unknown"),
        (None, Some(length)) => Ok((Framing::Length(length), true)),
        (None, None) => Ok((Framing::Close, false)),
    }
}

fn content_length(headers: &HeaderMap) -> Result<Option<u64>, &'static str> {
    let mut found = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        let digits = value.as_bytes();
        if digits.is_empty() || digits.len() > 18 || !digits.iter().all(u8::is_ascii_digit) {
            return Err("its length is not a number");
        }
        let length = digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
        if found.is_some_and(|other| other != length) {
            return Err("it has two lengths");
        }
        found = Some(length);
    }
    Ok(found)
}

fn keeps(headers: &HeaderMap, is_old: bool) -> bool {
    let has = |word: &[u8]| {
        let tokens = headers
            .get_all(CONNECTION)
            .into_iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        tokens.into_iter().any(|token| token.trim_ascii().eq_ignore_ascii_case(word))
    };
    if is_old { has(b"keep-alive") && !has(b"close") } else { !has(b"close") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Reading, &'static str> {
        read_head(&mut BytesMut::from(text), &Method::POST, &Rooms::default())
    }

    fn check(text: &str, expected: &str) {
        let shown = match read(text) {
            Ok(Reading::Final(head)) => {
                format!("{} {:?} keeps={}", head.status.as_u16(), head.framing, head.keeps)
            }
            Ok(other) => format!("{other:?}"),
            Err(why) => why.to_owned(),
        };
        assert!(shown.contains(expected), "{text:?}: {shown}");
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
        let Ok(Reading::Final(head)) = read_head(&mut bytes, &Method::GET, &Rooms::default()) else {
            panic!("no head")
        };
        assert_eq!((&head.headers["x"], &bytes[..]), (&HeaderValue::from_static("y"), &b"ok"[..]));
        let mut bytes = BytesMut::from("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n");
        let Ok(Reading::Final(head)) = read_head(&mut bytes, &Method::HEAD, &Rooms::default()) else {
            panic!("no head")
        };
        assert!(head.framing.is_over(), "an answer to HEAD has no body whatever its length");
    }

    #[test]
    fn room_that_was_given_back_holds_nothing_of_the_answer_before() {
        let rooms = Rooms::default();
        let read = |text: &'static str| match read_head(&mut BytesMut::from(text), &Method::GET, &rooms) {
            Ok(Reading::Final(head)) => head.headers,
            found => panic!("no head: {found:?}"),
        };
        rooms.give(read("HTTP/1.1 200 OK\r\nx-request-id: one\r\ncontent-length: 3\r\n\r\n"));
        let second = read("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        assert_eq!((second.len(), second.contains_key("x-request-id")), (1, false));
        assert!(rooms.0.borrow().is_empty());
    }
}
