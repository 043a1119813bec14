//! Access to the repository's files and the checks' data files.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;

/// Directories of third-party code and build output.
const SKIPPED: [&str; 6] = ["target", "node_modules", ".git", ".venv", ".cache", "data"];

/// The repository root: the directory above this crate.
pub fn root() -> PathBuf {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    own.parent().map_or(own.clone(), Path::to_path_buf)
}

/// The paths, relative to `root` and with forward slashes, of every file whose name `wanted` accepts; sorted.
pub fn files(root: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(folder) = open.pop() {
        let entries = std::fs::read_dir(&folder).with_context(|| format!("listing {}", folder.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("listing {}", folder.display()))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type().with_context(|| format!("reading the kind of {name}"))?;
            if kind.is_dir() && !SKIPPED.contains(&name.as_str()) {
                open.push(entry.path());
            } else if kind.is_file() && wanted(&name) {
                found.push(relative(root, &entry.path()));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Reads a text file of the repository.
pub fn read(root: &Path, path: &str) -> Result<String> {
    std::fs::read_to_string(root.join(path)).with_context(|| format!("reading {path}"))
}

/// Reads one of the data files next to this crate's manifest.
pub fn read_table<T: DeserializeOwned>(root: &Path, path: &str) -> Result<T> {
    toml::from_str(&read(root, path)?).with_context(|| format!("understanding {path}"))
}

fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).to_string_lossy().replace('\\', "/")
}

#[cfg(test)]
mod tests {
    use super::{files, root};

    #[test]
    fn finds_this_file_and_skips_built_ones() {
        let found = files(&root().join("xtask"), |name| name.ends_with(".rs")).unwrap();
        assert!(found.contains(&"src/tree.rs".to_owned()));
        assert!(!found.iter().any(|path| path.contains("target/")));
    }
}
