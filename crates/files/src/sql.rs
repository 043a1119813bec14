//! The SQL of files: their rows, and the names and sizes of their pieces.

use database::error::StoreError;
use database::fields::{ColumnId, Fields, after as fields_after, before, signed};
use database::handle::Database;
use database::purging;
use database::seals::require_key;
use database::statement::{Row, Statement, compose, sql};
use database::writing::Writing;
use database::{connection::Connection, holding};
use domain::purge::PurgeScope;
use domain::{FileId, FileQuery, ObjectOwner, ProjectId, Sealed, TraceId, WorkspaceId};
use store::Store;

pub(crate) const TABLE: &str = "files";
const PIECES: &str = "file_pieces";
/// How many names one statement looks for.
const NAMES_AT_ONCE: usize = 200;

/// Files in a database.
#[derive(Clone)]
pub struct StoredFiles(Database);

/// A file, with what is known of it sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileRow {
    pub id: FileId,
    pub owner: ObjectOwner,
    pub request: TraceId,
    pub purpose: String,
    pub declared: Option<u64>,
    pub received: u64,
    pub pieces: u64,
    /// The name of the last of them, where one file is read to add to it.
    pub last_piece: Option<String>,
    pub is_complete: bool,
    pub created_unix_ms: u64,
    pub until_unix_ms: u64,
    pub sealed: Sealed,
}

/// A file that is made.
pub(crate) struct NewRow {
    pub row: FileRow,
    pub digest: [u8; 32],
    /// The hash of its token, and until when that may be used.
    pub upload: ([u8; 32], u64),
}

/// A piece that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PieceRow {
    pub position: u64,
    pub name: String,
    pub bytes: u64,
}

/// How far a file is.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    pub id: FileId,
    /// What must have arrived before.
    pub received: u64,
    /// The name of the piece before.
    pub after: Option<String>,
    pub piece: PieceRow,
    /// Its purpose and its time, where it ends.
    pub end: Option<(String, u64)>,
    /// What is known of it now, where that changed.
    pub sealed: Option<Sealed>,
}

/// A project keeps as many bytes as it may.
const TOO_MUCH: &str = "too_many_files";
/// The piece before is one of another upload.
const NOT_NEXT: &str = "upload_superseded";

/// A file, with the name of its last piece.
const WITH_LAST_PIECE: &str =
    "SELECT files.*, (SELECT name FROM file_pieces WHERE file = files.id AND position = files.pieces - 1)
     AS last_piece FROM files";

/// What became of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Added {
    /// It is the next one.
    Next,
    /// Another request was faster, or the file is not open any more.
    NotNext,
    /// The project keeps as much as it may.
    TooMuch,
}

/// The files of a store.
pub fn stored(store: &Store) -> StoredFiles {
    StoredFiles(store.database().clone())
}

fn read(row: &Row) -> Result<FileRow, StoreError> {
    let fields = Fields::new(TABLE, row);
    let state = fields.text("state")?;
    Ok(FileRow {
        id: fields.id("id")?,
        owner: ObjectOwner { workspace: fields.id("workspace")?, project: fields.id("project")? },
        request: fields.id("request")?,
        purpose: fields.text("purpose")?,
        declared: fields.maybe_number("declared")?,
        received: fields.number("received")?,
        pieces: fields.number("pieces")?,
        last_piece: None,
        is_complete: state == "complete",
        created_unix_ms: fields.number("created_unix_ms")?,
        until_unix_ms: fields.number("until_unix_ms")?,
        sealed: fields.sealed()?,
    })
}

fn read_with_last_piece(row: &Row) -> Result<FileRow, StoreError> {
    let last_piece = Fields::new(TABLE, row).maybe_text("last_piece")?;
    Ok(FileRow { last_piece, ..read(row)? })
}

/// The bytes of files, with what was declared of those that are open.
const KEPT: &str =
    "COALESCE(SUM(CASE WHEN COALESCE(declared, 0) > received THEN declared ELSE received END), 0)";

/// What a project keeps, with what it declared of files that are open.
async fn kept_bytes(connection: &mut Connection, owner: ObjectOwner) -> Result<u64, StoreError> {
    let query = compose(format!(
        "SELECT CAST({KEPT} AS BIGINT) AS found FROM files WHERE workspace = $1 AND project = $2 AND state <> 'gone'"
    ));
    let query = query.bind(owner.workspace.bytes()).bind(owner.project.bytes());
    Fields::new(TABLE, &query.one(connection).await?).number("found")
}

async fn insert(writing: &mut Writing, new: NewRow, project_bytes_max: u64) -> Result<bool, StoreError> {
    let NewRow { row, digest, upload: (upload, upload_until_unix_ms) } = new;
    let kept = kept_bytes(writing.connection(), row.owner).await?;
    if kept.saturating_add(row.declared.unwrap_or_default()) > project_bytes_max {
        return Ok(false);
    }
    require_key(writing, row.owner.workspace, &row.sealed.key_id).await?;
    sql("INSERT INTO files (id, digest, workspace, project, request, purpose, state, declared, received, pieces,
         upload, upload_until_unix_ms, created_unix_ms, until_unix_ms, sealed_version, sealed_key_id, sealed)
         VALUES ($1, $2, $3, $4, $5, $6, 'open', $7, 0, 0, $8, $9, $10, $11, $12, $13, $14)")
    .bind(row.id.bytes())
    .bind(digest.to_vec())
    .bind(row.owner.workspace.bytes())
    .bind(row.owner.project.bytes())
    .bind(row.request.bytes())
    .bind(row.purpose)
    .bind(row.declared.map(signed))
    .bind(upload.to_vec())
    .bind(signed(upload_until_unix_ms))
    .bind(signed(row.created_unix_ms))
    .bind(signed(row.until_unix_ms))
    .bind(i64::from(row.sealed.version))
    .bind(row.sealed.key_id)
    .bind(row.sealed.bytes)
    .run(writing.connection())
    .await?;
    Ok(true)
}

async fn add(
    writing: &mut Writing,
    owner: ObjectOwner,
    progress: Progress,
    project_bytes_max: u64,
) -> Result<Added, StoreError> {
    let Progress { id, received, after, piece, end, sealed } = progress;
    if let Some(sealed) = &sealed {
        require_key(writing, owner.workspace, &sealed.key_id).await?;
    }
    let state = if end.is_some() { "complete" } else { "open" };
    let query = sql("UPDATE files SET received = received + $4, pieces = pieces + 1, state = $5,
         upload = CASE WHEN $5 = 'open' THEN upload ELSE NULL END
         WHERE id = $1 AND state = 'open' AND received = $2 AND pieces = $3");
    let query = query.bind(id.bytes()).bind(signed(received)).bind(signed(piece.position));
    if query.bind(signed(piece.bytes)).bind(state).run(writing.connection()).await? == 0 {
        return Ok(Added::NotNext);
    }
    // The row is locked now, so no upload that starts over comes in between.
    if piece_before(writing.connection(), id, piece.position).await? != after {
        // An error undoes it.
        return Err(StoreError::conflict(NOT_NEXT, "another upload of the file was begun", None));
    }
    let query = sql("INSERT INTO file_pieces (file, position, name, bytes) VALUES ($1, $2, $3, $4)");
    let query = query.bind(id.bytes()).bind(signed(piece.position)).bind(piece.name);
    query.bind(signed(piece.bytes)).run(writing.connection()).await?;
    if let Some((purpose, until_unix_ms)) = end {
        let query = sql("UPDATE files SET purpose = $2, until_unix_ms = $3 WHERE id = $1");
        let query = query.bind(id.bytes()).bind(purpose).bind(signed(until_unix_ms));
        query.run(writing.connection()).await?;
    }
    if let Some(sealed) = sealed {
        let query =
            sql("UPDATE files SET sealed_version = $2, sealed_key_id = $3, sealed = $4 WHERE id = $1");
        let query = query.bind(id.bytes()).bind(i64::from(sealed.version)).bind(sealed.key_id);
        query.bind(sealed.bytes).run(writing.connection()).await?;
    }
    if kept_bytes(writing.connection(), owner).await? > project_bytes_max {
        // An error undoes it.
        return Err(StoreError::conflict(TOO_MUCH, "the project keeps as much as it may", None));
    }
    Ok(Added::Next)
}

/// The name of the piece before a position.
async fn piece_before(
    connection: &mut Connection,
    id: FileId,
    position: u64,
) -> Result<Option<String>, StoreError> {
    let Some(before) = position.checked_sub(1) else { return Ok(None) };
    let query = sql("SELECT name FROM file_pieces WHERE file = $1 AND position = $2");
    let row = query.bind(id.bytes()).bind(signed(before)).row(connection).await?;
    row.map(|row| Fields::new(PIECES, &row).text("name")).transpose()
}

/// Deletes the keys of files at once: their content opens no more. Returns how many there were.
async fn shred(writing: &mut Writing, query: Statement) -> Result<u64, StoreError> {
    query.run(writing.connection()).await
}

const SHRED: &str =
    "UPDATE files SET state = 'gone', upload = NULL, sealed_version = NULL, sealed_key_id = NULL,
     sealed = NULL";

/// The start of a list, or the rows after a cursor, in either order.
fn list(query: &FileQuery, now_unix_ms: u64) -> Statement {
    let (sign, order) = if query.oldest_first { (">", "") } else { ("<", " DESC") };
    let mut conditions = String::new();
    let mut next = 5;
    if query.purpose.is_some() {
        conditions.push_str(&format!(" AND purpose = ${next}"));
        next += 1;
    }
    if query.after.is_some() {
        // The last of a page may be what a provider keeps, or a file of a batch: lists show all of them.
        let last = |table| {
            format!(
                "SELECT created_unix_ms, id FROM {table} WHERE id = ${next} AND workspace = $1 AND project = $2"
            )
        };
        let all = ["files", "kept_objects", "batches"].map(last).join(" UNION ALL ");
        conditions.push_str(&format!(" AND (created_unix_ms, id) {sign} ({all})"));
    }
    let mut statement = compose(format!(
        "SELECT * FROM files WHERE workspace = $1 AND project = $2 AND until_unix_ms > $3
         AND state = 'complete'{conditions} ORDER BY created_unix_ms{order}, id{order} LIMIT $4"
    ))
    .bind(query.owner.workspace.bytes())
    .bind(query.owner.project.bytes())
    .bind(signed(now_unix_ms))
    .bind(i64::from(query.limit));
    if let Some(purpose) = &query.purpose {
        statement = statement.bind(purpose.clone());
    }
    match query.after {
        Some(after) => statement.bind(after.bytes()),
        None => statement,
    }
}

impl StoredFiles {
    /// `false` if the project keeps as much as it may.
    pub(crate) async fn insert(&self, new: NewRow, project_bytes_max: u64) -> Result<bool, StoreError> {
        self.0.note(move |writing| Box::pin(insert(writing, new, project_bytes_max))).await
    }

    /// A file of a project that is there, open or complete.
    pub(crate) async fn find(
        &self,
        owner: ObjectOwner,
        id: FileId,
        now_unix_ms: u64,
    ) -> Result<Option<FileRow>, StoreError> {
        let query = compose(format!(
            "{WITH_LAST_PIECE} WHERE id = $1 AND workspace = $2 AND project = $3
             AND state <> 'gone' AND until_unix_ms > $4"
        ));
        let query = query.bind(id.bytes()).bind(owner.workspace.bytes()).bind(owner.project.bytes());
        let row = query.bind(signed(now_unix_ms)).row(&mut self.0.read().await?).await?;
        row.as_ref().map(read_with_last_piece).transpose()
    }

    /// A file of a workspace, or of one of its projects.
    pub(crate) async fn in_workspace(
        &self,
        workspace: WorkspaceId,
        id: FileId,
        now_unix_ms: u64,
    ) -> Result<Option<FileRow>, StoreError> {
        let query = sql("SELECT * FROM files WHERE id = $1 AND workspace = $2 AND state <> 'gone'
             AND until_unix_ms > $3");
        let query = query.bind(id.bytes()).bind(workspace.bytes()).bind(signed(now_unix_ms));
        let row = query.row(&mut self.0.read().await?).await?;
        row.as_ref().map(read).transpose()
    }

    /// The open file that a token is for.
    pub(crate) async fn opened(
        &self,
        id: FileId,
        upload: [u8; 32],
        now_unix_ms: u64,
    ) -> Result<Option<FileRow>, StoreError> {
        let query = compose(format!(
            "{WITH_LAST_PIECE} WHERE id = $1 AND upload = $2 AND state = 'open'
             AND upload_until_unix_ms > $3 AND until_unix_ms > $3"
        ));
        let query = query.bind(id.bytes()).bind(upload.to_vec()).bind(signed(now_unix_ms));
        let row = query.row(&mut self.0.read().await?).await?;
        row.as_ref().map(read_with_last_piece).transpose()
    }

    pub(crate) async fn add(
        &self,
        owner: ObjectOwner,
        progress: Progress,
        project_bytes_max: u64,
    ) -> Result<Added, StoreError> {
        let added = self.0.note(move |writing| Box::pin(add(writing, owner, progress, project_bytes_max)));
        match added.await {
            Err(StoreError::Conflict { what: TOO_MUCH, .. }) => Ok(Added::TooMuch),
            Err(StoreError::Conflict { what: NOT_NEXT, .. }) => Ok(Added::NotNext),
            added => added,
        }
    }

    /// Drops the pieces of an open file, and returns their names.
    pub(crate) async fn restart(&self, id: FileId) -> Result<Vec<String>, StoreError> {
        let dropped = self.0.note(move |writing| {
            Box::pin(async move {
                let query = sql("UPDATE files SET received = 0, pieces = 0 WHERE id = $1 AND state = 'open'");
                if query.bind(id.bytes()).run(writing.connection()).await? == 0 {
                    return Ok(Vec::new());
                }
                let query = sql("SELECT name FROM file_pieces WHERE file = $1").bind(id.bytes());
                let rows = query.rows(writing.connection()).await?;
                let name = |row: &Row| Fields::new(PIECES, row).text("name");
                let names = rows.iter().map(name).collect::<Result<Vec<_>, _>>()?;
                let query = sql("DELETE FROM file_pieces WHERE file = $1").bind(id.bytes());
                query.run(writing.connection()).await?;
                Ok(names)
            })
        });
        dropped.await
    }

    pub(crate) async fn list(&self, query: FileQuery, now_unix_ms: u64) -> Result<Vec<FileRow>, StoreError> {
        list(&query, now_unix_ms).rows(&mut self.0.read().await?).await?.iter().map(read).collect()
    }

    /// Complete files of a workspace, or of one of its projects, newest first.
    pub(crate) async fn list_workspace(
        &self,
        workspace: WorkspaceId,
        project: Option<ProjectId>,
        after: Option<FileId>,
        (limit, now_unix_ms): (u32, u64),
    ) -> Result<Vec<FileRow>, StoreError> {
        let of_project = if project.is_some() { " AND project = $5" } else { "" };
        let query = compose(format!(
            "SELECT * FROM files WHERE workspace = $1 AND until_unix_ms > $2 AND state = 'complete'
             AND id < $3{of_project} ORDER BY id DESC LIMIT $4"
        ));
        let query = query.bind(workspace.bytes()).bind(signed(now_unix_ms));
        let query = query.bind(before(after)).bind(i64::from(limit));
        let query = match project {
            Some(project) => query.bind(project.bytes()),
            None => query,
        };
        query.rows(&mut self.0.read().await?).await?.iter().map(read).collect()
    }

    /// What each project keeps, as the bound of a project counts it.
    pub(crate) async fn stored(
        &self,
        workspace: WorkspaceId,
        project: Option<ProjectId>,
    ) -> Result<Vec<(ProjectId, u64, u64)>, StoreError> {
        let of_project = if project.is_some() { " AND project = $2" } else { "" };
        let query = compose(format!(
            "SELECT project, CAST(COALESCE(SUM(CASE WHEN state = 'complete' THEN 1 ELSE 0 END), 0) AS BIGINT) AS files,
             CAST({KEPT} AS BIGINT) AS found
             FROM files WHERE workspace = $1{of_project} AND state <> 'gone' GROUP BY project ORDER BY project"
        ));
        let query = query.bind(workspace.bytes());
        let query = project.into_iter().fold(query, |query, project| query.bind(project.bytes()));
        let read = |row: &Row| {
            let fields = Fields::new(TABLE, row);
            Ok((fields.id("project")?, fields.number("files")?, fields.number("found")?))
        };
        query.rows(&mut self.0.read().await?).await?.iter().map(read).collect()
    }

    pub(crate) async fn piece(&self, id: FileId, position: u64) -> Result<Option<PieceRow>, StoreError> {
        let query = sql("SELECT * FROM file_pieces WHERE file = $1 AND position = $2");
        let query = query.bind(id.bytes()).bind(signed(position));
        let row = query.row(&mut self.0.read().await?).await?;
        let read = |row: &Row| {
            let fields = Fields::new(PIECES, row);
            Ok(PieceRow { position, name: fields.text("name")?, bytes: fields.number("bytes")? })
        };
        row.as_ref().map(read).transpose()
    }

    /// Deletes the key of a file of a project; `false` if there is none. Its objects are to be deleted then.
    pub(crate) async fn shred(&self, owner: ObjectOwner, id: FileId) -> Result<bool, StoreError> {
        let query = compose(format!(
            "{SHRED} WHERE id = $1 AND workspace = $2 AND project = $3 AND state <> 'gone' AND NOT {}",
            holding::held(TABLE)
        ));
        let query = query.bind(id.bytes()).bind(owner.workspace.bytes()).bind(owner.project.bytes());
        self.0.note(move |writing| Box::pin(shred(writing, query))).await.map(|gone| gone > 0)
    }

    /// Deletes the keys of some files whose time is over, and of those whose content never came.
    pub(crate) async fn expire(&self, now_unix_ms: u64, rows_max: u32) -> Result<u64, StoreError> {
        let query = compose(format!(
            "{SHRED} WHERE id IN (SELECT id FROM files WHERE state <> 'gone' AND (until_unix_ms <= $1
             OR (state = 'open' AND upload_until_unix_ms <= $1)) AND NOT {} LIMIT $2)",
            holding::held(TABLE)
        ));
        let query = query.bind(signed(now_unix_ms)).bind(i64::from(rows_max));
        self.0.note(move |writing| Box::pin(shred(writing, query))).await
    }

    /// Deletes the keys of the files of a scope; returns how many there were.
    pub(crate) async fn shred_scope(&self, scope: PurgeScope) -> Result<u64, StoreError> {
        let shredded = self.0.note(move |writing| {
            Box::pin(async move {
                let condition = format!(" AND state <> 'gone' AND NOT {}", holding::held(TABLE));
                let found =
                    purging::rows(writing.connection(), &scope, "SELECT id FROM files", &condition).await?;
                for row in &found {
                    let id: FileId = Fields::new(TABLE, row).id("id")?;
                    let query = compose(format!("{SHRED} WHERE id = $1")).bind(id.bytes());
                    query.run(writing.connection()).await?;
                }
                Ok(found.len() as u64)
            })
        });
        shredded.await
    }

    pub(crate) async fn remaining(&self, scope: PurgeScope) -> Result<u64, StoreError> {
        purging::remaining(&mut self.0.read().await?, scope, TABLE).await
    }

    /// Files without a key, whose objects are to be deleted.
    pub(crate) async fn gone(&self, after: Option<FileId>, rows_max: u32) -> Result<Vec<FileId>, StoreError> {
        let query = sql("SELECT id FROM files WHERE state = 'gone' AND id > $1 ORDER BY id LIMIT $2");
        let query = query.bind(fields_after(after)).bind(i64::from(rows_max));
        let rows = query.rows(&mut self.0.read().await?).await?;
        rows.iter().map(|row| Fields::new(TABLE, row).id("id")).collect()
    }

    /// Forgets files whose objects are deleted.
    pub(crate) async fn remove(&self, ids: Vec<FileId>) -> Result<(), StoreError> {
        let removed = self.0.note(move |writing| {
            Box::pin(async move {
                for id in ids {
                    let query = sql("DELETE FROM files WHERE id = $1 AND state = 'gone'").bind(id.bytes());
                    query.run(writing.connection()).await?;
                }
                Ok(())
            })
        });
        removed.await
    }

    /// Those of some objects that no piece is stored as.
    pub(crate) async fn orphans(
        &self,
        objects: Vec<(FileId, String)>,
    ) -> Result<Vec<(FileId, String)>, StoreError> {
        let mut orphans = Vec::new();
        let mut connection = self.0.read().await?;
        for some in objects.chunks(NAMES_AT_ONCE) {
            let named: Vec<_> = (1..=some.len()).map(|at| format!("${at}")).collect();
            let query =
                compose(format!("SELECT file, name FROM file_pieces WHERE name IN ({})", named.join(", ")));
            let query = some.iter().fold(query, |query, (_, name)| query.bind(name.clone()));
            let mut known = std::collections::HashSet::new();
            for row in &query.rows(&mut connection).await? {
                let fields = Fields::new(PIECES, row);
                known.insert((fields.id::<FileId>("file")?, fields.text("name")?));
            }
            orphans.extend(some.iter().filter(|object| !known.contains(*object)).cloned());
        }
        Ok(orphans)
    }
}
