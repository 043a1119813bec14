//! Nodes that joined with a token: what their heartbeats report.

use api::moment::Moment;
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
        report: joined.report.clone().and_then(|report| serde_json::from_value(report).ok()),
    }
}
