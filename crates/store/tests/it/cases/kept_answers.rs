//! Answers under idempotency keys, and the claims to give them.

use std::sync::Arc;

use domain::TraceId;
use domain::ports::{PurgeScope, Purged};
use store::fixtures::CommitFault;
use store::{AnswerClaim, Claiming, ReplicaId, StoreError};

use crate::samples::*;

const HERE: ReplicaId = ReplicaId::from_bytes([7; 16]);
const LEASE: u64 = 60_000;
const DAY: u64 = 24 * 3_600_000;

fn trace(number: u64) -> TraceId {
    TraceId::new(NOW, bytes(number))
}

fn claim(fresh: &Fresh, key: u8, request: u64) -> AnswerClaim {
    AnswerClaim {
        digest: digest(key),
        workspace: fresh.founding.workspace.id,
        project: fresh.founding.project.id,
        request: trace(request),
        body_digest: digest(200),
        holder: HERE,
        now_unix_ms: NOW,
        until_unix_ms: NOW + LEASE,
        is_cached: false,
    }
}

async fn claimed(fresh: &Fresh, claim: AnswerClaim) -> Claiming {
    fresh.store.kept_answers().claim(claim).await.unwrap()
}

async fn kept(fresh: &Fresh, key: u8, request: u64) -> bool {
    let answers = fresh.store.kept_answers();
    answers.keep(digest(key), trace(request), sealed(1, "an answer"), NOW + DAY).await.unwrap()
}

pub async fn a_key_is_answered_once_and_read_back(fresh: &Fresh) {
    assert_eq!(claimed(fresh, claim(fresh, 1, 1)).await, Claiming::Yours);
    assert_eq!(claimed(fresh, claim(fresh, 1, 2)).await, Claiming::InFlight);
    let other = AnswerClaim { body_digest: digest(201), ..claim(fresh, 1, 3) };
    assert_eq!(claimed(fresh, other.clone()).await, Claiming::OtherBody, "while it is answered too");
    assert!(!kept(fresh, 1, 2).await, "only who claimed it keeps an answer");
    assert!(kept(fresh, 1, 1).await);
    let answered =
        Claiming::Answered { request: trace(1), sealed: sealed(1, "an answer"), until_unix_ms: NOW + DAY };
    assert_eq!(claimed(fresh, claim(fresh, 1, 4)).await, answered);
    assert_eq!(claimed(fresh, other).await, Claiming::OtherBody);
    // A day later the key is free again.
    let later =
        AnswerClaim { now_unix_ms: NOW + DAY, until_unix_ms: NOW + DAY + LEASE, ..claim(fresh, 1, 5) };
    assert_eq!(claimed(fresh, later).await, Claiming::Yours);
    assert_eq!(claimed(fresh, claim(fresh, 1, 6)).await, Claiming::InFlight, "the old answer is gone");
}

pub async fn a_claim_is_given_back_taken_over_or_extended(fresh: &Fresh) {
    let answers = fresh.store.kept_answers();
    claimed(fresh, claim(fresh, 1, 1)).await;
    answers.release(digest(1), trace(9)).await.unwrap();
    assert_eq!(claimed(fresh, claim(fresh, 1, 2)).await, Claiming::InFlight, "it was somebody else's");
    answers.release(digest(1), trace(1)).await.unwrap();
    assert_eq!(claimed(fresh, claim(fresh, 1, 2)).await, Claiming::Yours);
    // The claim was not extended in time: another request takes it, and the first one's answer comes too
    // late.
    let at = |now: u64, request| AnswerClaim {
        now_unix_ms: now,
        until_unix_ms: now + LEASE,
        ..claim(fresh, 1, request)
    };
    assert_eq!(claimed(fresh, at(NOW + LEASE - 1, 3)).await, Claiming::InFlight);
    assert_eq!(claimed(fresh, at(NOW + LEASE, 3)).await, Claiming::Yours);
    assert!(!kept(fresh, 1, 2).await);
    answers.extend(vec![(digest(1), trace(3)), (digest(5), trace(5))], NOW + 5 * LEASE).await.unwrap();
    assert_eq!(claimed(fresh, at(NOW + 4 * LEASE, 4)).await, Claiming::InFlight);
    // A stored answer can be neither released nor shortened.
    assert!(kept(fresh, 1, 3).await);
    answers.release(digest(1), trace(3)).await.unwrap();
    answers.extend(vec![(digest(1), trace(3))], NOW + 9 * DAY).await.unwrap();
    let answered = claimed(fresh, at(NOW, 5)).await;
    assert!(matches!(answered, Claiming::Answered { until_unix_ms, .. } if until_unix_ms == NOW + DAY));
}

pub async fn what_a_dead_process_claimed_is_free(fresh: &Fresh) {
    let answers = fresh.store.kept_answers();
    claimed(fresh, claim(fresh, 1, 1)).await;
    claimed(fresh, claim(fresh, 2, 2)).await;
    assert!(kept(fresh, 2, 2).await);
    claimed(fresh, AnswerClaim { holder: ReplicaId::ALONE, ..claim(fresh, 3, 3) }).await;
    assert_eq!(answers.abandon(HERE).await.unwrap(), 1);
    assert_eq!(claimed(fresh, claim(fresh, 1, 4)).await, Claiming::Yours);
    assert!(matches!(claimed(fresh, claim(fresh, 2, 5)).await, Claiming::Answered { .. }));
    assert_eq!(claimed(fresh, claim(fresh, 3, 6)).await, Claiming::InFlight, "another process lives");
}

pub async fn a_claim_whose_commit_was_lost_is_claimed_again(fresh: &Fresh) {
    let answers = fresh.store.kept_answers();
    fresh.store.commit_faults().script([CommitFault::AnswerLost]);
    let lost = answers.claim(claim(fresh, 1, 1)).await;
    assert!(matches!(lost, Err(StoreError::Uncertain)), "{lost:?}");
    assert_eq!(claimed(fresh, claim(fresh, 1, 1)).await, Claiming::Yours);
    assert_eq!(claimed(fresh, claim(fresh, 1, 2)).await, Claiming::InFlight);
    assert!(kept(fresh, 1, 1).await);
    // Not over an answer.
    assert!(matches!(claimed(fresh, claim(fresh, 1, 1)).await, Claiming::Answered { .. }));
}

pub async fn of_many_at_once_one_claims(fresh: &Fresh) {
    let store = Arc::new(fresh.store.clone());
    let tries = (0..200).map(|number| {
        let (store, claim) = (Arc::clone(&store), claim(fresh, 1, 1_000 + number));
        tokio::spawn(async move { store.kept_answers().claim(claim).await.unwrap() })
    });
    let mut won = 0;
    for tried in tries.collect::<Vec<_>>() {
        match tried.await.unwrap() {
            Claiming::Yours => won += 1,
            Claiming::InFlight => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(won, 1);
}

pub async fn what_is_over_is_removed_and_a_purge_leaves_nothing(fresh: &Fresh) {
    let answers = fresh.store.kept_answers();
    for key in 1..=5 {
        claimed(fresh, claim(fresh, key, u64::from(key))).await;
    }
    for key in 1..=3 {
        assert!(kept(fresh, key, u64::from(key)).await);
    }
    fresh.meddle(HOLD_PROJECTS).await;
    assert_eq!(answers.expire(NOW + LEASE, 100).await.unwrap(), 0, "a legal hold is on it");
    fresh.meddle(RELEASE).await;
    assert_eq!(answers.expire(NOW + LEASE, 1).await.unwrap(), 1, "a few at a time");
    assert_eq!(answers.expire(NOW + LEASE, 100).await.unwrap(), 1);
    let other = fresh.workspace(2).await;
    let theirs =
        AnswerClaim { workspace: other.workspace.id, project: other.project.id, ..claim(fresh, 9, 9) };
    claimed(fresh, theirs).await;
    let workspace = fresh.founding.workspace.id;
    let scope = |what| PurgeScope::of(workspace, what);
    let requests = scope(Purged::Requests(vec![trace(1), trace(9)]));
    assert_eq!(answers.purge(requests).await.unwrap(), 1, "another workspace's request is not reached");
    assert_eq!(answers.remaining(scope(Purged::Project(other.project.id))).await.unwrap(), 0);
    assert_eq!(answers.remaining(scope(Purged::Project(fresh.founding.project.id))).await.unwrap(), 2);
    assert_eq!(answers.purge(scope(Purged::Project(fresh.founding.project.id))).await.unwrap(), 2);
    assert_eq!(answers.remaining(scope(Purged::Everything)).await.unwrap(), 0);
    assert!(!kept(fresh, 2, 2).await, "an answer under way when it was purged is not kept");
    let others = PurgeScope::of(other.workspace.id, Purged::Everything);
    assert_eq!(answers.remaining(others.clone()).await.unwrap(), 1);
    assert_eq!(answers.purge(others).await.unwrap(), 1);
}

pub async fn a_purge_of_the_response_cache_leaves_what_is_under_keys(fresh: &Fresh) {
    let answers = fresh.store.kept_answers();
    let (workspace, project) = (fresh.founding.workspace.id, fresh.founding.project.id);
    claimed(fresh, claim(fresh, 1, 1)).await;
    claimed(fresh, AnswerClaim { is_cached: true, ..claim(fresh, 2, 2) }).await;
    claimed(fresh, AnswerClaim { is_cached: true, ..claim(fresh, 3, 3) }).await;
    assert!(kept(fresh, 1, 1).await && kept(fresh, 2, 2).await && kept(fresh, 3, 3).await);
    answers.forget(digest(3)).await.unwrap();
    assert_eq!(claimed(fresh, claim(fresh, 3, 4)).await, Claiming::Yours, "it is forgotten");
    assert_eq!(answers.purge_cached(act(), workspace, project).await.unwrap().row, 1);
    assert_eq!(claimed(fresh, claim(fresh, 2, 5)).await, Claiming::Yours);
    assert!(matches!(claimed(fresh, claim(fresh, 1, 6)).await, Claiming::Answered { .. }));
    assert_eq!(fresh.store.projects().get(workspace, project).await.unwrap().caching.generation, 1);
    missing(answers.purge_cached(act(), workspace, founding(9).project.id).await);
}
