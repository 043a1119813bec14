//! How workers take tasks from the queue and keep them: fairly between workspaces, under leases.

use database::connection::Connection;
use database::error::StoreError;
use database::fields::{ColumnId, Fields, signed};
use database::statement::{compose, sql};
use database::writing::Writing;
use domain::{RunTask, TaskEvent, TaskId, TaskPriority, TaskStatus, WorkspaceId};

use crate::rows::{ClaimedTask, HeldTask, TaskClaim, TaskPart};
use crate::sql::{StoredTasks, TABLE, bind_all, contents_of, named, read};

/// Workspaces that one claim looks at.
const WORKSPACES_AT_ONCE: usize = 64;

const TAKE_BACK: &str =
    "UPDATE run_tasks SET state = 'queued', status = 2, worker = NULL, lease_unix_ms = NULL
     WHERE state = 'running' AND lease_unix_ms <= $1";
const RUNNING: &str =
    "SELECT CAST(COUNT(*) AS BIGINT) AS running FROM run_tasks WHERE state = 'running' AND workspace = $1";

/// A turn of a chat waits until those before it have ended.
macro_rules! is_next_of_its_chat {
    () => {
        "(chat IS NULL OR NOT EXISTS (SELECT 1 FROM run_tasks AS earlier WHERE earlier.chat = run_tasks.chat
         AND earlier.state <> 'ended' AND earlier.id < run_tasks.id))"
    };
}

const DUE: &str = concat!(
    "SELECT CAST(CASE WHEN EXISTS (SELECT 1 FROM run_tasks WHERE state = 'queued' AND due_unix_ms <= $1 AND ",
    is_next_of_its_chat!(),
    ") OR EXISTS (SELECT 1 FROM run_tasks WHERE state = 'running' AND lease_unix_ms <= $1) THEN 1 ELSE 0 END AS BIGINT)
     AS due"
);
const NEXT_WORKSPACE: &str = concat!(
    "SELECT workspace FROM run_tasks WHERE state = 'queued' AND workspace > $1 AND due_unix_ms <= $2 AND ",
    is_next_of_its_chat!(),
    " ORDER BY workspace LIMIT 1"
);

/// The first tasks of a workspace with a priority. Replicas that claim at the same time skip each other's rows.
macro_rules! first {
    ($end:literal) => {
        concat!(
            "SELECT * FROM run_tasks WHERE state = 'queued' AND workspace = $1 AND priority = $2
             AND due_unix_ms <= $3 AND ",
            is_next_of_its_chat!(),
            " ORDER BY due_unix_ms, id LIMIT $4",
            $end
        )
    };
}
const FIRST: &str = first!("");
const FIRST_OF_MANY: &str = first!(" FOR UPDATE SKIP LOCKED");

/// A workspace with tasks that are due, and how many more of them may run.
struct Share {
    workspace: WorkspaceId,
    room: u64,
}

async fn shares(connection: &mut Connection, claim: &TaskClaim) -> Result<Vec<Share>, StoreError> {
    let mut found: Vec<Share> = Vec::new();
    let (mut after, mut has_wrapped) = (claim.after.bytes(), false);
    while found.len() < WORKSPACES_AT_ONCE {
        let query = sql(NEXT_WORKSPACE).bind(after.clone()).bind(signed(claim.unix_ms));
        let Some(row) = query.row(connection).await? else {
            if std::mem::replace(&mut has_wrapped, true) {
                break;
            }
            after = Vec::new();
            continue;
        };
        let workspace: WorkspaceId = Fields::new(TABLE, &row).id("workspace")?;
        if found.iter().any(|share| share.workspace == workspace) {
            break;
        }
        after = workspace.bytes();
        let query = sql(RUNNING).bind(workspace.bytes());
        let running = Fields::new(TABLE, &query.one(connection).await?).number("running")?;
        found.push(Share { workspace, room: claim.of_workspace_max.saturating_sub(running) });
    }
    Ok(found)
}

/// How many tasks each workspace gets of those that are free: one after the other, as far as each has room.
fn dealt(shares: &[Share], limit: u32) -> Vec<u64> {
    let mut dealt = vec![0_u64; shares.len()];
    let mut left = u64::from(limit);
    loop {
        let before = left;
        for (given, share) in dealt.iter_mut().zip(shares) {
            if left > 0 && *given < share.room {
                *given += 1;
                left -= 1;
            }
        }
        if left == 0 || left == before {
            return dealt;
        }
    }
}

async fn first_of(
    writing: &mut Writing,
    claim: &TaskClaim,
    workspace: WorkspaceId,
    wanted: u64,
) -> Result<Vec<RunTask>, StoreError> {
    let is_of_many = matches!(writing.connection(), Connection::Postgres(_));
    let text = if is_of_many { FIRST_OF_MANY } else { FIRST };
    let mut taken: Vec<RunTask> = Vec::new();
    for priority in TaskPriority::ALL.into_iter().rev() {
        let wanted = wanted.saturating_sub(taken.len() as u64);
        if wanted == 0 {
            break;
        }
        let query = sql(text).bind(workspace.bytes()).bind(i64::from(priority.rank()));
        let query = query.bind(signed(claim.unix_ms)).bind(signed(wanted));
        for row in &query.rows(writing.connection()).await? {
            taken.push(read(row)?);
        }
    }
    Ok(taken)
}

async fn claim(writing: &mut Writing, claim: TaskClaim) -> Result<Vec<ClaimedTask>, StoreError> {
    sql(TAKE_BACK).bind(signed(claim.unix_ms)).run(writing.connection()).await?;
    let shares = shares(writing.connection(), &claim).await?;
    let mut tasks: Vec<RunTask> = Vec::new();
    // A share that a workspace does not need is left for the others.
    let mut spare = 0;
    for (share, given) in shares.iter().zip(dealt(&shares, claim.limit)) {
        let wanted = (given + spare).min(share.room);
        if wanted == 0 {
            continue;
        }
        let taken = first_of(writing, &claim, share.workspace, wanted).await?;
        spare = (given + spare).saturating_sub(taken.len() as u64);
        tasks.extend(taken);
    }
    if tasks.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<TaskId> = tasks.iter().map(|task| task.id).collect();
    let query = compose(format!(
        "UPDATE run_tasks SET state = 'running', status = 3, worker = $1, lease_unix_ms = $2, tries = tries + 1,
         started_unix_ms = $3, updated_unix_ms = $3 WHERE id IN ({})",
        named(4, &ids)
    ));
    let until = signed(claim.unix_ms.saturating_add(claim.lease_ms));
    let query = query.bind(claim.worker).bind(until).bind(signed(claim.unix_ms));
    bind_all(query, &ids).run(writing.connection()).await?;
    let mut contents = contents_of(writing.connection(), &ids, Some(TaskPart::Request)).await?;
    let claimed = tasks.into_iter().map(|mut task| {
        task.tries = task.tries.saturating_add(1);
        task.status = TaskStatus::Dispatched;
        task.events.push(TaskEvent::new(claim.unix_ms, TaskStatus::Dispatched));
        let request = contents.remove(&task.id).and_then(|contents| contents.into_iter().next());
        ClaimedTask { task, request }
    });
    Ok(claimed.collect())
}

async fn renew(
    writing: &mut Writing,
    worker: String,
    until_unix_ms: u64,
) -> Result<Vec<HeldTask>, StoreError> {
    let query = sql("UPDATE run_tasks SET lease_unix_ms = $2 WHERE state = 'running' AND worker = $1");
    query.bind(&worker).bind(signed(until_unix_ms)).run(writing.connection()).await?;
    let query =
        sql("SELECT id, tries, cancelled_unix_ms FROM run_tasks WHERE state = 'running' AND worker = $1");
    let rows = query.bind(worker).rows(writing.connection()).await?;
    let held = |row| {
        let fields = Fields::new(TABLE, row);
        let is_cancelled = fields.maybe_number("cancelled_unix_ms")?.is_some();
        Ok(HeldTask { id: fields.id("id")?, tries: fields.small("tries")?, is_cancelled })
    };
    rows.iter().map(held).collect()
}

impl StoredTasks {
    /// Takes tasks that are due, fairly between workspaces. A task whose lease has expired is taken like any other.
    pub async fn claim(&self, wanted: TaskClaim) -> Result<Vec<ClaimedTask>, StoreError> {
        // Most polls find nothing, and a read does not wait for writers.
        let query = sql(DUE).bind(signed(wanted.unix_ms));
        let row = query.one(&mut self.0.read().await?).await?;
        if !Fields::new(TABLE, &row).flag("due")? {
            return Ok(Vec::new());
        }
        self.0.note(move |writing| Box::pin(claim(writing, wanted))).await
    }

    /// Extends all leases of a worker, and returns what it holds.
    pub async fn renew(&self, worker: String, until_unix_ms: u64) -> Result<Vec<HeldTask>, StoreError> {
        self.0.note(move |writing| Box::pin(renew(writing, worker, until_unix_ms))).await
    }

    /// Puts back what a worker holds that is known to be dead; returns how many.
    pub async fn release(&self, worker: String) -> Result<u64, StoreError> {
        self.0
            .note(move |writing| {
                Box::pin(async move {
                    let query = sql("UPDATE run_tasks SET state = 'queued', status = 2, worker = NULL,
                         lease_unix_ms = NULL WHERE state = 'running' AND worker = $1");
                    query.bind(worker).run(writing.connection()).await
                })
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rooms: &[u64], limit: u32) -> Vec<u64> {
        let share =
            |(number, room): (u64, &u64)| Share { workspace: WorkspaceId::new(number, [1; 10]), room: *room };
        let shares: Vec<_> = (0..).zip(rooms).map(share).collect();
        dealt(&shares, limit)
    }

    #[test]
    fn what_is_free_is_dealt_evenly_as_far_as_there_is_room() {
        assert_eq!(check(&[9, 9, 9], 6), [2, 2, 2]);
        assert_eq!(check(&[9, 1, 9], 7), [3, 1, 3]);
        assert_eq!(check(&[0, 2], 7), [0, 2]);
        assert_eq!(check(&[9, 9], 3), [2, 1]);
        assert_eq!(check(&[], 3), [0_u64; 0]);
    }
}
