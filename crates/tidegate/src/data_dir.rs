//! The data directory of one process: what lies in it, and the lock that keeps a second process out.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use store::datadir;

const LOCK: &str = ".lock";

#[must_use]
pub fn database(dir: &Path) -> PathBuf {
    dir.join(datadir::DATABASE_FILE)
}

#[must_use]
pub fn journal(dir: &Path) -> PathBuf {
    dir.join(datadir::JOURNAL_DIR)
}

/// Takes the directory for this process; the lock ends with the process, however it ends.
///
/// # Errors
/// Another process has it.
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
