//! `/v2/workspaces`: the operator creates them; a workspace's admin reads and renames its own.

use std::sync::Arc;

use api::access::Access;
use api::failure::{invalid, missing, not_found};
use api::limits::NAME_CHARS_MAX;
use api::moment::Moment;
use api::openapi::bounds::NAME;
use api::reply::{Page, Reply};
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::{Fault, Role, Subject, WorkspaceId};
use http::Method;
use reconcilers::of_store;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::{Act, Invitation, LimitsOf, PersonRow, StoreError, WorkspaceRow};

use super::caching::CachingForm;
use super::limits::{self, LimitsForm};
use crate::founding::{Founded, NewWorkspace, found};

/// The actor in the audit instead of the operator's key.
const OPERATOR: &str = "operator";

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::POST, "/v2/workspaces", Access::OPERATE, create)
            .says("Creates a workspace with a project and two keys, which are only in this response.")
            .takes::<Input>()
            .makes::<Founded>(),
        Route::new(Method::GET, "/v2/workspaces", Access::LOOK, list)
            .says("Lists the caller's own workspace, or for the operator all workspaces.")
            .lists::<WorkspaceView>(),
        Route::new(Method::GET, "/v2/workspaces/{id}", Access::LOOK, get)
            .says("Shows a workspace.")
            .returns::<WorkspaceView>(),
        Route::new(Method::PATCH, "/v2/workspaces/{id}", Access::MANAGE, change)
            .says("Changes fields of a workspace.")
            .patches::<Input>()
            .returns::<WorkspaceView>(),
        Route::new(Method::PUT, "/v2/workspaces/{id}", Access::MANAGE, change)
            .says("Replaces all writable fields of a workspace.")
            .takes::<Input>()
            .returns::<WorkspaceView>(),
        Route::new(Method::DELETE, "/v2/workspaces/{id}", Access::OPERATE, delete)
            .says("Deletes a workspace and everything in it.")
            .returns_no_content()
            .refuses(409, "operators_workspace"),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Workspace")]
struct Input {
    #[schemars(required)]
    #[schemars(length(min = 1, max = NAME_CHARS_MAX), regex(pattern = NAME))]
    name: Option<String>,
    limits: Option<LimitsForm>,
    end_user_limits: Option<LimitsForm>,
    caching: Option<CachingForm>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Workspace")]
struct WorkspaceView {
    id: String,
    object: &'static str,
    name: String,
    limits: LimitsForm,
    /// For each end user separately.
    end_user_limits: LimitsForm,
    /// What the gateway may do to use providers' prompt caches.
    caching: CachingForm,
    created_at: Moment,
}

const OWN: LimitsOf = LimitsOf::Subject(Subject::Workspace);

fn show(control: &Control, row: &WorkspaceRow) -> WorkspaceView {
    WorkspaceView {
        id: row.id.to_string(),
        object: "workspace",
        name: row.name.clone(),
        limits: limits::show(control, row.id, &OWN),
        end_user_limits: limits::show(control, row.id, &LimitsOf::EveryEndUser),
        caching: CachingForm::of(row.caching),
        created_at: Moment(row.created_unix_ms),
    }
}

/// A display name, neither empty nor too long.
pub fn checked_name(name: Option<String>, field: &'static str) -> Result<String, Box<Fault>> {
    let name = name.ok_or_else(|| missing(field, "Give it a name that people recognise it by."))?;
    let trimmed = name.trim();
    if trimmed.is_empty() || trimmed.chars().count() > NAME_CHARS_MAX || trimmed.chars().any(char::is_control)
    {
        return Err(invalid(
            field,
            format!("{field} can't be used as it is."),
            format!("Use 1 to {NAME_CHARS_MAX} printable characters."),
        ));
    }
    Ok(trimmed.to_owned())
}

fn create(control: &Arc<Control>, request: ApiRequest) -> Handled<'_> {
    Box::pin(async move {
        let input: Input = request.json()?;
        let name = checked_name(input.name, "name")?;
        let NewWorkspace { founding, view } =
            found(&control.deps.world, &control.deps.vault, &name, false).await?;
        let founded = founding.workspace.id;
        // The first audit entry of the new workspace, whose members must not see which key the operator used.
        let act = match request.caller.person() {
            Some(_) => request.act(&control.deps.world),
            None => Act::new(&control.deps.world, OPERATOR, Some(request.trace)),
        };
        let written = control.deps.store.founder().found(founding, act).await.map_err(of_store)?;
        control.deps.await_published(written.version).await?;
        if let Some(person) = request.caller.person().filter(|_| !request.is_rehearsal) {
            own(control, &request, founded, &person.signed_in.person).await?;
        }
        let location = format!("/v2/workspaces/{}", view.workspace_id);
        Ok(Reply::json(&view)?.created(location))
    })
}

/// The person who creates a workspace is its first owner.
async fn own(
    control: &Arc<Control>,
    request: &ApiRequest,
    workspace: WorkspaceId,
    person: &PersonRow,
) -> Result<(), Box<Fault>> {
    let invitation = Invitation {
        workspace,
        role: Role::Owner,
        person: person.clone(),
        accepted_unix_ms: Some(control.deps.world.clock.unix_ms()),
        link: None,
    };
    let act = request.act(&control.deps.world);
    control.deps.store.people().invite(invitation, act).await.map(|_| ()).map_err(of_store)
}

fn list(control: &Arc<Control>, request: ApiRequest) -> Handled<'_> {
    Box::pin(async move {
        let page = request.page()?;
        if !request.is_operator() {
            let own = control.deps.store.workspaces().get(request.workspace()).await.map_err(of_store)?;
            return Reply::json(&Page::whole(vec![show(control, &own)]));
        }
        let listed = control.deps.store.workspaces().list(page).await.map_err(of_store)?;
        Reply::json(&request.paged(listed, |row| show(control, row)))
    })
}

/// The operator can reach every workspace, all others only their own.
fn reachable(request: &ApiRequest) -> Result<WorkspaceId, Box<Fault>> {
    let id: WorkspaceId = request.id("workspace")?;
    if id == request.workspace() || request.is_operator() {
        Ok(id)
    } else {
        Err(not_found("workspace", &id.to_string()))
    }
}

fn get(control: &Arc<Control>, request: ApiRequest) -> Handled<'_> {
    Box::pin(async move {
        let row = control.deps.store.workspaces().get(reachable(&request)?).await.map_err(of_store)?;
        Ok(Reply::json(&show(control, &row))?.version(row.version))
    })
}

fn change(control: &Arc<Control>, request: ApiRequest) -> Handled<'_> {
    Box::pin(async move {
        let row = control.deps.store.workspaces().get(reachable(&request)?).await.map_err(of_store)?;
        let input: Input = request.patched(serde_json::json!({
            "name": row.name, "limits": limits::show(control, row.id, &OWN),
            "end_user_limits": limits::show(control, row.id, &LimitsOf::EveryEndUser),
            "caching": CachingForm::of(row.caching),
        }))?;
        limits::check(input.limits, "limits")?;
        limits::check(input.end_user_limits, "end_user_limits")?;
        let name = checked_name(input.name, "name")?;
        let act = request.act(&control.deps.world);
        let changed = WorkspaceRow { name, caching: input.caching.unwrap_or_default().read()?, ..row };
        let written = control
            .deps
            .store
            .workspaces()
            .replace(changed, request.if_match()?, act)
            .await
            .map_err(of_store)?;
        control.deps.await_published(written.version).await?;
        let (row, everyone) = (&written.row, LimitsOf::EveryEndUser);
        let limits = limits::write(control, &request, row.id, OWN, input.limits).await?;
        let end_user_limits =
            limits::write(control, &request, row.id, everyone, input.end_user_limits).await?;
        Ok(Reply::json(&WorkspaceView { limits, end_user_limits, ..show(control, row) })?
            .version(row.version))
    })
}

fn delete(control: &Arc<Control>, request: ApiRequest) -> Handled<'_> {
    Box::pin(async move {
        let id = reachable(&request)?;
        if id == control.operator {
            let detail = "this workspace's owners run the installation".to_owned();
            let what = "operators_workspace";
            return Err(of_store(StoreError::Conflict { what, detail, existing: None }));
        }
        let act = request.act(&control.deps.world);
        let written =
            control.deps.store.workspaces().delete(id, request.if_match()?, act).await.map_err(of_store)?;
        control.deps.await_published(written.version).await?;
        Ok(Reply::no_content())
    })
}
