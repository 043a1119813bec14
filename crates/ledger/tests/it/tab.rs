//! A tab is closed exactly once, and its record says what happened.

use domain::{Fault, FaultClass, Nanos, Outcome, Priced, Usage, UsageSource};
use ledger::simulation::{SimulatedBooks, now};
use ledger::{AttemptEnd, Closing, Intent, StartedAttempt};

use crate::support::*;

#[test]
fn a_completed_exchange_is_booked_under_what_answered() {
    let books = started(1);
    let mut tab = tried(&books, 1, byok());
    books.clock.advance_us(2_000);
    let (fault, upstream_request_id) = (Some(FaultClass::RateLimit), Some("req_1".into()));
    let end = AttemptEnd { status: Some(429), fault, upstream_request_id, ..AttemptEnd::default() };
    tab.end_attempt(1, end);
    assert!(attempt(&books, &mut tab, managed()));
    books.clock.advance_us(3_000);
    tab.close(Closing { fallback_used: true, ..completed(usage(1_000, 100)) });

    let record = booked(&books, 1);
    assert_eq!((record.outcome, record.status, record.fallback_used), (Outcome::Completed, 200, true));
    assert_eq!(record.principal, Some(managed()));
    assert_eq!(record.resolved_model, "openai/gpt-4o-mini");
    assert_eq!(record.attempts.len(), 2);
    assert_eq!(record.attempts[0].fault, Some(FaultClass::RateLimit));
    assert_eq!(record.attempts[0].duration_us, 2_000);
    assert_eq!(record.attempts[0].charge.priced, Priced::Free);
    assert_eq!((record.attempts[1].started_us, record.attempts[1].duration_us), (2_000, 3_000));
    assert_eq!(record.charge.provider_cost, Nanos(150_000 + 60_000));
    assert_eq!(record.charge.cost, Nanos(231_000), "ten per cent more");
    assert_eq!(record.timeline.settled_us, 5_000);
    let journal = journal(&books);
    assert_eq!((journal.open_tabs(), journal.reserved_bytes()), (0, 0));
}

#[test]
fn an_attempt_waits_for_its_intent_to_be_written() {
    let books = started(2);
    let mut tab = open(&books, 1);
    let mut future = Box::pin(tab.start_attempt(intent(byok())));
    assert!(now(future.as_mut()).is_none(), "nothing is written yet");
    books.turn().unwrap();
    assert_eq!(now(future.as_mut()).unwrap().unwrap().number, 1);
}

#[test]
fn a_synced_intent_waits_for_the_sync() {
    let mut books = SimulatedBooks::new(3, ledger::Durability::Synced);
    books.start().unwrap();
    let mut tab = open(&books, 1);
    let mut future = Box::pin(tab.start_attempt(intent(byok())));
    assert!(now(future.as_mut()).is_none());
    journal(&books).flush_now().unwrap();
    assert!(now(future.as_mut()).is_none(), "written is not synced");
    books.sync().unwrap();
    assert_eq!(now(future.as_mut()).unwrap().unwrap().number, 1);
}

#[test]
fn one_write_serves_all_intents_of_a_turn() {
    let books = started(4);
    let mut tabs: Vec<_> = (0..6).map(|number| open(&books, number)).collect();
    let mut futures: Vec<_> =
        tabs.iter_mut().map(|tab| Box::pin(tab.start_attempt(intent(byok())))).collect();
    assert!(futures.iter_mut().all(|future| now(future.as_mut()).is_none()));
    let before = books.disk.operations();
    books.turn().unwrap();
    assert_eq!(books.disk.operations() - before, 1);
    for future in &mut futures {
        assert!(matches!(now(future.as_mut()), Some(Ok(StartedAttempt { number: 1, .. }))));
    }
}

#[test]
fn a_dropped_tab_closes_itself_as_cancelled_with_what_is_known() {
    let books = started(5);
    let mut tab = tried(&books, 1, managed());
    tab.checkpoint(usage(100, 50), 70_000);
    drop(tab);
    let closed = booked(&books, 1);
    assert_eq!((closed.outcome, closed.status), (Outcome::ClientCancelled, 200));
    assert_eq!(closed.usage, usage(100, 50));
    assert_eq!(closed.attempts[0].fault, Some(FaultClass::Cancelled));
    assert_eq!(closed.charge.cost, Nanos(49_500));

    drop(open(&books, 2));
    let untried = booked(&books, 2);
    assert_eq!((untried.outcome, untried.status, untried.principal), (Outcome::ClientCancelled, 499, None));
    assert_eq!(untried.charge.priced, Priced::Free);
}

#[test]
fn an_attempt_that_was_sent_and_left_unanswered_is_estimated_from_its_prompt() {
    let books = started(6);
    let tab = tried(&books, 1, byok());
    drop(tab);
    let record = booked(&books, 1);
    assert_eq!(record.usage, Usage { input: 100, source: UsageSource::Estimate, ..Usage::default() });
    assert_eq!((record.charge.cost, record.charge.provider_cost), (Nanos(0), Nanos(15_000)));
}

#[test]
fn an_intent_that_was_never_written_used_nothing() {
    let books = started(7);
    let mut tab = open(&books, 1);
    assert!(now(Box::pin(tab.start_attempt(intent(byok())))).is_none());
    drop(tab);
    assert_eq!(booked(&books, 1).usage, Usage::default());
}

#[test]
fn a_panic_settles_as_our_failure() {
    let books = started(8);
    let tab = open(&books, 1);
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _tab = tab;
        panic!("a defect");
    }));
    assert!(caught.is_err());
    let record = booked(&books, 1);
    assert_eq!((record.outcome, record.status), (Outcome::Failed, 500));
    assert_eq!(record.fault, Some(FaultClass::Internal));
}

#[test]
fn a_refusal_after_admission_is_recorded_without_an_attempt() {
    let books = started(9);
    let fault = Fault::new(FaultClass::NotFound, "model_not_served", "Nothing offers it.");
    let unused = Closing { bytes_out: 200, ..completed(Usage::default()) };
    let closing = Closing { outcome: Outcome::Failed, status: 404, fault: Some(&fault), ..unused };
    open(&books, 1).close(closing);
    let record = booked(&books, 1);
    assert_eq!(record.fault_code.as_deref(), Some("model_not_served"));
    assert_eq!((record.principal, record.attempts.len()), (None, 0));
}

#[test]
fn long_texts_of_clients_are_cut_at_a_character() {
    let books = started(10);
    let mut long = opening(1);
    long.requested_model = "é".repeat(5_000);
    long.tag = Some("x".repeat(5_000));
    let mut tab = journal(&books).open_tab(long).unwrap();
    let wordy = Intent { upstream_model: "m".repeat(300).into(), ..intent(byok()) };
    let mut future = Box::pin(tab.start_attempt(wordy));
    assert!(now(future.as_mut()).is_none());
    books.turn().unwrap();
    assert!(matches!(now(future), Some(Ok(StartedAttempt { number: 1, .. }))));
    tab.close(completed(usage(1, 1)));
    let record = booked(&books, 1);
    assert_eq!(record.requested_model, "é".repeat(128));
    assert_eq!(record.tag.map(|tag| tag.len()), Some(256));
}
