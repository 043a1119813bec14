//! `/v2/workspaces`: the operator creates them; a workspace's admin reads and renames its own.

use std::sync::Arc;

use api::access::Access;
use api::failure::not_found;
use api::limits::NAME_CHARS_MAX;
use api::moment::Moment;
use api::names::checked_name;
use api::openapi::bounds::NAME;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::Route;
use api::state::Control;
use domain::{Fault, Role, Subject, WorkspaceId};
use http::Method;
use people::{Founded, NewWorkspace, found};
use reconcilers::of_store;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{Act, Founding, Invitation, LimitsOf, Listed, MemberRow, PersonRow, StoreError, WorkspaceRow};

use super::limits::{self, LimitsForm};
use crate::resource::{Resource, WritableResource, change, delete, delete_row, get, list, patch, post};
use reports::caching::CachingForm;

/// The actor in the audit instead of the operator's key.
const OPERATOR: &str = "operator";

pub fn routes() -> Vec<Route> {
    // A replacement leaves the fields as they are that it doesn't name.
    let put = Route::new(Method::PUT, WorkspaceRow::ONE, WorkspaceRow::WRITE, change::<WorkspaceRow>);
    vec![
        post::<WorkspaceRow>(
            "Creates a workspace with a project and two keys, which are only in this response.",
        )
        .makes::<Founded>(),
        list::<WorkspaceRow>("Lists the caller's own workspace, or for the operator all workspaces."),
        get::<WorkspaceRow>("Shows a workspace."),
        patch::<WorkspaceRow>("Changes fields of a workspace."),
        put.says("Replaces all writable fields of a workspace.").takes::<Input>().returns::<WorkspaceView>(),
        delete::<WorkspaceRow>("Deletes a workspace and everything in it.")
            .refuses(409, "operators_workspace"),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Workspace")]
pub struct Input {
    #[schemars(required)]
    #[schemars(length(min = 1, max = NAME_CHARS_MAX), regex(pattern = NAME))]
    name: Option<String>,
    limits: Option<LimitsForm>,
    end_user_limits: Option<LimitsForm>,
    caching: Option<CachingForm>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Workspace")]
pub struct WorkspaceView {
    id: String,
    object: &'static str,
    name: String,
    limits: LimitsForm,
    /// For each end user separately.
    end_user_limits: LimitsForm,
    /// What the gateway may do to use providers' prompt caches, and whether it keeps answers itself.
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
        caching: CachingForm::of(&row.caching),
        created_at: Moment(row.created_unix_ms),
    }
}

/// The person who creates a workspace is its first owner.
async fn own(
    control: &Control,
    request: &ApiRequest,
    workspace: WorkspaceId,
    person: &PersonRow,
) -> Result<(), Box<Fault>> {
    let act = request.act(&control.deps.world);
    let member = MemberRow {
        person: person.clone(),
        workspace,
        role: Role::Owner,
        accepted_unix_ms: Some(act.unix_ms),
        created_unix_ms: act.unix_ms,
        version: 0,
    };
    let invitation = Invitation { member, link: None };
    control.deps.store.people().create(invitation, act).await.map(|_| ()).map_err(of_store)
}

/// What of a workspace is given out, or written, after it.
pub enum AfterWrite {
    Created(Founded, [Option<LimitsForm>; 2]),
    Changed { limits: Option<LimitsForm>, end_user_limits: Option<LimitsForm> },
}

impl Resource for WorkspaceRow {
    const PATH: &'static str = "/v2/workspaces";
    const ONE: &'static str = "/v2/workspaces/{id}";
    const WHAT: &'static str = "workspace";
    const CREATE_AND_DELETE: Access = Access::OPERATE;
    type View = WorkspaceView;

    fn table(control: &Control) -> &dyn store::Resource<Self> {
        control.deps.store.workspaces()
    }

    async fn view(&self, control: &Control) -> Result<WorkspaceView, Box<Fault>> {
        Ok(show(control, self))
    }

    /// The operator can reach every workspace, all others only their own.
    fn address(_: &Control, request: &ApiRequest) -> Result<((), WorkspaceId), Box<Fault>> {
        let id: WorkspaceId = request.id(Self::WHAT)?;
        if id == request.workspace() || request.is_operator() {
            Ok(((), id))
        } else {
            Err(not_found(Self::WHAT, &id.to_string()))
        }
    }

    async fn rows(control: &Control, request: &ApiRequest) -> Result<Listed<Self, WorkspaceId>, Box<Fault>> {
        let (page, workspaces) = (request.page()?, control.deps.store.workspaces());
        if request.is_operator() {
            return workspaces.list((), page).await.map_err(of_store);
        }
        let own = workspaces.get((), request.workspace()).await.map_err(of_store)?;
        Ok(Listed { rows: vec![own], next: None })
    }

    async fn delete(control: &Control, request: &ApiRequest) -> Result<u64, Box<Fault>> {
        if Self::address(control, request)?.1 == control.operator {
            let detail = "this workspace's owners run the installation".to_owned();
            let what = "operators_workspace";
            return Err(of_store(StoreError::Conflict { what, detail, existing: None }));
        }
        delete_row::<Self>(control, request).await
    }
}

impl WritableResource for WorkspaceRow {
    type Input = Input;
    type Update = Input;
    type Rest = AfterWrite;

    fn writable(&self, control: &Control) -> Result<Value, Box<Fault>> {
        let view = show(control, self);
        Ok(json!({
            "name": view.name, "limits": view.limits, "end_user_limits": view.end_user_limits,
            "caching": view.caching,
        }))
    }

    async fn new(
        control: &Control,
        _: &ApiRequest,
        input: Input,
    ) -> Result<(Founding, AfterWrite), Box<Fault>> {
        let Input { name, limits, end_user_limits, caching } = input;
        limits::check(limits, "limits")?;
        limits::check(end_user_limits, "end_user_limits")?;
        let name = checked_name(name, "name")?;
        let NewWorkspace { mut founding, view } =
            found(&control.deps.world, &control.deps.vault, &name, false).await?;
        founding.workspace.caching = caching.unwrap_or_default().read(&founding.workspace.caching)?;
        Ok((founding, AfterWrite::Created(view, [limits, end_user_limits])))
    }

    /// The first audit entry of the new workspace, whose members must not see which key the operator used.
    fn act_of_creation(control: &Control, request: &ApiRequest) -> Act {
        match request.caller.person() {
            Some(_) => request.act(&control.deps.world),
            None => Act::new(&control.deps.world, OPERATOR, Some(request.trace)),
        }
    }

    async fn change(
        self,
        _: &Control,
        _: &ApiRequest,
        input: Input,
    ) -> Result<(Self, AfterWrite), Box<Fault>> {
        let Input { name, limits, end_user_limits, caching } = input;
        limits::check(limits, "limits")?;
        limits::check(end_user_limits, "end_user_limits")?;
        let name = checked_name(name, "name")?;
        let caching = caching.unwrap_or_default().read(&self.caching)?;
        Ok((Self { name, caching, ..self }, AfterWrite::Changed { limits, end_user_limits }))
    }

    async fn finish(
        self,
        control: &Arc<Control>,
        request: &ApiRequest,
        after: AfterWrite,
    ) -> Result<Reply, Box<Fault>> {
        match after {
            AfterWrite::Created(founded, [limits, end_user_limits]) => {
                for (of, form) in [(OWN, limits), (LimitsOf::EveryEndUser, end_user_limits)] {
                    limits::write(control, Self::act_of_creation(control, request), self.id, of, form)
                        .await?;
                }
                if let Some(person) = request.caller.person().filter(|_| !request.is_rehearsal) {
                    own(control, request, self.id, &person.signed_in.person).await?;
                }
                Reply::json(&founded)
            }
            AfterWrite::Changed { limits, end_user_limits } => {
                let everyone = LimitsOf::EveryEndUser;
                let act = || request.act(&control.deps.world);
                let limits = limits::write(control, act(), self.id, OWN, limits).await?;
                let end_user_limits =
                    limits::write(control, act(), self.id, everyone, end_user_limits).await?;
                let view = WorkspaceView { limits, end_user_limits, ..show(control, &self) };
                Ok(Reply::json(&view)?.version(self.version))
            }
        }
    }
}
