//! Tidegate's own API keys: looked up by a keyed hash; the key itself is never stored.

use database::error::StoreFuture;
use database::page::{Listed, Page};
use domain::{KeyId, MemberId, ProjectId, Sealed, WorkspaceId};
use snapshot::{IpNet, KeyDigest, Scopes};

use crate::resource::Resource;

#[derive(Clone, PartialEq, Eq)]
pub struct ApiKeyRow {
    pub id: KeyId,
    pub workspace: WorkspaceId,
    pub project: ProjectId,
    pub name: String,
    pub digest: KeyDigest,
    /// The last four characters, by which a person recognises the key.
    pub last4: String,
    pub environment: String,
    pub scopes: Scopes,
    pub expires_unix_ms: Option<u64>,
    /// Empty allows every address.
    pub ip_allowlist: Vec<IpNet>,
    /// Of the pages that may read its answers, with commas between them; empty for its project's.
    pub origins: String,
    /// The priority of its requests, and the most that their hints can state.
    pub priority: Option<u8>,
    pub revoked_unix_ms: Option<u64>,
    /// The sealed secret that the key's requests may be signed with; deleted when the key is revoked.
    pub access_secret: Option<Sealed>,
    /// The member who created it or, for a key that another key created, the member behind that one. Ignored
    /// on writing.
    pub created_by: Option<MemberId>,
    pub created_unix_ms: u64,
    /// Ignored on writing.
    pub version: u64,
}

domain::brief_debug!(ApiKeyRow, id, version);

/// A new key comes with the anti-rollback record of its access secret, if it has one. A change writes name, scopes,
/// expiry, allowlist, origins and priority; the key itself, its project and its environment can't change. Its deletion is a revocation,
/// which is final: the row stays, so that a caller can distinguish revoked keys from unknown ones, and revoking it
/// again changes nothing and is not an error.
pub trait ApiKeys: Resource<ApiKeyRow> {
    /// Those of a project, if one is named.
    fn filter(
        &self,
        workspace: WorkspaceId,
        project: Option<ProjectId>,
        page: Page<KeyId>,
    ) -> StoreFuture<'_, Listed<ApiKeyRow, KeyId>>;
    /// Keys with this name or, if `begins`, with this name prefix; revoked ones too.
    fn ids_by_name(&self, workspace: WorkspaceId, name: String, begins: bool) -> StoreFuture<'_, Vec<KeyId>>;
}
