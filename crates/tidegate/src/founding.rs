//! Creates a data directory: master key, database, first workspace, project and keys. An incomplete one is
//! refused from then on.

use std::io::ErrorKind;
use std::sync::Arc;

use anyhow::Context;
use control::Founded;
use domain::Secret;
use domain::ports::NoAudit;
use snapshot::WrappedKey;
use store::datadir::Making;
use store::{Act, Foundation, ReplicaId, Store, StoreError};
use vault::{MasterKey, MasterKeyring, Vault};
use world::World;

use crate::settings::Settings;

const FIRST_WORKSPACE: &str = "default";

/// Initialises an empty directory, with a new database, or with one that other gateways share.
///
/// # Errors
/// The directory is not empty, the database can't be used, or the shared installation's master key is
/// missing.
pub async fn create_or_join(
    settings: &Settings,
    world: &World,
    owner_email: &str,
) -> anyhow::Result<Option<Founded>> {
    let replica = new_replica(world);
    let Some(address) = &settings.database else {
        return create_installation(settings, world, owner_email, replica).await;
    };
    let store = match Store::connect(address, replica).await {
        Err(StoreError::NotFounded { .. }) => {
            let founded = create_installation(settings, world, owner_email, replica).await?;
            if founded.is_some() {
                return Ok(founded);
            }
            Store::connect(address, replica).await?
        }
        connected => connected.with_context(|| format!("{address} can't be used"))?,
    };
    let owner = crate::data_plane::owner(&store).await;
    store.close().await;
    if let Some(id) = owner? {
        anyhow::bail!(
            "{address} is the database of the data plane {id}, which shares it with no other gateway"
        );
    }
    master_keys(settings, world).with_context(|| {
        format!("{address} is in use already; this gateway needs the same master key as the others")
    })?;
    let making = Making::begin(&settings.data_dir)?;
    making.keep_replica(replica)?;
    finish(settings, making)?;
    Ok(None)
}

/// Creates everything, and returns the keys, which are shown once; or nothing, if another gateway founded the shared
/// database meanwhile. The owner has no password: a link signs them in.
///
/// # Errors
/// The directory is not empty, the master key can't be used, or the database or the disk fails; nothing usable is left
/// behind.
async fn create_installation(
    settings: &Settings,
    world: &World,
    owner_email: &str,
    replica: ReplicaId,
) -> anyhow::Result<Option<Founded>> {
    let making = Making::begin(&settings.data_dir)?;
    let wrap = match new_master_key(settings, world) {
        Ok(wrap) => wrap,
        Err(error) => {
            give_up(making)?;
            return Err(error);
        }
    };
    let records = Vault::create(&*wrap, &*world.random).await?;
    let vault = Vault::open(Arc::<MasterKeyring>::clone(&wrap), &records, world, Arc::new(NoAudit)).await?;
    let (key_id, wrapped) = vault.sealer.new_workspace_key(vault::OPERATOR).await?;
    let first = control::found(world, &vault, FIRST_WORKSPACE, true)
        .await
        .map_err(|fault| anyhow::anyhow!("the first workspace could not be made: {fault}"))?;
    let foundation = Foundation {
        meta: records.to_meta(),
        operator_key: WrappedKey { workspace: vault::OPERATOR, key_id, wrapped },
        founding: first.founding,
        act: Act::system(world),
    };
    let store = match &settings.database {
        None => Store::create(&making.database(), foundation).await?,
        Some(address) => match Store::found(address, replica, foundation).await {
            Err(StoreError::AlreadyFounded { .. }) => {
                give_up(making)?;
                return Ok(None);
            }
            founded => founded?,
        },
    };
    if settings.database.is_some() {
        making.keep_replica(replica)?;
    }
    control::first_owner(&store, world, owner_email).await?;
    store.close().await;
    finish(settings, making)?;
    Ok(Some(first.view))
}

/// Empties the directory again. It was empty before, so that a master key in it was made for what is not stored now.
fn give_up(making: Making) -> anyhow::Result<()> {
    match std::fs::remove_file(making.master_key()) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(making.abandon()?),
    }
}

pub fn new_replica(world: &World) -> ReplicaId {
    let mut bytes = [0; 16];
    world.random.fill(&mut bytes);
    ReplicaId::from_bytes(bytes)
}

fn finish(settings: &Settings, making: Making) -> anyhow::Result<()> {
    crate::data_dir::make_journal(&settings.data_dir)?;
    Ok(making.finish()?)
}

/// Creates a master key file, unless the operator provides the key.
///
/// # Errors
/// The disk fails, or the key that is provided is invalid.
pub fn new_master_key(settings: &Settings, world: &World) -> anyhow::Result<Arc<MasterKeyring>> {
    let path = master_key_file(settings);
    if brought_key().is_none() && settings.master_key_command.is_none() && !path.exists() {
        MasterKey::create_file(&path, &*world.random)?;
    }
    master_keys(settings, world)
}

/// The master keys of this installation: one, or two during a rotation.
///
/// # Errors
/// They are missing, readable by others, or invalid.
pub fn master_keys(settings: &Settings, world: &World) -> anyhow::Result<Arc<MasterKeyring>> {
    let (path, command) = (master_key_file(settings), settings.master_key_command.clone());
    let read = move || match (brought_key(), &command) {
        (Some(text), _) => MasterKey::all_from_base64(&text),
        (None, Some(command)) => MasterKey::all_from_command(command),
        (None, None) => MasterKey::all_from_file(&path),
    };
    let masters = MasterKeyring::new(Box::new(read), Arc::clone(&world.random));
    Ok(Arc::new(masters.context("there is no master key to unseal with")?))
}

fn brought_key() -> Option<Secret> {
    std::env::var("TIDEGATE_MASTER_KEY").ok().filter(|text| !text.is_empty()).map(Secret::from_text)
}

/// The file of master keys, at its default place unless the settings name another.
pub fn master_key_file(settings: &Settings) -> std::path::PathBuf {
    settings
        .master_key_file
        .clone()
        .unwrap_or_else(|| settings.data_dir.join(store::datadir::MASTER_KEY_FILE))
}
