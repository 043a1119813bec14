//! A node's end of a tunnel: it opened the connection, and the gateway's requests come over it.

use std::cell::Cell;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;

use egress::{Socket, TUNNEL_LEAVING_PATH, TUNNEL_PING_PATH, TUNNEL_SPARE_HEADER};
use http::{Method, Response, StatusCode};
use hyper_util::server::graceful::GracefulConnection;
use node::{Dialled, Exit, Service, TunnelDialer, TunnelSignals};
use tasks::Thread;
use tokio::sync::{oneshot, watch};

use crate::held_bodies::HeldBodies;
use crate::http1::{self, Arrived};
use crate::http2::{self, Pings};
use crate::limits::{NODE_BODY_BYTES_MAX, TUNNEL_PING_EVERY, TUNNEL_PING_WAIT};
use crate::reply::Reply;
use crate::worker::{self, CoreFuture};
use crate::{Times, answer_node};

/// Whom requests of a tunnel come from: not from this machine, so they need the node's key as at its listener.
const GATEWAY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// The thread on which a node's tunnel is open and answered, as a listener's is: a request passes through no other. Dropping
/// it cuts what runs.
pub struct ServedTunnel {
    stop: watch::Sender<bool>,
    cut: Option<oneshot::Sender<()>>,
    ended: oneshot::Receiver<()>,
    thread: Option<Thread>,
}

impl ServedTunnel {
    /// Keeps a tunnel open.
    ///
    /// # Errors
    /// The operating system can't start a thread.
    pub fn start(service: Arc<Service>, times: Times, dialer: TunnelDialer) -> io::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let ((cut, cutting), (ending, ended)) = (oneshot::channel(), oneshot::channel());
        let thread = worker::spawn("tunnel", move || -> CoreFuture {
            Box::pin(async move {
                // Dropped when all is answered.
                let _ending: oneshot::Sender<()> = ending;
                // Made here: its connections are tasks of this thread.
                let exit = match service.exit() {
                    Ok(exit) => exit,
                    Err(error) => return tracing::error!(%error, "the tunnel's thread can't reach backends"),
                };
                let bodies = HeldBodies::new(NODE_BODY_BYTES_MAX);
                let serve = move |dialled| {
                    let (service, exit) = (Arc::clone(&service), exit.clone());
                    let door = (times, Arc::clone(&bodies));
                    async move {
                        match dialled {
                            Dialled::Tunnel(socket, signals) => {
                                serve_tunnel((service, exit), door, socket, signals).await
                            }
                            Dialled::Spare(socket, wind_down) => {
                                serve_spare((service, exit), door, socket, wind_down).await
                            }
                        }
                    }
                };
                tokio::select! {
                    ran = dialer.run(serve, stopped) => if let Err(error) = ran {
                        tracing::error!(%error, "no tunnel can be opened");
                    },
                    _ = cutting => {}
                }
            })
        })?;
        Ok(Self { stop, cut: Some(cut), ended, thread: Some(thread) })
    }

    /// Takes no more requests, and returns once those that run are answered.
    pub async fn end(mut self) {
        self.stop.send_replace(true);
        let _ = (&mut self.ended).await;
    }
}

impl Drop for ServedTunnel {
    fn drop(&mut self) {
        self.cut.take();
        // It ends at once, and has the journal know what was cut.
        if let Some(Err(_)) = self.thread.take().map(Thread::join) {
            tracing::error!("the tunnel's thread ended by a panic");
        }
    }
}

/// Answers what comes through a tunnel, as the listener of the node does, until the gateway or `signals` end it. Use it
/// inside a `LocalSet`.
async fn serve_tunnel(
    (service, exit): (Arc<Service>, Exit),
    (times, bodies): (Times, Arc<HeldBodies>),
    socket: Socket,
    signals: TunnelSignals,
) {
    let TunnelSignals { leaving, spare_wanted, mut wind_down } = signals;
    let handler = Rc::new(move |mut arrived: Arrived, peer| {
        let door = (times, Arc::clone(&bodies));
        let (service, exit, leaving) = (Arc::clone(&service), exit.clone(), Rc::clone(&leaving));
        if let Arrived::Request(request) = &mut arrived
            && request.headers_mut().remove(TUNNEL_SPARE_HEADER).is_some()
        {
            spare_wanted.notify_one();
        }
        async move {
            match own_path(&arrived) {
                Some(path) => {
                    if path == TUNNEL_LEAVING_PATH {
                        leaving.notify_one();
                    }
                    let mut answer = Response::new(Reply::whole(bytes::Bytes::new()));
                    *answer.status_mut() = StatusCode::NO_CONTENT;
                    answer
                }
                None => answer_node(service, exit, door, arrived, peer).await,
            }
        }
    });
    let pings = Pings { every: TUNNEL_PING_EVERY, wait: TUNNEL_PING_WAIT };
    let mut connection = Box::pin(http2::connection(socket, Vec::new(), GATEWAY, (times, pings), handler));
    let is_winding_down = Cell::new(false);
    loop {
        tokio::select! {
            // How it ended is the gateway's to say.
            _ = poll(connection.as_mut()) => return,
            _ = wind_down.wait_for(|wanted| *wanted), if !is_winding_down.get() => {
                is_winding_down.set(true);
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Answers what comes over a spare connection, one request after the other, until the gateway closes it; or until what runs is
/// answered, once `wind_down` is true.
async fn serve_spare(
    (service, exit): (Arc<Service>, Exit),
    (times, bodies): (Times, Arc<HeldBodies>),
    socket: Socket,
    mut wind_down: watch::Receiver<bool>,
) {
    let handler = |arrived: Arrived, peer| {
        let door = (times, Arc::clone(&bodies));
        answer_node(Arc::clone(&service), exit.clone(), door, arrived, peer)
    };
    // The gateway closes it before that.
    let times = Times { head: times.idle, ..times };
    let closing = Cell::new(false);
    let mut serving = pin!(http1::serve(socket, Vec::new(), GATEWAY, times, &closing, &handler));
    tokio::select! {
        () = serving.as_mut() => return,
        _ = wind_down.wait_for(|wanted| *wanted) => closing.set(true),
    }
    serving.await;
}

/// What the gateway sends for the tunnel itself.
fn own_path(arrived: &Arrived) -> Option<&'static str> {
    let Arrived::Request(request) = arrived else { return None };
    match (request.method(), request.uri().path()) {
        (&Method::GET, TUNNEL_PING_PATH) => Some(TUNNEL_PING_PATH),
        (&Method::POST, TUNNEL_LEAVING_PATH) => Some(TUNNEL_LEAVING_PATH),
        _ => None,
    }
}

async fn poll<C: GracefulConnection>(connection: Pin<&mut C>) {
    let _ = connection.await;
}
