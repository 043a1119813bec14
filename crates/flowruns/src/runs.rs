//! Writes runs: each step's end once, and only by the worker that holds the run.

use std::collections::HashSet;

use database::act::Act;
use database::error::{StoreError, StoreFuture};
use database::fields::{ColumnId, Fields, signed};
use database::handle::Database;
use database::seals::require_key;
use database::statement::{Statement, compose, sql};
use database::writing::Writing;
use domain::{FlowRunId, ObjectOwner, WorkspaceId};
use store::Store;

use crate::cancelling::{cancel_below, require_going};
use crate::limits::{EVENTS_OF_RUN_MAX, RUNS_OPEN_MAX};
use crate::reading::{EVENTS, TABLE, find};
use crate::rows::{FlowContent, NewRun, RunEnd, RunLease, RunRow, RunState, StepRow, StepWrite, Wish};

/// The runs in a database.
#[derive(Clone)]
pub struct StoredRuns(pub(crate) Database);

const HELD: &str = " WHERE id = $1 AND worker = $2 AND state = 'running'";

fn of_lease(text: &str, lease: &RunLease) -> Statement {
    compose(format!("{text}{HELD}")).bind(lease.id.bytes()).bind(&lease.worker)
}

async fn put(
    writing: &mut Writing,
    (owner, run): (ObjectOwner, FlowRunId),
    contents: Vec<FlowContent>,
) -> Result<(), StoreError> {
    // Content under a key that is gone could never be opened.
    let keys: HashSet<String> = contents.iter().map(|content| content.sealed.key_id.clone()).collect();
    for key in keys {
        require_key(writing, owner.workspace, &key).await?;
    }
    for content in contents {
        sql("INSERT INTO flow_contents (digest, workspace, project, request, run, part, sealed_version, sealed_key_id,
             sealed) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
             ON CONFLICT (digest) DO UPDATE SET sealed_version = $7, sealed_key_id = $8, sealed = $9")
        .bind(content.digest.to_vec())
        .bind(owner.workspace.bytes())
        .bind(owner.project.bytes())
        .bind(content.request.bytes())
        .bind(run.bytes())
        .bind(content.part)
        .bind(i64::from(content.sealed.version))
        .bind(content.sealed.key_id)
        .bind(content.sealed.bytes)
        .run(writing.connection())
        .await?;
    }
    Ok(())
}

/// Stores how a step is. What has ended stays as it ended.
async fn put_step(
    writing: &mut Writing,
    (workspace, run): (WorkspaceId, FlowRunId),
    step: StepRow,
) -> Result<bool, StoreError> {
    let query = sql("INSERT INTO flow_steps (run, path, workspace, kind, status, tries, started_unix_ms, ended_unix_ms,
         place, cost_nanos, began, error_code) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
         ON CONFLICT (run, path) DO UPDATE SET status = $5, tries = $6, started_unix_ms = $7, ended_unix_ms = $8,
         place = $9, cost_nanos = COALESCE($10, flow_steps.cost_nanos), began = $11, error_code = $12
         WHERE flow_steps.status IN ('pending', 'running', 'waiting')");
    let stored = query
        .bind(run.bytes())
        .bind(step.path)
        .bind(workspace.bytes())
        .bind(step.kind)
        .bind(step.status.as_str())
        .bind(i64::from(step.tries))
        .bind(step.started_unix_ms.map(signed))
        .bind(step.ended_unix_ms.map(signed))
        .bind(step.place.map(signed))
        .bind(step.cost_nanos)
        .bind(step.began)
        .bind(step.error_code)
        .run(writing.connection())
        .await?;
    Ok(stored > 0)
}

fn refuse_too_many(open: u64) -> Result<(), StoreError> {
    if open < RUNS_OPEN_MAX {
        return Ok(());
    }
    let detail = format!("{RUNS_OPEN_MAX} runs of this project have not ended");
    Err(StoreError::conflict("flow_runs_waiting", detail, None))
}

async fn create(writing: &mut Writing, new: NewRun) -> Result<bool, StoreError> {
    let NewRun { run, contents, steps } = new;
    let owner = run.owner;
    let query = sql("SELECT CAST(COUNT(*) AS BIGINT) AS found FROM flow_runs
         WHERE workspace = $1 AND project = $2 AND state <> 'ended'");
    let open =
        query.bind(owner.workspace.bytes()).bind(owner.project.bytes()).one(writing.connection()).await?;
    refuse_too_many(Fields::new(TABLE, &open).number("found")?)?;
    if let Some((parent, _)) = &run.parent {
        require_going(writing, *parent).await?;
    }
    let query = sql("INSERT INTO flow_runs (id, workspace, project, request, api_key, name, flow, number, parent,
         parent_step, depth, replay_of, state, status, budget_nanos, cost_nanos, created_unix_ms, updated_unix_ms,
         due_unix_ms, until_unix_ms, engine, changes)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 'queued', 1, $13, 0, $14, $14, $15, $16, $17, 0)
         ON CONFLICT (id) DO NOTHING");
    let (parent, parent_step) = run.parent.map_or((None, None), |(id, step)| (Some(id.bytes()), Some(step)));
    let made = query
        .bind(run.id.bytes())
        .bind(owner.workspace.bytes())
        .bind(owner.project.bytes())
        .bind(run.request.bytes())
        .bind(run.key.bytes())
        .bind(run.name)
        .bind(run.flow.map(|(id, _)| id.bytes()))
        .bind(run.flow.map(|(_, number)| signed(number)))
        .bind(parent)
        .bind(parent_step)
        .bind(i64::from(run.depth))
        .bind(run.replay_of.map(|id| id.bytes()))
        .bind(run.budget_nanos)
        .bind(signed(run.created_unix_ms))
        .bind(signed(run.due_unix_ms))
        .bind(signed(run.until_unix_ms))
        .bind(run.engine.as_str())
        .run(writing.connection())
        .await?;
    if made == 0 {
        return Ok(false);
    }
    put(writing, (owner, run.id), contents).await?;
    for step in steps {
        put_step(writing, (owner.workspace, run.id), step).await?;
    }
    Ok(true)
}

async fn save(
    writing: &mut Writing,
    lease: RunLease,
    writes: Vec<StepWrite>,
    unix_ms: u64,
) -> Result<bool, StoreError> {
    let cost: i64 = writes.iter().filter_map(|write| write.step.cost_nanos).sum();
    let query = of_lease(
        "UPDATE flow_runs SET updated_unix_ms = $3, cost_nanos = cost_nanos + $4, changes = changes + 1",
        &lease,
    );
    if query.bind(signed(unix_ms)).bind(cost).run(writing.connection()).await? == 0 {
        return Ok(false);
    }
    let mut contents = Vec::new();
    for StepWrite { step, content, takes } in writes {
        let path = step.path.clone();
        let cost = step.cost_nanos.unwrap_or_default();
        if put_step(writing, (lease.owner.workspace, lease.id), step).await? {
            contents.extend(content);
        } else {
            // It had ended: its cost was counted then.
            let query = of_lease("UPDATE flow_runs SET cost_nanos = cost_nanos - $3", &lease);
            query.bind(cost).run(writing.connection()).await?;
        }
        if let Some(number) = takes {
            let query = sql("UPDATE flow_events SET taken_by = $3 WHERE run = $1 AND number = $2");
            query.bind(lease.id.bytes()).bind(signed(number)).bind(path).run(writing.connection()).await?;
        }
    }
    put(writing, (lease.owner, lease.id), contents).await?;
    Ok(true)
}

async fn finish(writing: &mut Writing, lease: RunLease, end: RunEnd) -> Result<bool, StoreError> {
    let query = of_lease(
        "UPDATE flow_runs SET state = 'ended', status = $3, error_code = $4, ended_unix_ms = $5, updated_unix_ms = $5,
         until_unix_ms = $6, wish = NULL, worker = NULL, lease_unix_ms = NULL, changes = changes + 1",
        &lease,
    );
    let query = query.bind(i64::from(end.status.code())).bind(end.error_code);
    let query = query.bind(signed(end.unix_ms)).bind(signed(end.until_unix_ms));
    if query.run(writing.connection()).await? == 0 {
        return Ok(false);
    }
    put(writing, (lease.owner, lease.id), end.output.into_iter().collect()).await?;
    // Also of a run that isn't put aside yet: whoever is about to do that waits for the end of this, and sees it.
    let query =
        sql("UPDATE flow_runs SET due_unix_ms = CASE WHEN state = 'waiting' THEN $2 ELSE due_unix_ms END
         WHERE id = (SELECT parent FROM flow_runs WHERE id = $1)");
    query.bind(lease.id.bytes()).bind(signed(end.unix_ms)).run(writing.connection()).await?;
    Ok(true)
}

/// Puts a run aside until something happens; not where that has happened already.
async fn park(
    writing: &mut Writing,
    lease: RunLease,
    (state, due_unix_ms): (RunState, u64),
    (events, children): (u64, Vec<FlowRunId>),
    unix_ms: u64,
) -> Result<bool, StoreError> {
    if state == RunState::Waiting {
        // The row is locked before anything is counted: who sends an event at the same time has committed, and the event is counted, or
        // will find the run put aside, and make it due.
        let query = of_lease("UPDATE flow_runs SET changes = changes", &lease);
        if query.run(writing.connection()).await? == 0 {
            return Ok(false);
        }
        let query = sql("SELECT CAST(COUNT(*) AS BIGINT) AS found FROM flow_events WHERE run = $1");
        let found = query.bind(lease.id.bytes()).one(writing.connection()).await?;
        let query = sql("SELECT id FROM flow_runs WHERE parent = $1 AND state = 'ended'");
        let ended = query.bind(lease.id.bytes()).rows(writing.connection()).await?;
        let ended = ended.iter().map(|row| Fields::new(TABLE, row).id("id"));
        let ended: Vec<FlowRunId> = ended.collect::<Result<_, _>>()?;
        if Fields::new(EVENTS, &found).number("found")? != events
            || children.iter().any(|id| ended.contains(id))
        {
            return Ok(false);
        }
    }
    let of_wish = if state == RunState::Waiting { " AND wish IS NULL" } else { "" };
    let text = format!(
        "UPDATE flow_runs SET state = $3, due_unix_ms = $4, updated_unix_ms = $5, wish = NULL, worker = NULL,
         lease_unix_ms = NULL, changes = changes + 1{HELD}{of_wish}"
    );
    let query = compose(text).bind(lease.id.bytes()).bind(&lease.worker);
    let query = query.bind(state.as_str()).bind(signed(due_unix_ms)).bind(signed(unix_ms));
    Ok(query.run(writing.connection()).await? > 0)
}

/// Notes what somebody wants of a run, and has a worker look at one that waits.
async fn wish(
    writing: &mut Writing,
    (workspace, id): (WorkspaceId, FlowRunId),
    wish: Wish,
    act: Act,
) -> Result<RunRow, StoreError> {
    let run = find(writing.connection(), workspace, id).await?;
    if run.state == RunState::Ended {
        return Err(StoreError::conflict("flow_run_ended", "the run has ended", None));
    }
    let now = signed(act.unix_ms);
    let query = match (wish, run.state) {
        // Nothing of it runs: it is set aside as it is.
        (Wish::Pause, RunState::Queued | RunState::Waiting | RunState::Paused) => {
            sql("UPDATE flow_runs SET state = 'paused', wish = NULL, updated_unix_ms = $3, changes = changes + 1
                 WHERE workspace = $1 AND id = $2")
            .bind(workspace.bytes())
            .bind(id.bytes())
            .bind(now)
        }
        _ => sql("UPDATE flow_runs SET wish = $4, due_unix_ms = $3, updated_unix_ms = $3, changes = changes + 1,
             state = CASE WHEN state = 'running' THEN 'running' ELSE 'queued' END WHERE workspace = $1 AND id = $2")
        .bind(workspace.bytes())
        .bind(id.bytes())
        .bind(now)
        .bind(wish.as_str()),
    };
    query.run(writing.connection()).await?;
    if wish == Wish::Cancel {
        cancel_below(writing, id, act.unix_ms).await?;
    }
    writing.audit(&act, Some(workspace), format!("flow_run.{}", wish.as_str()), id, String::new()).await?;
    find(writing.connection(), workspace, id).await
}

async fn resume(
    writing: &mut Writing,
    (workspace, id): (WorkspaceId, FlowRunId),
    act: Act,
) -> Result<RunRow, StoreError> {
    let run = find(writing.connection(), workspace, id).await?;
    if run.state == RunState::Ended {
        return Err(StoreError::conflict("flow_run_ended", "the run has ended", None));
    }
    let query = sql("UPDATE flow_runs SET wish = NULL, updated_unix_ms = $3, changes = changes + 1,
         due_unix_ms = CASE WHEN state = 'paused' THEN $3 ELSE due_unix_ms END,
         state = CASE WHEN state = 'paused' THEN 'queued' ELSE state END
         WHERE workspace = $1 AND id = $2 AND (wish IS NULL OR wish = 'pause')");
    query
        .bind(workspace.bytes())
        .bind(id.bytes())
        .bind(signed(act.unix_ms))
        .run(writing.connection())
        .await?;
    writing.audit(&act, Some(workspace), "flow_run.resume", id, String::new()).await?;
    find(writing.connection(), workspace, id).await
}

/// Has a run that ended run again: the steps of these paths are as if they had not run.
async fn retry(
    writing: &mut Writing,
    (workspace, id): (WorkspaceId, FlowRunId),
    paths: Vec<String>,
    act: Act,
) -> Result<RunRow, StoreError> {
    let run = find(writing.connection(), workspace, id).await?;
    if run.state != RunState::Ended {
        return Err(StoreError::conflict("flow_run_not_ended", "the run has not ended", None));
    }
    for path in &paths {
        let query =
            sql("UPDATE flow_steps SET status = 'pending', started_unix_ms = NULL, ended_unix_ms = NULL,
             place = NULL, began = NULL, error_code = NULL, cost_nanos = NULL WHERE run = $1 AND path = $2");
        query.bind(id.bytes()).bind(path).run(writing.connection()).await?;
        let query = sql("DELETE FROM flow_contents WHERE run = $1 AND part = $2");
        query.bind(id.bytes()).bind(crate::part::of_step(path)).run(writing.connection()).await?;
    }
    let query = sql(
        "UPDATE flow_runs SET state = 'queued', status = 1, wish = NULL, error_code = NULL, due_unix_ms = $3,
         updated_unix_ms = $3, ended_unix_ms = NULL, changes = changes + 1 WHERE workspace = $1 AND id = $2",
    );
    query
        .bind(workspace.bytes())
        .bind(id.bytes())
        .bind(signed(act.unix_ms))
        .run(writing.connection())
        .await?;
    let detail = format!("{} steps", paths.len());
    writing.audit(&act, Some(workspace), "flow_run.retry", id, detail).await?;
    find(writing.connection(), workspace, id).await
}

async fn send(
    writing: &mut Writing,
    (workspace, id): (WorkspaceId, FlowRunId),
    (number, name): (u64, String),
    content: FlowContent,
    act: Act,
) -> Result<(), StoreError> {
    let run = find(writing.connection(), workspace, id).await?;
    if run.state == RunState::Ended {
        return Err(StoreError::conflict("flow_run_ended", "the run has ended", None));
    }
    if number >= EVENTS_OF_RUN_MAX {
        let detail = format!("a run is sent at most {EVENTS_OF_RUN_MAX} events");
        return Err(StoreError::conflict("flow_runs_waiting", detail, None));
    }
    // An approval is given once.
    if name.starts_with(':') {
        let query = sql("SELECT number FROM flow_events WHERE run = $1 AND name = $2");
        if query.bind(id.bytes()).bind(&name).row(writing.connection()).await?.is_some() {
            return Err(StoreError::conflict(
                "flow_step_not_waiting",
                "the step has an approval already",
                None,
            ));
        }
    }
    let query = sql(
        "INSERT INTO flow_events (run, number, workspace, name, sent_unix_ms) VALUES ($1, $2, $3, $4, $5)",
    );
    let query = query.bind(id.bytes()).bind(signed(number)).bind(workspace.bytes()).bind(&name);
    query.bind(signed(act.unix_ms)).run(writing.connection()).await?;
    put(writing, (run.owner, id), vec![content]).await?;
    let query = sql("UPDATE flow_runs SET changes = changes + 1, updated_unix_ms = $2,
         due_unix_ms = CASE WHEN state = 'waiting' THEN $2 ELSE due_unix_ms END WHERE id = $1");
    query.bind(id.bytes()).bind(signed(act.unix_ms)).run(writing.connection()).await?;
    let (action, detail) = match name.strip_prefix(':') {
        Some(step) => ("flow_run.decide", format!("step {step}")),
        None => ("flow_run.event", format!("event {name}")),
    };
    writing.audit(&act, Some(workspace), action, id, detail).await
}

impl StoredRuns {
    pub fn of(store: &Store) -> Self {
        Self(store.database().clone())
    }

    /// `false` where there is a run of this id already. Refused as `flow_runs_waiting`. The audit tells of one that a client began.
    pub fn create(&self, new: NewRun, act: Option<Act>) -> StoreFuture<'_, bool> {
        Box::pin(self.0.note(move |writing| {
            Box::pin(async move {
                let (id, workspace, name) = (new.run.id, new.run.owner.workspace, new.run.name.clone());
                let is_new = create(writing, new).await?;
                if let Some(act) = act.filter(|_| is_new) {
                    let detail = format!("flow {name}");
                    writing.audit(&act, Some(workspace), "flow_run.create", id, detail).await?;
                }
                Ok(is_new)
            })
        }))
    }

    /// Stores how steps are; `false` where another worker has the run.
    pub fn save(&self, lease: RunLease, writes: Vec<StepWrite>, unix_ms: u64) -> StoreFuture<'_, bool> {
        Box::pin(self.0.note(move |writing| Box::pin(save(writing, lease, writes, unix_ms))))
    }

    /// Adds what a step cost that is known only after it ended.
    pub fn add_cost(&self, id: FlowRunId, path: String, cost_nanos: i64) -> StoreFuture<'_, ()> {
        Box::pin(self.0.note(move |writing| {
            Box::pin(async move {
                let query = sql("UPDATE flow_steps SET cost_nanos = $3 WHERE run = $1 AND path = $2 AND cost_nanos IS NULL");
                let query = query.bind(id.bytes()).bind(path).bind(cost_nanos);
                if query.run(writing.connection()).await? > 0 {
                    let query = sql("UPDATE flow_runs SET cost_nanos = cost_nanos + $2, changes = changes + 1 WHERE id = $1");
                    query.bind(id.bytes()).bind(cost_nanos).run(writing.connection()).await?;
                }
                Ok(())
            })
        }))
    }

    /// `false` where another worker has the run.
    pub fn finish(&self, lease: RunLease, end: RunEnd) -> StoreFuture<'_, bool> {
        Box::pin(self.0.note(move |writing| Box::pin(finish(writing, lease, end))))
    }

    /// Puts a run aside; `false` where something that it waits for has happened, or another worker has it.
    pub fn park(
        &self,
        lease: RunLease,
        until: (RunState, u64),
        known: (u64, Vec<FlowRunId>),
        unix_ms: u64,
    ) -> StoreFuture<'_, bool> {
        Box::pin(self.0.note(move |writing| Box::pin(park(writing, lease, until, known, unix_ms))))
    }

    /// Refused as `flow_run_ended`.
    pub fn wish(&self, of: (WorkspaceId, FlowRunId), what: Wish, act: Act) -> StoreFuture<'_, RunRow> {
        Box::pin(self.0.note(move |writing| Box::pin(wish(writing, of, what, act))))
    }

    /// Refused as `flow_run_ended`.
    pub fn resume(&self, of: (WorkspaceId, FlowRunId), act: Act) -> StoreFuture<'_, RunRow> {
        Box::pin(self.0.note(move |writing| Box::pin(resume(writing, of, act))))
    }

    /// Refused as `flow_run_not_ended`.
    pub fn retry(
        &self,
        of: (WorkspaceId, FlowRunId),
        paths: Vec<String>,
        act: Act,
    ) -> StoreFuture<'_, RunRow> {
        Box::pin(self.0.note(move |writing| Box::pin(retry(writing, of, paths, act))))
    }

    /// Refused as `flow_run_ended` and `flow_step_not_waiting`.
    pub fn send(
        &self,
        of: (WorkspaceId, FlowRunId),
        event: (u64, String),
        content: FlowContent,
        act: Act,
    ) -> StoreFuture<'_, ()> {
        Box::pin(self.0.note(move |writing| Box::pin(send(writing, of, event, content, act))))
    }
}

#[cfg(test)]
mod tests {
    use domain::{CachePolicy, KeyId, ProjectId, TraceId};
    use snapshot::WrappedKey;
    use store::{Foundation, Founding, ProjectRow, WorkspaceRow};
    use world::World;

    use super::*;
    use crate::{FlowEngine, RunClaim, StepStatus};

    async fn store(directory: &std::path::Path, owner: ObjectOwner) -> Store {
        let ObjectOwner { workspace, project } = owner;
        let key = |workspace| WrappedKey { workspace, key_id: "k1".into(), wrapped: vec![1] };
        let (caching, created_unix_ms, version) = (CachePolicy::default(), 1, 0);
        let project = ProjectRow {
            origins: String::new(),
            id: project,
            workspace,
            name: "first".into(),
            environment: "production".into(),
            caching: caching.clone(),
            metadata: serde_json::Value::Null,
            created_unix_ms,
            version,
        };
        let name = "ours".into();
        let founding = Founding {
            workspace: WorkspaceRow { id: workspace, name, caching, created_unix_ms, version },
            wrapped_key: key(workspace),
            project,
            keys: Vec::new(),
        };
        let operator_key = key(vault::OPERATOR);
        let act = Act::system(&World::system());
        let foundation = Foundation { meta: Vec::new(), operator_key, founding, act };
        Store::create(&directory.join("tidegate.db"), foundation).await.unwrap()
    }

    /// What a step cost may be known before the worker has stored that it ended.
    #[tokio::test]
    async fn the_cost_of_a_step_stays_whatever_is_stored_first() {
        let directory = tempfile::tempdir().unwrap();
        let owner =
            ObjectOwner { workspace: WorkspaceId::new(1, [1; 10]), project: ProjectId::new(1, [1; 10]) };
        let runs = StoredRuns::of(&store(directory.path(), owner).await);
        let (id, request) = (FlowRunId::new(1, [1; 10]), TraceId::new(1, [1; 10]));
        let run = RunRow::queued((id, owner, request), KeyId::new(1, [1; 10]), "a".to_owned(), (1, 1_000));
        assert!(runs.create(NewRun { run, contents: Vec::new(), steps: Vec::new() }, None).await.unwrap());
        let worker = "one".to_owned();
        let claim = RunClaim {
            engine: FlowEngine::Queue,
            worker: worker.clone(),
            unix_ms: 1,
            lease_ms: 1_000,
            limit: 1,
            of_workspace_max: 1,
            after: owner.workspace,
        };
        assert_eq!(runs.claim(claim).await.unwrap().len(), 1);
        let lease = RunLease { id, owner, request, worker };
        for (path, is_known_first) in [("early", true), ("late", false)] {
            let step = |status| {
                let step = StepRow::new(path.to_owned(), "app", status);
                vec![StepWrite { step, content: None, takes: None }]
            };
            assert!(runs.save(lease.clone(), step(StepStatus::Running), 2).await.unwrap());
            if is_known_first {
                runs.add_cost(id, path.to_owned(), 7).await.unwrap();
            }
            assert!(runs.save(lease.clone(), step(StepStatus::Completed), 3).await.unwrap());
            // It is counted once, however often it is found out.
            runs.add_cost(id, path.to_owned(), 7).await.unwrap();
            assert_eq!(runs.step(id, path.to_owned()).await.unwrap().unwrap().cost_nanos, Some(7), "{path}");
        }
        let row = runs.get(owner.workspace, id).await.unwrap();
        assert_eq!(row.cost_nanos, 14);
    }

    #[test]
    fn a_project_has_so_many_runs_at_once() {
        assert!(refuse_too_many(RUNS_OPEN_MAX - 1).is_ok());
        let refused = refuse_too_many(RUNS_OPEN_MAX).unwrap_err();
        assert!(matches!(refused, StoreError::Conflict { what: "flow_runs_waiting", .. }), "{refused}");
    }
}
