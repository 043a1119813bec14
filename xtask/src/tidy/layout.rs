//! Checks the layout of the tree: lint inheritance, a single `clippy.toml`, numbered migrations.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};

use crate::finding::Finding;
use crate::graph::Graph;
use crate::tree;

const MIGRATIONS: &str = "crates/store/migrations";

pub fn check(root: &Path, graph: &Graph) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for package in graph.members() {
        let manifest = graph.manifest(package);
        findings.extend(lints(&manifest, &tree::read(root, &manifest)?)?);
    }
    let is_clippy = |name: &str| name == "clippy.toml" || name == ".clippy.toml";
    findings.extend(clippy_files(&tree::files(root, is_clippy)?));
    findings.extend(migrations(&tree::files(root, |name| name.ends_with(".sql"))?));
    Ok(findings)
}

fn lints(manifest: &str, text: &str) -> Result<Option<Finding>> {
    let parsed: toml::Table = toml::from_str(text).with_context(|| format!("understanding {manifest}"))?;
    let inherited =
        parsed.get("lints").and_then(|lints| lints.get("workspace")).and_then(toml::Value::as_bool);
    let fix = "add `[lints]` with `workspace = true`";
    Ok((inherited != Some(true))
        .then(|| Finding::new(manifest, 1, "the crate does not inherit the lint table", fix)))
}

/// A `clippy.toml` inside a crate replaces the root one instead of extending it.
fn clippy_files(paths: &[String]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = paths
        .iter()
        .filter(|path| path.as_str() != "clippy.toml")
        .map(|path| {
            Finding::new(path, 1, "a second clippy configuration", "move its rules to the root's clippy.toml")
        })
        .collect();
    if !paths.iter().any(|path| path == "clippy.toml") {
        findings.push(Finding::new(
            "clippy.toml",
            1,
            "the clippy configuration is missing",
            "restore it at the root",
        ));
    }
    findings
}

/// Both stores must have the same migration numbers, starting at one, without gaps or duplicates.
fn migrations(paths: &[String]) -> Vec<Finding> {
    let mut stores: BTreeMap<&str, BTreeMap<usize, &str>> =
        BTreeMap::from([("sqlite", BTreeMap::new()), ("postgres", BTreeMap::new())]);
    let mut findings = Vec::new();
    for path in paths {
        let Some((store, file)) =
            path.strip_prefix(MIGRATIONS).and_then(|rest| rest.trim_start_matches('/').split_once('/'))
        else {
            continue;
        };
        let number = file.split('_').next().and_then(|digits| digits.parse::<usize>().ok());
        match number {
            Some(number) => {
                if let Some(other) = stores.entry(store).or_default().insert(number, path) {
                    let what = format!("migration {number} exists twice, also as {other}");
                    findings.push(Finding::new(path, 1, what, "give the newer one the next number"));
                }
            }
            None => findings.push(Finding::new(
                path,
                1,
                "the migration has no number",
                "name it like `0001_what.sql`",
            )),
        }
    }
    let last = stores.values().filter_map(|numbers| numbers.keys().next_back()).max().copied().unwrap_or(1);
    for (store, numbers) in &stores {
        let missing = (1..=last).filter(|number| !numbers.contains_key(number));
        findings.extend(missing.map(|number| {
            let what = format!("migration {number} is missing for {store}");
            Finding::new(
                &format!("{MIGRATIONS}/{store}"),
                1,
                what,
                "every store gets every number; old ones are never edited",
            )
        }));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::{clippy_files, lints, migrations};
    use crate::finding::Finding;

    fn paths(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn whats(findings: Vec<Finding>) -> Vec<String> {
        findings.into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn lints_are_inherited() {
        assert!(lints("m", "[lints]\nworkspace = true\n").unwrap().is_none());
        assert!(lints("m", "[lints.rust]\nunsafe_code = 'allow'\n").unwrap().is_some());
        assert!(lints("m", "[package]\nname = 'x'\n").unwrap().is_some());
        assert!(lints("m", "not toml").is_err());
    }

    #[test]
    fn one_clippy_configuration_at_the_root() {
        assert!(clippy_files(&paths(&["clippy.toml"])).is_empty());
        let found = whats(clippy_files(&paths(&["clippy.toml", "crates/a/clippy.toml"])));
        assert_eq!(found, ["a second clippy configuration"]);
        assert_eq!(whats(clippy_files(&[])), ["the clippy configuration is missing"]);
    }

    #[test]
    fn migrations_are_numbered_without_gaps_in_every_store() {
        let at = |store: &str, file: &str| format!("crates/store/migrations/{store}/{file}");
        let both = |file: &str| [at("sqlite", file), at("postgres", file)];
        assert!(migrations(&[both("0001_a.sql"), both("0002_b.sql")].concat()).is_empty());
        let missing = |number: u8, store: &str| format!("migration {number} is missing for {store}");
        assert_eq!(whats(migrations(&[])), [missing(1, "postgres"), missing(1, "sqlite")]);
        assert_eq!(whats(migrations(&both("0002_b.sql"))), [missing(1, "postgres"), missing(1, "sqlite")]);
        let uneven = [at("sqlite", "0001_a.sql"), at("sqlite", "0002_b.sql"), at("postgres", "0001_a.sql")];
        assert_eq!(whats(migrations(&uneven)), ["migration 2 is missing for postgres"]);
        let twice = [both("0001_a.sql").as_slice(), &[at("sqlite", "0001_b.sql")]].concat();
        assert_eq!(migrations(&twice).len(), 1);
        assert_eq!(
            whats(migrations(&[both("0001_a.sql").as_slice(), &[at("sqlite", "a.sql")]].concat())),
            ["the migration has no number"]
        );
    }
}
