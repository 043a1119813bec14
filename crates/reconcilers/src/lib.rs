//! The pollers and sweeps of an installation. Each compares what is with what should be and acts in small steps,
//! which a kill may interrupt anywhere.

mod alerts;
mod async_billing;
mod audit_queue;
mod audit_sink;
mod background;
mod batch_list;
mod batches;
pub mod canaries;
mod failure;
mod flow_runner;
mod heads;
pub mod invoicing;
pub mod judgement;
mod keys;
mod limits;
mod mailing;
pub mod moment;
pub mod node_books;
mod node_loads;
mod nodes;
pub mod notices;
mod outbound;
mod own_batches;
mod poll_queue;
mod polling;
mod principals;
mod probes;
pub mod purging;
mod responses;
pub mod subscriptions;
mod task_list;
mod task_runner;
mod task_webhooks;
mod videos;
pub mod webhooks;

use std::sync::Arc;
use std::time::Duration;

use domain::{Fault, FaultClass};
use evidence::Auditor;
use line::{VerifyReport, VerifyTarget};
use plan::Seat;
use world::World;

pub use audit_queue::AuditQueue;
pub use audit_sink::{AuditDestination, SentEntry};
pub use background::{AuditCopies, handlers, schedule};
pub use batch_list::{BatchStatus, BatchSummary};
pub use failure::{away, of_store};
pub use flow_runner::{
    DrivenRun, EngineDoor, FlowBook, FlowCall, FlowDriver, FlowRunner, FlowRunnerHandle, FlowSignals,
    FlowTarget, LeftCosts, Next, Round, on_its_own,
};
pub use heads::{HeadStore, Heads};
pub use keys::{Holder, candidates};
pub use limits::{FLOW_RUN_KEPT, FLOW_RUNS_SENT_MAX, FLOW_SENT_TIME_MAX};
pub use mailing::{LastEmail, Mailing};
pub use node_loads::BeatLoad;
pub use nodes::{NodeTerms, Nodes, not_polled_yet};
pub use outbound::Outbound;
pub use own_batches::{BatchRunner, batch_jobs_of};
pub use polling::{polling_job_of, response_polling_job_of};
pub use principals::{Retained, retained, seat_of};
pub use task_runner::{TaskRunner, TaskRunnerHandle};
pub use task_webhooks::{TellOfTask, task_webhook_job_of};

use crate::limits::PUBLISH_TIME_MAX;

/// What the reconcilers and the API work with; cloning it shares everything.
#[derive(Clone)]
pub struct Deps {
    pub store: store::Store,
    /// Where records go that no serving core writes: on a data plane, also to its control plane.
    pub records: Arc<dyn ledger::RecordSink>,
    pub keeper: Arc<snapshot::Keeper>,
    pub vault: vault::Vault,
    pub masters: Arc<vault::MasterKeyring>,
    pub auditor: Arc<Auditor>,
    pub board: Arc<board::Shared>,
    pub outbound: Arc<dyn Outbound>,
    /// Where the operator has set a mail server.
    pub mail: Option<Arc<Mailing>>,
    /// Whoever reads tasks from the store waits for those that are on their way there.
    pub tasks: Arc<dyn domain::TaskStore>,
    /// Tells the worker of flows what happens to runs.
    pub flows: Arc<FlowSignals>,
    pub world: World,
    /// This process's name among the gateways of one database.
    pub replica: String,
}

impl Deps {
    /// Verifies a seat with the cheapest real call, and clears its breaker on the board if it works.
    ///
    /// # Errors
    /// The address of its provider is unknown.
    pub async fn verify(&self, seat: Seat) -> Result<VerifyReport, Box<Fault>> {
        let target = self.target(seat)?;
        let report = self.outbound.verify(target).await;
        if report.is_well() {
            self.board.forgive(report.principal);
        }
        Ok(report)
    }

    /// The address and credentials for calling a seat.
    ///
    /// # Errors
    /// The address of its provider is unknown.
    pub fn target(&self, seat: Seat) -> Result<VerifyTarget, Box<Fault>> {
        VerifyTarget::of(seat, &self.keeper.current()).ok_or_else(|| {
            Box::new(
                Fault::new(FaultClass::BadRequest, "no_address", "This provider's address isn't known.")
                    .param("base_url")
                    .fix("Give it a base_url."),
            )
        })
    }

    /// Returns once requests on this gateway are served with a write, so that its author can read it back.
    ///
    /// # Errors
    /// 503: the write is stored, but not in force yet.
    pub async fn await_published(&self, version: u64) -> Result<(), Box<Fault>> {
        await_published(&self.keeper, version).await
    }
}

async fn await_published(keeper: &snapshot::Keeper, version: u64) -> Result<(), Box<Fault>> {
    match tokio::time::timeout(PUBLISH_TIME_MAX, keeper.await_version(version)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Box::new(
            Fault::new(
                FaultClass::Unavailable,
                "not_in_force_yet",
                "The change is stored, but this process hasn't applied it yet.",
            )
            .fix("Read it back in a moment; don't send it again.")
            .retry_after_ms(1_000),
        )),
    }
}

pub fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use domain::ports::{KeyHash, PortFuture};
    use snapshot::{Change, Keeper, KeeperSettings, Source, SourceError, nothing_first};
    use tokio::sync::watch;

    use super::*;

    struct NoKeys;

    impl KeyHash for NoKeys {
        fn digest(&self, _presented: &str) -> [u8; 32] {
            [0; 32]
        }
    }

    /// A store that no change follows in.
    struct Unchanged(watch::Sender<u64>);

    impl Source for Unchanged {
        fn load(&self) -> PortFuture<'_, Result<Change, SourceError>> {
            Box::pin(async { Ok(Change { version: 5, whole: true, ..Change::default() }) })
        }

        fn changes_since(&self, version: u64) -> PortFuture<'_, Result<Change, SourceError>> {
            Box::pin(async move { Ok(Change { version, ..Change::default() }) })
        }

        fn subscribe(&self) -> watch::Receiver<u64> {
            self.0.subscribe()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_is_not_taken_up_in_time_is_reported_as_kept() {
        let settings = KeeperSettings {
            catalogue: Arc::new(catalogue::Catalogue::embedded().unwrap()),
            key_hash: Arc::new(NoKeys),
            before_publish: nothing_first(),
            poll_every: Duration::from_secs(1),
        };
        let keeper = Keeper::start(Arc::new(Unchanged(watch::channel(5).0)), settings).await.unwrap();
        await_published(&keeper, 5).await.unwrap();
        let fault = await_published(&keeper, 6).await.unwrap_err();
        assert_eq!((fault.class, fault.code), (FaultClass::Unavailable, "not_in_force_yet"));
        assert_eq!((fault.retry_after_ms, fault.fix.is_some()), (Some(1_000), true));
    }
}
