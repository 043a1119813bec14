//! `/v2/sessions`: the state of an agent over several requests.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::access::Access;
use api::failure::{invalid, not_there};
use api::moment::Moment;
use api::names::checked_name;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::ports::WarmEvent;
use domain::{BundleId, Fault, FaultClass, ObjectOwner, SessionId};
use http::Method;
use reconcilers::of_store;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use transcripts::{NewSession, SessionChange, SessionFilter, SessionRow, SessionStatus};

use crate::limits::{
    END_USER_CHARS_MAX, METADATA_FIELDS_MAX, METADATA_KEY_CHARS_MAX, METADATA_VALUE_CHARS_MAX,
    SESSION_BUNDLES_MAX, SESSION_TTL_MAX,
};
use crate::{branches, scope};

const PATH: &str = "/v2/sessions";
const ONE: &str = "/v2/sessions/{id}";
pub(crate) const WHAT: &str = "session";

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::POST, PATH, Access::WRITE_STATE, create)
            .says("Opens a session with one empty branch.")
            .takes::<SessionInput>()
            .makes::<SessionView>(),
        Route::new(Method::GET, PATH, Access::READ_STATE, list)
            .says("Lists sessions, oldest first.")
            .query("project_id", "Only those of this project.")
            .query("end_user", "Only those of this end user.")
            .query("status", "Only active or archived ones.")
            .one_of("status", &["active", "archived"])
            .query("warm", "Only warm ones, or only others.")
            .one_of("warm", &["true", "false"])
            .lists::<SessionView>(),
        Route::new(Method::GET, ONE, Access::READ_STATE, get)
            .says("Shows a session.")
            .returns::<SessionView>(),
        Route::new(Method::PATCH, ONE, Access::WRITE_STATE, change)
            .says("Changes fields of a session; archived, it takes no more events.")
            .patches::<SessionUpdate>()
            .returns::<SessionView>(),
        Route::new(Method::DELETE, ONE, Access::WRITE_STATE, delete)
            .says("Deletes a session with its branches, events and snapshots. Artifacts stay.")
            .returns_no_content(),
        Route::new(Method::POST, "/v2/sessions/{id}/keep-alive", Access::WRITE_STATE, keep_alive)
            .says("Extends a warm session by its idle time from now, as a run in it does.")
            .refuses(410, "session_expired")
            .takes_nothing()
            .returns_value::<SessionView>(),
        Route::new(Method::POST, "/v2/sessions/{id}/end", Access::WRITE_STATE, end)
            .says("Ends a warm session: it accepts no more runs, and can be read for a day.")
            .takes_nothing()
            .returns_value::<SessionView>(),
    ]
}

#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields)]
struct SessionInput {
    /// By default the key's project, or the workspace's first.
    project_id: Option<String>,
    name: Option<String>,
    /// Whom the session serves; a purge may name it.
    end_user: Option<String>,
    metadata: Option<BTreeMap<String, String>>,
    /// Bundles whose artifacts come before the events.
    base_bundle_ids: Option<Vec<String>>,
    /// How long the session is kept after its last event; by default until it is deleted.
    #[schemars(range(min = 1))]
    ttl_seconds: Option<u64>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SessionUpdate {
    name: Option<String>,
    end_user: Option<String>,
    metadata: Option<BTreeMap<String, String>>,
    /// `active`, or `archived`.
    #[schemars(extend("enum" = ["active", "archived", null]))]
    status: Option<String>,
    /// The id or the name of one of its branches.
    default_branch_id: Option<String>,
    #[schemars(range(min = 1))]
    ttl_seconds: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Session")]
pub(crate) struct SessionView {
    id: String,
    object: &'static str,
    project_id: String,
    name: Option<String>,
    end_user: Option<String>,
    metadata: BTreeMap<String, String>,
    base_bundle_ids: Vec<String>,
    default_branch_id: String,
    /// `active`, or `archived`: it takes no more events.
    status: &'static str,
    ttl_seconds: Option<u64>,
    created_at: Moment,
    used_at: Moment,
    expires_at: Option<Moment>,
    /// Of a warm session, which runs begin and go on in.
    warm: Option<WarmView>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "WarmSession")]
struct WarmView {
    /// The app that it runs.
    app: String,
    /// `active`, `ended`, or `expired`: it was idle for too long.
    status: &'static str,
    idle_timeout_seconds: u64,
    /// When it ends if no run arrives.
    expires_at: Moment,
    ended_at: Option<Moment>,
    /// How many runs it had.
    calls: u64,
    /// The credential, subscription or node that its runs stay at, once the first has ended.
    seat: Option<String>,
}

fn show(row: &SessionRow, now_unix_ms: u64) -> SessionView {
    let warm = row.warm.as_ref().map(|warm| WarmView {
        app: warm.app.clone(),
        status: warm.status(now_unix_ms).as_str(),
        idle_timeout_seconds: warm.idle_ms / 1_000,
        expires_at: Moment(warm.expires_unix_ms),
        ended_at: warm.ended_unix_ms.map(Moment),
        calls: warm.calls,
        seat: warm.seat.map(|seat| seat.to_string()),
    });
    SessionView {
        id: row.id.to_string(),
        object: "session",
        project_id: row.project.to_string(),
        name: Some(row.name.clone()).filter(|name| !name.is_empty()),
        end_user: row.end_user.clone(),
        metadata: row.metadata.clone(),
        base_bundle_ids: row.bundles.iter().map(ToString::to_string).collect(),
        default_branch_id: row.default_branch.to_string(),
        status: row.status.as_str(),
        ttl_seconds: row.ttl_ms.map(|ttl_ms| ttl_ms / 1_000),
        created_at: Moment(row.created_unix_ms),
        used_at: Moment(row.used_unix_ms),
        expires_at: row.until_unix_ms.map(Moment),
        warm,
    }
}

fn checked_metadata(
    metadata: Option<BTreeMap<String, String>>,
) -> Result<BTreeMap<String, String>, Box<Fault>> {
    let metadata = metadata.unwrap_or_default();
    let fits = |(key, value): (&String, &String)| {
        key.chars().count() <= METADATA_KEY_CHARS_MAX && value.chars().count() <= METADATA_VALUE_CHARS_MAX
    };
    if metadata.len() <= METADATA_FIELDS_MAX && metadata.iter().all(fits) {
        return Ok(metadata);
    }
    let fix = format!(
        "Send at most {METADATA_FIELDS_MAX} fields, with names of {METADATA_KEY_CHARS_MAX} and values of {METADATA_VALUE_CHARS_MAX} characters."
    );
    Err(invalid("metadata", "The metadata is too long.", fix))
}

fn checked_ttl(ttl_seconds: Option<u64>) -> Result<Option<u64>, Box<Fault>> {
    let longest = SESSION_TTL_MAX.as_secs();
    match ttl_seconds {
        Some(seconds) if seconds == 0 || seconds > longest => {
            let message = format!("ttl_seconds is {seconds}.");
            Err(invalid("ttl_seconds", message, format!("Send 1 to {longest}, or leave it out.")))
        }
        _ => Ok(ttl_seconds.map(|seconds| seconds.saturating_mul(1_000))),
    }
}

fn checked_end_user(end_user: Option<String>) -> Result<Option<String>, Box<Fault>> {
    let is_fine = |text: &String| !text.is_empty() && text.chars().count() <= END_USER_CHARS_MAX;
    if end_user.as_ref().is_none_or(is_fine) {
        return Ok(end_user);
    }
    let fix = format!("Send 1 to {END_USER_CHARS_MAX} characters.");
    Err(invalid("end_user", "\"end_user\" is empty or too long.", fix))
}

fn optional_name(name: Option<String>) -> Result<String, Box<Fault>> {
    Ok(name.map(|name| checked_name(Some(name), "name")).transpose()?.unwrap_or_default())
}

async fn create(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let input: SessionInput =
        if request.body.is_empty() { SessionInput::default() } else { request.json()? };
    let project = scope::of_new(control, &request, input.project_id.as_deref())?;
    scope::check_retention(control, &request, project)?;
    let bundles = input.base_bundle_ids.unwrap_or_default();
    if bundles.len() > SESSION_BUNDLES_MAX {
        let message = format!("A session has at most {SESSION_BUNDLES_MAX} bundles.");
        return Err(invalid("base_bundle_ids", message, "Put their artifacts into fewer bundles."));
    }
    let read = |(at, id): (usize, &String)| scope::read(&format!("base_bundle_ids[{at}]"), id);
    let bundles = bundles.iter().enumerate().map(read).collect::<Result<Vec<BundleId>, _>>()?;
    let world = &control.deps.world;
    let now_unix_ms = world.clock.unix_ms();
    let ids = (now_unix_ms, world.id_bytes(), world.id_bytes());
    let mut new = NewSession::of(request.workspace(), project, ids);
    let ttl_ms = checked_ttl(input.ttl_seconds)?;
    new.session = SessionRow {
        name: optional_name(input.name)?,
        end_user: checked_end_user(input.end_user)?,
        metadata: checked_metadata(input.metadata)?,
        bundles,
        ttl_ms,
        until_unix_ms: ttl_ms.map(|ttl_ms| now_unix_ms.saturating_add(ttl_ms)),
        ..new.session
    };
    let session = new.session.clone();
    control.deps.store.sessions().create(new, request.act(world)).await.map_err(of_store)?;
    Ok(Reply::json(&show(&session, now_unix_ms))?
        .version(session.version)
        .as_created(format!("{PATH}/{}", session.id)))
}

async fn list(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let filter = SessionFilter {
        project: scope::listed(&request)?,
        end_user: request.query.get("end_user").cloned(),
        status: request.query.get("status").and_then(|status| SessionStatus::of(status)),
        is_warm: request.query.get("warm").map(|wanted| wanted == "true"),
    };
    let now_unix_ms = control.deps.world.clock.unix_ms();
    let sessions = control.deps.store.sessions();
    let listed = sessions.list(request.workspace(), filter, now_unix_ms, request.page()?).await;
    Reply::json(&request.page_of(listed.map_err(of_store)?, |row| show(row, now_unix_ms)))
}

/// The session that the path names.
pub(crate) async fn load(control: &Control, request: &ApiRequest) -> Result<SessionRow, Box<Fault>> {
    let id: SessionId = request.id(WHAT)?;
    let now_unix_ms = control.deps.world.clock.unix_ms();
    let found = control.deps.store.sessions().get(request.workspace(), id, now_unix_ms).await;
    let row = found.map_err(|error| not_there(error, WHAT, &id))?;
    scope::check(request, row.project, WHAT, &id)?;
    Ok(row)
}

async fn get(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let row = load(control, &request).await?;
    Ok(Reply::json(&show(&row, control.deps.world.clock.unix_ms()))?.version(row.version))
}

/// The fields that a patch may change, as they are.
fn writable(row: &SessionRow) -> Value {
    let mut fields = json!({
        "metadata": row.metadata, "status": row.status.as_str(), "default_branch_id": row.default_branch.to_string(),
    });
    let optional = [
        ("name", (!row.name.is_empty()).then(|| json!(row.name))),
        ("end_user", row.end_user.as_ref().map(|user| json!(user))),
        ("ttl_seconds", row.ttl_ms.map(|ttl_ms| json!(ttl_ms / 1_000))),
    ];
    for (name, value) in optional {
        if let (Some(fields), Some(value)) = (fields.as_object_mut(), value) {
            fields.insert(name.to_owned(), value);
        }
    }
    fields
}

async fn change(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let row = load(control, &request).await?;
    let update: SessionUpdate = request.apply_patch(writable(&row))?;
    let status = update.status.as_deref().map_or(Some(row.status), SessionStatus::of);
    let change = SessionChange {
        name: optional_name(update.name)?,
        end_user: checked_end_user(update.end_user)?,
        metadata: checked_metadata(update.metadata)?,
        status: status.ok_or_else(|| {
            let word = update.status.as_deref().unwrap_or_default();
            let excerpt: String = word.chars().take(64).collect();
            let message = format!("\"{excerpt}\" isn't a session status.");
            invalid("status", message, "Send active or archived.")
        })?,
        default_branch: match &update.default_branch_id {
            Some(text) => {
                branches::find(control, &request, row.id, text, Some("default_branch_id")).await?.id
            }
            None => row.default_branch,
        },
        ttl_ms: checked_ttl(update.ttl_seconds)?,
    };
    let (expected, act) = (request.if_match()?, request.act(&control.deps.world));
    let sessions = control.deps.store.sessions();
    let changed =
        sessions.change(request.workspace(), row.id, change, expected, act).await.map_err(of_store)?;
    Ok(Reply::json(&show(&changed, control.deps.world.clock.unix_ms()))?.version(changed.version))
}

async fn keep_alive(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let (row, now_unix_ms) = warm(control, &request, WarmEvent::KeepAlive, false).await?;
    let refusal = row.warm.as_ref().and_then(|warm| warm.status(now_unix_ms).refusal(row.id));
    refusal.map_or_else(|| Reply::json(&show(&row, now_unix_ms)), |fault| Err(Box::new(fault)))
}

async fn end(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let (row, now_unix_ms) = warm(control, &request, WarmEvent::End, true).await?;
    Reply::json(&show(&row, now_unix_ms))
}

/// The warm session that the path names, after an event.
async fn warm(
    control: &Control,
    request: &ApiRequest,
    event: WarmEvent,
    is_audited: bool,
) -> Result<(SessionRow, u64), Box<Fault>> {
    let row = load(control, request).await?;
    if row.warm.is_none() {
        return Err(not_warm(&row));
    }
    let world = &control.deps.world;
    let act = is_audited.then(|| request.act(world));
    let owner = ObjectOwner { workspace: row.workspace, project: row.project };
    let now_unix_ms = world.clock.unix_ms();
    let noted = control.deps.store.sessions().warm(owner, row.id, event, now_unix_ms, act).await;
    let row = noted.map_err(|error| not_there(error, WHAT, &row.id))?;
    Ok((row, now_unix_ms))
}

fn not_warm(row: &SessionRow) -> Box<Fault> {
    let message = format!("The session {} isn't warm: it has no worker to keep or to end.", row.id);
    let fix = "GET /v2/sessions?warm=true lists warm sessions; a run with \"session\": \"new\" begins one.";
    Box::new(Fault::new(FaultClass::NotFound, "not_found", message).fix(fix))
}

async fn delete(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let row = load(control, &request).await?;
    let (expected, act) = (request.if_match()?, request.act(&control.deps.world));
    control
        .deps
        .store
        .sessions()
        .delete(request.workspace(), row.id, expected, act)
        .await
        .map_err(of_store)?;
    Ok(Reply::no_content())
}
