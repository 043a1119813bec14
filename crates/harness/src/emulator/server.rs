//! Listens, accepts, and serves connections until stopped.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::queues::Ends;
use super::service;
use super::state::{Shared, lock};
use super::wire::{Control, Wire};

const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// Everything an accepted connection needs.
pub(crate) struct Server {
    pub(crate) shared: Arc<Shared>,
    pub(crate) acceptor: Option<TlsAcceptor>,
    connections: AtomicU64,
    /// How many of them are served.
    serving: watch::Sender<usize>,
}

/// A connection that is served.
struct Serving(Arc<Server>);

impl Server {
    pub(crate) fn new(shared: Arc<Shared>, acceptor: Option<TlsAcceptor>) -> Self {
        Self { shared, acceptor, connections: AtomicU64::new(0), serving: watch::Sender::new(0) }
    }

    /// Aborts all connections, and returns once they are closed.
    pub(crate) async fn cut(&self) {
        lock(&self.shared.connections).iter().for_each(|control| control.abort());
        // The sender is this server's.
        drop(self.serving.subscribe().wait_for(|serving| *serving == 0).await);
    }
}

impl Serving {
    fn of(server: Arc<Server>) -> Self {
        server.serving.send_modify(|serving| *serving += 1);
        Self(server)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.serving.send_modify(|serving| *serving -= 1);
    }
}

/// Binds and starts accepting; aborting the task closes the listener and leaves connections alone.
pub(crate) async fn listen(
    server: Arc<Server>,
    address: SocketAddr,
) -> io::Result<(SocketAddr, JoinHandle<()>)> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    let task = tokio::spawn(accept(server, listener));
    Ok((bound, task))
}

async fn accept(server: Arc<Server>, listener: TcpListener) {
    loop {
        // Accept fails for one connection, or for lack of file descriptors, which other connections will
        // release.
        let Ok((socket, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // Otherwise small events would wait for acknowledgements (Nagle's algorithm); an error means the peer is
        // gone.
        let _ = socket.set_nodelay(true);
        let id = server.connections.fetch_add(1, Ordering::Relaxed) + 1;
        let ends = socket.local_addr().and_then(|own| Ok(Ends::of(own, socket.peer_addr()?)));
        let control = Arc::new(Control::new(id, server.acceptor.is_some(), ends.ok().flatten()));
        // Here, so that `cut` misses none that was accepted.
        lock(&server.shared.connections).push(Arc::clone(&control));
        let serving = Serving::of(Arc::clone(&server));
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            connection(&server, control, socket).await;
            drop(serving);
        });
    }
}

async fn connection(server: &Server, control: Arc<Control>, socket: TcpStream) {
    server.shared.notify();
    let wire = Wire::new(socket, Arc::clone(&control));
    match &server.acceptor {
        None => serve(&server.shared, control, wire).await,
        Some(acceptor) => {
            if let Ok(stream) = acceptor.accept(wire).await {
                serve(&server.shared, control, stream).await;
            }
        }
    }
    server.shared.notify();
}

async fn serve<S>(shared: &Arc<Shared>, control: Arc<Control>, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new());
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(shared.config.h2_streams_max);
    let service = service_fn(|request| service::serve(Arc::clone(shared), Arc::clone(&control), request));
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::select! {
        // How a connection ended is recorded by its requests in the journal.
        _ = connection => {}
        () = control.until_aborted() => {}
    }
}
