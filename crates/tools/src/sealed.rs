//! What is sealed about tools and MCP servers: headers, and what their projects were granted.

use std::sync::Arc;

use domain::tools::SecretHeaders;
use domain::{ContentKind, ObjectOwner, Sealed, Secret, TraceId};
use vault::{ContentRef, Vault, VaultError};

/// The name of the secret of an OAuth client among sealed headers: no header has such a name.
pub const CLIENT_SECRET: &str = ":client_secret";

/// Sealed headers, or other sealed texts about tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedHeaders {
    pub digest: [u8; 32],
    /// The request that wrote them.
    pub request: TraceId,
    pub sealed: Sealed,
}

/// Seals the headers of a tool or server.
pub fn seal_headers(
    vault: &Vault,
    owner: ObjectOwner,
    id: &str,
    request: TraceId,
    headers: &[(String, String)],
) -> Result<SealedHeaders, VaultError> {
    let text = Secret::new(serde_json::to_vec(headers).unwrap_or_default());
    seal_bytes(vault, owner, (id, request), &text)
}

/// Seals what is kept under a name.
pub(crate) fn seal_bytes(
    vault: &Vault,
    owner: ObjectOwner,
    (name, request): (&str, TraceId),
    bytes: &Secret,
) -> Result<SealedHeaders, VaultError> {
    let digest = vault.requests.of_content(owner.project, name.as_bytes());
    let sealed = vault.sealer.seal_content(&content_ref(owner, digest, request), bytes.expose())?;
    Ok(SealedHeaders { digest, request, sealed })
}

impl SealedHeaders {
    /// `None` if they don't open any more.
    pub fn open(&self, vault: &Vault, owner: ObjectOwner) -> Option<SecretHeaders> {
        let opened = self.open_bytes(vault, owner)?;
        let headers: Vec<(String, String)> = serde_json::from_slice(opened.expose()).ok()?;
        Some(headers.into_iter().map(|(name, value)| (name, Arc::new(Secret::from_text(value)))).collect())
    }

    pub(crate) fn open_bytes(&self, vault: &Vault, owner: ObjectOwner) -> Option<Secret> {
        let content_ref = content_ref(owner, self.digest, self.request);
        vault.opener.open_content(&content_ref, &self.sealed).ok()
    }
}

const fn content_ref(owner: ObjectOwner, digest: [u8; 32], request: TraceId) -> ContentRef {
    let ObjectOwner { workspace, project } = owner;
    ContentRef { kept: ContentKind::Tool, workspace, project, digest, request }
}
