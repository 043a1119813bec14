//! Checks that each sentence of docs/guarantees.md links to a test, and that the test is there.

use std::path::Path;

use crate::finding::Finding;

pub const PATH: &str = "docs/guarantees.md";
/// The links are relative to the page's directory.
const UP: &str = "../";

pub fn check(root: &Path, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| line.starts_with("- ")) {
        let mut report = |what: String, fix: &str| findings.push(Finding::new(PATH, at + 1, what, fix));
        let links = links(line);
        if links.is_empty() {
            report(
                "a guarantee without a test".to_owned(),
                "link to the test that shows it, or leave it out",
            );
        }
        for (name, path) in links {
            let file = path.strip_prefix(UP).unwrap_or(path);
            let source = std::fs::read_to_string(root.join(file)).unwrap_or_default();
            if !has_test(&source, name) {
                report(format!("`{file}` has no test `{name}`"), "link to a test that is there");
            }
        }
    }
    findings
}

/// The links of a line whose text is a name in backticks: the name and the path.
fn links(line: &str) -> Vec<(&str, &str)> {
    let after = line.split("[`").skip(1);
    after
        .filter_map(|rest| {
            let (name, rest) = rest.split_once("`](")?;
            Some((name, rest.split_once(')')?.0))
        })
        .collect()
}

/// Whether a source has a function of this name behind a test attribute, or in a macro of tests.
fn has_test(source: &str, name: &str) -> bool {
    let head = format!("fn {name}(");
    let is_test = |before: &str| {
        let is_inside = |line: &&str| !line.trim().is_empty() && !is_attribute(line);
        // Without the beginning of the function's own line.
        let mut lines = before.split('\n').rev().skip(1).skip_while(is_inside);
        lines.next().is_some_and(is_attribute) || before.contains("proptest!")
    };
    source.match_indices(&head).any(|(at, _)| source.get(..at).is_some_and(is_test))
}

fn is_attribute(line: &str) -> bool {
    let line = line.trim();
    line == "#[test]" || line.starts_with("#[tokio::test")
}

#[cfg(test)]
mod tests {
    use super::{check, has_test, links};
    use crate::tree::root;

    #[test]
    fn a_sentence_names_its_tests_by_links() {
        let line = "- It holds ([`one_test`](../a/b.rs), [`other`](../c.rs)). See [docs](x.md).";
        assert_eq!(links(line), [("one_test", "../a/b.rs"), ("other", "../c.rs")]);
    }

    #[test]
    fn a_test_is_a_function_behind_its_attribute() {
        let source = "#[test]\nfn a() {}\n\n#[tokio::test]\nasync fn b() {}\n\nfn c() {}\n\nmod t {\n    #[test]\n    fn e() {}\n}\n";
        for (name, is_there) in [("a", true), ("b", true), ("c", false), ("d", false), ("e", true)] {
            assert_eq!(has_test(source, name), is_there, "{name}");
        }
    }

    #[test]
    fn what_has_no_test_is_found() {
        let known = "[`what_has_no_test_is_found`](../xtask/src/tidy/guarantees.rs)";
        assert!(check(&root(), &format!("Text.\n\n- It holds ({known}).")).is_empty());
        let wrong =
            check(&root(), "- It holds.\n- So does this ([`gone`](../xtask/src/tidy/guarantees.rs)).");
        assert_eq!(wrong.iter().map(|finding| finding.line).collect::<Vec<_>>(), [1, 2]);
    }
}
