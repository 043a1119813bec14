//! What a data plane keeps of having joined: a file that only its owner reads, beside the master key.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::{DataPlaneId, Secret, WorkspaceId};
use proof::PublicKey;
use serde::{Deserialize, Serialize};
use vault::BoxKey;

const FILE: &str = "data-plane.json";

/// The control plane that a data plane has joined, what it is known by there, and the keys of both.
#[derive(Clone, Serialize, Deserialize)]
pub struct Membership {
    /// The control plane's base URL.
    pub control: String,
    pub data_plane_id: String,
    pub name: String,
    pub workspace_id: String,
    pub credential: String,
    /// The seed of the key that opens what is sealed for it, as Base64.
    seed: String,
    /// The key that signs its configuration.
    pub control_key: PublicKey,
    /// Of the token that it joined with, so that another one is noticed.
    #[serde(default)]
    pub token_digest: Option<String>,
}

impl Membership {
    /// With the keys and the ids of a fresh join.
    #[must_use]
    pub fn new(control: String, seed: &Secret, control_key: PublicKey) -> Self {
        let seed = STANDARD.encode(seed.expose());
        let (data_plane_id, name) = (String::new(), String::new());
        let (workspace_id, credential) = (String::new(), String::new());
        Self { control, data_plane_id, name, workspace_id, credential, seed, control_key, token_digest: None }
    }

    #[must_use]
    pub fn file(data_dir: &Path) -> PathBuf {
        data_dir.join(FILE)
    }

    /// `None` where there is none.
    ///
    /// # Errors
    /// The file exists but can't be read.
    pub fn read(data_dir: &Path) -> io::Result<Option<Self>> {
        match fs::read(Self::file(data_dir)) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes it, readable by its owner alone, and only whole.
    ///
    /// # Errors
    /// The directory can't be written to.
    pub fn write(&self, data_dir: &Path) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        world::replace_private(&Self::file(data_dir), &text)
    }

    /// # Errors
    /// The file was changed: a key or an id in it is none.
    pub(crate) fn keys(&self) -> io::Result<(BoxKey, DataPlaneId, WorkspaceId)> {
        let wrong = |what: &str| io::Error::other(format!("{FILE} has no {what} that can be read"));
        let seed = STANDARD.decode(&self.seed).map(Secret::new).map_err(|_| wrong("key"))?;
        let key = BoxKey::from_seed(&seed).map_err(|_| wrong("key"))?;
        let plane = self.data_plane_id.parse().map_err(|_| wrong("data_plane_id"))?;
        let workspace = self.workspace_id.parse().map_err(|_| wrong("workspace_id"))?;
        Ok((key, plane, workspace))
    }
}

impl std::fmt::Debug for Membership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Membership")
            .field("control", &self.control)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
