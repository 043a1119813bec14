//! The other models of a route: who would serve them under its rules, and when they are planned at once.

use board::Availability;
use domain::{ByokFallback, FallbackClass, ModelFallback, ModelFallbackClass, Principal, Profile, RouteSpec};
use plan::{ExplainedFallback, Explanation, left_on};

use crate::fixture::{Fixture, NOW_US, credential_id, name_of, short};

const MODEL: &str = "openai/gpt-4o";
const OTHER: &str = "anthropic/claude-haiku-4-5";

fn route(byok_fallback: ByokFallback, profiles: &[Profile]) -> RouteSpec {
    let fallback = ModelFallback { on: vec![ModelFallbackClass::Transient], model: OTHER.into() };
    RouteSpec {
        byok_fallback,
        profiles: profiles.to_vec(),
        model_fallbacks: vec![fallback],
        ..RouteSpec::default()
    }
}

/// The candidates of the other model, with `*` for one that needs the consent of `fallback_on`.
fn others(answer: &Explanation) -> String {
    let of = |fallback: &ExplainedFallback| {
        let star = |is_fallback: bool| if is_fallback { "*" } else { "" };
        let names = fallback.attempts.iter().map(|one| name_of(one.principal) + star(one.is_fallback));
        names.collect::<Vec<_>>().join(" ")
    };
    answer.fallbacks.iter().map(of).collect::<Vec<_>>().join(" | ")
}

#[test]
fn what_the_customers_own_serves_stays_there_unless_the_route_lets_it_leave() {
    use ByokFallback::{Managed, Never};
    let own = || Fixture::own(1).account(2, "anthropic");
    let pooled = || Fixture::new().account(1, "openai").account(2, "anthropic");
    let listed = [Profile::Byok, Profile::ManagedProvider];
    for (what, fixture, byok_fallback, profiles, expected) in [
        ("strict", own(), Never, &[][..], ""),
        ("strict, though managed accounts serve where nothing else does", own(), Never, &listed, ""),
        ("with consent", own(), Managed, &[], "a2*"),
        ("own credentials for both", own().credential(3, "anthropic"), Never, &[], "c3"),
        ("both, and consent", own().credential(3, "anthropic"), Managed, &[], "c3 a2*"),
        ("managed for both", pooled(), Never, &[], "a2"),
        ("managed accounts alone", own().credential(3, "anthropic"), Never, &listed[1..], "a2"),
    ] {
        let answer = fixture.route(1, route(byok_fallback, profiles)).ask(MODEL);
        assert_eq!(others(&answer), expected, "{what}");
        let is_told = answer.fallbacks.iter().all(|one| one.attempts.is_empty() == one.fault.is_some());
        assert!(is_told, "{what}: {:?}", answer.fallbacks);
    }
}

#[test]
fn a_model_whose_candidates_are_all_at_their_limits_is_left_at_once() {
    let own = Principal::Credential(credential_id(1));
    let limited = Availability::RetryAt { us: NOW_US + 60_000_000 };
    let fixture = || Fixture::own(1).credential(2, "anthropic").standing(own, limited);
    let answer = fixture().route(1, route(ByokFallback::Never, &[])).ask(MODEL);
    assert_eq!((short(&answer).as_str(), answer.resolved_model.as_deref()), ("c2", Some(OTHER)));
    assert!(answer.fault.is_none(), "{:?}", answer.fault);
    let left = left_on(&answer.rejected[0].reason);
    assert_eq!(left, Some(ModelFallbackClass::Transient), "{:?}", answer.rejected);
    // Only where the route states it, and never to accounts that it does not let the failure lead to.
    let plain = RouteSpec { model_fallbacks: Vec::new(), ..route(ByokFallback::Never, &[]) };
    assert!(fixture().route(1, plain).ask(MODEL).fault.is_some());
    let pool = || Fixture::own(1).account(2, "anthropic").standing(own, limited);
    let on = |class| RouteSpec { fallback_on: vec![class], ..route(ByokFallback::Managed, &[]) };
    assert!(pool().route(1, route(ByokFallback::Never, &[])).ask(MODEL).fault.is_some());
    assert_eq!(short(&pool().route(1, on(FallbackClass::RateLimit)).ask(MODEL)), "a2*");
    assert!(pool().route(1, on(FallbackClass::Timeout)).ask(MODEL).fault.is_some());
}
