//! The replicas that draw on the simulated commitments: the process under test, and a neighbour that takes and
//! returns shares beside it.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use domain::BudgetId;
use ledger::local_budget::LocalBudget;
use ledger::simulation::{SimulatedCentre, now};
use ledger::{CoreAllowances, LeaseCentre, LeaseClient, LimitState};
use world::World;

/// The process under test and its neighbour, as the centre numbers them.
pub const TESTED: i64 = 0;
const NEIGHBOUR: i64 = 1;

/// One replica's limits and budgets, with the client that carries its calls to the centre.
pub struct Replica {
    pub core: Rc<CoreAllowances>,
    client: Arc<LeaseClient>,
    centre: Arc<dyn LeaseCentre>,
}

impl Replica {
    /// Starts with the centre within reach, as a process does before it is ready.
    pub fn start(centre: &Arc<SimulatedCentre>, number: i64, world: &World) -> Self {
        let shared = Arc::new(LimitState::default());
        let centre = centre.of(number);
        let client = LeaseClient::new(Arc::clone(&shared), Arc::clone(&centre), world.clone());
        now(client.begin()).expect("nothing is waited for").expect("the centre is within reach");
        Self { core: CoreAllowances::new(shared), client, centre }
    }

    /// One round of calls to the centre.
    pub fn turn(&self) {
        let recalled = now(self.centre.recalls()).expect("it answers at once").unwrap_or_default();
        now(self.client.turn(&recalled)).expect("it answers at once");
    }

    /// While nothing is in flight and all is drained, the centre holds for it what it may still spend, and not more.
    pub fn check_held(&self, centre: &SimulatedCentre, number: i64) {
        // A call whose reply was lost is sent again, and answered.
        self.turn();
        for pool in self.core.shared().pools() {
            let held = centre.held(number, pool.budget, pool.period_unix_ms);
            assert_eq!(held, pool.available(), "the centre holds another amount than is here");
        }
    }

    /// Ends like a process that stops: it reserves nothing any more, and returns all leases.
    pub fn close(&self) {
        let reserved: i64 = self.core.shared().pools().iter().map(|pool| pool.reservation()).sum();
        assert_eq!(reserved, 0, "a commitment is reserved while nothing is in flight");
        now(self.client.close()).expect("it answers at once");
    }
}

/// What a neighbour has in progress on one commitment.
pub struct Job {
    pub pool: Arc<LocalBudget>,
    pub reserved: i64,
    pub cost: i64,
}

/// A replica whose exchanges are only drawn and settled.
pub struct Neighbour {
    pub replica: Replica,
    centre: Arc<SimulatedCentre>,
    jobs: BTreeMap<u64, Job>,
}

impl Neighbour {
    pub fn start(centre: &Arc<SimulatedCentre>, world: &World) -> Self {
        let replica = Replica::start(centre, NEIGHBOUR, world);
        Self { replica, centre: Arc::clone(centre), jobs: BTreeMap::new() }
    }

    pub fn check_held(&self) {
        self.replica.check_held(&self.centre, NEIGHBOUR);
    }

    pub fn is_busy(&self) -> bool {
        !self.jobs.is_empty()
    }

    /// Begins a job that costs `cost`, of which `least` is certain, and returns what it reserves; `None` if
    /// nothing is left, here or at the centre.
    pub fn begin(
        &mut self,
        pool: &Arc<LocalBudget>,
        number: u64,
        (least, cost): (i64, i64),
        now_us: u64,
    ) -> Option<i64> {
        let reserved = match pool.reserve(1, least, now_us) {
            Some(reserved) => reserved,
            None => {
                let ticket = pool.enqueue(1, least, now_us)?;
                self.replica.turn();
                let taken = pool.take_waited(ticket, least, now_us);
                pool.leave(ticket);
                taken?
            }
        };
        self.jobs.insert(number, Job { pool: Arc::clone(pool), reserved, cost });
        Some(reserved)
    }

    /// Ends a job: its record is drained at once.
    pub fn end(&mut self, number: u64, now_us: u64) -> Option<Job> {
        let job = self.jobs.remove(&number)?;
        job.pool.settle(job.reserved, job.cost, now_us);
        let (budget, period_unix_ms) = (job.pool.budget, job.pool.period_unix_ms);
        let drawn = domain::Drawn { budget, period_unix_ms, amount: domain::Nanos(job.cost) };
        self.centre.settle(NEIGHBOUR, &[drawn]);
        Some(job)
    }
}

/// A commitment in one period.
pub type Share = (BudgetId, u64);
