//! The board as its users see it: what one core learns, what all cores learn, and that nothing is counted twice.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use board::{Availability, AvailabilityView, Cell, Shared, Verdict};
use domain::limits::{BOARD_MODELS_MAX, BREAKER_FAILURES, BREAKER_OPEN_FIRST, PARKED_PROBE_EVERY};
use domain::timeline::micros;
use domain::{CredentialId, FaultClass, Principal};
use proptest::prelude::*;

const MODEL: &str = "a-model";

fn principal(number: u8) -> Principal {
    Principal::Credential(CredentialId::new(1, [number; 10]))
}

fn fail(cell: &Rc<Cell>, times: u32, now_us: u64) {
    for _ in 0..times {
        if let Ok(mut ticket) = cell.claim(principal(1), MODEL, 1, true, now_us) {
            ticket.report(Verdict::Unhealthy, now_us);
        }
    }
}

#[test]
fn failures_open_the_breaker_of_that_principal_and_model_only() {
    let cell = Cell::new(Shared::new(), 1);
    fail(&cell, BREAKER_FAILURES, 0);
    let open = Availability::BreakerOpen { us: micros(BREAKER_OPEN_FIRST) };
    assert_eq!(cell.availability(principal(1), MODEL, 1), open);
    assert_eq!(cell.claim(principal(1), MODEL, 1, false, 1).unwrap_err(), open);
    assert_eq!(cell.availability(principal(1), "another", 1), Availability::Open);
    assert_eq!(cell.availability(principal(2), MODEL, 1), Availability::Open);
    assert!(cell.claim(principal(1), MODEL, 1, true, 1).is_ok(), "the last one is never ejected");
}

#[test]
fn the_half_open_try_of_a_client_that_left_is_given_back() {
    let cell = Cell::new(Shared::new(), 1);
    fail(&cell, BREAKER_FAILURES, 0);
    let later = micros(BREAKER_OPEN_FIRST);
    let trial = cell.claim(principal(1), MODEL, 1, false, later).unwrap();
    assert!(cell.claim(principal(1), MODEL, 1, false, later).is_err(), "one try at a time");
    drop(trial);
    let mut trial = cell.claim(principal(1), MODEL, 1, false, later).unwrap();
    trial.report(Verdict::Healthy { first_byte_us: 5 }, later);
    assert_eq!(cell.availability(principal(1), MODEL, later), Availability::Open);
}

#[test]
fn a_refused_credential_is_parked_on_all_cores_and_probed_once_a_minute_by_one() {
    let shared = Shared::new();
    let (one, two) = (Cell::new(shared.clone(), 2), Cell::new(shared, 2));
    one.claim(principal(1), MODEL, 1, true, 0)
        .unwrap()
        .report(Verdict::Park { cause: FaultClass::UpstreamAuth }, 0);
    let minute = micros(PARKED_PROBE_EVERY);
    assert_eq!(two.availability(principal(1), "any", 5), Availability::Parked { us: minute });
    assert!(two.claim(principal(1), MODEL, 1, true, 5).is_err(), "even the last one: the provider said no");
    let mut probe = two.claim(principal(1), MODEL, 1, true, minute).unwrap();
    assert_eq!(
        one.claim(principal(1), MODEL, 1, true, minute).unwrap_err(),
        Availability::Parked { us: 2 * minute }
    );
    probe.report(Verdict::Healthy { first_byte_us: 9 }, minute);
    assert_eq!(one.availability(principal(1), MODEL, minute), Availability::Open);
}

#[test]
fn a_newer_secret_is_not_held_to_what_an_older_one_was_refused_for() {
    let cell = Cell::new(Shared::new(), 1);
    cell.claim(principal(1), MODEL, 1, true, 0)
        .unwrap()
        .report(Verdict::Park { cause: FaultClass::UpstreamAuth }, 0);
    assert!(cell.claim(principal(1), MODEL, 1, true, 5).is_err());
    assert!(cell.claim(principal(1), MODEL, 2, true, 5).is_ok());
    assert_eq!(cell.availability(principal(1), MODEL, 5), Availability::Open);
}

#[test]
fn a_rest_holds_for_its_model_until_its_time_on_all_cores() {
    let shared = Shared::new();
    let (one, two) = (Cell::new(shared.clone(), 2), Cell::new(shared.clone(), 2));
    one.claim(principal(1), MODEL, 1, true, 0).unwrap().report(Verdict::Cooldown { until_us: 900_000 }, 0);
    assert_eq!(two.availability(principal(1), MODEL, 899_999), Availability::RetryAt { us: 900_000 });
    assert_eq!(two.availability(principal(1), MODEL, 900_000), Availability::Open);
    assert_eq!(two.availability(principal(1), "another", 5), Availability::Open);
    shared.forgive(principal(1));
    assert_eq!(two.availability(principal(1), MODEL, 5), Availability::Open);
}

#[test]
fn how_fast_a_principal_was_with_a_model_is_known_to_all_cores() {
    let shared = Shared::new();
    let (one, other) = (Cell::new(Arc::clone(&shared), 2), Cell::new(Arc::clone(&shared), 2));
    let measure = |first_byte_us, now_us| {
        let mut ticket = one.claim(principal(1), "m", 1, false, now_us).unwrap();
        ticket.report(Verdict::Healthy { first_byte_us }, now_us);
    };
    let seen = || [&*one as &dyn AvailabilityView, &*other, &*shared].map(|view| view.first_byte_us(principal(1), "m"));
    assert_eq!(seen(), [None; 3]);
    measure(8_000, 5);
    assert_eq!(seen(), [Some(8_000); 3]);
    // Shared about once a second; the core itself always knows its own.
    measure(16_000, 10);
    assert_eq!(seen(), [Some(9_000), Some(8_000), Some(8_000)]);
    measure(9_000, 2_000_000);
    assert_eq!(seen(), [Some(9_000); 3]);
    assert_eq!(shared.first_byte_us(principal(1), "other"), None);
    assert_eq!(shared.first_byte_us(principal(2), "m"), None);
}

#[test]
fn names_that_clients_invent_do_not_grow_the_board_and_load_is_counted_down() {
    let cell = Cell::new(Shared::new(), 1);
    let held = cell.claim(principal(1), MODEL, 1, true, 0).unwrap();
    for number in 0..10 * BOARD_MODELS_MAX {
        drop(cell.claim(principal(1), &format!("m{number}"), 1, true, 0).unwrap());
    }
    assert_eq!(cell.gauge(principal(1), MODEL).in_flight, 1);
    drop(held);
    assert_eq!(cell.gauge(principal(1), MODEL).in_flight, 0);
}

#[test]
fn a_seat_that_made_room_for_another_is_forgotten_however_lately_it_was_asked_for() {
    let cell = Cell::new(Shared::new(), 1);
    let first_byte_us = 70;
    cell.claim(principal(1), MODEL, 1, true, 0).unwrap().report(Verdict::Healthy { first_byte_us }, 0);
    for number in 1..BOARD_MODELS_MAX {
        drop(cell.claim(principal(1), &format!("m{number}"), 1, true, 0).unwrap());
    }
    assert_eq!(cell.gauge(principal(1), MODEL).first_byte_us, first_byte_us);
    let held = cell.claim(principal(1), "one more", 1, true, 0).unwrap();
    assert_eq!(cell.gauge(principal(1), MODEL).first_byte_us, 0);
    assert_eq!(cell.gauge(principal(1), "one more").in_flight, 1);
    drop(held);
}

proptest! {
    #[test]
    fn a_storm_of_refusals_sends_no_more_than_the_budget(pauses in proptest::collection::vec(0_u64..20_000, 1..500)) {
        let cell = Cell::new(Shared::new(), 1);
        let (mut now, mut sent, mut first) = (0, 0_u64, 0_u64);
        for pause in pauses {
            now += pause;
            cell.first_try("https://upstream", now);
            first += 1;
            sent += u64::from(cell.take_retry("https://upstream", now));
        }
        prop_assert!(sent <= first / 5 + 10 * now / 1_000_000 + 12);
    }

    #[test]
    fn whatever_happens_load_returns_to_zero(steps in proptest::collection::vec((0_u8..6, 0_u64..9_000_000), 1..200)) {
        let cell = Cell::new(Shared::new(), 1);
        let mut held = Vec::new();
        let mut now = 0;
        for (kind, pause) in steps {
            now += pause;
            if kind == 0 { held.clear(); }
            let Ok(mut ticket) = cell.claim(principal(1), MODEL, 1, kind % 2 == 0, now) else { continue };
            match kind {
                1 => ticket.report(Verdict::Unhealthy, now),
                2 => ticket.report(Verdict::Cooldown { until_us: now + micros(Duration::from_secs(3)) }, now),
                3 => ticket.report(Verdict::Healthy { first_byte_us: pause }, now),
                4 => ticket.report(Verdict::Park { cause: FaultClass::UpstreamAuth }, now),
                _ => {}
            }
            held.push(ticket);
        }
        held.clear();
        prop_assert_eq!(cell.gauge(principal(1), MODEL).in_flight, 0);
    }
}
