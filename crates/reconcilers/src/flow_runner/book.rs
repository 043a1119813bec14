//! The flows of projects for the cores that serve requests: found, and run as tasks' apps.

use std::sync::Arc;

use domain::limits::STORE_CLOSING_TIME_MAX;
use domain::ports::PortFuture;
use domain::{
    FlowNotStarted, FlowProgress, FlowRunId, FlowStart, FlowStore, FoundFlow, ObjectOwner, StoredFlow,
};
use flowruns::{FlowVersion, NewRun, RunRow, RunStatus, StoredFlows, StoredRuns, Wish, part};
use serde_json::Value;
use store::{Act, Store, StoreError};
use tasks::RuntimeTasks;
use tokio::time::timeout;
use vault::Vault;
use world::World;

use crate::limits::{FLOW_BOOK_TIME_MAX, FLOW_RUN_KEPT};
use crate::milliseconds;

/// Reads flows, and begins runs of them. A worker finds those within its poll.
pub struct FlowBook {
    inner: Arc<Inner>,
    /// The runtime that uses the store: serving cores wait for its result and never do its work.
    tasks: RuntimeTasks,
}

struct Inner {
    flows: StoredFlows,
    runs: StoredRuns,
    vault: Vault,
    world: World,
}

impl FlowBook {
    /// Must be called on the runtime that is to use the store.
    pub fn start(store: &Store, vault: Vault, world: World) -> Arc<Self> {
        let (flows, runs) = (StoredFlows::of(store), StoredRuns::of(store));
        let inner = Arc::new(Inner { flows, runs, vault, world });
        Arc::new(Self { inner, tasks: RuntimeTasks::on_this_runtime("flows as apps") })
    }

    /// Returns when nobody reads any more.
    pub async fn stop(&self) {
        self.tasks.finish(STORE_CLOSING_TIME_MAX).await;
    }
}

fn reported(error: &StoreError) {
    tracing::warn!(error = error as &dyn std::error::Error, "a flow or its run could not be read or stored");
}

impl Inner {
    async fn find(
        &self,
        owner: ObjectOwner,
        name: String,
        version: Option<u64>,
    ) -> Result<FoundFlow, StoreError> {
        let Some(flow) = self.flows.named(owner, name).await? else { return Ok(FoundFlow::Unknown) };
        let number = version.unwrap_or(flow.latest);
        let stored = match self.flows.version(owner.workspace, flow.id, number).await {
            Err(StoreError::NotFound { .. }) => return Ok(FoundFlow::Unknown),
            stored => stored?,
        };
        let document = stored.document.into_bytes().into();
        Ok(FoundFlow::Known(Box::new(StoredFlow { id: flow.id, number, document })))
    }

    async fn all(&self, owner: ObjectOwner) -> Result<Vec<(String, StoredFlow)>, StoreError> {
        let newest = self.flows.newest(owner).await?.into_iter();
        let stored = newest.map(|(name, id, FlowVersion { number, document, .. })| {
            (name, StoredFlow { id, number, document: document.into_bytes().into() })
        });
        Ok(stored.collect())
    }

    async fn begin(&self, run: FlowStart) -> Result<(), FlowNotStarted> {
        let FlowStart { id, owner, request, key, flow, input } = run;
        let invalid = |why: String| FlowNotStarted::Invalid(why);
        let document: Value =
            serde_json::from_slice(&flow.document).map_err(|error| invalid(error.to_string()))?;
        let input: Value = serde_json::from_slice(&input).map_err(|error| invalid(error.to_string()))?;
        let first = |errors: Vec<flows::FlowError>| {
            let first = errors.first().map(|error| format!("{}: {}", error.pointer, error.message));
            invalid(first.unwrap_or_default())
        };
        let compiled = flows::compile(&document).map_err(first)?;
        compiled.check_input(&input).map_err(first)?;
        let now = self.world.clock.unix_ms();
        let times = (now, now.saturating_add(milliseconds(FLOW_RUN_KEPT)));
        let run = RunRow {
            flow: Some((flow.id, flow.number)),
            budget_nanos: compiled.budget_nano_usd,
            ..RunRow::queued((id, owner, request), key, compiled.name, times)
        };
        let new = NewRun::sealed(&self.vault, run, &document, &input);
        let new = new.map_err(|error| {
            tracing::error!(workspace = %owner.workspace, %error, "a run of a flow could not be sealed");
            FlowNotStarted::StoreUnavailable
        })?;
        match self.runs.create(new, None).await {
            Ok(_) => Ok(()),
            Err(StoreError::Conflict { .. }) => Err(FlowNotStarted::TooManyRuns),
            Err(error) => {
                reported(&error);
                Err(FlowNotStarted::StoreUnavailable)
            }
        }
    }

    async fn progress(&self, owner: ObjectOwner, id: FlowRunId) -> Result<FlowProgress, StoreError> {
        let run = match self.runs.get(owner.workspace, id).await {
            Err(StoreError::NotFound { .. }) => return Ok(FlowProgress::Gone),
            run => run?,
        };
        if run.owner != owner {
            return Ok(FlowProgress::Gone);
        }
        Ok(match run.status {
            RunStatus::Pending | RunStatus::Running => FlowProgress::Running,
            RunStatus::Cancelled => FlowProgress::Cancelled,
            RunStatus::Failed => FlowProgress::Failed(run.error_code.unwrap_or_default()),
            RunStatus::Completed => {
                let output = self.runs.content(id, part::OUTPUT.to_owned()).await?;
                match output.and_then(|output| output.open(&self.vault, owner)) {
                    Some(output) => FlowProgress::Completed(output.to_string().into()),
                    None => FlowProgress::Failed("flow_content_gone".to_owned()),
                }
            }
        })
    }

    async fn cancel(&self, owner: ObjectOwner, id: FlowRunId) -> bool {
        match self.runs.get(owner.workspace, id).await {
            Ok(run) if run.owner == owner => {}
            Ok(_) | Err(StoreError::NotFound { .. }) => return true,
            Err(error) => {
                reported(&error);
                return false;
            }
        }
        let act = Act::system(&self.world);
        match self.runs.wish((owner.workspace, id), Wish::Cancel, act).await {
            // It has ended meanwhile.
            Ok(_) | Err(StoreError::Conflict { .. }) => true,
            Err(error) => {
                reported(&error);
                false
            }
        }
    }
}

impl FlowStore for FlowBook {
    fn find(&self, owner: ObjectOwner, name: String, version: Option<u64>) -> PortFuture<'static, FoundFlow> {
        let inner = Arc::clone(&self.inner);
        let finding =
            self.tasks.run(async move { inner.find(owner, name, version).await.inspect_err(reported) });
        Box::pin(async move {
            match timeout(FLOW_BOOK_TIME_MAX, finding).await {
                Ok(Ok(Ok(found))) => found,
                _ => FoundFlow::StoreUnavailable,
            }
        })
    }

    fn all(&self, owner: ObjectOwner) -> PortFuture<'static, Option<Vec<(String, StoredFlow)>>> {
        let inner = Arc::clone(&self.inner);
        let finding = self.tasks.run(async move { inner.all(owner).await.inspect_err(reported) });
        Box::pin(async move {
            match timeout(FLOW_BOOK_TIME_MAX, finding).await {
                Ok(Ok(Ok(all))) => Some(all),
                _ => None,
            }
        })
    }

    fn begin(&self, run: FlowStart) -> PortFuture<'static, Result<(), FlowNotStarted>> {
        let inner = Arc::clone(&self.inner);
        let started = self.tasks.run(async move { inner.begin(run).await });
        Box::pin(async move {
            match timeout(FLOW_BOOK_TIME_MAX, started).await {
                Ok(Ok(ended)) => ended,
                _ => Err(FlowNotStarted::StoreUnavailable),
            }
        })
    }

    fn progress(&self, owner: ObjectOwner, id: FlowRunId) -> PortFuture<'static, FlowProgress> {
        let inner = Arc::clone(&self.inner);
        let looking = self.tasks.run(async move { inner.progress(owner, id).await.inspect_err(reported) });
        Box::pin(async move {
            match timeout(FLOW_BOOK_TIME_MAX, looking).await {
                Ok(Ok(Ok(progress))) => progress,
                _ => FlowProgress::StoreUnavailable,
            }
        })
    }

    fn cancel(&self, owner: ObjectOwner, id: FlowRunId) -> PortFuture<'static, bool> {
        let inner = Arc::clone(&self.inner);
        let cancelling = self.tasks.run(async move { inner.cancel(owner, id).await });
        Box::pin(async move { matches!(timeout(FLOW_BOOK_TIME_MAX, cancelling).await, Ok(Ok(true))) })
    }
}
