//! `cargo xtask licences`: every package's licence against the allow-list, and banned packages.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Result;
use serde::Deserialize;

use crate::finding::Finding;
use crate::graph::{Graph, Purpose};
use crate::{spdx, tree};

const TABLE: &str = "xtask/licences.toml";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    allowed: BTreeSet<String>,
    /// Package name to why it is banned.
    banned: BTreeMap<String, String>,
    /// Package name to why its licence is accepted.
    excused: BTreeMap<String, String>,
}

pub fn check(root: &Path) -> Result<(Vec<Finding>, String)> {
    let table: Table = tree::read_table(root, TABLE)?;
    let graph = Graph::load(root)?;
    let mut findings = Vec::new();
    let mut count = 0;
    for (name, versions) in graph.built(Purpose::Everything)? {
        for version in versions {
            count += 1;
            findings.extend(check_package(&name, &version, graph.licence(&name, &version), &table));
        }
    }
    findings.sort();
    Ok((findings, format!("licences: {count} packages")))
}

fn check_package(name: &str, version: &str, licence: Option<&str>, table: &Table) -> Option<Finding> {
    if let Some(reason) = table.banned.get(name) {
        let fix = format!("find who needs it with `cargo tree -i {name}` and turn that feature off");
        return Some(Finding::new("Cargo.lock", 1, format!("{name} {version} is banned: {reason}"), fix));
    }
    if table.excused.contains_key(name) {
        return None;
    }
    let verdict = licence.map(|licence| (licence, spdx::is_allowed(licence, &table.allowed)));
    let what = match verdict {
        Some((_, Some(true))) => return None,
        Some((licence, Some(false))) => {
            format!("{name} {version} has a licence that is not allowed: {licence}")
        }
        Some((licence, None)) => format!("{name} {version} has a licence that can't be read: {licence}"),
        None => format!("{name} {version} names no licence"),
    };
    Some(Finding::new(
        "Cargo.lock",
        1,
        what,
        format!("use another package, or excuse it with a reason in {TABLE}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::{Table, check_package};

    fn findings_of(name: &str, licence: Option<&str>) -> Option<String> {
        let table: Table =
            toml::from_str("allowed = ['MIT']\n[banned]\nbad = 'why'\n[excused]\nodd = 'asked'\n").unwrap();
        check_package(name, "1.0.0", licence, &table).map(|finding| finding.what)
    }

    #[test]
    fn allowed_and_excused_packages_pass() {
        assert_eq!(findings_of("good", Some("MIT OR GPL-3.0")), None);
        assert_eq!(findings_of("odd", None), None);
    }

    #[test]
    fn the_others_fail() {
        assert_eq!(findings_of("bad", Some("MIT")).unwrap(), "bad 1.0.0 is banned: why");
        assert_eq!(
            findings_of("x", Some("GPL-3.0")).unwrap(),
            "x 1.0.0 has a licence that is not allowed: GPL-3.0"
        );
        assert_eq!(
            findings_of("x", Some("MIT AND")).unwrap(),
            "x 1.0.0 has a licence that can't be read: MIT AND"
        );
        assert_eq!(findings_of("x", None).unwrap(), "x 1.0.0 names no licence");
    }
}
