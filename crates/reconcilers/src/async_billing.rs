//! Books the usage of work that a provider does asynchronously (batches, videos, background responses): the
//! project, the credential, and the meter record.

use std::sync::Arc;

use bytes::Bytes;
use domain::record::PlanRecord;
use domain::{
    AttemptRecord, BudgetClaim, Charge, Dialect, Drawn, Fault, FaultClass, MeterRecord, Nanos, ObjectOwner,
    Operation, Outcome as Ended, Principal, Rates, SideCall, StoredObject, StoredObjectId, StoredObjectKind,
    Timeline, TraceId, Usage,
};
use execute::StoredPoll;
use jobs::Outcome;
use ledger::{DrainBatch, JournalPosition, SettledRecords};
use line::VerifyTarget;
use plan::Seat;
use snapshot::{AccountEntry, CredentialEntry, ProjectEntry, Snapshot, WorkspaceEntry};
use store::{JobRow, KeptObjectRow};

use crate::Deps;

const NOWHERE: JournalPosition = JournalPosition { epoch: 0x6261_7463_6865_7321, segment: 0, offset: 0 };

/// Who an object was made with.
pub(crate) enum Maker<'a> {
    Own(&'a Arc<CredentialEntry>),
    /// An account of the operator, which workspaces share.
    Account(&'a Arc<AccountEntry>),
}

impl<'a> Maker<'a> {
    fn of(snapshot: &'a Snapshot, workspace: &'a WorkspaceEntry, maker: Principal) -> Option<Self> {
        if let Principal::Account(id) = maker {
            return snapshot.accounts().iter().find(|one| one.id == id).map(Self::Account);
        }
        let id = maker.own_credential()?;
        workspace.credentials.iter().find(|one| one.id == id).map(Self::Own)
    }

    fn seat(&self) -> Seat {
        match self {
            Self::Own(credential) => Seat::Byok(Arc::clone(credential)),
            Self::Account(account) => Seat::Managed(Arc::clone(account)),
        }
    }

    fn principal(&self) -> Principal {
        match self {
            Self::Own(credential) => credential.principal(),
            Self::Account(account) => Principal::Account(account.id),
        }
    }

    fn region(&self) -> Option<&str> {
        match self {
            Self::Own(credential) => credential.region.as_deref(),
            Self::Account(account) => account.region.as_deref(),
        }
    }

    fn markup_bps(&self) -> u32 {
        match self {
            Self::Own(_) => 0,
            Self::Account(account) => account.markup_bps,
        }
    }

    /// `None` for an account.
    pub const fn credential(&self) -> Option<&'a Arc<CredentialEntry>> {
        match self {
            Self::Own(credential) => Some(credential),
            Self::Account(_) => None,
        }
    }
}

/// The project that owns an object, and the credential or account that it was made with.
pub(crate) struct BillingContext<'a> {
    pub deps: &'a Deps,
    pub snapshot: &'a Snapshot,
    pub owner: ObjectOwner,
    project: &'a ProjectEntry,
    pub made_with: Maker<'a>,
    pub target: VerifyTarget,
}

/// A batch or a video.
pub(crate) struct ObjectBilling<'a> {
    pub context: BillingContext<'a>,
    pub id: StoredObjectId,
    pub request: TraceId,
    /// The model of all its requests, where there is exactly one and it is known.
    pub model: Option<String>,
    /// The budgets that count what it costs.
    pub claims: Vec<BudgetClaim>,
}

/// The parts of a meter record that differ.
pub(crate) struct BilledUsage {
    pub trace: TraceId,
    pub unix_ms: u64,
    pub operation: Operation,
    pub dialect: Dialect,
    pub resolution: &'static str,
    pub requested: String,
    pub resolved: String,
    pub upstream_model: String,
    /// `0` where no request was sent at all.
    pub status: u16,
    /// The fault, if it failed.
    pub fault_code: Option<String>,
    pub upstream_request_id: Option<String>,
    pub usage: Usage,
    pub rates: Option<Rates>,
    /// The batch that it was a request of.
    pub made_for: Option<SideCall>,
}

/// Stores records that no serving core wrote; a record that is already stored is skipped.
pub(crate) async fn book(deps: &Deps, records: Vec<MeterRecord>) -> Result<(), String> {
    if records.is_empty() {
        return Ok(());
    }
    let records = SettledRecords::of(&records).map_err(|error| error.to_string())?;
    let batch = DrainBatch { core: DrainBatch::NO_JOURNAL, upto: NOWHERE, records };
    deps.records.apply(batch).await.map_err(|error| error.to_string())
}

impl<'a> BillingContext<'a> {
    /// `None` where the project, the credential or the account no longer exists.
    pub fn of(deps: &'a Deps, snapshot: &'a Snapshot, owner: ObjectOwner, maker: Principal) -> Option<Self> {
        let workspace = snapshot.workspace(owner.workspace)?;
        let project = workspace.projects.iter().find(|project| project.id == owner.project)?;
        let made_with = Maker::of(snapshot, workspace, maker)?;
        let target = VerifyTarget::of(made_with.seat(), snapshot)?;
        Some(Self { deps, snapshot, owner, project, made_with, target })
    }

    fn maker(&self) -> Principal {
        self.made_with.principal()
    }

    /// Fetches an object from its provider.
    pub async fn fetch_object(&self, operation: Operation, provider_id: &str) -> Result<Bytes, String> {
        let poll = StoredPoll { operation, id: provider_id.to_owned(), is_content: false };
        let mut chunks = self.deps.outbound.fetch_object(self.target.clone(), poll);
        chunks.recv().await.ok_or("nobody looked")?.map_err(|fault| fault_message(&fault))
    }

    pub async fn book(&self, records: Vec<MeterRecord>) -> Result<(), String> {
        book(self.deps, records).await
    }

    /// What the provider bills fills the credential's commitment, in the period in which it is booked.
    fn drawn_on_commitment(&self, record: &MeterRecord) -> Option<Drawn> {
        let terms = self.snapshot.workspace(self.owner.workspace)?.terms.as_ref()?;
        let commitment = terms.commitments.iter().find(|one| one.id.is_commitment_of(self.maker()))?;
        let amount = commitment.counts.of(self.maker().profile(), &record.charge);
        let period_unix_ms = commitment.period.start(record.finished_unix_ms);
        (amount > Nanos::ZERO).then_some(Drawn { budget: commitment.id, period_unix_ms, amount })
    }

    /// The record of what was used, which also counts in these budgets.
    pub fn record_of(&self, used: BilledUsage, claims: &[BudgetClaim]) -> MeterRecord {
        let status = (used.status > 0).then_some(used.status);
        let fault = used.fault_code.is_some().then_some(FaultClass::Upstream);
        let attempt = AttemptRecord {
            number: 1,
            principal: self.maker(),
            provider: self.target.provider.to_string(),
            upstream_model: used.upstream_model,
            region: self.made_with.region().map(str::to_owned),
            started_us: 0,
            duration_us: 0,
            status,
            fault,
            upstream_request_id: used.upstream_request_id,
            usage: used.usage,
            rates: used.rates,
            markup_bps: self.made_with.markup_bps(),
            charge: Charge::default(),
        };
        let mut record = MeterRecord {
            trace: used.trace,
            workspace: self.owner.workspace,
            project: self.owner.project,
            key: None,
            environment: self.project.environment.to_string(),
            started_unix_ms: used.unix_ms,
            finished_unix_ms: used.unix_ms,
            operation: used.operation,
            dialect: used.dialect,
            stream: false,
            requested_model: used.requested,
            resolved_model: used.resolved,
            outcome: if fault.is_none() { Ended::Completed } else { Ended::Failed },
            status: status.unwrap_or(500),
            fault,
            fault_code: used.fault_code,
            principal: Some(self.maker()),
            provider: self.target.provider.to_string(),
            fallback_used: false,
            tag: None,
            usage: used.usage,
            charge: Charge::default(),
            attempts: vec![attempt],
            plan: PlanRecord {
                resolution: used.resolution.into(),
                candidates: vec![self.maker()],
                snapshot_version: self.snapshot.version(),
                ..PlanRecord::default()
            },
            timeline: Timeline::default(),
            bytes_out: 0,
            drawn: Vec::new(),
            caching: None,
            reason: None,
            extras: domain::record::Extras { side_call: used.made_for, ..domain::record::Extras::default() },
        };
        ledger::price::book(&mut record);
        let profile = self.maker().profile();
        let of_budgets = claims.iter().map(|claim| Drawn {
            budget: claim.budget,
            period_unix_ms: claim.period_unix_ms,
            amount: claim.counts.of(profile, &record.charge),
        });
        let of_budgets = of_budgets.filter(|drawn| drawn.amount > Nanos::ZERO);
        record.drawn = self.drawn_on_commitment(&record).into_iter().chain(of_budgets).collect();
        record
    }
}

impl<'a> ObjectBilling<'a> {
    pub fn of(
        deps: &'a Deps,
        snapshot: &'a Snapshot,
        owner: ObjectOwner,
        id: StoredObjectId,
        object: &StoredObject,
    ) -> Option<Self> {
        let whose = BillingContext::of(deps, snapshot, owner, object.created_by)?;
        let model = only_model(id, object);
        Some(Self { context: whose, id, request: object.request, model, claims: Vec::new() })
    }

    pub fn object_id_of(&self, kind: StoredObjectKind, provider_id: &str) -> StoredObjectId {
        let BillingContext { deps, owner, .. } = self.context;
        deps.vault.requests.of_object(owner, kind, self.context.maker(), provider_id)
    }

    /// Updates what lists show of an object.
    pub async fn update_listing(
        &self,
        id: StoredObjectId,
        provider_id: &str,
        body: &Bytes,
    ) -> Result<(), String> {
        let mut ours = |kind: StoredObjectKind, id: &str| self.object_id_of(kind, id).to_string();
        let objects = dialects::stored_objects(id.kind);
        let Some((_, made)) = objects.and_then(|objects| objects.rewrite_ids(body, &mut ours)) else {
            return Ok(());
        };
        let BillingContext { deps, owner, .. } = self.context;
        let row = KeptObjectRow {
            id,
            owner,
            object: StoredObject {
                request: self.request,
                created_by: self.context.maker(),
                provider_id: provider_id.to_owned(),
                model: String::new(),
                upstream_model: String::new(),
                label: made.purpose,
                list_entry: made.list_entry,
                is_booked: false,
                created_unix_ms: deps.world.clock.unix_ms(),
                until_unix_ms: made.expires_unix_ms.filter(|_| id.kind == StoredObjectKind::FILE),
            },
        };
        deps.store.kept_objects().keep(row, None).await.map_err(|error| error.to_string())
    }
}

/// The model of all requests of a batch, if its maker was chosen by the model. On an account this holds for a file's batch, too, so
/// that its price depends neither on whether the client keeps the file nor on the name in the answers.
fn only_model(id: StoredObjectId, object: &StoredObject) -> Option<String> {
    let is_by_model = dialects::lists_models(id.kind) || matches!(object.created_by, Principal::Account(_));
    Some(&object.upstream_model).filter(|model| is_by_model && !model.is_empty()).cloned()
}

/// Prefix of an error that means the provider no longer has the file.
pub(crate) const GONE: &str = "gone: ";

/// How a poll ends whose object is known no more. Its client deleted it, which is possible once it is booked; if the
/// project is gone, nobody can book it any more, and the job is given up, where the operator sees it.
pub(crate) fn lost(snapshot: &Snapshot, owner: ObjectOwner) -> Outcome {
    let workspace = snapshot.workspace(owner.workspace);
    let has_project =
        |one: &Arc<WorkspaceEntry>| one.projects.iter().any(|project| project.id == owner.project);
    if workspace.is_some_and(has_project) {
        return Outcome::Done;
    }
    hopeless("its project was deleted before its usage was recorded")
}

/// The snapshot may lag behind for a moment, so that something is gone only once two polls in a row miss it.
pub(crate) fn lost_if_repeated(job: &JobRow, reason: &str) -> Result<Outcome, String> {
    if job.last_error.as_deref() == Some(reason) { Ok(hopeless(reason)) } else { Err(reason.to_owned()) }
}

pub(crate) fn hopeless(error: &str) -> Outcome {
    Outcome::Permanent { error: error.to_owned() }
}

pub(crate) fn fault_message(fault: &Fault) -> String {
    let gone = if fault.class == FaultClass::UpstreamNotFound { GONE } else { "" };
    let fix = fault.fix.as_deref().map(|fix| format!(" {fix}")).unwrap_or_default();
    format!("{gone}{}{fix}", fault.message)
}

#[cfg(test)]
mod tests {
    use domain::{AccountId, CredentialId};

    use super::*;

    #[test]
    fn the_model_of_a_batch_is_known_where_it_chose_the_maker() {
        let account = Principal::Account(AccountId::new(1, [1; 10]));
        let credential = Principal::Credential(CredentialId::new(1, [1; 10]));
        let of_messages = StoredObjectKind::all().find(|kind| dialects::lists_models(*kind)).unwrap();
        for (kind, created_by, upstream_model, expected) in [
            (StoredObjectKind::BATCH, account, "m", Some("m")),
            (StoredObjectKind::BATCH, credential, "files", None),
            (of_messages, credential, "m", Some("m")),
            (of_messages, account, "", None),
        ] {
            let object = StoredObject {
                request: TraceId::new(1, [1; 10]),
                created_by,
                provider_id: "batch_1".to_owned(),
                model: upstream_model.to_owned(),
                upstream_model: upstream_model.to_owned(),
                label: String::new(),
                list_entry: String::new(),
                is_booked: false,
                created_unix_ms: 1,
                until_unix_ms: None,
            };
            let id = StoredObjectId { kind, digest: [1; 16] };
            assert_eq!(only_model(id, &object).as_deref(), expected, "{kind:?} {created_by}");
        }
    }
}
