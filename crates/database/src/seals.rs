//! The rule that nothing is stored under a key that is gone.

use domain::WorkspaceId;

use crate::error::StoreError;
use crate::fields::ColumnId;
use crate::statement::sql;
use crate::writing::Writing;

/// Refuses a seal under a deleted key, made by a replica that learned too late of the workspace's next key:
/// it could never be opened.
pub async fn require_key(
    writing: &mut Writing,
    workspace: WorkspaceId,
    key_id: &str,
) -> Result<(), StoreError> {
    let query = sql("SELECT 1 AS one FROM workspace_keys WHERE workspace = $1 AND key_id = $2");
    let known = query.bind(workspace.bytes()).bind(key_id).row(writing.connection()).await?;
    known.map(drop).ok_or_else(|| {
        let detail = "the workspace's key was replaced meanwhile; send the request again";
        StoreError::conflict("sealing_key_replaced", detail, None)
    })
}
