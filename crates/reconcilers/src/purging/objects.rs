//! What providers store for a workspace: files, batches, videos, cached prompts and responses. Each is deleted with the
//! credential that made it, looked for again, and then its name is forgotten here.

use std::sync::Arc;

use domain::ports::PortFuture;
use domain::purge::{Claim, Guarantee, Holding, Place, PurgeError, PurgeScope, Purgeable};
use domain::{FaultClass, Operation, Principal, StoredKind, StoredObjectKind};
use evidence::purge::{Named, NamedObject, Purges};
use execute::StoredPoll;
use line::VerifyTarget;

use crate::Deps;
use crate::async_billing::fault_message;
use crate::principals::{published, seat_of};

/// Objects at providers, by the names that we keep.
pub struct NamedObjects {
    deps: Deps,
    purges: Purges,
    named: Named,
}

/// Both kinds of names.
pub(super) fn both(deps: &Deps) -> [Arc<dyn Purgeable>; 2] {
    [Named::Objects, Named::Responses].map(|named| {
        let purges = Purges::of(&deps.store);
        Arc::new(NamedObjects { deps: deps.clone(), purges, named }) as Arc<dyn Purgeable>
    })
}

/// Of a processor whose credential or account is gone.
const NOBODY: &str = "unknown";
/// A response whose id at its provider an older version did not keep.
const UNNAMED_RESPONSE: &str = "response without its id";

impl NamedObjects {
    /// The provider of a maker, as far as it can still be called.
    fn target(&self, workspace: domain::WorkspaceId, maker: Principal) -> Option<VerifyTarget> {
        let snapshot = self.deps.keeper.current();
        VerifyTarget::of(seat_of(&snapshot, workspace, maker)?, &snapshot)
    }

    fn published_days(&self, provider: &str) -> Option<u64> {
        published(&self.deps.keeper.current(), provider, None).days
    }

    /// Deletes an object, and looks for it again.
    async fn delete(&self, scope: &PurgeScope, object: &NamedObject) -> Result<(), PurgeError> {
        if waits_for_booking(object) {
            return Err(PurgeError("Its usage is not booked yet.".to_owned()));
        }
        let Some(target) = self.target(scope.workspace, object.maker) else { return Ok(()) };
        if !is_deletable(object.kind) || object.provider_id.is_empty() {
            return Ok(());
        }
        let operation = object.kind.map_or(Operation::Stored, |kind| kind.kind().operation());
        let poll = StoredPoll { operation, id: object.provider_id.clone(), is_content: false };
        let outbound = &self.deps.outbound;
        match outbound.delete_object(target.clone(), poll.clone()).await {
            Ok(()) => {}
            Err(fault) if fault.class == FaultClass::UpstreamNotFound => return Ok(()),
            Err(fault) => return Err(PurgeError(fault_message(&fault))),
        }
        let found = outbound.fetch_object(target, poll).recv().await;
        match found {
            Some(Err(fault)) if fault.class == FaultClass::UpstreamNotFound => Ok(()),
            Some(Err(fault)) => Err(PurgeError(fault_message(&fault))),
            Some(Ok(_)) => Err(PurgeError("Its provider still has it after its deletion.".to_owned())),
            None => Err(PurgeError("It couldn't be checked whether it is gone.".to_owned())),
        }
    }

    async fn purge_all(&self, scope: PurgeScope) -> Result<u64, PurgeError> {
        let (mut removed, mut failed, mut first) = (0, 0_u64, None);
        loop {
            let some = self.purges.named(self.named, &scope, failed).await?;
            if some.is_empty() {
                break;
            }
            for object in some {
                match self.delete(&scope, &object).await {
                    Ok(()) => {
                        let forgotten = self.purges.forget_named(self.named, scope.workspace, object).await;
                        forgotten?;
                        removed += 1;
                    }
                    Err(error) => {
                        failed += 1;
                        first = first.or(Some(error));
                    }
                }
            }
        }
        first.map_or(Ok(removed), Err)
    }
}

/// Until it is booked, its usage is read from its provider's object, or on an account from the file of results.
fn waits_for_booking(object: &NamedObject) -> bool {
    let is_booked_later = |kind: StoredObjectKind| match kind.kind() {
        StoredKind::Batch => !object.is_booked,
        StoredKind::Video => !object.is_booked && object.maker.own_credential().is_some(),
        StoredKind::File => object.has_open_batch && matches!(object.maker, Principal::Account(_)),
        StoredKind::CachedContent => false,
    };
    object.kind.is_some_and(is_booked_later)
}

/// `OpenAI`'s API has no deletion of batches.
fn is_deletable(kind: Option<StoredObjectKind>) -> bool {
    kind != Some(StoredObjectKind::BATCH)
}

fn word(kind: Option<StoredObjectKind>, is_named: bool) -> &'static str {
    match kind {
        Some(kind) => kind.as_str(),
        None if is_named => "response",
        None => UNNAMED_RESPONSE,
    }
}

impl Purgeable for NamedObjects {
    fn place(&self) -> Place {
        match self.named {
            Named::Objects => Place::ProviderObjects,
            Named::Responses => Place::ProviderResponses,
        }
    }

    fn purge(&self, scope: PurgeScope) -> PortFuture<'_, Result<u64, PurgeError>> {
        Box::pin(self.purge_all(scope))
    }

    fn remaining(&self, scope: PurgeScope) -> PortFuture<'_, Result<u64, PurgeError>> {
        Box::pin(async move { Ok(self.survey(scope).await?.iter().map(|holding| holding.items).sum()) })
    }

    fn survey(&self, scope: PurgeScope) -> PortFuture<'_, Result<Vec<Holding>, PurgeError>> {
        Box::pin(async move {
            let kinds = self.purges.named_kinds(self.named, &scope).await?;
            let mut found: Vec<Holding> = Vec::new();
            for one in kinds {
                let target = self.target(scope.workspace, one.maker);
                let processor =
                    target.map_or_else(|| NOBODY.to_owned(), |target| target.provider.to_string());
                let holding =
                    Holding { processor, kind: word(one.kind, one.is_named).to_owned(), items: one.items };
                match found.iter_mut().find(|known| known.is_of(&holding)) {
                    Some(known) => known.items += holding.items,
                    None => found.push(holding),
                }
            }
            Ok(found)
        })
    }

    fn claim(&self, processor: &str, kind: &str) -> Claim {
        if processor == NOBODY {
            let how = "The credential that made it is gone, so it can't be deleted there; its name is forgotten here.";
            return Claim::expiry(how, None);
        }
        if kind == StoredObjectKind::BATCH.as_str() {
            let how = "The provider's API has no deletion of batches; its name is forgotten here.";
            return Claim::expiry(how, self.published_days(processor));
        }
        if kind == UNNAMED_RESPONSE {
            let how = "Its id at the provider was not kept, so that it can't be deleted there; its name is forgotten here.";
            return Claim::expiry(how, self.published_days(processor));
        }
        Claim::verified(
            Guarantee::VerifiedNamespaceInvalidation,
            "The provider answered its deletion, and did not find it when asked again; its name is forgotten here.",
        )
    }
}
