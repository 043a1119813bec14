//! `/v2/sessions/{id}/branches`: the lines of a session's history, which may be forked anywhere.

use std::sync::Arc;

use api::access::Access;
use api::moment::Moment;
use api::names::checked_name;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::{BranchId, Fault, FaultClass, SessionId};
use http::Method;
use reconcilers::of_store;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::{Page, StoreError};
use transcripts::{BranchRow, ForkPoint, SESSION_BRANCHES_MAX};

use crate::limits::BRANCHES_NAMED_MAX;
use crate::sessions::load;

const WHAT: &str = "branch";

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
    /// The id or the name of the branch to fork; by default the session's default branch.
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
    find(control, request, session.id, &request.named(1), None).await
}

/// A branch of a session by its id, or by a name that no other branch of it has. The text is a field's, or the path's.
pub(crate) async fn find(
    control: &Control,
    request: &ApiRequest,
    session: SessionId,
    text: &str,
    field: Option<&'static str>,
) -> Result<BranchRow, Box<Fault>> {
    let sessions = control.deps.store.sessions();
    if let Ok(id) = text.parse::<BranchId>() {
        let found = sessions.branch(request.workspace(), session, id).await;
        return found.map_err(|error| missing(error, session, text, field));
    }
    // One page has all branches that a session may have.
    let page = Page::first(SESSION_BRANCHES_MAX);
    let listed = sessions.branches(request.workspace(), session, page).await.map_err(of_store)?;
    let called: Vec<BranchRow> = listed.rows.into_iter().filter(|row| row.name == text).collect();
    match called.as_slice() {
        [] => Err(not_there(session, text, field)),
        [only] => Ok(only.clone()),
        several => Err(ambiguous(text, field, several)),
    }
}

/// An error of the store about a branch that a text names.
pub(crate) fn missing(
    error: StoreError,
    session: SessionId,
    text: &str,
    field: Option<&'static str>,
) -> Box<Fault> {
    match error {
        StoreError::NotFound { what } if what == WHAT => not_there(session, text, field),
        other => of_store(other),
    }
}

fn ambiguous(text: &str, field: Option<&'static str>, called: &[BranchRow]) -> Box<Fault> {
    let ids: Vec<String> = called.iter().take(BRANCHES_NAMED_MAX).map(|row| row.id.to_string()).collect();
    let more = if called.len() > ids.len() { ", …" } else { "" };
    let message = format!("{} branches are called \"{text}\": {}{more}.", called.len(), ids.join(", "));
    let fault = Fault::new(FaultClass::Conflict, "ambiguous_name", message);
    of_field(fault.fix("Give the id of the one that you mean."), field)
}

fn not_there(session: SessionId, text: &str, field: Option<&'static str>) -> Box<Fault> {
    let excerpt: String = text.chars().take(200).collect();
    let message = format!("There is no branch \"{excerpt}\" in the session {session}.");
    let fault = Fault::new(FaultClass::NotFound, "not_found", message);
    of_field(fault.fix(format!("`tidegate session branches {session}` shows what there is.")), field)
}

fn of_field(fault: Fault, field: Option<&'static str>) -> Box<Fault> {
    Box::new(match field {
        Some(field) => fault.param(field),
        None => fault,
    })
}

async fn fork(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let session = load(control, &request).await?;
    let input: ForkInput = request.json()?;
    let wanted = input.from_branch_id.unwrap_or_else(|| session.default_branch.to_string());
    let origin = find(control, &request, session.id, &wanted, Some("from_branch_id")).await?;
    let now_unix_ms = control.deps.world.clock.unix_ms();
    let version = input.at_version.unwrap_or(origin.version);
    let new = BranchRow {
        id: BranchId::new(now_unix_ms, control.deps.world.id_bytes()),
        session: session.id,
        name: checked_name(Some(input.name.unwrap_or_else(|| "fork".to_owned())), "name")?,
        forked_from: Some(ForkPoint { branch: origin.id, version }),
        version,
        head: None,
        created_unix_ms: now_unix_ms,
    };
    let act = request.act(&control.deps.world);
    let sessions = control.deps.store.sessions();
    let made = sessions.fork(request.workspace(), new, act).await.map_err(of_store)?;
    let location = format!("/v2/sessions/{}/branches/{}", session.id, made.id);
    Ok(Reply::json(&show(&made))?.as_created(location))
}

async fn list(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let session = load(control, &request).await?;
    let sessions = control.deps.store.sessions();
    let listed =
        sessions.branches(request.workspace(), session.id, request.page()?).await.map_err(of_store)?;
    Reply::json(&request.page_of(listed, show))
}

async fn get(control: &Arc<Control>, request: ApiRequest) -> Handled {
    Reply::json(&show(&load_branch(control, &request).await?))
}
