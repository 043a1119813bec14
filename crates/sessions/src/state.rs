//! The sessions and artifacts of agents, as a place that can be purged.

use domain::ports::PortFuture;
use domain::purge::{Place, PurgeError, PurgeScope, Purgeable};
use store::Store;

/// What agents keep.
pub struct AgentState(pub Store);

impl Purgeable for AgentState {
    fn place(&self) -> Place {
        Place::AgentState
    }

    fn purge(&self, scope: PurgeScope) -> PortFuture<'_, Result<u64, PurgeError>> {
        Box::pin(async move { Ok(self.0.state_purges().purge(scope).await?) })
    }

    fn remaining(&self, scope: PurgeScope) -> PortFuture<'_, Result<u64, PurgeError>> {
        Box::pin(async move { Ok(self.0.state_purges().remaining(scope).await?) })
    }

    fn knows(&self, scope: PurgeScope) -> PortFuture<'_, Result<bool, PurgeError>> {
        Box::pin(async move { Ok(self.0.state_purges().knows(scope).await?) })
    }
}
