//! Stored objects while their store does not answer.

use std::sync::Arc;

use domain::ports::{NoObjects, ObjectStore, PortFuture};
use domain::{
    Dialect, FoundObject, ObjectListQuery, ObjectOwner, Principal, StoredKind, StoredObject, StoredObjectId,
    StoredObjectKind, TraceId,
};
use http_body_util::BodyExt;
use serde_json::Value;

use crate::bench::{OWN_KEYS, Setup, on_bench};

/// A store that does not answer.
struct Away;

impl ObjectStore for Away {
    fn id(&self, owner: ObjectOwner, kind: StoredObjectKind, maker: Principal, id: &str) -> StoredObjectId {
        NoObjects.id(owner, kind, maker, id)
    }

    fn keep(
        &self,
        _: ObjectOwner,
        _: StoredObjectId,
        _: StoredObject,
        _: Vec<domain::Drawn>,
    ) -> PortFuture<'static, bool> {
        Box::pin(async { false })
    }

    fn find(&self, _: ObjectOwner, _: StoredObjectId) -> PortFuture<'static, FoundObject> {
        Box::pin(async { FoundObject::StoreUnavailable })
    }

    fn list(&self, _: ObjectListQuery) -> PortFuture<'static, Option<Vec<(StoredObjectId, StoredObject)>>> {
        Box::pin(async { None })
    }

    fn book(&self, _: ObjectOwner, _: StoredObjectId, _: TraceId) -> PortFuture<'static, bool> {
        Box::pin(async { false })
    }

    fn unbook(&self, _: ObjectOwner, _: StoredObjectId, _: TraceId) -> PortFuture<'static, ()> {
        Box::pin(async {})
    }

    fn forget(&self, _: ObjectOwner, _: StoredObjectId) -> PortFuture<'static, ()> {
        Box::pin(async {})
    }
}

#[test]
fn a_list_that_the_store_does_not_give_is_refused_for_the_moment() {
    on_bench(Setup { objects: Some(Arc::new(Away)), ..Setup::own(&OWN_KEYS[..1]) }, async |bench| {
        let (_, caller) = bench.caller();
        let kind = (Dialect::Chat, StoredKind::File);
        let answer = line::list_objects(&bench.core, &caller, kind, "", bench.trace()).await;
        assert_eq!(answer.status(), 503);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["error"]["code"], "store_unavailable", "{body}");
    });
}
