//! The centre of budgets and limits as a data plane reaches it: the control plane, by calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use database::error::StoreError;
use domain::BudgetId;
use domain::ports::PortFuture;
use domain::timeline::micros;
use ledger::{LeaseAnswer, LeaseCall, LeaseCentre, Renewal, SinkError};
use store::Store;
use world::{Clock, World};

use crate::limits::RECALL_EVERY;
use crate::link::Link;
use crate::outbox::Outbox;
use crate::wire::{LEASES, LeaseQuestion, LeaseReply, held};

/// The fact under which it is kept how many gateways share the limits.
const REPLICAS: &str = "data_plane.replicas";

/// A data plane is a replica that calls: its leases have the same bounds as those of a gateway on the same database.
pub struct RemoteCentre {
    link: Link,
    outbox: Arc<Outbox>,
    store: Store,
    clock: Arc<dyn Clock>,
    /// How many gateways shared the limits when it was last heard; zero before that.
    replicas: AtomicU64,
    /// Whether anything is leased that others may wait for.
    is_holding: AtomicBool,
    recall_at_us: AtomicU64,
}

impl RemoteCentre {
    #[must_use]
    pub fn new(link: Link, (outbox, store): (Arc<Outbox>, Store), world: &World) -> Arc<Self> {
        Arc::new(Self {
            link,
            outbox,
            store,
            replicas: AtomicU64::new(0),
            clock: Arc::clone(&world.clock),
            is_holding: AtomicBool::new(false),
            recall_at_us: AtomicU64::new(0),
        })
    }

    /// How many gateways shared the limits when an earlier process last heard of it: its share is kept over a restart without
    /// the control plane.
    ///
    /// # Errors
    /// Of the store.
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

    async fn ask(&self, question: LeaseQuestion) -> Result<LeaseReply, SinkError> {
        self.link.call(LEASES, &question).await.map_err(|error| SinkError(error.to_string()))
    }

    async fn recalled(&self) -> Result<Vec<(BudgetId, u64)>, SinkError> {
        match self.ask(LeaseQuestion::Recalls).await? {
            LeaseReply::Recalled(leases) => held(&leases).map_err(|error| SinkError(error.to_string())),
            _ => Err(unexpected()),
        }
    }

    async fn done(&self, question: LeaseQuestion) -> Result<(), SinkError> {
        match self.ask(question).await? {
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
            self.is_holding.store(true, Ordering::Release);
            match self.ask(LeaseQuestion::Calls(calls.iter().map(Into::into).collect())).await? {
                LeaseReply::Calls(grants) if grants.len() == calls.len() => {
                    Ok(grants.iter().map(Into::into).collect())
                }
                _ => Err(unexpected()),
            }
        })
    }

    fn renew(&self) -> PortFuture<'_, Result<Renewal, SinkError>> {
        Box::pin(async move {
            let LeaseReply::Renewed { replicas, leases } = self.ask(LeaseQuestion::Renew).await? else {
                return Err(unexpected());
            };
            let leases = held(&leases).map_err(|error| SinkError(error.to_string()))?;
            self.is_holding.store(!leases.is_empty(), Ordering::Release);
            self.keep_replicas(replicas).await?;
            Ok(Renewal { replicas, leases })
        })
    }

    /// What was spent must be booked before what is left is given back: else it would be free for others for a while.
    fn release(&self) -> PortFuture<'_, Result<(), SinkError>> {
        Box::pin(async move {
            let waiting = self.outbox.waiting().await.map_err(|error| SinkError(error.with_causes()))?;
            if waiting > 0 {
                return Err(SinkError(format!("{waiting} batches of records are not delivered yet")));
            }
            self.done(LeaseQuestion::Release).await?;
            self.is_holding.store(false, Ordering::Release);
            Ok(())
        })
    }

    fn recalls(&self) -> PortFuture<'_, Result<Vec<(BudgetId, u64)>, SinkError>> {
        Box::pin(self.recalled())
    }

    fn report_exhausted(
        &self,
        budget: BudgetId,
        period_unix_ms: u64,
    ) -> PortFuture<'_, Result<(), SinkError>> {
        Box::pin(self.done(LeaseQuestion::Exhausted { budget_id: budget.to_string(), period_unix_ms }))
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

impl std::fmt::Debug for RemoteCentre {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RemoteCentre")
    }
}
