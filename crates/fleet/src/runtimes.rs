//! Calls to the nodes of a workspace that run Tidegate's own runtime: which nodes these are, queries and
//! commands to them, and their errors in terms of `/v2`.

use std::sync::Arc;
use std::time::Duration;

use api::failure::{missing, not_found};
use api::request::ApiRequest;
use api::router::Route;
use api::state::Control;
use bytes::Bytes;
use domain::adapters::is_plain_name;
use domain::limits::{
    ADAPTER_NAME_BYTES_MAX, PAGE_ROWS_MAX, RUNTIME_ACT_TIME_MAX, RUNTIME_QUERY_TIME_MAX, RUNTIMES_QUERIED_MAX,
};
use domain::server::TIDEGATE;
use domain::{Fault, FaultClass, NodeId, ServerFeature, WorkspaceId};
use http::Method;
use line::{RuntimeReply, RuntimeRequest};
use plan::Seat;
use reconcilers::of_store;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use store::{NodeRow, Page};
use tokio::task::JoinSet;

use crate::limits::RUNTIME_MESSAGE_CHARS_MAX;

/// A runtime that could not be queried; its objects are missing from the list.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RuntimeAway")]
pub struct UnreachableRuntime {
    node_id: String,
    /// Its name.
    node: String,
    code: &'static str,
    message: String,
}

/// The responses of several runtimes, in the order of the nodes.
pub struct RuntimeResponses<T> {
    pub responses: Vec<(NodeRow, T)>,
    pub failures: Vec<UnreachableRuntime>,
}

/// Error codes of a runtime that are passed on for programs to match; all others become `node_refused`.
const CODES: &[&str] = &[
    "adapter_exists",
    "adapter_limit",
    "adapter_not_found",
    "adapter_outside",
    "invalid_adapter",
    "invalid_body",
    "invalid_scope",
    "invalid_training_data",
    "invalid_value",
    "job_is_not_over",
    "job_is_over",
    "job_not_found",
    "local_only",
    "model_not_found",
    "no_adapter_folder",
    "no_adapters",
    "no_mesh",
    "node_ends",
    "not_of_this_version",
    "queue_full",
    "too_many_at_once",
    "too_many_files",
    "too_many_jobs",
    "too_much_data",
    "training_not_served",
    "unknown_path",
    "unsupported_parameter",
    "worker_not_found",
    "worker_provider_missing",
];

/// The runtimes of a workspace, or the named one.
///
/// # Errors
/// The node doesn't exist, or doesn't run Tidegate's runtime.
pub async fn list(
    control: &Control,
    workspace: WorkspaceId,
    named: Option<&str>,
) -> Result<Vec<NodeRow>, Box<Fault>> {
    if let Some(Ok(id)) = named.map(str::parse::<NodeId>) {
        let row = control.deps.store.nodes().get(workspace, id).await.map_err(of_store)?;
        return is_ours(row).map(|row| vec![row]);
    }
    let (mut rows, mut after) = (Vec::new(), None);
    loop {
        let page = Page { limit: PAGE_ROWS_MAX, after };
        let listed = control.deps.store.nodes().list(workspace, page).await.map_err(of_store)?;
        rows.extend(listed.rows);
        after = listed.next;
        if after.is_none() {
            break;
        }
    }
    match named {
        Some(name) => {
            let found = rows.into_iter().find(|row| row.name == name);
            is_ours(found.ok_or_else(|| not_found("node", name))?).map(|row| vec![row])
        }
        None => {
            rows.retain(is_runtime);
            rows.truncate(RUNTIMES_QUERIED_MAX);
            Ok(rows)
        }
    }
}

/// The named runtime, or the only one there is.
///
/// # Errors
/// There is none, or there are several and none was named.
pub async fn pick(
    control: &Control,
    workspace: WorkspaceId,
    named: Option<&str>,
) -> Result<NodeRow, Box<Fault>> {
    let mut rows = list(control, workspace, named).await?;
    match (rows.pop(), rows.pop()) {
        (Some(row), None) => Ok(row),
        (Some(last), Some(other)) => {
            let names = rows.iter().chain([&other, &last]).map(|row| row.name.as_str());
            let names = names.collect::<Vec<_>>().join(", ");
            Err(missing("node", format!("Name the node that is meant: {names}.")))
        }
        (None, _) => Err(Box::new(
            Fault::new(
                FaultClass::NotFound,
                "no_runtime",
                "This workspace has no node that runs `tidegate node`.",
            )
            .fix("Start one with `tidegate node`, and add it with `tidegate nodes add`."),
        )),
    }
}

/// Queries a runtime for a JSON document.
///
/// # Errors
/// It can't be reached, or its response can't be read.
pub async fn query<T: DeserializeOwned>(
    control: &Control,
    row: &NodeRow,
    path: impl Into<String>,
) -> Result<T, Box<Fault>> {
    let bytes = ask(control, row, Method::GET, path.into(), None, RUNTIME_QUERY_TIME_MAX).await?;
    read(row, &bytes)
}

/// Sends a command to a runtime.
///
/// # Errors
/// It can't be reached, refuses, or its response can't be read.
pub async fn command<T: DeserializeOwned>(
    control: &Control,
    row: &NodeRow,
    path: impl Into<String>,
    body: &Value,
) -> Result<T, Box<Fault>> {
    let body = Some(Bytes::from(body.to_string()));
    let bytes = ask(control, row, Method::POST, path.into(), body, RUNTIME_ACT_TIME_MAX).await?;
    read(row, &bytes)
}

/// One request to a runtime.
///
/// # Errors
/// It can't be reached, or refuses.
pub async fn ask(
    control: &Control,
    row: &NodeRow,
    method: Method,
    path: String,
    body: Option<Bytes>,
    time_max: Duration,
) -> Result<Bytes, Box<Fault>> {
    let snapshot = control.deps.keeper.current();
    let entry = snapshot
        .workspace(row.workspace)
        .and_then(|workspace| workspace.nodes.iter().find(|entry| entry.id == row.id).cloned());
    let entry = entry.ok_or_else(|| not_found("node", &row.id.to_string()))?;
    let target = control.deps.target(Seat::Byoc(entry))?;
    let response =
        control.deps.outbound.ask_runtime(target, RuntimeRequest { method, path, body, time_max }).await?;
    match response.status {
        200..300 => Ok(response.body),
        _ => Err(refused((row.id, &row.name), &response)),
    }
}

/// Queries all runtimes, or the one the request names, concurrently. A runtime that can't be reached is
/// listed under `away`; one that refuses with a code in `has_none` lacks the feature and is left out.
///
/// # Errors
/// The named node doesn't exist, or doesn't run Tidegate's runtime.
pub async fn query_each<T>(
    control: &Arc<Control>,
    request: &ApiRequest,
    path: &'static str,
    has_none: &[&str],
) -> Result<RuntimeResponses<T>, Box<Fault>>
where
    T: DeserializeOwned + Send + 'static,
{
    let rows = list(control, request.workspace(), request.query.get("node").map(String::as_str)).await?;
    let mut queries = JoinSet::new();
    for (index, row) in rows.into_iter().enumerate() {
        let control = Arc::clone(control);
        queries.spawn(async move {
            let response = query::<T>(&control, &row, path).await;
            (index, row, response)
        });
    }
    let mut heard = queries.join_all().await;
    heard.sort_by_key(|(index, ..)| *index);
    let mut all = RuntimeResponses { responses: Vec::new(), failures: Vec::new() };
    for (_, row, response) in heard {
        match response {
            Ok(response) => all.responses.push((row, response)),
            Err(fault) if has_none.contains(&fault.code) => {}
            Err(fault) => all.failures.push(UnreachableRuntime {
                node_id: row.id.to_string(),
                node: row.name,
                code: fault.code,
                message: fault.message.clone().into_owned(),
            }),
        }
    }
    Ok(all)
}

/// Records a command to a runtime in the audit, after it succeeded.
pub async fn note_act(
    control: &Control,
    request: &ApiRequest,
    row: &NodeRow,
    action: &'static str,
    detail: String,
) -> Result<(), Box<Fault>> {
    let act = request.act(&control.deps.world);
    let written = control.deps.store.nodes().record_action(row.workspace, row.id, action, detail, act);
    written.await.map(|_| ()).map_err(of_store)
}

/// A route that calls one runtime, with the refusals for one that can't be reached.
pub fn runtime_route(route: Route) -> Route {
    route.refuses(502, "upstream_unreachable").refuses(504, "upstream_timeout")
}

/// Whether the node runs Tidegate's own runtime, by a probe or by a stated fact.
pub fn is_runtime(row: &NodeRow) -> bool {
    row.server.of(ServerFeature::Runtime).0.is_some_and(|finding| finding.value == TIDEGATE)
}

/// # Errors
/// 400 for any other server.
pub fn is_ours(row: NodeRow) -> Result<NodeRow, Box<Fault>> {
    if is_runtime(&row) {
        return Ok(row);
    }
    let message = format!(
        "As far as Tidegate knows, the node {} doesn't run `tidegate node`: it only answers requests.",
        row.name
    );
    let fix = format!(
        "Probe it again with `tidegate nodes probe {}`; any other server is managed where it runs.",
        row.id
    );
    Err(Box::new(Fault::new(FaultClass::Unsupported, "no_runtime", message).fix(fix)))
}

/// A path parameter as a segment of the node's path. Text that is not a valid name can't exist there, so it
/// is a 404.
///
/// # Errors
/// 404.
pub fn path_part(what: &str, name: &str) -> Result<String, Box<Fault>> {
    let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy().into_owned();
    let truncated: String = name.chars().take(ADAPTER_NAME_BYTES_MAX).collect();
    if is_plain_name(&name) { Ok(name) } else { Err(not_found(what, &truncated)) }
}

/// Deserialises a runtime's response.
pub fn read<T: DeserializeOwned>(row: &NodeRow, bytes: &[u8]) -> Result<T, Box<Fault>> {
    serde_json::from_slice(bytes).map_err(|error| {
        let message = format!("The node {} said something that can't be read: {error}.", row.name);
        let fix = "It may be of another version: `tidegate --version` on either machine says which.";
        Box::new(Fault::new(FaultClass::Upstream, "node_unreadable", message).fix(fix))
    })
}

/// A runtime's error in terms of `/v2`. What it says about the request is passed on; a refused key is a
/// problem of the workspace's configuration, not of this caller.
fn refused(node: (NodeId, &str), response: &RuntimeReply) -> Box<Fault> {
    let (id, name) = node;
    let document: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let text = |name: &str| document.pointer(&format!("/error/{name}")).and_then(Value::as_str);
    let what = text("message").map_or_else(|| format!("status {}", response.status), plain);
    let class = match response.status {
        401 => {
            let message = format!("The node {name} refused its key.");
            let fix = format!("Set a key that the node accepts: `tidegate nodes rotate {id}`.");
            return Box::new(Fault::new(FaultClass::UpstreamAuth, "upstream_auth_failed", message).fix(fix));
        }
        404 => FaultClass::NotFound,
        409 => FaultClass::Conflict,
        413 => FaultClass::TooLarge,
        429 | 503 => FaultClass::Overloaded,
        400..=499 => FaultClass::BadRequest,
        501 => FaultClass::Unsupported,
        _ => FaultClass::Upstream,
    };
    let code = text("code").and_then(|code| CODES.iter().copied().find(|known| *known == code));
    let message = format!("The node {name} says: {what}");
    let fault = Fault::new(class, code.unwrap_or("node_refused"), message);
    let fault = fault.fix("Correct what it names, and send the request again.");
    Box::new(match text("param") {
        Some(param) => fault.param(param.chars().take(200).collect::<String>()),
        None => fault,
    })
}

/// A node's message without the node's own request id: this response has another.
fn plain(text: &str) -> String {
    let text =
        text.rsplit_once(" (request id: ").filter(|(_, id)| id.ends_with(')')).map_or(text, |(text, _)| text);
    text.chars().take(RUNTIME_MESSAGE_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nodes_words_stay_and_its_id_goes() {
        assert_eq!(plain("No. Mend it. (request id: trc_1)"), "No. Mend it.");
        assert_eq!(plain("No (really)"), "No (really)");
        assert_eq!(plain(&"a".repeat(9_000)).len(), RUNTIME_MESSAGE_CHARS_MAX);
    }

    #[test]
    fn a_refusal_keeps_its_code_where_programs_know_it() {
        let refusal = |status: u16, body: &str| {
            let response = RuntimeReply { status, body: body.to_owned().into() };
            let fault = refused((NodeId::new(1, [1; 10]), "attic"), &response);
            (fault.class, fault.code, fault.message.to_string())
        };
        let known = r#"{"error":{"code":"job_not_found","message":"No such job."}}"#;
        let words = "The node attic says: No such job.".to_owned();
        assert_eq!(refusal(404, known), (FaultClass::NotFound, "job_not_found", words));
        let unknown = r#"{"error":{"code":"of_a_later_version","message":"Not so."}}"#;
        let words = "The node attic says: Not so.".to_owned();
        assert_eq!(refusal(422, unknown), (FaultClass::BadRequest, "node_refused", words));
        for (status, class) in [
            (409, FaultClass::Conflict),
            (413, FaultClass::TooLarge),
            (429, FaultClass::Overloaded),
            (501, FaultClass::Unsupported),
            (500, FaultClass::Upstream),
        ] {
            let words = format!("The node attic says: status {status}");
            assert_eq!(refusal(status, "<html>"), (class, "node_refused", words));
        }
        assert_eq!(refusal(401, known).1, "upstream_auth_failed");
    }

    #[test]
    fn what_is_no_name_is_no_part_of_a_path() {
        for fine in ["law", "law-2", "a.b_c", "ftjob-1"] {
            assert_eq!(path_part("adapter", fine).unwrap(), fine);
        }
        assert_eq!(path_part("adapter", "law%2D2").unwrap(), "law-2");
        for wrong in ["", "..", ".hidden", "a/b", "a?b", "a b", "ü", "%2e", "..%2fmodels", &"a".repeat(129)]
        {
            assert_eq!(path_part("adapter", wrong).unwrap_err().class, FaultClass::NotFound, "{wrong}");
        }
    }
}
