//! SQL for artifacts and bundles.

use database::act::Act;
use database::connection::Connection;
use database::error::StoreError;
use database::fields::{ColumnId, Fields, after, signed, to_text};
use database::holding;
use database::page::{Listed, Page};
use database::statement::{Row, compose, sql};
use database::writing::Writing;
use domain::{ArtifactId, BundleId, ProjectId, WorkspaceId};

use crate::artifacts::{ArtifactRow, Artifacts, BundleRow, Bundles, SealedContent};
use crate::sql::{contents, sessions};

const ARTIFACTS: &str = "artifacts";
const BUNDLES: &str = "bundles";

fn read(row: &Row) -> Result<ArtifactRow, StoreError> {
    let fields = Fields::new(ARTIFACTS, row);
    Ok(ArtifactRow {
        id: fields.id("id")?,
        workspace: fields.id("workspace")?,
        project: fields.id("project")?,
        kind: fields.text("kind")?,
        name: fields.text("name")?,
        media_type: fields.text("media_type")?,
        retention: fields.text("retention")?,
        content_bytes: fields.number("content_bytes")?,
        content_hash: fields.digest("content_hash")?,
        content: fields.digest("content")?,
        created_unix_ms: fields.number("created_unix_ms")?,
        until_unix_ms: fields.maybe_number("until_unix_ms")?,
        revoked_unix_ms: fields.maybe_number("revoked_unix_ms")?,
    })
}

async fn create(
    writing: &mut Writing,
    row: ArtifactRow,
    content: SealedContent,
    act: Act,
) -> Result<(), StoreError> {
    let (id, workspace, detail) = (row.id, row.workspace, row.kind.clone());
    contents::put(writing, row.workspace, content).await?;
    let query = sql("INSERT INTO artifacts
         (id, workspace, project, kind, name, media_type, retention, content_bytes, content_hash, content,
          created_unix_ms, until_unix_ms, revoked_unix_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)");
    query
        .bind(row.id.bytes())
        .bind(row.workspace.bytes())
        .bind(row.project.bytes())
        .bind(row.kind)
        .bind(row.name)
        .bind(row.media_type)
        .bind(row.retention)
        .bind(signed(row.content_bytes))
        .bind(row.content_hash.to_vec())
        .bind(row.content.to_vec())
        .bind(signed(row.created_unix_ms))
        .bind(row.until_unix_ms.map(signed))
        .bind(row.revoked_unix_ms.map(signed))
        .run(writing.connection())
        .await?;
    writing.audit(&act, Some(workspace), "artifact.create", id, detail).await
}

pub(super) async fn find(
    connection: &mut Connection,
    workspace: WorkspaceId,
    id: ArtifactId,
) -> Result<ArtifactRow, StoreError> {
    let query = sql("SELECT * FROM artifacts WHERE id = $1 AND workspace = $2");
    let row = query.bind(id.bytes()).bind(workspace.bytes()).row(connection).await?;
    row.as_ref().map(read).transpose()?.ok_or(StoreError::NotFound { what: "artifact" })
}

/// Refuses an artifact that is another project's, or whose content is gone.
pub(super) async fn require(
    writing: &mut Writing,
    workspace: WorkspaceId,
    project: ProjectId,
    id: ArtifactId,
) -> Result<(), StoreError> {
    let found = find(writing.connection(), workspace, id).await?;
    if found.project != project {
        return Err(StoreError::NotFound { what: "artifact" });
    }
    if found.revoked_unix_ms.is_some() {
        return Err(StoreError::conflict("artifact_revoked", format!("the artifact {id} was deleted"), None));
    }
    Ok(())
}

async fn revoke(
    writing: &mut Writing,
    workspace: WorkspaceId,
    id: ArtifactId,
    act: Act,
) -> Result<(), StoreError> {
    let row = find(writing.connection(), workspace, id).await?;
    holding::refuse_object(writing.connection(), ARTIFACTS, id.bytes()).await?;
    sql("DELETE FROM state_contents WHERE digest = $1")
        .bind(row.content.to_vec())
        .run(writing.connection())
        .await?;
    let query = sql("UPDATE artifacts SET revoked_unix_ms = $1 WHERE id = $2 AND revoked_unix_ms IS NULL");
    query.bind(signed(act.unix_ms)).bind(id.bytes()).run(writing.connection()).await?;
    writing.audit(&act, Some(workspace), "artifact.revoke", id, row.kind).await
}

async fn expire(writing: &mut Writing, now_unix_ms: u64, rows_max: u32) -> Result<u64, StoreError> {
    let over = format!(
        "FROM artifacts WHERE until_unix_ms <= $1 AND revoked_unix_ms IS NULL AND NOT {} ORDER BY id LIMIT $2",
        holding::held(ARTIFACTS)
    );
    let of_artifacts = compose(format!("DELETE FROM state_contents WHERE digest IN (SELECT content {over})"));
    of_artifacts.bind(signed(now_unix_ms)).bind(i64::from(rows_max)).run(writing.connection()).await?;
    let ended = compose(format!("UPDATE artifacts SET revoked_unix_ms = $1 WHERE id IN (SELECT id {over})"));
    let ended = ended.bind(signed(now_unix_ms)).bind(i64::from(rows_max)).run(writing.connection()).await?;
    let due = compose(format!(
        "SELECT id FROM sessions WHERE until_unix_ms <= $1 AND NOT {} ORDER BY until_unix_ms LIMIT $2",
        holding::held("sessions")
    ));
    let due = due.bind(signed(now_unix_ms)).bind(i64::from(rows_max)).rows(writing.connection()).await?;
    for row in &due {
        sessions::remove(writing, Fields::new("sessions", row).id("id")?).await?;
    }
    Ok(ended + due.len() as u64)
}

fn read_bundle(row: &Row) -> Result<BundleRow, StoreError> {
    let fields = Fields::new(BUNDLES, row);
    Ok(BundleRow {
        id: fields.id("id")?,
        workspace: fields.id("workspace")?,
        project: fields.id("project")?,
        name: fields.text("name")?,
        items: fields.json("items")?,
        created_unix_ms: fields.number("created_unix_ms")?,
    })
}

async fn create_bundle(writing: &mut Writing, row: BundleRow, act: Act) -> Result<(), StoreError> {
    for item in &row.items {
        require(writing, row.workspace, row.project, item.artifact).await?;
    }
    let query = sql("INSERT INTO bundles (id, workspace, project, name, items, created_unix_ms)
         VALUES ($1, $2, $3, $4, $5, $6)");
    query
        .bind(row.id.bytes())
        .bind(row.workspace.bytes())
        .bind(row.project.bytes())
        .bind(row.name)
        .bind(to_text(BUNDLES, &row.items)?)
        .bind(signed(row.created_unix_ms))
        .run(writing.connection())
        .await?;
    writing.audit(&act, Some(row.workspace), "bundle.create", row.id, String::new()).await
}

pub(super) async fn find_bundle(
    connection: &mut Connection,
    workspace: WorkspaceId,
    id: BundleId,
) -> Result<BundleRow, StoreError> {
    let query = sql("SELECT * FROM bundles WHERE id = $1 AND workspace = $2");
    let row = query.bind(id.bytes()).bind(workspace.bytes()).row(connection).await?;
    row.as_ref().map(read_bundle).transpose()?.ok_or(StoreError::NotFound { what: "bundle" })
}

async fn delete_bundle(
    writing: &mut Writing,
    workspace: WorkspaceId,
    id: BundleId,
    act: Act,
) -> Result<(), StoreError> {
    find_bundle(writing.connection(), workspace, id).await?;
    holding::refuse_object(writing.connection(), BUNDLES, id.bytes()).await?;
    let query = sql("DELETE FROM bundles WHERE id = $1 AND workspace = $2");
    if query.bind(id.bytes()).bind(workspace.bytes()).run(writing.connection()).await? == 0 {
        return Err(StoreError::NotFound { what: "bundle" });
    }
    writing.audit(&act, Some(workspace), "bundle.delete", id, String::new()).await
}

/// Rows of a table in the order of their ids, of one project or of all.
async fn listed(
    connection: &mut Connection,
    table: &'static str,
    workspace: WorkspaceId,
    project: Option<ProjectId>,
    after_id: Vec<u8>,
    rows: usize,
) -> Result<Vec<Row>, StoreError> {
    let of_project = if project.is_some() { " AND project = $4" } else { "" };
    let text =
        format!("SELECT * FROM {table} WHERE workspace = $1 AND id > $2{of_project} ORDER BY id LIMIT $3");
    let query = compose(text).bind(workspace.bytes()).bind(after_id).bind(signed(rows as u64));
    let query = project.into_iter().fold(query, |query, project| query.bind(project.bytes()));
    query.rows(connection).await
}

async fn list_artifacts(
    connection: &mut Connection,
    workspace: WorkspaceId,
    project: Option<ProjectId>,
    page: Page<ArtifactId>,
) -> Result<Listed<ArtifactRow, ArtifactId>, StoreError> {
    let wanted = page.rows_wanted();
    let rows = listed(connection, ARTIFACTS, workspace, project, after(page.after), wanted + 1).await?;
    let rows = rows.iter().map(read).collect::<Result<_, _>>()?;
    Ok(Listed::cut(rows, wanted, |row: &ArtifactRow| row.id))
}

async fn list_bundles(
    connection: &mut Connection,
    workspace: WorkspaceId,
    project: Option<ProjectId>,
    page: Page<BundleId>,
) -> Result<Listed<BundleRow, BundleId>, StoreError> {
    let wanted = page.rows_wanted();
    let rows = listed(connection, BUNDLES, workspace, project, after(page.after), wanted + 1).await?;
    let rows = rows.iter().map(read_bundle).collect::<Result<_, _>>()?;
    Ok(Listed::cut(rows, wanted, |row: &BundleRow| row.id))
}

impl Artifacts<'_> {
    /// # Errors
    /// If it is sealed under a key that was replaced, or its project is gone.
    pub async fn create(
        self,
        artifact: ArtifactRow,
        content: SealedContent,
        act: Act,
    ) -> Result<(), StoreError> {
        self.0.note(move |writing| Box::pin(create(writing, artifact, content, act))).await
    }

    pub async fn get(self, workspace: WorkspaceId, id: ArtifactId) -> Result<ArtifactRow, StoreError> {
        find(&mut self.0.read().await?, workspace, id).await
    }

    pub async fn list(
        self,
        workspace: WorkspaceId,
        project: Option<ProjectId>,
        page: Page<ArtifactId>,
    ) -> Result<Listed<ArtifactRow, ArtifactId>, StoreError> {
        list_artifacts(&mut self.0.read().await?, workspace, project, page).await
    }

    /// `None` where it was deleted, or its time is over.
    pub async fn content(
        self,
        workspace: WorkspaceId,
        digest: [u8; 32],
    ) -> Result<Option<SealedContent>, StoreError> {
        contents::find(&mut self.0.read().await?, workspace, digest).await
    }

    /// Deletes the content. The row stays, so that what refers to it says what is missing.
    pub async fn revoke(self, workspace: WorkspaceId, id: ArtifactId, act: Act) -> Result<(), StoreError> {
        self.0.note(move |writing| Box::pin(revoke(writing, workspace, id, act))).await
    }

    /// Deletes the contents of artifacts, and whole sessions, whose time is over; at most `rows_max` of each. Returns how many.
    pub async fn expire(self, now_unix_ms: u64, rows_max: u32) -> Result<u64, StoreError> {
        self.0.note(move |writing| Box::pin(expire(writing, now_unix_ms, rows_max))).await
    }
}

impl Bundles<'_> {
    /// # Errors
    /// If an artifact is not there, is another project's, or was deleted.
    pub async fn create(self, bundle: BundleRow, act: Act) -> Result<(), StoreError> {
        self.0.note(move |writing| Box::pin(create_bundle(writing, bundle, act))).await
    }

    pub async fn get(self, workspace: WorkspaceId, id: BundleId) -> Result<BundleRow, StoreError> {
        find_bundle(&mut self.0.read().await?, workspace, id).await
    }

    pub async fn list(
        self,
        workspace: WorkspaceId,
        project: Option<ProjectId>,
        page: Page<BundleId>,
    ) -> Result<Listed<BundleRow, BundleId>, StoreError> {
        list_bundles(&mut self.0.read().await?, workspace, project, page).await
    }

    pub async fn delete(self, workspace: WorkspaceId, id: BundleId, act: Act) -> Result<(), StoreError> {
        self.0.note(move |writing| Box::pin(delete_bundle(writing, workspace, id, act))).await
    }
}
