//! A generated month with streams that were cut, retries and batches, against the files that a provider makes of it.

use std::time::Instant;

use domain::Tier;
use reconciliation::{Difference, Kind, Matching, Names, Outcome, Theirs, read_export};

use crate::fixture::{DAY_S, PROVIDER, START_S, catalogue, owner, principal};
use crate::generated::{DAYS, Found, Month, UNEXPLAINED_PPM_MAX};

/// `make prove-reconciliation` takes a million.
const RECORDS: u64 = 20_000;

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap())
}

fn month(is_flawed: bool) -> Month {
    Month {
        records: number("TIDEGATE_RECONCILED_RECORDS", RECORDS),
        seed: number("TIDEGATE_SEED", 22),
        start_unix_s: START_S,
        owner: owner(),
        is_flawed,
    }
}

/// Compares the month; each record is compared as it is made, so that none is kept.
fn compared(month: &Month, files: &[&String]) -> Outcome {
    let mut theirs = Theirs::new(Names::new(catalogue(), PROVIDER));
    for file in files {
        read_export(PROVIDER, None, &mut file.as_bytes(), &mut |line| theirs.take(line)).unwrap();
    }
    theirs.widen(START_S, START_S + DAYS * DAY_S);
    let mut matching = Matching::new(theirs);
    let (mut spent, mut attempts) = (0.0, 0);
    for ours in month.exchanges().filter_map(|(ours, _)| ours) {
        attempts += ours.attempts.len() as u64;
        let began = Instant::now();
        matching.take(&ours, &|one| one == principal());
        spent += began.elapsed().as_secs_f64();
    }
    let began = Instant::now();
    let outcome = matching.finish();
    spent += began.elapsed().as_secs_f64();
    for kind in Kind::ALL {
        let (sum, kind) = (outcome.sum(kind), kind.as_str());
        let (lines, tokens, micros) = (sum.lines, sum.quantity, sum.picos / 1_000_000);
        println!("{kind:14} {lines:6} lines {tokens:14} tokens {micros:10} micro-USD");
    }
    let ppm = outcome.unexplained_millionths();
    println!("{} records in {spent:.1} s, {ppm} ppm unexplained", month.records);
    // What ended in the month's last minutes may be in their next month.
    assert_eq!(outcome.ours.lines, attempts, "each attempt is read once");
    outcome
}

#[test]
fn a_month_with_cut_streams_retries_and_batches_is_explained() {
    let month = month(false);
    let files = month.files();
    let outcome = compared(&month, &[&files.usage, &files.costs]);
    assert!(outcome.unexplained_millionths() <= UNEXPLAINED_PPM_MAX, "{outcome:#?}");
    // The month has what the comparison is for.
    for kind in [Kind::Matched, Kind::Late, Kind::Estimate, Kind::Rounding] {
        assert!(outcome.sum(kind).lines > 0, "{kind:?}: {outcome:#?}");
    }
}

fn found(outcome: &Outcome) -> Vec<Found> {
    let of = |one: &Difference| Found {
        kind: one.kind.as_str().to_owned(),
        day: one.from_unix_s.saturating_sub(START_S) / DAY_S,
        measure: one.measure.as_str().to_owned(),
        is_batch: one.tier == Some(Tier::Batch),
        quantity: u64::try_from(one.quantity).unwrap(),
        micros: u64::try_from(one.picos / 1_000_000).unwrap(),
    };
    assert_eq!(outcome.differences_left_out, 0);
    assert!(outcome.unexplained_millionths() > UNEXPLAINED_PPM_MAX);
    outcome.differences.iter().map(of).collect()
}

#[test]
fn a_month_with_defects_has_each_found_and_nothing_else() {
    let month = month(true);
    let files = month.files();
    let outcome = compared(&month, &[&files.usage, &files.costs]);
    files.check(&found(&outcome), false);
    assert_eq!((outcome.sum(Kind::Credit).lines, outcome.sum(Kind::Credit).picos), (1, 500_000_000_000));
    let outcome = compared(&month, &[&files.usage]);
    files.check(&found(&outcome), true);
}
