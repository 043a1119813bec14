//! BYOK credentials: a workspace's sealed provider secrets, with their state and settings.

use database::act::{Act, Written};
use database::error::StoreFuture;
use database::page::{Listed, Page};
use domain::{
    Agreement, CredentialId, ProbeResult, ProjectId, Rates, Sealed, ServerFacts, Subscription, WorkspaceId,
};
use snapshot::CredentialState;

use crate::resource::{Json, Resource};

/// A sealed secret with its anti-rollback record and the fingerprint that people compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedSecret {
    pub sealed: Sealed,
    /// The vault's sealed record of the lowest acceptable version.
    pub floor: Sealed,
    pub fingerprint: String,
}

/// A secret that replaces the current one: the only way to change `base_url`, since a secret is bound to the
/// host that it was given for.
pub type NewSecret = SealedSecret;

#[derive(Debug, Clone, PartialEq)]
pub struct CredentialRow {
    pub id: CredentialId,
    pub workspace: WorkspaceId,
    pub provider: String,
    pub display_name: String,
    /// The kind of authentication: `api_key` and its siblings.
    pub auth: String,
    pub secret: SealedSecret,
    pub base_url: Option<String>,
    pub region: Option<String>,
    /// Non-secret settings: resource, project, location, deployments.
    pub config: Json,
    /// The customer's own prices by model name.
    pub pricing: Vec<(String, Rates)>,
    pub agreement: Agreement,
    pub metadata: Json,
    /// If set, it serves only this project or environment.
    pub project: Option<ProjectId>,
    pub environment: Option<String>,
    pub state: CredentialState,
    pub expires_unix_ms: Option<u64>,
    pub last_verified_unix_ms: Option<u64>,
    /// The provider's error at the last verification, if that failed.
    pub last_error: Option<String>,
    /// What the provider's server supports. On writing, only stated facts count; probed ones are ignored.
    pub server: ServerFacts,
    /// What makes it one of a subscription; `None` under BYOK.
    pub subscription: Option<Subscription>,
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

/// The result of verifying one secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// The version of the secret that was tried; a result for an older version is dropped.
    pub secret_version: u32,
    pub unix_ms: u64,
    /// `None` if the call was inconclusive, because the provider could not be reached. The state then stays.
    pub accepted: Option<bool>,
    pub error: Option<String>,
}

/// A change writes everything but the provider, the secret, the state, and the results of verification and probes.
/// Probed facts are discarded when the address changes. With a new secret, the secret is replaced too (its version
/// must be the next one), and an invalid credential becomes active again. A changed `base_url` without a new secret
/// is refused as `base_url_needs_secret`. Deletion takes the row, its secret and its anti-rollback record.
pub trait Credentials: Resource<CredentialRow> {
    fn filter(
        &self,
        workspace: WorkspaceId,
        filter: CredentialFilter,
        page: Page<CredentialId>,
    ) -> StoreFuture<'_, Listed<CredentialRow, CredentialId>>;
    /// Credentials with this display name or, if `begins`, with this prefix.
    fn ids_by_name(
        &self,
        workspace: WorkspaceId,
        name: String,
        begins: bool,
    ) -> StoreFuture<'_, Vec<CredentialId>>;
    /// Disables, enables or revokes. Revocation is final.
    fn set_state(
        &self,
        workspace: WorkspaceId,
        id: CredentialId,
        state: CredentialState,
        expected: Option<u64>,
        act: Act,
    ) -> StoreFuture<'_, Written<CredentialRow>>;
    /// Stores a verification's result. It never enables a credential that its owner disabled or revoked.
    fn record_verification(
        &self,
        workspace: WorkspaceId,
        id: CredentialId,
        found: Verification,
        act: Act,
    ) -> StoreFuture<'_, Written<CredentialRow>>;
    /// Stores what a probe of the server at `base_url` found; dropped if the credential has another address
    /// by now.
    fn record_probe(
        &self,
        workspace: WorkspaceId,
        id: CredentialId,
        base_url: Option<String>,
        probed: ProbeResult,
        act: Act,
    ) -> StoreFuture<'_, Written<CredentialRow>>;
}
