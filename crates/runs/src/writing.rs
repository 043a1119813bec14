//! Many writes in one transaction, in as few statements as there are kinds of them: a round trip to the database costs more than
//! the rows that it brings.

use std::collections::{HashMap, HashSet};

use database::connection::Connection;
use database::error::StoreError;
use database::fields::{ColumnId, Fields, signed, to_text};
use database::seals::require_key;
use database::statement::{Statement, compose, sql};
use database::writing::Writing;
use domain::limits::TASK_KEPT;
use domain::{
    NewTask, ObjectOwner, ProjectId, RunTask, TaskAgain, TaskEnd, TaskEvent, TaskId, TaskLease, TaskNotKept,
    WorkspaceId,
};
use store::{NewJob, jobs};

use crate::rows::{TaskContent, TaskPart, TaskWrite, Written};
use crate::sql::{TABLE, bind_all, named, state_of};

/// Rows of one statement. A few sizes, so that the database knows the statements already. SQLite's driver looks each parameter's name up
/// among all of a statement, so that long statements cost more there than they save.
const SIZES: &[usize] = &[64, 16, 4, 1];
const SIZES_ON_SQLITE: &[usize] = &[16, 4, 1];
const OPEN: &str = "SELECT CAST(COUNT(*) AS BIGINT) AS found FROM run_tasks
     WHERE workspace = $1 AND project = $2 AND state <> 'ended'";
const ENDED: &str =
    "SELECT id FROM run_tasks WHERE id = $1 AND workspace = $2 AND project = $3 AND state = 'ended'";
/// What restricts a statement to a task that a worker holds; its first parameters are the task, the worker and the try.
const HELD: &str = " WHERE id = $1 AND worker = $2 AND tries = $3 AND state = 'running'";

/// How many tasks of each project have not ended, as one transaction counts them.
type OpenCounts = HashMap<(WorkspaceId, ProjectId), u64>;

/// What is written once all writes are looked at.
#[derive(Default)]
struct Gathered {
    tasks: Vec<RunTask>,
    contents: Vec<(ObjectOwner, TaskId, TaskContent)>,
    ends: Vec<Ending>,
}

/// How a task ends, by its place among the writes.
struct Ending {
    place: usize,
    lease: TaskLease,
    end: TaskEnd,
    result: TaskContent,
    job: Option<Box<NewJob>>,
}

/// Makes the writes, and says of each what became of it.
pub(crate) async fn write(writing: &mut Writing, writes: Vec<TaskWrite>) -> Result<Vec<Written>, StoreError> {
    let mut written = vec![Written::Held(false); writes.len()];
    let (mut gathered, mut counts) = (Gathered::default(), OpenCounts::new());
    for (place, (write, written)) in writes.into_iter().zip(&mut written).enumerate() {
        match write {
            TaskWrite::Keep { new, contents } => {
                *written = Written::Kept(admit(writing, &new, &mut counts).await?);
                if matches!(written, Written::Kept(Ok(()))) {
                    let (owner, id) = (new.task.owner, new.task.id);
                    gathered.contents.extend(contents.into_iter().map(|content| (owner, id, content)));
                    gathered.tasks.push(new.task);
                }
            }
            TaskWrite::Progress { lease, event, partial, unix_ms } => {
                let is_held = progress(writing, &lease, event, unix_ms).await?;
                *written = Written::Held(is_held);
                if let Some(partial) = partial.filter(|_| is_held) {
                    gathered.contents.push((lease.owner, lease.id, partial));
                }
            }
            TaskWrite::Finish { lease, end, result, job } => {
                gathered.ends.push(Ending { place, lease, end: *end, result, job });
            }
            TaskWrite::Requeue { lease, again } => {
                *written = Written::Held(requeue(writing, &lease, *again).await?);
            }
            TaskWrite::Amend { owner, id, result } => {
                let has_ended = has_ended(writing.connection(), owner, id).await?;
                *written = Written::Held(has_ended);
                gathered.contents.extend(has_ended.then_some((owner, id, result)));
            }
        }
    }
    let Gathered { tasks, contents, ends } = gathered;
    insert_tasks(writing, tasks).await?;
    for place in finish(writing, ends, contents).await? {
        if let Some(written) = written.get_mut(place) {
            *written = Written::Held(true);
        }
    }
    Ok(written)
}

/// The next rows that one statement takes.
fn take<T>(connection: &Connection, rows: &mut Vec<T>) -> Vec<T> {
    split(connection.either(SIZES, SIZES_ON_SQLITE), rows)
}

fn split<T>(sizes: &[usize], rows: &mut Vec<T>) -> Vec<T> {
    let size = sizes.iter().copied().find(|size| *size <= rows.len()).unwrap_or_default();
    rows.split_off(rows.len() - size)
}

/// Numbered parameters for so many rows of so many columns.
fn groups(rows: usize, columns: usize) -> String {
    let group = |row: usize| {
        let places: Vec<_> = (1..=columns).map(|column| format!("${}", row * columns + column)).collect();
        format!("({})", places.join(", "))
    };
    (0..rows).map(group).collect::<Vec<_>>().join(", ")
}

/// Whether a project may have one more task that has not ended.
async fn admit(
    writing: &mut Writing,
    new: &NewTask,
    counts: &mut OpenCounts,
) -> Result<Result<(), TaskNotKept>, StoreError> {
    let Some(open_max) = new.open_max else { return Ok(Ok(())) };
    let key = (new.task.owner.workspace, new.task.owner.project);
    let open = match counts.get(&key) {
        Some(count) => *count,
        None => count_open(writing.connection(), new.task.owner).await?,
    };
    if open >= open_max {
        counts.insert(key, open);
        return Ok(Err(TaskNotKept::TooManyWaiting(open)));
    }
    counts.insert(key, open + 1);
    Ok(Ok(()))
}

async fn count_open(connection: &mut Connection, owner: ObjectOwner) -> Result<u64, StoreError> {
    let query = sql(OPEN).bind(owner.workspace.bytes()).bind(owner.project.bytes());
    Fields::new(TABLE, &query.one(connection).await?).number("found")
}

async fn has_ended(connection: &mut Connection, owner: ObjectOwner, id: TaskId) -> Result<bool, StoreError> {
    let query = sql(ENDED).bind(id.bytes()).bind(owner.workspace.bytes()).bind(owner.project.bytes());
    Ok(query.row(connection).await?.is_some())
}

/// One that is there already was sent again, since its sender could not know that it is stored.
async fn insert_tasks(writing: &mut Writing, mut tasks: Vec<RunTask>) -> Result<(), StoreError> {
    while !tasks.is_empty() {
        let some = take(writing.connection(), &mut tasks);
        let mut query = compose(format!(
            "INSERT INTO run_tasks (id, request, workspace, project, api_key, app, state, status, priority, tries,
             created_unix_ms, updated_unix_ms, due_unix_ms, started_unix_ms, ended_unix_ms, until_unix_ms, events,
             logs, notifies, chat, ttl_ms) VALUES {} ON CONFLICT (id) DO NOTHING",
            groups(some.len(), 21)
        ));
        for task in some {
            query = bind_task(query, task)?;
        }
        query.run(writing.connection()).await?;
    }
    Ok(())
}

fn bind_task(query: Statement, task: RunTask) -> Result<Statement, StoreError> {
    let ended = task.ended_unix_ms;
    Ok(query
        .bind(task.id.bytes())
        .bind(task.id.bytes())
        .bind(task.owner.workspace.bytes())
        .bind(task.owner.project.bytes())
        .bind(task.key.bytes())
        .bind(task.app)
        .bind(state_of(task.status))
        .bind(i64::from(task.status.code()))
        .bind(i64::from(task.priority.rank()))
        .bind(i64::from(task.tries))
        .bind(signed(task.created_unix_ms))
        .bind(signed(task.updated_unix_ms))
        .bind(signed(task.due_unix_ms))
        .bind(ended.map(|_| signed(task.due_unix_ms)))
        .bind(ended.map(signed))
        .bind(signed(task.until_unix_ms))
        .bind(to_text(TABLE, &task.events)?)
        .bind(to_text(TABLE, &task.logs)?)
        .bind(i64::from(task.notifies))
        .bind(task.chat.map(|chat| chat.bytes()))
        .bind(task.ttl_ms.map(signed)))
}

/// Ends tasks, and stores their results with the other contents; returns the places of those that their workers still held.
async fn finish(
    writing: &mut Writing,
    ends: Vec<Ending>,
    mut contents: Vec<(ObjectOwner, TaskId, TaskContent)>,
) -> Result<Vec<usize>, StoreError> {
    let mut ended = end_all(writing, ends.iter().collect()).await?;
    let (mut held, mut finished) = (Vec::new(), Vec::new());
    for Ending { place, lease, result, job, .. } in ends {
        // A worker that asks again whether its end was stored is told that another one has the task.
        if !ended.remove(&(lease.id, lease.tries)) {
            continue;
        }
        contents.push((lease.owner, lease.id, result));
        if let Some(job) = job {
            jobs::enqueue(writing, *job).await?;
        }
        held.push(place);
        finished.push(lease.id);
    }
    put(writing, contents).await?;
    forget_partial(writing, finished).await?;
    Ok(held)
}

/// How long a task is kept after its end, where its client said nothing.
pub fn kept_ms() -> u64 {
    u64::try_from(TASK_KEPT.as_millis()).unwrap_or(u64::MAX)
}

/// Ends tasks that their workers hold; returns which they were, and in which try: a worker that lost a task may end it
/// beside the one that has it.
async fn end_all(
    writing: &mut Writing,
    mut ends: Vec<&Ending>,
) -> Result<HashSet<(TaskId, u32)>, StoreError> {
    let mut ended = HashSet::new();
    while !ends.is_empty() {
        let some = take(writing.connection(), &mut ends);
        let mut query = compose(format!(
            "UPDATE run_tasks SET state = 'ended', status = given.column4, ended_unix_ms = given.column5,
             updated_unix_ms = given.column5,
             until_unix_ms = given.column5 + COALESCE(run_tasks.ttl_ms, {}), events = given.column6,
             logs = given.column7, worker = NULL, lease_unix_ms = NULL FROM (VALUES {}) AS given
             WHERE run_tasks.id = given.column1 AND run_tasks.worker = given.column2 AND run_tasks.tries = given.column3
             AND run_tasks.state = 'running' RETURNING run_tasks.id AS id, run_tasks.tries AS tries",
            kept_ms(),
            groups(some.len(), 7)
        ));
        for Ending { lease, end, .. } in some {
            query = query.bind(lease.id.bytes()).bind(&lease.worker).bind(i64::from(lease.tries));
            query = query.bind(i64::from(end.status.code())).bind(signed(end.ended_unix_ms));
            query = query.bind(to_text(TABLE, &end.events)?).bind(to_text(TABLE, &end.logs)?);
        }
        for row in &query.rows(writing.connection()).await? {
            let fields = Fields::new(TABLE, row);
            ended.insert((fields.id("id")?, fields.small("tries")?));
        }
    }
    Ok(ended)
}

/// Stores contents; of those with one name the last.
async fn put(
    writing: &mut Writing,
    contents: Vec<(ObjectOwner, TaskId, TaskContent)>,
) -> Result<(), StoreError> {
    let mut known: Option<(WorkspaceId, String)> = None;
    let (mut names, mut left) = (HashSet::new(), Vec::with_capacity(contents.len()));
    for (owner, task, content) in contents.into_iter().rev() {
        let key = (owner.workspace, &content.sealed.key_id);
        if known.as_ref().is_none_or(|(workspace, id)| (*workspace, id) != key) {
            // Content under a key that is gone could never be opened.
            require_key(writing, owner.workspace, &content.sealed.key_id).await?;
            known = Some((owner.workspace, content.sealed.key_id.clone()));
        }
        if names.insert(content.digest) {
            left.push((owner, task, content));
        }
    }
    while !left.is_empty() {
        let some = take(writing.connection(), &mut left);
        let query = compose(format!(
            "INSERT INTO run_contents
             (digest, workspace, project, request, task, part, sealed_version, sealed_key_id, sealed) VALUES {}
             ON CONFLICT (digest) DO UPDATE SET sealed_version = excluded.sealed_version,
             sealed_key_id = excluded.sealed_key_id, sealed = excluded.sealed",
            groups(some.len(), 9)
        ));
        let bind = |query: Statement, (owner, task, content): (ObjectOwner, TaskId, TaskContent)| {
            let query = query.bind(content.digest.to_vec()).bind(owner.workspace.bytes());
            let query = query.bind(owner.project.bytes()).bind(content.request.bytes()).bind(task.bytes());
            let query = query.bind(content.part.as_str()).bind(i64::from(content.sealed.version));
            query.bind(content.sealed.key_id).bind(content.sealed.bytes)
        };
        some.into_iter().fold(query, bind).run(writing.connection()).await?;
    }
    Ok(())
}

/// What a task had so far is of no use once it has ended.
async fn forget_partial(writing: &mut Writing, mut tasks: Vec<TaskId>) -> Result<(), StoreError> {
    while !tasks.is_empty() {
        let some = take(writing.connection(), &mut tasks);
        let part = TaskPart::Partial.as_str();
        let text = format!("DELETE FROM run_contents WHERE part = $1 AND task IN ({})", named(2, &some));
        bind_all(compose(text).bind(part), &some).run(writing.connection()).await?;
    }
    Ok(())
}

fn of_lease(text: &str, lease: &TaskLease) -> Statement {
    let query = compose(format!("{text}{HELD}"));
    query.bind(lease.id.bytes()).bind(&lease.worker).bind(i64::from(lease.tries))
}

async fn progress(
    writing: &mut Writing,
    lease: &TaskLease,
    event: Option<TaskEvent>,
    unix_ms: u64,
) -> Result<bool, StoreError> {
    let status = event.map(|event| i64::from(event.status));
    let query = of_lease(
        "UPDATE run_tasks SET status = CASE WHEN status = 8 THEN 8 ELSE COALESCE($4, status) END, updated_unix_ms = $5",
        lease,
    );
    Ok(query.bind(status).bind(signed(unix_ms)).run(writing.connection()).await? > 0)
}

async fn requeue(writing: &mut Writing, lease: &TaskLease, again: TaskAgain) -> Result<bool, StoreError> {
    let query = of_lease(
        "UPDATE run_tasks SET state = 'queued', status = 2, due_unix_ms = $4, updated_unix_ms = $5, events = $6,
         logs = $7, tries = tries - $8, worker = NULL, lease_unix_ms = NULL",
        lease,
    );
    let query = query.bind(signed(again.due_unix_ms)).bind(signed(again.unix_ms));
    let query = query.bind(to_text(TABLE, &again.events)?).bind(to_text(TABLE, &again.logs)?);
    Ok(query.bind(i64::from(again.is_postponed)).run(writing.connection()).await? > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_taken_in_a_few_sizes() {
        let mut rows: Vec<usize> = (0..87).collect();
        let mut sizes = Vec::new();
        let mut all = Vec::new();
        while !rows.is_empty() {
            let some = split(SIZES, &mut rows);
            sizes.push(some.len());
            all.extend(some);
        }
        all.sort_unstable();
        assert_eq!((sizes, all), (vec![64, 16, 4, 1, 1, 1], (0..87).collect::<Vec<_>>()));
        assert!(split(SIZES, &mut Vec::<u8>::new()).is_empty());
    }

    #[test]
    fn parameters_are_numbered_through() {
        assert_eq!(groups(2, 3), "($1, $2, $3), ($4, $5, $6)");
    }
}
