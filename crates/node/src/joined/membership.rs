//! A node's membership and its report position, stored in the data directory.

use std::io;
use std::path::Path;

use proof::PublicKey;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::disk;
use crate::journal::JournalPosition;

const MEMBERSHIP: &str = "joined.json";
const REPORTED: &str = "reported.json";

/// The control plane that a node has joined, and its credential there.
#[derive(Clone, Serialize, Deserialize)]
pub struct Membership {
    /// The control plane's base URL.
    pub control: String,
    pub node_id: String,
    pub name: String,
    pub credential: String,
    /// The key that the control plane signs certificates with; the first certificate names it where joining did not.
    #[serde(default)]
    pub control_key: Option<PublicKey>,
    /// The gateway's requests come through a tunnel that this node opens.
    #[serde(default)]
    pub tunnel: bool,
}

/// How far the journal has been reported, and as which node.
#[derive(Serialize, Deserialize)]
struct Reported {
    node_id: String,
    #[serde(flatten)]
    place: JournalPosition,
}

domain::brief_debug!(Membership, control, name);

impl Membership {
    /// `None` if the node has not joined.
    ///
    /// # Errors
    /// The file exists but can't be read.
    pub fn read(data_dir: &Path) -> io::Result<Option<Self>> {
        read(&data_dir.join(MEMBERSHIP))
    }

    /// Writes it, readable by its owner alone.
    pub fn write(&self, data_dir: &Path) -> io::Result<()> {
        disk::write_json(&data_dir.join(MEMBERSHIP), self)
    }

    /// How far this node has reported its journal.
    pub(crate) fn reported(&self, data_dir: &Path) -> JournalPosition {
        // Records that are reported twice count once, so if the position is lost, everything is reported
        // again.
        let kept: Option<Reported> = read(&data_dir.join(REPORTED)).unwrap_or_else(|error| {
            tracing::warn!(%error, "how far the journal was reported is not known: all of it is reported again");
            None
        });
        kept.filter(|kept| kept.node_id == self.node_id).map(|kept| kept.place).unwrap_or_default()
    }

    pub(crate) fn keep_reported(&self, data_dir: &Path, position: JournalPosition) -> io::Result<()> {
        disk::write_json(
            &data_dir.join(REPORTED),
            &Reported { node_id: self.node_id.clone(), place: position },
        )
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match disk::read_json(path) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
