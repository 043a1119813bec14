//! A board on which commitments are used up by what the books say, for plans away from the serving cores.

use std::sync::Arc;

use board::{Availability, AvailabilityView, Load, PrefixTable, SeatKey};
use domain::{BudgetId, NodeId, Principal, SubscriptionId, UsageWindow, WorkspaceId};
use placement::NodeLoad;

/// Cores learn only by serving that a commitment is used up; the books know it always.
pub struct CommitmentBoard<'a> {
    board: &'a dyn AvailabilityView,
    spent: Vec<BudgetId>,
}

impl<'a> CommitmentBoard<'a> {
    /// `spent` are the commitments that are used up.
    pub fn new(board: &'a dyn AvailabilityView, spent: Vec<BudgetId>) -> Self {
        Self { board, spent }
    }
}

impl AvailabilityView for CommitmentBoard<'_> {
    fn availability(&self, seat: &SeatKey<'_>, now_us: u64) -> Availability {
        self.board.availability(seat, now_us)
    }

    fn first_byte_us(&self, principal: Principal, upstream_model: &str) -> Option<u64> {
        self.board.first_byte_us(principal, upstream_model)
    }

    fn load(&self, principal: Principal, upstream_model: &str, now_us: u64) -> Load {
        self.board.load(principal, upstream_model, now_us)
    }

    fn node_load(&self, node: NodeId, now_us: u64) -> NodeLoad {
        self.board.node_load(node, now_us)
    }

    fn prefix_table(&self, workspace: WorkspaceId, now_us: u64) -> Option<Arc<PrefixTable>> {
        self.board.prefix_table(workspace, now_us)
    }

    fn used_up_until(&self, id: SubscriptionId, windows: &[UsageWindow], now_unix_ms: u64) -> Option<u64> {
        self.board.used_up_until(id, windows, now_unix_ms)
    }

    fn is_commitment_spent(&self, principal: Principal, mark: u64, now_us: u64) -> bool {
        self.spent.iter().any(|commitment| commitment.is_commitment_of(principal))
            || self.board.is_commitment_spent(principal, mark, now_us)
    }
}
