//! What a low room asks of a higher one, as traits: audit and key wrapping.

use std::future::Future;
use std::pin::Pin;

use crate::ids::{CredentialId, TraceId, WorkspaceId};
use crate::secret::Secret;

/// A future that may run on any thread.
pub type PortFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One thing that must be findable later: who did what to which object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    pub workspace: Option<WorkspaceId>,
    /// A key's or a member's id, `system`, or `vault`.
    pub actor: String,
    /// Such as `credential.create` or `credential.open_refused`.
    pub action: &'static str,
    pub object: String,
    /// Why, or with which result; never a secret and never content.
    pub detail: String,
    pub trace: Option<TraceId>,
}

/// Where audit entries go. It never blocks and never fails: what can't be written at once is queued.
pub trait AuditSink: Send + Sync {
    fn record(&self, entry: AuditEntry);

    /// A credential was opened for an attempt; counted, so that every opening can be accounted for.
    fn credential_opened(&self, credential: CredentialId);
}

/// An audit sink for places that have nothing to tell, such as a node without a control plane.
#[derive(Debug, Default)]
pub struct NoAudit;

impl AuditSink for NoAudit {
    fn record(&self, _entry: AuditEntry) {}
    fn credential_opened(&self, _credential: CredentialId) {}
}

/// Why a key service did not answer. The text never holds key material.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyWrapError(pub String);

impl std::fmt::Display for KeyWrapError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for KeyWrapError {}

/// The holder of the master key: our own, or a KMS. `context` is bound to the wrapped key.
pub trait KeyWrap: Send + Sync {
    /// Names the master key in use; kept beside what it wrapped.
    fn key_id(&self) -> String;
    fn wrap<'a>(
        &'a self,
        key: &'a Secret,
        context: &'a [u8],
    ) -> PortFuture<'a, Result<Vec<u8>, KeyWrapError>>;
    fn unwrap<'a>(
        &'a self,
        wrapped: &'a [u8],
        context: &'a [u8],
    ) -> PortFuture<'a, Result<Secret, KeyWrapError>>;
}

/// The keyed hash that API keys are found by: without its key, a copy of the database finds none.
pub trait KeyHash: Send + Sync {
    fn digest(&self, presented: &str) -> [u8; 32];
}
