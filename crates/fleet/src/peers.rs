//! `/v2/byoc/peers`: how the nodes of a workspace see their peers, as each node reports it.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::access::Access;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use http::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::NodeRow;

use crate::runtimes::{self, UnreachableRuntime};

/// How a node answers that has no peers.
const HAS_NONE: &[&str] = &["no_mesh", "not_of_this_version", "unknown_path"];

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/v2/byoc/peers", Access::LOOK, list)
            .says("Lists the peers of each node that is in a mesh, as the node sees them, and names each node that could not be queried.")
            .query("node", "Only those of this node, by its id or name.")
            .returns_value::<List>(),
    ]
}

#[derive(Deserialize)]
struct NodePeers {
    data: Vec<NodePeer>,
    /// Older nodes don't say.
    #[serde(default)]
    fetches: Vec<NodeFetch>,
}

/// A fetch from peers in progress.
#[derive(Deserialize, Serialize, JsonSchema)]
struct NodeFetch {
    /// What is fetched: `model/NAME` or `adapter/NAME`.
    share: String,
    bytes: u64,
    /// What has arrived, and what was there before.
    bytes_here: u64,
    /// How many chunks came from each peer since it began.
    chunks_by_peer: BTreeMap<String, u64>,
}

/// A peer, as a node reports it and as it is returned here.
#[derive(Deserialize, Serialize, JsonSchema)]
#[schemars(rename = "NodePeer")]
struct NodePeer {
    /// Its key.
    id: String,
    name: String,
    /// `file`, `registered` or `gateway`: the list that it is in.
    #[serde(default)]
    source: Option<String>,
    #[serde(default)]
    connected: bool,
    rtt_ms: Option<f64>,
    #[serde(default)]
    models: Vec<String>,
    /// What can be fetched there, as `model/NAME` and `adapter/NAME`.
    #[serde(default)]
    shares: Vec<String>,
    /// Why and until when it gets no requests and no connections.
    ejected: Option<PeerEjection>,
    last_error: Option<String>,
    #[serde(default)]
    bytes_in: u64,
    #[serde(default)]
    bytes_out: u64,
    /// Chunks of models and adapters that came from it.
    #[serde(default)]
    chunks_in: u64,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[schemars(rename = "NodePeerEjection")]
struct PeerEjection {
    why: String,
    until_unix_ms: u64,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "NodePeerList")]
struct List {
    object: &'static str,
    /// One for each node that is in a mesh.
    data: Vec<PeersOfNode>,
    /// The nodes that could not be queried.
    away: Vec<UnreachableRuntime>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PeersOfNode")]
struct PeersOfNode {
    node_id: String,
    /// The node's name.
    node: String,
    peers: Vec<NodePeer>,
    /// What it is fetching from them.
    fetches: Vec<NodeFetch>,
}

async fn list(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let heard = runtimes::query_each::<NodePeers>(control, &request, "peers", HAS_NONE).await?;
    let of_node = |(row, list): (NodeRow, NodePeers)| PeersOfNode {
        node_id: row.id.to_string(),
        node: row.name,
        peers: list.data,
        fetches: list.fetches,
    };
    let data = heard.responses.into_iter().map(of_node).collect();
    Reply::json(&List { object: "list", data, away: heard.failures })
}
