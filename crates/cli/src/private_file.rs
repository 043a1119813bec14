//! Files that hold a key: nobody else on this machine may read them.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Replaces a file atomically, with mode 0600.
///
/// # Errors
/// The disk fails, or the folder isn't there.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    let fresh = path.with_extension(format!("tidegate-{}", std::process::id()));
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&fresh, path)
}
