//! Ownership of objects that providers store.

use domain::{
    AccountId, CredentialId, ObjectListQuery, ObjectOwner, Principal, ProjectId, StoredObject,
    StoredObjectId, StoredObjectKind, TraceId,
};
use store::KeptObjectRow;

use crate::samples::*;

fn owner(fresh: &Fresh) -> ObjectOwner {
    ObjectOwner { workspace: fresh.founding.workspace.id, project: fresh.founding.project.id }
}

fn row(fresh: &Fresh, number: u8) -> KeptObjectRow {
    KeptObjectRow {
        id: StoredObjectId { kind: StoredObjectKind::FILE, digest: [number; 16] },
        owner: owner(fresh),
        object: StoredObject {
            request: TraceId::new(NOW, bytes(number.into())),
            created_by: Principal::Credential(CredentialId::new(NOW, bytes(7))),
            provider_id: format!("file-{number}"),
            model: "publisher/model".into(),
            upstream_model: "model".into(),
            label: if number.is_multiple_of(2) { "batch".into() } else { "vision".into() },
            list_entry: format!("{{\"n\":{number}}}"),
            is_booked: false,
            created_unix_ms: NOW + u64::from(number / 2),
            until_unix_ms: (number > 6).then(|| NOW + u64::from(number)),
        },
    }
}

async fn find(fresh: &Fresh, number: u8) -> Option<StoredObject> {
    fresh.store.kept_objects().find(owner(fresh), row(fresh, number).id, NOW).await.unwrap()
}

pub async fn a_thing_is_known_to_its_project_alone(fresh: &Fresh) {
    let objects = fresh.store.kept_objects();
    objects.keep(row(fresh, 1), None).await.unwrap();
    assert_eq!(find(fresh, 1).await, Some(row(fresh, 1).object));
    assert_eq!(find(fresh, 2).await, None);
    let elsewhere = ObjectOwner { project: ProjectId::new(NOW, bytes(9)), ..owner(fresh) };
    assert_eq!(objects.find(elsewhere, row(fresh, 1).id, NOW).await.unwrap(), None);
    let as_batch = StoredObjectId { kind: StoredObjectKind::BATCH, ..row(fresh, 1).id };
    assert_eq!(objects.find(owner(fresh), as_batch, NOW).await.unwrap(), None);
    objects.keep(KeptObjectRow { owner: elsewhere, ..row(fresh, 2) }, None).await.unwrap_err();
    // Stored again, only what lists show changes.
    let mut again = row(fresh, 1);
    (again.object.provider_id, again.object.list_entry) = ("file-other".into(), "{}".into());
    objects.keep(again, None).await.unwrap();
    let expected = StoredObject { list_entry: "{}".into(), ..row(fresh, 1).object };
    assert_eq!(find(fresh, 1).await, Some(expected));
    objects.forget(elsewhere, row(fresh, 1).id).await.unwrap();
    assert!(find(fresh, 1).await.is_some());
    objects.forget(owner(fresh), row(fresh, 1).id).await.unwrap();
    assert_eq!(find(fresh, 1).await, None);
}

pub async fn things_are_listed_by_pages_in_either_order(fresh: &Fresh) {
    let objects = fresh.store.kept_objects();
    for number in 1..=6 {
        objects.keep(row(fresh, number), None).await.unwrap();
    }
    let unseen = StoredObject { list_entry: String::new(), ..row(fresh, 5).object };
    let id = StoredObjectId { kind: StoredObjectKind::FILE, digest: [40; 16] };
    objects.keep(KeptObjectRow { id, object: unseen, ..row(fresh, 5) }, None).await.unwrap();
    let listed = async |after: Option<u8>, oldest_first: bool, label: Option<&str>| {
        let (label, after) = (label.map(str::to_owned), after.map(|number| row(fresh, number).id));
        let (owner, kind) = (owner(fresh), StoredObjectKind::FILE);
        let page = ObjectListQuery { owner, kind, label, after, oldest_first, limit: 4 };
        let rows = objects.list(page, NOW).await.unwrap();
        rows.iter().map(|row| row.id.digest[0]).collect::<Vec<_>>()
    };
    assert_eq!(listed(None, false, None).await, [6, 5, 4, 3]);
    assert_eq!(listed(Some(3), false, None).await, [2, 1]);
    assert_eq!(listed(None, true, None).await, [1, 2, 3, 4]);
    assert_eq!(listed(Some(4), true, None).await, [5, 6]);
    assert_eq!(listed(None, false, Some("batch")).await, [6, 4, 2]);
    assert_eq!(listed(Some(99), false, None).await, [0_u8; 0], "nothing is behind what nobody knows");
}

pub async fn a_thing_asks_for_its_job_once_and_ends_in_its_time(fresh: &Fresh) {
    let objects = fresh.store.kept_objects();
    let workspace = fresh.founding.workspace.id;
    let job = |number: u8| new_job("batch", workspace, Some(row(fresh, number).id.to_string()));
    let before = fresh.store.jobs().counts().await.unwrap();
    for number in [7, 8, 7] {
        objects.keep(row(fresh, number), Some(job(number))).await.unwrap();
    }
    let after = fresh.store.jobs().counts().await.unwrap();
    assert_eq!(after.waiting + after.ready, before.waiting + before.ready + 2);
    let late = objects.find(owner(fresh), row(fresh, 7).id, NOW + 7).await.unwrap();
    assert_eq!(late, None, "before anybody removes it");
    fresh.meddle(HOLD_PROJECTS).await;
    assert_eq!(objects.expire(NOW + 8, 9).await.unwrap(), 0, "a legal hold is on it");
    fresh.meddle(RELEASE).await;
    assert_eq!(objects.expire(NOW + 8, 1).await.unwrap(), 1, "a few at a time");
    assert_eq!(objects.expire(NOW + 8, 1).await.unwrap(), 1);
    objects.keep(row(fresh, 1), None).await.unwrap();
    assert_eq!(objects.expire(u64::MAX, 9).await.unwrap(), 0, "nobody knows of its end");
}

pub async fn one_request_alone_books_a_thing(fresh: &Fresh) {
    let objects = fresh.store.kept_objects();
    objects.keep(row(fresh, 1), None).await.unwrap();
    let (owner, id) = (owner(fresh), row(fresh, 1).id);
    let by = |number| TraceId::new(NOW, bytes(number));
    assert!(objects.book(owner, id, by(10)).await.unwrap());
    assert!(objects.book(owner, id, by(10)).await.unwrap(), "it has the right still");
    assert!(!objects.book(owner, id, by(11)).await.unwrap());
    objects.unbook(owner, id, by(11)).await.unwrap();
    assert!(find(fresh, 1).await.unwrap().is_booked, "it was not its own to give back");
    objects.unbook(owner, id, by(10)).await.unwrap();
    assert!(objects.book(owner, id, by(11)).await.unwrap());
    assert!(!objects.book(owner, row(fresh, 2).id, by(11)).await.unwrap(), "nobody knows it");
}

pub async fn results_on_an_account_wait_for_the_books(fresh: &Fresh) {
    let objects = fresh.store.kept_objects();
    let on_account = |number: u8, kind: StoredObjectKind, label: &str| {
        let KeptObjectRow { id, owner, object } = row(fresh, number);
        let created_by = Principal::Account(AccountId::new(NOW, bytes(8)));
        let object = StoredObject { created_by, label: label.into(), ..object };
        KeptObjectRow { id: StoredObjectId { kind, ..id }, owner, object }
    };
    let named = on_account(1, StoredObjectKind::FILE, "");
    let shown = on_account(2, StoredObjectKind::FILE, "batch_output");
    let files = [named, shown, on_account(3, StoredObjectKind::FILE, "user_data"), row(fresh, 4)];
    for file in &files {
        objects.keep(file.clone(), None).await.unwrap();
    }
    let booked = async || {
        let mut found = Vec::new();
        for file in &files {
            found.push(objects.find(file.owner, file.id, NOW).await.unwrap().unwrap().is_booked);
        }
        found
    };
    assert_eq!(booked().await, [true, true, true, false], "there is no batch");
    let batch = on_account(5, StoredObjectKind::BATCH, "");
    objects.keep(batch.clone(), None).await.unwrap();
    assert_eq!(booked().await, [false, false, true, false]);
    assert!(objects.book(batch.owner, batch.id, batch.object.request).await.unwrap());
    assert_eq!(booked().await, [true, true, true, false]);
}

pub fn video(fresh: &Fresh, number: u8, list_entry: &str) -> KeptObjectRow {
    let KeptObjectRow { id, owner, object } = row(fresh, number);
    let object = StoredObject { list_entry: list_entry.into(), until_unix_ms: None, ..object };
    KeptObjectRow { id: StoredObjectId { kind: StoredObjectKind::VIDEO, ..id }, owner, object }
}

pub async fn a_film_is_hidden_until_it_is_booked(fresh: &Fresh) {
    let objects = fresh.store.kept_objects();
    let owner = owner(fresh);
    let video = |number, list_entry| video(fresh, number, list_entry);
    let known = async |number: u8, at: u64| objects.find(owner, video(number, "").id, at).await.unwrap();
    for number in [1, 2] {
        objects.keep(video(number, "{}"), None).await.unwrap();
    }
    objects.forget(owner, video(1, "").id).await.unwrap();
    // Seeing it in a list again does not bring it back.
    objects.keep(video(1, "[]"), None).await.unwrap();
    assert_eq!((objects.expire(NOW, 9).await.unwrap(), known(1, NOW).await), (0, None));
    let hidden = known(1, 0).await.unwrap();
    assert_eq!((hidden.list_entry.as_str(), hidden.is_booked, hidden.until_unix_ms), ("{}", false, Some(1)));
    let kind = StoredObjectKind::VIDEO;
    let page = ObjectListQuery { owner, kind, label: None, after: None, oldest_first: false, limit: 9 };
    let listed = objects.list(page, NOW).await.unwrap();
    assert_eq!(listed.iter().map(|row| row.id).collect::<Vec<_>>(), [video(2, "").id]);
    let by = TraceId::new(NOW, bytes(10));
    for number in [1, 2] {
        assert!(objects.book(owner, video(number, "").id, by).await.unwrap());
        objects.forget(owner, video(number, "").id).await.unwrap();
        assert_eq!(known(number, 0).await, None, "{number}");
    }
}
