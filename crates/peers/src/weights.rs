//! Digests of the files behind models and adapters. They are computed in the background, once for each length and time of the files.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use proof::Digest;
use tokio::sync::Notify;

use crate::limits::DIGESTED_PATHS_MAX;
use crate::manifest::digest_of_file;

/// The endings of the files that decide what a model computes.
const DECISIVE: [&str; 3] = ["safetensors", "gguf", "model"];
/// Further ones by name.
const DESCRIPTIONS: [&str; 3] = ["config.json", "tokenizer.json", "adapter_config.json"];

type Stamp = Vec<(PathBuf, u64, Option<SystemTime>)>;

/// Digests by the path of a file or a directory.
#[derive(Debug, Default)]
pub struct FileDigests {
    known: Mutex<HashMap<PathBuf, Known>>,
    wanted: Notify,
}

#[derive(Debug)]
struct Known {
    stamp: Stamp,
    /// `None` while it is computed, and if the files can't be read.
    digest: Option<Digest>,
    is_computed: bool,
}

impl FileDigests {
    /// The digest of the files as they are now, if it is known. Otherwise `run` computes it.
    pub fn of(&self, path: &Path) -> Option<Digest> {
        let stamp = stamp(path).ok()?;
        let mut known = self.lock();
        if let Some(entry) = known.get(path).filter(|entry| entry.stamp == stamp) {
            return entry.digest;
        }
        if known.len() >= DIGESTED_PATHS_MAX && !known.contains_key(path) {
            return None;
        }
        known.insert(path.to_owned(), Known { stamp, digest: None, is_computed: false });
        self.wanted.notify_one();
        None
    }

    /// Computes digests, one after the other, until the task is stopped.
    pub async fn run(&self) {
        loop {
            let next = {
                let known = self.lock();
                let open = known.iter().find(|(_, entry)| !entry.is_computed);
                open.map(|(path, entry)| (path.clone(), entry.stamp.clone()))
            };
            let Some((path, stamp)) = next else {
                self.wanted.notified().await;
                continue;
            };
            let files: Vec<PathBuf> = stamp.iter().map(|(file, ..)| file.clone()).collect();
            let computed = tasks::blocking(move || digest(&files)).await;
            let digest = match computed {
                Ok(Ok(digest)) => Some(digest),
                Ok(Err(error)) => {
                    tracing::warn!(path = %path.display(), %error, "the files of a model can't be read for their digest");
                    None
                }
                Err(_) => return,
            };
            if let Some(entry) = self.lock().get_mut(&path).filter(|entry| entry.stamp == stamp) {
                (entry.digest, entry.is_computed) = (digest, true);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The files that count at a path, with their lengths and times.
fn stamp(path: &Path) -> io::Result<Stamp> {
    let mut files = Vec::new();
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            let file = entry?.path();
            let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let ending = file.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
            if DECISIVE.contains(&ending) || DESCRIPTIONS.contains(&name) {
                files.push(file);
            }
        }
    } else {
        files.extend(shards(path)?);
    }
    let of = |file: PathBuf| {
        let meta = fs::metadata(&file)?;
        Ok((file, meta.len(), meta.modified().ok()))
    };
    let mut stamp: Stamp = files.into_iter().map(of).collect::<io::Result<_>>()?;
    stamp.sort();
    if stamp.is_empty() { Err(io::Error::from(io::ErrorKind::NotFound)) } else { Ok(stamp) }
}

/// A file, with the other parts of a model that is split into `NAME-00001-of-00003.gguf` and so on.
fn shards(path: &Path) -> io::Result<Vec<PathBuf>> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let split = name.rsplit_once("-of-").and_then(|(first, count)| Some((first.rsplit_once('-')?.0, count)));
    let (Some((stem, count)), Some(directory)) = (split, path.parent()) else {
        return Ok(vec![path.to_owned()]);
    };
    let mut parts = Vec::new();
    for entry in fs::read_dir(directory)? {
        let part = entry?.path();
        let name = part.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let number = name
            .strip_prefix(stem)
            .and_then(|rest| rest.strip_prefix('-')?.strip_suffix(count)?.strip_suffix("-of-"));
        if number.is_some_and(|number| number.bytes().all(|digit| digit.is_ascii_digit())) {
            parts.push(part);
        }
    }
    Ok(parts)
}

/// One digest of all files, whatever their names and their order.
fn digest(files: &[PathBuf]) -> io::Result<Digest> {
    let mut digests = files
        .iter()
        .map(|file| digest_of_file(&mut File::open(file)?))
        .collect::<io::Result<Vec<Digest>>>()?;
    digests.sort_by_key(|digest| digest.0);
    let pieces: Vec<&[u8]> = digests.iter().map(|digest| &digest.0[..]).collect();
    Ok(Digest::of(&pieces))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(weights: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("model.safetensors"), weights).unwrap();
        fs::write(dir.path().join("config.json"), "{}").unwrap();
        fs::write(dir.path().join("README.md"), weights).unwrap();
        dir
    }

    #[tokio::test]
    async fn the_digest_is_of_what_counts_and_follows_changes() {
        let (one, same, other) = (model("weights"), model("weights"), model("other weights"));
        fs::write(same.path().join("README.md"), "as it likes").unwrap();
        fs::write(other.path().join("README.md"), "weights").unwrap();
        let digests = FileDigests::default();
        let of = async |path: &Path| {
            let found = std::future::poll_fn(|context| {
                let found = digests.of(path);
                if found.is_none() {
                    context.waker().wake_by_ref();
                }
                found.map_or(std::task::Poll::Pending, std::task::Poll::Ready)
            });
            tokio::select! {
                digest = found => digest,
                () = digests.run() => unreachable!("it runs until it is dropped"),
            }
        };
        assert_eq!(of(one.path()).await, of(same.path()).await);
        let before = of(other.path()).await;
        assert_ne!(of(one.path()).await, before);
        fs::write(other.path().join("model.safetensors"), "yet other weights").unwrap();
        assert_ne!(of(other.path()).await, before);
        assert_eq!(digests.of(Path::new("/nowhere")), None);
        let first = other.path().join("m-00001-of-00002.gguf");
        for (part, text) in
            [("m-00001-of-00002.gguf", "a"), ("m-00002-of-00002.gguf", "b"), ("m-1-of-3.gguf", "c")]
        {
            fs::write(other.path().join(part), text).unwrap();
        }
        let whole = of(&first).await;
        fs::write(other.path().join("m-00002-of-00002.gguf"), "changed").unwrap();
        assert_ne!(of(&first).await, whole, "all parts count");
    }
}
