//! Creating a workspace with everything it needs: its sealing key, a first project, an admin key and an API
//! key, in one transaction.

use domain::{Fault, KeyId, ProjectId, WorkspaceId};
use schemars::JsonSchema;
use serde::Serialize;
use snapshot::{Scopes, WrappedKey};
use store::{ApiKeyRow, Founding, ProjectRow, WorkspaceRow};
use vault::Vault;
use world::World;

/// What `init --json` and `POST /v2/workspaces` return, once.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "FoundedWorkspace")]
pub struct Founded {
    pub workspace_id: String,
    pub project_id: String,
    pub admin_key: String,
    pub api_key: String,
}

/// A workspace ready to be written, and what its creator is shown.
pub struct NewWorkspace {
    pub founding: Founding,
    pub view: Founded,
}

/// The environment of the first project: what a new application would call live.
const FIRST_ENVIRONMENT: &str = "production";

/// Prepares all rows of a new workspace; the caller writes them.
///
/// # Errors
/// 500 where the master key can't wrap the new workspace's key.
pub async fn found(
    world: &World,
    vault: &Vault,
    name: &str,
    operator: bool,
) -> Result<NewWorkspace, Box<Fault>> {
    let now = world.clock.unix_ms();
    let workspace = WorkspaceId::new(now, world.id_bytes());
    let project = ProjectId::new(now, world.id_bytes());
    let (key_id, wrapped) = vault.sealer.new_workspace_key(workspace).await.map_err(|error| {
        tracing::error!(%error, "a workspace key could not be made");
        Box::new(Fault::internal())
    })?;
    let admin = Scopes { inference: true, read: true, admin: true, operator };
    // As for every key made later: an application has no business with the workspace's members and
    // credentials.
    let caller = Scopes { inference: true, ..Scopes::default() };
    let (admin_key, admin_row) =
        new_key(world, vault, (workspace, project), "admin", FIRST_ENVIRONMENT, admin);
    let (api_key, api_row) =
        new_key(world, vault, (workspace, project), "default", FIRST_ENVIRONMENT, caller);
    let founding = Founding {
        workspace: WorkspaceRow {
            id: workspace,
            name: name.to_owned(),
            caching: domain::CachePolicy::default(),
            created_unix_ms: now,
            version: 0,
        },
        wrapped_key: WrappedKey { workspace, key_id, wrapped },
        project: ProjectRow {
            origins: String::new(),
            caching: domain::CachePolicy::default(),
            id: project,
            workspace,
            name: "default".to_owned(),
            environment: FIRST_ENVIRONMENT.to_owned(),
            metadata: serde_json::Value::Null,
            created_unix_ms: now,
            version: 0,
        },
        keys: vec![admin_row, api_row],
    };
    let view =
        Founded { workspace_id: workspace.to_string(), project_id: project.to_string(), admin_key, api_key };
    Ok(NewWorkspace { founding, view })
}

/// A fresh key: its text, which only its creator ever sees, and the row it is found by.
pub fn new_key(
    world: &World,
    vault: &Vault,
    (workspace, project): (WorkspaceId, ProjectId),
    name: &str,
    environment: &str,
    scopes: Scopes,
) -> (String, ApiKeyRow) {
    let now = world.clock.unix_ms();
    let minted = vault::mint_api_key(&*world.random, &*vault.hasher, environment == "production");
    let row = ApiKeyRow {
        origins: String::new(),
        id: KeyId::new(now, world.id_bytes()),
        workspace,
        project,
        name: name.to_owned(),
        digest: minted.digest,
        last4: minted.last4,
        environment: environment.to_owned(),
        scopes,
        expires_unix_ms: None,
        ip_allowlist: Vec::new(),
        priority: None,
        revoked_unix_ms: None,
        access_secret: None,
        created_by: None,
        created_unix_ms: now,
        version: 0,
    };
    (minted.text.expose_text().unwrap_or_default().to_owned(), row)
}
