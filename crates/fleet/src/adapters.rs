//! `/v2/adapters`: LoRA adapters on a workspace's own runtimes. They are stored on the nodes, which are
//! queried for them.

use std::sync::Arc;

use api::access::Access;
use api::failure::missing;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use http::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::NodeRow;

use crate::runtimes::{self, UnreachableRuntime, path_part, runtime_route};

const PATH: &str = "/v2/adapters";
const ON_A_NODE: &str = "What a node does can't be tried without being done.";

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, PATH, Access::LOOK, list)
            .says("Lists the adapters that the workspace's runtimes know, and names each runtime that could not be queried.")
            .query("node", "Only those of this node, by its id or name.")
            .returns_value::<List>(),
        runtime_route(
            Route::new(Method::POST, PATH, Access::MANAGE, register)
                .says("Registers a directory in a node's adapter folder under a name.")
                .takes::<Registration>()
                .returns_value::<AdapterView>()
                .refuses(409, "adapter_exists")
                .no_rehearsal(ON_A_NODE),
        ),
        runtime_route(
            Route::new(Method::POST, "/v2/adapters/{id}/load", Access::MANAGE, load)
                .says("Loads an adapter into its node's memory, and pins or unpins it.")
                .takes::<Loading>()
                .returns_value::<AdapterView>()
                .no_rehearsal(ON_A_NODE),
        ),
        runtime_route(
            Route::new(Method::POST, "/v2/adapters/{id}/unload", Access::MANAGE, unload)
                .says("Unregisters an adapter at a node. Its files stay.")
                .takes::<Unloading>()
                .returns_value::<UnloadedAdapter>()
                .no_rehearsal(ON_A_NODE),
        ),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AdapterRegistration")]
struct Registration {
    /// A node's id or name; optional if the workspace has one runtime.
    node: Option<String>,
    /// The adapter's name, which requests append to the model's name.
    #[schemars(required)]
    id: Option<String>,
    /// Its directory in the node's adapter folder; by default the one with its name.
    path: Option<String>,
    #[serde(default)]
    pinned: bool,
    /// Replaces another adapter of that name.
    #[serde(default)]
    replace: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AdapterLoading")]
struct Loading {
    /// A node's id or name; optional if the workspace has one runtime.
    node: Option<String>,
    /// Responds once the adapter is loaded.
    #[serde(default)]
    wait: bool,
    /// Whether it stays in memory when others are loaded; unchanged by default.
    pinned: Option<bool>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AdapterUnloading")]
struct Unloading {
    /// A node's id or name; optional if the workspace has one runtime.
    node: Option<String>,
}

/// An adapter as a node reports it.
#[derive(Deserialize)]
struct NodeAdapter {
    id: String,
    status: String,
    #[serde(default)]
    generation: u64,
    #[serde(default)]
    rank: u64,
    #[serde(default)]
    bytes: u64,
    #[serde(default)]
    pinned: bool,
    #[serde(default)]
    in_use: u64,
    error: Option<String>,
}

#[derive(Deserialize)]
struct NodeAdapterList {
    data: Vec<NodeAdapter>,
}

#[derive(Deserialize)]
struct NodeUnloadReply {
    unloaded: bool,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Adapter")]
struct AdapterView {
    /// Its name on its node.
    id: String,
    object: &'static str,
    node_id: String,
    /// The node's name.
    node: String,
    /// `registered`, `loaded` or `failed`.
    status: String,
    /// How often another adapter replaced it under its name.
    generation: u64,
    rank: u64,
    bytes: u64,
    pinned: bool,
    /// The running answers that use it.
    in_use: u64,
    error: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AdapterList")]
struct List {
    object: &'static str,
    data: Vec<AdapterView>,
    /// The runtimes that could not be queried; their objects are not in the list.
    away: Vec<UnreachableRuntime>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AdapterGone")]
struct UnloadedAdapter {
    id: String,
    object: &'static str,
    node_id: String,
    node: String,
    unloaded: bool,
}

fn show(row: &NodeRow, adapter: NodeAdapter) -> AdapterView {
    AdapterView {
        id: adapter.id,
        object: "adapter",
        node_id: row.id.to_string(),
        node: row.name.clone(),
        status: adapter.status,
        generation: adapter.generation,
        rank: adapter.rank,
        bytes: adapter.bytes,
        pinned: adapter.pinned,
        in_use: adapter.in_use,
        error: adapter.error,
    }
}

async fn list(control: &Arc<Control>, request: ApiRequest) -> Handled {
    // A runtime that serves only a mock model takes no adapters.
    let heard =
        runtimes::query_each::<NodeAdapterList>(control, &request, "adapters", &["no_adapters"]).await?;
    let (rows, away) = (heard.responses.into_iter(), heard.failures);
    let data = rows.flat_map(|(row, list)| {
        list.data.into_iter().map(move |adapter| show(&row, adapter)).collect::<Vec<_>>()
    });
    Reply::json(&List { object: "list", data: data.collect(), away })
}

async fn register(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let input: Registration = request.json()?;
    let id = input
        .id
        .as_deref()
        .ok_or_else(|| missing("id", "Send the id by which requests name the adapter."))?;
    let row = runtimes::pick(control, request.workspace(), input.node.as_deref()).await?;
    let mut body = json!({"id": id, "pinned": input.pinned, "replace": input.replace});
    if let (Some(path), Some(fields)) = (&input.path, body.as_object_mut()) {
        fields.insert("path".to_owned(), path.as_str().into());
    }
    let adapter: NodeAdapter = runtimes::command(control, &row, "adapters", &body).await?;
    let detail = if input.replace {
        format!("adapter {id}, in the place of another")
    } else {
        format!("adapter {id}")
    };
    runtimes::note_act(control, &request, &row, "adapter.register", detail).await?;
    Reply::json(&show(&row, adapter))
}

async fn load(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let input: Loading = request.json()?;
    let id = adapter_id(&request)?;
    let row = runtimes::pick(control, request.workspace(), input.node.as_deref()).await?;
    let body = json!({"wait": input.wait, "pinned": input.pinned});
    let adapter: NodeAdapter = runtimes::command(control, &row, format!("adapters/{id}/load"), &body).await?;
    let detail = match input.pinned {
        None => format!("adapter {id}"),
        Some(true) => format!("adapter {id}, pinned"),
        Some(false) => format!("adapter {id}, not pinned"),
    };
    runtimes::note_act(control, &request, &row, "adapter.load", detail).await?;
    Reply::json(&show(&row, adapter))
}

async fn unload(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let input: Unloading = request.json()?;
    let id = adapter_id(&request)?;
    let row = runtimes::pick(control, request.workspace(), input.node.as_deref()).await?;
    let reply: NodeUnloadReply =
        runtimes::command(control, &row, format!("adapters/{id}/unload"), &json!({})).await?;
    runtimes::note_act(control, &request, &row, "adapter.unload", format!("adapter {id}")).await?;
    let (node_id, node) = (row.id.to_string(), row.name);
    Reply::json(&UnloadedAdapter { id, object: "adapter", node_id, node, unloaded: reply.unloaded })
}

/// The adapter in the path, validated for use in the node's path.
fn adapter_id(request: &ApiRequest) -> Result<String, Box<domain::Fault>> {
    path_part("adapter", request.parameters.first().map_or("", String::as_str))
}
