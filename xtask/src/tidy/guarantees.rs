//! Checks that each sentence of docs/guarantees.md links to a test, that the test is there, and that the sentence's figures are in its file.

use std::path::Path;

use crate::finding::Finding;

pub const PATH: &str = "docs/guarantees.md";
/// The links are relative to the page's directory.
const UP: &str = "../";
/// What follows a number that a test has to hold to.
const UNITS: [&str; 5] = ["ms", "s", "%", "KiB", "MiB"];

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
        let mut sources = String::new();
        for (name, path) in links {
            let file = path.strip_prefix(UP).unwrap_or(path);
            let source = std::fs::read_to_string(root.join(file)).unwrap_or_default();
            if !has_test(&source, name) {
                report(format!("`{file}` has no test `{name}`"), "link to a test that is there");
            }
            sources.push_str(&source.replace('_', ""));
        }
        for figure in figures(line).filter(|figure| !has_number(&sources, &digits(figure))) {
            report(
                format!("{figure} is in no file of its tests"),
                "link to the test that asserts the figure, or leave the figure out",
            );
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

/// The numbers of a sentence that have a unit.
fn figures(line: &str) -> impl Iterator<Item = &str> {
    let is_unit = |word: &str| UNITS.contains(&word.trim_end_matches([',', '.', ';', ':', ')']));
    let is_number = |word: &str| word.starts_with(|c: char| c.is_ascii_digit());
    let words = line.split_whitespace().map(|word| word.trim_start_matches('('));
    words
        .clone()
        .zip(words.skip(1))
        .filter(move |(word, next)| is_number(word) && is_unit(next))
        .map(|(word, _)| word)
}

/// 99.9 % is 999 of a thousand to whoever counts in whole numbers.
fn digits(figure: &str) -> String {
    figure.chars().filter(char::is_ascii_digit).collect()
}

fn has_number(source: &str, digits: &str) -> bool {
    let is_digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
    source.match_indices(digits).any(|(at, _)| {
        let (before, rest) = (source.get(..at), source.get(at + digits.len()..));
        !is_digit(before.and_then(|before| before.chars().next_back()))
            && !is_digit(rest.and_then(|rest| rest.chars().next()))
    })
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
    use super::{check, digits, figures, has_number, has_test, links};
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
    fn a_figure_is_a_number_with_a_unit() {
        let line =
            "- Within 100 ms, or (20 s), 99.9 % of three are 503 after 64 tries ([`a`](../b.rs): 8 s).";
        assert_eq!(figures(line).map(digits).collect::<Vec<_>>(), ["100", "20", "999", "8"]);
        assert!(has_number("from_millis(100)", "100") && has_number("20", "20"));
        assert!(!has_number("from_millis(1000)", "100") && !has_number("7100", "100"));
        let sentence = |figure: &str| {
            format!(
                "- Within {figure} ms ([`a_figure_is_a_number_with_a_unit`](../xtask/src/tidy/guarantees.rs))."
            )
        };
        assert!(check(&root(), &sentence("1000")).is_empty());
        // Written so that this file doesn't have it.
        assert_eq!(check(&root(), &sentence(&(7 * 11 * 13 * 17).to_string())).len(), 1);
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
