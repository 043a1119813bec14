//! Tunnels: connections that nodes opened to us, over which our requests reach them. The node dials, and then we are
//! the HTTP/2 client.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::Poll;

use arc_swap::ArcSwap;
use bytes::Bytes;
use domain::limits::STREAM_BUFFER_BYTES_MAX;
use domain::{NodeId, WorkspaceId};
use h2::client::{self, SendRequest};
use http::{Method, StatusCode, Uri};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::error::is_untouched;
use crate::limits::{
    TUNNEL_HEADER_BYTES_MAX, TUNNEL_HELLO_BYTES_MAX, TUNNEL_PING_EVERY, TUNNEL_PING_TIME_MAX,
    TUNNEL_STREAMS_MAX, TUNNELS_OF_NODE_MAX,
};

/// The scheme of the base URLs of nodes that are reached through their tunnel; the host is the node's id.
const SCHEME: &str = "tunnel";
/// The protocol that a connection is upgraded to.
pub const TUNNEL_PROTOCOL: &str = "tidegate-tunnel";
/// The versions of it that are spoken here.
pub const TUNNEL_VERSIONS: [u32; 1] = [1];
/// The header in which a node states the versions that it speaks, and in which we answer with ours.
pub const TUNNEL_VERSIONS_HEADER: &str = "tidegate-tunnel-versions";
/// What the gateway sends through a tunnel to measure it.
pub const TUNNEL_PING_PATH: &str = "/tunnel/ping";
/// What the gateway sends before it ends: the node opens another tunnel, and this one finishes what runs.
pub const TUNNEL_LEAVING_PATH: &str = "/tunnel/leaving";

/// The base URL of a node that is reached through its tunnel.
#[must_use]
pub fn tunnel_url(node: NodeId) -> String {
    format!("{SCHEME}://{node}/v1")
}

/// Whether a base URL leads through a tunnel.
#[must_use]
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
#[must_use]
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
    pub since_unix_ms: u64,
}

/// One open tunnel.
pub struct Tunnel {
    number: u64,
    pub owner: TunnelOwner,
    /// Each core queues its requests itself, and what writes and reads them is the connection on one of the cores.
    sender: SendRequest<Bytes>,
    streams: AtomicUsize,
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
    /// Requests that are being answered.
    pub streams: usize,
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
    /// called, its certificate expires, or `is_closing` is true and the last request is answered. Use it inside a
    /// `LocalSet`; the other cores send through it too. `opened` is called once requests can be sent.
    pub async fn carry<S>(
        &self,
        socket: S,
        owner: TunnelOwner,
        expires: Instant,
        is_closing: impl Fn() -> bool,
        opened: impl FnOnce(),
    ) where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let (ended, end) = watch::channel(false);
        let window = u32::try_from(STREAM_BUFFER_BYTES_MAX).unwrap_or(u32::MAX);
        let streams = u32::try_from(TUNNEL_STREAMS_MAX).unwrap_or(u32::MAX);
        let handshake = client::Builder::new()
            .enable_push(false)
            .max_header_list_size(TUNNEL_HEADER_BYTES_MAX)
            .initial_window_size(window)
            // As large as all stream windows together: a client that reads slowly holds up only its own stream.
            .initial_connection_window_size(window.saturating_mul(streams))
            .handshake(socket)
            .await;
        let Ok((sender, connection)) = handshake else { return };
        let tunnel = Arc::new(Tunnel {
            number: self.last.fetch_add(1, Ordering::Relaxed),
            owner,
            sender,
            streams: AtomicUsize::new(0),
            round_trip_us: AtomicU64::new(0),
            is_leaving: AtomicBool::new(false),
            idle: Notify::new(),
            superseded: Notify::new(),
            ended,
        });
        let leaving = async {
            // The front end polls this task when it is to close.
            std::future::poll_fn(|_| if is_closing() { Poll::Ready(()) } else { Poll::Pending }).await;
            tunnel.leave().await;
        };
        // Listed until what runs has ended, so that `close` cuts that, too.
        let mut listed = None;
        let serving = async {
            // The first ping is the proof that the node speaks HTTP/2.
            if tunnel.ping().await != PingEnd::Answered {
                return;
            }
            listed = Some(self.list(&tunnel));
            opened();
            tokio::select! {
                () = tunnel.watch() => {}
                () = leaving => {}
                () = tunnel.superseded() => {}
                () = sleep_until(expires) => {}
            }
        };
        let (mut end, mut cut) = (end.clone(), end);
        tokio::select! {
            // The node takes no more requests, and answers those that it has; or it is gone, which ends them.
            _ = connection => {
                tunnel.is_leaving.store(true, Ordering::Relaxed);
                tokio::select! {
                    () = tunnel.emptied() => {}
                    _ = cut.wait_for(|ended| *ended) => {}
                    () = sleep_until(expires) => {}
                }
            }
            () = serving => {}
            _ = end.wait_for(|ended| *ended) => {}
        }
        tunnel.ended.send_replace(true);
        drop(listed);
    }

    /// The tunnels of a node that requests of this workspace may go through, newest first.
    pub(crate) fn of(&self, node: NodeId, owner: Option<WorkspaceId>) -> Vec<Arc<Tunnel>> {
        let nodes = self.nodes.load();
        let all = nodes.get(&node).map(Vec::as_slice).unwrap_or_default();
        all.iter().filter(|tunnel| Some(tunnel.owner.workspace) == owner).map(Arc::clone).collect()
    }

    /// Closes the tunnels of a node, with what runs in them.
    pub fn close(&self, node: NodeId) {
        for tunnel in self.nodes.load().get(&node).into_iter().flatten() {
            tunnel.ended.send_replace(true);
        }
    }

    /// Closes the tunnels that were opened with this credential.
    pub fn close_credential(&self, node: NodeId, credential: [u8; 32]) {
        for tunnel in self.nodes.load().get(&node).into_iter().flatten() {
            if tunnel.owner.credential == credential {
                tunnel.ended.send_replace(true);
            }
        }
    }

    /// How many nodes of a workspace have a tunnel here.
    #[must_use]
    pub fn count(&self, workspace: WorkspaceId) -> usize {
        let nodes = self.nodes.load();
        nodes.values().filter(|all| all.iter().any(|tunnel| tunnel.owner.workspace == workspace)).count()
    }

    /// What is known of the newest tunnel of a node.
    #[must_use]
    pub fn facts(&self, node: NodeId) -> Option<TunnelFacts> {
        self.nodes.load().get(&node)?.first().map(|tunnel| tunnel.facts())
    }

    /// The owners of all open tunnels.
    #[must_use]
    pub fn owners(&self) -> Vec<TunnelOwner> {
        self.nodes.load().values().flatten().map(|tunnel| tunnel.owner.clone()).collect()
    }

    /// Lists a tunnel before the others of its node, which finish what runs; those that are too many are cut.
    fn list<'a>(&'a self, tunnel: &Arc<Tunnel>) -> Listed<'a> {
        self.nodes.rcu(|nodes| {
            let mut nodes = HashMap::clone(nodes);
            nodes.entry(tunnel.owner.node).or_default().insert(0, Arc::clone(tunnel));
            nodes
        });
        if let Some(all) = self.nodes.load().get(&tunnel.owner.node) {
            for old in all.iter().skip(1) {
                old.superseded.notify_one();
            }
            for old in all.iter().skip(TUNNELS_OF_NODE_MAX) {
                old.ended.send_replace(true);
            }
        }
        Listed(self, Arc::clone(tunnel))
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
    fn facts(&self) -> TunnelFacts {
        TunnelFacts {
            owner: self.owner.clone(),
            round_trip_us: self.round_trip_us.load(Ordering::Relaxed),
            streams: self.streams.load(Ordering::Relaxed),
        }
    }

    /// A place for a request, if there is one.
    pub(crate) fn open_stream(self: &Arc<Self>) -> Option<TunnelStream> {
        if self.is_leaving.load(Ordering::Relaxed) {
            return None;
        }
        let stream = TunnelStream(Arc::clone(self));
        let others = self.streams.fetch_add(1, Ordering::Relaxed);
        (others < TUNNEL_STREAMS_MAX).then_some(stream)
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
    async fn watch(&self) {
        loop {
            sleep(TUNNEL_PING_EVERY).await;
            match self.ping().await {
                PingEnd::Answered => {}
                PingEnd::NotTaken => {
                    self.is_leaving.store(true, Ordering::Relaxed);
                    return self.emptied().await;
                }
                PingEnd::Silent => return,
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

/// The node's end answers whatever host it is called by.
pub(crate) fn wire_url(path: &str) -> Uri {
    let named = Uri::builder().scheme("http").authority(SCHEME).path_and_query(path);
    named.build().unwrap_or_default()
}
