//! Whom a record names: who that is now, and how long whoever was sent a request retains it, as was agreed or else as it publishes.

use std::sync::Arc;

use domain::{CredentialId, Principal, Retention, RetentionBasis, WorkspaceId};
use plan::Seat;
use snapshot::{CredentialEntry, CredentialState, Snapshot};

/// How long something is retained, and who says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retained {
    /// `None` if it is not known.
    pub days: Option<u64>,
    pub basis: RetentionBasis,
    /// Where what is published was read, and when.
    pub source: Option<String>,
}

impl Retained {
    const UNKNOWN: Self = Self { days: None, basis: RetentionBasis::Unknown, source: None };
}

/// Who a principal is now; `None` if it is gone or revoked.
#[must_use]
pub fn seat_of(snapshot: &Snapshot, workspace: WorkspaceId, principal: Principal) -> Option<Seat> {
    match principal {
        Principal::Account(id) => {
            let account = snapshot.accounts().iter().find(|account| account.id == id);
            account.map(|account| Seat::Managed(Arc::clone(account)))
        }
        Principal::Node(id) => {
            let node = snapshot.workspace(workspace)?.nodes.iter().find(|node| node.id == id);
            node.map(|node| Seat::Byoc(Arc::clone(node)))
        }
        own => {
            let found = credential(snapshot, workspace, own.own_credential()?);
            found.filter(|one| one.state != CredentialState::Revoked).map(|one| Seat::Byok(Arc::clone(one)))
        }
    }
}

fn credential(
    snapshot: &Snapshot,
    workspace: WorkspaceId,
    id: CredentialId,
) -> Option<&Arc<CredentialEntry>> {
    snapshot.workspace(workspace)?.credentials.iter().find(|one| one.id == id)
}

/// What the provider of a principal retains of requests to a model; without one, of those to any.
#[must_use]
pub fn retained(
    snapshot: &Snapshot,
    (workspace, principal): (WorkspaceId, Principal),
    (provider, model): (&str, Option<&str>),
) -> Retained {
    let days = match agreed(snapshot, workspace, principal) {
        None => return published(snapshot, provider, model),
        Some(Retention::Zero) => 0,
        Some(Retention::Days(days)) => days.into(),
    };
    Retained { days: Some(days), basis: RetentionBasis::Agreed, source: None }
}

/// What was sent with a credential that is revoked is still retained as agreed.
fn agreed(snapshot: &Snapshot, workspace: WorkspaceId, principal: Principal) -> Option<Retention> {
    match principal {
        Principal::Account(id) => {
            snapshot.accounts().iter().find(|account| account.id == id)?.agreement.retention
        }
        Principal::Node(_) => None,
        own => credential(snapshot, workspace, own.own_credential()?)?.agreement.retention,
    }
}

/// What a provider publishes.
#[must_use]
pub fn published(snapshot: &Snapshot, provider: &str, model: Option<&str>) -> Retained {
    let Some(manifest) = snapshot.catalogue().capabilities().provider(provider) else {
        return Retained::UNKNOWN;
    };
    let of_model = model.map(|model| manifest.facts_of(model));
    let facts = of_model.as_ref().unwrap_or_else(|| manifest.facts());
    let Some(fact) = &facts.data_retention_days_max else { return Retained::UNKNOWN };
    let Some(days) = fact.value() else { return Retained::UNKNOWN };
    let read = if fact.checked().is_empty() { String::new() } else { format!(", read {}", fact.checked()) };
    let source = format!("{}{read}", fact.source());
    Retained { days: Some(*days), basis: RetentionBasis::Published, source: Some(source) }
}
