//! The snapshot's source.

use std::sync::Arc;
use std::time::Duration;

use catalogue::Catalogue;
use domain::RouteScope;
use domain::ports::KeyHash;
use snapshot::{Keeper, KeeperSettings, KeyChange, NodeChange, nothing_first};
use store::{NodeObservation, NodeRow};

use crate::samples::*;

pub async fn a_whole_load_has_everything(fresh: &Fresh) {
    let (store, workspace) = (&fresh.store, fresh.founding.workspace.id);
    store.credentials().create(credential(workspace, 5), act()).await.unwrap();
    store.nodes().create(node(workspace, 6), act()).await.unwrap();
    store.accounts().create(account(7), act()).await.unwrap();
    let made = store.routes().create(route(workspace, 8, RouteScope::default()), act()).await.unwrap();
    let loaded = store.source().load().await.unwrap();
    assert!(loaded.whole && loaded.version == made.version);
    assert_eq!((loaded.keys.len(), loaded.workspaces.len(), loaded.accounts.unwrap().len()), (2, 1, 1));
    assert_eq!((loaded.wrapped_keys.len(), loaded.minimum_versions.len()), (2, 3));
    let entry = loaded.workspaces[0].1.as_ref().unwrap();
    let sizes = (entry.projects.len(), entry.credentials.len(), entry.nodes.len(), entry.routes.len());
    assert_eq!(sizes, (1, 1, 1, 1));
    assert_eq!(*entry.credentials[0].sealed, secret(1).sealed);
}

pub async fn a_change_is_read_by_part(fresh: &Fresh) {
    let (store, workspace) = (&fresh.store, fresh.founding.workspace.id);
    let other = founding(2);
    let since = store.workspaces().create(other.clone(), act()).await.unwrap().version;
    let source = store.source();
    let none = source.changes_since(since).await.unwrap();
    assert!(!none.whole && none.version == since && none.workspaces.is_empty() && none.keys.is_empty());
    store.api_keys().delete(workspace, fresh.founding.keys[0].id, None, act()).await.unwrap();
    let key = source.changes_since(since).await.unwrap();
    assert!(key.workspaces.is_empty() && key.accounts.is_none(), "a key's change touches no workspace");
    assert!(matches!(&key.keys[..], [KeyChange::Set(_, entry)] if entry.revoked));
    store.credentials().create(credential(workspace, 5), act()).await.unwrap();
    let both = source.changes_since(since).await.unwrap();
    assert_eq!((both.workspaces.len(), both.keys.len(), both.minimum_versions.len()), (1, 1, 1));
    let since = both.version;
    for key in &other.keys {
        store.api_keys().delete(other.workspace.id, key.id, None, act()).await.unwrap();
    }
    store.projects().delete(other.workspace.id, other.project.id, None, act()).await.unwrap();
    store.workspaces().delete((), other.workspace.id, None, act()).await.unwrap();
    let gone = source.changes_since(since).await.unwrap();
    assert!(matches!(&gone.workspaces[..], [(id, None)] if *id == other.workspace.id));
    assert!(matches!(&gone.keys[..], [KeyChange::Gone(_), KeyChange::Gone(_)]));
}

pub async fn a_change_of_a_node_is_read_alone(fresh: &Fresh) {
    let (store, workspace) = (&fresh.store, fresh.founding.workspace.id);
    let (nodes, source) = (store.nodes(), store.source());
    let kept = nodes.create(node(workspace, 5), act()).await.unwrap();
    let made = nodes.create(node(workspace, 6), act()).await.unwrap();
    let change = source.changes_since(kept.version).await.unwrap();
    assert!(!change.whole && change.workspaces.is_empty(), "{change:?}");
    assert!(matches!(&change.nodes[..], [NodeChange::Set(entry)] if entry.id == made.row.id));
    let minimums: Vec<&str> = change.minimum_versions.iter().map(|minimum| &*minimum.object).collect();
    assert_eq!(minimums, [made.row.id.to_string()]);
    nodes.delete(workspace, made.row.id, None, act()).await.unwrap();
    let change = source.changes_since(kept.version).await.unwrap();
    let [NodeChange::Gone(of, id)] = change.nodes[..] else { panic!("{change:?}") };
    assert_eq!((of, id), (workspace, made.row.id));
    // With anything else of the workspace, all of it is read, and the nodes once.
    store.credentials().create(credential(workspace, 5), act()).await.unwrap();
    let change = source.changes_since(kept.version - 1).await.unwrap();
    assert!(change.nodes.is_empty(), "{change:?}");
    assert_eq!(change.workspaces[0].1.as_ref().unwrap().nodes.len(), 1);
}

pub async fn nodes_that_changed_one_by_one_are_as_in_a_whole_load(fresh: &Fresh) {
    let (store, workspace) = (&fresh.store, fresh.founding.workspace.id);
    let nodes = store.nodes();
    let keeper = keeper(fresh).await;
    let mut version = store.feed().version().await.unwrap();
    for step in 0..24 {
        let known = nodes.list_all(Default::default()).await.unwrap().rows;
        version = match known.get(step % 5) {
            Some(row) if step % 4 == 3 => nodes.delete(workspace, row.id, None, act()).await.unwrap().version,
            Some(row) if step % 4 == 2 => {
                let changed = NodeRow { labels: vec![format!("step-{step}")], ..row.clone() };
                nodes.replace((changed, None), None, act()).await.unwrap().version
            }
            Some(row) if step % 4 == 1 => {
                let models = Some(vec![format!("model-{step}")]);
                let found = NodeObservation { unix_ms: 5, reachable: true, models, error: None };
                let url = row.base_url.clone();
                nodes.record_observation(workspace, row.id, url, found).await.unwrap().version
            }
            _ => nodes.create(node(workspace, 40 - step as u64), act()).await.unwrap().version,
        };
        keeper.await_version(version).await.unwrap();
        let loaded = store.source().load().await.unwrap();
        assert_eq!(keeper.current().workspace(workspace), loaded.workspaces[0].1.as_ref(), "step {step}");
    }
    assert!(keeper.current().workspace(workspace).unwrap().nodes.len() > 2);
    assert_eq!(keeper.current().version(), version);
}

pub async fn a_follower_too_far_behind_reads_everything(fresh: &Fresh) {
    // The feed still has the first version's rows; a follower of a version that never existed can't use rows.
    let version = fresh.store.feed().version().await.unwrap();
    assert!(fresh.store.source().changes_since(version).await.unwrap().workspaces.is_empty());
    assert!(!fresh.store.source().changes_since(0).await.unwrap().whole);
    fresh.forget_changes().await;
    fresh.store.projects().create(project(fresh.founding.workspace.id, 7), act()).await.unwrap();
    assert_eq!(fresh.store.feed().changes_after(0).await.unwrap(), None);
    assert!(fresh.store.source().changes_since(0).await.unwrap().whole);
}

struct Plain;

impl KeyHash for Plain {
    fn digest(&self, _presented: &str) -> [u8; 32] {
        [0; 32]
    }
}

async fn keeper(fresh: &Fresh) -> Arc<Keeper> {
    let settings = KeeperSettings {
        catalogue: Arc::new(Catalogue::embedded().unwrap()),
        key_hash: Arc::new(Plain),
        before_publish: nothing_first(),
        poll_every: Duration::from_secs(60),
    };
    Keeper::start(fresh.store.source(), settings).await.unwrap()
}

pub async fn the_keeper_publishes_what_was_written(fresh: &Fresh) {
    let (store, workspace) = (&fresh.store, fresh.founding.workspace.id);
    let keeper = keeper(fresh).await;
    let reader = keeper.reader();
    let key = fresh.founding.keys[0].id;
    assert!(!reader.current().key(key).unwrap().revoked);
    for number in 5..25 {
        let written = store.credentials().create(credential(workspace, number), act()).await.unwrap();
        keeper.await_version(written.version).await.unwrap();
        let seen = reader.current().workspace(workspace).unwrap().credentials.len() as u64;
        assert_eq!(seen, number - 4, "a writer reads its own write");
    }
    let written = store.api_keys().delete(workspace, key, None, act()).await.unwrap();
    keeper.await_version(written.version).await.unwrap();
    assert!(reader.current().key(key).unwrap().revoked);
}
