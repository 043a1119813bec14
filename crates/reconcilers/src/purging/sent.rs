//! Providers that were sent requests: what they retain of those goes when they let it expire.

use std::collections::BTreeMap;

use domain::limits::{PAGE_ROWS_MAX, PURGE_REQUESTS_READ_MAX};
use domain::ports::PortFuture;
use domain::purge::{Claim, Holding, Place, Probed, PurgeError, PurgeScope, Purgeable, Purged};
use domain::{MeterRecord, Principal, RetentionBasis, WorkspaceId};
use store::{Page, RequestFilter, StoreError};

use crate::Deps;
use crate::principals::{published, retained};

/// What providers retain of the requests that they were sent.
pub struct Providers(pub Deps);

/// How many requests each principal was sent, with its provider.
pub(super) type Sent = BTreeMap<(String, String), (Principal, u64)>;

/// Whom the records of a scope name as sent to.
pub(super) async fn sent(deps: &Deps, scope: &PurgeScope) -> Result<Sent, PurgeError> {
    let mut sent = Sent::new();
    if let Purged::Requests(requests) = &scope.what {
        for request in requests {
            match deps.store.records().request(scope.workspace, *request).await {
                Ok(record) => add(&mut sent, scope, &record),
                Err(StoreError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        return Ok(sent);
    }
    let filter = match &scope.what {
        Purged::Project(project) => RequestFilter { project: Some(*project), ..RequestFilter::default() },
        Purged::From(first) => {
            RequestFilter { since_unix_ms: Some(first.unix_ms()), ..RequestFilter::default() }
        }
        Purged::Everything => RequestFilter::default(),
        Purged::Requests(_) | Purged::Session(_) | Purged::Artifacts(_) => return Ok(sent),
    };
    let (mut page, mut read) = (Page::first(PAGE_ROWS_MAX), 0);
    loop {
        let listed = deps.store.records().matching(scope.workspace, filter.clone(), page.clone()).await;
        let listed = listed?;
        read += listed.rows.len();
        listed.rows.iter().for_each(|record| add(&mut sent, scope, record));
        page.after = listed.next;
        // The newest count: providers have let older ones expire.
        if page.after.is_none() || read >= PURGE_REQUESTS_READ_MAX {
            return Ok(sent);
        }
    }
}

fn add(sent: &mut Sent, scope: &PurgeScope, record: &MeterRecord) {
    if !scope.covers(record.workspace, record.project, record.trace) {
        return;
    }
    for attempt in &record.attempts {
        let of = (attempt.provider.clone(), attempt.principal.to_string());
        sent.entry(of).or_insert((attempt.principal, 0)).1 += 1;
    }
}

impl Providers {
    /// The agreement with the provider, or what it publishes.
    fn retained(&self, workspace: WorkspaceId, provider: &str, principal: &str) -> Claim {
        let snapshot = self.0.keeper.current();
        let retained = match principal.parse() {
            Ok(principal) => retained(&snapshot, (workspace, principal), (provider, None)),
            Err(_) => published(&snapshot, provider, None),
        };
        let how = match (retained.basis, retained.days) {
            (RetentionBasis::Agreed, Some(0)) => "It was agreed that the provider retains nothing.",
            (RetentionBasis::Agreed, _) => "The provider retains it as long as agreed.",
            (RetentionBasis::Published, _) => "The provider retains it as long as it publishes.",
            (RetentionBasis::Ours | RetentionBasis::Unknown, _) => {
                "How long the provider retains it is not known."
            }
        };
        Claim::expiry(how, retained.days)
    }
}

impl Purgeable for Providers {
    fn place(&self) -> Place {
        Place::Providers
    }

    /// Nothing can be done there.
    fn purge(&self, _scope: PurgeScope) -> PortFuture<'_, Result<u64, PurgeError>> {
        Box::pin(async { Ok(0) })
    }

    fn remaining(&self, _scope: PurgeScope) -> PortFuture<'_, Result<u64, PurgeError>> {
        Box::pin(async { Ok(0) })
    }

    fn survey(&self, scope: PurgeScope) -> PortFuture<'_, Result<Vec<Holding>, PurgeError>> {
        Box::pin(async move {
            let sent = sent(&self.0, &scope).await?;
            let others =
                sent.into_iter().filter(|(_, (principal, _))| !matches!(principal, Principal::Node(_)));
            Ok(others.map(|((processor, kind), (_, items))| Holding { processor, kind, items }).collect())
        })
    }

    fn probe(
        &self,
        scope: PurgeScope,
        before: Vec<Holding>,
    ) -> PortFuture<'_, Result<Vec<Probed>, PurgeError>> {
        Box::pin(async move {
            let probed = before.into_iter().map(|holding| {
                let claim = self.retained(scope.workspace, &holding.processor, &holding.kind);
                Probed { holding: Holding { items: 0, ..holding }, claim }
            });
            Ok(probed.collect())
        })
    }
}
