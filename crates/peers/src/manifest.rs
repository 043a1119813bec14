//! The manifest of a shared folder: its files, cut into chunks, each with its digest; and one digest of all.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use aws_lc_rs::digest::{Context, SHA256};
use proof::Digest;
use serde::{Deserialize, Serialize};

use crate::limits::{CHUNK_BYTES, FILE_NAME_BYTES_MAX, FILES_MAX, FOLDER_BYTES_MAX};
use crate::partial::NOTE;

/// A folder's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChunkManifest {
    /// `model/NAME` or `adapter/NAME`.
    pub share: String,
    pub files: Vec<ChunkedFile>,
}

/// A file, as chunks of `CHUNK_BYTES`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChunkedFile {
    pub name: String,
    pub bytes: u64,
    /// Of the whole file.
    pub sha256: Digest,
    pub chunks: Vec<Digest>,
}

/// A chunk's place: the indices of its file and of the chunk in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkPlace {
    pub file: usize,
    pub chunk: usize,
}

impl ChunkManifest {
    /// Reads and hashes the files of a folder.
    ///
    /// # Errors
    /// A file can't be read, or is not one that may be shared.
    pub fn of(share: &str, directory: &Path, names: &[String]) -> io::Result<Self> {
        let files = names.iter().map(|name| ChunkedFile::of(directory, name)).collect::<io::Result<_>>()?;
        let manifest = Self { share: share.to_owned(), files };
        manifest.check().map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))?;
        Ok(manifest)
    }

    /// Checks what a peer sent: names that are paths, and numbers that don't fit together, are refused.
    ///
    /// # Errors
    /// Says what can't be used.
    pub fn check(&self) -> Result<(), String> {
        if self.files.is_empty() || self.files.len() > FILES_MAX {
            return Err(format!("it has {} files; from 1 to {FILES_MAX} are fetched", self.files.len()));
        }
        let mut bytes = 0_u64;
        for (at, file) in self.files.iter().enumerate() {
            if !is_plain(&file.name) {
                return Err(format!("it has a file with the name {:?}", file.name));
            }
            if self.files.iter().take(at).any(|before| before.name.eq_ignore_ascii_case(&file.name)) {
                return Err(format!("it has two files with the name {:?}", file.name));
            }
            if file.bytes.div_ceil(CHUNK_BYTES as u64) != file.chunks.len() as u64 {
                return Err(format!(
                    "{} has {} bytes in {} chunks",
                    file.name,
                    file.bytes,
                    file.chunks.len()
                ));
            }
            bytes = bytes.saturating_add(file.bytes);
        }
        if bytes > FOLDER_BYTES_MAX { Err(format!("it has {bytes} bytes")) } else { Ok(()) }
    }

    /// The digest of everything in it.
    pub fn root(&self) -> Digest {
        let mut text = format!("{}\n", self.share);
        for file in &self.files {
            text.push_str(&format!("{}\0{}\0{}\n", file.name, file.bytes, file.sha256));
            for chunk in &file.chunks {
                text.push_str(&format!("{chunk}\n"));
            }
        }
        Digest::of(&[text.as_bytes()])
    }

    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    pub(crate) fn places(&self) -> impl Iterator<Item = ChunkPlace> + '_ {
        let files = self.files.iter().enumerate();
        files.flat_map(|(file, of)| (0..of.chunks.len()).map(move |chunk| ChunkPlace { file, chunk }))
    }

    pub(crate) fn file(&self, place: ChunkPlace) -> Option<&ChunkedFile> {
        self.files.get(place.file)
    }

    pub(crate) fn digest(&self, place: ChunkPlace) -> Option<Digest> {
        self.file(place)?.chunks.get(place.chunk).copied()
    }
}

impl ChunkedFile {
    fn of(directory: &Path, name: &str) -> io::Result<Self> {
        let mut file = File::open(directory.join(name))?;
        let (mut chunks, mut bytes, mut whole) = (Vec::new(), 0, Context::new(&SHA256));
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        loop {
            chunk.clear();
            (&mut file).take(CHUNK_BYTES as u64).read_to_end(&mut chunk)?;
            if chunk.is_empty() {
                break;
            }
            bytes += chunk.len() as u64;
            whole.update(&chunk);
            chunks.push(Digest::of(&[&chunk]));
        }
        Ok(Self { name: name.to_owned(), bytes, sha256: digest_of(whole), chunks })
    }

    /// The length of a chunk.
    pub(crate) fn length(&self, chunk: usize) -> usize {
        let offset = chunk as u64 * CHUNK_BYTES as u64;
        usize::try_from(self.bytes.saturating_sub(offset)).unwrap_or(usize::MAX).min(CHUNK_BYTES)
    }
}

/// The digest of what is left to read of a file.
pub(crate) fn digest_of_file(file: &mut File) -> io::Result<Digest> {
    let (mut whole, mut piece) = (Context::new(&SHA256), vec![0; CHUNK_BYTES]);
    loop {
        let length = file.read(&mut piece)?;
        if length == 0 {
            return Ok(digest_of(whole));
        }
        whole.update(piece.get(..length).unwrap_or_default());
    }
}

fn digest_of(whole: Context) -> Digest {
    Digest(whole.finish().as_ref().first_chunk().copied().unwrap_or_default())
}

/// Whether a name may become part of a path: a single visible component, and not that of the note of what has arrived.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= FILE_NAME_BYTES_MAX
        && !name.eq_ignore_ascii_case(NOTE)
        && !name.starts_with('.')
        && !name.contains(['/', '\\'])
        && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_the_same_root_wherever_it_is() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let text = vec![7; CHUNK_BYTES + 5];
        for dir in [&one, &other] {
            std::fs::write(dir.path().join("a.safetensors"), &text).unwrap();
            std::fs::write(dir.path().join("empty"), "").unwrap();
        }
        let names = ["a.safetensors".to_owned(), "empty".to_owned()];
        let of = |dir: &tempfile::TempDir| ChunkManifest::of("model/a/b", dir.path(), &names).unwrap();
        let (manifest, same) = (of(&one), of(&other));
        assert_eq!((manifest.root(), manifest.bytes()), (same.root(), text.len() as u64));
        let file = &manifest.files[0];
        assert_eq!((file.chunks.len(), file.length(0), file.length(1)), (2, CHUNK_BYTES, 5));
        assert_eq!(manifest.places().count(), 2);
        std::fs::write(other.path().join("empty"), "x").unwrap();
        assert_ne!(of(&other).root(), manifest.root());
    }

    #[test]
    fn names_that_are_paths_are_refused() {
        let of = |name: &str, bytes: u64, chunks: usize| ChunkManifest {
            share: "model/a/b".to_owned(),
            files: vec![ChunkedFile {
                name: name.to_owned(),
                bytes,
                sha256: Digest::ZERO,
                chunks: vec![Digest::ZERO; chunks],
            }],
        };
        assert_eq!(of("config.json", 3, 1).check(), Ok(()));
        for name in
            ["../x", "/etc/passwd", "a/b", "..", ".hidden", "", "a\\b", "a\nb", "fetch.json", "Fetch.JSON"]
        {
            assert!(of(name, 3, 1).check().is_err(), "{name:?}");
        }
        assert!(of("a", 3, 2).check().is_err());
        assert!(of("a", u64::MAX, 1).check().is_err());
    }
}
