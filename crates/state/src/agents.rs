//! `/v2/agents`: agents that a project defines, each in versions.

use std::sync::Arc;

use ::agents::{AgentRow, Definition, Stored, VersionRow, is_name, seal, unsealed};
use api::access::Access;
use api::failure::{content_unreadable, invalid, missing, not_there};
use api::moment::Moment;
use api::openapi::bounds::WORD;
use api::reply::{Page, Reply};
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::{AgentId, Fault, ObjectOwner};
use egress::TargetKind;
use http::Method;
use reconcilers::of_store;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::scope;

const PATH: &str = "/v2/agents";
const ONE: &str = "/v2/agents/{id}";
const WHAT: &str = "agent";

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::POST, PATH, Access::MANAGE, create)
            .says("Defines an agent: a model with instructions, and what it may call.")
            .takes::<AgentInput>()
            .makes::<AgentView>()
            .refuses(409, "name_taken")
            .refuses(409, "too_many_agents"),
        Route::new(Method::GET, PATH, Access::LOOK, list)
            .says("Lists agents, each with its newest definition.")
            .query("project_id", "Only those of this project.")
            .lists::<AgentView>(),
        Route::new(Method::GET, ONE, Access::LOOK, get).says("Shows an agent.").returns::<AgentView>(),
        Route::new(Method::PATCH, ONE, Access::MANAGE, change)
            .says("Changes fields of an agent, which makes a new version of it. Chats go on with the newest.")
            .patches::<AgentUpdate>()
            .returns::<AgentView>()
            .refuses(409, "name_taken"),
        Route::new(Method::DELETE, ONE, Access::MANAGE, delete)
            .says("Deletes an agent with all its versions. Its chats stay.")
            .returns_no_content(),
        Route::new(Method::GET, "/v2/agents/{id}/versions", Access::LOOK, versions)
            .says("Lists the versions of an agent, newest first.")
            .returns_value::<Page<AgentVersionView>>(),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AgentInput {
    /// By default the key's project.
    project_id: Option<String>,
    /// The name that messages use: letters, digits, "_" and "-".
    #[schemars(required)]
    #[schemars(length(max = 64), regex(pattern = WORD))]
    name: Option<String>,
    /// What it is.
    #[schemars(required)]
    definition: Option<Definition>,
}

/// The fields that a change may name.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AgentUpdate {
    name: Option<String>,
    definition: Option<Definition>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Agent")]
struct AgentView {
    id: String,
    object: &'static str,
    project_id: String,
    name: String,
    /// The number of its newest definition. `NAME@VERSION` names another one.
    version: u64,
    definition: Definition,
    created_at: Moment,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AgentVersion")]
struct AgentVersionView {
    version: u64,
    object: &'static str,
    definition: Definition,
    created_at: Moment,
}

/// The same of an agent that a whole definition describes.
fn show(row: &AgentRow, definition: Definition) -> AgentView {
    AgentView {
        id: row.id.to_string(),
        object: "agent",
        project_id: row.owner.project.to_string(),
        name: row.name.clone(),
        version: row.version,
        definition,
        created_at: Moment(row.created_unix_ms),
    }
}

fn checked_name(name: Option<&str>) -> Result<String, Box<Fault>> {
    let fix = "Send 1 to 64 letters, digits, \"_\" and \"-\".";
    let name = name.ok_or_else(|| missing("name", fix))?;
    if is_name(name) { Ok(name.to_owned()) } else { Err(invalid("name", "The name can't be used.", fix)) }
}

/// Refuses a definition that is wrong, with a JSON pointer to the place.
fn checked(control: &Control, definition: Option<Definition>) -> Result<Definition, Box<Fault>> {
    let definition =
        definition.ok_or_else(|| missing("definition", "Send {\"model\": …, \"instructions\": …}."))?;
    if let Some(wrong) = definition.check().into_iter().next() {
        let message = format!("The definition is wrong at {}: {}.", wrong.pointer, wrong.message);
        return Err(invalid(format!("/definition{}", wrong.pointer), message, "Correct it at this place."));
    }
    for (at, hook) in definition.hooks.iter().enumerate() {
        egress::check_base_url(&hook.url, &control.web.egress, TargetKind::Provider)
            .map_err(|fault| Box::new(fault.param(format!("/definition/hooks/{at}/url"))))?;
    }
    Ok(definition)
}

fn sealed(
    control: &Control,
    request: &ApiRequest,
    row: &AgentRow,
    (number, unix_ms): (u64, u64),
    definition: &Definition,
) -> Result<VersionRow, Box<Fault>> {
    let sealed = seal(&control.deps.vault, row.owner, (row.id, number), request.trace, definition);
    let sealed = sealed.map_err(|error| {
        tracing::error!(workspace = %row.owner.workspace, %error, "an agent could not be sealed");
        Box::new(Fault::internal())
    })?;
    Ok(VersionRow { number, sealed, created_unix_ms: unix_ms })
}

async fn create(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let input: AgentInput = request.json()?;
    let project = scope::of_new(control, &request, input.project_id.as_deref())?;
    let name = checked_name(input.name.as_deref())?;
    let definition = checked(control, input.definition)?;
    let world = &control.deps.world;
    let now = world.clock.unix_ms();
    let row = AgentRow {
        id: AgentId::new(now, world.id_bytes()),
        owner: ObjectOwner { workspace: request.workspace(), project },
        name,
        created_unix_ms: now,
        version: 1,
    };
    let first = sealed(control, &request, &row, (1, now), &definition)?;
    let act = request.act(world);
    Stored::of(&control.deps.store).create(row.clone(), first, act).await.map_err(of_store)?;
    let location = format!("{PATH}/{}", row.id);
    Ok(Reply::json(&show(&row, definition))?.version(row.version).as_created(location))
}

async fn load(control: &Control, request: &ApiRequest) -> Result<AgentRow, Box<Fault>> {
    let id: AgentId = scope::in_path(request, 0, WHAT)?;
    let found = Stored::of(&control.deps.store).get(request.workspace(), id).await;
    let row = found.map_err(|error| not_there(error, WHAT, &id))?;
    scope::check(request, row.owner.project, WHAT, &id)?;
    Ok(row)
}

/// An agent's newest definition.
async fn opened(control: &Control, row: &AgentRow) -> Result<Definition, Box<Fault>> {
    let stored = Stored::of(&control.deps.store);
    let version = stored.version(row.owner.workspace, row.id, row.version).await.map_err(of_store)?;
    unsealed(&control.deps.vault, row.owner, &version).ok_or_else(content_unreadable)
}

async fn list(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let project = scope::listed(&request)?;
    let stored = Stored::of(&control.deps.store);
    let listed = stored.list(request.workspace(), project, request.page()?).await.map_err(of_store)?;
    let mut definitions = Vec::with_capacity(listed.rows.len());
    for row in &listed.rows {
        definitions.push((row.id, opened(control, row).await?));
    }
    let of = |row: &AgentRow| {
        let found = definitions.iter().find(|(id, _)| *id == row.id);
        show(row, found.map(|(_, definition)| definition.clone()).unwrap_or_default())
    };
    Reply::json(&request.page_of(listed, of))
}

async fn get(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let row = load(control, &request).await?;
    let definition = opened(control, &row).await?;
    Ok(Reply::json(&show(&row, definition))?.version(row.version))
}

async fn change(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let row = load(control, &request).await?;
    let present: Value = json!({"name": row.name, "definition": opened(control, &row).await?});
    let update: AgentUpdate = request.apply_patch(present)?;
    let name = checked_name(update.name.as_deref())?;
    let definition = checked(control, update.definition)?;
    let world = &control.deps.world;
    let next = (row.version + 1, world.clock.unix_ms());
    let next = sealed(control, &request, &row, next, &definition)?;
    let (expected, act) = (request.if_match()?, request.act(world));
    let stored = Stored::of(&control.deps.store);
    let changed = stored.replace(AgentRow { name, ..row }, next, expected, act).await.map_err(of_store)?;
    Ok(Reply::json(&show(&changed, definition))?.version(changed.version))
}

async fn delete(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let row = load(control, &request).await?;
    let (expected, act) = (request.if_match()?, request.act(&control.deps.world));
    let stored = Stored::of(&control.deps.store);
    stored.delete(request.workspace(), row.id, expected, act).await.map_err(of_store)?;
    Ok(Reply::no_content())
}

async fn versions(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let row = load(control, &request).await?;
    let stored = Stored::of(&control.deps.store);
    let versions = stored.versions(row.owner.workspace, row.id).await.map_err(of_store)?;
    let mut views = Vec::with_capacity(versions.len());
    for version in versions.iter().rev() {
        let opened = unsealed(&control.deps.vault, row.owner, version);
        views.push(AgentVersionView {
            version: version.number,
            object: "agent_version",
            definition: opened.ok_or_else(content_unreadable)?,
            created_at: Moment(version.created_unix_ms),
        });
    }
    Reply::json(&Page::whole(views))
}
