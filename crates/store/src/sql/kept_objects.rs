//! SQL for the ownership of objects that providers store (files, batches, videos).

use database::error::StoreError;
use database::fields::{ColumnId, Fields, signed};
use database::holding;
use database::statement::{Row, compose, sql};
use database::writing::Writing;
use domain::{
    BudgetClaim, Drawn, ObjectListQuery, ObjectOwner, Principal, StoredObject, StoredObjectId,
    StoredObjectKind, TraceId,
};
use records::sql::budget_holds::{self, BudgetHolds};

use crate::jobs::NewJob;
use crate::kept_objects::{KeptObjectRow, ProviderObjects};
use crate::sql::jobs;

const TABLE: &str = "kept_objects";
const KEEP: &str = "INSERT INTO kept_objects
     (id, workspace, project, kind, request, maker, provider_id, model, upstream_model, label, shown, booked_by,
      created_unix_ms, until_unix_ms)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) ON CONFLICT (id) DO NOTHING";
const SHOW: &str =
    "UPDATE kept_objects SET shown = $2, label = $3, until_unix_ms = $4 WHERE id = $1 AND shown <> $2
     AND (until_unix_ms IS NULL OR until_unix_ms > 1)";
const FIND: &str =
    "SELECT * FROM kept_objects WHERE id = $1 AND workspace = $2 AND project = $3 AND kind = $4
     AND (until_unix_ms IS NULL OR until_unix_ms > $5)";

const OPEN_BATCH: &str =
    "SELECT id FROM kept_objects WHERE workspace = $1 AND project = $2 AND kind = $3 AND maker = $4
     AND booked_by IS NULL LIMIT 1";

/// Whether a file may be the results of a batch. Its purpose is unknown until a list has shown it.
fn may_be_results(file: &StoredObject) -> bool {
    matches!(file.label.as_str(), "" | "batch_output")
}

/// The number under which an object holds parts of budgets. Those of replicas are not negative.
fn holder(id: StoredObjectId) -> i64 {
    let start = id.digest.first_chunk().copied().unwrap_or_default();
    i64::from_be_bytes(start) | i64::MIN
}

/// An unbilled video is only hidden, so that billing still finds it.
const FORGET: &str = "DELETE FROM kept_objects WHERE id = $1 AND workspace = $2 AND project = $3
     AND (kind <> 'video' OR booked_by IS NOT NULL)";
const HIDE: &str =
    "UPDATE kept_objects SET until_unix_ms = 1 WHERE id = $1 AND workspace = $2 AND project = $3";

/// The start of a list, or the rows after a cursor, in either order. The cursor may be a batch that the gateway works
/// through itself: lists show both.
macro_rules! list {
    ($beyond:literal, $order:literal) => {
        concat!(
            "SELECT * FROM kept_objects WHERE workspace = $1 AND project = $2 AND kind = $3 AND shown <> ''
             AND ($4 = '' OR label = $4) AND (until_unix_ms IS NULL OR until_unix_ms > $5)",
            $beyond,
            $order
        )
    };
}
const NEWEST: &str = list!("", " ORDER BY created_unix_ms DESC, id DESC LIMIT $6");
const OLDEST: &str = list!("", " ORDER BY created_unix_ms, id LIMIT $6");
const OLDER: &str = list!(
    " AND (created_unix_ms, id) < (SELECT created_unix_ms, id FROM kept_objects
      WHERE id = $7 AND workspace = $1 AND project = $2 UNION ALL SELECT created_unix_ms, id FROM batches
      WHERE id = $7 AND workspace = $1 AND project = $2 UNION ALL SELECT created_unix_ms, id FROM files
      WHERE id = $7 AND workspace = $1 AND project = $2)",
    " ORDER BY created_unix_ms DESC, id DESC LIMIT $6"
);
const NEWER: &str = list!(
    " AND (created_unix_ms, id) > (SELECT created_unix_ms, id FROM kept_objects
      WHERE id = $7 AND workspace = $1 AND project = $2 UNION ALL SELECT created_unix_ms, id FROM batches
      WHERE id = $7 AND workspace = $1 AND project = $2 UNION ALL SELECT created_unix_ms, id FROM files
      WHERE id = $7 AND workspace = $1 AND project = $2)",
    " ORDER BY created_unix_ms, id LIMIT $6"
);

async fn keep(
    writing: &mut Writing,
    row: KeptObjectRow,
    job: Option<NewJob>,
    holds: BudgetHolds,
) -> Result<(), StoreError> {
    let KeptObjectRow { id, owner, object } = row;
    let since_unix_ms = object.created_unix_ms;
    let until = object.until_unix_ms.map(signed);
    let made = sql(KEEP)
        .bind(id.digest.to_vec())
        .bind(owner.workspace.bytes())
        .bind(owner.project.bytes())
        .bind(id.kind.as_str())
        .bind(object.request.bytes())
        .bind(object.created_by.to_string())
        .bind(object.provider_id)
        .bind(object.model)
        .bind(object.upstream_model)
        .bind(object.label.clone())
        .bind(object.list_entry.clone())
        .bind(object.is_booked.then(|| object.request.bytes()))
        .bind(signed(object.created_unix_ms))
        .bind(until)
        .run(writing.connection())
        .await?;
    if made == 0 {
        if !object.list_entry.is_empty() {
            let query =
                sql(SHOW).bind(id.digest.to_vec()).bind(object.list_entry).bind(object.label).bind(until);
            query.run(writing.connection()).await?;
        }
        return Ok(());
    }
    budget_holds::add(writing.connection(), holder(id), holds, since_unix_ms).await?;
    if let Some(job) = job {
        jobs::enqueue(writing, job).await?;
    }
    Ok(())
}

fn read(row: &Row) -> Result<KeptObjectRow, StoreError> {
    let fields = Fields::new(TABLE, row);
    let digest: &[u8] = fields.get("id")?;
    let digest = digest.try_into().map_err(|error| StoreError::corrupt(TABLE, format!("id: {error}")))?;
    let word = fields.text("kind")?;
    let kind = StoredObjectKind::by_name(&word);
    let kind = kind.ok_or_else(|| StoreError::corrupt(TABLE, format!("kind is {word}")))?;
    let maker = fields.text("maker")?;
    let object = StoredObject {
        request: fields.id("request")?,
        created_by: maker.parse().map_err(|_| StoreError::corrupt(TABLE, format!("maker is {maker}")))?,
        provider_id: fields.text("provider_id")?,
        model: fields.text("model")?,
        upstream_model: fields.text("upstream_model")?,
        label: fields.text("label")?,
        list_entry: fields.text("shown")?,
        is_booked: fields.maybe_id::<TraceId>("booked_by")?.is_some(),
        created_unix_ms: fields.number("created_unix_ms")?,
        until_unix_ms: fields.maybe_number("until_unix_ms")?,
    };
    let owner = ObjectOwner { workspace: fields.id("workspace")?, project: fields.id("project")? };
    Ok(KeptObjectRow { id: StoredObjectId { kind, digest }, owner, object })
}

impl ProviderObjects<'_> {
    /// An object that is already recorded stays as it is, except for what lists show of it. `job` is enqueued
    /// only for a new object.
    ///
    /// # Errors
    /// If its project is gone.
    pub async fn keep(self, row: KeptObjectRow, job: Option<NewJob>) -> Result<(), StoreError> {
        self.keep_with_holds(row, job, BudgetHolds::default()).await
    }

    /// The same, for an object that takes over what was reserved for it of budgets. Nothing of that is spent until it is booked.
    pub async fn keep_with_holds(
        self,
        row: KeptObjectRow,
        job: Option<NewJob>,
        holds: BudgetHolds,
    ) -> Result<(), StoreError> {
        self.0.note(move |writing| Box::pin(keep(writing, row, job, holds))).await
    }

    /// The budgets of which an object holds a part, or that are to count its cost.
    pub async fn holds(self, id: StoredObjectId) -> Result<Vec<BudgetClaim>, StoreError> {
        budget_holds::of(&mut self.0.read().await?, holder(id)).await
    }

    /// Has an object hold these parts of budgets where it holds a part of nothing of each. Nothing changes once that is released.
    pub async fn hold(self, id: StoredObjectId, parts: Vec<Drawn>) -> Result<(), StoreError> {
        self.0
            .note(move |writing| {
                Box::pin(async move { budget_holds::fill(writing.connection(), holder(id), parts).await })
            })
            .await
    }

    /// Releases what an object holds of budgets that nobody will book.
    pub async fn release(self, id: StoredObjectId) -> Result<(), StoreError> {
        self.0
            .note(move |writing| {
                Box::pin(async move { budget_holds::release(writing.connection(), holder(id)).await })
            })
            .await
    }

    /// With a time of `0` it finds hidden objects, too.
    pub async fn find(
        self,
        owner: ObjectOwner,
        id: StoredObjectId,
        now_unix_ms: u64,
    ) -> Result<Option<StoredObject>, StoreError> {
        let query = sql(FIND).bind(id.digest.to_vec()).bind(owner.workspace.bytes());
        let query = query.bind(owner.project.bytes()).bind(id.kind.as_str()).bind(signed(now_unix_ms));
        let mut connection = self.0.read().await?;
        let Some(row) = query.row(&mut connection).await? else { return Ok(None) };
        let mut object = read(&row)?.object;
        // If the results are deleted first, the account's owner pays for the batch, and not the project.
        if id.kind == StoredObjectKind::FILE && matches!(object.created_by, Principal::Account(_)) {
            let query = sql(OPEN_BATCH).bind(owner.workspace.bytes()).bind(owner.project.bytes());
            let query = query.bind(StoredObjectKind::BATCH.as_str()).bind(object.created_by.to_string());
            object.is_booked = !may_be_results(&object) || query.row(&mut connection).await?.is_none();
        }
        Ok(Some(object))
    }

    /// Objects that can be shown, in the order of their creation.
    pub async fn list(
        self,
        page: ObjectListQuery,
        now_unix_ms: u64,
    ) -> Result<Vec<KeptObjectRow>, StoreError> {
        let text = match (page.after, page.oldest_first) {
            (None, false) => NEWEST,
            (None, true) => OLDEST,
            (Some(_), false) => OLDER,
            (Some(_), true) => NEWER,
        };
        let query = sql(text).bind(page.owner.workspace.bytes()).bind(page.owner.project.bytes());
        let query = query.bind(page.kind.as_str()).bind(page.label.unwrap_or_default());
        let query = query.bind(signed(now_unix_ms)).bind(i64::from(page.limit));
        let query = match page.after {
            Some(after) => query.bind(after.digest.to_vec()),
            None => query,
        };
        query.rows(&mut self.0.read().await?).await?.iter().map(read).collect()
    }

    /// Claims the right to bill the object's usage; `true` if this request has it, also when it claims again. What it held of
    /// budgets is released.
    pub async fn book(self, owner: ObjectOwner, id: StoredObjectId, by: TraceId) -> Result<bool, StoreError> {
        self.0.note(move |writing| {
            Box::pin(async move {
                let query = sql("UPDATE kept_objects SET booked_by = $4
                     WHERE id = $1 AND workspace = $2 AND project = $3 AND (booked_by IS NULL OR booked_by = $4)");
                let query = query.bind(id.digest.to_vec()).bind(owner.workspace.bytes());
                let query = query.bind(owner.project.bytes()).bind(by.bytes());
                let is_claimed = query.run(writing.connection()).await? > 0;
                if is_claimed {
                    budget_holds::release(writing.connection(), holder(id)).await?;
                }
                Ok(is_claimed)
            })
        }).await
    }

    /// Gives that right back.
    pub async fn unbook(self, owner: ObjectOwner, id: StoredObjectId, by: TraceId) -> Result<(), StoreError> {
        self.0
            .note(move |writing| {
                Box::pin(async move {
                    let query = sql("UPDATE kept_objects SET booked_by = NULL
                     WHERE id = $1 AND workspace = $2 AND project = $3 AND booked_by = $4");
                    let query = query.bind(id.digest.to_vec()).bind(owner.workspace.bytes());
                    query.bind(owner.project.bytes()).bind(by.bytes()).run(writing.connection()).await?;
                    Ok(())
                })
            })
            .await
    }

    /// Hides the object for good. The row of a video that is not billed yet stays until it is billed.
    pub async fn forget(self, owner: ObjectOwner, id: StoredObjectId) -> Result<(), StoreError> {
        self.0
            .note(move |writing| {
                Box::pin(async move {
                    for text in [FORGET, HIDE] {
                        let query = sql(text).bind(id.digest.to_vec()).bind(owner.workspace.bytes());
                        query.bind(owner.project.bytes()).run(writing.connection()).await?;
                    }
                    Ok(())
                })
            })
            .await
    }

    /// Deletes at most `rows_max` expired rows, except unbilled videos, and returns how many it deleted.
    pub async fn expire(self, now_unix_ms: u64, rows_max: u32) -> Result<u64, StoreError> {
        self.0.note(move |writing| {
            Box::pin(async move {
                compose(format!(
                    "DELETE FROM kept_objects WHERE id IN (SELECT id FROM kept_objects WHERE until_unix_ms <= $1
                     AND (kind <> 'video' OR booked_by IS NOT NULL) AND NOT {} LIMIT $2)",
                    holding::held(TABLE)
                ))
                .bind(signed(now_unix_ms))
                .bind(i64::from(rows_max))
                .run(writing.connection())
                .await
            })
        }).await
    }
}
