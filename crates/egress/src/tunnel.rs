//! Tunnels: connections that nodes opened to us, over which our requests reach them. The node dials, and then we are
//! the HTTP/2 client.

use std::cell::{Cell, OnceCell};
use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::thread::ThreadId;

use arc_swap::ArcSwap;
use bytes::Bytes;
use domain::limits::STREAM_BUFFER_BYTES_MAX;
use domain::{NodeId, WorkspaceId};
use h2::client::{self, SendRequest};
use http::{Method, StatusCode, Uri};
use tasks::Task;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::error::is_untouched;
use crate::frames::FrameWatch;
use crate::limits::{
    TUNNEL_HEADER_BYTES_MAX, TUNNEL_HELLO_BYTES_MAX, TUNNEL_PING_EVERY, TUNNEL_PING_TIME_MAX,
    TUNNEL_STREAMS_MAX, TUNNELS_OF_NODE_MAX,
};

/// The scheme of the base URLs of nodes that are reached through their tunnel; the host is the node's id.
pub(crate) const SCHEME: &str = "tunnel";
/// What an error names in place of a host.
pub(crate) const HOST: &str = "The node's tunnel";
/// The protocol that a connection is upgraded to.
pub const TUNNEL_PROTOCOL: &str = "tidegate-tunnel";
/// The versions of it that are spoken here.
pub const TUNNEL_VERSIONS: [u32; 1] = [1];
/// The header in which a node states the versions that it speaks, and in which we answer with ours.
pub const TUNNEL_VERSIONS_HEADER: &str = "tidegate-tunnel-versions";
/// The header in which a node states which serving core of the gateway a tunnel is for. A request then meets no other core
/// on its way.
pub const TUNNEL_CORE_HEADER: &str = "tidegate-tunnel-core";
/// The header of a node that opens a spare connection in place of a tunnel, and of a request that could have used one.
pub const TUNNEL_SPARE_HEADER: &str = "tidegate-tunnel-spare";
/// What the gateway sends through a tunnel to measure it.
pub const TUNNEL_PING_PATH: &str = "/tunnel/ping";
/// What the gateway sends before it ends: the node opens another tunnel, and this one finishes what runs.
pub const TUNNEL_LEAVING_PATH: &str = "/tunnel/leaving";

/// The base URL of a node that is reached through its tunnel.
pub fn tunnel_url(node: NodeId) -> String {
    format!("{SCHEME}://{node}/v1")
}

/// Whether a base URL leads through a tunnel.
pub fn is_tunnel_url(url: &str) -> bool {
    node_of_text(url).is_some()
}

fn node_of_text(url: &str) -> Option<NodeId> {
    url.strip_prefix(SCHEME)?.strip_prefix("://")?.strip_suffix("/v1")?.parse().ok()
}

/// The node that a request's URL names.
pub(crate) fn node_of(url: &Uri) -> Option<Option<NodeId>> {
    (url.scheme_str() == Some(SCHEME)).then(|| url.host().and_then(|host| host.parse().ok()))
}

/// What a node signs of the gateway's challenge.
pub fn tunnel_text(nonce: &str, node: &str) -> String {
    format!("tidegate tunnel 1\n{nonce}\n{node}\n")
}

/// The open tunnels of a process, which all its cores send through.
#[derive(Default)]
pub struct Tunnels {
    /// Newest first.
    nodes: ArcSwap<HashMap<NodeId, Vec<Arc<Tunnel>>>>,
    last: AtomicU64,
}

/// Whose tunnel it is, and what its node said when it opened it.
#[derive(Debug, Clone)]
pub struct TunnelOwner {
    pub node: NodeId,
    pub workspace: WorkspaceId,
    /// The digest of the credential that it was opened with.
    pub credential: [u8; 32],
    /// Of Tidegate, at the node.
    pub version: String,
    pub protocol: u32,
    /// The serving core that it is for: a node has one for each, and a newer one takes over from that for the same core.
    pub core: u32,
    pub since_unix_ms: u64,
}

/// One open tunnel.
pub struct Tunnel {
    number: u64,
    pub owner: TunnelOwner,
    /// What writes and reads it.
    thread: ThreadId,
    /// Each core queues its requests itself, and what writes and reads them is the connection on one of the cores.
    sender: SendRequest<Bytes>,
    streams: AtomicUsize,
    /// Spare connections, as of the last that came or the last sweep.
    pub(crate) spares: AtomicUsize,
    round_trip_us: AtomicU64,
    /// It takes no new requests; those that run may finish.
    is_leaving: AtomicBool,
    /// The last request was answered.
    idle: Notify,
    /// A newer one of the node is listed.
    superseded: Notify,
    ended: watch::Sender<bool>,
}

/// What is shown of a node's tunnel.
#[derive(Debug, Clone)]
pub struct TunnelFacts {
    pub owner: TunnelOwner,
    /// Of the last ping.
    pub round_trip_us: u64,
    /// Requests that are being answered, in all its tunnels.
    pub streams: usize,
    /// Spare connections of all its tunnels.
    pub spares: usize,
}

/// Why a tunnel ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TunnelEnd {
    #[error("the node left")]
    Left,
    #[error("the node did not answer the first ping over HTTP/2")]
    NoNode,
    #[error("the node was silent")]
    Silent,
    #[error("the node sent too many frames without content")]
    Flooded,
    #[error("the connection broke: {0}")]
    Broke(String),
    #[error("its certificate expired")]
    Expired,
    #[error("a newer tunnel took over")]
    Superseded,
    #[error("this gateway ends")]
    Closing,
    #[error("the node was revoked or removed, or opened too many tunnels")]
    Closed,
}

/// A request's place in a tunnel.
pub(crate) struct TunnelStream(Arc<Tunnel>);

/// What became of a request to the node's own ends of the tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PingEnd {
    Answered,
    /// The node takes no more requests.
    NotTaken,
    Silent,
}

/// A node's connection, whose frames are counted.
struct Watched<S> {
    socket: S,
    frames: FrameWatch,
    is_flooded: Rc<Cell<bool>>,
}

/// Ends what runs in a tunnel and over its spare connections when its connection ends, however that happens.
struct Ending<'a>(&'a Tunnel);

/// Takes a tunnel out of the list when its connection ends, however that happens.
struct Listed<'a>(&'a Tunnels, Arc<Tunnel>);

/// Why no line was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    #[error("the connection ended")]
    Ended,
    #[error("a line is longer than {TUNNEL_HELLO_BYTES_MAX} bytes")]
    TooLong,
}

/// Reads a line of the handshake; also returns what came behind it.
///
/// # Errors
/// The connection ended, or the line is too long.
pub async fn read_line<S: AsyncRead + Unpin>(socket: &mut S) -> Result<(Vec<u8>, Vec<u8>), LineError> {
    let mut line = Vec::new();
    loop {
        if let Some(end) = memchr::memchr(b'\n', &line) {
            let rest = line.split_off(end + 1);
            line.pop();
            return Ok((line, rest));
        }
        if line.len() > TUNNEL_HELLO_BYTES_MAX {
            return Err(LineError::TooLong);
        }
        if !matches!(socket.read_buf(&mut line).await, Ok(count) if count > 0) {
            return Err(LineError::Ended);
        }
    }
}

impl Tunnels {
    /// Sends requests over a connection that a node opened, until it ends: the node leaves or is silent, `close` is
    /// called, its certificate expires, or `closing` returns and the last request is answered. Use it inside a
    /// `LocalSet`; the other cores send through it too. `opened` is called once requests can be sent.
    pub async fn carry<S>(
        &self,
        socket: S,
        owner: TunnelOwner,
        expires: Instant,
        closing: impl Future<Output = ()>,
        opened: impl FnOnce(),
    ) -> TunnelEnd
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let (ended, end) = watch::channel(false);
        let is_flooded = Rc::<Cell<bool>>::default();
        let watched = Watched { socket, frames: FrameWatch::of_node(), is_flooded: Rc::clone(&is_flooded) };
        let Ok((sender, connection)) = builder().handshake(watched).await else { return TunnelEnd::NoNode };
        let tunnel = Arc::new(Tunnel {
            number: self.last.fetch_add(1, Ordering::Relaxed),
            owner,
            thread: std::thread::current().id(),
            sender,
            streams: AtomicUsize::new(0),
            spares: AtomicUsize::new(0),
            round_trip_us: AtomicU64::new(0),
            is_leaving: AtomicBool::new(false),
            idle: Notify::new(),
            superseded: Notify::new(),
            ended,
        });
        let broke = Rc::<OnceCell<TunnelEnd>>::default();
        let breaking = Rc::clone(&broke);
        // A task, so that a request wakes nothing but its connection.
        let connection = Task::spawn_local("tunnel", async move {
            _ = breaking.set(match connection.await {
                _ if is_flooded.get() => TunnelEnd::Flooded,
                Err(error) => TunnelEnd::Broke(error.to_string()),
                Ok(()) => TunnelEnd::Left,
            });
        });
        let ending = Ending(&tunnel);
        // Listed until what runs has ended, so that `close` cuts that, too.
        let mut listed = None;
        let serving = async {
            // The first ping is the proof that the node speaks HTTP/2.
            if tunnel.ping().await != PingEnd::Answered {
                return TunnelEnd::NoNode;
            }
            listed = Some(self.list(&tunnel));
            opened();
            tokio::select! {
                end = tunnel.watch() => end,
                () = async { closing.await; tunnel.leave().await } => TunnelEnd::Closing,
                () = tunnel.superseded() => TunnelEnd::Superseded,
                () = sleep_until(expires) => TunnelEnd::Expired,
            }
        };
        let (mut end, mut cut) = (end.clone(), end);
        let why = tokio::select! {
            biased;
            // The node takes no more requests, and answers those that it has; or it is gone, which ends them.
            _ = connection.ended() => {
                tunnel.is_leaving.store(true, Ordering::Relaxed);
                tokio::select! {
                    () = tunnel.emptied() => {}
                    _ = cut.wait_for(|ended| *ended) => {}
                    () = sleep_until(expires) => {}
                }
                broke.get().cloned().unwrap_or(TunnelEnd::Left)
            }
            end = serving => end,
            _ = end.wait_for(|ended| *ended) => TunnelEnd::Closed,
        };
        drop(ending);
        drop(listed);
        why
    }

    /// The newest tunnel of a node for one core, if this thread drives it and it takes requests.
    pub(crate) fn newest(&self, owner: &TunnelOwner) -> Option<Arc<Tunnel>> {
        let is_wanted = |tunnel: &&Arc<Tunnel>| {
            let TunnelOwner { core, credential, .. } = &tunnel.owner;
            tunnel.is_here() && (core, credential) == (&owner.core, &owner.credential) && !tunnel.is_leaving()
        };
        self.nodes.load().get(&owner.node)?.iter().find(is_wanted).map(Arc::clone)
    }

    /// The tunnels of a node that requests of this workspace may go through: those that this thread drives
    /// first, since no other has to be woken, then newest first.
    pub(crate) fn of(&self, node: NodeId, owner: Option<WorkspaceId>) -> Vec<Arc<Tunnel>> {
        let nodes = self.nodes.load();
        let all = nodes.get(&node).map(Vec::as_slice).unwrap_or_default();
        let of_owner = all.iter().filter(|tunnel| Some(tunnel.owner.workspace) == owner);
        let mut found: Vec<_> = of_owner.map(Arc::clone).collect();
        found.sort_by_key(|tunnel| !tunnel.is_here());
        found
    }

    /// Closes the tunnels of a node, with what runs in them.
    pub fn close(&self, node: NodeId) {
        for tunnel in self.nodes.load().get(&node).into_iter().flatten() {
            tunnel.end();
        }
    }

    /// Closes the tunnels that were opened with this credential.
    pub fn close_credential(&self, node: NodeId, credential: [u8; 32]) {
        for tunnel in self.nodes.load().get(&node).into_iter().flatten() {
            if tunnel.owner.credential == credential {
                tunnel.end();
            }
        }
    }

    /// How many nodes of a workspace have a tunnel here.
    pub fn count(&self, workspace: WorkspaceId) -> usize {
        let nodes = self.nodes.load();
        nodes.values().filter(|all| all.iter().any(|tunnel| tunnel.owner.workspace == workspace)).count()
    }

    /// What is known of the newest tunnel of a node.
    pub fn facts(&self, node: NodeId) -> Option<TunnelFacts> {
        let nodes = self.nodes.load();
        let all = nodes.get(&node)?;
        let newest = all.first()?;
        let sum = |number: fn(&Tunnel) -> &AtomicUsize| {
            all.iter().map(|tunnel| number(tunnel).load(Ordering::Relaxed)).sum()
        };
        Some(TunnelFacts {
            owner: newest.owner.clone(),
            round_trip_us: newest.round_trip_us.load(Ordering::Relaxed),
            streams: sum(|tunnel| &tunnel.streams),
            spares: sum(|tunnel| &tunnel.spares),
        })
    }

    /// The owners of all open tunnels.
    pub fn owners(&self) -> Vec<TunnelOwner> {
        self.nodes.load().values().flatten().map(|tunnel| tunnel.owner.clone()).collect()
    }

    /// Lists a tunnel before the others of its node. Those for the same core finish what runs; too many of them are cut.
    fn list<'a>(&'a self, tunnel: &Arc<Tunnel>) -> Listed<'a> {
        self.nodes.rcu(|nodes| {
            let mut nodes = HashMap::clone(nodes);
            nodes.entry(tunnel.owner.node).or_default().insert(0, Arc::clone(tunnel));
            nodes
        });
        if let Some(all) = self.nodes.load().get(&tunnel.owner.node) {
            let of_core = || all.iter().filter(|old| old.owner.core == tunnel.owner.core);
            for old in of_core().skip(1) {
                old.superseded.notify_one();
            }
            for old in of_core().skip(TUNNELS_OF_NODE_MAX) {
                old.end();
            }
        }
        Listed(self, Arc::clone(tunnel))
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        let Self(tunnels, tunnel) = self;
        tunnels.nodes.rcu(|nodes| {
            let mut nodes = HashMap::clone(nodes);
            if let Some(all) = nodes.get_mut(&tunnel.owner.node) {
                all.retain(|other| other.number != tunnel.number);
                if all.is_empty() {
                    nodes.remove(&tunnel.owner.node);
                }
            }
            nodes
        });
    }
}

impl Tunnel {
    /// A place for a request, if there is one.
    pub(crate) fn open_stream(self: &Arc<Self>) -> Option<TunnelStream> {
        if self.is_leaving() {
            return None;
        }
        let stream = TunnelStream(Arc::clone(self));
        let others = self.streams.fetch_add(1, Ordering::Relaxed);
        (others < TUNNEL_STREAMS_MAX).then_some(stream)
    }

    /// Whether this thread drives it, and so can use its spare connections.
    pub(crate) fn is_here(&self) -> bool {
        self.thread == std::thread::current().id()
    }

    fn is_leaving(&self) -> bool {
        self.is_leaving.load(Ordering::Relaxed)
    }

    /// Ends it, with what runs.
    fn end(&self) {
        self.ended.send_replace(true);
    }

    /// Returns once it has ended.
    pub(crate) fn ended(&self) -> impl Future<Output = ()> + use<> {
        let mut ended = self.ended.subscribe();
        // The sender is gone with the tunnel.
        async move { drop(ended.wait_for(|ended| *ended).await) }
    }

    pub(crate) fn sender(&self) -> SendRequest<Bytes> {
        self.sender.clone()
    }

    /// Sends a request to the node's own ends of the tunnel.
    async fn tell(&self, method: Method, path: &'static str) -> PingEnd {
        let mut request = http::Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = wire_url(path);
        let Ok((answer, _)) = self.sender().send_request(request, true) else { return PingEnd::NotTaken };
        match timeout(TUNNEL_PING_TIME_MAX, answer).await {
            Ok(Ok(answer)) if answer.status() == StatusCode::NO_CONTENT => PingEnd::Answered,
            Ok(Err(error)) if is_untouched(&error) => PingEnd::NotTaken,
            _ => PingEnd::Silent,
        }
    }

    async fn ping(&self) -> PingEnd {
        let sent = Instant::now();
        let end = self.tell(Method::GET, TUNNEL_PING_PATH).await;
        let us = u64::try_from(sent.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.round_trip_us.store(us, Ordering::Relaxed);
        end
    }

    /// Returns once the node is silent, or takes no more requests and has answered those that it has.
    async fn watch(&self) -> TunnelEnd {
        loop {
            sleep(TUNNEL_PING_EVERY).await;
            match self.ping().await {
                PingEnd::Answered => {}
                PingEnd::NotTaken => {
                    self.is_leaving.store(true, Ordering::Relaxed);
                    self.emptied().await;
                    return TunnelEnd::Left;
                }
                PingEnd::Silent => return TunnelEnd::Silent,
            }
        }
    }

    /// Lets the node open another tunnel, and returns once the last request here is answered.
    async fn leave(&self) {
        self.is_leaving.store(true, Ordering::Relaxed);
        self.tell(Method::POST, TUNNEL_LEAVING_PATH).await;
        self.emptied().await;
    }

    /// Returns once a newer tunnel has taken over, and the last request here is answered.
    async fn superseded(&self) {
        self.superseded.notified().await;
        self.is_leaving.store(true, Ordering::Relaxed);
        self.emptied().await;
    }

    /// Returns once the last request is answered.
    async fn emptied(&self) {
        loop {
            let mut emptied = pin!(self.idle.notified());
            emptied.as_mut().enable();
            if self.streams.load(Ordering::Relaxed) == 0 {
                return;
            }
            emptied.await;
        }
    }
}

impl Drop for TunnelStream {
    fn drop(&mut self) {
        if self.0.streams.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

/// How we speak as the client of a node.
fn builder() -> client::Builder {
    let window = u32::try_from(STREAM_BUFFER_BYTES_MAX).unwrap_or(u32::MAX);
    let streams = u32::try_from(TUNNEL_STREAMS_MAX).unwrap_or(u32::MAX);
    let mut builder = client::Builder::new();
    builder
        .enable_push(false)
        .max_header_list_size(TUNNEL_HEADER_BYTES_MAX)
        .initial_window_size(window)
        // As large as all stream windows together: a client that reads slowly holds up only its own stream.
        .initial_connection_window_size(window.saturating_mul(streams));
    builder
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { socket, frames, is_flooded } = &mut *self;
        let read = frames.poll_read(cx, buffer, |cx, buffer| Pin::new(&mut *socket).poll_read(cx, buffer));
        is_flooded.set(frames.is_flooded());
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// The node's end answers whatever host it is called by.
pub(crate) fn wire_url(path: &str) -> Uri {
    let named = Uri::builder().scheme("http").authority(SCHEME).path_and_query(path);
    named.build().unwrap_or_default()
}
