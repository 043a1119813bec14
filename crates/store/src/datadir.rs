//! A data directory is made whole or is refused: a marker stands in it from the first moment of its making to the
//! last.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::{ReplicaId, StoreError};

/// The database's file name in a data directory.
pub const DATABASE_FILE: &str = "tidegate.db";
/// The master key's file name in a data directory.
pub const MASTER_KEY_FILE: &str = "master.key";
/// The journal's directory in a data directory.
pub const JOURNAL_DIR: &str = "journal";
/// The name of a process whose database is elsewhere.
const REPLICA_FILE: &str = "replica";
const MARKER_FILE: &str = "INCOMPLETE";
const HARMLESS: [&str; 4] = ["lost+found", ".DS_Store", ".gitkeep", ".lock"];

/// What a directory is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataDir {
    /// Missing or empty: may be made.
    Empty,
    /// Made whole.
    Ready,
}

/// Looks at a directory without changing it.
///
/// # Errors
/// Where it is half-made, holds something else, or can't be read.
pub fn look(dir: &Path) -> Result<DataDir, StoreError> {
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
    // What a fresh file system, an editor or our own lock puts into a directory is nobody's data.
    let foreign = entries.flatten().any(|entry| {
        let name = entry.file_name();
        !HARMLESS.iter().any(|harmless| name == *harmless)
    });
    if foreign { Err(StoreError::Foreign { path: dir.into() }) } else { Ok(DataDir::Empty) }
}

/// Whose journal lies in the directory, where its database is elsewhere.
///
/// # Errors
/// Where the file can't be read.
pub fn replica(dir: &Path) -> Result<Option<ReplicaId>, StoreError> {
    let path = dir.join(REPLICA_FILE);
    let refused = |source| StoreError::Disk { path: path.clone(), source };
    match fs::read_to_string(&path) {
        Ok(text) => text.parse().map(Some).map_err(|error| refused(io::Error::other(error))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(refused(source)),
    }
}

/// A data directory in the making. Only `finish` makes it usable; whatever ends the process before leaves a directory
/// that every later start refuses with a clear message.
#[derive(Debug)]
#[must_use = "a directory that isn't finished is refused"]
pub struct Making {
    dir: PathBuf,
}

impl Making {
    /// Creates the directory (0700) and puts the marker into it.
    ///
    /// # Errors
    /// Where it isn't empty, is half-made, or the disk refuses.
    pub fn begin(dir: &Path) -> Result<Self, StoreError> {
        match look(dir)? {
            DataDir::Empty => {}
            DataDir::Ready => return Err(StoreError::AlreadyMade { path: dir.into() }),
        }
        let refused = |source| StoreError::Disk { path: dir.into(), source };
        let fresh = !dir.exists();
        fs::create_dir_all(dir).map_err(refused)?;
        if fresh {
            restrict(dir).map_err(refused)?;
        }
        // Created exclusively: of two makers at once, one is told that the other is at work.
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

    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.dir.join(DATABASE_FILE)
    }

    #[must_use]
    pub fn master_key(&self) -> PathBuf {
        self.dir.join(MASTER_KEY_FILE)
    }

    /// Keeps whose journal will lie here.
    ///
    /// # Errors
    /// As the disk says.
    pub fn keep_replica(&self, replica: ReplicaId) -> Result<(), StoreError> {
        let path = self.dir.join(REPLICA_FILE);
        let kept = fs::write(&path, replica.to_string()).and_then(|()| fs::File::open(&path)?.sync_all());
        kept.map_err(|source| StoreError::Disk { path, source })
    }

    /// Takes the marker away: from here on the directory is whole.
    ///
    /// # Errors
    /// As the disk says; the directory then stays refused.
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
