//! The data directory of one process: its files, and the lock that keeps a second process out.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use ledger::JournalDamage;
use store::{Store, datadir};
use world::World;

use crate::settings::Settings;

const LOCK: &str = ".lock";

pub fn database(dir: &Path) -> PathBuf {
    dir.join(datadir::DATABASE_FILE)
}

pub fn journal(dir: &Path) -> PathBuf {
    dir.join(datadir::JOURNAL_DIR)
}

/// Damage of the directory's journal that nobody has removed yet, each as a sentence, and what to do about all.
///
/// # Errors
/// The notes can't be read.
pub fn journal_damage(dir: &Path) -> io::Result<(Vec<JournalDamage>, String)> {
    let journal = journal(dir);
    let notes = ledger::damage_notes(&*World::system().disk, &journal)?;
    let aside = ledger::damage_dir(&journal);
    let fix = format!(
        "The damaged files and the notes are in {0}. Check the disk, compare the time with the providers' bills (`tidegate \
         reconcile`), then remove {0}.",
        aside.display()
    );
    Ok((notes, fix))
}

/// Creates the journal's directory, readable by its owner only; tightens the mode of an existing one.
pub fn make_journal(dir: &Path) -> io::Result<PathBuf> {
    let path = journal(dir);
    DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
    fs::set_permissions(&path, Permissions::from_mode(0o700))?;
    Ok(path)
}

/// Opens the database that belongs to the directory.
///
/// # Errors
/// The directory is for the other kind of database, or the database can't be used.
pub async fn open_store(settings: &Settings) -> anyhow::Result<Store> {
    let data_dir = settings.data_dir.display();
    match (&settings.database, datadir::replica(&settings.data_dir)?) {
        (None, None) => Ok(Store::open(&database(&settings.data_dir)).await?),
        (Some(address), Some(replica)) => {
            Store::connect(address, replica).await.with_context(|| format!("{address} can't be used"))
        }
        (Some(address), None) => bail!(
            "{data_dir} holds a database of its own, so it can't serve with {address}. Give this gateway another \
             --data-dir, or leave TIDEGATE_DATABASE_URL out."
        ),
        (None, Some(_)) => bail!(
            "{data_dir} belongs to a gateway on PostgreSQL. Set TIDEGATE_DATABASE_URL to its database, or choose another \
             --data-dir."
        ),
    }
}

/// Locks the directory; the lock ends with the process, however it ends.
///
/// # Errors
/// Another process has locked it.
pub fn lock(dir: &Path) -> anyhow::Result<File> {
    let path = dir.join(LOCK);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("can't open {}", path.display()))?;
    if rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
        bail!(
            "{} is in use by another tidegate process. Stop that one first, or give this one its own --data-dir.",
            dir.display()
        );
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_processes_can_not_share_it() {
        let root = tempfile::tempdir().unwrap();
        let first = lock(root.path()).unwrap();
        assert!(lock(root.path()).is_err());
        drop(first);
        assert!(lock(root.path()).is_ok());
    }
}
