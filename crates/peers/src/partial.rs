//! A folder that is being fetched: files at their full length, and which of their chunks have arrived. The note of them is a hint;
//! after a restart each noted chunk is verified again.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use proof::{Digest, to_hex};
use serde::{Deserialize, Serialize};
use world::replace_private;

use crate::files;
use crate::limits::{CHUNK_BYTES, DISK_RESERVE_BYTES, MANIFEST_BYTES_MAX};
use crate::manifest::{ChunkManifest, ChunkPlace, digest_of_file};

pub(crate) const NOTE: &str = "fetch.json";

/// The files in `directory`.
#[derive(Debug)]
pub(crate) struct Partial {
    directory: PathBuf,
    note: Note,
}

/// Which chunks of which manifest are here, in hexadecimal bits by file.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    root: Digest,
    here: Vec<Vec<bool>>,
}

impl Partial {
    /// Makes room for all files, or takes up where an earlier fetch of the same manifest ended.
    ///
    /// # Errors
    /// The disk is full or fails.
    pub(crate) fn open(directory: &Path, manifest: &ChunkManifest) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let root = manifest.root();
        let path = directory.join(NOTE);
        let noted: Option<Note> = files::read_json(&path, MANIFEST_BYTES_MAX as u64).unwrap_or(None);
        let noted = noted.filter(|note| note.root == root && fits(note, manifest));
        let is_new = noted.is_none();
        let empty = || Note {
            root,
            here: manifest.files.iter().map(|file| vec![false; file.chunks.len()]).collect(),
        };
        let mut partial = Self { directory: directory.to_owned(), note: noted.unwrap_or_else(empty) };
        if is_new {
            partial.make_room(manifest)?;
        } else {
            partial.verify(manifest)?;
        }
        partial.keep()?;
        Ok(partial)
    }

    fn make_room(&self, manifest: &ChunkManifest) -> io::Result<()> {
        let disk = rustix::fs::statvfs(&self.directory)?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let needed = manifest.bytes().saturating_add(DISK_RESERVE_BYTES);
        if free < needed {
            let directory = self.directory.display();
            let why = format!(
                "{directory} has {free} free bytes, and {needed} are needed. Free some, or use another disk"
            );
            return Err(io::Error::new(io::ErrorKind::StorageFull, why));
        }
        for file in &manifest.files {
            let path = self.directory.join(&file.name);
            OpenOptions::new().create(true).truncate(true).write(true).open(path)?.set_len(file.bytes)?;
        }
        Ok(())
    }

    /// Forgets the chunks that are not what their digests say.
    fn verify(&mut self, manifest: &ChunkManifest) -> io::Result<()> {
        for (of, here) in manifest.files.iter().zip(&mut self.note.here) {
            let path = self.directory.join(&of.name);
            let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
            file.set_len(of.bytes)?;
            for (chunk, (is_here, digest)) in here.iter_mut().zip(&of.chunks).enumerate() {
                if *is_here {
                    let mut bytes = vec![0; of.length(chunk)];
                    file.read_exact_at(&mut bytes, chunk as u64 * CHUNK_BYTES as u64)?;
                    *is_here = Digest::of(&[&bytes]) == *digest;
                }
            }
        }
        Ok(())
    }

    pub(crate) fn has(&self, place: ChunkPlace) -> bool {
        self.note
            .here
            .get(place.file)
            .and_then(|chunks| chunks.get(place.chunk))
            .is_some_and(|is_here| *is_here)
    }

    /// Writes a verified chunk.
    pub(crate) fn write(
        &mut self,
        manifest: &ChunkManifest,
        place: ChunkPlace,
        bytes: &[u8],
    ) -> io::Result<()> {
        let Some(file) = manifest.file(place) else { return Ok(()) };
        let path = self.directory.join(&file.name);
        OpenOptions::new()
            .write(true)
            .open(path)?
            .write_all_at(bytes, place.chunk as u64 * CHUNK_BYTES as u64)?;
        if let Some(is_here) =
            self.note.here.get_mut(place.file).and_then(|chunks| chunks.get_mut(place.chunk))
        {
            *is_here = true;
        }
        self.keep()
    }

    fn keep(&self) -> io::Result<()> {
        replace_private(&self.directory.join(NOTE), &serde_json::to_vec(&self.note)?)
    }

    /// Verifies each whole file, syncs it, and removes the note.
    ///
    /// # Errors
    /// A file's digest is not that of the manifest: its chunks and its digest contradict each other.
    pub(crate) fn finish(self, manifest: &ChunkManifest) -> io::Result<()> {
        for of in &manifest.files {
            let mut file = File::open(self.directory.join(&of.name))?;
            let digest = digest_of_file(&mut file)?;
            if digest != of.sha256 {
                let why = format!(
                    "{} has the digest {}, and the manifest says {}",
                    of.name,
                    to_hex(&digest.0),
                    of.sha256
                );
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
            file.sync_all()?;
        }
        fs::remove_file(self.directory.join(NOTE))?;
        File::open(&self.directory)?.sync_all()
    }
}

fn fits(note: &Note, manifest: &ChunkManifest) -> bool {
    note.here.len() == manifest.files.len()
        && note.here.iter().zip(&manifest.files).all(|(here, file)| here.len() == file.chunks.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fetch_goes_on_and_what_changed_on_disk_is_fetched_again() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let text: Vec<u8> = (0..CHUNK_BYTES + 100).map(|at| u8::try_from(at % 251).unwrap()).collect();
        fs::write(from.path().join("weights"), &text).unwrap();
        let manifest = ChunkManifest::of("model/a/b", from.path(), &["weights".to_owned()]).unwrap();
        let place = |chunk| ChunkPlace { file: 0, chunk };
        let mut partial = Partial::open(to.path(), &manifest).unwrap();
        partial.write(&manifest, place(0), &text[..CHUNK_BYTES]).unwrap();
        partial.write(&manifest, place(1), &text[CHUNK_BYTES..]).unwrap();
        let file = OpenOptions::new().write(true).open(to.path().join("weights")).unwrap();
        file.write_all_at(b"x", CHUNK_BYTES as u64 + 3).unwrap();
        let mut partial = Partial::open(to.path(), &manifest).unwrap();
        assert_eq!((partial.has(place(0)), partial.has(place(1))), (true, false));
        partial.write(&manifest, place(1), &text[CHUNK_BYTES..]).unwrap();
        partial.finish(&manifest).unwrap();
        assert_eq!(fs::read(to.path().join("weights")).unwrap(), text);
        assert_eq!(fs::read_dir(to.path()).unwrap().count(), 1, "no note is left");
    }

    #[test]
    fn a_digest_that_contradicts_the_chunks_is_found() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(from.path().join("a"), "text").unwrap();
        let mut manifest = ChunkManifest::of("model/a/b", from.path(), &["a".to_owned()]).unwrap();
        manifest.files[0].sha256 = Digest::ZERO;
        let mut partial = Partial::open(to.path(), &manifest).unwrap();
        partial.write(&manifest, ChunkPlace { file: 0, chunk: 0 }, b"text").unwrap();
        assert!(partial.finish(&manifest).unwrap_err().to_string().contains("the manifest says"));
    }
}
