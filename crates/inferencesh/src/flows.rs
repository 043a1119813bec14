//! Flows, whose documents have the form of `/v2/flows`, and further calls of their runs.

use compat::answer::Answer;
use compat::call::{Call, Handled};
use serde_json::{Value, json};

use crate::page::{all, delete_row, page, row, view_of};

const PATH: &str = "/v2/flows";
const RUNS: &str = "/v2/flow-runs";

fn show(call: &Call<'_>, ours: &Value) -> Value {
    let version = ours["version"].as_u64().unwrap_or_default().to_string();
    let own = json!({
        "namespace": "", "name": ours["name"], "title": ours["name"], "description": "", "card_image": "",
        "thumbnail": "", "banner_image": "", "draft_version_id": version, "published_version_id": version,
        "input_schema": ours["document"]["input"], "document": ours["document"],
        // The graph of a flow of this form is that of `/v2/flows`.
        "nodes": [], "edges": [], "node_data": {}, "input": {}, "output_mappings": {},
    });
    row(call, ours, own)
}

pub(crate) async fn list(call: &Call<'_>) -> Handled {
    page(call, PATH, &[], |ours| Some(show(call, ours))).await
}

pub(crate) async fn read(call: &Call<'_>) -> Handled {
    view_of(call, (PATH, "flow"), show).await
}

pub(crate) async fn remove(call: &Call<'_>) -> Handled {
    delete_row(call, PATH, "flow").await
}

pub(crate) async fn versions(call: &Call<'_>) -> Handled {
    let flow = call.id("flow")?;
    let show = |version: &Value| {
        let number = version["version"].as_u64()?.to_string();
        let own = json!({"id": number, "flow_id": flow, "document": version["document"]});
        Some(row(call, version, own))
    };
    all(call, &format!("{PATH}/{flow}/versions"), show).await
}

/// The numbers by which these clients know the states of runs.
const STATES: [(&str, u8); 5] =
    [("pending", 1), ("running", 2), ("completed", 3), ("failed", 4), ("cancelled", 5)];

fn show_run(call: &Call<'_>, ours: &Value) -> Value {
    let status = STATES.iter().find(|(name, _)| ours["status"] == *name).map(|(_, number)| *number);
    let own = json!({
        "flow_id": ours["flow_id"], "flow_version_id": ours["version"].as_u64().map(|version| version.to_string()),
        "status": status, "error": ours["error_code"], "flow_run_started": ours["started_at"],
        "flow_run_finished": ours["ended_at"], "node_tasks": {},
    });
    row(call, ours, own)
}

pub(crate) async fn runs(call: &Call<'_>) -> Handled {
    page(call, RUNS, &[], |ours| Some(show_run(call, ours))).await
}

/// A run with the same input, of the version that the first one had.
pub(crate) async fn clone_run(call: &Call<'_>) -> Handled {
    let path = format!("{RUNS}/{}/replay", call.id("flow run")?);
    Ok(Answer::json(&show_run(call, &call.post(&path, &json!({})).await?)))
}
