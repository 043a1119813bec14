//! `/v2/workers`: what nodes of a workspace have started on other machines or as processes. Workers are ordered at their node, which
//! knows them; here they are shown and destroyed.

use std::sync::Arc;

use api::access::Access;
use api::moment::Moment;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::Fault;
use domain::limits::RUNTIME_ACT_TIME_MAX;
use http::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::NodeRow;

use crate::runtimes::{self, UnreachableRuntime, path_part, read, runtime_route};

const PATH: &str = "/v2/workers";
const NODE: (&str, &str) =
    ("node", "The worker's node, by its id or name; optional if the workspace has one runtime.");
/// How a node answers that starts none: it is not configured to, or is of an earlier version.
const STARTS_NONE: &[&str] = &["worker_provider_missing", "not_of_this_version", "unknown_path"];

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, PATH, Access::LOOK, list)
            .says("Lists the workers that the workspace's nodes have started, and names each node that could not be queried.")
            .query("node", "Only those of this node, by its id or name.")
            .returns_value::<List>(),
        runtime_route(
            Route::new(Method::GET, "/v2/workers/{id}/logs", Access::LOOK, logs)
                .says("Shows the end of a worker's log. Values of its variables are replaced by their names.")
                .query(NODE.0, NODE.1)
                .returns_value::<WorkerLog>()
                .refuses(404, "worker_not_found"),
        ),
        runtime_route(
            Route::new(Method::POST, "/v2/workers/{id}/destroy", Access::MANAGE, destroy)
                .says("Destroys a worker. It is `destroyed` once nothing is left of it.")
                .takes::<Destruction>()
                .returns_value::<WorkerView>()
                .refuses(404, "worker_not_found")
                .no_rehearsal("What a node does can't be tried without being done."),
        ),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "WorkerDestruction")]
struct Destruction {
    /// A node's id or name; optional if the workspace has one runtime.
    node: Option<String>,
}

/// A worker as its node reports it; times are in seconds.
#[derive(Deserialize)]
struct NodeWorker {
    id: String,
    provider: String,
    status: String,
    #[serde(default)]
    spec: Value,
    #[serde(default)]
    env: Vec<String>,
    address: Option<String>,
    #[serde(default)]
    steps: Vec<NodeStep>,
    error: Option<String>,
    created_at: u64,
    running_at: Option<u64>,
    ended_at: Option<u64>,
    idle_minutes: Option<u64>,
    cost: Option<NodeWorkerCost>,
}

#[derive(Deserialize)]
struct NodeStep {
    name: String,
    status: String,
    started_at: u64,
    took_ms: Option<u64>,
    message: Option<String>,
}

#[derive(Deserialize)]
struct NodeWorkerCost {
    nano_usd_per_hour: u64,
    #[serde(default)]
    stated_by: String,
    spent_nano_usd: u64,
}

#[derive(Deserialize)]
struct NodeWorkers {
    data: Vec<NodeWorker>,
}

#[derive(Deserialize)]
struct NodeLog {
    log: String,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "WorkerList")]
struct List {
    object: &'static str,
    data: Vec<WorkerView>,
    /// The nodes that could not be queried; their workers are not in the list.
    away: Vec<UnreachableRuntime>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Worker")]
struct WorkerView {
    id: String,
    object: &'static str,
    /// The node that started it.
    node_id: String,
    /// The node's name.
    node: String,
    /// `exec`, `ssh`, `kubernetes` or `webhook`.
    provider: String,
    /// `queued`, `provisioning`, `running`, `failed` or `destroyed`.
    status: String,
    /// What was ordered.
    spec: Value,
    /// The names of its variables.
    env: Vec<String>,
    /// Where its node listens.
    address: Option<String>,
    steps: Vec<StepView>,
    /// Why it failed.
    error: Option<String>,
    created_at: Moment,
    running_at: Option<Moment>,
    ended_at: Option<Moment>,
    /// How many minutes without a request pass before it is destroyed.
    idle_minutes: Option<u64>,
    cost: Option<WorkerCost>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "WorkerStep")]
struct StepView {
    name: String,
    /// `running`, `done` or `failed`.
    status: String,
    started_at: Moment,
    took_ms: Option<u64>,
    message: Option<String>,
}

/// The stated rate times the time since its start. Nobody verifies it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "WorkerCost")]
struct WorkerCost {
    nano_usd_per_hour: u64,
    /// Who stated the rate.
    stated_by: String,
    spent_nano_usd: u64,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "WorkerLog")]
struct WorkerLog {
    object: &'static str,
    id: String,
    node_id: String,
    node: String,
    log: String,
}

const fn at(seconds: u64) -> Moment {
    Moment(seconds.saturating_mul(1_000))
}

fn show(row: &NodeRow, worker: NodeWorker) -> WorkerView {
    let step = |step: NodeStep| StepView {
        name: step.name,
        status: step.status,
        started_at: at(step.started_at),
        took_ms: step.took_ms,
        message: step.message,
    };
    WorkerView {
        id: worker.id,
        object: "worker",
        node_id: row.id.to_string(),
        node: row.name.clone(),
        provider: worker.provider,
        status: worker.status,
        spec: worker.spec,
        env: worker.env,
        address: worker.address,
        steps: worker.steps.into_iter().map(step).collect(),
        error: worker.error,
        created_at: at(worker.created_at),
        running_at: worker.running_at.map(at),
        ended_at: worker.ended_at.map(at),
        idle_minutes: worker.idle_minutes,
        cost: worker.cost.map(|cost| WorkerCost {
            nano_usd_per_hour: cost.nano_usd_per_hour,
            stated_by: cost.stated_by,
            spent_nano_usd: cost.spent_nano_usd,
        }),
    }
}

async fn list(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let heard =
        runtimes::query_each::<NodeWorkers>(control, &request, "compute/workers", STARTS_NONE).await?;
    let (rows, away) = (heard.responses.into_iter(), heard.failures);
    let data = rows.flat_map(|(row, list)| {
        list.data.into_iter().map(move |worker| show(&row, worker)).collect::<Vec<_>>()
    });
    Reply::json(&List { object: "list", data: data.collect(), away })
}

async fn logs(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let named = request.query.get("node").map(String::as_str);
    let row = runtimes::pick(control, request.workspace(), named).await?;
    let id = worker_id(&request)?;
    let NodeLog { log } = runtimes::query(control, &row, format!("compute/workers/{id}/logs")).await?;
    let (node_id, node) = (row.id.to_string(), row.name);
    Reply::json(&WorkerLog { object: "worker_log", id, node_id, node, log })
}

async fn destroy(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let input: Destruction = request.json()?;
    let row = runtimes::pick(control, request.workspace(), input.node.as_deref()).await?;
    let id = worker_id(&request)?;
    let path = format!("compute/workers/{id}");
    let bytes = runtimes::ask(control, &row, Method::DELETE, path, None, RUNTIME_ACT_TIME_MAX).await?;
    let worker: NodeWorker = read(&row, &bytes)?;
    runtimes::note_act(control, &request, &row, "worker.destroy", format!("worker {id}")).await?;
    Reply::json(&show(&row, worker))
}

/// The worker in the path, validated for use in the node's path.
fn worker_id(request: &ApiRequest) -> Result<String, Box<Fault>> {
    path_part("worker", request.parameters.first().map_or("", String::as_str))
}
