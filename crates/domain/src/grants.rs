//! What a project was granted at the authorization server of an MCP server, and how it is renewed.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::secret::Secret;

/// How the gateway signs a project in at the authorization server of an MCP server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct McpOauth {
    /// By default those that the server names.
    pub scopes: Vec<String>,
    /// `None` where the gateway registers itself.
    pub client_id: Option<String>,
    pub has_client_secret: bool,
}

/// How a client proves at a token endpoint that it is the one of its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientProof {
    /// It has no secret.
    None,
    /// Its secret is in the header `Authorization`.
    Basic,
    /// Its secret is in the form.
    Post,
}

/// The gateway as an authorization server knows it.
#[derive(Debug, Clone)]
pub struct OauthClient {
    pub id: String,
    pub secret: Option<Arc<Secret>>,
    pub proof: ClientProof,
}

/// Tokens, opened, and what renews them.
#[derive(Debug, Clone)]
pub struct McpGrant {
    pub access: Arc<Secret>,
    pub refresh: Option<Arc<Secret>>,
    /// `None` where the server does not say.
    pub expires_unix_ms: Option<u64>,
    pub scopes: Vec<String>,
    pub issuer: String,
    pub token_endpoint: String,
    pub client: OauthClient,
    /// The address that the client is registered with.
    pub redirect: String,
    /// For which the tokens are (RFC 8707).
    pub resource: String,
}

/// A grant as it is stored.
#[derive(Debug, Clone)]
pub struct HeldGrant {
    /// `None` once the authorization server refused to renew it.
    pub grant: Option<McpGrant>,
    /// Until when one process alone may renew it.
    pub claimed_until_unix_ms: Option<u64>,
    pub version: u64,
}

/// What became of a renewal.
#[derive(Debug, Clone)]
pub enum Renewal {
    Renewed(Box<McpGrant>),
    /// A person must authorize the server again.
    Refused,
    /// The authorization server did not answer: the next request tries again.
    NotMade,
}
