//! The job of a replay run: it draws the set, sends each request when it is due, and makes the report.
//!
//! A kill may interrupt it anywhere. What was answered is stored, and the rest is sent by whoever takes the job next; a request that
//! was under way is sent again as another exchange.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use domain::ReplayRunId;
use domain::ports::PortFuture;
use futures_util::FutureExt as _;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use jobs::{Handler, Outcome, Policy};
use reconcilers::{Deps, milliseconds, on_its_own};
use store::{Act, JobRow, StoreError};

use crate::drawing::draw;
use crate::limits::{REPLAY_ERROR_BYTES_MAX, REPLAY_RECORDS_WAIT_MAX};
use crate::reporting::{Made, make};
use crate::rows::{OpenTrace, REPLAY_JOB, ReplayRunRow, RunState, TraceResult};
use crate::sending::{Sent, send};
use crate::sql::{ReplayRuns, RunEnding};

/// How long a turn begins requests; then other jobs have theirs.
const TURN: Duration = Duration::from_secs(60);
/// How often a turn reads whether its run was cancelled.
const REFRESH_EVERY: Duration = Duration::from_secs(1);
/// Waiting requests that are read at once.
const WAITING_AT_ONCE: u32 = 200;
const NOTHING: &str = "No request of the set can be replayed: none of this operation matches that something else than a node answered, whole.";
/// A run goes on for a day at most, and may be scheduled a month ahead.
const POLICY: Policy = Policy { first_wait_ms: 100, wait_max_ms: 10_000, retry_for_ms: 45 * 24 * 3_600_000 };

/// The handler of replay runs on the durable queue.
pub struct ReplayRunHandler {
    runs: ReplayRuns,
    deps: Deps,
}

impl ReplayRunHandler {
    pub fn new(deps: Deps) -> Self {
        Self { runs: ReplayRuns::of(&deps.store), deps }
    }
}

impl Handler for ReplayRunHandler {
    fn kind(&self) -> &'static str {
        REPLAY_JOB
    }

    fn policy(&self) -> Policy {
        POLICY
    }

    fn run<'a>(&'a self, job: &'a JobRow) -> PortFuture<'a, Outcome> {
        Box::pin(async move {
            let id = job.payload.get("replay_run").and_then(|id| id.as_str()).and_then(|id| id.parse().ok());
            let Some(id) = id else {
                return Outcome::Permanent { error: "it does not say which run".into() };
            };
            match Box::pin(self.go_on(id)).await {
                Ok(outcome) => outcome,
                Err(error) => {
                    tracing::warn!(run = %id, %error, "a replay run could not go on");
                    Outcome::failure(error)
                }
            }
        })
    }
}

fn later(why: &str, wait_ms: u64) -> Outcome {
    Outcome::Failed { error: why.to_owned(), wait_ms: Some(wait_ms) }
}

impl ReplayRunHandler {
    async fn go_on(&self, id: ReplayRunId) -> Result<Outcome, StoreError> {
        let Some(mut run) = self.runs.find(id).await?.filter(|run| !run.state.is_over()) else {
            return Ok(Outcome::Done);
        };
        if run.state == RunState::Queued {
            match self.begin(&run).await? {
                Some(running) => run = running,
                None => return Ok(Outcome::Done),
            }
        }
        let mut turn = Turn::new(self, run);
        if !turn.work().await? {
            return Ok(Outcome::Done);
        }
        match turn.wait_ms().await? {
            Some(wait_ms) => Ok(later("it goes on", wait_ms)),
            None => self.finish(turn.run).await,
        }
    }

    /// Draws the set. `None` where there is none, or the run is not waiting any more.
    async fn begin(&self, run: &ReplayRunRow) -> Result<Option<ReplayRunRow>, StoreError> {
        let (drawn, traces) = draw(&self.deps.store, run.workspace, &run.spec).await?;
        if traces.is_empty() {
            self.fail(run.id, NOTHING.to_owned()).await?;
            return Ok(None);
        }
        let now_unix_ms = self.deps.world.clock.unix_ms();
        if !self.runs.begin(run.id, drawn, traces, now_unix_ms).await? {
            return Ok(None);
        }
        self.runs.find(run.id).await
    }

    async fn finish(&self, run: ReplayRunRow) -> Result<Outcome, StoreError> {
        let results = self.runs.results(run.id).await?;
        let last = results.iter().map(|one| one.result.ended_unix_ms).max().unwrap_or(0);
        let waited_ms = self.deps.world.clock.unix_ms().saturating_sub(last);
        let may_wait = waited_ms < milliseconds(REPLAY_RECORDS_WAIT_MAX);
        match make(&self.deps, &run, &results, may_wait).await? {
            Made::NotBooked => Ok(later("the records of its last answers are on their way", 200)),
            Made::Unsigned => {
                self.fail(run.id, "The report could not be signed.".to_owned()).await?;
                Ok(Outcome::Done)
            }
            Made::Report(report) => {
                let ending = RunEnding::Completed {
                    verdict: report.verdict.as_str(),
                    report: report.document,
                    expires_unix_ms: report.expires_unix_ms,
                };
                self.runs.end(run.id, ending, Act::system(&self.deps.world)).await?;
                Ok(Outcome::Done)
            }
        }
    }

    async fn fail(&self, id: ReplayRunId, mut error: String) -> Result<(), StoreError> {
        error.truncate(error.floor_char_boundary(REPLAY_ERROR_BYTES_MAX));
        let ending = RunEnding::Failed { error };
        self.runs.end(id, ending, Act::system(&self.deps.world)).await.map(drop)
    }
}

/// A turn of one run.
struct Turn<'a> {
    handler: &'a ReplayRunHandler,
    run: ReplayRunRow,
    refreshed: Instant,
    in_flight: HashSet<u64>,
    /// Read and not yet begun, in their order.
    waiting: std::collections::VecDeque<OpenTrace>,
    /// All waiting requests beyond this one are not read yet; `None` before the first.
    read_until: Option<u64>,
    /// How much later than planned everything is: while nobody ran it, nothing was due.
    late_ms: Option<u64>,
    begins: bool,
    /// A place is not free before.
    postponed_until_unix_ms: u64,
}

impl<'a> Turn<'a> {
    fn new(handler: &'a ReplayRunHandler, run: ReplayRunRow) -> Self {
        Self {
            handler,
            run,
            refreshed: Instant::now(),
            in_flight: HashSet::new(),
            waiting: std::collections::VecDeque::new(),
            read_until: None,
            late_ms: None,
            begins: true,
            postponed_until_unix_ms: 0,
        }
    }

    /// Sends requests until the turn is over or none is left; `false` where the run is over.
    async fn work(&mut self) -> Result<bool, StoreError> {
        let started = Instant::now();
        let handler = self.handler;
        let mut running = FuturesUnordered::new();
        loop {
            if self.refreshed.elapsed() >= REFRESH_EVERY && !self.refresh().await? {
                return Ok(false);
            }
            self.begins = self.begins && started.elapsed() < TURN;
            for open in self.take().await? {
                let (deps, run, position) = (handler.deps.clone(), self.run.clone(), open.position);
                let sending = Box::pin(async move { send(&deps, &run, &open).await });
                // One that panicked is tried again in the next turn.
                let postponed = Sent::Postponed { position, wait_ms: milliseconds(REFRESH_EVERY) };
                running.push(on_its_own("replayed request", sending).map(|sent| sent.unwrap_or(postponed)));
            }
            if running.is_empty() {
                // What is due within the turn is waited for here, so that it is in time.
                let Some(wait) =
                    self.next_due().filter(|wait| *wait < TURN.saturating_sub(started.elapsed()))
                else {
                    return Ok(true);
                };
                tokio::time::sleep(wait.min(REFRESH_EVERY)).await;
                continue;
            }
            let wait = self.next_due().unwrap_or(REFRESH_EVERY).min(REFRESH_EVERY);
            let Ok(Some(first)) = tokio::time::timeout(wait, running.next()).await else { continue };
            let mut ended = vec![first];
            while let Some(Some(more)) = running.next().now_or_never() {
                ended.push(more);
            }
            self.settle(ended).await?;
        }
    }

    /// Reads the run again; `false` where it was cancelled, or is gone.
    async fn refresh(&mut self) -> Result<bool, StoreError> {
        self.refreshed = Instant::now();
        let found = self.handler.runs.find(self.run.id).await?;
        Ok(found.is_some_and(|run| !run.state.is_over()))
    }

    /// How long until the next request is due and may begin; `None` where none is waiting, or the turn begins none any more.
    fn next_due(&self) -> Option<Duration> {
        let next = self.waiting.front().filter(|_| self.begins)?;
        let due = self.due_unix_ms(next).max(self.postponed_until_unix_ms);
        let is_free = self.in_flight.len() < self.run.spec.at_once as usize;
        let wait = Duration::from_millis(due.saturating_sub(self.handler.deps.world.clock.unix_ms()).max(1));
        Some(if is_free { wait } else { REFRESH_EVERY })
    }

    fn due_unix_ms(&self, open: &OpenTrace) -> u64 {
        let start = self.run.started_unix_ms.unwrap_or(0);
        start.saturating_add(open.due_ms).saturating_add(self.late_ms.unwrap_or(0))
    }

    /// The requests to begin now.
    async fn take(&mut self) -> Result<Vec<OpenTrace>, StoreError> {
        let free = (self.run.spec.at_once as usize).saturating_sub(self.in_flight.len());
        let now = self.handler.deps.world.clock.unix_ms();
        if !self.begins || free == 0 || now < self.postponed_until_unix_ms {
            return Ok(Vec::new());
        }
        self.read_more().await?;
        if let (None, Some(first)) = (self.late_ms, self.waiting.front()) {
            self.late_ms = Some(now.saturating_sub(self.due_unix_ms(first)));
        }
        let mut taken = Vec::new();
        while taken.len() < free
            && self.waiting.front().is_some_and(|next| self.due_unix_ms(next) <= now)
            && let Some(next) = self.waiting.pop_front()
        {
            self.in_flight.insert(next.position);
            taken.push(next);
        }
        if !taken.is_empty() {
            let positions = taken.iter().map(|open| i64::try_from(open.position).unwrap_or(i64::MAX));
            self.handler.runs.tried(self.run.id, positions.collect(), 1).await?;
        }
        Ok(taken)
    }

    async fn read_more(&mut self) -> Result<(), StoreError> {
        if !self.waiting.is_empty() {
            return Ok(());
        }
        let more = self.handler.runs.waiting(self.run.id, self.read_until, WAITING_AT_ONCE).await?;
        self.read_until = more.last().map(|open| open.position).or(self.read_until);
        self.waiting.extend(more);
        Ok(())
    }

    async fn settle(&mut self, ended: Vec<Sent>) -> Result<(), StoreError> {
        let mut results: Vec<(u64, TraceResult)> = Vec::new();
        for sent in ended {
            match sent {
                Sent::Ended(position, result) => {
                    self.in_flight.remove(&position);
                    results.push((position, result));
                }
                Sent::Postponed { position, wait_ms } => {
                    self.in_flight.remove(&position);
                    let now = self.handler.deps.world.clock.unix_ms();
                    self.postponed_until_unix_ms = now.saturating_add(wait_ms);
                    // It is read again, with those after it, in the next turn.
                    self.begins = false;
                    let position = i64::try_from(position).unwrap_or(i64::MAX);
                    self.handler.runs.tried(self.run.id, vec![position], -1).await?;
                }
            }
        }
        if results.is_empty() { Ok(()) } else { self.handler.runs.settle(self.run.id, results).await }
    }

    /// How long until the next waiting request is due; `None` where none is left.
    async fn wait_ms(&self) -> Result<Option<u64>, StoreError> {
        let next = self.handler.runs.waiting(self.run.id, None, 1).await?;
        let Some(next) = next.first() else { return Ok(None) };
        let due = self.due_unix_ms(next).max(self.postponed_until_unix_ms);
        Ok(Some(due.saturating_sub(self.handler.deps.world.clock.unix_ms())))
    }
}
