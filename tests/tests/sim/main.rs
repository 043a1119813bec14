//! The simulator's first scenario: the production broker, tab and breaker under virtual time, with scripted
//! upstreams, other models and hedges, aliases and canaries, policies, answers that are given again, commitments that are
//! shared with a neighbour, crashes, full disks, a database that is away, and clients that hang up.
//!
//! One seed is one run, and the same seed always gives the same run. `TIDEGATE_SIM_SEEDS=N` runs seeds 0 to N
//! of exchanges, from `TIDEGATE_SIM_FROM` on if that is set, `TIDEGATE_LEASE_SEEDS=N` those of budgets that
//! replicas share, `TIDEGATE_SIM_SEED=N` replays one and prints what happened.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a simulator is a test: it ends where something is not as it must be"
)]

mod aliases;
mod calls;
mod commitments;
mod exchange;
mod fills;
mod fixture;
mod kept;
mod models;
mod oracle;
mod policies;
mod priorities;
mod run;
mod upstream;

use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use ledger::simulation::{LeaseReport, LeaseRun};
use run::{Report, Run};

/// The number of seeds in an ordinary `make test`.
const SEEDS: u64 = 1_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// The number of failed seeds that end a run.
const FAILED_MAX: usize = 20;

/// Runs every seed, on all processors, and reports those that fail.
fn run_all(seeds: Range<u64>) -> Report {
    let next = AtomicU64::new(seeds.start);
    let failed: Mutex<BTreeMap<u64, String>> = Mutex::default();
    let total = Mutex::new(Report::default());
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || failed.lock().unwrap().len() >= FAILED_MAX {
                        return;
                    }
                    match catch_unwind(AssertUnwindSafe(|| Run::new(seed, false).go())) {
                        Ok(report) => total.lock().unwrap().add(&report),
                        Err(panic) => {
                            let message = panic.downcast_ref::<String>().cloned();
                            let message = message
                                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                            let message = message.unwrap_or_else(|| "a panic without a text".to_owned());
                            println!("seed {seed}: {message}");
                            failed.lock().unwrap().insert(seed, message);
                        }
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    if let Some((seed, message)) = failed.first_key_value() {
        panic!("seed {seed}: {message}\nreplay it with TIDEGATE_SIM_SEED={seed}");
    }
    total.into_inner().unwrap()
}

#[test]
fn every_seed_keeps_the_books_and_the_walls() {
    if let Some(seed) = number("TIDEGATE_SIM_SEED") {
        println!("{:#?}", Run::new(seed, true).go());
        return;
    }
    let from = number("TIDEGATE_SIM_FROM").unwrap_or(0);
    let seeds = from..number("TIDEGATE_SIM_SEEDS").unwrap_or(from + SEEDS);
    let count = seeds.end - seeds.start;
    let report = run_all(seeds);
    println!("{count} seeds: {report:#?}");
    report.check_shares();
    if count >= SEEDS {
        report.check_that_it_met_everything();
    }
}

/// The number of shared-budget seeds in an ordinary `make test`, each a run of up to 64 replicas.
const LEASE_SEEDS: u64 = 200;

#[test]
fn every_seed_shares_a_budget_without_overspending_it() {
    if let Some(seed) = number("TIDEGATE_SIM_SEED") {
        println!("{:#?}", LeaseRun::new(seed, 64).go());
        return;
    }
    let seeds = number("TIDEGATE_LEASE_SEEDS").unwrap_or(LEASE_SEEDS);
    let next = AtomicU64::new(0);
    let total = Mutex::new(LeaseReport::default());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, std::num::NonZero::get) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    let report = LeaseRun::new(seed, 64).go();
                    total.lock().unwrap().add(&report.unwrap_or_else(|what| panic!("seed {seed}: {what}")));
                }
            });
        }
    });
    let total = total.into_inner().unwrap();
    println!("{seeds} seeds: {total:#?}");
    assert!(total.refused_falsely * 1_000 <= total.requests, "more than 0.1 % was refused falsely");
    // While the central budget is unreachable, no replica can know whether anything is left: such refusals
    // have their own bound.
    assert!(total.refused_unknown * 10 <= total.requests, "more than 10 % was refused for want of a centre");
    if seeds >= LEASE_SEEDS {
        assert!(total.least_met() > 5, "something was hardly met: {total:#?}");
    }
}

/// The number of storm seeds in an ordinary `make test`, each 2,000 requests; `TIDEGATE_STORM_SEEDS=N` runs
/// more.
const STORM_SEEDS: u64 = 6;

#[test]
fn a_storm_of_limits_adds_little_traffic_and_none_before_its_time() {
    let seeds = match number("TIDEGATE_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TIDEGATE_STORM_SEEDS").unwrap_or(STORM_SEEDS),
    };
    for seed in seeds {
        let storm = Run::storm(seed);
        println!("seed {seed}: {storm:?}");
        storm.check(seed);
    }
}

/// The number of brown-out seeds in an ordinary `make test`, each 4,000 requests; `TIDEGATE_STORM_SEEDS=N` runs
/// more.
const BROWNOUT_SEEDS: u64 = 3;

#[test]
fn retries_add_a_fifth_while_three_calls_in_ten_fail() {
    let seeds = match number("TIDEGATE_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TIDEGATE_STORM_SEEDS").unwrap_or(BROWNOUT_SEEDS),
    };
    for seed in seeds {
        let brownout = Run::brownout(seed);
        println!("seed {seed}: {} calls for a hundred requests: {brownout:?}", brownout.calls_percent());
        brownout.check(seed);
    }
}

/// The number of seeds of shedding in an ordinary `make test`, each a minute of load; `TIDEGATE_SHED_SEEDS=N` runs more.
const SHED_SEEDS: u64 = 10;

#[test]
fn nobody_of_a_lower_priority_is_admitted_while_a_higher_one_is_shed() {
    let seeds = match number("TIDEGATE_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TIDEGATE_SHED_SEEDS").unwrap_or(SHED_SEEDS),
    };
    let mut total = priorities::Shed::default();
    let count = seeds.end - seeds.start;
    for seed in seeds {
        total.add(&priorities::run(seed));
    }
    println!("{count} seeds: {total:?}");
    if count >= SHED_SEEDS {
        let met = [total.shed, total.divided, total.batch_admitted, total.requests - total.shed];
        assert!(met.iter().all(|count| *count > 100), "{total:?}");
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in [3, 17, 99, 4_242] {
        let (first, second) = (Run::new(seed, false).go(), Run::new(seed, false).go());
        assert_eq!(first, second, "seed {seed}");
    }
    assert_ne!(Run::new(3, false).go().digest, Run::new(4, false).go().digest);
}
