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
    /// The queued nodes, and those being polled or pausing.
    known: BTreeMap<NodeId, Turn>,
}

/// Where a node is, and whether it was requested again since its poll began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Waiting,
    Polling { again: Again },
    Pausing { is_wanted: bool },
}

/// When a node that is being polled is to be polled again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Again {
    Never,
    AfterPause,
    AtOnce,
}

impl PollQueue {
    /// Never blocks.
    pub fn add(&self, workspace: WorkspaceId, node: NodeId) {
        let mut round = self.round();
        match round.known.get_mut(&node) {
            Some(Turn::Waiting) => {}
            Some(Turn::Polling { again }) => *again = (*again).max(Again::AfterPause),
            Some(Turn::Pausing { is_wanted }) => *is_wanted = true,
            None => self.queue(round, workspace, node),
        }
    }

    /// The same for a node to which something has changed: it does not pause first.
    pub fn add_at_once(&self, workspace: WorkspaceId, node: NodeId) {
        let mut round = self.round();
        match round.known.get_mut(&node) {
            Some(Turn::Waiting) => {}
            Some(Turn::Polling { again }) => *again = Again::AtOnce,
            Some(Turn::Pausing { .. }) | None => self.queue(round, workspace, node),
        }
    }

    fn queue(&self, mut round: MutexGuard<'_, Round>, workspace: WorkspaceId, node: NodeId) {
        round.known.insert(node, Turn::Waiting);
        round.waiting.push_back((workspace, node));
        self.came.notify_one();
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

    /// The node was polled, and pauses.
    pub fn polled(&self, workspace: WorkspaceId, node: NodeId) {
        let mut round = self.round();
        let Some(Turn::Polling { again }) = round.known.get(&node).copied() else { return };
        if again == Again::AtOnce {
            self.queue(round, workspace, node);
        } else {
            round.known.insert(node, Turn::Pausing { is_wanted: again == Again::AfterPause });
        }
    }

    /// The node's pause is over.
    pub fn rest(&self, workspace: WorkspaceId, node: NodeId) {
        let mut round = self.round();
        // Otherwise it is already being polled again, and pauses after that poll.
        let Some(Turn::Pausing { is_wanted }) = round.known.get(&node).copied() else { return };
        round.known.remove(&node);
        if is_wanted {
            self.queue(round, workspace, node);
        }
    }

    fn round(&self) -> MutexGuard<'_, Round> {
        self.round.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Round {
    fn take(&mut self) -> Option<(WorkspaceId, NodeId)> {
        let (workspace, node) = self.waiting.pop_front()?;
        self.known.insert(node, Turn::Polling { again: Again::Never });
        Some((workspace, node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u8) -> NodeId {
        NodeId::new(1, [number; 10])
    }

    #[test]
    fn one_is_polled_once_at_a_time_and_again_where_that_is_wanted_meanwhile() {
        let (wanted, workspace) = (PollQueue::default(), WorkspaceId::new(1, [0; 10]));
        let add = |number| wanted.add(workspace, node(number));
        let next = || wanted.round().take().map(|(_, node)| node);
        let end = |number| {
            wanted.polled(workspace, node(number));
            wanted.rest(workspace, node(number));
        };
        for number in [2, 1, 2, 2] {
            add(number);
        }
        assert_eq!((next(), next(), next()), (Some(node(2)), Some(node(1)), None));
        add(2);
        assert_eq!(next(), None, "it is being polled");
        wanted.polled(workspace, node(2));
        assert_eq!(next(), None, "it rests");
        wanted.rest(workspace, node(2));
        end(1);
        assert_eq!((next(), next()), (Some(node(2)), None));
        wanted.polled(workspace, node(2));
        add(2);
        wanted.rest(workspace, node(2));
        assert_eq!((next(), next()), (Some(node(2)), None), "wanted while it rested");
        end(2);
        add(1);
        assert_eq!((next(), next()), (Some(node(1)), None));
    }

    #[test]
    fn what_has_changed_does_not_pause() {
        let (wanted, workspace) = (PollQueue::default(), WorkspaceId::new(1, [0; 10]));
        let add = || wanted.add_at_once(workspace, node(1));
        let next = || wanted.round().take().map(|(_, node)| node);
        add();
        add();
        assert_eq!((next(), next()), (Some(node(1)), None));
        // While it is polled, and while it rests.
        add();
        assert_eq!(next(), None);
        wanted.polled(workspace, node(1));
        assert_eq!((next(), next()), (Some(node(1)), None));
        wanted.polled(workspace, node(1));
        add();
        assert_eq!((next(), next()), (Some(node(1)), None));
        // The pause of the poll before is over; this poll goes on, and has its own.
        wanted.rest(workspace, node(1));
        wanted.add(workspace, node(1));
        assert_eq!(next(), None);
        wanted.polled(workspace, node(1));
        wanted.rest(workspace, node(1));
        assert_eq!((next(), next()), (Some(node(1)), None));
    }
}
