//! The durable job queue.

use std::collections::BTreeMap;

use domain::WorkspaceId;
use serde_json::json;
use store::jobs::{INSTALLATION, JobClaim, JobCounts, JobLease, JobResult};
use store::{JobRow, NewJob, Store};

use crate::samples::{Fresh, NOW, new_job, workspace_id};

const LEASE_MS: u64 = 1_000;

fn job(workspace: WorkspaceId, number: u64) -> NewJob {
    NewJob { payload: json!({"number": number}), ..new_job("test", workspace, None) }
}

pub(super) fn claim(worker: &str, unix_ms: u64) -> JobClaim {
    JobClaim {
        worker: worker.into(),
        unix_ms,
        lease_ms: LEASE_MS,
        limit: 10,
        running: Vec::new(),
        of_workspace_max: 100,
        after: INSTALLATION,
    }
}

async fn take(store: &Store, worker: &str, unix_ms: u64) -> Vec<JobRow> {
    store.jobs().claim(claim(worker, unix_ms)).await.unwrap()
}

fn hold(job: &JobRow, worker: &str) -> JobLease {
    JobLease { job: job.id, worker: worker.into(), attempt: job.attempts }
}

pub async fn a_job_is_one_workers_until_its_lease_ends(fresh: &Fresh) {
    let (store, jobs) = (&fresh.store, fresh.store.jobs());
    jobs.enqueue(job(INSTALLATION, 1)).await.unwrap();
    let taken = take(store, "one", NOW).await;
    assert_eq!((taken.len(), taken[0].attempts, &taken[0].payload), (1, 1, &json!({"number": 1})));
    assert_eq!(take(store, "two", NOW + LEASE_MS - 1).await, []);
    assert!(jobs.extend(hold(&taken[0], "one"), NOW + 3 * LEASE_MS).await.unwrap());
    assert_eq!(take(store, "two", NOW + LEASE_MS).await, [], "it showed that it lives");
    let again = take(store, "two", NOW + 3 * LEASE_MS).await;
    assert_eq!((again.len(), again[0].id, again[0].attempts), (1, taken[0].id, 2));
    // A worker that lost its lease decides nothing any more.
    assert!(!jobs.extend(hold(&taken[0], "one"), NOW + 9 * LEASE_MS).await.unwrap());
    assert!(!jobs.settle(hold(&taken[0], "one"), JobResult::Gone).await.unwrap());
    assert!(jobs.settle(hold(&again[0], "two"), JobResult::Gone).await.unwrap());
    assert_eq!(jobs.counts().await.unwrap(), JobCounts::default());
}

pub async fn a_job_waits_fails_comes_again_and_is_given_up(fresh: &Fresh) {
    let (store, jobs) = (&fresh.store, fresh.store.jobs());
    jobs.enqueue(NewJob { run_unix_ms: NOW + 50, every_ms: Some(7), ..job(INSTALLATION, 1) }).await.unwrap();
    assert_eq!(take(store, "one", NOW + 49).await, []);
    let taken = take(store, "one", NOW + 50).await.remove(0);
    let again = JobResult::Retry { unix_ms: NOW + 80, error: "no".into() };
    assert!(jobs.settle(hold(&taken, "one"), again).await.unwrap());
    assert_eq!(take(store, "one", NOW + 79).await, []);
    let taken = take(store, "one", NOW + 80).await.remove(0);
    assert_eq!((taken.attempts, taken.last_error.as_deref(), taken.every_ms), (2, Some("no"), Some(7)));
    assert!(jobs.settle(hold(&taken, "one"), JobResult::Rescheduled { unix_ms: NOW + 90 }).await.unwrap());
    let taken = take(store, "one", NOW + 90).await.remove(0);
    assert_eq!((taken.attempts, taken.last_error.as_deref()), (1, None), "a new turn begins anew");
    assert!(jobs.settle(hold(&taken, "one"), JobResult::Dead { error: "never".into() }).await.unwrap());
    assert_eq!(take(store, "one", u64::MAX >> 2).await, []);
    let dead = jobs.dead(10).await.unwrap();
    assert_eq!((dead.len(), dead[0].last_error.as_deref()), (1, Some("never")));
    assert_eq!(jobs.counts().await.unwrap(), JobCounts { dead: 1, ..JobCounts::default() });
    assert_eq!(jobs.forget_dead(NOW + 91).await.unwrap(), 1);
}

pub async fn a_name_is_one_job(fresh: &Fresh) {
    let (store, jobs) = (&fresh.store, fresh.store.jobs());
    let named = |at| NewJob { name: Some("only".into()), run_unix_ms: at, ..job(INSTALLATION, at) };
    jobs.enqueue(named(NOW + 5)).await.unwrap();
    jobs.enqueue(named(NOW + 9)).await.unwrap();
    assert_eq!(take(store, "one", NOW + 8).await, [], "it was moved");
    let taken = take(store, "one", NOW + 9).await.remove(0);
    assert_eq!(taken.payload, json!({"number": NOW + 9}));
    // Not while a worker runs it.
    jobs.enqueue(named(NOW + 10)).await.unwrap();
    assert_eq!(take(store, "two", NOW + 10).await, []);
    jobs.settle(hold(&taken, "one"), JobResult::Dead { error: "no".into() }).await.unwrap();
    jobs.enqueue(named(NOW + 11)).await.unwrap();
    assert_eq!(take(store, "one", NOW + 11).await[0].attempts, 1, "asked for again, it lives again");
}

pub async fn workspaces_take_turns(fresh: &Fresh) {
    let (store, jobs) = (&fresh.store, fresh.store.jobs());
    let (busy, quiet) = (workspace_id(7), workspace_id(8));
    for number in 0..30 {
        jobs.enqueue(job(busy, number)).await.unwrap();
    }
    jobs.enqueue(job(quiet, 100)).await.unwrap();
    jobs.enqueue(job(INSTALLATION, 101)).await.unwrap();
    let taken = take(store, "one", NOW).await;
    let mut of: BTreeMap<WorkspaceId, usize> = BTreeMap::new();
    taken.iter().for_each(|job| *of.entry(job.workspace).or_default() += 1);
    assert_eq!((of[&busy], of[&quiet], of[&INSTALLATION]), (8, 1, 1), "little is not behind much");
    // A workspace at its maximum gets no more jobs, and does not keep other workspaces from theirs.
    jobs.enqueue(job(quiet, 102)).await.unwrap();
    let bounded = JobClaim { running: vec![(busy, 8)], of_workspace_max: 8, ..claim("one", NOW) };
    let taken = store.jobs().claim(bounded).await.unwrap();
    assert_eq!(taken.iter().map(|job| job.workspace).collect::<Vec<_>>(), [quiet]);
    // The round-robin continues where it was.
    let after = JobClaim { limit: 1, after: busy, ..claim("one", NOW) };
    jobs.enqueue(job(quiet, 103)).await.unwrap();
    assert_eq!(store.jobs().claim(after).await.unwrap()[0].workspace, quiet);
}

pub async fn a_dead_workers_jobs_are_let_go(fresh: &Fresh) {
    let (store, jobs) = (&fresh.store, fresh.store.jobs());
    for number in 0..3 {
        jobs.enqueue(job(INSTALLATION, number)).await.unwrap();
    }
    let first = store.jobs().claim(JobClaim { limit: 2, ..claim("dead", NOW) }).await.unwrap();
    assert_eq!((first.len(), take(store, "alive", NOW).await.len()), (2, 1));
    assert_eq!(jobs.release("dead".into()).await.unwrap(), 2);
    assert_eq!(take(store, "alive", NOW).await.len(), 2, "at once, not after the lease");
}

/// Workers that poll at the same moment never get the same job.
pub async fn no_job_is_taken_twice_at_once(fresh: &Fresh) {
    const JOBS: u64 = 120;
    for number in 0..JOBS {
        fresh.store.jobs().enqueue(job(workspace_id(number % 5), number)).await.unwrap();
    }
    let workers: Vec<_> = (0..4)
        .map(|worker| {
            let store = fresh.store.clone();
            tokio::spawn(async move {
                let (name, mut found) = (format!("worker {worker}"), Vec::new());
                loop {
                    let taken = take(&store, &name, NOW).await;
                    if taken.is_empty() && store.jobs().counts().await.unwrap().ready == 0 {
                        return found;
                    }
                    found.extend(taken.into_iter().map(|job| job.id));
                }
            })
        })
        .collect();
    let mut found = Vec::new();
    for worker in workers {
        found.extend(worker.await.unwrap());
    }
    found.sort_unstable();
    let all = found.len();
    found.dedup();
    assert_eq!((all, found.len()), (JOBS as usize, JOBS as usize));
}
