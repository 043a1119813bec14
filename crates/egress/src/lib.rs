//! The only way out: address guard, pinned connections, TLS and per-core pools
//! for every request that we send.

pub mod address;
mod body;
mod connect;
mod document;
mod error;
mod frames;
mod gauge;
mod guard;
mod http1;
mod limits;
mod message;
mod out_body;
mod pool;
mod program;
mod resolve;
mod settings;
mod socket;
mod spares;
mod tls;
mod tunnel;
mod tunnelled;

use std::future::Future;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

pub use address::IpNet;
pub use body::{Answer, InBody, Upgrade};
pub use document::{Document, DocumentLimits, fetch_document};
pub use error::{EgressError, EgressErrorKind};
pub use frames::FrameWatch;
pub use guard::{check_base_url, check_webhook_url};
#[cfg(feature = "fixtures")]
pub use http1::fixtures;
pub use limits::{TUNNEL_CORES_MAX, TUNNEL_HELLO_TIME_MAX, TUNNEL_SPARES_MAX, TUNNELS_OF_WORKSPACE_MAX};
pub use message::{Headers, Request};
pub use out_body::OutBody;
pub use program::Running;
pub use resolve::{Resolver, SystemResolver};
pub use sandbox::Pipes;
pub use settings::{Destination, EgressSettings, TargetKind};
pub use socket::Socket;
pub use spares::adopt_spare;
pub use tunnel::{
    LineError, TUNNEL_CORE_HEADER, TUNNEL_LEAVING_PATH, TUNNEL_PING_PATH, TUNNEL_PROTOCOL,
    TUNNEL_SPARE_HEADER, TUNNEL_VERSIONS, TUNNEL_VERSIONS_HEADER, Tunnel, TunnelEnd, TunnelFacts,
    TunnelOwner, Tunnels, is_tunnel_url, read_line, tunnel_text, tunnel_url,
};

/// A core's HTTP client: its own connections, shared with no other core. Clones share the pool.
#[derive(Clone)]
pub struct Client {
    pool: Rc<pool::Pool>,
}

impl Client {
    /// Use it inside a `LocalSet`: connections are tasks of the core that opened them.
    ///
    /// # Errors
    /// `extra_roots_pem` contains no readable certificate.
    pub fn new(settings: Arc<EgressSettings>) -> io::Result<Self> {
        let tls = tls::client_config(settings.extra_roots_pem.as_deref())?;
        Ok(Self { pool: Rc::new(pool::Pool::new(settings, tls)) })
    }

    /// Sends a request over a pooled or new connection and returns at the response head. There is no
    /// timeout here but the connection's: the caller owns first byte, idle and deadline. Dropping
    /// the future cancels the exchange.
    ///
    /// # Errors
    /// The guard refuses the target, no connection opens, or the peer breaks off before the head.
    pub fn send(
        &self,
        request: &Request,
        destination: impl Into<Destination>,
    ) -> impl Future<Output = Result<Answer, EgressError>> {
        let destination = destination.into();
        let node = tunnel::node_of(&request.url).filter(|_| destination.kind == TargetKind::Node);
        async move {
            match node {
                // Few requests take this way, and every request's future is as large as what is awaited inline.
                Some(node) => {
                    let tunnels = &self.settings().tunnels;
                    Box::pin(tunnelled::send(tunnels, node, destination.owner, request)).await
                }
                None => pool::send(&self.pool, request, destination).await,
            }
        }
    }

    /// Requests a WebSocket upgrade, with an unpredictable key. As with `send`, the caller owns the timeouts.
    ///
    /// # Errors
    /// As for `send`, and if the peer's side of the handshake is wrong.
    pub fn open_socket(
        &self,
        request: &Request,
        destination: Destination,
        key: &str,
    ) -> impl Future<Output = Result<Upgrade, EgressError>> {
        pool::open_socket(&self.pool, request, destination, key)
    }

    /// Asks the peer to take the connection over for another protocol. As with `send`, the caller owns the timeouts.
    ///
    /// # Errors
    /// As for `send`, and if the peer switches to another protocol.
    pub fn upgrade(
        &self,
        request: &Request,
        destination: Destination,
        protocol: &'static str,
    ) -> impl Future<Output = Result<Upgrade, EgressError>> {
        pool::upgrade(&self.pool, request, destination, protocol)
    }

    /// Starts a program that the operator lets this workspace use, in a sandbox, with values for the variables that projects set.
    ///
    /// # Errors
    /// There is no such program, too many run, or the system starts none.
    pub fn start_program(
        &self,
        name: &str,
        secrets: Vec<(String, String)>,
        owner: domain::WorkspaceId,
    ) -> Result<(Running, Pipes), EgressError> {
        program::start(self.settings(), name, secrets, owner)
    }

    /// Parses an absolute URL for `send`; those that were parsed lately cost nothing.
    ///
    /// # Errors
    /// It is not a URL.
    pub fn read_url(&self, url: String) -> Result<http::Uri, http::uri::InvalidUri> {
        self.pool.read_url(url)
    }

    /// The address of a cloud's metadata service, or the one that the operator set instead.
    pub fn machine_url(&self, url: String) -> String {
        let Some(own) = self.settings().metadata_url.as_deref() else { return url };
        let path = url.split_once("://").and_then(|(_, rest)| rest.find('/').and_then(|at| rest.get(at..)));
        format!("{}{}", own.trim_end_matches('/'), path.unwrap_or_default())
    }

    /// Open connections, including idle ones.
    pub fn connections(&self) -> usize {
        self.pool.connections()
    }

    /// What the operator allows.
    pub fn settings(&self) -> &Arc<EgressSettings> {
        self.pool.settings()
    }
}

domain::brief_debug!(Client as "egress::Client");
