//! Configuration versions, the change feed, and faults around a commit.

use std::time::Duration;

use domain::RouteScope;
use store::fixtures::CommitFault;
use store::{NodeObservation, StoreError, feed::Part};

use crate::samples::*;

pub async fn every_change_has_a_version_and_wakes_the_watchers(fresh: &Fresh) {
    let (store, workspace) = (&fresh.store, fresh.founding.workspace.id);
    let before = store.feed().version().await.unwrap();
    let mut watch = store.feed().watch();
    watch.mark_unchanged();
    let made = store.credentials().create(credential(workspace, 5), act()).await.unwrap();
    assert_eq!(made.version, before + 1);
    assert!(watch.has_changed().unwrap());
    assert_eq!(*watch.borrow_and_update(), made.version);
    store.api_keys().delete(workspace, fresh.founding.keys[0].id, None, act()).await.unwrap();
    store.accounts().create(account(6), act()).await.unwrap();
    let feed = store.feed().changes_after(before).await.unwrap().unwrap();
    let parts: Vec<_> = feed.iter().map(|row| (row.version - before, row.part, row.workspace)).collect();
    let of = Some(workspace);
    assert_eq!(parts, [(1, Part::Workspace, of), (2, Part::Key, of), (3, Part::Accounts, None)]);
    assert_eq!(feed[1].object, fresh.founding.keys[0].id.to_string());
    assert_eq!(store.feed().changes_after(before + 3).await.unwrap(), Some(Vec::new()));
}

pub async fn what_does_not_change_the_configuration_moves_no_version(fresh: &Fresh) {
    let (store, workspace) = (&fresh.store, fresh.founding.workspace.id);
    let node = store.nodes().create(node(workspace, 5), act()).await.unwrap().row;
    let before = store.feed().version().await.unwrap();
    let mut watch = store.feed().watch();
    watch.mark_unchanged();
    let seen = NodeObservation { unix_ms: 1, reachable: true, models: None, error: None };
    store.nodes().record_observation(workspace, node.id, node.base_url.clone(), seen).await.unwrap();
    store.meta().put(vec![("x".into(), vec![1])]).await.unwrap();
    store.audit().append(Vec::new()).await.unwrap();
    assert_eq!(store.feed().version().await.unwrap(), before);
    assert!(!watch.has_changed().unwrap());
}

pub async fn an_expected_version_is_held_to(fresh: &Fresh) {
    let (store, workspace) = (&fresh.store, fresh.founding.workspace.id);
    let made = store.routes().create(route(workspace, 5, RouteScope::default()), act()).await.unwrap().row;
    let changed = store.routes().replace(made.clone(), Some(made.version), act()).await.unwrap().row;
    match store.routes().replace(made.clone(), Some(made.version), act()).await {
        Err(StoreError::Precondition { current, .. }) => assert_eq!(current, changed.version),
        other => panic!("{other:?}"),
    }
    assert!(store.routes().delete(workspace, made.id, Some(made.version), act()).await.is_err());
    assert_eq!(store.feed().version().await.unwrap(), changed.version, "a refused write has no version");
}

pub async fn a_lost_answer_is_told_as_such_and_the_write_is_there(fresh: &Fresh) {
    let (store, workspace) = (&fresh.store, fresh.founding.workspace.id);
    store.commit_faults().script([CommitFault::AnswerLost]);
    let result = store.projects().create(project(workspace, 7), act()).await;
    assert!(matches!(result, Err(StoreError::Uncertain)), "{result:?}");
    assert!(result.unwrap_err().is_transient());
    store.projects().get(workspace, project(workspace, 7).id).await.unwrap();
}

pub async fn a_refused_commit_leaves_nothing(fresh: &Fresh) {
    let (store, workspace) = (&fresh.store, fresh.founding.workspace.id);
    let before = store.feed().version().await.unwrap();
    store.commit_faults().script([CommitFault::Refused]);
    let result = store.projects().create(project(workspace, 7), act()).await;
    assert!(matches!(result, Err(StoreError::Unavailable(_))), "{result:?}");
    assert_eq!(store.feed().version().await.unwrap(), before);
    store.projects().create(project(workspace, 7), act()).await.unwrap();
}

pub async fn a_caller_who_hangs_up_does_not_lose_the_news(fresh: &Fresh) {
    let (store, workspace) = (fresh.store.clone(), fresh.founding.workspace.id);
    let before = store.feed().version().await.unwrap();
    let mut watch = store.feed().watch();
    let caller = async {
        let projects = store.projects();
        let mut write = projects.create(project(workspace, 7), act());
        // The first poll starts the write; then the caller is gone.
        std::future::poll_fn(|context| {
            let _ = write.as_mut().poll(context);
            std::task::Poll::Ready(())
        })
        .await;
    };
    caller.await;
    // A store that has just connected is told of the version that it found, too.
    let news = watch.wait_for(|version| *version > before);
    tokio::time::timeout(Duration::from_secs(10), news).await.unwrap().unwrap();
    fresh.store.projects().get(workspace, project(workspace, 7).id).await.unwrap();
}

pub async fn a_change_is_audited_with_it(fresh: &Fresh) {
    let (store, workspace) = (&fresh.store, fresh.founding.workspace.id);
    let made = store.credentials().create(credential(workspace, 5), act()).await.unwrap().row;
    let _refused = store.credentials().replace((made.clone(), None), Some(0), act()).await.unwrap_err();
    store.credentials().delete(workspace, made.id, None, act()).await.unwrap();
    let entries = store.audit().list(Some(workspace), Default::default()).await.unwrap().rows;
    let actions: Vec<_> = entries.iter().map(|row| row.action.as_str()).collect();
    assert_eq!(actions, ["credential.delete", "credential.create", "workspace.create"]);
    assert!(entries.iter().all(|row| row.actor == "system" && !row.detail.contains("sealed")));
}
