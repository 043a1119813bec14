//! Where a node has joined and how far it has reported, as its data directory keeps that.

use std::io;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::disk;
use crate::journal::Place;

const MEMBERSHIP: &str = "joined.json";
const REPORTED: &str = "reported.json";

/// Where a node has joined, and what it shows there.
#[derive(Clone, Serialize, Deserialize)]
pub struct Membership {
    /// The control plane's address.
    pub control: String,
    pub node_id: String,
    pub name: String,
    pub credential: String,
}

/// How far the journal was reported, and as which node.
#[derive(Serialize, Deserialize)]
struct Reported {
    node_id: String,
    #[serde(flatten)]
    place: Place,
}

impl std::fmt::Debug for Membership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Membership")
            .field("control", &self.control)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Membership {
    /// None where the node has joined nowhere.
    ///
    /// # Errors
    /// What is there can't be read.
    pub fn read(data_dir: &Path) -> io::Result<Option<Self>> {
        read(&data_dir.join(MEMBERSHIP))
    }

    /// For nobody else to read.
    ///
    /// # Errors
    /// The directory can't be written to.
    pub fn write(&self, data_dir: &Path) -> io::Result<()> {
        disk::write_json(&data_dir.join(MEMBERSHIP), self)
    }

    /// How far this node has reported its journal.
    pub(crate) fn reported(&self, data_dir: &Path) -> Place {
        // What is told twice counts once: where this is lost, all is told again.
        let kept: Option<Reported> = read(&data_dir.join(REPORTED)).unwrap_or_else(|error| {
            tracing::warn!(%error, "how far the journal was reported is not known: all of it is reported again");
            None
        });
        kept.filter(|kept| kept.node_id == self.node_id).map(|kept| kept.place).unwrap_or_default()
    }

    pub(crate) fn keep_reported(&self, data_dir: &Path, place: Place) -> io::Result<()> {
        disk::write_json(&data_dir.join(REPORTED), &Reported { node_id: self.node_id.clone(), place })
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match disk::read_json(path) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
