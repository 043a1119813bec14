//! Projects.

use std::collections::BTreeSet;

use domain::{Principal, StoredObjectKind, TraceId};
use store::StoreError;

use crate::samples::*;

pub async fn a_project_is_made_read_changed_and_deleted(fresh: &Fresh) {
    let (projects, workspace) = (fresh.store.projects(), fresh.founding.workspace.id);
    let made = projects.create(project(workspace, 7), act()).await.unwrap();
    assert_eq!(made.version, made.row.version);
    assert_eq!(projects.get(workspace, made.row.id).await.unwrap(), made.row);
    let renamed = store::ProjectRow { name: "other".into(), created_unix_ms: 1, ..made.row.clone() };
    assert!(projects.replace(renamed, Some(made.version), act()).await.unwrap().version > made.version);
    let read = projects.get(workspace, made.row.id).await.unwrap();
    assert_eq!((read.name.as_str(), read.created_unix_ms), ("other", made.row.created_unix_ms));
    projects.delete(workspace, made.row.id, None, act()).await.unwrap();
    missing(projects.get(workspace, made.row.id).await);
}

pub async fn a_name_is_taken_once_in_a_workspace_and_free_in_another(fresh: &Fresh) {
    let workspace = fresh.founding.workspace.id;
    let first = fresh.store.projects().create(project(workspace, 7), act()).await.unwrap().row;
    let same_name = store::ProjectRow { name: first.name.clone(), ..project(workspace, 8) };
    let taken = conflict(fresh.store.projects().create(same_name, act()).await, "name_taken");
    assert_eq!(taken, Some(first.id.to_string()));
    let other = fresh.workspace(2).await;
    let there = store::ProjectRow { name: first.name, ..project(other.workspace.id, 9) };
    fresh.store.projects().create(there, act()).await.unwrap();
    conflict(fresh.store.projects().create(project(founding(3).workspace.id, 10), act()).await, "referenced");
}

pub async fn a_project_with_a_live_key_is_not_deleted(fresh: &Fresh) {
    let (store, workspace, project) = (&fresh.store, fresh.founding.workspace.id, fresh.founding.project.id);
    conflict(store.projects().delete(workspace, project, None, act()).await, "project_not_empty");
    for key in &fresh.founding.keys {
        store.api_keys().delete(workspace, key.id, None, act()).await.unwrap();
    }
    store.projects().delete(workspace, project, None, act()).await.unwrap();
    assert!(store.api_keys().get(workspace, fresh.founding.keys[0].id).await.is_err());
}

/// Why something that is still to be booked may not be deleted.
fn told<T: std::fmt::Debug>(result: Result<T, StoreError>) -> String {
    match result {
        Err(StoreError::Conflict { what: "usage_not_recorded", detail, .. }) => detail,
        other => panic!("{other:?}"),
    }
}

pub async fn what_is_not_booked_yet_keeps_its_project_and_its_credential(fresh: &Fresh) {
    let (store, workspace) = (&fresh.store, fresh.founding.workspace.id);
    let credential = store.credentials().create(credential(workspace, 5), act()).await.unwrap().row;
    let account = store.accounts().create(account(6), act()).await.unwrap().row;
    let project = store.projects().create(project(workspace, 7), act()).await.unwrap().row.id;
    let job = |kind, name: String| new_job(kind, workspace, Some(name));
    let made = |number, kind, created_by| {
        let mut row = super::kept_objects::video(fresh, number, "{}");
        (row.id.kind, row.owner.project, row.object.created_by) = (kind, project, created_by);
        row
    };
    let film = made(1, StoredObjectKind::VIDEO, Principal::Credential(credential.id));
    let batch = made(2, StoredObjectKind::BATCH, Principal::Account(account.id));
    // Its usage is booked nowhere, and no job asks for it: nothing waits for that.
    let unpolled = made(3, StoredObjectKind::BATCH, Principal::Credential(credential.id));
    store.kept_objects().keep(unpolled, None).await.unwrap();
    for (row, kind) in [(&film, store::VIDEOS_POLL), (&batch, store::BATCHES_POLL)] {
        store.kept_objects().keep(row.clone(), Some(job(kind, row.id.to_string()))).await.unwrap();
    }
    let mut answer = super::stored_responses::row(fresh, 1);
    let request = answer.response.request;
    (answer.project, answer.response.created_by) = (project, Principal::Credential(credential.id));
    answer.job = Some(job(store::RESPONSES_POLL, store::response_poll_name(request)));
    store.stored_responses().keep(vec![answer.clone()]).await.unwrap();

    let of_project = async || store.projects().delete(workspace, project, None, act()).await;
    let of_credential = async || store.credentials().delete(workspace, credential.id, None, act()).await;
    let of_account = async || store.accounts().delete((), account.id, None, act()).await;
    let all = told(of_project().await);
    let wanted =
        "the usage of 3 made with the project is not recorded yet: background response resp_1, batch ";
    assert!(all.starts_with(wanted), "{all}");
    for name in [&film.id.to_string(), &batch.id.to_string(), "resp_1"] {
        assert!(all.contains(name), "{name}: {all}");
    }
    let own = told(of_credential().await);
    assert!(own.starts_with("the usage of 2 made with the credential"), "{own}");
    assert!(told(of_account().await).starts_with("the usage of 1 made with the account"));

    let by = TraceId::new(NOW, bytes(10));
    store.kept_objects().book(film.owner, film.id, by).await.unwrap();
    store.stored_responses().book(answer.digest, by).await.unwrap();
    of_credential().await.unwrap();
    assert!(told(of_project().await).starts_with("the usage of 1 made with the project"));
    store.kept_objects().book(batch.owner, batch.id, by).await.unwrap();
    of_account().await.unwrap();
    of_project().await.unwrap();
}

pub async fn pages_hold_every_project_once(fresh: &Fresh) {
    let (projects, workspace) = (fresh.store.projects(), fresh.founding.workspace.id);
    for number in 100..107 {
        projects.create(project(workspace, number), act()).await.unwrap();
    }
    let mut pages = 0;
    let rows = all(3, async |page| {
        pages += 1;
        projects.list(workspace, page).await
    });
    let rows = rows.await;
    let seen: BTreeSet<_> = rows.iter().map(|row| row.id).collect();
    assert_eq!((rows.len(), seen.len(), pages), (8, 8, 3));
}
