//! Watches the bytes of an HTTP/1 connection and lets only unambiguous framing through to the parser.
//!
//! hyper accepts some shapes that two servers may read as two different requests: a bare line feed, `Content-Length`
//! beside `Transfer-Encoding`, a length given twice. What is let through here has one reading only.

use domain::limits::HEADER_BYTES_MAX;

/// Trailers of a chunked body; nothing reads them.
const TRAILER_BYTES_MAX: usize = 8 * 1024;
const CHUNK_LINE_BYTES_MAX: usize = 256;
const HEADERS_MAX: usize = 100;

/// The first line of HTTP/2's preface; what follows it is not HTTP/1.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";

/// Where a stand-in's code is written.
const REFUSED_PATH: &str = "/.refused/";

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    BareLineFeed,
    RequestLine,
    AbsoluteForm,
    HeaderLine,
    Folded,
    LengthInvalid,
    LengthTwice,
    LengthAndEncoding,
    Encoding,
    Host,
    TooLarge,
    Slow,
    Version,
}

/// What to do with the bytes just read.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All of them may go on.
    Pass,
    /// From this index on they are the beginning of a head that is not complete.
    Hold(usize),
    /// From this index on they are a head that is refused.
    Refuse(usize, Refusal),
    /// The body's framing is broken: there is no request to answer, the connection ends.
    Broken,
}

/// The state between reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    Sized(u64),
    ChunkSize {
        value: u64,
        digits: u32,
        line: usize,
    },
    ChunkExtension {
        value: u64,
        line: usize,
    },
    ChunkSizeEnd {
        value: u64,
    },
    ChunkBytes(u64),
    ChunkEnd,
    ChunkEndFeed,
    Trailers {
        line: usize,
        total: usize,
        returned: bool,
    },
    /// HTTP/2, or a connection that is being closed.
    Opaque,
}

#[derive(Debug)]
pub struct Watch {
    state: State,
    first: bool,
    http2: bool,
}

struct Framing {
    length: Option<u64>,
    chunked: bool,
    hosts: usize,
    headers: usize,
}

impl Watch {
    #[must_use]
    pub fn new() -> Self {
        Self { state: State::Head, first: true, http2: false }
    }

    /// `true` between two requests: a held head or silence.
    #[must_use]
    pub fn awaits_head(&self) -> bool {
        self.state == State::Head
    }

    /// `true` before the connection's first head is complete.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.first
    }

    /// `true` once the connection began with HTTP/2's preface.
    #[must_use]
    pub fn is_http2(&self) -> bool {
        self.http2
    }

    /// Looks at bytes in the order they came. Held bytes must come again, with what follows them.
    pub fn look(&mut self, bytes: &[u8]) -> Verdict {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            match self.state {
                State::Opaque => return Verdict::Pass,
                State::Head => match self.head(rest) {
                    Ok(Some(used)) => at += used,
                    Ok(None) => return Verdict::Hold(at),
                    Err(refusal) => {
                        self.state = State::Opaque;
                        return Verdict::Refuse(at, refusal);
                    }
                },
                State::Sized(left) => at += self.skip(left, rest.len(), State::Sized, State::Head),
                State::ChunkBytes(left) => {
                    at += self.skip(left, rest.len(), State::ChunkBytes, State::ChunkEnd);
                }
                _ => {
                    let Some(next) = rest.first().and_then(|byte| chunk_step(self.state, *byte)) else {
                        self.state = State::Opaque;
                        return Verdict::Broken;
                    };
                    self.state = next;
                    at += 1;
                }
            }
        }
        Verdict::Pass
    }

    fn skip(&mut self, left: u64, have: usize, more: impl Fn(u64) -> State, end: State) -> usize {
        let have_wide = have as u64;
        if have_wide < left {
            self.state = more(left - have_wide);
            have
        } else {
            self.state = end;
            usize::try_from(left).unwrap_or(have)
        }
    }

    /// The length of a complete head, `None` if its end is not here yet.
    fn head(&mut self, bytes: &[u8]) -> Result<Option<usize>, Refusal> {
        if self.first && bytes.starts_with(PREFACE) {
            self.state = State::Opaque;
            self.first = false;
            self.http2 = true;
            return Ok(Some(bytes.len()));
        }
        if self.first && PREFACE.starts_with(bytes) {
            return Ok(None);
        }
        let mut framing = Framing { length: None, chunked: false, hosts: 0, headers: 0 };
        let mut at = 0;
        let mut old = None;
        // An empty line before the request line is allowed by the RFC and sent by old clients.
        while let Some((line, used)) = next_line(bytes.get(at..).unwrap_or_default())? {
            at += used;
            match (old, line.is_empty()) {
                (None, true) if at <= 4 => {}
                (None, true) => return Err(Refusal::RequestLine),
                (None, false) => old = Some(request_line(line)?),
                (Some(_), false) => framing.header(line)?,
                (Some(old), true) => {
                    self.state = framing.end(old)?;
                    self.first = false;
                    return Ok(Some(at));
                }
            }
        }
        if bytes.len() > HEADER_BYTES_MAX { Err(Refusal::TooLarge) } else { Ok(None) }
    }
}

impl Refusal {
    const ALL: [Self; 13] = [
        Self::BareLineFeed,
        Self::RequestLine,
        Self::AbsoluteForm,
        Self::HeaderLine,
        Self::Folded,
        Self::LengthInvalid,
        Self::LengthTwice,
        Self::LengthAndEncoding,
        Self::Encoding,
        Self::Host,
        Self::TooLarge,
        Self::Slow,
        Self::Version,
    ];

    /// The request that stands in for the refused one, so that the answer keeps its place in the pipeline.
    #[must_use]
    pub fn stand_in(self) -> Vec<u8> {
        let name = self.code();
        format!("GET {REFUSED_PATH}{name} HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n")
            .into_bytes()
    }

    /// Reads a stand-in's path. A client that sends such a path itself is refused like any other.
    #[must_use]
    pub fn from_path(path: &str) -> Option<Self> {
        let name = path.strip_prefix(REFUSED_PATH)?;
        Some(Self::ALL.into_iter().find(|refusal| refusal.code() == name).unwrap_or(Self::RequestLine))
    }

    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::BareLineFeed => "bare_line_feed",
            Self::RequestLine => "invalid_request_line",
            Self::AbsoluteForm => "absolute_form",
            Self::HeaderLine => "invalid_header",
            Self::Folded => "folded_header",
            Self::LengthInvalid => "invalid_content_length",
            Self::LengthTwice => "duplicate_content_length",
            Self::LengthAndEncoding => "length_and_transfer_encoding",
            Self::Encoding => "invalid_transfer_encoding",
            Self::Host => "invalid_host",
            Self::TooLarge => "headers_too_large",
            Self::Slow => "headers_too_slow",
            Self::Version => "unknown_http_version",
        }
    }
}

impl Refusal {
    /// What is wrong, in one sentence.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Self::BareLineFeed => "A line of the request's head ends with a bare line feed.",
            Self::RequestLine => "The request line is malformed.",
            Self::AbsoluteForm => "The request line names a whole URL or a host instead of a path.",
            Self::HeaderLine => "A header line is malformed.",
            Self::Folded => "A header is folded over several lines.",
            Self::LengthInvalid => "Content-Length is not a number.",
            Self::LengthTwice => "Content-Length is given more than once.",
            Self::LengthAndEncoding => "Content-Length and Transfer-Encoding are both given.",
            Self::Encoding => "Transfer-Encoding is not exactly \"chunked\" on HTTP/1.1.",
            Self::Host => "The request does not name exactly one plain host.",
            Self::TooLarge => "The request's headers are larger than this server takes.",
            Self::Slow => "The request's headers came too slowly.",
            Self::Version => "The HTTP version is none that is spoken here.",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn fix(self) -> &'static str {
        match self {
            Self::LengthAndEncoding | Self::LengthTwice | Self::LengthInvalid | Self::Encoding => {
                "Give the body's length once: by Content-Length, or by Transfer-Encoding: chunked."
            }
            Self::AbsoluteForm => "Send the path alone, and the host in Host; this is no forward proxy.",
            Self::Host => "Send one Host header that holds a name or address and a port.",
            Self::TooLarge => "Send fewer or shorter headers.",
            Self::Slow => "Send the whole head at once.",
            Self::Version => "Use HTTP/1.1, or HTTP/2.",
            _ => "Send a request as RFC 9112 writes it; every line ends with CRLF.",
        }
    }
}

impl Default for Watch {
    fn default() -> Self {
        Self::new()
    }
}

/// A line without its end, and how far it reaches with it.
fn next_line(bytes: &[u8]) -> Result<Option<(&[u8], usize)>, Refusal> {
    let Some(feed) = memchr::memchr(b'\n', bytes) else { return Ok(None) };
    if feed > HEADER_BYTES_MAX {
        return Err(Refusal::TooLarge);
    }
    match bytes.get(..feed).and_then(|line| line.strip_suffix(b"\r")) {
        Some(line) => Ok(Some((line, feed + 1))),
        None => Err(Refusal::BareLineFeed),
    }
}

/// `true` for HTTP/1.0, which has no chunks and needs no host.
fn request_line(line: &[u8]) -> Result<bool, Refusal> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Refusal::RequestLine);
    };
    if !is_token_text(method) {
        return Err(Refusal::RequestLine);
    }
    let old = match version {
        b"HTTP/1.1" => false,
        b"HTTP/1.0" => true,
        _ => return Err(Refusal::Version),
    };
    match target.first() {
        Some(b'/') if target.iter().all(|byte| (0x21..0x7f).contains(byte) && *byte != b'#') => Ok(old),
        Some(b'*') if target == b"*" && method == b"OPTIONS" => Ok(old),
        Some(b'/') | None => Err(Refusal::RequestLine),
        Some(_) => Err(Refusal::AbsoluteForm),
    }
}

impl Framing {
    fn header(&mut self, line: &[u8]) -> Result<(), Refusal> {
        self.headers += 1;
        if self.headers > HEADERS_MAX {
            return Err(Refusal::TooLarge);
        }
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return Err(Refusal::Folded);
        }
        let colon = memchr::memchr(b':', line).ok_or(Refusal::HeaderLine)?;
        let (name, value) = line.split_at_checked(colon).ok_or(Refusal::HeaderLine)?;
        let value = value.get(1..).unwrap_or_default();
        if !is_token_text(name) {
            return Err(Refusal::HeaderLine);
        }
        // Without a way out in the middle, many bytes are looked at in one step.
        let is_bad = |byte: &u8| (*byte < 0x20 && *byte != b'\t') | (*byte == 0x7f);
        if value.iter().fold(false, |bad, byte| bad | is_bad(byte)) {
            return Err(Refusal::HeaderLine);
        }
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.host(value.trim_ascii()),
            14 if name.eq_ignore_ascii_case(b"content-length") => self.content_length(value.trim_ascii()),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.encoding(value.trim_ascii()),
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

    fn end(&self, old: bool) -> Result<State, Refusal> {
        if self.chunked && self.length.is_some() {
            return Err(Refusal::LengthAndEncoding);
        }
        if self.chunked && old {
            return Err(Refusal::Encoding);
        }
        if self.hosts == 0 && !old {
            return Err(Refusal::Host);
        }
        Ok(match (self.chunked, self.length) {
            (true, _) => State::ChunkSize { value: 0, digits: 0, line: 0 },
            (false, Some(length)) if length > 0 => State::Sized(length),
            _ => State::Head,
        })
    }
}

/// Which bytes may stand in a method or a header's name.
const TOKENS: [bool; 256] = {
    let others = b"!#$%&'*+-.^_`|~";
    let mut tokens = [false; 256];
    let mut byte = 0_u8;
    let mut rest: &mut [bool] = &mut tokens;
    while let [token, more @ ..] = rest {
        *token = byte.is_ascii_alphanumeric();
        let mut left: &[u8] = others;
        while let [other, behind @ ..] = left {
            *token |= *other == byte;
            left = behind;
        }
        rest = more;
        byte = byte.wrapping_add(1);
    }
    tokens
};

#[inline]
fn is_token(byte: u8) -> bool {
    TOKENS.get(usize::from(byte)).is_some_and(|token| *token)
}

/// At least one byte, and each may stand in a token. Without a way out in the middle, which costs more than it saves.
#[inline]
fn is_token_text(bytes: &[u8]) -> bool {
    !bytes.is_empty() & bytes.iter().fold(true, |good, byte| good & is_token(*byte))
}

fn chunk_step(state: State, byte: u8) -> Option<State> {
    match (state, byte) {
        (State::ChunkSize { value, digits, line }, byte) if byte.is_ascii_hexdigit() => {
            let digit = u64::from(char::from(byte).to_digit(16)?);
            (digits < 15).then_some(State::ChunkSize {
                value: value * 16 + digit,
                digits: digits + 1,
                line: line + 1,
            })
        }
        (State::ChunkSize { value, digits, .. }, b'\r') if digits > 0 => Some(State::ChunkSizeEnd { value }),
        (State::ChunkSize { value, digits, line }, b';') if digits > 0 => {
            Some(State::ChunkExtension { value, line })
        }
        (State::ChunkExtension { value, .. }, b'\r') => Some(State::ChunkSizeEnd { value }),
        (State::ChunkExtension { value, line }, byte) => {
            let fine = byte >= 0x20 && byte != 0x7f && line < CHUNK_LINE_BYTES_MAX;
            fine.then_some(State::ChunkExtension { value, line: line + 1 })
        }
        (State::ChunkSizeEnd { value: 0 }, b'\n') => {
            Some(State::Trailers { line: 0, total: 0, returned: false })
        }
        (State::ChunkSizeEnd { value }, b'\n') => Some(State::ChunkBytes(value)),
        (State::ChunkEnd, b'\r') => Some(State::ChunkEndFeed),
        (State::ChunkEndFeed, b'\n') => Some(State::ChunkSize { value: 0, digits: 0, line: 0 }),
        (State::Trailers { line, total, returned }, byte) => trailer_step(line, total, returned, byte),
        _ => None,
    }
}

fn trailer_step(line: usize, total: usize, returned: bool, byte: u8) -> Option<State> {
    match (byte, returned) {
        (b'\r', false) => Some(State::Trailers { line, total: total + 1, returned: true }),
        (b'\n', true) if line == 0 => Some(State::Head),
        (b'\n', true) => Some(State::Trailers { line: 0, total: total + 1, returned: false }),
        (_, true) | (b'\n', false) => None,
        (byte, false) => {
            let fine = (byte >= 0x20 || byte == b'\t') && byte != 0x7f && total < TRAILER_BYTES_MAX;
            fine.then_some(State::Trailers { line: line + 1, total: total + 1, returned: false })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &[&[u8]] = &[
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\r\nGET /v1/models?x=1 HTTP/1.1\r\nHost: a:80\r\nX: \t y \x80 \r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: [::1]:80\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: b\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\nGET / HTTP/1.0\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\nT: v\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00anything\n",
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    ];

    /// Feeds bytes cut at every size, as a socket may.
    fn feed(bytes: &[u8], size: usize) -> Verdict {
        let mut watch = Watch::new();
        let mut held: Vec<u8> = Vec::new();
        for chunk in bytes.chunks(size) {
            held.extend_from_slice(chunk);
            match watch.look(&held) {
                Verdict::Pass => held.clear(),
                Verdict::Hold(from) => {
                    held.drain(..from);
                }
                Verdict::Refuse(_, refusal) => return Verdict::Refuse(0, refusal),
                Verdict::Broken => return Verdict::Broken,
            }
        }
        if held.is_empty() { Verdict::Pass } else { Verdict::Hold(0) }
    }

    #[test]
    fn plain_requests_pass_however_they_are_cut() {
        for bytes in GOOD {
            for size in 1..=bytes.len() {
                assert_eq!(feed(bytes, size), Verdict::Pass, "{size}: {}", String::from_utf8_lossy(bytes));
            }
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
            (b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::AbsoluteForm),
            (b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::AbsoluteForm),
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
                let shown = String::from_utf8_lossy(bytes);
                assert_eq!(feed(bytes, size), Verdict::Refuse(0, *refusal), "{size}: {shown}");
            }
        }
    }

    #[test]
    fn broken_chunks_end_the_connection() {
        let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let bodies: &[&[u8]] = &[
            b"\r\n",
            b"x\r\n",
            b"3\nabc\r\n",
            b"3\r\nabcd",
            b"3\r\nabc\n",
            b"-1\r\n",
            b"0x3\r\n",
            b" 3\r\n",
            b"3 \r\n",
            b"fffffffffffffffff\r\n",
            b"3;\n",
            b"0\r\n\n",
            b"0\r\nT: a\rb\r\n",
        ];
        for body in bodies {
            let bytes = [head.as_slice(), body].concat();
            for size in 1..=bytes.len() {
                assert_eq!(feed(&bytes, size), Verdict::Broken, "{size}: {body:?}");
            }
        }
    }

    #[test]
    fn a_head_over_the_bound_is_refused_before_its_end() {
        let mut bytes = b"GET / HTTP/1.1\r\nHost: a\r\nX: ".to_vec();
        bytes.resize(HEADER_BYTES_MAX + 1, b'x');
        assert_eq!(Watch::new().look(&bytes), Verdict::Refuse(0, Refusal::TooLarge));
        let many = [b"GET / HTTP/1.1\r\nHost: a\r\n".as_slice(), &b"A: b\r\n".repeat(100)].concat();
        assert_eq!(Watch::new().look(&many), Verdict::Refuse(0, Refusal::TooLarge));
    }

    #[test]
    fn the_second_head_on_a_connection_is_looked_at_too() {
        let bytes = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\nHost: a\n\n";
        assert_eq!(Watch::new().look(bytes), Verdict::Refuse(27, Refusal::BareLineFeed));
        let smuggled = b"PRI * HTTP/2.0\r\n\r\n";
        let bytes = [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".as_slice(), smuggled].concat();
        assert!(
            matches!(Watch::new().look(&bytes), Verdict::Refuse(27, _)),
            "the preface comes first or never"
        );
    }
}
