//! The gRPC server: external processing for the proxy, and health checks.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::exchange::{Budget, Exchange, Next};
use crate::framing::{GrpcStatus, Messages, frame};
use crate::limits::{
    CHECK_BYTES_MAX, CHECK_TIME_MAX, CONNECTIONS_MAX, HANDSHAKE_TIME_MAX, HEADER_BYTES_MAX,
    REPLIES_WAITING_MAX, REQUEST_IDLE_TIME_MAX, STREAMS_MAX,
};
use crate::pool::Pool;
use crate::wire::{HealthCheckRequest, HealthCheckResponse, ProcessingRequest, ProcessingResponse};

const PROCESS: &str = "/envoy.service.ext_proc.v3.ExternalProcessor/Process";
const CHECK: &str = "/grpc.health.v1.Health/Check";
const GRPC: &str = "application/grpc";
/// A peer that is gone is noticed by this, so that its requests no longer count.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(30);
const KEEP_ALIVE_WAIT: Duration = Duration::from_secs(20);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a listener serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    /// External processing and health checks.
    All,
    /// Health checks alone: probes of Kubernetes speak no TLS.
    Health,
}

/// What all streams share.
pub(crate) struct Server {
    pub pool: Rc<Pool>,
    pub sheddable: Rc<[String]>,
    pub budget: Budget,
    /// Whether the endpoints were looked up once.
    pub synced: watch::Receiver<bool>,
}

impl Server {
    /// Whether it knows how its endpoints are.
    fn is_ready(&self) -> bool {
        *self.synced.borrow() && self.pool.is_polled()
    }
}

/// Hyper's tasks, on the core that has the connection.
#[derive(Clone)]
struct OnCore;

impl<F> hyper::rt::Executor<F> for OnCore
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tasks::spawn_on_core(future);
    }
}

/// Accepts connections until it is stopped, and returns when those that were open have ended.
pub(crate) async fn listen(
    listener: TcpListener,
    server: Rc<Server>,
    offer: Offer,
    tls: Option<TlsAcceptor>,
    mut stopped: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.wait_for(|is_stopped| *is_stopped) => break,
        };
        let Ok((stream, _)) = accepted else {
            // Out of descriptors, most likely: others are given back.
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let (server, tls, stopped) = (Rc::clone(&server), tls.clone(), stopped.clone());
        tasks::spawn_on_core(async move {
            open(stream, server, offer, tls, stopped).await;
            drop(place);
        });
    }
    drop(listener);
    let all = u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX);
    let _ = places.acquire_many(all).await;
}

async fn open(
    stream: TcpStream,
    server: Rc<Server>,
    offer: Offer,
    tls: Option<TlsAcceptor>,
    stopped: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    match tls {
        None => {
            // Who connects and says nothing takes no place for long.
            if matches!(timeout(HANDSHAKE_TIME_MAX, stream.peek(&mut [0])).await, Ok(Ok(1))) {
                connection(stream, server, offer, stopped).await;
            }
        }
        Some(acceptor) => match timeout(HANDSHAKE_TIME_MAX, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => connection(stream, server, offer, stopped).await,
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        },
    }
}

async fn connection<S>(stream: S, server: Rc<Server>, offer: Offer, mut stopped: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let mut builder = http2::Builder::new(OnCore);
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE_EVERY)
        .keep_alive_timeout(KEEP_ALIVE_WAIT)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX);
    let service = service_fn(move |request| {
        let server = Rc::clone(&server);
        async move { Ok::<_, Infallible>(serve(server, offer, request).await) }
    });
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = stopped.wait_for(|is_stopped| *is_stopped) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended");
    }
}

async fn serve(server: Rc<Server>, offer: Offer, request: Request<Incoming>) -> Response<Replies> {
    let is_grpc =
        request.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(GRPC.as_bytes()));
    if !is_grpc || request.method() != Method::POST {
        let mut response = Response::new(Replies::Nothing);
        *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return response;
    }
    match (request.uri().path(), offer) {
        (CHECK, _) => match check(&server, request.into_body()).await {
            Ok(message) => grpc(Replies::One(Some(message))),
            Err(status) => ended(status),
        },
        (PROCESS, Offer::All) => {
            let (sender, receiver) = mpsc::channel(REPLIES_WAITING_MAX);
            tasks::spawn_on_core(process(server, request.into_body(), sender));
            grpc(Replies::Stream(receiver))
        }
        _ => ended(GrpcStatus::unsupported("this method doesn't exist here")),
    }
}

fn grpc(body: Replies) -> Response<Replies> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(GRPC));
    response
}

/// A response without messages.
fn ended(status: GrpcStatus) -> Response<Replies> {
    let mut response = grpc(Replies::Nothing);
    status.write(response.headers_mut());
    response
}

async fn check(server: &Server, body: Incoming) -> Result<Bytes, GrpcStatus> {
    let invalid = GrpcStatus::invalid("this isn't a health check");
    let read = timeout(CHECK_TIME_MAX, Limited::new(body, CHECK_BYTES_MAX).collect()).await;
    let body = read.ok().and_then(Result::ok).ok_or(invalid)?.to_bytes();
    let mut messages = Messages::default();
    messages.push(&body);
    let message = messages.next()?.ok_or(invalid)?;
    let is_serving = match HealthCheckRequest::decode(message).map_err(|_| invalid)?.service.as_str() {
        "liveness" => true,
        // The last one is what the reference implementation's manifests ask for.
        "" | "readiness" | "envoy.service.ext_proc.v3.ExternalProcessor" | "inference-extension" => {
            server.is_ready()
        }
        _ => return Err(GrpcStatus::not_found("this service doesn't exist here")),
    };
    Ok(frame(&HealthCheckResponse { status: if is_serving { 1 } else { 2 } }))
}

type Sender = mpsc::Sender<Frame<Bytes>>;

/// Answers one stream to its end.
async fn process(server: Rc<Server>, body: Incoming, sender: Sender) {
    let status = tokio::select! {
        status = run(&server, body, &sender) => status.unwrap_or_else(|status| status),
        // The proxy reset it.
        () = sender.closed() => return,
    };
    let mut trailers = HeaderMap::new();
    status.write(&mut trailers);
    let _ = sender.send(Frame::trailers(trailers)).await;
}

async fn run(server: &Server, mut body: Incoming, sender: &Sender) -> Result<GrpcStatus, GrpcStatus> {
    let mut exchange =
        Exchange::new(Rc::clone(&server.pool), Rc::clone(&server.sheddable), server.budget.clone());
    let (mut messages, mut held) = (Messages::default(), server.budget.begin());
    loop {
        while let Some(message) = messages.next()? {
            let request = ProcessingRequest::decode(message)
                .map_err(|_| GrpcStatus::invalid("this isn't a ProcessingRequest"))?;
            match exchange.take(request)? {
                Next::Answers(answers) => {
                    for answer in &answers {
                        send(sender, answer).await;
                    }
                }
                Next::Last(answer) => {
                    send(sender, &answer).await;
                    return Ok(GrpcStatus::OK);
                }
            }
        }
        if !held.set(messages.len()) {
            return Err(GrpcStatus::exhausted("too much is held of requests at the moment"));
        }
        let arrived = if exchange.is_waiting() {
            let late = GrpcStatus::too_late("no part of the request arrived for a minute");
            timeout(REQUEST_IDLE_TIME_MAX, body.frame()).await.map_err(|_| late)?
        } else {
            body.frame().await
        };
        match arrived {
            Some(Ok(piece)) => {
                if let Some(bytes) = piece.data_ref() {
                    messages.push(bytes);
                }
            }
            Some(Err(_)) | None => return Ok(GrpcStatus::OK),
        }
    }
}

async fn send(sender: &Sender, answer: &ProcessingResponse) {
    // Where nobody reads, the stream is over, and `process` notices.
    let _ = sender.send(Frame::data(frame(answer))).await;
}

/// The body of a response.
enum Replies {
    Nothing,
    /// One message, and that all is well.
    One(Option<Bytes>),
    Stream(mpsc::Receiver<Frame<Bytes>>),
}

impl Body for Replies {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        let next = match this {
            Self::Nothing => None,
            Self::One(message) => match message.take() {
                Some(message) => Some(Frame::data(message)),
                None => {
                    *this = Self::Nothing;
                    let mut trailers = HeaderMap::new();
                    GrpcStatus::OK.write(&mut trailers);
                    Some(Frame::trailers(trailers))
                }
            },
            Self::Stream(receiver) => ready!(receiver.poll_recv(cx)),
        };
        Poll::Ready(next.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Nothing)
    }
}
