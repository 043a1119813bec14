//! SQL for tasks and their contents.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use database::connection::Connection;
use database::error::StoreError;
use database::fields::{ColumnId, Fields, before, signed, to_text, unsigned};
use database::handle::Database;
use database::holding;
use database::purging;
use database::statement::{Row, Statement, compose, sql};
use database::writing::Writing;
use domain::purge::PurgeScope;
use domain::{
    ObjectOwner, QueuePlace, RunTask, SessionId, TaskEvent, TaskId, TaskListQuery, TaskPriority, TaskStatus,
};
use store::{NewJob, Store, jobs};

use crate::rows::{FoundRow, TaskContent, TaskPart, TaskWrite, Written};
use crate::writing::{self, kept_ms};

pub(crate) const TABLE: &str = "run_tasks";
pub(crate) const CONTENTS: &str = "run_contents";
/// Tasks that ended lately, by which the next ones are estimated.
const LATELY: i64 = 20;

const PLACE: &str = "SELECT CAST(COUNT(*) AS BIGINT) AS ahead FROM run_tasks WHERE state = 'queued' AND workspace = $1
     AND due_unix_ms <= $2 AND (priority < $3 OR (priority = $3 AND (due_unix_ms < $4 OR (due_unix_ms = $4 AND id < $5))))";
const RUNNING: &str =
    "SELECT CAST(COUNT(*) AS BIGINT) AS running FROM run_tasks WHERE state = 'running' AND workspace = $1";
const MEAN: &str = "SELECT CAST(AVG(ended_unix_ms - started_unix_ms) AS BIGINT) AS mean FROM (
     SELECT ended_unix_ms, started_unix_ms FROM run_tasks WHERE state = 'ended' AND workspace = $1
     AND started_unix_ms IS NOT NULL ORDER BY ended_unix_ms DESC LIMIT $2) AS lately";

const PURGED: &str =
    "SELECT CAST(MAX(created_unix_ms) AS BIGINT) AS purged FROM purge_jobs WHERE workspace = $1";

/// The tasks in a database.
#[derive(Clone)]
pub struct StoredTasks(pub(crate) Database);

/// The tasks of a store.
pub fn stored(store: &Store) -> StoredTasks {
    StoredTasks(store.database().clone())
}

pub(crate) const fn state_of(status: TaskStatus) -> &'static str {
    match status {
        TaskStatus::Received | TaskStatus::Queued => "queued",
        TaskStatus::Completed | TaskStatus::Failed | TaskStatus::Cancelled => "ended",
        _ => "running",
    }
}

pub(crate) fn read(row: &Row) -> Result<RunTask, StoreError> {
    let fields = Fields::new(TABLE, row);
    let byte = |name| fields.small(name).map(|number| u8::try_from(number).unwrap_or(u8::MAX));
    let status = TaskStatus::by_code(byte("status")?);
    let priority = TaskPriority::by_rank(byte("priority")?);
    let rating = fields.maybe_number("rating")?.and_then(|rating| u8::try_from(rating).ok());
    Ok(RunTask {
        id: fields.id("id")?,
        owner: ObjectOwner { workspace: fields.id("workspace")?, project: fields.id("project")? },
        key: fields.id("api_key")?,
        app: fields.text("app")?,
        status: status.ok_or_else(|| StoreError::corrupt(TABLE, "status isn't a status"))?,
        priority: priority.ok_or_else(|| StoreError::corrupt(TABLE, "priority isn't a priority"))?,
        tries: fields.small("tries")?,
        created_unix_ms: fields.number("created_unix_ms")?,
        updated_unix_ms: fields.number("updated_unix_ms")?,
        due_unix_ms: fields.number("due_unix_ms")?,
        ended_unix_ms: fields.maybe_number("ended_unix_ms")?,
        until_unix_ms: fields.number("until_unix_ms")?,
        ttl_ms: fields.maybe_number("ttl_ms")?,
        cancelled_unix_ms: fields.maybe_number("cancelled_unix_ms")?,
        events: fields.json("events")?,
        logs: fields.json("logs")?,
        rating,
        notifies: fields.flag("notifies")?,
        chat: fields.maybe_id("chat")?,
    })
}

pub(crate) fn content_of(row: &Row) -> Result<TaskContent, StoreError> {
    let fields = Fields::new(CONTENTS, row);
    let part = TaskPart::by_name(&fields.text("part")?);
    Ok(TaskContent {
        part: part.ok_or_else(|| StoreError::corrupt(CONTENTS, "part isn't a part"))?,
        digest: fields.digest("digest")?,
        project: fields.id("project")?,
        request: fields.id("request")?,
        sealed: fields.sealed()?,
    })
}

/// The contents of some tasks, by task.
pub(crate) async fn contents_of(
    connection: &mut Connection,
    tasks: &[TaskId],
    only: Option<TaskPart>,
) -> Result<HashMap<TaskId, Vec<TaskContent>>, StoreError> {
    let mut found: HashMap<TaskId, Vec<TaskContent>> = HashMap::new();
    if tasks.is_empty() {
        return Ok(found);
    }
    let of_part = only.map(|part| format!(" AND part = '{}'", part.as_str())).unwrap_or_default();
    let query = compose(format!("SELECT * FROM run_contents WHERE task IN ({}){of_part}", named(1, tasks)));
    for row in &bind_all(query, tasks).rows(connection).await? {
        let task = Fields::new(CONTENTS, row).id("task")?;
        found.entry(task).or_default().push(content_of(row)?);
    }
    Ok(found)
}

/// Placeholders for tasks, from the first one on.
pub(crate) fn named(first: usize, tasks: &[TaskId]) -> String {
    let named: Vec<_> = (first..tasks.len() + first).map(|at| format!("${at}")).collect();
    named.join(", ")
}

pub(crate) fn bind_all(query: Statement, tasks: &[TaskId]) -> Statement {
    tasks.iter().fold(query, |query, id| query.bind(id.bytes()))
}

const FIND: &str = "SELECT * FROM run_tasks WHERE id = $1 AND workspace = $2 AND project = $3
     AND (until_unix_ms > $4 OR state = 'running')";

fn of_owner(query: Statement, owner: ObjectOwner, id: TaskId) -> Statement {
    query.bind(id.bytes()).bind(owner.workspace.bytes()).bind(owner.project.bytes())
}

/// Ends a task that waits, and notes the wish for one that runs.
pub(crate) async fn cancel(
    writing: &mut Writing,
    (owner, id): (ObjectOwner, TaskId),
    now_unix_ms: u64,
    tell: NewJob,
) -> Result<(), StoreError> {
    let found = of_owner(sql(FIND), owner, id).bind(signed(now_unix_ms)).row(writing.connection()).await?;
    let Some(row) = found else { return Ok(()) };
    let RunTask { mut events, notifies, .. } = read(&row)?;
    events.push(TaskEvent::new(now_unix_ms, TaskStatus::Cancelled));
    let query = compose(format!(
        "UPDATE run_tasks SET state = 'ended', status = 12, cancelled_unix_ms = $4, ended_unix_ms = $4,
         updated_unix_ms = $4, until_unix_ms = $4 + COALESCE(ttl_ms, {}), events = $5
         WHERE id = $1 AND workspace = $2 AND project = $3 AND state = 'queued'",
        kept_ms()
    ));
    let query = of_owner(query, owner, id).bind(signed(now_unix_ms)).bind(to_text(TABLE, &events)?);
    if query.run(writing.connection()).await? > 0 {
        if notifies {
            jobs::enqueue(writing, tell).await?;
        }
        return Ok(());
    }
    let query = sql("UPDATE run_tasks SET status = 8, cancelled_unix_ms = $4, updated_unix_ms = $4
         WHERE id = $1 AND workspace = $2 AND project = $3 AND state = 'running' AND cancelled_unix_ms IS NULL");
    of_owner(query, owner, id).bind(signed(now_unix_ms)).run(writing.connection()).await.map(drop)
}

fn list(query: &TaskListQuery, now_unix_ms: u64) -> Statement {
    let codes: Vec<_> = query.statuses.iter().map(|status| status.code().to_string()).collect();
    let of_status =
        if codes.is_empty() { String::new() } else { format!(" AND status IN ({})", codes.join(", ")) };
    let of_app = if query.app.is_some() { " AND app = $6" } else { "" };
    let text = format!(
        "SELECT * FROM run_tasks WHERE workspace = $1 AND project = $2
         AND (until_unix_ms > $3 OR state = 'running') AND id < $4 {of_status}{of_app} ORDER BY id DESC LIMIT $5"
    );
    let statement = compose(text).bind(query.owner.workspace.bytes()).bind(query.owner.project.bytes());
    let statement =
        statement.bind(signed(now_unix_ms)).bind(before(query.after)).bind(i64::from(query.limit));
    match &query.app {
        Some(app) => statement.bind(app),
        None => statement,
    }
}

impl StoredTasks {
    /// Whether other processes store tasks beside this one.
    pub const fn is_shared(&self) -> bool {
        self.0.is_shared()
    }

    /// Leaves out tasks of workspaces in which a purge was requested after they began: they were on their way for so long that it
    /// may have passed by.
    pub async fn drop_purged(&self, writes: &mut Vec<TaskWrite>) -> Result<(), StoreError> {
        let mut purged_at = HashMap::new();
        let mut connection = self.0.read().await?;
        for write in &*writes {
            let TaskWrite::Keep { new, .. } = write else { continue };
            let workspace = new.task.owner.workspace;
            if let Entry::Vacant(place) = purged_at.entry(workspace) {
                let row = sql(PURGED).bind(workspace.bytes()).one(&mut connection).await?;
                place.insert(Fields::new(TABLE, &row).maybe_number("purged")?);
            }
        }
        writes.retain(|write| match write {
            TaskWrite::Keep { new, .. } => {
                let purged = purged_at.get(&new.task.owner.workspace).copied().flatten();
                purged.is_none_or(|purged| purged < new.task.created_unix_ms)
            }
            _ => true,
        });
        Ok(())
    }

    /// Makes several writes in one transaction.
    ///
    /// # Errors
    /// Of the database: then none of them is made.
    pub async fn write(&self, writes: Vec<TaskWrite>) -> Result<Vec<Written>, StoreError> {
        self.0.note(move |writing| Box::pin(writing::write(writing, writes))).await
    }

    pub async fn find(
        &self,
        owner: ObjectOwner,
        id: TaskId,
        now_unix_ms: u64,
    ) -> Result<Option<FoundRow>, StoreError> {
        let mut connection = self.0.read().await?;
        let query = of_owner(sql(FIND), owner, id).bind(signed(now_unix_ms));
        let Some(row) = query.row(&mut connection).await? else { return Ok(None) };
        let contents = contents_of(&mut connection, &[id], None).await?.remove(&id).unwrap_or_default();
        Ok(Some((read(&row)?, contents)))
    }

    pub async fn list(&self, query: TaskListQuery, now_unix_ms: u64) -> Result<Vec<FoundRow>, StoreError> {
        let mut connection = self.0.read().await?;
        let rows = list(&query, now_unix_ms).rows(&mut connection).await?;
        let tasks = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let ids: Vec<_> = tasks.iter().map(|task| task.id).collect();
        let mut contents = contents_of(&mut connection, &ids, None).await?;
        Ok(tasks
            .into_iter()
            .map(|task| {
                let of_task = contents.remove(&task.id).unwrap_or_default();
                (task, of_task)
            })
            .collect())
    }

    /// `tell` is the job that tells of the end, where somebody wants to know.
    pub async fn cancel(
        &self,
        owner: ObjectOwner,
        id: TaskId,
        now_unix_ms: u64,
        tell: NewJob,
    ) -> Result<(), StoreError> {
        self.0.note(move |writing| Box::pin(cancel(writing, (owner, id), now_unix_ms, tell))).await
    }

    /// Deletes a task that has ended and is not held.
    pub async fn forget(&self, owner: ObjectOwner, id: TaskId) -> Result<bool, StoreError> {
        self.0
            .note(move |writing| {
                Box::pin(async move {
                    let text = format!(
                        "DELETE FROM run_tasks WHERE id = $1 AND workspace = $2 AND project = $3
                         AND state = 'ended' AND NOT {}",
                        holding::held(TABLE)
                    );
                    Ok(of_owner(compose(text), owner, id).run(writing.connection()).await? > 0)
                })
            })
            .await
    }

    /// The turns of a chat that are stored, oldest first, with their contents.
    pub async fn of_chat(
        &self,
        owner: ObjectOwner,
        chat: SessionId,
        now_unix_ms: u64,
    ) -> Result<Vec<FoundRow>, StoreError> {
        let mut connection = self.0.read().await?;
        let query = sql("SELECT * FROM run_tasks WHERE chat = $1 AND workspace = $2 AND project = $3
             AND (state <> 'ended' OR until_unix_ms > $4) ORDER BY id");
        let query = query.bind(chat.bytes()).bind(owner.workspace.bytes()).bind(owner.project.bytes());
        let rows = query.bind(signed(now_unix_ms)).rows(&mut connection).await?;
        let tasks = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let ids: Vec<_> = tasks.iter().filter(|task| !task.status.has_ended()).map(|task| task.id).collect();
        let mut contents = contents_of(&mut connection, &ids, None).await?;
        let with = |task: RunTask| {
            let of_task = contents.remove(&task.id).unwrap_or_default();
            (task, of_task)
        };
        Ok(tasks.into_iter().map(with).collect())
    }

    /// Has the turns of a chat that wait be due now.
    pub async fn wake(
        &self,
        owner: ObjectOwner,
        chat: SessionId,
        now_unix_ms: u64,
    ) -> Result<(), StoreError> {
        self.0
            .note(move |writing| {
                Box::pin(async move {
                    let query =
                        sql("UPDATE run_tasks SET due_unix_ms = $4 WHERE chat = $1 AND workspace = $2
                         AND project = $3 AND state = 'queued' AND due_unix_ms > $4");
                    let query = query.bind(chat.bytes()).bind(owner.workspace.bytes());
                    let query = query.bind(owner.project.bytes()).bind(signed(now_unix_ms));
                    query.run(writing.connection()).await.map(drop)
                })
            })
            .await
    }

    pub async fn rate(&self, owner: ObjectOwner, id: TaskId, rating: Option<u8>) -> Result<bool, StoreError> {
        self.0
            .note(move |writing| {
                Box::pin(async move {
                    let query = sql(
                        "UPDATE run_tasks SET rating = $4 WHERE id = $1 AND workspace = $2 AND project = $3",
                    );
                    let query = of_owner(query, owner, id).bind(rating.map(i64::from));
                    Ok(query.run(writing.connection()).await? > 0)
                })
            })
            .await
    }

    /// Where a waiting task is in its workspace's queue.
    pub async fn place(&self, task: &RunTask, now_unix_ms: u64) -> Result<QueuePlace, StoreError> {
        let mut connection = self.0.read().await?;
        let workspace = task.owner.workspace.bytes();
        let query = sql(PLACE).bind(workspace.clone()).bind(signed(now_unix_ms.max(task.due_unix_ms)));
        let query =
            query.bind(i64::from(task.priority.rank())).bind(signed(task.due_unix_ms)).bind(task.id.bytes());
        let ahead = Fields::new(TABLE, &query.one(&mut connection).await?).number("ahead")?;
        let query = sql(RUNNING).bind(workspace.clone());
        let running = Fields::new(TABLE, &query.one(&mut connection).await?).number("running")?;
        let row = sql(MEAN).bind(workspace).bind(LATELY).one(&mut connection).await?;
        let mean: Option<i64> = Fields::new(TABLE, &row).get("mean")?;
        Ok(QueuePlace { ahead, running, mean_ms: mean.map(unsigned) })
    }

    /// Deletes some tasks whose time is over.
    pub async fn expire(&self, now_unix_ms: u64, rows_max: u32) -> Result<u64, StoreError> {
        self.0
            .note(move |writing| {
                Box::pin(async move {
                    let query = compose(format!(
                        "DELETE FROM run_tasks WHERE id IN (SELECT id FROM run_tasks WHERE until_unix_ms <= $1
                         AND state <> 'running' AND NOT {} LIMIT $2)",
                        holding::held(TABLE)
                    ));
                    query.bind(signed(now_unix_ms)).bind(i64::from(rows_max)).run(writing.connection()).await
                })
            })
            .await
    }

    /// Returns how many things were removed: tasks with what they hold, and contents of others.
    pub async fn purge(&self, scope: PurgeScope) -> Result<u64, StoreError> {
        self.0
            .note(move |writing| {
                Box::pin(async move {
                    let contents = purging::purge(writing, scope.clone(), CONTENTS).await?;
                    Ok(contents + purging::purge(writing, scope, TABLE).await?)
                })
            })
            .await
    }

    pub async fn remaining(&self, scope: PurgeScope) -> Result<u64, StoreError> {
        let mut connection = self.0.read().await?;
        let contents = purging::remaining(&mut connection, scope.clone(), CONTENTS).await?;
        Ok(contents + purging::remaining(&mut connection, scope, TABLE).await?)
    }
}
