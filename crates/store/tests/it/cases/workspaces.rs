//! Workspaces and their founding.

use store::{StoreError, WorkspaceRow};

use crate::samples::{Fresh, act, conflict, founding};

pub async fn founding_is_whole_or_not_at_all(fresh: &Fresh) {
    let mut bad = founding(2);
    bad.keys[1].digest = bad.keys[0].digest;
    let refused = fresh.store.workspaces().create(bad.clone(), act()).await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })));
    assert!(fresh.store.workspaces().get((), bad.workspace.id).await.is_err());
    assert!(fresh.store.workspaces().wrapped_keys(bad.workspace.id).await.unwrap().is_empty());
    let good = fresh.workspace(2).await;
    let workspaces = fresh.store.workspaces();
    let wrapped = workspaces.wrapped_keys(good.workspace.id).await.unwrap();
    assert_eq!(wrapped, std::slice::from_ref(&good.wrapped_key));
    let row = workspaces.get((), good.workspace.id).await.unwrap();
    workspaces.replace(WorkspaceRow { name: "renamed".into(), ..row }, None, act()).await.unwrap();
    let names: Vec<_> =
        workspaces.list((), Default::default()).await.unwrap().rows.into_iter().map(|r| r.name).collect();
    assert_eq!(names, ["workspace 1", "renamed"]);
    let next = snapshot::WrappedKey { key_id: "wk_next".into(), ..good.wrapped_key };
    fresh.store.rotations().begin_workspace(next, act()).await.unwrap();
    let ids: Vec<_> =
        workspaces.wrapped_keys(good.workspace.id).await.unwrap().into_iter().map(|k| k.key_id).collect();
    assert_eq!(ids, ["wk_1", "wk_next"], "oldest first");
}

pub async fn a_workspace_with_something_in_it_is_not_deleted(fresh: &Fresh) {
    let other = founding(2);
    let (store, id) = (&fresh.store, other.workspace.id);
    store.workspaces().create(other.clone(), act()).await.unwrap();
    conflict(store.workspaces().delete((), id, None, act()).await, "workspace_not_empty");
    for key in &other.keys {
        store.api_keys().delete(id, key.id, None, act()).await.unwrap();
    }
    store.projects().delete(id, other.project.id, None, act()).await.unwrap();
    store.workspaces().delete((), id, None, act()).await.unwrap();
    assert!(store.workspaces().wrapped_keys(id).await.unwrap().is_empty());
}
