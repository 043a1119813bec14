//! Atomic file writes, and appends that leave no partial line.

use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use world::replace_private;

/// Creates a directory that only its owner can access.
pub(crate) fn folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Copies a file and syncs it to disk.
pub(crate) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::copy(from, to)?;
    File::open(to)?.sync_all()
}

/// Appends a line to a file of this length. A full disk may take half of it, behind which the next one would not be found.
pub(crate) fn append_line(file: &mut File, length: u64, line: &[u8]) -> io::Result<()> {
    if let Err(error) = file.write_all(line) {
        file.set_len(length)?;
        return Err(error);
    }
    Ok(())
}

pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    replace_private(path, &serde_json::to_vec_pretty(value)?)
}

/// # Errors
/// The file can't be read or parsed.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    serde_json::from_slice(&std::fs::read(path)?).map_err(|error| {
        let message = format!("{}: {error}", path.display());
        io::Error::new(io::ErrorKind::InvalidData, message)
    })
}

/// Removes a file or a directory, if it exists.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    let removed = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
