//! The centre's side of budget leases: one budget's balance in one period, and which replica holds which
//! part. Pure.
//!
//! `limit = spent + held + free` at every moment. What a replica holds is what it may spend without asking:
//! its own reservations, its unreserved rest, and what it settled that is not drained yet. Draining a record
//! moves its amount from `held` to `spent` in one transaction, so a replica that dies owes the centre nothing
//! but its journal.

use std::collections::BTreeMap;

use domain::limits::{LEASE_SKEW_MAX, LEASE_SLICE_PERCENT_MAX, LEASE_TIME_MAX};

/// For this long after a recall, slices are no larger than what is waited for.
const SCARCE_MS: u64 = 5_000;

/// The minimum time between two recalls.
const RECALL_AGAIN_MS: u64 = 500;

/// One replica's part of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lease {
    /// In nano-USD. Negative while more was spent than reserved.
    pub held: i64,
    /// On the centre's clock; renewed while the replica is alive.
    pub until_unix_ms: u64,
    /// The last applied call's sequence, and the amount that it moved: a repeated call gets the same reply
    /// and is not applied again.
    pub sequence: u64,
    pub last_amount: i64,
}

/// A replica's request for a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseRequest {
    pub sequence: u64,
    /// Less than this helps no waiting request. Zero if the replica asks ahead of need.
    pub least: i64,
    /// The sum of all waiting requests.
    pub wanted: i64,
    /// Some waiting requests can use less than their maximum, so whatever is left serves them.
    pub divisible: bool,
}

/// The centre's reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LeaseGrant {
    pub sequence: u64,
    pub amount: i64,
    /// What other replicas hold: some of it may be returned.
    pub elsewhere: i64,
}

/// The central balance of one budget in one period.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CentralBudget {
    pub limit: i64,
    pub spent: i64,
    /// The last time that a replica found too little while others held some: for a while no slice is granted
    /// ahead of need.
    pub recalled_unix_ms: u64,
    /// By replica number. Under negative numbers, what objects hold that are being made: they return nothing before they have ended.
    pub leases: BTreeMap<i64, Lease>,
}

impl CentralBudget {
    pub fn lease_total(&self) -> i64 {
        self.leases.values().map(|lease| lease.held.max(0)).sum()
    }

    pub fn free(&self) -> i64 {
        self.limit.saturating_sub(self.spent).saturating_sub(self.lease_total()).max(0)
    }

    /// Grants a slice: what is waited for or, if that is less, a small share, so that others find something
    /// too.
    pub fn grant(&mut self, replica: i64, replicas: u64, ask: &LeaseRequest, now_unix_ms: u64) -> LeaseGrant {
        let free = self.free();
        let known = self.leases.get(&replica).copied();
        let amount = match known {
            Some(lease) if ask.sequence == lease.sequence => lease.last_amount,
            // A call from before the last applied one: its sender gave up waiting.
            Some(lease) if ask.sequence < lease.sequence => 0,
            _ => {
                let amount = self.slice_beyond_debt(known, replicas, free, ask, now_unix_ms);
                // A refusal moves nothing, so the same sequence may be used again.
                if amount > 0 {
                    let before = known.unwrap_or_default();
                    let lease = Lease {
                        held: before.held.saturating_add(amount),
                        until_unix_ms: before.until_unix_ms.max(now_unix_ms + lease_ms()),
                        sequence: ask.sequence,
                        last_amount: amount,
                    };
                    self.leases.insert(replica, lease);
                }
                amount
            }
        };
        let elsewhere = self.leases.iter().filter(|(number, _)| **number != replica && **number >= 0);
        let elsewhere = elsewhere.map(|(_, lease)| lease.held.max(0)).sum();
        let is_due = now_unix_ms.saturating_sub(self.recalled_unix_ms) >= RECALL_AGAIN_MS;
        if amount == 0 && ask.least > 0 && elsewhere > 0 && is_due {
            self.recalled_unix_ms = now_unix_ms;
        }
        LeaseGrant { sequence: ask.sequence, amount, elsewhere }
    }

    /// A slice on top of what the replica spent beyond its lease. That is in `spent` already, so it takes
    /// nothing from what is free.
    fn slice_beyond_debt(
        &self,
        lease: Option<Lease>,
        replicas: u64,
        free: i64,
        ask: &LeaseRequest,
        now_unix_ms: u64,
    ) -> i64 {
        let debt = lease.map_or(0, |lease| lease.held.min(0).saturating_neg());
        let beyond = LeaseRequest {
            least: ask.least.saturating_sub(debt).max(i64::from(ask.least > 0)),
            wanted: ask.wanted.saturating_sub(debt).max(i64::from(ask.least > 0)),
            ..*ask
        };
        match self.slice(replicas, free, &beyond, now_unix_ms) {
            0 => 0,
            slice => slice.saturating_add(debt),
        }
    }

    fn slice(&self, replicas: u64, free: i64, ask: &LeaseRequest, now_unix_ms: u64) -> i64 {
        let is_scarce =
            self.recalled_unix_ms > 0 && now_unix_ms.saturating_sub(self.recalled_unix_ms) < SCARCE_MS;
        if free < ask.least || free == 0 || (is_scarce && ask.least == 0) {
            return 0;
        }
        if ask.wanted > free && ask.divisible {
            return free;
        }
        if ask.wanted > free {
            // Not everything that is free: what serves no request here may serve one on another replica.
            return ask.least;
        }
        if is_scarce {
            return ask.wanted;
        }
        let share = free / i64::try_from(replicas.max(1)).unwrap_or(i64::MAX).saturating_mul(2);
        let slice = share.min(self.limit / 100 * LEASE_SLICE_PERCENT_MAX);
        ask.wanted.max(slice)
    }

    /// Takes back what a replica doesn't need. If its lease is gone, there is nothing left to return.
    pub fn take_back(&mut self, replica: i64, sequence: u64, amount: i64) {
        if let Some(lease) = self.leases.get_mut(&replica).filter(|lease| sequence > lease.sequence) {
            lease.held = lease.held.saturating_sub(amount);
            lease.sequence = sequence;
            lease.last_amount = amount;
        }
    }

    /// A drained record: moves what a replica spent from its lease to `spent`.
    pub fn settle(&mut self, replica: i64, amount: i64) {
        self.spent = self.spent.saturating_add(amount);
        if let Some(lease) = self.leases.get_mut(&replica) {
            lease.held = lease.held.saturating_sub(amount);
        }
    }

    /// The same of a commitment. A replica draws on it also where the centre is silent, before anything is leased: what it
    /// spends so is a debt here as it is there. Else a later request for a lease would count it twice, as spent and as missing.
    pub fn settle_commitment(&mut self, replica: i64, amount: i64, now_unix_ms: u64) {
        let fresh = || Lease { until_unix_ms: now_unix_ms + lease_ms(), ..Lease::default() };
        self.leases.entry(replica).or_insert_with(fresh);
        self.settle(replica, amount);
    }

    pub fn renew(&mut self, replica: i64, now_unix_ms: u64) {
        if let Some(lease) = self.leases.get_mut(&replica) {
            lease.until_unix_ms = now_unix_ms + lease_ms();
        }
    }

    /// Ends the leases of replicas that were silent for so long that they have stopped spending.
    pub fn reclaim(&mut self, now_unix_ms: u64) {
        self.leases.retain(|_, lease| lease.until_unix_ms.saturating_add(skew_ms()) > now_unix_ms);
    }
}

/// The duration of a lease. The centre reclaims it `skew_ms` after its end.
pub fn lease_ms() -> u64 {
    u64::try_from(LEASE_TIME_MAX.as_millis()).unwrap_or(u64::MAX)
}

pub fn skew_ms() -> u64 {
    u64::try_from(LEASE_SKEW_MAX.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn purse(limit: i64) -> CentralBudget {
        CentralBudget { limit, ..CentralBudget::default() }
    }

    fn ask(sequence: u64, least: i64) -> LeaseRequest {
        LeaseRequest { sequence, least, wanted: least, divisible: false }
    }

    #[test]
    fn what_an_object_holds_is_not_free_and_is_not_recalled() {
        let mut purse = purse(1_000);
        purse.leases.insert(i64::MIN, Lease { held: 800, until_unix_ms: 1_000_000, ..Lease::default() });
        let grant = purse.grant(1, 1, &ask(1, 300), 10_000);
        assert_eq!((grant.amount, grant.elsewhere, purse.recalled_unix_ms), (0, 0, 0));
        assert_eq!(purse.grant(1, 1, &ask(1, 200), 10_000).amount, 200);
    }

    #[test]
    fn a_slice_is_small_and_still_enough_for_who_waits() {
        let mut purse = purse(100_000);
        assert_eq!(purse.grant(1, 1, &ask(1, 0), 0).amount, 1_000, "one percent");
        assert_eq!(purse.grant(2, 64, &ask(1, 0), 0).amount, 99_000 / 128, "half of a share");
        assert_eq!(purse.grant(2, 64, &ask(2, 50_000), 0).amount, 50_000);
        let free = purse.free();
        let short = purse.grant(3, 64, &ask(1, free + 1), 0);
        assert_eq!((short.amount, short.elsewhere), (0, 100_000 - free));
        assert_eq!(purse.grant(3, 64, &ask(2, free), 0).amount, free);
        assert_eq!((purse.free(), purse.lease_total()), (0, 100_000));
    }

    #[test]
    fn a_call_that_comes_again_moves_nothing_again() {
        let mut purse = purse(100_000);
        for _ in 0..3 {
            assert_eq!(purse.grant(1, 1, &ask(1, 700), 0).amount, 1_000);
        }
        for _ in 0..3 {
            purse.take_back(1, 2, 400);
        }
        assert_eq!(purse.grant(1, 1, &ask(1, 700), 0).amount, 0, "from before the return");
        assert_eq!(purse.lease_total(), 600);
    }

    #[test]
    fn what_is_settled_moves_from_held_to_spent() {
        let mut purse = purse(10_000);
        purse.grant(1, 1, &ask(1, 500), 0);
        purse.settle(1, 300);
        assert_eq!((purse.spent, purse.lease_total(), purse.free()), (300, 200, 9_500));
        // More than was reserved: the free amount shrinks by the difference.
        purse.settle(1, 250);
        assert_eq!((purse.spent, purse.lease_total(), purse.free()), (550, 0, 9_450));
        purse.settle(9, 50);
        assert_eq!(purse.free(), 9_400);
    }

    #[test]
    fn what_was_spent_beyond_a_lease_is_not_taken_from_what_is_free_again() {
        let mut purse = purse(10_000);
        assert_eq!(purse.grant(1, 2, &ask(1, 100), 0).amount, 100);
        // It cost far more than was reserved, and is drained: 2,000 are left.
        purse.settle(1, 8_000);
        assert_eq!((purse.free(), purse.lease_total()), (2_000, 0));
        // The replica knows of 100 leased and 8,000 spent, and wants 500 beyond.
        let grant = purse.grant(1, 2, &ask(2, 7_900 + 500), 0);
        assert_eq!(grant.amount, 7_900 + 500);
        assert_eq!((purse.free(), purse.lease_total()), (1_500, 500));
        assert_eq!(purse.grant(1, 2, &ask(3, 1_501), 0).amount, 0, "more than is left");
    }

    #[test]
    fn what_was_drawn_on_a_commitment_without_a_lease_is_not_asked_for_twice() {
        let mut purse = purse(10_000);
        // The centre was silent, and the replica's records arrive before its question does.
        purse.settle_commitment(1, 9_000, 0);
        assert_eq!((purse.spent, purse.lease_total(), purse.free()), (9_000, 0, 1_000));
        // The question is from before the debt, and the next one from after it.
        assert_eq!(purse.grant(1, 1, &ask(1, 1), 0).amount, 9_000 + 100);
        assert_eq!((purse.free(), purse.lease_total()), (900, 100));
        purse.settle_commitment(1, 700, 0);
        assert_eq!(purse.grant(1, 1, &ask(2, 600 + 1), 0).amount, 600 + 100);
        assert_eq!((purse.spent, purse.lease_total(), purse.free()), (9_700, 100, 200));
        // A debt ends with the replica, as a lease does.
        purse.settle_commitment(2, 10, 0);
        purse.reclaim(lease_ms() + skew_ms());
        assert!(purse.leases.is_empty());
    }

    #[test]
    fn a_silent_replica_loses_its_lease_after_its_time_and_the_skew() {
        let mut purse = purse(10_000);
        purse.grant(1, 1, &ask(1, 500), 1_000);
        purse.renew(1, 2_000);
        purse.reclaim(2_000 + lease_ms() + skew_ms() - 1);
        assert_eq!(purse.lease_total(), 500);
        purse.reclaim(2_000 + lease_ms() + skew_ms());
        assert_eq!((purse.lease_total(), purse.free()), (0, 10_000));
        purse.take_back(1, 2, 500);
        assert_eq!(purse.free(), 10_000, "nothing is given twice");
    }
}
