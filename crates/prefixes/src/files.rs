//! The directory of the cache: a folder for each scope, with the scope's secret and a file for each block. Names that
//! are not of this form are left alone.

use std::fs::{self, DirBuilder, DirEntry, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use world::Random;

use crate::block_file::BlockRef;
use crate::error::DiskCacheError;
use crate::index::{Index, IndexEntry};
use crate::keys::{SECRET_BYTES, number};

const LOCK: &str = "lock";
const SECRET: &str = "secret";
/// The end of a name under which a file is written, before it gets its own.
const PART: &str = "part";
/// The rights of group and others.
const OTHERS: u32 = 0o077;

#[derive(Debug)]
pub(crate) struct Files {
    directory: PathBuf,
    /// Held as long as the process lives, however it ends.
    _lock: File,
}

/// Why a block can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadFailure {
    /// It was evicted or purged.
    Absent,
    Unreadable,
}

impl Files {
    /// Creates the directory if it is not there, and keeps other nodes out of it.
    pub(crate) fn open(directory: &Path) -> Result<Self, DiskCacheError> {
        let failed = |source| DiskCacheError::Directory { path: directory.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        if fs::metadata(directory).map_err(failed)?.permissions().mode() & OTHERS != 0 {
            return Err(DiskCacheError::OpenToOthers(directory.to_owned()));
        }
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        let lock = options.open(directory.join(LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { directory: directory.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(DiskCacheError::InUse(directory.to_owned())),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    fn folder(&self, scope: u128) -> PathBuf {
        self.directory.join(format!("{scope:032x}"))
    }

    fn path(&self, block: &BlockRef) -> PathBuf {
        self.folder(block.scope).join(format!("{}.{}", block.key, block.depth))
    }

    /// Finds what an earlier process left, of any model. Removes what it did not complete: files that were being
    /// written, and scopes whose purge was interrupted after their secret was gone.
    pub(crate) fn scan(&self) -> io::Result<Index> {
        let mut index = Index::default();
        for folder in fs::read_dir(&self.directory)? {
            let folder = folder?;
            let Some(scope) = folder.file_name().to_str().and_then(number) else { continue };
            if !folder.file_type()?.is_dir() {
                continue;
            }
            if self.secret(scope).is_err() {
                self.remove_scope(scope)?;
                continue;
            }
            for file in fs::read_dir(folder.path())? {
                self.add(&mut index, scope, &file?)?;
            }
            if !index.has_scope(scope) {
                self.remove_scope(scope)?;
            }
        }
        Ok(index)
    }

    fn add(&self, index: &mut Index, scope: u128, file: &DirEntry) -> io::Result<()> {
        let name = file.file_name();
        let Some((key, rest)) = name.to_str().and_then(|name| name.split_once('.')) else { return Ok(()) };
        if rest.ends_with(PART) {
            return fs::remove_file(file.path());
        }
        let (Ok(key), Ok(depth)) = (key.parse(), rest.parse()) else { return Ok(()) };
        let (block, metadata) = (BlockRef { scope, key, depth }, file.metadata()?);
        if metadata.is_file() && file.path() == self.path(&block) {
            let since = metadata.modified()?.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let used = u64::try_from(since.as_nanos()).unwrap_or_default();
            index.insert(IndexEntry { block, file_bytes: metadata.len(), used });
        }
        Ok(())
    }

    pub(crate) fn secret(&self, scope: u128) -> io::Result<[u8; SECRET_BYTES]> {
        let bytes = fs::read(self.folder(scope).join(SECRET))?;
        bytes.try_into().map_err(|_| io::ErrorKind::InvalidData.into())
    }

    pub(crate) fn secret_or_new(&self, scope: u128, random: &dyn Random) -> io::Result<[u8; SECRET_BYTES]> {
        match self.secret(scope) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // Nothing opens without it any more.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => self.remove_scope(scope)?,
            known => return known,
        }
        let folder = self.folder(scope);
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let mut secret = [0; SECRET_BYTES];
        random.fill(&mut secret);
        write(&folder.join(SECRET), &secret, None)?;
        Ok(secret)
    }

    pub(crate) fn write(&self, block: &BlockRef, bytes: &[u8], used: u64) -> io::Result<()> {
        write(&self.path(block), bytes, Some(used))
    }

    /// Reads a file of exactly this size, and notes its use.
    pub(crate) fn read(&self, block: &BlockRef, bytes: usize, used: u64) -> Result<Vec<u8>, ReadFailure> {
        let read = || {
            let mut file = File::open(self.path(block))?;
            let mut content = vec![0; bytes];
            if file.metadata()?.len() != bytes as u64 {
                return Err(io::ErrorKind::InvalidData.into());
            }
            file.read_exact(&mut content)?;
            // Only the order of eviction after the next start depends on it.
            let _ = file.set_modified(time(used));
            Ok(content)
        };
        read().map_err(|error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => ReadFailure::Absent,
            _ => ReadFailure::Unreadable,
        })
    }

    /// Removes a block; it does not matter if it is gone.
    pub(crate) fn remove(&self, block: &BlockRef) {
        let _ = fs::remove_file(self.path(block));
    }

    /// Removes a scope: first its secret, overwritten and synced, without which no block of it opens; then the blocks.
    pub(crate) fn remove_scope(&self, scope: u128) -> io::Result<()> {
        let folder = self.folder(scope);
        let secret = folder.join(SECRET);
        let shredded = OpenOptions::new().write(true).open(&secret).and_then(|mut file| {
            file.write_all(&[0; SECRET_BYTES])?;
            file.sync_all()?;
            fs::remove_file(&secret)?;
            File::open(&folder)?.sync_all()
        });
        absent_is_done(shredded)?;
        absent_is_done(fs::remove_dir_all(&folder))
    }
}

fn absent_is_done(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn time(used: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(used)
}

/// Writes a file whole or not at all, as far as other processes can see. It is not synced: what a loss of power leaves
/// does not open.
fn write(path: &Path, bytes: &[u8], used: Option<u64>) -> io::Result<()> {
    let mut part = path.as_os_str().to_owned();
    part.push(format!(".{PART}"));
    let part = PathBuf::from(part);
    let write = || {
        let mut options = OpenOptions::new();
        let mut file = options.create(true).truncate(true).write(true).mode(0o600).open(&part)?;
        file.write_all(bytes)?;
        if let Some(used) = used {
            file.set_modified(time(used))?;
        }
        fs::rename(&part, path)
    };
    write().inspect_err(|_| drop(fs::remove_file(&part)))
}
