//! Tests of `Objects`: what is found, by whom, and for how long.

use std::sync::Arc;

use domain::ports::ObjectStore;
use domain::{
    AccountId, FoundObject, ObjectListQuery, ObjectOwner, Principal, StoredObject, StoredObjectKind,
};
use store::fixtures::CommitFault;

use super::Objects;
use crate::bench::{Bench, NOW, bench, project, request, workspace};

fn keeper(bench: &Bench) -> Arc<Objects> {
    Objects::start(bench.store.clone(), bench.vault.clone(), bench.world.clone(), Box::new(|_, _, _| None))
}

fn maker(number: u8) -> Principal {
    Principal::Account(AccountId::new(NOW, [number; 10]))
}

fn object(provider_id: &str) -> StoredObject {
    StoredObject {
        request: request(1),
        created_by: maker(3),
        provider_id: provider_id.to_owned(),
        model: String::new(),
        upstream_model: String::new(),
        label: "batch".to_owned(),
        list_entry: "{}".to_owned(),
        is_booked: false,
        created_unix_ms: NOW,
        until_unix_ms: None,
    }
}

const fn owner(number: u8) -> fn() -> ObjectOwner {
    match number {
        1 => || ObjectOwner { workspace: workspace(1), project: project(1) },
        _ => || ObjectOwner { workspace: workspace(2), project: project(2) },
    }
}

#[tokio::test]
async fn a_thing_is_found_everywhere_by_our_name_and_by_nobody_else() {
    let bench = bench().await;
    let (here, there) = (keeper(&bench), keeper(&bench));
    let (own, other) = (owner(1)(), owner(2)());
    let id = here.id(own, StoredObjectKind::FILE, maker(3), "file-abc");
    assert_eq!(there.id(own, StoredObjectKind::FILE, maker(3), "file-abc"), id);
    let others = [
        here.id(other, StoredObjectKind::FILE, maker(3), "file-abc"),
        here.id(own, StoredObjectKind::FILE, maker(4), "file-abc"),
        here.id(own, StoredObjectKind::FILE, maker(3), "file-xyz"),
    ];
    assert!(others.iter().all(|other| *other != id));
    bench.store.commit_faults().script([CommitFault::AnswerLost]);
    assert!(here.keep(own, id, object("file-abc"), Vec::new()).await);
    // A file that is no result has nothing to book.
    let found = StoredObject { is_booked: true, ..object("file-abc") };
    assert_eq!(there.find(own, id).await, FoundObject::Known(Box::new(found)));
    assert_eq!(there.find(other, id).await, FoundObject::Unknown);
    let page = |owner| ObjectListQuery {
        owner,
        kind: StoredObjectKind::FILE,
        label: None,
        after: None,
        oldest_first: false,
        limit: 9,
    };
    assert_eq!(there.list(page(own)).await.unwrap(), [(id, object("file-abc"))]);
    assert_eq!(there.list(page(other)).await.unwrap(), []);
    there.forget(other, id).await;
    assert_ne!(here.find(own, id).await, FoundObject::Unknown, "it was not theirs to forget");
    there.forget(own, id).await;
    assert_eq!(here.find(own, id).await, FoundObject::Unknown);
    assert!(!here.keep(own, id, object("../files"), Vec::new()).await, "no address takes such a name");
}

#[tokio::test]
async fn nobody_waits_long_for_a_store_that_is_away() {
    let bench = bench().await;
    let keeper = keeper(&bench);
    let id = keeper.id(owner(1)(), StoredObjectKind::FILE, maker(3), "file-abc");
    bench.store.close().await;
    tokio::time::pause();
    assert!(!keeper.keep(owner(1)(), id, object("file-abc"), Vec::new()).await);
    assert_eq!(keeper.find(owner(1)(), id).await, FoundObject::StoreUnavailable);
    keeper.stop().await;
}
