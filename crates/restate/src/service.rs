//! The service that the server calls: an object for each run, whose handler drives it round by round. The server's journal has
//! numbers of steps alone.

use std::sync::Arc;
use std::time::Duration;

use domain::FlowRunId;
use reconcilers::{DrivenRun, FlowDriver, Next, Round};
use restate_sdk::endpoint::Endpoint;
use restate_sdk::prelude::{
    ContextClient, ContextSideEffects, HandlerResult, Json, ObjectContext, RunFuture, TerminalError,
};
use tokio::sync::Mutex;

use crate::settings::RestateError;

/// A part of the address that is registered. It changes with what the handler does in which order, since a journal is of one order.
pub(crate) const VERSION: &str = "v1";
pub(crate) const SERVICE: &str = "TidegateFlowRun";
pub(crate) const HANDLER: &str = "drive";

struct RunObject(Arc<FlowDriver>);

pub(crate) fn endpoint(
    driver: Arc<FlowDriver>,
    identity_key: Option<&str>,
) -> Result<Endpoint, RestateError> {
    let builder = Endpoint::builder().bind(RunObject(driver));
    let builder = match identity_key {
        Some(key) => builder.identity_key(key).map_err(|_| RestateError::IdentityKey)?,
        None => builder,
    };
    Ok(builder.build())
}

// A round may end with steps that undo others, which take as long as any. A run is never given up.
#[restate_sdk::object(
    name = "TidegateFlowRun",
    inactivity_timeout = "5m",
    abort_timeout = "2h",
    journal_retention = "1h",
    idempotency_retention = "1s",
    invocation_retry_policy(
        initial_interval = "100ms",
        factor = 2.0,
        max_interval = "2s",
        max_attempts = 1000000,
        on_max_attempts = "pause",
    )
)]
impl RunObject {
    /// Drives the run until it ends or waits.
    #[handler(name = "drive")]
    async fn drive(&self, context: ObjectContext<'_>) -> HandlerResult<()> {
        let id: FlowRunId = context.key().parse().map_err(|_| TerminalError::new("this names no run"))?;
        let driven: Arc<Mutex<Option<DrivenRun>>> = Arc::default();
        loop {
            let (driver, driven) = (Arc::clone(&self.0), Arc::clone(&driven));
            let round = context.run(move || async move { round(&driver, id, &driven).await });
            let Json(round) = round.name("round").await?;
            match round.next {
                Next::Round => {}
                Next::Wake { after_ms } => {
                    let again = context.object_client::<RunObjectClient<'_>>(context.key());
                    again.drive().send_after(Duration::from_millis(after_ms));
                    return Ok(());
                }
                Next::Nothing => return Ok(()),
            }
        }
    }
}

async fn round(
    driver: &FlowDriver,
    id: FlowRunId,
    driven: &Mutex<Option<DrivenRun>>,
) -> HandlerResult<Json<Round>> {
    match driver.round(id, &mut *driven.lock().await).await {
        Ok(round) => Ok(Json(round)),
        Err(error) => {
            tracing::info!(%error, run = %id, "a run is driven again from what is stored");
            // The server logs it, so it has nothing of the error.
            Err("the run is driven again from what is stored".into())
        }
    }
}
