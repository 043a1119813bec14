//! A client's socket with its clocks: heads are watched and timed, a reader that stalls is cut, a close lingers.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use domain::limits::HEADER_BYTES_MAX;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::Times;
use crate::heads::{Refusal, Verdict, Watch};

/// After a close, bytes that the client still sends are read away for this long: else its kernel would throw our
/// answer away together with the connection.
const LINGER_TIME_MAX: Duration = Duration::from_secs(2);
const LINGER_READ_BYTES: usize = 16 * 1024;

/// Of a connection's first request, so much is read at once.
const FIRST_READ_BYTES: usize = 8 * 1024;

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
}

/// What the service of a connection tells its socket.
#[derive(Debug, Default)]
pub struct Activity {
    in_flight: Cell<u32>,
    ended_at: Cell<Option<Instant>>,
}

/// Held as long as a request is being answered.
#[derive(Debug)]
pub struct InFlight(Rc<Activity>);

impl Activity {
    #[must_use]
    pub fn begin(self: &Rc<Self>) -> InFlight {
        self.in_flight.set(self.in_flight.get() + 1);
        InFlight(Rc::clone(self))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get().saturating_sub(1));
        self.0.ended_at.set(Some(Instant::now()));
    }
}

pub struct Front<S> {
    inner: S,
    times: Times,
    activity: Rc<Activity>,
    watch: Watch,
    /// The beginning of a head, not yet shown to the parser.
    held: Vec<u8>,
    /// Bytes for the parser that did not come straight from the socket.
    ready: Vec<u8>,
    ready_at: usize,
    ended: bool,
    /// A stand-in was the last that the parser is given. No end follows it: the parser would take the client for gone
    /// and never send the answer, which itself ends the connection.
    refused: bool,
    waiting_since: Instant,
    read_timer: Option<Pin<Box<Sleep>>>,
    write_timer: Option<Pin<Box<Sleep>>>,
    linger: Option<Pin<Box<Sleep>>>,
}

impl<S> Front<S> {
    pub fn new(inner: S, times: Times, activity: Rc<Activity>) -> Self {
        Self {
            inner,
            times,
            activity,
            watch: Watch::new(),
            held: Vec::new(),
            ready: Vec::new(),
            ready_at: 0,
            ended: false,
            refused: false,
            waiting_since: Instant::now(),
            read_timer: None,
            write_timer: None,
            linger: None,
        }
    }

    /// Waits for the connection's first bytes. They stay where the parser finds them.
    ///
    /// # Errors
    /// No request ever came: the client left, or took too long.
    pub async fn protocol(&mut self) -> io::Result<Protocol>
    where
        S: AsyncRead + Unpin,
    {
        let mut first = Vec::with_capacity(FIRST_READ_BYTES);
        if self.read_buf(&mut first).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        first.extend_from_slice(self.ready.get(self.ready_at..).unwrap_or_default());
        self.ready = first;
        self.ready_at = 0;
        Ok(if self.watch.is_http2() { Protocol::Http2 } else { Protocol::Http1 })
    }

    fn deliver_ready(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let left = self.ready.get(self.ready_at..).unwrap_or_default();
        if left.is_empty() {
            return false;
        }
        let count = left.len().min(buffer.remaining());
        buffer.put_slice(left.get(..count).unwrap_or_default());
        self.ready_at += count;
        if self.ready_at == self.ready.len() {
            self.ready = Vec::new();
            self.ready_at = 0;
        }
        true
    }

    /// Sorts what the socket gave, beginning at `from` in the buffer. `true` if the parser has something to read.
    fn sort(&mut self, buffer: &mut ReadBuf<'_>, from: usize) -> io::Result<bool> {
        self.waiting_since = if self.held.is_empty() { Instant::now() } else { self.waiting_since };
        if self.held.is_empty() {
            let fresh = buffer.filled().get(from..).unwrap_or_default();
            match self.watch.look(fresh) {
                Verdict::Pass => Ok(true),
                Verdict::Hold(at) => {
                    self.held = fresh.get(at..).unwrap_or_default().to_vec();
                    buffer.set_filled(from + at);
                    // A head has less time than an idle connection.
                    self.read_timer = None;
                    Ok(at > 0)
                }
                Verdict::Refuse(at, refusal) => {
                    self.refuse(refusal);
                    buffer.set_filled(from + at);
                    Ok(at > 0)
                }
                Verdict::Broken => Err(broken()),
            }
        } else {
            let fresh = buffer.filled().get(from..).unwrap_or_default();
            // Only a line's end can end a head; so a head that comes byte by byte isn't read over and over.
            let looks = memchr::memchr(b'\n', fresh).is_some() || self.held.len() > HEADER_BYTES_MAX;
            self.held.extend_from_slice(fresh);
            buffer.set_filled(from);
            if looks { self.sort_held() } else { Ok(false) }
        }
    }

    fn sort_held(&mut self) -> io::Result<bool> {
        match self.watch.look(&self.held) {
            Verdict::Pass => {
                self.ready = std::mem::take(&mut self.held);
                Ok(true)
            }
            Verdict::Hold(at) => {
                let rest = self.held.split_off(at);
                self.ready = std::mem::replace(&mut self.held, rest);
                Ok(at > 0)
            }
            Verdict::Refuse(at, refusal) => {
                self.held.truncate(at);
                self.ready = std::mem::take(&mut self.held);
                self.refuse(refusal);
                Ok(true)
            }
            Verdict::Broken => Err(broken()),
        }
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.ready.extend_from_slice(&refusal.stand_in());
        self.held = Vec::new();
        self.refused = true;
    }

    /// When the socket's silence becomes too long, if it may.
    fn deadline(&self) -> Option<Instant> {
        if !self.watch.awaits_head() || self.activity.in_flight.get() > 0 {
            return None;
        }
        if self.watch.is_new() || !self.held.is_empty() {
            return Some(self.waiting_since + self.times.head);
        }
        let since = self.activity.ended_at.get().map_or(self.waiting_since, |at| at.max(self.waiting_since));
        Some(since + self.times.idle)
    }

    /// Pending while the silence is tolerable.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let timer = match &mut self.read_timer {
                Some(timer) => timer,
                None => {
                    let until = self.look_again_at();
                    self.read_timer.insert(Box::pin(tokio::time::sleep_until(until)))
                }
            };
            ready!(timer.as_mut().poll(cx));
            // The timer is older than what it waits for: it isn't moved with every byte, but asks when it is due.
            if self.deadline().is_some_and(|deadline| deadline <= Instant::now()) {
                return Poll::Ready(());
            }
            let until = self.look_again_at();
            if let Some(timer) = &mut self.read_timer {
                timer.as_mut().reset(until);
            }
        }
    }

    /// A request in flight has clocks of its own; this one looks again later.
    fn look_again_at(&self) -> Instant {
        self.deadline().unwrap_or_else(|| Instant::now() + self.times.idle)
    }

    fn poll_stall(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let stall = self.times.write_stall;
        let timer = self.write_timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(stall)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "the client takes no bytes"))
    }
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the body's chunks are malformed")
}

impl<S: AsyncRead + Unpin> AsyncRead for Front<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.deliver_ready(buffer) || this.ended {
                return Poll::Ready(Ok(()));
            }
            if this.refused {
                return Poll::Pending;
            }
            let from = buffer.filled().len();
            match Pin::new(&mut this.inner).poll_read(cx, buffer) {
                Poll::Ready(Ok(())) if buffer.filled().len() == from => {
                    this.ended = true;
                }
                Poll::Ready(Ok(())) => {
                    if this.sort(buffer, from)? && buffer.filled().len() > from {
                        return Poll::Ready(Ok(()));
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    ready!(this.poll_silence(cx));
                    if this.held.is_empty() {
                        this.ended = true;
                    } else {
                        this.refuse(Refusal::Slow);
                    }
                }
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Front<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.inner).poll_write(cx, bytes) {
            Poll::Pending => self.poll_stall(cx).map(Err),
            written => {
                self.write_timer = None;
                written
            }
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.inner).poll_write_vectored(cx, slices) {
            Poll::Pending => self.poll_stall(cx).map(Err),
            written => {
                self.write_timer = None;
                written
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.inner).poll_shutdown(cx))?;
        }
        let timer = this.linger.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER_TIME_MAX)));
        let mut scratch = [0; LINGER_READ_BYTES];
        loop {
            if timer.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            let mut buffer = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut this.inner).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                _ => return Poll::Ready(Ok(())),
            }
        }
    }
}
