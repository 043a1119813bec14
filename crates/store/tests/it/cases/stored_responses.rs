//! Ownership of responses that providers store.

use domain::ports::StoredResponse;
use domain::{AccountId, CredentialId, Principal, ProjectId, TraceId};
use store::fixtures::CommitFault;
use store::{BudgetHolds, StoredResponseRow};

use crate::samples::*;

fn trace(number: u64) -> TraceId {
    TraceId::new(NOW, bytes(number))
}

pub fn row(fresh: &Fresh, number: u8) -> StoredResponseRow {
    let maker = match number % 2 {
        0 => Principal::Account(AccountId::new(NOW, bytes(number.into()))),
        _ => Principal::Credential(CredentialId::new(NOW, bytes(number.into()))),
    };
    StoredResponseRow {
        provider_id: format!("resp_{number}"),
        digest: digest(number),
        workspace: fresh.founding.workspace.id,
        project: fresh.founding.project.id,
        response: StoredResponse {
            request: trace(number.into()),
            created_by: maker,
            model: "publisher/model".into(),
            upstream_model: "model".into(),
            is_booked: number > 2,
        },
        until_unix_ms: NOW + u64::from(number),
        job: None,
        holds: BudgetHolds::default(),
    }
}

async fn find(fresh: &Fresh, number: u8, now_unix_ms: u64) -> Option<StoredResponse> {
    fresh.store.stored_responses().find(digest(number), now_unix_ms).await.unwrap()
}

pub async fn an_answer_is_known_by_its_hash_for_a_while(fresh: &Fresh) {
    let responses = fresh.store.stored_responses();
    responses.keep((1..=4).map(|number| row(fresh, number)).collect()).await.unwrap();
    for number in 1..=4 {
        assert_eq!(find(fresh, number, NOW).await, Some(row(fresh, number).response));
    }
    assert_eq!(find(fresh, 9, NOW).await, None);
    assert_eq!(find(fresh, 2, NOW + 2).await, None, "before anybody removes it");
    fresh.meddle(HOLD_PROJECTS).await;
    assert_eq!(responses.expire(NOW + 3, 9).await.unwrap(), 0, "a legal hold is on it");
    fresh.meddle(RELEASE).await;
    assert_eq!(responses.expire(NOW + 3, 2).await.unwrap(), 2, "a few at a time");
    assert_eq!(responses.expire(NOW + 3, 2).await.unwrap(), 1);
    responses.forget(digest(4)).await.unwrap();
    assert_eq!((find(fresh, 4, NOW).await, responses.expire(NOW + 9, 2).await.unwrap()), (None, 0));
}

pub async fn one_request_alone_books_an_answer(fresh: &Fresh) {
    let responses = fresh.store.stored_responses();
    responses.keep(vec![row(fresh, 1), row(fresh, 3)]).await.unwrap();
    let many = (10..30).map(|by| responses.book(digest(1), trace(by)));
    let mut won = Vec::new();
    for (by, book) in (10..30).zip(many) {
        if book.await.unwrap() {
            won.push(by);
        }
    }
    assert_eq!(won, [10]);
    assert!(find(fresh, 1, NOW).await.unwrap().is_booked);
    assert!(responses.book(digest(1), trace(10)).await.unwrap(), "it has the right still");
    responses.unbook(digest(1), trace(11)).await.unwrap();
    assert!(!responses.book(digest(1), trace(11)).await.unwrap(), "it was not its own to give back");
    responses.unbook(digest(1), trace(10)).await.unwrap();
    assert!(responses.book(digest(1), trace(11)).await.unwrap());
    assert!(!responses.book(digest(3), trace(11)).await.unwrap(), "its own request books it");
    assert!(!responses.book(digest(9), trace(11)).await.unwrap(), "nobody knows it");
    // Stored again after a lost reply: it stays as it is.
    responses.keep(vec![row(fresh, 1)]).await.unwrap();
    assert!(!responses.book(digest(1), trace(12)).await.unwrap());
}

pub async fn an_answer_asks_for_its_job_once(fresh: &Fresh) {
    let responses = fresh.store.stored_responses();
    let with_job = |number: u8| {
        let job = new_job("response", fresh.founding.workspace.id, Some(format!("response {number}")));
        StoredResponseRow { job: Some(job), ..row(fresh, number) }
    };
    let waiting = async || {
        let counts = fresh.store.jobs().counts().await.unwrap();
        counts.waiting + counts.ready
    };
    let before = waiting().await;
    responses.keep(vec![with_job(1), row(fresh, 2), with_job(1)]).await.unwrap();
    assert_eq!(waiting().await, before + 1);
    // A response stored before is known already, and was perhaps polled to its end.
    responses.keep(vec![with_job(2)]).await.unwrap();
    assert_eq!(waiting().await, before + 1);
}

pub async fn of_rows_that_are_kept_together_all_are_or_none(fresh: &Fresh) {
    let responses = fresh.store.stored_responses();
    let orphan = StoredResponseRow { project: ProjectId::new(NOW, bytes(77)), ..row(fresh, 2) };
    responses.keep(vec![row(fresh, 1), orphan]).await.unwrap_err();
    assert_eq!(find(fresh, 1, NOW).await, None);
    fresh.store.commit_faults().script([CommitFault::AnswerLost]);
    responses.keep(vec![row(fresh, 1)]).await.unwrap_err();
    responses.keep(vec![row(fresh, 1)]).await.unwrap();
    assert_eq!(find(fresh, 1, NOW).await, Some(row(fresh, 1).response));
}
