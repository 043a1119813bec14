//! The worker of a process: what it does at once, what it leaves, and what it resumes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use domain::WorkspaceId;
use domain::limits::JOBS_AT_ONCE_OF_WORKSPACE;
use domain::ports::PortFuture;
use jobs::{Handler, Outcome, Policy, Runner};
use store::jobs::INSTALLATION;
use store::{JobRow, Store};
use tokio::sync::Semaphore;
use world::World;

use crate::fixture::{claim, job, store, workspace};

const SOON: Duration = Duration::from_secs(10);

/// A handler that succeeds or fails as scripted, and counts its runs.
struct Script {
    gate: Semaphore,
    seen: Mutex<BTreeMap<u64, u32>>,
    most_at_once: Mutex<BTreeMap<WorkspaceId, (usize, usize)>>,
    failures: AtomicUsize,
}

impl Script {
    fn new(open: usize) -> Arc<Self> {
        Arc::new(Self {
            gate: Semaphore::new(open),
            seen: Mutex::default(),
            most_at_once: Mutex::default(),
            failures: AtomicUsize::new(0),
        })
    }

    fn seen(&self) -> BTreeMap<u64, u32> {
        self.seen.lock().unwrap().clone()
    }

    fn at_once(&self, workspace: WorkspaceId, more: bool) {
        let mut all = self.most_at_once.lock().unwrap();
        let (now, most) = all.entry(workspace).or_default();
        *now = if more { *now + 1 } else { *now - 1 };
        *most = (*most).max(*now);
    }
}

struct ScriptedHandler(Arc<Script>);

impl Handler for ScriptedHandler {
    fn kind(&self) -> &'static str {
        "test"
    }

    fn policy(&self) -> Policy {
        Policy { first_wait_ms: 1, wait_max_ms: 2, retry_for_ms: 60_000 }
    }

    fn run<'a>(&'a self, job: &'a JobRow) -> PortFuture<'a, Outcome> {
        Box::pin(async move {
            let number = job.payload.as_u64().unwrap();
            *self.0.seen.lock().unwrap().entry(number).or_default() += 1;
            self.0.at_once(job.workspace, true);
            drop(self.0.gate.acquire().await);
            self.0.at_once(job.workspace, false);
            let fails = |left: usize| left.checked_sub(1);
            match self.0.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fails) {
                Ok(_) => Outcome::failure("told to"),
                Err(_) => Outcome::Done,
            }
        })
    }
}

async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !is().await {
        assert!(Instant::now() < deadline, "not {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn runner(store: &Store, script: &Arc<Script>) -> Runner {
    let handler: Arc<dyn Handler> = Arc::new(ScriptedHandler(Arc::clone(script)));
    Runner::new(store.clone(), World::system(), "one".into(), vec![handler])
}

async fn is_empty(store: &Store) -> bool {
    store.jobs().counts().await.unwrap() == Default::default()
}

fn now() -> u64 {
    World::system().clock.unix_ms()
}

#[tokio::test]
async fn what_fails_is_tried_until_it_is_done() {
    let (store, _dir) = store().await;
    let script = Script::new(100);
    script.failures.store(3, Ordering::Relaxed);
    store.jobs().enqueue(job(INSTALLATION, 7, now())).await.unwrap();
    let running = runner(&store, &script).start();
    until("done", async || is_empty(&store).await).await;
    assert_eq!(script.seen(), BTreeMap::from([(7, 4)]));
    running.stop().await;
}

#[tokio::test]
async fn one_workspace_does_not_take_every_place() {
    let (store, _dir) = store().await;
    let script = Script::new(0);
    for number in 0..40 {
        store.jobs().enqueue(job(workspace(2), number, now())).await.unwrap();
    }
    let running = runner(&store, &script).start();
    until("busy", async || script.seen().len() == JOBS_AT_ONCE_OF_WORKSPACE).await;
    // A later workspace is served while all jobs of the first one hang.
    store.jobs().enqueue(job(workspace(3), 100, now())).await.unwrap();
    until("served beside it", async || script.seen().contains_key(&100)).await;
    assert_eq!(script.seen().len(), JOBS_AT_ONCE_OF_WORKSPACE + 1);
    script.gate.add_permits(100);
    until("all done", async || is_empty(&store).await).await;
    let most = script.most_at_once.lock().unwrap().get(&workspace(2)).unwrap().1;
    assert_eq!(most, JOBS_AT_ONCE_OF_WORKSPACE);
    assert!(script.seen().values().all(|times| *times == 1));
    running.stop().await;
}

/// The previous process died while holding a job; its lease would last for long.
#[tokio::test]
async fn what_the_dead_one_before_held_is_taken_at_once() {
    let (store, _dir) = store().await;
    store.jobs().enqueue(job(INSTALLATION, 5, now())).await.unwrap();
    let claim = claim("one".into(), now(), 3_600_000, 1);
    assert_eq!(store.jobs().claim(claim).await.unwrap().len(), 1);
    let script = Script::new(100);
    let running = runner(&store, &script).start();
    until("done", async || is_empty(&store).await).await;
    assert_eq!(script.seen(), BTreeMap::from([(5, 1)]));
    running.stop().await;
}

/// Computes until the test ends it.
struct Computes {
    started: mpsc::Sender<()>,
    end: Mutex<mpsc::Receiver<()>>,
}

impl Handler for Computes {
    fn kind(&self) -> &'static str {
        "test"
    }

    fn policy(&self) -> Policy {
        Policy::OURS
    }

    fn run<'a>(&'a self, _: &'a JobRow) -> PortFuture<'a, Outcome> {
        Box::pin(async {
            self.started.send(()).unwrap();
            self.end.lock().unwrap().recv().unwrap();
            Outcome::Done
        })
    }
}

#[test]
fn a_job_that_computes_keeps_nothing_from_its_thread() {
    let runtime = tasks::runtime("control").unwrap();
    let (store, _dir) = runtime.block_on(store());
    let ((started, is_started), (end, wait)) = (mpsc::channel(), mpsc::channel());
    let handler: Arc<dyn Handler> = Arc::new(Computes { started, end: Mutex::new(wait) });
    let running = runtime.block_on(async {
        store.jobs().enqueue(job(workspace(2), 1, now())).await.unwrap();
        Runner::new(store.clone(), World::system(), "one".into(), vec![handler]).start()
    });
    is_started.recv_timeout(SOON).unwrap();
    let (done, is_done) = mpsc::channel();
    let other = runtime.spawn(async move { done.send(()) });
    let seen = is_done.recv_timeout(SOON);
    end.send(()).unwrap();
    runtime.block_on(async {
        until("all done", async || is_empty(&store).await).await;
        running.stop().await;
        other.await.unwrap().unwrap();
    });
    seen.unwrap();
}
