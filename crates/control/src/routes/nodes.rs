//! `/v2/byoc/nodes`: self-hosted runtimes, Tidegate's own or any OpenAI-compatible server.

use std::collections::BTreeMap;
use std::sync::Arc;

use catalogue::SecretForm;
use domain::{Fault, NodeId, ServerFacts, WorkspaceId};
use egress::TargetKind;
use http::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use snapshot::NodeState;
use store::NodeRow;

use super::secrets;
use super::workspaces::checked_name;
use crate::access::Access;
use crate::failure::{invalid, missing, of_store};
use crate::joined_nodes::{self, JoinedNodeView};
use crate::moment::Moment;
use crate::openapi::bounds::{NAME, NAME_CHARS_MAX};
use crate::request::ApiRequest;
use crate::router::{Handled, Route};
use crate::servers::{self, ProbeInput, ServerView};
use crate::{Control, Reply};

const PATH: &str = "/v2/byoc/nodes";
const ONE: &str = "/v2/byoc/nodes/{id}";

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::POST, PATH, Access::MANAGE, create)
            .says("Adds a node, and asks it at once what it serves.")
            .takes::<Input>()
            .makes::<NodeView>(),
        Route::new(Method::GET, PATH, Access::LOOK, list)
            .says("Lists the workspace's nodes.")
            .lists::<NodeView>(),
        Route::new(Method::GET, ONE, Access::LOOK, get).says("Shows a node.").returns::<NodeView>(),
        Route::new(Method::PATCH, ONE, Access::MANAGE, change)
            .says("Changes fields of a node; `draining` as its status sends it nothing new.")
            .patches::<Input>()
            .returns::<NodeView>()
            .refuses(409, "base_url_needs_secret"),
        Route::new(Method::PUT, ONE, Access::MANAGE, replace)
            .says("Replaces a node.")
            .takes::<Input>()
            .returns::<NodeView>()
            .refuses(409, "base_url_needs_secret"),
        Route::new(Method::DELETE, ONE, Access::MANAGE, delete).says("Removes a node.").returns_no_content(),
        Route::new(Method::POST, "/v2/byoc/nodes/{id}/probe", Access::MANAGE, probe)
            .says("Asks a node what it takes of the common grammar, and keeps what it said.")
            .takes::<ProbeInput>()
            .returns::<NodeView>(),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Node")]
struct Input {
    #[schemars(required)]
    #[schemars(length(min = 1, max = NAME_CHARS_MAX), regex(pattern = NAME))]
    name: Option<String>,
    #[schemars(required)]
    #[schemars(url)]
    base_url: Option<String>,
    #[schemars(with = "Option<String>", extend("writeOnly" = true))]
    secret: Option<Value>,
    models: Option<Vec<String>>,
    #[serde(default)]
    labels: Vec<String>,
    #[serde(default)]
    metadata: Value,
    /// What it takes, stated by hand: believed above what a probe finds.
    #[serde(default)]
    stated_facts: BTreeMap<String, Value>,
    #[schemars(extend("enum" = ["ready", "draining", null]))]
    status: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Node")]
pub struct NodeView {
    id: String,
    object: &'static str,
    workspace_id: String,
    name: String,
    base_url: String,
    /// `revoked` is one that joined and may report no more.
    #[schemars(extend("enum" = ["ready", "draining", "unreachable", "revoked"]))]
    status: &'static str,
    models: Vec<String>,
    /// Whether the models were named by hand; otherwise the node is asked for them.
    models_declared: bool,
    labels: Vec<String>,
    has_secret: bool,
    metadata: Value,
    last_seen_at: Option<Moment>,
    last_error: Option<String>,
    /// Where it joined by itself: what it says of itself.
    joined: Option<JoinedNodeView>,
    stated_facts: BTreeMap<String, Value>,
    /// What is known of its server.
    server: ServerView,
    created_at: Moment,
}

pub fn show(row: &NodeRow) -> NodeView {
    let is_revoked = row.joined.as_ref().is_some_and(|joined| joined.revoked_unix_ms.is_some());
    NodeView {
        id: row.id.to_string(),
        object: "node",
        workspace_id: row.workspace.to_string(),
        name: row.name.clone(),
        base_url: row.base_url.clone(),
        status: match row.state() {
            _ if is_revoked => "revoked",
            NodeState::Ready => "ready",
            NodeState::Draining => "draining",
            NodeState::Unreachable => "unreachable",
        },
        models: row.models().to_vec(),
        models_declared: row.declared_models.is_some(),
        labels: row.labels.clone(),
        has_secret: row.secret.is_some(),
        metadata: row.metadata.clone(),
        last_seen_at: row.last_seen_unix_ms.map(Moment),
        last_error: row.last_error.clone(),
        joined: row.joined.as_ref().map(joined_nodes::show),
        stated_facts: servers::stated(&row.server),
        server: servers::show(&row.server),
        created_at: Moment(row.created_unix_ms),
    }
}

fn writable(row: &NodeRow) -> Value {
    json!({
        "name": row.name,
        "base_url": row.base_url,
        "models": row.declared_models,
        "labels": row.labels,
        "metadata": row.metadata,
        "stated_facts": servers::stated(&row.server),
        "status": if row.draining { "draining" } else { "ready" },
    })
}

fn row_of(control: &Control, input: &Input, base: NodeRow) -> Result<NodeRow, Box<Fault>> {
    let draining = match input.status.as_deref() {
        None => base.draining,
        Some("ready" | "unreachable" | "revoked") => false,
        Some("draining") => true,
        Some(other) => {
            return Err(invalid(
                "status",
                format!("\"{other}\" is no status to set."),
                "Use ready or draining.",
            ));
        }
    };
    let base_url = secrets::base_url(control, input.base_url.clone(), TargetKind::Node)?
        .ok_or_else(|| missing("base_url", "Give the node's address, such as http://10.0.0.5:8080/v1."))?;
    let now = control.world.clock.unix_ms();
    let stated = servers::read_stated(&input.stated_facts, &base.server.stated, now)?;
    Ok(NodeRow {
        server: ServerFacts { stated, ..base.server },
        name: checked_name(input.name.clone(), "name")?,
        base_url,
        declared_models: input.models.clone().filter(|models| !models.is_empty()),
        labels: input.labels.clone(),
        metadata: input.metadata.clone(),
        draining,
        ..base
    })
}

/// A new node of which nothing is known yet.
pub(super) fn blank(workspace: WorkspaceId, id: NodeId, now_unix_ms: u64) -> NodeRow {
    NodeRow {
        id,
        workspace,
        name: String::new(),
        base_url: String::new(),
        secret: None,
        secret_version_last: 0,
        declared_models: None,
        learned_models: Vec::new(),
        labels: Vec::new(),
        draining: false,
        reachable: true,
        metadata: Value::Null,
        last_seen_unix_ms: None,
        last_error: None,
        server: ServerFacts::default(),
        created_unix_ms: now_unix_ms,
        joined: None,
        version: 0,
    }
}

fn create(control: &Arc<Control>, request: ApiRequest) -> Handled<'_> {
    Box::pin(async move {
        let mut input: Input = request.json()?;
        let now = control.world.clock.unix_ms();
        let id = NodeId::new(now, control.world.id_bytes());
        let secret = match input.secret.take() {
            None => None,
            given => Some(secrets::seal(
                control,
                request.workspace(),
                &id.to_string(),
                1,
                &secrets::read(given, SecretForm::Text)?,
            )?),
        };
        let blank = NodeRow { secret, ..blank(request.workspace(), id, now) };
        let row = row_of(control, &input, blank)?;
        let act = request.act(&control.world);
        let written = control.store.nodes().create(row, act).await.map_err(of_store)?;
        control.await_published(written.version).await?;
        // Polled at once, so that its models can be called as soon as the client has this response.
        let row = if request.is_rehearsal { written.row } else { control.learn_node(written.row).await? };
        Ok(Reply::json(&show(&row))?.version(row.version).created(format!("{PATH}/{id}")))
    })
}

fn list(control: &Arc<Control>, request: ApiRequest) -> Handled<'_> {
    Box::pin(async move {
        let listed =
            control.store.nodes().list(request.workspace(), request.page()?).await.map_err(of_store)?;
        Reply::json(&request.paged(listed, show))
    })
}

async fn load(control: &Control, request: &ApiRequest) -> Result<NodeRow, Box<Fault>> {
    control.store.nodes().get(request.workspace(), request.id("node")?).await.map_err(of_store)
}

fn get(control: &Arc<Control>, request: ApiRequest) -> Handled<'_> {
    Box::pin(async move {
        let row = load(control, &request).await?;
        Ok(Reply::json(&show(&row))?.version(row.version))
    })
}

fn change(control: &Arc<Control>, request: ApiRequest) -> Handled<'_> {
    Box::pin(async move {
        let row = load(control, &request).await?;
        let changed = request.patched(writable(&row))?;
        write(control, &request, changed, row).await
    })
}

fn replace(control: &Arc<Control>, request: ApiRequest) -> Handled<'_> {
    Box::pin(async move {
        let row = load(control, &request).await?;
        write(control, &request, request.json()?, row).await
    })
}

async fn write(
    control: &Arc<Control>,
    request: &ApiRequest,
    mut input: Input,
    row: NodeRow,
) -> Result<Reply, Box<Fault>> {
    let secret = match input.secret.take() {
        None => None,
        given => {
            let version = row.secret_version_last.saturating_add(1);
            Some(Some(secrets::seal(
                control,
                row.workspace,
                &row.id.to_string(),
                version,
                &secrets::read(given, SecretForm::Text)?,
            )?))
        }
    };
    let (address, has_secret) = (row.base_url.clone(), row.secret.is_some());
    let changed = row_of(control, &input, row)?;
    let moves = changed.base_url != address;
    if moves && has_secret && secret.is_none() {
        return Err(secrets::address_needs_secret());
    }
    let act = request.act(&control.world);
    let written =
        control.store.nodes().replace((changed, secret), request.if_match()?, act).await.map_err(of_store)?;
    control.await_published(written.version).await?;
    let row =
        if moves && !request.is_rehearsal { control.learn_node(written.row).await? } else { written.row };
    Ok(Reply::json(&show(&row))?.version(row.version))
}

fn probe(control: &Arc<Control>, request: ApiRequest) -> Handled<'_> {
    Box::pin(async move {
        let ProbeInput { model } = request.json()?;
        let row = load(control, &request).await?;
        let row = if request.is_rehearsal {
            row
        } else {
            control.probe_node(request.act(&control.world), row, model).await?
        };
        Ok(Reply::json(&show(&row))?.version(row.version))
    })
}

fn delete(control: &Arc<Control>, request: ApiRequest) -> Handled<'_> {
    Box::pin(async move {
        let act = request.act(&control.world);
        let id = request.id("node")?;
        let written = control
            .store
            .nodes()
            .delete(request.workspace(), id, request.if_match()?, act)
            .await
            .map_err(of_store)?;
        control.await_published(written.version).await?;
        Ok(Reply::no_content())
    })
}
