//! The caches of nodes that served requests of a scope. A node belongs to one workspace, so all of its cache is dropped.

use bytes::Bytes;
use domain::ports::PortFuture;
use domain::purge::{Claim, Guarantee, Holding, Place, Probed, PurgeError, PurgeScope, Purgeable};
use domain::{Principal, WorkspaceId};
use http::Method;
use line::{RuntimeRequest, VerifyTarget};
use plan::Seat;

use super::sent::sent;
use crate::Deps;
use crate::async_billing::fault_message;
use crate::limits::NODE_PURGE_TIME_MAX;
use crate::principals::seat_of;

/// Key-value and prefix caches of nodes.
pub struct NodeCaches(pub Deps);

/// Below the node's address, which ends with the version.
const PURGE_PATH: &str = "cache/purge";

/// How a node answered.
enum Cleared {
    /// The blocks that it freed now, in memory and on its disk, and those that answers in progress still use.
    Blocks(u64),
    /// It has no such route, or has left the workspace.
    Never(&'static str),
}

impl NodeCaches {
    async fn clear(&self, workspace: WorkspaceId, node: &str) -> Result<Cleared, PurgeError> {
        let snapshot = self.0.keeper.current();
        let seat = node.parse().ok().and_then(|node| seat_of(&snapshot, workspace, Principal::Node(node)));
        let Some(target) = seat.and_then(|seat: Seat| VerifyTarget::of(seat, &snapshot)) else {
            return Ok(Cleared::Never("The node is no longer one of the workspace's."));
        };
        let request = RuntimeRequest {
            method: Method::POST,
            path: PURGE_PATH.to_owned(),
            body: Some(Bytes::from_static(b"{}")),
            time_max: NODE_PURGE_TIME_MAX,
        };
        let reply = self.0.outbound.ask_runtime(target, request).await;
        let reply = reply.map_err(|fault| PurgeError(fault_message(&fault)))?;
        match reply.status {
            200..300 => {
                let report: serde_json::Value = serde_json::from_slice(&reply.body)
                    .map_err(|_| PurgeError(format!("The node {node} gave no readable answer.")))?;
                let count = |at: &str| report.pointer(at).and_then(serde_json::Value::as_u64).unwrap_or(0);
                Ok(Cleared::Blocks(count("/blocks") + count("/held/blocks") + count("/disk_blocks")))
            }
            404 | 405 | 501 => Ok(Cleared::Never(
                "The node's runtime can't be told to drop its cache; it overwrites it as others need it.",
            )),
            status => Err(PurgeError(format!("The node {node} answered {status}."))),
        }
    }
}

impl Purgeable for NodeCaches {
    fn place(&self) -> Place {
        Place::NodeCaches
    }

    fn purge(&self, scope: PurgeScope) -> PortFuture<'_, Result<u64, PurgeError>> {
        Box::pin(async move {
            let mut cleared = 0;
            for holding in self.survey(scope.clone()).await? {
                if let Cleared::Blocks(blocks) = self.clear(scope.workspace, &holding.processor).await? {
                    cleared += blocks;
                }
            }
            Ok(cleared)
        })
    }

    /// Told by the probe, which asks each node again.
    fn remaining(&self, _scope: PurgeScope) -> PortFuture<'_, Result<u64, PurgeError>> {
        Box::pin(async { Ok(0) })
    }

    fn survey(&self, scope: PurgeScope) -> PortFuture<'_, Result<Vec<Holding>, PurgeError>> {
        Box::pin(async move {
            let sent = sent(&self.0, &scope).await?;
            let nodes = sent.into_values().filter(|(principal, _)| matches!(principal, Principal::Node(_)));
            let holding = |(node, items): (Principal, u64)| Holding {
                processor: node.to_string(),
                kind: "requests".to_owned(),
                items,
            };
            Ok(nodes.map(holding).collect())
        })
    }

    fn probe(
        &self,
        scope: PurgeScope,
        before: Vec<Holding>,
    ) -> PortFuture<'_, Result<Vec<Probed>, PurgeError>> {
        Box::pin(async move {
            let mut probed = Vec::new();
            for holding in before {
                let (items, claim) = match self.clear(scope.workspace, &holding.processor).await? {
                    Cleared::Blocks(blocks) => {
                        let how = "The node freed its caches, and had none when told so again.";
                        (blocks, Claim::verified(Guarantee::VerifiedPhysicalPurge, how))
                    }
                    Cleared::Never(why) => (0, Claim::expiry(why, None)),
                };
                probed.push(Probed { holding: Holding { items, ..holding }, claim });
            }
            Ok(probed)
        })
    }
}
