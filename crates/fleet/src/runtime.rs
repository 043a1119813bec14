//! `/v2/byoc/nodes/{id}/runtime`: the status, models and adapters of a node that runs Tidegate, in one
//! response.

use std::sync::Arc;

use api::access::Access;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::limits::RUNTIME_QUERY_TIME_MAX;
use domain::{Fault, NodeId};
use http::Method;
use reconcilers::of_store;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::NodeRow;

use crate::runtimes::{self, is_ours, runtime_route};

pub fn routes() -> Vec<Route> {
    vec![runtime_route(
        Route::new(Method::GET, "/v2/byoc/nodes/{id}/runtime", Access::LOOK, get)
            .says("Queries the state of a node that runs `tidegate node`, and what it runs.")
            .returns_value::<RuntimeView>()
            .refuses(400, "no_runtime"),
    )]
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Runtime")]
struct RuntimeView {
    object: &'static str,
    node_id: String,
    /// The node's name.
    node: String,
    /// `ok` if there is no problem.
    status: String,
    /// The runtime's software.
    runtime: String,
    version: String,
    topology: String,
    execution_modes: Vec<String>,
    /// Whether requests never leave its machine.
    is_local_only: bool,
    models: Vec<Model>,
    /// What it reports about adapters; absent if it accepts none.
    adapters: Option<Adapters>,
    /// Answers in progress.
    requests_open: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RuntimeModel")]
struct Model {
    id: String,
    /// Tokens of a prompt and its answer combined.
    context_tokens: Option<u64>,
    /// What its weights take in memory; absent where the node doesn't say.
    weights_bytes: Option<u64>,
    /// Whether it is a real model, and not `echo`.
    is_model: bool,
}

/// As the node reports it, and as it is returned here.
#[derive(Deserialize, Serialize, JsonSchema)]
#[schemars(rename = "RuntimeAdapters")]
struct Adapters {
    registered: u64,
    max_registered: u64,
    /// The ones in memory.
    loaded_loras: Vec<String>,
    /// The most that may be in memory at once.
    max_active_loras: u64,
    loaded_bytes: u64,
    max_loaded_bytes: u64,
    max_lora_rank: u64,
}

#[derive(Deserialize)]
struct Health {
    status: String,
}

#[derive(Deserialize)]
struct Capabilities {
    runtime: String,
    version: String,
    topology: String,
    #[serde(default)]
    execution_modes: Vec<String>,
    #[serde(default)]
    runtime_local_only_strict: bool,
    #[serde(default)]
    adapters: bool,
    #[serde(default)]
    models: Vec<Capability>,
}

#[derive(Deserialize)]
struct Capability {
    id: String,
    #[serde(default)]
    is_model: bool,
    context_tokens: Option<u64>,
    weights_bytes: Option<u64>,
}

async fn get(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let id: NodeId = request.id("node")?;
    let row = control.deps.store.nodes().get(request.workspace(), id).await.map_err(of_store)?;
    Reply::json(&look(control, &is_ours(row)?).await?)
}

async fn look(control: &Control, row: &NodeRow) -> Result<RuntimeView, Box<Fault>> {
    let (health, capabilities, counts) = tokio::join!(
        runtimes::query::<Health>(control, row, "health"),
        runtimes::query::<Capabilities>(control, row, "capabilities"),
        runtimes::ask(control, row, Method::GET, "metrics".to_owned(), None, RUNTIME_QUERY_TIME_MAX),
    );
    let (health, capabilities) = (health?, capabilities?);
    let adapters = if capabilities.adapters {
        Some(runtimes::query(control, row, "adapters/status").await?)
    } else {
        None
    };
    let model = |one: Capability| {
        let Capability { id, context_tokens, weights_bytes, is_model } = one;
        Model { id, context_tokens, weights_bytes, is_model }
    };
    Ok(RuntimeView {
        object: "runtime",
        node_id: row.id.to_string(),
        node: row.name.clone(),
        status: health.status,
        runtime: capabilities.runtime,
        version: capabilities.version,
        topology: capabilities.topology,
        execution_modes: capabilities.execution_modes,
        is_local_only: capabilities.runtime_local_only_strict,
        models: capabilities.models.into_iter().map(model).collect(),
        adapters,
        // A proxy in front of the node may block its metrics; everything else is still reported.
        requests_open: counts.ok().and_then(|page| open_requests(&page)),
    })
}

/// Reads the count from the node's Prometheus metrics.
fn open_requests(page: &[u8]) -> Option<u64> {
    let page = std::str::from_utf8(page).ok()?;
    page.lines().find_map(|line| line.strip_prefix("tidegate_node_requests_open ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_requests_are_read_out_of_the_counts() {
        let page = b"# HELP tidegate_node_requests_open R.\ntidegate_node_requests_open 3\n";
        assert_eq!(open_requests(page), Some(3));
        assert_eq!(open_requests(b"tidegate_node_requests_open many\n"), None);
        assert_eq!(open_requests(b"\xff"), None);
    }
}
