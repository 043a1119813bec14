//! API keys of ours: found by a keyed hash, never kept themselves.

use domain::{KeyId, MemberId, ProjectId, Sealed, WorkspaceId};
use snapshot::{IpNet, KeyDigest, Scopes};

use crate::{Act, Listed, Page, StoreFuture, Written};

#[derive(Clone, PartialEq, Eq)]
pub struct ApiKeyRow {
    pub id: KeyId,
    pub workspace: WorkspaceId,
    pub project: ProjectId,
    pub name: String,
    pub digest: KeyDigest,
    /// What a person recognises the key by.
    pub last4: String,
    pub environment: String,
    pub scopes: Scopes,
    pub expires_unix_ms: Option<u64>,
    /// Empty allows every address.
    pub ip_allowlist: Vec<IpNet>,
    pub revoked_unix_ms: Option<u64>,
    /// The secret that its requests may be signed with; gone with the key's end.
    pub access_secret: Option<Sealed>,
    /// In whose name it was made: a member's, or that of who made the key that made it. Ignored on writing.
    pub created_by: Option<MemberId>,
    pub created_unix_ms: u64,
    /// Ignored on writing.
    pub version: u64,
}

impl std::fmt::Debug for ApiKeyRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiKeyRow")
            .field("id", &self.id)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

pub trait ApiKeys: Send + Sync {
    /// `floor` is that of the access secret, where it has one.
    fn create(&self, row: ApiKeyRow, floor: Option<Sealed>, act: Act) -> StoreFuture<'_, Written<ApiKeyRow>>;
    fn get(&self, workspace: WorkspaceId, id: KeyId) -> StoreFuture<'_, ApiKeyRow>;
    /// Revoked ones too, so that they can be told from unknown ones.
    fn list(
        &self,
        workspace: WorkspaceId,
        project: Option<ProjectId>,
        page: Page<KeyId>,
    ) -> StoreFuture<'_, Listed<ApiKeyRow, KeyId>>;
    /// Those of this name, revoked ones too; or those whose names begin so.
    fn named(&self, workspace: WorkspaceId, name: String, begins: bool) -> StoreFuture<'_, Vec<KeyId>>;
    /// Writes name, scopes, expiry and allowlist; the key itself, its project and its environment stay.
    fn replace(&self, row: ApiKeyRow, expected: Option<u64>, act: Act)
    -> StoreFuture<'_, Written<ApiKeyRow>>;
    /// Final. Revoking a revoked key changes nothing and is no error.
    fn revoke(
        &self,
        workspace: WorkspaceId,
        id: KeyId,
        expected: Option<u64>,
        act: Act,
    ) -> StoreFuture<'_, Written<ApiKeyRow>>;
}
