//! Uploaded training files, each stored with its metadata beside it.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::{Fault, FaultClass};
use framing::multipart::{Found, Malformed, Scanner, boundary};
use serde::{Deserialize, Serialize};
use world::{World, replace_private};

use super::fields::wrong;
use super::jobs;
use crate::disk;
use crate::limits::{FILE_NAME_BYTES_MAX, FILES_BYTES_MAX, FILES_MAX};

const PURPOSE: &str = "fine-tune";

/// A node's training files.
#[derive(Debug)]
pub(super) struct Files {
    root: PathBuf,
    world: World,
    known: Mutex<BTreeMap<String, File>>,
}

/// A file's metadata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct File {
    id: String,
    pub bytes: u64,
    pub created_unix_ms: u64,
    pub filename: String,
}

/// The file object of the API.
#[derive(Serialize)]
pub(super) struct Object {
    id: String,
    object: &'static str,
    bytes: u64,
    created_at: u64,
    filename: String,
    purpose: &'static str,
    status: &'static str,
}

#[derive(Serialize)]
pub(super) struct Deleted {
    id: String,
    object: &'static str,
    deleted: bool,
}

/// An upload.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Brought {
    filename: String,
    bytes: Vec<u8>,
}

impl From<File> for Object {
    fn from(file: File) -> Self {
        let File { id, bytes, created_unix_ms, filename } = file;
        let created_at = created_unix_ms / 1_000;
        Self { id, object: "file", bytes, created_at, filename, purpose: PURPOSE, status: "processed" }
    }
}

fn write_failed(error: &io::Error) -> Box<Fault> {
    tracing::error!(%error, "uploaded files can't be stored");
    let message = "The node can't keep its files.";
    let fault = Fault::new(FaultClass::Unavailable, "files_not_written", message);
    Box::new(fault.fix("Look at the disk of its data directory."))
}

fn unknown(id: &str) -> Box<Fault> {
    let truncated: String = id.chars().take(64).collect();
    let message = format!("This node has no file \"{truncated}\".");
    let fault = Fault::new(FaultClass::NotFound, "file_not_found", message);
    Box::new(fault.param("file_id").fix("GET /v1/files lists those that there are."))
}

impl Files {
    pub(super) fn open(root: PathBuf, world: World) -> io::Result<Self> {
        disk::folder(&root)?;
        let mut known = BTreeMap::new();
        for entry in std::fs::read_dir(&root)? {
            let path = entry?.path();
            let is = |end: &str| path.extension().is_some_and(|found| found == end);
            if is("json") {
                let file: File = disk::read_json(&path)?;
                known.insert(file.id.clone(), file);
            } else if !is("jsonl") || !path.with_extension("json").is_file() {
                // Incomplete: a file's metadata is written after its content.
                disk::remove(&path)?;
            }
        }
        Ok(Self { root, world, known: Mutex::new(known) })
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, File>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores a file.
    ///
    /// # Errors
    /// The limits are reached.
    pub(super) fn keep(&self, brought: Brought) -> Result<Object, Box<Fault>> {
        let mut known = self.known();
        let bytes = brought.bytes.len() as u64;
        let all: u64 = known.values().map(|file| file.bytes).sum();
        if known.len() >= FILES_MAX || all + bytes > FILES_BYTES_MAX {
            let message =
                format!("This node keeps {FILES_MAX} files and {FILES_BYTES_MAX} bytes of them at most.");
            let fault = Fault::new(FaultClass::Conflict, "too_many_files", message);
            return Err(Box::new(fault.fix("Delete files that you don't need: DELETE /v1/files/{id}.")));
        }
        let file = File {
            id: jobs::id("file-", &self.world),
            bytes,
            created_unix_ms: self.world.clock.unix_ms(),
            filename: brought.filename,
        };
        let path = self.root.join(&file.id);
        let written = replace_private(&path.with_extension("jsonl"), &brought.bytes)
            .and_then(|()| disk::write_json(&path.with_extension("json"), &file));
        written.map_err(|error| write_failed(&error))?;
        known.insert(file.id.clone(), file.clone());
        Ok(file.into())
    }

    /// All files, oldest first.
    pub(super) fn all(&self) -> Vec<Object> {
        self.known().values().cloned().map(Object::from).collect()
    }

    pub(super) fn one(&self, id: &str) -> Result<Object, Box<Fault>> {
        self.known().get(id).cloned().map(Object::from).ok_or_else(|| unknown(id))
    }

    pub(super) fn read(&self, id: &str) -> Result<Vec<u8>, Box<Fault>> {
        self.one(id)?;
        std::fs::read(self.root.join(id).with_extension("jsonl")).map_err(|error| write_failed(&error))
    }

    /// Deletes a file. Jobs that train on it have their own copy.
    pub(super) fn remove(&self, id: &str) -> Result<Deleted, Box<Fault>> {
        let mut known = self.known();
        if !known.contains_key(id) {
            return Err(unknown(id));
        }
        let path = self.root.join(id);
        for end in ["json", "jsonl"] {
            disk::remove(&path.with_extension(end)).map_err(|error| write_failed(&error))?;
        }
        known.remove(id);
        Ok(Deleted { id: id.to_owned(), object: "file", deleted: true })
    }
}

impl Object {
    pub(super) fn id(&self) -> &str {
        &self.id
    }
}

fn malformed(malformed: Malformed) -> Box<Fault> {
    let message = format!("The form can't be read: {malformed}.");
    let fault = Fault::new(FaultClass::BadRequest, "invalid_form", message);
    Box::new(fault.fix("Send multipart/form-data, as the SDKs do."))
}

/// Parses the multipart form of an upload.
pub(super) fn read_form(content_type: &str, body: &[u8]) -> Result<Brought, Box<Fault>> {
    if !content_type.trim_start().to_ascii_lowercase().starts_with("multipart/form-data") {
        let message = "This path takes multipart/form-data.";
        let fault = Fault::new(FaultClass::MediaType, "unsupported_media_type", message);
        return Err(Box::new(fault.fix("Send the body as a form, as the SDKs do.")));
    }
    let mut scanner = Scanner::new(boundary(content_type).map_err(malformed)?).map_err(malformed)?;
    let mut found = Vec::new();
    scanner.push(body, &mut found).map_err(malformed)?;
    if !scanner.is_over() {
        return Err(malformed(Malformed("it breaks off")));
    }
    let (mut open, mut file, mut purpose) = (None, None, None);
    for found in found {
        match found {
            Found::Begin { part, from } => open = Some((part, from)),
            Found::End { until } => {
                let Some((part, from)) = open.take() else { continue };
                let range =
                    usize::try_from(from).unwrap_or_default()..usize::try_from(until).unwrap_or_default();
                let value = body.get(range).unwrap_or_default();
                let is_again = match part.name.as_str() {
                    "file" => file.replace((part.filename.unwrap_or_default(), value)).is_some(),
                    "purpose" => purpose.replace(value).is_some(),
                    other => return Err(wrong(other, "isn't supported by this runtime", "Leave it out.")),
                };
                if is_again {
                    return Err(wrong(part.name, "stands twice in the form", "Send it once."));
                }
            }
            Found::Over => {}
        }
    }
    if purpose != Some(PURPOSE.as_bytes()) {
        return Err(wrong(
            "purpose",
            "isn't a purpose that this node keeps files for",
            "Send \"fine-tune\".",
        ));
    }
    let Some((filename, bytes)) = file else {
        return Err(wrong("file", "is missing", "Send the lines to be learned as the form's file."));
    };
    let mut filename: String = filename.chars().filter(|character| !character.is_control()).collect();
    while filename.len() > FILE_NAME_BYTES_MAX {
        filename.pop();
    }
    Ok(Brought { filename, bytes: bytes.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(parts: &[(&str, &str)]) -> Vec<u8> {
        let part = |(disposition, value): &(&str, &str)| {
            format!("--x\r\nContent-Disposition: form-data; {disposition}\r\n\r\n{value}\r\n")
        };
        let parts: String = parts.iter().map(part).collect();
        format!("{parts}--x--\r\n").into_bytes()
    }

    #[test]
    fn a_form_with_a_file_and_its_purpose_is_read() {
        let read = |parts: &[(&str, &str)]| read_form("multipart/form-data; boundary=x", &form(parts));
        let purpose = ("name=\"purpose\"", "fine-tune");
        let file = ("name=\"file\"; filename=\"tides.jsonl\"", "{}\n");
        let brought = read(&[purpose, file]).unwrap();
        assert_eq!(brought, Brought { filename: "tides.jsonl".into(), bytes: b"{}\n".to_vec() });
        let refused = |parts: &[(&str, &str)]| read(parts).unwrap_err().param.unwrap().into_string();
        assert_eq!(refused(&[file]), "purpose");
        assert_eq!(refused(&[purpose]), "file");
        assert_eq!(refused(&[("name=\"purpose\"", "batch"), file]), "purpose");
        assert_eq!(refused(&[purpose, file, file]), "file");
        assert_eq!(
            refused(&[("name=\"expires_after[seconds]\"", "5"), purpose, file]),
            "expires_after[seconds]"
        );
        let broken = read_form("multipart/form-data; boundary=x", b"--x\r\nContent-");
        assert_eq!(broken.unwrap_err().code, "invalid_form");
        assert_eq!(read_form("application/json", b"{}").unwrap_err().code, "unsupported_media_type");
    }

    #[test]
    fn files_are_there_again_and_half_ones_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let open = || Files::open(directory.path().to_owned(), World::system()).unwrap();
        let files = open();
        let kept = files.keep(Brought { filename: "a".into(), bytes: b"{}".to_vec() }).unwrap();
        std::fs::write(directory.path().join("file-half.jsonl"), "{").unwrap();
        let again = open();
        assert_eq!(again.all().len(), 1);
        assert_eq!(again.read(kept.id()).unwrap(), b"{}");
        assert!(!directory.path().join("file-half.jsonl").exists());
        assert!(again.remove(kept.id()).is_ok() && again.remove(kept.id()).is_err());
        assert_eq!(again.read("../train").unwrap_err().code, "file_not_found");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_can_not_be_written_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("files");
        let files = Files::open(root.clone(), World::system()).unwrap();
        std::fs::remove_dir(&root).unwrap();
        std::fs::write(&root, "no folder").unwrap();
        let refused = files.keep(Brought { filename: "a".into(), bytes: b"{}".to_vec() }).err().unwrap();
        assert_eq!((refused.class, refused.code), (FaultClass::Unavailable, "files_not_written"));
        assert_eq!((&*refused.message, files.all().len()), ("The node can't keep its files.", 0));
    }

    #[test]
    fn files_beyond_the_limit_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let files = Files::open(directory.path().to_owned(), World::system()).unwrap();
        let large = File {
            id: "file-large".to_owned(),
            bytes: FILES_BYTES_MAX,
            created_unix_ms: 0,
            filename: "large".to_owned(),
        };
        files.known().insert(large.id.clone(), large);
        let refused = files.keep(Brought { filename: "a".into(), bytes: b"{}".to_vec() });
        assert_eq!(refused.err().unwrap().code, "too_many_files");
    }
}
