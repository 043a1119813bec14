//! The packages that cargo resolves, and those that it would actually build.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use cargo_metadata::{Metadata, MetadataCommand, Package};

/// The platform whose packages count; packages for others are never released.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// Versions by package name.
pub type Versions = BTreeMap<String, BTreeSet<String>>;

pub struct Graph {
    root: PathBuf,
    metadata: Metadata,
}

/// What a list of packages is for.
#[derive(Debug, Clone, Copy)]
pub enum Purpose {
    /// All our crates with their tests.
    Everything,
    /// The binary and what its build runs.
    Binary,
}

impl Graph {
    pub fn load(root: &Path) -> Result<Self> {
        let metadata = MetadataCommand::new()
            .manifest_path(root.join("Cargo.toml"))
            .other_options(vec!["--locked".to_owned(), "--filter-platform".to_owned(), PLATFORM.to_owned()])
            .exec()
            .context("asking cargo for the packages (is Cargo.lock up to date?)")?;
        Ok(Self { root: root.to_path_buf(), metadata })
    }

    /// The workspace members.
    pub fn members(&self) -> impl Iterator<Item = &Package> {
        self.metadata.packages.iter().filter(|package| self.metadata.workspace_members.contains(&package.id))
    }

    /// The manifest's path, relative to the repository root.
    pub fn manifest(&self, package: &Package) -> String {
        let path = package.manifest_path.strip_prefix(&self.metadata.workspace_root);
        path.unwrap_or(&package.manifest_path).to_string().replace('\\', "/")
    }

    /// The workspace member that a file belongs to: the innermost, as a crate's directory may be inside another's.
    pub fn owner(&self, path: &str) -> Option<&Package> {
        let members = self.members().map(|package| (self.directory(package), package));
        let holds = members.filter(|(directory, _)| path.starts_with(directory));
        holds.max_by_key(|(directory, _)| directory.len()).map(|(_, package)| package)
    }

    /// The package's directory, relative to the repository root, with a slash at its end.
    pub fn directory(&self, package: &Package) -> String {
        self.manifest(package).trim_end_matches("Cargo.toml").to_owned()
    }

    /// The licence in a package's manifest.
    pub fn licence(&self, name: &str, version: &str) -> Option<&str> {
        let mut packages = self.metadata.packages.iter();
        let found = packages.find(|package| package.name == name && package.version.to_string() == version);
        found.and_then(|package| package.license.as_deref())
    }

    /// The third-party packages that are built. Cargo's metadata also lists optional packages that no feature
    /// enables, so this runs `cargo tree`, which resolves features like a build.
    pub fn built(&self, purpose: Purpose) -> Result<Versions> {
        let scope: &[&str] = match purpose {
            Purpose::Everything => &["--workspace", "--edges", "normal,build,dev"],
            Purpose::Binary => &["--package", "tidegate", "--edges", "normal,build"],
        };
        let output = Command::new(env!("CARGO"))
            .current_dir(&self.root)
            .args(["tree", "--locked", "--target", PLATFORM, "--prefix", "none"])
            .args(scope)
            .output()
            .context("starting `cargo tree`")?;
        if !output.status.success() {
            bail!("`cargo tree` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let mut versions = parse(&String::from_utf8_lossy(&output.stdout));
        versions.retain(|name, _| !self.members().any(|member| member.name == name));
        Ok(versions)
    }
}

/// Lines like `name v1.2.3 (proc-macro) (*)`.
fn parse(tree: &str) -> Versions {
    let mut versions = Versions::new();
    for line in tree.lines() {
        let mut words = line.split_whitespace();
        let (name, version) = (words.next(), words.next().and_then(|word| word.strip_prefix('v')));
        if let (Some(name), Some(version)) = (name, version) {
            versions.entry(name.to_owned()).or_default().insert(version.to_owned());
        }
    }
    versions
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_tree_is_read_line_by_line() {
        let found = parse("a v1.0.0 (proc-macro)\nb v2.0.0 (*)\n\na v1.1.0\n");
        assert_eq!(found.get("a").unwrap().iter().collect::<Vec<_>>(), ["1.0.0", "1.1.0"]);
        assert_eq!(found.get("b").unwrap().len(), 1);
        assert_eq!(found.len(), 2);
    }
}
