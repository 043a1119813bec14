//! The centre of budgets and limits as a data plane reaches it: the control plane, by calls.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use database::error::StoreError;
use database::fields::{ColumnId, Fields};
use database::statement::sql;
use domain::ports::PortFuture;
use domain::timeline::micros;
use domain::{BudgetId, WorkspaceId};
use ledger::{LeaseAnswer, LeaseCall, LeaseCentre, Renewal, SinkError};
use store::Store;
use world::{Clock, World};

use crate::limits::RECALL_EVERY;
use crate::link::{Link, LinkError};
use crate::outbox::Outbox;
use crate::wire::{LEASES, LeaseQuestion, LeaseReply, held};

/// The fact under which it is kept how many gateways share the limits.
const REPLICAS: &str = "data_plane.replicas";

/// A data plane is a replica that calls: its leases have the same bounds as those of a gateway on the same database. For each
/// workspace it is one by itself.
pub struct RemoteCentre {
    links: Vec<(WorkspaceId, Link)>,
    outbox: Arc<Outbox>,
    store: Store,
    clock: Arc<dyn Clock>,
    /// How many gateways shared the limits when it was last heard; zero before that.
    replicas: AtomicU64,
    /// Whether anything is leased that others may wait for.
    is_holding: AtomicBool,
    recall_at_us: AtomicU64,
    /// The last place of the outbox that may hold what was spent from a lease. Until this process has leased something, that is the last
    /// which an earlier one left: its own records since then come without end, and would be waited for as long.
    spent_upto: AtomicU64,
    /// Whose the budgets are that calls were about.
    owners: Mutex<HashMap<BudgetId, WorkspaceId>>,
}

impl RemoteCentre {
    /// After the journal of the last run is recovered: what the outbox holds is of earlier processes.
    pub async fn open(
        links: Vec<(WorkspaceId, Link)>,
        (outbox, store): (Arc<Outbox>, Store),
        world: &World,
    ) -> Result<Arc<Self>, StoreError> {
        let spent_upto = AtomicU64::new(outbox.last_place().await?);
        Ok(Arc::new(Self {
            links,
            outbox,
            store,
            replicas: AtomicU64::new(0),
            clock: Arc::clone(&world.clock),
            is_holding: AtomicBool::new(false),
            recall_at_us: AtomicU64::new(0),
            spent_upto,
            owners: Mutex::default(),
        }))
    }

    /// How many gateways shared the limits when an earlier process last heard of it: its share is kept over a restart without
    /// the control plane.
    pub async fn kept_replicas(store: &Store) -> Result<u64, StoreError> {
        let kept = store.meta().get(REPLICAS.to_owned()).await?;
        Ok(kept.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or(1))
    }

    async fn keep_replicas(&self, replicas: u64) -> Result<(), SinkError> {
        if self.replicas.swap(replicas, Ordering::AcqRel) == replicas {
            return Ok(());
        }
        let fact = (REPLICAS.to_owned(), replicas.to_string().into_bytes());
        self.store.meta().put(vec![fact]).await.map_err(|error| SinkError(error.with_causes()))
    }

    /// Asks for each workspace. One that the control plane refuses, such as one that was withdrawn, does not keep the others from being answered.
    async fn ask_each(&self, question: impl Fn() -> LeaseQuestion) -> Result<Vec<LeaseReply>, SinkError> {
        let (mut replies, mut refused) = (Vec::new(), None);
        for (_, link) in &self.links {
            match link.call(LEASES, &question()).await {
                Ok(reply) => replies.push(reply),
                Err(error @ LinkError::Refused { .. }) => refused = Some(SinkError(error.to_string())),
                Err(error @ LinkError::Away(_)) => return Err(SinkError(error.to_string())),
            }
        }
        match refused {
            Some(error) if replies.is_empty() => Err(error),
            _ => Ok(replies),
        }
    }

    /// Whose a budget is; what was deleted may be anybody's.
    async fn owner(&self, budget: BudgetId) -> Result<Option<WorkspaceId>, SinkError> {
        if let [(only, _)] = self.links.as_slice() {
            return Ok(Some(*only));
        }
        let known = self.owners.lock().unwrap_or_else(PoisonError::into_inner).get(&budget).copied();
        if known.is_some() {
            return Ok(known);
        }
        let read = async {
            let query = sql("SELECT workspace FROM budgets WHERE id = $1").bind(budget.bytes());
            let row = query.row(&mut self.store.database().read().await?).await?;
            row.map(|row| Fields::new("budgets", &row).id("workspace")).transpose()
        };
        let found: Option<WorkspaceId> =
            read.await.map_err(|error: StoreError| SinkError(error.with_causes()))?;
        if let Some(workspace) = found {
            self.owners.lock().unwrap_or_else(PoisonError::into_inner).insert(budget, workspace);
        }
        Ok(found)
    }

    async fn calls(&self, calls: Vec<LeaseCall>) -> Result<Vec<LeaseAnswer>, SinkError> {
        let mut by_link: Vec<Vec<(usize, &LeaseCall)>> = self.links.iter().map(|_| Vec::new()).collect();
        for (at, call) in calls.iter().enumerate() {
            let owner = self.owner(call.budget).await?;
            let at_link = self.links.iter().position(|(workspace, _)| Some(*workspace) == owner);
            if let Some(own) = at_link.and_then(|at_link| by_link.get_mut(at_link)) {
                own.push((at, call));
            }
        }
        let mut answers = vec![LeaseAnswer::Failed; calls.len()];
        let mut failed = None;
        for ((_, link), own) in self.links.iter().zip(by_link).filter(|(_, calls)| !calls.is_empty()) {
            let question = LeaseQuestion::Calls(own.iter().map(|(_, call)| (*call).into()).collect());
            match link.call(LEASES, &question).await {
                Ok(LeaseReply::Calls(grants)) if grants.len() == own.len() => {
                    for ((at, _), grant) in own.iter().zip(&grants) {
                        if let Some(answer) = answers.get_mut(*at) {
                            *answer = grant.into();
                        }
                    }
                }
                Ok(_) => failed = Some(unexpected()),
                Err(error) => failed = Some(SinkError(error.to_string())),
            }
        }
        match failed {
            Some(error) if answers.iter().all(|answer| *answer == LeaseAnswer::Failed) => Err(error),
            _ => Ok(answers),
        }
    }

    /// What was spent must be booked before what is left is given back: else it would be free for others for a while. A workspace that
    /// the control plane refuses has nothing to give back, and its records are not taken.
    async fn release_each(&self) -> Result<(), SinkError> {
        let (mut is_released, mut refused) = (false, None);
        let upto = self.spent_upto.load(Ordering::Acquire);
        for (workspace, link) in &self.links {
            let waiting = self.outbox.waiting(*workspace, upto).await;
            let waiting = waiting.map_err(|error| SinkError(error.with_causes()))?;
            let question = if waiting > 0 { LeaseQuestion::Recalls } else { LeaseQuestion::Release };
            match link.call::<LeaseReply>(LEASES, &question).await {
                Ok(_) if waiting > 0 => {
                    return Err(SinkError(format!("{waiting} batches of records are not delivered yet")));
                }
                Ok(_) => is_released = true,
                Err(error @ LinkError::Refused { .. }) => refused = Some(SinkError(error.to_string())),
                Err(error @ LinkError::Away(_)) => return Err(SinkError(error.to_string())),
            }
        }
        if let (false, Some(error)) = (is_released, refused) {
            return Err(error);
        }
        self.is_holding.store(false, Ordering::Release);
        Ok(())
    }

    async fn report(&self, budget: BudgetId, period_unix_ms: u64) -> Result<(), SinkError> {
        let owner = self.owner(budget).await?;
        let Some((_, link)) = self.links.iter().find(|(workspace, _)| Some(*workspace) == owner) else {
            return Ok(());
        };
        let question = LeaseQuestion::Exhausted { budget_id: budget.to_string(), period_unix_ms };
        match link.call(LEASES, &question).await.map_err(|error| SinkError(error.to_string()))? {
            LeaseReply::Done => Ok(()),
            _ => Err(unexpected()),
        }
    }
}

fn unexpected() -> SinkError {
    SinkError("the control plane answered another question".to_owned())
}

impl LeaseCentre for RemoteCentre {
    fn apply_calls(&self, calls: Vec<LeaseCall>) -> PortFuture<'_, Result<Vec<LeaseAnswer>, SinkError>> {
        Box::pin(async move {
            self.spent_upto.store(u64::MAX, Ordering::Release);
            self.is_holding.store(true, Ordering::Release);
            self.calls(calls).await
        })
    }

    fn renew(&self) -> PortFuture<'_, Result<Renewal, SinkError>> {
        Box::pin(async move {
            let (mut replicas, mut leases) = (0, Vec::new());
            for reply in self.ask_each(|| LeaseQuestion::Renew).await? {
                let LeaseReply::Renewed { replicas: sharing, leases: own } = reply else {
                    return Err(unexpected());
                };
                replicas = sharing.max(replicas);
                leases.extend(held(&own).map_err(|error| SinkError(error.to_string()))?);
            }
            self.is_holding.store(!leases.is_empty(), Ordering::Release);
            self.keep_replicas(replicas).await?;
            Ok(Renewal { replicas, leases })
        })
    }

    fn release(&self) -> PortFuture<'_, Result<(), SinkError>> {
        Box::pin(self.release_each())
    }

    fn recalls(&self) -> PortFuture<'_, Result<Vec<(BudgetId, u64)>, SinkError>> {
        Box::pin(async move {
            let mut recalled = Vec::new();
            for reply in self.ask_each(|| LeaseQuestion::Recalls).await? {
                let LeaseReply::Recalled(own) = reply else { return Err(unexpected()) };
                recalled.extend(held(&own).map_err(|error| SinkError(error.to_string()))?);
            }
            Ok(recalled)
        })
    }

    fn report_exhausted(
        &self,
        budget: BudgetId,
        period_unix_ms: u64,
    ) -> PortFuture<'_, Result<(), SinkError>> {
        Box::pin(self.report(budget, period_unix_ms))
    }

    /// Nobody calls a data plane, so it asks from time to time while it holds something. The wait may be abandoned and begun
    /// again, and goes on from where it was.
    fn await_recall(&self) -> PortFuture<'_, ()> {
        Box::pin(async move {
            if !self.is_holding.load(Ordering::Acquire) {
                std::future::pending::<()>().await;
            }
            let now_us = self.clock.monotonic_us();
            let left_us = self.recall_at_us.load(Ordering::Acquire).saturating_sub(now_us);
            tokio::time::sleep(Duration::from_micros(left_us)).await;
            let next_us = self.clock.monotonic_us().saturating_add(micros(RECALL_EVERY));
            self.recall_at_us.store(next_us, Ordering::Release);
        })
    }
}

domain::brief_debug!(RemoteCentre as "RemoteCentre");
