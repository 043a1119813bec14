//! Stored hints: what clients wish of how their requests are served, under an id that requests refer to.

use domain::{HintsId, WorkspaceId};

use crate::resource::Json;

/// One above the limit is refused as `too_many_hints`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentHintsRow {
    pub id: HintsId,
    pub workspace: WorkspaceId,
    /// What people call it; may be empty.
    pub name: String,
    /// As the client sent them, without the name.
    pub hints: Json,
    pub created_unix_ms: u64,
    /// Ignored on writing.
    pub version: u64,
}
