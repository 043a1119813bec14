//! Polls nodes for the models they serve: when one is added or sends a heartbeat, and periodically.

use std::sync::Arc;

use domain::limits::NODE_POLL_EVERY;
use domain::{Fault, NodeId};
use line::Seat;
use store::{Act, NodeObservation, NodeRow, Page};

use crate::failure::of_store;
use crate::{Control, joined_nodes, judgement};

impl Control {
    /// Polls one node and stores what it reports. A joined node reports its models itself, so the poll only
    /// checks that it can be reached at its address.
    ///
    /// # Errors
    /// Store errors.
    pub(crate) async fn poll_node(&self, row: NodeRow) -> Result<NodeRow, Box<Fault>> {
        if joined_nodes::is_silent(&row, self.world.clock.unix_ms()) {
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
            Some(_) => (None, reason.map(|reason| joined_nodes::not_reached(&row.name, &base_url, &reason))),
            None => (report.models, reason),
        };
        let found = NodeObservation { unix_ms: self.world.clock.unix_ms(), reachable, models, error };
        let written = self.store.nodes().observed(row.workspace, row.id, base_url, found);
        let written = written.await.map_err(of_store)?;
        self.await_published(written.version).await?;
        Ok(written.row)
    }

    /// Polls a new node, or one at a new address, and probes what it supports.
    ///
    /// # Errors
    /// Store errors.
    pub(crate) async fn learn_node(&self, row: NodeRow) -> Result<NodeRow, Box<Fault>> {
        let row = self.poll_node(row).await?;
        self.probe_node(Act::system(&self.world), row, None).await
    }

    /// Polls all nodes periodically until the process ends. Unreachable nodes are polled too: they may come
    /// back.
    pub async fn watch_nodes(self: Arc<Self>) {
        loop {
            tokio::time::sleep(NODE_POLL_EVERY).await;
            let mut after: Option<NodeId> = None;
            loop {
                let page = Page { limit: domain::limits::PAGE_ROWS_MAX, after };
                let listed = match self.store.nodes().list_all(page).await {
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
                        if !row.reachable && !joined_nodes::is_silent(&row, self.world.clock.unix_ms()) {
                            self.poll_queue.add(row.workspace, id);
                        }
                        continue;
                    }
                    if let Err(fault) = self.poll_node(row).await {
                        tracing::warn!(node = %id, %fault, "what a node said could not be kept");
                    }
                }
                after = listed.next;
                if after.is_none() {
                    break;
                }
            }
        }
    }
}
