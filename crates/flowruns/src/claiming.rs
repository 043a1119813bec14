//! How workers take runs and keep them: fairly between workspaces, under leases.

use database::connection::Connection;
use database::error::{StoreError, StoreFuture};
use database::fields::{ColumnId, Fields, signed};
use database::statement::{compose, sql};
use database::writing::Writing;
use domain::WorkspaceId;

use crate::reading::{TABLE, read};
use crate::rows::{HeldRun, RunClaim, RunRow, RunState, RunStatus, Wish};
use crate::runs::StoredRuns;

const DUE: &str = "SELECT CAST(CASE WHEN EXISTS (SELECT 1 FROM flow_runs WHERE state IN ('queued', 'waiting')
     AND due_unix_ms <= $1 AND engine = $2) OR EXISTS (SELECT 1 FROM flow_runs WHERE state = 'running'
     AND lease_unix_ms <= $1 AND engine = $2) THEN 1 ELSE 0 END AS BIGINT) AS due";
const TAKE_BACK: &str = "UPDATE flow_runs SET state = 'queued', worker = NULL, lease_unix_ms = NULL
     WHERE state = 'running' AND lease_unix_ms <= $1 AND engine = $2";
const NEXT_WORKSPACE: &str =
    "SELECT workspace FROM flow_runs WHERE state IN ('queued', 'waiting') AND workspace > $1
     AND due_unix_ms <= $2 AND engine = $3 ORDER BY workspace LIMIT 1";
const RUNNING: &str = "SELECT CAST(COUNT(*) AS BIGINT) AS running FROM flow_runs
     WHERE state = 'running' AND workspace = $1";

macro_rules! first {
    ($end:literal) => {
        concat!(
            "SELECT * FROM flow_runs WHERE state IN ('queued', 'waiting') AND workspace = $1 AND due_unix_ms <= $2
             AND engine = $4 ORDER BY due_unix_ms, id LIMIT $3",
            $end
        )
    };
}
const FIRST: &str = first!("");
/// Replicas that claim at the same time skip each other's rows.
const FIRST_OF_MANY: &str = first!(" FOR UPDATE SKIP LOCKED");

/// One run of each workspace in turn, as long as there is room.
async fn claim(writing: &mut Writing, claim: RunClaim) -> Result<Vec<RunRow>, StoreError> {
    let engine = claim.engine.as_str();
    sql(TAKE_BACK).bind(signed(claim.unix_ms)).bind(engine).run(writing.connection()).await?;
    let (mut taken, mut after, mut has_wrapped) = (Vec::new(), claim.after.bytes(), false);
    let mut first: Option<WorkspaceId> = None;
    while (taken.len() as u64) < u64::from(claim.limit) {
        let query = sql(NEXT_WORKSPACE).bind(after.clone()).bind(signed(claim.unix_ms)).bind(engine);
        let Some(row) = query.row(writing.connection()).await? else {
            if std::mem::replace(&mut has_wrapped, true) {
                break;
            }
            after = Vec::new();
            continue;
        };
        let workspace: WorkspaceId = Fields::new(TABLE, &row).id("workspace")?;
        if first == Some(workspace) {
            break;
        }
        first = first.or(Some(workspace));
        after = workspace.bytes();
        let query = sql(RUNNING).bind(workspace.bytes());
        let running = Fields::new(TABLE, &query.one(writing.connection()).await?).number("running")?;
        // A quarter of what is free, so that several workspaces find room.
        let share = (u64::from(claim.limit) / 4).max(1);
        let room = claim.of_workspace_max.saturating_sub(running).min(share);
        if room > 0 {
            taken.extend(take(writing, &claim, workspace, room).await?);
        }
    }
    Ok(taken)
}

async fn take(
    writing: &mut Writing,
    claim: &RunClaim,
    workspace: WorkspaceId,
    room: u64,
) -> Result<Vec<RunRow>, StoreError> {
    let is_of_many = matches!(writing.connection(), Connection::Postgres(_));
    let query = sql(if is_of_many { FIRST_OF_MANY } else { FIRST }).bind(workspace.bytes());
    let query = query.bind(signed(claim.unix_ms)).bind(signed(room)).bind(claim.engine.as_str());
    let rows = query.rows(writing.connection()).await?;
    let mut runs = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    for run in &mut runs {
        let query = sql("UPDATE flow_runs SET state = 'running', status = 2, worker = $2, lease_unix_ms = $3,
             started_unix_ms = COALESCE(started_unix_ms, $4), updated_unix_ms = $4, changes = changes + 1 WHERE id = $1");
        query
            .bind(run.id.bytes())
            .bind(&claim.worker)
            .bind(signed(claim.unix_ms.saturating_add(claim.lease_ms)))
            .bind(signed(claim.unix_ms))
            .run(writing.connection())
            .await?;
        run.state = RunState::Running;
        run.status = RunStatus::Running;
    }
    Ok(runs)
}

async fn renew(
    writing: &mut Writing,
    worker: String,
    until_unix_ms: u64,
) -> Result<Vec<HeldRun>, StoreError> {
    let query = sql("UPDATE flow_runs SET lease_unix_ms = $2 WHERE state = 'running' AND worker = $1");
    query.bind(&worker).bind(signed(until_unix_ms)).run(writing.connection()).await?;
    let query = sql("SELECT id, wish, (SELECT CAST(COUNT(*) AS BIGINT) FROM flow_events WHERE run = flow_runs.id) AS events
         FROM flow_runs WHERE state = 'running' AND worker = $1");
    let rows = query.bind(worker).rows(writing.connection()).await?;
    let held = |row| {
        let fields = Fields::new(TABLE, row);
        let wish = fields.maybe_text("wish")?.as_deref().and_then(Wish::by_name);
        Ok(HeldRun { id: fields.id("id")?, wish, events: fields.number("events")? })
    };
    rows.iter().map(held).collect()
}

impl StoredRuns {
    /// Takes runs that are due, fairly between workspaces. A run whose lease has expired is taken like any other.
    pub fn claim(&self, wanted: RunClaim) -> StoreFuture<'_, Vec<RunRow>> {
        Box::pin(async move {
            // Most polls find nothing, and a read does not wait for writers.
            let row = sql(DUE).bind(signed(wanted.unix_ms)).bind(wanted.engine.as_str());
            let row = row.one(&mut self.0.read().await?).await?;
            if !Fields::new(TABLE, &row).flag("due")? {
                return Ok(Vec::new());
            }
            self.0.note(move |writing| Box::pin(claim(writing, wanted))).await
        })
    }

    /// Extends all leases of a worker, and returns what it holds.
    pub fn renew(&self, worker: String, until_unix_ms: u64) -> StoreFuture<'_, Vec<HeldRun>> {
        Box::pin(self.0.note(move |writing| Box::pin(renew(writing, worker, until_unix_ms))))
    }

    /// Puts back what a worker holds that is known to be dead; returns how many.
    pub fn release(&self, worker: String) -> StoreFuture<'_, u64> {
        Box::pin(self.0.note(move |writing| {
            Box::pin(async move {
                let query = compose(
                    "UPDATE flow_runs SET state = 'queued', worker = NULL, lease_unix_ms = NULL
                     WHERE state = 'running' AND worker = $1"
                        .to_owned(),
                );
                query.bind(worker).run(writing.connection()).await
            })
        }))
    }
}
