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

impl Nodes {
    /// A joined node said with its heartbeat how many answers are in progress, and how many of them wait.
    pub fn note_load(&self, node: NodeId, running: u64, waiting: u64) {
        let count = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let load = ServerLoad {
            running: count(running.saturating_sub(waiting)),
            waiting: count(waiting),
            kv_permille: None,
        };
        note(self.deps(), node, load, self.beat_every() * NODE_BEATS_MISSED_MAX);
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
    let ServerLoad { running, waiting, kv_permille } = load;
    let until_us = deps.world.clock.monotonic_us().saturating_add(micros(lasts));
    deps.board.note_node(node, LoadReport { running, waiting, kv_permille, in_flight_then: 0 }, until_us);
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
