//! HTTP/2 without TLS, as a proxy in front speaks it: hyper does the framing, with
//! this server's timeouts and bounds.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use domain::limits::{HEADER_BYTES_MAX, STREAM_BUFFER_BYTES_MAX};
use egress::FrameWatch;
use http::{Request, Response};
use hyper::body::Incoming as Http2Body;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::Times;
use crate::http1::Arrived;
use crate::incoming::Incoming;
use crate::limits::{
    H2_FRAME_BYTES_MAX, H2_RESETS_LOCAL_MAX, H2_RESETS_PENDING_MAX, H2_STREAMS_MAX, LINGER_TIME_MAX,
};
use crate::linger::LINGER_READ_BYTES;
use crate::reply::{Clock, Reply};
use crate::write_stall::StallTimer;

const H2_PING_EVERY: Duration = Duration::from_secs(30);
const H2_PING_WAIT: Duration = Duration::from_secs(20);

/// How an HTTP/2 connection begins.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";

/// How a peer that is gone is found out.
#[derive(Clone, Copy)]
pub(crate) struct Pings {
    pub every: Duration,
    pub wait: Duration,
}

/// Of a client's connection.
pub(crate) const OF_CLIENTS: Pings = Pings { every: H2_PING_EVERY, wait: H2_PING_WAIT };

/// The connection that hyper polls. `first` is what was read from it.
pub(crate) fn connection<S, H, F>(
    socket: S,
    first: Vec<u8>,
    peer: SocketAddr,
    (times, pings): (Times, Pings),
    handler: Rc<H>,
) -> impl GracefulConnection
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    H: Fn(Arrived, SocketAddr) -> F + 'static,
    F: Future<Output = Response<Reply>> + 'static,
{
    let service = service_fn(move |request: Request<Http2Body>| {
        let answering = handler(Arrived::Request(request.map(Incoming::Http2)), peer);
        // The future for the head is large and short-lived; the stream that outlives it is small.
        Answering(Box::pin(answering))
    });
    let (patience, frames) = (StallTimer::new(times), FrameWatch::of_client());
    let arrived = Prefixed { socket, first, given: 0 };
    let socket = Stalling { arrived, patience, frames, linger: None };
    http2(times, pings).serve_connection(TokioIo::new(socket), service)
}

/// A request that is being answered.
struct Answering<F>(Pin<Box<F>>);

impl<F: Future<Output = Response<Reply>>> Future for Answering<F> {
    type Output = Result<Response<Reply>, std::convert::Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(self.0.as_mut().poll(cx));
        Poll::Ready(Ok(match STREAM.with_borrow(Clone::clone) {
            Some(handed) => answer.map(|body| body.clocked(handed)),
            None => answer,
        }))
    }
}

fn http2(times: Times, pings: Pings) -> http2::Builder<LocalExecutor> {
    let mut builder = http2::Builder::new(LocalExecutor { times });
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(pings.every)
        .keep_alive_timeout(pings.wait)
        .max_concurrent_streams(H2_STREAMS_MAX)
        .max_pending_accept_reset_streams(H2_RESETS_PENDING_MAX)
        .max_local_error_reset_streams(H2_RESETS_LOCAL_MAX)
        .max_frame_size(H2_FRAME_BYTES_MAX)
        .max_send_buf_size(STREAM_BUFFER_BYTES_MAX)
        .max_header_list_size(u32::try_from(HEADER_BYTES_MAX).unwrap_or(u32::MAX));
    builder
}

/// Runs HTTP/2 streams on the connection's core, each with a timeout for a client that takes no bytes: hyper
/// waits for such a client's window without polling the body, so the body's own timeouts can't fire.
#[derive(Clone)]
struct LocalExecutor {
    times: Times,
}

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        let clock = Rc::new(RefCell::new(StallTimer::new(self.times)));
        tasks::spawn_on_core(Stream { future: Box::pin(future), clock });
    }
}

struct Stream<F> {
    future: Pin<Box<F>>,
    clock: Clock,
}

thread_local! {
    /// The HTTP/2 stream that is being polled, by which its response finds its timeout.
    static STREAM: RefCell<Option<Clock>> = const { RefCell::new(None) };
}

impl<F: Future> Future for Stream<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        STREAM.set(Some(Rc::clone(&this.clock)));
        let polled = this.future.as_mut().poll(cx);
        STREAM.set(None);
        if polled.is_ready() {
            return Poll::Ready(());
        }
        // Dropping the stream resets it and settles its exchange.
        this.clock.borrow_mut().poll_overdue(cx)
    }
}

/// A socket, with what was read from it already.
struct Prefixed<S> {
    socket: S,
    first: Vec<u8>,
    given: usize,
}

/// The socket below, with a timeout for a client that takes no bytes.
struct Stalling<S> {
    arrived: Prefixed<S>,
    patience: StallTimer,
    frames: FrameWatch,
    linger: Option<Pin<Box<Sleep>>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Stalling<S> {
    fn socket(&mut self) -> Pin<&mut S> {
        Pin::new(&mut self.arrived.socket)
    }

    fn finish_write(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(written) = written {
            self.patience.took(written.as_ref().map_or(0, |count| *count));
            return Poll::Ready(written);
        }
        ready!(self.patience.poll_end(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes no bytes")))
    }
}

impl<S: AsyncRead + Unpin> Prefixed<S> {
    /// What was read at first, then what arrives.
    fn poll_bytes(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let left = self.first.get(self.given..).unwrap_or_default();
        if left.is_empty() {
            return Pin::new(&mut self.socket).poll_read(cx, buffer);
        }
        let count = left.len().min(buffer.remaining());
        buffer.put_slice(left.get(..count).unwrap_or_default());
        self.given += count;
        if self.given == self.first.len() {
            (self.first, self.given) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stalling<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { arrived, frames, .. } = &mut *self;
        frames.poll_read(cx, buffer, |cx, buffer| arrived.poll_bytes(cx, buffer))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stalling<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = self.socket().poll_write(cx, bytes);
        self.finish_write(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.socket().poll_write_vectored(cx, slices);
        self.finish_write(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.linger.is_none() {
            ready!(this.socket().poll_shutdown(cx))?;
        }
        let timer = this.linger.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER_TIME_MAX)));
        let mut scratch = [0; LINGER_READ_BYTES];
        loop {
            if timer.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            let mut buffer = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut this.arrived.socket).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                _ => return Poll::Ready(Ok(())),
            }
        }
    }
}
