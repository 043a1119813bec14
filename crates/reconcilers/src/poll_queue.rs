//! The queue of joined nodes to poll at their address: each node once at a time, with a pause before its next
//! poll.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::{NodeId, WorkspaceId};
use tokio::sync::Notify;

#[derive(Default)]
pub struct PollQueue {
    round: Mutex<Round>,
    came: Notify,
}

#[derive(Default)]
struct Round {
    waiting: VecDeque<(WorkspaceId, NodeId)>,
    /// The queued nodes, and those being polled or pausing; the flag says whether a node was requested again
    /// since.
    known: BTreeMap<NodeId, bool>,
}

impl PollQueue {
    /// Never blocks.
    pub fn add(&self, workspace: WorkspaceId, node: NodeId) {
        let mut round = self.round();
        match round.known.get_mut(&node) {
            Some(is_wanted_again) => *is_wanted_again = true,
            None => {
                round.known.insert(node, false);
                round.waiting.push_back((workspace, node));
                self.came.notify_one();
            }
        }
    }

    /// Waits for the node that was queued first.
    pub async fn next(&self) -> (WorkspaceId, NodeId) {
        loop {
            // A separate statement, so that the lock is not held during the await.
            let next = self.round().take();
            match next {
                Some(next) => return next,
                None => self.came.notified().await,
            }
        }
    }

    /// The node was polled, and its pause is over.
    pub fn rest(&self, workspace: WorkspaceId, node: NodeId) {
        // A separate statement: `add` takes the lock too.
        let is_wanted_again = self.round().known.remove(&node);
        if is_wanted_again == Some(true) {
            self.add(workspace, node);
        }
    }

    fn round(&self) -> MutexGuard<'_, Round> {
        self.round.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Round {
    fn take(&mut self) -> Option<(WorkspaceId, NodeId)> {
        let (workspace, node) = self.waiting.pop_front()?;
        self.known.insert(node, false);
        Some((workspace, node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_asked_once_at_a_time_and_again_where_that_is_wanted_meanwhile() {
        let (wanted, workspace) = (PollQueue::default(), WorkspaceId::new(1, [0; 10]));
        let node = |number| NodeId::new(1, [number; 10]);
        let add = |number| wanted.add(workspace, node(number));
        let next = || wanted.round().take().map(|(_, node)| node);
        for number in [2, 1, 2, 2] {
            add(number);
        }
        assert_eq!((next(), next(), next()), (Some(node(2)), Some(node(1)), None));
        add(2);
        assert_eq!(next(), None, "it rests");
        wanted.rest(workspace, node(2));
        wanted.rest(workspace, node(1));
        assert_eq!((next(), next()), (Some(node(2)), None));
        wanted.rest(workspace, node(2));
        add(1);
        assert_eq!((next(), next()), (Some(node(1)), None));
    }
}
