//! Projects.

use std::collections::BTreeSet;

use store::{Page, StoreError};

use crate::Fresh;
use crate::samples::{act, founding, project};

pub async fn a_project_is_made_read_changed_and_deleted(fresh: &Fresh) {
    let (projects, workspace) = (fresh.store.projects(), fresh.founding.workspace.id);
    let made = projects.create(project(workspace, 7), act()).await.unwrap();
    assert_eq!(made.version, made.row.version);
    assert_eq!(projects.get(workspace, made.row.id).await.unwrap(), made.row);
    let renamed = store::ProjectRow { name: "other".into(), created_unix_ms: 1, ..made.row.clone() };
    let changed = projects.replace(renamed, Some(made.version), act()).await.unwrap();
    assert!(changed.version > made.version);
    let read = projects.get(workspace, made.row.id).await.unwrap();
    assert_eq!((read.name.as_str(), read.created_unix_ms), ("other", made.row.created_unix_ms));
    projects.delete(workspace, made.row.id, None, act()).await.unwrap();
    assert!(matches!(projects.get(workspace, made.row.id).await, Err(StoreError::NotFound { .. })));
}

pub async fn a_name_is_taken_once_in_a_workspace_and_free_in_another(fresh: &Fresh) {
    let workspace = fresh.founding.workspace.id;
    let first = fresh.store.projects().create(project(workspace, 7), act()).await.unwrap().row;
    let same_name = store::ProjectRow { name: first.name.clone(), ..project(workspace, 8) };
    match fresh.store.projects().create(same_name, act()).await {
        Err(StoreError::Conflict { what: "name_taken", existing, .. }) => {
            assert_eq!(existing, Some(first.id.to_string()))
        }
        other => panic!("{other:?}"),
    }
    let other = founding(2);
    fresh.store.workspaces().create(other.clone(), act()).await.unwrap();
    let there = store::ProjectRow { name: first.name, ..project(other.workspace.id, 9) };
    fresh.store.projects().create(there, act()).await.unwrap();
    let nowhere = project(founding(3).workspace.id, 10);
    let refused = fresh.store.projects().create(nowhere, act()).await;
    assert!(matches!(refused, Err(StoreError::Conflict { what: "referenced", .. })), "{refused:?}");
}

pub async fn a_project_with_a_live_key_is_not_deleted(fresh: &Fresh) {
    let (store, workspace, project) = (&fresh.store, fresh.founding.workspace.id, fresh.founding.project.id);
    let result = store.projects().delete(workspace, project, None, act()).await;
    assert!(matches!(result, Err(StoreError::Conflict { what: "project_not_empty", .. })), "{result:?}");
    for key in &fresh.founding.keys {
        store.api_keys().delete(workspace, key.id, None, act()).await.unwrap();
    }
    store.projects().delete(workspace, project, None, act()).await.unwrap();
    assert!(store.api_keys().get(workspace, fresh.founding.keys[0].id).await.is_err());
}

pub async fn pages_hold_every_project_once(fresh: &Fresh) {
    let (projects, workspace) = (fresh.store.projects(), fresh.founding.workspace.id);
    for number in 100..107 {
        projects.create(project(workspace, number), act()).await.unwrap();
    }
    let (mut seen, mut page, mut pages) = (BTreeSet::new(), Page::first(3), 0);
    loop {
        let listed = projects.list(workspace, page.clone()).await.unwrap();
        assert!(listed.rows.iter().all(|row| seen.insert(row.id)));
        pages += 1;
        match listed.next {
            Some(after) => page.after = Some(after),
            None => break,
        }
    }
    assert_eq!((seen.len(), pages), (8, 3));
}
