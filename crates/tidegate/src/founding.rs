//! Making a data directory: master key, database, first workspace, project and keys; whole, or refused ever after.

use std::sync::Arc;

use anyhow::Context;
use control::Founded;
use domain::Secret;
use domain::ports::{KeyWrap, NoAudit};
use snapshot::WrappedKey;
use store::datadir::Making;
use store::{Act, Foundation, Store};
use vault::{LocalKeyWrap, MasterKey, Vault};
use world::World;

use crate::settings::Settings;

const FIRST_WORKSPACE: &str = "default";

/// Makes everything, and returns the keys that nobody is shown again. The owner has no password: a link signs them in.
///
/// # Errors
/// The directory is not empty, or the disk refuses; nothing usable is left then.
pub async fn found(settings: &Settings, world: &World, owner_email: &str) -> anyhow::Result<Founded> {
    let making = Making::begin(&settings.data_dir)?;
    let wrap = new_master_key(settings, world)?;
    let records = Vault::create(&*wrap, &*world.random).await?;
    let vault = Vault::open(Arc::clone(&wrap), &records, world, Arc::new(NoAudit)).await?;
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
    let store = Store::create(&making.database(), foundation).await?;
    control::first_owner(&store, world, owner_email).await?;
    store.close().await;
    std::fs::create_dir_all(crate::data_dir::journal(&settings.data_dir))?;
    making.finish()?;
    Ok(first.shown)
}

/// A fresh key in a file, unless the operator brings one.
fn new_master_key(settings: &Settings, world: &World) -> anyhow::Result<Arc<dyn KeyWrap>> {
    if let Some(key) = given_master_key(settings)? {
        return Ok(Arc::new(LocalKeyWrap::new(&key, Arc::clone(&world.random))?));
    }
    let path = master_key_file(settings);
    let key = if path.exists() {
        MasterKey::from_file(&path)?
    } else {
        MasterKey::create_file(&path, &*world.random)?
    };
    Ok(Arc::new(LocalKeyWrap::new(&key, Arc::clone(&world.random))?))
}

/// The key that sealed this installation.
///
/// # Errors
/// It is missing, readable by others, or no key.
pub fn master_key(settings: &Settings, world: &World) -> anyhow::Result<Arc<dyn KeyWrap>> {
    let key = match given_master_key(settings)? {
        Some(key) => key,
        None => MasterKey::from_file(&master_key_file(settings))
            .context("there is no master key to unseal with")?,
    };
    Ok(Arc::new(LocalKeyWrap::new(&key, Arc::clone(&world.random))?))
}

fn given_master_key(settings: &Settings) -> anyhow::Result<Option<MasterKey>> {
    if let Some(text) = std::env::var("TIDEGATE_MASTER_KEY").ok().filter(|text| !text.is_empty()) {
        return Ok(Some(MasterKey::from_base64(&Secret::from_text(text))?));
    }
    match &settings.master_key_command {
        Some(command) => Ok(Some(MasterKey::from_command(command)?)),
        None => Ok(None),
    }
}

fn master_key_file(settings: &Settings) -> std::path::PathBuf {
    settings
        .master_key_file
        .clone()
        .unwrap_or_else(|| settings.data_dir.join(store::datadir::MASTER_KEY_FILE))
}
