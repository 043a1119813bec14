//! Single differences, each of which has its kind.

use domain::{Tier, Usage, UsageSource};
use reconciliation::{Kind, Line, Measure, Outcome};

use crate::fixture::{DAY_S, MINI_FULL, START_S, compare, line, record, used};

const NOON: u64 = 43_200;
const INPUT_PICOS: i128 = 150_000;

/// What is not nothing, by kind: lines and quantity.
fn sums(outcome: &Outcome) -> Vec<(Kind, u64, i128)> {
    let of = |kind| (kind, outcome.sum(kind).lines, outcome.sum(kind).quantity);
    Kind::ALL.into_iter().map(of).filter(|(_, lines, _)| *lines > 0).collect()
}

fn priced(day: u64, quantity: i64, picos: i128) -> Line {
    line(day, Measure::Input, Some(quantity), Some(i128::from(quantity) * picos))
}

fn input(number: u64, at: u64, tokens: u64) -> domain::MeterRecord {
    record(number, START_S + at, used(tokens, 0, 0))
}

#[test]
fn the_same_on_both_sides_is_matched() {
    let outcome = compare([priced(0, 30, INPUT_PICOS)], &[input(1, NOON, 10), input(2, NOON + 9, 20)]);
    assert_eq!(sums(&outcome), [(Kind::Matched, 1, 30)]);
    assert_eq!(outcome.unexplained_millionths(), 0);
    assert_eq!((outcome.theirs.picos, outcome.ours.picos), (4_500_000, 4_500_000));
}

#[test]
fn what_only_one_side_has_is_missing_or_extra_and_worth_its_price() {
    let outcome = compare([priced(0, 50, INPUT_PICOS)], &[input(1, NOON, 30)]);
    assert_eq!(sums(&outcome), [(Kind::Matched, 1, 30), (Kind::Missing, 1, 20)]);
    let found = &outcome.differences[0];
    assert_eq!((found.kind, found.quantity, found.picos), (Kind::Missing, 20, 20 * INPUT_PICOS));
    assert_eq!(found.model.as_deref(), Some(MINI_FULL));
    assert_eq!(outcome.unexplained_millionths(), 400_000);

    let ours = [input(1, NOON, 30), record(2, START_S + NOON, used(0, 0, 7))];
    let outcome = compare([priced(0, 30, INPUT_PICOS)], &ours);
    assert_eq!(sums(&outcome), [(Kind::Matched, 1, 30), (Kind::Extra, 1, 7)]);
    assert_eq!(outcome.differences[0].measure, Measure::Output, "a class that they don't bill at all");
}

#[test]
fn another_price_is_shown_with_both_and_the_source_of_ours() {
    let outcome = compare([priced(0, 1_000_000, 200_000)], &[input(1, NOON, 1_000_000)]);
    assert_eq!(sums(&outcome), [(Kind::Matched, 1, 1_000_000), (Kind::PriceDiffers, 1, 0)]);
    let found = &outcome.differences[0];
    assert_eq!((found.their_price, found.our_price), (Some(200_000), Some(150_000)));
    assert_eq!(found.picos, 50_000 * 1_000_000);
    assert!(found.price_source.as_ref().unwrap().starts_with("http"), "{found:?}");
}

#[test]
fn an_amount_within_the_exports_own_precision_is_rounding_and_one_beyond_it_is_not() {
    // Of 6 decimals: half a micro-USD either way.
    let of = |picos: i128| Line { decimals: 6, ..line(0, Measure::Input, Some(3), Some(picos)) };
    let theirs = [of(0), Line { decimals: 6, ..priced(1, 1, 1_000_000) }];
    let rounded = compare(theirs, &[input(1, NOON, 3), input(2, NOON + DAY_S, 1)]);
    assert_eq!(sums(&rounded), [(Kind::Matched, 2, 4), (Kind::Rounding, 1, 0), (Kind::PriceDiffers, 1, 0)]);
    assert_eq!(rounded.differences[0].picos, 850_000);
}

#[test]
fn what_settles_around_midnight_is_late_and_what_settles_at_noon_is_not() {
    let lines = || [priced(0, 10, INPUT_PICOS), priced(1, 30, INPUT_PICOS)];
    for (at, expected) in [
        (DAY_S - 60, vec![(Kind::Matched, 2, 30), (Kind::Late, 1, 10)]),
        (DAY_S - 901, vec![(Kind::Matched, 2, 30), (Kind::Missing, 1, 10), (Kind::Extra, 1, 10)]),
    ] {
        let outcome = compare(lines(), &[input(1, NOON, 10), input(2, at, 10), input(3, DAY_S + NOON, 20)]);
        assert_eq!(sums(&outcome), expected, "{at}");
    }
    // Beside the export's span: late if they have it, and nobody's business if they don't.
    let ours = [input(1, NOON, 10), input(2, DAY_S + 30, 15), input(3, DAY_S + 40, 5)];
    let outcome = compare([priced(0, 25, INPUT_PICOS)], &ours);
    assert_eq!(sums(&outcome), [(Kind::Matched, 1, 10), (Kind::Late, 1, 15)]);
    assert_eq!(outcome.outside, 5);
}

#[test]
fn a_batch_may_be_booked_a_day_later_than_it_was_billed() {
    let batch = |at| record(1, START_S + at, Usage { tier: Some(Tier::Batch), ..used(40, 0, 0) });
    let line = |day| Line { tier: Some(Tier::Batch), ..priced(day, 40, INPUT_PICOS / 2) };
    let outcome = compare([line(0)], &[batch(DAY_S + 20 * 3_600)]);
    assert_eq!(sums(&outcome), [(Kind::Late, 1, 40)]);
    let outcome = compare([line(0)], &[batch(2 * DAY_S + 2 * 3_600)]);
    assert_eq!(sums(&outcome), [(Kind::Missing, 1, 40)]);
}

#[test]
fn what_we_estimated_may_be_off_by_the_estimate_and_no_more() {
    let estimated = record(1, START_S + NOON, Usage { source: UsageSource::Estimate, ..used(0, 0, 10) });
    for (theirs, expected) in [
        (13, vec![(Kind::Matched, 1, 10), (Kind::Estimate, 1, 3)]),
        (8, vec![(Kind::Matched, 1, 8), (Kind::Estimate, 1, 2)]),
        (40, vec![(Kind::Matched, 1, 10), (Kind::Estimate, 1, 26), (Kind::Missing, 1, 4)]),
    ] {
        let theirs_line = line(0, Measure::Output, Some(theirs), None);
        let outcome = compare([theirs_line], std::slice::from_ref(&estimated));
        assert_eq!(sums(&outcome), expected, "{theirs}");
    }
}

#[test]
fn a_failed_attempt_that_was_billed_is_missing_and_the_attempt_is_named() {
    let mut failed = record(1, START_S + NOON, Usage::default());
    failed.attempts[0].status = None;
    let ours = [failed.clone(), record(2, START_S + NOON, used(0, 0, 2))];
    let outcome = compare([line(0, Measure::Output, Some(12), None)], &ours);
    let found = &outcome.differences[0];
    assert_eq!((found.kind, found.quantity, found.unmetered), (Kind::Missing, 10, 1));
    assert!(found.examples.contains(&failed.trace), "{found:?}");
}

#[test]
fn money_alone_is_compared_as_money_and_a_whole_with_the_whole() {
    let lines = |picos| [line(0, Measure::Whole, None, Some(picos))].map(|line| Line { model: None, ..line });
    let ours = [input(1, NOON, 10), record(2, START_S + NOON, used(0, 0, 5))];
    let outcome = compare(lines(4_500_000), &ours);
    assert_eq!((outcome.unexplained_millionths(), outcome.ours.picos), (0, 4_500_000));
    let outcome = compare(lines(5_000_000), &ours);
    assert_eq!(outcome.differences[0].kind, Kind::Missing);
    assert_eq!(outcome.differences[0].picos, 500_000);
}

#[test]
fn units_by_model_and_money_in_one_sum_are_compared_apart() {
    let whole = Line { model: None, ..line(0, Measure::Whole, None, Some(1_500_000)) };
    let outcome = compare([line(0, Measure::Input, Some(10), None), whole], &[input(1, NOON, 10)]);
    assert_eq!(outcome.unexplained_millionths(), 0, "{outcome:?}");
    assert_eq!((outcome.theirs.quantity, outcome.theirs.picos), (10, 1_500_000));
}

#[test]
fn requests_are_found_by_their_id_whatever_the_hour_and_single_ones_are_named() {
    let of = |id: &str, quantity| Line {
        request: Some(id.to_owned()),
        until_unix_s: START_S + NOON,
        from_unix_s: START_S + NOON,
        ..line(0, Measure::Input, Some(quantity), None)
    };
    let ours = [input(1, 2 * NOON + 5 * 3_600, 10), input(2, NOON, 20), input(3, NOON, 7)];
    let outcome = compare([of("req_1", 10), of("req_2", 25), of("req_9", 4)], &ours);
    assert_eq!(sums(&outcome), [(Kind::Matched, 2, 30), (Kind::Missing, 2, 9), (Kind::Extra, 1, 7)]);
    let named: Vec<_> =
        outcome.differences.iter().map(|one| (one.kind, one.request.as_deref(), one.quantity)).collect();
    let missing = |name, sum| (Kind::Missing, Some(name), sum);
    assert_eq!(named, [(Kind::Extra, Some(""), 7), missing("req_2", 5), missing("req_9", 4)]);
    // Where no id is one of ours, the hour is compared.
    assert_eq!(sums(&compare([of("gen-1", 20), of("gen-2", 7)], &ours[1..])), [(Kind::Matched, 1, 27)]);
}

#[test]
fn what_they_give_back_is_counted_apart() {
    let back = line(0, Measure::Input, None, Some(-70));
    let outcome = compare([priced(0, 10, INPUT_PICOS), back], &[input(1, NOON, 10)]);
    assert_eq!(sums(&outcome), [(Kind::Matched, 1, 10), (Kind::Credit, 1, 0)]);
    assert_eq!((outcome.sum(Kind::Credit).picos, outcome.unexplained_millionths()), (70, 0));
}

#[test]
fn nothing_on_either_side_is_reconciled_and_something_on_one_side_never_is() {
    assert_eq!(compare([], &[]).unexplained_millionths(), 0);
    assert_eq!(compare([priced(0, 1, 1)], &[]).unexplained_millionths(), 1_000_000);
    let mut empty = crate::fixture::theirs([]);
    empty.widen(START_S, START_S + DAY_S);
    let mut matching = reconciliation::Matching::new(empty);
    matching.take(&input(1, NOON, 5), &|_| true);
    let outcome = matching.finish();
    assert_eq!(outcome.unexplained_millionths(), 1_000_000, "the file says nothing was used: {outcome:?}");
}
