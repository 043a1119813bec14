//! `/v2/sessions/{id}/usage`: what the requests of a session used and cost.

use std::sync::Arc;

use api::access::Access;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::Fault;
use http::Method;
use reconcilers::of_store;
use schemars::JsonSchema;
use serde::Serialize;

use crate::sessions::load;

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/v2/sessions/{id}/usage", Access::READ_STATE, get)
            .says("Sums what the requests that named a session used and cost.")
            .returns_value::<UsageView>(),
    ]
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SessionUsage")]
struct UsageView {
    object: &'static str,
    session_id: String,
    /// Requests that reached a provider or node.
    requests: u64,
    failed: u64,
    input_tokens: u64,
    output_tokens: u64,
    cached_tokens: u64,
    /// Of the prompts: what came before, so that it could have been read from a cache.
    candidate_reuse_tokens: u64,
    /// What providers or nodes reported as read from their cache.
    realized_reused_tokens: u64,
    /// What the workspace owes the operator.
    cost_micros: i64,
    /// What its own providers bill.
    provider_cost_micros: i64,
}

async fn get(control: &Arc<Control>, request: ApiRequest) -> Handled {
    Reply::json(&sum(control, &request).await?)
}

async fn sum(control: &Control, request: &ApiRequest) -> Result<UsageView, Box<Fault>> {
    let session = load(control, request).await?;
    let sums = control.deps.store.records().session_sums(request.workspace(), session.id);
    let sums = sums.await.map_err(of_store)?;
    Ok(UsageView {
        object: "session_usage",
        session_id: session.id.to_string(),
        requests: sums.requests,
        failed: sums.failed,
        input_tokens: sums.input_tokens,
        output_tokens: sums.output_tokens,
        cached_tokens: sums.cached_tokens,
        candidate_reuse_tokens: sums.reuse.candidate_tokens,
        realized_reused_tokens: sums.realized_reused_tokens,
        // Rounded once, as everywhere.
        cost_micros: sums.cost.micros(),
        provider_cost_micros: sums.provider_cost.micros(),
    })
}
