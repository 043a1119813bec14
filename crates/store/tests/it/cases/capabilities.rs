//! What the operator states of providers, and the revisions of the capability manifest.

use store::{CapabilityRevision, CapabilityStatement, StatementChange, StoreError};

use crate::samples::{Fresh, act, missing};

fn revision(name: &str, content: &str) -> CapabilityRevision {
    CapabilityRevision {
        provider: "openai".into(),
        revision: name.into(),
        content: content.into(),
        facts: None,
        day: String::new(),
        served_unix_ms: 5,
        served_by: "system".into(),
    }
}

fn change(facts: Option<&str>) -> StatementChange {
    StatementChange {
        provider: "openai".into(),
        facts: facts.map(str::to_owned),
        day: "2026-11-24".into(),
        verb: "state",
        detail: "vision".into(),
    }
}

/// One revision for what is stated, named by it.
fn named(statements: &[CapabilityStatement]) -> Vec<CapabilityRevision> {
    statements.iter().map(|one| revision(&format!("cap_{}", one.facts), &one.facts)).collect()
}

pub async fn a_statement_is_kept_with_the_revisions_that_it_makes(fresh: &Fresh) {
    let (store, source) = (fresh.store.capabilities(), fresh.store.source());
    store.keep(vec![revision("cap_built_in", "{}")]).await.unwrap();
    store.keep(vec![revision("cap_built_in", "other")]).await.unwrap();
    assert_eq!(store.revision("openai", "cap_built_in").await.unwrap(), revision("cap_built_in", "{}"));
    assert_eq!(store.statement("openai").await.unwrap(), None);
    let since = source.load().await.unwrap();
    assert_eq!(since.capabilities, Some(Vec::new()));
    let made = store.change(change(Some("one")), Box::new(named), Some(0), act()).await.unwrap();
    let row = store.statement("openai").await.unwrap().unwrap();
    assert_eq!((Some(&row), row.version), (made.row.as_ref(), made.version));
    let late = store.change(change(Some("two")), Box::new(named), Some(0), act()).await;
    assert!(matches!(late, Err(StoreError::Precondition { .. })), "{late:?}");
    let read = source.changes_since(since.version).await.unwrap();
    let stated = &read.capabilities.unwrap()[0];
    assert_eq!((&*stated.provider, &*stated.facts, &*stated.day), ("openai", "one", "2026-11-24"));
    store.change(change(Some("two")), Box::new(named), Some(row.version), act()).await.unwrap();
    let gone = store.change(change(None), Box::new(named), None, act()).await.unwrap();
    assert_eq!((gone.row, store.statement("openai").await.unwrap()), (None, None));
    let kept = store.revisions("openai", 9).await.unwrap();
    let names: Vec<&str> = kept.iter().map(|kept| kept.revision.as_str()).collect();
    assert_eq!(names, ["cap_built_in", "cap_one", "cap_two"]);
    assert_eq!(store.revisions("openai", 1).await.unwrap().len(), 1);
    missing(store.revision("openai", "cap_x").await);
    let same = store.change(change(None), Box::new(named), None, act()).await.unwrap();
    assert_eq!(same.version, gone.version, "nothing was stated, so nothing changes");
}
