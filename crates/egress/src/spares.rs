//! Spare connections of a node's tunnel: the node dials them beside it, and each carries one request at a time over HTTP/1.1, which
//! costs both ends less than a stream of the tunnel. They belong to the thread that drives the tunnel, and end with it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::body::{Answer, InBody, TunnelledBody};
use crate::connect::Opened;
use crate::error::{EgressError, EgressErrorKind};
use crate::gauge::Gauge;
use crate::http1::{Connection, Wire};
use crate::limits::{TUNNEL_PING_EVERY, TUNNEL_SPARES_MAX};
use crate::message::Request;
use crate::pool::{Host, Lease, Sent, exchange_own};
use crate::tunnel::{HOST, SCHEME, Tunnel, TunnelOwner, TunnelStream, Tunnels};

thread_local! {
    /// By the tunnel that they are of.
    static SPARES: RefCell<HashMap<usize, Spares>> = RefCell::default();
}

struct Spares {
    /// Those that no request uses.
    host: Rc<Host>,
    /// Counts all of them.
    gauge: Rc<Gauge>,
}

/// What became of a request that was to go over a spare connection.
pub(crate) enum Exchanged {
    Answered(Answer),
    /// The request may have reached the node.
    Failed(EgressError),
    /// There is no spare connection.
    NotSent(TunnelStream),
}

/// The body of an answer that comes over a spare connection.
struct SpareBody {
    own: InBody,
    cut: Pin<Box<dyn Future<Output = ()>>>,
    _place: TunnelStream,
}

fn key(tunnel: &Arc<Tunnel>) -> usize {
    Arc::as_ptr(tunnel).addr()
}

impl Spares {
    /// Has other threads know how many there are.
    fn count(&self, tunnel: &Tunnel) {
        tunnel.spares.store(self.gauge.open(), Ordering::Relaxed);
    }
}

/// Adds a connection that a node opened beside its tunnel for one core. Where this thread drives no such tunnel, or it has as
/// many as it may have, the connection is closed. Use it inside a `LocalSet`.
pub fn adopt_spare(tunnels: &Tunnels, socket: TcpStream, owner: &TunnelOwner) {
    let Some(tunnel) = tunnels.newest(owner) else { return };
    SPARES.with_borrow_mut(|all| {
        let spares = all.entry(key(&tunnel)).or_insert_with(|| {
            tasks::spawn_on_core(keep(Arc::clone(&tunnel)));
            Spares { host: Host::dialling(HOST, SCHEME), gauge: Rc::default() }
        });
        if spares.gauge.open() < TUNNEL_SPARES_MAX {
            let connection = Connection::new(Wire::Plain(socket), spares.gauge.count());
            spares.host.adopt(Opened::Http1(Box::new(connection)));
            spares.count(&tunnel);
        }
    });
}

/// Closes those that are idle for long, and all once the tunnel has ended.
async fn keep(tunnel: Arc<Tunnel>) {
    let mut ended = pin!(tunnel.ended());
    while timeout(TUNNEL_PING_EVERY, ended.as_mut()).await.is_err() {
        SPARES.with_borrow(|all| {
            if let Some(spares) = all.get(&key(&tunnel)) {
                spares.host.sweep();
                spares.count(&tunnel);
            }
        });
    }
    // Dropped outside of the borrow.
    drop(SPARES.with_borrow_mut(|all| all.remove(&key(&tunnel))));
}

fn take(tunnel: &Arc<Tunnel>) -> Option<Lease> {
    SPARES.with_borrow(|all| all.get(&key(tunnel))?.host.checkout())
}

/// Sends a request over a spare connection of a tunnel, if this thread has one.
pub(crate) async fn exchange(tunnel: &Arc<Tunnel>, place: TunnelStream, request: &Request) -> Exchanged {
    while let Some(lease) = take(tunnel) {
        let mut cut: Pin<Box<dyn Future<Output = ()>>> = Box::pin(tunnel.ended());
        let mut exchanging = pin!(exchange_own(lease, request));
        let sent = std::future::poll_fn(|cx| match exchanging.as_mut().poll(cx) {
            Poll::Ready(sent) => Poll::Ready(Some(sent)),
            Poll::Pending => cut.as_mut().poll(cx).map(|()| None),
        });
        match sent.await {
            Some(Sent::Answer(Answer { status, headers, body: own })) => {
                let body = InBody::tunnelled(SpareBody { own, cut, _place: place });
                return Exchanged::Answered(Answer { status, headers, body });
            }
            Some(Sent::Untouched(_)) => {}
            Some(Sent::Failed(error)) => return Exchanged::Failed(error),
            None => return Exchanged::Failed(was_cut()),
        }
    }
    Exchanged::NotSent(place)
}

fn was_cut() -> EgressError {
    EgressError::new(EgressErrorKind::Closed, "The node's tunnel ended.").sent()
}

impl TunnelledBody for SpareBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, EgressError>>> {
        match Pin::new(&mut self.own).poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(frame),
            Poll::Pending => self.cut.as_mut().poll(cx).map(|()| Some(Err(was_cut()))),
        }
    }

    fn is_over(&self) -> bool {
        self.own.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.own.size_hint()
    }
}
