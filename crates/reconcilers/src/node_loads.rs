//! How busy nodes are: what joined ones say with their heartbeats, to this gateway or to another of the same database, and what
//! the servers of others publish. It goes to the board alone, so that no heartbeat rebuilds a snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::limits::{NODE_BEATS_MISSED_MAX, PAGE_ROWS_MAX};
use domain::timeline::micros;
use domain::{NodeId, WorkspaceId};
use execute::RuntimeRequest;
use http::Method;
use placement::LoadReport;
use placement::metrics::{LoadSource, ServerLoad};
use plan::Seat;
use serde::Deserialize;
use snapshot::NodeState;
use store::Page;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::Deps;
use crate::limits::{NODE_LOAD_EVERY, NODE_LOAD_TIME_MAX, NODE_LOADS_AT_ONCE};
use crate::nodes::Nodes;

/// The added nodes that may publish their load.
#[derive(Debug, Default)]
pub(crate) struct Publishers(Mutex<BTreeMap<NodeId, Publisher>>);

#[derive(Debug, Clone, Copy)]
struct Publisher {
    workspace: WorkspaceId,
    /// Where it was read last; `None` if all places are to be tried.
    source: Option<LoadSource>,
}

impl Publishers {
    fn held(&self) -> MutexGuard<'_, BTreeMap<NodeId, Publisher>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of each joined node the time of the last heartbeat whose load is on the board. A load that is noted twice would hide what this
/// gateway sent in between.
#[derive(Debug, Default)]
pub(crate) struct Heard(Mutex<BTreeMap<NodeId, u64>>);

impl Heard {
    fn held(&self) -> MutexGuard<'_, BTreeMap<NodeId, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a heartbeat is later than the last one.
    fn is_news(&self, node: NodeId, unix_ms: u64) -> bool {
        let mut held = self.held();
        let is_news = held.get(&node).is_none_or(|last| *last < unix_ms);
        if is_news {
            held.insert(node, unix_ms);
        }
        is_news
    }
}

/// What a joined node says of its load with a heartbeat.
#[derive(Debug, Clone, Copy, Deserialize)]
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

impl BeatLoad {
    /// Of what a node reported of itself, as it is stored.
    fn of_report(report: &serde_json::Value) -> Option<Self> {
        Self::deserialize(report.get("load")?).ok()
    }
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
    /// A joined node said at this time how busy it is.
    pub fn note_load(&self, node: NodeId, load: BeatLoad, unix_ms: u64) {
        if self.heard().is_news(node, unix_ms) {
            note(self.deps(), node, load.into(), self.beat_every() * NODE_BEATS_MISSED_MAX);
        }
    }

    /// Notes what joined nodes said to other gateways of the same database.
    async fn note_loads_of_others(&self) {
        let now_unix_ms = self.deps().world.clock.unix_ms();
        let mut after = None;
        let mut there = BTreeSet::new();
        loop {
            let page = Page { limit: PAGE_ROWS_MAX, after };
            let listed = match self.deps().store.nodes().list_all(page).await {
                Ok(listed) => listed,
                Err(error) => {
                    tracing::warn!(%error, "nodes' reports to other gateways couldn't be read");
                    return;
                }
            };
            for row in &listed.rows {
                let Some(joined) = row.joined.as_ref().filter(|joined| joined.is_alive(now_unix_ms)) else {
                    continue;
                };
                there.insert(row.id);
                if let (Some(unix_ms), Some(load)) =
                    (joined.beat_unix_ms, joined.report.as_ref().and_then(BeatLoad::of_report))
                {
                    self.note_load(row.id, load, unix_ms);
                }
            }
            after = listed.next;
            if after.is_none() {
                break;
            }
        }
        self.heard().held().retain(|node, _| there.contains(node));
    }

    /// Has an added node's server read for what it says of its load, from soon on for as long as it says it.
    pub fn read_load_of(&self, workspace: WorkspaceId, node: NodeId) {
        self.publishers().held().entry(node).or_insert(Publisher { workspace, source: None });
    }

    /// Periodically reads what the servers of added nodes publish of their load, and what joined ones said to other gateways, until
    /// the process ends.
    pub async fn watch_loads(self: Arc<Self>) {
        loop {
            tokio::time::sleep(NODE_LOAD_EVERY).await;
            if self.deps().store.is_shared() {
                self.note_loads_of_others().await;
            }
            let publishers = self.publishers().held().clone();
            let permits = Arc::new(Semaphore::new(NODE_LOADS_AT_ONCE));
            let mut polls = JoinSet::new();
            for (node, publisher) in publishers {
                let (nodes, permits) = (Arc::clone(&self), Arc::clone(&permits));
                polls.spawn(async move {
                    let Ok(_permit) = permits.acquire().await else { return };
                    nodes.read_load(node, publisher).await;
                });
            }
            while polls.join_next().await.is_some() {}
        }
    }

    async fn read_load(&self, node: NodeId, publisher: Publisher) {
        for source in
            LoadSource::ALL.into_iter().filter(|one| publisher.source.is_none_or(|last| last == *one))
        {
            if let Some(load) = read(self.deps(), publisher.workspace, node, source).await {
                note(self.deps(), node, load, NODE_LOAD_EVERY * NODE_BEATS_MISSED_MAX);
                let found = Publisher { source: Some(source), ..publisher };
                self.publishers().held().insert(node, found);
                return;
            }
        }
        // It is tried again after the next poll that reaches it.
        self.publishers().held().remove(&node);
    }
}

fn note(deps: &Deps, node: NodeId, load: ServerLoad, lasts: std::time::Duration) {
    let ServerLoad { running, waiting, kv_permille, token_us } = load;
    let until_us = deps.world.clock.monotonic_us().saturating_add(micros(lasts));
    let report = LoadReport { running, waiting, kv_permille, token_us, in_flight_then: 0 };
    deps.board.note_node(node, report, until_us);
}

async fn read(deps: &Deps, workspace: WorkspaceId, node: NodeId, source: LoadSource) -> Option<ServerLoad> {
    let snapshot = deps.keeper.current();
    let nodes = &snapshot.workspace(workspace)?.nodes;
    let entry = nodes.iter().find(|entry| entry.id == node && entry.state != NodeState::Unreachable)?;
    let target = deps.target(Seat::Byoc(Arc::clone(entry))).ok()?;
    let request = RuntimeRequest {
        method: Method::GET,
        path: source.path().to_owned(),
        body: None,
        time_max: NODE_LOAD_TIME_MAX,
    };
    let reply = deps.outbound.ask_runtime(target, request).await.ok()?;
    if reply.status == 200 { source.read(&reply.body) } else { None }
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
        let stored = serde_json::json!({"load": {"running": 5, "waiting": 2, "cache_bytes": 1, "cache_bytes_max": 8, "cache_held_bytes": 4}});
        let read = BeatLoad::of_report(&stored).map(ServerLoad::from);
        assert_eq!(read.map(|load| (load.running, load.waiting, load.kv_permille)), Some((3, 2, Some(500))));
        assert!(BeatLoad::of_report(&serde_json::json!({"version": "0"})).is_none());
        let load = ServerLoad::from(beat(None, 0));
        assert_eq!((load.running, load.waiting, load.token_us), (3, 2, Some(20_000)));
    }
}
