//! `/v2/vault`: which keys seal what, and key rotation. The work itself happens in the background, in `keys`.

use std::sync::Arc;

use api::access::Access;
use api::moment::Moment;
use api::openapi::description::Nothing;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::master_key::wrapped_prefix;
use domain::{Fault, FaultClass, WorkspaceId};
use http::Method;
use reconcilers::{candidates, of_store};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use snapshot::WrappedKey;
use store::StoreError;
use store::rotations::REKEYED_PREFIX;
use vault::MasterState;

const NO_REHEARSAL: &str = "Keys are changed in the background, so this has no dry run.";

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/v2/vault", Access::OPERATE, show_vault)
            .says("Shows the master keys, the progress of their rotation, and which gateway holds which.")
            .returns_value::<VaultView>(),
        Route::new(Method::POST, "/v2/vault/master-key/rotate", Access::OPERATE, rotate_master)
            .says("Starts the rotation to the next master key.")
            .takes::<RotateMaster>()
            .returns_value::<VaultView>()
            .no_rehearsal(NO_REHEARSAL)
            .refuses(409, "no_next_master_key")
            .refuses(409, "master_key_used")
            .refuses(409, "rotation_not_finalized")
            .refuses(409, "rotation_under_way"),
        Route::new(Method::POST, "/v2/vault/master-key/finalize", Access::OPERATE, finalize_master)
            .says("Finalizes the rotation: the old master key no longer decrypts anything.")
            .takes_nothing()
            .returns_value::<VaultView>()
            .no_rehearsal(NO_REHEARSAL)
            .refuses(409, "gateway_lacks_master_key")
            .refuses(409, "nothing_to_finalize"),
        Route::new(Method::POST, "/v2/vault/accounts-key/rotate", Access::OPERATE, rotate_accounts)
            .says("Rotates the key of the accounts' secrets; a background job re-encrypts them.")
            .takes_nothing()
            .returns_value::<WorkspaceKeyView>()
            .no_rehearsal(NO_REHEARSAL)
            .refuses(409, "rotation_under_way"),
        Route::new(Method::GET, "/v2/vault/workspace-key", Access::LOOK, show_workspace)
            .says("Shows the key that seals the workspace's secrets, and the progress of its rotation.")
            .returns_value::<WorkspaceKeyView>(),
        Route::new(Method::POST, "/v2/vault/workspace-key/rotate", Access::OWN, rotate_workspace)
            .says("Rotates the key of the workspace's secrets; a background job re-encrypts them.")
            .takes_nothing()
            .returns_value::<WorkspaceKeyView>()
            .no_rehearsal(NO_REHEARSAL)
            .refuses(409, "rotation_under_way"),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "MasterKeyRotation")]
struct RotateMaster {
    /// One of the keys that this gateway holds; required if it holds more than one new key.
    key_id: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Vault")]
struct VaultView {
    object: &'static str,
    #[schemars(extend("enum" = ["steady", "waiting_for_gateways", "rotating", "to_be_finalized"]))]
    status: &'static str,
    master_key: MasterKeyView,
    /// Keys of workspaces that are not wrapped under the newest master key yet.
    keys_left: u64,
    workspace_keys_rotating: usize,
    gateways: Vec<Gateway>,
}

/// Keys by name; the keys themselves are never shown.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MasterKey")]
struct MasterKeyView {
    id: String,
    next_id: Option<String>,
    previous_id: Option<String>,
    retired_ids: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct Gateway {
    id: String,
    seen_at: Moment,
    master_keys: Vec<String>,
    /// Whether it could decrypt everything after the rotation.
    ready: bool,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "WorkspaceKey")]
struct WorkspaceKeyView {
    object: &'static str,
    id: String,
    #[schemars(extend("enum" = ["steady", "rotating"]))]
    status: &'static str,
    older_ids: Vec<String>,
    secrets_left: usize,
}

async fn state(control: &Control) -> Result<MasterState, Box<Fault>> {
    control.deps.vault_facts().await.map(|facts| MasterState::from_meta(&facts)).map_err(of_store)
}

async fn vault_reply(control: &Control) -> Result<Reply, Box<Fault>> {
    let state = state(control).await?;
    let target = state.next.as_ref().unwrap_or(&state.current);
    let holders = control.deps.holders().await.map_err(of_store)?;
    let gateways: Vec<Gateway> = holders
        .into_iter()
        .map(|holder| Gateway {
            ready: holder.key_ids.contains(target),
            id: holder.replica,
            seen_at: Moment(holder.seen_unix_ms),
            master_keys: holder.key_ids,
        })
        .collect();
    let left = control.deps.store.rotations().count_wrapped_otherwise(wrapped_prefix(target)).await;
    let rekeyed =
        control.deps.store.meta().starting_with(REKEYED_PREFIX.to_owned()).await.map_err(of_store)?;
    let status = match (&state.next, &state.previous) {
        (Some(_), _) if gateways.iter().all(|gateway| gateway.ready) => "rotating",
        (Some(_), _) => "waiting_for_gateways",
        (None, Some(_)) => "to_be_finalized",
        (None, None) => "steady",
    };
    Reply::json(&VaultView {
        object: "vault",
        status,
        keys_left: left.map_err(of_store)?,
        workspace_keys_rotating: rekeyed.len(),
        gateways,
        master_key: MasterKeyView {
            id: state.current,
            next_id: state.next,
            previous_id: state.previous,
            retired_ids: state.retired,
        },
    })
}

async fn show_vault(control: &Arc<Control>, _: ApiRequest) -> Handled {
    vault_reply(control).await
}

async fn rotate_master(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let input: RotateMaster = request.json()?;
    control.deps.reread_masters().await;
    let found = candidates(&control.deps.masters, &state(control).await?);
    let next = match (input.key_id, found.as_slice()) {
        (Some(wanted), found) if found.contains(&wanted) => wanted,
        (None, [only]) => only.clone(),
        (_, found) => return Err(no_next_key(found)),
    };
    let written = control.deps.store.rotations().begin_master(next, request.act(&control.deps.world)).await;
    control.deps.await_published(written.map_err(of_store)?.version).await?;
    vault_reply(control).await
}

fn no_next_key(found: &[String]) -> Box<Fault> {
    let (message, fix) = if found.is_empty() {
        (
            "This gateway holds no master key but those that are or were in force.".to_owned(),
            "Add the new key to every gateway's master key file (`tidegate vault new-key`), environment or command, and \
             ask again.",
        )
    } else {
        (format!("The request doesn't say which key it means: {}.", found.join(", ")), "Name one as key_id.")
    };
    let fault = Fault::new(FaultClass::Conflict, "no_next_master_key", message);
    Box::new(fault.param("key_id").fix(fix))
}

async fn finalize_master(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let Nothing {} = request.json()?;
    let current = state(control).await?.current;
    let holders = control.deps.holders().await.map_err(of_store)?;
    if let Some(lacking) = holders.iter().find(|holder| !holder.key_ids.contains(&current)) {
        let message = format!("The gateway {} does not hold the master key {current}.", lacking.replica);
        let fault = Fault::new(FaultClass::Conflict, "gateway_lacks_master_key", message);
        return Err(Box::new(fault.fix("Give it the key, or stop it, then send the request again.")));
    }
    loop {
        // A slow gateway may have wrapped something under the old key in the meantime.
        let broken = control.deps.rewrap_rest(&current).await.map_err(of_store)?;
        let act = request.act(&control.deps.world);
        let retired = control.deps.store.rotations().retire_master(broken, act).await.map_err(of_store)?;
        if let Some(written) = retired {
            control.deps.await_published(written.version).await?;
            return vault_reply(control).await;
        }
    }
}

/// Gives a workspace its next key; its secrets are resealed in the background.
async fn begin(control: &Control, request: &ApiRequest, workspace: WorkspaceId) -> Result<(), Box<Fault>> {
    let Nothing {} = request.json()?;
    let (key_id, wrapped) =
        control.deps.vault.sealer.next_workspace_key(workspace).await.map_err(|error| {
            tracing::error!(%error, "a workspace key could not be made");
            Box::new(Fault::internal())
        })?;
    let key = WrappedKey { workspace, key_id, wrapped };
    let written = control.deps.store.rotations().begin_workspace(key, request.act(&control.deps.world)).await;
    control.deps.await_published(written.map_err(of_store)?.version).await
}

async fn key_reply(control: &Control, workspace: WorkspaceId) -> Result<Reply, Box<Fault>> {
    let keys = control.deps.store.workspaces().wrapped_keys(workspace).await.map_err(of_store)?;
    let mut ids = keys.into_iter().rev().map(|key| key.key_id);
    let id = ids.next().ok_or_else(|| of_store(StoreError::NotFound { what: "workspace" }))?;
    let older: Vec<String> = ids.collect();
    let rotations = control.deps.store.rotations();
    let left = if older.is_empty() {
        0
    } else {
        rotations.list_sealed_otherwise(workspace, id.clone()).await.map_err(of_store)?.len()
    };
    let status = if older.is_empty() { "steady" } else { "rotating" };
    Reply::json(&WorkspaceKeyView {
        object: "workspace_key",
        id,
        status,
        older_ids: older,
        secrets_left: left,
    })
}

async fn show_workspace(control: &Arc<Control>, request: ApiRequest) -> Handled {
    key_reply(control, request.workspace()).await
}

async fn rotate_workspace(control: &Arc<Control>, request: ApiRequest) -> Handled {
    begin(control, &request, request.workspace()).await?;
    key_reply(control, request.workspace()).await
}

async fn rotate_accounts(control: &Arc<Control>, request: ApiRequest) -> Handled {
    begin(control, &request, vault::OPERATOR).await?;
    key_reply(control, vault::OPERATOR).await
}
