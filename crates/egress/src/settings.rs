//! What the operator allows, and what may be reached with it.

use std::sync::Arc;

use crate::address::IpNet;
use crate::resolve::{Resolver, SystemResolver};
use crate::tunnel::Tunnels;

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
    /// `TIDEGATE_TOOLS_STDIO`: programs of the machine that workspaces may start, in sandboxes.
    pub programs: sandbox::Programs,
    pub resolver: Arc<dyn Resolver>,
    /// The tunnels that nodes have opened to this process.
    pub tunnels: Arc<Tunnels>,
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
            programs: sandbox::Programs::default(),
            resolver: Arc::new(SystemResolver),
            tunnels: Arc::default(),
        }
    }
}

impl EgressSettings {
    /// Whether a token may be read from this file. Only the operator names files, since
    /// any other could hold anything.
    pub fn may_read(&self, path: &str) -> bool {
        self.token_files.iter().any(|file| file == path)
    }
}

domain::brief_debug!(EgressSettings, allow_private, node_networks);

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
    /// A cloud's metadata service, reachable from its machines, or a server that the operator's settings name; no request and no
    /// database row names it.
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
