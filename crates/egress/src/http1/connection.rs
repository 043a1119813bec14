//! One HTTP/1.1 connection: a request written, a response read, and whether it can be reused.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes, BytesMut};
use domain::Upload;
use http::header::UPGRADE;
use http::{HeaderValue, Method};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::Wire;
use super::answer::{Framing, Head, Reading, read_any_head};
use super::chunks::Decoded;
use crate::gauge::Counted;
use crate::limits::{INTERIM_ANSWERS_MAX, READ_BYTES_MAX, SLICES_MAX, WRITE_BUFFER_KEPT_BYTES_MAX};
use crate::message::Request;
use crate::socket::Socket;

/// A stream's chunk fits, and a thousand open streams stay small.
const READ_BYTES_MIN: usize = 4 * 1024;
/// With less free space than this, a read is not worth its system call.
const ROOM_BYTES_MIN: usize = 1024;
/// Up to this size a body is copied behind the head, which is cheaper than segments that
/// the kernel gathers one by one.
const JOIN_UP_TO_BYTES: u64 = 8 * 1024;
/// Most heads are shorter.
const HEAD_BYTES: usize = 512;
const VERSION_AND_HOST: &[u8] = b" HTTP/1.1\r\nhost: ";
const LENGTH_NAME: &[u8] = b"\r\ncontent-length: ";
const CHUNKED: &[u8] = b"\r\ntransfer-encoding: chunked";
const CHANGES: &[u8] = b"\r\nconnection: Upgrade";
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
const HEAD_END: &[u8] = b"\r\n\r\n";
/// The digits of the largest number.
const NUMBER_DIGITS: usize = 20;

/// Why an exchange ended early.
#[derive(Debug)]
pub(crate) enum ExchangeError {
    /// The peer closed the connection.
    Closed,
    Wire(io::Error),
    /// What arrived is not HTTP; the text says why.
    Protocol(&'static str),
    /// The request's own body broke off.
    Body,
}

/// A connection, with the request that is being written to it.
pub(crate) struct Connection {
    wire: Wire,
    read: BytesMut,
    read_bytes_next: usize,
    /// The last response was a refusal, which may repeat the key.
    may_hold_secret: bool,
    /// The request's head, and its body where that is short. It holds a secret, so it is wiped once it is written.
    head: Vec<u8>,
    head_written: usize,
    /// The rest of the body, as far as it has arrived.
    segments: VecDeque<Bytes>,
    /// The part of the body that is still being uploaded.
    rest: Option<Upload>,
    /// The length is not known, so the body is sent in chunks.
    chunked: bool,
    /// The upload broke off.
    broken_off: bool,
    /// A byte of the current request was written.
    touched: bool,
    /// The peer accepts no more of the request; it may still have responded.
    unwritable: bool,
    /// The request asks for an upgrade.
    is_upgrade: bool,
    counted: Counted,
}

impl Connection {
    pub(crate) fn new(wire: Wire, counted: Counted) -> Self {
        Self {
            wire,
            read: BytesMut::new(),
            read_bytes_next: READ_BYTES_MIN,
            may_hold_secret: false,
            head: Vec::new(),
            head_written: 0,
            segments: VecDeque::new(),
            rest: None,
            chunked: false,
            broken_off: false,
            touched: false,
            unwritable: false,
            is_upgrade: false,
            counted,
        }
    }

    /// Prepares a request for writing.
    pub(crate) fn begin(&mut self, request: &Request, host: &HeaderValue) {
        let (segments, length) = request.body.parts();
        self.rest = request.body.rest().cloned();
        let is_joined = length <= JOIN_UP_TO_BYTES && self.rest.is_none();
        let joined = if is_joined { usize::try_from(length).unwrap_or(0) } else { 0 };
        let announced = request.body.length();
        self.chunked = announced.is_none();
        self.touched = false;
        self.is_upgrade = request.headers.iter().any(|(name, _)| *name == UPGRADE);
        self.head_written = 0;
        self.head.reserve(HEAD_BYTES + joined);
        write_head(&mut self.head, request, host, announced);
        if is_joined {
            segments.iter().for_each(|segment| self.head.extend_from_slice(segment));
        } else if self.chunked {
            segments.iter().for_each(|segment| self.put_piece(segment.clone()));
        } else {
            // Shared, not copied.
            self.segments.extend(segments.iter().cloned());
        }
    }

    /// The connection itself, after an upgrade.
    pub(crate) fn into_socket(self) -> Socket {
        Socket::new(self.wire, self.read, self.counted)
    }

    /// Whether a byte of the request may have reached the peer.
    pub(crate) const fn is_touched(&self) -> bool {
        self.touched
    }

    /// Whether the peer left it as the last response did: open, and silent.
    pub(crate) fn is_quiet(&mut self) -> bool {
        let mut byte = [MaybeUninit::uninit(); 1];
        let mut cx = Context::from_waker(Waker::noop());
        // Costs no system call if nothing happened on the socket.
        Pin::new(&mut self.wire).poll_read(&mut cx, &mut ReadBuf::uninit(&mut byte)).is_pending()
    }

    /// Whether nothing is left of the last exchange.
    pub(crate) fn is_clean(&self) -> bool {
        !self.is_writing()
            && self.rest.is_none()
            && self.read.is_empty()
            && !self.unwritable
            && !self.broken_off
    }

    /// Frees the buffer of a large response, since many connections are idle at once; and that of a refusal,
    /// in which some providers repeat the key: freed memory is wiped.
    pub(crate) fn shrink(&mut self) {
        if self.read.capacity() > READ_BYTES_MIN || std::mem::take(&mut self.may_hold_secret) {
            self.read = BytesMut::new();
        }
        self.read_bytes_next = READ_BYTES_MIN;
    }

    /// Writes the request and reads up to the end of the response head.
    pub(crate) async fn head(&mut self, method: &Method) -> Result<Head, ExchangeError> {
        let mut interim = 0;
        std::future::poll_fn(|cx| {
            self.poll_send(cx);
            if self.broken_off {
                return Poll::Ready(Err(ExchangeError::Body));
            }
            loop {
                let reading = if self.read.is_empty() {
                    Ok(Reading::More)
                } else {
                    read_any_head(&mut self.read, method, self.is_upgrade)
                };
                match reading {
                    Ok(Reading::Final(head)) => {
                        self.may_hold_secret = !head.status.is_success();
                        return Poll::Ready(Ok(head));
                    }
                    Ok(Reading::Interim) if interim < INTERIM_ANSWERS_MAX => interim += 1,
                    Ok(Reading::Interim) => {
                        return Poll::Ready(Err(ExchangeError::Protocol("it does not come to its answer")));
                    }
                    Ok(Reading::More) => match ready!(self.poll_fill(cx)) {
                        Ok(0) => return Poll::Ready(Err(ExchangeError::Closed)),
                        Ok(_) => {}
                        Err(error) => return Poll::Ready(Err(ExchangeError::Wire(error))),
                    },
                    Err(why) => return Poll::Ready(Err(ExchangeError::Protocol(why))),
                }
            }
        })
        .await
    }

    /// The next bytes of the body; `None` at its end.
    pub(crate) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        framing: &mut Framing,
    ) -> Poll<Option<Result<Bytes, ExchangeError>>> {
        // After an early response, the peer may or may not want the rest of the request.
        self.poll_send(cx);
        if self.broken_off {
            return Poll::Ready(Some(Err(ExchangeError::Body)));
        }
        loop {
            if framing.is_over() {
                return Poll::Ready(None);
            }
            if !self.read.is_empty() {
                match take(&mut self.read, framing) {
                    Ok(Decoded::Bytes(bytes)) => return Poll::Ready(Some(Ok(bytes))),
                    Ok(Decoded::Over) => return Poll::Ready(None),
                    Ok(Decoded::More) => {}
                    Err(why) => return Poll::Ready(Some(Err(ExchangeError::Protocol(why)))),
                }
            }
            match ready!(self.poll_fill(cx)) {
                Ok(0) if matches!(framing, Framing::Close) => {
                    *framing = Framing::Length(0);
                }
                Ok(0) => return Poll::Ready(Some(Err(ExchangeError::Closed))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(ExchangeError::Wire(error)))),
            }
        }
    }

    fn is_writing(&self) -> bool {
        !self.head.is_empty() || !self.segments.is_empty()
    }

    /// Writes what can be written. That the peer accepts no more shows in its response, or in its close.
    fn poll_send(&mut self, cx: &mut Context<'_>) {
        loop {
            while self.is_writing() && !self.unwritable {
                match self.poll_write(cx) {
                    Poll::Ready(Ok(count)) if count > 0 => {
                        self.touched = true;
                        self.consume(count);
                    }
                    Poll::Ready(_) => self.unwritable = true,
                    Poll::Pending => return,
                }
            }
            // More of the upload is polled only when all of this is written, so that a
            // slow peer slows its sender down.
            if self.unwritable || !self.has_more(cx) {
                break;
            }
        }
        if let Wire::Secure(stream) = &mut self.wire
            && self.touched
        {
            // TLS may still buffer what it took.
            let _ = Pin::new(stream).poll_flush(cx);
        }
    }

    /// Takes the next piece of the upload.
    fn has_more(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(rest) = &self.rest else { return false };
        match rest.poll_piece(cx) {
            Poll::Pending => false,
            Poll::Ready(Some(Ok(piece))) if self.chunked => {
                self.put_piece(piece);
                true
            }
            Poll::Ready(Some(Ok(piece))) => {
                self.segments.push_back(piece);
                true
            }
            Poll::Ready(Some(Err(_))) => {
                self.rest = None;
                self.broken_off = true;
                false
            }
            Poll::Ready(None) => {
                self.rest = None;
                if self.chunked {
                    self.segments.push_back(Bytes::from_static(LAST_CHUNK));
                }
                self.chunked
            }
        }
    }

    fn put_piece(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            let size = Bytes::from(format!("{:x}\r\n", piece.len()));
            self.segments.extend([size, piece, Bytes::from_static(b"\r\n")]);
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let head = self.head.get(self.head_written..).unwrap_or_default();
        if self.segments.is_empty() {
            return Pin::new(&mut self.wire).poll_write(cx, head);
        }
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let parts = std::iter::once(head).chain(self.segments.iter().map(|segment| &**segment));
        let mut count = 0;
        for (slice, part) in slices.iter_mut().zip(parts) {
            *slice = IoSlice::new(part);
            count += 1;
        }
        Pin::new(&mut self.wire).poll_write_vectored(cx, slices.get(..count).unwrap_or_default())
    }

    fn consume(&mut self, count: usize) {
        let of_head = count.min(self.head.len() - self.head_written);
        self.head_written += of_head;
        if self.head_written == self.head.len() {
            self.wipe_head();
        }
        let mut count = count - of_head;
        while let Some(segment) = self.segments.front_mut() {
            if count < segment.len() {
                segment.advance(count);
                return;
            }
            count -= segment.len();
            self.segments.pop_front();
        }
        // A large buffer is not retained: the request is gone.
        if self.segments.capacity() > SLICES_MAX {
            self.segments = VecDeque::new();
        }
    }

    /// The buffer is retained unless it is large: the allocator wipes what is freed.
    fn wipe_head(&mut self) {
        self.head.fill(0);
        self.head.clear();
        self.head_written = 0;
        if self.head.capacity() > WRITE_BUFFER_KEPT_BYTES_MAX {
            self.head = Vec::new();
        }
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.read.capacity() - self.read.len() < ROOM_BYTES_MIN {
            self.read.reserve(self.read_bytes_next);
        }
        let room = self.read.capacity() - self.read.len();
        let count = ready!(std::pin::pin!(self.wire.read_buf(&mut self.read)).poll(cx))?;
        if count == room {
            self.read_bytes_next = (self.read_bytes_next * 2).min(READ_BYTES_MAX);
        } else if count < READ_BYTES_MIN {
            self.read_bytes_next = READ_BYTES_MIN;
        }
        Poll::Ready(Ok(count))
    }
}

pub(super) fn take(read: &mut BytesMut, framing: &mut Framing) -> Result<Decoded, &'static str> {
    match framing {
        Framing::Chunked(chunks) => chunks.take(read),
        Framing::Close => Ok(Decoded::Bytes(read.split().freeze())),
        Framing::Length(left) => {
            let length = usize::try_from(*left).unwrap_or(usize::MAX).min(read.len());
            *left -= length as u64;
            Ok(Decoded::Bytes(read.split_to(length).freeze()))
        }
    }
}

/// Host, length and the connection's own headers are set here, whatever the request contains. A body of
/// unknown length is sent in chunks.
fn write_head(head: &mut Vec<u8>, request: &Request, host: &HeaderValue, length: Option<u64>) {
    let sends_length =
        length != Some(0) || matches!(request.method, Method::POST | Method::PUT | Method::PATCH);
    head.extend_from_slice(request.method.as_str().as_bytes());
    head.push(b' ');
    head.extend_from_slice(request.url.path().as_bytes());
    if let Some(query) = request.url.query() {
        head.push(b'?');
        head.extend_from_slice(query.as_bytes());
    }
    head.extend_from_slice(VERSION_AND_HOST);
    head.extend_from_slice(host.as_bytes());
    for (name, value) in request.own_headers() {
        if *name == UPGRADE {
            head.extend_from_slice(CHANGES);
        }
        head.extend_from_slice(b"\r\n");
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
    }
    match length {
        Some(length) if sends_length => {
            head.extend_from_slice(LENGTH_NAME);
            head.extend_from_slice(decimal(length, &mut [0; NUMBER_DIGITS]));
        }
        Some(_) => {}
        None => head.extend_from_slice(CHUNKED),
    }
    head.extend_from_slice(HEAD_END);
}

fn decimal(mut number: u64, digits: &mut [u8; NUMBER_DIGITS]) -> &[u8] {
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        used += 1;
        if number == 0 {
            break;
        }
    }
    digits.get(NUMBER_DIGITS - used..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    use http::Uri;
    use http::header::CONTENT_LENGTH;

    fn head_text(request: &Request, length: impl Into<Option<u64>>) -> String {
        let mut head = Vec::new();
        write_head(&mut head, request, &HeaderValue::from_static("host:1"), length.into());
        String::from_utf8(head).unwrap()
    }

    #[test]
    fn a_head_says_what_is_ours_to_say() {
        let mut request = Request::new(Method::POST, Uri::from_static("http://host:1/v1/x?y=z"));
        request.headers.push(("a".parse().unwrap(), HeaderValue::from_static("b")));
        request.headers.push((CONTENT_LENGTH, HeaderValue::from_static("7")));
        for length in [0, 9, 10, 1_234_567_890, u64::MAX] {
            let expected = format!(
                "POST /v1/x?y=z HTTP/1.1\r\nhost: host:1\r\na: b\r\ncontent-length: {length}\r\n\r\n"
            );
            assert_eq!(head_text(&request, length), expected);
        }
        let expected =
            "POST /v1/x?y=z HTTP/1.1\r\nhost: host:1\r\na: b\r\ntransfer-encoding: chunked\r\n\r\n";
        assert_eq!(head_text(&request, None), expected, "nobody knows its length");
        let request = Request::new(Method::GET, Uri::from_static("http://h/"));
        assert_eq!(head_text(&request, 0), "GET / HTTP/1.1\r\nhost: host:1\r\n\r\n");
    }
}
