//! Look-ups in a snapshot.

use std::sync::Arc;

use snapshot::Reader;

use crate::support::{key, snapshot, text, workspace_id};

#[test]
fn a_key_is_found_by_its_text_and_by_nothing_else() {
    let snapshot = snapshot((1..=200).map(|number| key(number, number == 9)).collect());
    for number in 1..=200 {
        let found = snapshot.find_key(&text(number)).unwrap();
        assert_eq!(found.id, key(number, false).1.id);
        assert_eq!(found.revoked, number == 9, "a revoked key is still told from an unknown one");
        assert_eq!(snapshot.key(found.id).unwrap().id, found.id);
    }
    assert!(snapshot.find_key(&text(201)).is_none() && snapshot.find_key("").is_none());
    assert!(snapshot.find_key("tg_live_").is_none());
    let mut typo = text(1);
    typo.pop();
    typo.push('!');
    assert!(snapshot.find_key(&typo).is_none());
    assert_eq!(snapshot.key_count(), 200);
}

#[test]
fn half_a_digest_is_not_enough() {
    let (mut digest, entry) = key(1, false);
    digest[31] ^= 1;
    assert!(snapshot(vec![(digest, entry)]).find_key(&text(1)).is_none());
}

#[test]
fn a_fixed_reader_and_its_clones_read_the_same() {
    let snapshot = Arc::new(snapshot(Vec::new()));
    let reader = Reader::fixed(Arc::clone(&snapshot));
    assert!(Arc::ptr_eq(&reader.clone().current(), &reader.current()));
    assert_eq!(reader.current().workspace(workspace_id(1)).unwrap().name.as_ref(), "one");
    assert!(reader.current().workspace(workspace_id(2)).is_none());
    assert_eq!(reader.current().workspaces().count(), 1);
    assert!(reader.current().accounts().is_empty());
    assert_eq!(format!("{snapshot:?}"), "Snapshot { version: 1, .. }");
}
