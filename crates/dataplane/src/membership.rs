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
    /// Whether its workspace was added to a data plane that had joined for another.
    #[serde(default)]
    pub is_added: bool,
}

/// The file: what was joined first, and the workspaces that were added.
#[derive(Serialize, Deserialize)]
struct Kept {
    #[serde(flatten)]
    first: Membership,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    others: Vec<Membership>,
}

impl Membership {
    /// With the keys and the ids of a fresh join.
    pub fn new(control: String, seed: &Secret, control_key: PublicKey) -> Self {
        let seed = STANDARD.encode(seed.expose());
        let (data_plane_id, name) = (String::new(), String::new());
        let (workspace_id, credential) = (String::new(), String::new());
        Self {
            control,
            data_plane_id,
            name,
            workspace_id,
            credential,
            seed,
            control_key,
            token_digest: None,
            is_added: false,
        }
    }

    pub fn file(data_dir: &Path) -> PathBuf {
        data_dir.join(FILE)
    }

    /// One for each workspace, in the order in which they were joined; none where nothing was joined.
    ///
    /// # Errors
    /// The file exists but can't be read.
    pub fn read(data_dir: &Path) -> io::Result<Vec<Self>> {
        match fs::read(Self::file(data_dir)) {
            Ok(bytes) => {
                let Kept { first, others } = serde_json::from_slice(&bytes).map_err(io::Error::other)?;
                Ok([first].into_iter().chain(others).collect())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Writes them, readable by their owner alone, and only whole.
    pub fn write(memberships: &[Self], data_dir: &Path) -> io::Result<()> {
        let Some((first, others)) = memberships.split_first() else { return Ok(()) };
        let kept = Kept { first: first.clone(), others: others.to_vec() };
        let text = serde_json::to_vec_pretty(&kept).map_err(io::Error::other)?;
        world::replace_private(&Self::file(data_dir), &text)
    }

    /// The name of a fact in the database that is kept for each workspace.
    pub(crate) fn fact(&self, name: &str) -> String {
        if self.is_added { format!("{name} {}", self.workspace_id) } else { name.to_owned() }
    }

    /// # Errors
    /// The file was changed: the id is none.
    pub fn workspace(&self) -> io::Result<WorkspaceId> {
        let id = self.workspace_id.parse();
        id.map_err(|_| io::Error::other(format!("{FILE} has no workspace_id that can be read")))
    }

    /// # Errors
    /// The file was changed: a key or an id in it is none.
    pub(crate) fn keys(&self) -> io::Result<(BoxKey, DataPlaneId, WorkspaceId)> {
        let wrong = |what: &str| io::Error::other(format!("{FILE} has no {what} that can be read"));
        let seed = STANDARD.decode(&self.seed).map(Secret::new).map_err(|_| wrong("key"))?;
        let key = BoxKey::from_seed(&seed).map_err(|_| wrong("key"))?;
        let plane = self.data_plane_id.parse().map_err(|_| wrong("data_plane_id"))?;
        Ok((key, plane, self.workspace()?))
    }
}

domain::brief_debug!(Membership, control, name);
