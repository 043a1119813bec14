//! Subscription credentials: sealed tokens of vendors' subscriptions. Each is a credential's row that says what
//! subscription it is of, so whatever holds for credentials at rest holds for them.

use database::act::{Act, Written};
use database::error::StoreFuture;
use domain::{SubscriptionId, WorkspaceId};

use crate::credentials::{CredentialRow, SealedSecret};
use crate::resource::Resource;

/// A credential whose `subscription` is stated.
#[derive(Debug, Clone, PartialEq)]
pub struct SubscriptionRow(pub CredentialRow);

impl SubscriptionRow {
    pub const fn id(&self) -> SubscriptionId {
        SubscriptionId::from_uuid(*self.0.id.as_uuid())
    }
}

/// What renewing an access token came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Renewal {
    /// The next version of the secret, and when the access token in it expires.
    Renewed { secret: SealedSecret, expires_unix_ms: u64 },
    /// The vendor refused to renew it, in these words.
    Refused(String),
}

/// A change writes everything but the provider, the project and the secret; with a new secret, that is replaced too,
/// and an invalid subscription becomes active again. The state in a change is the wanted one. Revocation is final.
pub trait Subscriptions: Resource<SubscriptionRow> {
    /// Stores what came of renewing a secret; dropped if the secret has another version by now.
    fn record_renewal(
        &self,
        workspace: WorkspaceId,
        id: SubscriptionId,
        secret_version: u32,
        renewal: Renewal,
        act: Act,
    ) -> StoreFuture<'_, Written<SubscriptionRow>>;
}
