//! Budgets of many replicas under simulation: nothing is overspent, and hardly anybody is refused too early.

use ledger::simulation::{LeaseReport, LeaseRun};

#[test]
fn replicas_share_a_budget_without_overspending_it() {
    let seeds = std::env::var("TIDEGATE_LEASE_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(40);
    let mut total = LeaseReport::default();
    for seed in 0..seeds {
        let report = LeaseRun::new(seed, 64).go();
        total.add(&report.unwrap_or_else(|what| panic!("seed {seed}: {what}")));
    }
    println!("{total:#?}");
    assert!(total.crashes > 0 && total.outages > 0 && total.answers_lost > 0 && total.recalls > 0);
    assert!(total.refused > 0 && total.waited > 0);
    assert!(total.refused_falsely * 1_000 <= total.requests, "{total:#?}");
}

#[test]
fn a_lasting_budget_costs_its_centre_next_to_nothing() {
    let report = LeaseRun::long(1, 16, 20_000, 2_500).go().unwrap();
    println!("{report:#?}");
    assert!(report.calls_before_end * 1_000 <= report.requests_before_end * 15, "{report:#?}");
    assert!(report.refused_falsely * 1_000 <= report.requests, "{report:#?}");
}

#[test]
fn the_same_seed_is_the_same_run() {
    assert_eq!(LeaseRun::new(7, 64).go(), LeaseRun::new(7, 64).go());
}
