//! Sends runs to the server as they become due: those that start, that somebody did something to, and that it seems to have lost.

use std::time::Duration;

use domain::WorkspaceId;
use flowruns::{FlowEngine, RunClaim, RunRow, StoredRuns};
use futures_util::StreamExt as _;
use futures_util::stream;
use reconcilers::{Deps, FLOW_RUNS_SENT_MAX, FLOW_SENT_TIME_MAX, LeftCosts, milliseconds};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::client::{Answered, Client};
use crate::limits::{SENDS_AT_ONCE_MAX, SILENCE_MAX, SILENT_SENT_MAX};

const POLL_EVERY: Duration = Duration::from_millis(250);
/// How long the server is left alone that did not take something.
const AWAY_PAUSE: Duration = Duration::from_secs(1);
const SILENT_EVERY: Duration = Duration::from_secs(60);

pub(crate) struct Sender {
    pub deps: Deps,
    pub runs: StoredRuns,
    pub client: Client,
    pub at_once_of_workspace: u64,
}

/// What is known of the server.
struct Known {
    is_registered: bool,
    /// What was logged last: once that it is away, or what it says.
    logged: Option<Answered>,
    last: WorkspaceId,
    listened: Instant,
}

impl Sender {
    pub async fn work(self, mut costs: LeftCosts, mut stopped: watch::Receiver<bool>) {
        // No other live process has this name: what it sent last may not have arrived.
        if let Err(error) = self.runs.release(self.name()).await {
            tracing::warn!(%error, "runs that were sent wait for the end of their leases");
        }
        let last = store::jobs::INSTALLATION;
        let mut known = Known { is_registered: false, logged: None, last, listened: Instant::now() };
        while !*stopped.borrow() {
            if !known.is_registered {
                self.register(&mut known).await;
            }
            let pause = match known.is_registered {
                true => self.send_due(&mut known).await,
                false => AWAY_PAUSE,
            };
            if known.listened.elapsed() >= SILENT_EVERY {
                known.listened = Instant::now();
                self.send_silent().await;
            }
            tokio::select! {
                _ = stopped.changed() => {}
                () = costs.next() => {}
                // What arrives while the server is away waits.
                () = self.deps.flows.arrival(FlowEngine::Restate), if pause == POLL_EVERY => {}
                () = sleep(pause) => {}
            }
        }
    }

    async fn register(&self, known: &mut Known) {
        let answered = self.client.register().await;
        known.is_registered = answered == Answered::Accepted;
        if known.logged.replace(answered) == Some(answered) {
            return;
        }
        match answered {
            Answered::Accepted => tracing::info!("Restate drives runs of flows"),
            Answered::Away => tracing::warn!("Restate does not answer; its runs of flows wait"),
            Answered::Unknown => {
                tracing::warn!("flows.restate.admin_url is not the address of Restate's admin API")
            }
            Answered::Refused(status) => {
                tracing::warn!(
                    status,
                    "Restate doesn't accept flows.restate.advertise_url; it must be able to reach that address"
                );
            }
        }
    }

    /// Sends what is due; how long to wait before there may be more.
    async fn send_due(&self, known: &mut Known) -> Duration {
        let claim = RunClaim {
            engine: FlowEngine::Restate,
            worker: self.name(),
            unix_ms: self.deps.world.clock.unix_ms(),
            lease_ms: milliseconds(FLOW_SENT_TIME_MAX),
            limit: FLOW_RUNS_SENT_MAX,
            of_workspace_max: self.at_once_of_workspace,
            after: known.last,
        };
        let due = match self.runs.claim(claim).await {
            Ok(due) => due,
            Err(error) => {
                tracing::warn!(%error, "no runs of flows could be read for Restate");
                return AWAY_PAUSE;
            }
        };
        let Some(last) = due.last() else { return POLL_EVERY };
        known.last = last.owner.workspace;
        let answered = stream::iter(due).map(|run| self.send(run)).buffer_unordered(SENDS_AT_ONCE_MAX);
        let answered: Vec<_> = answered.collect().await;
        let back: Vec<_> = answered.iter().filter(|(_, answered)| *answered != Answered::Accepted).collect();
        let Some((_, why)) = back.first() else { return Duration::ZERO };
        tracing::warn!(runs = back.len(), ?why, "Restate didn't accept runs of flows; they wait");
        // Where the server is another now, it does not know us.
        known.is_registered &= back.iter().all(|(_, answered)| *answered != Answered::Unknown);
        if let Err(error) = self.runs.unsend(back.iter().map(|(id, _)| *id).collect(), self.name()).await {
            tracing::warn!(%error, "runs that were not sent wait for the end of their leases");
        }
        AWAY_PAUSE
    }

    async fn send(&self, run: RunRow) -> (domain::FlowRunId, Answered) {
        // The same until something happens to the run.
        let key = format!("{}-{}", run.id, run.due_unix_ms);
        (run.id, self.client.send(run.id, Some(key)).await)
    }

    /// An invocation that was killed in Restate leaves a run that nobody drives. To send one that is driven changes nothing: its
    /// object has one invocation at a time.
    async fn send_silent(&self) {
        let since = self.deps.world.clock.unix_ms().saturating_sub(milliseconds(SILENCE_MAX));
        match self.runs.silent(FlowEngine::Restate, since, SILENT_SENT_MAX).await {
            Ok(silent) => {
                for id in silent {
                    self.client.send(id, None).await;
                }
            }
            Err(error) => tracing::warn!(%error, "silent runs of flows could not be read"),
        }
    }

    fn name(&self) -> String {
        format!("sent by {}", self.deps.replica)
    }
}
