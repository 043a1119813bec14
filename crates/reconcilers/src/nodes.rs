//! Polls nodes for the models they serve: when one is added or sends a heartbeat, and periodically. Nodes that
//! joined with a token count as away when their heartbeats stop, or while they can't be reached at the address
//! they gave.

use std::sync::Arc;
use std::time::Duration;

use domain::limits::{JOINED_POLLED_AT_ONCE, NODE_BEATS_MISSED_MAX, NODE_POLL_EVERY};
use domain::{Fault, NodeId, WorkspaceId};
use plan::Seat;
use store::{Act, NodeObservation, NodeRow, Page, StoreError};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::failure::of_store;
use crate::node_loads::{Heard, Publishers};
use crate::poll_queue::PollQueue;
use crate::{Deps, judgement, milliseconds};

/// How base URLs begin that lead through the tunnel of a node.
const TUNNEL: &str = "tunnel:";

/// What joined nodes are given.
#[derive(Debug, Clone)]
pub struct NodeTerms {
    /// How long their certificates are valid, which they renew at half of it.
    pub certificate: Duration,
    /// How long a node may serve without hearing from us.
    pub alone: Duration,
    /// The gateways that want a tunnel each. None: the one that a node joined.
    pub tunnel_urls: Arc<[String]>,
}

/// Watches the nodes of all workspaces.
pub struct Nodes {
    deps: Deps,
    /// How often joined nodes are to send heartbeats.
    beat_every: Duration,
    terms: NodeTerms,
    /// Joined nodes that are to be polled at their address.
    poll_queue: PollQueue,
    publishers: Publishers,
    heard: Heard,
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
    if base_url.starts_with(TUNNEL) {
        return format!(
            "It says that it is there, but it can't be used through its tunnel: {error} It is asked again."
        );
    }
    format!(
        "It says that it is there, but it can't be used at {base_url}: {error} It is asked again. If that is not its address, \
         have it join again: `tidegate nodes revoke` and `tidegate nodes invite {name}` here, then `tidegate node join` with \
         --address there."
    )
}

impl Nodes {
    pub fn new(deps: Deps, beat_every: Duration, terms: NodeTerms) -> Arc<Self> {
        Arc::new(Self {
            deps,
            beat_every,
            terms,
            poll_queue: PollQueue::default(),
            publishers: Publishers::default(),
            heard: Heard::default(),
        })
    }

    pub(crate) const fn deps(&self) -> &Deps {
        &self.deps
    }

    pub(crate) const fn publishers(&self) -> &Publishers {
        &self.publishers
    }

    pub(crate) const fn heard(&self) -> &Heard {
        &self.heard
    }

    pub const fn beat_every(&self) -> Duration {
        self.beat_every
    }

    pub const fn terms(&self) -> &NodeTerms {
        &self.terms
    }

    /// When a node that reports now counts as away, unless it reports again.
    pub fn due_unix_ms(&self, now_unix_ms: u64) -> u64 {
        now_unix_ms.saturating_add(milliseconds(self.beat_every * NODE_BEATS_MISSED_MAX))
    }

    /// Has a joined node polled at its address soon. Never blocks.
    pub fn poll_soon(&self, workspace: WorkspaceId, node: NodeId) {
        self.poll_queue.add(workspace, node);
    }

    /// The same for a node whose tunnel opened or ended: it is polled however short ago the last poll was.
    pub fn poll_at_once(&self, workspace: WorkspaceId, node: NodeId) {
        self.poll_queue.add_at_once(workspace, node);
    }

    /// Polls all nodes periodically until the process ends. Unreachable nodes are polled too: they may come
    /// back.
    pub async fn watch_nodes(self: Arc<Self>) {
        loop {
            tokio::time::sleep(NODE_POLL_EVERY).await;
            let mut after: Option<NodeId> = None;
            loop {
                let page = Page { limit: domain::limits::PAGE_ROWS_MAX, after };
                let listed = match self.deps.store.nodes().list_all(page).await {
                    Ok(listed) => listed,
                    Err(error) => {
                        tracing::warn!(%error, "the nodes could not be listed");
                        break;
                    }
                };
                for row in listed.rows {
                    let id = row.id;
                    // A joined node is polled when its heartbeat arrives, which may be seldom.
                    if row.joined.is_some() {
                        if !row.reachable && !is_silent(&row, self.deps.world.clock.unix_ms()) {
                            self.poll_queue.add(row.workspace, id);
                        }
                        continue;
                    }
                    let workspace = row.workspace;
                    match self.deps.poll_node(row).await {
                        Ok(row) if row.reachable => self.read_load_of(workspace, id),
                        Ok(_) => {}
                        Err(fault) => {
                            tracing::warn!(node = %id, %fault, "a node's report couldn't be stored")
                        }
                    }
                }
                after = listed.next;
                if after.is_none() {
                    break;
                }
            }
        }
    }

    /// Polls the nodes in the queue, a few at once, until the process ends.
    pub async fn watch_joined(self: Arc<Self>) {
        let permits = Arc::new(Semaphore::new(JOINED_POLLED_AT_ONCE));
        let mut polls = JoinSet::new();
        loop {
            let (workspace, node) = tokio::select! {
                wanted = self.poll_queue.next() => wanted,
                Some(_) = polls.join_next() => continue,
            };
            let (nodes, permits) = (Arc::clone(&self), Arc::clone(&permits));
            polls.spawn(async move {
                if let Ok(permit) = permits.acquire().await {
                    if let Err(fault) = nodes.poll_joined(workspace, node).await {
                        tracing::warn!(%node, %fault, "a node's report couldn't be stored");
                    }
                    drop(permit);
                }
                nodes.poll_queue.polled(workspace, node);
                // However often it sends heartbeats, it is polled no more often than this.
                tokio::time::sleep(nodes.beat_every.min(NODE_POLL_EVERY) / 2).await;
                nodes.poll_queue.rest(workspace, node);
            });
        }
    }

    async fn poll_joined(&self, workspace: WorkspaceId, node: NodeId) -> Result<(), Box<Fault>> {
        match self.deps.store.nodes().get(workspace, node).await {
            Ok(row) => self.deps.poll_node(row).await.map(drop),
            // Removed in the meantime.
            Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(of_store(error)),
        }
    }

    /// Periodically marks nodes whose heartbeats have stopped, until the process ends.
    pub async fn watch_heartbeats(self: Arc<Self>) {
        // What was due while this process was down says nothing about the nodes: each has first the time that a silent
        // one has.
        tokio::time::sleep(self.beat_every * NODE_BEATS_MISSED_MAX).await;
        loop {
            let why = format!("It has missed {NODE_BEATS_MISSED_MAX} heartbeats.");
            match self.deps.store.joins().mark_overdue(self.deps.world.clock.unix_ms(), why).await {
                Ok(missed) if missed.row > 0 => tracing::warn!(nodes = missed.row, "nodes are away"),
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "whether nodes are away could not be looked up"),
            }
            tokio::time::sleep(self.beat_every).await;
        }
    }
}

impl Deps {
    /// Polls one node and stores what it reports. A joined node reports its models itself, so the poll only
    /// checks that it can be reached at its address.
    pub async fn poll_node(&self, row: NodeRow) -> Result<NodeRow, Box<Fault>> {
        if is_silent(&row, self.world.clock.unix_ms()) {
            return Ok(row);
        }
        let snapshot = self.keeper.current();
        let entry = snapshot
            .workspace(row.workspace)
            .and_then(|workspace| workspace.nodes.iter().find(|entry| entry.id == row.id).cloned());
        let Some(entry) = entry else { return Ok(row) };
        let base_url = entry.base_url.to_string();
        let report = self.verify(Seat::Byoc(entry)).await?;
        let (reachable, reason) = (report.is_well(), judgement::of(&report).1);
        let (models, error) = match row.joined {
            Some(_) => (None, reason.map(|reason| not_reached(&row.name, &base_url, &reason))),
            None => (report.models, reason),
        };
        // A joined node was seen with its heartbeat: a poll that finds what is stored has nothing to add to it.
        if row.joined.is_some() && (row.reachable, &row.last_error) == (reachable, &error) {
            return Ok(row);
        }
        let found = NodeObservation { unix_ms: self.world.clock.unix_ms(), reachable, models, error };
        let written = self.store.nodes().record_observation(row.workspace, row.id, base_url, found);
        let written = written.await.map_err(of_store)?;
        self.await_published(written.version).await?;
        Ok(written.row)
    }

    /// Polls a new node, or one at a new address, and probes what it supports.
    pub async fn learn_node(&self, row: NodeRow) -> Result<NodeRow, Box<Fault>> {
        let row = self.poll_node(row).await?;
        self.probe_node(Act::system(&self.world), row, None).await
    }
}
