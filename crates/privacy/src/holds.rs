//! `/v2/legal-holds`: what keeps stored content from being deleted, by people and by its age.

use std::sync::Arc;

use api::access::Access;
use api::failure::{invalid, missing, not_found};
use api::moment::Moment;
use api::openapi::bounds::exactly_one;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::{Fault, LegalHoldId};
use evidence::holds::{HoldScope, Holds, LegalHoldRow};
use http::Method;
use reconcilers::of_store;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::limits::{HELD_SESSIONS_MAX, REASON_CHARS_MAX};

const PATH: &str = "/v2/legal-holds";
const ONE: &str = "/v2/legal-holds/{id}";

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::POST, PATH, Access::MANAGE, create)
            .says("Holds stored content: it is neither purged nor deleted, and does not expire.")
            .takes::<Input>()
            .makes::<LegalHoldView>(),
        Route::new(Method::GET, PATH, Access::MANAGE, list)
            .says("Lists the legal holds of the workspace, newest first, including released ones.")
            .lists::<LegalHoldView>(),
        Route::new(Method::GET, ONE, Access::MANAGE, get)
            .says("Shows a legal hold.")
            .returns::<LegalHoldView>(),
        Route::new(Method::DELETE, ONE, Access::MANAGE, release)
            .says("Releases a legal hold. It stays listed, with who released it and when.")
            .returns_no_content(),
    ]
}

/// What is held: exactly one of `workspace`, `project_id` and `session_ids`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "LegalHold", extend("oneOf" = exactly_one(&["workspace", "project_id", "session_ids"])))]
struct Input {
    /// The whole workspace.
    #[serde(default)]
    workspace: bool,
    project_id: Option<String>,
    /// Sessions, with their events, bundles and artifacts.
    #[serde(default)]
    #[schemars(length(max = HELD_SESSIONS_MAX))]
    session_ids: Vec<String>,
    /// Why, for those who meet it. It must hold no content.
    #[schemars(required, length(min = 1, max = REASON_CHARS_MAX))]
    reason: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "LegalHold")]
struct LegalHoldView {
    id: String,
    object: &'static str,
    #[schemars(extend("enum" = ["in_force", "released"]))]
    status: &'static str,
    workspace: bool,
    project_id: Option<String>,
    session_ids: Vec<String>,
    reason: String,
    /// A key or a person.
    created_by: String,
    created_at: Moment,
    released_by: Option<String>,
    released_at: Option<Moment>,
}

impl Input {
    fn scope(&self) -> Result<HoldScope, Box<Fault>> {
        const SCOPES: &str = "Name one of workspace, project_id and session_ids.";
        if self.session_ids.len() > HELD_SESSIONS_MAX {
            let message = format!("More than {HELD_SESSIONS_MAX} sessions are named.");
            return Err(invalid("session_ids", message, "Make several holds, or hold their project."));
        }
        match (self.workspace, &self.project_id, self.session_ids.as_slice()) {
            (true, None, []) => Ok(HoldScope::Workspace),
            (false, Some(id), []) => id.parse().map(HoldScope::Project).map_err(|_| not_found("project", id)),
            (false, None, [_, ..]) => {
                let read = |id: &String| id.parse().map_err(|_| not_found("session", id));
                Ok(HoldScope::Sessions(self.session_ids.iter().map(read).collect::<Result<_, _>>()?))
            }
            (false, None, []) => Err(missing("workspace", SCOPES)),
            _ => Err(invalid("workspace", "Several scopes are named.", SCOPES)),
        }
    }

    fn reason(&self) -> Result<String, Box<Fault>> {
        let reason = self.reason.as_deref().unwrap_or_default().trim();
        if reason.is_empty() {
            return Err(missing("reason", "Say why, for example the name of the case."));
        }
        if reason.chars().count() > REASON_CHARS_MAX {
            let message = format!("The reason has more than {REASON_CHARS_MAX} characters.");
            return Err(invalid("reason", message, "Send a shorter one."));
        }
        Ok(reason.to_owned())
    }
}

async fn create(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let input: Input = request.json()?;
    let (scope, reason) = (input.scope()?, input.reason()?);
    let store = &control.deps.store;
    if let HoldScope::Project(project) = scope {
        store.projects().get(request.workspace(), project).await.map_err(of_store)?;
    }
    let world = &control.deps.world;
    let act = request.act(world);
    let row = LegalHoldRow {
        id: LegalHoldId::new(act.unix_ms, world.id_bytes()),
        workspace: request.workspace(),
        scope,
        reason,
        created_by: act.actor.clone(),
        created_unix_ms: act.unix_ms,
        released: None,
    };
    let written = Holds::of(store).create(row.clone(), act).await.map_err(of_store)?;
    control.deps.await_published(written.version).await?;
    let location = format!("{PATH}/{}", row.id);
    Ok(Reply::json(&show(&row))?.version(row.version()).as_created(location))
}

async fn list(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let holds = Holds::of(&control.deps.store);
    let listed = holds.list(request.workspace(), request.page()?).await.map_err(of_store)?;
    Reply::json(&request.page_of(listed, show))
}

async fn get(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let id: LegalHoldId = request.id("legal hold")?;
    let row = Holds::of(&control.deps.store).get(request.workspace(), id).await.map_err(of_store)?;
    Ok(Reply::json(&show(&row))?.version(row.version()))
}

async fn release(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let id: LegalHoldId = request.id("legal hold")?;
    let (expected, act) = (request.if_match()?, request.act(&control.deps.world));
    let released = Holds::of(&control.deps.store).release(request.workspace(), id, expected, act).await;
    control.deps.await_published(released.map_err(of_store)?.version).await?;
    Ok(Reply::no_content())
}

fn show(row: &LegalHoldRow) -> LegalHoldView {
    let (project, sessions) = match &row.scope {
        HoldScope::Workspace => (None, &[][..]),
        HoldScope::Project(project) => (Some(project.to_string()), &[][..]),
        HoldScope::Sessions(sessions) => (None, sessions.as_slice()),
    };
    let released = row.released.clone();
    LegalHoldView {
        id: row.id.to_string(),
        object: "legal_hold",
        status: if released.is_some() { "released" } else { "in_force" },
        workspace: row.scope == HoldScope::Workspace,
        project_id: project,
        session_ids: sessions.iter().map(ToString::to_string).collect(),
        reason: row.reason.clone(),
        created_by: row.created_by.clone(),
        created_at: Moment(row.created_unix_ms),
        released_at: released.as_ref().map(|(_, at)| Moment(*at)),
        released_by: released.map(|(by, _)| by),
    }
}
