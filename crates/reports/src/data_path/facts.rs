//! What the configuration says now of those that records name.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use domain::{Principal, WorkspaceId};
use line::VerifyTarget;
use plan::{REGION_LABEL, Seat};
use reconcilers::{retained, seat_of};
use snapshot::Snapshot;

use super::trail::{Known, Upstream};

/// The configuration of one workspace, looked up once for each seat and model.
pub struct Configured {
    snapshot: Arc<Snapshot>,
    workspace: WorkspaceId,
    is_operator: bool,
    records_days: Option<u64>,
    found: RefCell<HashMap<(Principal, String, String), Upstream>>,
}

impl Configured {
    pub fn new(
        snapshot: Arc<Snapshot>,
        (workspace, is_operator): (WorkspaceId, bool),
        records_days: Option<u64>,
    ) -> Self {
        Self { snapshot, workspace, is_operator, records_days, found: RefCell::default() }
    }

    fn look(&self, principal: Principal, provider: &str, model: &str) -> Upstream {
        let seat = seat_of(&self.snapshot, self.workspace, principal);
        let (place, has_key) = match &seat {
            Some(Seat::Byoc(node)) => {
                let region = node.labels.iter().find_map(|label| label.strip_prefix(REGION_LABEL));
                (region.map(str::to_owned), node.sealed.is_some())
            }
            // Every provider that is called as somebody is called with a secret, whoever is gone since.
            _ => (None, !matches!(principal, Principal::Node(_))),
        };
        // Where the operator's accounts are called is the operator's to know.
        let is_hidden = matches!(principal, Principal::Account(_)) && !self.is_operator;
        let target = seat.filter(|_| !is_hidden).and_then(|seat| VerifyTarget::of(seat, &self.snapshot));
        Upstream {
            host: target.and_then(|target| host(&target.base_url)),
            place,
            has_key,
            retained: retained(&self.snapshot, (self.workspace, principal), (provider, Some(model))),
        }
    }
}

impl Known for Configured {
    fn upstream(&self, principal: Principal, provider: &str, model: &str) -> Upstream {
        let of = (principal, provider.to_owned(), model.to_owned());
        self.found.borrow_mut().entry(of).or_insert_with(|| self.look(principal, provider, model)).clone()
    }

    fn records_days(&self) -> Option<u64> {
        self.records_days
    }
}

/// The host and port of an address.
fn host(address: &str) -> Option<String> {
    Some(domain::host_of(address)).filter(|host| !host.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::host;

    #[test]
    fn a_host_is_without_user_and_path() {
        for (address, expected) in [
            ("https://api.example.com/v1", Some("api.example.com")),
            ("http://user:secret@127.0.0.1:9000/v1?a=b", Some("127.0.0.1:9000")),
            ("https://[::1]:8443", Some("[::1]:8443")),
            ("/v1", None),
            ("", None),
        ] {
            assert_eq!(host(address).as_deref(), expected, "{address}");
        }
    }
}
