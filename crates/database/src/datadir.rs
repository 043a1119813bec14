//! Creates and checks the data directory. A marker file exists from the start of its creation to the end, so
//! that a half-made directory is refused.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::address::ReplicaId;
use crate::error::StoreError;

/// The database's file name in a data directory.
pub const DATABASE_FILE: &str = "tidegate.db";
/// The master key's file name in a data directory.
pub const MASTER_KEY_FILE: &str = "master.key";
/// The journal's directory in a data directory.
pub const JOURNAL_DIR: &str = "journal";
/// The directory of tasks that have ended and are not in the database yet.
pub const TASKS_DIR: &str = "tasks";
/// Holds the replica id of a process whose database is elsewhere.
const REPLICA_FILE: &str = "replica";
const MARKER_FILE: &str = "INCOMPLETE";
const HARMLESS: [&str; 4] = ["lost+found", ".DS_Store", ".gitkeep", ".lock"];

/// The state of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataDir {
    /// Missing or empty: may be initialised.
    Empty,
    /// Fully initialised.
    Ready,
}

/// Checks a directory without changing it.
///
/// # Errors
/// If it is half-made, holds something else, or can't be read.
pub fn inspect(dir: &Path) -> Result<DataDir, StoreError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(DataDir::Empty),
        Err(source) => return Err(StoreError::Disk { path: dir.into(), source }),
    };
    if dir.join(MARKER_FILE).exists() {
        return Err(StoreError::HalfMade { path: dir.into() });
    }
    if dir.join(DATABASE_FILE).exists() || dir.join(REPLICA_FILE).exists() {
        return Ok(DataDir::Ready);
    }
    // What a fresh file system, an editor or Tidegate's own lock puts into a directory is not foreign data.
    let foreign = entries.flatten().any(|entry| {
        let name = entry.file_name();
        !HARMLESS.iter().any(|harmless| name == *harmless)
    });
    if foreign { Err(StoreError::Foreign { path: dir.into() }) } else { Ok(DataDir::Empty) }
}

/// The replica whose journal is in this directory, if its database is elsewhere.
pub fn replica(dir: &Path) -> Result<Option<ReplicaId>, StoreError> {
    let path = dir.join(REPLICA_FILE);
    let refused = |source| StoreError::Disk { path: path.clone(), source };
    match fs::read_to_string(&path) {
        Ok(text) => text.parse().map(Some).map_err(|error| refused(io::Error::other(error))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(refused(source)),
    }
}

/// A data directory being initialised. Only `finish` makes it usable; if the process ends earlier, every
/// later start refuses the directory with a clear message.
#[derive(Debug)]
#[must_use = "a directory that isn't finished is refused"]
pub struct Making {
    dir: PathBuf,
}

impl Making {
    /// Creates the directory (mode 0700) and puts the marker into it.
    ///
    /// # Errors
    /// If it isn't empty, is half-made, or the disk refuses.
    pub fn begin(dir: &Path) -> Result<Self, StoreError> {
        match inspect(dir)? {
            DataDir::Empty => {}
            DataDir::Ready => return Err(StoreError::AlreadyMade { path: dir.into() }),
        }
        let refused = |source| StoreError::Disk { path: dir.into(), source };
        let fresh = !dir.exists();
        fs::create_dir_all(dir).map_err(refused)?;
        if fresh {
            restrict(dir).map_err(refused)?;
        }
        // Created exclusively: of two concurrent initialisations, one fails and learns of the other.
        let marker = dir.join(MARKER_FILE);
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).open(&marker).map_err(|source| {
                if source.kind() == io::ErrorKind::AlreadyExists {
                    StoreError::HalfMade { path: dir.into() }
                } else {
                    refused(source)
                }
            })?;
        file.write_all(
            b"This directory is being made by `tidegate init`. If nothing is running, remove it.\n",
        )
        .and_then(|()| file.sync_all())
        .and_then(|()| sync_dir(dir))
        .map_err(refused)?;
        Ok(Self { dir: dir.into() })
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn database(&self) -> PathBuf {
        self.dir.join(DATABASE_FILE)
    }

    pub fn master_key(&self) -> PathBuf {
        self.dir.join(MASTER_KEY_FILE)
    }

    /// Gives up: removes the marker, so that the directory can be made later. Other files are the caller's to remove.
    pub fn abandon(self) -> Result<(), StoreError> {
        fs::remove_file(self.dir.join(MARKER_FILE))
            .map_err(|source| StoreError::Disk { path: self.dir, source })
    }

    /// Stores the id of the replica whose journal will be here.
    pub fn keep_replica(&self, replica: ReplicaId) -> Result<(), StoreError> {
        let path = self.dir.join(REPLICA_FILE);
        let kept = fs::write(&path, replica.to_string()).and_then(|()| fs::File::open(&path)?.sync_all());
        kept.map_err(|source| StoreError::Disk { path, source })
    }

    /// Removes the marker: from here on the directory is complete.
    ///
    /// # Errors
    /// Any error of the disk; the directory then stays refused.
    pub fn finish(self) -> Result<(), StoreError> {
        sync_dir(&self.dir)
            .and_then(|()| fs::remove_file(self.dir.join(MARKER_FILE)))
            .and_then(|()| sync_dir(&self.dir))
            .map_err(|source| StoreError::Disk { path: self.dir, source })
    }
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    fs::File::open(dir)?.sync_all()
}

#[cfg(unix)]
fn restrict(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
}

#[cfg(not(unix))]
fn restrict(_dir: &Path) -> io::Result<()> {
    Ok(())
}
