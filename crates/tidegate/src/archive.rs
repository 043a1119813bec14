//! A backup as a directory: files, and a manifest with their sizes and hashes. It gets its final name once it
//! is complete.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, bail};
use aws_lc_rs::digest::{self, SHA256};
use serde::{Deserialize, Serialize};

pub const FORMAT: u32 = 1;
const MANIFEST: &str = "manifest.json";
const BUFFER_BYTES: usize = 256 * 1024;
/// What is copied between two reports of how far it is.
const PIECE_BYTES: u64 = 8 * 1024 * 1024;

/// The content of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub format: u32,
    /// The version that made it.
    pub tidegate: String,
    pub made_unix_ms: u64,
    /// `sqlite` or `postgres`.
    pub database: String,
    pub files: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Below the backup's directory, with `/` between its parts.
    pub name: String,
    pub bytes: u64,
    pub sha256: String,
}

impl Manifest {
    pub fn has(&self, name: &str) -> bool {
        self.files.iter().any(|entry| entry.name == name)
    }
}

/// The suffix of an unfinished backup's name, before the id of its process.
const PART: &str = ".part-";

/// An unfinished backup. The name of its directory keeps it from being taken for a complete one.
#[derive(Debug)]
pub struct PendingBackup {
    to: PathBuf,
    part: PathBuf,
}

impl PendingBackup {
    /// # Errors
    /// `to` exists already, or the disk fails.
    pub fn begin(to: &Path) -> anyhow::Result<Self> {
        if to.symlink_metadata().is_ok() {
            bail!(
                "{} exists already: a backup never writes over anything. Name another place.",
                to.display()
            );
        }
        let mut name = to.file_name().map(ToOwned::to_owned).context("this names no directory")?;
        if is_part(to) {
            bail!(
                "{} would be named like a backup that was never finished. Name another place.",
                to.display()
            );
        }
        name.push(format!("{PART}{}", std::process::id()));
        let part = to.with_file_name(name);
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&part);
        made.with_context(|| format!("can't make {}", part.display()))?;
        Ok(Self { to: to.to_owned(), part })
    }

    /// The path at which to write a file of this name.
    pub fn path(&self, name: &str) -> PathBuf {
        self.part.join(name)
    }

    /// Copies a file; `false` if it has disappeared meanwhile.
    pub fn copy(&self, from: &Path, name: &str) -> anyhow::Result<bool> {
        let mut source = match File::open(from) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error).with_context(|| format!("can't read {}", from.display())),
        };
        put(&mut source, &self.path(name), &|_| ())?;
        Ok(true)
    }

    /// Hashes every file for the manifest, and gives the backup its final name.
    pub fn finish(self, database: &str, made_unix_ms: u64) -> anyhow::Result<Manifest> {
        let manifest = self.write_manifest(database, made_unix_ms)?;
        self.name()?;
        Ok(manifest)
    }

    fn write_manifest(&self, database: &str, made_unix_ms: u64) -> anyhow::Result<Manifest> {
        let mut names = Vec::new();
        list(&self.part, Path::new(""), &mut names)?;
        names.sort();
        let files = names.into_iter().map(|name| entry(&self.part, name)).collect::<anyhow::Result<_>>()?;
        let tidegate = env!("CARGO_PKG_VERSION").to_owned();
        let manifest =
            Manifest { format: FORMAT, tidegate, made_unix_ms, database: database.to_owned(), files };
        let mut file = private(&self.path(MANIFEST))?;
        file.write_all(serde_json::to_string_pretty(&manifest)?.as_bytes())?;
        file.sync_all()?;
        sync_directory(&self.part)?;
        Ok(manifest)
    }

    /// The rename that makes it a backup. Before it, all files may be on disk, but success has not been
    /// reported.
    fn name(self) -> anyhow::Result<()> {
        fs::rename(&self.part, &self.to)?;
        sync_directory(
            self.to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")),
        )
    }
}

/// Whether a directory's own name, by whatever path it is reached, is that of an unfinished backup.
fn is_part(path: &Path) -> bool {
    let whole = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let number =
        whole.file_name().and_then(|name| name.to_str()?.rsplit_once(PART)).map(|(_, number)| number);
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Reads a backup's manifest and checks every file against it.
///
/// # Errors
/// It is not a backup, it is incomplete, or a file has changed.
pub fn check(from: &Path) -> anyhow::Result<Manifest> {
    let path = from.display();
    if is_part(from) {
        bail!("{path} is a backup that was never finished, as its name says");
    }
    let text = fs::read(from.join(MANIFEST)).with_context(|| {
        format!("{path} holds no {MANIFEST}, so it isn't a backup, or one that was never finished")
    })?;
    let manifest: Manifest =
        serde_json::from_slice(&text).with_context(|| format!("the {MANIFEST} of {path} can't be read"))?;
    if manifest.format != FORMAT {
        bail!("{path} has format {}, and this program reads format {FORMAT}.", manifest.format);
    }
    for wanted in &manifest.files {
        let is_below = Path::new(&wanted.name).components().all(|part| matches!(part, Component::Normal(_)));
        if !is_below {
            bail!("{path} names a file outside of itself.");
        }
        let found =
            entry(from, wanted.name.clone()).with_context(|| format!("{path} lacks {}", wanted.name))?;
        if found != *wanted {
            bail!("{} of {path} is not what was backed up: its bytes or their SHA-256 differ.", wanted.name);
        }
    }
    Ok(manifest)
}

/// Copies a checked file into a directory under construction.
pub fn copy_out(from: &Path, name: &str, to: &Path, on_bytes: &dyn Fn(u64)) -> anyhow::Result<()> {
    let path = from.join(name);
    let mut source = File::open(&path).with_context(|| format!("can't read {}", path.display()))?;
    put(&mut source, to, on_bytes)
}

/// Copies a file, and says of each piece how long it is.
fn put(source: &mut File, to: &Path, on_bytes: &dyn Fn(u64)) -> anyhow::Result<()> {
    if let Some(parent) = to.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    let mut file = private(to)?;
    loop {
        let piece = std::io::copy(&mut source.take(PIECE_BYTES), &mut file);
        match piece.with_context(|| format!("can't write {}", to.display()))? {
            0 => return Ok(file.sync_all()?),
            bytes => on_bytes(bytes),
        }
    }
}

fn private(path: &Path) -> anyhow::Result<File> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    opened.with_context(|| format!("can't make {}", path.display()))
}

fn list(root: &Path, below: &Path, names: &mut Vec<String>) -> anyhow::Result<()> {
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        let name = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            list(root, &name, names)?;
        } else {
            names.push(name.to_str().context("a file's name isn't text")?.to_owned());
        }
    }
    Ok(())
}

fn entry(root: &Path, name: String) -> anyhow::Result<Entry> {
    let mut file = File::open(root.join(&name))?;
    let mut context = digest::Context::new(&SHA256);
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut bytes = 0_u64;
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        context.update(buffer.get(..count).unwrap_or_default());
        bytes += count as u64;
    }
    let sha256 = context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Entry { name, bytes, sha256 })
}

fn sync_directory(path: &Path) -> anyhow::Result<()> {
    Ok(File::open(path)?.sync_all()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make_backup(root: &Path) -> PathBuf {
        let source = root.join("source");
        fs::write(&source, "hello").unwrap();
        let to = root.join("backup");
        let making = PendingBackup::begin(&to).unwrap();
        assert!(making.copy(&source, "journal/core-0/1").unwrap());
        assert!(!making.copy(&root.join("gone"), "gone").unwrap());
        assert!(check(&making.part).is_err(), "without its manifest it is none");
        assert_eq!(making.finish("sqlite", 7).unwrap().files.len(), 1);
        to
    }

    /// The last moment before it becomes a backup: every file exists, and is listed.
    #[test]
    fn one_that_was_killed_before_it_was_named_is_none() {
        let root = tempfile::tempdir().unwrap();
        let (source, to) = (root.path().join("source"), root.path().join("backup"));
        fs::write(&source, "hello").unwrap();
        let making = PendingBackup::begin(&to).unwrap();
        making.copy(&source, "tidegate.db").unwrap();
        making.write_manifest("sqlite", 7).unwrap();
        assert!(making.part.join(MANIFEST).exists() && !to.exists());
        let link = root.path().join("link");
        std::os::unix::fs::symlink(&making.part, &link).unwrap();
        for from in [&making.part, &link, &making.part.join(".")] {
            assert!(check(from).unwrap_err().to_string().contains("never finished"), "{}", from.display());
        }
        making.name().unwrap();
        check(&to).unwrap();
        assert!(
            PendingBackup::begin(&root.path().join("backup.part-7")).is_err(),
            "a whole one is never named so"
        );
        assert!(PendingBackup::begin(&root.path().join("backup.part-b")).is_ok());
    }

    #[test]
    fn a_whole_one_is_taken_and_a_touched_one_is_not() {
        let root = tempfile::tempdir().unwrap();
        let to = make_backup(root.path());
        let manifest = check(&to).unwrap();
        assert!(manifest.has("journal/core-0/1") && !manifest.has("gone"));
        assert!(PendingBackup::begin(&to).is_err(), "nothing is written over");
        fs::write(to.join("journal/core-0/1"), "hellp").unwrap();
        assert!(check(&to).unwrap_err().to_string().contains("SHA-256"));
        fs::remove_file(to.join("journal/core-0/1")).unwrap();
        assert!(check(&to).unwrap_err().to_string().contains("lacks"));
        let text = fs::read_to_string(to.join(MANIFEST)).unwrap();
        fs::write(to.join(MANIFEST), text.replace("journal/core-0/1", "../source")).unwrap();
        assert!(check(&to).unwrap_err().to_string().contains("outside"));
        fs::remove_file(to.join(MANIFEST)).unwrap();
        assert!(check(&to).unwrap_err().to_string().contains("never finished"));
    }
}
