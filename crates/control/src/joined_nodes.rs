//! Nodes that joined with a token: what their heartbeats report.

use std::collections::BTreeMap;

use api::moment::Moment;
use fleet::peer_list::NodeMesh;
use hardware::Counters;
use reconcilers::BeatLoad;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::Joined;

/// What a node reports with each heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "NodeSaid")]
pub struct NodeReport {
    /// Of Tidegate.
    #[serde(default)]
    pub version: String,
    /// What computes its answers: `engine`, or `echo`, which needs no model.
    #[serde(default)]
    pub runtime: String,
    /// The device: `cpu`, `cuda:0`.
    #[serde(default)]
    pub device: Option<String>,
    #[serde(default)]
    pub load: Load,
    /// How large its models and adapters are, by name. Older nodes don't say.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub model_bytes: BTreeMap<String, u64>,
    #[serde(default)]
    pub counters: Option<Counters>,
    /// How far its clock is ahead of the gateway's.
    #[serde(default)]
    pub clock_skew_ms: Option<i64>,
    /// Of a node with peers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mesh: Option<NodeMesh>,
}

/// A node's load.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "NodeLoad")]
pub struct Load {
    /// Answers in progress.
    #[serde(default)]
    pub running: u64,
    /// Of those, the ones whose sequences wait for memory.
    #[serde(default)]
    pub waiting: u64,
    /// The prefix cache.
    #[serde(default)]
    pub cache_bytes: u64,
    #[serde(default)]
    pub cache_bytes_max: u64,
    /// Of it, what requests in progress hold. Older nodes don't say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_held_bytes: Option<u64>,
    /// How long a token of an answer takes there; absent before anything was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_us: Option<u64>,
}

impl Load {
    /// What placement reads of it.
    pub(crate) const fn reported(&self) -> BeatLoad {
        let Self { running, waiting, cache_bytes_max, cache_held_bytes, token_us, .. } = *self;
        BeatLoad { running, waiting, cache_held_bytes, cache_bytes_max, token_us }
    }
}

/// The open tunnel of a node.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "NodeTunnel")]
pub struct TunnelView {
    since: Moment,
    /// Of the last ping.
    round_trip_us: u64,
    /// Requests that are being answered through it.
    streams: usize,
    /// Connections that the node opened beside it, each for one request at a time.
    spare_connections: usize,
    /// The version of Tidegate at the node.
    version: String,
    /// The version of the tunnel.
    protocol: u32,
}

impl From<egress::TunnelFacts> for TunnelView {
    fn from(facts: egress::TunnelFacts) -> Self {
        let egress::TunnelFacts { owner, round_trip_us, streams, spares: spare_connections } = facts;
        let (since, version, protocol) = (Moment(owner.since_unix_ms), owner.version, owner.protocol);
        Self { since, round_trip_us, streams, spare_connections, version, protocol }
    }
}

/// The state of a joined node.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "NodeJoined")]
pub struct JoinedNodeView {
    joined_at: Moment,
    revoked_at: Option<Moment>,
    last_heartbeat_at: Option<Moment>,
    #[serde(rename = "said")]
    report: Option<NodeReport>,
}

pub fn show(joined: &Joined) -> JoinedNodeView {
    JoinedNodeView {
        joined_at: Moment(joined.unix_ms),
        revoked_at: joined.revoked_unix_ms.map(Moment),
        last_heartbeat_at: joined.beat_unix_ms.map(Moment),
        report: report(joined),
    }
}

/// What it reported with its last heartbeat.
pub fn report(joined: &Joined) -> Option<NodeReport> {
    joined.report.clone().and_then(|report| serde_json::from_value(report).ok())
}
