//! The board as its users see it: what one core learns, what all cores learn, and that nothing is counted twice.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use board::{
    AgreedRate, Availability, AvailabilityView, BreakerLevel, Cell, PauseCause, SeatKey, Shared, Verdict,
};
use domain::limits::{
    BOARD_MODELS_MAX, BREAKER_FAILURES, BREAKER_OPEN_FIRST, LIMIT_PAUSE_FIRST, PARKED_PROBE_EVERY,
};
use domain::timeline::micros;
use domain::{AgreedLimits, CredentialId, FaultClass, Principal, WorkspaceId};
use proptest::prelude::*;

const MODEL: &str = "a-model";

fn principal(number: u8) -> Principal {
    Principal::Credential(CredentialId::new(1, [number; 10]))
}

fn workspace(number: u8) -> WorkspaceId {
    WorkspaceId::new(1, [number; 10])
}

/// A seat at a host of its own.
fn seat(number: u8) -> SeatKey<'static> {
    seat_with(number, MODEL)
}

fn seat_with(number: u8, model: &str) -> SeatKey<'_> {
    let base_url = match number {
        1 => "https://a.example/v1",
        2 => "https://b.example/v1",
        _ => "https://c.example/v1",
    };
    let (owner, principal) = (Some(workspace(1)), principal(number));
    let (secret_version, provider, region, limits) = (1, "acme", None, None);
    SeatKey { principal, model, secret_version, owner, provider, base_url, region, limits }
}

fn at(number: u8, base_url: &'static str, region: Option<&'static str>) -> SeatKey<'static> {
    SeatKey { base_url, region, ..seat(number) }
}

fn report(cell: &Rc<Cell>, seat: &SeatKey<'_>, verdict: Verdict, times: u32, now_us: u64) {
    for _ in 0..times {
        if let Ok(mut ticket) = cell.claim(seat, 0, true, now_us) {
            ticket.report(verdict, now_us);
        }
    }
}

/// A board that two cores share, and their own sides of it.
fn pair() -> (Arc<Shared>, [Rc<Cell>; 2]) {
    let shared = Shared::new();
    let cells = [0, 1].map(|_| Cell::new(Arc::clone(&shared), 2));
    (shared, cells)
}

fn fail(cell: &Rc<Cell>, times: u32, now_us: u64) {
    report(cell, &seat(1), Verdict::Unhealthy, times, now_us);
}

#[test]
fn failures_open_the_breaker_of_that_principal_and_model_only() {
    let cell = Cell::new(Shared::new(), 1);
    fail(&cell, BREAKER_FAILURES, 0);
    let open = Availability::BreakerOpen { us: micros(BREAKER_OPEN_FIRST) };
    assert_eq!(cell.availability(&seat(1), 1), open);
    assert_eq!(cell.claim(&seat(1), 0, false, 1).unwrap_err(), open);
    assert_eq!(cell.availability(&seat_with(1, "another"), 1), Availability::Open);
    assert_eq!(cell.availability(&seat(2), 1), Availability::Open);
    assert!(cell.claim(&seat(1), 0, true, 1).is_ok(), "the last one is never ejected");
}

#[test]
fn the_half_open_try_of_a_client_that_left_is_given_back() {
    let cell = Cell::new(Shared::new(), 1);
    fail(&cell, BREAKER_FAILURES, 0);
    let later = micros(BREAKER_OPEN_FIRST);
    let trial = cell.claim(&seat(1), 0, false, later).unwrap();
    assert!(cell.claim(&seat(1), 0, false, later).is_err(), "one try at a time");
    drop(trial);
    let mut trial = cell.claim(&seat(1), 0, false, later).unwrap();
    trial.report(Verdict::Healthy { first_byte_us: 5 }, later);
    assert_eq!(cell.availability(&seat(1), later), Availability::Open);
}

#[test]
fn a_refused_credential_is_parked_on_all_cores_and_probed_once_a_minute_by_one() {
    let (_, [one, two]) = pair();
    one.claim(&seat(1), 0, true, 0).unwrap().report(Verdict::Park { cause: FaultClass::UpstreamAuth }, 0);
    let minute = micros(PARKED_PROBE_EVERY);
    assert_eq!(two.availability(&seat_with(1, "any"), 5), Availability::Parked { us: minute });
    assert!(two.claim(&seat(1), 0, true, 5).is_err(), "even the last one: the provider said no");
    let mut probe = two.claim(&seat(1), 0, true, minute).unwrap();
    assert_eq!(one.claim(&seat(1), 0, true, minute).unwrap_err(), Availability::Parked { us: 2 * minute });
    probe.report(Verdict::Healthy { first_byte_us: 9 }, minute);
    assert_eq!(one.availability(&seat(1), minute), Availability::Open);
}

#[test]
fn a_newer_secret_is_not_held_to_what_an_older_one_was_refused_for() {
    let cell = Cell::new(Shared::new(), 1);
    cell.claim(&seat(1), 0, true, 0).unwrap().report(Verdict::Park { cause: FaultClass::UpstreamAuth }, 0);
    assert!(cell.claim(&seat(1), 0, true, 5).is_err());
    assert!(cell.claim(&SeatKey { secret_version: 2, ..seat(1) }, 0, true, 5).is_ok());
    assert_eq!(cell.availability(&seat(1), 5), Availability::Open);
}

#[test]
fn a_rest_holds_for_its_model_until_its_time_on_all_cores() {
    let (shared, [one, two]) = pair();
    one.claim(&seat(1), 0, true, 0).unwrap().report(Verdict::Cooldown { until_us: 900_000 }, 0);
    assert_eq!(two.availability(&seat(1), 899_999), Availability::RetryAt { us: 900_000 });
    assert_eq!(two.availability(&seat(1), 900_000), Availability::Open);
    assert_eq!(two.availability(&seat_with(1, "another"), 5), Availability::Open);
    shared.forgive(principal(1));
    assert_eq!(two.availability(&seat(1), 5), Availability::Open);
}

#[test]
fn a_core_that_read_the_clock_before_a_limit_was_noted_reports_no_longer_pause() {
    let (_, [one, two]) = pair();
    one.claim(&seat(1), 0, true, 0).unwrap().report(Verdict::Cooldown { until_us: 905_000 }, 5_000);
    assert_eq!(two.availability(&seat(1), 1_000), Availability::RetryAt { us: 901_000 });
    assert_eq!(two.availability(&seat(1), 6_000), Availability::RetryAt { us: 905_000 });
}

#[test]
fn how_fast_a_principal_was_with_a_model_is_known_to_all_cores() {
    let (shared, [one, other]) = pair();
    let measure = |first_byte_us, now_us| {
        let mut ticket = one.claim(&seat_with(1, "m"), 0, false, now_us).unwrap();
        ticket.report(Verdict::Healthy { first_byte_us }, now_us);
    };
    let seen = || {
        [&*one as &dyn AvailabilityView, &*other, &*shared].map(|view| view.first_byte_us(principal(1), "m"))
    };
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
    let held = cell.claim(&seat(1), 0, true, 0).unwrap();
    for number in 0..10 * BOARD_MODELS_MAX {
        drop(cell.claim(&seat_with(1, &format!("m{number}")), 0, true, 0).unwrap());
    }
    assert_eq!(cell.gauge(principal(1), MODEL).in_flight, 1);
    drop(held);
    assert_eq!(cell.gauge(principal(1), MODEL).in_flight, 0);
}

#[test]
fn a_seat_that_made_room_for_another_is_forgotten_however_lately_it_was_asked_for() {
    let cell = Cell::new(Shared::new(), 1);
    let first_byte_us = 70;
    cell.claim(&seat(1), 0, true, 0).unwrap().report(Verdict::Healthy { first_byte_us }, 0);
    for number in 1..BOARD_MODELS_MAX {
        drop(cell.claim(&seat_with(1, &format!("m{number}")), 0, true, 0).unwrap());
    }
    assert_eq!(cell.gauge(principal(1), MODEL).first_byte_us, first_byte_us);
    let held = cell.claim(&seat_with(1, "one more"), 0, true, 0).unwrap();
    assert_eq!(cell.gauge(principal(1), MODEL).first_byte_us, 0);
    assert_eq!(cell.gauge(principal(1), "one more").in_flight, 1);
    drop(held);
}

fn agreed(a_minute: u64, at_once: u64) -> AgreedLimits {
    let (requests_per_minute, concurrent_requests) = (Some(a_minute), Some(at_once));
    AgreedLimits { requests_per_minute, concurrent_requests, ..AgreedLimits::default() }
}

const HOST: &str = "https://shared.example/v1";

fn ejected(level: BreakerLevel) -> Availability {
    Availability::Ejected { us: micros(BREAKER_OPEN_FIRST), level }
}

#[test]
fn a_host_that_fails_for_two_principals_opens_once_for_all_on_all_cores() {
    let (shared, [one, two]) = pair();
    report(&one, &at(1, HOST, None), Verdict::Unhealthy, BREAKER_FAILURES - 1, 0);
    assert_eq!(two.availability(&at(3, HOST, None), 1), Availability::Open);
    report(&two, &at(2, HOST, None), Verdict::Unhealthy, 1, 0);
    assert_eq!(two.availability(&at(3, HOST, None), 1), ejected(BreakerLevel::Host), "one that never failed");
    assert_eq!(one.availability(&at(3, HOST, None), 1), ejected(BreakerLevel::Host));
    assert_eq!(one.availability(&seat(3), 1), Availability::Open, "another host");
    // One trial, over both cores together.
    let later = micros(BREAKER_OPEN_FIRST);
    let mut trial = one.claim(&at(1, HOST, None), 0, false, later).unwrap();
    assert!(two.claim(&at(2, HOST, None), 0, false, later).is_err());
    trial.report(Verdict::Healthy { first_byte_us: 1 }, later);
    assert!(two.claim(&at(2, HOST, None), 0, false, later).is_ok());
    assert!(shared.open_breakers(principal(2), later).is_empty());
}

#[test]
fn a_host_that_cannot_be_reached_opens_for_one_that_met_it_and_for_another_owner_it_does_not() {
    let cell = Cell::new(Shared::new(), 1);
    report(&cell, &at(1, HOST, None), Verdict::Unreachable, BREAKER_FAILURES, 0);
    assert_eq!(cell.availability(&at(2, HOST, None), 1), ejected(BreakerLevel::Host));
    for owner in [Some(workspace(2)), None] {
        assert_eq!(cell.availability(&SeatKey { owner, ..at(4, HOST, None) }, 1), Availability::Open);
    }
}

#[test]
fn limits_and_refused_secrets_say_nothing_about_the_host() {
    let cell = Cell::new(Shared::new(), 1);
    let (limited, parked) =
        (Verdict::Cooldown { until_us: 1 }, Verdict::Park { cause: FaultClass::UpstreamAuth });
    for (number, verdict) in [(1, limited), (2, Verdict::Limited), (3, parked)] {
        report(&cell, &at(number, HOST, Some("eu")), verdict, 4 * BREAKER_FAILURES, 0);
    }
    assert_eq!(cell.availability(&at(4, HOST, Some("eu")), 1), Availability::Open);
}

#[test]
fn a_region_opens_for_several_hosts_and_a_credential_for_several_models() {
    let shared = Shared::new();
    let cell = Cell::new(shared.clone(), 1);
    let (first, second) =
        (at(1, "https://a.eu.example", Some("eu")), at(2, "https://b.eu.example", Some("eu")));
    report(&cell, &first, Verdict::Unhealthy, 3, 0);
    report(&cell, &second, Verdict::Unhealthy, 2, 0);
    let third = at(3, "https://c.eu.example", Some("eu"));
    assert_eq!(cell.availability(&third, 1), ejected(BreakerLevel::Region));
    assert_eq!(cell.availability(&SeatKey { region: Some("us"), ..third }, 1), Availability::Open);
    let open = shared.open_breakers(principal(1), 1);
    assert_eq!(open.len(), 1, "{open:?}");
    assert_eq!((open[0].level, &*open[0].name), (BreakerLevel::Region, "acme/eu"));

    let cell = Cell::new(Shared::new(), 1);
    for (model, times) in [("m1", 3), ("m2", 2)] {
        report(&cell, &seat_with(1, model), Verdict::Unhealthy, times, 0);
    }
    assert_eq!(cell.availability(&seat_with(1, "m3"), 1), ejected(BreakerLevel::Credential));
    assert_eq!(cell.availability(&seat_with(2, "m3"), 1), Availability::Open);
}

#[test]
fn a_limit_without_a_time_rests_it_longer_each_time_where_another_can_serve() {
    let (_, [one, two]) = pair();
    let first = micros(LIMIT_PAUSE_FIRST);
    // Three that were in flight together count as one.
    report(&one, &seat(1), Verdict::Limited, 3, 0);
    assert_eq!(two.availability(&seat(1), 1), Availability::Limited { us: first });
    assert!(two.claim(&seat(1), 0, false, 1).is_err());
    report(&one, &seat(1), Verdict::Limited, 1, first);
    assert_eq!(two.availability(&seat(1), first), Availability::Limited { us: 3 * first });
    report(&one, &seat(1), Verdict::Healthy { first_byte_us: 1 }, 1, 3 * first);
    report(&one, &seat(1), Verdict::Limited, 1, 4 * first);
    assert_eq!(two.availability(&seat(1), 4 * first), Availability::Limited { us: 5 * first });
}

#[test]
fn agreed_limits_are_one_for_all_cores_and_what_ended_makes_room() {
    let gateways = Arc::new(AtomicU64::new(1));
    let shared = Shared::among(Arc::clone(&gateways));
    let (one, two) = (Cell::new(shared.clone(), 2), Cell::new(shared, 2));
    let agreed = agreed(3, 2);
    let paced = SeatKey { limits: SeatKey::pacing(&agreed), ..seat(1) };
    let now = 600_000_000;
    let held = [one.claim(&paced, 0, true, now).unwrap(), two.claim(&paced, 0, true, now).unwrap()];
    let full = one.claim(&paced, 0, true, now).unwrap_err();
    assert!(matches!(full, Availability::Paced { us } if us > now), "{full:?}");
    drop(held);
    drop(two.claim(&paced, 0, true, now).unwrap());
    let over = one.claim(&paced, 0, true, now).unwrap_err();
    assert_eq!(over, Availability::Paced { us: now + 20_000_000 }, "the fourth within a minute");
    assert_eq!(two.availability(&paced, now), over, "what a plan reads is what a claim is answered");
    // Two gateways share it: the change is followed, and half of it is one.
    gateways.store(2, Ordering::Relaxed);
    drop(one.claim(&paced, 0, true, 2 * now).unwrap());
    assert!(two.claim(&paced, 0, true, 2 * now).is_err());
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
            let Ok(mut ticket) = cell.claim(&seat(1), 0, kind % 2 == 0, now) else { continue };
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

#[test]
fn breakers_are_told_to_their_owner_with_who_met_them_and_counted_for_the_operator() {
    let shared = Shared::new();
    let cell = Cell::new(shared.clone(), 1);
    report(&cell, &at(1, HOST, None), Verdict::Unhealthy, 3, 5);
    report(&cell, &at(2, HOST, None), Verdict::Unhealthy, 2, 7);
    let theirs = SeatKey { owner: Some(workspace(2)), ..seat(4) };
    report(&cell, &theirs, Verdict::Unhealthy, BREAKER_FAILURES, 9);
    let [told] = &shared.breakers_of(Some(workspace(1)), 8)[..] else { panic!("one breaker is open") };
    assert_eq!((told.breaker.level, &*told.breaker.name), (BreakerLevel::Host, "shared.example"));
    assert_eq!((told.breaker.since_us, told.breaker.openings, told.breaker.cause.failures), (7, 1, 5));
    assert_eq!(told.principals, [principal(1), principal(2)]);
    assert_eq!(shared.breakers_of(None, 8), [], "the operator's accounts have none");
    let elsewhere = shared.breakers_elsewhere(workspace(1), 10);
    assert_eq!(elsewhere.into_iter().collect::<Vec<_>>(), [(BreakerLevel::Model, 1)]);
    assert_eq!(shared.breakers_of(Some(workspace(2)), 10)[0].principals, [principal(4)]);
}

#[test]
fn pauses_load_and_what_is_left_are_told() {
    let shared = Shared::new();
    let cell = Cell::new(shared.clone(), 1);
    let limits = agreed(10, 4);
    let agreed = SeatKey { limits: Some(&limits), ..seat(1) };
    assert_eq!(shared.pacing(principal(1), &AgreedLimits::default(), 1), None);
    let rate = |limit, left| Some(AgreedRate { limit, left });
    let before = shared.pacing(principal(1), &limits, 1).unwrap();
    assert_eq!((before.requests_per_minute, before.tokens_per_minute), (rate(10, 10), None));
    let mut held = cell.claim(&agreed, 0, false, 1).unwrap();
    let during = shared.pacing(principal(1), &limits, 1).unwrap();
    assert_eq!((during.requests_per_minute, during.concurrent_requests), (rate(10, 9), rate(4, 3)));
    assert_eq!(shared.loads(principal(1), 1)[0].1.in_flight, 1);
    held.report(Verdict::Healthy { first_byte_us: 5_000 }, 1);
    drop(held);
    report(&cell, &seat(2), Verdict::Cooldown { until_us: 900_000 }, 1, 5);
    report(&cell, &seat(3), Verdict::Park { cause: FaultClass::UpstreamAuth }, 1, 5);
    let [(model, load)] = &shared.loads(principal(1), 2)[..] else { panic!("one model was asked for") };
    assert!(&**model == MODEL && load.in_flight == 0 && load.first_byte_us.is_some(), "{load:?}");
    let told = |number, now_us| {
        let pauses = shared.pauses(principal(number), now_us).into_iter();
        pauses.map(|pause| (pause.model.map(String::from), pause.cause)).collect::<Vec<_>>()
    };
    assert_eq!(told(1, 6), []);
    assert_eq!(told(2, 6), [(Some(MODEL.to_owned()), PauseCause::Limited)]);
    assert_eq!(told(2, 900_000), []);
    assert_eq!(told(3, 6), [(None, PauseCause::Refused(FaultClass::UpstreamAuth))]);
}
