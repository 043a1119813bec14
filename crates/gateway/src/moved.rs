//! Tunnels that another core drives than the one that accepted them: a node opens one for each core, and the kernel chooses
//! where a connection arrives.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use api::tunnels::TunnelEntrance;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::reply::HandedOver;
use crate::serve::Phase;
use crate::worker::CoreFuture;

/// Makes the future that serves a connection, on the core that it is for.
pub(crate) type MovedConnection = Box<dyn FnOnce() -> CoreFuture + Send>;

/// The senders to all cores, held by one of them.
pub(crate) struct CoreSenders {
    pub own: u32,
    pub all: Vec<mpsc::Sender<MovedConnection>>,
}

/// Serves what the other cores send, until the process drains and the last has ended.
pub(crate) async fn serve_moved(
    mut arriving: mpsc::Receiver<MovedConnection>,
    mut phase: watch::Receiver<Phase>,
) {
    let mut running = JoinSet::new();
    let mut draining = pin!(async move { drop(phase.wait_for(|phase| *phase != Phase::Serving).await) });
    loop {
        tokio::select! {
            () = &mut draining, if !arriving.is_closed() => arriving.close(),
            Some(connection) = arriving.recv() => drop(running.spawn_local(connection())),
            Some(_) = running.join_next() => {}
            else => return,
        }
    }
}

/// Serves a tunnel on the core that it is for, and returns when it has ended. Dropping this cuts it.
pub(crate) async fn serve_tunnel(entrance: Arc<TunnelEntrance>, handed: HandedOver, senders: &CoreSenders) {
    let HandedOver { socket, early, closing } = handed;
    let cores = u32::try_from(senders.all.len()).unwrap_or(u32::MAX);
    let core = entrance.core().filter(|core| *core != senders.own);
    let Some(sender) = core.and_then(|core| senders.all.get(usize::try_from(core).ok()?)) else {
        // The front end polls this when it is to close.
        let closing = poll_fn(move |_| if closing.get() { Poll::Ready(()) } else { Poll::Pending });
        return entrance.serve(socket, early, cores, closing).await;
    };
    // The descriptor leaves this core's event loop.
    let Ok(socket) = socket.into_std() else { return };
    let (close, mut closed) = watch::channel(false);
    let (mut ending, mut ended) = oneshot::channel::<()>();
    let moved: MovedConnection = Box::new(move || {
        Box::pin(async move {
            let Ok(socket) = TcpStream::from_std(socket) else { return };
            let closing = async move { drop(closed.wait_for(|closed| *closed).await) };
            tokio::select! {
                () = entrance.serve(socket, early, cores, closing) => {}
                () = ending.closed() => {}
            }
        })
    });
    // If that core takes none now, this one serves it.
    let mut own = sender.try_send(moved).err().map(|refused| refused.into_inner()());
    poll_fn(|cx| {
        if closing.get() && !*close.borrow() {
            close.send_replace(true);
        }
        if let Some(own) = &mut own {
            return own.as_mut().poll(cx);
        }
        Pin::new(&mut ended).poll(cx).map(drop)
    })
    .await;
}
