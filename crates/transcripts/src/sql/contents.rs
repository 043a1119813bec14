//! SQL for sealed contents.

use database::connection::Connection;
use database::error::StoreError;
use database::fields::{ColumnId, Fields};
use database::seals::require_key;
use database::statement::sql;
use database::writing::Writing;
use domain::WorkspaceId;

use crate::artifacts::SealedContent;

const TABLE: &str = "state_contents";

pub(super) async fn put(
    writing: &mut Writing,
    workspace: WorkspaceId,
    content: SealedContent,
) -> Result<(), StoreError> {
    require_key(writing, workspace, &content.sealed.key_id).await?;
    let query = sql("INSERT INTO state_contents
         (digest, workspace, project, request, sealed_version, sealed_key_id, sealed)
         VALUES ($1, $2, $3, $4, $5, $6, $7)");
    query
        .bind(content.digest.to_vec())
        .bind(workspace.bytes())
        .bind(content.project.bytes())
        .bind(content.request.bytes())
        .bind(i64::from(content.sealed.version))
        .bind(content.sealed.key_id)
        .bind(content.sealed.bytes)
        .run(writing.connection())
        .await?;
    Ok(())
}

pub(super) async fn find(
    connection: &mut Connection,
    workspace: WorkspaceId,
    digest: [u8; 32],
) -> Result<Option<SealedContent>, StoreError> {
    let query = sql("SELECT * FROM state_contents WHERE digest = $1 AND workspace = $2");
    let row = query.bind(digest.to_vec()).bind(workspace.bytes()).row(connection).await?;
    row.map(|row| {
        let fields = Fields::new(TABLE, &row);
        Ok(SealedContent {
            digest,
            project: fields.id("project")?,
            request: fields.id("request")?,
            sealed: fields.sealed()?,
        })
    })
    .transpose()
}
