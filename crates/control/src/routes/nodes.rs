//! `/v2/byoc/nodes`: self-hosted runtimes, Tidegate's own or any OpenAI-compatible server.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::access::Access;
use api::failure::{invalid, missing};
use api::limits::NAME_CHARS_MAX;
use api::moment::Moment;
use api::names::checked_name;
use api::openapi::bounds::NAME;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use catalogue::SecretForm;
use domain::{Fault, NodeId, Principal, ServerFacts, WorkspaceId};
use egress::TargetKind;
use hardware::{HardwareCost, WrongCost};
use http::Method;
use reconcilers::of_store;
use replayruns::{Checked, check_node, gated};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{NodeRow, SealedSecret};

use super::secrets;
use crate::joined_nodes::{self, JoinedNodeView, TunnelView};
use crate::resource::{
    Resource, WritableResource, delete, get, list, load, patch, post, put, reply, reply_written,
};
use crate::servers::{self, ProbeInput, ServerView};

pub fn routes() -> Vec<Route> {
    vec![
        gated(post::<NodeRow>("Adds a node, and queries its models immediately.").makes::<NodeView>()),
        list::<NodeRow>("Lists the workspace's nodes."),
        get::<NodeRow>("Shows a node."),
        gated(patch::<NodeRow>(
            "Changes fields of a node. A node with status `cordoned` or `draining` gets no new requests.",
        ))
        .refuses(409, "base_url_needs_secret"),
        gated(put::<NodeRow>("Replaces a node.")).refuses(409, "base_url_needs_secret"),
        delete::<NodeRow>("Removes a node."),
        Route::new(Method::POST, "/v2/byoc/nodes/{id}/probe", Access::MANAGE, probe)
            .says("Probes which parts of the common API a node supports, and stores the result.")
            .takes::<ProbeInput>()
            .returns::<NodeView>(),
        Route::new(Method::POST, "/v2/byoc/nodes/{id}/cordon", Access::MANAGE, cordon)
            .says("Keeps new requests from a node; running ones finish.")
            .takes_nothing()
            .returns::<NodeView>(),
        Route::new(Method::POST, "/v2/byoc/nodes/{id}/uncordon", Access::MANAGE, uncordon)
            .says("Sends requests to a cordoned or drained node again.")
            .takes_nothing()
            .returns::<NodeView>(),
        Route::new(Method::POST, "/v2/byoc/nodes/{id}/drain", Access::MANAGE, drain)
            .says("Cordons a node to be emptied: `drained` is true once nothing is in flight at it.")
            .takes_nothing()
            .returns::<NodeView>(),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Node")]
pub struct Input {
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
    /// What its machine costs its owner. It is charged to nobody; reports on what own hardware costs use it.
    cost: Option<HardwareCost>,
    #[serde(default)]
    metadata: Value,
    /// Features of the server, stated by hand. They override what a probe finds.
    #[serde(default)]
    stated_facts: BTreeMap<String, Value>,
    #[schemars(extend("enum" = ["ready", "cordoned", "draining", null]))]
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
    /// `revoked` is a joined node whose credential was revoked.
    #[schemars(extend("enum" = ["ready", "cordoned", "draining", "unreachable", "revoked"]))]
    status: &'static str,
    /// Requests of this gateway, and of a joined node all that it reported last.
    in_flight: u64,
    /// Whether it is draining with nothing in flight, so that it can be stopped.
    drained: bool,
    models: Vec<String>,
    /// Whether the models were given by hand; otherwise the node reports them.
    models_declared: bool,
    labels: Vec<String>,
    /// What its machine costs its owner, if that is stated.
    cost: Option<HardwareCost>,
    has_secret: bool,
    metadata: Value,
    last_seen_at: Option<Moment>,
    last_error: Option<String>,
    /// For a joined node: what it reports.
    joined: Option<JoinedNodeView>,
    /// The tunnel that it opened to this gateway; null if there is none.
    tunnel: Option<TunnelView>,
    stated_facts: BTreeMap<String, Value>,
    /// The known features of its server.
    server: ServerView,
    created_at: Moment,
}

/// What runs at a node: what this gateway has there, or all that a living node reported last, if that is more.
fn in_flight(control: &Control, row: &NodeRow) -> u64 {
    let now_us = control.deps.world.clock.monotonic_us();
    let ours = u64::from(control.deps.board.in_flight(Principal::Node(row.id), now_us));
    let alive = row.joined.as_ref().filter(|joined| joined.is_alive(control.deps.world.clock.unix_ms()));
    let reported = alive.and_then(joined_nodes::report).map_or(0, |report| report.load.running);
    ours.max(reported)
}

fn show(control: &Control, row: &NodeRow) -> NodeView {
    let is_revoked = row.joined.as_ref().is_some_and(|joined| joined.revoked_unix_ms.is_some());
    let in_flight = in_flight(control, row);
    NodeView {
        id: row.id.to_string(),
        object: "node",
        workspace_id: row.workspace.to_string(),
        name: row.name.clone(),
        base_url: row.base_url.clone(),
        status: if is_revoked { "revoked" } else { row.state().as_str() },
        in_flight,
        drained: row.draining && in_flight == 0,
        models: row.models().to_vec(),
        models_declared: row.declared_models.is_some(),
        labels: row.labels.clone(),
        cost: row.cost,
        has_secret: row.secret.is_some(),
        metadata: row.metadata.clone(),
        last_seen_at: row.last_seen_unix_ms.map(Moment),
        last_error: row.last_error.clone(),
        joined: row.joined.as_ref().map(joined_nodes::show),
        tunnel: control.web.egress.tunnels.facts(row.id).map(TunnelView::from),
        stated_facts: servers::stated(&row.server),
        server: servers::show(&row.server),
        created_at: Moment(row.created_unix_ms),
    }
}

fn row_of(control: &Control, input: &Input, base: NodeRow) -> Result<NodeRow, Box<Fault>> {
    let (cordoned, draining) = match input.status.as_deref() {
        None => (base.cordoned, base.draining),
        Some("ready" | "unreachable" | "revoked") => (false, false),
        Some("cordoned") => (true, false),
        Some("draining") => (true, true),
        Some(other) => {
            return Err(invalid(
                "status",
                format!("\"{other}\" isn't a status to set."),
                "Use ready, cordoned or draining.",
            ));
        }
    };
    let base_url = secrets::base_url(control, input.base_url.clone(), TargetKind::Node)?
        .ok_or_else(|| missing("base_url", "Give the node's address, such as http://10.0.0.5:8080/v1."))?;
    let now = control.deps.world.clock.unix_ms();
    let stated = servers::read_stated(&input.stated_facts, &base.server.stated, now)?;
    Ok(NodeRow {
        server: ServerFacts { stated, ..base.server },
        name: checked_name(input.name.clone(), "name")?,
        base_url,
        declared_models: input.models.clone().filter(|models| !models.is_empty()),
        labels: input.labels.clone(),
        cost: input.cost.map(checked_cost).transpose()?,
        metadata: input.metadata.clone(),
        cordoned,
        draining,
        ..base
    })
}

fn checked_cost(cost: HardwareCost) -> Result<HardwareCost, Box<Fault>> {
    cost.checked().map_err(|WrongCost { field, takes }| {
        invalid(format!("cost.{field}"), "This number is out of range.", format!("It takes {takes}."))
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
        cost: None,
        cordoned: false,
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

/// The secret that a write brings, sealed.
pub(super) fn seal(
    control: &Control,
    workspace: WorkspaceId,
    id: NodeId,
    version: u32,
    given: Option<Value>,
) -> Result<Option<SealedSecret>, Box<Fault>> {
    if given.is_none() {
        return Ok(None);
    }
    let secret = secrets::read(given, SecretForm::Text)?;
    secrets::seal(control, workspace, &id.to_string(), version, &secret).map(Some)
}

impl Resource for NodeRow {
    const PATH: &'static str = "/v2/byoc/nodes";
    const ONE: &'static str = "/v2/byoc/nodes/{id}";
    const WHAT: &'static str = "node";
    type View = NodeView;

    fn table(control: &Control) -> &dyn store::Resource<Self> {
        control.deps.store.nodes()
    }

    async fn view(&self, control: &Control) -> Result<NodeView, Box<Fault>> {
        Ok(show(control, self))
    }
}

impl WritableResource for NodeRow {
    type Input = Input;
    type Update = Input;
    /// Whether it is polled at once.
    type Rest = bool;

    fn writable(&self, _: &Control) -> Result<Value, Box<Fault>> {
        Ok(json!({
            "name": self.name,
            "base_url": self.base_url,
            "models": self.declared_models,
            "labels": self.labels,
            "cost": self.cost,
            "metadata": self.metadata,
            "stated_facts": servers::stated(&self.server),
            "status": match (self.draining, self.cordoned) {
                (true, _) => "draining",
                (false, true) => "cordoned",
                (false, false) => "ready",
            },
        }))
    }

    async fn new(
        control: &Control,
        request: &ApiRequest,
        mut input: Input,
    ) -> Result<(Self, bool), Box<Fault>> {
        let now = control.deps.world.clock.unix_ms();
        let id = NodeId::new(now, control.deps.world.id_bytes());
        let secret = seal(control, request.workspace(), id, 1, input.secret.take())?;
        let row = row_of(control, &input, Self { secret, ..blank(request.workspace(), id, now) })?;
        Ok((row, true))
    }

    async fn change(
        self,
        control: &Control,
        _: &ApiRequest,
        mut input: Input,
    ) -> Result<(Self::Change, bool), Box<Fault>> {
        let version = self.secret_version_last.saturating_add(1);
        let secret = seal(control, self.workspace, self.id, version, input.secret.take())?;
        let (address, has_secret) = (self.base_url.clone(), self.secret.is_some());
        let changed = row_of(control, &input, self)?;
        let moves = changed.base_url != address;
        if moves && has_secret && secret.is_none() {
            return Err(secrets::address_needs_secret());
        }
        Ok(((changed, secret.map(Some)), moves))
    }

    async fn check_creation(control: &Control, request: &ApiRequest, new: &Self) -> Checked {
        check_node(control, request, new).await
    }

    async fn check_change(control: &Control, request: &ApiRequest, (row, _): &Self::Change) -> Checked {
        check_node(control, request, row).await
    }

    /// It is polled before the reply, so that its models can be called as soon as the client has this.
    async fn finish(
        self,
        control: &Arc<Control>,
        request: &ApiRequest,
        polls: bool,
    ) -> Result<Reply, Box<Fault>> {
        let row = if polls && !request.is_rehearsal { control.deps.learn_node(self).await? } else { self };
        if polls && row.reachable && !request.is_rehearsal {
            control.nodes.read_load_of(row.workspace, row.id);
        }
        reply(control, row).await
    }
}

async fn probe(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let ProbeInput { model } = request.json()?;
    let row: NodeRow = load(control, &request).await?;
    let row = if request.is_rehearsal {
        row
    } else {
        control.deps.probe_node(request.act(&control.deps.world), row, model).await?
    };
    reply(control, row).await
}

async fn cordon(control: &Arc<Control>, request: ApiRequest) -> Handled {
    turn(control, request, (true, false)).await
}

async fn uncordon(control: &Arc<Control>, request: ApiRequest) -> Handled {
    turn(control, request, (false, false)).await
}

async fn drain(control: &Arc<Control>, request: ApiRequest) -> Handled {
    turn(control, request, (true, true)).await
}

/// Sets whether a node is cordoned, and whether it is draining.
async fn turn(control: &Arc<Control>, request: ApiRequest, (cordoned, draining): (bool, bool)) -> Handled {
    let row: NodeRow = load(control, &request).await?;
    if (row.cordoned, row.draining) == (cordoned, draining) {
        return reply(control, row).await;
    }
    let changed = (NodeRow { cordoned, draining, ..row }, None);
    let act = request.act(&control.deps.world);
    let written = NodeRow::table(control).replace(changed, request.if_match()?, act).await;
    reply_written(control, written.map_err(of_store)?).await
}
