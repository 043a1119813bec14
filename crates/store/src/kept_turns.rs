//! What providers must be shown again of turns in which tools were called, found by the calls.

use domain::ports::PurgeScope;
use domain::{ProjectId, Sealed, TraceId, WorkspaceId};

use crate::StoreFuture;

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

/// Which turns are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnsAsked {
    pub workspace: WorkspaceId,
    pub project: ProjectId,
    /// Keyed hashes.
    pub calls: Vec<[u8; 32]>,
    /// What is over then is not found.
    pub now_unix_ms: u64,
    /// Of more than these, the newest are found.
    pub bytes_max: u64,
}

pub trait KeptTurns: Send + Sync {
    /// From here on each of the calls leads to this turn. The same turn may be kept again where the answer was lost.
    ///
    /// # Errors
    /// Its seal is of a key that was replaced, or its project is gone.
    fn keep(&self, turn: KeptTurnRow, calls: Vec<[u8; 32]>) -> StoreFuture<'_, ()>;
    /// Each turn once, the oldest first.
    fn find(&self, asked: TurnsAsked) -> StoreFuture<'_, Vec<KeptTurnRow>>;
    /// Removes what is over, so many rows at most; how many there were.
    fn expire(&self, now_unix_ms: u64, rows_max: u32) -> StoreFuture<'_, u64>;
    fn purge(&self, scope: PurgeScope) -> StoreFuture<'_, u64>;
    fn remaining(&self, scope: PurgeScope) -> StoreFuture<'_, u64>;
}
