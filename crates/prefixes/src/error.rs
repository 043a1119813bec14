//! Why a prefix cache on disk can't be opened.

use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum DiskCacheError {
    #[error("{}", path.display())]
    Directory { path: PathBuf, source: io::Error },
    /// Group or others may enter the directory.
    #[error(
        "{} is open to other users of this machine: `chmod 700` it, or name a directory that is not there yet",
        .0.display()
    )]
    OpenToOthers(PathBuf),
    #[error("{} is in use by another node: give this one its own directory", .0.display())]
    InUse(PathBuf),
    #[error("it has room for {most} bytes, and one block of this model takes {needed}")]
    TooSmall { most: u64, needed: u64 },
    #[error("a thread can't be started")]
    Thread(#[source] io::Error),
}
