//! Tests of `Responses`: what is found, by whom, for how long, and who may book it.

use std::sync::Arc;
use std::time::Duration;

use domain::limits::{RESPONSE_ID_BYTES_MAX, RESPONSE_KNOWN};
use domain::ports::{FoundResponse, ResponseName, ResponseStore, StoredResponse};
use domain::{AccountId, Principal};
use store::fixtures::CommitFault;
use store::{NewJob, StoredResponseRow};

use super::Responses;
use crate::bench::{Bench, NOW, bench, project, request, workspace};

fn keeper(bench: &Bench) -> Arc<Responses> {
    fn job(row: &StoredResponseRow, id: &str, unix_ms: u64) -> Option<NewJob> {
        let is_open = !row.response.is_booked;
        is_open.then(|| NewJob {
            kind: "response",
            workspace: row.workspace,
            name: Some(id.to_owned()),
            payload: store::Json::Null,
            run_unix_ms: unix_ms + 1,
            every_ms: None,
            unix_ms,
        })
    }
    Responses::start(bench.store.clone(), bench.vault.clone(), bench.world.clone(), job)
}

fn named(id: &str) -> ResponseName {
    ResponseName { workspace: workspace(1), project: project(1), id: id.to_owned() }
}

fn response(is_booked: bool) -> StoredResponse {
    StoredResponse {
        request: request(1),
        created_by: Principal::Account(AccountId::new(NOW, [3; 10])),
        model: "publisher/model".to_owned(),
        upstream_model: "model".to_owned(),
        is_booked,
    }
}

#[tokio::test]
async fn it_is_found_at_once_here_and_then_everywhere_but_by_nobody_else() {
    let bench = bench().await;
    let here = keeper(&bench);
    let kept = here.keep(named("resp_1"), response(true));
    assert_eq!(here.find(named("resp_1")).await, FoundResponse::Known(response(true)));
    kept.await;
    let there = keeper(&bench);
    for keeper in [&here, &there] {
        assert_eq!(keeper.find(named("resp_1")).await, FoundResponse::Known(response(true)));
        let strangers = [
            ResponseName { workspace: workspace(2), ..named("resp_1") },
            ResponseName { project: project(2), ..named("resp_1") },
            named("resp_2"),
        ];
        for stranger in strangers {
            assert_eq!(keeper.find(stranger).await, FoundResponse::Unknown);
        }
    }
    bench.pass(RESPONSE_KNOWN);
    assert_eq!(there.find(named("resp_1")).await, FoundResponse::Unknown);
}

#[tokio::test]
async fn what_is_not_over_is_kept_with_what_is_to_be_done_about_it() {
    let bench = bench().await;
    let keeper = keeper(&bench);
    keeper.keep(named("resp_1"), response(true)).await;
    assert_eq!(bench.store.jobs().counts().await.unwrap().waiting, 0);
    // When the store's confirmation is lost, the job is still enqueued only once.
    bench.store.commit_faults().script([CommitFault::AnswerLost]);
    keeper.keep(named("resp_2"), response(false)).await;
    assert_eq!(bench.store.jobs().counts().await.unwrap().waiting, 1);
}

#[tokio::test]
async fn an_id_that_could_mean_something_in_an_address_is_not_known() {
    let bench = bench().await;
    let keeper = keeper(&bench);
    let long = "r".repeat(RESPONSE_ID_BYTES_MAX + 1);
    for id in ["", "..", "a/b", "a?b", "a%2fb", "a b", "né", &long] {
        keeper.keep(named(id), response(true)).await;
        assert_eq!(keeper.find(named(id)).await, FoundResponse::Unknown, "{id}");
    }
    let longest = "r".repeat(RESPONSE_ID_BYTES_MAX);
    keeper.keep(named(&longest), response(true)).await;
    assert_eq!(keeper.find(named(&longest)).await, FoundResponse::Known(response(true)));
}

#[tokio::test]
async fn one_request_books_it_whichever_process_it_came_to() {
    let bench = bench().await;
    let (here, there) = (keeper(&bench), keeper(&bench));
    // Nobody waits for the write: a later request for the right to book finds the row stored.
    drop(here.keep(named("resp_1"), response(false)));
    assert!(here.book(named("resp_1"), request(2)).await);
    assert!(!there.book(named("resp_1"), request(3)).await);
    assert!(!here.book(named("resp_none"), request(3)).await);
    here.unbook(named("resp_1"), request(2));
    assert!(here.book(named("resp_1"), request(4)).await);
    // A caller that left before the reply has not booked it.
    drop(here.keep(named("resp_2"), response(false)));
    drop(here.book(named("resp_2"), request(5)));
    assert!(here.book(named("resp_2"), request(6)).await);
    here.forget(named("resp_2"));
    here.stop().await;
    assert_eq!(there.find(named("resp_2")).await, FoundResponse::Unknown);
}

#[tokio::test]
async fn a_row_that_can_not_be_kept_keeps_no_other_away() {
    let bench = bench().await;
    let keeper = keeper(&bench);
    bench.store.commit_faults().script([CommitFault::AnswerLost]);
    let orphan = ResponseName { project: project(9), ..named("resp_2") };
    let kept = [
        keeper.keep(named("resp_1"), response(true)),
        keeper.keep(orphan.clone(), response(true)),
        keeper.keep(named("resp_3"), response(true)),
    ];
    for kept in kept {
        kept.await;
    }
    let other = self::keeper(&bench);
    assert_eq!(other.find(named("resp_1")).await, FoundResponse::Known(response(true)));
    assert_eq!(other.find(named("resp_3")).await, FoundResponse::Known(response(true)));
    assert_eq!(keeper.find(orphan).await, FoundResponse::Unknown);
}

#[tokio::test]
async fn nobody_waits_for_a_store_that_is_away() {
    let bench = bench().await;
    let keeper = keeper(&bench);
    bench.store.close().await;
    tokio::time::pause();
    let kept = keeper.keep(named("resp_1"), response(false));
    assert_eq!(keeper.find(named("resp_1")).await, FoundResponse::Known(response(false)), "it is known here");
    kept.await;
    assert_eq!(keeper.find(named("resp_2")).await, FoundResponse::StoreUnavailable);
    assert!(!keeper.book(named("resp_1"), request(1)).await);
    tokio::time::timeout(Duration::from_secs(60), keeper.stop()).await.unwrap();
}
