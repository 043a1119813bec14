//! Reads runs, their steps, their events and their content.

use database::connection::Connection;
use database::error::{StoreError, StoreFuture};
use database::fields::{ColumnId, Fields, before, signed};
use database::page::{Listed, Page};
use database::statement::{Row, compose, sql};
use domain::{FlowRunId, ObjectOwner, ProjectId, WorkspaceId};

use crate::rows::{
    EventRow, FlowContent, FlowEngine, LoadedRun, RunRow, RunState, RunStatus, StepRow, StepStatus, Wish,
};
use crate::runs::StoredRuns;

pub(crate) const TABLE: &str = "flow_runs";
pub(crate) const STEPS: &str = "flow_steps";
pub(crate) const EVENTS: &str = "flow_events";
pub(crate) const CONTENTS: &str = "flow_contents";

fn word<T>(table: &'static str, name: &str, read: fn(&str) -> Option<T>) -> Result<T, StoreError> {
    read(name).ok_or_else(|| StoreError::corrupt(table, format!("{name} is unknown")))
}

pub(crate) fn read(row: &Row) -> Result<RunRow, StoreError> {
    let fields = Fields::new(TABLE, row);
    let status = RunStatus::by_code(fields.small("status")?);
    let flow = fields.maybe_id("flow")?.zip(fields.maybe_number("number")?);
    let parent = fields.maybe_id("parent")?.zip(fields.maybe_text("parent_step")?);
    Ok(RunRow {
        id: fields.id("id")?,
        owner: ObjectOwner { workspace: fields.id("workspace")?, project: fields.id("project")? },
        request: fields.id("request")?,
        key: fields.id("api_key")?,
        name: fields.text("name")?,
        flow,
        parent,
        depth: fields.small("depth")?,
        replay_of: fields.maybe_id("replay_of")?,
        state: word(TABLE, &fields.text("state")?, RunState::by_name)?,
        status: status.ok_or_else(|| StoreError::corrupt(TABLE, "status isn't a status"))?,
        budget_nanos: fields.get("budget_nanos")?,
        cost_nanos: fields.get("cost_nanos")?,
        created_unix_ms: fields.number("created_unix_ms")?,
        updated_unix_ms: fields.number("updated_unix_ms")?,
        due_unix_ms: fields.number("due_unix_ms")?,
        started_unix_ms: fields.maybe_number("started_unix_ms")?,
        ended_unix_ms: fields.maybe_number("ended_unix_ms")?,
        until_unix_ms: fields.number("until_unix_ms")?,
        wish: fields.maybe_text("wish")?.as_deref().and_then(Wish::by_name),
        error_code: fields.maybe_text("error_code")?,
        engine: word(TABLE, &fields.text("engine")?, FlowEngine::by_name)?,
        changes: fields.number("changes")?,
    })
}

fn read_step(row: &Row) -> Result<StepRow, StoreError> {
    let fields = Fields::new(STEPS, row);
    Ok(StepRow {
        path: fields.text("path")?,
        kind: fields.text("kind")?,
        status: word(STEPS, &fields.text("status")?, StepStatus::by_name)?,
        tries: fields.small("tries")?,
        started_unix_ms: fields.maybe_number("started_unix_ms")?,
        ended_unix_ms: fields.maybe_number("ended_unix_ms")?,
        place: fields.maybe_number("place")?,
        cost_nanos: fields.get("cost_nanos")?,
        began: fields.maybe_text("began")?,
        error_code: fields.maybe_text("error_code")?,
    })
}

fn read_event(row: &Row) -> Result<EventRow, StoreError> {
    let fields = Fields::new(EVENTS, row);
    Ok(EventRow {
        number: fields.number("number")?,
        name: fields.text("name")?,
        taken_by: fields.maybe_text("taken_by")?,
    })
}

fn read_content(row: &Row) -> Result<FlowContent, StoreError> {
    let fields = Fields::new(CONTENTS, row);
    Ok(FlowContent {
        part: fields.text("part")?,
        digest: fields.digest("digest")?,
        project: fields.id("project")?,
        request: fields.id("request")?,
        sealed: fields.sealed()?,
    })
}

pub(crate) async fn find(
    connection: &mut Connection,
    workspace: WorkspaceId,
    id: FlowRunId,
) -> Result<RunRow, StoreError> {
    let query = sql("SELECT * FROM flow_runs WHERE workspace = $1 AND id = $2");
    let row = query.bind(workspace.bytes()).bind(id.bytes()).row(connection).await?;
    row.as_ref().map(read).transpose()?.ok_or(StoreError::NotFound { what: "run of a flow" })
}

impl StoredRuns {
    pub fn get(&self, workspace: WorkspaceId, id: FlowRunId) -> StoreFuture<'_, RunRow> {
        Box::pin(async move { find(&mut self.0.read().await?, workspace, id).await })
    }

    /// Newest first.
    pub fn list(
        &self,
        workspace: WorkspaceId,
        (project, status): (Option<ProjectId>, Option<RunStatus>),
        page: Page<FlowRunId>,
    ) -> StoreFuture<'_, Listed<RunRow, FlowRunId>> {
        Box::pin(async move {
            let wanted = page.rows_wanted();
            let of_status =
                status.map(|status| format!(" AND status = {}", status.code())).unwrap_or_default();
            let of_project = if project.is_some() { " AND project = $4" } else { "" };
            let query = compose(format!(
                "SELECT * FROM flow_runs WHERE workspace = $1 AND id < $2{of_status}{of_project} ORDER BY id DESC LIMIT $3"
            ));
            let query =
                query.bind(workspace.bytes()).bind(before(page.after)).bind(signed(wanted as u64 + 1));
            let query = project.into_iter().fold(query, |query, project| query.bind(project.bytes()));
            let rows = query.rows(&mut self.0.read().await?).await?;
            let rows = rows.iter().map(read).collect::<Result<_, _>>()?;
            Ok(Listed::cut(rows, wanted, |row: &RunRow| row.id))
        })
    }

    /// All steps of a run.
    pub fn all_steps(&self, id: FlowRunId) -> StoreFuture<'_, Vec<StepRow>> {
        Box::pin(async move {
            let query = sql("SELECT * FROM flow_steps WHERE run = $1 ORDER BY path").bind(id.bytes());
            query.rows(&mut self.0.read().await?).await?.iter().map(read_step).collect()
        })
    }

    pub fn step(&self, id: FlowRunId, path: String) -> StoreFuture<'_, Option<StepRow>> {
        Box::pin(async move {
            let query = sql("SELECT * FROM flow_steps WHERE run = $1 AND path = $2");
            let row = query.bind(id.bytes()).bind(path).row(&mut self.0.read().await?).await?;
            row.as_ref().map(read_step).transpose()
        })
    }

    pub fn events(&self, id: FlowRunId) -> StoreFuture<'_, Vec<EventRow>> {
        Box::pin(async move {
            let query = sql("SELECT * FROM flow_events WHERE run = $1 ORDER BY number").bind(id.bytes());
            query.rows(&mut self.0.read().await?).await?.iter().map(read_event).collect()
        })
    }

    /// One part of the content.
    pub fn content(&self, id: FlowRunId, part: String) -> StoreFuture<'_, Option<FlowContent>> {
        Box::pin(async move {
            let query = sql("SELECT * FROM flow_contents WHERE run = $1 AND part = $2");
            let row = query.bind(id.bytes()).bind(part).row(&mut self.0.read().await?).await?;
            row.as_ref().map(read_content).transpose()
        })
    }

    /// All parts of the content.
    pub fn contents(&self, id: FlowRunId) -> StoreFuture<'_, Vec<FlowContent>> {
        Box::pin(async move {
            let query = sql("SELECT * FROM flow_contents WHERE run = $1 ORDER BY part").bind(id.bytes());
            query.rows(&mut self.0.read().await?).await?.iter().map(read_content).collect()
        })
    }

    /// All that is stored of a run.
    pub fn load(&self, id: FlowRunId) -> StoreFuture<'_, LoadedRun> {
        Box::pin(async move {
            let mut connection = self.0.read().await?;
            let of = |text: &'static str| sql(text).bind(id.bytes());
            let steps =
                of("SELECT * FROM flow_steps WHERE run = $1 ORDER BY path").rows(&mut connection).await?;
            let events =
                of("SELECT * FROM flow_events WHERE run = $1 ORDER BY number").rows(&mut connection).await?;
            let contents = of("SELECT * FROM flow_contents WHERE run = $1").rows(&mut connection).await?;
            Ok(LoadedRun {
                steps: steps.iter().map(read_step).collect::<Result<_, _>>()?,
                events: events.iter().map(read_event).collect::<Result<_, _>>()?,
                contents: contents.iter().map(read_content).collect::<Result<_, _>>()?,
            })
        })
    }

    /// Runs after one, oldest first, as a data export reads them.
    pub fn exported(
        &self,
        workspace: WorkspaceId,
        cursor: Option<FlowRunId>,
        limit: u32,
    ) -> StoreFuture<'_, Vec<RunRow>> {
        Box::pin(async move {
            let query = sql("SELECT * FROM flow_runs WHERE workspace = $1 AND id > $2 ORDER BY id LIMIT $3");
            let query =
                query.bind(workspace.bytes()).bind(database::fields::after(cursor)).bind(i64::from(limit));
            query.rows(&mut self.0.read().await?).await?.iter().map(read).collect()
        })
    }
}
