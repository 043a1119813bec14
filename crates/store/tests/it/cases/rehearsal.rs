//! Dry runs.

use store::{Page, StoreError, rehearse};

use crate::samples::{Fresh, act, project};

pub async fn what_is_rehearsed_is_answered_and_not_kept(fresh: &Fresh) {
    let (store, workspace) = (&fresh.store, fresh.founding.workspace.id);
    let version = store.feed().version().await.unwrap();
    let audited = store.audit().head(Some(workspace)).await.unwrap();
    let wanted = project(workspace, 9);
    let tried = rehearse(store.projects().create(wanted.clone(), act())).await.unwrap();
    assert_eq!((tried.row.name.as_str(), tried.version), (wanted.name.as_str(), version));
    let taken = store::ProjectRow { name: fresh.founding.project.name.clone(), ..wanted.clone() };
    let refused = rehearse(store.projects().create(taken, act())).await.unwrap_err();
    assert!(matches!(refused, StoreError::Conflict { .. }), "{refused}");
    rehearse(store.meta().put(vec![("tried".into(), vec![1])])).await.unwrap();
    assert_eq!(store.meta().get("tried".into()).await.unwrap(), None);
    assert_eq!(store.projects().list(workspace, Page::default()).await.unwrap().rows.len(), 1);
    assert_eq!(store.feed().version().await.unwrap(), version);
    assert_eq!(store.audit().head(Some(workspace)).await.unwrap(), audited);
    store.projects().create(wanted, act()).await.unwrap();
}
