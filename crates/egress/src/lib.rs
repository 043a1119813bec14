//! The only way out: address guard, pinned connections, TLS and per-core pools
//! for every request that we send.

pub mod address;
mod body;
mod connect;
mod document;
mod error;
mod guard;
mod http1;
mod message;
mod pool;
mod resolve;
mod socket;
mod tls;

use std::future::Future;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

pub use address::IpNet;
pub use body::{InBody, OutBody};
pub use document::{Document, DocumentLimits, fetch_document};
pub use error::{EgressError, EgressErrorKind};
pub use guard::{check_base_url, check_webhook_url};
#[cfg(feature = "fixtures")]
pub use http1::fixtures;
pub use message::{Answer, Headers, Request};
pub use resolve::{Resolver, SystemResolver};
pub use socket::{Socket, Upgrade};

/// What the operator allows, and how names become addresses.
#[derive(Clone)]
pub struct EgressSettings {
    /// `TIDEGATE_ALLOW_PRIVATE_UPSTREAMS`: loopback and private addresses may be reached by every base URL.
    pub allow_private: bool,
    /// `TIDEGATE_NODE_NETWORKS`: where nodes may be, besides public addresses.
    pub node_networks: Vec<IpNet>,
    /// `TIDEGATE_CA_FILE`: additional root certificates for every TLS connection.
    pub extra_roots_pem: Option<Vec<u8>>,
    /// `TIDEGATE_METADATA_URL`: the machine's metadata service, instead of the clouds' own addresses.
    pub metadata_url: Option<String>,
    /// `TIDEGATE_HOST_IDENTITY`: workspaces whose credentials may use the machine's own identity.
    pub host_identity: Vec<domain::WorkspaceId>,
    /// `TIDEGATE_TOKEN_FILES`: files of the machine that hold a token of its own.
    pub token_files: Vec<String>,
    pub resolver: Arc<dyn Resolver>,
}

impl Default for EgressSettings {
    /// Public https addresses only.
    fn default() -> Self {
        Self {
            allow_private: false,
            node_networks: Vec::new(),
            extra_roots_pem: None,
            metadata_url: None,
            host_identity: Vec::new(),
            token_files: Vec::new(),
            resolver: Arc::new(SystemResolver),
        }
    }
}

impl EgressSettings {
    /// Whether a token may be read from this file. Only the operator names files, since
    /// any other could hold anything.
    #[must_use]
    pub fn may_read(&self, path: &str) -> bool {
        self.token_files.iter().any(|file| file == path)
    }
}

impl std::fmt::Debug for EgressSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EgressSettings")
            .field("allow_private", &self.allow_private)
            .field("node_networks", &self.node_networks)
            .finish_non_exhaustive()
    }
}

/// What kind of target it is, which decides the addresses that may be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TargetKind {
    /// The base URL of a credential or an account.
    Provider,
    /// A node of a workspace: `node_networks` may be reached too.
    Node,
    /// A document that a request names.
    Document,
    /// A workspace's webhook: only the ports of web servers.
    Webhook,
    /// An address that the operator configured.
    System,
    /// A cloud's metadata service, reachable from its machines; no request and no database row names it.
    Machine,
}

/// The kind of the target, and its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Destination {
    pub kind: TargetKind,
    /// The workspace that wrote the address. Its connections are separate: an unsolicited response that its
    /// server sends over one of them reaches no other workspace.
    pub owner: Option<domain::WorkspaceId>,
}

impl From<TargetKind> for Destination {
    /// To an address that no workspace wrote, or whose owner is not stated.
    fn from(reach: TargetKind) -> Self {
        Self { kind: reach, owner: None }
    }
}

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
        pool::send(&self.pool, request, destination.into())
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

    /// Parses an absolute URL for `send`; those that were parsed lately cost nothing.
    ///
    /// # Errors
    /// It is not a URL.
    pub fn read_url(&self, url: String) -> Result<http::Uri, http::uri::InvalidUri> {
        self.pool.read_url(url)
    }

    /// The address of a cloud's metadata service, or the one that the operator set instead.
    #[must_use]
    pub fn machine_url(&self, url: String) -> String {
        let Some(own) = self.settings().metadata_url.as_deref() else { return url };
        let path = url.split_once("://").and_then(|(_, rest)| rest.find('/').and_then(|at| rest.get(at..)));
        format!("{}{}", own.trim_end_matches('/'), path.unwrap_or_default())
    }

    /// Open connections, including idle ones.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.pool.connections()
    }

    /// What the operator allows.
    #[must_use]
    pub fn settings(&self) -> &Arc<EgressSettings> {
        self.pool.settings()
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("egress::Client")
    }
}
