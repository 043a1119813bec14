//! A node's adapter directory, and the list of registered adapters on disk, so that they are registered again
//! at the next start. No path leads out of the directory.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::{Fault, FaultClass};
use serde::{Deserialize, Serialize};

use crate::disk;

const BOOK: &str = "adapters.json";
/// The file that makes a directory an adapter.
const DESCRIPTION: &str = "adapter_config.json";

/// How an adapter was registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Its directory, relative to the root.
    pub path: PathBuf,
    pub is_pinned: bool,
}

#[derive(Debug)]
pub(super) struct Folder {
    /// `None` if nothing is stored.
    root: Option<PathBuf>,
    book: Option<PathBuf>,
    entries: Mutex<BTreeMap<String, Entry>>,
}

impl Folder {
    /// # Errors
    /// The list can't be read.
    pub(super) fn open(root: Option<&Path>, data_dir: Option<&Path>) -> io::Result<Self> {
        let book = data_dir.map(|dir| dir.join(BOOK));
        let entries = match book.as_deref().map(disk::read_json) {
            Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Some(read) => read?,
            None => BTreeMap::new(),
        };
        Ok(Self { root: root.map(Path::to_owned), book, entries: Mutex::new(entries) })
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The adapters to register at the start: those in the list, and further ones found in the directory,
    /// under their own names.
    pub(super) fn all(&self) -> Vec<(String, Entry)> {
        let mut all = self.entries().clone();
        let found = self.root.as_deref().and_then(|root| std::fs::read_dir(root).ok());
        for directory in found.into_iter().flatten().flatten() {
            let Ok(name) = directory.file_name().into_string() else { continue };
            let is_one = directory.path().join(DESCRIPTION).is_file() && super::is_name(&name);
            if is_one && !all.contains_key(&name) {
                let path = PathBuf::from(&name);
                all.insert(name, Entry { path, is_pinned: false });
            }
        }
        all.into_iter().collect()
    }

    /// The directory at a path.
    ///
    /// # Errors
    /// It is not in the adapter directory, or does not exist.
    pub(super) fn find(&self, path: &Path) -> Result<PathBuf, Box<Fault>> {
        find(self.root.as_deref(), path)
    }

    /// Whether the directory has an adapter of this name, registered or not.
    pub(super) fn has(&self, name: &str) -> bool {
        self.find(Path::new(name)).is_ok_and(|path| path.join(DESCRIPTION).is_file())
    }

    pub(super) fn note(&self, id: &str, entry: Entry) -> io::Result<()> {
        let mut entries = self.entries();
        entries.insert(id.to_owned(), entry);
        self.write(&entries)
    }

    pub(super) fn pin(&self, id: &str, is_pinned: bool) -> io::Result<()> {
        let mut entries = self.entries();
        if let Some(entry) = entries.get_mut(id) {
            entry.is_pinned = is_pinned;
        } else {
            entries.insert(id.to_owned(), Entry { path: id.into(), is_pinned });
        }
        self.write(&entries)
    }

    pub(super) fn strike(&self, id: &str) -> io::Result<()> {
        let mut entries = self.entries();
        if entries.remove(id).is_none() {
            return Ok(());
        }
        self.write(&entries)
    }

    /// Writes the list atomically.
    fn write(&self, entries: &BTreeMap<String, Entry>) -> io::Result<()> {
        self.book.as_deref().map_or(Ok(()), |book| disk::write_json(book, entries))
    }
}

/// The directory at a path below the adapter directory.
///
/// # Errors
/// It is outside of the adapter directory or does not exist, or there is no adapter directory.
pub(crate) fn find(root: Option<&Path>, path: &Path) -> Result<PathBuf, Box<Fault>> {
    let Some(root) = root else {
        let fault =
            Fault::new(FaultClass::Unsupported, "no_adapter_folder", "This node has no adapter folder.");
        return Err(Box::new(fault.fix("Start it with --adapters and the folder of adapters.")));
    };
    let outside = || {
        let message = "An adapter's path must stay within the node's own folder of adapters.";
        let fault = Fault::new(FaultClass::Forbidden, "adapter_outside", message);
        Box::new(fault.param("path").fix("Name a directory in the folder that --adapters names."))
    };
    let is_plain = |part| matches!(part, Component::Normal(_));
    if path.as_os_str().is_empty() || !path.components().all(is_plain) {
        return Err(outside());
    }
    let (Ok(inside), Ok(found)) = (root.canonicalize(), root.join(path).canonicalize()) else {
        let message = format!("There is no directory \"{}\" among the node's adapters.", path.display());
        let fault = Fault::new(FaultClass::NotFound, "adapter_not_found", message);
        return Err(Box::new(fault.param("path").fix("Put it into the folder that --adapters names.")));
    };
    // A symbolic link may point anywhere.
    if found.starts_with(&inside) { Ok(found) } else { Err(outside()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(root: &Path) -> Folder {
        for name in ["law", "half"] {
            std::fs::create_dir_all(root.join("adapters").join(name)).unwrap();
        }
        std::fs::create_dir_all(root.join("secret")).unwrap();
        std::fs::write(root.join("adapters/law").join(DESCRIPTION), "{}").unwrap();
        std::os::unix::fs::symlink(root.join("secret"), root.join("adapters/link")).unwrap();
        Folder::open(Some(&root.join("adapters")), Some(root)).unwrap()
    }

    #[test]
    fn nothing_leads_out_of_the_folder() {
        let root = tempfile::tempdir().unwrap();
        let folder = folder(root.path());
        let code = |path: &str| folder.find(Path::new(path)).map_err(|fault| fault.code).err();
        assert_eq!(code("law"), None);
        for path in ["../secret", "/etc", "law/../../secret", "", "link"] {
            assert_eq!(code(path), Some("adapter_outside"), "{path}");
        }
        assert_eq!(code("none"), Some("adapter_not_found"));
    }

    #[test]
    fn what_was_registered_is_known_again() {
        let root = tempfile::tempdir().unwrap();
        let folder = folder(root.path());
        let names = |folder: &Folder| folder.all().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(&folder), ["law"], "a directory without a description is none");
        folder.note("statutes", Entry { path: "law".into(), is_pinned: true }).unwrap();
        let again = Folder::open(Some(&root.path().join("adapters")), Some(root.path())).unwrap();
        assert_eq!(names(&again), ["law", "statutes"]);
        assert!(again.all()[1].1.is_pinned);
        again.strike("statutes").unwrap();
        let again = Folder::open(Some(&root.path().join("adapters")), Some(root.path())).unwrap();
        assert_eq!(names(&again), ["law"]);
        std::fs::write(root.path().join(BOOK), "[").unwrap();
        assert!(Folder::open(None, Some(root.path())).is_err(), "a book that can't be read is told");
    }

    #[test]
    fn a_node_without_a_folder_finds_no_adapter() {
        let folder = Folder::open(None, None).unwrap();
        assert_eq!(folder.find(Path::new("law")).unwrap_err().code, "no_adapter_folder");
    }
}
