//! What an explanation tells of candidates that don't come first: the policy before their state, and what else could
//! have served.

use std::sync::Arc;

use board::Availability;
use domain::{FaultClass, Modality, Policies, Policy, PolicyId, PolicySpec, Profile, RouteScope, RouteSpec};
use snapshot::{CredentialState, NodeState};

use crate::fixture::{Fixture, NOW_US, name_of, reason, spec};
use crate::fixture::{account_id, credential_id, node_id};

const MODEL: &str = "openai/gpt-4o";

fn forbidding(mut fixture: Fixture, rules: PolicySpec) -> Fixture {
    let mut project = (*fixture.workspace.projects[0]).clone();
    let policy =
        Policy { id: PolicyId::new(1, [9; 10]), project: Some(project.id), spec: rules, hook_secret: None };
    project.policy = Policies::of(None, Some(Arc::new(policy)));
    fixture.workspace.projects[0] = Arc::new(project);
    fixture
}

/// Each other candidate with its rule, in their order.
fn others(fixture: &Fixture) -> Vec<(String, &'static str)> {
    let explanation = fixture.ask(MODEL);
    explanation.others.iter().map(|other| (name_of(other.candidate.principal), other.reason)).collect()
}

#[test]
fn whatever_the_state_of_a_candidate_the_policy_is_its_reason() {
    let resting = Availability::RetryAt { us: NOW_US + 5_000_000 };
    let c = |number| domain::Principal::Credential(credential_id(number));
    let fixture = Fixture::new()
        .credential_with(1, "openai", |entry| entry.state = CredentialState::Disabled)
        .credential_with(2, "openai", |entry| entry.state = CredentialState::Revoked)
        .credential_with(3, "openai", |entry| entry.state = CredentialState::Invalid)
        .credential_with(4, "openai", |entry| entry.expires_unix_ms = Some(5))
        .credential(5, "openai")
        .standing(c(5), resting)
        .node_with(1, &[MODEL], |entry| entry.state = NodeState::Unreachable)
        .node_with(2, &[MODEL], |entry| entry.state = NodeState::Draining)
        .account_with(1, "openai", |entry| entry.disabled = true);
    let fixture =
        forbidding(fixture, PolicySpec { regions: vec!["eu-west-1".to_owned()], ..PolicySpec::default() });
    let explanation = fixture.ask(MODEL);
    let nodes = [1, 2].map(|number| domain::Principal::Node(node_id(number)));
    for principal in (1..=5).map(c).chain(nodes).chain([domain::Principal::Account(account_id(1))]) {
        assert_eq!(reason(&explanation, principal), "policy_forbids", "{}", name_of(principal));
    }
    let fault = explanation.fault.unwrap();
    assert_eq!((fault.class, fault.code), (FaultClass::Forbidden, "policy_forbids"));
    assert_eq!(explanation.others.len(), 0);
}

#[test]
fn a_node_that_the_policy_allows_and_that_is_away_is_still_away() {
    let fixture = Fixture::own(1).node_with(1, &[MODEL], |entry| entry.state = NodeState::Unreachable);
    let fixture = forbidding(fixture, PolicySpec { profiles: vec![Profile::Byoc], ..PolicySpec::default() });
    assert_eq!(fixture.ask(MODEL).fault.unwrap().code, "node_unreachable");
}

#[test]
fn what_could_serve_as_well_is_named_with_the_rule_that_has_another_chosen() {
    let base = || Fixture::own(2).account(1, "openai").node(1, &[MODEL]);
    let strict = [("c2", "later_in_order"), ("n1", "profile_not_chosen"), ("a1", "byok_strict")];
    let named = |expected: &[(&str, &'static str)]| -> Vec<(String, &'static str)> {
        expected.iter().map(|(name, rule)| ((*name).to_owned(), *rule)).collect()
    };
    assert_eq!(others(&base()), named(&strict));
    let pooled = RouteSpec { profiles: vec![Profile::ManagedProvider], ..spec(RouteScope::default()) };
    let routed =
        [("c1", "profile_not_in_route"), ("c2", "profile_not_in_route"), ("n1", "profile_not_in_route")];
    assert_eq!(others(&base().route(1, pooled)), named(&routed));
    let second = RouteSpec { credential_ids: vec![credential_id(2)], ..spec(RouteScope::default()) };
    let listed = [("c1", "credential_not_in_route"), ("n1", "profile_not_in_route"), ("a1", "byok_strict")];
    assert_eq!(others(&base().route(1, second)), named(&listed));
    // What is switched off, or what the policy forbids, could not have served.
    let off = base().credential_with(3, "openai", |entry| entry.state = CredentialState::Disabled);
    let own = PolicySpec { profiles: vec![Profile::Byok], ..PolicySpec::default() };
    assert_eq!(others(&forbidding(off, own)), named(&[("c2", "later_in_order")]));
    // For a kind of request that only own credentials serve, nothing else counts.
    let mut videos = Fixture::own(1).account(1, "openai");
    videos.modality = Modality::Video;
    assert_eq!(videos.ask("openai:sora-2").others.len(), 0);
}
