//! Routes.

use domain::*;
use store::{Noted, Page, Premise, RouteRow, StoreError};

use crate::samples::{Fresh, account, act, conflict, credential, missing, route};

pub async fn every_field_of_a_route_reads_back(fresh: &Fresh) {
    let (store, workspace) = (&fresh.store, fresh.founding.workspace.id);
    let credential = store.credentials().create(credential(workspace, 5), act()).await.unwrap().row;
    let spec = RouteSpec {
        scope: RouteScope {
            tag: Some("batch".into()),
            key_id: Some(fresh.founding.keys[0].id),
            project_id: Some(fresh.founding.project.id),
            alias: Some("fast".into()),
            model: Some("openai/".into()),
            modality: Some("chat".into()),
            provider: Some("openai".into()),
            environment: Some("staging".into()),
        },
        when: RouteConditions {
            prompt_tokens_min: Some(1),
            prompt_tokens_max: Some(9),
            has_tools: Some(false),
            time: TimeWindow::new(Weekdays::named(["tue", "sun"]).unwrap(), 60, 30, -90),
            metadata: vec![("team".into(), "search".into())],
            end_user: Some("u-1".into()),
        },
        strategy: Strategy::Cheapest,
        profiles: vec![Profile::Byok, Profile::ManagedProvider, Profile::Byoc, Profile::Subscription],
        providers: vec!["openai".into()],
        credential_ids: vec![credential.id],
        regions: vec!["eu".into()],
        node_labels: vec!["gpu".into()],
        byok_fallback: ByokFallback::Managed,
        fallback_on: FallbackClass::ALL.to_vec(),
        model_fallbacks: vec![ModelFallback {
            on: ModelFallbackClass::ALL.to_vec(),
            model: "openai/gpt-4.1".into(),
        }],
        overflow_managed: true,
        overflow_own: Some(credential.id),
        emergency_allowed: true,
        drops_hosted_tools: true,
        head_wait_ms: Some(1),
        first_byte_timeout_ms: Some(2),
        idle_timeout_ms: Some(3),
        deadline_ms: Some(4),
        hedge_after_ms: Some(5),
        priority: Some(7),
    };
    let row = RouteRow { spec, ..route(workspace, 5, RouteScope::default()) };
    let made = store.routes().create(row.clone(), act()).await.unwrap().row;
    let read = store.routes().get(workspace, row.id).await.unwrap();
    assert_eq!(read, RouteRow { version: made.version, ..row });
    assert_eq!(store.routes().list(workspace, Default::default()).await.unwrap().rows, [read]);
}

pub async fn the_same_places_are_fixed_once(fresh: &Fresh) {
    let (routes, workspace) = (fresh.store.routes(), fresh.founding.workspace.id);
    let scope = |model: &str| RouteScope { model: Some(model.into()), ..RouteScope::default() };
    let first = routes.create(route(workspace, 5, scope("openai/gpt-4o")), act()).await.unwrap().row;
    let same = routes.create(route(workspace, 6, scope("openai/gpt-4o")), act()).await;
    assert_eq!(conflict(same, "route_scope_taken"), Some(first.id.to_string()));
    let second = routes.create(route(workspace, 6, scope("openai/")), act()).await.unwrap().row;
    let clash = RouteRow { spec: first.spec.clone(), ..second.clone() };
    assert!(matches!(routes.replace(clash, None, act()).await, Err(StoreError::Conflict { .. })));
    routes.replace(first.clone(), Some(first.version), act()).await.unwrap();
    let other = fresh.workspace(2).await;
    routes.create(route(other.workspace.id, 8, scope("openai/gpt-4o")), act()).await.unwrap();
    routes.delete(workspace, first.id, None, act()).await.unwrap();
    routes.create(route(workspace, 9, scope("openai/gpt-4o")), act()).await.unwrap();
}

pub async fn routes_of_one_scope_are_told_apart_by_their_conditions(fresh: &Fresh) {
    let (routes, workspace) = (fresh.store.routes(), fresh.founding.workspace.id);
    let when =
        |min, max| RouteConditions { prompt_tokens_min: min, prompt_tokens_max: max, ..Default::default() };
    let row = |number, when| {
        let plain = route(workspace, number, RouteScope::default());
        RouteRow { spec: RouteSpec { when, ..plain.spec }, ..plain }
    };
    routes.create(row(5, RouteConditions::default()), act()).await.unwrap();
    let short = routes.create(row(6, when(None, Some(1_000))), act()).await.unwrap().row;
    routes.create(row(7, when(Some(1_001), None)), act()).await.unwrap();
    for (max, what) in [(1_000, "route_scope_taken"), (10, "route_conditions_overlap")] {
        let found = conflict(routes.create(row(8, when(None, Some(max))), act()).await, what);
        assert_eq!(found, Some(short.id.to_string()));
    }
    // Each is stronger or weaker than the others, so nothing is ambiguous.
    let tools = RouteConditions { has_tools: Some(true), ..Default::default() };
    routes.create(row(9, tools), act()).await.unwrap();
    routes.replace(short.clone(), Some(short.version), act()).await.unwrap();
}

pub async fn every_save_of_a_route_is_a_version(fresh: &Fresh) {
    let (store, workspace) = (&fresh.store, fresh.founding.workspace.id);
    let made = store.routes().create(route(workspace, 5, RouteScope::default()), act()).await.unwrap().row;
    let mut latest = made.clone();
    let saves = u64::from(limits::ROUTE_VERSIONS_MAX);
    for idle_ms in 1..=saves {
        latest.spec.idle_timeout_ms = Some(idle_ms);
        latest = store.routes().replace(latest, None, act()).await.unwrap().row;
    }
    let versions = store.route_versions().list(workspace, made.id).await.unwrap();
    assert_eq!(versions.len() as u64, saves, "the oldest is gone");
    assert_eq!((versions[0].number, &versions[0].spec), (saves + 1, &latest.spec));
    assert_eq!(versions.last().unwrap().number, 2);
    assert!(versions.iter().all(|version| version.saved_by.as_deref() == Some(act().actor.as_str())));
    let other = fresh.workspace(2).await;
    assert_eq!(missing(store.route_versions().list(other.workspace.id, made.id).await), "route");
    store.routes().delete(workspace, made.id, None, act()).await.unwrap();
    assert_eq!(missing(store.route_versions().list(workspace, made.id).await), "route");
}

pub async fn a_route_names_its_own_workspaces_things(fresh: &Fresh) {
    let other = fresh.workspace(2).await;
    let theirs =
        fresh.store.credentials().create(credential(other.workspace.id, 5), act()).await.unwrap().row;
    let mine = fresh.founding.workspace.id;
    let mut row = route(mine, 5, RouteScope::default());
    row.spec.credential_ids = vec![theirs.id];
    assert_eq!(missing(fresh.store.routes().create(row, act()).await), "credential");
    let scope = RouteScope { key_id: Some(other.keys[0].id), ..RouteScope::default() };
    assert_eq!(missing(fresh.store.routes().create(route(mine, 5, scope), act()).await), "API key");
}

/// Of two changes that were checked against the same rules, one is written.
pub async fn a_change_is_written_on_the_rules_it_was_checked_against(fresh: &Fresh) {
    let (store, workspace) = (&fresh.store, fresh.founding.workspace.id);
    let routes = store.routes();
    let scope = |model: &str| RouteScope { model: Some(model.into()), ..RouteScope::default() };
    let premise = |version| Premise { workspace, version, until_unix_ms: None, noted: None };
    let version = store.feed().version().await.unwrap();
    let (one, other) = tokio::join!(
        routes.create(route(workspace, 5, scope("openai/gpt-4o")), act().on(Some(premise(version)))),
        routes.create(route(workspace, 6, scope("openai/gpt-4.1")), act().on(Some(premise(version)))),
    );
    let is_stale = |written: &Result<_, StoreError>| {
        matches!(written, Err(StoreError::Conflict { what: "rules_changed", .. }))
    };
    assert_eq!([is_stale(&one), is_stale(&other)].into_iter().filter(|stale| *stale).count(), 1);
    assert_eq!(routes.list(workspace, Default::default()).await.unwrap().rows.len(), 1);

    // What others have isn't part of the rules; the operator's accounts are.
    let version = store.feed().version().await.unwrap();
    let theirs = fresh.workspace(2).await;
    routes.create(route(theirs.workspace.id, 8, RouteScope::default()), act()).await.unwrap();
    routes.create(route(workspace, 7, scope("a/b")), act().on(Some(premise(version)))).await.unwrap();
    let version = store.feed().version().await.unwrap();
    store.accounts().create(account(1), act()).await.unwrap();
    let refused = routes.create(route(workspace, 9, scope("a/c")), act().on(Some(premise(version)))).await;
    assert!(is_stale(&refused), "{refused:?}");

    // A check holds for as long as what it rests on, and what it leaves to say is in the audit beside the change.
    let version = store.feed().version().await.unwrap();
    let late = act();
    let until_unix_ms = Some(late.unix_ms);
    let over = Premise { until_unix_ms, ..premise(version) };
    assert!(is_stale(&routes.create(route(workspace, 9, scope("a/c")), late.on(Some(over))).await));
    let in_time = act();
    let noted = Noted {
        id: AuditId::new(in_time.unix_ms, [9; 10]),
        action: "replay.override",
        object: "rt_of_the_test".into(),
        detail: "because".into(),
    };
    let holds = Premise { until_unix_ms: Some(in_time.unix_ms + 1), noted: Some(noted), ..premise(version) };
    routes.create(route(workspace, 9, scope("a/c")), in_time.on(Some(holds))).await.unwrap();
    let entries = store.audit().list(Some(workspace), Page::first(50)).await.unwrap().rows;
    let details: Vec<_> =
        entries.iter().filter(|row| row.action == "replay.override").map(|row| &*row.detail).collect();
    assert_eq!(details, ["because"]);

    // Nobody knows what changed where the feed does not reach back.
    let version = store.feed().version().await.unwrap();
    routes.create(route(theirs.workspace.id, 10, scope("a/d")), act()).await.unwrap();
    fresh.forget_changes().await;
    let unknown = routes.create(route(workspace, 11, scope("a/d")), act().on(Some(premise(version)))).await;
    assert!(is_stale(&unknown), "{unknown:?}");
}
