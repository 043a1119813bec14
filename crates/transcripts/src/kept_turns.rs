//! Sealed provider state of turns with tool calls, for example encrypted reasoning, that must be sent back
//! with the next turn. Looked up by the ids of the calls.

use database::error::StoreFuture;
use domain::ports::PurgeScope;
use domain::{ProjectId, Sealed, TraceId, WorkspaceId};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptTurnRow {
    /// The keyed hash of request and first call.
    pub digest: [u8; 32],
    pub workspace: WorkspaceId,
    pub project: ProjectId,
    pub request: TraceId,
    pub sealed: Sealed,
    pub until_unix_ms: u64,
}

/// A lookup of turns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnLookup {
    pub workspace: WorkspaceId,
    pub project: ProjectId,
    /// Keyed hashes of the call ids.
    pub calls: Vec<[u8; 32]>,
    /// Turns that have expired by then are not returned.
    pub now_unix_ms: u64,
    /// If the turns exceed this size together, only the newest are returned.
    pub bytes_max: u64,
}

pub trait StoredTurns: Send + Sync {
    /// From here on each of the calls leads to this turn. The same turn may be stored again if the reply was
    /// lost.
    ///
    /// # Errors
    /// If it is sealed under a workspace key that was replaced, or its project is gone.
    fn keep(&self, turn: KeptTurnRow, calls: Vec<[u8; 32]>) -> StoreFuture<'_, ()>;
    /// Each turn once, oldest first.
    fn find(&self, lookup: TurnLookup) -> StoreFuture<'_, Vec<KeptTurnRow>>;
    /// Deletes at most `rows_max` expired rows, and returns how many it deleted.
    fn expire(&self, now_unix_ms: u64, rows_max: u32) -> StoreFuture<'_, u64>;
    fn purge(&self, scope: PurgeScope) -> StoreFuture<'_, u64>;
    fn remaining(&self, scope: PurgeScope) -> StoreFuture<'_, u64>;
}
