//! Which route wins.

use domain::{FallbackClass, Profile, RouteScope, RouteSpec};
use snapshot::CredentialState;

use crate::fixture::{Fixture, key_id, project_id, route_id, short, spec};

fn scope() -> RouteScope {
    RouteScope::default()
}

fn tag() -> RouteScope {
    RouteScope { tag: Some("batch".into()), ..scope() }
}

fn key() -> RouteScope {
    RouteScope { key_id: Some(key_id(1)), ..scope() }
}

fn project() -> RouteScope {
    RouteScope { project_id: Some(project_id(1)), ..scope() }
}

fn model(pattern: &str) -> RouteScope {
    RouteScope { model: Some(pattern.into()), ..scope() }
}

fn modality() -> RouteScope {
    RouteScope { modality: Some("chat".into()), ..scope() }
}

fn provider(name: &str) -> RouteScope {
    RouteScope { provider: Some(name.into()), ..scope() }
}

fn environment() -> RouteScope {
    RouteScope { environment: Some("production".into()), ..scope() }
}

fn fixture(scopes: &[RouteScope]) -> Fixture {
    let mut fixture = Fixture::own(1).credential(2, "together_ai").account(1, "openai");
    fixture.tag = Some("batch");
    for (number, scope) in (1..).zip(scopes) {
        fixture = fixture.route(number, spec(scope.clone()));
    }
    fixture
}

/// The number of the winning route, counted from one; zero where none won.
fn winner(fixture: &Fixture, model: &str) -> usize {
    let won = fixture.ask(model).route;
    won.map_or(0, |route| (1..=u8::MAX).position(|number| route_id(number) == route.id).unwrap() + 1)
}

#[test]
fn scopes_stand_in_one_order_of_strength() {
    let order =
        [tag(), key(), project(), model("openai/"), modality(), provider("openai"), environment(), scope()];
    for (stronger, strong) in order.iter().enumerate() {
        for weak in &order[stronger + 1..] {
            let pair = format!("{strong:?} before {weak:?}");
            assert_eq!(winner(&fixture(&[strong.clone(), weak.clone()]), "openai/gpt-4o"), 1, "{pair}");
            let later = fixture(&[weak.clone(), strong.clone()]);
            assert_eq!(winner(&later, "openai/gpt-4o"), 2, "{pair}, saved later");
        }
    }
}

#[test]
fn a_scope_with_more_of_the_same_strength_wins() {
    let both = RouteScope { tag: Some("batch".into()), environment: Some("production".into()), ..scope() };
    assert_eq!(winner(&fixture(&[tag(), both]), "openai/gpt-4o"), 2);
    let strongest_decides =
        RouteScope { project_id: Some(project_id(1)), model: Some("openai/gpt-4o".into()), ..scope() };
    assert_eq!(winner(&fixture(&[key(), strongest_decides]), "openai/gpt-4o"), 1);
}

#[test]
fn the_longest_model_wins() {
    let fixture = fixture(&[
        model("*"),
        model("openai/"),
        model("gpt-*"),
        model("openai/gpt-4o*"),
        model("gpt-4o-mini"),
        model("meta-llama/"),
        model("qwen*"),
        model("openai/gpt-4o"),
        model("gpt-5.5-pro-2026-01-01"),
        model("google/*"),
    ]);
    for (name, number) in [
        ("openai/gpt-5.4", 3),
        ("openai/gpt-4o", 8),
        ("gpt-4o", 8),
        ("gpt-4o-2024-08-06", 8),
        ("openai/gpt-4o-transcribe", 4),
        ("gpt-5.5-pro-2026-01-01", 9),
        ("gpt-5.5-pro-2026-02-01", 3),
        ("gemini-99", 10),
        ("openai/gpt-4o-mini", 5),
        ("gpt-4o-mini", 5),
        ("openai/o9", 2),
        ("together:meta-llama/Llama-3.3-70B-Instruct", 6),
        ("together:some/thing", 1),
        ("together:qwen-3", 7),
    ] {
        assert_eq!(winner(&fixture, name), number, "{name}");
    }
}

#[test]
fn every_field_that_is_set_must_match() {
    for (scope, number) in [
        (RouteScope { tag: Some("other".into()), ..scope() }, 0),
        (RouteScope { tag: Some("batch".into()), key_id: Some(key_id(9)), ..scope() }, 0),
        (RouteScope { project_id: Some(project_id(2)), ..scope() }, 0),
        (RouteScope { environment: Some("staging".into()), ..scope() }, 0),
        (RouteScope { modality: Some("embedding".into()), ..scope() }, 0),
        (RouteScope { modality: Some("text".into()), ..scope() }, 1),
        (RouteScope { alias: Some("openai/gpt-4o".into()), ..scope() }, 0),
        (provider("nebius"), 0),
        (provider("openai"), 1),
        (RouteScope { tag: Some("batch".into()), model: Some("openai/".into()), ..scope() }, 1),
        (model("gpt-5"), 0),
        (model("openai/gpt"), 0),
        (model("gpt-4o"), 1),
        (model("openai/gpt-4o"), 1),
        (model("gpt*"), 1),
    ] {
        assert_eq!(winner(&fixture(std::slice::from_ref(&scope)), "openai/gpt-4o"), number, "{scope:?}");
    }
}

#[test]
fn the_provider_is_the_pinned_seller_or_the_publishers_own() {
    let fixture = fixture(&[provider("together"), provider("openai")]);
    for (model, number) in [
        ("together:meta-llama/Llama-3.3-70B-Instruct", 1),
        ("together_ai/x", 1),
        ("openai/gpt-4o", 2),
        ("openai:x", 2),
        ("meta-llama/Llama-3.3-70B-Instruct", 0),
    ] {
        assert_eq!(winner(&fixture, model), number, "{model}");
    }
}

#[test]
fn the_same_scope_twice_is_decided_by_age_and_each_winner_says_why() {
    assert_eq!(winner(&fixture(&[environment(), environment()]), "openai/gpt-4o"), 1);
    let why = fixture(&[scope()]).ask("openai/gpt-4o").route.unwrap().why;
    assert_eq!(why, "it is the workspace's default");
    assert!(fixture(&[]).ask("openai/gpt-4o").route.is_none());
}

/// C3: default, provider, environment and model of one account, eight questions.
#[test]
fn four_scopes_of_an_account_answer_eight_cases() {
    let mut fixture = Fixture::own(1).credential(2, "nebius").account(1, "openai");
    let scopes = [scope(), provider("openai"), environment(), model("openai/gpt-4o-mini")];
    for (number, scope) in (1..).zip(scopes) {
        fixture = fixture.route(number, spec(scope));
    }
    for (environment, name, number) in [
        ("production", "openai/gpt-4o-mini", 4),
        ("staging", "openai/gpt-4o-mini", 4),
        ("production", "openai/gpt-4o", 2),
        ("staging", "openai/gpt-4o", 2),
        ("production", "nebius:x", 3),
        ("staging", "nebius:x", 1),
        ("production", "meta-llama/Llama-3.3-70B-Instruct", 3),
        ("staging", "meta-llama/Llama-3.3-70B-Instruct", 1),
    ] {
        fixture.environment = environment;
        assert_eq!(winner(&fixture, name), number, "{environment} {name}");
    }
}

/// The seed's own example: conversations on one account, and what that account lacks on the default.
#[test]
fn a_route_whose_seats_lack_the_model_lets_it_go_on_where_it_says_so() {
    let route = |fallback_on: &[FallbackClass]| RouteSpec {
        scope: RouteScope { modality: Some("chat".into()), ..RouteScope::default() },
        providers: vec!["nebius".into()],
        fallback_on: fallback_on.to_vec(),
        ..RouteSpec::default()
    };
    let fixture =
        || Fixture::new().credential(1, "nebius").credential(2, "anthropic").account(1, "anthropic");
    let (lacked, had) = ("anthropic/claude-haiku-4-5", "meta-llama/Llama-3.3-70B-Instruct");
    let strict = fixture().route(1, route(&[])).ask(lacked);
    let fault = strict.fault.unwrap();
    assert_eq!((fault.code, strict.attempts.len()), ("model_not_served", 0));
    let fix = fault.fix.unwrap();
    assert!(fix.contains("model_missing") && !fix.contains("credential add"), "{fix}");

    let lets = || fixture().route(1, route(&[FallbackClass::ModelMissing]));
    let passed = lets().ask(lacked);
    assert!(passed.fault.is_none() && passed.route.is_none(), "{passed:?}");
    assert_eq!(short(&passed), "c2");
    assert_eq!(lets().ask(had).route.map(|route| route.id), Some(route_id(1)));
    // The next route that matches is asked first.
    let next = RouteSpec { profiles: vec![Profile::ManagedProvider], ..RouteSpec::default() };
    assert_eq!(short(&lets().route(2, next).ask(lacked)), "a1");
    // A seat of the route that has the model and is off, or asked to wait, is none that lacks it.
    let off = Fixture::new()
        .credential_with(1, "nebius", |entry| entry.state = CredentialState::Disabled)
        .account(1, "together_ai")
        .route(1, route(&[FallbackClass::ModelMissing]));
    assert_eq!(off.ask(had).attempts.len(), 0);
}
