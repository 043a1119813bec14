//! What an alias means: its scope, its targets in order, pinned releases, and routes of it.

use std::sync::Arc;

use board::Availability;
use domain::{
    AliasId, AliasPick, AliasReleaseId, AliasReleaseSpec, AliasSplit, AliasTarget, Principal, RouteScope,
};
use plan::Explanation;
use snapshot::{AliasEntry, ReleaseEntry};

use crate::fixture::{Fixture, NOW_US, credential_id, project_id, route_id, spec};

fn release(number: u8, models: &[&str]) -> Arc<ReleaseEntry> {
    let target = |model: &&str| AliasTarget { model: (*model).to_owned(), weight: 1 };
    let (split, targets) = (AliasSplit::Ordered, models.iter().map(target).collect());
    let spec = AliasReleaseSpec { split, targets, parameters: Vec::new(), note: String::new() };
    let id = AliasReleaseId::new(u64::from(number), [number; 10]);
    Arc::new(ReleaseEntry { id, number: u32::from(number), spec })
}

/// An alias of the workspace or of a project, whose releases are numbered from `number`; the last is active.
fn alias(number: u8, name: &str, project: Option<u8>, releases: &[&[&str]]) -> Arc<AliasEntry> {
    let releases: Vec<_> = (number..).zip(releases).map(|(number, models)| release(number, models)).collect();
    Arc::new(AliasEntry {
        id: AliasId::new(u64::from(number), [1; 10]),
        name: name.into(),
        project: project.map(project_id),
        active: Arc::clone(releases.last().unwrap()),
        canary: None,
        fits_parameters: false,
        releases,
        created_unix_ms: 1,
    })
}

/// In the order of a snapshot: by name, the projects' own first.
fn fixture(aliases: Vec<Arc<AliasEntry>>) -> Fixture {
    let mut fixture = Fixture::own(1).node(1, &["tide-1"]);
    fixture.workspace.aliases = aliases;
    fixture
}

/// The resolved model, the number of the release and the place of the target.
fn resolved(plan: &Explanation) -> (Option<&str>, Option<(u8, usize)>) {
    let pick = AliasPick::read(&plan.resolution);
    let release = |id: AliasReleaseId| id.as_bytes()[15];
    (plan.resolved_model.as_deref(), pick.map(|pick| (release(pick.release), pick.target)))
}

#[test]
fn a_later_target_of_an_ordered_alias_stands_in_for_one_that_fails() {
    let targets: &[&str] = &["anthropic/claude-haiku-4-5", "openai/gpt-4o-mini", "tide-1", "nobody/has-it"];
    let mut fixture = fixture(vec![alias(1, "auto", None, &[targets])]);
    let others = |plan: &Explanation| -> Vec<_> {
        plan.fallbacks.iter().map(|one| (one.model.clone(), one.attempts.len())).collect()
    };
    let expected = [("tide-1".to_owned(), 1), ("nobody/has-it".to_owned(), 0)];
    let plan = fixture.ask("auto");
    assert_eq!(resolved(&plan), (Some("openai/gpt-4o-mini"), Some((1, 2))));
    assert_eq!(others(&plan), expected);
    // A target whose provider asked to wait is left before anything is sent.
    let own = Principal::Credential(credential_id(1));
    fixture = fixture.standing(own, Availability::RetryAt { us: NOW_US + 60_000_000 });
    let plan = fixture.ask("auto");
    assert_eq!((plan.fault, plan.resolved_model.as_deref()), (None, Some("tide-1")));
    // Weighted targets share requests, and none of them stands in for another.
    let mut weighted = (*alias(2, "even", None, &[targets])).clone();
    let mut active = (*weighted.active).clone();
    active.spec.split = AliasSplit::Weighted;
    weighted.active = Arc::new(active);
    fixture.workspace.aliases = vec![Arc::new(weighted)];
    assert!(others(&fixture.ask("even")).is_empty());
}

#[test]
fn a_name_is_that_of_the_project_before_that_of_the_workspace() {
    let fixture = fixture(vec![
        alias(1, "auto", Some(1), &[&["openai/gpt-4o-mini"]]),
        alias(2, "auto", Some(2), &[&["openai/gpt-4o"]]),
        alias(3, "auto", None, &[&["tide-1"]]),
        alias(4, "of.other", Some(2), &[&["openai/gpt-4o"]]),
        alias(5, "shared", None, &[&["tide-1"], &["openai:gpt-4o"]]),
    ]);
    let id = |number: u8| AliasReleaseId::new(u64::from(number), [number; 10]).to_string();
    for (name, model, place) in [
        ("auto".to_owned(), "openai/gpt-4o-mini", (1, 1)),
        (id(3), "tide-1", (3, 1)),
        (format!("auto@{}", id(3)), "tide-1", (3, 1)),
        ("shared".to_owned(), "openai/gpt-4o", (6, 1)),
        (id(5), "tide-1", (5, 1)),
        (format!("shared@{}", id(5)), "tide-1", (5, 1)),
    ] {
        assert_eq!(resolved(&fixture.ask(&name)), (Some(model), Some(place)), "{name}");
    }
    for name in ["of.other".to_owned(), id(2), id(4), format!("shared@{}", id(1)), id(99)] {
        let plan = fixture.ask(&name);
        assert_eq!(plan.fault.as_ref().map(|fault| fault.code), Some("model_not_found"), "{name}");
    }
    assert_eq!(resolved(&fixture.ask("openai/gpt-4o")), (Some("openai/gpt-4o"), None), "no alias");
    let served: Vec<_> = fixture.served().into_iter().map(|model| model.id).collect();
    for (name, is_served) in [("auto", true), ("shared", true), ("of.other", false)] {
        assert_eq!(served.iter().any(|id| id == name), is_served, "{name}");
    }
}

#[test]
fn the_next_target_is_considered_where_nothing_offers_the_one_before() {
    let fixture = fixture(vec![
        alias(1, "absent", None, &[&["anthropic/claude-sonnet-5", "gone", "openai/gpt-4o"]]),
        alias(2, "nothing", None, &[&["anthropic/claude-sonnet-5", "gone"]]),
    ]);
    let plan = fixture.ask("absent");
    assert_eq!(resolved(&plan), (Some("openai/gpt-4o"), Some((1, 3))));
    // The first target's absence is what the client reads if there is no other.
    let plan = fixture.ask("nothing");
    assert_eq!(plan.fault.as_ref().map(|fault| fault.code), Some("model_not_served"));
    assert_eq!(resolved(&plan), (Some("anthropic/claude-sonnet-5"), Some((2, 1))));
}

#[test]
fn a_route_of_an_alias_is_stronger_than_one_of_its_model() {
    let model = Some("openai/gpt-4o".to_owned());
    let of_alias = || RouteScope { alias: Some("auto".into()), ..RouteScope::default() };
    let fixture = fixture(vec![alias(1, "auto", None, &[&["openai/gpt-4o"]])])
        .route(1, spec(RouteScope { model, ..RouteScope::default() }))
        .route(2, spec(of_alias()))
        .route(3, spec(RouteScope { modality: Some("image".into()), ..of_alias() }));
    let route = |name: &str| fixture.ask(name).route.unwrap();
    assert_eq!((route("auto").id, route("auto").why), (route_id(2), "its alias is the model's name"));
    assert_eq!(route("openai/gpt-4o").id, route_id(1));
    let stronger =
        fixture.route(4, spec(RouteScope { project_id: Some(project_id(1)), ..RouteScope::default() }));
    assert_eq!(stronger.ask("auto").route.unwrap().id, route_id(4));
}
