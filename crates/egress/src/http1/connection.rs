//! One connection: a request written, an answer read, and what may be asked of it afterwards.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice, Write};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method, Uri};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::Wire;
use super::answer::{Framing, Head, INTERIM_MAX, Reading, read_head};
use super::chunks::Taken;
use crate::body::OutBody;
use crate::pool::Counted;

/// A stream's chunk fits, and a thousand open streams weigh little.
const READ_BYTES_MIN: usize = 4 * 1024;
/// For answers that fill what they are given.
const READ_BYTES_MAX: usize = 64 * 1024;
/// With less room than this left, a read is not worth its call.
const ROOM_BYTES_MIN: usize = 1024;
const HEAD_BYTES_USUAL: usize = 512;
const SLICES_MAX: usize = 8;

/// Why an exchange ended before its end.
#[derive(Debug)]
pub(crate) enum Broke {
    /// The peer closed.
    Closed,
    Wire(io::Error),
    /// What came is not HTTP; the text says why.
    Protocol(&'static str),
}

/// A connection, with the request that is being written to it.
pub(crate) struct Connection {
    wire: Wire,
    read: BytesMut,
    read_bytes_next: usize,
    outgoing: VecDeque<Bytes>,
    /// Of the present request a byte is written.
    touched: bool,
    /// The peer takes no more of the request; it may still have answered.
    unwritable: bool,
    _counted: Counted,
}

impl Connection {
    pub(crate) fn new(wire: Wire, counted: Counted) -> Self {
        Self {
            wire,
            read: BytesMut::new(),
            read_bytes_next: READ_BYTES_MIN,
            outgoing: VecDeque::new(),
            touched: false,
            unwritable: false,
            _counted: counted,
        }
    }

    /// Sets a request up to be written.
    pub(crate) fn begin(
        &mut self,
        method: &Method,
        uri: &Uri,
        host: &HeaderValue,
        headers: &HeaderMap,
        body: OutBody,
    ) {
        let (segments, length) = body.into_parts();
        let head = write_head(method, uri, host, headers, length);
        self.touched = false;
        self.outgoing = segments;
        self.outgoing.push_front(head);
    }

    /// Whether a byte of the request may have reached the peer.
    pub(crate) const fn is_touched(&self) -> bool {
        self.touched
    }

    /// Whether the peer left it as the last answer did: open, and silent.
    pub(crate) fn is_quiet(&mut self) -> bool {
        let mut byte = [MaybeUninit::uninit(); 1];
        let mut cx = Context::from_waker(Waker::noop());
        // Costs no call to the kernel where nothing happened on the socket.
        Pin::new(&mut self.wire).poll_read(&mut cx, &mut ReadBuf::uninit(&mut byte)).is_pending()
    }

    /// Whether nothing is left over of the last exchange.
    pub(crate) fn is_clean(&self) -> bool {
        self.outgoing.is_empty() && self.read.is_empty() && !self.unwritable
    }

    /// Lets go of the room that a large answer made: many connections are idle at once.
    pub(crate) fn shrink(&mut self) {
        if self.read.capacity() > READ_BYTES_MIN {
            self.read = BytesMut::new();
        }
        self.read_bytes_next = READ_BYTES_MIN;
    }

    /// Writes the request and reads up to the end of the answer's head.
    pub(crate) async fn head(&mut self, method: &Method) -> Result<Head, Broke> {
        let mut interim = 0;
        std::future::poll_fn(|cx| {
            self.poll_send(cx);
            loop {
                match if self.read.is_empty() { Ok(Reading::More) } else { read_head(&mut self.read, method) }
                {
                    Ok(Reading::Final(head)) => return Poll::Ready(Ok(head)),
                    Ok(Reading::Interim) if interim < INTERIM_MAX => interim += 1,
                    Ok(Reading::Interim) => {
                        return Poll::Ready(Err(Broke::Protocol("it does not come to its answer")));
                    }
                    Ok(Reading::More) => match ready!(self.poll_fill(cx)) {
                        Ok(0) => return Poll::Ready(Err(Broke::Closed)),
                        Ok(_) => {}
                        Err(error) => return Poll::Ready(Err(Broke::Wire(error))),
                    },
                    Err(why) => return Poll::Ready(Err(Broke::Protocol(why))),
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
    ) -> Poll<Option<Result<Bytes, Broke>>> {
        // An early answer: the peer may or may not want the rest of the request.
        self.poll_send(cx);
        loop {
            if framing.is_over() {
                return Poll::Ready(None);
            }
            if !self.read.is_empty() {
                match take(&mut self.read, framing) {
                    Ok(Taken::Bytes(bytes)) => return Poll::Ready(Some(Ok(bytes))),
                    Ok(Taken::Over) => return Poll::Ready(None),
                    Ok(Taken::More) => {}
                    Err(why) => return Poll::Ready(Some(Err(Broke::Protocol(why)))),
                }
            }
            match ready!(self.poll_fill(cx)) {
                Ok(0) if matches!(framing, Framing::Close) => {
                    *framing = Framing::Length(0);
                }
                Ok(0) => return Poll::Ready(Some(Err(Broke::Closed))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(Broke::Wire(error)))),
            }
        }
    }

    /// Writes what can be written. That the peer takes no more is told by what it answers, or by its close.
    fn poll_send(&mut self, cx: &mut Context<'_>) {
        while !self.outgoing.is_empty() && !self.unwritable {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let mut count = 0;
            for (slice, segment) in slices.iter_mut().zip(&self.outgoing) {
                *slice = IoSlice::new(segment);
                count += 1;
            }
            let slices = slices.get(..count).unwrap_or_default();
            match Pin::new(&mut self.wire).poll_write_vectored(cx, slices) {
                Poll::Ready(Ok(written)) if written > 0 => {
                    self.touched = true;
                    self.written(written);
                }
                Poll::Ready(_) => self.unwritable = true,
                Poll::Pending => return,
            }
        }
        if let Wire::Secure(stream) = &mut self.wire
            && self.touched
        {
            // TLS may still hold what it took.
            let _ = Pin::new(stream).poll_flush(cx);
        }
    }

    fn written(&mut self, mut count: usize) {
        while let Some(segment) = self.outgoing.front_mut() {
            if count < segment.len() {
                segment.advance(count);
                return;
            }
            count -= segment.len();
            self.outgoing.pop_front();
        }
        // Its room is not kept: the request is gone.
        self.outgoing = VecDeque::new();
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

fn take(read: &mut BytesMut, framing: &mut Framing) -> Result<Taken, &'static str> {
    match framing {
        Framing::Chunked(chunks) => chunks.take(read),
        Framing::Close => Ok(Taken::Bytes(read.split().freeze())),
        Framing::Length(left) => {
            let length = usize::try_from(*left).unwrap_or(usize::MAX).min(read.len());
            *left -= length as u64;
            Ok(Taken::Bytes(read.split_to(length).freeze()))
        }
    }
}

/// The request's head. Host, length and the connection's own headers are ours to say, whatever `headers` hold.
fn write_head(method: &Method, uri: &Uri, host: &HeaderValue, headers: &HeaderMap, length: u64) -> Bytes {
    let mut head = Vec::with_capacity(HEAD_BYTES_USUAL);
    head.extend_from_slice(method.as_str().as_bytes());
    head.push(b' ');
    head.extend_from_slice(uri.path().as_bytes());
    if let Some(query) = uri.query() {
        head.push(b'?');
        head.extend_from_slice(query.as_bytes());
    }
    head.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    head.extend_from_slice(host.as_bytes());
    for (name, value) in headers {
        if [HOST, CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION].contains(name) {
            continue;
        }
        head.extend_from_slice(b"\r\n");
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
    }
    let says_length = length > 0 || matches!(*method, Method::POST | Method::PUT | Method::PATCH);
    if says_length {
        // Writing to memory can't fail.
        let _ = write!(head, "\r\ncontent-length: {length}");
    }
    head.extend_from_slice(b"\r\n\r\n");
    Bytes::from(head)
}
