//! Runs of flows as clients read them.

use std::collections::{HashMap, HashSet};

use ::tools::Declared;
use api::moment::Moment;
use api::state::Control;
use domain::{CallOutcome, Fault, TraceId};
use flowruns::{FlowContent, RunRow, StepRow, StepStatus, part};
use reconcilers::of_store;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::flow_fields::{NodeView, nodes_of};
use crate::flow_run_found::runs_of;

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "FlowRun")]
pub(crate) struct RunView {
    pub id: String,
    object: &'static str,
    project_id: String,
    api_key_id: String,
    name: String,
    flow_id: Option<String>,
    version: Option<u64>,
    /// The run whose step this is.
    parent_id: Option<String>,
    parent_step: Option<String>,
    replay_of: Option<String>,
    /// pending, running, completed, failed or cancelled.
    pub status: &'static str,
    /// What it does now: queued, running, waiting, paused or ended.
    state: &'static str,
    /// A requested pause or cancellation that hasn't taken effect yet.
    wish: Option<&'static str>,
    /// Why it failed.
    error_code: Option<String>,
    budget_nano_usd: Option<i64>,
    cost_nano_usd: i64,
    created_at: Moment,
    updated_at: Moment,
    started_at: Option<Moment>,
    ended_at: Option<Moment>,
    expires_at: Moment,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "FlowRunStep")]
pub(crate) struct StepView {
    /// The step's name; of an iteration with its number, as in `step[3]`.
    pub id: String,
    kind: String,
    /// pending, ready, running, waiting, completed, failed, skipped, blocked or cancelled.
    pub status: &'static str,
    needs: Vec<String>,
    /// The layer that it is drawn in.
    depth: u32,
    tries: u32,
    cost_nano_usd: Option<i64>,
    duration_ms: Option<u64>,
    /// The task that it is, or the run of another flow.
    pub began: Option<String>,
    error_code: Option<String>,
    started_at: Option<Moment>,
    ended_at: Option<Moment>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "FlowRunDetail")]
pub(crate) struct RunDetail {
    #[serde(flatten)]
    pub run: RunView,
    pub input: Value,
    pub output: Value,
    pub steps: Vec<StepView>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "FlowRunStepDetail")]
pub(crate) struct StepDetail {
    #[serde(flatten)]
    step: StepView,
    pub output: Value,
    /// Why it failed.
    error: Option<String>,
    /// The call of the last try of a step that calls a tool, for 90 days.
    tool_call: Option<FlowToolCall>,
}

/// A call of a tool, without what it was given and answered.
#[derive(Serialize, JsonSchema)]
pub(crate) struct FlowToolCall {
    name: String,
    /// The id of the tool, or of its MCP server.
    declared_id: Option<String>,
    #[schemars(extend("enum" = CallOutcome::WORDS))]
    outcome: &'static str,
    started_at: Moment,
    duration_ms: u64,
    arguments_bytes: u64,
    result_bytes: u64,
    /// The step was given a part of the result.
    truncated: bool,
}

pub(crate) fn show(run: &RunRow) -> RunView {
    RunView {
        id: run.id.to_string(),
        object: "flow_run",
        project_id: run.owner.project.to_string(),
        api_key_id: run.key.to_string(),
        name: run.name.clone(),
        flow_id: run.flow.map(|(id, _)| id.to_string()),
        version: run.flow.map(|(_, number)| number),
        parent_id: run.parent.as_ref().map(|(id, _)| id.to_string()),
        parent_step: run.parent.as_ref().map(|(_, step)| step.clone()),
        replay_of: run.replay_of.map(|id| id.to_string()),
        status: run.status.as_str(),
        state: run.state.as_str(),
        wish: run.wish.map(|wish| wish.as_str()),
        error_code: run.error_code.clone(),
        budget_nano_usd: run.budget_nanos,
        cost_nano_usd: run.cost_nanos,
        created_at: Moment(run.created_unix_ms),
        updated_at: Moment(run.updated_unix_ms),
        started_at: run.started_unix_ms.map(Moment),
        ended_at: run.ended_unix_ms.map(Moment),
        expires_at: Moment(run.until_unix_ms),
    }
}

fn show_step(step: &StepRow, node: Option<&NodeView>) -> StepView {
    let duration_ms = step.started_unix_ms.zip(step.ended_unix_ms);
    StepView {
        id: step.path.clone(),
        kind: step.kind.clone(),
        status: step.status.as_str(),
        needs: node.map(|node| node.needs.clone()).unwrap_or_default(),
        depth: node.map_or(0, |node| node.depth),
        tries: step.tries,
        cost_nano_usd: step.cost_nanos,
        duration_ms: duration_ms.map(|(start, end)| end.saturating_sub(start)),
        began: step.began.clone(),
        error_code: step.error_code.clone(),
        started_at: step.started_unix_ms.map(Moment),
        ended_at: step.ended_unix_ms.map(Moment),
    }
}

/// A run with its steps: those of the document in their order, each followed by its iterations.
pub(crate) async fn detail(control: &Control, run: &RunRow) -> Result<RunDetail, Box<Fault>> {
    let runs = runs_of(control);
    let open = |content: FlowContent| content.open(&control.deps.vault, run.owner);
    let mut parts = HashMap::new();
    for part in [part::DOCUMENT, part::INPUT, part::OUTPUT] {
        let content = runs.content(run.id, part.to_owned()).await.map_err(of_store)?;
        parts.insert(part, content.and_then(open).unwrap_or_default());
    }
    let rows = runs.all_steps(run.id).await.map_err(of_store)?;
    let flow = parts.get(part::DOCUMENT).and_then(|document| flows::compile(document).ok());
    let nodes = flow.map(|flow| nodes_of(&flow)).unwrap_or_default();
    let mut take = |part| parts.remove(part).unwrap_or_default();
    let (input, output) = (take(part::INPUT), take(part::OUTPUT));
    Ok(RunDetail { run: show(run), input, output, steps: in_order(&nodes, &rows) })
}

fn in_order(nodes: &[NodeView], rows: &[StepRow]) -> Vec<StepView> {
    let mut of_step: HashMap<&str, Vec<&StepRow>> = HashMap::new();
    for row in rows {
        let name = row.path.split(['[', '!']).next().unwrap_or(&row.path);
        of_step.entry(name).or_default().push(row);
    }
    let completed: HashSet<&str> =
        rows.iter().filter(|row| row.status == StepStatus::Completed).map(|row| row.path.as_str()).collect();
    let mut steps = Vec::with_capacity(rows.len().max(nodes.len()));
    for node in nodes {
        let known = of_step.remove(node.id.as_str()).unwrap_or_default();
        if !known.iter().any(|row| row.path == node.id) {
            let mut view =
                show_step(&StepRow::new(node.id.clone(), &node.kind, StepStatus::Pending), Some(node));
            if node.needs.iter().all(|need| completed.contains(need.as_str())) {
                view.status = "ready";
            }
            steps.push(view);
        }
        let mut known = known;
        known.sort_by_key(|row| (row.path.len(), row.path.as_str()));
        steps.extend(known.into_iter().map(|row| show_step(row, Some(node))));
    }
    steps
}

/// A step with what it made.
pub(crate) async fn step_detail(
    control: &Control,
    run: &RunRow,
    path: &str,
) -> Result<Option<StepDetail>, Box<Fault>> {
    let runs = runs_of(control);
    let Some(row) = runs.step(run.id, path.to_owned()).await.map_err(of_store)? else { return Ok(None) };
    let content = runs.content(run.id, part::of_step(path)).await.map_err(of_store)?;
    let mut content =
        content.and_then(|content| content.open(&control.deps.vault, run.owner)).unwrap_or_default();
    let output = content.get_mut("output").map(Value::take).unwrap_or_default();
    let error = content.get("error").and_then(Value::as_str).map(str::to_owned);
    let tool_call = tool_call(control, run, &row).await?;
    Ok(Some(StepDetail { step: show_step(&row, None), output, error, tool_call }))
}

/// The call that a step's last try made of a tool.
async fn tool_call(
    control: &Control,
    run: &RunRow,
    step: &StepRow,
) -> Result<Option<FlowToolCall>, Box<Fault>> {
    let Some(started_unix_ms) = step.started_unix_ms else { return Ok(None) };
    let bytes = control.deps.vault.requests.of_flow_step(run.id, &step.path, step.tries);
    let trace = TraceId::new(started_unix_ms, bytes);
    let calls = Declared::of(&control.deps.store).calls(run.owner.workspace, trace).await;
    let call = calls.map_err(of_store)?.into_iter().next();
    Ok(call.map(|call| FlowToolCall {
        name: call.name,
        declared_id: Some(call.declared).filter(|id| !id.is_empty()),
        outcome: call.outcome.as_str(),
        started_at: Moment(call.started_unix_ms),
        duration_ms: call.duration_ms,
        arguments_bytes: call.bytes_in,
        result_bytes: call.bytes_out,
        truncated: call.is_truncated,
    }))
}
