//! The serving threads: one core each, its own listener, its own connections, and an orderly end.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::panic::resume_unwind;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use domain::limits::{DRAIN_HANDSHAKE_MAX, DRAIN_STREAMS_MAX};
use http::Response;
use socket2::{Domain, Protocol, Socket, Type};
#[cfg(target_os = "linux")]
use socket2::{SockFilter, SockRef};
use tasks::{Task, Thread};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::LocalSet;
use tokio::time::Instant;

use crate::Times;
use crate::http1::Arrived;
use crate::reply::Reply;
use crate::serve::{self, Phase};

const BACKLOG: i32 = 4096;
/// The pause after an accept failed for lack of descriptors or memory: trying again at
/// once would only burn the core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const COMPLAINT_EVERY: Duration = Duration::from_secs(1);

/// One listener for each worker on the same address: the kernel spreads the connections.
///
/// The first is bound and listens before it shares its port, so that another process has it for itself
/// or not at all: of two that start at once, the one that listens later is refused. Only then do the
/// others of this process join it.
pub(crate) fn listeners(address: SocketAddr, count: u32) -> io::Result<(SocketAddr, Vec<StdListener>)> {
    let first = listener(address, false).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            let fix = "stop it, or choose another address with --listen";
            io::Error::new(error.kind(), format!("{address} is in use by another process: {fix}"))
        }
        _ => error,
    })?;
    first.set_reuse_port(true)?;
    let first = StdListener::from(first);
    let bound = first.local_addr()?;
    let mut all = vec![first];
    for _ in 1..count.max(1) {
        all.push(listener(bound, true)?.into());
    }
    Ok((bound, all))
}

fn listener(address: SocketAddr, joins: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of a process that ended may still be closing.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(joins)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// A serving thread's future: everything on it stays on it.
pub(crate) type CoreFuture = Pin<Box<dyn Future<Output = ()>>>;

/// Starts one serving thread that runs `work` on its own runtime and `LocalSet`.
pub(crate) fn spawn<W>(name: impl Into<String>, work: W) -> io::Result<Thread>
where
    W: FnOnce() -> CoreFuture + Send + 'static,
{
    Thread::spawn(name, move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            // A task, since what a `LocalSet` blocks on is polled whenever one of its tasks is woken: with each chunk of a stream.
            Ok(runtime) => {
                LocalSet::new().block_on(&runtime, async move {
                    let _watching = Task::spawn_local("delay", tasks::watch_delay("serve"));
                    if let Err(error) = Task::spawn_local("core", work()).ended().await
                        && let Ok(panic) = error.try_into_panic()
                    {
                        resume_unwind(panic);
                    }
                });
                // Without those who still block for it, such as a name's lookup.
                runtime.shutdown_background();
            }
            Err(error) => tracing::error!(%error, "a serving thread has no runtime"),
        }
    })
}

/// How many connections a core holds.
pub(crate) type Open = Rc<Cell<u64>>;

/// Bounds the connections of all cores together: the rest of the process's descriptors is for upstreams.
#[derive(Clone)]
pub(crate) struct ConnectionLimit(Arc<Shared>);

struct Shared {
    max: usize,
    held: AtomicUsize,
    freed: Notify,
}

impl ConnectionLimit {
    pub(crate) fn new(max: usize) -> Self {
        Self(Arc::new(Shared { max: max.max(1), held: AtomicUsize::new(0), freed: Notify::new() }))
    }

    /// Returns once there is room for a connection. Cores that check at the same time
    /// may exceed the bound by one each.
    async fn wait(&self) {
        while self.is_full() {
            let mut freed = std::pin::pin!(self.0.freed.notified());
            freed.as_mut().enable();
            // One may have been freed before the wait started.
            if self.is_full() {
                freed.await;
            }
        }
    }

    fn is_full(&self) -> bool {
        self.0.held.load(Ordering::Relaxed) >= self.0.max
    }
}

/// A connection that is counted for as long as it is open.
struct Counted {
    open: Open,
    connection_limit: ConnectionLimit,
}

impl Counted {
    fn new(open: &Open, connection_limit: &ConnectionLimit) -> Self {
        open.set(open.get() + 1);
        connection_limit.0.held.fetch_add(1, Ordering::Relaxed);
        Self { open: Rc::clone(open), connection_limit: connection_limit.clone() }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.open.set(self.open.get().saturating_sub(1));
        if self.connection_limit.0.held.fetch_sub(1, Ordering::Relaxed) >= self.connection_limit.0.max {
            self.connection_limit.0.freed.notify_waiters();
        }
    }
}

/// Logs at most once a second that connections could not be accepted, and how many.
#[derive(Default)]
struct RejectionLog {
    logged: Option<Instant>,
    failed: u64,
}

impl RejectionLog {
    fn failed(&mut self, error: &io::Error, now: Instant) {
        self.failed += 1;
        if self.logged.is_none_or(|logged| now.duration_since(logged) >= COMPLAINT_EVERY) {
            tracing::warn!(%error, failed = self.failed, "connections could not be accepted");
            *self = Self { logged: Some(now), failed: 0 };
        }
    }
}

/// Accepts and serves until the phase ends it, then waits for what runs.
pub(crate) async fn serve<H, F>(
    listener: StdListener,
    times: Times,
    phase: watch::Receiver<Phase>,
    open: Open,
    connection_limit: ConnectionLimit,
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
    let take = |running: &mut tokio::task::JoinSet<()>, socket: TcpStream, peer: SocketAddr| {
        let counted = Counted::new(&open, &connection_limit);
        let (phase, handler) = (phase.clone(), Rc::clone(&handler));
        running.spawn_local(async move {
            let _counted = counted;
            serve::connection(socket, peer, times, phase, handler).await;
        });
    };
    let mut news = phase.clone();
    let mut complaint = RejectionLog::default();
    while *news.borrow_and_update() == Phase::Serving {
        tokio::select! {
            accepted = async { connection_limit.wait().await; listener.accept().await } => match accepted {
                Ok((socket, peer)) => take(&mut running, socket, peer),
                Err(error) => {
                    complaint.failed(&error, Instant::now());
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = running.join_next(), if !running.is_empty() => {}
            changed = news.changed() => if changed.is_err() { break },
        }
    }
    let stopped = async { drop(news.wait_for(|phase| *phase == Phase::Stopped).await) };
    let closed = close(listener, stopped, |socket, peer| take(&mut running, socket, peer)).await;
    if let Err(error) = closed {
        tracing::warn!(%error, "a listener closed before all queued connections were accepted");
    }
    let drained = async { while running.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_STREAMS_MAX, drained).await.is_err() {
        tracing::warn!("connections were cut: their streams outlasted the drain");
    }
}

/// Closes a listener without losing connections: a closed listener resets those that the kernel has accepted
/// and those whose handshake is in progress. First the kernel drops new SYNs (their clients retry in a
/// second, and find the next process or a closed port), then handshakes in progress get the time of a long
/// round trip, and then it is closed.
async fn close(
    listener: TcpListener,
    stopped: impl Future<Output = ()>,
    mut take: impl FnMut(TcpStream, SocketAddr),
) -> io::Result<()> {
    let refusing = refuse_new(&listener);
    let wait = if refusing.is_ok() { DRAIN_HANDSHAKE_MAX } else { Duration::ZERO };
    let mut stopped = std::pin::pin!(tokio::time::timeout(wait, stopped));
    loop {
        tokio::select! {
            biased;
            _ = &mut stopped => break,
            accepted = listener.accept() => match accepted {
                Ok((socket, peer)) => take(socket, peer),
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
        }
    }
    let listener = listener.into_std()?;
    while let Ok((socket, peer)) = listener.accept() {
        if let Ok(socket) = socket.set_nonblocking(true).and_then(|()| TcpStream::from_std(socket)) {
            take(socket, peer);
        }
    }
    refusing
}

/// Has the kernel drop new connections: TCP segments with SYN and without ACK.
/// Existing connections are not affected.
#[cfg(target_os = "linux")]
fn refuse_new(listener: &TcpListener) -> io::Result<()> {
    const LOAD_BYTE: u16 = 0x30;
    const AND: u16 = 0x54;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const FLAGS_AT: u32 = 13;
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;
    SockRef::from(listener).attach_filter(&[
        SockFilter::new(LOAD_BYTE, 0, 0, FLAGS_AT),
        SockFilter::new(AND, 0, 0, SYN | ACK),
        SockFilter::new(JUMP_IF_EQUAL, 1, 0, SYN),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ])
}

/// Other systems have no such filter: what arrives as the listener closes may be reset.
#[cfg(not(target_os = "linux"))]
fn refuse_new(_: &TcpListener) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn a_thread_ends_though_something_still_blocks_for_it() {
        let (end, wait) = mpsc::channel::<()>();
        let (blocked, is_blocked) = oneshot::channel();
        let work = move || -> CoreFuture {
            Box::pin(async move {
                let blocking = tasks::blocking(move || {
                    blocked.send(()).unwrap();
                    wait.recv().unwrap_err();
                });
                tokio::select! {
                    _ = blocking => panic!("it ended"),
                    begun = is_blocked => begun.unwrap(),
                }
            })
        };
        spawn("serve-0", work).unwrap().join().unwrap();
        drop(end);
    }
}
