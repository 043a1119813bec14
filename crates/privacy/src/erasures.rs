//! `/v2/deletion-requests`: erases a person, or a workspace, by a purge, and says what stays and why.

use std::sync::Arc;

use api::access::Access;
use api::failure::{invalid, missing, not_found};
use api::moment::Moment;
use api::openapi::bounds::exactly_one;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::limits::PURGE_REQUESTS_MAX;
use domain::{Fault, PurgeJobId, SessionId};
use evidence::purge::tables::STATED;
use evidence::purge::{PurgeJobRow, PurgeState, PurgeTarget};
use http::Method;
use reconcilers::{of_store, purging};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::Page;
use transcripts::SessionFilter;

use crate::purges::{KeyShreddingView, PlaceView, places, unknown, unknown_end_user};

const PATH: &str = "/v2/deletion-requests";
/// Of the id of an erasure.
const PREFIX: &str = "del";

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::POST, PATH, Access::MANAGE, create)
            .says("Erases a person, by their sessions and the requests that named them, or all content of the workspace, with a signed receipt. A dry run only counts what would be erased.")
            .takes::<Input>()
            .makes::<DeletionRequestView>()
            .refuses(409, "legal_hold"),
        Route::new(Method::GET, "/v2/deletion-requests/{id}", Access::MANAGE, get)
            .says("Shows an erasure: what is erased, and what is retained.")
            .returns_value::<DeletionRequestView>(),
    ]
}

/// Who is erased: exactly one of `workspace`, `end_user` and `session_ids`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DeletionRequest", extend("oneOf" = exactly_one(&["workspace", "end_user", "session_ids"])))]
struct Input {
    /// All content of the workspace.
    #[serde(default)]
    workspace: bool,
    /// A person, by the name that their sessions and requests have. It is not kept.
    end_user: Option<String>,
    /// A person, by their sessions.
    #[serde(default)]
    #[schemars(length(max = PURGE_REQUESTS_MAX))]
    session_ids: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DeletionRequest")]
struct DeletionRequestView {
    id: String,
    object: &'static str,
    #[schemars(extend("enum" = ["pending", "running", "completed", "failed"]))]
    status: &'static str,
    /// What each place held, and what happened to it.
    places: Vec<PlaceView>,
    erased: ErasedView,
    /// What is retained, and why.
    retained: Vec<RetainedView>,
    error: Option<String>,
    purge_job_id: String,
    created_at: Moment,
    completed_at: Option<Moment>,
    /// The path of the signed receipt, once there is one.
    receipt: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Erased")]
struct ErasedView {
    /// The sessions that were named, or were the person's; `null` for a workspace.
    sessions: Option<usize>,
    /// Removed so far, of all kinds and in all places.
    items: u64,
    /// Usage is in the books, which stay.
    usage_events: u64,
    /// The configuration from which on no gateway gives a cached answer from before.
    namespace_generation: Option<u64>,
    /// Of a workspace: the keys that sealed its content.
    key_shredding: Option<KeyShreddingView>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Retained")]
struct RetainedView {
    what: &'static str,
    reason: &'static str,
}

impl Input {
    async fn target(self, control: &Control, request: &ApiRequest) -> Result<PurgeTarget, Box<Fault>> {
        const SCOPES: &str = "Name one of workspace, end_user and session_ids.";
        let session_ids = match (self.workspace, self.end_user, self.session_ids) {
            (true, None, named) if named.is_empty() => {
                return Ok(PurgeTarget { workspace: true, ..PurgeTarget::default() });
            }
            (false, Some(person), named) if named.is_empty() => {
                return of_person(control, request, person).await;
            }
            (false, None, named) if !named.is_empty() => checked(control, request, named).await?,
            (false, None, _) => return Err(missing("workspace", SCOPES)),
            _ => return Err(invalid("workspace", "Several scopes are named.", SCOPES)),
        };
        Ok(PurgeTarget { session_ids: bounded(session_ids)?, ..PurgeTarget::default() })
    }
}

fn bounded(session_ids: Vec<String>) -> Result<Vec<String>, Box<Fault>> {
    if session_ids.len() > PURGE_REQUESTS_MAX {
        let message = format!("It is about more than {PURGE_REQUESTS_MAX} sessions.");
        return Err(invalid("session_ids", message, "Name some of them at a time in session_ids."));
    }
    Ok(session_ids)
}

/// The sessions of a person, and the requests that named the person outside of them.
async fn of_person(
    control: &Control,
    request: &ApiRequest,
    person: String,
) -> Result<PurgeTarget, Box<Fault>> {
    let workspace = request.workspace();
    let end_user = control.end_user(workspace, &person);
    let is_known =
        control.deps.store.records().knows_end_user(workspace, end_user).await.map_err(of_store)?;
    let session_ids = bounded(sessions_of(control, request, person).await?)?;
    if session_ids.is_empty() && !is_known {
        return Err(unknown_end_user());
    }
    Ok(PurgeTarget { session_ids, end_user: is_known.then_some(end_user), ..PurgeTarget::default() })
}

/// The sessions that have the name of a person.
async fn sessions_of(
    control: &Control,
    request: &ApiRequest,
    person: String,
) -> Result<Vec<String>, Box<Fault>> {
    let filter = SessionFilter { end_user: Some(person), ..SessionFilter::default() };
    let (sessions, mut page, mut found) = (control.deps.store.sessions(), Page::default(), Vec::new());
    loop {
        // Those whose time is over are there until they are removed.
        let listed = sessions.list(request.workspace(), filter.clone(), 0, page.clone()).await;
        let listed = listed.map_err(of_store)?;
        found.extend(listed.rows.iter().map(|row| row.id.to_string()));
        page.after = listed.next;
        if page.after.is_none() || found.len() > PURGE_REQUESTS_MAX {
            break;
        }
    }
    Ok(found)
}

/// Sessions that are named must be of the workspace.
async fn checked(
    control: &Control,
    request: &ApiRequest,
    named: Vec<String>,
) -> Result<Vec<String>, Box<Fault>> {
    for text in &named {
        let id: SessionId = text.parse().map_err(|_| not_found("session", text))?;
        control.deps.store.sessions().get(request.workspace(), id, 0).await.map_err(of_store)?;
    }
    Ok(named)
}

async fn create(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let input: Input = request.json()?;
    let target = input.target(control, &request).await?;
    let by = request.caller.actor();
    let mut row = purging::requested(&control.deps, request.workspace(), target, by);
    let purger = &control.web.purger;
    purger.refuse_held(&row).await.map_err(of_store)?;
    if request.is_rehearsal {
        row.progress.before = Some(purger.survey(&row).await.map_err(|error| unknown(&error))?);
    }
    let act = request.act(&control.deps.world);
    purger.purges().create(row.clone(), act).await.map_err(of_store)?;
    let view = show(&row);
    let location = format!("{PATH}/{}", view.id);
    Ok(Reply::json(&view)?.as_created(location))
}

async fn get(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let text = request.parameters.first().map_or("", String::as_str);
    let purge = purge_of(text).ok_or_else(|| not_found("deletion request", text))?;
    let row = control.web.purger.purges().get(request.workspace(), purge).await;
    Reply::json(&show(&row.map_err(of_store)?))
}

/// An erasure has the number of its purge.
fn id_of(purge: PurgeJobId) -> String {
    purge.to_string().replacen(PurgeJobId::PREFIX, PREFIX, 1)
}

fn purge_of(text: &str) -> Option<PurgeJobId> {
    format!("{}{}", PurgeJobId::PREFIX, text.strip_prefix(PREFIX)?).parse().ok()
}

fn show(row: &PurgeJobRow) -> DeletionRequestView {
    let sessions = row.target.session_ids.len();
    let retained = STATED.iter().map(|(what, reason)| RetainedView { what, reason });
    let is_completed = row.state == PurgeState::Completed;
    DeletionRequestView {
        id: id_of(row.id),
        object: "deletion_request",
        status: row.state.as_str(),
        places: places(row),
        erased: ErasedView {
            sessions: (!row.target.workspace).then_some(sessions),
            items: row.progress.steps.iter().map(|step| step.removed).sum(),
            usage_events: 0,
            namespace_generation: row.progress.generation,
            key_shredding: KeyShreddingView::of(row),
        },
        retained: retained.collect(),
        error: row.progress.error.clone(),
        purge_job_id: row.id.to_string(),
        created_at: Moment(row.created_unix_ms),
        completed_at: row.completed_unix_ms.map(Moment),
        receipt: is_completed.then(|| format!("/v2/purge-jobs/{}/receipt", row.id)),
    }
}
