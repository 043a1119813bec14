//! The serving threads: one core each, its own listener, its own connections, and an orderly end.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use domain::limits::DRAIN_STREAMS_MAX;
use http::Response;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::LocalSet;

use crate::Times;
use crate::http1::Arrived;
use crate::reply::Reply;
use crate::serve::{self, Phase};

const BACKLOG: i32 = 4096;
/// After an accept failed for want of descriptors or memory: trying again at once would only burn the core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// One listener for each worker on the same address: the kernel spreads the connections.
pub(crate) fn listeners(address: SocketAddr, count: u32) -> io::Result<(SocketAddr, Vec<StdListener>)> {
    let first = listener(address)?;
    let bound = first.local_addr()?;
    let mut all = vec![first];
    for _ in 1..count.max(1) {
        all.push(listener(bound)?);
    }
    Ok((bound, all))
}

fn listener(address: SocketAddr) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A serving thread's future: everything on it stays on it.
pub(crate) type CoreFuture = Pin<Box<dyn Future<Output = ()>>>;

/// Starts one serving thread that runs `work` on a runtime and a `LocalSet` of its own.
pub(crate) fn spawn<W>(number: u32, work: W) -> io::Result<std::thread::JoinHandle<()>>
where
    W: FnOnce() -> CoreFuture + Send + 'static,
{
    std::thread::Builder::new().name(format!("serve-{number}")).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => LocalSet::new().block_on(&runtime, async move { work().await }),
            Err(error) => tracing::error!(%error, "a serving thread has no runtime"),
        }
    })
}

/// How many connections a core holds.
pub(crate) type Open = Rc<Cell<u64>>;

struct Counted(Open);

impl Counted {
    fn new(open: &Open) -> Self {
        open.set(open.get() + 1);
        Self(Rc::clone(open))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// Accepts and serves until the phase says otherwise, then waits for what runs.
pub(crate) async fn serve<H, F>(
    listener: StdListener,
    times: Times,
    mut phase: watch::Receiver<Phase>,
    open: Open,
    handler: Rc<H>,
) where
    H: Fn(Arrived, SocketAddr) -> F + 'static,
    F: Future<Output = Response<Reply>> + 'static,
{
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "a listener is not usable"),
    };
    let mut running = tokio::task::JoinSet::new();
    while *phase.borrow_and_update() == Phase::Serving {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, peer)) => {
                    let counted = Counted::new(&open);
                    let (phase, handler) = (phase.clone(), Rc::clone(&handler));
                    running.spawn_local(async move {
                        let _counted = counted;
                        serve::connection(socket, peer, times, phase, handler).await;
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = running.join_next(), if !running.is_empty() => {}
            changed = phase.changed() => if changed.is_err() { break },
        }
    }
    drop(listener);
    let drained = async { while running.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_STREAMS_MAX, drained).await.is_err() {
        tracing::warn!("connections were cut: their streams outlasted the drain");
    }
}
