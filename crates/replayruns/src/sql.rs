//! The SQL of replay runs.

use database::connection::Connection;
use database::error::StoreError;
use database::feed::Part;
use database::fields::{ColumnId, Fields, before, signed, to_text};
use database::handle::Database;
use database::statement::{Row, sql};
use database::writing::{Writing, expect_version};
use domain::{ReplayRunId, WorkspaceId};
use serde_json::json;
use store::{Act, Listed, NewJob, Page, Store};

use crate::limits::REPLAY_RUNS_KEPT;
use crate::rows::{
    DrawnSet, EndedTrace, GateSettings, OpenTrace, REPLAY_JOB, ReplayRunRow, RunState, TraceResult,
};

const TABLE: &str = "replay_runs";
const TRACES: &str = "replay_traces";
const GATES: &str = "replay_gates";
const WHAT: &str = "replay run";
const GATED: &str = "gated";
const OPEN: &str = "open";

/// Replay runs in the database.
#[derive(Clone)]
pub struct ReplayRuns(Database);

impl ReplayRuns {
    pub fn of(store: &Store) -> Self {
        Self(store.database().clone())
    }

    /// Records a run with its job, and removes the workspace's oldest beyond the limit that are over.
    pub async fn create(&self, row: ReplayRunRow, act: Act) -> Result<(), StoreError> {
        self.0.note(move |writing| Box::pin(create(writing, row, act))).await
    }

    pub async fn get(&self, workspace: WorkspaceId, id: ReplayRunId) -> Result<ReplayRunRow, StoreError> {
        let found = self.find(id).await?.filter(|row| row.workspace == workspace);
        found.ok_or(StoreError::NotFound { what: WHAT })
    }

    /// For the worker, which knows the id alone.
    pub async fn find(&self, id: ReplayRunId) -> Result<Option<ReplayRunRow>, StoreError> {
        find(&mut self.0.read().await?, id).await
    }

    /// Newest first.
    pub async fn list(
        &self,
        workspace: WorkspaceId,
        page: Page<ReplayRunId>,
    ) -> Result<Listed<ReplayRunRow, ReplayRunId>, StoreError> {
        let wanted = page.rows_wanted();
        let query =
            sql("SELECT * FROM replay_runs WHERE workspace = $1 AND id < $2 ORDER BY id DESC LIMIT $3");
        let query = query.bind(workspace.bytes()).bind(before(page.after)).bind(signed(wanted as u64 + 1));
        let rows = query.rows(&mut self.0.read().await?).await?;
        let rows = rows.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Listed::cut(rows, wanted, |row: &ReplayRunRow| row.id))
    }

    /// The signed report of a run.
    pub async fn report(
        &self,
        workspace: WorkspaceId,
        id: ReplayRunId,
    ) -> Result<Option<String>, StoreError> {
        let query = sql("SELECT report FROM replay_runs WHERE id = $1 AND workspace = $2");
        let row = query.bind(id.bytes()).bind(workspace.bytes()).row(&mut self.0.read().await?).await?;
        row.map_or(Ok(None), |row| Fields::new(TABLE, &row).maybe_text("report"))
    }

    /// The reports of a workspace that passed and hold at a moment, newest first.
    pub async fn passed_reports(
        &self,
        workspace: WorkspaceId,
        now_unix_ms: u64,
    ) -> Result<Vec<String>, StoreError> {
        let query = sql("SELECT report FROM replay_runs WHERE workspace = $1 AND verdict = 'passed'
             AND expires_unix_ms > $2 AND report IS NOT NULL ORDER BY id DESC");
        let query = query.bind(workspace.bytes()).bind(signed(now_unix_ms));
        let rows = query.rows(&mut self.0.read().await?).await?;
        rows.iter().map(|row| Fields::new(TABLE, row).text("report")).collect()
    }

    /// How many of a run's requests have ended.
    pub async fn ended(&self, id: ReplayRunId) -> Result<u64, StoreError> {
        let query = sql("SELECT COUNT(*) AS found FROM replay_traces WHERE run = $1 AND result IS NOT NULL");
        let row = query.bind(id.bytes()).one(&mut self.0.read().await?).await?;
        Fields::new(TRACES, &row).number("found")
    }

    /// Starts a run with its set. `false` where it is not waiting any more.
    pub async fn begin(
        &self,
        id: ReplayRunId,
        drawn: DrawnSet,
        traces: Vec<OpenTrace>,
        unix_ms: u64,
    ) -> Result<bool, StoreError> {
        self.0.note(move |writing| Box::pin(begin(writing, id, (drawn, traces), unix_ms))).await
    }

    /// The requests that were not answered yet, in their order.
    pub async fn waiting(
        &self,
        id: ReplayRunId,
        after: Option<u64>,
        rows_max: u32,
    ) -> Result<Vec<OpenTrace>, StoreError> {
        let query = sql("SELECT position, trace, due_ms, tries FROM replay_traces
             WHERE run = $1 AND position > $2 AND result IS NULL ORDER BY position LIMIT $3");
        let after = after.map_or(-1, signed);
        let query = query.bind(id.bytes()).bind(after).bind(i64::from(rows_max));
        let rows = query.rows(&mut self.0.read().await?).await?;
        let open = |row: &Row| {
            let fields = Fields::new(TRACES, row);
            Ok(OpenTrace {
                position: fields.number("position")?,
                trace: fields.json("trace")?,
                due_ms: fields.number("due_ms")?,
                tries: fields.small("tries")?,
            })
        };
        rows.iter().map(open).collect()
    }

    /// Notes that requests are sent: whoever goes on after a crash sends them under other ids. By -1 for those that were not begun.
    pub async fn tried(&self, id: ReplayRunId, positions: Vec<i64>, by: i64) -> Result<(), StoreError> {
        let is_shared = self.0.is_shared();
        self.0
            .note(move |writing| {
                Box::pin(async move {
                    let query = if is_shared {
                        sql("UPDATE replay_traces SET tries = tries + $3 WHERE run = $1 AND position = ANY($2)")
                    } else {
                        sql("UPDATE replay_traces SET tries = tries + $3
                             WHERE run = $1 AND position IN (SELECT value FROM json_each($2))")
                    };
                    query.bind(id.bytes()).bind(positions).bind(by).run(writing.connection()).await.map(drop)
                })
            })
            .await
    }

    /// Stores what came of requests.
    pub async fn settle(&self, id: ReplayRunId, results: Vec<(u64, TraceResult)>) -> Result<(), StoreError> {
        self.0
            .note(move |writing| {
                Box::pin(async move {
                    for (position, result) in results {
                        let query =
                            sql("UPDATE replay_traces SET result = $3 WHERE run = $1 AND position = $2");
                        let query = query.bind(id.bytes()).bind(signed(position));
                        query.bind(to_text(TRACES, &result)?).run(writing.connection()).await?;
                    }
                    Ok(())
                })
            })
            .await
    }

    /// All requests that have ended.
    pub async fn results(&self, id: ReplayRunId) -> Result<Vec<EndedTrace>, StoreError> {
        let query = sql("SELECT trace, result FROM replay_traces WHERE run = $1 AND result IS NOT NULL
             ORDER BY position");
        let rows = query.bind(id.bytes()).rows(&mut self.0.read().await?).await?;
        let ended = |row: &Row| {
            let fields = Fields::new(TRACES, row);
            Ok(EndedTrace { trace: fields.json("trace")?, result: fields.json("result")? })
        };
        rows.iter().map(ended).collect()
    }

    /// Ends a run that is not over. `false` where it is.
    pub async fn end(&self, id: ReplayRunId, ending: RunEnding, act: Act) -> Result<bool, StoreError> {
        self.0.note(move |writing| Box::pin(end(writing, id, ending, act))).await
    }

    /// The gates of a workspace.
    pub async fn gates(&self, workspace: WorkspaceId) -> Result<GateSettings, StoreError> {
        gates(&mut self.0.read().await?, workspace).await
    }

    /// Sets the gates of a workspace.
    ///
    /// # Errors
    /// They are at another version, or of the database.
    pub async fn set_gates(
        &self,
        workspace: WorkspaceId,
        settings: GateSettings,
        expected: Option<u64>,
        act: Act,
    ) -> Result<GateSettings, StoreError> {
        let write = self.0.write(move |writing| {
            Box::pin(async move {
                // What was checked against other gates is checked again.
                writing.announce(Part::Workspace, Some(workspace), workspace);
                set_gates(writing, workspace, settings, (expected, act)).await
            })
        });
        write.await.map(|written| written.row)
    }
}

/// How a run ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunEnding {
    Completed { verdict: &'static str, report: String, expires_unix_ms: u64 },
    Failed { error: String },
    Cancelled,
}

fn read(row: &Row) -> Result<ReplayRunRow, StoreError> {
    let fields = Fields::new(TABLE, row);
    let word = fields.text("state")?;
    let state = RunState::ALL.into_iter().find(|state| state.as_str() == word);
    Ok(ReplayRunRow {
        id: fields.id("id")?,
        workspace: fields.id("workspace")?,
        spec: fields.json("spec")?,
        state: state.ok_or_else(|| StoreError::corrupt(TABLE, format!("state is {word}")))?,
        drawn: fields.maybe_json("drawn")?,
        error: fields.maybe_text("error")?,
        verdict: fields.maybe_text("verdict")?,
        scheduled_unix_ms: fields.number("scheduled_unix_ms")?,
        started_unix_ms: fields.maybe_number("started_unix_ms")?,
        ended_unix_ms: fields.maybe_number("ended_unix_ms")?,
        expires_unix_ms: fields.maybe_number("expires_unix_ms")?,
        created_unix_ms: fields.number("created_unix_ms")?,
        version: fields.number("version")?,
    })
}

async fn find(connection: &mut Connection, id: ReplayRunId) -> Result<Option<ReplayRunRow>, StoreError> {
    let query = sql("SELECT * FROM replay_runs WHERE id = $1").bind(id.bytes());
    query.row(connection).await?.as_ref().map(read).transpose()
}

async fn create(writing: &mut Writing, row: ReplayRunRow, act: Act) -> Result<(), StoreError> {
    let query = sql("INSERT INTO replay_runs
         (id, workspace, spec, state, scheduled_unix_ms, created_unix_ms, version)
         VALUES ($1, $2, $3, $4, $5, $6, $7)");
    query
        .bind(row.id.bytes())
        .bind(row.workspace.bytes())
        .bind(to_text(TABLE, &row.spec)?)
        .bind(row.state.as_str())
        .bind(signed(row.scheduled_unix_ms))
        .bind(signed(row.created_unix_ms))
        .bind(signed(row.version))
        .run(writing.connection())
        .await?;
    let query =
        sql("DELETE FROM replay_runs WHERE workspace = $1 AND ended_unix_ms IS NOT NULL AND id NOT IN
         (SELECT id FROM replay_runs WHERE workspace = $1 ORDER BY id DESC LIMIT $2)");
    query.bind(row.workspace.bytes()).bind(i64::from(REPLAY_RUNS_KEPT)).run(writing.connection()).await?;
    let job = NewJob {
        kind: REPLAY_JOB,
        workspace: row.workspace,
        name: Some(format!("{REPLAY_JOB}:{}", row.id)),
        payload: json!({"replay_run": row.id.to_string()}),
        run_unix_ms: row.scheduled_unix_ms,
        every_ms: None,
        unix_ms: row.created_unix_ms,
    };
    store::jobs::enqueue(writing, job).await?;
    let candidate = &row.spec.candidate;
    let at = candidate.node.map_or_else(String::new, |node| format!(" on {node}"));
    let detail = format!("{}{at}, {} content", candidate.model, row.spec.content.as_str());
    writing.audit(&act, Some(row.workspace), "replay_run.create", row.id, detail).await
}

async fn begin(
    writing: &mut Writing,
    id: ReplayRunId,
    (drawn, traces): (DrawnSet, Vec<OpenTrace>),
    unix_ms: u64,
) -> Result<bool, StoreError> {
    let query = sql("UPDATE replay_runs SET state = 'running', drawn = $2, started_unix_ms = $3,
         version = version + 1 WHERE id = $1 AND state = 'queued'");
    let query = query.bind(id.bytes()).bind(to_text(TABLE, &drawn)?).bind(signed(unix_ms));
    if query.run(writing.connection()).await? == 0 {
        return Ok(false);
    }
    for open in traces {
        let query = sql("INSERT INTO replay_traces (run, position, trace, due_ms, tries)
             VALUES ($1, $2, $3, $4, 0)");
        query
            .bind(id.bytes())
            .bind(signed(open.position))
            .bind(to_text(TRACES, &open.trace)?)
            .bind(signed(open.due_ms))
            .run(writing.connection())
            .await?;
    }
    Ok(true)
}

async fn end(
    writing: &mut Writing,
    id: ReplayRunId,
    ending: RunEnding,
    act: Act,
) -> Result<bool, StoreError> {
    let (state, verdict, report, expires, error) = match ending {
        RunEnding::Completed { verdict, report, expires_unix_ms } => {
            (RunState::Completed, Some(verdict), Some(report), Some(expires_unix_ms), None)
        }
        RunEnding::Failed { error } => (RunState::Failed, None, None, None, Some(error)),
        RunEnding::Cancelled => (RunState::Cancelled, None, None, None, None),
    };
    let query = sql("UPDATE replay_runs SET state = $2, verdict = $3, report = $4, expires_unix_ms = $5,
         error = $6, ended_unix_ms = $7, version = version + 1
         WHERE id = $1 AND state IN ('queued', 'running')");
    let query = query.bind(id.bytes()).bind(state.as_str()).bind(verdict).bind(report);
    let query = query.bind(expires.map(signed)).bind(error.as_deref()).bind(signed(act.unix_ms));
    if query.run(writing.connection()).await? == 0 {
        return Ok(false);
    }
    let workspace = find(writing.connection(), id).await?.map(|row| row.workspace);
    let detail = error.or_else(|| verdict.map(str::to_owned)).unwrap_or_default();
    writing.audit(&act, workspace, format!("replay_run.{}", state.as_str()), id, detail).await?;
    Ok(true)
}

async fn gates(connection: &mut Connection, workspace: WorkspaceId) -> Result<GateSettings, StoreError> {
    let query = sql("SELECT * FROM replay_gates WHERE workspace = $1").bind(workspace.bytes());
    let Some(row) = query.row(connection).await? else { return Ok(GateSettings::default()) };
    let fields = Fields::new(GATES, &row);
    Ok(GateSettings {
        is_gated: fields.text("activation")? != OPEN,
        gates: fields.json("gates")?,
        version: fields.number("version")?,
    })
}

async fn set_gates(
    writing: &mut Writing,
    workspace: WorkspaceId,
    settings: GateSettings,
    (expected, act): (Option<u64>, Act),
) -> Result<GateSettings, StoreError> {
    let current = gates(writing.connection(), workspace).await?;
    expect_version("gates", expected, current.version)?;
    let settings = GateSettings { version: current.version + 1, ..settings };
    let activation = if settings.is_gated { GATED } else { OPEN };
    let query =
        sql("INSERT INTO replay_gates (workspace, activation, gates, version) VALUES ($1, $2, $3, $4)
         ON CONFLICT (workspace) DO UPDATE SET activation = $2, gates = $3, version = $4");
    query
        .bind(workspace.bytes())
        .bind(activation)
        .bind(to_text(GATES, &settings.gates)?)
        .bind(signed(settings.version))
        .run(writing.connection())
        .await?;
    let detail = format!("{activation}: {}", to_text(GATES, &settings.gates)?);
    writing.audit(&act, Some(workspace), "replay_gates.set", workspace, detail).await?;
    Ok(settings)
}
