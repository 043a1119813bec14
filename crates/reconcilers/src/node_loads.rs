//! How busy nodes are: what joined ones say with their heartbeats, and what the servers of others publish. It goes to the board
//! alone, so that no heartbeat rebuilds a snapshot.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::limits::NODE_BEATS_MISSED_MAX;
use domain::timeline::micros;
use domain::{NodeId, WorkspaceId};
use execute::RuntimeRequest;
use http::Method;
use placement::LoadReport;
use placement::metrics::{self, ServerLoad};
use plan::Seat;
use snapshot::NodeState;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::Deps;
use crate::limits::{NODE_LOAD_EVERY, NODE_LOAD_TIME_MAX, NODE_LOADS_AT_ONCE};
use crate::nodes::Nodes;

/// The path of a server's metrics, which is asked for at the node's origin.
const METRICS: &str = "metrics";

/// The added nodes that may publish their load.
#[derive(Debug, Default)]
pub(crate) struct Publishers(Mutex<BTreeMap<NodeId, WorkspaceId>>);

impl Publishers {
    fn held(&self) -> MutexGuard<'_, BTreeMap<NodeId, WorkspaceId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a joined node says of its load with a heartbeat.
#[derive(Debug, Clone, Copy)]
pub struct BeatLoad {
    /// Answers in progress, and how many of them wait.
    pub running: u64,
    pub waiting: u64,
    /// What those that run hold of the KV cache; `None` of an older node.
    pub cache_held_bytes: Option<u64>,
    /// Zero if it has no KV cache.
    pub cache_bytes_max: u64,
    /// How long a token of an answer takes there.
    pub token_us: Option<u64>,
}

impl From<BeatLoad> for ServerLoad {
    fn from(load: BeatLoad) -> Self {
        let count = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let permille = |held: u64| {
            let share = u128::from(held) * 1_000 / u128::from(load.cache_bytes_max.max(1));
            u16::try_from(share.min(1_000)).unwrap_or(u16::MAX)
        };
        Self {
            running: count(load.running.saturating_sub(load.waiting)),
            waiting: count(load.waiting),
            kv_permille: load.cache_held_bytes.filter(|_| load.cache_bytes_max > 0).map(permille),
            token_us: load.token_us.filter(|us| *us > 0).map(count),
        }
    }
}

impl Nodes {
    /// A joined node said how busy it is.
    pub fn note_load(&self, node: NodeId, load: BeatLoad) {
        note(self.deps(), node, load.into(), self.beat_every() * NODE_BEATS_MISSED_MAX);
    }

    /// Has an added node's server read for what it says of its load, from soon on for as long as it says it.
    pub fn read_load_of(&self, workspace: WorkspaceId, node: NodeId) {
        self.publishers().held().insert(node, workspace);
    }

    /// Periodically reads what the servers of added nodes publish of their load, until the process ends.
    pub async fn watch_loads(self: Arc<Self>) {
        loop {
            tokio::time::sleep(NODE_LOAD_EVERY).await;
            let publishers = self.publishers().held().clone();
            let permits = Arc::new(Semaphore::new(NODE_LOADS_AT_ONCE));
            let mut polls = JoinSet::new();
            for (node, workspace) in publishers {
                let (nodes, permits) = (Arc::clone(&self), Arc::clone(&permits));
                polls.spawn(async move {
                    let Ok(_permit) = permits.acquire().await else { return };
                    match read(nodes.deps(), workspace, node).await {
                        Some(load) => {
                            note(nodes.deps(), node, load, NODE_LOAD_EVERY * NODE_BEATS_MISSED_MAX);
                        }
                        // It is tried again after the next poll that reaches it.
                        None => drop(nodes.publishers().held().remove(&node)),
                    }
                });
            }
            while polls.join_next().await.is_some() {}
        }
    }
}

fn note(deps: &Deps, node: NodeId, load: ServerLoad, lasts: std::time::Duration) {
    let ServerLoad { running, waiting, kv_permille, token_us } = load;
    let until_us = deps.world.clock.monotonic_us().saturating_add(micros(lasts));
    let report = LoadReport { running, waiting, kv_permille, token_us, in_flight_then: 0 };
    deps.board.note_node(node, report, until_us);
}

async fn read(deps: &Deps, workspace: WorkspaceId, node: NodeId) -> Option<ServerLoad> {
    let snapshot = deps.keeper.current();
    let nodes = &snapshot.workspace(workspace)?.nodes;
    let entry = nodes.iter().find(|entry| entry.id == node && entry.state != NodeState::Unreachable)?;
    let target = deps.target(Seat::Byoc(Arc::clone(entry))).ok()?;
    let request = RuntimeRequest {
        method: Method::GET,
        path: METRICS.to_owned(),
        body: None,
        time_max: NODE_LOAD_TIME_MAX,
    };
    let reply = deps.outbound.ask_runtime(target, request).await.ok()?;
    if reply.status == 200 { metrics::read(&reply.body) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beat(cache_held_bytes: Option<u64>, cache_bytes_max: u64) -> BeatLoad {
        BeatLoad { running: 5, waiting: 2, cache_held_bytes, cache_bytes_max, token_us: Some(20_000) }
    }

    #[test]
    fn what_running_requests_hold_of_the_cache_is_its_pressure() {
        let said = |held, most| ServerLoad::from(beat(held, most)).kv_permille;
        assert_eq!(said(Some(3 << 30), 4 << 30), Some(750));
        assert_eq!([said(Some(u64::MAX), 1), said(Some(0), 1)], [Some(1_000), Some(0)]);
        assert_eq!([said(None, 4), said(Some(0), 0)], [None, None], "an older node, and one without a cache");
        let load = ServerLoad::from(beat(None, 0));
        assert_eq!((load.running, load.waiting, load.token_us), (3, 2, Some(20_000)));
    }
}
