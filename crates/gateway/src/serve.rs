//! One accepted connection: its protocol, its limits, and how it is asked to end.

use std::cell::RefCell;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use domain::limits::{HEADER_BYTES_MAX, STREAM_BUFFER_BYTES_MAX};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};

use crate::Times;
use crate::front::{Activity, Front, InFlight, Protocol};
use crate::reply::{HandedAt, Reply};

/// HTTP/2: streams at once, and what one connection may reset before it is told to go (rapid reset, CVE-2023-44487).
const H2_STREAMS_MAX: u32 = 256;
const H2_RESETS_PENDING_MAX: usize = 20;
const H2_RESETS_LOCAL_MAX: usize = 100;
const H2_FRAME_BYTES_MAX: u32 = 16 * 1024;
const H2_PING_EVERY: Duration = Duration::from_secs(30);
const H2_PING_WAIT: Duration = Duration::from_secs(20);

/// How far a shutdown has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Serving,
    /// What runs may end; nothing new begins.
    Draining,
    /// Everything is cut.
    Stopped,
}

/// Serves one connection to its end.
pub async fn connection<H, F>(
    socket: TcpStream,
    peer: SocketAddr,
    times: Times,
    mut phase: watch::Receiver<Phase>,
    handler: Rc<H>,
) where
    H: Fn(Request<Incoming>, SocketAddr) -> F + 'static,
    F: Future<Output = Response<Reply>> + 'static,
{
    // Without it an answer in two small writes waits for the client's delayed acknowledgement: 40 ms.
    let _ = socket.set_nodelay(true);
    let activity = Rc::new(Activity::default());
    let mut front = Front::new(socket, times, Rc::clone(&activity));
    let protocol = tokio::select! {
        protocol = begin(&mut front) => protocol,
        // A connection that asked for nothing yet is not waited for.
        _ = phase.wait_for(|phase| *phase != Phase::Serving) => None,
    };
    let Some(protocol) = protocol else { return };
    let service = service_fn(move |request| {
        let in_flight = Some(activity.begin());
        // The head's phase is large and short; the connection that outlives it, or waits for it, is small.
        Answering { answer: Box::pin(handler(request, peer)), in_flight }
    });
    let io = TokioIo::new(front);
    match protocol {
        Protocol::Http1 => {
            let connection = std::pin::pin!(http1().serve_connection(io, service));
            drive(connection, phase).await;
        }
        Protocol::Http2 => {
            let mut connection = Box::pin(http2(times).serve_connection(io, service));
            drive(connection.as_mut(), phase).await;
        }
    }
}

/// A request on its way to its answer.
struct Answering<F> {
    answer: Pin<Box<F>>,
    in_flight: Option<InFlight>,
}

impl<F: Future<Output = Response<Reply>>> Future for Answering<F> {
    type Output = Result<Response<Reply>, std::convert::Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = std::task::ready!(self.answer.as_mut().poll(cx));
        let in_flight = self.in_flight.take();
        Poll::Ready(Ok(answer.map(|body| body.held_by(in_flight, current_stream()))))
    }
}

/// What the client speaks; `None` where it never said, once it is told that the connection is over.
async fn begin(front: &mut Front<TcpStream>) -> Option<Protocol> {
    match front.protocol().await {
        Ok(protocol) => Some(protocol),
        Err(_) => {
            let _ = front.shutdown().await;
            None
        }
    }
}

/// Runs a connection until it ends, and tells it when it is asked to.
async fn drive<C: GracefulConnection>(mut connection: Pin<&mut C>, mut phase: watch::Receiver<Phase>) {
    let mut told = false;
    loop {
        let seen = *phase.borrow_and_update();
        if seen == Phase::Stopped {
            return;
        }
        if seen == Phase::Draining && !told {
            told = true;
            connection.as_mut().graceful_shutdown();
        }
        tokio::select! {
            // What a client does wrong is answered or cut; there is nobody to tell it to here.
            _ = connection.as_mut() => return,
            changed = phase.changed() => if changed.is_err() { return },
        }
    }
}

fn http1() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        // `Front` times heads and idle connections: it can still answer, and sets no timer for each request.
        .header_read_timeout(None)
        .max_buf_size(STREAM_BUFFER_BYTES_MAX.max(HEADER_BYTES_MAX));
    builder
}

fn http2(times: Times) -> http2::Builder<LocalExecutor> {
    let mut builder = http2::Builder::new(LocalExecutor { stall: times.write_stall });
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(H2_PING_EVERY)
        .keep_alive_timeout(H2_PING_WAIT)
        .max_concurrent_streams(H2_STREAMS_MAX)
        .max_pending_accept_reset_streams(H2_RESETS_PENDING_MAX)
        .max_local_error_reset_streams(H2_RESETS_LOCAL_MAX)
        .max_frame_size(H2_FRAME_BYTES_MAX)
        .max_send_buf_size(STREAM_BUFFER_BYTES_MAX)
        .max_header_list_size(u32::try_from(HEADER_BYTES_MAX).unwrap_or(u32::MAX));
    builder
}

/// Runs HTTP/2 streams on the connection's core, each with a clock for a client that takes no bytes: hyper waits for
/// such a client's window without looking at the body, so the body's own clocks stand still.
#[derive(Clone)]
struct LocalExecutor {
    stall: Duration,
}

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        let stream =
            Stream { future: Box::pin(future), handed: HandedAt::default(), stall: self.stall, timer: None };
        tokio::task::spawn_local(stream);
    }
}

struct Stream<F> {
    future: Pin<Box<F>>,
    handed: HandedAt,
    stall: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

thread_local! {
    /// The HTTP/2 stream that is being polled: how the service's answer finds its clock.
    static STREAM: RefCell<Option<HandedAt>> = const { RefCell::new(None) };
}

fn current_stream() -> Option<HandedAt> {
    STREAM.with_borrow(Clone::clone)
}

impl<F: Future> Future for Stream<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        STREAM.set(Some(Rc::clone(&this.handed)));
        let polled = this.future.as_mut().poll(cx);
        STREAM.set(None);
        if polled.is_ready() {
            return Poll::Ready(());
        }
        while let Some(handed) = this.handed.get() {
            let end = handed + this.stall;
            let timer = this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if end <= Instant::now() {
                // Dropped, the stream is reset and its exchange settled.
                return Poll::Ready(());
            }
            timer.as_mut().reset(end);
        }
        Poll::Pending
    }
}
