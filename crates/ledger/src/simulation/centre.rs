//! The centre of budgets in memory: the production `CentralBudget`s behind the port that the store implements.
//! It survives every crash, may be unreachable, and may apply a call without its reply arriving.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::ports::PortFuture;
use domain::{BudgetId, Drawn};
use world::{Clock, ManualClock};

use crate::lease::CentralBudget;
use crate::lease_client::{LeaseAnswer, LeaseCall, LeaseCentre, Renewal};
use crate::local_budget::LeaseOp;
use crate::sink::SinkError;

/// For this long after a recall, replicas return what they don't use.
const RECALL_MS: u64 = 5_000;

/// A budget in one period.
type BalanceKey = (BudgetId, u64);

#[derive(Debug, Default)]
struct Balances {
    limits: BTreeMap<BudgetId, i64>,
    balances: BTreeMap<BalanceKey, CentralBudget>,
    replicas: u64,
    is_away: bool,
    loses_replies: bool,
}

/// The balances that all replicas share.
#[derive(Debug)]
pub struct SimulatedCentre {
    clock: Arc<ManualClock>,
    state: Mutex<Balances>,
}

impl SimulatedCentre {
    pub fn new(clock: &Arc<ManualClock>, replicas: u64, limits: BTreeMap<BudgetId, i64>) -> Arc<Self> {
        let state = Mutex::new(Balances { limits, replicas, ..Balances::default() });
        Arc::new(Self { clock: Arc::clone(clock), state })
    }

    /// The centre as one replica reaches it.
    pub fn of(self: &Arc<Self>, replica: i64) -> Arc<dyn LeaseCentre> {
        Arc::new(ReplicaCentre { centre: Arc::clone(self), replica })
    }

    pub fn set_away(&self, is_away: bool) {
        self.lock().is_away = is_away;
    }

    /// Whether calls are applied and their reply is lost.
    pub fn lose_replies(&self, loses: bool) {
        self.lock().loses_replies = loses;
    }

    /// Applies what a drained record drew on commitments, as the store does in the transaction that stores the record.
    pub fn settle(&self, replica: i64, drawn: &[Drawn]) {
        let now_unix_ms = self.clock.unix_ms();
        let mut state = self.lock();
        for one in drawn {
            let balance = state.balance((one.budget, one.period_unix_ms));
            if one.is_beyond() {
                balance.settle(replica, one.amount.0);
            } else {
                balance.settle_commitment(replica, one.amount.0, now_unix_ms);
            }
        }
    }

    /// What was spent of every budget, by period.
    pub fn spent(&self) -> BTreeMap<BalanceKey, i64> {
        let state = self.lock();
        let spent = state.balances.iter().filter(|(_, balance)| balance.spent != 0);
        spent.map(|(key, balance)| (*key, balance.spent)).collect()
    }

    /// What replicas hold of all budgets.
    pub fn lease_total(&self) -> i64 {
        self.lock().balances.values().map(CentralBudget::lease_total).sum()
    }

    /// What a replica holds of a budget in a period; negative if it spent more than it was granted.
    pub fn held(&self, replica: i64, budget: BudgetId, period_unix_ms: u64) -> i64 {
        let state = self.lock();
        let lease = state.balances.get(&(budget, period_unix_ms)).and_then(|one| one.leases.get(&replica));
        lease.map_or(0, |lease| lease.held)
    }

    fn lock(&self) -> MutexGuard<'_, Balances> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Balances {
    fn balance(&mut self, key: BalanceKey) -> &mut CentralBudget {
        let limit = self.limits.get(&key.0).copied().unwrap_or_default();
        self.balances.entry(key).or_insert_with(|| CentralBudget { limit, ..CentralBudget::default() })
    }

    fn reachable(&self) -> Result<(), SinkError> {
        if self.is_away { Err(SinkError("the centre is away".to_owned())) } else { Ok(()) }
    }

    fn apply(&mut self, replica: i64, call: &LeaseCall, now_unix_ms: u64) -> LeaseAnswer {
        let replicas = self.replicas;
        let balance = self.balance((call.budget, call.period_unix_ms));
        match call.call {
            LeaseOp::Ask(ask) => LeaseAnswer::Granted(balance.grant(replica, replicas, &ask, now_unix_ms)),
            LeaseOp::Return { sequence, amount } => {
                balance.take_back(replica, sequence, amount);
                LeaseAnswer::Returned { sequence }
            }
        }
    }
}

struct ReplicaCentre {
    centre: Arc<SimulatedCentre>,
    replica: i64,
}

impl ReplicaCentre {
    fn answer<T>(&self, of: impl FnOnce(&mut Balances, i64, u64) -> T) -> PortFuture<'_, Result<T, SinkError>>
    where
        T: Send + 'static,
    {
        let now_unix_ms = self.centre.clock.unix_ms();
        let mut state = self.centre.lock();
        let answer = state.reachable().map(|()| of(&mut state, self.replica, now_unix_ms));
        Box::pin(std::future::ready(answer))
    }
}

impl LeaseCentre for ReplicaCentre {
    fn apply_calls(&self, calls: Vec<LeaseCall>) -> PortFuture<'_, Result<Vec<LeaseAnswer>, SinkError>> {
        let applied = self.answer(|state, replica, now_unix_ms| {
            let answers = calls.iter().map(|call| state.apply(replica, call, now_unix_ms)).collect();
            (answers, state.loses_replies)
        });
        Box::pin(async move {
            match applied.await? {
                (_, true) => Err(SinkError("the reply is lost".to_owned())),
                (answers, false) => Ok(answers),
            }
        })
    }

    fn renew(&self) -> PortFuture<'_, Result<Renewal, SinkError>> {
        self.answer(|state, replica, now_unix_ms| {
            let mut leases = Vec::new();
            for (key, balance) in &mut state.balances {
                balance.renew(replica, now_unix_ms);
                balance.reclaim(now_unix_ms);
                if balance.leases.get(&replica).is_some_and(|lease| lease.held != 0) {
                    leases.push(*key);
                }
            }
            Renewal { replicas: state.replicas, leases }
        })
    }

    fn release(&self) -> PortFuture<'_, Result<(), SinkError>> {
        self.answer(|state, replica, _| {
            for balance in state.balances.values_mut() {
                balance.leases.remove(&replica);
            }
        })
    }

    fn recalls(&self) -> PortFuture<'_, Result<Vec<BalanceKey>, SinkError>> {
        self.answer(|state, replica, now_unix_ms| {
            let is_held =
                |balance: &CentralBudget| balance.leases.get(&replica).is_some_and(|lease| lease.held > 0);
            let is_recalled = |balance: &CentralBudget| {
                balance.recalled_unix_ms > 0
                    && now_unix_ms.saturating_sub(balance.recalled_unix_ms) < RECALL_MS
            };
            let recalled = state.balances.iter().filter(|(_, one)| is_held(one) && is_recalled(one));
            recalled.map(|(key, _)| *key).collect()
        })
    }

    fn report_exhausted(&self, _: BudgetId, _: u64) -> PortFuture<'_, Result<(), SinkError>> {
        self.answer(|_, _, _| ())
    }

    fn await_recall(&self) -> PortFuture<'_, ()> {
        Box::pin(std::future::pending())
    }
}
