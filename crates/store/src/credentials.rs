//! BYOK credentials: sealed secrets of a workspace and what is known of them.

use domain::{Agreement, CredentialId, Probed, ProjectId, Rates, Sealed, ServerFacts, WorkspaceId};
use snapshot::CredentialState;

use crate::{Act, Json, Listed, Page, StoreFuture, Written};

/// A sealed secret with its floor record and the fingerprint that people compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedSecret {
    pub sealed: Sealed,
    /// The vault's sealed record of the lowest acceptable version.
    pub floor: Sealed,
    pub fingerprint: String,
}

/// A secret that replaces the one in force: the only way to change `base_url`, since a secret is bound to the host
/// that it was given for.
pub type NewSecret = SealedSecret;

#[derive(Debug, Clone, PartialEq)]
pub struct CredentialRow {
    pub id: CredentialId,
    pub workspace: WorkspaceId,
    pub provider: String,
    pub display_name: String,
    /// `api_key` and its siblings.
    pub auth: String,
    pub secret: SealedSecret,
    pub base_url: Option<String>,
    pub region: Option<String>,
    /// What isn't secret: resource, project, location, deployments.
    pub config: Json,
    /// The customer's own prices by model name.
    pub pricing: Vec<(String, Rates)>,
    pub agreement: Agreement,
    pub metadata: Json,
    /// Serves only this project or environment where set.
    pub project: Option<ProjectId>,
    pub environment: Option<String>,
    pub state: CredentialState,
    pub expires_unix_ms: Option<u64>,
    pub last_verified_unix_ms: Option<u64>,
    /// What the provider said at the last verification that failed.
    pub last_error: Option<String>,
    /// What its server takes. On writing only what is stated counts.
    pub server: ServerFacts,
    pub created_unix_ms: u64,
    /// Ignored on writing.
    pub version: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CredentialFilter {
    pub provider: Option<String>,
    pub state: Option<CredentialState>,
    pub project: Option<ProjectId>,
}

/// What a verification of one secret found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// The version of the secret that was tried: a result for an older one is dropped.
    pub secret_version: u32,
    pub unix_ms: u64,
    /// `None` where the call did not say: the provider was away. The state then stays.
    pub accepted: Option<bool>,
    pub error: Option<String>,
}

pub trait Credentials: Send + Sync {
    fn create(&self, row: CredentialRow, act: Act) -> StoreFuture<'_, Written<CredentialRow>>;
    fn get(&self, workspace: WorkspaceId, id: CredentialId) -> StoreFuture<'_, CredentialRow>;
    fn list(
        &self,
        workspace: WorkspaceId,
        filter: CredentialFilter,
        page: Page<CredentialId>,
    ) -> StoreFuture<'_, Listed<CredentialRow, CredentialId>>;
    /// Those whose display name is this one or begins so.
    fn named(&self, workspace: WorkspaceId, name: String, begins: bool)
    -> StoreFuture<'_, Vec<CredentialId>>;
    /// Writes everything but the provider, the secret, the state and what verification and probes found. What a probe found
    /// is forgotten with the address that it was found at. With `secret`, that is
    /// replaced too (its version must be the next one), and the state of an invalid credential is active again.
    /// Another `base_url` without a new secret is refused as `base_url_needs_secret`.
    fn replace(
        &self,
        row: CredentialRow,
        secret: Option<NewSecret>,
        expected: Option<u64>,
        act: Act,
    ) -> StoreFuture<'_, Written<CredentialRow>>;
    /// Disables, enables or revokes. What is revoked stays so.
    fn set_state(
        &self,
        workspace: WorkspaceId,
        id: CredentialId,
        state: CredentialState,
        expected: Option<u64>,
        act: Act,
    ) -> StoreFuture<'_, Written<CredentialRow>>;
    /// Keeps what a verification found. It never enables what its owner disabled or revoked.
    fn verified(
        &self,
        workspace: WorkspaceId,
        id: CredentialId,
        found: Verification,
        act: Act,
    ) -> StoreFuture<'_, Written<CredentialRow>>;
    /// Keeps what a probe of the server at `base_url` found; of another address than the credential's it is dropped.
    fn probed(
        &self,
        workspace: WorkspaceId,
        id: CredentialId,
        base_url: Option<String>,
        probed: Probed,
        act: Act,
    ) -> StoreFuture<'_, Written<CredentialRow>>;
    /// Removes the row, its secret and its floor.
    fn delete(
        &self,
        workspace: WorkspaceId,
        id: CredentialId,
        expected: Option<u64>,
        act: Act,
    ) -> StoreFuture<'_, Written<()>>;
}
