//! Purges of stored content: each is a job that goes through every place in small steps, looks again, and ends with a signed
//! receipt. A kill may interrupt it anywhere.

mod memory;
mod nodes;
mod objects;
mod sent;
mod shred;
mod steps;

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::limits::{DEADLINE, PURGE_TRIES_MAX};
use domain::ports::PortFuture;
use domain::purge::{
    Claim, Guarantee, Holding, OURSELVES, Place, Probed, PurgeError, PurgeScope, Purgeable, Purged,
    first_request_at,
};
use domain::{ProjectId, PurgeJobId, ReceiptId};
use evidence::exports::DataExports;
use evidence::holds::Holds;
use evidence::purge::{
    Counted, PURGE_JOB, ProcessorReport, ProcessorStatus, Progress, PurgeJobRow, PurgeState, PurgeTarget,
    Purges, ReceiptRow, Signing, scopes, sign,
};
use jobs::{Handler, Outcome, Policy};
use serde_json::json;
use store::{Act, JobRow, NewJob, StoreError};

use crate::{Deps, milliseconds};
use steps::Step;

pub use memory::{HeldPrompts, follow_generations};
pub use nodes::NodeCaches;
pub use objects::NamedObjects;
pub use sent::Providers;
pub use steps::HeldStep;

/// Within a receipt's time, so that it says soon what could not be done.
const POLICY: Policy = Policy { first_wait_ms: 500, wait_max_ms: 30_000, retry_for_ms: 7 * 24 * 3_600_000 };
/// How long after its request a purge is done once more, for requests that were in flight: they have ended by then.
const SWEEP_MARGIN_MS: u64 = 60_000;

/// All places of an installation that hold content.
pub struct Purger {
    deps: Deps,
    purges: Purges,
    places: Vec<Arc<dyn Purgeable>>,
    held: HeldStep,
}

impl Purger {
    /// With the places that this process keeps itself; those at providers and nodes are added to them.
    pub fn new(deps: Deps, ours: Vec<Arc<dyn Purgeable>>, held: HeldStep) -> Arc<Self> {
        let mut places = ours;
        places.push(Arc::new(DataExports::of(&deps.store)));
        places.push(Arc::new(HeldPrompts(Arc::clone(&deps.board))));
        places.extend(objects::both(&deps));
        places.push(Arc::new(Providers(deps.clone())));
        places.push(Arc::new(NodeCaches(deps.clone())));
        places.sort_by_key(|place| place.place());
        Arc::new(Self { purges: Purges::of(&deps.store), deps, places, held })
    }

    pub const fn purges(&self) -> &Purges {
        &self.purges
    }

    /// The places that are purged, in order.
    pub fn places(&self) -> impl Iterator<Item = Place> {
        self.places.iter().map(|place| place.place())
    }

    /// Whether any place has the sessions or artifacts that a target names; those of other targets need no place.
    pub async fn knows(&self, job: &PurgeJobRow) -> Result<bool, PurgeError> {
        let Some(scope) = job.target.scope(job.workspace, job.created_unix_ms) else { return Ok(true) };
        if !matches!(scope.what, Purged::Session(_) | Purged::Artifacts(_)) {
            return Ok(true);
        }
        for place in &self.places {
            if place.knows(scope.clone()).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What there is of a target, place by place; it changes nothing.
    pub async fn survey(&self, job: &PurgeJobRow) -> Result<Vec<Counted>, PurgeError> {
        self.count(&self.scopes(job).await?).await
    }

    async fn count(&self, scopes: &[PurgeScope]) -> Result<Vec<Counted>, PurgeError> {
        let mut counted = Vec::new();
        for place in &self.places {
            let mut sums: BTreeMap<(String, String), u64> = BTreeMap::new();
            for scope in scopes {
                for Holding { processor, kind, items } in place.survey(scope.clone()).await? {
                    *sums.entry((processor, kind)).or_default() += items;
                }
            }
            let place = place.place();
            counted.extend(sums.into_iter().map(|((processor, kind), items)| Counted {
                place,
                processor,
                kind,
                items,
            }));
        }
        Ok(counted)
    }

    async fn scopes(&self, job: &PurgeJobRow) -> Result<Vec<PurgeScope>, PurgeError> {
        scopes(&self.deps.store, &job.target, job.workspace, job.created_unix_ms).await
    }

    /// The projects whose cached answers a target concerns; `None` for all of the workspace.
    async fn projects(&self, job: &PurgeJobRow, scopes: &[PurgeScope]) -> Option<Vec<ProjectId>> {
        if let Some(project) = job.target.project_id {
            return Some(vec![project]);
        }
        if let Some(key) = job.target.key_id {
            let snapshot = self.deps.keeper.current();
            return snapshot.key(key).map(|key| vec![key.project]);
        }
        let [PurgeScope { what: Purged::Requests(requests), .. }] = scopes else { return None };
        let mut projects = Vec::new();
        for request in requests {
            // What is not settled yet may be of any project.
            let record = self.deps.store.records().request(job.workspace, *request).await.ok()?;
            if !projects.contains(&record.project) {
                projects.push(record.project);
            }
        }
        Some(projects)
    }

    async fn raise(&self, job: &PurgeJobRow, projects: Option<Vec<ProjectId>>) -> Result<u64, PurgeError> {
        let version = self.purges.raise_generation(job.workspace, projects).await?;
        self.deps.await_published(version).await.map_err(|fault| PurgeError(fault.message.to_string()))?;
        Ok(version)
    }

    /// One try: goes on where the last one ended.
    async fn run(&self, id: PurgeJobId) -> Result<Outcome, PurgeError> {
        let Some(mut job) = self.purges.find(id).await? else {
            return Ok(Outcome::Done);
        };
        if matches!(job.state, PurgeState::Completed | PurgeState::Failed) {
            return Ok(Outcome::Done);
        }
        let scopes = match self.scopes(&job).await {
            Ok(scopes) => scopes,
            Err(error) => return self.give_up(&mut job, error).await,
        };
        // Once every place is purged, a hold that comes has nothing to keep.
        let is_emptied = job.progress.shredding.is_some();
        if !is_emptied && let Some(held) = self.held(&job, &scopes).await? {
            return self.give_up(&mut job, held).await;
        }
        let projects = self.projects(&job, &scopes).await;
        if job.progress.generation.is_none() {
            self.held.reach(Step::Raise).await;
            job.progress.generation = Some(self.raise(&job, projects.clone()).await?);
            self.save(&job).await?;
        }
        if job.progress.before.is_none() {
            self.held.reach(Step::Count).await;
            job.progress.before = Some(self.count(&scopes).await?);
            self.save(&job).await?;
        }
        let mut is_left = false;
        for place in &self.places {
            if !is_emptied && let Some(held) = self.held(&job, &scopes).await? {
                return self.give_up(&mut job, held).await;
            }
            is_left |= !self.step(&mut job, place, &scopes).await?;
        }
        if is_left {
            return Ok(Outcome::failure("content is left, and the purge is retried"));
        }
        if job.target.workspace && !self.shred(&mut job).await? {
            return Ok(Outcome::failure("the workspace's key is being replaced"));
        }
        self.held.reach(Step::Scrub).await;
        job.progress.is_scrubbed = self.purges.scrub().await?;
        if !self.purges.is_sqlite() {
            // What another gateway read between the first time and the deletion is forgotten there, too.
            job.progress.generation = Some(self.raise(&job, projects).await?);
        }
        self.end(&job, &scopes).await
    }

    /// Refuses a purge that would delete something under a legal hold.
    ///
    /// # Errors
    /// The conflict `legal_hold`, or a place could not be asked.
    pub async fn refuse_held(&self, job: &PurgeJobRow) -> Result<(), StoreError> {
        let holds = Holds::of(&self.deps.store);
        // What a key or a time means is read from the records: only where there is something to compare it with.
        if !holds.any_of(job.workspace).await? {
            return Ok(());
        }
        let scopes = self.scopes(job).await;
        let scopes = scopes.map_err(|error| StoreError::conflict("purge_not_counted", error.0, None))?;
        holds.refuse_purge(job.workspace, &scopes).await
    }

    /// Why a purge can't go on: a hold that came after it was asked for.
    async fn held(&self, job: &PurgeJobRow, scopes: &[PurgeScope]) -> Result<Option<PurgeError>, PurgeError> {
        match Holds::of(&self.deps.store).refuse_purge(job.workspace, scopes).await {
            Err(StoreError::Conflict { what: "legal_hold", detail, .. }) => {
                Ok(Some(PurgeError(format!("{detail}; release it and ask for the purge again"))))
            }
            result => Ok(result.map(|()| None)?),
        }
    }

    async fn give_up(&self, job: &mut PurgeJobRow, error: PurgeError) -> Result<Outcome, PurgeError> {
        job.progress.error = Some(error.0.clone());
        self.purges.save(job.id, PurgeState::Failed, &job.progress).await?;
        Ok(Outcome::Permanent { error: error.0 })
    }

    async fn save(&self, job: &PurgeJobRow) -> Result<(), PurgeError> {
        Ok(self.purges.save(job.id, PurgeState::Running, &job.progress).await?)
    }

    /// Purges one place, unless that is over; `false` if it is to be tried again.
    async fn step(
        &self,
        job: &mut PurgeJobRow,
        place: &Arc<dyn Purgeable>,
        scopes: &[PurgeScope],
    ) -> Result<bool, PurgeError> {
        let name = place.place();
        if job.progress.step(name).is_some_and(|step| step.is_over) {
            return Ok(true);
        }
        self.held.reach(Step::Purge(name)).await;
        let purged = purge_and_look(&**place, scopes).await;
        self.held.reach(Step::Note(name)).await;
        let step = job.progress.step_mut(name);
        step.tries += 1;
        match purged {
            Ok(removed) => {
                step.removed += removed;
                step.error = None;
                step.is_over = true;
            }
            Err(error) => {
                tracing::warn!(place = name.as_str(), %error, "a place could not be purged");
                step.error = Some(error.0);
                step.is_over = step.tries >= PURGE_TRIES_MAX;
            }
        }
        let is_over = step.is_over;
        self.save(job).await?;
        Ok(is_over)
    }

    /// Looks at every place again, and writes the receipt.
    async fn end(&self, job: &PurgeJobRow, scopes: &[PurgeScope]) -> Result<Outcome, PurgeError> {
        let mut reports = Vec::new();
        for place in &self.places {
            self.held.reach(Step::Probe(place.place())).await;
            reports.extend(self.report(job, &**place, scopes).await);
        }
        self.held.reach(Step::Sign).await;
        let world = &self.deps.world;
        let completed_unix_ms = world.clock.unix_ms();
        let sweep_unix_ms =
            job.created_unix_ms.saturating_add(milliseconds(DEADLINE)).saturating_add(SWEEP_MARGIN_MS);
        let before = first_request_at(job.target.ends_unix_ms(job.created_unix_ms));
        let (last, previous) = self.purges.last_receipt(job.workspace).await?;
        let signing = Signing {
            id: ReceiptId::new(completed_unix_ms, world.id_bytes()),
            sequence: last + 1,
            previous,
            completed_unix_ms,
            before,
            swept_again_unix_ms: sweep_unix_ms,
            is_sqlite: self.purges.is_sqlite(),
        };
        let signed = sign(job, &reports, &signing, &self.deps.auditor);
        let (document, hash) = signed.map_err(|error| PurgeError(error.to_string()))?;
        let receipt = ReceiptRow {
            id: signing.id,
            workspace: job.workspace,
            sequence: signing.sequence,
            job: job.id,
            document,
            hash,
        };
        let act = Act::system(world);
        let progress = job.progress.clone();
        let again = sweep_of(job, sweep_unix_ms, completed_unix_ms);
        self.held.reach(Step::Store).await;
        let ended = self.purges.finish(receipt, progress, completed_unix_ms, again, act).await;
        if !ended? {
            return Ok(Outcome::failure("another receipt of the workspace was written meanwhile"));
        }
        self.held.reach(Step::End).await;
        Ok(Outcome::Done)
    }

    /// The lines of a receipt about one place.
    async fn report(
        &self,
        job: &PurgeJobRow,
        place: &dyn Purgeable,
        scopes: &[PurgeScope],
    ) -> Vec<ProcessorReport> {
        let name = place.place();
        let before: Vec<Holding> =
            job.progress.before.iter().flatten().filter(|one| one.place == name).map(holding).collect();
        let failed = job.progress.step(name).and_then(|step| step.error.clone());
        let probed = match probe(place, scopes, &before).await {
            Ok(probed) => probed,
            Err(error) => return unknown(name, before, &failed.unwrap_or(error.0)),
        };
        let lines = probed.into_iter().map(|Probed { holding, claim }| {
            let had = before.iter().find(|one| one.is_of(&holding)).map_or(0, |one| one.items);
            let claim = self.capped(name, job, claim);
            // What expires elsewhere is forgotten here; a name that is still known waits for something, and is not purged.
            let is_failed = holding.items > 0 && (!claim.expires || keeps_names(name));
            let status = match claim.expires {
                _ if is_failed => ProcessorStatus::Failed,
                true => ProcessorStatus::Expires,
                false => ProcessorStatus::Cleared,
            };
            let error = if is_failed {
                failed.clone().or_else(|| Some("It is still there.".to_owned()))
            } else {
                None
            };
            ProcessorReport {
                place: name,
                processor: holding.processor,
                kind: holding.kind,
                status,
                before: had,
                after: (is_failed || !claim.expires).then_some(holding.items),
                guarantee: if is_failed { Guarantee::BestEffortExpiry } else { claim.guarantee },
                evidence: if is_failed {
                    "It was looked for, and is there.".to_owned()
                } else {
                    claim.evidence
                },
                retention_days: claim.days,
                error,
            }
        });
        lines.collect()
    }

    /// What our own places can claim depends on the database, and on how many gateways there are.
    fn capped(&self, place: Place, job: &PurgeJobRow, claim: Claim) -> Claim {
        if claim.expires {
            return claim;
        }
        let weakest = Guarantee::VerifiedNamespaceInvalidation;
        if place.is_in_database() {
            let counted = match place {
                Place::Files => format!("The rows were deleted, and counted again. {}", claim.evidence),
                _ => "The rows were deleted, and counted again.".to_owned(),
            };
            return if job.progress.is_scrubbed {
                let how =
                    "Deleted bytes are overwritten (secure_delete), and the log was emptied into the file.";
                Claim::verified(Guarantee::VerifiedPhysicalPurge, format!("{counted} {how}"))
            } else if self.purges.is_sqlite() {
                let how =
                    "A reader kept the write-ahead log from being emptied; it is when that reader ends.";
                Claim::verified(weakest, format!("{counted} {how}"))
            } else {
                let how = "What was deleted was sealed; PostgreSQL reuses its bytes after the next vacuum, and its log goes with its archive.";
                Claim::verified(weakest, format!("{counted} {how}"))
            };
        }
        if place.is_in_memory() && !self.purges.is_sqlite() {
            let how = "It was removed from this gateway's memory and looked for again. Other gateways of the database can't reach it since the configuration's version above, and drop it when they take that up.";
            return Claim::verified(weakest.min(claim.guarantee), how);
        }
        claim
    }

    /// Purges our own places once more, for requests that were in flight when it was asked for.
    async fn sweep(&self, id: PurgeJobId) -> Result<Outcome, PurgeError> {
        let Some(job) = self.purges.find(id).await? else {
            return Ok(Outcome::Done);
        };
        let scopes = self.scopes(&job).await?;
        let act = Act::system(&self.deps.world);
        if let Some(held) = self.held(&job, &scopes).await? {
            self.purges.audit(act, job.workspace, "purge.sweep", id, held.0).await?;
            return Ok(Outcome::Done);
        }
        let mut removed = 0;
        for place in &self.places {
            if place.place().is_in_database() || place.place().is_in_memory() {
                removed += purge_and_look(&**place, &scopes).await?;
            }
        }
        self.purges.scrub().await?;
        let detail = format!("{removed} items of requests that were in flight");
        self.purges.audit(act, job.workspace, "purge.sweep", id, detail).await?;
        Ok(Outcome::Done)
    }
}

fn sweep_of(job: &PurgeJobRow, run_unix_ms: u64, unix_ms: u64) -> NewJob {
    NewJob {
        kind: PURGE_JOB,
        workspace: job.workspace,
        name: Some(format!("purge.sweep:{}", job.id)),
        payload: json!({"purge_job": job.id.to_string(), "sweep": true}),
        run_unix_ms: run_unix_ms.max(unix_ms),
        every_ms: None,
        unix_ms,
    }
}

/// Whether it is what others store, by names that we keep until it is purged.
const fn keeps_names(place: Place) -> bool {
    matches!(place, Place::ProviderObjects | Place::ProviderResponses)
}

fn holding(counted: &Counted) -> Holding {
    Holding { processor: counted.processor.clone(), kind: counted.kind.clone(), items: counted.items }
}

/// What nobody could look at again.
fn unknown(place: Place, before: Vec<Holding>, error: &str) -> Vec<ProcessorReport> {
    let nobody = || vec![Holding { processor: OURSELVES.to_owned(), kind: String::new(), items: 0 }];
    let before = if before.is_empty() { nobody() } else { before };
    let line = |Holding { processor, kind, items }| ProcessorReport {
        place,
        processor,
        kind,
        status: ProcessorStatus::Failed,
        before: items,
        after: None,
        guarantee: Guarantee::BestEffortExpiry,
        evidence: "It couldn't be checked whether any content is left.".to_owned(),
        retention_days: None,
        error: Some(error.to_owned()),
    };
    before.into_iter().map(line).collect()
}

/// Purges a place, and looks whether something that can be purged is left.
async fn purge_and_look(place: &dyn Purgeable, scopes: &[PurgeScope]) -> Result<u64, PurgeError> {
    let (mut removed, mut left) = (0, 0);
    for scope in scopes {
        removed += place.purge(scope.clone()).await?;
        left += place.remaining(scope.clone()).await?;
    }
    if left > 0 { Err(PurgeError(format!("{left} items are still there"))) } else { Ok(removed) }
}

async fn probe(
    place: &dyn Purgeable,
    scopes: &[PurgeScope],
    before: &[Holding],
) -> Result<Vec<Probed>, PurgeError> {
    let mut all: Vec<Probed> = Vec::new();
    for scope in scopes {
        for probed in place.probe(scope.clone(), before.to_vec()).await? {
            match all.iter_mut().find(|known| known.holding.is_of(&probed.holding)) {
                Some(known) => known.holding.items += probed.holding.items,
                None => all.push(probed),
            }
        }
    }
    Ok(all)
}

/// The handler of purges on the durable queue.
pub struct PurgeHandler(pub Arc<Purger>);

impl Handler for PurgeHandler {
    fn kind(&self) -> &'static str {
        PURGE_JOB
    }

    fn policy(&self) -> Policy {
        POLICY
    }

    fn run<'a>(&'a self, job: &'a JobRow) -> PortFuture<'a, Outcome> {
        Box::pin(async move {
            let id = job.payload.get("purge_job").and_then(|id| id.as_str()?.parse().ok());
            let Some(id) = id else {
                return Outcome::Permanent { error: "it does not say which purge".to_owned() };
            };
            let is_sweep = job.payload.get("sweep").is_some();
            let ended = if is_sweep { self.0.sweep(id).await } else { self.0.run(id).await };
            ended.unwrap_or_else(Outcome::failure)
        })
    }
}

/// A purge as it is asked for.
pub fn requested(
    deps: &Deps,
    workspace: domain::WorkspaceId,
    target: PurgeTarget,
    by: String,
) -> PurgeJobRow {
    let now = deps.world.clock.unix_ms();
    PurgeJobRow {
        id: PurgeJobId::new(now, deps.world.id_bytes()),
        workspace,
        target,
        state: PurgeState::Pending,
        requested_by: by,
        progress: Progress::default(),
        created_unix_ms: now,
        completed_unix_ms: None,
    }
}
