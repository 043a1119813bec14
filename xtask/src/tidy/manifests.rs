//! Finds dependencies that a manifest declares and no source file of its crate names.

use std::collections::BTreeSet;

use cargo_metadata::DependencyKind;
use serde::Deserialize;

use crate::finding::Finding;
use crate::graph::Graph;
use crate::source::{SourceFile, line_of, words};

/// The rows of `xtask/manifests.toml`: dependencies that are needed although no source file names them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    unnamed: Vec<Unnamed>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Unnamed {
    package: String,
    dependencies: BTreeSet<String>,
}

struct Declared {
    /// The name in source code.
    ident: String,
    kind: DependencyKind,
    is_optional: bool,
}

pub fn check(graph: &Graph, sources: &[SourceFile], table: &Table) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in graph.members() {
        let manifest = graph.manifest(package);
        let folder = graph.directory(package);
        let is_own = |source: &&SourceFile| {
            source.path.starts_with(&folder)
                && graph.owner(&source.path).is_some_and(|owner| owner.id == package.id)
        };
        let own: Vec<&SourceFile> = sources.iter().filter(is_own).collect();
        let excused = table.unnamed.iter().find(|row| row.package == *package.name);
        for dependency in &package.dependencies {
            let name = dependency.rename.as_ref().unwrap_or(&dependency.name);
            let declared = Declared {
                ident: name.replace('-', "_"),
                kind: dependency.kind,
                is_optional: dependency.optional,
            };
            let is_excused = excused.is_some_and(|row| row.dependencies.contains(name));
            let is_named = own.iter().any(|source| names(source, &folder, &declared));
            findings.extend(finding(&manifest, name, is_named, is_excused));
        }
    }
    findings
}

fn finding(manifest: &str, name: &str, is_named: bool, is_excused: bool) -> Option<Finding> {
    match (is_named, is_excused) {
        (false, false) => {
            let fix = "delete its line; a dependency that is needed unnamed gets a row with its reason in xtask/manifests.toml";
            Some(Finding::new(manifest, 1, format!("no source names `{name}`"), fix))
        }
        (true, true) => {
            let what = format!("`{name}` is excused in xtask/manifests.toml, and a source names it");
            Some(Finding::new(manifest, 1, what, "delete the row"))
        }
        _ => None,
    }
}

/// Whether this file of the crate in `folder` uses the dependency in code where its kind of dependency is
/// linked.
fn names(source: &SourceFile, folder: &str, declared: &Declared) -> bool {
    let within = source.path.strip_prefix(folder).unwrap_or(&source.path);
    let counts = |line: usize| match declared.kind {
        DependencyKind::Build => within == "build.rs" || within.starts_with("build/"),
        // Dev-dependencies can't be optional, so what only some tests need is an optional one.
        DependencyKind::Normal if declared.is_optional => true,
        // In the package of the tests, all code is of tests.
        DependencyKind::Normal => {
            within.starts_with("src/") && (folder == "tests/" || !source.is_test_line(line))
        }
        // Dev-dependencies: for tests, examples and benchmarks.
        _ => true,
    };
    // Attributes such as serde's name paths in strings.
    words(&source.text, &declared.ident).any(|at| {
        let after = source.text.get(at + declared.ident.len()..).unwrap_or_default();
        let before = source.text.get(..at).unwrap_or_default().trim_end();
        let is_path = after.starts_with("::") || before.ends_with("use") || before.ends_with("extern crate");
        is_path && counts(line_of(&source.text, at))
    })
}

#[cfg(test)]
mod tests {
    use cargo_metadata::DependencyKind;

    use super::{Declared, finding, names};
    use crate::source::SourceFile;

    fn is_named(path: &str, raw: &str, ident: &str, kind: DependencyKind) -> bool {
        let declared = Declared { ident: ident.to_owned(), kind, is_optional: false };
        names(&SourceFile::new(path, raw), "crates/a/", &declared)
    }

    #[test]
    fn a_path_or_a_use_names_a_dependency() {
        let normal = |raw: &str| is_named("crates/a/src/lib.rs", raw, "tokio_rustls", DependencyKind::Normal);
        assert!(normal("use tokio_rustls::client;"));
        assert!(normal("use tokio_rustls as tls;"));
        assert!(normal("fn f(_: tokio_rustls::Tls) {}"));
        assert!(normal("#[serde(with = \"tokio_rustls::text\")] struct S;"));
        assert!(!normal("let tokio_rustls = 1;"));
        assert!(!normal("// tokio_rustls::client"));
        assert!(!normal("use my_tokio_rustls::client;"));
    }

    #[test]
    fn a_dependency_counts_where_it_is_linked() {
        let test = "#[cfg(test)]\nmod tests {\n    use insta::assert;\n}\n";
        assert!(!is_named("crates/a/src/lib.rs", test, "insta", DependencyKind::Normal));
        assert!(is_named("crates/a/src/lib.rs", test, "insta", DependencyKind::Development));
        assert!(is_named("crates/a/tests/it/main.rs", "use insta::x;", "insta", DependencyKind::Development));
        assert!(!is_named("crates/a/src/lib.rs", "use insta::x;", "insta", DependencyKind::Build));
        assert!(is_named("crates/a/build.rs", "use insta::x;", "insta", DependencyKind::Build));
    }

    #[test]
    fn an_excuse_is_needed_and_not_kept() {
        assert!(finding("m", "x", false, false).is_some());
        assert!(finding("m", "x", false, true).is_none());
        assert!(finding("m", "x", true, true).is_some());
        assert!(finding("m", "x", true, false).is_none());
    }
}
