//! `cargo xtask duplicates`: packages that building the binary needs in more than one version.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Result;
use serde::Deserialize;

use crate::finding::Finding;
use crate::graph::{Graph, Purpose, Versions};
use crate::tree;

const TABLE: &str = "xtask/duplicates.toml";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    allowed: BTreeMap<String, Allowed>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Allowed {
    versions: BTreeSet<String>,
    reason: String,
}

pub fn check(root: &Path) -> Result<(Vec<Finding>, String)> {
    let table: Table = tree::read_table(root, TABLE)?;
    let versions = Graph::load(root)?.built(Purpose::Binary)?;
    let several = versions.values().filter(|versions| versions.len() > 1).count();
    let summary = format!("duplicates: {} packages, {several} in several versions", versions.len());
    Ok((compare(&versions, &table), summary))
}

fn compare(versions: &Versions, table: &Table) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, found) in versions.iter().filter(|(_, found)| found.len() > 1) {
        let listed = table.allowed.get(name).filter(|allowed| !allowed.reason.is_empty());
        if !listed.is_some_and(|allowed| found.is_subset(&allowed.versions)) {
            let found: Vec<&str> = found.iter().map(String::as_str).collect();
            let what = format!("{name} comes in {}", found.join(" and "));
            let fix = format!(
                "see `cargo tree -d -p tidegate`; bring the users together, or list it with a reason in {TABLE}"
            );
            findings.push(Finding::new("Cargo.lock", 1, what, fix));
        }
    }
    for name in table.allowed.keys() {
        if versions.get(name).is_none_or(|found| found.len() <= 1) {
            let what = format!("{name} is listed and comes in one version only");
            findings.push(Finding::new(TABLE, 1, what, "remove its line"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::{Table, compare};

    fn findings_of(name: &str, versions: &[&str]) -> Vec<String> {
        let table: Table =
            toml::from_str("[allowed]\nold = { versions = ['1.0.0', '2.0.0'], reason = 'x' }\n").unwrap();
        let set = |versions: &[&str]| versions.iter().map(|version| (*version).to_owned()).collect();
        let mut all = super::Versions::from([("old".to_owned(), set(&["1.0.0", "2.0.0"]))]);
        all.insert(name.to_owned(), set(versions));
        compare(&all, &table).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn one_version_and_listed_ones_pass() {
        assert!(findings_of("new", &["1.0.0"]).is_empty());
    }

    #[test]
    fn new_versions_and_stale_lines_fail() {
        assert_eq!(findings_of("new", &["1.0.0", "2.0.0"]), ["new comes in 1.0.0 and 2.0.0"]);
        assert_eq!(findings_of("old", &["1.0.0", "3.0.0"]), ["old comes in 1.0.0 and 3.0.0"]);
        assert_eq!(findings_of("old", &["2.0.0"]), ["old is listed and comes in one version only"]);
    }
}
