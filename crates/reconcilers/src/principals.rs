//! Whom a record names: who that is now, and how long whoever was sent a request retains it, as was agreed or else as it publishes.

use std::sync::Arc;

use domain::{CredentialId, Hosting, Principal, Retention, RetentionBasis, WorkspaceId};
use plan::Seat;
use snapshot::{CredentialEntry, CredentialState, Snapshot};

/// How the catalogue names the source of what the operator states without naming another.
const OPERATOR: &str = "operator";

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
pub fn retained(
    snapshot: &Snapshot,
    (workspace, principal): (WorkspaceId, Principal),
    (provider, model): (&str, Option<&str>),
) -> Retained {
    let days = match agreed(snapshot, workspace, principal) {
        None => {
            let Some((retained, is_stated)) = manifested(snapshot, provider, model) else {
                return Retained::UNKNOWN;
            };
            // What a provider publishes says nothing of a server at another address. The operator, who states it
            // for this installation, knows where its requests go.
            let holds = is_stated || is_at_provider(snapshot, workspace, principal);
            return if holds { retained } else { Retained::UNKNOWN };
        }
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
pub fn published(snapshot: &Snapshot, provider: &str, model: Option<&str>) -> Retained {
    manifested(snapshot, provider, model).map_or(Retained::UNKNOWN, |(retained, _)| retained)
}

/// What the manifest has of a provider, and whether it is the operator who states it.
fn manifested(snapshot: &Snapshot, provider: &str, model: Option<&str>) -> Option<(Retained, bool)> {
    let manifest = snapshot.catalogue().capabilities().provider(provider)?;
    let of_model = model.map(|model| manifest.facts_of(model));
    let facts = of_model.as_ref().unwrap_or_else(|| manifest.facts());
    let fact = facts.data_retention_days_max.as_ref()?;
    let days = *fact.value()?;
    let read = if fact.checked().is_empty() { String::new() } else { format!(", read {}", fact.checked()) };
    let source = format!("{}{read}", fact.source());
    let retained = Retained { days: Some(days), basis: RetentionBasis::Published, source: Some(source) };
    Some((retained, fact.source() == OPERATOR))
}

/// Whether a principal is called at its provider's own host; not known, and so `false`, if it is gone.
fn is_at_provider(snapshot: &Snapshot, workspace: WorkspaceId, principal: Principal) -> bool {
    match principal {
        Principal::Account(id) => {
            let account = snapshot.accounts().iter().find(|account| account.id == id);
            account.is_some_and(|one| {
                is_providers(snapshot, &one.provider, one.base_url.as_deref(), &one.hosting)
            })
        }
        Principal::Node(_) => false,
        own => {
            let found = own.own_credential().and_then(|id| credential(snapshot, workspace, id));
            found.is_some_and(|one| {
                is_providers(snapshot, &one.provider, one.base_url.as_deref(), &one.hosting)
            })
        }
    }
}

/// Whether an address is the provider's, which it is if none is named.
fn is_providers(snapshot: &Snapshot, provider: &str, base_url: Option<&str>, hosting: &Hosting) -> bool {
    let Some(base_url) = base_url else { return true };
    let own = snapshot.catalogue().provider(provider).and_then(|facts| facts.address(hosting).ok());
    own.is_some_and(|own| is_host_of(&own, base_url))
}

/// Whether an address is at the host of the provider's own, or at one below it: `eu.api.openai.com`.
fn is_host_of(own: &str, address: &str) -> bool {
    let host = |address: &str| {
        let host = domain::host_of(address).to_ascii_lowercase();
        host.strip_suffix(":443").map(str::to_owned).unwrap_or(host)
    };
    let (own, host) = (host(own), host(address));
    let above = host.strip_suffix(own.as_str());
    !own.is_empty() && above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::is_host_of;

    #[test]
    fn a_providers_host_is_told_from_another() {
        let own = "https://api.openai.com/v1";
        for address in [own, "https://API.openai.com:443/v1", "https://eu.api.openai.com/v1"] {
            assert!(is_host_of(own, address), "{address}");
        }
        for address in [
            "http://127.0.0.1:4000/v1",
            "https://nosuch.example.invalid/v1",
            "https://evilapi.openai.com/v1",
            "https://api.openai.com.example/v1",
            "https://api.openai.com:8443/v1",
            "",
        ] {
            assert!(!is_host_of(own, address), "{address}");
        }
        assert!(!is_host_of("", ""));
    }
}
