//! `/v2/sessions/{id}/snapshots`: a branch as it was at one version, as a manifest that anybody computes alike.

use std::sync::Arc;

use api::access::Access;
use api::failure::{invalid, not_there};
use api::moment::Moment;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::{Fault, SnapshotId};
use http::Method;
use proof::Digest;
use reconcilers::of_store;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::StoreError;
use transcripts::{BranchRow, SessionEventRow, SessionRow, SessionSnapshotRow};

use crate::branches;
use crate::limits::SNAPSHOT_EVENTS_MAX;
use crate::sessions::load;
use crate::{content, scope};

const WHAT: &str = "snapshot";
/// The revision of how a manifest is made. Another way has another revision.
const COMPILER: &str = "pc_1";

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::POST, "/v2/sessions/{id}/snapshots", Access::WRITE_STATE, create)
            .says("Records a branch as it is at a version. The same version always has the same manifest and digest.")
            .takes::<SnapshotInput>()
            .makes_once::<SnapshotView>()
            .refuses(409, "snapshot_too_long"),
        Route::new(Method::GET, "/v2/sessions/{id}/snapshots", Access::READ_STATE, list)
            .says("Lists the snapshots of a session, oldest first.")
            .lists::<SnapshotView>(),
        Route::new(Method::GET, "/v2/sessions/{id}/snapshots/{snapshot_id}", Access::READ_STATE, get)
            .says("Shows a snapshot.")
            .returns_value::<SnapshotView>(),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SnapshotInput {
    /// The id or the name of a branch; by default the session's default branch.
    branch_id: Option<String>,
    /// By default the branch's last version.
    version: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SessionSnapshot")]
struct SnapshotView {
    id: String,
    object: &'static str,
    session_id: String,
    branch_id: String,
    branch_version: u64,
    prompt_compiler_revision: String,
    /// What a prompt is made of: the artifacts of the session's bundles, then the events since the last checkpoint.
    ordered_block_manifest: Value,
    /// SHA-256 of the manifest.
    digest: String,
    created_at: Moment,
}

/// One block of a manifest.
#[derive(Serialize)]
#[serde(untagged)]
enum Block {
    Artifact {
        source: &'static str,
        bundle_id: String,
        artifact_id: String,
        role: Option<String>,
        content_hash: String,
    },
    Event {
        source: &'static str,
        event_id: String,
        event_type: String,
        payload_ref: Option<String>,
        content_hash: Option<String>,
    },
}

fn show(row: &SessionSnapshotRow) -> SnapshotView {
    SnapshotView {
        id: row.id.to_string(),
        object: "session_snapshot",
        session_id: row.session.to_string(),
        branch_id: row.branch.to_string(),
        branch_version: row.version,
        prompt_compiler_revision: row.compiler.clone(),
        ordered_block_manifest: serde_json::from_str(&row.manifest).unwrap_or_default(),
        digest: content::hex(&row.manifest_hash),
        created_at: Moment(row.created_unix_ms),
    }
}

/// The artifacts that come before the events.
async fn artifact_blocks(
    control: &Control,
    request: &ApiRequest,
    session: &SessionRow,
) -> Result<Vec<Block>, Box<Fault>> {
    let (workspace, store) = (request.workspace(), &control.deps.store);
    let mut blocks = Vec::new();
    for id in &session.bundles {
        let bundle = match store.bundles().get(workspace, *id).await {
            Err(StoreError::NotFound { .. }) => continue,
            found => found.map_err(of_store)?,
        };
        for item in bundle.items {
            let artifact = store.artifacts().get(workspace, item.artifact).await.map_err(of_store)?;
            blocks.push(Block::Artifact {
                source: "bundle",
                bundle_id: id.to_string(),
                artifact_id: item.artifact.to_string(),
                role: item.role,
                content_hash: content::hex(&artifact.content_hash),
            });
        }
    }
    Ok(blocks)
}

/// The events from the last checkpoint on: it says what came before it.
fn since_checkpoint(events: Vec<SessionEventRow>) -> Vec<SessionEventRow> {
    let at = events.iter().rposition(|event| event.kind == "checkpoint").unwrap_or(0);
    events.into_iter().skip(at).collect()
}

async fn manifest(
    control: &Control,
    request: &ApiRequest,
    session: &SessionRow,
    branch: &BranchRow,
) -> Result<String, Box<Fault>> {
    let mut blocks = artifact_blocks(control, request, session).await?;
    let sessions = control.deps.store.sessions();
    let events = sessions.events(request.workspace(), branch.clone(), 0, SNAPSHOT_EVENTS_MAX + 1).await;
    let events = events.map_err(of_store)?;
    if events.len() > SNAPSHOT_EVENTS_MAX as usize {
        let detail = format!("a snapshot lists at most {SNAPSHOT_EVENTS_MAX} events");
        return Err(of_store(StoreError::conflict("snapshot_too_long", detail, None)));
    }
    blocks.extend(since_checkpoint(events).into_iter().map(|event| Block::Event {
        source: "event",
        event_id: event.id.to_string(),
        event_type: event.kind,
        payload_ref: event.artifact.map(|artifact| artifact.to_string()),
        content_hash: event.content.map(|content| content::hex(&content.hash)),
    }));
    serde_json::to_string(&blocks).map_err(|_| Box::new(Fault::internal()))
}

async fn create(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let session = load(control, &request).await?;
    let input: SnapshotInput = request.json()?;
    let wanted = input.branch_id.unwrap_or_else(|| session.default_branch.to_string());
    let found = branches::find(control, &request, session.id, &wanted, Some("branch_id")).await?;
    let branch = found.id;
    let sessions = control.deps.store.sessions();
    let version = input.version.unwrap_or(found.version);
    if version > found.version {
        let message = format!("The branch is at version {}.", found.version);
        return Err(invalid("version", message, "Send that version or an earlier one."));
    }
    let manifest = manifest(control, &request, &session, &BranchRow { version, ..found }).await?;
    let now_unix_ms = control.deps.world.clock.unix_ms();
    let row = SessionSnapshotRow {
        id: SnapshotId::new(now_unix_ms, control.deps.world.id_bytes()),
        session: session.id,
        branch,
        version,
        compiler: COMPILER.to_owned(),
        manifest_hash: Digest::of(&[manifest.as_bytes()]).0,
        manifest,
        created_unix_ms: now_unix_ms,
    };
    let act = request.act(&control.deps.world);
    sessions.keep_snapshot(request.workspace(), row.clone(), act).await.map_err(of_store)?;
    let location = format!("/v2/sessions/{}/snapshots/{}", session.id, row.id);
    Ok(Reply::json(&show(&row))?.as_created(location))
}

async fn list(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let session = load(control, &request).await?;
    let sessions = control.deps.store.sessions();
    let listed =
        sessions.snapshots(request.workspace(), session.id, request.page()?).await.map_err(of_store)?;
    Reply::json(&request.page_of(listed, show))
}

async fn get(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let session = load(control, &request).await?;
    let id: SnapshotId = scope::in_path(&request, 1, WHAT)?;
    let found = control.deps.store.sessions().snapshot(request.workspace(), session.id, id).await;
    Reply::json(&show(&found.map_err(|error| not_there(error, WHAT, &id))?))
}
