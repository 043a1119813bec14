//! `/v2/projects`: parts of a workspace, each with an environment and keys of its own.

use std::sync::Arc;

use domain::{Fault, ProjectId, Subject};
use http::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{LimitsOf, ProjectRow};

use super::caching::CachingForm;
use super::limits::{self, LimitsForm};
use super::workspaces::checked_name;
use crate::access::Access;
use crate::failure::{invalid, of_store};
use crate::moment::Moment;
use crate::openapi::bounds::{ENVIRONMENT, ENVIRONMENT_BYTES_MAX, NAME, NAME_CHARS_MAX};
use crate::request::ApiRequest;
use crate::router::{Handled, Route};
use crate::{Control, Reply};

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::POST, "/v2/projects", Access::MANAGE, create)
            .says("Makes a project.")
            .takes::<Input>()
            .makes::<ProjectView>(),
        Route::new(Method::GET, "/v2/projects", Access::LOOK, list)
            .says("Lists the workspace's projects.")
            .lists::<ProjectView>(),
        Route::new(Method::GET, "/v2/projects/{id}", Access::LOOK, get)
            .says("Shows a project.")
            .returns::<ProjectView>(),
        Route::new(Method::PATCH, "/v2/projects/{id}", Access::MANAGE, change)
            .says("Changes fields of a project.")
            .patches::<Input>()
            .returns::<ProjectView>(),
        Route::new(Method::PUT, "/v2/projects/{id}", Access::MANAGE, replace)
            .says("Replaces a project.")
            .takes::<Input>()
            .returns::<ProjectView>(),
        Route::new(Method::DELETE, "/v2/projects/{id}", Access::MANAGE, delete)
            .says("Deletes a project that no key belongs to.")
            .returns_no_content()
            .refuses(409, "referenced"),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Project")]
struct Input {
    #[schemars(required)]
    #[schemars(length(min = 1, max = NAME_CHARS_MAX), regex(pattern = NAME))]
    name: Option<String>,
    #[schemars(length(min = 1, max = ENVIRONMENT_BYTES_MAX), regex(pattern = ENVIRONMENT))]
    environment: Option<String>,
    #[serde(default)]
    metadata: Value,
    limits: Option<LimitsForm>,
    caching: Option<CachingForm>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Project")]
struct ProjectView {
    id: String,
    object: &'static str,
    workspace_id: String,
    name: String,
    environment: String,
    metadata: Value,
    limits: LimitsForm,
    caching: CachingForm,
    created_at: Moment,
}

const fn of(row: &ProjectRow) -> LimitsOf {
    LimitsOf::Subject(Subject::Project(row.id))
}

fn show(control: &Control, row: &ProjectRow) -> ProjectView {
    ProjectView {
        id: row.id.to_string(),
        object: "project",
        workspace_id: row.workspace.to_string(),
        name: row.name.clone(),
        environment: row.environment.clone(),
        metadata: row.metadata.clone(),
        limits: limits::show(control, row.workspace, &of(row)),
        caching: CachingForm::of(row.caching),
        created_at: Moment(row.created_unix_ms),
    }
}

/// An environment's name: one of the three built-in ones, or a custom word.
pub fn checked_environment(environment: &str, field: &'static str) -> Result<String, Box<Fault>> {
    let fine = !environment.is_empty()
        && environment.len() <= ENVIRONMENT_BYTES_MAX
        && environment.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b));
    if fine {
        return Ok(environment.to_owned());
    }
    Err(invalid(
        field,
        format!("\"{environment}\" is no environment."),
        "Use development, staging, production, or a word of your own in lower case.",
    ))
}

fn row_of(input: Input, base: &ProjectRow) -> Result<ProjectRow, Box<Fault>> {
    let environment = input.environment.as_deref().unwrap_or("production");
    Ok(ProjectRow {
        name: checked_name(input.name, "name")?,
        environment: checked_environment(environment, "environment")?,
        metadata: input.metadata,
        caching: input.caching.unwrap_or_default().read()?,
        ..base.clone()
    })
}

fn create(control: &Arc<Control>, request: ApiRequest) -> Handled<'_> {
    Box::pin(async move {
        let now = control.world.clock.unix_ms();
        let blank = ProjectRow {
            caching: domain::CachePolicy::default(),
            id: ProjectId::new(now, control.world.id_bytes()),
            workspace: request.workspace(),
            name: String::new(),
            environment: String::new(),
            metadata: Value::Null,
            created_unix_ms: now,
            version: 0,
        };
        let input: Input = request.json()?;
        let rates = input.limits;
        limits::check(rates, "limits")?;
        let row = row_of(input, &blank)?;
        let act = request.act(&control.world);
        let written = control.store.projects().create(row, act).await.map_err(of_store)?;
        control.await_published(written.version).await?;
        let row = &written.row;
        let limits = limits::write(control, &request, row.workspace, of(row), rates).await?;
        let location = format!("/v2/projects/{}", row.id);
        Ok(Reply::json(&ProjectView { limits, ..show(control, row) })?.version(row.version).created(location))
    })
}

fn list(control: &Arc<Control>, request: ApiRequest) -> Handled<'_> {
    Box::pin(async move {
        let listed =
            control.store.projects().list(request.workspace(), request.page()?).await.map_err(of_store)?;
        Reply::json(&request.paged(listed, |row| show(control, row)))
    })
}

async fn load(control: &Control, request: &ApiRequest) -> Result<ProjectRow, Box<Fault>> {
    control.store.projects().get(request.workspace(), request.id("project")?).await.map_err(of_store)
}

fn get(control: &Arc<Control>, request: ApiRequest) -> Handled<'_> {
    Box::pin(async move {
        let row = load(control, &request).await?;
        Ok(Reply::json(&show(control, &row))?.version(row.version))
    })
}

fn change(control: &Arc<Control>, request: ApiRequest) -> Handled<'_> {
    Box::pin(async move {
        let row = load(control, &request).await?;
        let changed = request.patched(
            json!({"name": row.name, "environment": row.environment, "metadata": row.metadata,
                "limits": limits::show(control, row.workspace, &of(&row)),
                "caching": CachingForm::of(row.caching)}),
        )?;
        write(control, &request, changed, &row).await
    })
}

fn replace(control: &Arc<Control>, request: ApiRequest) -> Handled<'_> {
    Box::pin(async move {
        let row = load(control, &request).await?;
        write(control, &request, request.json()?, &row).await
    })
}

async fn write(
    control: &Arc<Control>,
    request: &ApiRequest,
    input: Input,
    row: &ProjectRow,
) -> Result<Reply, Box<Fault>> {
    let act = request.act(&control.world);
    let rates = input.limits;
    limits::check(rates, "limits")?;
    let changed = row_of(input, row)?;
    let written =
        control.store.projects().replace(changed, request.if_match()?, act).await.map_err(of_store)?;
    control.await_published(written.version).await?;
    let row = &written.row;
    let limits = limits::write(control, request, row.workspace, of(row), rates).await?;
    Ok(Reply::json(&ProjectView { limits, ..show(control, row) })?.version(row.version))
}

fn delete(control: &Arc<Control>, request: ApiRequest) -> Handled<'_> {
    Box::pin(async move {
        let act = request.act(&control.world);
        let id = request.id("project")?;
        let written = control
            .store
            .projects()
            .delete(request.workspace(), id, request.if_match()?, act)
            .await
            .map_err(of_store)?;
        control.await_published(written.version).await?;
        Ok(Reply::no_content())
    })
}
