//! Tenants are isolated from each other.

use domain::{Role, RouteScope};
use store::{KeysOnLeave, StoreError, Verification};

use crate::samples::*;

pub async fn a_foreign_id_is_told_like_an_unknown_one(fresh: &Fresh) {
    let (store, mine) = (&fresh.store, fresh.founding.workspace.id);
    let other = fresh.workspace(2).await;
    let credential = store.credentials().create(credential(mine, 5), act()).await.unwrap().row;
    let node = store.nodes().create(node(mine, 6), act()).await.unwrap().row;
    let route = store.routes().create(route(mine, 7, RouteScope::default()), act()).await.unwrap().row;
    let member = store.people().create(invitation(mine, 8, Role::Viewer), act()).await.unwrap().row;
    let key = &fresh.founding.keys[0];
    let theirs = other.workspace.id;
    let verification = Verification { secret_version: 1, unix_ms: 1, accepted: Some(false), error: None };
    let moved_credential = store::CredentialRow { workspace: theirs, ..credential.clone() };
    let moved_member = store::MemberRow { workspace: theirs, ..member.clone() };
    let errors = [
        store.projects().get(theirs, fresh.founding.project.id).await.err(),
        store.projects().delete(theirs, fresh.founding.project.id, None, act()).await.err(),
        store.api_keys().get(theirs, key.id).await.err(),
        store.api_keys().delete(theirs, key.id, None, act()).await.err(),
        store.credentials().get(theirs, credential.id).await.err(),
        store.credentials().delete(theirs, credential.id, None, act()).await.err(),
        store.credentials().record_verification(theirs, credential.id, verification, act()).await.err(),
        store.credentials().replace((moved_credential, None), None, act()).await.err(),
        store.nodes().get(theirs, node.id).await.err(),
        store.nodes().delete(theirs, node.id, None, act()).await.err(),
        store.people().get(theirs, member.person.id).await.err(),
        store.people().replace(moved_member, None, act()).await.err(),
        store.people().remove(theirs, member.person.id, KeysOnLeave::Ask, None, act()).await.err(),
        store.routes().get(theirs, route.id).await.err(),
        store.routes().delete(theirs, route.id, None, act()).await.err(),
    ];
    for (index, error) in errors.iter().enumerate() {
        assert!(matches!(error, Some(StoreError::NotFound { .. })), "{index}: {error:?}");
    }
    assert_eq!(store.credentials().get(mine, credential.id).await.unwrap(), credential);
    let found = store.credentials().filter(theirs, Default::default(), Default::default()).await.unwrap();
    assert!(found.rows.is_empty());
    assert!(store.nodes().list(theirs, Default::default()).await.unwrap().rows.is_empty());
    assert!(store.people().list(theirs, Default::default()).await.unwrap().rows.is_empty());
    assert!(store.routes().list(theirs, Default::default()).await.unwrap().rows.is_empty());
    assert_eq!(store.api_keys().filter(theirs, None, Default::default()).await.unwrap().rows.len(), 2);
}

pub async fn another_workspaces_project_can_not_be_named(fresh: &Fresh) {
    let other = fresh.workspace(2).await;
    let foreign = Some(fresh.founding.project.id);
    let key = api_key(other.workspace.id, fresh.founding.project.id, 77);
    let row = store::CredentialRow { project: foreign, ..credential(other.workspace.id, 5) };
    let scope = RouteScope { project_id: foreign, ..RouteScope::default() };
    missing(fresh.store.api_keys().create((key, None), act()).await);
    missing(fresh.store.credentials().create(row, act()).await);
    missing(fresh.store.routes().create(route(other.workspace.id, 9, scope), act()).await);
}
