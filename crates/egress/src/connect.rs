//! From a checked target to a connection: resolve, connect to exactly that address, TLS, HTTP handshake.

use std::cell::Cell;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use domain::limits::{CONNECT_TIME_MAX, H2_STREAMS_PER_CONNECTION, STREAM_BUFFER_BYTES_MAX};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use crate::error::{EgressError, EgressErrorKind};
use crate::gauge::Gauge;
use crate::guard::{Target, resolve};
use crate::http1::{Connection, Wire};
use crate::out_body::OutBody;
use crate::settings::{EgressSettings, TargetKind};

/// Detects a dead peer by an unanswered ping; otherwise every later request would choose its connection.
const H2_PING_EVERY: Duration = Duration::from_secs(15);
const H2_PING_WAIT: Duration = Duration::from_secs(10);
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

/// A connection whose handshakes are done.
pub(crate) enum Opened {
    Http1(Box<Connection>),
    /// With the number of streams that the peer allows now; its task runs on
    /// this core until the peer ends it.
    Http2(http2::SendRequest<OutBody>, Rc<Cell<usize>>),
}

/// Runs what hyper spawns on the core that owns the connection.
#[derive(Clone, Copy)]
struct LocalExecutor;

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tasks::spawn_on_core(future);
    }
}

/// Opens one connection within `CONNECT_TIME_MAX`, including name resolution.
pub(crate) async fn open(
    target: &Target,
    reach: TargetKind,
    settings: &EgressSettings,
    tls: &Arc<rustls::ClientConfig>,
    gauge: &Rc<Gauge>,
) -> Result<Opened, EgressError> {
    let opening = async {
        let addresses = resolve(target, settings, reach).await?;
        let socket = connect_any(&addresses, target).await?;
        if !target.https {
            return Ok(Opened::Http1(Box::new(Connection::new(Wire::Plain(socket), gauge.count()))));
        }
        Box::pin(open_tls(socket, target, tls, gauge)).await
    };
    // Opening is rare and its future large: boxed, so that every request's future stays small.
    match tokio::time::timeout(CONNECT_TIME_MAX, Box::pin(opening)).await {
        Ok(opened) => opened,
        Err(_) => Err(too_slow(target)),
    }
}

/// Opens a connection that carries whatever its owner sends, within `CONNECT_TIME_MAX`.
pub(crate) async fn open_tcp(
    target: &Target,
    reach: TargetKind,
    settings: &EgressSettings,
) -> Result<TcpStream, EgressError> {
    let opening = async { connect_any(&resolve(target, settings, reach).await?, target).await };
    tokio::time::timeout(CONNECT_TIME_MAX, opening).await.unwrap_or_else(|_| Err(too_slow(target)))
}

async fn open_tls(
    socket: TcpStream,
    target: &Target,
    tls: &Arc<rustls::ClientConfig>,
    gauge: &Rc<Gauge>,
) -> Result<Opened, EgressError> {
    let connected = TlsConnector::from(Arc::clone(tls)).connect(server_name(target)?, socket).await;
    let stream = connected.map_err(|error| {
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
        let is_plain = matches!(cause, Some(rustls::Error::InvalidMessage(_)));
        let hint = if is_plain { " It seems to speak http: write http:// in place of https://." } else { "" };
        EgressError::new(EgressErrorKind::Tls, format!("TLS with {} failed: {error}.{hint}", target.host))
    })?;
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        http2_handshake(stream, target, gauge).await
    } else {
        Ok(Opened::Http1(Box::new(Connection::new(Wire::Secure(Box::new(stream)), gauge.count()))))
    }
}

fn too_slow(target: &Target) -> EgressError {
    let seconds = CONNECT_TIME_MAX.as_secs();
    EgressError::new(
        EgressErrorKind::Timeout,
        format!("No connection to {}:{} within {seconds} s.", target.host, target.port),
    )
}

fn server_name(target: &Target) -> Result<ServerName<'static>, EgressError> {
    match target.address {
        Some(address) => Ok(ServerName::from(address)),
        None => ServerName::try_from(target.host.clone()).map_err(|_| {
            EgressError::new(EgressErrorKind::Tls, format!("{} can't be named in TLS.", target.host))
        }),
    }
}

/// Tries the addresses in the resolver's order. Each gets its share of the time, so that one
/// dead address can't use it all up.
async fn connect_any(addresses: &[SocketAddr], target: &Target) -> Result<TcpStream, EgressError> {
    let end = Instant::now() + CONNECT_TIME_MAX;
    let mut last = too_slow(target);
    for (tried, address) in addresses.iter().enumerate() {
        let left = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        let share = end.saturating_duration_since(Instant::now()) / left.max(1);
        match tokio::time::timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(socket)) => {
                set_options(&socket);
                return Ok(socket);
            }
            Ok(Err(error)) => {
                let text = format!("No connection to {} ({address}): {error}.", target.host);
                last = EgressError::new(EgressErrorKind::Connect, text);
            }
            Err(_) => last = too_slow(target),
        }
    }
    Err(last)
}

fn set_options(socket: &TcpStream) {
    // Without it, a head and a body in two writes wait for the peer's delayed acknowledgement: 40 ms.
    let _ = socket.set_nodelay(true);
    let keepalive = socket2::TcpKeepalive::new().with_time(TCP_KEEPALIVE);
    let _ = socket2::SockRef::from(socket).set_tcp_keepalive(&keepalive);
}

fn handshake_failed(target: &Target, error: &hyper::Error) -> EgressError {
    EgressError::new(EgressErrorKind::Protocol, format!("{} does not speak HTTP: {error}.", target.host))
}

async fn http2_handshake<S>(stream: S, target: &Target, gauge: &Rc<Gauge>) -> Result<Opened, EgressError>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let stream_window = u32::try_from(STREAM_BUFFER_BYTES_MAX).unwrap_or(u32::MAX);
    let streams = u32::try_from(H2_STREAMS_PER_CONNECTION).unwrap_or(u32::MAX);
    let (sender, mut connection) = http2::Builder::new(LocalExecutor)
        .timer(TokioTimer::new())
        .keep_alive_interval(H2_PING_EVERY)
        .keep_alive_timeout(H2_PING_WAIT)
        .initial_stream_window_size(stream_window)
        // As large as all stream windows together: a client that reads slowly holds up only its own stream.
        .initial_connection_window_size(stream_window.saturating_mul(streams))
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| handshake_failed(target, &error))?;
    let counted = gauge.count();
    let allowed = Rc::new(Cell::new(connection.current_max_send_streams()));
    let announced = Rc::clone(&allowed);
    tasks::spawn_on_core(async move {
        let _counted = counted;
        let driven = std::future::poll_fn(|cx| {
            let polled = Pin::new(&mut connection).poll(cx);
            announced.set(connection.current_max_send_streams());
            polled
        });
        let _ = driven.await;
    });
    Ok(Opened::Http2(sender, allowed))
}
