//! Sealed provider state of turns with tool calls, for example encrypted reasoning, that must be sent back
//! with the next turn. Looked up by the ids of the calls.

use database::handle::Database;
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

#[derive(Clone, Copy)]
pub struct StoredTurns<'a>(pub &'a Database);
