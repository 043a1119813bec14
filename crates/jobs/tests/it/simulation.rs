//! Seeded simulations of a few workers: whatever happens to them, every job is done or given up, and two
//! never hold the same one.

use std::collections::{BTreeMap, BTreeSet};

use jobs::{Outcome, Policy, ending};
use store::jobs::{INSTALLATION, JobClaim, JobLease};
use store::{JobRow, Store};
use world::{Random, SeededRandom};

use crate::fixture::{NOW, claim, job, store, workspace};

const SEEDS: u64 = 12;
const JOBS: u64 = 24;
const WORKERS: usize = 3;
const LEASE_MS: u64 = 1_000;
const STEPS: u32 = 2_000;
const POLICY: Policy = Policy { first_wait_ms: 50, wait_max_ms: 800, retry_for_ms: 20_000 };

/// The jobs that a worker holds, with the end of each lease.
#[derive(Default)]
struct Worker {
    /// A worker that died comes back under the same name, in another life.
    life: u32,
    held: Vec<(JobRow, u64)>,
    after: Option<domain::WorkspaceId>,
}

struct Life {
    store: Store,
    random: SeededRandom,
    now: u64,
    workers: Vec<Worker>,
    /// Who believes they hold a job, with the end of the lease.
    holders: BTreeMap<i64, (usize, u32, u64)>,
    done: BTreeSet<i64>,
    given_up: BTreeSet<i64>,
    retaken: u32,
    lost: u32,
}

impl Life {
    async fn claim(&mut self, at: usize) {
        let after = self.workers[at].after.unwrap_or(INSTALLATION);
        let claim = JobClaim { after, ..claim(format!("worker {at}"), self.now, LEASE_MS, 4) };
        let taken = self.store.jobs().claim(claim).await.unwrap();
        // A worker whose lease has expired loses its job with this poll, whether or not another has taken it.
        let now = self.now;
        let before = self.holders.len();
        self.holders.retain(|_, (_, _, until)| *until > now);
        self.retaken += u32::try_from(before - self.holders.len()).unwrap();
        for job in taken {
            assert!(!self.done.contains(&job.id), "done, and taken again");
            assert!(!self.holders.contains_key(&job.id), "{} is held already, at {now}", job.id);
            let until = self.now + LEASE_MS;
            self.holders.insert(job.id, (at, job.attempts, until));
            self.workers[at].after = Some(job.workspace);
            self.workers[at].held.push((job, until));
        }
    }

    async fn settle(&mut self, at: usize) {
        if self.workers[at].held.is_empty() {
            return;
        }
        let index = usize::try_from(self.random.below(self.workers[at].held.len() as u64)).unwrap();
        let (job, _) = self.workers[at].held.swap_remove(index);
        let outcome = match self.random.below(10) {
            0..5 => Outcome::Done,
            5..9 => Outcome::failure("not now"),
            _ => Outcome::Permanent { error: "never".into() },
        };
        let is_holder = self.holders.get(&job.id).is_some_and(|held| (held.0, held.1) == (at, job.attempts));
        let decided = ending(&job, &POLICY, outcome.clone(), self.now, self.random.next_u64());
        let hold = JobLease { job: job.id, worker: format!("worker {at}"), attempt: job.attempts };
        let kept = self.store.jobs().settle(hold, decided.clone()).await.unwrap();
        assert_eq!(kept, is_holder, "{} by worker {at} at {}", job.id, self.now);
        if !kept {
            self.lost += 1;
            return;
        }
        self.holders.remove(&job.id);
        match decided {
            store::jobs::JobResult::Gone => assert!(self.done.insert(job.id), "done twice"),
            store::jobs::JobResult::Dead { .. } => assert!(self.given_up.insert(job.id)),
            _ => {}
        }
    }

    async fn extend(&mut self, at: usize) {
        let until = self.now + LEASE_MS;
        let mut kept = Vec::new();
        for (job, _) in std::mem::take(&mut self.workers[at].held) {
            let hold = JobLease { job: job.id, worker: format!("worker {at}"), attempt: job.attempts };
            if self.store.jobs().extend(hold, until).await.unwrap() {
                self.holders.insert(job.id, (at, job.attempts, until));
                kept.push((job, until));
            }
        }
        self.workers[at].held = kept;
    }

    /// Dies without notice; what it held is released by its successor at once, or by the lease's expiry.
    async fn crash(&mut self, at: usize) {
        let worker = &mut self.workers[at];
        worker.life += 1;
        worker.held.clear();
        if self.random.below(2) == 0 {
            self.store.jobs().release(format!("worker {at}")).await.unwrap();
            self.holders.retain(|_, held| held.0 != at);
        }
    }

    async fn step(&mut self) {
        let at = usize::try_from(self.random.below(WORKERS as u64)).unwrap();
        match self.random.below(20) {
            0..6 => self.claim(at).await,
            6..14 => self.settle(at).await,
            14..17 => self.extend(at).await,
            17 => self.crash(at).await,
            // Sometimes longer than a lease: a worker that slept finds its jobs taken.
            _ => self.now += self.random.below(LEASE_MS * 3 / 2),
        }
    }
}

async fn live(seed: u64) -> (u32, u32) {
    let (store, _dir) = store().await;
    for number in 0..JOBS {
        store.jobs().enqueue(job(workspace(u8::try_from(number % 4).unwrap()), number, NOW)).await.unwrap();
    }
    let mut life = Life {
        store,
        random: SeededRandom::new(seed),
        now: NOW,
        workers: (0..WORKERS).map(|_| Worker::default()).collect(),
        holders: BTreeMap::new(),
        done: BTreeSet::new(),
        given_up: BTreeSet::new(),
        retaken: 0,
        lost: 0,
    };
    let all = usize::try_from(JOBS).unwrap();
    for _ in 0..STEPS {
        if life.done.len() + life.given_up.len() == all {
            break;
        }
        life.step().await;
    }
    assert_eq!(life.done.len() + life.given_up.len(), all, "seed {seed}: some job has no end");
    let counts = life.store.jobs().counts().await.unwrap();
    assert_eq!((counts.waiting, counts.ready, counts.running), (0, 0, 0), "seed {seed}");
    assert_eq!(counts.dead, life.given_up.len() as u64, "seed {seed}: what is given up is there to be seen");
    (life.retaken, life.lost)
}

#[test]
fn every_job_has_one_end_whatever_happens_to_its_workers() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (mut retaken, mut lost) = (0, 0);
    for seed in 0..SEEDS {
        let found = runtime.block_on(live(seed));
        retaken += found.0;
        lost += found.1;
    }
    println!("{SEEDS} seeds: {retaken} jobs taken from the dead, {lost} late workers sent away");
    assert!(retaken > 0 && lost > 0, "the lives were too quiet: {retaken}, {lost}");
}
