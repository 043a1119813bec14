//! Key rotation: each step once, and none before its preconditions.

use domain::WorkspaceId;
use domain::master_key::{self, wrapped_prefix};
use snapshot::WrappedKey;
use store::feed::Part;
use store::rotations::{Resealing, Rewrapping, SealedThing};

use crate::samples::*;

fn named(master_key: &str, rest: u8) -> Vec<u8> {
    [wrapped_prefix(master_key), vec![rest; 4]].concat()
}

async fn fact(fresh: &Fresh, name: &str) -> Option<String> {
    fresh.store.meta().get(name.to_owned()).await.unwrap().map(|value| String::from_utf8(value).unwrap())
}

pub async fn a_master_key_is_in_force_once_everything_is_under_it(fresh: &Fresh) {
    let (rotations, meta) = (fresh.store.rotations(), fresh.store.meta());
    meta.put(vec![(master_key::CURRENT.into(), b"old".to_vec())]).await.unwrap();
    conflict(rotations.retire_master(Vec::new(), act()).await, "nothing_to_finalize");
    conflict(rotations.begin_master("old".into(), act()).await, "master_key_used");
    let before = fresh.store.feed().version().await.unwrap();
    rotations.begin_master("new".into(), act()).await.unwrap();
    let feed = fresh.store.feed().changes_after(before).await.unwrap().unwrap();
    assert_eq!(feed.iter().map(|row| row.part).collect::<Vec<_>>(), [Part::Other], "every gateway is told");
    conflict(rotations.begin_master("other".into(), act()).await, "rotation_under_way");
    // The operator's and the first workspace's key, in pages of one.
    let prefix = wrapped_prefix("new");
    assert_eq!(rotations.count_wrapped_otherwise(prefix.clone()).await.unwrap(), 2);
    let (mut after, mut keys) = (None, Vec::new());
    while let Some(key) =
        rotations.list_wrapped_otherwise(prefix.clone(), after.take(), 1).await.unwrap().into_iter().next()
    {
        after = Some((key.workspace, key.key_id.clone()));
        keys.push(key);
    }
    assert_eq!(keys.len(), 2);
    let switch = |broken| {
        let records = vec![(master_key::CURRENT.to_owned(), b"new".to_vec())];
        rotations.switch_master("new".into(), records, broken, act())
    };
    assert!(switch(Vec::new()).await.unwrap().is_none(), "two are left");
    let rewrap = |key: &WrappedKey, number| Rewrapping { old: key.clone(), new: named("new", number) };
    assert_eq!(rotations.rewrap(vec![rewrap(&keys[0], 1)]).await.unwrap(), 1);
    assert_eq!(rotations.rewrap(vec![rewrap(&keys[0], 2)]).await.unwrap(), 0, "it is not as it was read");
    assert!(switch(Vec::new()).await.unwrap().is_none());
    let broken = vec![(keys[1].workspace, keys[1].key_id.clone())];
    switch(broken.clone()).await.unwrap().unwrap();
    assert_eq!(fact(fresh, master_key::CURRENT).await.as_deref(), Some("new"));
    assert_eq!(fact(fresh, master_key::PREVIOUS).await.as_deref(), Some("old"));
    assert_eq!(fact(fresh, master_key::NEXT).await, None);
    assert!(switch(broken.clone()).await.unwrap().is_none(), "it is done");
    conflict(rotations.begin_master("third".into(), act()).await, "rotation_not_finalized");
    // A slow process: keys under the old master key delay the end.
    let mut late = founding(2);
    late.wrapped_key.wrapped = named("old", 9);
    fresh.store.workspaces().create(late.clone(), act()).await.unwrap();
    assert!(rotations.retire_master(broken.clone(), act()).await.unwrap().is_none());
    rotations.rewrap(vec![rewrap(&late.wrapped_key, 3)]).await.unwrap();
    rotations.retire_master(broken, act()).await.unwrap().unwrap();
    assert_eq!(fact(fresh, master_key::RETIRED).await.as_deref(), Some("old\n"));
    let mut later = founding(3);
    later.wrapped_key.wrapped = named("old", 9);
    conflict(fresh.store.workspaces().create(later, act()).await, "master_key_retired");
    conflict(rotations.begin_master("old".into(), act()).await, "master_key_used");
}

pub async fn a_workspaces_old_key_ends_when_nothing_is_sealed_by_it(fresh: &Fresh) {
    let (store, workspace) = (&fresh.store, fresh.founding.workspace.id);
    let rotations = store.rotations();
    let made = store.credentials().create(credential(workspace, 5), act()).await.unwrap().row;
    store.nodes().create(node(workspace, 6), act()).await.unwrap();
    store.accounts().create(account(7), act()).await.unwrap();
    let webhook = store.webhooks().create(super::webhooks::webhook(fresh, 9, &[]), act()).await.unwrap().row;
    let policy = store::PolicyRow {
        hook_secret: Some(store::HookSecretRow { secret: secret(1), made_unix_ms: 1 }),
        ..super::policies::policy(workspace, fresh.founding.project.id, 3)
    };
    let policy = store.policies().create(policy, act()).await.unwrap().row;
    let next = WrappedKey { workspace, key_id: "wk_next".into(), wrapped: vec![1] };
    rotations.begin_workspace(next.clone(), act()).await.unwrap();
    let again = WrappedKey { key_id: "wk_third".into(), ..next };
    conflict(rotations.begin_workspace(again, act()).await, "rotation_under_way");
    let left = rotations.list_sealed_otherwise(workspace, "wk_next".into()).await.unwrap();
    assert!(left.iter().all(|row| !matches!(row.thing, SealedThing::Account(_))), "the operator's are apart");
    assert!(left.iter().any(|row| row.thing == SealedThing::Credential(made.id)));
    assert!(left.iter().any(|row| row.thing == SealedThing::Webhook(webhook.id, 1)));
    assert!(left.iter().any(|row| row.thing == SealedThing::Policy(policy.id)));
    assert!(left.iter().any(|row| row.thing == SealedThing::Floor(made.id.to_string())));
    let end = |key: &str| rotations.end_workspace(workspace, key.to_owned(), act());
    assert!(end("wk_next").await.unwrap().is_none());
    let reseal = |row: &store::rotations::SealedRow| Resealing {
        old: row.clone(),
        new: domain::Sealed { key_id: "wk_next".into(), ..row.sealed.clone() },
    };
    let (first, rest) = left.split_first().unwrap();
    let before = store.feed().version().await.unwrap();
    let written = rotations.reseal(workspace, vec![reseal(first)]).await.unwrap();
    assert_eq!((written.row, written.version), (1, before + 1), "those who follow read it anew");
    assert_eq!(rotations.reseal(workspace, vec![reseal(first)]).await.unwrap().row, 0, "once");
    assert!(end("wk_next").await.unwrap().is_none());
    rotations.reseal(workspace, rest.iter().map(reseal).collect()).await.unwrap();
    let read = store.credentials().get(workspace, made.id).await.unwrap();
    assert_eq!((&*read.secret.sealed.key_id, read.version), ("wk_next", made.version), "its ETag stays");
    assert!(end("wk_1").await.unwrap().is_none(), "not the newest");
    end("wk_next").await.unwrap().unwrap();
    let ids: Vec<_> = store.workspaces().wrapped_keys(workspace).await.unwrap();
    assert_eq!(ids.iter().map(|key| key.key_id.as_str()).collect::<Vec<_>>(), ["wk_next"]);
    assert_eq!(store.meta().starting_with(store::rotations::REKEYED_PREFIX.into()).await.unwrap(), []);
    // A slow gateway still seals with the old key.
    conflict(store.credentials().create(credential(workspace, 8), act()).await, "sealing_key_replaced");
    let operator = WorkspaceId::from_uuid(Default::default());
    let of_operator = rotations.list_sealed_otherwise(operator, "wk_next".into()).await.unwrap();
    assert!(of_operator.iter().any(|row| matches!(row.thing, SealedThing::Account(_))));
}
