//! SQL for what is sealed about tools and MCP servers.

use database::error::StoreError;
use database::fields::ColumnId as _;
use database::seals::require_key;
use database::statement::sql;
use database::writing::Writing;
use domain::ObjectOwner;

use crate::sealed::SealedHeaders;

/// Refused under a key of the workspace that is gone.
pub(crate) async fn insert_secret(
    writing: &mut Writing,
    owner: ObjectOwner,
    secret: &SealedHeaders,
) -> Result<(), StoreError> {
    require_key(writing, owner.workspace, &secret.sealed.key_id).await?;
    let query = sql("INSERT INTO tool_secrets
         (digest, workspace, project, request, sealed_version, sealed_key_id, sealed)
         VALUES ($1, $2, $3, $4, $5, $6, $7)");
    query
        .bind(secret.digest.to_vec())
        .bind(owner.workspace.bytes())
        .bind(owner.project.bytes())
        .bind(secret.request.bytes())
        .bind(i64::from(secret.sealed.version))
        .bind(&secret.sealed.key_id)
        .bind(&secret.sealed.bytes)
        .run(writing.connection())
        .await
        .map(drop)
}

pub(crate) async fn remove_digest(writing: &mut Writing, digest: &[u8; 32]) -> Result<(), StoreError> {
    let query = sql("DELETE FROM tool_secrets WHERE digest = $1").bind(digest.to_vec());
    query.run(writing.connection()).await.map(drop)
}
