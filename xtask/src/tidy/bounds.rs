//! Counts the maxima that stand outside `limits.rs`, against `xtask/bounds.toml`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::sizes;
use crate::finding::Finding;
use crate::source::{SourceFile, words};

pub const PATH: &str = "xtask/bounds.toml";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Ends of names of constants that bound something.
    ends: Vec<String>,
    /// How many of them each crate still has elsewhere.
    left: BTreeMap<String, usize>,
}

/// More bounds outside `limits.rs` than a crate has left, or fewer, so that the table goes down with the code.
pub fn check(sources: &[SourceFile], table: &Table, crates: &sizes::Table) -> Vec<Finding> {
    let mut found: BTreeMap<&str, Vec<Finding>> = BTreeMap::new();
    for source in sources {
        let Some((name, within)) = crates.crate_of(source) else { continue };
        if !within.ends_with("limits.rs") {
            found.entry(name).or_default().extend(bounds(source, table));
        }
    }
    let mut findings = Vec::new();
    for name in table.left.keys().filter(|name| !found.contains_key(name.as_str())) {
        findings.push(Finding::new(PATH, 1, format!("there is no crate `{name}`"), "delete its row"));
    }
    for (name, bounds) in found {
        let left = table.left.get(name).copied().unwrap_or_default();
        if bounds.len() > left {
            findings.extend(bounds);
        } else if bounds.len() < left {
            let what = format!("`{name}` has only {} bounds outside limits.rs", bounds.len());
            let fix = format!("write `{name} = {}` there, or delete the row", bounds.len());
            findings.push(Finding::new(PATH, 1, what, fix));
        }
    }
    findings
}

fn bounds(source: &SourceFile, table: &Table) -> Vec<Finding> {
    let mut found = Vec::new();
    for at in words(&source.code, "const") {
        let rest = source.code.get(at + "const".len()..).unwrap_or_default().trim_start();
        let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (name, after) = rest.split_at(length);
        let line = crate::source::line_of(&source.code, at);
        let is_constant = after.starts_with(':') && name.chars().all(|c| !c.is_lowercase());
        let is_bound = table.ends.iter().any(|end| name.ends_with(end.as_str()));
        if is_constant && is_bound && !source.is_test_line(line) {
            let what = format!("`{name}` bounds something and stands outside limits.rs");
            let fix = "move it to domain::limits, or to limits.rs of its crate where no other knows it";
            found.push(Finding::new(&source.path, line, what, fix));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{Table, check, sizes};
    use crate::source::SourceFile;

    fn findings_of(left: usize, path: &str, raw: &str) -> Vec<String> {
        let table: Table =
            toml::from_str(&format!("ends = ['_MAX', '_TIMEOUT']\n[left]\na = {left}\n")).unwrap();
        let crates: sizes::Table =
            toml::from_str("test_support = ['harness']\n[large]\n[circles]\n").unwrap();
        let sources = [SourceFile::new("crates/a/src/lib.rs", ""), SourceFile::new(path, raw)];
        check(&sources, &table, &crates).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn a_bound_outside_limits_is_found() {
        let raw = "const NAMES_MAX: usize = 3;\npub(crate) const READ_TIMEOUT: Duration = X;\n\
                   const HEAD_BYTES: usize = 4;\nconst fn a_MAX() {}\nfn f() { NAMES_MAX }\n";
        let expected = ["NAMES_MAX", "READ_TIMEOUT"]
            .map(|name| format!("`{name}` bounds something and stands outside limits.rs"));
        assert_eq!(findings_of(0, "crates/a/src/b.rs", raw), expected);
        assert_eq!(findings_of(1, "crates/a/src/b.rs", raw), expected);
        assert!(findings_of(2, "crates/a/src/b.rs", raw).is_empty());
        assert_eq!(findings_of(3, "crates/a/src/b.rs", raw), ["`a` has only 2 bounds outside limits.rs"]);
    }

    #[test]
    fn limits_tests_and_emulators_have_their_own() {
        let raw = "const NAMES_MAX: usize = 3;\n";
        for path in [
            "crates/a/src/limits.rs",
            "crates/a/src/b/limits.rs",
            "crates/harness/src/b.rs",
            "crates/a/tests/b.rs",
        ] {
            assert!(findings_of(0, path, raw).is_empty(), "{path}");
        }
        let test = format!("#[cfg(test)]\nmod tests {{\n    {raw}}}\n");
        assert!(findings_of(0, "crates/a/src/b.rs", &test).is_empty());
    }
}
