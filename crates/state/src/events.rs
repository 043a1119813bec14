//! `/v2/sessions/{id}/branches/{branch_id}/events`: appended by compare and swap, so that of several writers one wins.

use std::sync::Arc;

use api::access::Access;
use api::failure::{invalid, missing};
use api::moment::Moment;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::{BranchId, Fault, FaultClass, SessionEventId};
use http::Method;
use reconcilers::of_store;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::Listed;
use transcripts::{Appended, BranchRow, Expected, NewEvent, SessionEventRow, SessionRow};

use crate::branches::{self, BranchView, load_branch};
use crate::limits::{APPENDED_EVENTS_MAX, EVENT_CONTENT_BYTES_MAX};
use crate::sessions::load;
use crate::{content, scope};

const PATH: &str = "/v2/sessions/{id}/branches/{branch_id}/events";
const KINDS: [&str; 6] =
    ["user_message", "assistant_message", "tool_result", "retrieval_result", "checkpoint", "note"];

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::POST, PATH, Access::WRITE_STATE, append)
            .says("Appends events to a branch, all or none, if the branch is at the expected version.")
            .takes::<AppendInput>()
            .takes_content()
            .makes_once::<AppendView>()
            .refuses(409, "branch_version_conflict")
            .refuses(409, "session_archived")
            .refuses(413, "content_too_large"),
        Route::new(Method::GET, PATH, Access::READ_STATE, list)
            .says("Lists the events of a branch with its history, oldest first. If a person reads their content, the audit log records that.")
            .query("include", "`content`: the content of events, too.")
            .one_of("include", &["content"])
            .lists::<EventView>(),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AppendInput {
    /// The version that the branch must be at.
    expected_version: Option<u64>,
    /// The event that must be the last one.
    expected_head_event_id: Option<String>,
    event: Option<EventInput>,
    /// Several events, in place of `event`.
    events: Option<Vec<EventInput>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SessionEventInput")]
struct EventInput {
    #[schemars(extend("enum" = KINDS))]
    event_type: String,
    /// The id of the artifact that is its content.
    payload_ref: Option<String>,
    /// Its content: text, or JSON in the form of an item of the Responses API.
    content: Option<Value>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SessionEvent")]
pub(crate) struct EventView {
    id: String,
    object: &'static str,
    event_type: String,
    /// The branch that it was appended to. A fork shows it, too.
    branch_id: String,
    /// The version of the branch that it made.
    version: u64,
    parent_event_id: Option<String>,
    /// The artifact that is its content.
    payload_ref: Option<String>,
    content_bytes: Option<u64>,
    /// A keyed hash of the content.
    content_hash: Option<String>,
    /// With `include=content`, as it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Value>,
    request_id: String,
    created_at: Moment,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SessionAppend")]
struct AppendView {
    object: &'static str,
    branch: BranchView,
    events: Vec<EventView>,
}

fn show(row: &SessionEventRow) -> EventView {
    EventView {
        id: row.id.to_string(),
        object: "session_event",
        event_type: row.kind.clone(),
        branch_id: row.branch.to_string(),
        version: row.version,
        parent_event_id: row.parent.map(|parent| parent.to_string()),
        payload_ref: row.artifact.map(|artifact| artifact.to_string()),
        content_bytes: row.content.map(|content| content.bytes),
        content_hash: row.content.map(|content| content::hex(&content.hash)),
        content: None,
        request_id: row.request.to_string(),
        created_at: Moment(row.created_unix_ms),
    }
}

/// The events of a request, with their places in it.
fn inputs(
    event: Option<EventInput>,
    events: Option<Vec<EventInput>>,
) -> Result<Vec<(String, EventInput)>, Box<Fault>> {
    let numbered = |(at, event)| (format!("events[{at}]"), event);
    let found: Vec<_> = match (event, events) {
        (Some(event), None) => vec![("event".to_owned(), event)],
        (None, Some(events)) => events.into_iter().enumerate().map(numbered).collect(),
        (None, None) => return Err(missing("event", "Send the event to append.")),
        (Some(_), Some(_)) => {
            return Err(invalid("events", "\"event\" and \"events\" are both set.", "Send one of them."));
        }
    };
    if found.is_empty() || found.len() > APPENDED_EVENTS_MAX {
        let message = format!("{} events can't be appended in one request.", found.len());
        return Err(invalid("events", message, format!("Send 1 to {APPENDED_EVENTS_MAX}.")));
    }
    Ok(found)
}

fn new_event(
    control: &Control,
    request: &ApiRequest,
    session: &SessionRow,
    at: &str,
    input: EventInput,
) -> Result<NewEvent, Box<Fault>> {
    if !KINDS.contains(&input.event_type.as_str()) {
        let excerpt: String = input.event_type.chars().take(64).collect();
        let message = format!("\"{excerpt}\" isn't a type of event.");
        return Err(invalid(
            format!("{at}.event_type"),
            message,
            format!("Send one of {}.", KINDS.join(", ")),
        ));
    }
    let artifact = input.payload_ref.map(|id| scope::read(&format!("{at}.payload_ref"), &id)).transpose()?;
    let written = input.content.as_ref().map(Value::to_string);
    if artifact.is_some() == written.is_some() {
        let message = format!("{at} must have either content or a payload_ref.");
        return Err(invalid(format!("{at}.content"), message, "Send its content, or the id of an artifact."));
    }
    let now_unix_ms = control.deps.world.clock.unix_ms();
    let id = SessionEventId::new(now_unix_ms, control.deps.world.id_bytes());
    let content = match written {
        Some(text) if text.len() > EVENT_CONTENT_BYTES_MAX => {
            let message = format!("The content of {at} is longer than {EVENT_CONTENT_BYTES_MAX} bytes.");
            let fault = Fault::new(FaultClass::TooLarge, "content_too_large", message);
            let fix = "Store it as an artifact, and send its id as payload_ref.";
            return Err(Box::new(fault.param(format!("{at}.content")).fix(fix)));
        }
        Some(text) => Some(content::seal(control, request, session.project, id.as_bytes(), text.as_bytes())?),
        None => None,
    };
    let request = request.trace;
    Ok(NewEvent { id, kind: input.event_type, artifact, content, request, created_unix_ms: now_unix_ms })
}

async fn append(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let session = load(control, &request).await?;
    let named = request.named(1);
    let branch = match named.parse::<BranchId>() {
        Ok(id) => id,
        Err(_) => branches::find(control, &request, session.id, &named, None).await?.id,
    };
    scope::check_retention(control, &request, session.project)?;
    let input: AppendInput = request.json()?;
    let read_head = |id: &String| scope::read("expected_head_event_id", id).map(Some);
    let head = input.expected_head_event_id.as_ref().map(read_head).transpose()?;
    let expected = Expected { version: input.expected_version, head };
    let events = inputs(input.event, input.events)?;
    let made = |(at, event): (String, _)| new_event(control, &request, &session, &at, event);
    let events = events.into_iter().map(made).collect::<Result<Vec<_>, _>>()?;
    let wanted = events.len() as u64;
    let sessions = control.deps.store.sessions();
    let appended = sessions.append(request.workspace(), session.id, branch, expected, events.clone()).await;
    match appended.map_err(|error| branches::missing(error, session.id, &named, None))? {
        Appended::Done(branch, parent) => {
            let first = branch.version.saturating_sub(wanted) + 1;
            let views = views_of(&branch, first, parent, &events);
            let view =
                AppendView { object: "session_append", branch: branches::show(&branch), events: views };
            let location = format!("/v2/sessions/{}/branches/{}/events", session.id, branch.id);
            Ok(Reply::json(&view)?.as_created(location))
        }
        Appended::Conflict(branch) => Err(conflict(&branch)),
        Appended::Archived => Err(archived(&session)),
    }
}

/// The events as they were appended, from a version on.
fn views_of(
    branch: &BranchRow,
    first: u64,
    mut parent: Option<SessionEventId>,
    events: &[NewEvent],
) -> Vec<EventView> {
    let mut views = Vec::with_capacity(events.len());
    for (version, event) in (first..).zip(events) {
        views.push(show(&SessionEventRow {
            id: event.id,
            branch: branch.id,
            version,
            parent,
            kind: event.kind.clone(),
            artifact: event.artifact,
            content: event.content.as_ref().map(|(about, _)| *about),
            request: event.request,
            created_unix_ms: event.created_unix_ms,
        }));
        parent = Some(event.id);
    }
    views
}

fn conflict(branch: &BranchRow) -> Box<Fault> {
    let head = branch.head.map_or_else(|| "no event".to_owned(), |head| head.to_string());
    let message = format!(
        "Another writer was first: the branch {} is at version {}, and its last event is {head}.",
        branch.id, branch.version
    );
    let fault =
        Fault::new(FaultClass::Conflict, "branch_version_conflict", message).param("expected_version");
    Box::new(
        fault
            .fix("Read the new events, then append with that version, or fork the branch at the version that you read."),
    )
}

fn archived(session: &SessionRow) -> Box<Fault> {
    let message = format!("The session {} is archived.", session.id);
    let fault = Fault::new(FaultClass::Conflict, "session_archived", message);
    Box::new(fault.fix("Set its status to active with PATCH /v2/sessions/ID, or open another session."))
}

async fn list(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let branch = load_branch(control, &request).await?;
    let session = branch.session;
    let page: store::Page<u64> = request.page()?;
    let wanted = page.rows_wanted();
    let rows_max = u32::try_from(wanted + 1).unwrap_or(u32::MAX);
    let sessions = control.deps.store.sessions();
    let rows = sessions.events(request.workspace(), branch, page.after.unwrap_or(0), rows_max).await;
    let listed = Listed::cut(rows.map_err(of_store)?, wanted, |row: &SessionEventRow| row.version);
    let contents: Vec<_> = listed.rows.iter().map(|row| row.content).collect();
    let mut page = request.page_of(listed, show);
    if request.query.contains_key("include") {
        content::audit_opening(control, &request, "session.open", &session.to_string(), "").await?;
        for (view, about) in page.data.iter_mut().zip(contents) {
            if let Some(about) = about {
                let opened = content::open(control, &request, about.digest).await?;
                view.content = opened.and_then(|opened| serde_json::from_slice(&opened).ok());
            }
        }
    }
    Reply::json(&page)
}
