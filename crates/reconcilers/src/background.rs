//! Background jobs: delivering events, finalising months, announcing expiry, sending budget alerts, counting openings of
//! secrets, and deleting old events.

use std::sync::Arc;
use std::time::Duration;

use domain::limits::{EVENTS_KEPT, PAGE_ROWS_MAX};
use domain::ports::PortFuture;
use domain::{CredentialId, EventId, WorkspaceId};
use evidence::exports::DataExports;
use jobs::{Handler, Handlers, Outcome, Policy};
use serde_json::{Value, json};
use snapshot::CredentialState;
use store::alerts::{MEASURE, MEASURE_EVERY_MS};
use store::webhooks::ANNOUNCE_EXPIRY;
use store::{Act, EventKind, EventRow, JobRow, NewJob, Page, StoreError};

use crate::audit_sink::{self, AuditDestination, SEND, SendEntriesHandler};
use crate::canaries::{self, JUDGE_EVERY_MS};
use crate::heads::{CHECK_EVERY_MS, Heads, KEEP, StoreHeadsHandler};
use crate::milliseconds;
use crate::webhooks::Deliver;
use crate::{Deps, alerts, invoicing, polling, subscriptions};

const CLOSE_MONTHS: &str = "invoices.close_months";
const FINALISE: &str = "invoices.finalise";
const JUDGE_CANARIES: &str = "aliases.judge_canaries";
const FORGET: &str = "events.forget";
const EXPIRE_EXPORTS: &str = "data_exports.expire";
const COUNT_OPENINGS: &str = "audit.count_openings";
const CLAIM_ALERTS: &str = "budgets.tell_alerts";
const SEND_DIGESTS: &str = "alerts.digest";
const ALERTS_AT_ONCE: u32 = 100;
const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
const ALERTS_EVERY_MS: u64 = 5_000;
const RENEW_SUBSCRIPTIONS: &str = "subscriptions.renew";
const RENEW_EVERY_MS: u64 = 2_000;

/// Where copies of the audit go, outside of this installation.
#[derive(Clone, Default)]
pub struct AuditCopies {
    pub heads: Option<Heads>,
    pub entries: Option<Arc<dyn AuditDestination>>,
}

/// All job handlers of this process. Finalising an invoice waits for `grace` after the end of its month, so
/// that records on their way still arrive.
pub fn handlers(deps: &Deps, grace: Duration, audit: AuditCopies) -> Handlers {
    let ours = |kind, work: Work| {
        Arc::new(MaintenanceHandler { kind, work, deps: deps.clone(), grace_ms: milliseconds(grace) })
            as Arc<dyn Handler>
    };
    let mut all: Vec<Arc<dyn Handler>> = vec![
        Arc::new(Deliver(deps.clone())),
        Arc::new(StoreHeadsHandler::new(deps.clone(), audit.heads)),
        Arc::new(SendEntriesHandler { deps: deps.clone(), destination: audit.entries }),
        ours(CLOSE_MONTHS, |ours, job| Box::pin(close_months(ours, job))),
        ours(FINALISE, |ours, job| Box::pin(finalise(ours, job))),
        ours(ANNOUNCE_EXPIRY, |ours, job| Box::pin(announce_expiry(ours, job))),
        ours(CLAIM_ALERTS, |ours, job| Box::pin(claim_alerts(ours, job))),
        ours(JUDGE_CANARIES, |ours, _| Box::pin(canaries::judge_all(&ours.deps))),
        ours(MEASURE, |ours, _| Box::pin(alerts::measure_all(&ours.deps))),
        ours(SEND_DIGESTS, |ours, _| Box::pin(alerts::digest_all(&ours.deps))),
        ours(RENEW_SUBSCRIPTIONS, |ours, _| Box::pin(subscriptions::renew_due(&ours.deps))),
        ours(FORGET, |ours, job| Box::pin(forget(ours, job))),
        ours(EXPIRE_EXPORTS, |ours, _| Box::pin(expire_exports(ours))),
        ours(COUNT_OPENINGS, |ours, _| {
            Box::pin(evidence::audit_openings(&ours.deps.store, &ours.deps.world))
        }),
    ];
    all.extend(polling::handlers(deps));
    all
}

/// Schedules the recurring jobs. Each has a fixed name, so a second call changes nothing. Months are closed, canaries judged and alert
/// rules measured where the books of all requests are, which is not on a data plane.
pub async fn schedule(deps: &Deps, audit: &AuditCopies, keeps_books: bool) -> Result<(), StoreError> {
    let now = deps.world.clock.unix_ms();
    let always = [
        (FORGET, 24 * HOUR_MS),
        (EXPIRE_EXPORTS, HOUR_MS),
        (COUNT_OPENINGS, HOUR_MS),
        (CLAIM_ALERTS, ALERTS_EVERY_MS),
    ];
    let takes_subscriptions = deps.keeper.current().catalogue().takes_subscriptions();
    let more = [
        keeps_books.then_some((CLOSE_MONTHS, HOUR_MS)),
        keeps_books.then_some((JUDGE_CANARIES, JUDGE_EVERY_MS)),
        keeps_books.then_some((MEASURE, MEASURE_EVERY_MS)),
        keeps_books.then_some((SEND_DIGESTS, alerts::DIGEST_EVERY_MS)),
        audit.heads.is_some().then_some((KEEP, CHECK_EVERY_MS)),
        audit.entries.is_some().then_some((SEND, audit_sink::CHECK_EVERY_MS)),
        takes_subscriptions.then_some((RENEW_SUBSCRIPTIONS, RENEW_EVERY_MS)),
    ];
    for (kind, every_ms) in always.into_iter().chain(more.into_iter().flatten()) {
        let job = NewJob::recurring(kind, every_ms, now);
        deps.store.jobs().enqueue(job).await?;
    }
    Ok(())
}

type Work = for<'a> fn(&'a MaintenanceHandler, &'a JobRow) -> PortFuture<'a, Result<(), StoreError>>;

/// A maintenance job of the system itself; it fails only through a fault of this system.
struct MaintenanceHandler {
    kind: &'static str,
    work: Work,
    deps: Deps,
    grace_ms: u64,
}

impl Handler for MaintenanceHandler {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn policy(&self) -> Policy {
        Policy::OURS
    }

    fn run<'a>(&'a self, job: &'a JobRow) -> PortFuture<'a, Outcome> {
        Box::pin(async move {
            match (self.work)(self, job).await {
                Ok(()) => Outcome::Done,
                Err(error) => {
                    tracing::warn!(kind = self.kind, %error, "a background job failed");
                    Outcome::failure(error)
                }
            }
        })
    }
}

/// Claims the alerts for budget thresholds that were crossed, each once.
async fn claim_alerts(ours: &MaintenanceHandler, _job: &JobRow) -> Result<(), StoreError> {
    let (budgets, now) = (ours.deps.store.budgets(), ours.deps.world.clock.unix_ms());
    budgets.note_under_used(now).await?;
    while budgets.claim_alerts(ALERTS_AT_ONCE, now).await?.len() as u64 == u64::from(ALERTS_AT_ONCE) {}
    Ok(())
}

/// Finds workspaces with finished months and enqueues a `FINALISE` job for each.
async fn close_months(ours: &MaintenanceHandler, _job: &JobRow) -> Result<(), StoreError> {
    let (store, now) = (&ours.deps.store, ours.deps.world.clock.unix_ms());
    let mut after = None;
    loop {
        let listed = store.workspaces().list((), Page { limit: PAGE_ROWS_MAX, after }).await?;
        for workspace in &listed.rows {
            let open = invoicing::open_months(store, workspace.id, now).await?;
            if open.iter().any(|month| month.end_unix_ms.saturating_add(ours.grace_ms) <= now) {
                let job = NewJob {
                    kind: FINALISE,
                    workspace: workspace.id,
                    name: Some(format!("{FINALISE}:{}", workspace.id)),
                    payload: json!({"workspace": workspace.id.to_string()}),
                    run_unix_ms: now,
                    every_ms: None,
                    unix_ms: now,
                };
                store.jobs().enqueue(job).await?;
            }
        }
        after = listed.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

/// Finalises a workspace's finished months, oldest first, because each invoice depends on the earlier ones.
async fn finalise(ours: &MaintenanceHandler, job: &JobRow) -> Result<(), StoreError> {
    let Some(workspace) = id_of::<WorkspaceId>(job, "workspace") else { return Ok(()) };
    let (store, world) = (&ours.deps.store, &ours.deps.world);
    let now = world.clock.unix_ms();
    let open = match invoicing::open_months(store, workspace, now).await {
        Err(StoreError::NotFound { .. }) => return Ok(()),
        open => open?,
    };
    for month in open.into_iter().rev() {
        if month.end_unix_ms.saturating_add(ours.grace_ms) > now {
            break;
        }
        invoicing::finalise(store, month, Act::system(world)).await?;
    }
    Ok(())
}

/// Announces that a credential expires, unless its expiry has changed since the job was enqueued.
async fn announce_expiry(ours: &MaintenanceHandler, job: &JobRow) -> Result<(), StoreError> {
    let ids = (id_of::<WorkspaceId>(job, "workspace"), id_of::<CredentialId>(job, "credential"));
    let (Some(workspace), Some(credential)) = ids else { return Ok(()) };
    let row = match ours.deps.store.credentials().get(workspace, credential).await {
        Err(StoreError::NotFound { .. }) => return Ok(()),
        row => row?,
    };
    let announced = job.payload.get("expires_unix_ms").and_then(Value::as_u64);
    let Some(expires) = row.expires_unix_ms.filter(|expires| Some(*expires) == announced) else {
        return Ok(());
    };
    let now = ours.deps.world.clock.unix_ms();
    if row.state == CredentialState::Revoked || expires <= now {
        return Ok(());
    }
    // Jobs enqueued by an earlier version don't state their lead time.
    let before_ms = job.payload.get("before_ms").and_then(Value::as_u64).unwrap_or_default();
    let event = EventRow {
        id: notice_id(credential, expires, before_ms),
        workspace,
        kind: EventKind::CredentialExpiring,
        payload: json!({
            "id": credential.to_string(),
            "provider": row.provider,
            "display_name": row.display_name,
            "expires_at_unix_ms": expires,
            "days_left": expires.saturating_sub(now).div_ceil(DAY_MS),
        }),
        created_unix_ms: now,
    };
    ours.deps.store.events().emit(event).await
}

/// Deterministic, so that each notice is emitted once however often its job runs. The lead time and the
/// expiry are both part of it: three days before one expiry may be the same instant as one day before
/// another.
fn notice_id(credential: CredentialId, expires_unix_ms: u64, before_ms: u64) -> EventId {
    let mut random = credential.as_bytes().last_chunk::<10>().copied().unwrap_or_default();
    for (byte, of_end) in random.iter_mut().zip(expires_unix_ms.to_le_bytes()) {
        *byte ^= of_end;
    }
    EventId::new(expires_unix_ms.saturating_sub(before_ms), random)
}

async fn forget(ours: &MaintenanceHandler, _job: &JobRow) -> Result<(), StoreError> {
    let before = ours.deps.world.clock.unix_ms().saturating_sub(milliseconds(EVENTS_KEPT));
    ours.deps.store.events().forget(before).await?;
    ours.deps.store.jobs().forget_dead(before).await?;
    Ok(())
}

async fn expire_exports(ours: &MaintenanceHandler) -> Result<(), StoreError> {
    DataExports::of(&ours.deps.store).expire(ours.deps.world.clock.unix_ms()).await.map(drop)
}

fn id_of<T: std::str::FromStr>(job: &JobRow, name: &str) -> Option<T> {
    job.payload.get(name)?.as_str()?.parse().ok()
}
