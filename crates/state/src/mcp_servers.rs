//! `/v2/mcp-servers`: MCP servers whose tools a project offers its models, with what they list and what of that is accepted.

use std::sync::Arc;

use ::tools::{Declared, GrantRow, Grants, McpServerRow, STDIO_SCHEME, ServerKind, accept, note_listing};
use api::access::Access;
use api::failure::{invalid, missing};
use api::moment::Moment;
use api::openapi::description::Nothing;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::tools::{Approval, McpDefinition, McpState, PinState, PinnedTool};
use domain::{Fault, FaultClass, McpServerId, ObjectOwner};
use http::Method;
use reconcilers::of_store;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::limits::{NAMED_TOOLS_MAX, SERVER_NAME_BYTES_MAX};
use crate::mcp_authorization_view::AuthorizationView;
use crate::tool_fields::{
    AuthInput, AuthView, SealedAuth, Sealing, auth_view, check_moved, checked_description, checked_name,
    checked_server_url,
};
use crate::{declared, scope};

const PATH: &str = "/v2/mcp-servers";
const ONE: &str = "/v2/mcp-servers/{id}";

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::POST, PATH, Access::MANAGE, create)
            .says("Declares an MCP server. Its tools are read when they are first needed, or with refresh.")
            .takes::<ServerInput>()
            .makes::<ServerView>()
            .refuses(409, "name_taken")
            .refuses(409, "too_many_tools"),
        Route::new(Method::GET, PATH, Access::LOOK, list)
            .says("Lists MCP servers.")
            .query("project_id", "Only those of this project.")
            .lists::<ServerView>(),
        Route::new(Method::GET, ONE, Access::LOOK, get)
            .says("Shows an MCP server with its pinned tools.")
            .returns::<ServerView>(),
        Route::new(Method::PATCH, ONE, Access::MANAGE, change)
            .says("Changes fields of an MCP server. Sealed values stay, unless `auth` is sent.")
            .patches::<ServerUpdate>()
            .returns::<ServerView>(),
        Route::new(Method::DELETE, ONE, Access::MANAGE, delete)
            .says("Deletes an MCP server.")
            .returns_no_content(),
        Route::new(Method::POST, "/v2/mcp-servers/{id}/refresh", Access::MANAGE, refresh)
            .says("Reads the server's tools now. Changes are held back until they are accepted.")
            .takes_nothing()
            .returns::<ServerView>()
            .no_rehearsal("Only reading the server shows what changed."),
        Route::new(Method::POST, "/v2/mcp-servers/{id}/accept", Access::MANAGE, accept_tools)
            .says("Accepts tools as the server lists them now, each named with its digest.")
            .takes::<AcceptInput>()
            .returns::<ServerView>()
            .refuses(409, "tool_digest_changed"),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ServerInput {
    /// By default the key's project.
    project_id: Option<String>,
    /// The name that requests use; the names of its tools begin with it.
    #[schemars(required)]
    name: Option<String>,
    #[serde(default)]
    description: String,
    /// Its endpoint of streamable HTTP, or `stdio:NAME` for a program that the operator declared.
    #[schemars(required)]
    url: Option<String>,
    auth: Option<AuthInput>,
    /// The tools that may be used; by default all that are accepted.
    allowed_tools: Option<Vec<String>>,
    /// Whether calls wait for the client's approval.
    #[schemars(extend("enum" = ["never", "always", null]))]
    require_approval: Option<String>,
    /// If calls wait: the tools whose calls don't.
    approval_exempt: Option<Vec<String>>,
    enabled: Option<bool>,
}

/// The fields that a change may name.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ServerUpdate {
    /// The name that requests use; the names of its tools begin with it.
    name: Option<String>,
    #[serde(default)]
    description: String,
    /// Its endpoint of streamable HTTP, or `stdio:NAME` for a program that the operator declared.
    url: Option<String>,
    auth: Option<AuthInput>,
    /// The tools that may be used; by default all that are accepted.
    allowed_tools: Option<Vec<String>>,
    /// Whether calls wait for the client's approval.
    #[schemars(extend("enum" = ["never", "always", null]))]
    require_approval: Option<String>,
    /// If calls wait: the tools whose calls don't.
    approval_exempt: Option<Vec<String>>,
    enabled: Option<bool>,
}

impl From<ServerInput> for ServerUpdate {
    fn from(input: ServerInput) -> Self {
        let ServerInput {
            project_id: _,
            name,
            description,
            url,
            auth,
            allowed_tools,
            require_approval,
            approval_exempt,
            enabled,
        } = input;
        Self { name, description, url, auth, allowed_tools, require_approval, approval_exempt, enabled }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AcceptInput {
    #[schemars(required)]
    tools: Option<Vec<AcceptedTool>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AcceptedTool {
    name: String,
    /// `listed_digest` of the tool, or its `digest`.
    digest: String,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "McpServer")]
pub(crate) struct ServerView {
    id: String,
    object: &'static str,
    project_id: String,
    name: String,
    description: String,
    url: String,
    /// The sealed headers.
    auth: Option<AuthView>,
    /// Where its tokens come from an authorization server.
    authorization: Option<AuthorizationView>,
    allowed_tools: Option<Vec<String>>,
    require_approval: &'static str,
    approval_exempt: Vec<String>,
    enabled: bool,
    /// `unknown` until it was read, `ready`, `unreachable`, or `authorization_needed` until a person signs in for it.
    #[schemars(extend("enum" = ["unknown", "ready", "unreachable", "authorization_needed"]))]
    health: &'static str,
    /// Why its tools could not be read.
    error: Option<String>,
    checked_at: Option<Moment>,
    /// What it calls itself.
    server: Option<String>,
    protocol_version: Option<String>,
    tools: Vec<PinView>,
    created_at: Moment,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "McpTool")]
struct PinView {
    name: String,
    /// `accepted`: models are offered it. `new`, `changed` or `suspicious`: it waits to be accepted. `gone`: the server lists
    /// it no more.
    #[schemars(extend("enum" = PinState::WORDS))]
    status: &'static str,
    /// Models are offered it.
    offered: bool,
    description: String,
    parameters: Value,
    digest: String,
    /// As the server lists it now, where that differs.
    listed_description: Option<String>,
    listed_parameters: Option<Value>,
    listed_digest: Option<String>,
    /// What makes it look like an instruction to the model.
    suspicious: Option<String>,
}

fn schema(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

fn pin(pin: &PinnedTool, definition: &McpDefinition) -> PinView {
    let listed = pin.listed.as_ref();
    let suspicious =
        listed.and_then(|listed| listed.suspicion.clone()).or_else(|| pin.tool.suspicion.clone());
    PinView {
        name: pin.tool.name.clone(),
        status: pin.state.as_str(),
        offered: pin.state == PinState::Accepted && definition.allows(&pin.tool.name),
        description: pin.tool.description.clone(),
        parameters: schema(&pin.tool.parameters),
        digest: pin.tool.digest.clone(),
        listed_description: listed.map(|listed| listed.description.clone()),
        listed_parameters: listed.map(|listed| schema(&listed.parameters)),
        listed_digest: listed.map(|listed| listed.digest.clone()),
        suspicious,
    }
}

fn show(row: &McpServerRow, grant: Option<&GrantRow>, now_unix_ms: u64) -> ServerView {
    let (definition, state) = (&row.definition, &row.state);
    let authorization =
        definition.oauth.as_ref().map(|oauth| AuthorizationView::of((oauth, state), grant, now_unix_ms));
    let is_missing = authorization.as_ref().is_some_and(|view| !view.is_authorized());
    let (require_approval, approval_exempt) = match &definition.approval {
        Approval::Never => ("never", Vec::new()),
        Approval::Always => ("always", Vec::new()),
        Approval::Except(names) => ("always", names.clone()),
    };
    ServerView {
        id: row.id.to_string(),
        object: "mcp_server",
        project_id: row.owner.project.to_string(),
        name: row.name.clone(),
        description: definition.description.clone(),
        url: definition.url.clone(),
        auth: auth_view(&definition.secret_headers),
        authorization,
        allowed_tools: definition.allowed_tools.clone(),
        require_approval,
        approval_exempt,
        enabled: row.is_enabled,
        health: match (state.checked_unix_ms, &state.error) {
            _ if is_missing => "authorization_needed",
            (None, _) => "unknown",
            (Some(_), Some(_)) => "unreachable",
            (Some(_), None) => "ready",
        },
        error: state.error.clone(),
        checked_at: state.checked_unix_ms.map(Moment),
        server: state.server.clone(),
        protocol_version: state.protocol.clone(),
        tools: state.tools.iter().map(|tool| pin(tool, definition)).collect(),
        created_at: Moment(row.created_unix_ms),
    }
}

fn names(field: &str, names: Option<Vec<String>>) -> Result<Option<Vec<String>>, Box<Fault>> {
    match &names {
        Some(some) if some.len() > NAMED_TOOLS_MAX => {
            let message = format!("\"{field}\" has more than {NAMED_TOOLS_MAX} names.");
            Err(invalid(field, message, "Name fewer of them."))
        }
        _ => Ok(names),
    }
}

fn approval(word: Option<&str>, exempt: Option<Vec<String>>) -> Result<Approval, Box<Fault>> {
    let exempt = names("approval_exempt", exempt)?.unwrap_or_default();
    match word {
        None | Some("never") if exempt.is_empty() => Ok(Approval::Never),
        Some("always") if exempt.is_empty() => Ok(Approval::Always),
        Some("always") => Ok(Approval::Except(exempt)),
        None | Some("never") => {
            let message = "Calls don't need approval, so no tool can be exempt from it.";
            Err(invalid("approval_exempt", message, "Leave it out, or set \"require_approval\" to always."))
        }
        Some(_) => Err(invalid("require_approval", "This isn't a valid value.", "Send never or always.")),
    }
}

/// The row with other fields. At another address is another server, of which nothing is known.
fn with_fields(
    control: &Control,
    request: &ApiRequest,
    row: &McpServerRow,
    fields: ServerUpdate,
) -> Result<McpServerRow, Box<Fault>> {
    let url = checked_server_url(control, row, fields.url.as_deref(), fields.auth.as_ref())?;
    check_moved(row, (&row.definition.url, &url), fields.auth.as_ref())?;
    let state = if url == row.definition.url { row.state.clone() } else { McpState::default() };
    let sealing = Sealing { control, request, owner: row.owner, id: row.id.to_string() };
    let SealedAuth { secret, headers: secret_headers, oauth } = sealing.seal_server(fields.auth, row)?;
    let oauth = oauth.filter(|_| !url.starts_with(STDIO_SCHEME));
    let definition = McpDefinition {
        description: checked_description(fields.description)?,
        url,
        allowed_tools: names("allowed_tools", fields.allowed_tools)?,
        approval: approval(fields.require_approval.as_deref(), fields.approval_exempt)?,
        secret_headers,
        oauth,
    };
    let name = checked_name(fields.name.as_deref(), SERVER_NAME_BYTES_MAX)?;
    Ok(McpServerRow {
        name,
        definition,
        state,
        secret,
        is_enabled: fields.enabled.unwrap_or(true),
        ..row.clone()
    })
}

async fn create(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let input: ServerInput = request.json()?;
    let project = scope::of_new(control, &request, input.project_id.as_deref())?;
    let world = &control.deps.world;
    let now_unix_ms = world.clock.unix_ms();
    let blank = McpServerRow {
        id: McpServerId::new(now_unix_ms, world.id_bytes()),
        owner: ObjectOwner { workspace: request.workspace(), project },
        name: String::new(),
        is_enabled: true,
        definition: McpDefinition {
            description: String::new(),
            url: String::new(),
            allowed_tools: None,
            approval: Approval::Never,
            secret_headers: Vec::new(),
            oauth: None,
        },
        state: McpState::default(),
        secret: None,
        created_unix_ms: now_unix_ms,
        version: 1,
    };
    let row = with_fields(control, &request, &blank, input.into())?;
    let declared = Declared::of(&control.deps.store);
    declared.create(row.clone(), request.act(world)).await.map_err(of_store)?;
    let view = show(&row, None, now_unix_ms);
    Ok(Reply::json(&view)?.version(row.version).as_created(format!("{PATH}/{}", row.id)))
}

async fn list(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let project = scope::listed(&request)?;
    let declared = Declared::of(&control.deps.store);
    let listed = declared.list::<ServerKind>(request.workspace(), project, request.page()?).await;
    let listed = listed.map_err(of_store)?;
    let mut grants = Vec::new();
    if let (Some(first), Some(last)) = (listed.rows.first(), listed.rows.last()) {
        let of_page = Grants::of(&control.deps.store).between(request.workspace(), (first.id, last.id)).await;
        grants = of_page.map_err(of_store)?;
    }
    let now_unix_ms = control.deps.world.clock.unix_ms();
    let view = |row: &McpServerRow| {
        let grant = grants.iter().find(|grant| grant.server == row.id);
        show(row, grant, now_unix_ms)
    };
    Reply::json(&request.page_of(listed, view))
}

async fn get(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let row = declared::load::<ServerKind>(control, &request).await?;
    view_of(control, &row).await
}

/// A server with what it was granted.
pub(crate) async fn view_of(control: &Control, row: &McpServerRow) -> Result<Reply, Box<Fault>> {
    let grant = match row.definition.oauth {
        Some(_) => Grants::of(&control.deps.store).find(row.id).await.map_err(of_store)?,
        None => None,
    };
    let view = show(row, grant.as_ref(), control.deps.world.clock.unix_ms());
    Ok(Reply::json(&view)?.version(row.version))
}

/// The fields that a patch may change, as they are.
fn writable(row: &McpServerRow) -> Value {
    let view = show(row, None, 0);
    let mut fields = json!({
        "name": view.name, "description": view.description, "url": view.url,
        "require_approval": view.require_approval, "enabled": view.enabled,
    });
    if let Some(fields) = fields.as_object_mut() {
        if let Some(allowed) = view.allowed_tools {
            fields.insert("allowed_tools".to_owned(), json!(allowed));
        }
        if !view.approval_exempt.is_empty() {
            fields.insert("approval_exempt".to_owned(), json!(view.approval_exempt));
        }
    }
    fields
}

async fn change(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let row = declared::load::<ServerKind>(control, &request).await?;
    let update: ServerUpdate = request.apply_patch(writable(&row))?;
    let row = with_fields(control, &request, &row, update)?;
    write(control, &request, row).await
}

async fn write(control: &Control, request: &ApiRequest, row: McpServerRow) -> Result<Reply, Box<Fault>> {
    let (expected, act) = (request.if_match()?, request.act(&control.deps.world));
    let changed = Declared::of(&control.deps.store).replace(row, expected, act).await.map_err(of_store)?;
    view_of(control, &changed).await
}

async fn delete(control: &Arc<Control>, request: ApiRequest) -> Handled {
    declared::delete::<ServerKind>(control, &request).await
}

async fn refresh(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let row = declared::load::<ServerKind>(control, &request).await?;
    let Nothing {} = request.json()?;
    let row = read_tools(control, row).await?;
    view_of(control, &row).await
}

/// Reads a server's tools now.
pub(crate) async fn read_tools(control: &Control, row: McpServerRow) -> Result<McpServerRow, Box<Fault>> {
    let deps = &control.deps;
    let grant = Grants::of(&deps.store).find(row.id).await.map_err(of_store)?;
    let listing = match row.clone().declared(&deps.vault, grant.as_ref()) {
        Some(server) => deps.outbound.list_tools(row.owner, server).await,
        None => Err("Its sealed headers can no longer be opened: send them again.".to_owned()),
    };
    let noted = note_listing(&deps.store, &deps.world, (row.owner, row.id), listing).await;
    Ok(McpServerRow { state: noted.map_err(of_store)?.unwrap_or_default(), ..row })
}

async fn accept_tools(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let mut row = declared::load::<ServerKind>(control, &request).await?;
    let input: AcceptInput = request.json()?;
    let fix = "Name the tools, each with the digest that GET /v2/mcp-servers/ID shows.";
    let tools = input.tools.ok_or_else(|| missing("tools", fix))?;
    for (at, AcceptedTool { name, digest }) in tools.iter().enumerate() {
        if !accept(&mut row.state, name, digest) {
            let excerpt: String = name.chars().take(64).collect();
            let message = format!("The server lists no tool \"{excerpt}\" with this digest.");
            let fault = Fault::new(FaultClass::Conflict, "tool_digest_changed", message);
            return Err(Box::new(fault.param(format!("tools[{at}].digest")).fix(fix)));
        }
    }
    write(control, &request, row).await
}
