//! `tidegate vault`: the encryption keys, and their rotation.

use std::sync::Arc;

use anyhow::Context;
use cli::api::Api;
use cli::output::{self, Failure};
use cli::shared::Shared;
use domain::ports::KeyWrap;
use serde_json::json;
use vault::{LocalKeyWrap, MasterKey};
use world::World;

use super::serve::SettingFlags;
use crate::founding;
use crate::settings::Settings;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Shows which keys are in force, and the progress of a rotation.
    Status,
    /// Adds a new master key to a gateway's master key file, beside the one in force.
    NewKey {
        #[command(flatten)]
        settings: Box<SettingFlags>,
    },
    /// Rotates to a new master key: every workspace key is wrapped under it, while requests continue.
    RotateMaster {
        /// The new key's name, if the gateway holds more than one.
        #[arg(long)]
        key_id: Option<String>,
    },
    /// Finalizes a rotation of the master key: the old key can't decrypt anything any more.
    Finalize,
    /// Removes the master keys that are no longer in force from a gateway's master key file.
    ForgetOld {
        #[command(flatten)]
        settings: Box<SettingFlags>,
    },
    /// Rotates the workspace's key; its secrets are re-encrypted while requests continue.
    RotateWorkspace,
    /// Rotates the key of the operator's accounts.
    RotateAccounts,
}

pub fn run(shared: &Shared, command: Command) -> Result<(), Failure> {
    let post = |path: &str, body| -> Result<(), Failure> {
        output::object(shared, &Api::connect(shared)?.post(path, &body)?);
        Ok(())
    };
    match command {
        Command::Status => {
            output::object(shared, &Api::connect(shared)?.get("/v2/vault")?);
            Ok(())
        }
        Command::NewKey { settings } => new_key(shared, &settings),
        Command::RotateMaster { key_id } => {
            let body = key_id.map_or_else(|| json!({}), |id| json!({"key_id": id}));
            post("/v2/vault/master-key/rotate", body)
        }
        Command::Finalize => post("/v2/vault/master-key/finalize", json!({})),
        Command::ForgetOld { settings } => forget_old(shared, &settings),
        Command::RotateWorkspace => post("/v2/vault/workspace-key/rotate", json!({})),
        Command::RotateAccounts => post("/v2/vault/accounts-key/rotate", json!({})),
    }
}

fn file_of(flags: &SettingFlags) -> Result<std::path::PathBuf, Failure> {
    let settings =
        Settings::check(&flags.layers()?).map_err(|error| Failure::new(output::USAGE, error.to_string()))?;
    Ok(founding::master_key_file(&settings))
}

fn name_of(key: &MasterKey, world: &World) -> anyhow::Result<String> {
    Ok(LocalKeyWrap::new(key, Arc::clone(&world.random))?.key_id())
}

fn new_key(shared: &Shared, flags: &SettingFlags) -> Result<(), Failure> {
    let (path, world) = (file_of(flags)?, World::system());
    let mut keys =
        MasterKey::all_from_file(&path).context("there is no master key beside which to add one")?;
    let key = MasterKey::generate(&*world.random);
    let name = name_of(&key, &world)?;
    keys.push(key);
    MasterKey::write_all(&path, &keys.iter().collect::<Vec<_>>()).map_err(anyhow::Error::from)?;
    let added = json!({"key_id": name, "file": path.display().to_string(), "keys": keys.len()});
    output::object(shared, &added);
    Ok(())
}

/// Removes all keys but the one that the running gateway calls current, and only while no rotation is under
/// way, so that no key that is still needed is lost.
fn forget_old(shared: &Shared, flags: &SettingFlags) -> Result<(), Failure> {
    let (path, world) = (file_of(flags)?, World::system());
    let vault = Api::connect(shared)?.get("/v2/vault")?;
    if vault.get("status").and_then(serde_json::Value::as_str) != Some("steady") {
        let message = "A change of the master key is not over: `tidegate vault status` says how far it is.";
        return Err(Failure::new(output::CONFLICT, message));
    }
    let current = vault.pointer("/master_key/id").and_then(serde_json::Value::as_str).unwrap_or_default();
    let keys = MasterKey::all_from_file(&path).map_err(anyhow::Error::from)?;
    let mut kept = Vec::new();
    for key in &keys {
        if name_of(key, &world)? == current {
            kept.push(key);
        }
    }
    if kept.is_empty() {
        let message = format!("{} does not hold {current}, so nothing is taken out of it.", path.display());
        return Err(Failure::new(output::FAILED, message));
    }
    MasterKey::write_all(&path, &kept).map_err(anyhow::Error::from)?;
    let (kept, gone) = (kept.len(), keys.len() - kept.len());
    output::object(shared, &json!({"file": path.display().to_string(), "keys": kept, "forgotten": gone}));
    Ok(())
}
