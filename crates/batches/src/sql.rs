//! SQL for batches, their items and contents.

use database::connection::Connection;
use database::error::{StoreError, StoreFuture};
use database::fields::{ColumnId, Fields, signed, to_text, unsigned};
use database::handle::Database;
use database::holding;
use database::purging;
use database::seals::require_key;
use database::statement::{Row, Statement, compose, sql};
use database::writing::Writing;
use domain::ports::PurgeScope;
use domain::{
    BatchCounts, ItemOutcome, ObjectListQuery, ObjectOwner, OwnBatch, StoredObjectId, StoredObjectKind,
};
use store::{NewJob, Store, jobs};

use crate::rows::{Batches, EndedItemRow, FinishedItem, ItemContent, ItemPart, NewItem, OpenItem};

pub(crate) const TABLE: &str = "batches";
const ITEMS: &str = "batch_items";
pub(crate) const CONTENTS: &str = "batch_contents";
/// How many items one statement writes.
const ITEMS_AT_ONCE: usize = 100;

const FIND: &str = "SELECT * FROM batches WHERE id = $1 AND workspace = $2 AND project = $3 AND kind = $4
     AND state <> 'receiving' AND until_unix_ms > $5";

/// The start of a list, or the rows after a cursor, in either order. The cursor may be a batch of a provider.
macro_rules! list {
    ($beyond:literal, $order:literal) => {
        concat!(
            "SELECT * FROM batches WHERE workspace = $1 AND project = $2 AND kind = $3
             AND state <> 'receiving' AND until_unix_ms > $4",
            $beyond,
            $order
        )
    };
}
const NEWEST: &str = list!("", " ORDER BY created_unix_ms DESC, id DESC LIMIT $5");
const OLDEST: &str = list!("", " ORDER BY created_unix_ms, id LIMIT $5");
const OLDER: &str = list!(
    " AND (created_unix_ms, id) < (SELECT created_unix_ms, id FROM batches
      WHERE id = $6 AND workspace = $1 AND project = $2 UNION ALL SELECT created_unix_ms, id FROM kept_objects
      WHERE id = $6 AND workspace = $1 AND project = $2 UNION ALL SELECT created_unix_ms, id FROM files
      WHERE id = $6 AND workspace = $1 AND project = $2)",
    " ORDER BY created_unix_ms DESC, id DESC LIMIT $5"
);
const NEWER: &str = list!(
    " AND (created_unix_ms, id) > (SELECT created_unix_ms, id FROM batches
      WHERE id = $6 AND workspace = $1 AND project = $2 UNION ALL SELECT created_unix_ms, id FROM kept_objects
      WHERE id = $6 AND workspace = $1 AND project = $2 UNION ALL SELECT created_unix_ms, id FROM files
      WHERE id = $6 AND workspace = $1 AND project = $2)",
    " ORDER BY created_unix_ms, id LIMIT $5"
);

/// The size of a content is known without reading it, so that only the returned ones are read.
const ENDED: &str = "SELECT * FROM (
         SELECT i.position, i.outcome, c.digest, c.project, c.request, c.sealed_version, c.sealed_key_id, c.sealed,
             SUM(COALESCE(length(c.sealed), 0)) OVER (ORDER BY i.position) - COALESCE(length(c.sealed), 0) AS before
         FROM (SELECT position, outcome FROM batch_items
               WHERE batch = $1 AND position > $2 AND outcome IS NOT NULL ORDER BY position LIMIT $3) AS i
         LEFT JOIN batch_contents AS c ON c.batch = $1 AND c.position = i.position
             AND c.part = CASE WHEN i.outcome IN ('succeeded', 'errored') THEN 'result' ELSE 'request' END
     ) AS page WHERE before <= $4 ORDER BY position";

const WAITING: &str = "SELECT CAST(COALESCE(SUM(items), 0) AS BIGINT) AS found FROM batches
     WHERE workspace = $1 AND project = $2 AND state <> 'ended' AND kind <> $3";
const KEPT: &str = "SELECT CAST(COALESCE(SUM(items), 0) AS BIGINT) AS found FROM batches
     WHERE workspace = $1 AND project = $2 AND kind = $3";
const START: &str = "UPDATE batch_items SET started_unix_ms = $3
     WHERE batch = $1 AND position = ANY($2) AND started_unix_ms IS NULL";
const START_ON_SQLITE: &str = "UPDATE batch_items SET started_unix_ms = $3
     WHERE batch = $1 AND position IN (SELECT value FROM json_each($2)) AND started_unix_ms IS NULL";
const REQUESTS: &str =
    "SELECT * FROM batch_contents WHERE batch = $1 AND part = 'request' AND position = ANY($2)";
const REQUESTS_ON_SQLITE: &str = "SELECT * FROM batch_contents WHERE batch = $1 AND part = 'request'
     AND position IN (SELECT value FROM json_each($2))";

pub(crate) fn key(id: StoredObjectId) -> Vec<u8> {
    id.digest.to_vec()
}

/// The id of a batch, by its digest in a column and its kind beside that.
pub(crate) fn id_of(fields: &Fields<'_>, column: &'static str) -> Result<StoredObjectId, StoreError> {
    let word = fields.text("kind")?;
    let kind = StoredObjectKind::by_name(&word);
    let kind = kind.ok_or_else(|| StoreError::corrupt(TABLE, format!("kind is {word}")))?;
    let digest: &[u8] = fields.get(column)?;
    let digest = digest.try_into();
    let digest = digest.map_err(|error| StoreError::corrupt(TABLE, format!("{column}: {error}")))?;
    Ok(StoredObjectId { kind, digest })
}

fn outcome_of(fields: &Fields<'_>) -> Result<Option<ItemOutcome>, StoreError> {
    let Some(word) = fields.maybe_text("outcome")? else { return Ok(None) };
    let outcome = ItemOutcome::ALL.into_iter().find(|outcome| outcome.as_str() == word);
    outcome.map(Some).ok_or_else(|| StoreError::corrupt(ITEMS, format!("outcome is {word}")))
}

/// A batch, with the counts of one that has ended.
fn read(row: &Row) -> Result<OwnBatch, StoreError> {
    let fields = Fields::new(TABLE, row);
    let counts: Option<[u64; 4]> = fields.maybe_json("counts")?;
    let items = fields.number("items")?;
    let mut counted = BatchCounts { processing: items, ..BatchCounts::default() };
    if let Some(ended) = counts {
        counted.processing = 0;
        ItemOutcome::ALL.into_iter().zip(ended).for_each(|(outcome, items)| counted.add(outcome, items));
    }
    Ok(OwnBatch {
        id: id_of(&fields, "id")?,
        owner: ObjectOwner { workspace: fields.id("workspace")?, project: fields.id("project")? },
        request: fields.id("request")?,
        key: fields.maybe_id("api_key")?,
        headers: fields.json("headers")?,
        details: fields.text("details")?,
        counts: counted,
        created_unix_ms: fields.number("created_unix_ms")?,
        expires_unix_ms: fields.number("expires_unix_ms")?,
        cancelled_unix_ms: fields.maybe_number("cancelled_unix_ms")?,
        ended_unix_ms: fields.maybe_number("ended_unix_ms")?,
    })
}

/// The same, with the counts as they are now.
async fn counted(connection: &mut Connection, row: &Row) -> Result<OwnBatch, StoreError> {
    let mut batch = read(row)?;
    if batch.ended_unix_ms.is_none() {
        batch.counts = count(connection, batch.id).await?;
    }
    Ok(batch)
}

async fn count(connection: &mut Connection, id: StoredObjectId) -> Result<BatchCounts, StoreError> {
    let query = sql("SELECT outcome, COUNT(*) AS found FROM batch_items WHERE batch = $1 GROUP BY outcome");
    let mut counts = BatchCounts::default();
    for row in &query.bind(key(id)).rows(connection).await? {
        let fields = Fields::new(ITEMS, row);
        let found = fields.number("found")?;
        match outcome_of(&fields)? {
            Some(outcome) => counts.add(outcome, found),
            None => counts.processing += found,
        }
    }
    Ok(counts)
}

async fn begin(
    writing: &mut Writing,
    batch: OwnBatch,
    until_unix_ms: u64,
    items_max: u64,
) -> Result<Option<u64>, StoreError> {
    let OwnBatch { id, owner, .. } = batch;
    let query = sql(if id.kind == StoredObjectKind::FILE { KEPT } else { WAITING });
    let query = query.bind(owner.workspace.bytes()).bind(owner.project.bytes());
    let query = query.bind(StoredObjectKind::FILE.as_str());
    let found = Fields::new(TABLE, &query.one(writing.connection()).await?).number("found")?;
    if found.saturating_add(batch.counts.processing) > items_max {
        return Ok(Some(found));
    }
    sql(
        "INSERT INTO batches (id, workspace, project, kind, request, api_key, headers, details, state, items,
         created_unix_ms, expires_unix_ms, until_unix_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'receiving', $9, $10, $11, $12)",
    )
    .bind(key(id))
    .bind(owner.workspace.bytes())
    .bind(owner.project.bytes())
    .bind(id.kind.as_str())
    .bind(batch.request.bytes())
    .bind(batch.key.map(|key| key.bytes()))
    .bind(to_text(TABLE, &batch.headers)?)
    .bind(batch.details)
    .bind(signed(batch.counts.processing))
    .bind(signed(batch.created_unix_ms))
    .bind(signed(batch.expires_unix_ms))
    .bind(signed(until_unix_ms))
    .run(writing.connection())
    .await?;
    Ok(None)
}

async fn put(
    writing: &mut Writing,
    owner: ObjectOwner,
    (id, position, part): (StoredObjectId, u64, ItemPart),
    content: ItemContent,
) -> Result<(), StoreError> {
    let query = sql("INSERT INTO batch_contents
         (digest, workspace, project, request, batch, position, part, sealed_version, sealed_key_id, sealed)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING");
    query
        .bind(content.digest.to_vec())
        .bind(owner.workspace.bytes())
        .bind(owner.project.bytes())
        .bind(content.request.bytes())
        .bind(key(id))
        .bind(signed(position))
        .bind(part.as_str())
        .bind(i64::from(content.sealed.version))
        .bind(content.sealed.key_id)
        .bind(content.sealed.bytes)
        .run(writing.connection())
        .await?;
    Ok(())
}

/// Content under a key that is gone could never be opened.
async fn require_keys<'a>(
    writing: &mut Writing,
    owner: ObjectOwner,
    contents: impl Iterator<Item = &'a ItemContent>,
) -> Result<(), StoreError> {
    let mut known: Option<&str> = None;
    for content in contents {
        if known != Some(&content.sealed.key_id) {
            require_key(writing, owner.workspace, &content.sealed.key_id).await?;
            known = Some(&content.sealed.key_id);
        }
    }
    Ok(())
}

async fn add_items(
    writing: &mut Writing,
    owner: ObjectOwner,
    id: StoredObjectId,
    items: Vec<NewItem>,
) -> Result<(), StoreError> {
    require_keys(writing, owner, items.iter().map(|item| &item.content)).await?;
    let mut items = items.into_iter();
    loop {
        let some: Vec<NewItem> = items.by_ref().take(ITEMS_AT_ONCE).collect();
        if some.is_empty() {
            break;
        }
        insert_items(id, &some).run(writing.connection()).await?;
        insert_requests(owner, id, some).run(writing.connection()).await?;
    }
    Ok(())
}

/// Rows of new items, each with the placeholders that follow those of its batch.
fn insert_items(id: StoredObjectId, items: &[NewItem]) -> Statement {
    let row = |at: usize| format!("($1, ${}, ${}, 0, 0)", 2 * at + 2, 2 * at + 3);
    let rows: Vec<_> = (0..items.len()).map(row).collect();
    let text = "INSERT INTO batch_items (batch, position, lane, tries, retry_unix_ms) VALUES ";
    let query = compose(format!("{text}{}", rows.join(", "))).bind(key(id));
    items.iter().fold(query, |query, item| query.bind(signed(item.position)).bind(i64::from(item.lane)))
}

fn insert_requests(owner: ObjectOwner, id: StoredObjectId, items: Vec<NewItem>) -> Statement {
    let row = |at: usize| {
        let [digest, request, position, version, key_id, sealed] =
            [0, 1, 2, 3, 4, 5].map(|more| 6 * at + 5 + more);
        format!("(${digest}, $1, $2, ${request}, $3, ${position}, $4, ${version}, ${key_id}, ${sealed})")
    };
    let rows: Vec<_> = (0..items.len()).map(row).collect();
    let text = "INSERT INTO batch_contents
         (digest, workspace, project, request, batch, position, part, sealed_version, sealed_key_id, sealed) VALUES ";
    let query = compose(format!("{text}{}", rows.join(", ")));
    let query = query.bind(owner.workspace.bytes()).bind(owner.project.bytes()).bind(key(id));
    let query = query.bind(ItemPart::Request.as_str());
    items.into_iter().fold(query, |query, NewItem { position, content, .. }| {
        let query = query.bind(content.digest.to_vec()).bind(content.request.bytes()).bind(signed(position));
        query.bind(i64::from(content.sealed.version)).bind(content.sealed.key_id).bind(content.sealed.bytes)
    })
}

async fn open(
    writing: &mut Writing,
    id: StoredObjectId,
    jobs: Vec<NewJob>,
    now_unix_ms: u64,
) -> Result<(), StoreError> {
    let query = if jobs.is_empty() {
        sql("UPDATE batches SET state = 'ended', ended_unix_ms = $2 WHERE id = $1 AND state = 'receiving'")
            .bind(key(id))
            .bind(signed(now_unix_ms))
    } else {
        sql("UPDATE batches SET state = 'running' WHERE id = $1 AND state = 'receiving'").bind(key(id))
    };
    query.run(writing.connection()).await?;
    for job in jobs {
        jobs::enqueue(writing, job).await?;
    }
    Ok(())
}

pub(crate) fn content_of(row: &Row) -> Result<Option<ItemContent>, StoreError> {
    let fields = Fields::new(CONTENTS, row);
    let digest: Option<Vec<u8>> = fields.get("digest")?;
    if digest.is_none() {
        return Ok(None);
    }
    Ok(Some(ItemContent {
        digest: fields.digest("digest")?,
        project: fields.id("project")?,
        request: fields.id("request")?,
        sealed: fields.sealed()?,
    }))
}

fn list(page: &ObjectListQuery, now_unix_ms: u64) -> Statement {
    let text = match (page.after, page.oldest_first) {
        (None, false) => NEWEST,
        (None, true) => OLDEST,
        (Some(_), false) => OLDER,
        (Some(_), true) => NEWER,
    };
    let query = sql(text).bind(page.owner.workspace.bytes()).bind(page.owner.project.bytes());
    let query = query.bind(page.kind.as_str()).bind(signed(now_unix_ms)).bind(i64::from(page.limit));
    match page.after {
        Some(after) => query.bind(key(after)),
        None => query,
    }
}

async fn take(
    writing: &mut Writing,
    (id, lane): (StoredObjectId, u32),
    in_flight: Vec<u64>,
    now_unix_ms: u64,
    rows_max: u32,
) -> Result<Vec<OpenItem>, StoreError> {
    let query = sql("SELECT position, tries, started_unix_ms FROM batch_items
         WHERE batch = $1 AND lane = $2 AND outcome IS NULL AND retry_unix_ms <= $3 ORDER BY position LIMIT $4");
    let most = i64::from(rows_max).saturating_add(signed(in_flight.len() as u64));
    let query = query.bind(key(id)).bind(i64::from(lane)).bind(signed(now_unix_ms)).bind(most);
    let mut items = Vec::new();
    for row in &query.rows(writing.connection()).await? {
        let fields = Fields::new(ITEMS, row);
        let (position, started) = (fields.number("position")?, fields.maybe_number("started_unix_ms")?);
        if items.len() < rows_max as usize && !in_flight.contains(&position) {
            items.push(OpenItem {
                position,
                tries: fields.small("tries")?,
                started_unix_ms: started.unwrap_or(now_unix_ms),
                is_resumed: started.is_some(),
                content: None,
            });
        }
    }
    let positions: Vec<i64> = items.iter().map(|item| signed(item.position)).collect();
    let start = writing.connection().either(START, START_ON_SQLITE);
    let query = sql(start).bind(key(id)).bind(positions.clone()).bind(signed(now_unix_ms));
    query.run(writing.connection()).await?;
    let requests = writing.connection().either(REQUESTS, REQUESTS_ON_SQLITE);
    for row in &sql(requests).bind(key(id)).bind(positions).rows(writing.connection()).await? {
        let position = Fields::new(CONTENTS, row).number("position")?;
        if let Some(item) = items.iter_mut().find(|item| item.position == position) {
            item.content = content_of(row)?;
        }
    }
    Ok(items)
}

async fn finish(
    writing: &mut Writing,
    owner: ObjectOwner,
    id: StoredObjectId,
    items: Vec<FinishedItem>,
) -> Result<(), StoreError> {
    require_keys(writing, owner, items.iter().filter_map(|item| item.result.as_ref())).await?;
    for FinishedItem { position, outcome, result } in items {
        let query = sql("UPDATE batch_items SET outcome = $3
             WHERE batch = $1 AND position = $2 AND outcome IS NULL");
        let query = query.bind(key(id)).bind(signed(position)).bind(outcome.as_str());
        if query.run(writing.connection()).await? == 0 {
            continue;
        }
        // What was answered is not needed any more.
        let query = compose(format!(
            "DELETE FROM batch_contents WHERE batch = $1 AND part = 'request' AND position = $2 AND NOT {}",
            holding::held(CONTENTS)
        ));
        query.bind(key(id)).bind(signed(position)).run(writing.connection()).await?;
        if let Some(result) = result {
            put(writing, owner, (id, position, ItemPart::Result), result).await?;
        }
    }
    Ok(())
}

/// Cancels a batch that has neither ended nor been cancelled.
pub(crate) async fn cancel(
    writing: &mut Writing,
    owner: ObjectOwner,
    id: StoredObjectId,
    now_unix_ms: u64,
) -> Result<(), StoreError> {
    let query = sql("UPDATE batches SET cancelled_unix_ms = $4 WHERE id = $1 AND workspace = $2
         AND project = $3 AND state = 'running' AND cancelled_unix_ms IS NULL");
    let query = query.bind(key(id)).bind(owner.workspace.bytes()).bind(owner.project.bytes());
    query.bind(signed(now_unix_ms)).run(writing.connection()).await.map(drop)
}

async fn conclude(writing: &mut Writing, id: StoredObjectId, now_unix_ms: u64) -> Result<bool, StoreError> {
    let counts = count(writing.connection(), id).await?;
    if counts.processing > 0 {
        return Ok(false);
    }
    let ended = [counts.succeeded, counts.errored, counts.cancelled, counts.expired];
    let query = sql("UPDATE batches SET state = 'ended', counts = $2, ended_unix_ms = $3
         WHERE id = $1 AND state = 'running'");
    let query = query.bind(key(id)).bind(to_text(TABLE, &ended)?).bind(signed(now_unix_ms));
    query.run(writing.connection()).await?;
    Ok(true)
}

/// The batches in a database.
#[derive(Clone)]
pub struct StoredBatches(pub(crate) Database);

/// The batches of a store.
pub fn stored(store: &Store) -> StoredBatches {
    StoredBatches(store.database().clone())
}

impl Batches for StoredBatches {
    fn begin(&self, batch: OwnBatch, until_unix_ms: u64, items_max: u64) -> StoreFuture<'_, Option<u64>> {
        Box::pin(self.0.note(move |writing| Box::pin(begin(writing, batch, until_unix_ms, items_max))))
    }

    fn add_items(&self, owner: ObjectOwner, id: StoredObjectId, items: Vec<NewItem>) -> StoreFuture<'_, ()> {
        Box::pin(self.0.note(move |writing| Box::pin(add_items(writing, owner, id, items))))
    }

    fn open(&self, id: StoredObjectId, jobs: Vec<NewJob>, now_unix_ms: u64) -> StoreFuture<'_, ()> {
        Box::pin(self.0.note(move |writing| Box::pin(open(writing, id, jobs, now_unix_ms))))
    }

    fn find(
        &self,
        owner: ObjectOwner,
        id: StoredObjectId,
        now_unix_ms: u64,
    ) -> StoreFuture<'_, Option<OwnBatch>> {
        Box::pin(async move {
            let query = sql(FIND).bind(key(id)).bind(owner.workspace.bytes()).bind(owner.project.bytes());
            let query = query.bind(id.kind.as_str()).bind(signed(now_unix_ms));
            let mut connection = self.0.read().await?;
            match query.row(&mut connection).await? {
                Some(row) => counted(&mut connection, &row).await.map(Some),
                None => Ok(None),
            }
        })
    }

    fn list(&self, page: ObjectListQuery, now_unix_ms: u64) -> StoreFuture<'_, Vec<OwnBatch>> {
        Box::pin(async move {
            let mut connection = self.0.read().await?;
            let rows = list(&page, now_unix_ms).rows(&mut connection).await?;
            let mut batches = Vec::with_capacity(rows.len());
            for row in &rows {
                batches.push(counted(&mut connection, row).await?);
            }
            Ok(batches)
        })
    }

    fn cancel(&self, owner: ObjectOwner, id: StoredObjectId, now_unix_ms: u64) -> StoreFuture<'_, ()> {
        Box::pin(self.0.note(move |writing| Box::pin(cancel(writing, owner, id, now_unix_ms))))
    }

    fn forget(&self, owner: ObjectOwner, id: StoredObjectId) -> StoreFuture<'_, ()> {
        Box::pin(self.0.note(move |writing| {
            Box::pin(async move {
                let query = sql("DELETE FROM batches WHERE id = $1 AND workspace = $2 AND project = $3
                     AND state = 'ended'");
                let query = query.bind(key(id)).bind(owner.workspace.bytes()).bind(owner.project.bytes());
                query.run(writing.connection()).await.map(drop)
            })
        }))
    }

    fn ended_items(
        &self,
        id: StoredObjectId,
        after: Option<u64>,
        (rows_max, bytes_max): (u32, u64),
    ) -> StoreFuture<'_, Vec<EndedItemRow>> {
        Box::pin(async move {
            let query = sql(ENDED).bind(key(id)).bind(after.map_or(-1, signed));
            let query = query.bind(i64::from(rows_max)).bind(signed(bytes_max));
            let rows = query.rows(&mut self.0.read().await?).await?;
            let read = |row| {
                let fields = Fields::new(ITEMS, row);
                let outcome = outcome_of(&fields)?;
                Ok(EndedItemRow {
                    position: fields.number("position")?,
                    outcome: outcome.ok_or_else(|| StoreError::corrupt(ITEMS, "it has not ended"))?,
                    content: content_of(row)?,
                })
            };
            rows.iter().map(read).collect()
        })
    }

    fn requests(
        &self,
        id: StoredObjectId,
        after: Option<u64>,
        rows_max: u32,
    ) -> StoreFuture<'_, Vec<(u64, ItemContent)>> {
        Box::pin(async move {
            let query =
                sql("SELECT * FROM batch_contents WHERE batch = $1 AND part = 'request' AND position > $2
                 ORDER BY position LIMIT $3");
            let query = query.bind(key(id)).bind(after.map_or(-1, signed)).bind(i64::from(rows_max));
            let mut pieces = Vec::new();
            for row in &query.rows(&mut self.0.read().await?).await? {
                let position = Fields::new(CONTENTS, row).number("position")?;
                pieces.extend(content_of(row)?.map(|content| (position, content)));
            }
            Ok(pieces)
        })
    }

    fn forget_results(&self, id: StoredObjectId, outcomes: Vec<ItemOutcome>) -> StoreFuture<'_, ()> {
        Box::pin(self.0.note(move |writing| {
            Box::pin(async move {
                for outcome in outcomes {
                    let query = sql("DELETE FROM batch_contents WHERE batch = $1 AND position IN
                         (SELECT position FROM batch_items WHERE batch = $1 AND outcome = $2)");
                    query.bind(key(id)).bind(outcome.as_str()).run(writing.connection()).await?;
                }
                Ok(())
            })
        }))
    }

    fn take(
        &self,
        id: StoredObjectId,
        lane: u32,
        in_flight: Vec<u64>,
        now_unix_ms: u64,
        rows_max: u32,
    ) -> StoreFuture<'_, Vec<OpenItem>> {
        Box::pin(
            self.0.note(move |writing| Box::pin(take(writing, (id, lane), in_flight, now_unix_ms, rows_max))),
        )
    }

    fn end_waiting(
        &self,
        id: StoredObjectId,
        lane: u32,
        outcome: ItemOutcome,
        rows_max: u32,
    ) -> StoreFuture<'_, u64> {
        Box::pin(self.0.note(move |writing| {
            Box::pin(async move {
                let query = sql("UPDATE batch_items SET outcome = $3 WHERE batch = $1 AND position IN
                     (SELECT position FROM batch_items WHERE batch = $1 AND lane = $2 AND outcome IS NULL
                      AND started_unix_ms IS NULL ORDER BY position LIMIT $4)");
                let query = query.bind(key(id)).bind(i64::from(lane)).bind(outcome.as_str());
                query.bind(i64::from(rows_max)).run(writing.connection()).await
            })
        }))
    }

    fn finish(
        &self,
        owner: ObjectOwner,
        id: StoredObjectId,
        items: Vec<FinishedItem>,
    ) -> StoreFuture<'_, ()> {
        Box::pin(self.0.note(move |writing| Box::pin(finish(writing, owner, id, items))))
    }

    fn retry(
        &self,
        id: StoredObjectId,
        position: u64,
        tries: u32,
        retry_unix_ms: u64,
    ) -> StoreFuture<'_, ()> {
        Box::pin(self.0.note(move |writing| {
            Box::pin(async move {
                let query =
                    sql("UPDATE batch_items SET started_unix_ms = NULL, tries = $3, retry_unix_ms = $4
                     WHERE batch = $1 AND position = $2 AND outcome IS NULL AND tries <= $3");
                let query = query.bind(key(id)).bind(signed(position)).bind(i64::from(tries));
                query.bind(signed(retry_unix_ms)).run(writing.connection()).await.map(drop)
            })
        }))
    }

    fn next_try(&self, id: StoredObjectId, lane: u32) -> StoreFuture<'_, Option<u64>> {
        Box::pin(async move {
            let query = sql("SELECT MIN(retry_unix_ms) AS next FROM batch_items
                 WHERE batch = $1 AND lane = $2 AND outcome IS NULL");
            let row = query.bind(key(id)).bind(i64::from(lane)).one(&mut self.0.read().await?).await?;
            let next: Option<i64> = Fields::new(ITEMS, &row).get("next")?;
            Ok(next.map(unsigned))
        })
    }

    fn conclude(&self, id: StoredObjectId, now_unix_ms: u64) -> StoreFuture<'_, bool> {
        Box::pin(self.0.note(move |writing| Box::pin(conclude(writing, id, now_unix_ms))))
    }

    fn expire(&self, now_unix_ms: u64, received_before_unix_ms: u64, rows_max: u32) -> StoreFuture<'_, u64> {
        Box::pin(self.0.note(move |writing| {
            Box::pin(async move {
                let query = compose(format!(
                    "DELETE FROM batches WHERE id IN (SELECT id FROM batches WHERE (until_unix_ms <= $1
                     OR (state = 'receiving' AND created_unix_ms < $2)) AND NOT {} LIMIT $3)",
                    holding::held(TABLE)
                ));
                let query = query.bind(signed(now_unix_ms)).bind(signed(received_before_unix_ms));
                query.bind(i64::from(rows_max)).run(writing.connection()).await
            })
        }))
    }

    fn purge(&self, scope: PurgeScope) -> StoreFuture<'_, u64> {
        Box::pin(self.0.note(move |writing| {
            Box::pin(async move {
                let contents = purging::purge(writing, scope.clone(), CONTENTS).await?;
                Ok(contents + purging::purge(writing, scope, TABLE).await?)
            })
        }))
    }

    fn remaining(&self, scope: PurgeScope) -> StoreFuture<'_, u64> {
        Box::pin(async move {
            let mut connection = self.0.read().await?;
            let contents = purging::remaining(&mut connection, scope.clone(), CONTENTS).await?;
            Ok(contents + purging::remaining(&mut connection, scope, TABLE).await?)
        })
    }
}
