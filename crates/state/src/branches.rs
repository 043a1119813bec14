//! `/v2/sessions/{id}/branches`: the lines of a session's history, which may be forked anywhere.

use std::sync::Arc;

use api::access::Access;
use api::moment::Moment;
use api::names::checked_name;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::{BranchId, Fault};
use http::Method;
use reconcilers::of_store;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transcripts::{BranchRow, ForkPoint};

use crate::scope;
use crate::sessions::load;

pub(crate) const WHAT: &str = "branch";

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::POST, "/v2/sessions/{id}/branches", Access::WRITE_STATE, fork)
            .says("Forks a branch: the new one shares its events up to a version.")
            .takes::<ForkInput>()
            .makes_once::<BranchView>()
            .refuses(409, "fork_beyond_branch")
            .refuses(409, "too_many_branches"),
        Route::new(Method::GET, "/v2/sessions/{id}/branches", Access::READ_STATE, list)
            .says("Lists the branches of a session, oldest first.")
            .lists::<BranchView>(),
        Route::new(Method::GET, "/v2/sessions/{id}/branches/{branch_id}", Access::READ_STATE, get)
            .says("Shows a branch.")
            .returns_value::<BranchView>(),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ForkInput {
    /// By default "fork".
    name: Option<String>,
    /// The branch to fork; by default the session's default branch.
    from_branch_id: Option<String>,
    /// How many of its events both share; by default all that it has now.
    at_version: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SessionBranch")]
pub(crate) struct BranchView {
    id: String,
    object: &'static str,
    session_id: String,
    name: String,
    /// The number of events, those of its history included. An append states it as `expected_version`.
    version: u64,
    head_event_id: Option<String>,
    /// The branch whose events are its history, up to `forked_at_version`.
    forked_from_branch_id: Option<String>,
    forked_at_version: Option<u64>,
    created_at: Moment,
}

pub(crate) fn show(row: &BranchRow) -> BranchView {
    BranchView {
        id: row.id.to_string(),
        object: "session_branch",
        session_id: row.session.to_string(),
        name: row.name.clone(),
        version: row.version,
        head_event_id: row.head.map(|head| head.to_string()),
        forked_from_branch_id: row.forked_from.map(|from| from.branch.to_string()),
        forked_at_version: row.forked_from.map(|from| from.version),
        created_at: Moment(row.created_unix_ms),
    }
}

/// The branch that the path names, of a session that the caller may see.
pub(crate) async fn load_branch(control: &Control, request: &ApiRequest) -> Result<BranchRow, Box<Fault>> {
    let session = load(control, request).await?;
    let id: BranchId = scope::in_path(request, 1, WHAT)?;
    let found = control.deps.store.sessions().branch(request.workspace(), session.id, id).await;
    found.map_err(|error| scope::not_there(error, WHAT, &id.to_string()))
}

fn fork(control: &Arc<Control>, request: ApiRequest) -> Handled<'_> {
    Box::pin(async move {
        let session = load(control, &request).await?;
        let input: ForkInput = request.json()?;
        let from = match &input.from_branch_id {
            Some(id) => scope::read("from_branch_id", id)?,
            None => session.default_branch,
        };
        let sessions = control.deps.store.sessions();
        let origin = sessions.branch(request.workspace(), session.id, from).await;
        let origin = origin.map_err(|error| scope::not_there(error, WHAT, &from.to_string()))?;
        let now_unix_ms = control.deps.world.clock.unix_ms();
        let version = input.at_version.unwrap_or(origin.version);
        let new = BranchRow {
            id: BranchId::new(now_unix_ms, control.deps.world.id_bytes()),
            session: session.id,
            name: checked_name(Some(input.name.unwrap_or_else(|| "fork".to_owned())), "name")?,
            forked_from: Some(ForkPoint { branch: from, version }),
            version,
            head: None,
            created_unix_ms: now_unix_ms,
        };
        let act = request.act(&control.deps.world);
        let made = sessions.fork(request.workspace(), new, act).await.map_err(of_store)?;
        let location = format!("/v2/sessions/{}/branches/{}", session.id, made.id);
        Ok(Reply::json(&show(&made))?.as_created(location))
    })
}

fn list(control: &Arc<Control>, request: ApiRequest) -> Handled<'_> {
    Box::pin(async move {
        let session = load(control, &request).await?;
        let sessions = control.deps.store.sessions();
        let listed =
            sessions.branches(request.workspace(), session.id, request.page()?).await.map_err(of_store)?;
        Reply::json(&request.page_of(listed, show))
    })
}

fn get(control: &Arc<Control>, request: ApiRequest) -> Handled<'_> {
    Box::pin(async move { Reply::json(&show(&load_branch(control, &request).await?)) })
}
