//! Properties that hold for every configuration, question and board.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use board::Availability;
use domain::{ByokFallback, FallbackClass, Principal, Profile, RouteScope, RouteSpec, Strategy as Order};
use proptest::prelude::*;
use snapshot::{CredentialState, NodeState, RouteEntry};

use crate::fixture::{Fixture, NOW_US, account_id, credential_id, node_id, workspace_id};

pub const MODELS: [&str; 9] = [
    "openai/gpt-4o",
    "gpt-4o-mini",
    "meta-llama/Llama-3.3-70B-Instruct",
    "together:meta-llama/Llama-3.3-70B-Instruct",
    "openai/unknown",
    "acme/twin",
    "own/x",
    "m",
    "nothing",
];
const PROVIDERS: [&str; 6] = ["openai", "nebius", "together", "openrouter", "own", "anthropic"];

fn provider() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(PROVIDERS.as_slice())
}

fn standing() -> impl Strategy<Value = Availability> {
    prop_oneof![
        4 => Just(Availability::Open),
        1 => Just(Availability::HalfOpen),
        1 => (1_u64..100).prop_map(|s| Availability::RetryAt { us: NOW_US + s * 1_000_000 }),
        1 => Just(Availability::Parked { us: NOW_US + 1 }),
        1 => Just(Availability::BreakerOpen { us: NOW_US + 1 }),
    ]
}

fn credential_state() -> impl Strategy<Value = CredentialState> {
    prop_oneof![
        4 => Just(CredentialState::Active),
        1 => Just(CredentialState::Disabled),
        1 => Just(CredentialState::Revoked),
        1 => Just(CredentialState::Invalid),
    ]
}

prop_compose! {
    fn route()(
        profiles in proptest::sample::subsequence(vec![Profile::Byok, Profile::Byoc, Profile::ManagedProvider], 0..=3),
        providers in proptest::collection::vec(provider(), 0..2),
        fallback in any::<bool>(),
        overflow in any::<bool>(),
        emergency in any::<bool>(),
        fallback_on in proptest::sample::subsequence(FallbackClass::ALL.to_vec(), 0..=7),
        model in proptest::option::of(proptest::sample::select(vec!["openai/", "gpt", "meta-llama/", ""])),
        credentials in proptest::collection::vec(1_u8..5, 0..2),
        strategy in proptest::sample::select(Order::ALL.as_slice()),
    ) -> RouteSpec {
        RouteSpec {
            strategy,
            scope: RouteScope { model: model.map(str::to_owned), ..RouteScope::default() },
            profiles,
            providers: providers.into_iter().map(str::to_owned).collect(),
            credential_ids: credentials.into_iter().map(credential_id).collect(),
            byok_fallback: if fallback { ByokFallback::Managed } else { ByokFallback::Never },
            fallback_on,
            overflow_managed: overflow,
            emergency_allowed: emergency,
            ..RouteSpec::default()
        }
    }
}

prop_compose! {
    pub fn any_fixture()(
        credentials in proptest::collection::vec((provider(), credential_state(), any::<bool>(), standing()), 0..5),
        nodes in proptest::collection::vec((0_usize..3, 0_usize..3, standing()), 0..3),
        accounts in proptest::collection::vec((provider(), any::<bool>(), 0_u32..4, any::<bool>(), standing()), 0..5),
        routes in proptest::collection::vec(route(), 0..3),
        random in any::<u64>(),
        takes_emergencies in any::<bool>(),
        takes_subscriptions in any::<bool>(),
        subscribed in 0_u8..32,
    ) -> Fixture {
        let mut fixture = Fixture::new();
        fixture.random = random;
        fixture.takes_emergencies = takes_emergencies;
        fixture.takes_subscriptions = takes_subscriptions;
        for (number, (provider, state, foreign, standing)) in (1..).zip(credentials) {
            fixture = fixture.credential_with(number, provider, |entry| {
                entry.state = state;
                let stated = domain::Subscription {
                    product: provider.to_owned(), plan: None, discount_pct: 10, windows: Vec::new(),
                };
                let is_subscribed = number % 2 == 0 && subscribed >> number & 1 == 1;
                entry.subscription = is_subscribed.then(|| std::sync::Arc::new(stated));
                entry.base_url = (provider == "own").then(|| "https://own.example/v1".into());
                if foreign && number % 3 == 0 {
                    entry.workspace = workspace_id(2);
                }
            }).standing(Principal::Credential(credential_id(number)), standing);
        }
        for (number, (models, state, standing)) in (1..).zip(nodes) {
            let models = [&["m"][..], &["m", "openai/gpt-4o"][..], &["gpt-4o-mini"][..]][models];
            let state = [NodeState::Ready, NodeState::Draining, NodeState::Unreachable][state];
            fixture = fixture.node_with(number, models, |entry| entry.state = state)
                .standing(Principal::Node(node_id(number)), standing);
        }
        for (number, (provider, disabled, weight, unpriced, standing)) in (1..).zip(accounts) {
            fixture = fixture.account_with(number, provider, |entry| {
                entry.disabled = disabled && number % 2 == 0;
                entry.weight = weight;
                entry.allow_unpriced = unpriced;
            }).standing(Principal::Account(account_id(number)), standing);
        }
        for (number, spec) in (1..).zip(routes) {
            fixture = fixture.route(number, spec);
        }
        fixture
    }
}

/// A strategy puts in order what the route allows, and allows nothing more.
fn check_strategy(
    fixture: &Fixture,
    spec: &RouteSpec,
    tried: &[Principal],
    model: &str,
) -> Result<(), TestCaseError> {
    if spec.strategy == Order::None || spec.strategy.compares_profiles() {
        return Ok(());
    }
    let profiles = match spec.strategy {
        Order::LocalFirst => vec![Profile::Byoc, Profile::Byok, Profile::ManagedProvider],
        Order::ByokStrict => vec![Profile::Byok],
        _ => spec.profiles.clone(),
    };
    let mut plain = fixture.clone();
    for entry in &mut plain.workspace.routes {
        let spec = RouteSpec { strategy: Order::None, profiles: profiles.clone(), ..entry.spec.clone() };
        *entry = Arc::new(RouteEntry { id: entry.id, spec });
    }
    let same: HashSet<_> = plain.ask(model).attempts.iter().map(|attempt| attempt.principal).collect();
    prop_assert_eq!(tried.iter().copied().collect::<HashSet<_>>(), same);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_decision_is_whole_strict_and_the_same_again(fixture in any_fixture(), model in proptest::sample::select(MODELS.as_slice())) {
        let answer = fixture.ask(model);
        prop_assert_eq!(answer.attempts.is_empty(), answer.fault.is_some());
        prop_assert_eq!(format!("{:?}", answer.attempts), format!("{:?}", fixture.ask(model).attempts));

        // Every candidate is in one of the two lists, once, if the name resolves.
        let tried: Vec<Principal> = answer.attempts.iter().map(|attempt| attempt.principal).collect();
        let refused: Vec<Principal> = answer.rejected.iter().map(|rejected| rejected.principal).collect();
        let listed: BTreeSet<String> = tried.iter().chain(&refused).map(Principal::to_string).collect();
        let everybody = fixture.workspace.credentials.len() + fixture.workspace.nodes.len() + fixture.accounts.len();
        if answer.resolved_model.is_some() {
            prop_assert_eq!(listed.len(), everybody);
            prop_assert_eq!(tried.len() + refused.len(), everybody);
        }

        let spec = answer.route.as_ref().and_then(|won| {
            fixture.workspace.routes.iter().find(|route| route.id == won.id).map(|route| route.spec.clone())
        }).unwrap_or_default();
        check_strategy(&fixture, &spec, &tried, model)?;
        let live_own = fixture.workspace.credentials.iter().any(|credential| {
            tried.contains(&Principal::Credential(credential.id))
                || answer.rejected.iter().any(|rejected| {
                    rejected.principal == Principal::Credential(credential.id)
                        && ["rate_limited", "parked", "breaker_open"].contains(&rejected.reason.as_str())
                })
        });
        let may_follow_nodes = spec.strategy == Order::LocalFirst || spec.profiles.contains(&Profile::Byoc);
        for attempt in &answer.attempts {
            match attempt.principal {
                // No BYOK call on anybody else's credential.
                Principal::Credential(id) => {
                    let own = fixture.workspace.credentials.iter().find(|credential| credential.id == id).unwrap();
                    prop_assert_eq!(own.workspace, fixture.workspace.id);
                    prop_assert_eq!(own.state, CredentialState::Active);
                }
                // Strict: with a live own credential chosen, the pool is reached only if the route allows it.
                Principal::Account(_) if live_own => {
                    prop_assert!(spec.byok_fallback == ByokFallback::Managed || spec.overflow_managed);
                    prop_assert!(attempt.is_fallback || attempt.overflow.is_some());
                    prop_assert!(attempt.overflow.is_none() || spec.overflow_managed);
                }
                Principal::Account(_) => {
                    prop_assert!((may_follow_nodes || !attempt.is_fallback) && attempt.overflow.is_none());
                }
                // A subscription serves alone, with the operator's consent.
                Principal::Subscription(_) => {
                    prop_assert!(fixture.takes_subscriptions && !attempt.is_fallback);
                    prop_assert!(answer.attempts.iter().all(|one| one.profile == Profile::Subscription));
                }
                Principal::Node(_) => prop_assert!(!attempt.is_fallback && attempt.rates.is_none()),
            }
            // Emergency accounts: with both consents, never alongside own credentials,
            // and behind another of the pool.
            prop_assert_eq!(attempt.is_emergency, attempt.provider == "openrouter");
            if attempt.is_emergency {
                prop_assert!(fixture.takes_emergencies && spec.emergency_allowed && !live_own);
                prop_assert!(attempt.profile == Profile::ManagedProvider);
                prop_assert!(may_follow_nodes || !attempt.is_fallback);
                prop_assert!(!answer.attempts[0].is_emergency);
            }
            if attempt.profile == Profile::ManagedProvider && attempt.rates.is_none() {
                let account = fixture.accounts.iter().find(|a| Principal::Account(a.id) == attempt.principal).unwrap();
                prop_assert!(account.allow_unpriced);
            }
        }
        let first_kept = answer.attempts.iter().position(|attempt| attempt.is_emergency).unwrap_or(tried.len());
        prop_assert!(answer.attempts.iter().skip(first_kept).all(|attempt| attempt.is_emergency));
        // A fallback never comes before what it is a fallback for.
        prop_assert!(answer.attempts.is_sorted_by_key(|attempt| attempt.is_fallback));
    }
}
