//! Live rate limits and budgets: meters and pools shared by all cores of a process, looked up without a
//! common lock.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use domain::limits::CORE_ALLOWANCES_MAX;
use domain::{Budget, BudgetId, Subject, WorkspaceId};
use tokio::sync::Notify;

use crate::local_budget::LocalBudget;
use crate::meter::Meter;

type MeterName = (WorkspaceId, Subject);

/// What the cores of one process share.
#[derive(Debug)]
pub struct LimitState {
    meters: Mutex<HashMap<MeterName, Arc<Meter>>>,
    /// The pools of each budget, the newest period last.
    pools: Mutex<HashMap<BudgetId, Vec<Arc<LocalBudget>>>>,
    /// The number of replicas that serve, including this one: each gets an equal share of a rate limit.
    replicas: Arc<AtomicU64>,
    /// Monotonic time until which leases are valid.
    valid_until_us: AtomicU64,
    draining: AtomicBool,
    /// Wakes the lease client.
    pub(crate) lease_wakeup: Notify,
}

impl Default for LimitState {
    fn default() -> Self {
        Self {
            meters: Mutex::default(),
            pools: Mutex::default(),
            replicas: Arc::new(AtomicU64::new(1)),
            valid_until_us: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            lease_wakeup: Notify::new(),
        }
    }
}

impl LimitState {
    pub fn replicas(&self) -> u64 {
        self.replicas.load(Ordering::Relaxed).max(1)
    }

    /// The same number, as it changes.
    pub fn live_replicas(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.replicas)
    }

    pub fn set_replicas(&self, count: u64) {
        self.replicas.store(count, Ordering::Relaxed);
    }

    /// This replica's share of a rate limit. At least one, so that every replica makes progress.
    pub fn replica_share(&self, limit: u64) -> u64 {
        (limit / self.replicas()).max(1)
    }

    pub fn renew_until(&self, until_us: u64) {
        self.valid_until_us.store(until_us, Ordering::Release);
    }

    pub fn is_valid(&self, now_us: u64) -> bool {
        now_us < self.valid_until_us.load(Ordering::Acquire)
    }

    /// From now on everything that is not reserved is returned to the centre.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.lease_wakeup.notify_one();
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    pub fn pools(&self) -> Vec<Arc<LocalBudget>> {
        let pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.values().flatten().map(Arc::clone).collect()
    }

    /// Drops pools of earlier periods that nothing depends on. A request of that period that reserves nothing yet may
    /// still do so, with its next attempt.
    pub(crate) fn forget_old_pools(&self) {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        for periods in pools.values_mut() {
            let newest = periods.last().map(|pool| pool.period_unix_ms);
            periods.retain(|pool| {
                let is_held = Arc::strong_count(pool) > 1;
                Some(pool.period_unix_ms) == newest || is_held || !pool.is_at_rest()
            });
        }
    }

    /// The pool of the current period. A clock that is set back does not bring an earlier period back.
    pub fn pool(&self, budget: &Budget, now_unix_ms: u64) -> Arc<LocalBudget> {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let periods = pools.entry(budget.id).or_default();
        if let Some(newest) = periods.last().filter(|pool| lasts(pool, now_unix_ms)) {
            newest.follow_limit(budget.limit);
            return Arc::clone(newest);
        }
        let fresh = LocalBudget::new(budget, now_unix_ms);
        periods.push(Arc::clone(&fresh));
        fresh
    }

    /// The meter of a subject that has been used; one that has not is at rest.
    pub(crate) fn known_meter(&self, workspace: WorkspaceId, subject: &Subject) -> Option<Arc<Meter>> {
        let meters = self.meters.lock().unwrap_or_else(PoisonError::into_inner);
        meters.get(&(workspace, subject.clone())).map(Arc::clone)
    }

    fn meter(&self, name: &MeterName, now_us: u64) -> Arc<Meter> {
        let mut meters = self.meters.lock().unwrap_or_else(PoisonError::into_inner);
        if meters.len() >= CORE_ALLOWANCES_MAX {
            meters.retain(|_, meter| Arc::strong_count(meter) > 1 || !meter.is_at_rest(now_us));
        }
        Arc::clone(meters.entry(name.clone()).or_default())
    }
}

fn lasts(pool: &LocalBudget, now_unix_ms: u64) -> bool {
    pool.ends_unix_ms.is_none_or(|end| now_unix_ms < end)
}

/// A core's cache of meters and pools: it finds known ones without a shared lock.
#[derive(Debug, Default)]
pub struct CoreAllowances {
    shared: Arc<LimitState>,
    meters: RefCell<HashMap<MeterName, Arc<Meter>>>,
    pools: RefCell<HashMap<BudgetId, Arc<LocalBudget>>>,
}

impl CoreAllowances {
    pub fn new(shared: Arc<LimitState>) -> Rc<Self> {
        Rc::new(Self { shared, meters: RefCell::default(), pools: RefCell::default() })
    }

    pub const fn shared(&self) -> &Arc<LimitState> {
        &self.shared
    }

    pub(crate) fn meter(&self, workspace: WorkspaceId, subject: &Subject, now_us: u64) -> Arc<Meter> {
        let name = (workspace, subject.clone());
        let mut meters = self.meters.borrow_mut();
        if let Some(known) = meters.get(&name) {
            return Arc::clone(known);
        }
        if meters.len() >= CORE_ALLOWANCES_MAX {
            meters.clear();
        }
        let meter = self.shared.meter(&name, now_us);
        meters.insert(name, Arc::clone(&meter));
        meter
    }

    pub(crate) fn pool(&self, budget: &Budget, now_unix_ms: u64) -> Arc<LocalBudget> {
        let mut pools = self.pools.borrow_mut();
        if let Some(known) = pools.get(&budget.id).filter(|pool| lasts(pool, now_unix_ms)) {
            known.follow_limit(budget.limit);
            return Arc::clone(known);
        }
        if pools.len() >= CORE_ALLOWANCES_MAX {
            pools.clear();
        }
        let pool = self.shared.pool(budget, now_unix_ms);
        pools.insert(budget.id, Arc::clone(&pool));
        pool
    }
}

#[cfg(test)]
mod tests {
    use domain::{Counts, Nanos, OnReached, Period};

    use super::*;

    const DAY_MS: u64 = 86_400_000;

    fn budget() -> Budget {
        Budget {
            id: BudgetId::new(1, [1; 10]),
            workspace: WorkspaceId::new(1, [2; 10]),
            name: "b".into(),
            subject: Subject::Workspace,
            limit: Nanos(1_000),
            period: Period::Day,
            on_reached: OnReached::Pause,
            counts: Counts::All,
        }
    }

    #[test]
    fn a_period_rolls_once_whatever_the_wall_clock_does() {
        let shared = Arc::new(LimitState::default());
        let (one, other) = (CoreAllowances::new(Arc::clone(&shared)), CoreAllowances::new(shared));
        let midnight = 20_000 * DAY_MS;
        let begins = |core: &CoreAllowances, now| core.pool(&budget(), now).period_unix_ms;
        assert_eq!(begins(&one, midnight - 1), midnight - DAY_MS);
        assert_eq!(begins(&other, midnight + 1), midnight);
        // The clock goes back by an hour: a core that has rolled over stays, and one that had not finds the
        // other's pool.
        assert_eq!(begins(&other, midnight - 3_600_000), midnight);
        assert_eq!(begins(&one, midnight + 1), midnight);
        assert_eq!(begins(&one, midnight - 3_600_000), midnight);
        assert_eq!(one.shared().pools().len(), 2, "one pool for each period, shared");
        one.shared().forget_old_pools();
        assert_eq!(one.shared().pools().len(), 1);
    }

    #[test]
    fn a_request_that_outlives_its_period_still_reserves_of_it() {
        let core = CoreAllowances::new(Arc::default());
        let midnight = 20_000 * DAY_MS;
        let of_request = core.pool(&budget(), midnight - 1);
        drop(core.pool(&budget(), midnight));
        core.shared().forget_old_pools();
        // Else nobody would ask the centre for it.
        assert!(core.shared().pools().iter().any(|pool| Arc::ptr_eq(pool, &of_request)));
        drop(of_request);
        core.shared().forget_old_pools();
        assert_eq!(core.shared().pools().len(), 1);
    }

    #[test]
    fn replicas_share_a_rate_and_nobody_gets_nothing() {
        let shared = LimitState::default();
        assert_eq!(shared.replica_share(10), 10);
        shared.set_replicas(3);
        assert_eq!((shared.replica_share(10), shared.replica_share(2)), (3, 1));
    }
}
