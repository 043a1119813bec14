//! `/v2/artifacts`: content that never changes, stored sealed under an id that says nothing of it.

use std::sync::Arc;
use std::time::Duration;

use api::access::Access;
use api::failure::{invalid, missing, not_there};
use api::moment::Moment;
use api::names::checked_name;
use api::openapi::bounds::at_least_one;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::{ArtifactId, Fault, FaultClass};
use http::Method;
use reconcilers::{milliseconds, of_store};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::StoreError;
use transcripts::ArtifactRow;

use crate::limits::{ARTIFACT_BYTES_MAX, EPHEMERAL_KEPT, MEDIA_TYPE_BYTES_MAX, STANDARD_KEPT};
use crate::{content, scope};

const PATH: &str = "/v2/artifacts";
const ONE: &str = "/v2/artifacts/{id}";
pub(crate) const WHAT: &str = "artifact";
const KINDS: [&str; 9] = [
    "text_context",
    "tool_bundle_source",
    "response_schema",
    "document",
    "retrieval_chunk",
    "policy",
    "checkpoint",
    "compaction_summary",
    "binary_attachment",
];
/// Names of how long an artifact is kept, each with the time.
const RETENTIONS: [(&str, Option<Duration>); 3] =
    [("ephemeral", Some(EPHEMERAL_KEPT)), ("standard", Some(STANDARD_KEPT)), ("extended", None)];
/// The only version of what never changes.
pub(crate) const VERSION: u64 = 1;

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::POST, PATH, Access::WRITE_STATE, create)
            .says("Stores an artifact: immutable content, sealed, under an id that reveals nothing about it.")
            .takes::<ArtifactInput>()
            .takes_content()
            .makes::<ArtifactView>()
            .refuses(413, "content_too_large"),
        Route::new(Method::GET, PATH, Access::READ_STATE, list)
            .says("Lists artifacts, without their content.")
            .query("project_id", "Only those of this project.")
            .lists::<ArtifactView>(),
        Route::new(Method::GET, ONE, Access::READ_STATE, get)
            .says("Shows an artifact, without its content.")
            .returns::<ArtifactView>(),
        Route::new(Method::GET, "/v2/artifacts/{id}/content", Access::READ_STATE, read)
            .says("Shows the content of an artifact. If a person opens it, the audit log records that.")
            .returns_value::<ContentView>()
            .refuses(404, "artifact_revoked"),
        Route::new(Method::DELETE, ONE, Access::WRITE_STATE, delete)
            .says("Deletes the content of an artifact. Its description stays, so that objects that refer to it can show what is missing.")
            .returns_no_content(),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("anyOf" = at_least_one(&["content", "content_base64"])))]
struct ArtifactInput {
    /// By default the key's project, or the workspace's first.
    project_id: Option<String>,
    #[serde(rename = "type")]
    #[schemars(extend("enum" = KINDS))]
    kind: String,
    /// What people call it.
    name: Option<String>,
    /// By default text/plain, application/json for JSON, or application/octet-stream for `content_base64`.
    media_type: Option<String>,
    /// Text, or JSON.
    content: Option<Value>,
    /// Bytes, in place of `content`.
    content_base64: Option<String>,
    /// `ephemeral`: a day; `standard`: 30 days, the default; `extended`: until it is deleted.
    #[schemars(extend("enum" = ["ephemeral", "standard", "extended", null]))]
    retention: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Artifact")]
struct ArtifactView {
    id: String,
    object: &'static str,
    project_id: String,
    #[serde(rename = "type")]
    kind: String,
    name: Option<String>,
    media_type: String,
    retention: String,
    bytes: u64,
    /// A keyed hash of the content: equal for equal content of one project.
    content_hash: String,
    /// `active`, or `revoked` where the content was deleted.
    status: &'static str,
    created_at: Moment,
    expires_at: Option<Moment>,
    revoked_at: Option<Moment>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ArtifactContent")]
struct ContentView {
    id: String,
    object: &'static str,
    media_type: String,
    /// Where it is text.
    content: Option<String>,
    /// Where it is not.
    content_base64: Option<String>,
}

fn show(row: &ArtifactRow) -> ArtifactView {
    ArtifactView {
        id: row.id.to_string(),
        object: "artifact",
        project_id: row.project.to_string(),
        kind: row.kind.clone(),
        name: Some(row.name.clone()).filter(|name| !name.is_empty()),
        media_type: row.media_type.clone(),
        retention: row.retention.clone(),
        bytes: row.content_bytes,
        content_hash: content::hex(&row.content_hash),
        status: if row.revoked_unix_ms.is_some() { "revoked" } else { "active" },
        created_at: Moment(row.created_unix_ms),
        expires_at: row.until_unix_ms.map(Moment),
        revoked_at: row.revoked_unix_ms.map(Moment),
    }
}

async fn create(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let input: ArtifactInput = request.json()?;
    let project = scope::of_new(control, &request, input.project_id.as_deref())?;
    scope::check_retention(control, &request, project)?;
    let content = content::read(input.content.as_ref(), input.content_base64.as_deref(), ARTIFACT_BYTES_MAX)?;
    let content =
        content.ok_or_else(|| missing("content", "Send the artifact's text, JSON, or bytes in base64."))?;
    let now_unix_ms = control.deps.world.clock.unix_ms();
    let id = ArtifactId::new(now_unix_ms, control.deps.world.id_bytes());
    let (about, sealed) = content::seal(control, &request, project, id.as_bytes(), &content)?;
    let (retention, kept) = checked_retention(input.retention.as_deref())?;
    let row = ArtifactRow {
        id,
        workspace: request.workspace(),
        project,
        kind: checked_kind(&input.kind)?,
        name: input.name.map(|name| checked_name(Some(name), "name")).transpose()?.unwrap_or_default(),
        media_type: checked_media_type(input.media_type, input.content.as_ref())?,
        retention: retention.to_owned(),
        content_bytes: about.bytes,
        content_hash: about.hash,
        content: about.digest,
        created_unix_ms: now_unix_ms,
        until_unix_ms: kept.map(|kept| now_unix_ms.saturating_add(milliseconds(kept))),
        revoked_unix_ms: None,
    };
    let act = request.act(&control.deps.world);
    control.deps.store.artifacts().create(row.clone(), sealed, act).await.map_err(of_store)?;
    Ok(Reply::json(&show(&row))?.version(VERSION).as_created(format!("{PATH}/{id}")))
}

fn checked_kind(kind: &str) -> Result<String, Box<Fault>> {
    if KINDS.contains(&kind) {
        return Ok(kind.to_owned());
    }
    let excerpt: String = kind.chars().take(64).collect();
    Err(invalid(
        "type",
        format!("\"{excerpt}\" isn't a type of artifact."),
        format!("Send one of {}.", KINDS.join(", ")),
    ))
}

fn checked_retention(name: Option<&str>) -> Result<(&'static str, Option<Duration>), Box<Fault>> {
    let name = name.unwrap_or("standard");
    let found = RETENTIONS.into_iter().find(|(known, _)| *known == name);
    found.ok_or_else(|| {
        let excerpt: String = name.chars().take(64).collect();
        invalid(
            "retention",
            format!("\"{excerpt}\" isn't a valid retention."),
            "Send ephemeral, standard or extended.",
        )
    })
}

fn checked_media_type(stated: Option<String>, content: Option<&Value>) -> Result<String, Box<Fault>> {
    let Some(stated) = stated else {
        return Ok(match content {
            Some(Value::String(_)) => "text/plain",
            Some(_) => "application/json",
            None => "application/octet-stream",
        }
        .to_owned());
    };
    let is_fine = stated.len() <= MEDIA_TYPE_BYTES_MAX
        && stated.contains('/')
        && stated.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    if is_fine {
        return Ok(stated);
    }
    Err(invalid("media_type", "\"media_type\" isn't a valid media type.", "Send one such as text/markdown."))
}

async fn list(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let project = scope::listed(&request)?;
    let artifacts = control.deps.store.artifacts();
    let listed = artifacts.list(request.workspace(), project, request.page()?).await.map_err(of_store)?;
    Reply::json(&request.page_of(listed, show))
}

/// The artifact that the path names.
async fn load(control: &Control, request: &ApiRequest) -> Result<ArtifactRow, Box<Fault>> {
    let id: ArtifactId = request.id(WHAT)?;
    let row = control.deps.store.artifacts().get(request.workspace(), id).await;
    let row = row.map_err(|error| not_there(error, WHAT, &id))?;
    scope::check(request, row.project, WHAT, &id)?;
    Ok(row)
}

async fn get(control: &Arc<Control>, request: ApiRequest) -> Handled {
    Ok(Reply::json(&show(&load(control, &request).await?))?.version(VERSION))
}

async fn read(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let row = load(control, &request).await?;
    let id = row.id.to_string();
    let found = content::open(control, &request, row.content).await?;
    let found = found.ok_or_else(|| gone(&id))?;
    content::audit_opening(control, &request, "artifact.open", &id, &row.kind).await?;
    let (content, content_base64) = content::show(found);
    Reply::json(&ContentView {
        id,
        object: "artifact_content",
        media_type: row.media_type,
        content,
        content_base64,
    })
}

fn gone(id: &str) -> Box<Fault> {
    let message = format!("The content of the artifact {id} was deleted or has expired.");
    Box::new(
        Fault::new(FaultClass::NotFound, "artifact_revoked", message)
            .fix("Store it again, as a new artifact."),
    )
}

async fn delete(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let row = load(control, &request).await?;
    check_version(&request, WHAT)?;
    let act = request.act(&control.deps.world);
    control.deps.store.artifacts().revoke(request.workspace(), row.id, act).await.map_err(of_store)?;
    Ok(Reply::no_content())
}

/// Compares `If-Match` with the only version of what never changes.
pub(crate) fn check_version(request: &ApiRequest, what: &'static str) -> Result<(), Box<Fault>> {
    match request.if_match()? {
        Some(expected) if expected != VERSION => {
            Err(of_store(StoreError::Precondition { what, current: VERSION }))
        }
        _ => Ok(()),
    }
}
