//! `/v2/batches`: the batches of a workspace, whoever works through them.

use std::sync::Arc;

use api::access::Access;
use api::moment::Moment;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::{Principal, StoredObjectId};
use http::Method;
use reconcilers::{BatchStatus, BatchSummary};
use schemars::JsonSchema;
use serde::Serialize;

use crate::scope;

const WHAT: &str = "batch";

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/v2/batches", Access::LOOK, list)
            .says("Lists batches, newest first: those that the gateway processes itself, and those at providers.")
            .query("project_id", "Only those of this project.")
            .lists::<BatchView>(),
        Route::new(Method::GET, "/v2/batches/{id}", Access::LOOK, get)
            .says("Shows a batch, its progress and its cost so far.")
            .returns_value::<BatchView>(),
        Route::new(Method::POST, "/v2/batches/{id}/cancel", Access::DEVELOP, cancel)
            .says("Cancels a batch that the gateway processes itself: requests not yet started never start. An ended batch stays as it is.")
            .takes_nothing()
            .returns_value::<BatchView>()
            .refuses(409, "conflict"),
    ]
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Batch")]
struct BatchView {
    id: String,
    object: &'static str,
    /// The API that it was made with.
    dialect: &'static str,
    project_id: String,
    #[schemars(extend("enum" = ["gateway", "provider"]))]
    execution: &'static str,
    /// The credential that it runs with, at its provider; `managed` for an account of the operator.
    credential_id: Option<String>,
    /// At a provider, as it was last seen.
    #[schemars(extend("enum" = BatchStatus::WORDS))]
    status: &'static str,
    /// What became of its requests; at a provider, as it was last seen, and absent where it does not say.
    requests: Option<CountsView>,
    /// What the workspace owes the operator for its requests so far; absent where nothing is booked yet.
    cost_micros: Option<i64>,
    cost_nanos: Option<i64>,
    /// What the workspace's own providers bill for them.
    provider_cost_micros: Option<i64>,
    provider_cost_nanos: Option<i64>,
    created_at: Moment,
    /// What has not begun then is not begun.
    expires_at: Option<Moment>,
    cancelled_at: Option<Moment>,
    ended_at: Option<Moment>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "BatchRequests")]
struct CountsView {
    total: u64,
    waiting: u64,
    succeeded: u64,
    failed: u64,
    cancelled: u64,
    expired: u64,
}

/// The id of an account is the operator's to see.
fn at_provider(at: Principal) -> String {
    match at {
        Principal::Account(_) => "managed".to_owned(),
        own => own.to_string(),
    }
}

fn show(batch: &BatchSummary) -> BatchView {
    BatchView {
        id: batch.id.to_string(),
        object: WHAT,
        dialect: batch.id.kind.dialect().as_str(),
        project_id: batch.project.to_string(),
        execution: if batch.at.is_none() { "gateway" } else { "provider" },
        credential_id: batch.at.map(at_provider),
        status: batch.status.as_str(),
        requests: batch.counts.map(|counts| CountsView {
            total: counts.total(),
            waiting: counts.processing,
            succeeded: counts.succeeded,
            failed: counts.errored,
            cancelled: counts.cancelled,
            expired: counts.expired,
        }),
        cost_micros: batch.cost.map(|booked| booked.cost.micros()),
        cost_nanos: batch.cost.map(|booked| booked.cost.0),
        provider_cost_micros: batch.cost.map(|booked| booked.provider_cost.micros()),
        provider_cost_nanos: batch.cost.map(|booked| booked.provider_cost.0),
        created_at: Moment(batch.created_unix_ms),
        expires_at: batch.expires_unix_ms.map(Moment),
        cancelled_at: batch.cancelled_unix_ms.map(Moment),
        ended_at: batch.ended_unix_ms.map(Moment),
    }
}

async fn list(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let project = scope::listed(&request)?;
    let listed = control.deps.batches(request.workspace(), project, request.page()?).await?;
    Reply::json(&request.page_of(listed, show))
}

async fn get(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let id: StoredObjectId = request.id(WHAT)?;
    Reply::json(&show(&control.deps.batch(request.workspace(), id).await?))
}

async fn cancel(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let id: StoredObjectId = request.id(WHAT)?;
    let act = request.act(&control.deps.world);
    Reply::json(&show(&control.deps.cancel_batch(request.workspace(), id, act).await?))
}
