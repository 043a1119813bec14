//! Strategies of routes: each order, what it says of itself, and that none allows more than its route.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use board::{Availability, Load};
use domain::{
    Agreement, ByokFallback, Commitment, CommitmentPeriod, Price, Principal, Profile, Rates, RequestTraits,
    RouteConditions, RouteSpec, Strategy,
};
use plan::RequestSize;
use proptest::prelude::*;

use crate::fixture::{
    Fixture, NOW_US, account_id, credential_id, name_of, node_id, reason, route_id, short, spec,
};

const MODEL: &str = "openai/gpt-4o";

fn strategy(strategy: Strategy) -> RouteSpec {
    RouteSpec { strategy, ..RouteSpec::default() }
}

/// Its own price for a prompt token and for an answer token, in micro-USD per million.
fn priced(fixture: Fixture, number: u8, input: u64, output: u64) -> Fixture {
    let rates = Rates { input: Price(input), output: Price(output), ..Rates::default() };
    let pricing = Arc::new(vec![(MODEL.to_owned(), rates)]);
    fixture.credential_with(number, "openai", |entry| entry.pricing = pricing)
}

fn own(number: u8) -> Principal {
    Principal::Credential(credential_id(number))
}

fn fast(ms: u64) -> Load {
    Load { first_byte_us: Some(ms * 1_000), whole_us: Some(ms * 2_000), ..Load::default() }
}

fn busy(in_flight: u32) -> Load {
    Load { in_flight, ..Load::default() }
}

fn order_of(fixture: &Fixture) -> String {
    fixture.ask(MODEL).route.unwrap().order.unwrap()
}

#[test]
fn without_a_strategy_the_oldest_credential_comes_first_and_no_order_is_explained() {
    let fixture = priced(priced(Fixture::new(), 1, 9, 9), 2, 1, 1).route(1, strategy(Strategy::None));
    let answer = fixture.ask(MODEL);
    assert_eq!(short(&answer), "c1 c2");
    assert_eq!(answer.route.unwrap().order, None);
}

#[test]
fn committed_capacity_comes_first() {
    let committed = |agreement: Agreement| {
        Fixture::own(1)
            .credential_with(2, "openai", |entry| entry.agreement = Arc::new(agreement))
            .route(1, strategy(Strategy::CommittedFirst))
    };
    let commitment = Commitment { amount_micros: 5, period: CommitmentPeriod::Month };
    let mut reserved = Agreement::default();
    reserved.limits.reserved_units = Some(3);
    for (agreement, expected) in [
        (Agreement { commitment: Some(commitment), ..Agreement::default() }, "c2 c1"),
        (reserved, "c2 c1"),
        (Agreement::default(), "c1 c2"),
    ] {
        assert_eq!(short(&committed(agreement.clone()).ask(MODEL)), expected, "{agreement:?}");
    }
}

#[test]
fn the_cheapest_depends_on_what_the_request_would_use() {
    let fixture = priced(priced(priced(Fixture::new(), 1, 10, 100), 2, 40, 20), 3, 12, 100);
    let fixture = fixture.route(1, strategy(Strategy::Cheapest));
    let of = |prompt_bytes: u64, answer_tokens: u64| {
        let size = RequestSize { prompt_bytes, answer_tokens: Some(answer_tokens), ..RequestSize::default() };
        Fixture { size, ..fixture.clone() }
    };
    assert_eq!(short(&of(4_000_000, 1_000).ask(MODEL)), "c1 c3 c2");
    assert_eq!(short(&of(4_000, 1_000_000).ask(MODEL)), "c2 c1 c3");
    let why = order_of(&of(4_000_000, 1_000_000));
    assert!(why.contains("1000000 prompt and 1000000 answer tokens"), "{why}");
    // One million prompt tokens at 40 and as many answer tokens at 20 micro-USD.
    assert!(why.contains(&format!("$0.000060000 at {}", own(2))), "{why}");
}

#[test]
fn what_has_no_known_price_comes_last() {
    let fixture = Fixture::new().credential(1, "nebius").credential(2, "together_ai");
    let fixture = fixture.route(1, strategy(Strategy::Cheapest));
    let answer = fixture.ask("meta-llama/Llama-3.3-70B-Instruct");
    assert!(answer.attempts.is_sorted_by_key(|attempt| attempt.rates.is_none()), "{answer:?}");
    // An answer in units that the price does not cover has none, either.
    let fixture = priced(Fixture::new(), 1, 5, 5).credential_with(2, "openai", |entry| {
        let rates = Rates { input: Price(1), output: Price(1), ..Rates::default() };
        entry.pricing = Arc::new(vec![("another".to_owned(), rates)]);
    });
    assert_eq!(short(&fixture.route(1, strategy(Strategy::Cheapest)).ask(MODEL)), "c1 c2");
}

#[test]
fn a_markup_counts_among_accounts() {
    let fixture = Fixture::new()
        .account_with(1, "openai", |entry| entry.markup_bps = 900)
        .account_with(2, "openai", |entry| entry.markup_bps = 100)
        .route(1, strategy(Strategy::Cheapest));
    for random in 0..50 {
        assert_eq!(short(&Fixture { random, ..fixture.clone() }.ask(MODEL)), "a2 a1", "{random}");
    }
}

#[test]
fn the_fastest_is_measured_by_what_the_client_waits_for() {
    let streamed_fast = Load { first_byte_us: Some(100_000), whole_us: Some(9_000_000), ..Load::default() };
    let whole_fast = Load { first_byte_us: Some(300_000), whole_us: Some(2_000_000), ..Load::default() };
    let fixture = Fixture::own(3)
        .load(own(2), whole_fast)
        .load(own(3), streamed_fast)
        .route(1, strategy(Strategy::Fastest));
    // A number that does not explore.
    let fixture = Fixture { random: not_exploring(&fixture), ..fixture };
    let of =
        |is_stream| Fixture { size: RequestSize { is_stream, ..RequestSize::default() }, ..fixture.clone() };
    assert_eq!(short(&of(true).ask(MODEL)), "c3 c2 c1");
    assert_eq!(short(&of(false).ask(MODEL)), "c2 c3 c1");
    let why = order_of(&of(true));
    assert!(why.contains("first byte") && why.contains("100 ms") && why.contains("not measured"), "{why}");
}

fn not_exploring(fixture: &Fixture) -> u64 {
    let explores = |random: u64| order_of(&Fixture { random, ..fixture.clone() }).contains("explores");
    (0..1_000).find(|random| !explores(*random)).unwrap()
}

/// Which seat comes first, in how many of 20 000 requests.
fn firsts(fixture: &Fixture) -> BTreeMap<String, u32> {
    firsts_of(fixture, 20_000)
}

fn firsts_of(fixture: &Fixture, draws: u64) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for random in 0..draws {
        let random = random.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let order = short(&Fixture { random, ..fixture.clone() }.ask(MODEL));
        let first = order.split(' ').next().unwrap().to_owned();
        *counts.entry(first).or_insert(0) += 1;
    }
    counts
}

#[test]
fn at_most_two_per_cent_explore_and_they_measure_what_is_unknown() {
    let fixture =
        Fixture::own(3).load(own(1), fast(100)).load(own(2), fast(50)).route(1, strategy(Strategy::Fastest));
    let counts = firsts(&fixture);
    assert!(counts["c2"] >= 19_500, "{counts:?}");
    assert!(counts["c3"] >= 200, "the unmeasured one is explored: {counts:?}");
    assert_eq!(counts.get("c1"), None, "a measured one isn't while another is unknown: {counts:?}");
    let counts = firsts(&fixture.load(own(3), fast(70)));
    assert!(counts["c2"] >= 19_500 && counts["c1"] >= 100 && counts["c3"] >= 100, "{counts:?}");
}

#[test]
fn the_less_busy_of_two_comes_first() {
    let fixture = |loads: [u32; 3]| {
        let mut fixture = Fixture::new().route(1, strategy(Strategy::Balanced));
        for (number, load) in (1..).zip(loads) {
            fixture = fixture.credential(number, "openai").load(own(number), busy(load));
        }
        fixture
    };
    let counts = firsts(&fixture([0, 0, 0]));
    assert!(counts.values().all(|count| (6_000..7_400).contains(count)), "equals share: {counts:?}");
    // The busiest is never the better of two, and the idle one is whenever it is drawn.
    let counts = firsts(&fixture([9, 0, 4]));
    assert_eq!(counts.get("c1"), None, "{counts:?}");
    assert!((12_600..14_000).contains(&counts["c2"]), "{counts:?}");
    let why = order_of(&fixture([9, 0, 4]));
    assert!(why.contains("in flight at"), "{why}");
}

/// Its seats in order, for each of 600 sessions, whatever chance and loads say.
fn orders_by_session(fixture: &Fixture) -> Vec<String> {
    let of = |session: u64, random: u64| {
        let session_key = Some(session.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        short(&Fixture { session_key, random, ..fixture.clone() }.ask(MODEL))
    };
    let order_of = |session: u64| {
        let order = of(session, 1);
        assert_eq!(order, of(session, session << 40), "session {session}");
        order
    };
    (0..600).map(order_of).collect()
}

/// Where a warm session began, it goes on, whatever the strategy says; elsewhere only where that seat may not be called.
#[test]
fn a_warm_session_goes_on_where_it_began() {
    let seats = Fixture::own(3);
    let seats = seats.load(own(1), fast(9)).load(own(2), fast(90)).load(own(3), fast(900));
    for kind in [Strategy::Fastest, Strategy::Cheapest, Strategy::Balanced, Strategy::CommittedFirst] {
        let route = seats.clone().route(1, strategy(kind));
        for number in 1..=3 {
            let warm = Fixture { session_key: Some(7), session_seat: Some(own(number)), ..route.clone() };
            let firsts: Vec<_> = firsts_of(&warm, 1_000).into_keys().collect();
            assert_eq!(firsts, [format!("c{number}")], "{kind:?}");
            assert!(order_of(&warm).contains("began at"), "{kind:?}");
            let away = warm.standing(own(number), Availability::RetryAt { us: NOW_US + 5 });
            assert!(!firsts_of(&away, 1_000).contains_key(&format!("c{number}")), "{kind:?}");
        }
    }
    // One that is gone changes nothing.
    let fastest = seats.route(1, strategy(Strategy::Fastest));
    let gone = Fixture { session_key: Some(7), session_seat: Some(own(9)), ..fastest };
    assert_eq!(firsts_of(&gone, 1_000).into_keys().collect::<Vec<_>>(), ["c1"]);
}

/// A provider's prompt cache, and a node's, are met by the session's next request.
#[test]
fn a_session_stays_at_one_of_the_seats_that_load_is_spread_over() {
    let route = |fixture: Fixture| fixture.route(1, strategy(Strategy::Balanced));
    let keyed = |number: u8, fixture: Fixture| fixture.credential(number, "openai");
    let served = |number: u8, fixture: Fixture| fixture.node(number, &[MODEL]);
    let pooled = |number: u8, fixture: Fixture| fixture.account(number, "openai");
    let id_of: [fn(u8) -> Principal; 3] =
        [own, |n| Principal::Node(node_id(n)), |n| Principal::Account(account_id(n))];
    type Add<'a> = &'a dyn Fn(u8, Fixture) -> Fixture;
    for (id_of, add) in id_of.into_iter().zip([&keyed as Add<'_>, &served, &pooled]) {
        let fixture = route(add(3, add(2, add(1, Fixture::new())))).load(id_of(2), busy(90));
        let before = orders_by_session(&fixture);
        let first = |order: &String| order.split(' ').next().unwrap().to_owned();
        let name = |number| name_of(id_of(number));
        for number in 1..=3 {
            let share = before.iter().filter(|order| first(order) == name(number)).count();
            assert!((160..240).contains(&share), "{} has {share}", name(number));
        }
        // One that may not be called moves its own sessions on, to the next of each, and no other.
        let away = fixture.clone().standing(id_of(1), Availability::RetryAt { us: NOW_US + 5 });
        for (before, after) in before.iter().zip(orders_by_session(&away)) {
            let left: Vec<&str> = before.split(' ').filter(|seat| *seat != name(1)).collect();
            assert_eq!(after, left.join(" "));
        }
        // So does one that joins, and it takes its share of each.
        let joined = orders_by_session(&add(4, fixture.clone()));
        let moved: Vec<_> =
            before.iter().zip(&joined).filter(|(before, after)| first(before) != first(after)).collect();
        assert!(moved.iter().all(|(_, after)| first(after) == name(4)));
        assert!((110..190).contains(&moved.len()), "{}", moved.len());
        let why = order_of(&Fixture { session_key: Some(1), ..fixture });
        assert!(why.contains("the session stays at"), "{why}");
    }
    // Its requests measure no other seat, and a heavier account has more sessions.
    let fastest = Fixture::own(2).load(own(1), fast(9));
    let fastest = Fixture { session_key: Some(1), ..fastest.route(1, strategy(Strategy::Fastest)) };
    assert_eq!(firsts(&fastest).into_keys().collect::<Vec<_>>(), ["c1"]);
    let weighted = Fixture::new()
        .account_with(1, "openai", |entry| entry.weight = 3)
        .account_with(2, "openai", |entry| entry.weight = 1)
        .account_with(3, "openai", |entry| entry.weight = 0);
    let orders = orders_by_session(&route(weighted));
    let share = orders.iter().filter(|order| order.starts_with("a1")).count();
    assert!((415..485).contains(&share), "{share}");
    assert!(orders.iter().all(|order| order.ends_with("a3")));
}

#[test]
fn balanced_accounts_are_drawn_by_weight_and_compared_for_their_weight() {
    let account = |number: u8| Principal::Account(account_id(number));
    let fixture = |first: u32, second: u32| {
        Fixture::new()
            .account_with(1, "openai", |entry| entry.weight = 3)
            .account_with(2, "openai", |entry| entry.weight = 1)
            .load(account(1), busy(first))
            .load(account(2), busy(second))
            .route(1, strategy(Strategy::Balanced))
    };
    assert_eq!(firsts(&fixture(5, 2)).get("a2"), None, "5 of 3 are fewer than 2 of 1");
    assert_eq!(firsts(&fixture(7, 2)).get("a1"), None);
}

#[test]
fn local_first_and_byok_strict_say_which_profiles_serve() {
    let fixture = |name| Fixture::own(1).node(1, &[MODEL]).account(1, "openai").route(1, strategy(name));
    assert_eq!(short(&fixture(Strategy::LocalFirst).ask(MODEL)), "n1 c1*");
    assert_eq!(short(&fixture(Strategy::None).ask(MODEL)), "c1");
    let strict = fixture(Strategy::ByokStrict).ask(MODEL);
    assert_eq!(short(&strict), "c1");
    assert_eq!(reason(&strict, Principal::Node(node_id(1))), "profile_not_in_route");
    let without_own = Fixture::new().account(1, "openai").route(1, strategy(Strategy::ByokStrict)).ask(MODEL);
    assert!(without_own.attempts.is_empty() && without_own.fault.is_some());
}

#[test]
fn a_managed_account_is_compared_only_where_the_route_lists_it_and_lets_requests_leave() {
    let both = vec![Profile::Byok, Profile::ManagedProvider];
    let fixture = |profiles: &[Profile], byok_fallback| {
        // Its own price is far above the catalogue's, at which the account sells.
        let fixture = priced(Fixture::new(), 1, 1_000_000_000, 1_000_000_000).account(1, "openai");
        let profiles = profiles.to_vec();
        fixture.route(1, RouteSpec { profiles, byok_fallback, ..strategy(Strategy::Cheapest) })
    };
    assert_eq!(short(&fixture(&both, ByokFallback::Managed).ask(MODEL)), "a1");
    assert_eq!(short(&fixture(&both, ByokFallback::Never).ask(MODEL)), "c1");
    assert_eq!(short(&fixture(&[], ByokFallback::Managed).ask(MODEL)), "c1 a1*");
    // What may not be called now is no reason to go there.
    let limited = fixture(&both, ByokFallback::Managed)
        .standing(Principal::Account(account_id(1)), Availability::RetryAt { us: NOW_US + 5 });
    assert_eq!(short(&limited.ask(MODEL)), "c1");
}

#[test]
fn conditions_choose_among_routes_of_one_scope() {
    let to = |number: u8, when: RouteConditions| RouteSpec {
        when,
        credential_ids: vec![credential_id(number)],
        ..RouteSpec::default()
    };
    let long = RouteConditions { prompt_tokens_min: Some(1_000), ..RouteConditions::default() };
    let tools = RouteConditions { has_tools: Some(true), ..RouteConditions::default() };
    let user = RouteConditions { end_user: Some("vip".into()), ..RouteConditions::default() };
    let fixture = Fixture::own(4)
        .route(1, to(1, RouteConditions::default()))
        .route(2, to(2, long))
        .route(3, to(3, tools))
        .route(4, to(4, user));
    let of = |prompt_bytes, has_tools, end_user: Option<&str>| {
        let traits =
            RequestTraits { has_tools, end_user: end_user.map(str::to_owned), ..RequestTraits::default() };
        let size = RequestSize { prompt_bytes, ..RequestSize::default() };
        short(&Fixture { size, traits: Some(traits), ..fixture.clone() }.ask(MODEL))
    };
    assert_eq!(of(3_996, false, None), "c1");
    assert_eq!(of(3_997, false, None), "c2", "a started token counts");
    assert_eq!(of(10, true, None), "c3");
    assert_eq!(of(4_000, true, None), "c2", "the size is stronger than the tools");
    assert_eq!(of(4_000, true, Some("vip")), "c4");
    assert_eq!(of(10, false, Some("other")), "c1");
    // A stronger scope wins over any condition.
    let scope = domain::RouteScope { model: Some("openai/".into()), ..Default::default() };
    let scoped = fixture.clone().route(5, spec(scope));
    let traits = RequestTraits { end_user: Some("vip".into()), ..RequestTraits::default() };
    let won = Fixture { traits: Some(traits), ..scoped }.ask(MODEL).route.unwrap();
    assert_eq!(won.id, route_id(5));
}

proptest! {
    /// Whatever is measured, a strategy moves seats and neither adds nor loses one.
    #[test]
    fn every_seat_stays(
        loads in proptest::collection::vec((0_u32..9, proptest::option::of(1_u64..1 << 30)), 1..6),
        name in proptest::sample::select(Strategy::ALL.as_slice()),
        random in any::<u64>(),
        prompt_bytes in 0_u64..1 << 20,
        is_stream in any::<bool>(),
    ) {
        let mut fixture = Fixture::new().route(1, strategy(name));
        for (number, (in_flight, median)) in (1..).zip(&loads) {
            let load = Load { in_flight: *in_flight, first_byte_us: *median, whole_us: *median };
            fixture = fixture.credential(number, "openai").load(own(number), load);
        }
        fixture.random = random;
        fixture.size = RequestSize { prompt_bytes, is_stream, ..RequestSize::default() };
        let answer = fixture.ask(MODEL);
        let tried: HashSet<_> = answer.attempts.iter().map(|attempt| attempt.principal).collect();
        prop_assert_eq!(tried, (1..).take(loads.len()).map(own).collect());
        prop_assert_eq!(answer.attempts.len(), loads.len());
    }
}
