//! The SQL of purges: jobs, receipts, and the generations that make cached answers unreachable.

use database::connection::Connection;
use database::error::StoreError;
use database::feed::Part;
use database::fields::{ColumnId, Fields, before, signed, to_text};
use database::handle::Database;
use database::purging;
use database::statement::{Row, compose, sql};
use database::writing::Writing;
use domain::purge::PurgeScope;
use domain::{Principal, ProjectId, PurgeJobId, StoredObjectKind, TraceId, WorkspaceId};
use proof::Digest;
use serde_json::json;
use store::{Act, Listed, NewJob, Page, Store};

use crate::exports;

use super::{PURGE_JOB, Progress, PurgeJobRow, PurgeState, ReceiptRow};

const JOBS: &str = "purge_jobs";
const RECEIPTS: &str = "purge_receipts";
/// Objects that are read at once.
const NAMED_AT_ONCE: u32 = 200;

/// Purges in the database.
#[derive(Clone)]
pub struct Purges(Database);

impl Purges {
    pub fn of(store: &Store) -> Self {
        Self(store.database().clone())
    }

    /// Records a purge that was asked for, and enqueues its job.
    pub async fn create(&self, row: PurgeJobRow, act: Act) -> Result<(), StoreError> {
        self.0.note(move |writing| Box::pin(create(writing, row, act))).await
    }

    pub async fn get(&self, workspace: WorkspaceId, id: PurgeJobId) -> Result<PurgeJobRow, StoreError> {
        let query = sql("SELECT * FROM purge_jobs WHERE id = $1 AND workspace = $2");
        let row = query.bind(id.bytes()).bind(workspace.bytes()).row(&mut self.0.read().await?).await?;
        row.as_ref().map(read).transpose()?.ok_or(StoreError::NotFound { what: "purge job" })
    }

    /// For the worker, which knows the id alone.
    pub async fn find(&self, id: PurgeJobId) -> Result<Option<PurgeJobRow>, StoreError> {
        let query = sql("SELECT * FROM purge_jobs WHERE id = $1").bind(id.bytes());
        query.row(&mut self.0.read().await?).await?.as_ref().map(read).transpose()
    }

    /// Newest first.
    pub async fn list(
        &self,
        workspace: WorkspaceId,
        page: Page<PurgeJobId>,
    ) -> Result<Listed<PurgeJobRow, PurgeJobId>, StoreError> {
        let wanted = page.rows_wanted();
        let before = before(page.after);
        let query =
            sql("SELECT * FROM purge_jobs WHERE workspace = $1 AND id < $2 ORDER BY id DESC LIMIT $3");
        let query = query.bind(workspace.bytes()).bind(before).bind(signed(wanted as u64 + 1));
        let rows = query.rows(&mut self.0.read().await?).await?;
        let rows = rows.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Listed::cut(rows, wanted, |row: &PurgeJobRow| row.id))
    }

    /// Records how far a purge is. One that is over stays as it is.
    pub async fn save(
        &self,
        id: PurgeJobId,
        state: PurgeState,
        progress: &Progress,
    ) -> Result<(), StoreError> {
        let progress = to_text(JOBS, progress)?;
        self.0
            .note(move |writing| {
                Box::pin(async move {
                    let query = sql("UPDATE purge_jobs SET state = $2, progress = $3
                         WHERE id = $1 AND state IN ('pending', 'running')");
                    let query = query.bind(id.bytes()).bind(state.as_str()).bind(progress);
                    query.run(writing.connection()).await.map(drop)
                })
            })
            .await
    }

    /// Makes every cached answer of these projects, or of the whole workspace, unreachable on every gateway, also one that is
    /// being written now. Returns the version of the configuration that does.
    pub async fn raise_generation(
        &self,
        workspace: WorkspaceId,
        projects: Option<Vec<ProjectId>>,
    ) -> Result<u64, StoreError> {
        let raised = self.0.write(move |writing| {
            Box::pin(async move {
                raise(writing, workspace, projects.as_deref()).await?;
                writing.announce(Part::Workspace, Some(workspace), workspace);
                Ok(())
            })
        });
        raised.await.map(|written| written.version)
    }

    /// The last receipt of a workspace: its number and hash.
    pub async fn last_receipt(&self, workspace: WorkspaceId) -> Result<(u64, Digest), StoreError> {
        let query = sql("SELECT sequence, hash FROM purge_receipts WHERE workspace = $1
             ORDER BY sequence DESC LIMIT 1");
        let row = query.bind(workspace.bytes()).row(&mut self.0.read().await?).await?;
        let Some(row) = row else { return Ok((0, Digest::ZERO)) };
        let fields = Fields::new(RECEIPTS, &row);
        Ok((fields.number("sequence")?, Digest(fields.digest("hash")?)))
    }

    /// Ends a purge with its receipt. `false` if another receipt took its number meanwhile.
    pub async fn finish(
        &self,
        receipt: ReceiptRow,
        progress: Progress,
        completed_unix_ms: u64,
        again: NewJob,
        act: Act,
    ) -> Result<bool, StoreError> {
        self.0
            .note(move |writing| Box::pin(finish(writing, receipt, progress, completed_unix_ms, again, act)))
            .await
    }

    pub async fn receipt(&self, workspace: WorkspaceId, job: PurgeJobId) -> Result<ReceiptRow, StoreError> {
        let query = sql("SELECT * FROM purge_receipts WHERE job = $1 AND workspace = $2");
        let row = query.bind(job.bytes()).bind(workspace.bytes()).row(&mut self.0.read().await?).await?;
        let row = row.ok_or(StoreError::NotFound { what: "purge receipt" })?;
        let fields = Fields::new(RECEIPTS, &row);
        Ok(ReceiptRow {
            id: fields.id("id")?,
            workspace: fields.id("workspace")?,
            sequence: fields.number("sequence")?,
            job: fields.id("job")?,
            document: fields.json("document")?,
            hash: Digest(fields.digest("hash")?),
        })
    }

    /// Writes an entry of the audit about a purge.
    pub async fn audit(
        &self,
        act: Act,
        workspace: WorkspaceId,
        action: &'static str,
        id: PurgeJobId,
        detail: String,
    ) -> Result<(), StoreError> {
        self.0
            .note(move |writing| {
                Box::pin(async move { writing.audit(&act, Some(workspace), action, id, detail).await })
            })
            .await
    }

    /// Removes answers, turns, batches and exports of a scope from a database that was restored; returns how many there were.
    pub async fn purge_restored(&self, scope: PurgeScope) -> Result<u64, StoreError> {
        let gone = self.0.note(move |writing| {
            Box::pin(async move {
                let mut gone = 0;
                for table in [
                    "kept_answers",
                    "kept_turns",
                    "batch_contents",
                    "batches",
                    "request_contents",
                    "run_contents",
                    "run_tasks",
                    "flow_contents",
                    "flow_runs",
                    "files",
                ] {
                    gone += purging::purge(writing, scope.clone(), table).await?;
                }
                Ok(gone + exports::purge(writing, scope).await?)
            })
        });
        gone.await
    }

    /// Overwrites deleted bytes where the database allows it; `false` where it doesn't, or where a reader kept it.
    pub async fn scrub(&self) -> Result<bool, StoreError> {
        self.0.scrub().await
    }

    pub const fn is_sqlite(&self) -> bool {
        self.0.is_sqlite()
    }
}

/// An object at a provider, by the names that we keep of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedObject {
    /// The key of its row.
    key: Vec<u8>,
    /// `None` for a stored response.
    pub kind: Option<StoredObjectKind>,
    pub maker: Principal,
    /// Empty where an older version wrote the row.
    pub provider_id: String,
    pub is_booked: bool,
    /// Its project has a batch of the same maker whose usage isn't booked: a file may have that batch's results.
    pub has_open_batch: bool,
}

/// A kind of object of one maker, and how many there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedKind {
    pub kind: Option<StoredObjectKind>,
    pub maker: Principal,
    /// Whether their provider's ids are known; an older version did not keep those of responses.
    pub is_named: bool,
    pub items: u64,
}

/// What we keep names of: the objects of `kept_objects`, or the responses of `stored_responses`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    Objects,
    Responses,
}

impl Named {
    const fn table(self) -> &'static str {
        match self {
            Self::Objects => "kept_objects",
            Self::Responses => "stored_responses",
        }
    }

    /// The key and the kind of a row.
    const fn columns(self) -> (&'static str, &'static str) {
        match self {
            Self::Objects => ("id", "kind"),
            Self::Responses => ("digest", "''"),
        }
    }

    /// How many batches of a row's project and maker are not booked, of those whose results are files.
    fn open_batches(self) -> String {
        match self {
            Self::Objects => format!(
                "(SELECT COUNT(*) FROM kept_objects AS batch WHERE batch.workspace = kept_objects.workspace
                  AND batch.project = kept_objects.project AND batch.maker = kept_objects.maker
                  AND batch.kind = '{}' AND batch.booked_by IS NULL)",
                StoredObjectKind::BATCH.as_str()
            ),
            Self::Responses => "CAST(0 AS BIGINT)".to_owned(),
        }
    }
}

impl Purges {
    /// How many objects of which kind and maker there are names of.
    pub async fn named_kinds(&self, named: Named, scope: &PurgeScope) -> Result<Vec<NamedKind>, StoreError> {
        let (_, kind) = named.columns();
        let head = format!(
            "SELECT {kind} AS kind, maker, CAST(CASE WHEN provider_id IS NULL THEN 0 ELSE 1 END AS BIGINT) AS is_named, COUNT(*) AS found FROM {}",
            named.table()
        );
        let ended = " GROUP BY 1, maker, 3 ORDER BY 1, maker, 3";
        let rows = purging::rows(&mut self.0.read().await?, scope, &head, ended).await?;
        let of = |row| {
            let fields = Fields::new(named.table(), row);
            Ok(NamedKind {
                kind: kind_of(&fields)?,
                maker: maker_of(&fields)?,
                is_named: fields.number("is_named")? == 1,
                items: fields.number("found")?,
            })
        };
        rows.iter().map(of).collect()
    }

    /// Some of these objects, in a fixed order, after those that were passed over.
    pub async fn named(
        &self,
        named: Named,
        scope: &PurgeScope,
        passed_over: u64,
    ) -> Result<Vec<NamedObject>, StoreError> {
        let (key, kind) = named.columns();
        let head = format!(
            "SELECT {key} AS name, {kind} AS kind, maker, COALESCE(provider_id, '') AS provider_id, booked_by,
             {} AS open_batches FROM {}",
            named.open_batches(),
            named.table()
        );
        let ended = format!(" ORDER BY {key} LIMIT {NAMED_AT_ONCE} OFFSET {passed_over}");
        let rows = purging::rows(&mut self.0.read().await?, scope, &head, &ended).await?;
        let of = |row| {
            let fields = Fields::new(named.table(), row);
            let key: &[u8] = fields.get("name")?;
            Ok(NamedObject {
                key: key.to_vec(),
                kind: kind_of(&fields)?,
                maker: maker_of(&fields)?,
                provider_id: fields.text("provider_id")?,
                is_booked: fields.maybe_id::<TraceId>("booked_by")?.is_some(),
                has_open_batch: fields.number("open_batches")? > 0,
            })
        };
        rows.iter().map(of).collect()
    }

    /// Forgets the name of an object.
    pub async fn forget_named(
        &self,
        named: Named,
        workspace: WorkspaceId,
        object: NamedObject,
    ) -> Result<(), StoreError> {
        let (key, _) = named.columns();
        let text = format!("DELETE FROM {} WHERE {key} = $1 AND workspace = $2", named.table());
        self.0
            .note(move |writing| {
                Box::pin(async move {
                    let query = compose(text).bind(object.key).bind(workspace.bytes());
                    query.run(writing.connection()).await.map(drop)
                })
            })
            .await
    }
}

fn kind_of(fields: &Fields<'_>) -> Result<Option<StoredObjectKind>, StoreError> {
    let word = fields.text("kind")?;
    if word.is_empty() {
        return Ok(None);
    }
    let kind = StoredObjectKind::by_name(&word);
    kind.map(Some).ok_or_else(|| StoreError::corrupt("kept_objects", format!("kind is {word}")))
}

fn maker_of(fields: &Fields<'_>) -> Result<Principal, StoreError> {
    let maker = fields.text("maker")?;
    maker.parse().map_err(|_| StoreError::corrupt("kept_objects", format!("maker is {maker}")))
}

async fn create(writing: &mut Writing, row: PurgeJobRow, act: Act) -> Result<(), StoreError> {
    let query = sql("INSERT INTO purge_jobs
         (id, workspace, target, state, requested_by, progress, created_unix_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7)");
    query
        .bind(row.id.bytes())
        .bind(row.workspace.bytes())
        .bind(to_text(JOBS, &row.target)?)
        .bind(row.state.as_str())
        .bind(&row.requested_by)
        .bind(to_text(JOBS, &row.progress)?)
        .bind(signed(row.created_unix_ms))
        .run(writing.connection())
        .await?;
    let job = NewJob {
        kind: PURGE_JOB,
        workspace: row.workspace,
        name: Some(format!("{PURGE_JOB}:{}", row.id)),
        payload: json!({"purge_job": row.id.to_string()}),
        run_unix_ms: row.created_unix_ms,
        every_ms: None,
        unix_ms: row.created_unix_ms,
    };
    store::jobs::enqueue(writing, job).await?;
    let named = to_text(JOBS, &row.target)?;
    let detail = match (named.len() > 500, row.target.session_ids.len()) {
        (false, _) => named,
        (true, 0) => format!("{} requests", row.target.request_ids.len()),
        (true, sessions) => format!("{sessions} sessions"),
    };
    writing.audit(&act, Some(row.workspace), "purge.request", row.id, detail).await
}

fn read(row: &Row) -> Result<PurgeJobRow, StoreError> {
    let fields = Fields::new(JOBS, row);
    let word = fields.text("state")?;
    let state = PurgeState::ALL.into_iter().find(|state| state.as_str() == word);
    Ok(PurgeJobRow {
        id: fields.id("id")?,
        workspace: fields.id("workspace")?,
        target: fields.json("target")?,
        state: state.ok_or_else(|| StoreError::corrupt(JOBS, format!("state is {word}")))?,
        requested_by: fields.text("requested_by")?,
        progress: fields.json("progress")?,
        created_unix_ms: fields.number("created_unix_ms")?,
        completed_unix_ms: fields.maybe_number("completed_unix_ms")?,
    })
}

async fn raise(
    writing: &mut Writing,
    workspace: WorkspaceId,
    projects: Option<&[ProjectId]>,
) -> Result<(), StoreError> {
    let version = signed(writing.version());
    let Some(projects) = projects else {
        let query = sql("UPDATE workspaces SET caching_generation = caching_generation + 1, version = $2
             WHERE id = $1");
        return query.bind(workspace.bytes()).bind(version).run(writing.connection()).await.map(drop);
    };
    for project in projects {
        let query = sql("UPDATE projects SET caching_generation = caching_generation + 1, version = $3
             WHERE workspace = $1 AND id = $2");
        let query = query.bind(workspace.bytes()).bind(project.bytes()).bind(version);
        query.run(writing.connection()).await?;
    }
    Ok(())
}

async fn finish(
    writing: &mut Writing,
    receipt: ReceiptRow,
    progress: Progress,
    completed_unix_ms: u64,
    again: NewJob,
    act: Act,
) -> Result<bool, StoreError> {
    if has_receipt(writing.connection(), receipt.job).await? {
        return Ok(true);
    }
    let query = sql("INSERT INTO purge_receipts (id, workspace, sequence, job, document, hash)
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING");
    let written = query
        .bind(receipt.id.bytes())
        .bind(receipt.workspace.bytes())
        .bind(signed(receipt.sequence))
        .bind(receipt.job.bytes())
        .bind(to_text(RECEIPTS, &receipt.document)?)
        .bind(receipt.hash.0.to_vec())
        .run(writing.connection())
        .await?;
    if written == 0 {
        return Ok(false);
    }
    let query = sql("UPDATE purge_jobs SET state = 'completed', progress = $2, completed_unix_ms = $3
         WHERE id = $1");
    let query = query.bind(receipt.job.bytes()).bind(to_text(JOBS, &progress)?);
    query.bind(signed(completed_unix_ms)).run(writing.connection()).await?;
    store::jobs::enqueue(writing, again).await?;
    if let Some(shredding) = progress.shredding.as_ref().filter(|one| one.is_shredded()) {
        let ids: Vec<_> = shredding.keys.iter().map(|key| key.id.as_str()).collect();
        let detail = format!("{} after the purge of the whole workspace", ids.join(", "));
        writing
            .audit(&act, Some(receipt.workspace), "workspace_key.shred", receipt.workspace, detail)
            .await?;
    }
    let detail = format!("{} with hash {}", receipt.id, receipt.hash);
    writing.audit(&act, Some(receipt.workspace), "purge.complete", receipt.job, detail).await?;
    Ok(true)
}

async fn has_receipt(connection: &mut Connection, job: PurgeJobId) -> Result<bool, StoreError> {
    let query = sql("SELECT id FROM purge_receipts WHERE job = $1").bind(job.bytes());
    query.row(connection).await.map(|row| row.is_some())
}
