//! Nodes that joined with a token: what their heartbeats report. They count as away when heartbeats stop, or
//! while they can't be reached at the address they gave.

use std::sync::Arc;

use domain::limits::{JOINED_ASKED_AT_ONCE, NODE_BEATS_MISSED_MAX, NODE_POLL_EVERY};
use domain::{Fault, NodeId, WorkspaceId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::{Joined, NodeRow, StoreError};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::Control;
use crate::failure::of_store;
use crate::moment::Moment;
use crate::owner::milliseconds;

/// What a node says of itself with each heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "NodeSaid")]
pub struct NodeReport {
    /// Of Tidegate.
    #[serde(default)]
    pub version: String,
    /// What computes its models: `engine`, or `echo`, which is no model.
    #[serde(default)]
    pub runtime: String,
    /// Where they are computed: `cpu`, `cuda:0`.
    #[serde(default)]
    pub device: Option<String>,
    #[serde(default)]
    pub load: Load,
}

/// What a node has to do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "NodeLoad")]
pub struct Load {
    /// Answers on their way.
    #[serde(default)]
    pub running: u64,
    /// Of those the ones whose texts wait for room.
    #[serde(default)]
    pub waiting: u64,
    /// What is remembered of conversations.
    #[serde(default)]
    pub cache_bytes: u64,
    #[serde(default)]
    pub cache_bytes_max: u64,
}

/// How a node that joined is.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "NodeJoined")]
pub struct JoinedNodeView {
    joined_at: Moment,
    revoked_at: Option<Moment>,
    last_heartbeat_at: Option<Moment>,
    said: Option<NodeReport>,
}

pub fn show(joined: &Joined) -> JoinedNodeView {
    JoinedNodeView {
        joined_at: Moment(joined.unix_ms),
        revoked_at: joined.revoked_unix_ms.map(Moment),
        last_heartbeat_at: joined.beat_unix_ms.map(Moment),
        said: joined.report.clone().and_then(|report| serde_json::from_value(report).ok()),
    }
}

/// Whether the node joined and its heartbeats have stopped: then it is not polled either.
pub fn is_silent(row: &NodeRow, now_unix_ms: u64) -> bool {
    row.joined.as_ref().is_some_and(|joined| !joined.is_alive(now_unix_ms))
}

/// The status of a node that sends heartbeats and has not been polled yet.
pub fn not_polled_yet() -> String {
    "It says that it is there, and has not been asked at its address yet.".to_owned()
}

/// The status of a node that sends heartbeats but can't be reached: which address was polled, and with what
/// result.
pub fn not_reached(name: &str, base_url: &str, error: &str) -> String {
    format!(
        "It says that it is there, but it can't be used at {base_url}: {error} It is asked again. If that is not its address, \
         have it join anew: `tidegate nodes revoke` and `tidegate nodes invite {name}` here, then `tidegate node join` with \
         --address there."
    )
}

impl Control {
    /// When a node that reports now counts as away, unless it reports again.
    pub(crate) fn due_unix_ms(&self, now_unix_ms: u64) -> u64 {
        now_unix_ms.saturating_add(milliseconds(self.beat_every * NODE_BEATS_MISSED_MAX))
    }

    /// Polls the nodes in the `wanted` queue, a few at once, until the process ends.
    pub async fn watch_joined(self: Arc<Self>) {
        let permits = Arc::new(Semaphore::new(JOINED_ASKED_AT_ONCE));
        let mut polls = JoinSet::new();
        loop {
            let (workspace, node) = tokio::select! {
                wanted = self.poll_queue.next() => wanted,
                Some(_) = polls.join_next() => continue,
            };
            let (control, permits) = (Arc::clone(&self), Arc::clone(&permits));
            polls.spawn(async move {
                if let Ok(permit) = permits.acquire().await {
                    if let Err(fault) = control.poll_joined(workspace, node).await {
                        tracing::warn!(%node, %fault, "what a node said could not be kept");
                    }
                    drop(permit);
                }
                // However often it sends heartbeats, it is polled no more often than this.
                tokio::time::sleep(control.beat_every.min(NODE_POLL_EVERY) / 2).await;
                control.poll_queue.rested(workspace, node);
            });
        }
    }

    async fn poll_joined(&self, workspace: WorkspaceId, node: NodeId) -> Result<(), Box<Fault>> {
        match self.store.nodes().get(workspace, node).await {
            Ok(row) => self.poll_node(row).await.map(drop),
            // Removed in the meantime.
            Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(of_store(error)),
        }
    }

    /// Periodically marks nodes whose heartbeats have stopped, until the process ends.
    pub async fn watch_heartbeats(self: Arc<Self>) {
        loop {
            tokio::time::sleep(self.beat_every).await;
            let why = format!("It has left out {NODE_BEATS_MISSED_MAX} heartbeats.");
            match self.store.joins().mark_overdue(self.world.clock.unix_ms(), why).await {
                Ok(missed) if missed.row > 0 => tracing::warn!(nodes = missed.row, "nodes are away"),
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "whether nodes are away could not be looked up"),
            }
        }
    }
}
