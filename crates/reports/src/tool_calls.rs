//! The calls of tools that the gateway executed for a request.

use ::tools::Declared;
use api::moment::Moment;
use api::state::Control;
use domain::{CallOutcome, Fault, MeterRecord};
use reconcilers::of_store;
use schemars::JsonSchema;
use serde::Serialize;

/// A call of a tool, without what it was given and answered.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ToolCall")]
pub(crate) struct ToolCallView {
    /// The step of the model that called it, from 1; 0 for a call of an earlier request that this one approved.
    step: u32,
    name: String,
    /// The id of the tool, or of its MCP server.
    declared_id: Option<String>,
    #[schemars(extend("enum" = CallOutcome::WORDS))]
    outcome: &'static str,
    started_at: Moment,
    duration_ms: u64,
    arguments_bytes: u64,
    result_bytes: u64,
    /// The model was given a part of the result.
    truncated: bool,
}

pub(crate) async fn of_request(
    control: &Control,
    record: &MeterRecord,
) -> Result<Vec<ToolCallView>, Box<Fault>> {
    let calls =
        Declared::of(&control.deps.store).calls(record.workspace, record.trace).await.map_err(of_store)?;
    let views = calls.into_iter().map(|call| ToolCallView {
        step: call.step,
        name: call.name,
        declared_id: Some(call.declared).filter(|id| !id.is_empty()),
        outcome: call.outcome.as_str(),
        started_at: Moment(call.started_unix_ms),
        duration_ms: call.duration_ms,
        arguments_bytes: call.bytes_in,
        result_bytes: call.bytes_out,
        truncated: call.is_truncated,
    });
    Ok(views.collect())
}
