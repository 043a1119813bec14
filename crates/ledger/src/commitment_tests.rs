//! Commitments over two replicas, driven by hand: how much of one is used before the first request goes
//! elsewhere, and how far it is exceeded.

use std::sync::Arc;

use domain::{Budget, BudgetId, Counts, Nanos, OnReached, Period, Subject, WorkspaceId};
use proptest::prelude::*;

use crate::lease::CentralBudget;
use crate::local_budget::{LeaseOp, LocalBudget};

const CLIENTS: usize = 64;
const STEP_US: u64 = 1_000;

fn commitment(amount: i64, period: Period) -> Budget {
    Budget {
        id: BudgetId::new(1, [1; 10]),
        workspace: WorkspaceId::new(1, [2; 10]),
        name: "ours".into(),
        subject: Subject::Workspace,
        limit: Nanos(amount),
        period,
        on_reached: OnReached::Allow,
        counts: Counts::Committed,
    }
}

/// A request in progress: on which replica, what it reserved, and what it will have cost.
#[derive(Clone, Copy)]
struct Running {
    replica: usize,
    reserved: i64,
    cost: i64,
}

struct World {
    centre: CentralBudget,
    replicas: [Arc<LocalBudget>; 2],
    running: [Option<Running>; CLIENTS],
    now_us: u64,
    used: i64,
}

impl World {
    fn new(amount: i64) -> Self {
        let budget = commitment(amount, Period::Ever);
        Self {
            centre: CentralBudget { limit: amount, ..CentralBudget::default() },
            replicas: [LocalBudget::new(&budget, 0), LocalBudget::new(&budget, 0)],
            running: [None; CLIENTS],
            now_us: 1_000_000,
            used: 0,
        }
    }

    /// One round of calls to the centre; a recall reaches the other replica in the next round.
    fn turn(&mut self, recalled: bool) -> bool {
        let mut recalls = false;
        for (number, pool) in (0_i64..).zip(&self.replicas) {
            self.now_us += STEP_US;
            let now_unix_ms = self.now_us / 1_000;
            match pool.next_call(self.now_us, now_unix_ms, recalled) {
                None => {}
                Some(LeaseOp::Ask(ask)) => {
                    let grant = self.centre.grant(number, 2, &ask, now_unix_ms);
                    recalls |= grant.amount == 0 && grant.elsewhere > 0;
                    pool.apply_grant(grant, self.now_us);
                }
                Some(LeaseOp::Return { sequence, amount }) => {
                    self.centre.take_back(number, sequence, amount);
                    pool.confirm_return(sequence, self.now_us);
                }
            }
        }
        recalls
    }

    /// What `Reservation::draw` does, with the wait played out: `None` if the commitment is used up.
    fn draw(&mut self, replica: usize, least: i64) -> Option<i64> {
        let pool = Arc::clone(&self.replicas[replica]);
        if let Some(taken) = pool.reserve(1, least.max(1), self.now_us) {
            return Some(taken);
        }
        if pool.is_used_up(self.now_us) {
            return None;
        }
        let ticket = pool.enqueue(1, least.max(1), self.now_us).unwrap();
        let (until_us, mut recalled) = (self.now_us + 800_000, false);
        while self.now_us < until_us {
            recalled = self.turn(recalled);
            if let Some(taken) = pool.take_waited(ticket, least.max(1), self.now_us) {
                return Some(taken);
            }
            if pool.is_used_up(self.now_us) {
                break;
            }
            self.now_us += 20 * STEP_US;
        }
        pool.leave(ticket);
        None
    }

    fn end(&mut self, client: usize) {
        if let Some(ended) = self.running[client].take() {
            self.replicas[ended.replica].settle(ended.reserved, ended.cost, self.now_us);
            // Drained at once: the centre learns of it.
            self.centre.settle(ended.replica as i64, ended.cost);
            self.used += ended.cost;
        }
    }

    fn in_flight(&self) -> i64 {
        self.running.iter().flatten().map(|running| running.cost).sum()
    }
}

/// Runs until the first request finds the commitment used up. Returns what is used of it by then, what was
/// under way, and the dearest request.
fn until_first_burst(amount: i64, mut draws: impl FnMut() -> u64) -> (i64, i64) {
    let mut world = World::new(amount);
    for round in 0.. {
        let client = usize::try_from(draws() % CLIENTS as u64).unwrap();
        world.end(client);
        let least = 1 + (draws() % 400) as i64;
        let cost = least + (draws() % 1_600) as i64;
        let replica = client % 2;
        if round % 3 == 0 {
            let recalled = world.turn(false);
            world.turn(recalled);
        }
        match world.draw(replica, least) {
            Some(reserved) => world.running[client] = Some(Running { replica, reserved, cost }),
            None => return (world.used + world.in_flight(), world.in_flight()),
        }
    }
    unreachable!("a commitment ends")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_commitment_is_filled_before_anything_goes_elsewhere_and_exceeded_by_what_is_in_flight(
        amount in 1_000_000_i64..20_000_000,
        seed in any::<u64>(),
    ) {
        let mut state = seed | 1;
        let draws = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let (used, in_flight) = until_first_burst(amount, draws);
        prop_assert!(used * 1_000 >= amount * 995, "{used} of {amount}");
        prop_assert!(used - amount <= in_flight, "{used} of {amount}, {in_flight} under way");
    }
}

#[test]
fn each_period_has_a_pool_of_its_own_from_midnight_on() {
    let shared = crate::LimitState::default();
    // 2026-10-01 00:00 UTC begins a quarter, and a month.
    let (midnight, day) = (1_790_812_800_000, 86_400_000);
    for (period, start) in [(Period::Month, midnight - 30 * day), (Period::Quarter, midnight - 92 * day)] {
        let id = BudgetId::new(2, [period as u8; 10]);
        let commitment = Budget { id, ..commitment(1_000, period) };
        let before = shared.pool(&commitment, midnight - 1);
        let after = shared.pool(&commitment, midnight);
        assert_eq!((before.period_unix_ms, after.period_unix_ms), (start, midnight), "{period:?}");
        assert_eq!(before.ends_unix_ms, Some(midnight), "{period:?}");
    }
    let yearly = Budget { id: BudgetId::new(3, [9; 10]), ..commitment(1_000, Period::Year) };
    assert_eq!(shared.pool(&yearly, midnight).period_unix_ms, 1_767_225_600_000);
}
