//! What a node lets its peers fetch: the models of this machine's directory, and the adapters of its folder.

use std::fs;
use std::path::{Path, PathBuf};

use peers::SharedFolder;

/// Files without which a directory is no adapter.
const ADAPTER_FILES: [&str; 2] = ["adapter_config.json", "adapter_model.safetensors"];

/// Where what peers may fetch is.
#[derive(Debug, Clone)]
pub struct Folders {
    pub models: Option<hub::ModelStore>,
    pub adapters: Option<PathBuf>,
    /// The model that this node serves: its name for requests, and its files.
    pub served: Option<(String, PathBuf)>,
}

impl Folders {
    /// All of them, as they are now.
    pub fn shared(&self) -> Vec<SharedFolder> {
        let models = self.models.as_ref().and_then(|store| store.entries().ok()).unwrap_or_default();
        let mut shared: Vec<SharedFolder> = models
            .into_iter()
            .map(|entry| SharedFolder {
                share: format!("model/{}", entry.manifest.name),
                files: entry.manifest.files.iter().map(|file| file.name.clone()).collect(),
                directory: entry.directory,
            })
            .collect();
        shared.extend(self.adapters.as_deref().map(adapters).unwrap_or_default());
        shared
    }
}

fn adapters(folder: &Path) -> Vec<SharedFolder> {
    let Ok(listed) = fs::read_dir(folder) else { return Vec::new() };
    let shared = |entry: fs::DirEntry| {
        let (name, directory) = (entry.file_name().into_string().ok()?, entry.path());
        let is_adapter =
            !name.starts_with('.') && ADAPTER_FILES.iter().all(|file| directory.join(file).is_file());
        let files = is_adapter.then(|| plain_files(&directory))?;
        Some(SharedFolder { share: format!("adapter/{name}"), directory, files })
    };
    listed.filter_map(Result::ok).filter_map(shared).collect()
}

/// The files of a directory by name, without hidden ones.
fn plain_files(directory: &Path) -> Vec<String> {
    let Ok(listed) = fs::read_dir(directory) else { return Vec::new() };
    let plain = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().ok().filter(|name| !name.starts_with('.'))?;
        entry.file_type().is_ok_and(|kind| kind.is_file()).then_some(name)
    };
    let mut files: Vec<String> = listed.filter_map(Result::ok).filter_map(plain).collect();
    files.sort();
    files
}

/// Where an adapter of this name goes: a directory of the folder. `None` if the name would lead elsewhere.
pub fn adapter_directory(folder: &Path, name: &str) -> Option<PathBuf> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let fits = !name.is_empty() && name.len() <= 128 && !name.starts_with('.') && name.chars().all(is_plain);
    fits.then(|| folder.join(name))
}
