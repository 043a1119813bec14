//! What holds for any two sides: nothing is lost, nothing counts twice, and no order matters.

use domain::{MeterRecord, Tier, Usage, UsageSource};
use proptest::prelude::*;
use reconciliation::{Kind, Line, Measure, Outcome};

use crate::fixture::{DAY_S, START_S, compare, record, used};

#[derive(Debug, Clone)]
struct TheirLine {
    hour: u64,
    measure: Measure,
    model: &'static str,
    is_batch: bool,
    quantity: i64,
    cost: Option<i64>,
}

#[derive(Debug, Clone)]
struct OurRecord {
    second: u64,
    usage: (u64, u64, u64),
    is_batch: bool,
    is_estimated: bool,
}

const MODELS: [&str; 3] = ["gpt-4o-mini", "gpt-4o-mini-2024-07-18", "gpt-4o"];

fn their_line() -> impl Strategy<Value = TheirLine> {
    let measures = prop::sample::select(vec![Measure::Input, Measure::CachedRead, Measure::Output]);
    let cost = prop::option::of(0..i64::MAX);
    (0..72_u64, measures, prop::sample::select(&MODELS[..]), any::<bool>(), 0..10_000_i64, cost).prop_map(
        |(hour, measure, model, is_batch, quantity, cost)| TheirLine {
            hour,
            measure,
            model,
            is_batch,
            quantity,
            cost,
        },
    )
}

fn our_record() -> impl Strategy<Value = OurRecord> {
    (1..4 * DAY_S, (0..900_u64, 0..900_u64, 0..900_u64), any::<bool>(), any::<bool>()).prop_map(
        |(second, usage, is_batch, is_estimated)| OurRecord { second, usage, is_batch, is_estimated },
    )
}

fn lines(theirs: &[TheirLine]) -> Vec<Line> {
    let of = |line: &TheirLine| Line {
        from_unix_s: START_S + line.hour * 3_600,
        until_unix_s: START_S + (line.hour + 1) * 3_600,
        account: None,
        model: Some(line.model.to_owned()),
        tier: Some(if line.is_batch { Tier::Batch } else { Tier::Standard }),
        request: None,
        measure: line.measure,
        quantity: Some(line.quantity),
        cost_picos: line.cost.map(i128::from),
        decimals: 6,
    };
    theirs.iter().map(of).collect()
}

fn records(ours: &[OurRecord]) -> Vec<MeterRecord> {
    let of = |(number, one): (usize, &OurRecord)| {
        let (input, cached, output) = one.usage;
        let usage = Usage {
            tier: one.is_batch.then_some(Tier::Batch),
            source: if one.is_estimated { UsageSource::Estimate } else { UsageSource::Provider },
            ..used(input, cached, output)
        };
        record(number as u64, START_S + one.second, usage)
    };
    ours.iter().enumerate().map(of).collect()
}

fn quantity(outcome: &Outcome, kinds: &[Kind]) -> i128 {
    kinds.iter().map(|kind| outcome.sum(*kind).quantity).sum()
}

proptest! {
    #[test]
    fn every_unit_of_theirs_is_of_one_kind_and_every_unit_of_ours_too(
        theirs in prop::collection::vec(their_line(), 0..40),
        ours in prop::collection::vec(our_record(), 0..40),
    ) {
        let (lines, records) = (lines(&theirs), records(&ours));
        let outcome = compare(lines.clone(), &records);
        let all: i128 = lines.iter().map(|line| i128::from(line.quantity.unwrap())).sum();
        prop_assert_eq!(outcome.theirs.quantity, all, "what they count is counted");
        let (matched, late) = (quantity(&outcome, &[Kind::Matched]), quantity(&outcome, &[Kind::Late]));
        let (missing, extra) = (quantity(&outcome, &[Kind::Missing]), quantity(&outcome, &[Kind::Extra]));
        let estimate = quantity(&outcome, &[Kind::Estimate]);
        // An estimate explains a surplus of either side.
        let (over, under) = (all - matched - late - missing, estimate);
        prop_assert!((0..=under).contains(&over), "{outcome:?}");
        let ours_all = ours_read(&outcome, &records);
        prop_assert_eq!(matched + late + extra + outcome.outside + (estimate - over), ours_all, "{:?}", outcome);
    }

    #[test]
    fn no_order_matters(
        theirs in prop::collection::vec(their_line(), 0..30),
        ours in prop::collection::vec(our_record(), 0..30),
        turn in 0..30_usize,
    ) {
        let (mut lines, mut records) = (lines(&theirs), records(&ours));
        let straight = compare(lines.clone(), &records);
        lines.reverse();
        records.reverse();
        let turns = (turn.min(lines.len()), turn.min(records.len()));
        lines.rotate_left(turns.0);
        records.rotate_left(turns.1);
        prop_assert_eq!(compare(lines, &records), straight);
    }

    #[test]
    fn what_is_the_same_on_both_sides_leaves_nothing(ours in prop::collection::vec(our_record(), 0..40)) {
        let records = records(&ours);
        let lines: Vec<_> = records.iter().flat_map(mirrored).collect();
        let outcome = compare(lines, &records);
        prop_assert_eq!(outcome.unexplained_millionths(), 0, "{:?}", outcome);
        prop_assert_eq!(outcome.theirs.quantity, outcome.ours.quantity);
        prop_assert_eq!(outcome.theirs.picos, outcome.ours.picos);
    }
}

/// All that was read of our side: in the span, or next to it and within reach of an edge.
fn ours_read(outcome: &Outcome, records: &[MeterRecord]) -> i128 {
    const EDGE_S: u64 = 900;
    let of = |record: &MeterRecord| {
        let usage = &record.usage;
        let edge = if usage.tier == Some(Tier::Batch) { 25 * 3_600 } else { EDGE_S };
        let at = record.finished_unix_ms / 1_000;
        let is_read = at + edge >= outcome.from_unix_s && at < outcome.until_unix_s + edge;
        if is_read { i128::from(usage.input + usage.cached_read + usage.output) } else { 0 }
    };
    records.iter().map(of).sum()
}

/// The lines that a provider would write of a record, in its hour.
fn mirrored(record: &MeterRecord) -> Vec<Line> {
    let attempt = &record.attempts[0];
    let hour = record.finished_unix_ms / 3_600_000;
    let of = |item: &domain::money::LineItem| Line {
        from_unix_s: hour * 3_600,
        until_unix_s: (hour + 1) * 3_600,
        account: None,
        model: Some("gpt-4o-mini-2024-07-18".to_owned()),
        tier: Some(record.usage.tier.unwrap_or(Tier::Standard)),
        request: None,
        measure: Measure::from_word(item.class).unwrap(),
        quantity: Some(item.units as i64),
        cost_picos: Some(i128::from(item.units) * i128::from(item.price.0)),
        decimals: 12,
    };
    attempt.rates.unwrap().lines(&record.usage).iter().map(of).collect()
}
