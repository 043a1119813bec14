//! Money: every profile, every outcome, and the sums that must hold in every case.

use std::sync::Arc;

use domain::{
    AttemptRecord, Budget, BudgetId, Charge, Counts, Drawn, FaultClass, Nanos, OnReached, Operation, Outcome,
    Period, Price, Priced, Principal, Profile, Rates, Subject, UnitRates, Units, Usage, UsageSource,
};
use ledger::lease::LeaseGrant;
use ledger::local_budget::LeaseOp;
use ledger::price::book;
use ledger::simulation::now;
use ledger::verify::recompute;
use ledger::{AttemptEnd, Bounds, CommitmentDraw, CoreAllowances, ModeTotals, Reservation, Tab, charge};
use proptest::prelude::*;
use world::{Clock, DiskFault};

use crate::support::*;

fn attempt_record(number: u32, principal: Principal, usage: Usage, rates: Option<Rates>) -> AttemptRecord {
    AttemptRecord {
        number,
        principal,
        provider: "openai".into(),
        upstream_model: "m".into(),
        region: None,
        started_us: 0,
        duration_us: 0,
        status: Some(200),
        fault: None,
        upstream_request_id: None,
        usage,
        rates,
        markup_bps: 1_000,
        charge: Charge::default(),
    }
}

fn record(outcome: Outcome, status: u16, attempts: Vec<AttemptRecord>) -> domain::MeterRecord {
    let books = started(1);
    drop(open(&books, 1));
    let mut record = booked(&books, 1);
    record.usage = attempts.last().map(|attempt| attempt.usage).unwrap_or_default();
    record.principal = attempts.last().map(|attempt| attempt.principal);
    (record.outcome, record.status, record.attempts) = (outcome, status, attempts);
    record
}

#[test]
fn sound_in_a_conversation_costs_its_own_price_or_is_unpriced() {
    let units = Units { audio_in: 1_000, audio_out: 500, ..Units::default() };
    let used = Usage { input: 100, output: 50, units, source: UsageSource::Provider, ..Usage::default() };
    let text = Rates { input: Price(2_500_000), output: Price(10_000_000), ..Rates::default() };
    let (audio_in, audio_out) = (Some(Price(32_000_000)), Some(Price(64_000_000)));
    let sound = UnitRates { audio_in, audio_out, ..UnitRates::default() };
    let booked = |operation, rates| {
        let account = Principal::Account(domain::AccountId::new(1, [1; 10]));
        let mut record = record(Outcome::Completed, 200, vec![attempt_record(1, account, used, Some(rates))]);
        record.operation = operation;
        book(&mut record);
        assert_eq!(recompute([&record]).mismatch_count, 0);
        (record.charge.provider_cost.0, record.charge.priced)
    };
    let of_sound = Rates { units: sound, ..text };
    assert_eq!(booked(Operation::Chat, of_sound), (64_750_000, Priced::Priced));
    // At least the price of text is charged.
    assert_eq!(booked(Operation::Chat, text), (8_250_000, Priced::Unpriced));
    // A model that only speaks or listens is sold at one price, of sound as of text.
    assert_eq!(booked(Operation::Transcribe, text), (8_250_000, Priced::Priced));
}

#[test]
fn each_profile_is_charged_by_its_own_rule() {
    let used = usage(1_000, 100);
    let cases = [
        (Profile::ManagedProvider, Some(rates()), (231_000, 210_000, Priced::Priced)),
        (Profile::Byok, Some(rates()), (0, 210_000, Priced::Priced)),
        (Profile::Subscription, Some(rates()), (0, 210_000, Priced::Priced)),
        (Profile::Byoc, Some(rates()), (0, 0, Priced::Free)),
        (Profile::Byoc, None, (0, 0, Priced::Free)),
        (Profile::ManagedProvider, None, (0, 0, Priced::Unpriced)),
        (Profile::Byok, None, (0, 0, Priced::Unpriced)),
    ];
    for (profile, rates, (cost, provider_cost, priced)) in cases {
        let expected = Charge { cost: Nanos(cost), provider_cost: Nanos(provider_cost), priced };
        assert_eq!(charge(profile, rates, 1_000, &used), expected, "{profile}");
        let unused = charge(profile, rates, 1_000, &Usage::default());
        assert_eq!(unused, Charge::default(), "nothing used: {profile}");
    }
}

/// Whoever reads an answer to its end learns what budgets count: the customer's price, or what a provider bills to the workspace's credential.
#[test]
fn a_closed_tab_says_what_it_cost() {
    let used = usage(1_000, 100);
    let of = |profile| charge(profile, Some(rates()), 1_000, &used);
    let (owed, billed) = (of(Profile::ManagedProvider).cost, of(Profile::Byok).provider_cost);
    for (principal, cost) in [(managed(), owed), (byok(), billed), (node(), Nanos::ZERO)] {
        let books = started(2);
        let tab = tried(&books, 1, principal);
        assert_eq!(tab.close(completed(used)).cost(), cost, "{principal:?}");
    }
    let books = started(2);
    assert_eq!(open(&books, 1).close(completed(Usage::default())).cost(), Nanos::ZERO, "nothing was tried");
}

#[test]
fn the_workspace_owes_under_managed_for_what_it_was_given() {
    let cases = [
        (Outcome::Completed, 200, None, usage(10, 1), true),
        (Outcome::Deadline, 504, Some(FaultClass::Deadline), usage(10, 1), false),
        (Outcome::Failed, 502, Some(FaultClass::Upstream), usage(10, 1), false),
        (Outcome::Failed, 200, Some(FaultClass::StreamBroken), usage(10, 1), true),
        (Outcome::Failed, 200, Some(FaultClass::StreamBroken), usage(10, 0), false),
        (Outcome::ClientCancelled, 200, Some(FaultClass::Cancelled), usage(10, 1), true),
        (Outcome::ClientCancelled, 499, Some(FaultClass::RateLimit), usage(10, 0), false),
        (Outcome::Interrupted, 0, None, usage(10, 0), true),
    ];
    for (outcome, status, fault, used, owed) in cases {
        let mut attempt = attempt_record(1, managed(), used, Some(rates()));
        attempt.fault = fault;
        let mut record = record(outcome, status, vec![attempt]);
        book(&mut record);
        assert_eq!(record.charge.cost > Nanos(0), owed, "{outcome:?} {status} {fault:?}");
        assert!(record.charge.provider_cost > Nanos(0), "the operator pays its provider: {outcome:?}");
    }
}

/// Of two attempts that ran at once, the one that answered is owed, whichever started first; the operator pays
/// its provider for both.
#[test]
fn of_two_attempts_at_once_the_one_that_answered_is_owed() {
    let used = usage(1_000, 100);
    let of_one = charge(Profile::ManagedProvider, Some(rates()), 1_000, &used);
    for (winner, loser) in [(1, 2), (2, 1)] {
        let books = started(3);
        let mut tab = open(&books, 1);
        assert!(attempt(&books, &mut tab, managed()) && attempt(&books, &mut tab, managed()));
        let fault = Some(FaultClass::Cancelled);
        tab.end_attempt(loser, AttemptEnd { fault, usage: usage(1_000, 0), ..AttemptEnd::default() });
        tab.answered_by(winner);
        tab.close(completed(used));
        let record = booked(&books, 1);
        assert_eq!(record.attempts.last().map(|attempt| attempt.number), Some(winner));
        assert_eq!(record.charge.cost, of_one.cost, "{winner} answered");
        assert!(record.charge.provider_cost > of_one.provider_cost, "{winner} answered");
        assert_eq!(recompute([&record]).mismatch_count, 0);
    }
}

/// What a process that dies knew of the one that went on is recovered, whichever of the two ended first.
#[test]
fn of_two_attempts_at_once_the_one_that_went_on_keeps_its_checkpoints() {
    for (running, ended) in [(1, 2), (2, 1)] {
        let mut books = started(5);
        let mut tab = open(&books, 1);
        assert!(attempt(&books, &mut tab, managed()) && attempt(&books, &mut tab, managed()));
        let fault = Some(FaultClass::Cancelled);
        tab.end_attempt(ended, AttemptEnd { fault, usage: usage(1_000, 0), ..AttemptEnd::default() });
        tab.checkpoint(usage(1_000, 70), 500);
        books.turn().unwrap();
        crash(&mut books, tab);
        books.start().unwrap();
        books.drain().unwrap();
        let record = books.sink.record(trace(1)).unwrap();
        assert_eq!(record.outcome, Outcome::Interrupted);
        let last = record.attempts.last().unwrap();
        assert_eq!((last.number, last.usage.output, last.fault), (running, 70, None), "{running} went on");
        assert_eq!(record.usage.output, 70, "{running} went on");
        assert_eq!(recompute([&record]).mismatch_count, 0);
    }
}

/// A disk that refuses the second of two changes nothing of the first.
#[test]
fn a_second_attempt_that_the_disk_refuses_leaves_the_first_as_it_was() {
    let books = started(6);
    let mut tab = tried(&books, 1, managed());
    books.disk.fail_writes(Some(DiskFault::NoSpace));
    assert!(!attempt(&books, &mut tab, managed()), "the disk is full");
    books.disk.fail_writes(None);
    tab.close(completed(usage(1_000, 100)));
    let record = booked(&books, 1);
    let last = record.attempts.last().unwrap();
    assert_eq!((last.number, last.usage.output, last.fault), (1, 100, None), "{:?}", record.attempts);
    assert_eq!(recompute([&record]).mismatch_count, 0);
}

/// A retry may find that something of a commitment was returned meanwhile. The exchange is booked once, and there where
/// the lease pays for it: else the centre would hold for good what this replica has no more.
#[test]
fn what_a_retry_draws_within_a_commitment_is_booked_within_it() {
    let books = started(7);
    let Principal::Credential(credential) = byok() else { panic!("it has a commitment") };
    let commitment = Budget {
        id: BudgetId::of_commitment(credential),
        workspace: opening(1).workspace,
        name: "ours".into(),
        subject: Subject::Workspace,
        limit: Nanos(10_000_000),
        period: Period::Month,
        on_reached: OnReached::Allow,
        counts: Counts::Committed,
    };
    let core = CoreAllowances::new(Arc::default());
    let bounds = Bounds { commitments: vec![Arc::new(commitment)], ..Bounds::default() };
    let hold = Reservation::take(&core, opening(1).workspace, bounds, 0, books.clock.unix_ms()).unwrap();
    let mut tab = open(&books, 1).with_reservation(hold);
    let pool = core.shared().pools().pop().unwrap();
    let draw = |tab: &mut Tab| now(tab.draw_on_commitment(credential, Some(rates()), 400, (false, false)));

    assert_eq!(draw(&mut tab), Some(CommitmentDraw::Beyond), "nothing is leased");
    assert!(attempt(&books, &mut tab, byok()));
    tab.end_attempt(1, AttemptEnd { status: Some(500), usage: usage(100, 0), ..AttemptEnd::default() });
    let ticket = pool.enqueue(1, 1, 0).unwrap();
    let Some(LeaseOp::Ask(ask)) = pool.next_call(0, 0, false) else { panic!("nobody asks") };
    pool.apply_grant(LeaseGrant { sequence: ask.sequence, amount: 1_000_000, elsewhere: 0 }, 0);
    pool.leave(ticket);
    assert_eq!(draw(&mut tab), Some(CommitmentDraw::Within));
    assert!(attempt(&books, &mut tab, byok()));
    tab.close(completed(usage(1_000, 100)));

    let record = booked(&books, 1);
    let amount = record.attempts.iter().map(|attempt| attempt.charge.provider_cost).sum();
    assert_eq!(amount, Nanos(15_000 + 150_000 + 60_000));
    let (budget, period_unix_ms) = (pool.budget, pool.period_unix_ms);
    assert_eq!(record.drawn, [Drawn { budget, period_unix_ms, amount }]);
    assert_eq!(pool.available(), 1_000_000 - amount.0);
}

#[test]
fn two_attempts_whose_client_left_are_both_metered() {
    let books = started(4);
    let mut tab = open(&books, 1);
    assert!(attempt(&books, &mut tab, byok()) && attempt(&books, &mut tab, byok()));
    drop(tab);
    let record = booked(&books, 1);
    assert_eq!(record.outcome, Outcome::ClientCancelled);
    assert!(record.attempts.iter().all(|attempt| attempt.usage.input > 0), "{:?}", record.attempts);
    assert_eq!(recompute([&record]).mismatch_count, 0);
}

#[test]
fn a_deadline_under_byok_keeps_its_memo() {
    let attempts = vec![attempt_record(1, byok(), usage(1_000, 100), Some(rates()))];
    let mut record = record(Outcome::Deadline, 504, attempts);
    book(&mut record);
    assert_eq!((record.charge.cost, record.charge.provider_cost), (Nanos(0), Nanos(210_000)));
}

#[test]
fn a_changed_charge_is_found() {
    let mut good =
        record(Outcome::Completed, 200, vec![attempt_record(1, managed(), usage(10, 1), Some(rates()))]);
    book(&mut good);
    let mut bad = good.clone();
    bad.charge.cost = Nanos(bad.charge.cost.0 + 1);
    let mut worse = good.clone();
    worse.attempts[0].usage.output += 1;
    let report = recompute([&good, &bad, &worse]);
    assert_eq!((report.records, report.mismatch_count), (3, 3), "an exchange, an attempt and its exchange");
    assert_eq!(report.mismatches[0].attempt, None);
    assert_eq!(report.mismatches[1].attempt, Some(1));
}

#[test]
fn the_modes_have_three_rows_and_count_what_reached_an_attempt() {
    let mut priced =
        record(Outcome::Completed, 200, vec![attempt_record(1, managed(), usage(10, 1), Some(rates()))]);
    let mut unpriced = record(Outcome::Completed, 200, vec![attempt_record(1, byok(), usage(10, 1), None)]);
    let mut silent = record(Outcome::Completed, 200, vec![attempt_record(1, node(), Usage::default(), None)]);
    let refused = record(Outcome::Failed, 404, Vec::new());
    for record in [&mut priced, &mut unpriced, &mut silent] {
        book(record);
    }
    let report = recompute([&priced, &unpriced, &silent, &refused]);
    let rows = report.by_mode.each_ref().map(|row| (row.mode.as_str(), row.requests));
    assert_eq!(rows, [("mi", 1), ("byok", 1), ("byoc", 1)]);
    assert_eq!((report.records, report.attempts, report.unpriced), (4, 3, 1));
    assert_eq!(recompute([]).by_mode.len(), 3);
}

fn any_usage() -> impl Strategy<Value = Usage> {
    proptest::array::uniform4(0_u64..1 << 32).prop_map(|[input, cached_read, output, reasoning]| {
        let read = Usage { input, cached_read, source: UsageSource::Provider, ..Usage::default() };
        Usage { output, reasoning, ..read }
    })
}

fn any_attempt() -> impl Strategy<Value = AttemptRecord> {
    let principal = prop_oneof![Just(byok()), Just(managed()), Just(node())];
    let faults = vec![FaultClass::Upstream, FaultClass::Cancelled, FaultClass::StreamBroken];
    let fault = proptest::option::of(proptest::sample::select(faults));
    (principal, any_usage(), any::<bool>(), fault, 0_u32..100_000).prop_map(
        |(principal, usage, priced, fault, markup_bps)| AttemptRecord {
            fault,
            markup_bps,
            ..attempt_record(0, principal, usage, priced.then(rates))
        },
    )
}

fn any_outcome() -> impl Strategy<Value = Outcome> {
    use Outcome::{ClientCancelled, Completed, Deadline, Failed, Interrupted};
    proptest::sample::select(vec![Completed, Failed, ClientCancelled, Interrupted, Deadline])
}

proptest! {
    #[test]
    fn the_exchange_is_the_sum_of_its_attempts(
        mut attempts in proptest::collection::vec(any_attempt(), 0..6), outcome in any_outcome(), refused in any::<bool>(),
    ) {
        for (number, attempt) in (1..).zip(&mut attempts) {
            attempt.number = number;
        }
        let mut record = record(outcome, if refused { 502 } else { 200 }, attempts);
        book(&mut record);
        let provider_cost: Nanos = record.attempts.iter().map(|a| a.charge.provider_cost).sum();
        prop_assert_eq!(record.charge.provider_cost, provider_cost);
        for attempt in &record.attempts {
            let memo = charge(attempt.profile(), attempt.rates, attempt.markup_bps, &attempt.usage);
            prop_assert_eq!(attempt.charge.provider_cost, memo.provider_cost);
            prop_assert!(attempt.profile() == Profile::ManagedProvider || attempt.charge.cost == Nanos::ZERO);
        }
        let owing = record.attempts.iter().filter(|a| a.charge.cost != Nanos::ZERO).count();
        prop_assert!(owing <= 1, "booked once");
        prop_assert_eq!(record.charge.cost, record.attempts.last().map_or(Nanos::ZERO, |a| a.charge.cost));
        let report = recompute([&record]);
        prop_assert_eq!(report.mismatch_count, 0);
    }

    #[test]
    fn the_modes_add_up_in_any_order_and_any_grouping(
        attempts in proptest::collection::vec(any_attempt(), 1..12), cut in 0_usize..12,
    ) {
        let records: Vec<_> = attempts.into_iter().map(|attempt| {
            let mut record = record(Outcome::Completed, 200, vec![attempt]);
            book(&mut record);
            record
        }).collect();
        let whole = recompute(&records);
        prop_assert_eq!(recompute(records.iter().rev()).by_mode, whole.by_mode);
        let (left, right) = records.split_at(cut.min(records.len()));
        let parts = [left, right].map(|part| recompute(part).by_mode);
        let cost = |rows: &[ModeTotals]| rows.iter().map(|row| row.cost).sum::<Nanos>();
        prop_assert_eq!(cost(&parts.concat()), cost(&whole.by_mode));
        prop_assert_eq!(parts.concat().iter().map(|row| row.requests).sum::<u64>(), records.len() as u64);
    }
}
