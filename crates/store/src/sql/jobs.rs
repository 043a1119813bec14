//! SQL for the durable job queue.

use database::connection::Connection;
use database::error::StoreError;
use database::fields::{ColumnId, Fields, signed, to_text};
use database::statement::{Row, sql};
use database::writing::Writing;
use domain::WorkspaceId;

use crate::jobs::{JobClaim, JobCounts, JobLease, JobResult, JobRow, Jobs, NewJob};

const TABLE: &str = "jobs";
/// How many jobs become ready, or lose their worker, in one transaction.
const MOVED_AT_ONCE: i64 = 500;

const DUE: &str = "SELECT CAST(CASE WHEN EXISTS (SELECT 1 FROM jobs WHERE state = 'ready')
     OR EXISTS (SELECT 1 FROM jobs WHERE state = 'waiting' AND run_unix_ms <= $1)
     OR EXISTS (SELECT 1 FROM jobs WHERE state = 'running' AND lease_unix_ms <= $1) THEN 1 ELSE 0 END AS BIGINT) AS due";
const READY: &str =
    "SELECT * FROM jobs WHERE state = 'ready' AND workspace > $1 ORDER BY workspace, id LIMIT 1";
const MAKE_READY: &str = "UPDATE jobs SET state = 'ready' WHERE id IN (
     SELECT id FROM jobs WHERE state = 'waiting' AND run_unix_ms <= $1 ORDER BY run_unix_ms LIMIT $2)";
const TAKE_BACK: &str = "UPDATE jobs SET state = 'ready', worker = NULL, lease_unix_ms = NULL,
         last_error = 'its worker died' WHERE id IN (
     SELECT id FROM jobs WHERE state = 'running' AND lease_unix_ms <= $1 ORDER BY lease_unix_ms LIMIT $2)";
/// Like `READY`; replicas that claim at the same time skip each other's rows.
const READY_OF_MANY: &str = "SELECT * FROM jobs WHERE state = 'ready' AND workspace > $1
     ORDER BY workspace, id LIMIT 1 FOR UPDATE SKIP LOCKED";
const MAKE_READY_OF_MANY: &str = "UPDATE jobs SET state = 'ready' WHERE id IN (
     SELECT id FROM jobs WHERE state = 'waiting' AND run_unix_ms <= $1 ORDER BY run_unix_ms LIMIT $2
     FOR UPDATE SKIP LOCKED)";
const TAKE_BACK_OF_MANY: &str = "UPDATE jobs SET state = 'ready', worker = NULL, lease_unix_ms = NULL,
         last_error = 'its worker died' WHERE id IN (
     SELECT id FROM jobs WHERE state = 'running' AND lease_unix_ms <= $1 ORDER BY lease_unix_ms LIMIT $2
     FOR UPDATE SKIP LOCKED)";

fn read(row: &Row) -> Result<JobRow, StoreError> {
    let fields = Fields::new(TABLE, row);
    Ok(JobRow {
        id: fields.get("id")?,
        kind: fields.text("kind")?,
        workspace: fields.id("workspace")?,
        name: fields.maybe_text("name")?,
        payload: fields.json("payload")?,
        run_unix_ms: fields.number("run_unix_ms")?,
        every_ms: fields.maybe_number("every_ms")?,
        attempts: fields.small("attempts")?,
        last_error: fields.maybe_text("last_error")?,
        created_unix_ms: fields.number("created_unix_ms")?,
    })
}

/// Enqueues a job in the transaction of the act that needs it; `false` if one with this name is running,
/// which stays as it is.
pub async fn enqueue(writing: &mut Writing, job: NewJob) -> Result<bool, StoreError> {
    let query =
        sql("INSERT INTO jobs (workspace, kind, name, payload, state, run_unix_ms, every_ms, attempts,
             created_unix_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, 0, $8)
         ON CONFLICT (name) DO UPDATE SET state = 'waiting', run_unix_ms = $6, every_ms = $7, payload = $4,
             attempts = CASE WHEN jobs.state = 'dead' THEN 0 ELSE jobs.attempts END
         WHERE jobs.state <> 'running'");
    let affected = query
        .bind(job.workspace.bytes())
        .bind(job.kind)
        .bind(&job.name)
        .bind(to_text(TABLE, &job.payload)?)
        .bind(if job.run_unix_ms <= job.unix_ms { "ready" } else { "waiting" })
        .bind(signed(job.run_unix_ms))
        .bind(job.every_ms.map(signed))
        .bind(signed(job.unix_ms))
        .run(writing.connection())
        .await?;
    Ok(affected > 0)
}

/// Enqueues a job from scratch: earlier attempts under its name are discarded. Returns the same as `enqueue`.
pub(super) async fn enqueue_fresh(writing: &mut Writing, job: NewJob) -> Result<bool, StoreError> {
    let query = sql("DELETE FROM jobs WHERE name = $1 AND state <> 'running'");
    query.bind(&job.name).run(writing.connection()).await?;
    enqueue(writing, job).await
}

async fn is_due(connection: &mut Connection, unix_ms: u64) -> Result<bool, StoreError> {
    let row = sql(DUE).bind(signed(unix_ms)).one(connection).await?;
    Fields::new(TABLE, &row).flag("due")
}

async fn claim(writing: &mut Writing, claim: JobClaim) -> Result<Vec<JobRow>, StoreError> {
    let of_many = matches!(writing.connection(), Connection::Postgres(_));
    let statements = if of_many { [MAKE_READY_OF_MANY, TAKE_BACK_OF_MANY] } else { [MAKE_READY, TAKE_BACK] };
    for statement in statements {
        let query = sql(statement).bind(signed(claim.unix_ms)).bind(MOVED_AT_ONCE);
        query.run(writing.connection()).await?;
    }
    let ready = if of_many { READY_OF_MANY } else { READY };
    let (mut taken, mut after, mut of_round) = (Vec::new(), claim.after.bytes(), 0);
    let mut is_first_round = true;
    while taken.len() < claim.limit {
        let found = sql(ready).bind(&after).row(writing.connection()).await?;
        let Some(row) = found else {
            // After the last workspace comes the first again, as long as a round finds anything.
            if !is_first_round && of_round == 0 {
                break;
            }
            (after, of_round, is_first_round) = (Vec::new(), 0, false);
            continue;
        };
        let job = read(&row)?;
        after = job.workspace.bytes();
        if running(&claim, &taken, job.workspace) >= claim.of_workspace_max {
            continue;
        }
        of_round += 1;
        taken.push(lease(writing, &claim, job).await?);
    }
    Ok(taken)
}

/// How many of a workspace's jobs the worker has, including those of this claim.
fn running(claim: &JobClaim, taken: &[JobRow], workspace: WorkspaceId) -> usize {
    let before = claim.running.iter().filter(|(id, _)| *id == workspace).map(|(_, count)| count);
    before.sum::<usize>() + taken.iter().filter(|job| job.workspace == workspace).count()
}

async fn lease(writing: &mut Writing, claim: &JobClaim, mut job: JobRow) -> Result<JobRow, StoreError> {
    sql("UPDATE jobs SET state = 'running', worker = $2, lease_unix_ms = $3, attempts = attempts + 1 WHERE id = $1")
        .bind(job.id)
        .bind(&claim.worker)
        .bind(signed(claim.unix_ms.saturating_add(claim.lease_ms)))
        .run(writing.connection())
        .await?;
    job.attempts = job.attempts.saturating_add(1);
    Ok(job)
}

async fn extend(writing: &mut Writing, hold: JobLease, until_unix_ms: u64) -> Result<bool, StoreError> {
    let query = sql("UPDATE jobs SET lease_unix_ms = $4
         WHERE id = $1 AND worker = $2 AND attempts = $3 AND state = 'running'");
    let query = query.bind(hold.job).bind(hold.worker).bind(i64::from(hold.attempt));
    Ok(query.bind(signed(until_unix_ms)).run(writing.connection()).await? > 0)
}

async fn settle(writing: &mut Writing, hold: JobLease, ending: JobResult) -> Result<bool, StoreError> {
    let query = match &ending {
        JobResult::Gone => {
            sql("DELETE FROM jobs WHERE id = $1 AND worker = $2 AND attempts = $3 AND state = 'running'")
        }
        JobResult::Rescheduled { .. } => {
            sql("UPDATE jobs SET state = 'waiting', worker = NULL, lease_unix_ms = NULL,
                 run_unix_ms = $4, attempts = 0, last_error = NULL
             WHERE id = $1 AND worker = $2 AND attempts = $3 AND state = 'running'")
        }
        JobResult::Retry { .. } => {
            sql("UPDATE jobs SET state = 'waiting', worker = NULL, lease_unix_ms = NULL,
                 run_unix_ms = $4, last_error = $5
             WHERE id = $1 AND worker = $2 AND attempts = $3 AND state = 'running'")
        }
        JobResult::Dead { .. } => sql("UPDATE jobs SET state = 'dead', worker = NULL, lease_unix_ms = NULL,
                 last_error = $4
             WHERE id = $1 AND worker = $2 AND attempts = $3 AND state = 'running'"),
    };
    let query = query.bind(hold.job).bind(hold.worker).bind(i64::from(hold.attempt));
    let query = match ending {
        JobResult::Gone => query,
        JobResult::Rescheduled { unix_ms } => query.bind(signed(unix_ms)),
        JobResult::Retry { unix_ms, error } => query.bind(signed(unix_ms)).bind(error),
        JobResult::Dead { error } => query.bind(error),
    };
    Ok(query.run(writing.connection()).await? > 0)
}

async fn counts(connection: &mut Connection) -> Result<JobCounts, StoreError> {
    let mut counts = JobCounts::default();
    let rows = sql("SELECT state, COUNT(*) AS held FROM jobs GROUP BY state").rows(connection).await?;
    for row in &rows {
        let fields = Fields::new(TABLE, row);
        let held = fields.number("held")?;
        match fields.text("state")?.as_str() {
            "waiting" => counts.waiting = held,
            "ready" => counts.ready = held,
            "running" => counts.running = held,
            _ => counts.dead = held,
        }
    }
    Ok(counts)
}

impl Jobs<'_> {
    /// For work that is not caused by an act of the store.
    pub async fn enqueue(self, job: NewJob) -> Result<(), StoreError> {
        self.0.note(move |writing| Box::pin(async move { enqueue(writing, job).await.map(|_| ()) })).await
    }

    /// Leases jobs that are due, round-robin between workspaces. A job whose lease has expired is taken like
    /// any other.
    pub async fn claim(self, wanted: JobClaim) -> Result<Vec<JobRow>, StoreError> {
        // Most polls find nothing, and a read does not wait for writers.
        if !is_due(&mut self.0.read().await?, wanted.unix_ms).await? {
            return Ok(Vec::new());
        }
        self.0.note(move |writing| Box::pin(claim(writing, wanted))).await
    }

    /// Extends the lease; `false` if it was lost.
    pub async fn extend(self, hold: JobLease, until_unix_ms: u64) -> Result<bool, StoreError> {
        self.0.note(move |writing| Box::pin(extend(writing, hold, until_unix_ms))).await
    }

    /// Records the outcome; `false` if the lease was lost, and another worker decides.
    pub async fn settle(self, hold: JobLease, ending: JobResult) -> Result<bool, StoreError> {
        self.0.note(move |writing| Box::pin(settle(writing, hold, ending))).await
    }

    /// Releases every lease of a worker that is known to be dead, and returns how many.
    pub async fn release(self, worker: String) -> Result<u64, StoreError> {
        self.0
            .note(move |writing| {
                Box::pin(async move {
                    let query = sql("UPDATE jobs SET state = 'ready', worker = NULL, lease_unix_ms = NULL
                     WHERE state = 'running' AND worker = $1");
                    query.bind(worker).run(writing.connection()).await
                })
            })
            .await
    }

    /// Jobs that were given up, oldest first.
    pub async fn dead(self, limit: u32) -> Result<Vec<JobRow>, StoreError> {
        let query = sql("SELECT * FROM jobs WHERE state = 'dead' ORDER BY id LIMIT $1");
        let rows = query.bind(i64::from(limit)).rows(&mut self.0.read().await?).await?;
        rows.iter().map(read).collect()
    }

    /// How many jobs wait, are ready, run, and were given up.
    pub async fn counts(self) -> Result<JobCounts, StoreError> {
        counts(&mut self.0.read().await?).await
    }

    /// Deletes jobs that were given up before then.
    pub async fn forget_dead(self, before_unix_ms: u64) -> Result<u64, StoreError> {
        self.0
            .note(move |writing| {
                Box::pin(async move {
                    let query = sql("DELETE FROM jobs WHERE state = 'dead' AND run_unix_ms < $1");
                    query.bind(signed(before_unix_ms)).run(writing.connection()).await
                })
            })
            .await
    }
}
