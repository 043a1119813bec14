//! One accepted connection: its protocol, and how it is asked to end.

use std::cell::Cell;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use domain::limits::DRAIN_FIRST_BYTE_MAX;
use http::Response;
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::unconstrained;

use crate::http1::{self, Arrived, FIRST_READ_BYTES};
use crate::reply::Reply;
use crate::{Times, http2, linger};

/// How far a shutdown has progressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Serving,
    /// What runs may end; nothing new is started.
    Draining,
    /// Everything is cut off.
    Stopped,
}

/// Serves one connection to its end.
pub async fn connection<H, F>(
    mut socket: TcpStream,
    peer: SocketAddr,
    times: Times,
    mut phase: watch::Receiver<Phase>,
    handler: Rc<H>,
) where
    H: Fn(Arrived, SocketAddr) -> F + 'static,
    F: Future<Output = Response<Reply>> + 'static,
{
    set_options(&socket);
    let first = tokio::select! {
        biased;
        first = first_bytes(&mut socket, times.head) => first,
        () = unwanted(&mut phase) => return,
    };
    let Some(first) = first else { return linger::linger(&mut socket).await };
    if first.starts_with(http2::PREFACE) {
        let mut connection =
            Box::pin(http2::connection(socket, first, peer, (times, http2::OF_CLIENTS), handler));
        return drive(connection.as_mut(), phase, GracefulConnection::graceful_shutdown).await;
    }
    let closing = Cell::new(false);
    let connection = pin!(http1::serve(socket, first, peer, times, &closing, &*handler));
    drive(connection, phase, |_| closing.set(true)).await;
}

fn set_options(socket: &TcpStream) {
    // Without it a response in two small writes waits for the client's delayed acknowledgement: 40 ms.
    let _ = socket.set_nodelay(true);
}

/// A connection without a request gets little time once the process is to end. Its client connected before
/// the shutdown, and may have sent a request that is not read yet.
async fn unwanted(phase: &mut watch::Receiver<Phase>) {
    // An error means that the sender is gone: the end, too.
    if phase.wait_for(|phase| *phase != Phase::Serving).await.is_ok() {
        let stopped = phase.wait_for(|phase| *phase == Phase::Stopped);
        let _ = tokio::time::timeout(DRAIN_FIRST_BYTE_MAX, stopped).await;
    }
}

/// Reads enough of a connection to know its protocol; `None` if it never said.
async fn first_bytes(socket: &mut TcpStream, time_max: Duration) -> Option<Vec<u8>> {
    let mut first = Vec::with_capacity(FIRST_READ_BYTES);
    let read = async {
        // An HTTP/1 request may begin like the preface.
        while first.len() < http2::PREFACE.len() && http2::PREFACE.starts_with(&first) {
            if !matches!(socket.read_buf(&mut first).await, Ok(count) if count > 0) {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(time_max, read).await;
    (!first.is_empty()).then_some(first)
}

/// Runs a connection to its end, and calls `wind_down` when draining begins.
async fn drive<C: Future>(
    mut connection: Pin<&mut C>,
    mut phase: watch::Receiver<Phase>,
    wind_down: impl Fn(Pin<&mut C>),
) {
    let mut is_winding_down = false;
    loop {
        let seen = *phase.borrow_and_update();
        if seen == Phase::Stopped {
            return;
        }
        if seen == Phase::Draining && !is_winding_down {
            is_winding_down = true;
            wind_down(connection.as_mut());
        }
        let news = phase.clone();
        let mut changed = pin!(unconstrained(phase.changed()));
        let mut is_polled = false;
        let goes_on = std::future::poll_fn(|cx| {
            // A client's errors are answered or end the connection; there is nothing to report here.
            if connection.as_mut().poll(cx).is_ready() {
                return Poll::Ready(false);
            }
            // Polled once, a change wakes this task; a connection is polled too often to do that each time.
            if is_polled && matches!(news.has_changed(), Ok(false)) {
                return Poll::Pending;
            }
            is_polled = true;
            changed.as_mut().poll(cx).map(|changed| changed.is_ok())
        });
        if !goes_on.await {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_small_write_does_not_wait_for_an_acknowledgement() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        assert!(!socket.nodelay().unwrap(), "the kernel's default");
        set_options(&socket);
        assert!(socket.nodelay().unwrap());
    }
}
