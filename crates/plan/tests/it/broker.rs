//! Which seats are tried, in which order, and why not the others.

use std::sync::Arc;

use board::{Availability, BreakerLevel};
use domain::{
    ByokFallback, FallbackClass, Hints, Price, Principal, Profile, Qos, Rates, RouteScope, RouteSpec,
    Strategy,
};
use snapshot::{CredentialState, NodeState};

use crate::fixture::{
    Fixture, NOW_UNIX_MS, NOW_US, account_id, credential_id, node_id, project_id, reason, short, spec,
    subscription_id, workspace_id,
};

const LLAMA: &str = "meta-llama/Llama-3.3-70B-Instruct";

fn c(number: u8) -> Principal {
    Principal::Credential(credential_id(number))
}

fn a(number: u8) -> Principal {
    Principal::Account(account_id(number))
}

fn n(number: u8) -> Principal {
    Principal::Node(node_id(number))
}

fn by_default(change: impl FnOnce(&mut RouteSpec)) -> RouteSpec {
    let mut spec = spec(RouteScope::default());
    change(&mut spec);
    spec
}

fn resting(seconds: u64) -> Availability {
    Availability::RetryAt { us: NOW_US + seconds * 1_000_000 }
}

fn broken() -> Availability {
    Availability::BreakerOpen { us: NOW_US + 5_000_000 }
}

fn parked() -> Availability {
    Availability::Parked { us: NOW_US + 60_000_000 }
}

fn expect(fixture: &Fixture, model: &str, attempts: &str, refused: &[(Principal, &str)]) {
    let answer = fixture.ask(model);
    assert_eq!(short(&answer), attempts, "{model}: {answer:#?}");
    for (principal, word) in refused {
        assert_eq!(reason(&answer, *principal), *word, "{model}: {answer:#?}");
    }
}

/// C10: byok, else byoc, else managed; each away in turn.
#[test]
fn own_credentials_then_own_nodes_then_the_pool() {
    let all = || Fixture::new().credential(1, "together_ai").node(1, &[LLAMA]).account(1, "nebius");
    expect(&all(), LLAMA, "c1", &[(n(1), "profile_not_chosen"), (a(1), "byok_strict")]);
    use CredentialState::{Disabled, Invalid, Revoked, Unverified};
    let states =
        [(Disabled, "disabled"), (Revoked, "revoked"), (Invalid, "invalid"), (Unverified, "unverified")];
    for (state, word) in states {
        let fixture = Fixture::new()
            .credential_with(1, "together_ai", |entry| entry.state = state)
            .node(1, &[LLAMA])
            .account(1, "nebius");
        expect(&fixture, LLAMA, "n1", &[(c(1), word), (a(1), "profile_not_chosen")]);
    }
    let no_node = Fixture::new()
        .credential_with(1, "together_ai", |entry| entry.expires_unix_ms = Some(NOW_UNIX_MS))
        .node_with(1, &[LLAMA], |entry| entry.state = NodeState::Draining)
        .account(1, "nebius");
    expect(&no_node, LLAMA, "a1", &[(c(1), "expired"), (n(1), "draining")]);
}

/// C1 and C2: configuration alone decides what serves.
#[test]
fn prefixes_send_to_three_profiles_and_follow_a_changed_rule() {
    let profile_of = |pattern: &str, profile: Profile| RouteSpec {
        scope: RouteScope { model: Some(pattern.into()), ..RouteScope::default() },
        profiles: vec![profile],
        ..RouteSpec::default()
    };
    let fixture = |gpt: Profile| {
        Fixture::own(1)
            .node(1, &["qwen-7b"])
            .account(1, "openai")
            .account(2, "nebius")
            .route(1, profile_of("gpt-*", gpt))
            .route(2, profile_of("qwen*", Profile::Byoc))
    };
    let before = fixture(Profile::Byok);
    expect(&before, "gpt-4o", "c1", &[(a(1), "byok_strict")]);
    expect(&before, "qwen-7b", "n1", &[]);
    expect(&before, LLAMA, "a2", &[(a(1), "does_not_offer")]);
    expect(&fixture(Profile::ManagedProvider), "gpt-4o", "a1", &[(c(1), "profile_not_in_route")]);
}

#[test]
fn a_listed_profile_order_is_kept() {
    let fixture = |profiles: &[Profile]| {
        Fixture::new()
            .credential(1, "together_ai")
            .node(1, &[LLAMA])
            .account(1, "nebius")
            .route(1, by_default(|spec| spec.profiles = profiles.to_vec()))
    };
    use Profile::{Byoc, Byok, ManagedProvider, Subscription};
    let refused = &[(c(1), "profile_not_chosen"), (n(1), "profile_not_in_route")];
    expect(&fixture(&[ManagedProvider, Byok]), LLAMA, "a1", refused);
    expect(&fixture(&[Byok, Byoc]), LLAMA, "c1", &[(n(1), "profile_not_chosen")]);
    expect(&fixture(&[Subscription, Byok]), LLAMA, "c1", &[]);
    expect(&fixture(&[Subscription]), LLAMA, "", &[(c(1), "profile_not_in_route")]);
    let away = Fixture::new()
        .node_with(1, &[LLAMA], |node| node.state = NodeState::Unreachable)
        .account(1, "nebius")
        .route(1, by_default(|spec| spec.profiles = vec![Byoc, ManagedProvider]));
    expect(&away, LLAMA, "a1*", &[(n(1), "unreachable")]);
}

#[test]
fn what_a_route_lists_behind_its_nodes_follows_them() {
    use Profile::{Byoc, Byok, ManagedProvider};
    let all = |change: &dyn Fn(&mut RouteSpec)| {
        Fixture::new()
            .credential(1, "together_ai")
            .node(1, &[LLAMA])
            .node(2, &[LLAMA])
            .account(1, "nebius")
            .route(1, by_default(change))
    };
    let listed = |profiles: &[Profile]| all(&|spec: &mut RouteSpec| spec.profiles = profiles.to_vec());
    expect(&listed(&[Byoc, ManagedProvider]), LLAMA, "n1 n2 a1*", &[(c(1), "profile_not_in_route")]);
    expect(&listed(&[Byoc, ManagedProvider, Byok]), LLAMA, "n1 n2 a1*", &[(c(1), "profile_not_chosen")]);
    // Own credentials stay strict behind nodes, too.
    expect(&listed(&[Byoc, Byok, ManagedProvider]), LLAMA, "n1 n2 c1*", &[(a(1), "byok_strict")]);
    let lets_leave = |spec: &mut RouteSpec| {
        spec.strategy = Strategy::LocalFirst;
        spec.byok_fallback = ByokFallback::Managed;
    };
    expect(&all(&lets_leave), LLAMA, "n1 n2 c1* a1*", &[]);
    // No list of profiles, nothing behind them.
    let none = Fixture::new().node(1, &[LLAMA]).account(1, "nebius").standing(n(1), broken());
    expect(&none, LLAMA, "n1", &[(a(1), "profile_not_chosen")]);
}

#[test]
fn nodes_that_are_known_to_be_full_are_left_in_the_plan() {
    use Profile::{Byoc, ManagedProvider};
    let route = |change: &dyn Fn(&mut RouteSpec)| {
        let mut spec = by_default(|spec| spec.profiles = vec![Byoc, ManagedProvider]);
        change(&mut spec);
        Fixture::new().node(1, &[LLAMA]).node(2, &[LLAMA]).account(1, "nebius").route(1, spec)
    };
    let any = route(&|_| {});
    expect(&any.clone().standing(n(1), resting(5)), LLAMA, "n2 a1*", &[(n(1), "rate_limited")]);
    let full = any.clone().standing(n(1), resting(5)).standing(n(2), resting(5));
    expect(&full, LLAMA, "a1*", &[(n(1), "rate_limited"), (n(2), "rate_limited")]);
    assert_eq!(full.ask(LLAMA).attempts[0].fallback_on, Some(FallbackClass::RateLimit));
    // Only an attempt finds out what opened a breaker.
    let unsure = any.standing(n(1), resting(5)).standing(n(2), broken());
    expect(&unsure, LLAMA, "n2 a1*", &[(n(1), "rate_limited")]);
    assert_eq!(unsure.ask(LLAMA).attempts[1].fallback_on, None);
    // The classes of `fallback_on` say for which failures nodes are left, too.
    let other = route(&|spec| spec.fallback_on = vec![FallbackClass::Upstream]);
    let other = other.standing(n(1), resting(5)).standing(n(2), resting(6));
    expect(&other, LLAMA, "", &[(n(1), "rate_limited"), (a(1), "fallback_not_for_this")]);
}

#[test]
fn hints_that_forbid_degrading_keep_a_request_on_nodes() {
    use Profile::{Byoc, ManagedProvider};
    let hints = Hints { qos: Qos { forbids_degrading: true, ..Qos::default() }, ..Hints::default() };
    let route = |state: NodeState| Fixture {
        hints: Some(hints.clone()),
        ..Fixture::new()
            .node_with(1, &[LLAMA], |node| node.state = state)
            .account(1, "nebius")
            .route(1, by_default(|spec| spec.profiles = vec![Byoc, ManagedProvider]))
    };
    expect(&route(NodeState::Ready), LLAMA, "n1", &[(a(1), "degrade_forbidden")]);
    let away = route(NodeState::Unreachable);
    expect(&away, LLAMA, "", &[(a(1), "degrade_forbidden")]);
    assert_eq!(away.ask(LLAMA).fault.unwrap().code, "node_unreachable");
}

#[test]
fn a_cordoned_node_takes_nothing_new() {
    let fixture =
        Fixture::new().node_with(1, &[LLAMA], |node| node.state = NodeState::Cordoned).node(2, &[LLAMA]);
    expect(&fixture, LLAMA, "n2", &[(n(1), "node_cordoned")]);
}

/// C10: a subscription comes before every profile and route, if it may serve at all.
#[test]
fn a_subscription_is_first_unless_a_route_gives_it_another_place() {
    use Profile::{Byoc, Byok, ManagedProvider, Subscription};
    let s = |number| Principal::Subscription(subscription_id(number));
    let own = || {
        Fixture::own(1)
            .subscription(3, "openai")
            .subscription(2, "openai")
            .node(1, &["openai/gpt-4o"])
            .account(1, "openai")
    };
    let later = [(c(1), "profile_not_chosen"), (n(1), "profile_not_chosen"), (a(1), "profile_not_chosen")];
    expect(&own(), "gpt-4o", "s2 s3", &later);
    let listed = |profiles: &[Profile]| own().route(1, by_default(|spec| spec.profiles = profiles.to_vec()));
    expect(&listed(&[ManagedProvider]), "gpt-4o", "s2 s3", &[(c(1), "profile_not_in_route")]);
    expect(&listed(&[Byok, Subscription]), "gpt-4o", "c1", &[(s(2), "profile_not_chosen")]);
    expect(&listed(&[Subscription, Byoc]), "gpt-4o", "s2 s3", &[(c(1), "profile_not_in_route")]);
    let off = Fixture { takes_subscriptions: false, ..own() };
    expect(&off, "gpt-4o", "c1", &[(s(2), "subscriptions_off")]);
    let mut used_up = own();
    used_up.used_up = [(subscription_id(2), NOW_UNIX_MS + 90_000)].into();
    expect(&used_up, "gpt-4o", "s3", &[(s(2), "window_used_up")]);
    used_up.used_up.insert(subscription_id(3), NOW_UNIX_MS + 1);
    expect(&used_up, "gpt-4o", "c1", &[(s(2), "window_used_up"), (s(3), "window_used_up")]);
    let elsewhere = Fixture::new().subscription(1, "anthropic").credential(2, "openai");
    expect(&elsewhere, "gpt-4o", "c2", &[(s(1), "does_not_offer")]);
    let asleep = Fixture::new()
        .subscription_with(1, "openai", |entry| entry.state = CredentialState::Disabled)
        .subscription_with(2, "openai", |entry| entry.expires_unix_ms = Some(NOW_UNIX_MS))
        .credential(3, "openai");
    expect(&asleep, "gpt-4o", "c3", &[(s(1), "disabled"), (s(2), "expired")]);
}

/// Once a subscription serves, nobody else is asked: neither for a limit nor after a failure.
#[test]
fn a_limited_subscription_is_an_error_and_no_absence() {
    let limited = Availability::RetryAt { us: NOW_US + 5_000_000 };
    let fixture = Fixture::new()
        .subscription(1, "openai")
        .credential(2, "openai")
        .route(1, by_default(|spec| spec.byok_fallback = ByokFallback::Managed))
        .standing(Principal::Subscription(subscription_id(1)), limited);
    let answer = fixture.ask("gpt-4o");
    assert_eq!(answer.fault.map(|fault| fault.code), Some("rate_limit_exceeded"));
    assert_eq!(short(&fixture.ask("gpt-4o")), "");
}

#[test]
fn a_subscription_costs_the_list_less_its_discount() {
    let list = Fixture::own(1).ask("gpt-4o").attempts[0].rates.unwrap();
    let saved = Fixture::new().subscription(1, "openai").ask("gpt-4o").attempts[0].rates.unwrap();
    assert_eq!((saved.input.0, saved.output.0), (list.input.0 / 2, list.output.0 / 2));
}

/// C11: a failure of an own credential goes to the next own one, and nowhere else.
#[test]
fn own_credentials_are_asked_oldest_first_with_the_publishers_own_provider_before() {
    let fixture = Fixture::new().credential(9, "openai").credential(3, "openai").account(1, "openai");
    expect(&fixture, "gpt-4o", "c3 c9", &[(a(1), "byok_strict")]);
    // No publisher sells this one itself, so the older credential is first.
    let fixture = Fixture::new().credential(1, "nebius").credential(2, "together_ai");
    expect(&fixture, LLAMA, "c1 c2", &[]);
    let sellers = by_default(|spec| spec.providers = vec!["together".into(), "nebius".into()]);
    expect(&fixture.route(1, sellers), LLAMA, "c2 c1", &[]);
}

#[test]
fn a_route_narrows_who_may_serve() {
    let listed = |change: fn(&mut RouteSpec)| {
        Fixture::new()
            .credential_with(1, "nebius", |entry| entry.region = Some("eu".into()))
            .credential_with(2, "together_ai", |entry| entry.region = Some("us".into()))
            .credential(3, "together_ai")
            .account(1, "nebius")
            .route(1, by_default(change))
    };
    let only = listed(|spec| spec.credential_ids = vec![credential_id(3), credential_id(2)]);
    expect(&only, LLAMA, "c3 c2", &[(c(1), "credential_not_in_route"), (a(1), "byok_strict")]);
    let none = listed(|spec| spec.credential_ids = vec![credential_id(77)]);
    expect(&none, LLAMA, "", &[(c(1), "credential_not_in_route"), (a(1), "profile_not_in_route")]);
    let region = listed(|spec| spec.regions = vec!["eu".into()]);
    let refused = &[(c(2), "region_not_allowed"), (c(3), "region_unknown"), (a(1), "region_unknown")];
    expect(&region, LLAMA, "c1", refused);
    let sellers = listed(|spec| spec.providers = vec!["together".into()]);
    expect(&sellers, LLAMA, "c2 c3", &[(c(1), "provider_not_in_route"), (a(1), "provider_not_in_route")]);
}

#[test]
fn an_offers_regions_count_where_the_credential_says_none() {
    let fixture = |regions: &[&str]| {
        let regions = regions.iter().map(|region| (*region).to_owned()).collect();
        Fixture::own(1).route(1, by_default(|spec| spec.regions = regions))
    };
    expect(&fixture(&["eu", "us"]), "openai/regional", "c1", &[]);
    expect(&fixture(&["eu"]), "openai/regional", "", &[(c(1), "region_not_allowed")]);
}

#[test]
fn nodes_need_every_label() {
    let fixture = Fixture::new()
        .node(1, &["m"])
        .node_with(2, &["m"], |entry| entry.labels = Arc::new(vec!["gpu".into(), "eu".into()]))
        .node_with(3, &["m"], |entry| entry.labels = Arc::new(vec!["gpu".into()]))
        .route(1, by_default(|spec| spec.node_labels = vec!["gpu".into(), "eu".into()]));
    expect(&fixture, "m", "n2", &[(n(1), "label_missing"), (n(3), "label_missing")]);
}

#[test]
fn credentials_serve_their_own_project_environment_and_workspace() {
    let fixture = Fixture::new()
        .credential_with(1, "openai", |entry| entry.project = Some(project_id(2)))
        .credential_with(2, "openai", |entry| entry.environment = Some("staging".into()))
        .credential_with(3, "openai", |entry| entry.workspace = workspace_id(2))
        .credential_with(4, "openai", |entry| {
            entry.project = Some(project_id(1));
            entry.environment = Some("production".into());
        })
        .node_with(1, &["gpt-x"], |entry| entry.workspace = workspace_id(2));
    let scoped = "out_of_scope";
    expect(&fixture, "gpt-4o", "c4", &[(c(1), scoped), (c(2), scoped), (c(3), scoped)]);
    expect(&fixture, "gpt-x", "", &[(n(1), scoped)]);
}

#[test]
fn a_pinned_seller_is_the_only_one() {
    let fixture = Fixture::new()
        .credential(1, "nebius")
        .credential(2, "together_ai")
        .node(1, &[LLAMA])
        .account(1, "nebius");
    let refused = &[(c(1), "does_not_offer"), (n(1), "does_not_offer")];
    expect(&fixture, &format!("together:{LLAMA}"), "c2", refused);
}

/// C13: the pool, by weight.
#[test]
fn accounts_are_drawn_by_weight_and_every_one_is_in_the_plan() {
    let mut fixture = Fixture::new()
        .account_with(1, "openai", |entry| entry.weight = 3)
        .account_with(2, "openai", |entry| entry.weight = 1)
        .account_with(3, "openai", |entry| entry.weight = 0);
    let mut first = [0_u32; 4];
    for random in 0..4_000_u64 {
        fixture.random = random.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let drawn = short(&fixture.ask("gpt-4o"));
        match drawn.as_str() {
            "a1 a2 a3" => first[1] += 1,
            "a2 a1 a3" => first[2] += 1,
            other => panic!("{other}"),
        }
    }
    assert!((2_850..3_150).contains(&first[1]), "three of four: {first:?}");
    fixture.random = 5;
    assert_eq!(short(&fixture.ask("gpt-4o")), short(&fixture.ask("gpt-4o")));
}

#[test]
fn a_routes_sellers_come_before_weights() {
    let mut fixture = Fixture::new()
        .account_with(1, "nebius", |entry| entry.weight = 1)
        .account_with(2, "together_ai", |entry| entry.weight = 1_000)
        .route(1, by_default(|spec| spec.providers = vec!["nebius".into(), "together_ai".into()]));
    for random in 0..100 {
        fixture.random = random;
        expect(&fixture, LLAMA, "a1 a2", &[]);
    }
}

#[test]
fn the_pool_refuses_what_has_no_price_unless_its_operator_allows() {
    let fixture = Fixture::new()
        .account(1, "openai")
        .account_with(2, "openai", |entry| entry.allow_unpriced = true)
        .account_with(3, "openai", |entry| entry.models = Some(Arc::new(vec!["gpt-4o".into()])));
    expect(&fixture, "openai/gpt-99", "a2", &[(a(1), "unpriced"), (a(3), "model_not_listed")]);
    expect(&fixture, "acme/twin", "a2", &[(a(1), "unpriced")]);
    let answer = fixture.ask("gpt-4o");
    assert_eq!(answer.attempts.len(), 3);
    assert!(answer.attempts.iter().all(|attempt| attempt.markup_bps == 500 && attempt.rates.is_some()));
}

#[test]
fn an_account_may_list_what_no_offer_names() {
    let fixture = Fixture::new().account_with(1, "openai_compatible", |entry| {
        entry.models = Some(Arc::new(vec!["openai/gpt-4o".into()]));
        entry.allow_unpriced = true;
        entry.base_url = Some("https://pool.example/v1".into());
    });
    let answer = fixture.ask("gpt-4o");
    assert_eq!(answer.attempts[0].upstream_model, "openai/gpt-4o");
}

/// An ordinary account and an emergency account, with the two settings that allow the latter.
fn rescued(operator: bool, route: bool) -> Fixture {
    let spec = RouteSpec { emergency_allowed: route, ..RouteSpec::default() };
    let fixture = Fixture::new().route(1, spec);
    Fixture { takes_emergencies: operator, ..fixture.account(1, "openai").account(2, "openrouter") }
}

#[test]
fn an_emergency_needs_the_operators_word_and_the_routes() {
    for (operator, route, attempts, refused) in [
        (false, false, "a1", "emergency_off"),
        (false, true, "a1", "emergency_off"),
        (true, false, "a1", "emergency_not_allowed"),
        (true, true, "a1 a2", "-"),
    ] {
        let fixture = rescued(operator, route);
        expect(&fixture, "openai/gpt-4o-mini", attempts, &[(a(2), refused)]);
        let planned = fixture.ask("openai/gpt-4o-mini").attempts;
        let kept: Vec<bool> = planned.iter().map(|attempt| attempt.is_emergency).collect();
        assert_eq!(kept, [false, true][..planned.len()], "{operator} {route}");
    }
}

#[test]
fn an_emergency_is_the_failure_of_somebody_who_was_asked() {
    // No other account is in the pool, or none has the model: nothing failed.
    let alone = |fixture: Fixture| {
        let fixture = fixture.account_with(2, "openrouter", |entry| entry.allow_unpriced = true);
        let spec = RouteSpec { emergency_allowed: true, ..RouteSpec::default() };
        Fixture { takes_emergencies: true, ..fixture.route(1, spec) }
    };
    expect(&alone(Fixture::new()), "acme/twin", "", &[(a(2), "emergency_not_due")]);
    let other = alone(Fixture::new().account(1, "nebius"));
    expect(&other, "acme/twin", "", &[(a(2), "emergency_not_due")]);
    let refused = &[(a(2), "emergency_not_due")];
    expect(&alone(Fixture::new().account(1, "openai")), "openrouter:anything", "", refused);
    // A disabled account is not a failure, nor is a rate limit, and one that only
    // seems to be down is tried first.
    let off = alone(Fixture::new().account_with(1, "openai", |entry| entry.disabled = true));
    expect(&off, "openai/gpt-4o-mini", "", &[(a(2), "emergency_not_due")]);
    let limited = rescued(true, true).standing(a(1), resting(1));
    expect(&limited, "openai/gpt-4o-mini", "", &[(a(2), "emergency_not_due")]);
    let both = limited.account(3, "openai");
    expect(&both, "openai/gpt-4o-mini", "a3", &[(a(2), "emergency_not_due")]);
    let away = rescued(true, true).standing(a(1), broken());
    expect(&away, "openai/gpt-4o-mini", "a1 a2", &[]);
    // The emergency account itself is down.
    let gone = rescued(true, true).standing(a(2), broken());
    expect(&gone, "openai/gpt-4o-mini", "a1", &[(a(2), "breaker_open")]);
}

#[test]
fn an_emergency_is_never_one_of_own_credentials_or_nodes() {
    let fixture = rescued(true, true).credential(1, "openrouter");
    expect(&fixture, "acme/twin", "", &[(c(1), "emergency_only")]);
    let refused = &[(a(2), "emergency_only")];
    expect(&rescued(true, true).credential(2, "openai"), "openai/gpt-4o-mini", "c2", refused);
    // Not behind a fallback to the pool either: the workspace allowed the pool, not a third party.
    for spec in [
        RouteSpec { byok_fallback: ByokFallback::Managed, emergency_allowed: true, ..RouteSpec::default() },
        RouteSpec { overflow_managed: true, emergency_allowed: true, ..RouteSpec::default() },
    ] {
        let own = Fixture::new().account(1, "openai").account(2, "openrouter").credential(2, "openai");
        let fixture = Fixture { takes_emergencies: true, ..own.route(1, spec) };
        let fixture = fixture.standing(c(2), resting(1));
        let answer = fixture.ask("openai/gpt-4o-mini");
        assert!(answer.attempts.iter().all(|attempt| attempt.provider == "openai"), "{answer:?}");
        assert_eq!(reason(&answer, a(2)), "emergency_only");
    }
    let node = rescued(true, true).node(1, &["openai/gpt-4o-mini"]);
    expect(&node, "openai/gpt-4o-mini", "n1", &[(a(2), "emergency_only")]);
}

#[test]
fn a_server_without_an_address_is_not_asked() {
    let refused = &[(c(1), "no_address")];
    expect(&Fixture::new().credential(1, "openai_compatible"), "openai_compatible/x", "", refused);
}

#[test]
fn own_prices_come_before_the_price_book_and_nodes_have_none() {
    let own = Rates { input: Price(1), output: Price(2), ..Rates::default() };
    let pricing = |name: &str| Arc::new(vec![(name.to_owned(), own)]);
    let of_credential =
        |name: &str| Fixture::new().credential_with(1, "openai", |one| one.pricing = pricing(name));
    let of_account = |name: &str| Fixture::new().account_with(1, "openai", |one| one.pricing = pricing(name));
    let rates = |fixture: Fixture, model: &str| fixture.ask(model).attempts[0].rates;
    type Priced<'a> = &'a dyn Fn(&str) -> Fixture;
    for (whose, priced) in [("a credential's", &of_credential as Priced<'_>), ("an account's", &of_account)] {
        assert_eq!(rates(priced("openai/gpt-4o"), "gpt-4o"), Some(own), "{whose}");
        assert_eq!(rates(priced("gpt-4o"), "gpt-4o"), Some(own), "{whose}");
        assert_eq!(rates(priced("gpt-99"), "openai/gpt-99"), Some(own), "{whose}");
        assert_eq!(rates(priced("other"), "gpt-4o").unwrap().input, Price(2_500_000), "{whose}");
    }
    assert_eq!(rates(of_credential("other"), "openai/gpt-99"), None);
    assert_eq!(rates(Fixture::new().node(1, &["openai/gpt-4o"]), "openai/gpt-4o"), None);
    // An account sells nothing that has no price.
    expect(&of_account("other"), "openai/gpt-99", "", &[(a(1), "unpriced")]);
}

/// C11: no failure of an own credential is a reason to leave it.
#[test]
fn strict_is_strict_whatever_stands_on_the_board() {
    for standing in [resting(9), parked(), broken(), Availability::HalfOpen] {
        for listed in [vec![], vec![Profile::Byok, Profile::ManagedProvider], vec![Profile::Byok]] {
            let fixture = Fixture::own(1)
                .account(1, "openai")
                .route(1, by_default(|spec| spec.profiles = listed))
                .standing(c(1), standing);
            let answer = fixture.ask("gpt-4o");
            assert!(answer.attempts.iter().all(|attempt| attempt.profile == Profile::Byok), "{answer:?}");
            assert_eq!(reason(&answer, a(1)), "byok_strict");
        }
    }
}

/// C12: the pool after own credentials, marked, if the route allows it.
#[test]
fn a_fallback_comes_after_own_credentials_and_is_marked() {
    let fixture = |fallback_on: &[FallbackClass]| {
        let fallback_on = fallback_on.to_vec();
        let byok_fallback = ByokFallback::Managed;
        let spec = RouteSpec { byok_fallback, fallback_on, ..RouteSpec::default() };
        Fixture::own(2).account(1, "openai").route(1, spec)
    };
    expect(&fixture(&[]), "gpt-4o", "c1 c2 a1*", &[]);
    let resting_one = fixture(&[]).standing(c(1), resting(3));
    expect(&resting_one, "gpt-4o", "c2 a1*", &[(c(1), "rate_limited")]);

    use FallbackClass::{Auth, RateLimit};
    for (fallback_on, standing, attempts, word) in [
        (&[][..], resting(3), "a1*", "-"),
        (&[RateLimit][..], resting(3), "a1*", "-"),
        (&[Auth][..], resting(3), "", "fallback_not_for_this"),
        // What parked it or opened its breaker is known on the serving core, which
        // decides there whether to go on.
        (&[Auth][..], parked(), "c1 c2 a1*", "-"),
        (&[RateLimit][..], broken(), "c1 c2 a1*", "-"),
    ] {
        let fixture = fixture(fallback_on).standing(c(1), standing).standing(c(2), standing);
        expect(&fixture, "gpt-4o", attempts, &[(a(1), word)]);
    }
    let mixed = fixture(&[Auth]).standing(c(1), resting(3)).standing(c(2), parked());
    expect(&mixed, "gpt-4o", "c2 a1*", &[(c(1), "rate_limited")]);
    let pool_rests =
        fixture(&[]).standing(c(1), resting(9)).standing(c(2), resting(3)).standing(a(1), resting(1));
    expect(&pool_rests, "gpt-4o", "", &[(a(1), "rate_limited")]);
}

#[test]
fn overflow_is_for_want_of_capacity_and_never_for_failure() {
    let fixture = |standing: Availability| {
        Fixture::own(1)
            .account(1, "openai")
            .route(1, by_default(|spec| spec.overflow_managed = true))
            .standing(c(1), standing)
    };
    expect(&fixture(Availability::Open), "gpt-4o", "c1 a1+", &[]);
    expect(&fixture(resting(3)), "gpt-4o", "a1+", &[(c(1), "rate_limited")]);
    expect(&fixture(parked()), "gpt-4o", "c1", &[(a(1), "byok_strict")]);
    expect(&fixture(broken()), "gpt-4o", "c1", &[(a(1), "byok_strict")]);
}

fn overflow_to(change: impl FnOnce(&mut RouteSpec)) -> Fixture {
    Fixture::own(1).committed(2, "openai").account(1, "openai").route(1, by_default(change))
}

#[test]
fn a_commitment_is_filled_first_unless_the_route_orders_the_credentials() {
    let plain = || Fixture::own(1).committed(2, "openai");
    expect(&plain(), "gpt-4o", "c2 c1", &[]);
    expect(&plain().spent(c(2)), "gpt-4o", "c1 c2", &[(c(2), "-")]);
    let ordered = by_default(|spec| spec.credential_ids = vec![credential_id(1), credential_id(2)]);
    expect(&plain().route(1, ordered), "gpt-4o", "c1 c2", &[]);
    let reserved = Fixture::own(1).credential_with(2, "openai", |entry| {
        let limits = domain::AgreedLimits { reserved_units: Some(2), ..domain::AgreedLimits::default() };
        entry.agreement = Arc::new(domain::Agreement { limits, ..domain::Agreement::default() });
    });
    expect(&reserved, "gpt-4o", "c2 c1", &[]);
}

#[test]
fn a_commitment_that_is_used_up_gives_way_to_the_overflow_alone() {
    let managed = |spec: &mut RouteSpec| spec.overflow_managed = true;
    expect(&overflow_to(managed), "gpt-4o", "c2 c1 a1+", &[]);
    let spent = || overflow_to(managed).spent(c(2));
    expect(&spent(), "gpt-4o", "c1 a1+", &[(c(2), "committed_exhausted")]);
    expect(&spent().standing(c(1), resting(3)), "gpt-4o", "a1+", &[(c(1), "rate_limited")]);
    expect(&spent().standing(c(1), broken()), "gpt-4o", "a1+", &[(c(1), "breaker_open")]);
    // Where the overflow can't take anything, the commitment is exceeded.
    expect(&spent().standing(a(1), resting(3)), "gpt-4o", "c1 c2", &[(a(1), "byok_strict")]);
    let with_fallback = |spec: &mut RouteSpec| {
        managed(spec);
        spec.byok_fallback = ByokFallback::Managed;
    };
    expect(&overflow_to(with_fallback), "gpt-4o", "c2 c1 a1*+", &[]);
    expect(&overflow_to(with_fallback).standing(c(1), broken()), "gpt-4o", "c2 a1*+", &[]);
}

#[test]
fn an_own_credential_that_takes_the_overflow_takes_nothing_else() {
    let own = |spec: &mut RouteSpec| spec.overflow_own = Some(credential_id(1));
    expect(&overflow_to(own), "gpt-4o", "c2 c1+", &[(a(1), "byok_strict")]);
    let spent = overflow_to(own).spent(c(2));
    expect(&spent, "gpt-4o", "c1+", &[(c(2), "committed_exhausted"), (a(1), "byok_strict")]);
    let failing = overflow_to(own).standing(c(2), broken());
    expect(&failing, "gpt-4o", "c2", &[(c(1), "overflow_only"), (a(1), "byok_strict")]);
    let listed = |spec: &mut RouteSpec| {
        own(spec);
        spec.credential_ids = vec![credential_id(2)];
    };
    expect(&overflow_to(listed).spent(c(2)), "gpt-4o", "c1+", &[]);
    // Where there is no other, it serves like any credential, unless the route lists others.
    let alone = || Fixture::own(1);
    expect(&alone().route(1, by_default(own)), "gpt-4o", "c1", &[]);
    expect(&alone().route(1, by_default(listed)), "gpt-4o", "", &[(c(1), "overflow_only")]);
    let with_fallback = |spec: &mut RouteSpec| {
        own(spec);
        spec.byok_fallback = ByokFallback::Managed;
    };
    expect(&overflow_to(with_fallback).spent(c(2)), "gpt-4o", "c1+ a1*", &[]);
}

#[test]
fn who_is_known_to_refuse_is_not_asked_while_another_may_be() {
    let fixture = || Fixture::own(2);
    for (standing, word) in [(resting(3), "rate_limited"), (parked(), "parked"), (broken(), "breaker_open")] {
        expect(&fixture().standing(c(1), standing), "gpt-4o", "c2", &[(c(1), word)]);
    }
    expect(&fixture().standing(c(1), Availability::HalfOpen), "gpt-4o", "c1 c2", &[]);
    let last_resort = fixture().standing(c(1), broken()).standing(c(2), resting(3));
    expect(&last_resort, "gpt-4o", "c1", &[(c(2), "rate_limited")]);
    let parked_too = fixture().standing(c(1), broken()).standing(c(2), parked());
    expect(&parked_too, "gpt-4o", "c1 c2", &[]);
    let resting_too = fixture().standing(c(1), parked()).standing(c(2), resting(3));
    expect(&resting_too, "gpt-4o", "", &[(c(1), "parked"), (c(2), "rate_limited")]);
    let nodes = Fixture::new().node(1, &["m"]).node(2, &["m"]).standing(n(1), broken());
    expect(&nodes, "m", "n2", &[(n(1), "breaker_open")]);
    let pool = Fixture::new().account(1, "openai").account(2, "openai").standing(a(2), resting(1));
    expect(&pool, "gpt-4o", "a1", &[(a(2), "rate_limited")]);
}

#[test]
fn the_explanation_tells_address_free_facts_of_each_attempt() {
    let answer =
        Fixture::new().credential_with(1, "together", |entry| entry.region = Some("eu".into())).ask(LLAMA);
    let attempt = &answer.attempts[0];
    assert_eq!(attempt.provider, "together_ai", "a synonym is stored under its slug");
    assert_eq!((attempt.display_name.as_deref(), attempt.region.as_deref()), (Some("c1"), Some("eu")));
    assert_eq!((answer.snapshot_version, answer.resolution.as_str()), (7, "catalogue"));
}

fn ejected(level: BreakerLevel, seconds: u64) -> Availability {
    Availability::Ejected { us: NOW_US + seconds * 1_000_000, level }
}

/// What the board says of a seat beside the others, and what an explanation says of it.
#[test]
fn a_breaker_above_a_model_is_named_with_its_level_and_its_time() {
    for (standing, code, words) in [
        (ejected(BreakerLevel::Host, 5), "host_breaker_open", "the host breaker is open for 5 s more"),
        (ejected(BreakerLevel::Region, 9), "region_breaker_open", "the region breaker is open for 9 s more"),
        (ejected(BreakerLevel::Credential, 5), "credential_breaker_open", "its breaker is open for 5 s more"),
        (Availability::Limited { us: NOW_US + 2_000_000 }, "recently_limited", "left alone for 2 s"),
        (Availability::Paced { us: NOW_US + 7_000_000 }, "agreed_limit_reached", "its next turn is in 7 s"),
    ] {
        let fixture = Fixture::own(2).standing(c(1), standing);
        expect(&fixture, "openai/gpt-4o-mini", "c2", &[(c(1), code)]);
        let answer = fixture.ask("openai/gpt-4o-mini");
        assert!(answer.rejected[0].detail.contains(words), "{answer:#?}");
    }
}

#[test]
fn breakers_keep_at_most_half_of_a_pool_from_being_called() {
    let pool = |broken: &[(u8, u64)]| {
        broken.iter().fold(Fixture::own(4), |fixture, (number, seconds)| {
            fixture.standing(c(*number), ejected(BreakerLevel::Host, *seconds))
        })
    };
    for (broken, attempts) in [
        (&[(1, 9)][..], "c2 c3 c4"),
        (&[(1, 9), (2, 5)], "c3 c4"),
        // The first that is due is called after the others.
        (&[(1, 9), (2, 5), (3, 7)], "c4 c2"),
        // With none left, each is tried all the same.
        (&[(1, 9), (2, 5), (3, 7), (4, 6)], "c1 c2 c3 c4"),
    ] {
        expect(&pool(broken), "openai/gpt-4o-mini", attempts, &[]);
    }
}

#[test]
fn a_used_up_agreement_is_waited_for_a_moment_and_refused_with_its_time_otherwise() {
    let paced = |ms: u64| Availability::Paced { us: NOW_US + ms * 1_000 };
    let both =
        |first: u64, second: u64| Fixture::own(2).standing(c(1), paced(first)).standing(c(2), paced(second));
    expect(&both(900, 20_000), "openai/gpt-4o-mini", "c1", &[(c(2), "agreed_limit_reached")]);
    let fault = both(30_000, 20_000).ask("openai/gpt-4o-mini").fault.unwrap();
    assert_eq!((fault.code, fault.retry_after_ms), ("rate_limit_exceeded", Some(20_000)));
}

/// Overflow is for lack of capacity, and what was agreed is a capacity.
#[test]
fn a_used_up_agreement_overflows_and_an_open_breaker_does_not() {
    let fixture = |standing| {
        Fixture::own(1)
            .account(1, "openai")
            .route(1, by_default(|spec| spec.overflow_managed = true))
            .standing(c(1), standing)
    };
    let paced = Availability::Paced { us: NOW_US + 20_000_000 };
    expect(&fixture(paced), "openai/gpt-4o-mini", "a1+", &[(c(1), "agreed_limit_reached")]);
    expect(&fixture(ejected(BreakerLevel::Host, 5)), "openai/gpt-4o-mini", "c1", &[(a(1), "byok_strict")]);
}
