//! The keeper: whole versions, in order, and the last good one while the source fails.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use snapshot::{BeforePublish, Change, Keeper, KeeperSettings, KeyChange, SourceError, nothing_first};

use crate::support::*;

fn settings(before_publish: BeforePublish) -> KeeperSettings {
    KeeperSettings {
        catalogue: catalogue(),
        key_hash: Arc::new(Plain),
        before_publish,
        poll_every: Duration::from_millis(20),
    }
}

fn first() -> Change {
    let (digest, entry) = key(1, false);
    Change {
        version: 5,
        whole: true,
        keys: vec![KeyChange::Set(digest, entry)],
        workspaces: vec![(workspace_id(1), Some(workspace(1, "one")))],
        ..Change::default()
    }
}

fn revoking(version: u64) -> Change {
    let (digest, entry) = key(1, true);
    Change { version, keys: vec![KeyChange::Set(digest, entry)], ..Change::default() }
}

#[tokio::test]
async fn a_change_of_a_key_shares_the_workspaces_and_is_seen_by_every_reader() {
    let source = Scripted::new(first());
    let keeper = Keeper::start(source.clone(), settings(nothing_first())).await.unwrap();
    let (one, two) = (keeper.reader(), keeper.reader());
    let before = one.current();
    assert_eq!(before.version(), 5);
    assert!(before.lists_origin("https://key1.example") && !before.lists_origin("https://key2.example"));
    source.say([Ok(revoking(6))]);
    keeper.await_version(6).await.unwrap();
    for reader in [one, two] {
        let now = reader.current();
        assert!(now.find_key(&text(1)).unwrap().revoked);
        assert!(!now.lists_origin("https://key1.example"), "a revoked key's pages read nothing");
        let id = workspace_id(1);
        assert!(
            Arc::ptr_eq(now.workspace(id).unwrap(), before.workspace(id).unwrap()),
            "nothing else was rebuilt"
        );
    }
    assert!(!before.find_key(&text(1)).unwrap().revoked, "a request keeps the version that it began with");
}

#[tokio::test]
async fn a_whole_change_replaces_everything_and_a_gone_one_is_gone() {
    let source = Scripted::new(first());
    let keeper = Keeper::start(source.clone(), settings(nothing_first())).await.unwrap();
    let gone = Change {
        version: 6,
        keys: vec![KeyChange::Gone(key(1, false).1.id)],
        workspaces: vec![(workspace_id(1), None)],
        ..Change::default()
    };
    source.say([Ok(gone)]);
    keeper.await_version(6).await.unwrap();
    assert!(keeper.current().find_key(&text(1)).is_none());
    assert!(keeper.current().workspace(workspace_id(1)).is_none());
    let (digest, entry) = key(2, false);
    let whole =
        Change { version: 7, whole: true, keys: vec![KeyChange::Set(digest, entry)], ..Change::default() };
    source.say([Ok(whole)]);
    keeper.await_version(7).await.unwrap();
    assert_eq!(keeper.current().key_count(), 1);
    assert!(keeper.current().find_key(&text(2)).is_some());
    let lists = |origin| keeper.current().lists_origin(origin);
    assert!(lists("https://key2.example") && !lists("https://key1.example"));
}

#[tokio::test]
async fn while_the_source_fails_the_last_version_serves_and_then_the_next_comes() {
    let source = Scripted::new(first());
    let keeper = Keeper::start(source.clone(), settings(nothing_first())).await.unwrap();
    let fail = || Err(SourceError("the disk is away".into()));
    source.say([fail(), fail(), fail(), Ok(revoking(6))]);
    source.polls.subscribe().wait_for(|polls| *polls >= 2).await.unwrap();
    assert!(!keeper.current().find_key(&text(1)).unwrap().revoked);
    keeper.await_version(6).await.unwrap();
    assert!(keeper.current().find_key(&text(1)).unwrap().revoked);
}

#[tokio::test]
async fn nobody_sees_a_version_before_the_vault_has_learned_it() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let failures = Arc::new(AtomicUsize::new(1));
    let (noted, left) = (Arc::clone(&seen), Arc::clone(&failures));
    let learn: BeforePublish = Arc::new(move |change| {
        noted.lock().unwrap().push(change.version);
        let fails = change.version == 6 && left.fetch_sub(1, Ordering::SeqCst) > 0;
        let learned = if fails { Err(SourceError("the key service is away".into())) } else { Ok(()) };
        Box::pin(async move { learned })
    });
    let source = Scripted::new(first());
    let keeper = Keeper::start(source.clone(), settings(learn)).await.unwrap();
    source.say([Ok(revoking(6)), Ok(revoking(6))]);
    keeper.await_version(6).await.unwrap();
    assert_eq!(*seen.lock().unwrap(), [5, 6, 6], "tried again until it was learned");
}

#[tokio::test]
async fn a_stopped_keeper_lets_nobody_wait_for_ever() {
    let keeper = Keeper::start(Scripted::new(first()), settings(nothing_first())).await.unwrap();
    keeper.await_version(5).await.unwrap();
    keeper.stop();
    assert!(keeper.await_version(6).await.is_err());
    assert_eq!(keeper.reader().current().version(), 5, "readers keep what they have");
}

#[tokio::test]
async fn without_a_first_configuration_there_is_no_keeper() {
    let refuse: BeforePublish = Arc::new(|_| Box::pin(async { Err(SourceError("no".into())) }));
    assert!(Keeper::start(Scripted::new(first()), settings(refuse)).await.is_err());
}
