//! Batches as a data export reads them: page by page, with their contents opened.

use bytes::Bytes;
use database::error::StoreError;
use database::fields::{ColumnId, Fields, signed};
use database::statement::{Row, sql};
use domain::{ObjectOwner, ProjectId, StoredObjectId, WorkspaceId};
use vault::Vault;

use crate::rows::ItemContent;
use crate::sql::{CONTENTS, StoredBatches, TABLE, content_of, id_of, key};

const BATCHES_AT_ONCE: u64 = 500;
/// Each may be as long as a request.
const CONTENTS_AT_ONCE: u64 = 20;

/// A batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportedBatch {
    pub id: StoredObjectId,
    pub project: ProjectId,
    pub state: String,
    pub items: u64,
    pub created_unix_ms: u64,
    pub ended_unix_ms: Option<u64>,
}

/// A request of a batch, or its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportedItem {
    pub digest: [u8; 32],
    pub batch: StoredObjectId,
    pub project: ProjectId,
    pub position: u64,
    /// `request` or `result`.
    pub part: String,
    /// `None` where it does not open any more.
    pub content: Option<Bytes>,
}

impl StoredBatches {
    /// Batches after one, in the order of their hashes.
    pub async fn exported_batches(
        &self,
        workspace: WorkspaceId,
        after: Option<StoredObjectId>,
    ) -> Result<Vec<ExportedBatch>, StoreError> {
        let query = sql("SELECT * FROM batches WHERE workspace = $1 AND id > $2 ORDER BY id LIMIT $3");
        let after = after.map(key).unwrap_or_default();
        let query = query.bind(workspace.bytes()).bind(after).bind(signed(BATCHES_AT_ONCE));
        let read = |row: &Row| {
            let fields = Fields::new(TABLE, row);
            Ok(ExportedBatch {
                id: id_of(&fields, "id")?,
                project: fields.id("project")?,
                state: fields.text("state")?,
                items: fields.number("items")?,
                created_unix_ms: fields.number("created_unix_ms")?,
                ended_unix_ms: fields.maybe_number("ended_unix_ms")?,
            })
        };
        query.rows(&mut self.0.read().await?).await?.iter().map(read).collect()
    }

    /// Requests and results after one, in the order of their hashes.
    pub async fn exported_items(
        &self,
        vault: &Vault,
        workspace: WorkspaceId,
        after: Option<[u8; 32]>,
    ) -> Result<Vec<ExportedItem>, StoreError> {
        let query = sql("SELECT c.*, b.kind AS kind FROM batch_contents c JOIN batches b ON b.id = c.batch
             WHERE c.workspace = $1 AND c.digest > $2 ORDER BY c.digest LIMIT $3");
        let after = after.map(|digest| digest.to_vec()).unwrap_or_default();
        let query = query.bind(workspace.bytes()).bind(after).bind(signed(CONTENTS_AT_ONCE));
        let read = |row: &Row| {
            let fields = Fields::new(CONTENTS, row);
            let project = fields.id("project")?;
            let content = content_of(row)?;
            let open = |content: ItemContent| content.open(vault, ObjectOwner { workspace, project });
            Ok(ExportedItem {
                digest: fields.digest("digest")?,
                batch: id_of(&fields, "batch")?,
                project,
                position: fields.number("position")?,
                part: fields.text("part")?,
                content: content.and_then(open),
            })
        };
        query.rows(&mut self.0.read().await?).await?.iter().map(read).collect()
    }
}
