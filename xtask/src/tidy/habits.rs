//! Finds unfinished work, and tests that sleep, are ignored or expect a panic.

use serde::Deserialize;

use crate::finding::Finding;
use crate::source::{self, SourceFile};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    unfinished: Vec<String>,
    unfinished_calls: Vec<String>,
    sleep_allowed: Vec<SleepAllowed>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SleepAllowed {
    path: String,
    reason: String,
}

const FINISH: &str = "finish it, or open an issue and say in a sentence what is absent on purpose";

pub fn check(source: &SourceFile, table: &Table) -> Vec<Finding> {
    let mut findings = unfinished(&source.path, &source.raw, table);
    for call in &table.unfinished_calls {
        for at in source::words(&source.code, call) {
            let line = source::line_of(&source.code, at);
            findings.push(Finding::new(&source.path, line, format!("`{call}` is called"), FINISH));
        }
    }
    findings.extend(test_attributes(source));
    findings.extend(sleeps(source, table));
    findings
}

/// Finds words that mark unfinished work, in comments too.
pub fn unfinished(path: &str, raw: &str, table: &Table) -> Vec<Finding> {
    let words = table.unfinished.iter();
    words
        .flat_map(|word| source::words(raw, word).map(move |at| (word, at)))
        .map(|(word, at)| {
            Finding::new(path, source::line_of(raw, at), format!("`{word}` stands here"), FINISH)
        })
        .collect()
}

fn test_attributes(source: &SourceFile) -> Vec<Finding> {
    let refused = [
        (
            "#[ignore",
            "the test is ignored",
            "make it pass, or assert the known wrong behaviour with its reason",
        ),
        ("#[should_panic", "the test expects a panic", "return the error and assert on it"),
    ];
    let found = refused.iter().flat_map(|(attribute, what, fix)| {
        let matches = source.code.match_indices(attribute);
        matches.map(move |(at, _)| Finding::new(&source.path, source::line_of(&source.code, at), *what, *fix))
    });
    found.collect()
}

fn sleeps(source: &SourceFile, table: &Table) -> Vec<Finding> {
    let allowed =
        table.sleep_allowed.iter().any(|entry| entry.path == source.path && !entry.reason.is_empty());
    if allowed {
        return Vec::new();
    }
    let calls = source::words(&source.code, "sleep").filter(|at| is_sleep(&source.code, *at));
    calls
        .map(|at| source::line_of(&source.code, at))
        .filter(|line| source.is_test_line(*line))
        .map(|line| {
            let fix = "await the event itself, or use the virtual clock; a real need goes into xtask/habits.toml with its reason";
            Finding::new(&source.path, line, "a test sleeps", fix)
        })
        .collect()
}

/// Whether this calls a free function `sleep`, or one of the standard ones by path. A clock's own method is
/// virtual time.
fn is_sleep(code: &str, at: usize) -> bool {
    let before = code.get(..at).unwrap_or_default();
    let called = code.get(at + "sleep".len()..).is_some_and(|rest| rest.starts_with('('));
    let by_path = before.ends_with("thread::") || before.ends_with("time::");
    let by_name = called && !before.ends_with('.') && !before.ends_with("::") && !before.ends_with("fn ");
    by_path || by_name
}

#[cfg(test)]
mod tests {
    use super::{Table, check};
    use crate::source::SourceFile;

    fn findings_of(path: &str, raw: &str) -> Vec<String> {
        let table: Table = toml::from_str(
            "unfinished = ['LATER']\nunfinished_calls = ['gap']\n\
             [[sleep_allowed]]\npath = 'tests/src/slow.rs'\nreason = 'no event'\n",
        )
        .unwrap();
        check(&SourceFile::new(path, raw), &table).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn unfinished_work_fails_in_comments_and_code() {
        assert_eq!(findings_of("crates/a/src/b.rs", "// LATER: more"), ["`LATER` stands here"]);
        assert_eq!(findings_of("crates/a/src/b.rs", "gap!()"), ["`gap` is called"]);
        assert!(findings_of("crates/a/src/b.rs", "// COLLATERAL gap\n").is_empty());
    }

    #[test]
    fn ignored_and_panicking_tests_fail() {
        assert_eq!(findings_of("crates/a/src/b.rs", "#[ignore]"), ["the test is ignored"]);
        assert_eq!(findings_of("crates/a/src/b.rs", "#[should_panic(x)]"), ["the test expects a panic"]);
        assert!(findings_of("crates/a/src/b.rs", "\"#[ignore]\"").is_empty());
    }

    #[test]
    fn sleeping_tests_fail() {
        for raw in ["thread::sleep(d)", "tokio::time::sleep(d).await", "sleep(d)", "use std::thread::sleep;"]
        {
            assert_eq!(findings_of("tests/src/a.rs", raw), ["a test sleeps"], "{raw}");
        }
    }

    #[test]
    fn product_code_virtual_clocks_and_listed_files_may_sleep() {
        assert!(findings_of("crates/a/src/b.rs", "time::sleep(d)").is_empty());
        assert!(findings_of("tests/src/a.rs", "clock.sleep(d)").is_empty());
        assert!(findings_of("tests/src/slow.rs", "thread::sleep(d)").is_empty());
    }
}
