//! The audit.

use domain::ports::{AuditEntry, AuditSink};
use domain::{AuditId, CredentialId};
use store::{AuditQueue, AuditRow, Page};
use world::World;

use crate::Fresh;
use crate::samples::{NOW, bytes};

fn entry(fresh: &Fresh, object: &str) -> AuditEntry {
    AuditEntry {
        workspace: Some(fresh.founding.workspace.id),
        actor: "vault".into(),
        action: "credential.open_refused",
        object: object.into(),
        detail: "refused".into(),
        trace: None,
    }
}

pub async fn entries_are_appended_once_and_listed_newest_first(fresh: &Fresh) {
    let workspace = Some(fresh.founding.workspace.id);
    let later = NOW + 1_000_000_000_000;
    let rows: Vec<_> = (0..7)
        .map(|n| AuditRow::new(AuditId::new(later + n, bytes(n)), later + n, entry(fresh, &n.to_string())))
        .collect();
    fresh.store.audit().append(rows.clone()).await.unwrap();
    fresh.store.audit().append(rows.clone()).await.unwrap();
    let first = fresh.store.audit().list(workspace, Page::first(5)).await.unwrap();
    assert_eq!(first.rows, rows.iter().rev().take(5).cloned().collect::<Vec<_>>());
    let second = fresh.store.audit().list(workspace, Page { limit: 5, after: first.next }).await.unwrap();
    assert_eq!(second.rows.len(), 3, "with the founding's own");
    assert!(fresh.store.audit().list(None, Page::default()).await.unwrap().rows.is_empty());
}

pub async fn the_queue_writes_what_it_was_told(fresh: &Fresh) {
    let queue = AuditQueue::start(fresh.store.clone(), World::system());
    let credential = CredentialId::new(NOW, bytes(1));
    queue.record(entry(fresh, "told"));
    for _ in 0..10 {
        queue.credential_opened(credential);
    }
    queue.stop().await;
    let listed = fresh.store.audit().list(Some(fresh.founding.workspace.id), Page::default()).await.unwrap();
    assert!(listed.rows.iter().any(|row| row.object == "told"));
    assert_eq!(fresh.store.audit().openings(credential).await.unwrap(), 10);
}
