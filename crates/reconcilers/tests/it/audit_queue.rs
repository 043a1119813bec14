//! The queue of audit entries, over a real store.

use domain::ports::{AuditEntry, AuditSink};
use domain::{CredentialId, Principal};
use reconcilers::AuditQueue;
use store::Page;
use world::World;

use crate::books::Books;

#[tokio::test]
async fn the_queue_writes_what_it_was_told() {
    let books = Books::open().await;
    let queue = AuditQueue::start(books.store.clone(), World::system());
    let credential = CredentialId::new(1, [1; 10]);
    queue.record(AuditEntry {
        workspace: Some(books.workspace),
        actor: "vault".into(),
        action: "credential.open_refused",
        object: "told".into(),
        detail: "refused".into(),
        trace: None,
    });
    for _ in 0..10 {
        queue.secret_opened(Principal::Credential(credential).into());
    }
    queue.stop().await;
    let listed = books.store.audit().list(Some(books.workspace), Page::default()).await.unwrap();
    assert!(listed.rows.iter().any(|row| row.object == "told"));
    assert_eq!(books.store.audit().openings(credential).await.unwrap(), 10);
}
