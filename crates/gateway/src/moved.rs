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
pub(crate) type Guest = Box<dyn FnOnce() -> CoreFuture + Send>;

/// The ways to all cores, from one of them.
pub(crate) struct Seats {
    pub here: u32,
    pub all: Vec<mpsc::Sender<Guest>>,
}

/// Serves what the other cores send, until the process drains and the last has ended.
pub(crate) async fn host(mut guests: mpsc::Receiver<Guest>, mut phase: watch::Receiver<Phase>) {
    let mut running = JoinSet::new();
    let mut draining = pin!(async move { drop(phase.wait_for(|phase| *phase != Phase::Serving).await) });
    let mut is_draining = false;
    loop {
        tokio::select! {
            () = &mut draining, if !is_draining => {
                is_draining = true;
                guests.close();
            }
            Some(guest) = guests.recv() => drop(running.spawn_local(guest())),
            Some(_) = running.join_next() => {}
            else => return,
        }
    }
}

/// Serves a tunnel on the core that it is for, and returns when it has ended. Dropping this cuts it.
pub(crate) async fn serve_tunnel(entrance: Arc<TunnelEntrance>, handed: HandedOver, seats: &Seats) {
    let HandedOver { socket, early, closing } = handed;
    let cores = u32::try_from(seats.all.len()).unwrap_or(u32::MAX);
    let core = entrance.core().filter(|core| *core != seats.here);
    let Some(seat) = core.and_then(|core| seats.all.get(usize::try_from(core).ok()?)) else {
        // The front end polls this when it is to close.
        let closing = poll_fn(move |_| if closing.get() { Poll::Ready(()) } else { Poll::Pending });
        return entrance.serve(socket, early, cores, closing).await;
    };
    // The descriptor leaves this core's event loop.
    let Ok(socket) = socket.into_std() else { return };
    let (close, mut closed) = watch::channel(false);
    let (mut ending, mut ended) = oneshot::channel::<()>();
    let guest: Guest = Box::new(move || {
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
    let mut own = seat.try_send(guest).err().map(|refused| refused.into_inner()());
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
