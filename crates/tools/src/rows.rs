//! What is stored of a declared tool or MCP server: its definition, and its headers, sealed.

use std::fmt::{Debug, Display};
use std::sync::Arc;

use database::fields::ColumnId;
use domain::tools::{McpDefinition, McpState, SecretHeaders, ToolDefinition};
use domain::{ContentKind, McpServerId, ObjectOwner, Sealed, Secret, ToolId, TraceId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use vault::{ContentRef, Vault, VaultError};

/// Tools or MCP servers.
pub trait Kind: Debug + Clone + Send + Sync + 'static {
    const TABLE: &'static str;
    const WHAT: &'static str;
    /// What the audit calls one.
    const NOUN: &'static str;
    const HAS_STATE: bool;
    type Id: ColumnId + Copy + Display + Debug + PartialEq + Send + Sync + 'static;
    type Definition: Serialize + DeserializeOwned + Clone + Debug + PartialEq + Send + Sync + 'static;
    type State: Serialize + DeserializeOwned + Default + Clone + Debug + PartialEq + Send + Sync + 'static;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ToolKind;

impl Kind for ToolKind {
    const TABLE: &'static str = "tools";
    const WHAT: &'static str = "tool";
    const NOUN: &'static str = "tool";
    const HAS_STATE: bool = false;
    type Id = ToolId;
    type Definition = ToolDefinition;
    type State = ();
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerKind;

impl Kind for ServerKind {
    const TABLE: &'static str = "mcp_servers";
    const WHAT: &'static str = "MCP server";
    const NOUN: &'static str = "mcp_server";
    const HAS_STATE: bool = true;
    type Id = McpServerId;
    type Definition = McpDefinition;
    type State = McpState;
}

/// Sealed headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedHeaders {
    pub digest: [u8; 32],
    /// The request that wrote them.
    pub request: TraceId,
    pub sealed: Sealed,
}

/// One declared tool or MCP server.
#[derive(Debug, Clone, PartialEq)]
pub struct DeclaredRow<K: Kind> {
    pub id: K::Id,
    pub owner: ObjectOwner,
    /// By which requests name it.
    pub name: String,
    pub is_enabled: bool,
    pub definition: K::Definition,
    pub state: K::State,
    pub secret: Option<SealedHeaders>,
    pub created_unix_ms: u64,
    pub version: u64,
}

pub type ToolRow = DeclaredRow<ToolKind>;
pub type McpServerRow = DeclaredRow<ServerKind>;

/// Seals the headers of a tool or server.
///
/// # Errors
/// The workspace's key can't be used.
pub fn seal_headers(
    vault: &Vault,
    owner: ObjectOwner,
    id: &str,
    request: TraceId,
    headers: &[(String, String)],
) -> Result<SealedHeaders, VaultError> {
    let digest = vault.requests.of_content(owner.project, id.as_bytes());
    let text = Secret::new(serde_json::to_vec(headers).unwrap_or_default());
    let sealed = vault.sealer.seal_content(&content_ref(owner, digest, request), text.expose())?;
    Ok(SealedHeaders { digest, request, sealed })
}

impl SealedHeaders {
    /// `None` if they don't open any more.
    #[must_use]
    pub fn open(&self, vault: &Vault, owner: ObjectOwner) -> Option<SecretHeaders> {
        let content_ref = content_ref(owner, self.digest, self.request);
        let opened = vault.opener.open_content(&content_ref, &self.sealed).ok()?;
        let headers: Vec<(String, String)> = serde_json::from_slice(opened.expose()).ok()?;
        Some(headers.into_iter().map(|(name, value)| (name, Arc::new(Secret::from_text(value)))).collect())
    }
}

impl<K: Kind> DeclaredRow<K> {
    /// Its headers, opened; `None` if they don't open any more.
    #[must_use]
    pub fn headers(&self, vault: &Vault) -> Option<SecretHeaders> {
        self.secret.as_ref().map_or(Some(Vec::new()), |secret| secret.open(vault, self.owner))
    }
}

const fn content_ref(owner: ObjectOwner, digest: [u8; 32], request: TraceId) -> ContentRef {
    let ObjectOwner { workspace, project } = owner;
    ContentRef { kept: ContentKind::Tool, workspace, project, digest, request }
}
