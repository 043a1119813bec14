//! The models on this machine: one directory each, published only when complete, with a manifest of its
//! files.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use world::World;

use crate::choice::stem_of;
use crate::digest::Checksum;
use crate::error::{HubError, HubErrorKind};
use crate::limits::CONFIG_BYTES_MAX;
use crate::names::Reference;
use crate::pull::now;

/// The directory of all models. Unfinished downloads are in hidden subdirectories, which are not listed.
#[derive(Debug, Clone)]
pub struct ModelStore {
    root: PathBuf,
}

/// A model's manifest, as it was pulled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of this format.
    pub version: u32,
    pub name: String,
    pub repository: String,
    /// The commit on the hub.
    pub revision: String,
    /// The hub or mirror that it was downloaded from.
    pub source: String,
    pub pulled_at: String,
    pub bytes: u64,
    pub files: Vec<StoredFile>,
}

/// One file of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredFile {
    pub name: String,
    pub bytes: u64,
    pub sha256: String,
    /// The checksum from the hub, verified.
    pub checksum: Checksum,
}

/// A complete model on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub directory: PathBuf,
    pub manifest: Manifest,
}

/// A model that is being brought from elsewhere than a hub.
#[derive(Debug)]
pub struct Staged<'s> {
    store: &'s ModelStore,
    model: Reference,
    directory: PathBuf,
    _lock: File,
}

pub(crate) const MANIFEST: &str = "manifest.json";
const VERSION: u32 = 1;
/// Hidden, since no model's directory starts with a dot.
const COMING: &str = ".coming";
const GOING: &str = ".going";
const LOCKS: &str = ".locks";

impl ModelStore {
    pub const fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The default directory: `tidegate/models` in the user's data directory. `None` without a home
    /// directory.
    pub fn usual(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<Self> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let data = set("XDG_DATA_HOME").or_else(|| set("HOME").map(|home| home.join(".local/share")));
        data.map(|data| Self::at(data.join("tidegate/models")))
    }

    /// The path that a runtime opens for a model of this name: its one GGUF file, or its directory. `None` if
    /// the model is not here or not complete.
    pub fn path_of(&self, name: &str) -> Option<PathBuf> {
        self.find(&Reference::read(name).ok()?).map(|entry| entry.path())
    }

    /// The models on disk, by name.
    ///
    /// # Errors
    /// The directory can't be read. A missing directory is empty.
    pub fn entries(&self) -> Result<Vec<Entry>, HubError> {
        let listed = match fs::read_dir(&self.root) {
            Ok(listed) => listed,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(HubError::disk(&self.root, &error)),
        };
        let mut found: Vec<Entry> = listed
            .filter_map(Result::ok)
            .filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
            .filter_map(|entry| read_entry(&entry.path()))
            .collect();
        found.sort_by(|one, other| one.manifest.name.cmp(&other.manifest.name));
        Ok(found)
    }

    /// A complete model on disk.
    pub fn find(&self, model: &Reference) -> Option<Entry> {
        read_entry(&self.root.join(model.directory()))
    }

    /// Removes a model and its partial downloads; returns the bytes freed.
    ///
    /// # Errors
    /// It is not on disk, another process uses it, or the disk fails.
    pub fn remove(&self, model: &Reference) -> Result<u64, HubError> {
        let _lock = self.lock(model)?;
        let (directory, coming) = (self.root.join(model.directory()), self.staging_directory(model));
        let bytes = bytes_in(&directory) + bytes_in(&coming);
        if !directory.exists() && !coming.exists() {
            return Err(HubError::new(
                HubErrorKind::NotFound,
                format!("{model} is not on this machine. `tidegate models local` lists what is."),
            ));
        }
        self.put_away(model, &directory)?;
        remove_all(&coming)?;
        Ok(bytes)
    }

    /// The directory of a model's unfinished download.
    pub(crate) fn staging_directory(&self, model: &Reference) -> PathBuf {
        self.root.join(COMING).join(model.directory())
    }

    /// Publishes a finished download atomically: a reader finds either the old model or the new one.
    pub(crate) fn publish(&self, model: &Reference, manifest: &Manifest) -> Result<Entry, HubError> {
        let coming = self.staging_directory(model);
        drop_the_rest(&coming, manifest)?;
        write_synced(&coming.join(MANIFEST), &serde_json::to_vec_pretty(manifest).unwrap_or_default())?;
        let directory = self.root.join(model.directory());
        self.put_away(model, &directory)?;
        fs::rename(&coming, &directory).map_err(|error| HubError::disk(&directory, &error))?;
        sync_directory(&self.root)?;
        Ok(Entry { directory, manifest: manifest.clone() })
    }

    /// Begins to bring a model from elsewhere than a hub: no other process pulls or removes it meanwhile.
    ///
    /// # Errors
    /// Another process is at this model, or the disk fails.
    pub fn stage(&self, model: &Reference) -> Result<Staged<'_>, HubError> {
        let lock = self.lock(model)?;
        let directory = self.staging_directory(model);
        make_directory(&directory)?;
        Ok(Staged { store: self, model: model.clone(), directory, _lock: lock })
    }

    /// Locks the model against other processes until the file is dropped, even by a crash.
    pub(crate) fn lock(&self, model: &Reference) -> Result<File, HubError> {
        let directory = self.root.join(LOCKS);
        make_directory(&directory)?;
        let path = directory.join(model.directory());
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(|error| HubError::disk(&path, &error))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let text = format!("Another tidegate is pulling or removing {model}. Wait for it, or stop it.");
            return Err(HubError::new(HubErrorKind::Busy, text));
        }
        Ok(file)
    }

    fn put_away(&self, model: &Reference, directory: &Path) -> Result<(), HubError> {
        let going = self.root.join(GOING);
        make_directory(&going)?;
        let gone = going.join(model.directory());
        remove_all(&gone)?;
        match fs::rename(directory, &gone) {
            Ok(()) => remove_all(&gone),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(HubError::disk(directory, &error)),
        }
    }
}

impl Staged<'_> {
    /// Where the files go.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Publishes the complete files, as if they had been pulled. `source` says where they came from, `revision` which version it is.
    pub fn publish(
        self,
        (source, revision): (String, String),
        files: Vec<StoredFile>,
        world: &World,
    ) -> Result<Entry, HubError> {
        let pulled_at = now(world);
        let mut manifest =
            Manifest::of(&self.model.to_string(), self.model.repository(), revision, source, pulled_at);
        manifest.bytes = files.iter().map(|file| file.bytes).sum();
        manifest.files = files;
        self.store.publish(&self.model, &manifest)
    }
}

impl Manifest {
    pub(crate) fn of(
        name: &str,
        repository: String,
        revision: String,
        source: String,
        pulled_at: String,
    ) -> Self {
        Self {
            version: VERSION,
            name: name.to_owned(),
            repository,
            revision,
            source,
            pulled_at,
            bytes: 0,
            files: Vec::new(),
        }
    }
}

impl Entry {
    /// What a runtime opens: the GGUF file, of one in several shards the first, or the directory.
    pub fn path(&self) -> PathBuf {
        let mut packed: Vec<&str> = self.packed().collect();
        packed.sort_unstable();
        let stems: BTreeSet<_> = packed.iter().map(|name| stem_of(name)).collect();
        match packed.first() {
            Some(first) if stems.len() == 1 => self.directory.join(first),
            _ => self.directory.clone(),
        }
    }

    /// Its GGUF files.
    pub(crate) fn packed(&self) -> impl Iterator<Item = &str> {
        self.manifest.files.iter().map(|file| file.name.as_str()).filter(|name| name.ends_with(".gguf"))
    }

    /// Whether every file is still there with its full length.
    pub(crate) fn is_whole(&self) -> bool {
        self.manifest.files.iter().all(|file| {
            fs::metadata(self.directory.join(&file.name)).is_ok_and(|here| here.len() == file.bytes)
        })
    }
}

fn read_entry(directory: &Path) -> Option<Entry> {
    let bytes = read_bounded(&directory.join(MANIFEST))?;
    let manifest: Manifest = serde_json::from_slice(&bytes).ok()?;
    // Names in a manifest become paths; those that a pull wrote are plain.
    let is_plain = |file: &StoredFile| !file.name.contains(['/', '\\', '\0']) && !file.name.starts_with('.');
    let is_ours = manifest.version == VERSION && manifest.files.iter().all(is_plain);
    is_ours.then(|| Entry { directory: directory.to_owned(), manifest })
}

pub(crate) fn read_bounded(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(CONFIG_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Removes partial downloads of other versions.
fn drop_the_rest(coming: &Path, manifest: &Manifest) -> Result<(), HubError> {
    let listed = fs::read_dir(coming).map_err(|error| HubError::disk(coming, &error))?;
    for entry in listed.filter_map(Result::ok) {
        let name = entry.file_name();
        if !manifest.files.iter().any(|file| name == *file.name) {
            fs::remove_file(entry.path()).map_err(|error| HubError::disk(&entry.path(), &error))?;
        }
    }
    Ok(())
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), HubError> {
    let written = File::create(path).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(|error| HubError::disk(path, &error))?;
    path.parent().map_or(Ok(()), sync_directory)
}

fn sync_directory(path: &Path) -> Result<(), HubError> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(|error| HubError::disk(path, &error))
}

pub(crate) fn make_directory(path: &Path) -> Result<(), HubError> {
    fs::create_dir_all(path).map_err(|error| HubError::disk(path, &error))
}

fn remove_all(path: &Path) -> Result<(), HubError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(HubError::disk(path, &error)),
        _ => Ok(()),
    }
}

fn bytes_in(directory: &Path) -> u64 {
    let Ok(listed) = fs::read_dir(directory) else { return 0 };
    listed.filter_map(|entry| entry.ok()?.metadata().ok()).map(|of| of.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shelf() -> (tempfile::TempDir, ModelStore, Reference) {
        let root = tempfile::tempdir().unwrap();
        let shelf = ModelStore::at(root.path().join("models"));
        (root, shelf, Reference::read("a/b").unwrap())
    }

    fn put(shelf: &ModelStore, model: &Reference, text: &str) -> Entry {
        make_directory(&shelf.staging_directory(model)).unwrap();
        fs::write(shelf.staging_directory(model).join("config.json"), text).unwrap();
        fs::write(shelf.staging_directory(model).join("old.safetensors.0123.part"), "half").unwrap();
        let mut manifest =
            Manifest::of("a/b", "a/b".into(), "c0".into(), "https://hub.example".into(), "now".into());
        let checksum = Checksum::GitBlob("0".repeat(40));
        let (bytes, sha256) = (text.len() as u64, "0".repeat(64));
        manifest.files = vec![StoredFile { name: "config.json".into(), bytes, sha256, checksum }];
        shelf.publish(model, &manifest).unwrap()
    }

    #[test]
    fn a_model_is_there_whole_or_not_at_all() {
        let (_root, shelf, model) = shelf();
        assert_eq!(shelf.entries().unwrap(), []);
        make_directory(&shelf.staging_directory(&model)).unwrap();
        fs::write(shelf.staging_directory(&model).join(MANIFEST), "{").unwrap();
        assert_eq!((shelf.find(&model), shelf.entries().unwrap().len()), (None, 0));
        let entry = put(&shelf, &model, "{}");
        assert_eq!((shelf.find(&model), entry.is_whole()), (Some(entry.clone()), true));
        assert_eq!(fs::read_dir(&entry.directory).unwrap().count(), 2, "no part is left");
        assert_eq!(shelf.path_of("a/b"), Some(entry.directory));
        assert_eq!((shelf.path_of("a/c"), shelf.path_of("../b")), (None, None));
        let entry = put(&shelf, &model, "{ }");
        assert_eq!(fs::read_to_string(entry.directory.join("config.json")).unwrap(), "{ }");
        assert!(shelf.remove(&model).unwrap() > 3);
        assert_eq!(
            (shelf.find(&model), shelf.remove(&model).unwrap_err().kind),
            (None, HubErrorKind::NotFound)
        );
    }

    #[test]
    fn a_model_is_opened_by_its_one_file_by_its_first_shard_or_as_a_directory() {
        let (_root, shelf, model) = shelf();
        let entry = put(&shelf, &model, "{}");
        for (names, opened) in [
            (&["config.json", "b-q8_0.gguf"][..], Some("b-q8_0.gguf")),
            (&["b-00002-of-00002.gguf", "b-00001-of-00002.gguf"], Some("b-00001-of-00002.gguf")),
            (&["a.gguf", "b.gguf"], None),
            (&["config.json", "model-00001-of-00002.safetensors"], None),
        ] {
            let mut entry = entry.clone();
            let file = entry.manifest.files.remove(0);
            entry.manifest.files =
                names.iter().map(|name| StoredFile { name: (*name).into(), ..file.clone() }).collect();
            let expected = opened.map_or(entry.directory.clone(), |name| entry.directory.join(name));
            assert_eq!(entry.path(), expected);
        }
    }

    #[test]
    fn models_are_kept_with_a_persons_data() {
        for (set, root) in [
            (vec![("HOME", "/h")], Some("/h/.local/share/tidegate/models")),
            (vec![("HOME", "/h"), ("XDG_DATA_HOME", "/d")], Some("/d/tidegate/models")),
            (vec![("HOME", "/h"), ("XDG_DATA_HOME", "")], Some("/h/.local/share/tidegate/models")),
            (vec![], None),
        ] {
            let variable =
                |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into());
            let shelf = ModelStore::usual(&variable);
            assert_eq!(shelf.as_ref().map(|shelf| shelf.root()), root.map(Path::new));
        }
    }

    #[test]
    fn two_can_not_be_at_one_model() {
        let (_root, shelf, model) = shelf();
        let held = shelf.lock(&model).unwrap();
        assert_eq!(shelf.remove(&model).unwrap_err().kind, HubErrorKind::Busy);
        assert!(shelf.lock(&Reference::read("a/c").unwrap()).is_ok());
        drop(held);
        assert!(shelf.lock(&model).is_ok());
    }

    #[test]
    fn a_manifest_that_names_paths_is_no_manifest() {
        let (_root, shelf, model) = shelf();
        let entry = put(&shelf, &model, "{}");
        let mut manifest = entry.manifest;
        manifest.files[0].name = "../x".into();
        fs::write(entry.directory.join(MANIFEST), serde_json::to_vec(&manifest).unwrap()).unwrap();
        assert_eq!(shelf.find(&model), None);
    }
}
