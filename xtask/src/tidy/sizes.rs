//! Checks how many lines of code a crate has, against `xtask/crates.toml`.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::finding::Finding;
use crate::source::SourceFile;

/// A crate of more lines is several.
const LINES_MAX: usize = 10_000;

pub const PATH: &str = "xtask/crates.toml";

/// The rows of that file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Crates for tests only, of any size and shape.
    test_support: Vec<String>,
    /// Crates above the bound, and the lines that they may have.
    large: BTreeMap<String, usize>,
    /// Circles above three files: how many files each has, the largest first.
    pub circles: BTreeMap<String, Vec<usize>>,
}

impl Table {
    /// The crate of a product file, and the path within its `src`.
    pub fn crate_of<'a>(&self, source: &'a SourceFile) -> Option<(&'a str, &'a str)> {
        let (name, within) = source.path.strip_prefix("crates/")?.split_once("/src/")?;
        (!self.test_support.iter().any(|support| support == name)).then_some((name, within))
    }
}

/// Crates with more lines than they may have, and rows for crates that need none any more.
pub fn check(sources: &[SourceFile], table: &Table) -> Vec<Finding> {
    let mut lines: BTreeMap<&str, usize> = BTreeMap::new();
    for source in sources {
        if let Some((name, _)) = table.crate_of(source) {
            *lines.entry(name).or_default() += code_lines(source);
        }
    }
    let mut findings = Vec::new();
    for (name, lines) in &lines {
        let most = table.large.get(*name).copied().unwrap_or(LINES_MAX);
        if *lines > most {
            let what = format!("the crate has {lines} lines of code, {most} at most");
            let fix = "make a crate of a part that can be named and used by itself";
            findings.push(Finding::new(&format!("crates/{name}/Cargo.toml"), 1, what, fix));
        }
    }
    for (name, most) in &table.large {
        let now = lines.get(name.as_str()).copied().unwrap_or_default();
        if now <= LINES_MAX {
            let what = format!("`{name}` has {now} lines of code and needs no row");
            findings.push(Finding::new(PATH, 1, what, "delete the row"));
        } else if now < *most {
            let what = format!("`{name}` has {now} lines of code now, not {most}");
            findings.push(Finding::new(PATH, 1, what, format!("write `{name} = {now}` there")));
        }
    }
    findings
}

/// Lines that hold more than blanks and comments, outside tests.
fn code_lines(source: &SourceFile) -> usize {
    let lines = source.text.lines().zip(1..);
    lines.filter(|(text, line)| !text.trim().is_empty() && !source.is_test_line(*line)).count()
}

#[cfg(test)]
mod tests {
    use super::{LINES_MAX, Table, check, code_lines};
    use crate::source::SourceFile;

    fn findings_of(large: &str, lines: usize) -> Vec<String> {
        let table = format!("test_support = ['emulators']\n[large]\n{large}\n[circles]\n");
        let table: Table = toml::from_str(&table).unwrap();
        let file =
            |name: &str| SourceFile::new(&format!("crates/{name}/src/lib.rs"), &"x;\n\n// y\n".repeat(lines));
        let found = check(&[file("a"), file("emulators")], &table);
        found.into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn blanks_comments_and_tests_are_no_lines_of_code() {
        let raw =
            "//! Head.\n\nfn a() {\n    \"text\" // why\n}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n";
        assert_eq!(code_lines(&SourceFile::new("crates/a/src/b.rs", raw)), 3);
    }

    #[test]
    fn ten_thousand_lines_pass_and_one_more_fails() {
        assert!(findings_of("", LINES_MAX).is_empty());
        let expected = "the crate has 10001 lines of code, 10000 at most";
        assert_eq!(findings_of("", LINES_MAX + 1), [expected]);
    }

    #[test]
    fn a_large_crate_may_not_grow_and_its_row_goes_down_with_it() {
        assert!(findings_of("a = 10005", LINES_MAX + 5).is_empty());
        let grew = "the crate has 10006 lines of code, 10005 at most";
        assert_eq!(findings_of("a = 10005", LINES_MAX + 6), [grew]);
        let shrank = "`a` has 10004 lines of code now, not 10005";
        assert_eq!(findings_of("a = 10005", LINES_MAX + 4), [shrank]);
        assert_eq!(findings_of("a = 10005", LINES_MAX), ["`a` has 10000 lines of code and needs no row"]);
    }
}
