//! Routes.

use domain::*;
use store::{RouteRow, StoreError};

use crate::Fresh;
use crate::samples::{act, credential, founding, route};

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
        profiles: vec![Profile::Byok, Profile::ManagedProvider, Profile::Byoc, Profile::Subscription],
        providers: vec!["openai".into()],
        credential_ids: vec![credential.id],
        regions: vec!["eu".into()],
        node_labels: vec!["gpu".into()],
        byok_fallback: ByokFallback::Managed,
        fallback_on: FallbackClass::ALL.to_vec(),
        overflow_managed: true,
        emergency_allowed: true,
        head_wait_ms: Some(1),
        first_byte_timeout_ms: Some(2),
        idle_timeout_ms: Some(3),
        deadline_ms: Some(4),
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
    match routes.create(route(workspace, 6, scope("openai/gpt-4o")), act()).await {
        Err(StoreError::Conflict { what: "route_scope_taken", existing, .. }) => {
            assert_eq!(existing, Some(first.id.to_string()));
        }
        other => panic!("{other:?}"),
    }
    let second = routes.create(route(workspace, 6, scope("openai/")), act()).await.unwrap().row;
    let clash = RouteRow { spec: first.spec.clone(), ..second.clone() };
    assert!(matches!(routes.replace(clash, None, act()).await, Err(StoreError::Conflict { .. })));
    routes
        .replace(RouteRow { spec: first.spec.clone(), ..first.clone() }, Some(first.version), act())
        .await
        .unwrap();
    let other = founding(2);
    fresh.store.workspaces().create(other.clone(), act()).await.unwrap();
    routes.create(route(other.workspace.id, 8, scope("openai/gpt-4o")), act()).await.unwrap();
    routes.delete(workspace, first.id, None, act()).await.unwrap();
    routes.create(route(workspace, 9, scope("openai/gpt-4o")), act()).await.unwrap();
}

pub async fn a_route_names_its_own_workspaces_things(fresh: &Fresh) {
    let other = founding(2);
    fresh.store.workspaces().create(other.clone(), act()).await.unwrap();
    let theirs =
        fresh.store.credentials().create(credential(other.workspace.id, 5), act()).await.unwrap().row;
    let mine = fresh.founding.workspace.id;
    let mut row = route(mine, 5, RouteScope::default());
    row.spec.credential_ids = vec![theirs.id];
    assert!(matches!(
        fresh.store.routes().create(row, act()).await,
        Err(StoreError::NotFound { what: "credential" })
    ));
    let scope = RouteScope { key_id: Some(other.keys[0].id), ..RouteScope::default() };
    let result = fresh.store.routes().create(route(mine, 5, scope), act()).await;
    assert!(matches!(result, Err(StoreError::NotFound { what: "API key" })));
}
