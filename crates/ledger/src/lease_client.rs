//! A replica's lease client: carries the pools' calls to the lease centre, renews leases, and returns them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use domain::BudgetId;
use domain::limits::{LEASE_RENEW_EVERY, LEASE_TIME_MAX};
use domain::ports::PortFuture;
use domain::timeline::micros;
use world::World;

use crate::allowances::LimitState;
use crate::lease::LeaseGrant;
use crate::local_budget::{LeaseOp, LocalBudget};
use crate::sink::SinkError;

const TICK: Duration = Duration::from_millis(100);
/// The delay before a failed renewal is retried.
const RENEW_AGAIN: Duration = Duration::from_secs(2);
const GOODBYE_ROUNDS: u32 = 3;

/// One call for one budget in one period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseCall {
    pub budget: BudgetId,
    pub period_unix_ms: u64,
    pub call: LeaseOp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseAnswer {
    Granted(LeaseGrant),
    Returned {
        sequence: u64,
    },
    /// The centre of this budget did not answer, while that of another did.
    Failed,
}

/// The centre's reply to a renewal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Renewal {
    /// The number of replicas that serve, including this one.
    pub replicas: u64,
    /// The leases that this replica holds.
    pub leases: Vec<(BudgetId, u64)>,
}

/// The central owner of budgets: the store, behind a trait, since the store depends on the ledger.
pub trait LeaseCentre: Send + Sync {
    /// Applies calls, each once even if it is repeated; returns a reply for each, in order.
    fn apply_calls(&self, calls: Vec<LeaseCall>) -> PortFuture<'_, Result<Vec<LeaseAnswer>, SinkError>>;
    /// Extends this replica's leases and reclaims those of silent replicas.
    fn renew(&self) -> PortFuture<'_, Result<Renewal, SinkError>>;
    /// Ends all leases of this replica: nothing is reserved, and its journal is drained.
    fn release(&self) -> PortFuture<'_, Result<(), SinkError>>;
    /// The recalled budgets among those that this replica holds a lease on.
    fn recalls(&self) -> PortFuture<'_, Result<Vec<(BudgetId, u64)>, SinkError>>;
    /// Reports that a budget refused a request: its limit is reached.
    fn report_exhausted(
        &self,
        budget: BudgetId,
        period_unix_ms: u64,
    ) -> PortFuture<'_, Result<(), SinkError>>;
    /// Resolves when a replica waits for budget that others may hold.
    fn await_recall(&self) -> PortFuture<'_, ()>;
}

pub struct LeaseClient {
    shared: Arc<LimitState>,
    centre: Arc<dyn LeaseCentre>,
    world: World,
}

impl LeaseClient {
    pub fn new(shared: Arc<LimitState>, centre: Arc<dyn LeaseCentre>, world: World) -> Arc<Self> {
        Arc::new(Self { shared, centre, world })
    }

    /// Releases whatever an earlier process held, and renews. Call it before anything is served, and after
    /// the last run's journal is drained.
    ///
    /// # Errors
    /// Any error of the centre.
    pub async fn begin(&self) -> Result<(), SinkError> {
        self.centre.release().await?;
        self.renew().await
    }

    /// Serves the pools until it is dropped.
    pub async fn run(&self) {
        let mut renew_at_us = self.now_us() + micros(LEASE_RENEW_EVERY);
        loop {
            let recalled = tokio::select! {
                () = self.shared.lease_wakeup.notified() => false,
                () = tokio::time::sleep(TICK) => false,
                () = self.centre.await_recall() => true,
            };
            if self.now_us() >= renew_at_us {
                let renewed = self.renew().await;
                if let Err(error) = &renewed {
                    tracing::warn!(%error, "leases could not be renewed; they are spent on while they last");
                }
                let pause = if renewed.is_ok() { LEASE_RENEW_EVERY } else { RENEW_AGAIN };
                renew_at_us = self.now_us() + micros(pause);
            }
            let recalled =
                if recalled { self.centre.recalls().await.unwrap_or_default() } else { Vec::new() };
            self.turn(&recalled).await;
        }
    }

    /// One round of calls.
    pub async fn turn(&self, recalled: &[(BudgetId, u64)]) {
        let gives_all = self.shared.is_draining();
        let (now_us, now_unix_ms) = (self.now_us(), self.world.clock.unix_ms());
        let (mut calls, mut pools) = (Vec::new(), Vec::new());
        for pool in self.shared.pools() {
            let gives_all = gives_all || recalled.contains(&(pool.budget, pool.period_unix_ms));
            if let Some(call) = pool.next_call(now_us, now_unix_ms, gives_all) {
                calls.push(LeaseCall { budget: pool.budget, period_unix_ms: pool.period_unix_ms, call });
                pools.push(Arc::clone(&pool));
            }
            if pool.take_refusal()
                && let Err(error) = self.centre.report_exhausted(pool.budget, pool.period_unix_ms).await
            {
                tracing::debug!(%error, budget = %pool.budget, "the state of a reached budget couldn't be stored yet");
                pool.clear_refusal_reported();
            }
        }
        if !calls.is_empty() {
            self.carry(calls, &pools).await;
        }
        self.shared.forget_old_pools();
    }

    async fn carry(&self, calls: Vec<LeaseCall>, pools: &[Arc<LocalBudget>]) {
        match self.centre.apply_calls(calls).await {
            Ok(answers) => {
                for (pool, answer) in pools.iter().zip(answers) {
                    match answer {
                        LeaseAnswer::Granted(grant) => pool.apply_grant(grant, self.now_us()),
                        LeaseAnswer::Returned { sequence } => pool.confirm_return(sequence, self.now_us()),
                        LeaseAnswer::Failed => pool.record_failure(self.now_us()),
                    }
                }
            }
            Err(error) => {
                tracing::debug!(%error, "the centre of budgets did not answer");
                pools.iter().for_each(|pool| pool.record_failure(self.now_us()));
            }
        }
    }

    async fn renew(&self) -> Result<(), SinkError> {
        // The time before the request: the centre counts the lease from later.
        let sent_us = self.now_us();
        let renewal = self.centre.renew().await?;
        self.shared.set_replicas(renewal.replicas);
        let held: HashSet<_> = renewal.leases.into_iter().collect();
        for pool in self.shared.pools() {
            if !held.contains(&(pool.budget, pool.period_unix_ms)) {
                pool.forget();
            }
        }
        self.shared.renew_until(sent_us + micros(LEASE_TIME_MAX));
        Ok(())
    }

    /// At shutdown, once everything is settled and drained: returns all leases.
    pub async fn close(&self) {
        self.shared.drain();
        for _ in 0..GOODBYE_ROUNDS {
            match self.centre.release().await {
                Ok(()) => return,
                Err(error) => tracing::warn!(%error, "leases couldn't be returned"),
            }
        }
    }

    fn now_us(&self) -> u64 {
        self.world.clock.monotonic_us()
    }
}
