//! Finds the maxima that stand outside `limits.rs`. What a product accepts, holds or waits for at most is read in one
//! place: `domain::limits`, or `limits.rs` of the crate where no other knows it. Sizes that a format or an algorithm
//! has (`HEAD_BYTES`, `READ_BYTES`) are no bounds and stand where they are used; so do intervals and pauses.

use super::sizes;
use crate::finding::Finding;
use crate::source::{SourceFile, words};

/// Ends of the names of constants that bound something.
const ENDS: [&str; 2] = ["_MAX", "_TIMEOUT"];

/// The bounds of every crate but test support that are not in its `src/limits.rs`.
pub fn check(sources: &[SourceFile], crates: &sizes::Table) -> Vec<Finding> {
    let is_elsewhere =
        |source: &&SourceFile| crates.crate_of(source).is_some_and(|(_, within)| within != "limits.rs");
    sources.iter().filter(is_elsewhere).flat_map(bounds).collect()
}

fn bounds(source: &SourceFile) -> Vec<Finding> {
    let mut found = Vec::new();
    for at in words(&source.code, "const") {
        let rest = source.code.get(at + "const".len()..).unwrap_or_default().trim_start();
        let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (name, after) = rest.split_at(length);
        let line = crate::source::line_of(&source.code, at);
        let is_constant = after.starts_with(':') && name.chars().all(|c| !c.is_lowercase());
        let is_bound = ENDS.iter().any(|end| name.ends_with(end));
        if is_constant && is_bound && !source.is_test_line(line) {
            let what = format!("`{name}` bounds something and stands outside limits.rs");
            let fix = "move it to domain::limits, or to src/limits.rs of its crate where no other knows it";
            found.push(Finding::new(&source.path, line, what, fix));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{check, sizes};
    use crate::source::SourceFile;

    fn findings_of(path: &str, raw: &str) -> Vec<String> {
        let crates: sizes::Table =
            toml::from_str("test_support = ['harness']\n[large]\n[circles]\n").unwrap();
        check(&[SourceFile::new(path, raw)], &crates).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn a_bound_outside_limits_is_found() {
        let raw = "const NAMES_MAX: usize = 3;\npub(crate) const READ_TIMEOUT: Duration = X;\n\
                   const HEAD_BYTES: usize = 4;\nconst fn a_MAX() {}\nfn f() { NAMES_MAX }\n";
        let expected = ["NAMES_MAX", "READ_TIMEOUT"]
            .map(|name| format!("`{name}` bounds something and stands outside limits.rs"));
        for path in ["crates/a/src/b.rs", "crates/a/src/b/limits.rs"] {
            assert_eq!(findings_of(path, raw), expected, "{path}");
        }
    }

    #[test]
    fn limits_tests_and_emulators_have_their_own() {
        let raw = "const NAMES_MAX: usize = 3;\n";
        for path in ["crates/a/src/limits.rs", "crates/harness/src/b.rs", "crates/a/tests/b.rs"] {
            assert!(findings_of(path, raw).is_empty(), "{path}");
        }
        let test = format!("#[cfg(test)]\nmod tests {{\n    {raw}}}\n");
        assert!(findings_of("crates/a/src/b.rs", &test).is_empty());
    }
}
