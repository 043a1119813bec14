//! A client's socket with its buffers and timers.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use domain::limits::HEADER_BYTES_MAX;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, Interest};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use crate::Times;
use crate::limits::{PIPELINED_BYTES_MAX, READ_BYTES_MAX};
use crate::write_stall::StallTimer;

/// Most requests are read at once; an idle connection holds no more than this.
pub(crate) const READ_BYTES: usize = 8 * 1024;
/// With less free space than this, a read is not worth its system call.
const ROOM_BYTES_MIN: usize = 1024;
/// How often to check whether a client that sent more than that has left.
const CHECK_EVERY: Duration = Duration::from_millis(100);
/// Pieces of a response up to this size are copied; larger ones are sent as they are.
const COPY_UP_TO_BYTES: usize = 16 * 1024;
/// This much is sent before more is polled for.
pub(super) const SEND_BYTES: usize = 16 * 1024;

/// The client left, or stopped reading: there is nobody to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gone;

/// What a client is connected by.
pub(crate) trait ClientSocket: AsyncRead + AsyncWrite + Unpin {
    /// What is below it, by which its end is noticed while nothing is read.
    fn tcp(&self) -> &TcpStream;
    /// Itself, for another protocol; `None` if it can't be handed over.
    fn into_tcp(self) -> Option<TcpStream>;
}

impl ClientSocket for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }

    fn into_tcp(self) -> Option<TcpStream> {
        Some(self)
    }
}

/// A node's, on which it takes requests.
impl ClientSocket for egress::Socket {
    fn tcp(&self) -> &TcpStream {
        Self::tcp(self)
    }

    fn into_tcp(self) -> Option<TcpStream> {
        None
    }
}

pub(super) struct Wire<S> {
    pub(super) socket: S,
    input: Vec<u8>,
    /// How much of the input is consumed.
    used: usize,
    /// The last read filled the buffer.
    is_fast: bool,
    output: Vec<u8>,
    sent: usize,
    /// Follows the output, and is followed by a line end if it is a chunk.
    large: Bytes,
    line_end: bool,
    patience: StallTimer,
    /// The next check of a client that has sent too much ahead.
    look: Option<Pin<Box<Sleep>>>,
}

impl<S: ClientSocket> Wire<S> {
    pub(super) fn new(socket: S, input: Vec<u8>, times: Times) -> Self {
        Self {
            socket,
            input,
            used: 0,
            is_fast: false,
            output: Vec::new(),
            sent: 0,
            large: Bytes::new(),
            line_end: false,
            patience: StallTimer::new(times),
            look: None,
        }
    }

    /// What was read and not consumed.
    pub(super) fn unread(&self) -> &[u8] {
        self.input.get(self.used..).unwrap_or_default()
    }

    /// Consumes this much of what was read, and wipes it: it may contain a key, and the buffer
    /// lives as long as the connection.
    pub(super) fn use_up(&mut self, count: usize) {
        let until = self.input.len().min(self.used + count);
        if let Some(used) = self.input.get_mut(self.used..until) {
            used.fill(0);
        }
        self.used = until;
        if self.used == self.input.len() {
            self.input.clear();
            self.used = 0;
        }
    }

    /// Takes the next `count` bytes out of what was read.
    pub(super) fn take(&mut self, skipped: usize, count: usize) -> Bytes {
        if count < READ_BYTES / 2 {
            let piece = self.unread().get(skipped..skipped + count).unwrap_or_default();
            let piece = Bytes::copy_from_slice(piece);
            self.use_up(skipped + count);
            return piece;
        }
        let mut piece = Bytes::from(std::mem::take(&mut self.input)).split_off(self.used + skipped);
        self.used = 0;
        let rest = piece.split_off(count.min(piece.len()));
        self.input.extend_from_slice(&rest);
        piece
    }

    /// A stream may be open for long: it holds no buffer that it doesn't need.
    pub(super) fn let_go_of_input(&mut self) {
        if self.unread().is_empty() {
            self.input = Vec::new();
            self.used = 0;
        }
    }

    /// Reads more, with capacity for what is known to follow where it comes fast: who is waited for gets no
    /// large buffer. `Gone` at the end.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>, expected: u64) -> Poll<Result<(), Gone>> {
        if self.input.capacity() - self.input.len() < ROOM_BYTES_MIN {
            self.input.drain(..self.used);
            self.used = 0;
            let expected = usize::try_from(expected).unwrap_or(usize::MAX).min(READ_BYTES_MAX);
            self.input.reserve(if self.is_fast { expected.max(READ_BYTES) } else { READ_BYTES });
        }
        let read = pin!(self.socket.read_buf(&mut self.input)).poll(cx);
        self.is_fast = read.is_ready() && self.input.len() == self.input.capacity();
        if read.is_pending() && self.input.is_empty() && self.input.capacity() > READ_BYTES {
            self.input = Vec::new();
        }
        Poll::Ready(match ready!(read) {
            Ok(0) | Err(_) => Err(Gone),
            Ok(_) => Ok(()),
        })
    }

    /// Ready once the client is gone. What it sends meanwhile is buffered, up to a bound.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Gone> {
        loop {
            if self.unread().len() >= PIPELINED_BYTES_MAX {
                return self.poll_gone_behind(cx);
            }
            if self.input.capacity() == 0 && ready!(self.socket.tcp().poll_read_ready(cx)).is_err() {
                return Poll::Ready(Gone);
            }
            if ready!(self.poll_fill(cx, 0)).is_err() {
                return Poll::Ready(Gone);
            }
        }
    }

    /// The same for a client that has sent more than is buffered: its input is not
    /// read, so its leaving is polled for.
    fn poll_gone_behind(&mut self, cx: &mut Context<'_>) -> Poll<Gone> {
        loop {
            let has_left = match pin!(self.socket.tcp().ready(Interest::READABLE)).poll(cx) {
                Poll::Ready(Ok(ready)) => ready.is_read_closed(),
                Poll::Ready(Err(_)) => true,
                Poll::Pending => false,
            };
            if has_left {
                return Poll::Ready(Gone);
            }
            let look = self.look.get_or_insert_with(|| Box::pin(tokio::time::sleep(CHECK_EVERY)));
            ready!(look.as_mut().poll(cx));
            self.look = None;
        }
    }

    /// The socket, and what was read from it and not consumed.
    pub(super) fn into_parts(self) -> (S, Vec<u8>) {
        let early = self.unread().to_vec();
        (self.socket, early)
    }

    /// The buffer in which the response head and small pieces of its body are assembled.
    pub(super) fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Queues a piece of a body for sending, framed as a chunk if it is to be.
    pub(super) fn put(&mut self, piece: Bytes, chunked: bool) {
        if chunked {
            put_chunk_size(&mut self.output, piece.len());
        }
        if piece.len() <= COPY_UP_TO_BYTES {
            self.output.extend_from_slice(&piece);
            if chunked {
                self.output.extend_from_slice(b"\r\n");
            }
        } else {
            self.large = piece;
            self.line_end = chunked;
        }
    }

    /// Whether the queue should be sent before more is appended.
    pub(super) fn is_full(&self) -> bool {
        !self.large.is_empty() || self.output.len() >= SEND_BYTES
    }

    /// Sends everything that is queued.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        loop {
            let rest = self.output.get(self.sent..).unwrap_or_default();
            let written = match (rest.is_empty(), self.large.is_empty()) {
                (true, true) => break,
                (false, true) => Pin::new(&mut self.socket).poll_write(cx, rest),
                _ => {
                    let slices = [IoSlice::new(rest), IoSlice::new(&self.large)];
                    Pin::new(&mut self.socket).poll_write_vectored(cx, &slices)
                }
            };
            match written {
                Poll::Ready(Ok(count)) if count > 0 => self.sent(count),
                Poll::Ready(_) => return Poll::Ready(Err(Gone)),
                Poll::Pending => return self.patience.poll_end(cx).map(|()| Err(Gone)),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn sent(&mut self, count: usize) {
        self.patience.took(count);
        let of_output = count.min(self.output.len() - self.sent);
        self.sent += of_output;
        drop(self.large.split_to(count - of_output));
        if self.sent == self.output.len() && self.large.is_empty() {
            self.output.clear();
            self.sent = 0;
            if std::mem::take(&mut self.line_end) {
                self.output.extend_from_slice(b"\r\n");
            }
        }
    }

    /// Closes in a way that lets the client read the response.
    pub(super) async fn linger(mut self) {
        let _ = std::future::poll_fn(|cx| self.poll_send(cx)).await;
        crate::linger::linger(&mut self.socket).await;
    }
}

/// The wait for a request head: how long it may last, and how much of the head was parsed in vain.
pub(super) struct HeadWait {
    times: Times,
    since: Instant,
    /// The connection's first head has not arrived yet, or the next has started.
    is_due: bool,
    scanned: usize,
    timer: Option<Pin<Box<Sleep>>>,
}

impl HeadWait {
    pub(super) fn new(times: Times) -> Self {
        Self { times, since: Instant::now(), is_due: true, scanned: 0, timer: None }
    }

    /// From now on the connection is idle.
    pub(super) fn rest(&mut self) {
        self.since = Instant::now();
        self.is_due = false;
        self.scanned = 0;
    }

    /// Only a line end can end a head, so one that arrives byte by byte isn't parsed over and over.
    pub(super) fn should_parse(&mut self, unread: &[u8]) -> bool {
        let fresh = unread.get(self.scanned..).unwrap_or_default();
        self.scanned = unread.len();
        memchr::memchr(b'\n', fresh).is_some() || unread.len() > HEADER_BYTES_MAX
    }

    pub(super) fn bytes_came(&mut self) {
        if !self.is_due {
            self.since = Instant::now();
            self.is_due = true;
        }
    }

    fn end(&self) -> Instant {
        self.since + if self.is_due { self.times.head } else { self.times.idle }
    }

    /// Ready when it ended. The timer isn't moved with every request; when it
    /// fires, it checks whether it is due.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let end = self.end();
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
        if timer.deadline() > end {
            timer.as_mut().reset(end);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if end <= Instant::now() {
                return Poll::Ready(());
            }
            timer.as_mut().reset(end);
        }
    }
}

/// The size line before a chunk's data.
fn put_chunk_size(output: &mut Vec<u8>, size: usize) {
    use io::Write;
    // Writing to memory doesn't fail.
    let _ = write!(output, "{size:x}\r\n");
}
