//! Files as the journal needs them: positioned reads and writes, sync, rename; blocking and small. And small private files that
//! are replaced whole.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Replaces a file by one that only its owner can read: it is written beside the old one, synced, and renamed over it, so that
/// a crash leaves the one or the other whole.
///
/// # Errors
/// The disk's I/O error; the old file stays.
pub fn replace_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("part");
    let mut options = fs::OpenOptions::new();
    let mut file = options.create(true).truncate(true).write(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    // The rename must reach the disk, too.
    path.parent().map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
}

/// One open file. Positioned, so that a reader and the writer share it without a cursor.
pub trait DiskFile: Send + Sync {
    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// The disk's I/O error; how much was written is then unknown.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Reads up to `bytes.len()`; fewer only at the end of the file.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Returns once what was written is on the medium.
    ///
    /// # Errors
    /// The disk's I/O error; what was written before may be lost.
    fn sync_data(&self) -> io::Result<()>;

    fn len(&self) -> io::Result<u64>;

    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// A file system, as far as we use one.
pub trait Disk: Send + Sync {
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Opens for reading and writing; creates when absent.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// The files of a directory, sorted by name.
    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>>;

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Reads another program's file, up to this many bytes. Test disks have none.
    fn read(&self, _path: &Path, _bytes_max: usize) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// The operating system's files. Those that it creates are readable by this user only.
#[derive(Debug, Clone, Copy)]
pub struct SystemDisk;

struct SystemFile(fs::File);

impl DiskFile for SystemFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.0.read_at(rest, offset + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        self.0.metadata().map(|m| m.len())
    }
}

impl Disk for SystemDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path)?;
        Ok(Box::new(SystemFile(file)))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let mut paths = fs::read_dir(path)?.map(|e| e.map(|e| e.path())).collect::<io::Result<Vec<_>>>()?;
        paths.sort();
        Ok(paths)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn read(&self, path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        fs::File::open(path)?.take(bytes_max as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}
