//! What a purge removes of agents' state.

use database::error::StoreFuture;
use domain::purge::PurgeScope;

pub trait StatePurges: Send + Sync {
    /// Returns how many things were removed: contents, and sessions, artifacts and bundles with their names.
    fn purge(&self, scope: PurgeScope) -> StoreFuture<'_, u64>;
    /// How many are left.
    fn remaining(&self, scope: PurgeScope) -> StoreFuture<'_, u64>;
    /// Whether there is, or was, what a scope of a session or of artifacts names.
    fn knows(&self, scope: PurgeScope) -> StoreFuture<'_, bool>;
}
