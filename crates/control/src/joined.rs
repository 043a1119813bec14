//! Nodes that joined by themselves: what they say of themselves, and that they are away once they say nothing.

use std::sync::Arc;

use domain::limits::NODE_BEATS_MISSED_MAX;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::Joined;

use crate::Control;
use crate::moment::Moment;
use crate::owner::milliseconds;

/// What a node says of itself with each heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "NodeSaid")]
pub struct Said {
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
pub struct JoinedShown {
    joined_at: Moment,
    revoked_at: Option<Moment>,
    last_heartbeat_at: Option<Moment>,
    said: Option<Said>,
}

pub fn show(joined: &Joined) -> JoinedShown {
    JoinedShown {
        joined_at: Moment(joined.unix_ms),
        revoked_at: joined.revoked_unix_ms.map(Moment),
        last_heartbeat_at: joined.beat_unix_ms.map(Moment),
        said: joined.said.clone().and_then(|said| serde_json::from_value(said).ok()),
    }
}

impl Control {
    /// When a node that says something now is away, should it say nothing more.
    pub(crate) fn due_unix_ms(&self, now_unix_ms: u64) -> u64 {
        now_unix_ms.saturating_add(milliseconds(self.beat_every * NODE_BEATS_MISSED_MAX))
    }

    /// Looks again and again for nodes that have said nothing for too long, until the process ends.
    pub async fn watch_heartbeats(self: Arc<Self>) {
        loop {
            tokio::time::sleep(self.beat_every).await;
            let why = format!("It has left out {NODE_BEATS_MISSED_MAX} heartbeats.");
            match self.store.joins().miss(self.world.clock.unix_ms(), why).await {
                Ok(missed) if missed.row > 0 => tracing::warn!(nodes = missed.row, "nodes are away"),
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "whether nodes are away could not be looked up"),
            }
        }
    }
}
